#include "kernels.h"
#include "vector.h"

/* Vectors of channels that are summed at a time: enough independent sums to hide latency; of what is left a pair, so
 * that 32 channels are not gone through twice, in steps that caches can't foresee. */
enum { GROUP = 4, PAIR = 2 };

/* `statement` for all of c channels in groups of vectors: `group` of them, a constant, from channel j on, each with
 * `rest` lanes. */
#define FOR_GROUPS(c, statement)                                                                 \
    do {                                                                                         \
        size_t j = 0;                                                                            \
        for (const size_t rest = NF_WIDTH; j + GROUP * NF_WIDTH <= (c); j += GROUP * NF_WIDTH) { \
            enum { group = GROUP };                                                              \
            statement;                                                                           \
        }                                                                                        \
        for (const size_t rest = NF_WIDTH; j + PAIR * NF_WIDTH <= (c); j += PAIR * NF_WIDTH) {   \
            enum { group = PAIR };                                                               \
            statement;                                                                           \
        }                                                                                        \
        for (; j < (c); j += NF_WIDTH) {                                                         \
            enum { group = 1 };                                                                  \
            const size_t rest = (c)-j;                                                           \
            statement;                                                                           \
        }                                                                                        \
    } while (0)

NF_INLINE void moments_of_group(int group, float *mean, float *squares, const float *x, size_t rows, size_t c,
                                size_t rest, size_t before) {
    vreal inverse = v_set(1.0f / (float)rows), sum[GROUP], square[GROUP];
    NF_UNROLL
    for (int g = 0; g < group; g++)
        sum[g] = square[g] = v_zero();
    for (size_t i = 0; i < rows; i++) {
        NF_UNROLL
        for (int g = 0; g < group; g++)
            sum[g] = v_add(sum[g], v_load_some(x + i * c + (size_t)(g * NF_WIDTH), rest));
    }
    NF_UNROLL
    for (int g = 0; g < group; g++)
        sum[g] = v_mul(sum[g], inverse);
    for (size_t i = 0; i < rows; i++) {
        NF_UNROLL
        for (int g = 0; g < group; g++) {
            vreal difference = v_sub(v_load_some(x + i * c + (size_t)(g * NF_WIDTH), rest), sum[g]);
            square[g] = v_fma(difference, difference, square[g]);
        }
    }
    vreal share = v_set((float)rows / (float)(rows + before));
    NF_UNROLL
    for (int g = 0; g < group; g++) {
        float *to = mean + g * NF_WIDTH, *to_squares = squares + g * NF_WIDTH;
        if (before > 0) { /* Chan, Golub and LeVeque */
            vreal old = v_load_some(to, rest), difference = v_sub(sum[g], old), part = v_mul(difference, share);
            vreal between = v_mul(v_mul(difference, part), v_set((float)before));
            sum[g] = v_add(old, part);
            square[g] = v_add(v_load_some(to_squares, rest), v_add(square[g], between));
        }
        v_store_some(to, sum[g], rest);
        v_store_some(to_squares, square[g], rest);
    }
}

/* Mean of each channel, and the sum of squared differences from that mean, of these rows and of `before` others whose
 * moments are there. Two passes: the rows are in the cache. */
void NF_KERNEL(moments)(float *mean, float *squares, const float *x, size_t rows, size_t c, size_t before) {
    FOR_GROUPS(c, moments_of_group(group, mean + j, squares + j, x + j, rows, c, rest, before));
}

NF_INLINE void scale_shift_group(int group, float *y, const float *x, const float *addend, const float *factor,
                                 const float *shift, size_t rows, size_t c, size_t rest, bool relu) {
    vreal scale[GROUP], offset[GROUP];
    NF_UNROLL
    for (int g = 0; g < group; g++) {
        scale[g] = v_load_some(factor + g * NF_WIDTH, rest);
        offset[g] = v_load_some(shift + g * NF_WIDTH, rest);
    }
    for (size_t i = 0; i < rows; i++) {
        NF_UNROLL
        for (int g = 0; g < group; g++) {
            size_t at = i * c + (size_t)(g * NF_WIDTH);
            vreal value = v_fma(scale[g], v_load_some(x + at, rest), offset[g]);
            if (addend)
                value = v_add(value, v_load_some(addend + at, rest));
            v_store_some(y + at, relu ? v_max(value, v_zero()) : value, rest);
        }
    }
}

/* y = factor x + shift (+ addend), then max(., 0) if relu; addend may be NULL, y may be x. */
void NF_KERNEL(scale_shift)(float *y, const float *x, const float *addend, const float *factor, const float *shift,
                            size_t rows, size_t c, bool relu) {
    FOR_GROUPS(c, scale_shift_group(group, y + j, x + j, addend ? addend + j : NULL, factor + j, shift + j, rows, c,
                                    rest, relu));
}

/* How ReLU's way back knows where its output is 0: a constant below, so that each has a loop of its own. */
enum { NO_RELU, BY_OUTPUT, BY_INPUT };

NF_INLINE void sums_of_group(int group, int relu, float *sum, float *sum_x, float *d_y, const float *y, const float *x,
                             const float *mean, const float *factor, const float *shift, size_t rows, size_t c,
                             size_t rest, bool accumulate) {
    vreal center[GROUP], total[GROUP], total_x[GROUP];
    NF_UNROLL
    for (int g = 0; g < group; g++) {
        center[g] = v_load_some(mean + g * NF_WIDTH, rest);
        total[g] = total_x[g] = v_zero();
    }
    for (size_t i = 0; i < rows; i++, d_y += c, x += c) {
        NF_UNROLL
        for (int g = 0; g < group; g++) {
            int at = g * NF_WIDTH;
            vreal d = v_load_some(d_y + at, rest), value = v_load_some(x + at, rest);
            if (relu != NO_RELU) {
                vreal output = relu == BY_OUTPUT
                                   ? v_load_some(y + at, rest)
                                   : v_fma(v_load_some(factor + at, rest), value, v_load_some(shift + at, rest));
                d = v_keep(v_gt(output, v_zero()), d);
                if (relu == BY_OUTPUT)
                    v_store_some(d_y + at, d, rest);
            }
            total[g] = v_add(total[g], d);
            total_x[g] = v_fma(d, v_sub(value, center[g]), total_x[g]);
        }
        if (relu == BY_OUTPUT)
            y += c;
    }
    NF_UNROLL
    for (int g = 0; g < group; g++) {
        float *to = sum + g * NF_WIDTH, *to_x = sum_x + g * NF_WIDTH;
        v_store_some(to, accumulate ? v_add(v_load_some(to, rest), total[g]) : total[g], rest);
        v_store_some(to_x, accumulate ? v_add(v_load_some(to_x, rest), total_x[g]) : total_x[g], rest);
    }
}

NF_INLINE void sums(int relu, float *sum, float *sum_x, float *d_y, const float *y, const float *x, const float *mean,
                    const float *factor, const float *shift, size_t rows, size_t c, bool accumulate) {
    FOR_GROUPS(c, sums_of_group(group, relu, sum + j, sum_x + j, d_y + j, relu == BY_OUTPUT ? y + j : NULL, x + j,
                                mean + j, factor + j, shift + j, rows, c, rest, accumulate));
}

/* sum (+)= sum of d_y, sum_x (+)= sum of d_y (x - mean). With relu, d_y is first set to zero where y is zero; or if y
 * is NULL, taken for zero where factor x + shift is not positive. */
void NF_KERNEL(batch_norm_sums)(float *sum, float *sum_x, float *d_y, const float *y, const float *x, const float *mean,
                                const float *factor, const float *shift, size_t rows, size_t c, bool relu,
                                bool accumulate) {
    if (!relu)
        sums(NO_RELU, sum, sum_x, d_y, y, x, mean, factor, shift, rows, c, accumulate);
    else if (y)
        sums(BY_OUTPUT, sum, sum_x, d_y, y, x, mean, factor, shift, rows, c, accumulate);
    else
        sums(BY_INPUT, sum, sum_x, d_y, y, x, mean, factor, shift, rows, c, accumulate);
}

NF_INLINE void backward_of_group(int group, bool masks, float *d_x, const float *d_y, const float *x, const float *mean,
                                 const float *factor_y, const float *factor_x, const float *shift, const float *relu,
                                 size_t rows, size_t c, size_t rest, bool accumulate) {
    vreal center[GROUP], of_y[GROUP], of_x[GROUP], offset[GROUP];
    NF_UNROLL
    for (int g = 0; g < group; g++) {
        center[g] = v_load_some(mean + g * NF_WIDTH, rest);
        of_y[g] = v_load_some(factor_y + g * NF_WIDTH, rest);
        of_x[g] = v_load_some(factor_x + g * NF_WIDTH, rest);
        offset[g] = v_load_some(shift + g * NF_WIDTH, rest);
    }
    for (size_t i = 0; i < rows; i++) {
        NF_UNROLL
        for (int g = 0; g < group; g++) {
            size_t j = (size_t)(g * NF_WIDTH), at = i * c + j;
            vreal value = v_load_some(x + at, rest), gradient = v_load_some(d_y + at, rest);
            if (masks) {
                vreal output = v_fma(v_load_some(relu + j, rest), value, v_load_some(relu + c + j, rest));
                gradient = v_keep(v_gt(output, v_zero()), gradient);
            }
            vreal d = v_fma(of_y[g], gradient, v_fma(of_x[g], v_sub(value, center[g]), offset[g]));
            v_store_some(d_x + at, accumulate ? v_add(v_load_some(d_x + at, rest), d) : d, rest);
        }
    }
}

NF_INLINE void backward(bool masks, float *d_x, const float *d_y, const float *x, const float *mean,
                        const float *factor_y, const float *factor_x, const float *shift, const float *relu,
                        size_t rows, size_t c, bool accumulate) {
    FOR_GROUPS(c, backward_of_group(group, masks, d_x + j, d_y + j, x + j, mean + j, factor_y + j, factor_x + j,
                                    shift + j, masks ? relu + j : NULL, rows, c, rest, accumulate));
}

/* d_x (+)= factor_y d_y + factor_x (x - mean) + shift; d_x may be d_y. If relu, factors and shifts (2, c), is not NULL,
 * d_y is taken for zero where factor x + shift is not positive. */
void NF_KERNEL(batch_norm_backward)(float *d_x, const float *d_y, const float *x, const float *mean,
                                    const float *factor_y, const float *factor_x, const float *shift, const float *relu,
                                    size_t rows, size_t c, bool accumulate) {
    if (relu)
        backward(true, d_x, d_y, x, mean, factor_y, factor_x, shift, relu, rows, c, accumulate);
    else
        backward(false, d_x, d_y, x, mean, factor_y, factor_x, shift, NULL, rows, c, accumulate);
}
