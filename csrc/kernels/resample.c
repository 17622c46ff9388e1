/* Separable resampling of bytes with 22-bit weights, as Pillow does it (Resample.c). */
#include "kernels.h"
#include "pixels.h"

enum { ROWS = 16, SHIFT = NF_WEIGHT_BITS, HALF = 1 << (SHIFT - 1) };

/* `count` (1..16) rows of `width` bytes become `width` columns of 16; missing rows repeat the last one. */
static void gather_columns(uint8_t *columns, const uint8_t *source, size_t source_row, size_t count, size_t width) {
    for (size_t x = 0; x < width; x += 16) {
        size_t some = width - x < 16 ? width - x : 16;
        bytes16 block[ROWS];
        for (size_t i = 0; i < ROWS; i++) {
            const uint8_t *row = source + (i < count ? i : count - 1) * source_row + x;
            if (some == 16) {
                memcpy(&block[i], row, 16);
            } else {
                block[i] = (bytes16){0};
                memcpy(&block[i], row, some);
            }
        }
        transpose16(block);
        memcpy(columns + x * ROWS, block, sizeof block);
    }
}

/* The other way: `width` columns of 16 become `count` rows. */
static void scatter_columns(uint8_t *out, size_t out_row, const uint8_t *columns, size_t count, size_t width) {
    for (size_t x = 0; x < width; x += 16) {
        size_t some = width - x < 16 ? width - x : 16;
        bytes16 block[ROWS];
        memcpy(block, columns + x * ROWS, sizeof block);
        transpose16(block);
        for (size_t i = 0; i < count; i++)
            if (some == 16)
                memcpy(out + i * out_row + x, &block[i], 16);
            else
                memcpy(out + i * out_row + x, &block[i], some);
    }
}

enum { PARTS = ROWS / NF_WIDTH };

/* Weighted sums over `count` columns, `step` bytes apart, for `channels` (a constant) channels side by side. */
NF_INLINE void weigh_columns(uint8_t *out, size_t out_plane, const uint8_t *columns, size_t step,
                             const int32_t *weights, size_t count, size_t channels) {
    vint sums[3][PARTS];
    NF_UNROLL
    for (size_t c = 0; c < channels; c++)
        NF_UNROLL
    for (size_t part = 0; part < PARTS; part++)
        sums[c][part] = vi_set(HALF);
    for (size_t k = 0; k < count; k++) {
        vint weight = vi_set(weights[k]);
        NF_UNROLL
        for (size_t c = 0; c < channels; c++)
            NF_UNROLL
        for (size_t part = 0; part < PARTS; part++) {
            vint pixels = vi_load_bytes(columns + k * step + c * ROWS + part * NF_WIDTH);
            sums[c][part] = vi_add(sums[c][part], vi_mul(pixels, weight));
        }
    }
    NF_UNROLL
    for (size_t c = 0; c < channels; c++)
        NF_UNROLL
    for (size_t part = 0; part < PARTS; part++)
        vi_store_bytes(out + c * out_plane + part * NF_WIDTH, VI_SHIFT_RIGHT(sums[c][part], SHIFT));
}

/* The vectors run across 16 rows at a time, which are transposed on the way in and out. */
static void resample_rows_plainly(uint8_t *out, size_t out_row, size_t out_plane, const uint8_t *source,
                                  size_t source_row, size_t rows, size_t channels, const nf_taps *taps,
                                  uint8_t *scratch) {
    size_t width = (taps->end - taps->begin) * channels, padded = (taps->outputs + 15) / 16 * 16;
    uint8_t *in_columns = scratch, *out_columns = scratch + (width + 15) / 16 * 16 * ROWS;
    source += taps->begin * channels;
    for (size_t y = 0; y < rows; y += ROWS) {
        size_t count = rows - y < ROWS ? rows - y : ROWS;
        gather_columns(in_columns, source + y * source_row, source_row, count, width);
        for (size_t x = 0; x < taps->outputs; x++) {
            const int32_t *weights = taps->weights + x * taps->most;
            const uint8_t *first = in_columns + (taps->start[x] - taps->begin) * channels * ROWS;
            uint8_t *to = out_columns + x * ROWS;
            if (channels == 3) {
                weigh_columns(to, padded * ROWS, first, 3 * ROWS, weights, taps->count[x], 3);
                continue;
            }
            for (size_t c = 0; c < channels; c++)
                weigh_columns(to + c * padded * ROWS, 0, first + c * ROWS, channels * ROWS, weights, taps->count[x], 1);
        }
        for (size_t c = 0; c < channels; c++)
            scatter_columns(out + c * out_plane + y * out_row, out_row, out_columns + c * padded * ROWS, count,
                            taps->outputs);
    }
}

NF_INLINE void weigh_rows(uint8_t *out, const uint8_t *source, size_t source_row, const int32_t *weights, size_t count,
                          int vectors) {
    vint sums[4];
    NF_UNROLL
    for (int i = 0; i < vectors; i++)
        sums[i] = vi_set(HALF);
    for (size_t k = 0; k < count; k++) {
        vint weight = vi_set(weights[k]);
        NF_UNROLL
        for (int i = 0; i < vectors; i++)
            sums[i] = vi_add(sums[i], vi_mul(vi_load_bytes(source + k * source_row + i * NF_WIDTH), weight));
    }
    NF_UNROLL
    for (int i = 0; i < vectors; i++)
        vi_store_bytes(out + i * NF_WIDTH, VI_SHIFT_RIGHT(sums[i], SHIFT));
}

static void weigh_narrow_rows(uint8_t *out, const uint8_t *source, size_t source_row, size_t width,
                              const int32_t *weights, size_t count) {
    for (size_t x = 0; x < width; x++) {
        int32_t sum = HALF;
        for (size_t k = 0; k < count; k++)
            sum += source[k * source_row + x] * weights[k];
        sum >>= SHIFT;
        out[x] = (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
    }
}

static void resample_columns_plainly(uint8_t *out, size_t out_row, const uint8_t *source, size_t source_row,
                                     size_t width, const nf_taps *taps) {
    for (size_t y = 0; y < taps->outputs; y++, out += out_row) {
        const uint8_t *first = source + taps->start[y] * source_row;
        const int32_t *weights = taps->weights + y * taps->most;
        size_t count = taps->count[y], x = 0;
        for (; x + 4 * NF_WIDTH <= width; x += 4 * NF_WIDTH)
            weigh_rows(out + x, first + x, source_row, weights, count, 4);
        for (; x + NF_WIDTH <= width; x += NF_WIDTH)
            weigh_rows(out + x, first + x, source_row, weights, count, 1);
        if (x == width)
            continue;
        if (width >= NF_WIDTH) /* the last vector reaches back over what is done already */
            weigh_rows(out + width - NF_WIDTH, first + width - NF_WIDTH, source_row, weights, count, 1);
        else
            weigh_narrow_rows(out, first, source_row, width, weights, count);
    }
}

#ifdef NF_BYTE_PERMUTE

/* Sums of four products of a byte and a weight in one step each for the three digits of the weights, of 8 bits with
 * sign: w = d0 + 256 (d1 + 256 d2). HALF goes in with the highest. */
enum { DIGITS = 3, MOST_QUADS = 2, HIGH_HALF = HALF >> 16 };

/* A digit of each weight, and what remains. */
NF_INLINE __m128i take_digit(vint *weights) {
    __m128i digit = _mm512_cvtepi32_epi8(*weights);
    *weights = VI_SHIFT_RIGHT(vi_add(*weights, vi_set(128)), 8);
    return digit;
}

/* 16 outputs of a row: where the inputs of four weights each lie in 128 bytes, of which `low` and `high` are needed,
 * and the weights' digits. */
typedef struct group {
    __m512i places[MOST_QUADS], digits[MOST_QUADS][DIGITS];
    __mmask64 low, high;
    size_t begin;
    uint64_t unused[5];
} group;
_Static_assert(sizeof(group) == NF_GROUP_SIZE, "a group's size");

NF_INLINE void split_weights(group *g, const int32_t *weights, size_t quads) {
    for (size_t part = 0; part < 4; part++) {
        vint both[2] = {_mm512_loadu_si512(weights + 16 * quads * part)};
        if (quads == 2) {
            vint next = _mm512_loadu_si512(weights + 32 * part + 16);
            both[1] = _mm512_shuffle_i32x4(both[0], next, 0xdd);
            both[0] = _mm512_shuffle_i32x4(both[0], next, 0x88);
        }
        for (size_t q = 0; q < quads; q++)
            for (size_t d = 0; d < DIGITS; d++)
                _mm_storeu_si128((__m128i *)&g->digits[q][d] + part, take_digit(&both[q]));
    }
}

/* Returns whether the outputs fit into groups. */
static bool make_groups(group *groups, const nf_taps *taps, size_t channels) {
    size_t quads = taps->most / 4;
    if (quads > MOST_QUADS || channels > 64)
        return false;
    uint8_t steps[4 * MOST_QUADS];
    for (size_t k = 0; k < 4 * MOST_QUADS; k++)
        steps[k] = (uint8_t)(k * channels);
    for (size_t x = 0; x < taps->outputs; x += 16, groups++) {
        vint start = _mm512_loadu_si512(taps->start + x), count = _mm512_loadu_si512(taps->count + x);
        size_t begin = _mm512_reduce_min_epu32(start), end = _mm512_reduce_max_epu32(vi_add(start, count));
        size_t needed = (end - begin) * channels;
        if (needed > 128)
            return false;
        groups->begin = begin * channels;
        groups->low = needed >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << needed) - 1;
        groups->high = needed <= 64 ? 0 : ~(__mmask64)0 >> (128 - needed);
        vint first = vi_mul(vi_sub(start, vi_set((int32_t)begin)), vi_set((int32_t)channels * 0x01010101));
        for (size_t q = 0; q < quads; q++) {
            int32_t four;
            memcpy(&four, steps + 4 * q, sizeof four);
            groups->places[q] = _mm512_add_epi8(first, vi_set(four));
        }
        split_weights(groups, taps->weights + x * taps->most, quads);
    }
    return true;
}

NF_BYTE_PERMUTE static inline vint weigh_quads(const __m512i pixels[MOST_QUADS],
                                               const __m512i digits[MOST_QUADS][DIGITS], size_t quads) {
    vint sum = vi_set(HIGH_HALF);
    NF_UNROLL
    for (int d = DIGITS - 1; d >= 0; d--) {
        NF_UNROLL
        for (size_t q = 0; q < quads; q++)
            sum = _mm512_dpbusd_epi32(sum, pixels[q], digits[q][d]);
        if (d > 0)
            sum = _mm512_slli_epi32(sum, 8);
    }
    return VI_SHIFT_RIGHT(sum, SHIFT);
}

NF_BYTE_PERMUTE static inline void weigh_groups(uint8_t *out, size_t out_plane, const uint8_t *row, const group *g,
                                                size_t channels, size_t quads, __mmask16 wanted) {
    __m512i low = _mm512_maskz_loadu_epi8(g->low, row + g->begin);
    __m512i high = _mm512_maskz_loadu_epi8(g->high, row + g->begin + 64);
    NF_UNROLL
    for (size_t c = 0; c < channels; c++) {
        __m512i pixels[MOST_QUADS];
        NF_UNROLL
        for (size_t q = 0; q < quads; q++)
            pixels[q] = _mm512_permutex2var_epi8(low, _mm512_add_epi8(g->places[q], _mm512_set1_epi8((char)c)), high);
        vint sums = _mm512_max_epi32(weigh_quads(pixels, g->digits, quads), _mm512_setzero_si512());
        _mm_mask_storeu_epi8(out + c * out_plane, wanted, _mm512_cvtusepi32_epi8(sums));
    }
}

NF_BYTE_PERMUTE static void resample_rows_permuting(uint8_t *out, size_t out_row, size_t out_plane,
                                                    const uint8_t *source, size_t source_row, size_t rows,
                                                    size_t channels, const nf_taps *taps, const group *groups) {
    for (size_t begin = 0; begin < rows; begin += ROWS) {
        size_t end = rows - begin < ROWS ? rows : begin + ROWS;
        for (size_t x = 0; x < taps->outputs; x += 16) {
            const group *g = groups + x / 16;
            size_t left = taps->outputs - x;
            __mmask16 wanted = left >= 16 ? (__mmask16)0xffff : (__mmask16)((1u << left) - 1);
            for (size_t y = begin; y < end; y++) {
                uint8_t *to = out + y * out_row + x;
                const uint8_t *from = source + y * source_row;
                if (channels == 3 && taps->most == 4)
                    weigh_groups(to, out_plane, from, g, 3, 1, wanted);
                else if (taps->most == 4)
                    weigh_groups(to, out_plane, from, g, channels, 1, wanted);
                else
                    weigh_groups(to, out_plane, from, g, channels, 2, wanted);
            }
        }
    }
}

/* 64 columns of an output: rows are interleaved by fours. `most` (2, 4 or 8) rows matter. */
NF_BYTE_PERMUTE static inline void weigh_rows64(uint8_t *out, const uint8_t *const *rows, size_t x, size_t most,
                                                const __m512i digits[MOST_QUADS][DIGITS], __mmask64 wanted) {
    size_t quads = (most + 3) / 4;
    __m512i pixels[4][MOST_QUADS];
    NF_UNROLL
    for (size_t q = 0; q < quads; q++) {
        __m512i four[4];
        NF_UNROLL
        for (size_t k = 0; k < 4; k++)
            four[k] = 4 * q + k < most ? _mm512_maskz_loadu_epi8(wanted, rows[4 * q + k] + x) : _mm512_setzero_si512();
        __m512i first = _mm512_unpacklo_epi8(four[0], four[1]), second = _mm512_unpacklo_epi8(four[2], four[3]);
        pixels[0][q] = _mm512_unpacklo_epi16(first, second), pixels[1][q] = _mm512_unpackhi_epi16(first, second);
        first = _mm512_unpackhi_epi8(four[0], four[1]), second = _mm512_unpackhi_epi8(four[2], four[3]);
        pixels[2][q] = _mm512_unpacklo_epi16(first, second), pixels[3][q] = _mm512_unpackhi_epi16(first, second);
    }
    vint sums[4];
    NF_UNROLL
    for (size_t part = 0; part < 4; part++)
        sums[part] = weigh_quads(pixels[part], digits, quads);
    __m512i bytes = _mm512_packus_epi16(_mm512_packs_epi32(sums[0], sums[1]), _mm512_packs_epi32(sums[2], sums[3]));
    _mm512_mask_storeu_epi8(out + x, wanted, bytes);
}

NF_BYTE_PERMUTE static inline void weigh_row_group(uint8_t *out, const uint8_t *source, size_t source_row, size_t width,
                                                   size_t count, const int32_t *weights, size_t most) {
    __m512i digits[MOST_QUADS][DIGITS];
    NF_UNROLL
    for (size_t q = 0; q < (most + 3) / 4; q++) {
        vint four = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(weights + 4 * q)));
        NF_UNROLL
        for (size_t d = 0; d < DIGITS; d++)
            digits[q][d] = _mm512_broadcastd_epi32(take_digit(&four));
    }
    const uint8_t *rows[4 * MOST_QUADS];
    for (size_t k = 0; k < most; k++)
        rows[k] = source + (k < count ? k : 0) * source_row;
    for (size_t x = 0; x < width; x += 64) {
        __mmask64 wanted = width - x >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << (width - x)) - 1;
        weigh_rows64(out, rows, x, most, digits, wanted);
    }
}

NF_BYTE_PERMUTE static void resample_columns_permuting(uint8_t *out, size_t out_row, const uint8_t *source,
                                                       size_t source_row, size_t width, const nf_taps *taps) {
    for (size_t y = 0; y < taps->outputs; y++, out += out_row) {
        const uint8_t *first = source + taps->start[y] * source_row;
        const int32_t *weights = taps->weights + y * taps->most;
        size_t count = taps->count[y];
        if (count <= 2)
            weigh_row_group(out, first, source_row, width, count, weights, 2);
        else if (count <= 4)
            weigh_row_group(out, first, source_row, width, count, weights, 4);
        else
            weigh_row_group(out, first, source_row, width, count, weights, 8);
    }
}

void NF_KERNEL(resample_rows)(uint8_t *out, size_t out_row, size_t out_plane, const uint8_t *source, size_t source_row,
                              size_t rows, size_t channels, const nf_taps *taps, void *scratch) {
    if (has_byte_permute() && make_groups(scratch, taps, channels))
        resample_rows_permuting(out, out_row, out_plane, source, source_row, rows, channels, taps, scratch);
    else
        resample_rows_plainly(out, out_row, out_plane, source, source_row, rows, channels, taps, scratch);
}

void NF_KERNEL(resample_columns)(uint8_t *out, size_t out_row, const uint8_t *source, size_t source_row, size_t width,
                                 const nf_taps *taps) {
    if (has_byte_permute() && taps->most <= 4 * MOST_QUADS)
        resample_columns_permuting(out, out_row, source, source_row, width, taps);
    else
        resample_columns_plainly(out, out_row, source, source_row, width, taps);
}

#else

void NF_KERNEL(resample_rows)(uint8_t *out, size_t out_row, size_t out_plane, const uint8_t *source, size_t source_row,
                              size_t rows, size_t channels, const nf_taps *taps, void *scratch) {
    resample_rows_plainly(out, out_row, out_plane, source, source_row, rows, channels, taps, scratch);
}

void NF_KERNEL(resample_columns)(uint8_t *out, size_t out_row, const uint8_t *source, size_t source_row, size_t width,
                                 const nf_taps *taps) {
    resample_columns_plainly(out, out_row, source, source_row, width, taps);
}

#endif
