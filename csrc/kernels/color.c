/* Colour operations on planes of bytes. They repeat, operation by operation, the single-precision arithmetic of Pillow
 * (Blend.c, Convert.c), so that results are equal bit by bit; hence no fused multiply-add except where all numbers are
 * whole and below 2^24, and thus exact. */
#include "kernels.h"
#include "pixels.h"

/* (19595 r + 38470 g + 7471 b + 2^15) / 2^16, fraction not dropped yet; at most 255 2^16 + 2^15 < 2^24 before. */
NF_INLINE vreal luma(vreal r, vreal g, vreal b) {
    vreal sum = v_fma(r, v_set(19595), v_fma(g, v_set(38470), v_fma(b, v_set(7471), v_set(32768))));
    return v_mul(sum, v_set(1.0f / 65536));
}

NF_INLINE vreal blended(vreal pixel, float base, float factor) {
    return base == 0 ? v_mul(v_set(factor), pixel) : v_blend(v_set(base), pixel, v_set(factor));
}

NF_INLINE void blend_many(uint8_t *out, const uint8_t *in, float base, float factor) {
    vreal mixed[V_MANY];
    NF_UNROLL
    for (int k = 0; k < V_MANY; k++)
        mixed[k] = blended(v_load_bytes(in + k * NF_WIDTH), base, factor);
    v_store_many_bytes(out, mixed);
}

static void blend_constant_plainly(uint8_t *out, const uint8_t *in, float base, float factor, size_t n) {
    size_t i = 0;
    if (base == 0)
        for (; i + V_MANY_BYTES <= n; i += V_MANY_BYTES)
            blend_many(out + i, in + i, 0, factor);
    for (; i + V_MANY_BYTES <= n; i += V_MANY_BYTES)
        blend_many(out + i, in + i, base, factor);
    if (i == n)
        return;
    uint8_t rest[V_MANY_BYTES] = {0};
    memcpy(rest, in + i, n - i);
    blend_many(rest, rest, base, factor);
    memcpy(out + i, rest, n - i);
}

static void blend_luma_plainly(uint8_t *pixels, size_t stride, float factor, size_t n) {
    for (size_t i = 0; i < n; i += V_MANY_BYTES) {
        vreal mixed[3][V_MANY];
        NF_UNROLL
        for (size_t k = 0; k < V_MANY; k++) {
            vreal rgb[3];
            NF_UNROLL
            for (size_t c = 0; c < 3; c++)
                rgb[c] = v_load_bytes(pixels + c * stride + i + k * NF_WIDTH);
            vreal gray = v_floor(luma(rgb[0], rgb[1], rgb[2]));
            NF_UNROLL
            for (size_t c = 0; c < 3; c++)
                mixed[c][k] = v_blend(gray, rgb[c], v_set(factor));
        }
        NF_UNROLL
        for (size_t c = 0; c < 3; c++)
            v_store_many_bytes(pixels + c * stride + i, mixed[c]);
    }
}

static void luma_plainly(uint8_t *gray, const uint8_t *pixels, size_t stride, size_t n) {
    for (size_t i = 0; i < n; i += V_MANY_BYTES) {
        vreal levels[V_MANY];
        NF_UNROLL
        for (size_t k = 0; k < V_MANY; k++) {
            const uint8_t *red = pixels + i + k * NF_WIDTH;
            levels[k] = luma(v_load_bytes(red), v_load_bytes(red + stride), v_load_bytes(red + 2 * stride));
        }
        v_store_many_bytes(gray + i, levels);
    }
}

#ifdef NF_BYTE_PERMUTE

/* The luma of 16 pixels r, g, b, g. The weights, half of that of green twice, are 256 times one signed byte plus
 * another: 19595 = 77 256 - 117, 38470 / 2 = 75 256 + 35, 7471 = 29 256 + 47. */
NF_BYTE_PERMUTE NF_INLINE vint luma16(__m512i pixels) {
    const vint coarse = vi_set(0x4b1d4b4d), fine = vi_set(0x232f238b);
    vint sum = _mm512_slli_epi32(_mm512_dpbusd_epi32(vi_set(128), pixels, coarse), 8);
    return _mm512_srli_epi32(_mm512_dpbusd_epi32(sum, pixels, fine), 16);
}

NF_BYTE_PERMUTE NF_INLINE __m512i luma64(__m512i red, __m512i green, __m512i blue) {
    __m512i rb = _mm512_unpacklo_epi8(red, blue), gg = _mm512_unpacklo_epi8(green, green);
    vint first = luma16(_mm512_unpacklo_epi8(rb, gg)), second = luma16(_mm512_unpackhi_epi8(rb, gg));
    rb = _mm512_unpackhi_epi8(red, blue), gg = _mm512_unpackhi_epi8(green, green);
    vint third = luma16(_mm512_unpacklo_epi8(rb, gg)), fourth = luma16(_mm512_unpackhi_epi8(rb, gg));
    return _mm512_packus_epi16(_mm512_packs_epi32(first, second), _mm512_packs_epi32(third, fourth));
}

NF_BYTE_PERMUTE static void luma_permuting(uint8_t *gray, const uint8_t *pixels, size_t stride, size_t n) {
    for (size_t i = 0; i < n; i += 64)
        _mm512_storeu_si512(gray + i, luma64(_mm512_loadu_si512(pixels + i), _mm512_loadu_si512(pixels + stride + i),
                                             _mm512_loadu_si512(pixels + 2 * stride + i)));
}

/* The numbers first, first + 1, ... */
NF_INLINE vreal numbers_from(int first) {
    return v_add(_mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), v_set((float)first));
}

/* By how much a blend with the luma exceeds it, for each difference of a pixel from it, and by how much it falls short.
 * Returns whether that holds for each luma, which it does unless the product of factor and difference is so close to a
 * whole number that their sum may be rounded to one. */
NF_INLINE bool make_differences(table256 *above, table256 *below, float factor) {
    const vreal half_digit = v_set(0x1p-17f); /* of numbers below 256 */
    vmask close = 0;
    NF_UNROLL
    for (int part = 0; part < 4; part++) {
        vint low[V_MANY], high[V_MANY];
        NF_UNROLL
        for (int k = 0; k < V_MANY; k++) {
            vreal product = v_mul(v_set(factor), numbers_from(64 * part + NF_WIDTH * k));
            vreal whole = v_floor(product), rest = v_sub(product, whole);
            vmask broken = v_gt(rest, v_zero());
            close |= broken & v_ge(half_digit, v_min(rest, v_sub(v_set(1), rest)));
            low[k] = vi_from_real(whole);
            high[k] = _mm512_mask_add_epi32(low[k], broken, low[k], vi_set(1));
        }
        above->parts[part] = pack_bytes64(low);
        below->parts[part] = pack_bytes64(high);
    }
    return close == 0;
}

/* What becomes of each level. */
NF_INLINE table256 make_blends(float base, float factor) {
    table256 blends;
    NF_UNROLL
    for (int part = 0; part < 4; part++) {
        vint numbers[V_MANY];
        NF_UNROLL
        for (int k = 0; k < V_MANY; k++) {
            vreal level = numbers_from(64 * part + NF_WIDTH * k);
            numbers[k] = vi_from_real(blended(level, base, factor));
        }
        blends.parts[part] = pack_bytes64(numbers);
    }
    return blends;
}

/* Returns whether it could. */
NF_BYTE_PERMUTE static bool blend_luma_permuting(uint8_t *pixels, size_t stride, float factor, size_t n) {
    table256 above, below;
    if (!make_differences(&above, &below, factor))
        return false;
    for (size_t i = 0; i < n; i += 64) {
        __m512i rgb[3];
        NF_UNROLL
        for (size_t c = 0; c < 3; c++)
            rgb[c] = _mm512_loadu_si512(pixels + c * stride + i);
        __m512i gray = luma64(rgb[0], rgb[1], rgb[2]);
        NF_UNROLL
        for (size_t c = 0; c < 3; c++) {
            __m512i more = look_up64(&above, _mm512_subs_epu8(rgb[c], gray));
            __m512i less = look_up64(&below, _mm512_subs_epu8(gray, rgb[c]));
            _mm512_storeu_si512(pixels + c * stride + i, _mm512_subs_epu8(_mm512_adds_epu8(gray, more), less));
        }
    }
    return true;
}

void NF_KERNEL(blend_constant)(uint8_t *out, const uint8_t *in, float base, float factor, size_t n) {
    if (has_byte_permute())
        look_up_permuting(out, in, make_blends(base, factor), n);
    else
        blend_constant_plainly(out, in, base, factor, n);
}

void NF_KERNEL(blend_luma)(uint8_t *pixels, size_t stride, float factor, size_t n) {
    if (!has_byte_permute() || !blend_luma_permuting(pixels, stride, factor, n))
        blend_luma_plainly(pixels, stride, factor, n);
}

void NF_KERNEL(luma)(uint8_t *gray, const uint8_t *pixels, size_t stride, size_t n) {
    if (has_byte_permute())
        luma_permuting(gray, pixels, stride, n);
    else
        luma_plainly(gray, pixels, stride, n);
}

#else

void NF_KERNEL(blend_constant)(uint8_t *out, const uint8_t *in, float base, float factor, size_t n) {
    blend_constant_plainly(out, in, base, factor, n);
}

void NF_KERNEL(blend_luma)(uint8_t *pixels, size_t stride, float factor, size_t n) {
    blend_luma_plainly(pixels, stride, factor, n);
}

void NF_KERNEL(luma)(uint8_t *gray, const uint8_t *pixels, size_t stride, size_t n) {
    luma_plainly(gray, pixels, stride, n);
}

#endif

uint64_t NF_KERNEL(sum_bytes)(const uint8_t *pixels, size_t n) {
    uint64_t total = 0;
    size_t i = 0;
#ifdef __AVX2__
    __m256i sums = _mm256_setzero_si256();
    for (; i + 32 <= n; i += 32) {
        __m256i bytes = _mm256_loadu_si256((const __m256i *)(pixels + i));
        sums = _mm256_add_epi64(sums, _mm256_sad_epu8(bytes, _mm256_setzero_si256()));
    }
    uint64_t parts[4];
    _mm256_storeu_si256((__m256i *)parts, sums);
    total = parts[0] + parts[1] + parts[2] + parts[3];
#endif
    while (i < n) { /* blocks whose sum fits 32 bits, which the compiler vectorises */
        size_t end = n - i < 65536 ? n : i + 65536;
        uint32_t sum = 0;
        for (; i < end; i++)
            sum += pixels[i];
        total += sum;
    }
    return total;
}
