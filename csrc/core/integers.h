/* Small integer arithmetic that sizes and splits need everywhere. */
#ifndef NF_CORE_INTEGERS_H
#define NF_CORE_INTEGERS_H

#include <stddef.h>
#include <stdint.h>

static inline int64_t nf_min(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static inline int64_t nf_max(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* Of sizes in memory. */
static inline size_t nf_larger(size_t a, size_t b) {
    return a > b ? a : b;
}

static inline int64_t nf_clamp(int64_t value, int64_t low, int64_t high) {
    return nf_max(low, nf_min(value, high));
}

/* a / b rounded up; a >= 0, b > 0 */
static inline int64_t nf_ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

/* a rounded up to a multiple of b */
static inline int64_t nf_round_up(int64_t a, int64_t b) {
    return nf_ceil_div(a, b) * b;
}

#endif
