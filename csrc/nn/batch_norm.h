/* Batch normalisation over all pixels of a batch, optionally followed by a residual sum and ReLU in the same pass:
 *
 *   y = (x - mean) / sqrt(variance + eps) * weight + bias (+ addend), then max(., 0) if relu
 *
 * x is (rows, c). The rows fall into `groups` equal runs with statistics of their own (two views, say). In training
 * mean and the biased variance are the group's own, and running_mean and running_var move towards them (the unbiased
 * variance) by `momentum`, group after group; in evaluation the running ones are used. Source: Ioffe and Szegedy,
 * "Batch normalization", ICML 2015. */
#ifndef NF_NN_BATCH_NORM_H
#define NF_NN_BATCH_NORM_H

#include "../core/status.h"

typedef struct nf_batch_norm {
    int64_t rows, c, groups;
    float eps, momentum;
    bool relu;
    int workers;
} nf_batch_norm;

size_t nf_batch_norm_saved_size(const nf_batch_norm *norm);   /* floats of `saved`: what the way back needs */
size_t nf_batch_norm_factors_size(const nf_batch_norm *norm); /* floats of the way back's factors */
int64_t nf_batch_norm_blocks(const nf_batch_norm *norm);      /* of rows, in each group, that its own passes work on */

/* Moments of x in blocks of rows of one group. They are taken in a pass of their own, or by the filter that makes x,
 * whose own blocks they then are. */
typedef struct nf_batch_norm_moments {
    int64_t c, blocks; /* blocks: in each group */
    float *moments;    /* [group][block][mean, squares][c] */
    float *counts;     /* [group][block]: rows */
    int64_t block;     /* that of all which a filter calls its first */
} nf_batch_norm_moments;

/* In `memory` of so many floats. */
size_t nf_batch_norm_moments_size(const nf_batch_norm *norm, int64_t blocks);
nf_batch_norm_moments nf_batch_norm_moments_in(float *memory, const nf_batch_norm *norm, int64_t blocks);

/* The moments of `block` become those of `count` rows x, or of these, too. */
void nf_batch_norm_take_moments(const nf_batch_norm_moments *of, int64_t block, const float *x, int64_t count,
                                bool accumulate);

/* All of them. */
nf_status nf_batch_norm_measure(const nf_batch_norm *norm, const nf_batch_norm_moments *moments, const float *x);

/* addend may be NULL; y may be x, or NULL: then only statistics are made, and nf_batch_norm_rows makes y. */
nf_status nf_batch_norm_forward(const nf_batch_norm *norm, float *y, float *saved, float *running_mean,
                                float *running_var, const float *x, const float *addend,
                                const nf_batch_norm_moments *moments, const float *weight, const float *bias);

/* y = factor x + shift is what running_mean and running_var come to, for `c` channels. */
void nf_batch_norm_factors(float *factor, float *shift, int64_t c, float eps, const float *running_mean,
                           const float *running_var, const float *weight, const float *bias);
size_t nf_batch_norm_evaluate_scratch(const nf_batch_norm *norm); /* floats */
nf_status nf_batch_norm_evaluate(const nf_batch_norm *norm, float *y, const float *x, const float *addend,
                                 const float *running_mean, const float *running_var, const float *weight,
                                 const float *bias, float *scratch);

/* Of what forward saved, factor (c) and shift (c) of y = factor x + shift, for group after group. */
const float *nf_batch_norm_saved_factors(const nf_batch_norm *norm, const float *saved);

/* y as forward made it, from what it saved. */
nf_status nf_batch_norm_again(const nf_batch_norm *norm, float *y, const float *x, const float *addend,
                              const float *saved);

/* `count` rows of y, from `first` on, all of one group, without an addend, from what forward saved. y and x begin at
 * the first of them. */
nf_status nf_batch_norm_rows(const nf_batch_norm *norm, float *y, const float *x, const float *saved, int64_t first,
                             int64_t count);

/* x as bfloat16, rounded such that ReLU behind the norm (without a sum) is zero where it was. */
nf_status nf_batch_norm_store(const nf_batch_norm *norm, uint16_t *stored, const float *x, const float *saved);

/* What a norm's way back begins with: sums of d_y and of d_y (x - mean), in blocks of rows of one group. They are taken
 * in a pass of their own, or by the filter that makes d_y, whose own blocks they then are. */
typedef struct nf_batch_norm_sums {
    const nf_batch_norm *norm;
    const float *x, *saved;
    const float *y; /* for ReLU after a sum, else NULL; d_y then becomes the gradient before ReLU, also the addend's */
    int64_t blocks; /* in each group; nf_batch_norm_blocks in a pass of their own */
    float *sums;    /* [group][block][2][c] */
    int64_t row, block; /* that of all rows and blocks which a filter calls its first */
} nf_batch_norm_sums;

/* The sums of `block` (+)= those of `count` rows from `first` on; d_y begins at the first of them. */
void nf_batch_norm_sum_rows(const nf_batch_norm_sums *of, int64_t block, float *d_y, int64_t first, int64_t count,
                            bool accumulate);

/* All of them. */
nf_status nf_batch_norm_sum(const nf_batch_norm_sums *of, float *d_y);

/* The gradients of the parameters from the sums, and nf_batch_norm_factors_size factors for that of x. */
nf_status nf_batch_norm_backward_parameters(const nf_batch_norm_sums *of, float *factors, float *d_weight,
                                            float *d_bias, const float *weight, bool accumulate);

/* The gradient d_x of x, which then is a factor times d_y and one times x and a shift. */
typedef struct nf_batch_norm_gradient {
    const nf_batch_norm *norm;
    const float *d_y, *x, *saved, *factors;
    bool masked; /* d_y is the gradient before ReLU already */
    float *d_x;  /* may be d_y */
} nf_batch_norm_gradient;

/* d_x (+)= that of `count` rows, from `first` on, all of one group; d_x begins at the first of them. */
void nf_batch_norm_backward_rows(const nf_batch_norm_gradient *of, float *d_x, int64_t first, int64_t count,
                                 bool accumulate);

/* All of them, to of->d_x. */
nf_status nf_batch_norm_backward_input(const nf_batch_norm_gradient *of, bool accumulate);

#endif
