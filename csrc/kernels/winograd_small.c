/* Transforms of Winograd's F(2 x 2, 3 x 3): a 2 x 2 tile of a 3 x 3 convolution from 16 products per channel pair
 * instead of 36. With the points 0, 1, -1 and infinity, whose transforms of pixels are sums and differences alone.
 * Meaning and source as in winograd.c. */
#include "winograd.h"

#include "kernels.h"

NF_INLINE void input_line(vreal *r, const vreal *d) {
    vreal d0 = d[0], d1 = d[1], d2 = d[2], d3 = d[3];
    r[0] = v_sub(d0, d2);
    r[1] = v_add(d1, d2);
    r[2] = v_sub(d2, d1);
    r[3] = v_sub(d3, d1);
}

NF_INLINE void output_line(vreal *y, const vreal *m) {
    vreal m1 = m[1], m2 = m[2];
    y[0] = v_add(m[0], v_add(m1, m2));
    y[1] = v_add(v_sub(m1, m2), m[3]);
}

NF_INLINE void gradient_line(vreal *z, const vreal *y) {
    vreal y0 = y[0], y1 = y[1];
    z[0] = y0;
    z[1] = v_add(y0, y1);
    z[2] = v_sub(y0, y1);
    z[3] = y1;
}

NF_INLINE void weight_line(vreal *u, const vreal *g) {
    vreal half = v_set(0.5f), g1 = g[1], even = v_add(g[0], g[2]);
    u[0] = g[0];
    u[1] = v_mul(half, v_add(even, g1));
    u[2] = v_mul(half, v_sub(even, g1));
    u[3] = g[2];
}

NF_INLINE void weight_gradient_line(vreal *g, const vreal *u) {
    vreal half = v_set(0.5f), u1 = u[1], u2 = u[2], even = v_mul(half, v_add(u1, u2));
    g[0] = v_add(u[0], even);
    g[1] = v_mul(half, v_sub(u1, u2));
    g[2] = v_add(u[3], even);
}

/* v of 4 x 4 pixels of x. */
void NF_KERNEL(winograd_small_input)(float *v, size_t frequency_stride, size_t chunk, size_t chunk_stride,
                                     const float *const *pixels, size_t c, size_t padded, const nf_rescale *rescale,
                                     const float *outside) {
    transform_pixels(input_line, 4, 4, v, frequency_stride, chunk, chunk_stride, pixels, c, padded, rescale, outside);
}

/* z of 2 x 2 pixels of d_y. */
void NF_KERNEL(winograd_small_gradient)(float *z, size_t frequency_stride, size_t chunk, size_t chunk_stride,
                                        const float *const *pixels, size_t k, size_t padded) {
    transform_pixels(gradient_line, 2, 4, z, frequency_stride, chunk, chunk_stride, pixels, k, padded, NULL, NULL);
}

/* 2 x 2 pixels of y. */
void NF_KERNEL(winograd_small_output)(float *const *pixels, const float *m, size_t frequency_stride, size_t k,
                                      bool accumulate, const nf_rescale *rescale) {
    transform_frequencies(output_line, 4, 2, pixels, m, frequency_stride, k, accumulate, rescale);
}

/* The 16 matrices of the taps. */
void NF_KERNEL(winograd_small_weights)(float *u, size_t frequency_stride, const float *g, size_t tap_stride, size_t n) {
    transform_taps(weight_line, 4, u, frequency_stride, g, tap_stride, n);
}

void NF_KERNEL(winograd_small_weights_gradient)(float *d_g, size_t tap_stride, const float *d_u,
                                                size_t frequency_stride, size_t n, bool accumulate) {
    transform_matrices(weight_gradient_line, 4, d_g, tap_stride, d_u, frequency_stride, n, accumulate);
}
