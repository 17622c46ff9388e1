/* Winograd's transforms for 3 x 3 convolutions of stride 2, tiles of 4 x 4 output pixels. Along one axis such a
 * convolution is the sum of two of stride 1:
 *
 *   y[o] = (g[0] x[2 o] + g[2] x[2 o + 2]) + g[1] x[2 o + 1]
 *
 * The first, of two taps over every other number, is F(4, 2) with the points 0, 1, -1, 1/2 and infinity: 5 products for
 * 4 outputs. The second, of one tap, is 4 products with the same weight. That makes 9 products along one axis and 81
 * for a tile, of 36 different matrices, instead of 144. The gradient of the input is of the same form: with
 * padding 1, from 5 numbers of d_y come 8 of d_x, in even places by the single tap, in odd ones by F(4, 2). Frequencies
 * 0..4 of a line are those of F(4, 2), 5..8 the single tap's; matrices 0..4 and 5.
 *
 * Source: as in winograd.c; the split by phases is that of polyphase filters. */
#include "winograd.h"

#include "kernels.h"

/* B^T of F(4, 2) for five numbers. */
NF_INLINE void two_tap_input(vreal *r, vreal d0, vreal d1, vreal d2, vreal d3, vreal d4) {
    vreal half = v_set(0.5f), p = v_sub(d3, d1);
    r[0] = v_sub(v_fma(v_set(2.0f), p, d0), d2);
    r[1] = v_fma(half, v_sub(d2, d1), d3);
    r[2] = v_fma(half, v_sub(d1, d2), v_sub(d3, d2));
    r[3] = p;
    r[4] = v_sub(v_fnma(half, p, d4), d2);
}

/* A^T of F(4, 2), added to the single tap's numbers. */
NF_INLINE void two_tap_output(vreal *y, const vreal *m) {
    vreal s = v_add(m[1], m[2]), d = v_sub(m[1], m[2]), m3 = m[3];
    y[0] = v_add(v_add(m[0], s), m3);
    y[1] = v_fma(v_set(0.5f), m3, d);
    y[2] = v_fma(v_set(0.25f), m3, s);
    y[3] = v_add(v_fma(v_set(0.125f), m3, d), m[4]);
}

NF_INLINE void strided_input_line(vreal *r, const vreal *d) {
    two_tap_input(r, d[0], d[2], d[4], d[6], d[8]);
    NF_UNROLL
    for (int i = 0; i < 4; i++)
        r[5 + i] = d[2 * i + 1];
}

NF_INLINE void strided_output_line(vreal *y, const vreal *m) {
    two_tap_output(y, m);
    NF_UNROLL
    for (int i = 0; i < 4; i++)
        y[i] = v_add(y[i], m[5 + i]);
}

NF_INLINE void strided_gradient_line(vreal *z, const vreal *y) {
    vreal y0 = y[0], y1 = y[1], y2 = y[2], y3 = y[3], even = v_add(y0, y2), odd = v_add(y1, y3);
    z[0] = y0;
    z[1] = v_add(even, odd);
    z[2] = v_sub(even, odd);
    z[3] = v_fma(v_set(0.125f), y3, v_fma(v_set(0.25f), y2, v_fma(v_set(0.5f), y1, y0)));
    z[4] = y3;
    NF_UNROLL
    for (int i = 0; i < 4; i++)
        z[5 + i] = y[i];
}

NF_INLINE void strided_weight_line(vreal *u, const vreal *g) {
    vreal g0 = g[0], g1 = g[1], g2 = g[2];
    u[0] = g0;
    u[1] = v_add(g0, g2);
    u[2] = v_mul(v_set(1.0f / 3), v_sub(g2, g0));
    u[3] = v_mul(v_set(-8.0f / 3), v_fma(v_set(0.5f), g2, g0));
    u[4] = g2;
    u[5] = g1;
}

NF_INLINE void strided_weight_gradient_line(vreal *g, const vreal *u) {
    vreal u1 = u[1], u2 = v_mul(v_set(1.0f / 3), u[2]), u3 = v_mul(v_set(-8.0f / 3), u[3]);
    g[0] = v_add(v_add(u[0], v_sub(u1, u2)), u3);
    g[1] = u[5];
    g[2] = v_add(v_add(u[4], v_add(u1, u2)), v_mul(v_set(0.5f), u3));
}

NF_INLINE void strided_back_input_line(vreal *r, const vreal *d) {
    two_tap_input(r, d[0], d[1], d[2], d[3], d[4]);
    NF_UNROLL
    for (int i = 0; i < 4; i++)
        r[5 + i] = d[i];
}

NF_INLINE void strided_back_output_line(vreal *y, const vreal *m) {
    vreal two[4];
    two_tap_output(two, m);
    NF_UNROLL
    for (int i = 0; i < 4; i++) {
        y[2 * i] = m[5 + i];
        y[2 * i + 1] = two[i];
    }
}

/* v of 9 x 9 pixels of x. */
void NF_KERNEL(winograd_strided_input)(float *v, size_t frequency_stride, size_t chunk, size_t chunk_stride,
                                       const float *const *pixels, size_t c, size_t padded) {
    transform_pixels(strided_input_line, 9, 9, v, frequency_stride, chunk, chunk_stride, pixels, c, padded);
}

/* z of 4 x 4 pixels of d_y, for the gradient of the weights. */
void NF_KERNEL(winograd_strided_gradient)(float *z, size_t frequency_stride, size_t chunk, size_t chunk_stride,
                                          const float *const *pixels, size_t k, size_t padded) {
    transform_pixels(strided_gradient_line, 4, 9, z, frequency_stride, chunk, chunk_stride, pixels, k, padded);
}

/* 4 x 4 pixels of y. */
void NF_KERNEL(winograd_strided_output)(float *const *pixels, const float *m, size_t frequency_stride, size_t k,
                                        bool accumulate) {
    transform_frequencies(strided_output_line, 9, 4, pixels, m, frequency_stride, k, accumulate);
}

/* The 36 matrices of the taps. */
void NF_KERNEL(winograd_strided_weights)(float *u, size_t frequency_stride, const float *g, size_t tap_stride,
                                         size_t n) {
    transform_taps(strided_weight_line, 6, u, frequency_stride, g, tap_stride, n);
}

void NF_KERNEL(winograd_strided_weights_gradient)(float *d_g, size_t tap_stride, const float *d_u,
                                                  size_t frequency_stride, size_t n, bool accumulate) {
    transform_matrices(strided_weight_gradient_line, 6, d_g, tap_stride, d_u, frequency_stride, n, accumulate);
}

/* Frequencies of 5 x 5 pixels of d_y, for the gradient of the input, ... */
void NF_KERNEL(winograd_strided_back_input)(float *v, size_t frequency_stride, size_t chunk, size_t chunk_stride,
                                            const float *const *pixels, size_t c, size_t padded) {
    transform_pixels(strided_back_input_line, 5, 9, v, frequency_stride, chunk, chunk_stride, pixels, c, padded);
}

/* ... and 8 x 8 pixels of it. */
void NF_KERNEL(winograd_strided_back_output)(float *const *pixels, const float *m, size_t frequency_stride, size_t k,
                                             bool accumulate) {
    transform_frequencies(strided_back_output_line, 9, 8, pixels, m, frequency_stride, k, accumulate);
}
