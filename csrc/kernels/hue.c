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

/* Correctly rounded, as a test of all its values shows. */
NF_INLINE vreal divide_6(vreal x) {
#ifdef __FMA__
    vreal sixth = v_set(1.0f / 6), quotient = v_mul(x, sixth);
    return v_fma(v_fnma(quotient, v_set(6), x), sixth, quotient);
#else
    return v_div(x, v_set(6));
#endif
}

/* floor(255 t) for 0 <= t < 1, from the exact product: 256 t - k and its comparison with t are exact. */
NF_INLINE vreal floor_of_255(vreal t) {
    vreal k = v_floor(v_mul(t, v_set(255)));
    return v_sub(k, v_keep(v_gt(t, v_sub(v_mul(t, v_set(256)), k)), v_set(1)));
}

NF_INLINE vreal clamp_255(vreal a) {
    return v_min(v_max(a, v_zero()), v_set(255));
}

static const float ABOUT_A_THIRD_OF_255TH = 1.0f / 768;

static void shift_hue_plainly(uint8_t *pixels, size_t stride, float shift, size_t n) {
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
        vreal turn = v_add(divide_6(sextants), v_keep(v_gt(v_zero(), sextants), v_set(1)));

        vreal hue = v_add(floor_of_255(turn), v_set(shift));
        hue = v_sub(hue, v_keep(v_ge(hue, v_set(256)), v_set(256)));
        vreal saturation =
            v_floor(v_div(v_add(v_mul(range, v_set(255)), v_set(256 * ABOUT_A_THIRD_OF_255TH)), v_max(max, v_set(1))));

        vreal angle = v_mul(hue, v_set(6)); /* 0..1530, 255 to a sextant */
        vreal red_lack = clamp_255(v_sub(v_set(510), v_abs(v_sub(angle, v_set(765)))));
        vreal green_lack = clamp_255(v_sub(v_abs(v_sub(angle, v_set(510))), v_set(255)));
        vreal blue_lack = clamp_255(v_sub(v_abs(v_sub(angle, v_set(1020))), v_set(255)));
        vint brightest = vi_from_real(max);
        vreal weight = v_mul(v_mul(max, saturation), v_set(1.0f / 65025));
        vi_store_bytes(r + i, vi_sub(brightest, vi_from_real(v_fma(weight, red_lack, v_set(0.5f)))));
        vi_store_bytes(g + i, vi_sub(brightest, vi_from_real(v_fma(weight, green_lack, v_set(0.5f)))));
        vi_store_bytes(b + i, vi_sub(brightest, vi_from_real(v_fma(weight, blue_lack, v_set(0.5f)))));
    }
}

#ifdef NF_BYTE_PERMUTE

/* What the channels lack of the brightest at full saturation, for each hue before it is shifted. */
static void make_lacks(uint8_t lacks[3][256], int shift) {
    for (int16_t hue = 0; hue < 256; hue++) {
        int16_t angle = (int16_t)(6 * ((hue + shift) & 255));
        int16_t from_red = (int16_t)(angle > 765 ? angle - 765 : 765 - angle);
        int16_t from_green = (int16_t)(angle > 510 ? angle - 510 : 510 - angle);
        int16_t from_blue = (int16_t)(angle > 1020 ? angle - 1020 : 1020 - angle);
        int16_t red = (int16_t)(510 - from_red), green = (int16_t)(from_green - 255), blue = (int16_t)(from_blue - 255);
        lacks[0][hue] = (uint8_t)(red < 0 ? 0 : red > 255 ? 255 : red);
        lacks[1][hue] = (uint8_t)(green < 0 ? 0 : green > 255 ? 255 : green);
        lacks[2][hue] = (uint8_t)(blue < 0 ? 0 : blue > 255 ? 255 : blue);
    }
}

/* What of 64 pixels is needed as numbers. `order` numbers the six orders of the channels. */
typedef struct parts64 {
    uint8_t max[64], range[64], above[64], order[64];
} parts64;

NF_BYTE_PERMUTE NF_INLINE void split64(parts64 *parts, const uint8_t *r, const uint8_t *g, const uint8_t *b) {
    __m512i red = _mm512_loadu_si512(r), green = _mm512_loadu_si512(g), blue = _mm512_loadu_si512(b);
    __m512i max = _mm512_max_epu8(_mm512_max_epu8(red, green), blue);
    __m512i min = _mm512_min_epu8(_mm512_min_epu8(red, green), blue);
    __m512i middle = _mm512_xor_si512(_mm512_xor_si512(_mm512_xor_si512(red, green), blue), _mm512_xor_si512(max, min));
    __mmask64 is_red = _mm512_cmpeq_epi8_mask(red, max), is_green = _mm512_cmpeq_epi8_mask(green, max) & ~is_red;
    __m512i one = _mm512_mask_mov_epi8(green, is_green, red);
    __m512i other = _mm512_mask_mov_epi8(red, is_red | is_green, blue);
    __m512i order = _mm512_mask_mov_epi8(_mm512_set1_epi8(4), is_green, _mm512_set1_epi8(2));
    order = _mm512_maskz_mov_epi8(~is_red, order);
    order = _mm512_mask_add_epi8(order, _mm512_cmplt_epu8_mask(one, other), order, _mm512_set1_epi8(1));
    _mm512_storeu_si512(parts->max, max);
    _mm512_storeu_si512(parts->range, _mm512_sub_epi8(max, min));
    _mm512_storeu_si512(parts->above, _mm512_sub_epi8(max, middle));
    _mm512_storeu_si512(parts->order, order);
}

/* The hue of 16 of the pixels, and max saturation / 255^2. */
NF_BYTE_PERMUTE NF_INLINE vint hue16(vreal *weight, const parts64 *parts, size_t i) {
    const vreal starts = _mm512_setr_ps(1, -1, 1, 3, 3, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    const vreal signs = _mm512_setr_ps(-0.0f, 0, 0, -0.0f, 0, -0.0f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    vint order = vi_load_bytes(parts->order + i);
    vreal start = _mm512_permutexvar_ps(order, starts), sign = _mm512_permutexvar_ps(order, signs);
    vreal max = v_load_bytes(parts->max + i), range = v_load_bytes(parts->range + i);
    vreal q = v_div(v_load_bytes(parts->above + i), v_max(range, v_set(1)));
    vreal sextants = v_add(start, _mm512_xor_ps(q, sign)), turn = divide_6(sextants);
    turn = _mm512_mask_add_ps(turn, v_gt(v_zero(), sextants), turn, v_set(1));

    vreal divisor = v_max(max, v_set(1)), reciprocal = _mm512_rcp14_ps(divisor);
    reciprocal = v_fma(v_fnma(divisor, reciprocal, v_set(1)), reciprocal, reciprocal);
    vreal saturation = v_floor(v_fma(v_mul(range, v_set(255)), reciprocal, v_set(ABOUT_A_THIRD_OF_255TH)));
    *weight = v_mul(v_mul(max, saturation), v_set(1.0f / 65025));
    return vi_from_real(_mm512_mul_round_ps(turn, v_set(255), _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC));
}

NF_BYTE_PERMUTE static void shift_hue_permuting(uint8_t *pixels, size_t stride, int shift, size_t n) {
    uint8_t lacks[3][256], lack[3][64];
    make_lacks(lacks, shift);
    table256 tables[3] = {load_table256(lacks[0]), load_table256(lacks[1]), load_table256(lacks[2])};
    for (size_t i = 0; i < n; i += 64) {
        parts64 parts;
        vreal weights[4];
        vint hues[4];
        split64(&parts, pixels + i, pixels + stride + i, pixels + 2 * stride + i);
        NF_UNROLL
        for (size_t part = 0; part < 4; part++)
            hues[part] = hue16(&weights[part], &parts, 16 * part);
        __m512i hue = pack_bytes64(hues);
        NF_UNROLL
        for (size_t c = 0; c < 3; c++)
            _mm512_storeu_si512(lack[c], look_up64(&tables[c], hue));
        __m512i max = _mm512_loadu_si512(parts.max);
        NF_UNROLL
        for (size_t c = 0; c < 3; c++) {
            vint less[4];
            NF_UNROLL
            for (size_t part = 0; part < 4; part++)
                less[part] = vi_from_real(v_fma(weights[part], v_load_bytes(lack[c] + 16 * part), v_set(0.5f)));
            _mm512_storeu_si512(pixels + c * stride + i, _mm512_sub_epi8(max, pack_bytes64(less)));
        }
    }
}

void NF_KERNEL(shift_hue)(uint8_t *pixels, size_t stride, float shift, size_t n) {
    if (has_byte_permute())
        shift_hue_permuting(pixels, stride, (int)shift, n);
    else
        shift_hue_plainly(pixels, stride, shift, n);
}

#else

void NF_KERNEL(shift_hue)(uint8_t *pixels, size_t stride, float shift, size_t n) {
    shift_hue_plainly(pixels, stride, shift, n);
}

#endif
