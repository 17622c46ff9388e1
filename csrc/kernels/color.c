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

void NF_KERNEL(blend_constant)(uint8_t *pixels, float base, float factor, size_t n) {
    for (size_t i = 0; i < n; i += NF_WIDTH)
        v_store_bytes(pixels + i, v_blend(v_set(base), v_load_bytes(pixels + i), v_set(factor)));
}

void NF_KERNEL(blend_luma)(uint8_t *pixels, size_t stride, float factor, size_t n) {
    uint8_t *r = pixels, *g = r + stride, *b = g + stride;
    vreal f = v_set(factor);
    for (size_t i = 0; i < n; i += NF_WIDTH) {
        vreal red = v_load_bytes(r + i), green = v_load_bytes(g + i), blue = v_load_bytes(b + i);
        vreal gray = v_floor(luma(red, green, blue));
        v_store_bytes(r + i, v_blend(gray, red, f));
        v_store_bytes(g + i, v_blend(gray, green, f));
        v_store_bytes(b + i, v_blend(gray, blue, f));
    }
}

void NF_KERNEL(luma)(uint8_t *gray, const uint8_t *pixels, size_t stride, size_t n) {
    const uint8_t *r = pixels, *g = r + stride, *b = g + stride;
    for (size_t i = 0; i < n; i += NF_WIDTH)
        v_store_bytes(gray + i, luma(v_load_bytes(r + i), v_load_bytes(g + i), v_load_bytes(b + i)));
}

uint64_t NF_KERNEL(sum_bytes)(const uint8_t *pixels, size_t n) {
    uint64_t total = 0;
    while (n > 0) { /* blocks whose sum fits 32 bits, which the compiler vectorises */
        size_t block = n < 65536 ? n : 65536;
        uint32_t sum = 0;
        for (size_t i = 0; i < block; i++)
            sum += pixels[i];
        total += sum, pixels += block, n -= block;
    }
    return total;
}

/* floor(255 t) for 0 <= t <= 1, from the exact product: where rounding gives a whole number k, the sign of 255 t - k
 * decides, found by splitting t into two halves of 12 bits (Dekker). */
NF_INLINE vreal floor_of_255(vreal t) {
    vreal k = v_floor(v_mul(t, v_set(255)));
    vreal c = v_mul(t, v_set(4097)), high = v_sub(c, v_sub(c, t)), low = v_sub(t, high);
    vreal rest = v_add(v_sub(v_mul(high, v_set(255)), k), v_mul(low, v_set(255)));
    return v_sub(k, v_keep(v_gt(v_zero(), rest), v_set(1)));
}

/* round(x / 65025) for whole x up to 255 65025. No quotient lies so close to a half that the division could reach it.
 */
NF_INLINE vreal divide_65025(vreal x) {
    return v_add(v_div(x, v_set(65025)), v_set(0.5f));
}

NF_INLINE vreal clamp_255(vreal a) {
    return v_min(v_max(a, v_zero()), v_set(255));
}

/* RGB -> HSV (bytes, fractions dropped), hue shifted modulo 256, HSV -> RGB (rounded), as Pillow does it.
 * With q = (max - middle) / (max - min) the hue is (A +- q) / 6, A and the sign given by the order of the channels. On
 * the way back a channel is v (255 255 - s w) / 255^2, where w falls and rises linearly with the distance of the hue
 * from the channel's own. */
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
        vreal turn = v_div(sextants, v_set(6));
        turn = v_add(turn, v_keep(v_gt(v_zero(), sextants), v_set(1)));
        turn = v_sub(turn, v_keep(v_ge(turn, v_set(1)), v_set(1)));

        vreal hue = v_add(floor_of_255(turn), v_set(shift));
        hue = v_sub(hue, v_keep(v_ge(hue, v_set(256)), v_set(256)));
        vreal saturation = floor_of_255(v_div(range, v_max(max, v_set(1))));

        vreal angle = v_mul(hue, v_set(6)); /* 0..1530, 255 to a sextant */
        vreal red_lack = clamp_255(v_sub(v_set(510), v_abs(v_sub(angle, v_set(765)))));
        vreal green_lack = clamp_255(v_sub(v_abs(v_sub(angle, v_set(510))), v_set(255)));
        vreal blue_lack = clamp_255(v_sub(v_abs(v_sub(angle, v_set(1020))), v_set(255)));
        vreal all = v_set(65025);
        v_store_bytes(r + i, divide_65025(v_mul(max, v_fnma(saturation, red_lack, all))));
        v_store_bytes(g + i, divide_65025(v_mul(max, v_fnma(saturation, green_lack, all))));
        v_store_bytes(b + i, divide_65025(v_mul(max, v_fnma(saturation, blue_lack, all))));
    }
}
