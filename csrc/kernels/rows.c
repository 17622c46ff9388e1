/* One row of embeddings at a time: lengths, products with another row, gradients. Sums are kept in double, in 16 lanes,
 * so that they are exact enough for float and vectorise. */
#include "kernels.h"
#include "vector.h"

enum { LANES = 16 };

static double sum_lanes(double lanes[LANES]) {
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            lanes[i] += lanes[i + half];
    return lanes[0];
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

double NF_REAL_KERNEL(row_dot)(const real *a, const real *b, size_t n) {
    double lanes[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t lane = 0; lane < LANES; lane++)
            lanes[lane] += (double)a[i + lane] * (double)b[i + lane];
    for (size_t lane = 0; i < n; i++, lane++)
        lanes[lane] += (double)a[i] * (double)b[i];
    return sum_lanes(lanes);
}

double NF_REAL_KERNEL(row_squares)(const real *x, real scale, size_t n) {
    double lanes[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t lane = 0; lane < LANES; lane++) {
            double scaled = (double)(x[i + lane] * scale);
            lanes[lane] += scaled * scaled;
        }
    for (size_t lane = 0; i < n; i++, lane++)
        lanes[lane] += (double)(x[i] * scale) * (double)(x[i] * scale);
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

double NF_REAL_KERNEL(row_sum)(const real *x, size_t n) {
    double lanes[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t lane = 0; lane < LANES; lane++)
            lanes[lane] += (double)x[i + lane];
    for (size_t lane = 0; i < n; i++, lane++)
        lanes[lane] += (double)x[i];
    return sum_lanes(lanes);
}

double NF_REAL_KERNEL(row_squared_distance)(const real *a, const real *b, size_t n) {
    double lanes[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t lane = 0; lane < LANES; lane++) {
            double difference = (double)a[i + lane] - (double)b[i + lane];
            lanes[lane] += difference * difference;
        }
    for (size_t lane = 0; i < n; i++, lane++) {
        double difference = (double)a[i] - (double)b[i];
        lanes[lane] += difference * difference;
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
