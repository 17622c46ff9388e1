/* Smooth activations, x times a sigmoid of some kind, and their derivatives. */
#include "exponential.h"
#include "kernels.h"
#include "vector.h"

/* The normal distribution at x, *density, and its integral up to x. The tail is a polynomial in 1 / (1 + p |x|) times
 * the density; its error is below 1e-7. Source: Abramowitz and Stegun, "Handbook of mathematical functions", 7.1.26. */
NF_INLINE vreal normal_integral(vreal x, vreal *density) {
    static const float terms[] = {1.061405429f, -1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f};
    vreal size = v_abs(x), e = v_exp(v_mul(v_set(-0.5f), v_mul(x, x)));
    vreal t = v_div(v_set(1), v_fma(v_set(0.3275911f * 0.70710678f), size, v_set(1))), p = v_set(terms[0]);
    NF_UNROLL
    for (size_t i = 1; i < sizeof terms / sizeof *terms; i++)
        p = v_fma(p, t, v_set(terms[i]));
    vreal tail = v_mul(v_mul(v_set(0.5f), v_mul(p, t)), e);
    *density = v_mul(e, v_set(0.39894228f));
    return v_select(v_gt(x, v_zero()), v_sub(v_set(1), tail), tail);
}

/* 1 / (1 + exp(-x)), and *other = 1 / (1 + exp(x)) without cancellation. */
NF_INLINE vreal sigmoid(vreal x, vreal *other) {
    vreal e = v_exp(v_sub(v_zero(), v_abs(x))), large = v_div(v_set(1), v_add(v_set(1), e)), small = v_mul(e, large);
    vmask positive = v_gt(x, v_zero());
    *other = v_select(positive, small, large);
    return v_select(positive, large, small);
}

void NF_KERNEL(gelu)(float *y, const float *x, size_t n) {
    for (size_t i = 0; i < n; i += NF_WIDTH) {
        vreal value = v_load_some(x + i, n - i), density;
        v_store_some(y + i, v_mul(value, normal_integral(value, &density)), n - i);
    }
}

void NF_KERNEL(gelu_backward)(float *d_x, const float *d_y, const float *x, size_t n, bool accumulate) {
    for (size_t i = 0; i < n; i += NF_WIDTH) {
        vreal value = v_load_some(x + i, n - i), density, integral = normal_integral(value, &density);
        vreal d = v_mul(v_load_some(d_y + i, n - i), v_fma(value, density, integral));
        v_store_some(d_x + i, accumulate ? v_add(v_load_some(d_x + i, n - i), d) : d, n - i);
    }
}

void NF_KERNEL(silu)(float *y, const float *x, size_t n) {
    for (size_t i = 0; i < n; i += NF_WIDTH) {
        vreal value = v_load_some(x + i, n - i), other;
        v_store_some(y + i, v_mul(value, sigmoid(value, &other)), n - i);
    }
}

void NF_KERNEL(silu_backward)(float *d_x, const float *d_y, const float *x, size_t n, bool accumulate) {
    for (size_t i = 0; i < n; i += NF_WIDTH) {
        vreal value = v_load_some(x + i, n - i), other, share = sigmoid(value, &other);
        vreal slope = v_mul(share, v_fma(value, other, v_set(1)));
        vreal d = v_mul(v_load_some(d_y + i, n - i), slope);
        v_store_some(d_x + i, accumulate ? v_add(v_load_some(d_x + i, n - i), d) : d, n - i);
    }
}
