#include "kernels.h"
#include "vector.h"

/* Sum over j of a[j] in a fixed order; rows are short, and stay in the nearest cache. */
NF_INLINE float row_sum(const float *a, size_t c) {
    vreal sum = v_zero();
    for (size_t j = 0; j < c; j += NF_WIDTH)
        sum = v_add(sum, v_load_some(a + j, c - j));
    return v_sum(sum);
}

void NF_KERNEL(layer_norm)(float *y, float *mean, float *inverse, const float *x, const float *weight,
                           const float *bias, float eps, size_t rows, size_t c) {
    for (size_t i = 0; i < rows; i++, x += c, y += c) {
        vreal center = v_set(row_sum(x, c) / (float)c), squares = v_zero();
        for (size_t j = 0; j < c; j += NF_WIDTH) {
            vreal difference = v_sub(v_load_some(x + j, c - j), center);
            if (c - j < NF_WIDTH) { /* lanes beyond the row count for nothing */
                float lanes[NF_WIDTH];
                v_store(lanes, difference);
                difference = v_load_some(lanes, c - j);
            }
            squares = v_fma(difference, difference, squares);
        }
        vreal variance = v_add(v_set(v_sum(squares) / (float)c), v_set(eps));
        vreal factor = v_div(v_set(1), v_sqrt(variance));
        for (size_t j = 0; j < c; j += NF_WIDTH) {
            size_t rest = c - j;
            vreal u = v_mul(v_sub(v_load_some(x + j, rest), center), factor);
            v_store_some(y + j, v_fma(u, v_load_some(weight + j, rest), v_load_some(bias + j, rest)), rest);
        }
        if (mean) {
            float lanes[NF_WIDTH];
            v_store(lanes, center);
            mean[i] = lanes[0];
            v_store(lanes, factor);
            inverse[i] = lanes[0];
        }
    }
}

/* With u = (x - mean) inverse and g = d_y weight, row by row:
 * d_x (+)= inverse (g - mean of g - u mean of (g u));  sum += d_y, sum_u += d_y u over the rows. */
void NF_KERNEL(layer_norm_backward)(float *d_x, float *sum, float *sum_u, const float *d_y, const float *x,
                                    const float *mean, const float *inverse, const float *weight, size_t rows, size_t c,
                                    bool accumulate) {
    for (size_t i = 0; i < rows; i++, x += c, d_y += c) {
        vreal center = v_set(mean[i]), factor = v_set(inverse[i]), g_sum = v_zero(), gu_sum = v_zero();
        for (size_t j = 0; j < c; j += NF_WIDTH) {
            size_t rest = c - j;
            vreal u = v_mul(v_sub(v_load_some(x + j, rest), center), factor), d = v_load_some(d_y + j, rest);
            vreal g = v_mul(d, v_load_some(weight + j, rest)); /* zero beyond the row */
            g_sum = v_add(g_sum, g);
            gu_sum = v_fma(g, u, gu_sum);
            v_store_some(sum + j, v_add(v_load_some(sum + j, rest), d), rest);
            v_store_some(sum_u + j, v_fma(d, u, v_load_some(sum_u + j, rest)), rest);
        }
        if (!d_x)
            continue;
        vreal g_mean = v_set(v_sum(g_sum) / (float)c), gu_mean = v_set(v_sum(gu_sum) / (float)c);
        for (size_t j = 0; j < c; j += NF_WIDTH) {
            size_t rest = c - j;
            vreal u = v_mul(v_sub(v_load_some(x + j, rest), center), factor);
            vreal g = v_mul(v_load_some(d_y + j, rest), v_load_some(weight + j, rest));
            vreal d = v_mul(factor, v_fnma(u, gu_mean, v_sub(g, g_mean)));
            v_store_some(d_x + j, accumulate ? v_add(v_load_some(d_x + j, rest), d) : d, rest);
        }
        d_x += c;
    }
}
