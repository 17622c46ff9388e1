/* Operations on bytes by themselves, wherever they stand. Where loops are plain, the compilers vectorise them. */
#include "kernels.h"
#include "pixels.h"

void NF_KERNEL(invert_from)(uint8_t *out, const uint8_t *in, uint8_t from, size_t n) {
    if (from == 0) /* a plain negative needs no comparison */
        for (size_t i = 0; i < n; i++)
            out[i] = (uint8_t)(in[i] ^ 255);
    else
        for (size_t i = 0; i < n; i++)
            out[i] = (uint8_t)(in[i] ^ (in[i] >= from ? 255 : 0));
}

void NF_KERNEL(mask_bytes)(uint8_t *out, const uint8_t *in, uint8_t mask, size_t n) {
    for (size_t i = 0; i < n; i++)
        out[i] = in[i] & mask;
}

void NF_KERNEL(byte_range)(uint8_t *least, uint8_t *most, const uint8_t *in, size_t n) {
    uint8_t low = 255, high = 0;
    for (size_t i = 0; i < n; i++) {
        low = in[i] < low ? in[i] : low;
        high = in[i] > high ? in[i] : high;
    }
    *least = low;
    *most = high;
}

void NF_KERNEL(count_bytes)(uint32_t *counts, const uint8_t *in, size_t n) {
    uint32_t parts[4][256]; /* neighbours are often equal, and an addition must not wait for the one before */
    memset(parts, 0, sizeof parts);
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (size_t part = 0; part < 4; part++)
            parts[part][in[i + part]]++;
    for (; i < n; i++)
        parts[0][in[i]]++;
    for (size_t value = 0; value < 256; value++)
        counts[value] = parts[0][value] + parts[1][value] + parts[2][value] + parts[3][value];
}

/* A table of 256 bytes by shuffles in tables of 16. A shuffle gives 0 where the index is negative as a signed byte. For
 * values x below 128, the indices x - 16 k (k = 0..7) are negative from the first k beyond x / 16 on, so if the k-th
 * table holds the difference (exclusive or) of the k-th part of the large one to the part before, all that remain add
 * up to the right part; values from 128 on stay negative. The same again with 128 added finds those. */
#if defined(__AVX512F__)
typedef __m512i shuffle_;
enum { SHUFFLE_BYTES = 64 };
#define S(name) _mm512_##name
#define S_LOAD(p) _mm512_loadu_si512(p)
#define S_STORE(p, a) _mm512_storeu_si512(p, a)
#define S_XOR(a, b) _mm512_xor_si512(a, b)
#define S_TABLE(p) _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(p)))
#elif defined(__AVX2__)
typedef __m256i shuffle_;
enum { SHUFFLE_BYTES = 32 };
#define S(name) _mm256_##name
#define S_LOAD(p) _mm256_loadu_si256((const __m256i *)(p))
#define S_STORE(p, a) _mm256_storeu_si256((__m256i *)(p), a)
#define S_XOR(a, b) _mm256_xor_si256(a, b)
#define S_TABLE(p) _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(p)))
#endif

#ifdef S
NF_INLINE shuffle_ look_up_half(shuffle_ x, const shuffle_ tables[8]) {
    shuffle_ found = S(shuffle_epi8)(tables[0], x);
    NF_UNROLL
    for (int k = 1; k < 8; k++)
        found = S_XOR(found, S(shuffle_epi8)(tables[k], S(subs_epi8)(x, S(set1_epi8)((char)(16 * k)))));
    return found;
}

/* Returns how many bytes it has done. */
NF_INLINE size_t look_up_shuffling(uint8_t *out, const uint8_t *in, const uint8_t *table, size_t n) {
    shuffle_ tables[2][8];
    NF_UNROLL
    for (int part = 0; part < 16; part++) {
        tables[part / 8][part % 8] = S_TABLE(table + 16 * part);
        if (part % 8 > 0)
            tables[part / 8][part % 8] = S_XOR(tables[part / 8][part % 8], S_TABLE(table + 16 * (part - 1)));
    }
    size_t i = 0;
    for (; i + SHUFFLE_BYTES <= n; i += SHUFFLE_BYTES) {
        shuffle_ x = S_LOAD(in + i), high = S_XOR(x, S(set1_epi8)((char)128));
        S_STORE(out + i, S_XOR(look_up_half(x, tables[0]), look_up_half(high, tables[1])));
    }
    return i;
}
#else
NF_INLINE size_t look_up_shuffling(uint8_t *out, const uint8_t *in, const uint8_t *table, size_t n) {
    (void)out, (void)in, (void)table, (void)n;
    return 0;
}
#endif

#ifdef NF_BYTE_PERMUTE
NF_INLINE size_t look_up_vectors(uint8_t *out, const uint8_t *in, const uint8_t *table, size_t n) {
    if (!has_byte_permute())
        return look_up_shuffling(out, in, table, n);
    look_up_permuting(out, in, load_table256(table), n);
    return n;
}
#else
NF_INLINE size_t look_up_vectors(uint8_t *out, const uint8_t *in, const uint8_t *table, size_t n) {
    return look_up_shuffling(out, in, table, n);
}
#endif

void NF_KERNEL(look_up)(uint8_t *out, const uint8_t *in, const uint8_t *table, size_t n) {
    for (size_t i = look_up_vectors(out, in, table, n); i < n; i++)
        out[i] = table[in[i]];
}
