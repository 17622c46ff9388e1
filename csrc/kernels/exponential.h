/* exp on vectors: argument reduction x = n ln 2 + r, |r| <= ln 2 / 2, in two steps (Cody and Waite), then a polynomial.
 * Worst error over the normal range: about 1 unit in the last place (measured by tests/test_core.py). */
#ifndef NF_KERNELS_EXPONENTIAL_H
#define NF_KERNELS_EXPONENTIAL_H

#include "vector.h"

/* exp(x), x at most the overflow limit. 0 where that is below the smallest normal number. */
NF_INLINE vreal v_exp(vreal x) {
#ifdef NF_DOUBLE
    static const double smallest = -708.3964185322641, ln2_high = 0x1.62e42fefa0000p-1, ln2_low = 0x1.cf79abc9e3b3ap-40;
    static const double terms[] = {
        1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
        1.0 / 720,        1.0 / 120,       1.0 / 24,       1.0 / 6,       1.0 / 2,      1.0,         1.0};
#else
    static const float smallest = -87.33654f, ln2_high = 0x1.62e400p-1f, ln2_low = 0x1.7f7d1cp-20f;
    static const float terms[] = {1.0f / 5040, 1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
#endif
    vmask normal = v_ge(x, v_set(smallest));
    x = v_max(x, v_set(smallest));
    vreal n = v_round(v_mul(x, v_set((real)1.4426950408889634)));
    vreal r = v_fnma(n, v_set(ln2_low), v_fnma(n, v_set(ln2_high), x));
    vreal p = v_set(terms[0]);
    NF_UNROLL
    for (size_t i = 1; i < sizeof terms / sizeof *terms; i++)
        p = v_fma(p, r, v_set(terms[i]));
    return v_keep(normal, v_scale_by_power(p, n));
}

/* 2^(x scale - shift) for whole-numbered shift, the result below the overflow limit and |x scale| so small that it has
 * two digits after the point. Below twice the smallest normal number, the result is 0 or (in the mode that keeps them)
 * denormal. The argument reduction is exact: n = x scale, rounded, and n - x scale in one operation. The polynomial is
 * that of 2^-r, by its series or, in float, interpolation at Chebyshev's points (2e-8 off at most). */
NF_INLINE vreal v_exp2_of_product(vreal x, real scale, real shift) {
#ifdef NF_DOUBLE
    static const double terms[] = {-0x1.816193166d0f9p-40, 0x1.c3bd650fc2986p-36,
                                   -0x1.e8cac7351bb25p-32, 0x1.e4cf5158b8ecap-28,
                                   -0x1.b5253d395e7c4p-24, 0x1.62c0223a5c824p-20,
                                   -0x1.ffcbfc588b0c7p-17, 0x1.430912f86c787p-13,
                                   -0x1.5d87fe78a6731p-10, 0x1.3b2ab6fba4e77p-7,
                                   -0x1.c6b08d704a0c0p-5,  0x1.ebfbdff82c58fp-3,
                                   -0x1.62e42fefa39efp-1,  1.0};
#else
    static const float terms[] = {
        0x1.444p-13f, -0x1.5f48cp-10f, 0x1.3b2a1cp-7f, -0x1.c6aeccp-5f, 0x1.ebfbep-3f, -0x1.62e43p-1f, 1.0f};
#endif
    const real rounder = sizeof(real) == 8 ? (real)0x1.8p52 : (real)0x1.8p23; /* has no digits after the point */
    vreal n = v_sub(v_fma(x, v_set(scale), v_set(rounder)), v_set(rounder));
    vreal r = v_fnma(x, v_set(scale), n);
    vreal p = v_set(terms[0]);
    NF_UNROLL
    for (size_t i = 1; i < sizeof terms / sizeof *terms; i++)
        p = v_fma(p, r, v_set(terms[i]));
    n = v_sub(n, v_set(shift));
#ifdef __AVX512F__
    return v_scale_by_power(p, n); /* underflows as it should */
#else
    vreal lowest = v_set(sizeof(real) == 8 ? -1021 : -125);
    return v_keep(v_ge(n, lowest), v_scale_by_power(p, v_max(n, lowest)));
#endif
}

#endif
