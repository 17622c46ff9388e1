/* Layers that work number by number: ReLU, y = max(x, 0), and the residual sum, y = a + b. Also the checked copy by
 * which a network takes its input. */
#ifndef NF_NN_ELEMENTWISE_H
#define NF_NN_ELEMENTWISE_H

#include "../core/status.h"

nf_status nf_relu_forward(float *y, const float *x, int64_t size, int workers); /* y may be x */
nf_status nf_relu_backward(float *d_x, const float *d_y, const float *y, int64_t size, bool accumulate, int workers);

nf_status nf_sum_forward(float *y, const float *a, const float *b, int64_t size, int workers);
nf_status nf_sum_backward(float *d_a, const float *d_y, int64_t size, bool accumulate,
                          int workers); /* for one of them */

/* y = x; fails unless all of x, called `name` in the message, is finite. */
nf_status nf_copy_finite(float *y, const float *x, int64_t size, const char *name, int workers);

#endif
