/* The weights of resampling, by Pillow's double-precision arithmetic (Resample.c), operation by operation, for some
 * outputs side by side: loops that the compilers vectorise. */
#include "filter.h"
#include "kernels.h"
#include "vector.h"

enum { SOME = 16 };

typedef struct outputs {
    double center[SOME], sum[SOME];
    int32_t first[SOME], last[SOME]; /* their inputs are first..last - 1 */
    int32_t longest;
} outputs;

static outputs find_inputs(size_t begin, double scale, double support, int32_t in) {
    outputs some;
    for (int i = 0; i < SOME; i++)
        some.center[i] = ((double)((int32_t)begin + i) + 0.5) * scale;
    for (int i = 0; i < SOME; i++) {
        int32_t first = (int32_t)(some.center[i] - support + 0.5), last = (int32_t)(some.center[i] + support + 0.5);
        some.first[i] = first < 0 ? 0 : first;
        some.last[i] = last > in ? in : last;
    }
    some.longest = 0;
    for (int i = 0; i < SOME; i++) {
        int32_t count = some.last[i] - some.first[i];
        some.longest = count > some.longest ? count : some.longest;
    }
    return some;
}

/* The filter's value at input first + k, zero from `last` on. */
NF_INLINE double value_at(const outputs *some, int i, int32_t k, double inverse, nf_interpolation interpolation) {
    int32_t input = some->first[i] + k;
    double value = nf_filter(interpolation, ((double)input - some->center[i] + 0.5) * inverse);
    return input < some->last[i] ? value : 0;
}

NF_INLINE void add_values(outputs *some, double inverse, nf_interpolation interpolation) {
    for (int i = 0; i < SOME; i++)
        some->sum[i] = 0;
    for (int32_t k = 0; k < some->longest; k++)
        for (int i = 0; i < SOME; i++)
            some->sum[i] += value_at(some, i, k, inverse, interpolation);
    for (int i = 0; i < SOME; i++)
        some->sum[i] = some->sum[i] != 0 ? some->sum[i] : 1;
}

/* Four weights of each output. */
NF_INLINE void weigh(int32_t weights[4][SOME], const outputs *some, int32_t first, double inverse,
                     nf_interpolation interpolation) {
    memset(weights, 0, 4 * SOME * sizeof **weights);
    for (int32_t k = 0; k < 4 && first + k < some->longest; k++)
        for (int i = 0; i < SOME; i++) {
            double weight = value_at(some, i, first + k, inverse, interpolation) / some->sum[i] * (1 << NF_WEIGHT_BITS);
            weights[k][i] = (int32_t)(weight + (weight < 0 ? -0.5 : 0.5));
        }
}

/* Drops weights of zero at both ends. */
NF_INLINE void trim(int32_t *weights, uint32_t *start, uint32_t *count) {
    while (*count > 1 && weights[*count - 1] == 0)
        --*count;
    while (*count > 1 && weights[0] == 0) {
        ++*start, --*count;
        memmove(weights, weights + 1, *count * sizeof *weights);
        weights[*count] = 0;
    }
}

NF_INLINE void make_some(nf_taps *taps, size_t begin, size_t in, nf_interpolation interpolation, bool mirror) {
    double scale = (double)in / (double)taps->outputs, widening = scale < 1 ? 1 : scale;
    double support = nf_filter_support(interpolation) * widening, inverse = 1 / widening;
    size_t count = taps->outputs - begin < SOME ? taps->outputs - begin : SOME;
    ptrdiff_t first = (ptrdiff_t)(mirror ? taps->outputs - 1 - begin : begin), step = mirror ? -1 : 1;
    outputs some = find_inputs(begin, scale, support, (int32_t)in);
    add_values(&some, inverse, interpolation);
    for (size_t k = 0; k < taps->most; k += 4) {
        int32_t weights[4][SOME];
        weigh(weights, &some, (int32_t)k, inverse, interpolation);
        int32_t *to = taps->weights + first * (ptrdiff_t)taps->most + (ptrdiff_t)k;
        for (size_t i = 0; i < count; i++, to += step * (ptrdiff_t)taps->most)
            for (int j = 0; j < 4; j++)
                to[j] = weights[j][i];
    }
    for (size_t i = 0; i < count; i++) {
        ptrdiff_t place = first + step * (ptrdiff_t)i;
        taps->start[place] = (uint32_t)some.first[i];
        taps->count[place] = (uint32_t)(some.last[i] - some.first[i]);
        trim(taps->weights + (size_t)place * taps->most, &taps->start[place], &taps->count[place]);
    }
}

void NF_KERNEL(make_taps)(nf_taps *taps, size_t in, bool cubic, bool mirror) {
    for (size_t begin = 0; begin < taps->outputs; begin += SOME)
        if (cubic)
            make_some(taps, begin, in, NF_BICUBIC, mirror);
        else
            make_some(taps, begin, in, NF_BILINEAR, mirror);
    uint32_t begin = UINT32_MAX, end = 0, longest = 0;
    for (size_t i = 0; i < taps->outputs; i++) {
        begin = taps->start[i] < begin ? taps->start[i] : begin;
        end = taps->start[i] + taps->count[i] > end ? taps->start[i] + taps->count[i] : end;
        longest = taps->count[i] > longest ? taps->count[i] : longest;
    }
    for (size_t i = 0; i < taps->outputs; i++)
        taps->start[i] -= begin;
    taps->begin = begin;
    taps->end = end;
    taps->longest = longest;
    size_t last = taps->outputs - 1;
    for (size_t i = taps->outputs; i % SOME != 0; i++) {
        taps->start[i] = taps->start[last];
        taps->count[i] = taps->count[last];
        memset(taps->weights + i * taps->most, 0, taps->most * sizeof *taps->weights);
    }
}
