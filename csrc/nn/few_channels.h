/* Convolutions of images with few channels, as the first of a network mostly is. Their windows are short, so that
 * packing them takes as long as the product: here windows are read where they lie, in a copy of some rows of the image
 * with zeros around it. Same shapes and meaning as conv.h; used where it says. */
#ifndef NF_NN_FEW_CHANNELS_H
#define NF_NN_FEW_CHANNELS_H

#include "conv.h"

/* Whether the forward pass and the gradient of the parameters can be, and are better, computed this way. */
bool nf_few_channels_forward_pays(const nf_conv *conv);
bool nf_few_channels_backward_pays(const nf_conv *conv);

size_t nf_few_channels_forward_scratch(const nf_conv *conv);
size_t nf_few_channels_backward_scratch(const nf_conv *conv);

nf_status nf_few_channels_forward(const nf_conv *conv, float *y, const float *x, const float *weight, const float *bias,
                                  const nf_behind *behind, float *scratch);
nf_status nf_few_channels_backward_parameters(const nf_conv *conv, float *d_weight, float *d_bias, const float *x,
                                              float *d_y, const nf_batch_norm_gradient *behind, bool accumulate,
                                              float *scratch);

#endif
