/* bfloat16: the upper half of a float. All in integers, so that every instruction set gives the same bits. */
#include "kernels.h"
#include "vector.h"

NF_INLINE uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* To the nearest, ties to even; what is not a number stays that. */
NF_INLINE uint16_t rounded(uint32_t bits) {
    uint32_t nearest = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16, quiet = bits >> 16 | 0x40u;
    return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? quiet : nearest);
}

void NF_KERNEL(to_bfloat16)(uint16_t *y, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        y[i] = rounded(bits_of(x[i]));
}

void NF_KERNEL(from_bfloat16)(float *y, const uint16_t *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)x[i] << 16;
        memcpy(y + i, &bits, sizeof bits);
    }
}

enum { CHUNK = 64 };

/* 1 where factor x + shift is positive, else 0. */
NF_INLINE void positive(float *flags, const float *x, const float *factor, const float *shift, size_t n) {
    for (size_t j = 0; j < n; j += NF_WIDTH) {
        size_t rest = n - j;
        vreal value = v_fma(v_load_some(factor + j, rest), v_load_some(x + j, rest), v_load_some(shift + j, rest));
        v_store_some(flags + j, v_keep(v_gt(value, v_zero()), v_set(1)), rest);
    }
}

/* Where the nearest lies on the other side of ReLU's threshold, the other neighbour does not. */
void NF_KERNEL(to_bfloat16_by_side)(uint16_t *y, const float *x, const float *factor, const float *shift, size_t rows,
                                    size_t c) {
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < c; j += CHUNK) {
            size_t n = c - j < CHUNK ? c - j : CHUNK, at = i * c + j;
            float nearest[CHUNK], exact_side[CHUNK], side[CHUNK];
            NF_KERNEL(to_bfloat16)(y + at, x + at, n);
            NF_KERNEL(from_bfloat16)(nearest, y + at, n);
            positive(exact_side, x + at, factor + j, shift + j, n);
            positive(side, nearest, factor + j, shift + j, n);
            for (size_t k = 0; k < n; k++) {
                uint32_t cut = bits_of(x[at + k]) >> 16, other = y[at + k] == cut ? cut + 1 : cut;
                y[at + k] = exact_side[k] == side[k] ? y[at + k] : (uint16_t)other;
            }
        }
}
