/* Depthwise convolution: each channel has filters of its own, so vectors of channels are multiplied number by number.
 * Several points are computed at a time, which share the loads of the weights. */
#include "kernels.h"
#include "vector.h"

enum { POINTS = NF_DEPTHWISE_POINTS };

/* `vectors` vectors of channels from channel j on; `rest` channels are left, of which one vector may be incomplete. */
NF_INLINE void convolve(float *const *out, const float *const *pixels, const float *const *weights, const float *bias,
                        size_t taps, size_t j, size_t rest, bool accumulate, const int vectors) {
    vreal sums[POINTS][2];
    NF_UNROLL
    for (int p = 0; p < POINTS; p++) {
        NF_UNROLL
        for (int v = 0; v < vectors; v++)
            sums[p][v] = bias ? v_load_some(bias + j + v * NF_WIDTH, rest) : v_zero();
    }
    for (size_t t = 0; t < taps; t++, pixels += POINTS) {
        vreal weight[2];
        NF_UNROLL
        for (int v = 0; v < vectors; v++)
            weight[v] = v_load_some(weights[t] + j + v * NF_WIDTH, rest);
        NF_UNROLL
        for (int p = 0; p < POINTS; p++) {
            NF_UNROLL
            for (int v = 0; v < vectors; v++)
                sums[p][v] = v_fma(v_load_some(pixels[p] + j + v * NF_WIDTH, rest), weight[v], sums[p][v]);
        }
    }
    NF_UNROLL
    for (int p = 0; p < POINTS; p++) {
        NF_UNROLL
        for (int v = 0; v < vectors; v++) {
            float *y = out[p] + j + v * NF_WIDTH;
            v_store_some(y, accumulate ? v_add(v_load_some(y, rest), sums[p][v]) : sums[p][v], rest);
        }
    }
}

void NF_KERNEL(depthwise)(float *const *out, const float *const *pixels, const float *const *weights, const float *bias,
                          size_t taps, size_t c, bool accumulate) {
    size_t j = 0;
    for (; j + 2 * NF_WIDTH <= c; j += 2 * NF_WIDTH)
        convolve(out, pixels, weights, bias, taps, j, 2 * NF_WIDTH, accumulate, 2);
    for (; j < c; j += NF_WIDTH)
        convolve(out, pixels, weights, bias, taps, j, c - j, accumulate, 1);
}

NF_INLINE void correlate(float *d_weight, const float *const *pixels, const float *const *d_y, size_t taps, size_t c,
                         size_t j, size_t rest, const int vectors) {
    vreal d[POINTS][2];
    NF_UNROLL
    for (int p = 0; p < POINTS; p++) {
        NF_UNROLL
        for (int v = 0; v < vectors; v++)
            d[p][v] = v_load_some(d_y[p] + j + v * NF_WIDTH, rest);
    }
    for (size_t t = 0; t < taps; t++, pixels += POINTS, d_weight += c) {
        NF_UNROLL
        for (int v = 0; v < vectors; v++) {
            float *target = d_weight + j + v * NF_WIDTH;
            vreal even = v_load_some(target, rest), odd = v_zero();
            NF_UNROLL
            for (int p = 0; p < POINTS; p += 2) {
                even = v_fma(v_load_some(pixels[p] + j + v * NF_WIDTH, rest), d[p][v], even);
                odd = v_fma(v_load_some(pixels[p + 1] + j + v * NF_WIDTH, rest), d[p + 1][v], odd);
            }
            v_store_some(target, v_add(even, odd), rest);
        }
    }
}

void NF_KERNEL(depthwise_weights)(float *d_weight, const float *const *pixels, const float *const *d_y, size_t taps,
                                  size_t c) {
    size_t j = 0;
    for (; j + 2 * NF_WIDTH <= c; j += 2 * NF_WIDTH)
        correlate(d_weight, pixels, d_y, taps, c, j, 2 * NF_WIDTH, 2);
    for (; j < c; j += NF_WIDTH)
        correlate(d_weight, pixels, d_y, taps, c, j, c - j, 1);
}
