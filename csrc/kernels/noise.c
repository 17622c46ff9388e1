/* Normally distributed noise from counters (Philox 4x32-10, as in core/random.c, for NF_WIDTH counters at a time), by
 * Box and Muller's method. Products and sums are rounded one by one, so that all instruction sets give the same bits.
 */
#include "kernels.h"
#include "pixels.h"

typedef uint32_t vuint __attribute__((vector_size(4 * NF_WIDTH)));
typedef uint64_t vulong __attribute__((vector_size(4 * NF_WIDTH)));

NF_INLINE vuint vu_set(uint32_t a) {
    return a - (vuint){0};
}

/* The products of the lanes 0, 2, ... */
NF_INLINE vulong multiply_even(vuint a, uint32_t factor) {
#if defined(__AVX512F__)
    return (vulong)_mm512_mul_epu32((__m512i)a, _mm512_set1_epi32((int32_t)factor));
#elif defined(__AVX2__)
    return (vulong)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi32((int32_t)factor));
#else
    return ((vulong)a & 0xffffffff) * factor;
#endif
}

NF_INLINE void multiply(vuint *high, vuint *low, vuint a, uint32_t factor) {
    const vulong upper = ~(vulong){0} << 32;
    vulong even = multiply_even(a, factor), odd = multiply_even((vuint)((vulong)a >> 32), factor);
    *high = (vuint)((even >> 32) | (odd & upper));
    *low = (vuint)((even & ~upper) | (odd << 32));
}

NF_INLINE void philox(vuint words[4], const uint32_t key[2]) {
    vuint c0 = words[0], c1 = words[1], c2 = words[2], c3 = words[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        vuint high0, low0, high1, low1;
        multiply(&high0, &low0, c0, 0xD2511F53u);
        multiply(&high1, &low1, c2, 0xCD9E8D57u);
        c0 = high1 ^ c1 ^ vu_set(k0), c1 = low1;
        c2 = high0 ^ c3 ^ vu_set(k1), c3 = low0;
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
    words[0] = c0, words[1] = c1, words[2] = c2, words[3] = c3;
}

/* ln x for normal numbers x > 0: with x = 2^e m, sqrt(1/2) <= m < sqrt(2), and s = (m - 1) / (m + 1), it is e ln 2 + 2
 * (s + s^3 / 3 + s^5 / 5 + ...). */
NF_INLINE vreal logarithm(vreal x) {
    const uint32_t root = 0x3f3504f3; /* the bits of sqrt(1/2) */
    vuint distance = (vuint)x - vu_set(root);
    vint exponent = VI_SHIFT_RIGHT((vint)distance, 23);
    vreal m = (vreal)((vuint)x - ((vuint)exponent << 23));
    vreal s = v_div(v_sub(m, v_set(1)), v_add(m, v_set(1))), square = v_mul(s, s);
    vreal series = v_add(v_mul(square, v_set(1 / 9.0f)), v_set(1 / 7.0f));
    series = v_add(v_mul(square, series), v_set(1 / 5.0f));
    series = v_add(v_mul(square, series), v_set(1 / 3.0f));
    series = v_add(v_mul(square, series), v_set(1));
    return v_add(v_mul(vi_to_real(exponent), v_set(0.693147181f)), v_mul(v_add(s, s), series));
}

/* Two independent normal numbers from two words. The first gives the radius: sqrt(-2 ln u), u in 2^-24..1. Of the
 * second, the upper 24 bits give an angle within 45 degrees of 0, the lower two a quarter turn to add. */
NF_INLINE void normal_pair(vreal *first, vreal *second, vuint a, vuint b) {
    vreal u = v_mul(vi_to_real((vint)((a >> 8) + 1)), v_set(0x1p-24f));
    vreal radius = v_sqrt(v_max(v_mul(logarithm(u), v_set(-2)), v_zero()));

    vreal angle = v_mul(v_sub(v_mul(vi_to_real((vint)(b >> 8)), v_set(0x1p-24f)), v_set(0.5f)), v_set(1.57079633f));
    vreal square = v_mul(angle, angle);
    vreal sine = v_add(v_mul(square, v_set(-1 / 5040.0f)), v_set(1 / 120.0f));
    sine = v_add(v_mul(square, sine), v_set(-1 / 6.0f));
    sine = v_mul(angle, v_add(v_mul(square, sine), v_set(1)));
    vreal cosine = v_add(v_mul(square, v_set(1 / 40320.0f)), v_set(-1 / 720.0f));
    cosine = v_add(v_mul(square, cosine), v_set(1 / 24.0f));
    cosine = v_add(v_mul(square, cosine), v_set(-0.5f));
    cosine = v_add(v_mul(square, cosine), v_set(1));

    /* by quarters: (cosine, sine), (-sine, cosine), (-cosine, -sine), (sine, -cosine) */
    vuint quarter = b & 3, swap = -(quarter & 1);
    vuint x = ((vuint)cosine & ~swap) | ((vuint)sine & swap), y = ((vuint)sine & ~swap) | ((vuint)cosine & swap);
    *first = v_mul(radius, (vreal)(x ^ (((quarter + 1) >> 1) << 31)));
    *second = v_mul(radius, (vreal)(y ^ ((quarter >> 1) << 31)));
}

NF_INLINE void add_noise(uint8_t *pixels, vreal normal, float mean, float sigma) {
    vreal noise = v_add(v_mul(normal, v_set(sigma)), v_set(mean));
    vreal sum = v_add(v_add(v_load_bytes(pixels), noise), v_set(0.5f));
    v_store_bytes(pixels, v_min(v_max(sum, v_zero()), v_set(255)));
}

/* Of 16 counters, which give four words each, the first words belong to the first 16 pixels, and so on. */
void NF_KERNEL(add_noise)(uint8_t *pixels, float mean, float sigma, const uint32_t counter[4], const uint32_t key[2],
                          size_t n) {
    uint32_t ramp[NF_WIDTH];
    for (uint32_t lane = 0; lane < NF_WIDTH; lane++)
        ramp[lane] = lane;
    vuint lanes;
    memcpy(&lanes, ramp, sizeof lanes);
    for (size_t i = 0; i < n; i += 64)
        for (size_t part = 0; part < 16; part += NF_WIDTH) {
            vuint words[4] = {lanes + vu_set(counter[0] + (uint32_t)(i / 4 + part)), vu_set(counter[1]),
                              vu_set(counter[2]), vu_set(counter[3])};
            philox(words, key);
            vreal normal[4];
            normal_pair(&normal[0], &normal[1], words[0], words[1]);
            normal_pair(&normal[2], &normal[3], words[2], words[3]);
            NF_UNROLL
            for (size_t word = 0; word < 4; word++)
                if (i + 16 * word < n)
                    add_noise(pixels + i + 16 * word + part, normal[word], mean, sigma);
        }
}
