/* vector.h for any machine: the compilers' vector type of 16 bytes, and plain loops where it has no operator. */

#ifdef NF_DOUBLE
enum { NF_WIDTH = 2 };
typedef int64_t vinteger_ __attribute__((vector_size(16)));
#define NF_ROUNDING_MAGIC 0x1.8p52
#else
enum { NF_WIDTH = 4 };
typedef int32_t vinteger_ __attribute__((vector_size(16)));
#define NF_ROUNDING_MAGIC 0x1.8p23f
#endif
typedef real vreal __attribute__((vector_size(16)));
typedef vinteger_ vmask;

NF_INLINE vreal v_load(const real *p) {
    vreal a;
    memcpy(&a, p, sizeof a);
    return a;
}
NF_INLINE void v_store(real *p, vreal a) {
    memcpy(p, &a, sizeof a);
}
NF_INLINE vreal v_load_tail(const real *p, size_t n) {
    vreal a = {0};
    memcpy(&a, p, n * sizeof *p);
    return a;
} /* rest 0 */
NF_INLINE void v_store_tail(real *p, vreal a, size_t n) {
    memcpy(p, &a, n * sizeof *p);
}
NF_INLINE vreal v_set(real a) {
    return a - (vreal){0};
}
NF_INLINE vreal v_zero(void) {
    return (vreal){0};
}
NF_INLINE vreal v_add(vreal a, vreal b) {
    return a + b;
}
NF_INLINE vreal v_sub(vreal a, vreal b) {
    return a - b;
}
NF_INLINE vreal v_mul(vreal a, vreal b) {
    return a * b;
}
NF_INLINE vreal v_div(vreal a, vreal b) {
    return a / b;
}
NF_INLINE vreal v_fma(vreal a, vreal b, vreal c) {
    return a * b + c;
} /* a b + c */
NF_INLINE vreal v_fnma(vreal a, vreal b, vreal c) {
    return c - a * b;
} /* c - a b */
NF_INLINE vmask v_gt(vreal a, vreal b) {
    return (vmask)(a > b);
}
NF_INLINE vmask v_ge(vreal a, vreal b) {
    return (vmask)(a >= b);
}
NF_INLINE vmask v_eq(vreal a, vreal b) {
    return (vmask)(a == b);
}
NF_INLINE vreal v_select(vmask mask, vreal a, vreal b) {
    return (vreal)(((vmask)a & mask) | ((vmask)b & ~mask));
}
NF_INLINE vreal v_keep(vmask mask, vreal a) {
    return (vreal)((vmask)a & mask);
} /* mask ? a : 0 */
NF_INLINE vreal v_max(vreal a, vreal b) {
    return v_select(v_gt(a, b), a, b);
}
NF_INLINE vreal v_min(vreal a, vreal b) {
    return v_select(v_gt(b, a), a, b);
}
NF_INLINE vreal v_abs(vreal a) {
    return v_select(v_gt(v_zero(), a), -a, a);
}
/* Beyond 2^22 (2^51) in size a number is left as it is: then it is whole, or its caller has clamped it. */
NF_INLINE vreal v_round(vreal a) {
    vreal magic = v_set((real)NF_ROUNDING_MAGIC);
    return v_select(v_gt(v_set((real)NF_ROUNDING_MAGIC / 3), v_abs(a)), (a + magic) - magic, a);
}
NF_INLINE vreal v_floor(vreal a) {
    vreal rounded = v_round(a);
    return rounded - v_keep(v_gt(rounded, a), v_set(1));
}
NF_INLINE vreal v_sqrt(vreal a) {
    for (int i = 0; i < NF_WIDTH; i++)
        a[i] = sizeof(real) == 8 ? (real)__builtin_sqrt((double)a[i]) : (real)__builtin_sqrtf((float)a[i]);
    return a;
}

/* a 2^n for whole-numbered n; exact while a, 2^n and the product are normal numbers */
NF_INLINE vreal v_scale_by_power(vreal a, vreal n) {
    vinteger_ bits = (vinteger_)(n + v_set((real)NF_ROUNDING_MAGIC)); /* n in the low bits */
    return (vreal)((vinteger_)a + (bits << (sizeof(real) == 8 ? 52 : 23)));
}

#undef NF_ROUNDING_MAGIC
