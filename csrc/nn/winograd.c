#include "winograd.h"

#include <string.h>

#include "../core/dispatch.h"
#include "../core/integers.h"
#include "../core/threads.h"

enum { MATRICES = 36, LINE_MATRICES = 6, TAPS = 9, MAX_PIXELS = 81 };

/* A padding between frequencies, and between rows, that keeps them from falling onto the same cache sets. */
enum { PAD = 16 };

typedef void (*input_transform)(float *v, size_t frequency_stride, size_t chunk, size_t chunk_stride,
                                const float *const *pixels, size_t c, size_t padded);
typedef void (*output_transform)(float *const *pixels, const float *m, size_t frequency_stride, size_t k,
                                 bool accumulate);

/* A way of making `tile` x `tile` numbers from `patch` x `patch` by line x line products with 6 x 6 matrices. Along one
 * axis frequencies 0..4 have a matrix each, and all others the last one. */
typedef struct form {
    int64_t tile, patch, line;
    input_transform input;
    output_transform output;
    void (*weights)(float *u, size_t frequency_stride, const float *g, size_t tap_stride, size_t n);
} form;

/* One product: `out` = 3 x 3 correlation of `source`. Forwards that is y from x; for the gradient of the input it is
 * d_x from d_y with the taps turned round and their matrices transposed. Tile (i, j) is the pixels of `out` from (i
 * tile, j tile) on, made from those of `source` from (i step - pad_h, j step - pad_w) on. */
typedef struct correlation {
    form form;
    int64_t images, h, w, c, out_h, out_w, k, step, pad_h, pad_w;
    const float *source;
    float *out;
    bool accumulate;
    int workers;
    float *u;     /* transformed weights: [matrix][panel][channel][column of the panel] */
    float *block; /* per worker */
    const float *weight;
    bool transposed;
} correlation;

static int64_t tile_rows(void) {
    return (int64_t)nf_kernel->gemm_tile_rows;
}

static int64_t tile_columns(void) {
    return (int64_t)nf_kernel->gemm_tile_columns;
}

static correlation forward_correlation(const nf_conv *conv) {
    form plain = {4, 6, 6, nf_kernel->winograd_input, nf_kernel->winograd_output, nf_kernel->winograd_weights};
    form strided = {4,
                    9,
                    9,
                    nf_kernel->winograd_strided_input,
                    nf_kernel->winograd_strided_output,
                    nf_kernel->winograd_strided_weights};
    return (correlation){.form = conv->stride == 1 ? plain : strided,
                         .images = conv->n,
                         .h = conv->h,
                         .w = conv->w,
                         .c = conv->c,
                         .out_h = conv->out_h,
                         .out_w = conv->out_w,
                         .k = conv->k,
                         .step = 4 * conv->stride,
                         .pad_h = conv->pad_h,
                         .pad_w = conv->pad_w,
                         .workers = conv->workers};
}

static correlation backward_correlation(const nf_conv *conv) {
    form plain = {4, 6, 6, nf_kernel->winograd_input, nf_kernel->winograd_output, nf_kernel->winograd_weights};
    form strided = {8,
                    5,
                    9,
                    nf_kernel->winograd_strided_back_input,
                    nf_kernel->winograd_strided_back_output,
                    nf_kernel->winograd_strided_weights};
    bool stride1 = conv->stride == 1;
    return (correlation){.form = stride1 ? plain : strided,
                         .images = conv->n,
                         .h = conv->out_h,
                         .w = conv->out_w,
                         .c = conv->k,
                         .out_h = conv->h,
                         .out_w = conv->w,
                         .k = conv->c,
                         .step = 4,
                         .pad_h = stride1 ? 2 - conv->pad_h : 0,
                         .pad_w = stride1 ? 2 - conv->pad_w : 0,
                         .workers = conv->workers,
                         .transposed = true};
}

/* ---- Tiles ---- */

typedef struct tile {
    int64_t image, i, j;
} tile;

static int64_t tiles_down(const correlation *job) {
    return nf_ceil_div(job->out_h, job->form.tile);
}

static int64_t tiles_across(const correlation *job) {
    return nf_ceil_div(job->out_w, job->form.tile);
}

static int64_t tile_count(const correlation *job) {
    return job->images * tiles_down(job) * tiles_across(job);
}

static int64_t frequency_count(const correlation *job) {
    return job->form.line * job->form.line;
}

static tile locate(const correlation *job, int64_t index) {
    int64_t across = tiles_across(job), down = tiles_down(job);
    return (tile){index / (across * down), index / across % down, index % across};
}

/* The size x size pixels from (y, x) on; `outside` for those that are not in the image. */
static void pixels(const float **out, const float *images, int64_t h, int64_t w, int64_t c, int64_t image, int64_t y,
                   int64_t x, int64_t size, const float *outside) {
    for (int64_t i = 0; i < size; i++)
        for (int64_t j = 0; j < size; j++) {
            bool inside = y + i >= 0 && y + i < h && x + j >= 0 && x + j < w;
            out[i * size + j] = inside ? images + ((image * h + y + i) * w + x + j) * c : outside;
        }
}

static void source_pixels(const float **out, const correlation *job, tile at, const float *outside) {
    pixels(out, job->source, job->h, job->w, job->c, at.image, at.i * job->step - job->pad_h,
           at.j * job->step - job->pad_w, job->form.patch, outside);
}

static void result_pixels(const float **out, const correlation *job, const float *images, tile at,
                          const float *outside) {
    pixels(out, images, job->out_h, job->out_w, job->k, at.image, at.i * job->form.tile, at.j * job->form.tile,
           job->form.tile, outside);
}

/* Asks for the memory of size x size pixels. */
static void prefetch(const float *const *pixel, int64_t size, int64_t channels) {
    for (int64_t p = 0; p < size * size; p++)
        for (int64_t j = 0; j < channels; j += 16)
            __builtin_prefetch(pixel[p] + j);
}

/* The frequencies along one axis that have matrix `index` are those from `index` to here. */
static int64_t end_frequency(const correlation *job, int64_t index) {
    return index == LINE_MATRICES - 1 ? job->form.line : index + 1;
}

/* ---- Weights ---- */

static int64_t padded_channels(const correlation *job) {
    return nf_round_up(job->c, 16);
}

static int64_t panel_count(const correlation *job) {
    return nf_ceil_div(job->k, tile_columns());
}

static int64_t panel_size(const correlation *job) {
    return padded_channels(job) * tile_columns();
}

static int64_t weights_size(const correlation *job) {
    return MATRICES * panel_count(job) * panel_size(job);
}

/* One panel: its nine taps side by side, then transformed. */
static void weights_task(void *context, int64_t task, int worker) {
    const correlation *job = context;
    int64_t column = task * tile_columns(), size = panel_size(job), used = job->c * tile_columns();
    size_t columns = (size_t)nf_min(job->k - column, tile_columns());
    float *taps = job->block + worker * TAPS * size;
    for (int64_t t = 0; t < TAPS; t++) {
        float *tap = taps + t * size;
        const float *matrix = job->weight + (job->transposed ? TAPS - 1 - t : t) * job->c * job->k;
        if (job->transposed)
            nf_kernel->gemm_pack_panel_transposed(tap, matrix + column * job->c, (size_t)job->c, (size_t)job->c,
                                                  columns);
        else
            nf_kernel->gemm_pack_panel(tap, matrix + column, (size_t)job->k, (size_t)job->c, columns);
        memset(tap + used, 0, (size_t)(size - used) * sizeof *tap);
    }
    job->form.weights(job->u + task * size, (size_t)(panel_count(job) * size), taps, (size_t)size, (size_t)size);
}

/* ---- The product ---- */

/* Tiles of a task: what they need should stay in the L2 cache, without leaving workers idle at the end; for many
 * channels more of them, since each task reads all of u. */
static int64_t block_tiles(const correlation *job) {
    int64_t bytes = frequency_count(job) * (job->c + job->k) * (int64_t)sizeof(float);
    int64_t most = nf_clamp((1 << 20) / bytes, 24, 96), blocks = nf_ceil_div(tile_count(job), most);
    return nf_round_up(nf_ceil_div(tile_count(job), nf_round_up(blocks, 4)), tile_rows());
}

static int64_t input_stride(const correlation *job) {
    return block_tiles(job) * padded_channels(job) + PAD;
}

static int64_t output_row(const correlation *job) {
    return nf_round_up(job->k, tile_columns());
}

static int64_t output_stride(const correlation *job) {
    return block_tiles(job) * output_row(job) + PAD;
}

/* Of one worker: v and m of a block, a row of zeros, and one for results that lie outside the image. */
static int64_t block_size(const correlation *job) {
    int64_t block =
        frequency_count(job) * (input_stride(job) + output_stride(job)) + padded_channels(job) + output_row(job);
    return nf_round_up(nf_max(block, TAPS * panel_size(job)), PAD);
}

/* Whole vectors of a panel's columns. */
static size_t written_columns(const correlation *job, int64_t panel) {
    int64_t left = job->k - panel * tile_columns(), width = tile_columns() / 2;
    return (size_t)nf_min(nf_round_up(left, width), tile_columns());
}

static void multiply_frequency(const correlation *job, const float *v, float *m, int64_t f, const float *u,
                               int64_t panel, int64_t count) {
    int64_t row = output_row(job), channels = padded_channels(job);
    for (int64_t t = 0; t < count; t += tile_rows()) {
        float *out[64];
        for (int64_t i = 0; i < tile_rows(); i++)
            out[i] = m + f * output_stride(job) + (t + i) * row;
        nf_kernel->gemm_rows(out, (size_t)(panel * tile_columns()), v + f * input_stride(job) + t * channels, u,
                             (size_t)channels, (size_t)tile_rows(), written_columns(job, panel), false);
    }
}

static void multiply(const correlation *job, const float *v, float *m, int64_t count) {
    for (int64_t matrix = 0; matrix < MATRICES; matrix++) {
        int64_t p = matrix / LINE_MATRICES, q = matrix % LINE_MATRICES;
        for (int64_t panel = 0; panel < panel_count(job); panel++) {
            const float *u = job->u + (matrix * panel_count(job) + panel) * panel_size(job);
            for (int64_t i = p; i < end_frequency(job, p); i++)
                for (int64_t j = q; j < end_frequency(job, q); j++)
                    multiply_frequency(job, v, m, i * job->form.line + j, u, panel, count);
        }
    }
}

static void product_task(void *context, int64_t task, int worker) {
    const correlation *job = context;
    int64_t first = task * block_tiles(job), count = nf_min(block_tiles(job), tile_count(job) - first);
    int64_t channels = padded_channels(job), row = output_row(job), frequencies = frequency_count(job);
    float *v = job->block + worker * block_size(job), *m = v + frequencies * input_stride(job);
    float *zeros = m + frequencies * output_stride(job), *sink = zeros + channels;
    memset(zeros, 0, (size_t)channels * sizeof *zeros);
    const float *pixel[MAX_PIXELS];
    source_pixels(pixel, job, locate(job, first), zeros);
    for (int64_t t = 0; t < count; t++) {
        const float *current[MAX_PIXELS];
        memcpy(current, pixel, sizeof current);
        if (t + 1 < count) {
            source_pixels(pixel, job, locate(job, first + t + 1), zeros);
            prefetch(pixel, job->form.patch, job->c);
        }
        float *target = v + t / tile_rows() * tile_rows() * channels + t % tile_rows() * 16;
        job->form.input(target, (size_t)input_stride(job), 16, (size_t)(tile_rows() * 16), current, (size_t)job->c,
                        (size_t)channels);
    }
    multiply(job, v, m, count);
    for (int64_t t = 0; t < count; t++) {
        result_pixels(pixel, job, job->out, locate(job, first + t), sink);
        job->form.output((float *const *)(uintptr_t)pixel, m + t * row, (size_t)output_stride(job), (size_t)job->k,
                         job->accumulate);
    }
}

static size_t correlation_scratch(const correlation *job) {
    return (size_t)(weights_size(job) + job->workers * block_size(job));
}

static nf_status correlate(correlation *job, float *scratch) {
    job->u = scratch;
    job->block = scratch + weights_size(job);
    NF_TRY(nf_parallel(weights_task, job, panel_count(job), job->workers));
    return nf_parallel(product_task, job, nf_ceil_div(tile_count(job), block_tiles(job)), job->workers);
}

size_t nf_winograd_forward_scratch(const nf_conv *conv) {
    correlation job = forward_correlation(conv);
    return correlation_scratch(&job);
}

nf_status nf_winograd_forward(const nf_conv *conv, float *y, const float *x, const float *weight, float *scratch) {
    correlation job = forward_correlation(conv);
    job.source = x;
    job.out = y;
    job.weight = weight;
    return correlate(&job, scratch);
}

nf_status nf_winograd_backward_input(const nf_conv *conv, float *d_x, const float *d_y, const float *weight,
                                     bool accumulate, float *scratch) {
    correlation job = backward_correlation(conv);
    job.source = d_y;
    job.out = d_x;
    job.weight = weight;
    job.accumulate = accumulate;
    return correlate(&job, scratch);
}

/* ---- Gradient of the weights ----
 *
 * d_u[frequency] = sum over tiles of v[frequency] z[frequency]^T, then back through G. The tiles are taken in passes;
 * in each all are transformed first, and then every frequency is a product whose depth is the tiles. */

enum { PASS_BYTES = 8 << 20, LEAST_PASS_TILES = 192, TRANSFORM_TILES = 8, PRODUCT_ROWS = 192, FINISH_CHUNK = 4096 };

typedef struct weight_job {
    correlation forward; /* the geometry of the tiles; its source is x */
    input_transform gradient;
    void (*finish)(float *d_g, size_t tap_stride, const float *d_u, size_t frequency_stride, size_t n, bool accumulate);
    const float *d_y;
    float *d_weight, *v, *z, *d_u, *zeros;
    bool accumulate;
    int64_t first, count; /* the tiles of this pass */
} weight_job;

/* v: [frequency][tile][channel, padded]; z: [frequency][panel][tile][column of the panel] */
static int64_t v_row(const correlation *job) {
    return padded_channels(job) + PAD;
}

static int64_t pass_tiles(const correlation *job) {
    int64_t bytes = frequency_count(job) * (v_row(job) + output_row(job)) * (int64_t)sizeof(float);
    return nf_min(tile_count(job), nf_max(PASS_BYTES / bytes, LEAST_PASS_TILES));
}

static int64_t v_stride(const correlation *job) {
    return pass_tiles(job) * v_row(job) + PAD;
}

static int64_t z_stride(const correlation *job) {
    return pass_tiles(job) * output_row(job) + PAD;
}

static int64_t zeros_size(const correlation *job) {
    return nf_max(padded_channels(job), output_row(job)) + PAD;
}

static void transform_task(void *context, int64_t task, int worker) {
    (void)worker;
    const weight_job *job = context;
    const correlation *forward = &job->forward;
    int64_t begin = task * TRANSFORM_TILES, end = nf_min(begin + TRANSFORM_TILES, job->count);
    for (int64_t t = begin; t < end; t++) {
        const float *pixel[MAX_PIXELS], *gradient[MAX_PIXELS];
        tile at = locate(forward, job->first + t);
        source_pixels(pixel, forward, at, job->zeros);
        result_pixels(gradient, forward, job->d_y, at, job->zeros);
        prefetch(gradient, forward->form.tile, forward->k);
        forward->form.input(job->v + t * v_row(forward), (size_t)v_stride(forward), 16, 16, pixel, (size_t)forward->c,
                            (size_t)padded_channels(forward));
        if (t + 1 < end) {
            source_pixels(pixel, forward, locate(forward, job->first + t + 1), job->zeros);
            prefetch(pixel, forward->form.patch, forward->c);
        }
        job->gradient(job->z + t * tile_columns(), (size_t)z_stride(forward), (size_t)tile_columns(),
                      (size_t)(job->count * tile_columns()), gradient, (size_t)forward->k,
                      (size_t)nf_round_up(forward->k, tile_columns() / 2));
    }
}

/* One matrix, some of its rows. */
static void weight_product_task(void *context, int64_t task, int worker) {
    (void)worker;
    const weight_job *job = context;
    const correlation *forward = &job->forward;
    int64_t parts = nf_ceil_div(forward->c, PRODUCT_ROWS), matrix = task / parts, begin = task % parts * PRODUCT_ROWS;
    int64_t end = nf_min(begin + PRODUCT_ROWS, forward->c), p = matrix / LINE_MATRICES, q = matrix % LINE_MATRICES;
    float *d_u = job->d_u + matrix * forward->c * forward->k;
    bool accumulate = job->first > 0;
    for (int64_t i = p; i < end_frequency(forward, p); i++)
        for (int64_t j = q; j < end_frequency(forward, q); j++, accumulate = true) {
            int64_t f = i * forward->form.line + j;
            const float *v = job->v + f * v_stride(forward), *z = job->z + f * z_stride(forward);
            for (int64_t column = 0; column < forward->k; column += tile_columns())
                for (int64_t row = begin; row < end; row += tile_rows())
                    nf_kernel->gemm_columns(d_u + row * forward->k + column, (size_t)forward->k, v + row,
                                            (size_t)v_row(forward), z + column * job->count, (size_t)job->count,
                                            (size_t)nf_min(tile_rows(), end - row),
                                            (size_t)nf_min(tile_columns(), forward->k - column), accumulate);
        }
}

static void finish_task(void *context, int64_t task, int worker) {
    (void)worker;
    const weight_job *job = context;
    int64_t size = job->forward.c * job->forward.k, begin = task * FINISH_CHUNK;
    job->finish(job->d_weight + begin, (size_t)size, job->d_u + begin, (size_t)size,
                (size_t)nf_min(FINISH_CHUNK, size - begin), job->accumulate);
}

static size_t weight_scratch(const correlation *job) {
    return (size_t)(frequency_count(job) * (v_stride(job) + z_stride(job)) + MATRICES * job->c * job->k +
                    zeros_size(job));
}

size_t nf_winograd_backward_scratch(const nf_conv *conv) {
    correlation forward = forward_correlation(conv), backward = backward_correlation(conv);
    size_t input = correlation_scratch(&backward), weight = weight_scratch(&forward);
    return input > weight ? input : weight;
}

nf_status nf_winograd_backward_weight(const nf_conv *conv, float *d_weight, const float *x, const float *d_y,
                                      bool accumulate, float *scratch) {
    bool stride1 = conv->stride == 1;
    weight_job job = {.forward = forward_correlation(conv),
                      .gradient = stride1 ? nf_kernel->winograd_gradient : nf_kernel->winograd_strided_gradient,
                      .finish =
                          stride1 ? nf_kernel->winograd_weights_gradient : nf_kernel->winograd_strided_weights_gradient,
                      .d_y = d_y,
                      .d_weight = d_weight,
                      .accumulate = accumulate};
    job.forward.source = x;
    const correlation *forward = &job.forward;
    job.v = scratch;
    job.z = job.v + frequency_count(forward) * v_stride(forward);
    job.d_u = job.z + frequency_count(forward) * z_stride(forward);
    job.zeros = job.d_u + MATRICES * forward->c * forward->k;
    memset(job.zeros, 0, (size_t)zeros_size(forward) * sizeof *job.zeros);
    int64_t parts = nf_ceil_div(forward->c, PRODUCT_ROWS);
    for (; job.first < tile_count(forward); job.first += pass_tiles(forward)) {
        job.count = nf_min(pass_tiles(forward), tile_count(forward) - job.first);
        NF_TRY(nf_parallel(transform_task, &job, nf_ceil_div(job.count, TRANSFORM_TILES), conv->workers));
        NF_TRY(nf_parallel(weight_product_task, &job, MATRICES * parts, conv->workers));
    }
    return nf_parallel(finish_task, &job, nf_ceil_div(forward->c * forward->k, FINISH_CHUNK), conv->workers);
}
