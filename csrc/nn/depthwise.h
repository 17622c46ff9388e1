/* Depthwise convolution: each channel by itself, y[n, oy, ox, c] = bias[c] + sum over (i, j) of
 * x[n, oy stride - pad_h + i, ox stride - pad_w + j, c] weight[i, j, c].
 *
 * Shapes: x (n, h, w, c), y (n, out_h, out_w, c), weight (kernel_h, kernel_w, c), bias (c). Source: Howard et al.,
 * "MobileNets: efficient convolutional neural networks for mobile vision applications", 2017. */
#ifndef NF_NN_DEPTHWISE_H
#define NF_NN_DEPTHWISE_H

#include "../core/status.h"
#include "around.h"

enum { NF_MAX_DEPTHWISE_STRIDE = 8 };

typedef struct nf_depthwise {
    int64_t n, h, w, c, out_h, out_w;
    int64_t kernel_h, kernel_w, stride, pad_h, pad_w;
    int64_t groups; /* batch norm's: equal runs of images */
    int workers;
} nf_depthwise;

size_t nf_depthwise_scratch(const nf_depthwise *conv); /* floats, either direction */

/* bias may be NULL. before: what is to be done to x. moments: of y, for batch norm, to be taken in passing, or NULL. */
nf_status nf_depthwise_forward(const nf_depthwise *conv, float *y, const float *x, const nf_before *before,
                               const float *weight, const float *bias, const nf_batch_norm_moments *moments,
                               float *scratch);

/* d_x (+)= the gradient of the input. sums: those of the batch norm before, to be taken in passing, or NULL. */
nf_status nf_depthwise_backward_input(const nf_depthwise *conv, float *d_x, const float *d_y, const float *weight,
                                      const nf_batch_norm_sums *sums, bool accumulate, float *scratch);

/* How many blocks, of each group, there are of these. */
int64_t nf_depthwise_moment_blocks(const nf_depthwise *conv);
int64_t nf_depthwise_sum_blocks(const nf_depthwise *conv);

/* d_weight (+)= and, if not NULL, d_bias (+)= the gradients of the parameters. */
nf_status nf_depthwise_backward_parameters(const nf_depthwise *conv, float *d_weight, float *d_bias, const float *x,
                                           const nf_before *before, const float *d_y, bool accumulate, float *scratch);

#endif
