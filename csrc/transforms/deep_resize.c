/* Deep images, resized with antialiasing by filters in float32, or by nearest neighbours. Source: Pillow,
 * src/libImaging/Resample.c, Geometry.c. */
#include "../kernels/filter.h"
#include "deep.h"
#include "transform.h"

#include "../core/integers.h"

#include <string.h>

/* ---- Filters ---- */

typedef struct taps { /* of each output: its first input, how many, and their weights, `most` apart */
    int64_t *starts, *counts;
    float *weights;
    int64_t most;
} taps;

static void make_taps(taps *t, int64_t in, int64_t out, nf_interpolation interpolation) {
    double scale = (double)in / (double)out, widening = scale < 1 ? 1 : scale;
    double support = nf_filter_support(interpolation) * widening;
    t->most = (int64_t)nf_filter_taps(in, out, nf_filter_support(interpolation));
    for (int64_t i = 0; i < out; i++) {
        double center = ((double)i + 0.5) * scale, sum = 0;
        int64_t first = (int64_t)(center - support + 0.5), last = (int64_t)(center + support + 0.5);
        first = first < 0 ? 0 : first;
        last = last > in ? in : last;
        for (int64_t k = first; k < last; k++)
            sum += nf_filter(interpolation, ((double)k - center + 0.5) / widening);
        for (int64_t k = first; k < last; k++)
            t->weights[i * t->most + k - first] =
                (float)(nf_filter(interpolation, ((double)k - center + 0.5) / widening) / sum);
        t->starts[i] = first;
        t->counts[i] = last - first;
    }
}

static void pass_across(float *out, const float *row, const taps *t, int64_t width, int64_t channels) {
    for (int64_t x = 0; x < width; x++)
        for (int64_t c = 0; c < channels; c++) {
            const float *in = row + t->starts[x] * channels + c, *weights = t->weights + x * t->most;
            float sum = 0;
            for (int64_t k = 0; k < t->counts[x]; k++)
                sum += weights[k] * in[k * channels];
            out[x * channels + c] = sum;
        }
}

static void pass_down(float *out, const float *middle, const taps *t, int64_t height, int64_t row) {
    for (int64_t y = 0; y < height; y++, out += row) {
        memset(out, 0, (size_t)row * sizeof *out);
        for (int64_t k = 0; k < t->counts[y]; k++) {
            float weight = t->weights[y * t->most + k];
            const float *in = middle + (t->starts[y] + k) * row;
            for (int64_t i = 0; i < row; i++)
                out[i] += weight * in[i];
        }
    }
}

/* What a pass needs at most, and the rows before and after the pass across. */
typedef struct sizes {
    size_t outputs, weights, row, middle;
} sizes;

static sizes measure(nf_extent in, nf_extent out, int64_t channels, nf_interpolation interpolation) {
    int support = nf_filter_support(interpolation);
    return (sizes){.outputs = nf_larger((size_t)out.height, (size_t)out.width),
                   .weights = nf_larger((size_t)out.width * nf_filter_taps(in.width, out.width, support),
                                        (size_t)out.height * nf_filter_taps(in.height, out.height, support)),
                   .row = (size_t)in.width * (size_t)channels,
                   .middle = (size_t)in.height * (size_t)out.width * (size_t)channels};
}

static void filter(nf_deep_view *view, nf_box box, nf_extent out, nf_interpolation interpolation) {
    int64_t channels = view->channels;
    sizes s = measure((nf_extent){box.height, box.width}, out, channels, interpolation);
    int64_t *starts = view->scratch, *counts = starts + s.outputs;
    float *weights = (float *)(counts + s.outputs), *row = weights + s.weights, *middle = row + s.row;
    taps t = {.starts = starts, .counts = counts, .weights = weights};
    make_taps(&t, box.width, out.width, interpolation);
    for (int64_t y = 0; y < box.height; y++) {
        nf_deep_read(row, view, ((box.top + y) * view->width + box.left) * channels, box.width * channels);
        pass_across(middle + y * out.width * channels, row, &t, out.width, channels);
    }
    make_taps(&t, box.height, out.height, interpolation);
    pass_down(view->spare, middle, &t, out.height, out.width * channels);
}

/* ---- Nearest neighbours ---- */

static void pick(nf_deep_view *view, nf_box box, nf_extent out) {
    int32_t *columns = view->scratch, *rows = columns + out.width;
    float *row = (float *)(rows + out.height), *to = view->spare;
    int64_t channels = view->channels;
    nf_scale_table(columns, 0, (double)box.width / (double)out.width, out.width, box.width);
    nf_scale_table(rows, 0, (double)box.height / (double)out.height, out.height, box.height);
    for (int64_t y = 0; y < out.height; y++) {
        nf_deep_read(row, view, ((box.top + rows[y]) * view->width + box.left) * channels, box.width * channels);
        for (int64_t x = 0; x < out.width; x++) {
            const float *from = row + columns[x] * channels;
            for (int64_t c = 0; c < channels; c++)
                *to++ = from[c];
        }
    }
}

/* ---- On a view, and in a recipe ---- */

size_t nf_deep_resize_size(nf_extent in, nf_extent out, int64_t channels, nf_interpolation interpolation) {
    if (interpolation == NF_NEAREST)
        return nf_warp_scratch_size(out) + (size_t)(in.width * channels) * sizeof(float);
    sizes s = measure(in, out, channels, interpolation);
    return 2 * s.outputs * sizeof(int64_t) + (s.weights + s.row + s.middle) * sizeof(float);
}

void nf_deep_view_resize(nf_deep_view *view, nf_box box, nf_extent out, nf_interpolation interpolation) {
    if (interpolation == NF_NEAREST)
        pick(view, box, out);
    else
        filter(view, box, out, interpolation);
    nf_deep_swap(view, out);
}

size_t nf_deep_crop_scratch(const nf_transform *transform, nf_extent in, int64_t channels) {
    nf_extent out = {transform->crop.height, transform->crop.width};
    nf_interpolation interpolation = transform->crop.interpolation;
    return nf_deep_resize_size(in, out, channels, interpolation);
}

void nf_deep_crop(nf_deep_view *view, const nf_transform *transform, const void *record) {
    nf_extent out = {transform->crop.height, transform->crop.width};
    nf_deep_view_resize(view, *(const nf_box *)record, out, transform->crop.interpolation);
}

size_t nf_deep_resize_scratch(const nf_transform *transform, nf_extent in, int64_t channels) {
    return nf_deep_resize_size(in, nf_resized_extent(transform, in), channels, transform->resize.interpolation);
}

void nf_deep_resize(nf_deep_view *view, const nf_transform *transform, const void *record) {
    (void)record;
    nf_extent in = {view->height, view->width};
    nf_box all = {.height = (int32_t)in.height, .width = (int32_t)in.width};
    nf_deep_view_resize(view, all, nf_resized_extent(transform, in), transform->resize.interpolation);
}
