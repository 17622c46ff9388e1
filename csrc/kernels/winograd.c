/* Transforms of Winograd's F(4 x 4, 3 x 3): a 4 x 4 tile of a 3 x 3 convolution from 36 products per channel pair
 * instead of 144. With the points 0, 1, -1, 1/2, -2, whose rounding error is the least of the usual choices:
 *
 *   U = G g G^T   V = B^T d B   Y = A^T [U . V] A       and back   dV = B^T-adjoint,  Z = A dY A^T,  dg = G^T dU G
 *
 * Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016; Barabasz et al., "Error
 * analysis and improving the accuracy of Winograd convolution", 2018.
 *
 * Each kernel works on vectors of channels, one row and column of the tile after the other. */
#include "winograd.h"

#include "kernels.h"

NF_INLINE void input_line(vreal *r, const vreal *d) {
    vreal half3 = v_set(1.5f), d0 = d[0], d1 = d[1], d2 = d[2], d3 = d[3];
    vreal p = v_sub(d[4], d2), q = v_sub(d3, d1);
    r[0] = v_fma(half3, q, v_add(v_sub(d0, d2), p));
    r[1] = v_fma(half3, v_add(d2, d3), v_add(p, q));
    r[2] = v_fma(half3, v_sub(d3, d2), v_sub(p, q));
    r[3] = v_fma(v_set(2.0f), q, p);
    r[4] = v_fnma(v_set(0.5f), q, p);
    r[5] = v_fma(half3, p, v_sub(v_sub(d[5], d3), q));
}

NF_INLINE void output_line(vreal *y, const vreal *m) {
    vreal m0 = m[0], m1 = m[1], m2 = m[2], m3 = m[3], m4 = m[4], m5 = m[5];
    vreal s = v_add(m1, m2), d = v_sub(m1, m2);
    y[0] = v_add(v_add(m0, s), v_add(m3, m4));
    y[1] = v_fma(v_set(0.5f), m3, v_fma(v_set(-2.0f), m4, d));
    y[2] = v_fma(v_set(0.25f), m3, v_fma(v_set(4.0f), m4, s));
    y[3] = v_add(m5, v_fma(v_set(0.125f), m3, v_fma(v_set(-8.0f), m4, d)));
}

NF_INLINE void gradient_line(vreal *z, const vreal *y) {
    vreal y0 = y[0], y1 = y[1], y2 = y[2], y3 = y[3];
    vreal even = v_add(y0, y2), odd = v_add(y1, y3);
    z[0] = y0;
    z[1] = v_add(even, odd);
    z[2] = v_sub(even, odd);
    z[3] = v_fma(v_set(0.125f), y3, v_fma(v_set(0.25f), y2, v_fma(v_set(0.5f), y1, y0)));
    z[4] = v_fma(v_set(-8.0f), y3, v_fma(v_set(4.0f), y2, v_fma(v_set(-2.0f), y1, y0)));
    z[5] = y3;
}

NF_INLINE void weight_line(vreal *u, const vreal *g) {
    vreal g0 = g[0], g1 = g[1], g2 = g[2], even = v_add(g0, g2), third = v_set(1.0f / 3);
    u[0] = g0;
    u[1] = v_mul(third, v_add(even, g1));
    u[2] = v_mul(third, v_sub(g1, even));
    u[3] = v_mul(v_set(-16.0f / 15), v_fma(v_set(0.25f), g2, v_fma(v_set(0.5f), g1, g0)));
    u[4] = v_mul(v_set(1.0f / 15), v_fma(v_set(4.0f), g2, v_fnma(v_set(2.0f), g1, g0)));
    u[5] = g2;
}

NF_INLINE void weight_gradient_line(vreal *g, const vreal *u) {
    vreal third = v_set(1.0f / 3), u1 = v_mul(third, u[1]), u2 = v_mul(third, u[2]);
    vreal u3 = v_mul(v_set(-16.0f / 15), u[3]), u4 = v_mul(v_set(1.0f / 15), u[4]);
    g[0] = v_add(v_add(u[0], v_sub(u1, u2)), v_add(u3, u4));
    g[1] = v_add(v_add(u1, u2), v_fnma(v_set(2.0f), u4, v_mul(v_set(0.5f), u3)));
    g[2] = v_add(v_add(u[5], v_sub(u1, u2)), v_fma(v_set(4.0f), u4, v_mul(v_set(0.25f), u3)));
}

/* v[frequency] = (B^T d B)[frequency] for the 6 x 6 pixels d, each of c channels. */
void NF_KERNEL(winograd_input)(float *v, size_t frequency_stride, size_t chunk, size_t chunk_stride,
                               const float *const *pixels, size_t c, size_t padded, const nf_rescale *rescale,
                               const float *outside) {
    transform_pixels(input_line, 6, 6, v, frequency_stride, chunk, chunk_stride, pixels, c, padded, rescale, outside);
}

/* z[frequency] = (A dY A^T)[frequency] for the 4 x 4 pixels dY, each of k channels. */
void NF_KERNEL(winograd_gradient)(float *z, size_t frequency_stride, size_t chunk, size_t chunk_stride,
                                  const float *const *pixels, size_t k, size_t padded) {
    transform_pixels(gradient_line, 4, 6, z, frequency_stride, chunk, chunk_stride, pixels, k, padded, NULL, NULL);
}

/* The 4 x 4 pixels (+)= A^T m A for the 36 frequencies m, each of k channels. */
void NF_KERNEL(winograd_output)(float *const *pixels, const float *m, size_t frequency_stride, size_t k,
                                bool accumulate, const nf_rescale *rescale) {
    transform_frequencies(output_line, 6, 4, pixels, m, frequency_stride, k, accumulate, rescale);
}

/* u[frequency] = (G g G^T)[frequency]. */
void NF_KERNEL(winograd_weights)(float *u, size_t frequency_stride, const float *g, size_t tap_stride, size_t n) {
    transform_taps(weight_line, 6, u, frequency_stride, g, tap_stride, n);
}

/* The 3 x 3 taps d_g (+)= G^T d_u G. */
void NF_KERNEL(winograd_weights_gradient)(float *d_g, size_t tap_stride, const float *d_u, size_t frequency_stride,
                                          size_t n, bool accumulate) {
    transform_matrices(weight_gradient_line, 6, d_g, tap_stride, d_u, frequency_stride, n, accumulate);
}
