/* What the layers around a convolution do in its pass, where its numbers are in registers or a cache near by. */
#ifndef NF_NN_AROUND_H
#define NF_NN_AROUND_H

#include "../core/dispatch.h"
#include "batch_norm.h"

/* Batch norm (and ReLU) before it: what is loaded becomes factor x + shift, then max(., 0) if relu. */
typedef struct nf_before {
    const float *factors; /* of each group of images: factor (c), shift (c); NULL: nothing is done */
    bool relu;
} nf_before;

/* Those behind it. */
typedef struct nf_behind {
    float *moments;                 /* or NULL: each block's moments, for batch norm: [block][mean, squares][channel] */
    const float *factor, *shift;    /* or NULL: results become factor result + shift ... */
    const float *addend;            /* ... (+ addend, shaped like them, unless NULL), */
    bool relu;                      /* then max(., 0) */
    const nf_batch_norm_sums *sums; /* on the way back, or NULL: those of the norm whose d_y the results are */
} nf_behind;

/* For `count` rows of y (., c) from `first` on, which are block number `block`. */
static inline void nf_finish_rows(const nf_behind *behind, float *y, int64_t block, int64_t first, int64_t count,
                                  int64_t c) {
    float *rows = y + first * c, *moments = behind->moments;
    if (moments)
        nf_kernel->moments(moments + 2 * block * c, moments + (2 * block + 1) * c, rows, (size_t)count, (size_t)c);
    if (behind->sums)
        nf_batch_norm_sum_rows(behind->sums, block, rows, first, count, false);
    if (behind->factor)
        nf_kernel->scale_shift(rows, rows, behind->addend ? behind->addend + first * c : NULL, behind->factor,
                               behind->shift, (size_t)count, (size_t)c, behind->relu);
}

#endif
