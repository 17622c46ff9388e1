/* A vector of numbers, for whichever instruction set and precision this file is compiled for.
 *
 * setup.py compiles each kernel file once per instruction set, with NF_ISA one of scalar, avx2, avx512, and those that
 * serve both precisions a second time with NF_DOUBLE. `real` is then float or double, `vreal` a vector of NF_WIDTH of
 * them, and the v_ functions work on it. The scalar build uses the compilers' own vector type of 16 bytes, so that any
 * machine runs it. Multiplications and additions are fused only in v_fma and v_fnma, and there only if the machine can.
 */
#ifndef NF_KERNELS_VECTOR_H
#define NF_KERNELS_VECTOR_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define NF_JOIN_(a, b) a##b
#define NF_JOIN(a, b) NF_JOIN_(a, b)
#define NF_KERNEL(name) NF_JOIN(nf_##name##_, NF_ISA)
#ifdef NF_DOUBLE
#define NF_REAL_KERNEL(name) NF_JOIN(nf_##name##_f64_, NF_ISA)
typedef double real;
#else
#define NF_REAL_KERNEL(name) NF_JOIN(nf_##name##_f32_, NF_ISA)
typedef float real;
#endif

#define NF_INLINE static inline __attribute__((always_inline, unused))

/* Before a loop of constant length that must be unrolled whole, so that arrays indexed by it stay in registers. */
#ifdef __clang__
#define NF_UNROLL _Pragma("unroll")
#else
#define NF_UNROLL _Pragma("GCC unroll 32")
#endif

/* Lanes of two vectors, by number; `type` is that of whole numbers of their size. */
#if defined(__clang__) || __GNUC__ >= 12
#define NF_SHUFFLE(type, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define NF_SHUFFLE(type, a, b, ...) __builtin_shuffle(a, b, (type){__VA_ARGS__})
#endif

#if defined(__AVX512F__)
#include "vector_avx512.h"
#elif defined(__AVX2__)
#include "vector_avx2.h"
#else
#include "vector_scalar.h"
#endif

/* The sum and the maximum of all lanes, in a fixed order. */
NF_INLINE real v_sum(vreal a) {
    real lanes[NF_WIDTH];
    v_store(lanes, a);
    NF_UNROLL for (int half = NF_WIDTH / 2; half > 0; half /= 2) {
        NF_UNROLL for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
    }
    return lanes[0];
}
NF_INLINE real v_maximum(vreal a) {
    real lanes[NF_WIDTH];
    v_store(lanes, a);
    for (int i = 1; i < NF_WIDTH; i++)
        lanes[0] = lanes[i] > lanes[0] ? lanes[i] : lanes[0];
    return lanes[0];
}

/* Loops over n elements: whole vectors first, then the rest with tail loads and stores. */
NF_INLINE vreal v_load_some(const real *p, size_t n) {
    return n >= NF_WIDTH ? v_load(p) : v_load_tail(p, n);
}
NF_INLINE void v_store_some(real *p, vreal a, size_t n) {
    if (n >= NF_WIDTH)
        v_store(p, a);
    else
        v_store_tail(p, a, n);
}

#endif
