/* The hue of planes of bytes, shifted. Bit by bit what Pillow's single-precision arithmetic gives (Convert.c: rgb2hsv,
 * hsv2rgb), in fewer steps.
 *
 * RGB -> HSV (bytes, fractions dropped), hue shifted modulo 256, HSV -> RGB (rounded). With q = (max - middle) /
 * (max - min) the hue is (start +- q) / 6, start and the sign given by the order of the channels; its last digits
 * decide where 255 times it is a whole number, so that it must be rounded as Pillow rounds it. The saturation 255 (max
 * - min) / max has no such cases: half the least distance to the next whole number is added before the fraction is
 * dropped. On the way back a channel is max - max saturation lack / 255^2, where its lack falls and rises linearly with
 * the distance of the hue from the channel's own; no quotient lies so close to a half that rounding before could reach
 * it. */
#include "kernels.h"
#include "pixels.h"

static const float ONE_65025TH = 1.0f / 65025, ABOUT_A_THIRD_OF_255TH = 1.0f / 768;

#ifndef __AVX2__

/* floor(255 t) for 0 <= t < 1, from the exact product: 256 t - k and its comparison with t are exact. */
NF_INLINE vreal floor_of_255(vreal t) {
    vreal k = v_floor(v_mul(t, v_set(255)));
    return v_sub(k, v_keep(v_gt(t, v_sub(v_mul(t, v_set(256)), k)), v_set(1)));
}

NF_INLINE vreal clamp_255(vreal a) {
    return v_min(v_max(a, v_zero()), v_set(255));
}

void NF_KERNEL(shift_hue)(uint8_t *pixels, size_t stride, float shift, size_t n) {
    uint8_t *r = pixels, *g = r + stride, *b = g + stride;
    for (size_t i = 0; i < n; i += NF_WIDTH) {
        vreal red = v_load_bytes(r + i), green = v_load_bytes(g + i), blue = v_load_bytes(b + i);
        vreal max = v_max(v_max(red, green), blue), min = v_min(v_min(red, green), blue);
        vreal range = v_sub(max, min), middle = v_sub(v_add(v_add(red, green), blue), v_add(max, min));
        vreal q = v_div(v_sub(max, middle), v_max(range, v_set(1)));

        vmask is_red = v_eq(red, max), is_green = v_eq(green, max);
        vmask first = v_ge(v_select(is_red, green, v_select(is_green, red, green)),
                           v_select(is_red, blue, v_select(is_green, blue, red)));
        vreal start =
            v_select(is_red, v_select(first, v_set(1), v_set(-1)),
                     v_select(is_green, v_select(first, v_set(1), v_set(3)), v_select(first, v_set(3), v_set(5))));
        vreal plus = v_add(start, q), minus = v_sub(start, q);
        vreal sextants = v_select(is_red, v_select(first, minus, plus), v_select(first, plus, minus));
        vreal turn = v_add(v_div(sextants, v_set(6)), v_keep(v_gt(v_zero(), sextants), v_set(1)));

        vreal hue = v_add(floor_of_255(turn), v_set(shift));
        hue = v_sub(hue, v_keep(v_ge(hue, v_set(256)), v_set(256)));
        vreal saturation =
            v_floor(v_div(v_add(v_mul(range, v_set(255)), v_set(256 * ABOUT_A_THIRD_OF_255TH)), v_max(max, v_set(1))));

        vreal angle = v_mul(hue, v_set(6)); /* 0..1530, 255 to a sextant */
        vreal red_lack = clamp_255(v_sub(v_set(510), v_abs(v_sub(angle, v_set(765)))));
        vreal green_lack = clamp_255(v_sub(v_abs(v_sub(angle, v_set(510))), v_set(255)));
        vreal blue_lack = clamp_255(v_sub(v_abs(v_sub(angle, v_set(1020))), v_set(255)));
        vint brightest = vi_from_real(max);
        vreal weight = v_mul(v_mul(max, saturation), v_set(ONE_65025TH));
        vi_store_bytes(r + i, vi_sub(brightest, vi_from_real(v_fma(weight, red_lack, v_set(0.5f)))));
        vi_store_bytes(g + i, vi_sub(brightest, vi_from_real(v_fma(weight, green_lack, v_set(0.5f)))));
        vi_store_bytes(b + i, vi_sub(brightest, vi_from_real(v_fma(weight, blue_lack, v_set(0.5f)))));
    }
}

#else

/* The same in whole numbers. With x = 42.5 (middle - min) / (max - min) the hue is a multiple of 85 plus x or less x,
 * fraction dropped. Where x is a whole number, Pillow's quotient may fall short of it, and its hue is one less; whether
 * it does depends on that number alone. */

/* Is a hue that is a whole number less in single precision? */
#define START(hue) ((hue) <= 85 ? 1 : (hue) <= 170 ? 3 : 5)
#define Q(hue) ((float)(2 * (hue)-85 * START(hue)) / 85.0f)
#define TURN(hue) ((hue) <= 212 ? ((float)START(hue) + Q(hue)) / 6.0f : (Q(hue) - 1.0f) / 6.0f + 1.0f)
#define FALLS_SHORT(hue) (uint8_t)(255.0 * (double)TURN(hue) < (hue))

/* ---- 32 pixels at a time: bytes where they are enough, the divisions in single precision ---- */

/* Whether the hues low, low + 16, ... fall short, a bit for each. */
#define SHORT_BIT(hue, bit) (FALLS_SHORT(hue) << (bit))
#define SHORT_BITS(hue)                                                                                            \
    (uint8_t)(SHORT_BIT(hue, 0) | SHORT_BIT((hue) + 16, 1) | SHORT_BIT((hue) + 32, 2) | SHORT_BIT((hue) + 48, 3) | \
              SHORT_BIT((hue) + 64, 4) | SHORT_BIT((hue) + 80, 5) | SHORT_BIT((hue) + 96, 6) |                     \
              SHORT_BIT((hue) + 112, 7))
static const uint8_t SHORT_BITS_TABLE[2][16] = {{SIXTEEN(SHORT_BITS, 0)}, {SIXTEEN(SHORT_BITS, 128)}};
static const uint8_t POWERS_TABLE[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};

/* Numbers for 32 bytes, in the order in which these are unpacked. */
typedef struct reals32 {
    __m256 quarter[4];
} reals32;

NF_INLINE reals32 unpack32(__m256i bytes) {
    const __m256i zero = _mm256_setzero_si256();
    __m256i low = _mm256_unpacklo_epi8(bytes, zero), high = _mm256_unpackhi_epi8(bytes, zero);
    return (reals32){
        {_mm256_cvtepi32_ps(_mm256_unpacklo_epi16(low, zero)), _mm256_cvtepi32_ps(_mm256_unpackhi_epi16(low, zero)),
         _mm256_cvtepi32_ps(_mm256_unpacklo_epi16(high, zero)), _mm256_cvtepi32_ps(_mm256_unpackhi_epi16(high, zero))}};
}

/* Fractions are dropped. */
NF_INLINE __m256i pack32(reals32 a) {
    __m256i low = _mm256_packs_epi32(_mm256_cvttps_epi32(a.quarter[0]), _mm256_cvttps_epi32(a.quarter[1]));
    __m256i high = _mm256_packs_epi32(_mm256_cvttps_epi32(a.quarter[2]), _mm256_cvttps_epi32(a.quarter[3]));
    return _mm256_packus_epi16(low, high);
}

NF_INLINE __m256i pack_masks32(reals32 a) {
    __m256i low = _mm256_packs_epi32(_mm256_castps_si256(a.quarter[0]), _mm256_castps_si256(a.quarter[1]));
    __m256i high = _mm256_packs_epi32(_mm256_castps_si256(a.quarter[2]), _mm256_castps_si256(a.quarter[3]));
    return _mm256_packs_epi16(low, high);
}

NF_INLINE __m256i set32(int a) {
    return _mm256_set1_epi8((char)a);
}

/* 1 / a to 22 bits: divisions would wait for each other. */
NF_INLINE __m256 reciprocal32(__m256 a) {
    __m256 about = _mm256_rcp_ps(a);
    return _mm256_fmadd_ps(about, _mm256_fnmadd_ps(about, a, _mm256_set1_ps(1)), about);
}

/* weight lack, rounded. */
NF_INLINE __m256i weigh32(reals32 weight, reals32 lack) {
    NF_UNROLL
    for (int i = 0; i < 4; i++)
        lack.quarter[i] = _mm256_fmadd_ps(weight.quarter[i], lack.quarter[i], _mm256_set1_ps(0.5f));
    return pack32(lack);
}

NF_INLINE __m256i distance32(__m256i a, __m256i b) {
    return _mm256_or_si256(_mm256_subs_epu8(a, b), _mm256_subs_epu8(b, a));
}

/* 3 a, at most 255. */
NF_INLINE __m256i thrice32(__m256i a) {
    a = _mm256_min_epu8(a, set32(85));
    return _mm256_add_epi8(a, _mm256_add_epi8(a, a));
}

/* What the channels lack of the brightest at full saturation: 510 less the distance of 6 hue from 765, that from 510
 * less 255, that from 1020 less 255, each within 0..255. */
NF_INLINE void lacks32(__m256i lacks[3], __m256i hue) {
    __m256i from_middle = _mm256_xor_si256(hue, _mm256_cmpgt_epi8(hue, set32(-1)));
    from_middle = _mm256_and_si256(from_middle, set32(127)); /* of 127.5, less a half */
    lacks[0] = thrice32(_mm256_subs_epu8(set32(169), _mm256_add_epi8(from_middle, from_middle)));
    __m256i green = distance32(hue, set32(85)), blue = distance32(hue, set32(170));
    lacks[1] = thrice32(_mm256_subs_epu8(_mm256_adds_epu8(green, green), set32(85)));
    lacks[2] = thrice32(_mm256_subs_epu8(_mm256_adds_epu8(blue, blue), set32(85)));
}

NF_INLINE __m256i falls_short32(__m256i hue) {
    const __m128i *tables = (const __m128i *)SHORT_BITS_TABLE;
    const __m256i first = _mm256_broadcastsi128_si256(_mm_loadu_si128(tables));
    const __m256i second = _mm256_broadcastsi128_si256(_mm_loadu_si128(tables + 1));
    const __m256i powers = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)POWERS_TABLE));
    __m256i low = _mm256_and_si256(hue, set32(15)), high = _mm256_and_si256(_mm256_srli_epi16(hue, 4), set32(15));
    __m256i bits = _mm256_blendv_epi8(_mm256_shuffle_epi8(first, low), _mm256_shuffle_epi8(second, low), hue);
    __m256i bit = _mm256_shuffle_epi8(powers, high);
    return _mm256_cmpeq_epi8(_mm256_and_si256(bits, bit), bit);
}

/* x: without its fraction; whole: where it has none. */
NF_INLINE __m256i hue32(__m256i red, __m256i green, __m256i blue, __m256i max, __m256i x, __m256i whole) {
    __m256i is_red = _mm256_cmpeq_epi8(red, max), is_green = _mm256_andnot_si256(is_red, _mm256_cmpeq_epi8(green, max));
    __m256i one = _mm256_blendv_epi8(green, red, is_green);
    __m256i other = _mm256_blendv_epi8(red, blue, _mm256_or_si256(is_red, is_green));
    __m256i falls = _mm256_xor_si256(is_red, _mm256_cmpeq_epi8(_mm256_max_epu8(one, other), one)); /* with x */
    __m256i base = _mm256_blendv_epi8(_mm256_blendv_epi8(set32(170), set32(85), is_green), falls, is_red);
    __m256i change = _mm256_sub_epi8(_mm256_xor_si256(x, falls), _mm256_and_si256(falls, whole));
    __m256i hue = _mm256_add_epi8(base, change);
    return _mm256_add_epi8(hue, _mm256_and_si256(whole, falls_short32(hue)));
}

static void shift_hue_32(uint8_t *pixels, size_t stride, int shift, size_t n) {
    for (size_t i = 0; i < n; i += 32) {
        __m256i *const at[3] = {(__m256i *)(pixels + i), (__m256i *)(pixels + stride + i),
                                (__m256i *)(pixels + 2 * stride + i)};
        __m256i red = _mm256_loadu_si256(at[0]), green = _mm256_loadu_si256(at[1]), blue = _mm256_loadu_si256(at[2]);
        __m256i max = _mm256_max_epu8(_mm256_max_epu8(red, green), blue);
        __m256i min = _mm256_min_epu8(_mm256_min_epu8(red, green), blue);
        __m256i middle =
            _mm256_xor_si256(_mm256_xor_si256(_mm256_xor_si256(red, green), blue), _mm256_xor_si256(max, min));
        reals32 above_min = unpack32(_mm256_sub_epi8(middle, min)), range = unpack32(_mm256_sub_epi8(max, min));
        reals32 brightest = unpack32(_mm256_max_epu8(max, set32(1))), x, whole, weight;
        NF_UNROLL
        for (int k = 0; k < 4; k++) {
            __m256 quotient = _mm256_div_ps(_mm256_mul_ps(above_min.quarter[k], _mm256_set1_ps(42.5f)),
                                            _mm256_max_ps(range.quarter[k], _mm256_set1_ps(1)));
            x.quarter[k] = _mm256_floor_ps(quotient);
            whole.quarter[k] = _mm256_cmp_ps(quotient, x.quarter[k], _CMP_EQ_OQ);
            __m256 saturation = _mm256_floor_ps(_mm256_fmadd_ps(_mm256_mul_ps(range.quarter[k], _mm256_set1_ps(255)),
                                                                reciprocal32(brightest.quarter[k]),
                                                                _mm256_set1_ps(ABOUT_A_THIRD_OF_255TH)));
            weight.quarter[k] =
                _mm256_mul_ps(_mm256_mul_ps(brightest.quarter[k], saturation), _mm256_set1_ps(ONE_65025TH));
        }
        __m256i hue = hue32(red, green, blue, max, pack32(x), pack_masks32(whole)), lacks[3];
        lacks32(lacks, _mm256_add_epi8(hue, set32(shift)));
        /* two of the three lack all or nothing, so that there is but one that lacks a part */
        __m256i odd = _mm256_xor_si256(_mm256_xor_si256(lacks[0], lacks[1]), _mm256_xor_si256(lacks[2], set32(255)));
        const __m256 full = _mm256_set1_ps(255);
        __m256i all = weigh32(weight, (reals32){{full, full, full, full}}), part = weigh32(weight, unpack32(odd));
        NF_UNROLL
        for (int c = 0; c < 3; c++) {
            __m256i less = _mm256_blendv_epi8(part, all, _mm256_cmpeq_epi8(lacks[c], set32(255)));
            less = _mm256_andnot_si256(_mm256_cmpeq_epi8(lacks[c], _mm256_setzero_si256()), less);
            _mm256_storeu_si256(at[c], _mm256_sub_epi8(max, less));
        }
    }
}

#ifndef NF_BYTE_PERMUTE

void NF_KERNEL(shift_hue)(uint8_t *pixels, size_t stride, float shift, size_t n) {
    shift_hue_32(pixels, stride, (int)shift, n);
}

#else

/* ---- 64 pixels at a time, in whole numbers ---- */

/* Tables of 256 bytes. */
#define TABLE(f) SIXTY_FOUR(f, 0), SIXTY_FOUR(f, 64), SIXTY_FOUR(f, 128), SIXTY_FOUR(f, 192)

/* 2^15 / x rounded up; 2^16 / x rounded down, and below 2^16. For x = 0 any number will do. */
#define UP(x) (32768 / ((x) + !(x)) + (32768 % ((x) + !(x)) > 0))
#define DOWN(x) ((x) < 2 ? 65535 : 65536 / ((x) + !(x)))
#define LOW_UP(x) (uint8_t)(UP(x) & 255)
#define HIGH_UP(x) (uint8_t)(UP(x) >> 8)
#define LOW_DOWN(x) (uint8_t)(DOWN(x) & 255)
#define HIGH_DOWN(x) (uint8_t)(DOWN(x) >> 8)

/* What the channels lack of the brightest at full saturation. */
#define DISTANCE(hue, angle) (6 * (hue) > (angle) ? 6 * (hue) - (angle) : (angle)-6 * (hue))
#define CLAMPED(x) (uint8_t)((x) < 0 ? 0 : (x) > 255 ? 255 : (x))
#define RED_LACK(hue) CLAMPED(510 - DISTANCE(hue, 765))
#define GREEN_LACK(hue) CLAMPED(DISTANCE(hue, 510) - 255)
#define BLUE_LACK(hue) CLAMPED(DISTANCE(hue, 1020) - 255)

static const _Alignas(64) uint8_t UP_TABLE[2][256] = {{TABLE(LOW_UP)}, {TABLE(HIGH_UP)}};
static const _Alignas(64) uint8_t DOWN_TABLE[2][256] = {{TABLE(LOW_DOWN)}, {TABLE(HIGH_DOWN)}};
static const _Alignas(64) uint8_t SHORT_TABLE[256] = {TABLE(FALLS_SHORT)};
static const _Alignas(64) uint8_t LACK_TABLE[3][256] = {{TABLE(RED_LACK)}, {TABLE(GREEN_LACK)}, {TABLE(BLUE_LACK)}};

/* Numbers of 16 bits: those of 64 bytes in the order in which these are unpacked. */
typedef struct shorts64 {
    __m512i half[2];
} shorts64;

NF_BYTE_PERMUTE NF_INLINE shorts64 unpack64(__m512i low, __m512i high) {
    return (shorts64){{_mm512_unpacklo_epi8(low, high), _mm512_unpackhi_epi8(low, high)}};
}

NF_BYTE_PERMUTE NF_INLINE shorts64 look_up_shorts(const uint8_t table[2][256], __m512i x) {
    table256 low = load_table256(table[0]), high = load_table256(table[1]);
    return unpack64(look_up64(&low, x), look_up64(&high, x));
}

/* floor(x), and where x is whole. */
NF_BYTE_PERMUTE NF_INLINE __m512i floor_of_x(__mmask64 *whole, __m512i above_min, __m512i range) {
    shorts64 reciprocal = look_up_shorts(UP_TABLE, range), numerator = unpack64(above_min, _mm512_setzero_si512());
    shorts64 divisor = unpack64(range, _mm512_setzero_si512());
    __m512i quotient[2], rest[2];
    NF_UNROLL
    for (int i = 0; i < 2; i++) {
        __m512i n = _mm512_mullo_epi16(numerator.half[i], _mm512_set1_epi16(85));
        quotient[i] = _mm512_mulhi_epu16(n, reciprocal.half[i]); /* or one more */
        __m512i twice = _mm512_add_epi16(divisor.half[i], divisor.half[i]);
        rest[i] = _mm512_sub_epi16(n, _mm512_mullo_epi16(quotient[i], twice));
    }
    __m512i rests = _mm512_packs_epi16(rest[0], rest[1]), quotients = _mm512_packus_epi16(quotient[0], quotient[1]);
    *whole = _mm512_testn_epi8_mask(rests, rests);
    return _mm512_mask_sub_epi8(quotients, _mm512_movepi8_mask(rests), quotients, _mm512_set1_epi8(1));
}

NF_BYTE_PERMUTE NF_INLINE __m512i hue64(__m512i red, __m512i green, __m512i blue, __m512i max, __m512i min,
                                        __m512i range) {
    __m512i middle = _mm512_xor_si512(_mm512_xor_si512(_mm512_xor_si512(red, green), blue), _mm512_xor_si512(max, min));
    __mmask64 is_red = _mm512_cmpeq_epi8_mask(red, max), is_green = _mm512_cmpeq_epi8_mask(green, max) & ~is_red;
    __m512i one = _mm512_mask_mov_epi8(green, is_green, red);
    __m512i other = _mm512_mask_mov_epi8(red, is_red | is_green, blue);
    __mmask64 falls = is_red ^ ~_mm512_cmplt_epu8_mask(one, other); /* with x */
    __m512i base = _mm512_mask_mov_epi8(_mm512_set1_epi8((char)170), is_green, _mm512_set1_epi8(85));
    base = _mm512_mask_mov_epi8(base, is_red, _mm512_movm_epi8(falls));

    __mmask64 whole;
    __m512i x = floor_of_x(&whole, _mm512_sub_epi8(middle, min), range);
    __m512i less =
        _mm512_mask_mov_epi8(_mm512_maskz_mov_epi8(falls, _mm512_set1_epi8(-1)), falls & whole, _mm512_setzero_si512());
    __m512i hue = _mm512_add_epi8(base, _mm512_mask_sub_epi8(x, falls, less, x));
    table256 shorts = load_table256(SHORT_TABLE);
    return _mm512_mask_sub_epi8(hue, whole, hue, look_up64(&shorts, hue));
}

/* max saturation: 255 range, less what remains of its division by max. */
NF_BYTE_PERMUTE NF_INLINE shorts64 chroma64(__m512i max, __m512i range) {
    shorts64 reciprocal = look_up_shorts(DOWN_TABLE, max), divisor = unpack64(max, _mm512_setzero_si512());
    shorts64 times_256 = unpack64(_mm512_setzero_si512(), range), times_1 = unpack64(range, _mm512_setzero_si512());
    shorts64 chroma;
    NF_UNROLL
    for (int i = 0; i < 2; i++) {
        __m512i n = _mm512_sub_epi16(times_256.half[i], times_1.half[i]);
        __m512i quotient = _mm512_mulhi_epu16(n, reciprocal.half[i]); /* or one less */
        __m512i rest = _mm512_sub_epi16(n, _mm512_mullo_epi16(quotient, divisor.half[i]));
        rest = _mm512_min_epu16(rest, _mm512_sub_epi16(rest, divisor.half[i]));
        chroma.half[i] = _mm512_sub_epi16(n, rest);
    }
    return chroma;
}

/* chroma / 255, rounded. */
NF_BYTE_PERMUTE NF_INLINE __m512i all_of_chroma(shorts64 chroma) {
    NF_UNROLL
    for (int i = 0; i < 2; i++) {
        __m512i n = _mm512_add_epi16(chroma.half[i], _mm512_set1_epi16(127));
        chroma.half[i] = _mm512_srli_epi16(_mm512_mulhi_epu16(n, _mm512_set1_epi16((short)0x8081)), 7);
    }
    return _mm512_packus_epi16(chroma.half[0], chroma.half[1]);
}

/* chroma lack / 255^2, rounded: floor(n / 255^2) for n = chroma lack + 255^2 / 2. */
NF_BYTE_PERMUTE NF_INLINE __m512i part_of_chroma(shorts64 chroma, __m512i lack) {
    shorts64 times_1 = unpack64(lack, _mm512_setzero_si512()), times_256 = unpack64(_mm512_setzero_si512(), lack);
    NF_UNROLL
    for (int i = 0; i < 2; i++) {
        __m512i n_high =
            _mm512_add_epi16(_mm512_mulhi_epu16(chroma.half[i], times_256.half[i]), _mm512_set1_epi16(127));
        __m512i n_low = _mm512_add_epi16(_mm512_mullo_epi16(chroma.half[i], times_1.half[i]), _mm512_set1_epi16(32512));
        /* of n / 256 by 255^2 / 256, or one less */
        __m512i quotient = _mm512_srli_epi16(_mm512_mulhi_epu16(n_high, _mm512_set1_epi16((short)33025)), 7);
        __m512i rest = _mm512_add_epi16(n_low, _mm512_mullo_epi16(quotient, _mm512_set1_epi16(65536 - 65025)));
        __mmask32 more = _mm512_cmpge_epu16_mask(rest, _mm512_set1_epi16((short)65025));
        chroma.half[i] = _mm512_mask_add_epi16(quotient, more, quotient, _mm512_set1_epi16(1));
    }
    return _mm512_packus_epi16(chroma.half[0], chroma.half[1]);
}

NF_BYTE_PERMUTE static void shift_hue_permuting(uint8_t *pixels, size_t stride, int shift, size_t n) {
    table256 tables[3] = {load_table256(LACK_TABLE[0]), load_table256(LACK_TABLE[1]), load_table256(LACK_TABLE[2])};
    const __m512i full = _mm512_set1_epi8(-1);
    for (size_t i = 0; i < n; i += 64) {
        __m512i red = _mm512_loadu_si512(pixels + i), green = _mm512_loadu_si512(pixels + stride + i);
        __m512i blue = _mm512_loadu_si512(pixels + 2 * stride + i);
        __m512i max = _mm512_max_epu8(_mm512_max_epu8(red, green), blue);
        __m512i min = _mm512_min_epu8(_mm512_min_epu8(red, green), blue), range = _mm512_sub_epi8(max, min);
        __m512i hue = _mm512_add_epi8(hue64(red, green, blue, max, min, range), _mm512_set1_epi8((char)shift));
        shorts64 chroma = chroma64(max, range);

        __m512i lack[3];
        NF_UNROLL
        for (size_t c = 0; c < 3; c++)
            lack[c] = look_up64(&tables[c], hue);
        /* two of the three lack all or nothing, so that there is but one that lacks a part */
        __m512i odd = _mm512_xor_si512(_mm512_xor_si512(lack[0], lack[1]), _mm512_xor_si512(lack[2], full));
        __m512i all = all_of_chroma(chroma), part = part_of_chroma(chroma, odd);
        NF_UNROLL
        for (size_t c = 0; c < 3; c++) {
            __m512i less = _mm512_maskz_mov_epi8(_mm512_test_epi8_mask(lack[c], lack[c]), part);
            less = _mm512_mask_mov_epi8(less, _mm512_cmpeq_epi8_mask(lack[c], full), all);
            _mm512_storeu_si512(pixels + c * stride + i, _mm512_sub_epi8(max, less));
        }
    }
}

void NF_KERNEL(shift_hue)(uint8_t *pixels, size_t stride, float shift, size_t n) {
    if (has_byte_permute())
        shift_hue_permuting(pixels, stride, (int)shift, n);
    else
        shift_hue_32(pixels, stride, (int)shift, n);
}

#endif
#endif
