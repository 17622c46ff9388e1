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

NF_INLINE void weigh(int32_t weights[SOME], const outputs *some, int32_t k, double inverse,
                     nf_interpolation interpolation) {
    for (int i = 0; i < SOME; i++) {
        double weight = value_at(some, i, k, inverse, interpolation) / some->sum[i] * (1 << NF_WEIGHT_BITS);
        weights[i] = (int32_t)(weight + (weight < 0 ? -0.5 : 0.5));
    }
}

/* Drops weights of zero at both ends. */
static void trim(nf_taps *taps, size_t place) {
    int32_t *weights = taps->weights + place * taps->most;
    uint32_t start = taps->start[place], count = taps->count[place];
    while (count > 1 && weights[count - 1] == 0)
        count--;
    while (count > 1 && weights[0] == 0) {
        start++, count--;
        memmove(weights, weights + 1, count * sizeof *weights);
        weights[count] = 0;
    }
    taps->start[place] = start;
    taps->count[place] = count;
    taps->begin = start < taps->begin ? start : taps->begin;
    taps->end = start + count > taps->end ? start + count : taps->end;
}

NF_INLINE void make_taps(nf_taps *taps, size_t in, nf_interpolation interpolation, bool mirror) {
    double scale = (double)in / (double)taps->outputs, widening = scale < 1 ? 1 : scale;
    double support = nf_filter_support(interpolation) * widening, inverse = 1 / widening;
    for (size_t begin = 0; begin < taps->outputs; begin += SOME) {
        size_t some_left = taps->outputs - begin < SOME ? taps->outputs - begin : SOME;
        outputs some = find_inputs(begin, scale, support, (int32_t)in);
        add_values(&some, inverse, interpolation);
        for (int32_t k = 0; k < some.longest; k++) {
            int32_t weights[SOME];
            weigh(weights, &some, k, inverse, interpolation);
            for (size_t i = 0; i < some_left; i++)
                if (k < some.last[i] - some.first[i]) {
                    size_t place = mirror ? taps->outputs - 1 - begin - i : begin + i;
                    taps->weights[place * taps->most + (size_t)k] = weights[i];
                }
        }
        for (size_t i = 0; i < some_left; i++) {
            size_t place = mirror ? taps->outputs - 1 - begin - i : begin + i;
            taps->start[place] = (uint32_t)some.first[i];
            taps->count[place] = (uint32_t)(some.last[i] - some.first[i]);
            trim(taps, place);
        }
    }
}

void NF_KERNEL(make_taps)(nf_taps *taps, size_t in, bool cubic, bool mirror) {
    size_t padded = (taps->outputs + 15) / 16 * 16;
    memset(taps->weights, 0, padded * taps->most * sizeof *taps->weights);
    taps->begin = in;
    taps->end = 0;
    if (cubic)
        make_taps(taps, in, NF_BICUBIC, mirror);
    else
        make_taps(taps, in, NF_BILINEAR, mirror);
    for (size_t i = taps->outputs; i < padded; i++) {
        taps->start[i] = taps->start[taps->outputs - 1];
        taps->count[i] = taps->count[taps->outputs - 1];
    }
}
