/* Layers that work number by number: activations and the residual sum, y = a + b. Also the checked copy by which a
 * network takes its input, and the storage of numbers as bfloat16.
 *   relu(x) = max(x, 0)   gelu(x) = x Phi(x), Phi the normal distribution's integral   silu(x) = x / (1 + exp(-x))
 * Source: Hendrycks and Gimpel, "Gaussian error linear units", 2016. */
#ifndef NF_NN_ELEMENTWISE_H
#define NF_NN_ELEMENTWISE_H

#include "../core/status.h"

/* kind: NF_RELU, NF_GELU or NF_SILU; y may be x */
nf_status nf_activation_forward(nf_layer_kind kind, float *y, const float *x, int64_t size, int workers);
/* seen: y for NF_RELU, else x */
nf_status nf_activation_backward(nf_layer_kind kind, float *d_x, const float *d_y, const float *seen, int64_t size,
                                 bool accumulate, int workers);

nf_status nf_sum_forward(float *y, const float *a, const float *b, int64_t size, int workers);
nf_status nf_sum_backward(float *d_a, const float *d_y, int64_t size, bool accumulate,
                          int workers); /* for one of them */

/* Rounds to bfloat16, the upper half of a float, to the nearest with ties to even; and back. */
nf_status nf_to_bfloat16(uint16_t *y, const float *x, int64_t size, int workers);
nf_status nf_from_bfloat16(float *y, const uint16_t *x, int64_t size, int workers);

/* y = x; fails unless all of x, called `name` in the message, is finite. */
nf_status nf_copy_finite(float *y, const float *x, int64_t size, const char *name, int workers);

#endif
