/* Pooling of (n, h, w, c) images.
 *   maximum: y[n, oy, ox, c] = max over the window of x; pixels outside the image do not count; of equal ones the first
 *   global average: y[n, c] = mean over all pixels of x[n, ., ., c] */
#ifndef NF_NN_POOL_H
#define NF_NN_POOL_H

#include "../core/status.h"

enum { NF_MAX_POOL_KERNEL = 15 }; /* along one side: a place in the window fits a byte */

typedef struct nf_pool {
    int64_t n, h, w, c, out_h, out_w;
    int64_t kernel, stride, padding;
    int workers;
} nf_pool;

/* index (n, out_h, out_w, c): which pixel of the window was chosen, for backward. */
nf_status nf_max_pool_forward(const nf_pool *pool, float *y, uint8_t *index, const float *x);
nf_status nf_max_pool_backward(const nf_pool *pool, float *d_x, const float *d_y, const uint8_t *index,
                               bool accumulate);

nf_status nf_average_pool_forward(const nf_pool *pool, float *y, const float *x);
nf_status nf_average_pool_backward(const nf_pool *pool, float *d_x, const float *d_y, bool accumulate);

#endif
