#include "few_channels.h"

#include <string.h>

#include "../core/dispatch.h"
#include "../core/integers.h"
#include "../core/threads.h"
#include "gather.h"

enum { FEW = 4, SHORTEST_ROW = 8 };

static int64_t tile_columns(void) {
    return (int64_t)nf_kernel->gemm_tile_columns;
}

bool nf_few_channels_forward_pays(const nf_conv *conv) {
    return conv->c <= FEW && conv->out_w >= SHORTEST_ROW;
}

bool nf_few_channels_backward_pays(const nf_conv *conv) {
    return nf_few_channels_forward_pays(conv) && conv->k % (tile_columns() / 2) == 0;
}

/* ---- Rows of an image with their border ---- */

/* What a window takes from one row. */
static int64_t run_size(const nf_conv *conv) {
    return conv->kernel_w * conv->c;
}

static int64_t depth(const nf_conv *conv) {
    return conv->kernel_h * run_size(conv);
}

/* Kernels work on up to gemm_tile_rows windows, and numbers of a run, more than there are. */
static int64_t row_size(const nf_conv *conv) {
    int64_t windows = conv->out_w + (int64_t)nf_kernel->gemm_tile_rows;
    return nf_round_up(windows * conv->stride * conv->c + run_size(conv) + 16, 16);
}

/* Rows of the image that `rows` rows of windows see. */
static int64_t rows_seen(const nf_conv *conv, int64_t rows) {
    return (rows - 1) * conv->stride + conv->kernel_h;
}

/* Copies what output rows [begin, end) of an image see. */
static void copy_rows(const nf_conv *conv, float *band, const float *image, int64_t begin, int64_t end) {
    int64_t left = conv->pad_w * conv->c, width = conv->w * conv->c, size = row_size(conv);
    int64_t count = nf_clamp(size - left, 0, width), right = nf_max(size - left - count, 0);
    left = size - count - right;
    for (int64_t i = 0; i < rows_seen(conv, end - begin); i++, band += size) {
        int64_t y = begin * conv->stride - conv->pad_h + i;
        if (y < 0 || y >= conv->h) {
            memset(band, 0, (size_t)size * sizeof *band);
            continue;
        }
        memset(band, 0, (size_t)left * sizeof *band);
        memcpy(band + left, image + y * width, (size_t)count * sizeof *band);
        memset(band + left + count, 0, (size_t)right * sizeof *band);
    }
}

/* ---- Forward: as in gather.c, in blocks of NF_ROW_BLOCK points ---- */

typedef struct forward_job {
    const nf_conv *conv;
    float *y;
    const float *x;
    nf_behind behind;
    float *bias, *bands; /* a panel's columns each; per worker */
    nf_gather gather;    /* whose packed weights, and blocks, these are */
} forward_job;

static nf_gather packed_weights(const nf_conv *conv) {
    return (nf_gather){.images = conv->n,
                       .groups = conv->groups,
                       .channels = depth(conv), /* all of it as if one tap's */
                       .taps_h = 1,
                       .taps_w = 1,
                       .columns = conv->k,
                       .grid_h = conv->out_h,
                       .grid_w = conv->out_w,
                       .workers = conv->workers};
}

static int64_t panel_size(const nf_conv *conv) {
    return nf_round_up(depth(conv), 16) * tile_columns();
}

static int64_t band_size(const nf_conv *conv) {
    int64_t rows = nf_min(NF_ROW_BLOCK / conv->out_w + 2, conv->out_h);
    return rows_seen(conv, rows) * row_size(conv);
}

size_t nf_few_channels_forward_scratch(const nf_conv *conv) {
    nf_gather gather = packed_weights(conv);
    return nf_gather_panels_size(&gather) +
           (size_t)(nf_round_up(conv->k, tile_columns()) + conv->workers * band_size(conv));
}

/* `count` windows of an image, from one of them on. */
static void multiply_points(const forward_job *job, float *band, int64_t image, int64_t first, int64_t count) {
    const nf_conv *conv = job->conv;
    int64_t begin = first / conv->out_w, end = (first + count - 1) / conv->out_w + 1;
    copy_rows(conv, band, job->x + image * conv->h * conv->w * conv->c, begin, end);
    float *y = job->y + image * conv->out_h * conv->out_w * conv->k;
    for (int64_t row = begin; row < end; row++) {
        int64_t from = nf_max(first - row * conv->out_w, 0),
                to = nf_min(first + count - row * conv->out_w, conv->out_w);
        const float *windows = band + (row - begin) * conv->stride * row_size(conv) + from * conv->stride * conv->c;
        for (int64_t column = 0; column < conv->k; column += tile_columns())
            nf_kernel->window_products(y + (row * conv->out_w + from) * conv->k + column, (size_t)conv->k,
                                       job->bias + column, windows, (size_t)row_size(conv),
                                       (size_t)(conv->stride * conv->c), (size_t)conv->kernel_h, (size_t)run_size(conv),
                                       job->gather.panels + column / tile_columns() * panel_size(conv),
                                       (size_t)(to - from), (size_t)nf_min(conv->k - column, tile_columns()));
    }
}

static void forward_task(void *context, int64_t task, int worker) {
    const forward_job *job = context;
    const nf_conv *conv = job->conv;
    int64_t points = conv->out_h * conv->out_w, group_points = conv->n / conv->groups * points;
    int64_t blocks = nf_gather_blocks(&job->gather), start = task % blocks * NF_ROW_BLOCK;
    int64_t first = task / blocks * group_points + start, end = first + nf_min(group_points - start, NF_ROW_BLOCK);
    for (int64_t point = first, count; point < end; point += count) {
        count = nf_min(end - point, points - point % points);
        multiply_points(job, job->bands + worker * band_size(conv), point / points, point % points, count);
    }
    nf_finish_rows(&job->behind, job->y, task, first, end - first, conv->k);
}

nf_status nf_few_channels_forward(const nf_conv *conv, float *y, const float *x, const float *weight, const float *bias,
                                  const nf_behind *behind, float *scratch) {
    forward_job job = {.conv = conv, .y = y, .x = x, .behind = *behind, .gather = packed_weights(conv)};
    int64_t columns = nf_round_up(conv->k, tile_columns());
    job.gather.panels = scratch;
    job.bias = scratch + nf_gather_panels_size(&job.gather);
    job.bands = job.bias + columns;
    memset(job.bias, 0, (size_t)columns * sizeof *job.bias);
    if (bias)
        memcpy(job.bias, bias, (size_t)conv->k * sizeof *job.bias);
    NF_TRY(nf_gather_pack(&job.gather, &weight, conv->k, false));
    return nf_parallel(forward_task, &job, conv->groups * nf_gather_blocks(&job.gather), conv->workers);
}

/* ---- Gradient of the parameters: in segments of whole rows, whose results are added in order ---- */

enum { BAND_WINDOWS = 256, SEGMENTS = 64 };

typedef struct weight_job {
    const nf_conv *conv;
    const float *x;
    float *d_y;
    const nf_batch_norm_gradient *behind;
    float *partial, *bias_partial, *bands; /* bands: per worker */
    bool bias;
} weight_job;

static int64_t row_count(const nf_conv *conv) {
    return conv->n * conv->out_h;
}

static int64_t segment_count(const nf_conv *conv) {
    return nf_clamp(row_count(conv) * conv->out_w / (2 * BAND_WINDOWS), 1, SEGMENTS);
}

static int64_t band_rows(const nf_conv *conv) {
    return nf_clamp(BAND_WINDOWS / conv->out_w, 1, conv->out_h);
}

size_t nf_few_channels_backward_scratch(const nf_conv *conv) {
    return (size_t)(segment_count(conv) * (depth(conv) + 1) * conv->k +
                    conv->workers * rows_seen(conv, band_rows(conv)) * row_size(conv));
}

static void weight_task(void *context, int64_t task, int worker) {
    const weight_job *job = context;
    const nf_conv *conv = job->conv;
    int64_t segments = segment_count(conv), row = row_count(conv) * task / segments;
    int64_t end = row_count(conv) * (task + 1) / segments;
    float *band = job->bands + worker * rows_seen(conv, band_rows(conv)) * row_size(conv);
    bool accumulate = false;
    for (int64_t rows; row < end; row += rows, accumulate = true) {
        int64_t image = row / conv->out_h, first = row % conv->out_h;
        rows = nf_min(nf_min(band_rows(conv), end - row), conv->out_h - first);
        int64_t points = rows * conv->out_w, before = row * conv->out_w;
        float *d_y = job->d_y + before * conv->k;
        if (job->behind)
            nf_batch_norm_backward_rows(job->behind, d_y, before, points, false);
        copy_rows(conv, band, job->x + image * conv->h * conv->w * conv->c, first, first + rows);
        nf_kernel->window_gradient(job->partial + task * depth(conv) * conv->k, band, (size_t)row_size(conv),
                                   (size_t)(conv->stride * row_size(conv)), (size_t)(conv->stride * conv->c),
                                   (size_t)conv->kernel_h, (size_t)run_size(conv), d_y, (size_t)rows,
                                   (size_t)conv->out_w, (size_t)conv->k, accumulate);
        if (job->bias)
            nf_kernel->column_sums(job->bias_partial + task * conv->k, d_y, (size_t)points, (size_t)conv->k,
                                   accumulate);
    }
}

nf_status nf_few_channels_backward_parameters(const nf_conv *conv, float *d_weight, float *d_bias, const float *x,
                                              float *d_y, const nf_batch_norm_gradient *behind, bool accumulate,
                                              float *scratch) {
    int64_t segments = segment_count(conv), size = depth(conv) * conv->k;
    weight_job job = {.conv = conv, .x = x, .d_y = d_y, .behind = behind, .partial = scratch, .bias = d_bias};
    job.bias_partial = job.partial + segments * size;
    job.bands = job.bias_partial + segments * conv->k;
    NF_TRY(nf_parallel(weight_task, &job, segments, conv->workers));
    nf_kernel->column_sums(d_weight, job.partial, (size_t)segments, (size_t)size, accumulate);
    if (d_bias)
        nf_kernel->column_sums(d_bias, job.bias_partial, (size_t)segments, (size_t)conv->k, accumulate);
    return NF_OK;
}
