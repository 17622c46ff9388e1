/* Rows sorted by class, so that a class is a range of rows. */
#ifndef NF_LOSSES_CLASSES_H
#define NF_LOSSES_CLASSES_H

#include "../core/memory.h"

#include <stdlib.h>

typedef struct nf_member {
    int64_t label, row;
} nf_member;

static inline int nf_by_label(const void *a, const void *b) {
    const nf_member *x = a, *y = b;
    if (x->label != y->label)
        return x->label < y->label ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

/* order (count): where the sorted rows come from; first, end (count): the sorted rows of a sorted row's class. Row i
 * has the label of sample i % samples. */
static inline nf_status nf_sort_classes(int64_t *order, int64_t *first, int64_t *end, const int64_t *labels,
                                        int64_t count, int64_t samples) {
    void *memory;
    NF_TRY(nf_alloc(&memory, (size_t)count * sizeof(nf_member)));
    nf_member *members = memory;
    for (int64_t i = 0; i < count; i++)
        members[i] = (nf_member){labels[i % samples], i};
    qsort(members, (size_t)count, sizeof *members, nf_by_label);
    for (int64_t start = 0, stop; start < count; start = stop) {
        for (stop = start + 1; stop < count && members[stop].label == members[start].label;)
            stop++;
        for (int64_t i = start; i < stop; i++) {
            order[i] = members[i].row;
            first[i] = start;
            end[i] = stop;
        }
    }
    nf_free(memory);
    return NF_OK;
}

#endif
