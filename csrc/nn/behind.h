/* What the layers behind a convolution do with its results while these are in a cache near by. */
#ifndef NF_NN_BEHIND_H
#define NF_NN_BEHIND_H

#include "../core/dispatch.h"

typedef struct nf_behind {
    float *moments;              /* or NULL: each block's moments, for batch norm: [block][mean, squares][channel] */
    const float *factor, *shift; /* or NULL: results become factor result + shift ... */
    const float *addend;         /* ... (+ addend, shaped like them, unless NULL), */
    bool relu;                   /* then max(., 0) */
} nf_behind;

/* For `count` rows of y (., c) from `first` on, which are block number `block`. */
static inline void nf_finish_rows(const nf_behind *behind, float *y, int64_t block, int64_t first, int64_t count,
                                  int64_t c) {
    float *rows = y + first * c, *moments = behind->moments;
    if (moments)
        nf_kernel->moments(moments + 2 * block * c, moments + (2 * block + 1) * c, rows, (size_t)count, (size_t)c);
    if (behind->factor)
        nf_kernel->scale_shift(rows, rows, behind->addend ? behind->addend + first * c : NULL, behind->factor,
                               behind->shift, (size_t)count, (size_t)c, behind->relu);
}

#endif
