/* Images with more than 8 bits a value, in single precision from the first operation to the last: nothing is rounded
 * between them. Plain loops, compiled once, so that all instruction sets give the same bits. */
#include "deep.h"

#include "../kernels/filter.h"

#include <stdatomic.h>
#include <string.h>

static const float LARGEST = 1e30f; /* leaves room for the filters and for 1 / std */

nf_status nf_deep_check(const nf_recipe *recipe) {
    for (int64_t i = 0; i < recipe->count; i++) {
        const nf_transform *transform = &recipe->transforms[i];
        bool filtered = transform->kind == NF_RANDOM_RESIZED_CROP &&
                        (transform->crop.interpolation == NF_BILINEAR || transform->crop.interpolation == NF_BICUBIC);
        if (!filtered && transform->kind != NF_HORIZONTAL_FLIP)
            return nf_fail(NF_BAD_VALUE, "images of uint16 or float32 can be cropped (bilinear or bicubic), flipped "
                                         "from left to right and normalised; all else needs uint8");
    }
    return NF_OK;
}

/* ---- One view ---- */

typedef struct deep_view {
    const void *source; /* the caller's image, while nothing is in `pixels` */
    nf_pixel_type type;
    float *pixels, *spare; /* interleaved */
    float *row, *middle;   /* one row of a box; its rows after the pass across */
    float *weights;
    int64_t *starts, *counts;
    int64_t height, width, channels;
} deep_view;

static void read_pixels(float *out, const deep_view *view, int64_t first, int64_t n) {
    if (!view->source)
        memcpy(out, view->pixels + first, (size_t)n * sizeof *out);
    else if (view->type == NF_PIXEL_FLOAT)
        memcpy(out, (const float *)view->source + first, (size_t)n * sizeof *out);
    else
        for (int64_t i = 0; i < n; i++)
            out[i] = ((const uint16_t *)view->source)[first + i];
}

static void load(deep_view *view) {
    if (!view->source)
        return;
    read_pixels(view->pixels, view, 0, view->height * view->width * view->channels);
    view->source = NULL;
}

/* Weights of `out` outputs from `in` inputs, `most` apart. */
static void make_weights(deep_view *view, int64_t in, int64_t out, int64_t most, nf_interpolation interpolation) {
    double scale = (double)in / (double)out, widening = scale < 1 ? 1 : scale;
    double support = nf_filter_support(interpolation) * widening;
    for (int64_t i = 0; i < out; i++) {
        double center = ((double)i + 0.5) * scale, sum = 0;
        int64_t first = (int64_t)(center - support + 0.5), last = (int64_t)(center + support + 0.5);
        first = first < 0 ? 0 : first;
        last = last > in ? in : last;
        for (int64_t k = first; k < last; k++)
            sum += nf_filter(interpolation, ((double)k - center + 0.5) / widening);
        for (int64_t k = first; k < last; k++)
            view->weights[i * most + k - first] =
                (float)(nf_filter(interpolation, ((double)k - center + 0.5) / widening) / sum);
        view->starts[i] = first;
        view->counts[i] = last - first;
    }
}

static void pass_across(float *out, const deep_view *view, int64_t width, int64_t most) {
    int64_t channels = view->channels;
    for (int64_t x = 0; x < width; x++)
        for (int64_t c = 0; c < channels; c++) {
            const float *in = view->row + view->starts[x] * channels + c, *weights = view->weights + x * most;
            float sum = 0;
            for (int64_t k = 0; k < view->counts[x]; k++)
                sum += weights[k] * in[k * channels];
            out[x * channels + c] = sum;
        }
}

static void pass_down(float *out, const deep_view *view, int64_t height, int64_t row, int64_t most) {
    for (int64_t y = 0; y < height; y++, out += row) {
        memset(out, 0, (size_t)row * sizeof *out);
        for (int64_t k = 0; k < view->counts[y]; k++) {
            float weight = view->weights[y * most + k];
            const float *in = view->middle + (view->starts[y] + k) * row;
            for (int64_t i = 0; i < row; i++)
                out[i] += weight * in[i];
        }
    }
}

static void crop(deep_view *view, nf_box box, const nf_transform *transform) {
    int64_t height = transform->crop.height, width = transform->crop.width, channels = view->channels;
    nf_interpolation interpolation = transform->crop.interpolation;
    int support = nf_filter_support(interpolation);
    int64_t most = (int64_t)nf_filter_taps(box.width, width, support);
    make_weights(view, box.width, width, most, interpolation);
    for (int64_t y = 0; y < box.height; y++) {
        read_pixels(view->row, view, ((box.top + y) * view->width + box.left) * channels, box.width * channels);
        pass_across(view->middle + y * width * channels, view, width, most);
    }
    most = (int64_t)nf_filter_taps(box.height, height, support);
    make_weights(view, box.height, height, most, interpolation);
    pass_down(view->spare, view, height, width * channels, most);
    float *pixels = view->spare;
    view->spare = view->pixels;
    view->pixels = pixels;
    view->source = NULL;
    view->height = height;
    view->width = width;
}

static void flip(deep_view *view) {
    load(view);
    int64_t channels = view->channels;
    for (int64_t y = 0; y < view->height; y++) {
        float *left = view->pixels + y * view->width * channels, *right = left + (view->width - 1) * channels;
        for (; left < right; left += channels, right -= channels)
            for (int64_t c = 0; c < channels; c++) {
                float value = left[c];
                left[c] = right[c];
                right[c] = value;
            }
    }
}

static void store(float *out, deep_view *view, const nf_deep_job *job) {
    load(view);
    int64_t n = view->height * view->width, channels = view->channels;
    for (int64_t c = 0; c < channels; c++) {
        int64_t step = job->layout == NF_VIEW_NHWC ? channels : 1;
        float *to = job->layout == NF_VIEW_NHWC ? out + c : out + c * n;
        for (int64_t i = 0; i < n; i++)
            to[i * step] = view->pixels[i * channels + c] * job->scale[c] + job->offset[c];
    }
}

/* ---- All views ---- */

typedef struct deep_sizes { /* the most numbers that a view needs of each kind */
    size_t pixels, row, middle, weights, outputs;
} deep_sizes;

static size_t larger(size_t a, size_t b) {
    return a > b ? a : b;
}

static void measure(deep_sizes *sizes, const nf_recipe *recipe, nf_extent in) {
    size_t channels = (size_t)recipe->channels;
    bool loaded = recipe->count == 0 || recipe->transforms[0].kind != NF_RANDOM_RESIZED_CROP;
    if (loaded)
        sizes->pixels = larger(sizes->pixels, (size_t)in.height * (size_t)in.width * channels);
    for (int64_t i = 0; i < recipe->count; i++) {
        const nf_transform *transform = &recipe->transforms[i];
        if (transform->kind != NF_RANDOM_RESIZED_CROP)
            continue;
        nf_extent out = {transform->crop.height, transform->crop.width};
        int support = nf_filter_support(transform->crop.interpolation);
        sizes->pixels = larger(sizes->pixels, (size_t)out.height * (size_t)out.width * channels);
        sizes->row = larger(sizes->row, (size_t)in.width * channels);
        sizes->middle = larger(sizes->middle, (size_t)in.height * (size_t)out.width * channels);
        sizes->weights = larger(sizes->weights, (size_t)out.width * nf_filter_taps(in.width, out.width, support));
        sizes->weights = larger(sizes->weights, (size_t)out.height * nf_filter_taps(in.height, out.height, support));
        sizes->outputs = larger(sizes->outputs, (size_t)larger((size_t)out.height, (size_t)out.width));
        in = out;
    }
}

typedef struct deep_run {
    const nf_deep_job *job;
    deep_view views[NF_MAX_THREADS];
    atomic_llong bad; /* the first image that is not finite, or `count` */
} deep_run;

static void check_image(void *context, int64_t n, int worker) {
    (void)worker;
    deep_run *run = context;
    const nf_image *image = &run->job->images[n];
    const float *pixels = image->pixels;
    int64_t size = image->height * image->width * run->job->recipe->channels;
    bool fine = true;
    for (int64_t i = 0; i < size; i++)
        fine &= pixels[i] >= -LARGEST && pixels[i] <= LARGEST;
    long long first = atomic_load(&run->bad);
    while (!fine && n < first && !atomic_compare_exchange_weak(&run->bad, &first, n))
        ;
}

static void make_view(void *context, int64_t task, int worker) {
    deep_run *run = context;
    const nf_deep_job *job = run->job;
    const nf_recipe *recipe = job->recipe;
    int64_t n = task / recipe->views, index = task % recipe->views * job->count + n;
    deep_view *view = &run->views[worker];
    view->source = job->images[n].pixels;
    view->height = job->images[n].height;
    view->width = job->images[n].width;
    const char *record = job->records + (size_t)index * job->record_size;
    for (int64_t i = 0; i < recipe->count; i++) {
        if (recipe->transforms[i].kind == NF_RANDOM_RESIZED_CROP) {
            crop(view, *(const nf_box *)record, &recipe->transforms[i]);
            record += sizeof(nf_box);
        } else {
            if (((const nf_switch *)record)->applied)
                flip(view);
            record += sizeof(nf_switch);
        }
    }
    store(job->out + index * view->height * view->width * recipe->channels, view, job);
}

static nf_status make_views(deep_run *run) {
    const nf_deep_job *job = run->job;
    deep_sizes s = {0};
    for (int64_t n = 0; n < job->count; n++)
        measure(&s, job->recipe, (nf_extent){job->images[n].height, job->images[n].width});
    int64_t tasks = job->recipe->views * job->count;
    int workers = nf_workers(tasks);
    size_t floats = 2 * s.pixels + s.row + s.middle + s.weights, bytes = floats * sizeof(float);
    bytes = (bytes + 7) / 8 * 8 + 2 * s.outputs * sizeof(int64_t);
    if (floats > PTRDIFF_MAX / 16 / NF_MAX_THREADS)
        return nf_fail(NF_NO_MEMORY, "out of memory: the images are too large");
    void *memory;
    NF_TRY(nf_alloc(&memory, bytes * (size_t)workers));
    for (int i = 0; i < workers; i++) {
        char *own = (char *)memory + bytes * (size_t)i;
        float *numbers = (float *)(own + 2 * s.outputs * sizeof(int64_t));
        run->views[i] = (deep_view){.type = job->recipe->pixel_type,
                                    .channels = job->recipe->channels,
                                    .starts = (int64_t *)own,
                                    .counts = (int64_t *)own + s.outputs,
                                    .pixels = numbers,
                                    .spare = numbers + s.pixels,
                                    .row = numbers + 2 * s.pixels,
                                    .middle = numbers + 2 * s.pixels + s.row,
                                    .weights = numbers + 2 * s.pixels + s.row + s.middle};
    }
    nf_status status = nf_parallel(make_view, run, tasks, workers);
    nf_free(memory);
    return status;
}

nf_status nf_deep_apply(const nf_deep_job *job) {
    deep_run run = {.job = job, .bad = job->count};
    if (job->recipe->pixel_type == NF_PIXEL_FLOAT)
        NF_TRY(nf_parallel(check_image, &run, job->count, NF_MAX_THREADS));
    long long bad = atomic_load(&run.bad);
    if (bad < job->count)
        return nf_fail(NF_BAD_VALUE, "images must be finite and at most %g in size: image %lld is not", (double)LARGEST,
                       bad);
    return make_views(&run);
}
