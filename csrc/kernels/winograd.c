/* Transforms of Winograd's F(4 x 4, 3 x 3): a 4 x 4 tile of a 3 x 3 convolution from 36 products per channel pair
 * instead of 144. With the points 0, 1, -1, 1/2, -2, whose rounding error is the least of the usual choices:
 *
 *   U = G g G^T   V = B^T d B   Y = A^T [U . V] A       and back   dV = B^T-adjoint,  Z = A dY A^T,  dg = G^T dU G
 *
 * Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016; Barabasz et al., "Error
 * analysis and improving the accuracy of Winograd convolution", 2018.
 *
 * Each kernel works on vectors of channels, one row and column of the tile after the other. */
#include "kernels.h"
#include "vector.h"

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

/* Where number j of a row goes: chunks of `chunk` numbers, `stride` apart. */
NF_INLINE size_t chunked(size_t j, size_t chunk, size_t stride) {
    return j / chunk * stride + j % chunk;
}

/* v[frequency] = (B^T d B)[frequency] for the 6 x 6 pixels d, each of c channels; channels up to `padded` become zero.
 */
void NF_KERNEL(winograd_input)(float *v, size_t frequency_stride, size_t chunk, size_t chunk_stride,
                               const float *const *pixels, size_t c, size_t padded) {
    for (size_t j = 0; j < padded; j += NF_WIDTH) {
        vreal d[6], t[36], r[6]; /* t[column][row] */
        size_t rest = j < c ? c - j : 0;
        for (size_t row = 0; row < 6; row++) {
            NF_UNROLL
            for (size_t i = 0; i < 6; i++)
                d[i] = v_load_some(pixels[row * 6 + i] + (rest ? j : 0), rest);
            input_line(r, d);
            NF_UNROLL
            for (size_t i = 0; i < 6; i++)
                t[i * 6 + row] = r[i];
        }
        float *out = v + chunked(j, chunk, chunk_stride);
        for (size_t column = 0; column < 6; column++) {
            input_line(r, t + column * 6);
            NF_UNROLL
            for (size_t i = 0; i < 6; i++)
                v_store(out + (i * 6 + column) * frequency_stride, r[i]);
        }
    }
}

/* z[frequency] = (A dY A^T)[frequency] for the 4 x 4 pixels dY, each of k channels; channels up to `padded` become
 * zero. */
void NF_KERNEL(winograd_gradient)(float *z, size_t frequency_stride, size_t chunk, size_t chunk_stride,
                                  const float *const *pixels, size_t k, size_t padded) {
    for (size_t j = 0; j < padded; j += NF_WIDTH) {
        vreal d[4], t[24], r[6]; /* t[column][row] */
        size_t rest = j < k ? k - j : 0;
        for (size_t row = 0; row < 4; row++) {
            NF_UNROLL
            for (size_t i = 0; i < 4; i++)
                d[i] = v_load_some(pixels[row * 4 + i] + (rest ? j : 0), rest);
            gradient_line(r, d);
            NF_UNROLL
            for (size_t i = 0; i < 6; i++)
                t[i * 4 + row] = r[i];
        }
        float *out = z + chunked(j, chunk, chunk_stride);
        for (size_t column = 0; column < 6; column++) {
            gradient_line(r, t + column * 4);
            NF_UNROLL
            for (size_t i = 0; i < 6; i++)
                v_store(out + (i * 6 + column) * frequency_stride, r[i]);
        }
    }
}

/* The 4 x 4 pixels (+)= A^T m A for the 36 frequencies m, each of k channels. */
void NF_KERNEL(winograd_output)(float *const *pixels, const float *m, size_t frequency_stride, size_t k,
                                bool accumulate) {
    for (size_t j = 0; j < k; j += NF_WIDTH) {
        vreal d[6], t[24], r[4]; /* t[row of the result][column] */
        size_t rest = k - j;
        for (size_t column = 0; column < 6; column++) {
            NF_UNROLL
            for (size_t i = 0; i < 6; i++)
                d[i] = v_load(m + (i * 6 + column) * frequency_stride + j); /* rows of m are padded */
            output_line(r, d);
            NF_UNROLL
            for (size_t i = 0; i < 4; i++)
                t[i * 6 + column] = r[i];
        }
        for (size_t row = 0; row < 4; row++) {
            output_line(r, t + row * 6);
            NF_UNROLL
            for (size_t i = 0; i < 4; i++) {
                float *y = pixels[row * 4 + i] + j;
                v_store_some(y, accumulate ? v_add(v_load_some(y, rest), r[i]) : r[i], rest);
            }
        }
    }
}

/* u[frequency] = (G g G^T)[frequency] for the 3 x 3 taps g of n weights; n a multiple of the vector's width. */
void NF_KERNEL(winograd_weights)(float *u, size_t frequency_stride, const float *g, size_t tap_stride, size_t n) {
    for (size_t j = 0; j < n; j += NF_WIDTH) {
        vreal d[9], t[18], r[6]; /* t[column][row] */
        NF_UNROLL
        for (size_t i = 0; i < 9; i++)
            d[i] = v_load(g + i * tap_stride + j);
        NF_UNROLL
        for (size_t row = 0; row < 3; row++) {
            weight_line(r, d + row * 3);
            NF_UNROLL
            for (size_t i = 0; i < 6; i++)
                t[i * 3 + row] = r[i];
        }
        NF_UNROLL
        for (size_t column = 0; column < 6; column++) {
            weight_line(r, t + column * 3);
            NF_UNROLL
            for (size_t i = 0; i < 6; i++)
                v_store(u + (i * 6 + column) * frequency_stride + j, r[i]);
        }
    }
}

/* The 3 x 3 taps d_g (+)= G^T d_u G for the 36 frequencies d_u of n weights. */
void NF_KERNEL(winograd_weights_gradient)(float *d_g, size_t tap_stride, const float *d_u, size_t frequency_stride,
                                          size_t n, bool accumulate) {
    for (size_t j = 0; j < n; j += NF_WIDTH) {
        vreal d[6], t[18], r[3]; /* t[row of the result][column] */
        size_t rest = n - j;
        NF_UNROLL
        for (size_t column = 0; column < 6; column++) {
            NF_UNROLL
            for (size_t i = 0; i < 6; i++)
                d[i] = v_load_some(d_u + (i * 6 + column) * frequency_stride + j, rest);
            weight_gradient_line(r, d);
            NF_UNROLL
            for (size_t i = 0; i < 3; i++)
                t[i * 6 + column] = r[i];
        }
        NF_UNROLL
        for (size_t row = 0; row < 3; row++) {
            weight_gradient_line(r, t + row * 6);
            NF_UNROLL
            for (size_t i = 0; i < 3; i++) {
                float *out = d_g + (row * 3 + i) * tap_stride + j;
                v_store_some(out, accumulate ? v_add(v_load_some(out, rest), r[i]) : r[i], rest);
            }
        }
    }
}
