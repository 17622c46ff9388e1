/* exp on vectors: argument reduction x = n ln 2 + r, |r| <= ln 2 / 2, in two steps (Cody and Waite), then a polynomial.
 * Worst error over the normal range: about 1 unit in the last place (measured by tests/test_kernels.py). */
#ifndef NF_KERNELS_EXPONENTIAL_H
#define NF_KERNELS_EXPONENTIAL_H

#include "vector.h"

/* exp(x) 2^power, for x + power ln 2 below the overflow limit. 0 where that is below the smallest normal number. */
NF_INLINE vreal v_exp_power(vreal x, int power) {
#ifdef NF_DOUBLE
    static const double smallest = -708.3964185322641, ln2_high = 0x1.62e42fefa0000p-1, ln2_low = 0x1.cf79abc9e3b3ap-40;
    static const double ln2 = 0x1.62e42fefa39efp-1; /* rounded down, as is -smallest: never below the limit */
    static const double terms[] = {
        1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
        1.0 / 720,        1.0 / 120,       1.0 / 24,       1.0 / 6,       1.0 / 2,      1.0,         1.0};
#else
    static const float smallest = -87.33654f, ln2_high = 0x1.62e400p-1f, ln2_low = 0x1.7f7d1cp-20f;
    static const float ln2 = 0x1.62e42ep-1f; /* rounded down, as is -smallest: never below the limit */
    static const float terms[] = {1.0f / 5040, 1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
#endif
    vreal limit = v_set(smallest - (real)power * ln2);
    vmask normal = v_ge(x, limit);
    x = v_max(x, limit);
    vreal n = v_round(v_mul(x, v_set((real)1.4426950408889634)));
    vreal r = v_fnma(n, v_set(ln2_low), v_fnma(n, v_set(ln2_high), x));
    vreal p = v_set(terms[0]);
    NF_UNROLL
    for (size_t i = 1; i < sizeof terms / sizeof *terms; i++)
        p = v_fma(p, r, v_set(terms[i]));
    return v_keep(normal, v_scale_by_power(p, v_add(n, v_set((real)power))));
}

/* exp(x). 0 where the result is below the smallest normal number; x must not exceed the overflow limit. */
NF_INLINE vreal v_exp(vreal x) {
    return v_exp_power(x, 0);
}

#endif
