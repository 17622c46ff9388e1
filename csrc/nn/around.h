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

/* made = what `count` pixels x (., c) of images of one group become. */
static inline void nf_before_pixels(const nf_before *before, float *made, const float *x, int64_t group, int64_t count,
                                    int64_t c) {
    const float *factor = before->factors + 2 * group * c;
    nf_kernel->scale_shift(made, x, NULL, factor, factor + c, (size_t)count, (size_t)c, before->relu);
}

/* Those behind it. */
typedef struct nf_behind {
    const nf_batch_norm_moments *moments; /* or NULL: of the results, for batch norm */
    const nf_batch_norm_sums *sums;       /* on the way back, or NULL: those of the norm whose d_y the results are */
    const float *factor, *shift;          /* or NULL: results become factor result + shift ... */
    const float *addend;                  /* ... (+ addend, shaped like them, unless NULL), */
    bool relu;                            /* then max(., 0) */
} nf_behind;

/* For `count` rows of y (., c) from `first` on, which are block number `block`. */
static inline void nf_finish_rows(const nf_behind *behind, float *y, int64_t block, int64_t first, int64_t count,
                                  int64_t c) {
    float *rows = y + first * c;
    if (behind->moments)
        nf_batch_norm_take_moments(behind->moments, block, rows, count, false);
    if (behind->sums)
        nf_batch_norm_sum_rows(behind->sums, block, rows, first, count, false);
    if (behind->factor)
        nf_kernel->scale_shift(rows, rows, behind->addend ? behind->addend + first * c : NULL, behind->factor,
                               behind->shift, (size_t)count, (size_t)c, behind->relu);
}

#endif
