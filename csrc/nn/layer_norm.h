/* Layer normalisation of each row (a vector, or a pixel's channels) by itself:
 *
 *   y = (x - mean) / sqrt(variance + eps) * weight + bias
 *
 * with mean and biased variance over the row's c numbers; x is (rows, c). Source: Ba, Kiros and Hinton, "Layer
 * normalization", 2016. */
#ifndef NF_NN_LAYER_NORM_H
#define NF_NN_LAYER_NORM_H

#include "../core/status.h"

typedef struct nf_layer_norm {
    int64_t rows, c;
    float eps;
    int workers;
} nf_layer_norm;

size_t nf_layer_norm_scratch(const nf_layer_norm *norm);    /* floats */
size_t nf_layer_norm_saved_size(const nf_layer_norm *norm); /* floats of `saved`: what backward needs besides x */

/* `count` rows from `first` on, at which y and x begin; saved, which is of all rows, may be NULL; y may be x. */
nf_status nf_layer_norm_forward(const nf_layer_norm *norm, float *y, float *saved, const float *x, const float *weight,
                                const float *bias, int64_t first, int64_t count);

/* d_x (+)= the gradient of x; d_x may be d_y, and NULL where nobody wants it. */
nf_status nf_layer_norm_backward(const nf_layer_norm *norm, float *d_x, float *d_weight, float *d_bias,
                                 const float *d_y, const float *x, const float *saved, const float *weight,
                                 bool accumulate_input, bool accumulate_parameters, float *scratch);

#endif
