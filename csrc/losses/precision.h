/* The arrays of a loss in double, for what float has too few digits or too small a range for, and their gradients
 * back. */
#ifndef NF_LOSSES_PRECISION_H
#define NF_LOSSES_PRECISION_H

#include "../core/memory.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#ifndef NF_DOUBLE
enum { NF_WIDE_ARRAYS = 3 };

typedef struct nf_wide {
    const float *from[NF_WIDE_ARRAYS]; /* set by the caller; NULL, of size 0, for none */
    float *to[NF_WIDE_ARRAYS];         /* their gradients */
    int64_t size[NF_WIDE_ARRAYS];

    double *x[NF_WIDE_ARRAYS], *d[NF_WIDE_ARRAYS]; /* the same in double */
    double *memory;
    int64_t total;
} nf_wide;

static inline nf_status nf_wide_open(nf_wide *wide) {
    wide->total = 0;
    for (int i = 0; i < NF_WIDE_ARRAYS; i++)
        wide->total += wide->size[i];
    void *memory;
    NF_TRY(nf_alloc(&memory, (size_t)wide->total * 2 * sizeof(double)));
    wide->memory = memory;
    for (int64_t i = 0, start = 0; i < NF_WIDE_ARRAYS; start += wide->size[i++]) {
        wide->x[i] = wide->from[i] ? wide->memory + start : NULL;
        wide->d[i] = wide->from[i] ? wide->memory + wide->total + start : NULL;
        for (int64_t k = 0; k < wide->size[i]; k++)
            wide->x[i][k] = (double)wide->from[i][k];
    }
    return NF_OK;
}

/* Whether all gradients are in float's range. */
static inline bool nf_wide_fits_float(const nf_wide *wide) {
    const double *gradients = wide->memory + wide->total;
    for (int64_t k = 0; k < wide->total; k++)
        if (!(fabs(gradients[k]) <= (double)FLT_MAX))
            return false;
    return true;
}

/* Gives the gradients back if all went well, and the status it got. */
static inline nf_status nf_wide_close(nf_wide *wide, nf_status status) {
    for (int i = 0; i < NF_WIDE_ARRAYS && status == NF_OK; i++)
        for (int64_t k = 0; k < wide->size[i]; k++)
            wide->to[i][k] = (float)wide->d[i][k];
    nf_free(wide->memory);
    return status;
}
#endif

#endif
