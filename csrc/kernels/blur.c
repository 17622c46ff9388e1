/* The two passes of a filter of bytes in whole numbers of 16 bits, so that all instruction sets give the same bits.
 * Neighbours are weighed two at a time: 16-bit numbers side by side, times two weights, is one sum in 32 bits. The same
 * pairs serve two outputs next to each other, the second of which has its weights one place later. */
#include "kernels.h"
#include "pixels.h"

typedef int32_t vnumbers __attribute__((vector_size(4 * NF_WIDTH)));

NF_INLINE void store_shorts(int16_t *p, vint a) {
#if defined(__AVX512F__)
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(a));
#elif defined(__AVX2__)
    __m256i shorts = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, a), 0x08);
    _mm_storeu_si128((__m128i *)p, _mm256_castsi256_si128(shorts));
#else
    for (int i = 0; i < NF_WIDTH; i++)
        p[i] = (int16_t)a[i];
#endif
}

/* Numbers of 0..255 by turns. */
NF_INLINE void store_byte_pairs(uint8_t *p, vnumbers even, vnumbers odd) {
    vnumbers pairs = even | odd << 16;
#ifdef __AVX2__
    vs_store_bytes(p, (vint)pairs);
#else
    for (int i = 0; i < NF_WIDTH; i++) {
        p[2 * i] = (uint8_t)even[i];
        p[2 * i + 1] = (uint8_t)(pairs[i] >> 16);
    }
#endif
}

NF_INLINE vint load_pairs(const void *p) {
    vint pairs;
    memcpy(&pairs, p, sizeof pairs);
    return pairs;
}

/* What two outputs add up to, `vectors` (a constant) times. */
typedef struct sums {
    vint first[4], second[4];
} sums;

NF_INLINE sums begin_sums(int shift, int vectors) {
    sums s;
    NF_UNROLL
    for (int i = 0; i < vectors; i++)
        s.first[i] = s.second[i] = vi_set(1 << (shift - 1));
    return s;
}

NF_INLINE void add_products(sums *s, int i, vint pairs, const int32_t weights[2]) {
    s->first[i] = vi_add(s->first[i], vi_sum_products(pairs, vi_set(weights[0])));
    s->second[i] = vi_add(s->second[i], vi_sum_products(pairs, vi_set(weights[1])));
}

void NF_KERNEL(pair_rows)(int32_t *pairs, const uint8_t *first, const uint8_t *second, size_t n) {
    for (size_t i = 0; i < n; i++)
        pairs[i] = (int32_t)((uint32_t)(first[i] - 128) & 0xffff) | (int32_t)((uint32_t)(second[i] - 128) << 16);
}

NF_INLINE void blur_columns_block(int16_t *first, int16_t *second, const int32_t *const *pairs, size_t x,
                                  const int32_t *weights, size_t count, int shift, int vectors) {
    sums s = begin_sums(shift, vectors);
    for (size_t k = 0; k < count; k++) {
        NF_UNROLL
        for (int i = 0; i < vectors; i++)
            add_products(&s, i, load_pairs(pairs[k] + x + i * NF_WIDTH), weights + 2 * k);
    }
    NF_UNROLL
    for (int i = 0; i < vectors; i++) {
        store_shorts(first + x + i * NF_WIDTH, (vint)((vnumbers)s.first[i] >> shift));
        store_shorts(second + x + i * NF_WIDTH, (vint)((vnumbers)s.second[i] >> shift));
    }
}

void NF_KERNEL(blur_columns)(int16_t *first, int16_t *second, const int32_t *const *pairs, const int32_t *weights,
                             size_t count, int shift, size_t n) {
    size_t x = 0;
    for (; x + 4 * NF_WIDTH <= n; x += 4 * NF_WIDTH)
        blur_columns_block(first, second, pairs, x, weights, count, shift, 4);
    for (; x < n; x += NF_WIDTH)
        blur_columns_block(first, second, pairs, x, weights, count, shift, 1);
}

NF_INLINE void blur_row_block(uint8_t *out, const int16_t *row, const int32_t *weights, size_t count, int shift,
                              int vectors) {
    sums s = begin_sums(shift, vectors);
    for (size_t k = 0; k < count; k++) {
        NF_UNROLL
        for (int i = 0; i < vectors; i++)
            add_products(&s, i, load_pairs(row + 2 * k + i * 2 * NF_WIDTH), weights + 2 * k);
    }
    NF_UNROLL
    for (int i = 0; i < vectors; i++)
        store_byte_pairs(out + i * 2 * NF_WIDTH, ((vnumbers)s.first[i] >> shift) + 128,
                         ((vnumbers)s.second[i] >> shift) + 128);
}

void NF_KERNEL(blur_row)(uint8_t *out, const int16_t *row, const int32_t *weights, size_t count, int shift, size_t n) {
    size_t x = 0;
    for (; x + 4 * 2 * NF_WIDTH <= n; x += 4 * 2 * NF_WIDTH)
        blur_row_block(out + x, row + x, weights, count, shift, 4);
    for (; x < n; x += 2 * NF_WIDTH)
        blur_row_block(out + x, row + x, weights, count, shift, 1);
}
