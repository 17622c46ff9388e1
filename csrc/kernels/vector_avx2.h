/* vector.h for AVX2 with FMA. */
#include <immintrin.h>

#ifdef NF_DOUBLE
enum { NF_WIDTH = 4 };
typedef __m256d vreal;
typedef __m256d vmask;
#define V(name) _mm256_##name##_pd
NF_INLINE __m256i v_tail_(size_t n) {
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x((long long)n), _mm256_setr_epi64x(0, 1, 2, 3));
}
#else
enum { NF_WIDTH = 8 };
typedef __m256 vreal;
typedef __m256 vmask;
#define V(name) _mm256_##name##_ps
NF_INLINE __m256i v_tail_(size_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
#endif

NF_INLINE vreal v_load(const real *p) {
    return V(loadu)(p);
}
NF_INLINE void v_store(real *p, vreal a) {
    V(storeu)(p, a);
}
NF_INLINE vreal v_load_tail(const real *p, size_t n) {
    return V(maskload)(p, v_tail_(n));
} /* n < NF_WIDTH; rest 0 */
NF_INLINE void v_store_tail(real *p, vreal a, size_t n) {
    V(maskstore)(p, v_tail_(n), a);
}
NF_INLINE vreal v_set(real a) {
    return V(set1)(a);
}
NF_INLINE vreal v_zero(void) {
    return V(setzero)();
}
NF_INLINE vreal v_add(vreal a, vreal b) {
    return V(add)(a, b);
}
NF_INLINE vreal v_sub(vreal a, vreal b) {
    return V(sub)(a, b);
}
NF_INLINE vreal v_mul(vreal a, vreal b) {
    return V(mul)(a, b);
}
NF_INLINE vreal v_div(vreal a, vreal b) {
    return V(div)(a, b);
}
NF_INLINE vreal v_sqrt(vreal a) {
    return V(sqrt)(a);
}
NF_INLINE vreal v_fma(vreal a, vreal b, vreal c) {
    return V(fmadd)(a, b, c);
} /* a b + c */
NF_INLINE vreal v_fnma(vreal a, vreal b, vreal c) {
    return V(fnmadd)(a, b, c);
} /* c - a b */
NF_INLINE vreal v_max(vreal a, vreal b) {
    return V(max)(a, b);
}
NF_INLINE vreal v_min(vreal a, vreal b) {
    return V(min)(a, b);
}
NF_INLINE vreal v_floor(vreal a) {
    return V(round)(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}
NF_INLINE vreal v_round(vreal a) {
    return V(round)(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
} /* to even */
NF_INLINE vreal v_abs(vreal a) {
    return V(andnot)(V(set1)((real)-0.0), a);
}

NF_INLINE vmask v_gt(vreal a, vreal b) {
    return V(cmp)(a, b, _CMP_GT_OQ);
}
NF_INLINE vmask v_ge(vreal a, vreal b) {
    return V(cmp)(a, b, _CMP_GE_OQ);
}
NF_INLINE vmask v_eq(vreal a, vreal b) {
    return V(cmp)(a, b, _CMP_EQ_OQ);
}
NF_INLINE vreal v_select(vmask mask, vreal a, vreal b) {
    return V(blendv)(b, a, mask);
} /* mask ? a : b */
NF_INLINE vreal v_keep(vmask mask, vreal a) {
    return V(and)(mask, a);
} /* mask ? a : 0 */

/* a 2^n for whole-numbered n; exact while a, 2^n and the product are normal numbers */
NF_INLINE vreal v_scale_by_power(vreal a, vreal n) {
#ifdef NF_DOUBLE
    /* adding 1.5 2^52 leaves n in the low bits */
    __m256i bits = _mm256_castpd_si256(_mm256_add_pd(n, _mm256_set1_pd(0x1.8p52)));
    return _mm256_castsi256_pd(_mm256_add_epi64(_mm256_castpd_si256(a), _mm256_slli_epi64(bits, 52)));
#else
    __m256i bits = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), bits));
#endif
}

#undef V
