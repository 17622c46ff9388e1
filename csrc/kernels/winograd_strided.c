/* Winograd's transforms for 3 x 3 convolutions of stride 2, tiles of 4 x 4 output pixels. Along one axis such a
 * convolution is the sum of two of stride 1:
 *
 *   y[o] = (g[0] x[2 o] + g[2] x[2 o + 2]) + g[1] x[2 o + 1]
 *
 * The first, of two taps over every other number, is F(4, 2) with the points 0, 1, -1, 1/2 and infinity: 5 products for
 * 4 outputs. The second, of one tap, is 4 products with the same weight. That makes 9 products along one axis and 81
 * for a tile, of 36 different matrices, instead of 144. The gradient of the input is of the same form: with
 * padding 1, from 5 numbers of d_y come 8 of d_x, in even places by the single tap, in odd ones by F(4, 2). Frequencies
 * 0..4 of a line are those of F(4, 2), 5..8 the single tap's; matrices 0..4 and 5. In memory frequencies are in the
 * order of their matrices.
 *
 * Source: as in winograd.c; the split by phases is that of polyphase filters. */
#include "winograd.h"

#include "kernels.h"

/* ---- Lines of F(4, 2) ---- */

NF_INLINE void input_line(vreal *r, const vreal *d) {
    vreal half = v_set(0.5f), d1 = d[1], d2 = d[2], p = v_sub(d[3], d1);
    r[0] = v_sub(v_fma(v_set(2.0f), p, d[0]), d2);
    r[1] = v_fma(half, v_sub(d2, d1), d[3]);
    r[2] = v_fma(half, v_sub(d1, d2), v_sub(d[3], d2));
    r[3] = p;
    r[4] = v_sub(v_fnma(half, p, d[4]), d2);
}

NF_INLINE void gradient_line(vreal *z, const vreal *y) {
    vreal y0 = y[0], y1 = y[1], y2 = y[2], y3 = y[3], even = v_add(y0, y2), odd = v_add(y1, y3);
    z[0] = y0;
    z[1] = v_add(even, odd);
    z[2] = v_sub(even, odd);
    z[3] = v_fma(v_set(0.125f), y3, v_fma(v_set(0.25f), y2, v_fma(v_set(0.5f), y1, y0)));
    z[4] = y3;
}

NF_INLINE void output_line(vreal *y, const vreal *m) {
    vreal s = v_add(m[1], m[2]), d = v_sub(m[1], m[2]), m3 = m[3];
    y[0] = v_add(v_add(m[0], s), m3);
    y[1] = v_fma(v_set(0.5f), m3, d);
    y[2] = v_fma(v_set(0.25f), m3, s);
    y[3] = v_add(v_fma(v_set(0.125f), m3, d), m[4]);
}

/* ---- Tiles: each pair of phases by itself, so that what is under way fits the registers ---- */

enum { PAIRS = 5, SINGLES = 4 }; /* frequencies of either phase along one axis */

/* Places of frequencies in memory: number p of F(4, 2) or of the single tap down, and q across. */
NF_INLINE size_t pair_pair(size_t p, size_t q) {
    return p * (PAIRS + SINGLES) + q;
}

NF_INLINE size_t pair_single(size_t p, size_t q) {
    return pair_pair(p, PAIRS + q);
}

NF_INLINE size_t single_pair(size_t p, size_t q) {
    return pair_pair(PAIRS, 0) + q * SINGLES + p;
}

NF_INLINE size_t single_single(size_t p, size_t q) {
    return single_pair(0, PAIRS) + p * SINGLES + q;
}

/* Where the numbers of the two phases are along one axis: in turns (step 2), or in the same places (step 1). */
NF_INLINE size_t place(size_t step, bool single, size_t i) {
    return i * step + (single ? step - 1 : 0);
}

typedef struct vector_of_pixels {
    const float *const *pixels;
    size_t row, step; /* pixels of a row */
    lanes of;
    const float *outside;
} vector_of_pixels;

NF_INLINE vreal load_phase(vector_of_pixels from, bool single_row, bool single_column, size_t i, size_t j) {
    size_t pixel = place(from.step, single_row, i) * from.row + place(from.step, single_column, j);
    return load_pixel(from.pixels, pixel, &from.of, from.outside);
}

/* One vector of channels; `line` makes PAIRS of `length` numbers. */
NF_INLINE void transform_vector(nf_line line, size_t length, float *v, size_t stride, vector_of_pixels from) {
    vreal d[PAIRS], r[PAIRS], t[PAIRS * PAIRS]; /* t[column][row] */
    NF_UNROLL
    for (size_t i = 0; i < length; i++) {
        NF_UNROLL
        for (size_t j = 0; j < length; j++)
            d[j] = load_phase(from, false, false, i, j);
        line(r, d);
        NF_UNROLL
        for (size_t q = 0; q < PAIRS; q++)
            t[q * length + i] = r[q];
    }
    NF_UNROLL
    for (size_t q = 0; q < PAIRS; q++) {
        line(r, t + q * length);
        NF_UNROLL
        for (size_t p = 0; p < PAIRS; p++)
            v_store(v + pair_pair(p, q) * stride, r[p]);
    }
    NF_UNROLL
    for (size_t i = 0; i < SINGLES; i++) {
        NF_UNROLL
        for (size_t j = 0; j < length; j++)
            d[j] = load_phase(from, true, false, i, j);
        line(r, d);
        NF_UNROLL
        for (size_t q = 0; q < PAIRS; q++)
            v_store(v + single_pair(i, q) * stride, r[q]);
        NF_UNROLL
        for (size_t j = 0; j < SINGLES; j++)
            v_store(v + single_single(i, j) * stride, load_phase(from, true, true, i, j));
    }
    NF_UNROLL
    for (size_t j = 0; j < SINGLES; j++) {
        NF_UNROLL
        for (size_t i = 0; i < length; i++)
            d[i] = load_phase(from, false, true, i, j);
        line(r, d);
        NF_UNROLL
        for (size_t p = 0; p < PAIRS; p++)
            v_store(v + pair_single(p, j) * stride, r[p]);
    }
}

/* Arguments as of transform_pixels; `row` pixels in a row. */
NF_INLINE void transform_phases(nf_line line, size_t length, size_t row, size_t step, float *v, size_t stride,
                                size_t chunk, size_t chunk_stride, const float *const *pixels, size_t c, size_t padded,
                                const nf_rescale *rescale, const float *outside) {
    for (size_t j = 0; j < padded; j += NF_WIDTH) {
        float *out = v + j / chunk * chunk_stride + j % chunk;
        if (j + NF_WIDTH <= c)
            transform_vector(line, length, out, stride,
                             (vector_of_pixels){pixels, row, step, take_lanes(j, NF_WIDTH, rescale), outside});
        else
            transform_vector(
                line, length, out, stride,
                (vector_of_pixels){pixels, row, step, take_lanes(j < c ? j : 0, j < c ? c - j : 0, rescale), outside});
    }
}

NF_INLINE void load_line(vreal *d, const float *m, size_t stride) {
    NF_UNROLL
    for (size_t i = 0; i < PAIRS; i++)
        d[i] = v_load(m + i * stride);
}

/* The SINGLES x SINGLES numbers of both phases' F(4, 2). */
NF_INLINE void output_pairs(vreal *y, const float *m, size_t stride) {
    vreal d[PAIRS], r[SINGLES], t[SINGLES * PAIRS]; /* t[row][column] */
    NF_UNROLL
    for (size_t q = 0; q < PAIRS; q++) {
        load_line(d, m + q * stride, pair_pair(1, 0) * stride);
        output_line(r, d);
        NF_UNROLL
        for (size_t i = 0; i < SINGLES; i++)
            t[i * PAIRS + q] = r[i];
    }
    NF_UNROLL
    for (size_t i = 0; i < SINGLES; i++)
        output_line(y + i * SINGLES, t + i * PAIRS);
}

/* y of one vector of channels: the sum of the phases. */
NF_INLINE void sum_phases(vreal *y, const float *m, size_t stride) {
    vreal d[PAIRS], r[SINGLES];
    output_pairs(y, m, stride);
    NF_UNROLL
    for (size_t i = 0; i < SINGLES; i++) {
        load_line(d, m + single_pair(i, 0) * stride, SINGLES * stride);
        output_line(r, d);
        NF_UNROLL
        for (size_t j = 0; j < SINGLES; j++) {
            vreal single = v_load(m + single_single(i, j) * stride);
            y[i * SINGLES + j] = v_add(y[i * SINGLES + j], v_add(r[j], single));
        }
    }
    NF_UNROLL
    for (size_t j = 0; j < SINGLES; j++) {
        load_line(d, m + pair_single(0, j) * stride, pair_pair(1, 0) * stride);
        output_line(r, d);
        NF_UNROLL
        for (size_t i = 0; i < SINGLES; i++)
            y[i * SINGLES + j] = v_add(y[i * SINGLES + j], r[i]);
    }
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

/* v of 9 x 9 pixels of x. */
void NF_KERNEL(winograd_strided_input)(float *v, size_t frequency_stride, size_t chunk, size_t chunk_stride,
                                       const float *const *pixels, size_t c, size_t padded, const nf_rescale *rescale,
                                       const float *outside) {
    transform_phases(input_line, 5, 9, 2, v, frequency_stride, chunk, chunk_stride, pixels, c, padded, rescale,
                     outside);
}

/* z of 4 x 4 pixels of d_y, for the gradient of the weights. */
void NF_KERNEL(winograd_strided_gradient)(float *z, size_t frequency_stride, size_t chunk, size_t chunk_stride,
                                          const float *const *pixels, size_t k, size_t padded) {
    transform_phases(gradient_line, 4, 4, 1, z, frequency_stride, chunk, chunk_stride, pixels, k, padded, NULL, NULL);
}

/* 4 x 4 pixels of y. */
void NF_KERNEL(winograd_strided_output)(float *const *pixels, const float *m, size_t frequency_stride, size_t k,
                                        bool accumulate, const nf_rescale *rescale) {
    for (size_t j = 0; j < k; j += NF_WIDTH) {
        vreal y[SINGLES * SINGLES];
        lanes of = take_lanes(j, k - j, rescale);
        sum_phases(y, m + j, frequency_stride);
        NF_UNROLL
        for (size_t i = 0; i < SINGLES * SINGLES; i++)
            put_pixel(pixels, i, y[i], &of, accumulate);
    }
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
                                            const float *const *pixels, size_t c, size_t padded,
                                            const nf_rescale *rescale, const float *outside) {
    transform_phases(input_line, 5, 5, 1, v, frequency_stride, chunk, chunk_stride, pixels, c, padded, rescale,
                     outside);
}

/* ... and 8 x 8 pixels of it, each of one pair of phases. */
void NF_KERNEL(winograd_strided_back_output)(float *const *pixels, const float *m, size_t frequency_stride, size_t k,
                                             bool accumulate, const nf_rescale *rescale) {
    enum { ROW = 2 * SINGLES };
    for (size_t j = 0; j < k; j += NF_WIDTH, m += NF_WIDTH) {
        lanes of = take_lanes(j, k - j, rescale);
        vreal y[SINGLES * SINGLES], d[PAIRS], r[SINGLES];
        output_pairs(y, m, frequency_stride);
        NF_UNROLL
        for (size_t i = 0; i < SINGLES; i++) {
            NF_UNROLL
            for (size_t x = 0; x < SINGLES; x++)
                put_pixel(pixels, (2 * i + 1) * ROW + 2 * x + 1, y[i * SINGLES + x], &of, accumulate);
        }
        NF_UNROLL
        for (size_t i = 0; i < SINGLES; i++) {
            load_line(d, m + single_pair(i, 0) * frequency_stride, SINGLES * frequency_stride);
            output_line(r, d);
            NF_UNROLL
            for (size_t x = 0; x < SINGLES; x++) {
                vreal single = v_load(m + single_single(i, x) * frequency_stride);
                put_pixel(pixels, 2 * i * ROW + 2 * x, single, &of, accumulate);
                put_pixel(pixels, 2 * i * ROW + 2 * x + 1, r[x], &of, accumulate);
            }
        }
        NF_UNROLL
        for (size_t x = 0; x < SINGLES; x++) {
            load_line(d, m + pair_single(0, x) * frequency_stride, pair_pair(1, 0) * frequency_stride);
            output_line(r, d);
            NF_UNROLL
            for (size_t i = 0; i < SINGLES; i++)
                put_pixel(pixels, (2 * i + 1) * ROW + 2 * x, r[i], &of, accumulate);
        }
    }
}
