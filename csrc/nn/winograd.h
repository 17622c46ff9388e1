/* 3 x 3 convolutions by Winograd's algorithm. Of stride 1 in tiles of 4 x 4 output pixels: F(4 x 4, 3 x 3), a quarter
 * of the multiplications, for transforms of 6 x 6 input pixels (kernels/winograd.c); or, where those would stick out of
 * small images, of 2 x 2: F(2 x 2, 3 x 3), 4/9 of them, for transforms of 4 x 4 (kernels/winograd_small.c). Of stride 2
 * with padding 1 in tiles of 4 x 4: 9/16, for transforms of 9 x 9 (kernels/winograd_strided.c). Same shapes and meaning
 * as conv.h; used where conv.h says.
 */
#ifndef NF_NN_WINOGRAD_H
#define NF_NN_WINOGRAD_H

#include "conv.h"

size_t nf_winograd_forward_scratch(const nf_conv *conv);
size_t nf_winograd_backward_scratch(const nf_conv *conv);
size_t nf_winograd_weight_scratch(const nf_conv *conv); /* of the gradient of the weights alone */

nf_status nf_winograd_forward(const nf_conv *conv, float *y, const float *x, const nf_before *before,
                              const float *weight, const nf_behind *behind, float *scratch);
nf_status nf_winograd_backward_input(const nf_conv *conv, float *d_x, const float *d_y, const float *weight,
                                     const nf_batch_norm_sums *sums, bool accumulate, float *scratch);
int64_t nf_winograd_moment_blocks(const nf_conv *conv);
int64_t nf_winograd_sum_blocks(const nf_conv *conv);
/* In winograd_weight.c. */
nf_status nf_winograd_backward_weight(const nf_conv *conv, float *d_weight, const float *x, const nf_before *before,
                                      float *d_y, const nf_batch_norm_gradient *behind, bool accumulate,
                                      float *scratch);

#endif
