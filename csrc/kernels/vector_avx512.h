/* vector.h for AVX-512 (F, BW, DQ, VL). */
#include <immintrin.h>

#ifdef NF_DOUBLE
enum { NF_WIDTH = 8 };
typedef __m512d vreal;
typedef __mmask8 vmask;
#define V(name) _mm512_##name##_pd
#define V_TAIL(n) ((__mmask8)((1u << (n)) - 1u))
#else
enum { NF_WIDTH = 16 };
typedef __m512 vreal;
typedef __mmask16 vmask;
#define V(name) _mm512_##name##_ps
#define V_TAIL(n) ((__mmask16)((1u << (n)) - 1u))
#endif

NF_INLINE vreal v_load(const real *p) {
    return V(loadu)(p);
}
NF_INLINE void v_store(real *p, vreal a) {
    V(storeu)(p, a);
}
NF_INLINE vreal v_load_tail(const real *p, size_t n) {
    return V(maskz_loadu)(V_TAIL(n), p);
} /* n < NF_WIDTH; rest 0 */
NF_INLINE void v_store_tail(real *p, vreal a, size_t n) {
    V(mask_storeu)(p, V_TAIL(n), a);
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
    return V(roundscale)(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}
NF_INLINE vreal v_round(vreal a) {
    return V(roundscale)(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
} /* to even */
NF_INLINE vreal v_abs(vreal a) {
    return V(abs)(a);
}

#ifdef NF_DOUBLE
NF_INLINE vmask v_gt(vreal a, vreal b) {
    return _mm512_cmp_pd_mask(a, b, _CMP_GT_OQ);
}
NF_INLINE vmask v_ge(vreal a, vreal b) {
    return _mm512_cmp_pd_mask(a, b, _CMP_GE_OQ);
}
NF_INLINE vmask v_eq(vreal a, vreal b) {
    return _mm512_cmp_pd_mask(a, b, _CMP_EQ_OQ);
}
#else
NF_INLINE vmask v_gt(vreal a, vreal b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ);
}
NF_INLINE vmask v_ge(vreal a, vreal b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ);
}
NF_INLINE vmask v_eq(vreal a, vreal b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}
#endif
NF_INLINE vreal v_select(vmask mask, vreal a, vreal b) {
    return V(mask_blend)(mask, b, a);
} /* mask ? a : b */
NF_INLINE vreal v_keep(vmask mask, vreal a) {
    return V(maskz_mov)(mask, a);
} /* mask ? a : 0 */

/* a 2^n for whole-numbered n; exact but for underflow */
NF_INLINE vreal v_scale_by_power(vreal a, vreal n) {
    return V(scalef)(a, n);
}

#undef V
#undef V_TAIL
