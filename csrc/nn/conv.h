/* Convolution: y[n, oy, ox, k] = bias[k] + sum over (i, j, c) of x[n, oy stride - pad_h + i, ox stride - pad_w + j, c]
 * weight[i, j, c, k]. A linear layer is the case of 1 x 1 images, a matrix product.
 *
 * Shapes: x (n, h, w, c), y (n, out_h, out_w, k), weight (kernel_h, kernel_w, c, k), bias (k). */
#ifndef NF_NN_CONV_H
#define NF_NN_CONV_H

#include "../core/status.h"
#include "around.h"

enum { NF_MAX_KERNEL = 31 }; /* taps along one side */

typedef struct nf_conv {
    int64_t n, h, w, c, out_h, out_w, k;
    int64_t kernel_h, kernel_w, stride, pad_h, pad_w;
    int64_t groups;              /* batch norm's: equal runs of images whose moments are kept apart */
    nf_conv_algorithm algorithm; /* not NF_CONV_AUTO: see nf_conv_choose */
    int workers;
} nf_conv;

/* What `wanted` comes to for this convolution. */
nf_conv_algorithm nf_conv_choose(const nf_conv *conv, bool bias, nf_conv_algorithm wanted);

/* Whether forward and backward_parameters do what the layers before do, and whether backward_parameters makes the
 * gradient of its results from batch norm's. */
bool nf_conv_takes_before(const nf_conv *conv);
bool nf_conv_takes_gradient(const nf_conv *conv);

/* Floats of scratch memory that each direction needs. */
size_t nf_conv_forward_scratch(const nf_conv *conv);
size_t nf_conv_backward_scratch(const nf_conv *conv);

/* How many blocks, of each group, there are of the moments that forward takes in passing, and of the sums that
 * backward_input takes; 0: it can't take them. */
int64_t nf_conv_moment_blocks(const nf_conv *conv);
int64_t nf_conv_sum_blocks(const nf_conv *conv);

/* bias may be NULL. */
nf_status nf_conv_forward(const nf_conv *conv, float *y, const float *x, const nf_before *before, const float *weight,
                          const float *bias, const nf_behind *behind, float *scratch);

/* d_x (+)= the gradient of the input. sums: those of the batch norm before, to be taken in passing, or NULL. */
nf_status nf_conv_backward_input(const nf_conv *conv, float *d_x, const float *d_y, const float *weight,
                                 const nf_batch_norm_sums *sums, bool accumulate, float *scratch);

/* d_weight (+)= and, if not NULL, d_bias (+)= the gradients of the parameters. behind: NULL, or how d_y is made from
 * the gradient of the batch norm behind; each number of it is then made as it is read. */
nf_status nf_conv_backward_parameters(const nf_conv *conv, float *d_weight, float *d_bias, const float *x,
                                      const nf_before *before, float *d_y, const nf_batch_norm_gradient *behind,
                                      bool accumulate, float *scratch);

#endif
