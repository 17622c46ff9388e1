/* One row of embeddings at a time: lengths, products with another row, gradients. Sums are kept in double, in 16 lanes,
 * so that they are exact enough for float and vectorise. */
#include "kernels.h"
#include "vector.h"

enum { LANES = 16 };

NF_INLINE double sum_lanes(double lanes[LANES]) {
    NF_UNROLL for (int half = LANES / 2; half > 0; half /= 2) {
        NF_UNROLL for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
    }
    return lanes[0];
}

/* The last n < LANES numbers of a row, and zeros, which count for nothing. */
NF_INLINE void take_rest(real rest[LANES], const real *x, size_t n) {
    for (size_t lane = 0; lane < LANES; lane += NF_WIDTH)
        v_store(rest + lane, lane < n ? v_load_some(x + lane, n - lane) : v_zero());
}

real NF_REAL_KERNEL(row_largest)(const real *x, size_t n) {
    vreal largest = v_zero(), check = v_zero();
    for (size_t i = 0; i < n; i += NF_WIDTH) {
        vreal some = v_load_some(x + i, n - i);
        largest = v_max(largest, v_abs(some));
        check = v_add(check, v_sub(some, some)); /* NaN for NaN and for infinity */
    }
    return v_maximum(largest) + v_sum(check);
}

NF_INLINE void add_products(double lanes[LANES], const real *a, const real *b) {
    for (size_t lane = 0; lane < LANES; lane++)
        lanes[lane] += (double)a[lane] * (double)b[lane];
}

double NF_REAL_KERNEL(row_dot)(const real *a, const real *b, size_t n) {
    double lanes[LANES] = {0};
    real a_rest[LANES], b_rest[LANES];
    for (; n >= LANES; n -= LANES, a += LANES, b += LANES)
        add_products(lanes, a, b);
    if (n > 0) {
        take_rest(a_rest, a, n);
        take_rest(b_rest, b, n);
        add_products(lanes, a_rest, b_rest);
    }
    return sum_lanes(lanes);
}

NF_INLINE void add_squares(double lanes[LANES], const real *x, real scale) {
    for (size_t lane = 0; lane < LANES; lane++) {
        double scaled = (double)(x[lane] * scale);
        lanes[lane] += scaled * scaled;
    }
}

double NF_REAL_KERNEL(row_squares)(const real *x, real scale, size_t n) {
    double lanes[LANES] = {0};
    real rest[LANES];
    for (; n >= LANES; n -= LANES, x += LANES)
        add_squares(lanes, x, scale);
    if (n > 0) {
        take_rest(rest, x, n);
        add_squares(lanes, rest, scale);
    }
    return sum_lanes(lanes);
}

void NF_REAL_KERNEL(row_scale)(real *y, const real *x, real first, real second, size_t n) {
    for (size_t i = 0; i < n; i += NF_WIDTH)
        v_store_some(y + i, v_mul(v_mul(v_load_some(x + i, n - i), v_set(first)), v_set(second)), n - i);
}

void NF_REAL_KERNEL(row_add_scaled)(real *y, const real *x, real scale, size_t n) {
    for (size_t i = 0; i < n; i += NF_WIDTH)
        v_store_some(y + i, v_fma(v_load_some(x + i, n - i), v_set(scale), v_load_some(y + i, n - i)), n - i);
}

NF_INLINE void add_numbers(double lanes[LANES], const real *x) {
    for (size_t lane = 0; lane < LANES; lane++)
        lanes[lane] += (double)x[lane];
}

double NF_REAL_KERNEL(row_sum)(const real *x, size_t n) {
    double lanes[LANES] = {0};
    real rest[LANES];
    for (; n >= LANES; n -= LANES, x += LANES)
        add_numbers(lanes, x);
    if (n > 0) {
        take_rest(rest, x, n);
        add_numbers(lanes, rest);
    }
    return sum_lanes(lanes);
}

NF_INLINE void add_squared_differences(double lanes[LANES], const real *a, const real *b) {
    for (size_t lane = 0; lane < LANES; lane++) {
        double difference = (double)a[lane] - (double)b[lane];
        lanes[lane] += difference * difference;
    }
}

double NF_REAL_KERNEL(row_squared_distance)(const real *a, const real *b, size_t n) {
    double lanes[LANES] = {0};
    real a_rest[LANES], b_rest[LANES];
    for (; n >= LANES; n -= LANES, a += LANES, b += LANES)
        add_squared_differences(lanes, a, b);
    if (n > 0) {
        take_rest(a_rest, a, n);
        take_rest(b_rest, b, n);
        add_squared_differences(lanes, a_rest, b_rest);
    }
    return sum_lanes(lanes);
}

void NF_REAL_KERNEL(row_weights)(real *y, const real *x, bool divide, size_t n) {
    for (size_t i = 0; i < n; i += NF_WIDTH) {
        vreal some = v_load_some(y + i, n - i), divisor = v_load_some(x + i, n - i);
        vmask positive = v_gt(divisor, v_zero());
        if (divide)
            some = v_div(some, v_select(positive, divisor, v_set(1)));
        v_store_some(y + i, v_keep(positive, some), n - i);
    }
}
