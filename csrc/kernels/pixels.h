/* Bytes in and out of vectors, and the whole-number arithmetic of resampling. Included beside vector.h by the kernels
 * of images, in single precision only. */
#ifndef NF_KERNELS_PIXELS_H
#define NF_KERNELS_PIXELS_H

#include "vector.h"

#include <stdbool.h>

typedef uint8_t bytes16 __attribute__((vector_size(16)));

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "kernels of images are written for little-endian machines"
#endif

/* Tables, by macros of the place. */
#define FOUR(f, i) f(i), f((i) + 1), f((i) + 2), f((i) + 3)
#define SIXTEEN(f, i) FOUR(f, i), FOUR(f, (i) + 4), FOUR(f, (i) + 8), FOUR(f, (i) + 12)
#define SIXTY_FOUR(f, i) SIXTEEN(f, i), SIXTEEN(f, (i) + 16), SIXTEEN(f, (i) + 32), SIXTEEN(f, (i) + 48)

NF_INLINE bytes16 interleave_low(bytes16 a, bytes16 b) {
    return NF_SHUFFLE(bytes16, a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
NF_INLINE bytes16 interleave_high(bytes16 a, bytes16 b) {
    return NF_SHUFFLE(bytes16, a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

/* Transposes a 16 x 16 matrix of bytes, or one in each 16 bytes of vectors: four perfect shuffles of the rows. */
#define NF_TRANSPOSE(name, type, low, high)                   \
    NF_INLINE void name(type rows[16]) {                      \
        type next[16];                                        \
        NF_UNROLL                                             \
        for (int step = 0; step < 4; step++) {                \
            NF_UNROLL                                         \
            for (int i = 0; i < 8; i++) {                     \
                next[2 * i] = low(rows[i], rows[i + 8]);      \
                next[2 * i + 1] = high(rows[i], rows[i + 8]); \
            }                                                 \
            NF_UNROLL                                         \
            for (int i = 0; i < 16; i++)                      \
                rows[i] = next[i];                            \
        }                                                     \
    }
NF_TRANSPOSE(transpose16, bytes16, interleave_low, interleave_high)

#if defined(__AVX512F__)

typedef __m512i vint; /* NF_WIDTH 32-bit whole numbers */
NF_INLINE vint vi_load_bytes(const uint8_t *p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
}
/* Saturates to 0..255. */
NF_INLINE void vi_store_bytes(uint8_t *p, vint a) {
    _mm_storeu_si128((__m128i *)p, _mm512_cvtusepi32_epi8(_mm512_max_epi32(a, _mm512_setzero_si512())));
}
NF_INLINE vint vi_set(int32_t a) {
    return _mm512_set1_epi32(a);
}
NF_INLINE vint vi_add(vint a, vint b) {
    return _mm512_add_epi32(a, b);
}
NF_INLINE vint vi_sub(vint a, vint b) {
    return _mm512_sub_epi32(a, b);
}
NF_INLINE vint vi_mul(vint a, vint b) {
    return _mm512_mullo_epi32(a, b);
}
#define VI_SHIFT_RIGHT(a, bits) _mm512_srai_epi32(a, bits)

/* Twice as many 16-bit whole numbers, in pairs a0 b0 a1 b1 ... with others, and what becomes of sums of such pairs. */
NF_INLINE vint vs_load_bytes(const uint8_t *p) {
    return _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)p));
}
NF_INLINE vint vs_set(int16_t a) {
    return _mm512_set1_epi16(a);
}
NF_INLINE vint vs_add(vint a, vint b) {
    return _mm512_add_epi16(a, b);
}
NF_INLINE vint vs_sub(vint a, vint b) {
    return _mm512_sub_epi16(a, b);
}
NF_INLINE vint vs_mul(vint a, vint b) {
    return _mm512_mullo_epi16(a, b);
}
NF_INLINE vint vs_pairs_low(vint a, vint b) {
    return _mm512_unpacklo_epi16(a, b);
}
NF_INLINE vint vs_pairs_high(vint a, vint b) {
    return _mm512_unpackhi_epi16(a, b);
}
NF_INLINE vint vi_sum_products(vint pairs, vint factors) {
    return _mm512_madd_epi16(pairs, factors);
}
NF_INLINE vint vs_from_pairs(vint low, vint high) {
    return _mm512_packus_epi32(low, high);
}
/* The upper half of the products of unsigned numbers. */
NF_INLINE vint vs_mul_high(vint a, vint b) {
    return _mm512_mulhi_epu16(a, b);
}
NF_INLINE vint vs_shift_right(vint a, int bits) {
    return _mm512_srl_epi16(a, _mm_cvtsi32_si128(bits));
}
NF_INLINE void vs_store_bytes(uint8_t *p, vint a) { /* of 0..255 */
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi16_epi8(a));
}

/* The bytes of rows, 16 of each. */
NF_INLINE vint vb_load_rows(const uint8_t *const rows[], size_t step) {
    __m512i all = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)rows[0]));
    all = _mm512_inserti32x4(all, _mm_loadu_si128((const __m128i *)rows[step]), 1);
    all = _mm512_inserti32x4(all, _mm_loadu_si128((const __m128i *)rows[2 * step]), 2);
    return _mm512_inserti32x4(all, _mm_loadu_si128((const __m128i *)rows[3 * step]), 3);
}
NF_INLINE vint vb_interleave_low(vint a, vint b) { /* each 16 for themselves */
    return _mm512_unpacklo_epi8(a, b);
}
NF_INLINE vint vb_interleave_high(vint a, vint b) {
    return _mm512_unpackhi_epi8(a, b);
}
NF_INLINE vreal vi_to_real(vint a) {
    return _mm512_cvtepi32_ps(a);
}
NF_INLINE vint vi_from_real(vreal a) {
    return _mm512_cvttps_epi32(a);
}

/* r0 g0 b0 r1 g1 b1 ... */
NF_INLINE void v_interleave(vreal triples[3], vreal r, vreal g, vreal b) {
    const __m512i first = _mm512_setr_epi32(0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5);
    const __m512i second = _mm512_setr_epi32(5, 5, 6, 6, 6, 7, 7, 7, 8, 8, 8, 9, 9, 9, 10, 10);
    const __m512i third = _mm512_setr_epi32(10, 11, 11, 11, 12, 12, 12, 13, 13, 13, 14, 14, 14, 15, 15, 15);
#define NF_TRIPLES(lanes, g_places, b_places)                                                                   \
    _mm512_mask_permutexvar_ps(_mm512_mask_permutexvar_ps(_mm512_permutexvar_ps(lanes, r), g_places, lanes, g), \
                               b_places, lanes, b)
    triples[0] = NF_TRIPLES(first, 0x2492, 0x4924);
    triples[1] = NF_TRIPLES(second, 0x9249, 0x2492);
    triples[2] = NF_TRIPLES(third, 0x4924, 0x9249);
#undef NF_TRIPLES
}

/* ---- Bytes, 64 at a time: machines with AVX-512 VBMI and VNNI have more instructions for them ---- */

#define NF_BYTE_PERMUTE __attribute__((target("avx512vbmi,avx512vnni")))

NF_INLINE bool has_byte_permute(void) {
    return __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni");
}

typedef struct table256 {
    __m512i parts[4];
} table256;

NF_INLINE table256 load_table256(const uint8_t *table) {
    table256 loaded;
    NF_UNROLL
    for (int part = 0; part < 4; part++)
        loaded.parts[part] = _mm512_loadu_si512(table + 64 * part);
    return loaded;
}

NF_BYTE_PERMUTE NF_INLINE __m512i look_up64(const table256 *table, __m512i x) {
    __m512i low = _mm512_permutex2var_epi8(table->parts[0], x, table->parts[1]);
    __m512i high = _mm512_permutex2var_epi8(table->parts[2], x, table->parts[3]);
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(x), low, high);
}

/* Of 64 bytes, unless fewer are left. */
NF_INLINE __mmask64 first_bytes(size_t left) {
    return left >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << left) - 1;
}

/* table[in[i]] */
__attribute__((unused)) NF_BYTE_PERMUTE static void look_up_permuting(uint8_t *out, const uint8_t *in, table256 table,
                                                                      size_t n) {
    size_t i = 0;
    for (; i + 64 <= n; i += 64)
        _mm512_storeu_si512(out + i, look_up64(&table, _mm512_loadu_si512(in + i)));
    __mmask64 rest = first_bytes(n - i);
    _mm512_mask_storeu_epi8(out + i, rest, look_up64(&table, _mm512_maskz_loadu_epi8(rest, in + i)));
}

/* Numbers, saturated to 0..255, in order. */
NF_INLINE __m512i pack_bytes64(const vint numbers[4]) {
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512i low = _mm512_packs_epi32(numbers[0], numbers[1]), high = _mm512_packs_epi32(numbers[2], numbers[3]);
    return _mm512_permutexvar_epi32(order, _mm512_packus_epi16(low, high));
}

#elif defined(__AVX2__)

typedef __m256i vint;
NF_INLINE vint vi_load_bytes(const uint8_t *p) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
}
NF_INLINE void vi_store_bytes(uint8_t *p, vint a) {
    __m128i half = _mm_packs_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    _mm_storel_epi64((__m128i *)p, _mm_packus_epi16(half, half));
}
NF_INLINE vint vi_set(int32_t a) {
    return _mm256_set1_epi32(a);
}
NF_INLINE vint vi_add(vint a, vint b) {
    return _mm256_add_epi32(a, b);
}
NF_INLINE vint vi_sub(vint a, vint b) {
    return _mm256_sub_epi32(a, b);
}
NF_INLINE vint vi_mul(vint a, vint b) {
    return _mm256_mullo_epi32(a, b);
}
#define VI_SHIFT_RIGHT(a, bits) _mm256_srai_epi32(a, bits)

NF_INLINE vint vs_load_bytes(const uint8_t *p) {
    return _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p));
}
NF_INLINE vint vs_set(int16_t a) {
    return _mm256_set1_epi16(a);
}
NF_INLINE vint vs_add(vint a, vint b) {
    return _mm256_add_epi16(a, b);
}
NF_INLINE vint vs_sub(vint a, vint b) {
    return _mm256_sub_epi16(a, b);
}
NF_INLINE vint vs_mul(vint a, vint b) {
    return _mm256_mullo_epi16(a, b);
}
NF_INLINE vint vs_pairs_low(vint a, vint b) {
    return _mm256_unpacklo_epi16(a, b);
}
NF_INLINE vint vs_pairs_high(vint a, vint b) {
    return _mm256_unpackhi_epi16(a, b);
}
NF_INLINE vint vi_sum_products(vint pairs, vint factors) {
    return _mm256_madd_epi16(pairs, factors);
}
NF_INLINE vint vs_from_pairs(vint low, vint high) {
    return _mm256_packus_epi32(low, high);
}
NF_INLINE vint vs_mul_high(vint a, vint b) {
    return _mm256_mulhi_epu16(a, b);
}
NF_INLINE vint vs_shift_right(vint a, int bits) {
    return _mm256_srl_epi16(a, _mm_cvtsi32_si128(bits));
}
NF_INLINE void vs_store_bytes(uint8_t *p, vint a) {
    __m256i bytes = _mm256_permute4x64_epi64(_mm256_packus_epi16(a, a), 0x08);
    _mm_storeu_si128((__m128i *)p, _mm256_castsi256_si128(bytes));
}

NF_INLINE vint vb_load_rows(const uint8_t *const rows[], size_t step) {
    __m256i all = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)rows[0]));
    return _mm256_inserti128_si256(all, _mm_loadu_si128((const __m128i *)rows[step]), 1);
}
NF_INLINE vint vb_interleave_low(vint a, vint b) {
    return _mm256_unpacklo_epi8(a, b);
}
NF_INLINE vint vb_interleave_high(vint a, vint b) {
    return _mm256_unpackhi_epi8(a, b);
}
NF_INLINE vreal vi_to_real(vint a) {
    return _mm256_cvtepi32_ps(a);
}
NF_INLINE vint vi_from_real(vreal a) {
    return _mm256_cvttps_epi32(a);
}

/* r0 g0 b0 r1 g1 b1 ... */
NF_INLINE void v_interleave(vreal triples[3], vreal r, vreal g, vreal b) {
    vreal rg = _mm256_shuffle_ps(r, g, 0x88), gb = _mm256_shuffle_ps(g, b, 0xdd), br = _mm256_shuffle_ps(b, r, 0xd8);
    vreal x = _mm256_shuffle_ps(rg, br, 0x88), y = _mm256_shuffle_ps(gb, rg, 0xd8), z = _mm256_shuffle_ps(br, gb, 0xdd);
    triples[0] = _mm256_permute2f128_ps(x, y, 0x20);
    triples[1] = _mm256_permute2f128_ps(z, x, 0x30);
    triples[2] = _mm256_permute2f128_ps(y, z, 0x31);
}

#else

typedef vinteger_ vint;
/* By interleaving with zeros and by shifts, which baseline instruction sets have; conversions between element sizes
 * they have not. */
typedef uint16_t shorts8_ __attribute__((vector_size(16)));
typedef uint64_t longs2_ __attribute__((vector_size(16)));
NF_INLINE vint vi_load_bytes(const uint8_t *p) {
    int32_t four;
    memcpy(&four, p, sizeof four);
    shorts8_ shorts = (shorts8_)interleave_low((bytes16)(vint){four}, (bytes16){0});
    return (vint)NF_SHUFFLE(shorts8_, shorts, (shorts8_){0}, 0, 8, 1, 9, 2, 10, 3, 11);
}
NF_INLINE void vi_store_bytes(uint8_t *p, vint a) {
    a &= (vint)(a > 0);
    vint high = (vint)(a > 255);
    a = (a & ~high) | (high & 255);
    longs2_ pairs = (longs2_)a;
    pairs |= pairs >> 24;
    uint32_t four = (uint32_t)(pairs[0] & 0xffff) | (uint32_t)(pairs[1] & 0xffff) << 16;
    memcpy(p, &four, sizeof four);
}
NF_INLINE vint vi_set(int32_t a) {
    return a - (vint){0};
}
NF_INLINE vint vi_add(vint a, vint b) {
    return a + b;
}
NF_INLINE vint vi_sub(vint a, vint b) {
    return a - b;
}
NF_INLINE vint vi_mul(vint a, vint b) {
    return a * b;
}
#define VI_SHIFT_RIGHT(a, bits) ((a) >> (bits))

NF_INLINE vint vi_sum_products(vint pairs, vint factors) {
    vint low = (pairs << 16 >> 16) * (factors << 16 >> 16), high = (pairs >> 16) * (factors >> 16);
    return low + high;
}

NF_INLINE vint vb_load_rows(const uint8_t *const rows[], size_t step) {
    (void)step;
    vint all;
    memcpy(&all, rows[0], sizeof all);
    return all;
}
NF_INLINE vint vb_interleave_low(vint a, vint b) {
    return (vint)interleave_low((bytes16)a, (bytes16)b);
}
NF_INLINE vint vb_interleave_high(vint a, vint b) {
    return (vint)interleave_high((bytes16)a, (bytes16)b);
}
NF_INLINE vreal vi_to_real(vint a) {
    return __builtin_convertvector(a, vreal);
}
NF_INLINE vint vi_from_real(vreal a) {
    return __builtin_convertvector(a, vint);
}

/* r0 g0 b0 r1 g1 b1 ... */
NF_INLINE void v_interleave(vreal triples[3], vreal r, vreal g, vreal b) {
    vreal rg = NF_SHUFFLE(vint, r, g, 0, 2, 4, 6), gb = NF_SHUFFLE(vint, g, b, 1, 3, 5, 7);
    vreal br = NF_SHUFFLE(vint, b, r, 0, 2, 5, 7);
    triples[0] = NF_SHUFFLE(vint, rg, br, 0, 2, 4, 6);
    triples[1] = NF_SHUFFLE(vint, gb, rg, 0, 2, 5, 7);
    triples[2] = NF_SHUFFLE(vint, br, gb, 1, 3, 5, 7);
}

#endif

#ifdef __AVX2__
/* Four pixels of three channels from such of four, the last of which are dropped. */
NF_INLINE __m128i drop_fourths(__m128i pixels) {
    const __m128i to_three = _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1);
    return _mm_shuffle_epi8(pixels, to_three);
}
#endif

NF_TRANSPOSE(transpose_blocks, vint, vb_interleave_low, vb_interleave_high)

/* Past the caches, if the machine can; aligned like a vector. v_end_streams: before another thread reads them. */
NF_INLINE void v_stream(float *p, vreal a) {
#if defined(__AVX512F__)
    _mm512_stream_ps(p, a);
#elif defined(__AVX2__)
    _mm256_stream_ps(p, a);
#else
    v_store(p, a);
#endif
}
NF_INLINE void v_end_streams(void) {
#ifdef __AVX2__
    _mm_sfence();
#endif
}

NF_INLINE vreal v_load_bytes(const uint8_t *p) {
    return vi_to_real(vi_load_bytes(p));
}
/* Drops the fraction and saturates; |a| must be below 2^31. */
NF_INLINE void v_store_bytes(uint8_t *p, vreal a) {
    vi_store_bytes(p, vi_from_real(a));
}

/* Four vectors of numbers. */
enum { V_MANY = 4, V_MANY_BYTES = V_MANY * NF_WIDTH };
NF_INLINE void vi_store_many_bytes(uint8_t *p, const vint a[V_MANY]) {
#if defined(__AVX512F__)
    _mm512_storeu_si512(p, pack_bytes64(a));
#elif defined(__AVX2__)
    __m256i low = _mm256_packs_epi32(a[0], a[1]), high = _mm256_packs_epi32(a[2], a[3]);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    _mm256_storeu_si256((__m256i *)p, _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high), order));
#else
    NF_UNROLL
    for (int i = 0; i < V_MANY; i++)
        vi_store_bytes(p + i * NF_WIDTH, a[i]);
#endif
}
NF_INLINE void v_store_many_bytes(uint8_t *p, const vreal a[V_MANY]) {
    vint numbers[V_MANY];
    NF_UNROLL
    for (int i = 0; i < V_MANY; i++)
        numbers[i] = vi_from_real(a[i]);
    vi_store_many_bytes(p, numbers);
}

/* 16 bytes in as many vectors as they take. */
enum { V_IN_16 = 16 / NF_WIDTH };
NF_INLINE void vi_store_16_bytes(uint8_t *p, const vint a[V_IN_16]) {
#if defined(__AVX2__) && !defined(__AVX512F__)
    __m256i shorts = _mm256_permute4x64_epi64(_mm256_packs_epi32(a[0], a[1]), 0xd8);
    __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(shorts), _mm256_extracti128_si256(shorts, 1));
    _mm_storeu_si128((__m128i *)p, bytes);
#else
    NF_UNROLL
    for (int i = 0; i < V_IN_16; i++)
        vi_store_bytes(p + i * NF_WIDTH, a[i]);
#endif
}

/* Pillow's blend, to be stored as bytes. */
NF_INLINE vreal v_blend(vreal base, vreal pixel, vreal factor) {
    return v_add(base, v_mul(factor, v_sub(pixel, base)));
}

#endif
