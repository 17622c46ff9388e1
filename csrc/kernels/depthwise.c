/* Depthwise convolution: each channel has filters of its own, so vectors of channels are multiplied number by number.
 * Several points of a row are computed at a time: a pixel is loaded once for all the taps that reach it. For the usual
 * widths of a kernel the loops over taps are unrolled, which keeps sums and weights in registers. */
#include "kernels.h"
#include "vector.h"

enum { POINTS = NF_DEPTHWISE_POINTS };

/* Calls f with `kernel_w` and `stride` as constants where they are usual. */
#define WITH_USUAL_SIZES(f, kernel_w, stride, ...)          \
    do {                                                    \
        if (stride == 1 && kernel_w == 1)                   \
            f(__VA_ARGS__, 1, 1);                           \
        else if (stride == 1 && kernel_w == 2)              \
            f(__VA_ARGS__, 2, 1);                           \
        else if (stride == 1 && kernel_w == 3)              \
            f(__VA_ARGS__, 3, 1);                           \
        else if (stride == 1 && kernel_w == 5)              \
            f(__VA_ARGS__, 5, 1);                           \
        else if (stride == 1 && kernel_w == 7)              \
            f(__VA_ARGS__, 7, 1);                           \
        else if (stride == 2 && kernel_w == 3)              \
            f(__VA_ARGS__, 3, 2);                           \
        else                                                \
            f##_of_any_size(__VA_ARGS__, kernel_w, stride); \
    } while (0)

NF_INLINE void store_points(float *const *out, const vreal *sums, size_t j, size_t rest, bool accumulate) {
    NF_UNROLL
    for (int p = 0; p < POINTS; p++) {
        float *y = out[p] + j;
        v_store_some(y, accumulate ? v_add(v_load_some(y, rest), sums[p]) : sums[p], rest);
    }
}

/* The channels from j on; `rest` of them are left. */
NF_INLINE void convolve_vector(float *const *out, const float *const *columns, const float *const *weights,
                               const float *bias, size_t kernel_h, bool accumulate, size_t j, size_t rest,
                               const int kernel_w, const int stride) {
    vreal sums[POINTS], weight[7];
    NF_UNROLL
    for (int p = 0; p < POINTS; p++)
        sums[p] = bias ? v_load_some(bias + j, rest) : v_zero();
    for (size_t i = 0; i < kernel_h; i++, weights += kernel_w, columns += (POINTS - 1) * stride + kernel_w) {
        NF_UNROLL
        for (int k = 0; k < kernel_w; k++)
            weight[k] = v_load_some(weights[k] + j, rest);
        NF_UNROLL
        for (int column = 0; column < (POINTS - 1) * stride + kernel_w; column++) {
            vreal x = v_load_some(columns[column] + j, rest);
            NF_UNROLL
            for (int p = 0; p < POINTS; p++) {
                int k = column - p * stride;
                if (k >= 0 && k < kernel_w)
                    sums[p] = v_fma(x, weight[k], sums[p]);
            }
        }
    }
    store_points(out, sums, j, rest, accumulate);
}

NF_INLINE void convolve(float *const *out, const float *const *columns, const float *const *weights, const float *bias,
                        size_t kernel_h, size_t c, bool accumulate, const int kernel_w, const int stride) {
    size_t j = 0;
    for (; j + NF_WIDTH <= c; j += NF_WIDTH)
        convolve_vector(out, columns, weights, bias, kernel_h, accumulate, j, NF_WIDTH, kernel_w, stride);
    if (j < c)
        convolve_vector(out, columns, weights, bias, kernel_h, accumulate, j, c - j, kernel_w, stride);
}

static void convolve_of_any_size(float *const *out, const float *const *columns, const float *const *weights,
                                 const float *bias, size_t kernel_h, size_t c, bool accumulate, size_t kernel_w,
                                 size_t stride) {
    for (size_t j = 0; j < c; j += NF_WIDTH) {
        size_t rest = c - j;
        vreal sums[POINTS];
        NF_UNROLL
        for (int p = 0; p < POINTS; p++)
            sums[p] = bias ? v_load_some(bias + j, rest) : v_zero();
        for (size_t i = 0; i < kernel_h; i++)
            for (size_t k = 0; k < kernel_w; k++) {
                const float *const *first = columns + i * ((POINTS - 1) * stride + kernel_w) + k;
                vreal weight = v_load_some(weights[i * kernel_w + k] + j, rest);
                NF_UNROLL
                for (int p = 0; p < POINTS; p++)
                    sums[p] = v_fma(v_load_some(first[(size_t)p * stride] + j, rest), weight, sums[p]);
            }
        store_points(out, sums, j, rest, accumulate);
    }
}

void NF_KERNEL(depthwise)(float *const *out, const float *const *columns, const float *const *weights,
                          const float *bias, size_t kernel_h, size_t kernel_w, size_t stride, size_t c,
                          bool accumulate) {
    WITH_USUAL_SIZES(convolve, kernel_w, stride, out, columns, weights, bias, kernel_h, c, accumulate);
}

NF_INLINE void correlate_vector(float *d_weight, const float *const *columns, const float *const *d_y, size_t kernel_h,
                                size_t c, size_t j, size_t rest, const int kernel_w, const int stride) {
    vreal d[POINTS], sums[7];
    NF_UNROLL
    for (int p = 0; p < POINTS; p++)
        d[p] = v_load_some(d_y[p] + j, rest);
    for (size_t i = 0; i < kernel_h; i++, columns += (POINTS - 1) * stride + kernel_w) {
        NF_UNROLL
        for (int k = 0; k < kernel_w; k++)
            sums[k] = v_zero();
        NF_UNROLL
        for (int column = 0; column < (POINTS - 1) * stride + kernel_w; column++) {
            vreal x = v_load_some(columns[column] + j, rest);
            NF_UNROLL
            for (int p = 0; p < POINTS; p++) {
                int k = column - p * stride;
                if (k >= 0 && k < kernel_w)
                    sums[k] = v_fma(x, d[p], sums[k]);
            }
        }
        NF_UNROLL
        for (int k = 0; k < kernel_w; k++, d_weight += c)
            v_store_some(d_weight + j, v_add(v_load_some(d_weight + j, rest), sums[k]), rest);
    }
}

NF_INLINE void correlate(float *d_weight, const float *const *columns, const float *const *d_y, size_t kernel_h,
                         size_t c, const int kernel_w, const int stride) {
    size_t j = 0;
    for (; j + NF_WIDTH <= c; j += NF_WIDTH)
        correlate_vector(d_weight, columns, d_y, kernel_h, c, j, NF_WIDTH, kernel_w, stride);
    if (j < c)
        correlate_vector(d_weight, columns, d_y, kernel_h, c, j, c - j, kernel_w, stride);
}

static void correlate_of_any_size(float *d_weight, const float *const *columns, const float *const *d_y,
                                  size_t kernel_h, size_t c, size_t kernel_w, size_t stride) {
    for (size_t i = 0; i < kernel_h; i++, columns += (POINTS - 1) * stride + kernel_w)
        for (size_t k = 0; k < kernel_w; k++, d_weight += c)
            for (size_t j = 0; j < c; j += NF_WIDTH) {
                vreal sum = v_zero();
                for (size_t p = 0; p < POINTS; p++)
                    sum = v_fma(v_load_some(columns[p * stride + k] + j, c - j), v_load_some(d_y[p] + j, c - j), sum);
                v_store_some(d_weight + j, v_add(v_load_some(d_weight + j, c - j), sum), c - j);
            }
}

void NF_KERNEL(depthwise_weights)(float *d_weight, const float *const *columns, const float *const *d_y,
                                  size_t kernel_h, size_t kernel_w, size_t stride, size_t c) {
    WITH_USUAL_SIZES(correlate, kernel_w, stride, d_weight, columns, d_y, kernel_h, c);
}
