/* Rows of distances: from products to distances, and what margins make of them. A row of distances has a multiple of 16
 * elements; infinity is a place that does not count. */
#include "exponential.h"
#include "kernels.h"

enum { TOGETHER = 4 }; /* thresholds that meet a vector while it is in a register; minima at a time */

void NF_REAL_KERNEL(tile_distances)(real *tile, const real *row_squares, const real *column_squares, bool root,
                                    size_t rows, size_t columns, size_t stride, real close) {
    for (size_t i = 0; i < rows; i++, tile += stride)
        for (size_t j = 0; j < columns; j += NF_WIDTH) {
            vreal sum = v_add(v_set(row_squares[i]), v_load(column_squares + j));
            vreal distance = v_fnma(v_set(2), v_load(tile + j), sum);
            vmask is_close = v_gt(v_mul(sum, v_set(close)), distance);
            distance = v_max(distance, v_zero());
            v_store(tile + j, v_select(is_close, v_set(-1), root ? v_sqrt(distance) : distance));
        }
}

/* nearest = min(nearest, x) where x is above the threshold */
NF_INLINE vreal nearer(vreal nearest, vreal x, vreal threshold) {
    return v_min(nearest, v_select(v_gt(x, threshold), x, nearest));
}

/* Where x first has this value, which it has. */
NF_INLINE size_t find(const real *x, size_t n, real value) {
    enum { CHUNK = 64 };
    size_t i = 0;
    for (; i + CHUNK <= n; i += CHUNK) {
        vreal found = v_zero();
        for (size_t k = i; k < i + CHUNK; k += NF_WIDTH)
            found = v_max(found, v_keep(v_eq(v_load(x + k), v_set(value)), v_set(1)));
        if (v_maximum(found) > 0)
            break;
    }
    while (x[i] != value)
        i++;
    return i;
}

size_t NF_REAL_KERNEL(nearest_above)(const real *x, size_t n, real threshold) {
    vreal above = v_set(threshold), nearest[TOGETHER];
    NF_UNROLL for (size_t r = 0; r < TOGETHER; r++) nearest[r] = v_set((real)__builtin_inf());
    size_t i = 0;
    for (; i + TOGETHER * NF_WIDTH <= n; i += TOGETHER * NF_WIDTH) /* chains that do not wait for each other */
        NF_UNROLL for (size_t r = 0; r < TOGETHER; r++) nearest[r] =
            nearer(nearest[r], v_load(x + i + r * NF_WIDTH), above);
    for (; i < n; i += NF_WIDTH)
        nearest[0] = nearer(nearest[0], v_load(x + i), above);
    vreal least_of_all = v_min(v_min(nearest[0], nearest[1]), v_min(nearest[2], nearest[3]));
    real least = -v_maximum(v_sub(v_zero(), least_of_all));
    if (!(least < (real)__builtin_inf()))
        return n;
    return find(x, n, least);
}

/* log(1 + q) for 0 <= q <= 1: 2 artanh(q / (2 + q)) as a series */
NF_INLINE vreal log_one_plus(vreal q) {
    enum { TERMS = sizeof(real) == 8 ? 17 : 8 };
    vreal s = v_div(q, v_add(q, v_set(2))), square = v_mul(s, s), p = v_zero();
    NF_UNROLL for (int i = TERMS - 1; i >= 0; i--) p = v_fma(p, square, v_set((real)2 / (real)(2 * i + 1)));
    return v_mul(s, p);
}

/* h(excess) is added to *sum; returns its derivative. */
NF_INLINE vreal term(vreal *sum, vreal excess, const bool soft) {
    vmask positive = v_gt(excess, v_zero());
    vreal value = v_keep(positive, excess);
    if (!soft) {
        *sum = v_add(*sum, value);
        return v_keep(positive, v_set(1));
    }
    vreal q = v_exp(v_sub(v_zero(), v_abs(excess)));
    *sum = v_add(*sum, v_add(value, log_one_plus(q)));
    return v_div(v_select(positive, v_set(1), q), v_add(q, v_set(1)));
}

NF_INLINE double sum_terms(real *d_thresholds, real *d_x, const real *thresholds, size_t count, const real *x, size_t n,
                           const bool soft) {
    double total = 0;
    for (size_t j = 0; j < n; j += NF_WIDTH)
        v_store(d_x + j, v_zero());
    for (size_t k = 0; k < count; k += TOGETHER) {
        vreal threshold[TOGETHER], sum[TOGETHER], slope[TOGETHER];
        NF_UNROLL for (size_t r = 0; r < TOGETHER; r++) {
            threshold[r] = v_set(k + r < count ? thresholds[k + r] : (real)-__builtin_inf());
            sum[r] = slope[r] = v_zero();
        }
        for (size_t j = 0; j < n; j += NF_WIDTH) {
            vreal some = v_load(x + j), d_some = v_load(d_x + j);
            NF_UNROLL for (size_t r = 0; r < TOGETHER; r++) {
                vreal one = term(&sum[r], v_sub(threshold[r], some), soft);
                slope[r] = v_add(slope[r], one);
                d_some = v_sub(d_some, one);
            }
            v_store(d_x + j, d_some);
        }
        for (size_t r = 0; r < TOGETHER && k + r < count; r++) {
            total += (double)v_sum(sum[r]);
            d_thresholds[k + r] = v_sum(slope[r]);
        }
    }
    return total;
}

double NF_REAL_KERNEL(hinge_terms)(real *d_thresholds, real *d_x, const real *thresholds, size_t count, const real *x,
                                   size_t n) {
    return sum_terms(d_thresholds, d_x, thresholds, count, x, n, false);
}

double NF_REAL_KERNEL(softplus_terms)(real *d_thresholds, real *d_x, const real *thresholds, size_t count,
                                      const real *x, size_t n) {
    return sum_terms(d_thresholds, d_x, thresholds, count, x, n, true);
}
