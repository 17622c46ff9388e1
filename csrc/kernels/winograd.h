/* What Winograd's transforms have in common: a transform of lines, along one axis of a tile and then along the other,
 * on vectors of channels. `line(r, d)` makes `to` numbers r of `from` numbers d; the sizes and the line are constants
 * wherever these are inlined. */
#ifndef NF_KERNELS_WINOGRAD_H
#define NF_KERNELS_WINOGRAD_H

#include <stdbool.h>

#include "kernels.h"
#include "vector.h"

typedef void (*nf_line)(vreal *r, const vreal *d);

enum { NF_LONGEST_LINE = 9, NF_MOST_MATRICES = 6 }; /* matrices: along one axis */

/* y (+)= `value`, or its first `rest` lanes. */
NF_INLINE void put(float *y, vreal value, size_t rest, bool accumulate) {
    v_store_some(y, accumulate ? v_add(v_load_some(y, rest), value) : value, rest);
}

/* A vector of channels, from channel j on, or its first `rest` lanes; and what is done to it, unless NULL. */
typedef struct lanes {
    size_t j, rest;
    const nf_rescale *rescale;
    vreal factor, shift;
} lanes;

NF_INLINE lanes take_lanes(size_t j, size_t rest, const nf_rescale *rescale) {
    lanes of = {.j = j, .rest = rest, .rescale = rescale};
    of.factor = rescale ? v_load_some(rescale->factor + j, rest) : v_zero();
    of.shift = rescale ? v_load_some(rescale->shift + j, rest) : v_zero();
    return of;
}

NF_INLINE vreal rescaled(vreal value, const lanes *of, size_t pixel) {
    value = v_fma(of->factor, value, of->shift);
    if (of->rescale->addend)
        value = v_add(value, v_load_some(of->rescale->addend[pixel] + of->j, of->rest));
    return of->rescale->relu ? v_max(value, v_zero()) : value;
}

/* Pixels outside the image stay what they are. */
NF_INLINE vreal load_pixel(const float *const *pixels, size_t pixel, const lanes *of, const float *outside) {
    vreal value = v_load_some(pixels[pixel] + of->j, of->rest);
    return of->rescale && pixels[pixel] != outside ? rescaled(value, of, pixel) : value;
}

NF_INLINE void put_pixel(float *const *pixels, size_t pixel, vreal value, const lanes *of, bool accumulate) {
    put(pixels[pixel] + of->j, of->rescale ? rescaled(value, of, pixel) : value, of->rest, accumulate);
}

/* v[frequency] of the from x from pixels, each of c channels, channels up to `padded` zero; number j of a row of
 * channels goes to chunks of `chunk` numbers, `chunk_stride` apart. */
NF_INLINE void transform_pixels(nf_line line, size_t from, size_t to, float *v, size_t frequency_stride, size_t chunk,
                                size_t chunk_stride, const float *const *pixels, size_t c, size_t padded,
                                const nf_rescale *rescale, const float *outside) {
    for (size_t j = 0; j < padded; j += NF_WIDTH) {
        vreal d[NF_LONGEST_LINE], r[NF_LONGEST_LINE], t[NF_LONGEST_LINE * NF_LONGEST_LINE]; /* t[column][row] */
        lanes of = take_lanes(j < c ? j : 0, j < c ? c - j : 0, rescale);
        for (size_t row = 0; row < from; row++) {
            NF_UNROLL
            for (size_t i = 0; i < from; i++)
                d[i] = load_pixel(pixels, row * from + i, &of, outside);
            line(r, d);
            NF_UNROLL
            for (size_t i = 0; i < to; i++)
                t[i * from + row] = r[i];
        }
        float *out = v + j / chunk * chunk_stride + j % chunk;
        for (size_t column = 0; column < to; column++) {
            line(r, t + column * from);
            NF_UNROLL
            for (size_t i = 0; i < to; i++)
                v_store(out + (i * to + column) * frequency_stride, r[i]);
        }
    }
}

/* The to x to pixels, each of k channels, (+)= those of the frequencies m, whose rows are whole vectors, and which
 * `rescale` is done to. */
NF_INLINE void transform_frequencies(nf_line line, size_t from, size_t to, float *const *pixels, const float *m,
                                     size_t frequency_stride, size_t k, bool accumulate, const nf_rescale *rescale) {
    for (size_t j = 0; j < k; j += NF_WIDTH) {
        vreal d[NF_LONGEST_LINE], r[NF_LONGEST_LINE], t[NF_LONGEST_LINE * NF_LONGEST_LINE]; /* t[row][column] */
        lanes of = take_lanes(j, k - j, rescale);
        for (size_t column = 0; column < from; column++) {
            NF_UNROLL
            for (size_t i = 0; i < from; i++)
                d[i] = v_load(m + (i * from + column) * frequency_stride + j);
            line(r, d);
            NF_UNROLL
            for (size_t i = 0; i < to; i++)
                t[i * from + column] = r[i];
        }
        for (size_t row = 0; row < to; row++) {
            line(r, t + row * from);
            NF_UNROLL
            for (size_t i = 0; i < to; i++)
                put_pixel(pixels, row * to + i, r[i], &of, accumulate);
        }
    }
}

/* The to x to matrices u of the 3 x 3 taps g of n weights; n a multiple of the vector's width. */
NF_INLINE void transform_taps(nf_line line, size_t to, float *u, size_t frequency_stride, const float *g,
                              size_t tap_stride, size_t n) {
    for (size_t j = 0; j < n; j += NF_WIDTH) {
        vreal d[9], t[3 * NF_MOST_MATRICES], r[NF_MOST_MATRICES]; /* t[column][row] */
        NF_UNROLL
        for (size_t i = 0; i < 9; i++)
            d[i] = v_load(g + i * tap_stride + j);
        NF_UNROLL
        for (size_t row = 0; row < 3; row++) {
            line(r, d + row * 3);
            NF_UNROLL
            for (size_t i = 0; i < to; i++)
                t[i * 3 + row] = r[i];
        }
        NF_UNROLL
        for (size_t column = 0; column < to; column++) {
            line(r, t + column * 3);
            NF_UNROLL
            for (size_t i = 0; i < to; i++)
                v_store(u + (i * to + column) * frequency_stride + j, r[i]);
        }
    }
}

/* The 3 x 3 taps d_g (+)= those of the from x from matrices d_u. */
NF_INLINE void transform_matrices(nf_line line, size_t from, float *d_g, size_t tap_stride, const float *d_u,
                                  size_t frequency_stride, size_t n, bool accumulate) {
    for (size_t j = 0; j < n; j += NF_WIDTH) {
        vreal d[NF_MOST_MATRICES], t[3 * NF_MOST_MATRICES], r[3]; /* t[row of the result][column] */
        size_t rest = n - j;
        NF_UNROLL
        for (size_t column = 0; column < from; column++) {
            NF_UNROLL
            for (size_t i = 0; i < from; i++)
                d[i] = v_load_some(d_u + (i * from + column) * frequency_stride + j, rest);
            line(r, d);
            NF_UNROLL
            for (size_t i = 0; i < 3; i++)
                t[i * from + column] = r[i];
        }
        NF_UNROLL
        for (size_t row = 0; row < 3; row++) {
            line(r, t + row * from);
            NF_UNROLL
            for (size_t i = 0; i < 3; i++)
                put(d_g + (row * 3 + i) * tap_stride + j, r[i], rest, accumulate);
        }
    }
}

#endif
