#include "conv.h"

#include <math.h>
#include <string.h>

#include "../core/dispatch.h"
#include "../core/integers.h"
#include "../core/threads.h"
#include "few_channels.h"
#include "gather.h"
#include "winograd.h"

/* ---- Which algorithm ---- */

nf_conv_algorithm nf_conv_choose(const nf_conv *conv, bool bias, nf_conv_algorithm wanted) {
    bool halves = conv->stride == 2 && conv->pad_h == 1 && conv->pad_w == 1 && wanted != NF_CONV_WINOGRAD2;
    bool possible = conv->kernel_h == 3 && conv->kernel_w == 3 && (conv->stride == 1 || halves) && !bias;
    if (!possible || wanted != NF_CONV_AUTO)
        return possible ? wanted : NF_CONV_DIRECT;
    /* Transforms pay by the number of channels, those of the weights by the number of pixels, too, and tiles that stick
     * out of the image are work for nothing. Stride 2 saves less. The numbers are those of tests/bench/convolution.py.
     */
    int64_t used = conv->out_h * conv->out_w, pixels = conv->n * used, narrower = nf_min(conv->c, conv->k);
    int64_t covered2 = nf_round_up(conv->out_h, 2) * nf_round_up(conv->out_w, 2);
    int64_t covered4 = nf_round_up(conv->out_h, 4) * nf_round_up(conv->out_w, 4);
    if (conv->stride == 2)
        return narrower >= 8 && pixels >= 256 && covered4 * 2 <= used * 3 ? NF_CONV_WINOGRAD4 : NF_CONV_DIRECT;
    int64_t products2 = 16 * covered2, products4 = 9 * covered4; /* of 36 for each pixel */
    if (narrower < 8 || pixels < (narrower < 64 ? 112 : 48) || nf_min(products2, products4) > 27 * used)
        return NF_CONV_DIRECT;
    return products2 <= products4 ? NF_CONV_WINOGRAD2 : NF_CONV_WINOGRAD4;
}

/* Whether results are made of single pixels, few enough numbers for blocks of them to stay in a cache near by. */
static bool is_pointwise(const nf_conv *conv) {
    enum { MOST_CHANNELS = 1024 };
    bool single = conv->kernel_h == 1 && conv->kernel_w == 1 && conv->stride == 1 && !conv->pad_h && !conv->pad_w;
    return single && conv->c <= MOST_CHANNELS && !nf_few_channels_forward_pays(conv);
}

bool nf_conv_takes_before(const nf_conv *conv) {
    return conv->algorithm != NF_CONV_DIRECT || is_pointwise(conv);
}

bool nf_conv_takes_gradient(const nf_conv *conv) {
    return conv->algorithm != NF_CONV_DIRECT || nf_few_channels_backward_pays(conv);
}

int64_t nf_conv_moment_blocks(const nf_conv *conv) {
    if (conv->algorithm != NF_CONV_DIRECT)
        return nf_winograd_moment_blocks(conv);
    return nf_ceil_div(conv->n / conv->groups * conv->out_h * conv->out_w, NF_ROW_BLOCK);
}

int64_t nf_conv_sum_blocks(const nf_conv *conv) {
    if (conv->algorithm != NF_CONV_DIRECT)
        return nf_winograd_sum_blocks(conv);
    return conv->stride == 1 ? nf_ceil_div(conv->n / conv->groups * conv->h * conv->w, NF_ROW_BLOCK) : 0;
}

/* ---- Forward ---- */

static nf_gather forward_gather(const nf_conv *conv) {
    return (nf_gather){
        .images = conv->n,
        .groups = conv->groups,
        .source_h = conv->h,
        .source_w = conv->w,
        .channels = conv->c,
        .taps_h = conv->kernel_h,
        .taps_w = conv->kernel_w,
        .stride = conv->stride,
        .offset_h = -conv->pad_h,
        .offset_w = -conv->pad_w,
        .out_h = conv->out_h,
        .out_w = conv->out_w,
        .columns = conv->k,
        .grid_h = conv->out_h,
        .grid_w = conv->out_w,
        .step = 1,
        .workers = conv->workers,
    };
}

size_t nf_conv_forward_scratch(const nf_conv *conv) {
    if (conv->algorithm != NF_CONV_DIRECT)
        return nf_winograd_forward_scratch(conv);
    if (nf_few_channels_forward_pays(conv))
        return nf_few_channels_forward_scratch(conv);
    nf_gather gather = forward_gather(conv);
    return nf_gather_panels_size(&gather) + (size_t)conv->workers * nf_gather_rows_size(&gather);
}

static nf_status run(nf_gather *gather, const float *const *taps, int64_t stride, bool transposed, float *scratch) {
    gather->panels = scratch;
    gather->rows = scratch + nf_gather_panels_size(gather);
    NF_TRY(nf_gather_pack(gather, taps, stride, transposed));
    return nf_gather_run(gather);
}

nf_status nf_conv_forward(const nf_conv *conv, float *y, const float *x, const nf_before *before, const float *weight,
                          const float *bias, const nf_behind *behind, float *scratch) {
    if (conv->algorithm != NF_CONV_DIRECT)
        return nf_winograd_forward(conv, y, x, before, weight, behind, scratch);
    if (nf_few_channels_forward_pays(conv))
        return nf_few_channels_forward(conv, y, x, weight, bias, behind, scratch);
    nf_gather gather = forward_gather(conv);
    gather.source = x;
    gather.out = y;
    gather.bias = bias;
    gather.before = *before;
    gather.behind = *behind;
    const float *taps[NF_MAX_KERNEL * NF_MAX_KERNEL];
    for (int64_t t = 0; t < conv->kernel_h * conv->kernel_w; t++)
        taps[t] = weight + t * conv->c * conv->k;
    return run(&gather, taps, conv->k, false, scratch);
}

/* ---- Gradient of the input ----
 *
 * Input pixel h = stride m + phase receives from the output rows oy with oy stride + i - pad = h. The taps that reach a
 * phase are i = i0, i0 + stride, ...; with them reversed, oy = m + offset, m + offset + 1, ...: again a gather, now
 * from d_y, with the transposed weights, over the pixels of the phase. */

typedef struct phase_axis {
    int64_t first, points;           /* the pixels of the phase: first, first + stride, ... */
    int64_t first_tap, taps, offset; /* the taps that reach it, and the offset of d_y's first row */
} phase_axis;

/* The phase that tap `first_tap` < stride, and every stride-th after it, reaches; no points if the image ends before.
 */
static phase_axis make_axis(int64_t size, int64_t kernel, int64_t stride, int64_t pad, int64_t first_tap) {
    int64_t phase = ((first_tap - pad) % stride + stride) % stride;
    int64_t points = nf_ceil_div(nf_max(size - phase, 0), stride), taps = nf_ceil_div(kernel - first_tap, stride);
    int64_t offset = (phase + pad - first_tap) / stride - (taps - 1);
    return (phase_axis){phase, points, first_tap, taps, offset};
}

/* Phases that a tap reaches, on each side; with a stride beyond the kernel there are others, which get nothing. */
static int64_t phase_count(const nf_conv *conv) {
    return nf_min(conv->kernel_h, conv->stride) * nf_min(conv->kernel_w, conv->stride);
}

/* The gather of one phase; false if it has no points. */
static bool phase_gather(const nf_conv *conv, int64_t index, nf_gather *gather, phase_axis *down, phase_axis *across) {
    int64_t columns = nf_min(conv->kernel_w, conv->stride);
    *down = make_axis(conv->h, conv->kernel_h, conv->stride, conv->pad_h, index / columns);
    *across = make_axis(conv->w, conv->kernel_w, conv->stride, conv->pad_w, index % columns);
    *gather = (nf_gather){
        .images = conv->n,
        .groups = conv->groups,
        .source_h = conv->out_h,
        .source_w = conv->out_w,
        .channels = conv->k,
        .taps_h = down->taps,
        .taps_w = across->taps,
        .stride = 1,
        .offset_h = down->offset,
        .offset_w = across->offset,
        .out_h = conv->h,
        .out_w = conv->w,
        .columns = conv->c,
        .grid_h = down->points,
        .grid_w = across->points,
        .first_h = down->first,
        .first_w = across->first,
        .step = conv->stride,
        .workers = conv->workers,
    };
    return down->points > 0 && across->points > 0;
}

static size_t backward_input_scratch(const nf_conv *conv) {
    size_t most = 0;
    nf_gather gather;
    phase_axis down, across;
    for (int64_t phase = 0; phase < phase_count(conv); phase++)
        if (phase_gather(conv, phase, &gather, &down, &across))
            most =
                nf_larger(most, nf_gather_panels_size(&gather) + (size_t)conv->workers * nf_gather_rows_size(&gather));
    return most;
}

nf_status nf_conv_backward_input(const nf_conv *conv, float *d_x, const float *d_y, const float *weight,
                                 const nf_batch_norm_sums *sums, bool accumulate, float *scratch) {
    if (conv->algorithm != NF_CONV_DIRECT)
        return nf_winograd_backward_input(conv, d_x, d_y, weight, sums, accumulate, scratch);
    if ((conv->kernel_h < conv->stride || conv->kernel_w < conv->stride) && !accumulate) {
        /* some phases get nothing */
        memset(d_x, 0, (size_t)(conv->n * conv->h * conv->w * conv->c) * sizeof *d_x);
        accumulate = true;
    }
    nf_gather gather;
    phase_axis down, across;
    for (int64_t phase = 0; phase < phase_count(conv); phase++) {
        if (!phase_gather(conv, phase, &gather, &down, &across))
            continue;
        gather.source = d_y;
        gather.out = d_x;
        gather.accumulate = accumulate;
        gather.behind.sums = sums;
        const float *taps[NF_MAX_KERNEL * NF_MAX_KERNEL];
        for (int64_t t = 0; t < down.taps * across.taps; t++) {
            int64_t i = down.first_tap + conv->stride * (down.taps - 1 - t / across.taps);
            int64_t j = across.first_tap + conv->stride * (across.taps - 1 - t % across.taps);
            taps[t] = weight + (i * conv->kernel_w + j) * conv->c * conv->k;
        }
        NF_TRY(run(&gather, taps, conv->k, true, scratch));
    }
    return NF_OK;
}

/* ---- Gradient of the weights ----
 *
 * d_weight[depth, k] = sum over output pixels of window[pixel, depth] d_y[pixel, k], depth = (tap, channel). The work
 * is cut into parts of the depth and, where those are few, into segments of the pixels, whose results are added in
 * order. */

enum { PIXEL_BLOCK = 128, PART_DEPTH = 576, WANTED_TASKS = 16, MAX_SEGMENTS = 64, TASK_WORK = 500000000 };

typedef struct weight_split {
    int64_t tap_parts, taps_per_part;         /* whole taps to a part, ... */
    int64_t channel_parts, channels_per_part; /* ... or, where channels are many, a share of one tap's */
    int64_t segments, segment_pixels;
} weight_split;

static int64_t pixel_count(const nf_conv *conv) {
    return conv->n * conv->out_h * conv->out_w;
}

static int64_t weight_size(const nf_conv *conv) {
    return conv->kernel_h * conv->kernel_w * conv->c * conv->k;
}

static weight_split split_weights(const nf_conv *conv) {
    weight_split split = {.taps_per_part = 1, .channel_parts = nf_ceil_div(conv->c, PART_DEPTH)};
    int64_t taps = conv->kernel_h * conv->kernel_w;
    split.channels_per_part = nf_ceil_div(conv->c, split.channel_parts);
    if (split.channel_parts == 1)
        split.taps_per_part = nf_ceil_div(taps, nf_ceil_div(taps * conv->c, PART_DEPTH));
    split.tap_parts = nf_ceil_div(taps, split.taps_per_part);
    int64_t parts = split.tap_parts * split.channel_parts;
    double part_work =
        (double)pixel_count(conv) * (double)weight_size(conv) / (double)parts; /* beyond int64 at worst */
    /* enough tasks to share out, and none so long that Ctrl-C has to wait for it */
    split.segments = (int64_t)fmin(fmax((double)nf_ceil_div(WANTED_TASKS, parts), part_work / TASK_WORK), MAX_SEGMENTS);
    split.segments = nf_clamp(split.segments, 1, nf_max(1, pixel_count(conv) / (2 * PIXEL_BLOCK)));
    split.segment_pixels = nf_round_up(nf_ceil_div(pixel_count(conv), split.segments), PIXEL_BLOCK);
    split.segments = nf_ceil_div(pixel_count(conv), split.segment_pixels);
    return split;
}

typedef struct weight_job {
    const nf_conv *conv;
    nf_gather gather; /* the geometry of the windows */
    weight_split split;
    float *d_weight, *d_bias;      /* results, */
    float *partial, *bias_partial; /* those of each segment (partial NULL: only one), */
    float *blocks;                 /* and packed operands, per worker */
    const float *x, *d_y;
    nf_before before;
    bool accumulate;
} weight_job;

static int64_t windows_size(const weight_split *split) {
    return PIXEL_BLOCK *
           nf_round_up(split->taps_per_part * split->channels_per_part, (int64_t)nf_kernel->gemm_tile_rows);
}

static int64_t panels_size(const nf_conv *conv) {
    return PIXEL_BLOCK * nf_round_up(conv->k, (int64_t)nf_kernel->gemm_tile_columns);
}

/* Windows and panels, and the pixels of a pointwise convolution that something is done to. */
static int64_t blocks_size(const nf_conv *conv, const weight_split *split) {
    return windows_size(split) + panels_size(conv) + (is_pointwise(conv) ? PIXEL_BLOCK * conv->c : 0);
}

size_t nf_conv_backward_scratch(const nf_conv *conv) {
    if (conv->algorithm != NF_CONV_DIRECT)
        return nf_winograd_backward_scratch(conv);
    if (nf_few_channels_backward_pays(conv))
        return nf_larger(nf_few_channels_backward_scratch(conv), backward_input_scratch(conv));
    weight_split split = split_weights(conv);
    int64_t partial = split.segments * (conv->k + (split.segments > 1 ? weight_size(conv) : 0));
    return nf_larger((size_t)(partial + conv->workers * blocks_size(conv, &split)), backward_input_scratch(conv));
}

static void put_column(float *target, size_t depth, size_t position, const float *run, size_t n) {
    nf_kernel->gemm_pack_columns(target, depth, position, run, n);
}

/* What `count` pixels from `first` on become. */
static void make_pixels(const weight_job *job, float *made, int64_t first, int64_t count) {
    const nf_conv *conv = job->conv;
    int64_t group = conv->n / conv->groups * conv->h * conv->w;
    for (int64_t done = 0, now; done < count; done += now) {
        now = nf_min(count - done, group - (first + done) % group);
        nf_before_pixels(&job->before, made + done * conv->c, job->x + (first + done) * conv->c, (first + done) / group,
                         now, conv->c);
    }
}

/* Packs the windows of `count` pixels from `first` on, for taps [t0, t1) and channels [c0, c1). */
static void pack_windows(const weight_job *job, float *windows, int64_t first, int64_t count, int64_t t0, int64_t t1,
                         int64_t c0, int64_t c1) {
    const nf_conv *conv = job->conv;
    for (int64_t p = 0; p < count; p++) {
        int64_t pixel = first + p, ox = pixel % conv->out_w, oy = pixel / conv->out_w % conv->out_h;
        const float *image = job->x + pixel / (conv->out_w * conv->out_h) * conv->h * conv->w * conv->c;
        int64_t y = oy * conv->stride - conv->pad_h, x = ox * conv->stride - conv->pad_w;
        float *target = windows + (size_t)p * nf_kernel->gemm_tile_rows;
        if (c1 - c0 == conv->c) {
            nf_gather_window(&job->gather, image, y, x, t0, t1, put_column, target, (size_t)count);
        } else { /* a share of one tap's channels */
            y += t0 / conv->kernel_w, x += t0 % conv->kernel_w;
            bool inside = y >= 0 && y < conv->h && x >= 0 && x < conv->w;
            put_column(target, (size_t)count, 0, inside ? image + (y * conv->w + x) * conv->c + c0 : NULL,
                       (size_t)(c1 - c0));
        }
    }
}

static void weight_task(void *context, int64_t task, int worker) {
    const weight_job *job = context;
    const nf_conv *conv = job->conv;
    const weight_split *split = &job->split;
    int64_t parts = split->tap_parts * split->channel_parts, segment = task / parts, part = task % parts;
    int64_t t0 = part / split->channel_parts * split->taps_per_part;
    int64_t t1 = nf_min(t0 + split->taps_per_part, conv->kernel_h * conv->kernel_w);
    int64_t c0 = part % split->channel_parts * split->channels_per_part;
    int64_t c1 = nf_min(c0 + split->channels_per_part, conv->c);
    int64_t depth = (t1 - t0 - 1) * conv->c + (c1 - c0);
    int64_t tile_rows = (int64_t)nf_kernel->gemm_tile_rows, tile_columns = (int64_t)nf_kernel->gemm_tile_columns;

    float *target = job->partial ? job->partial + segment * weight_size(conv) : job->d_weight;
    target += (t0 * conv->c + c0) * conv->k;
    bool accumulate = job->partial ? false : job->accumulate;
    float *windows = job->blocks + worker * blocks_size(conv, split), *panels = windows + windows_size(split);
    float *made = panels + panels_size(conv);
    int64_t begin = segment * split->segment_pixels, end = nf_min(begin + split->segment_pixels, pixel_count(conv));
    for (int64_t first = begin; first < end; first += PIXEL_BLOCK, accumulate = true) {
        int64_t count = nf_min(PIXEL_BLOCK, end - first);
        const float *d_y = job->d_y + first * conv->k;
        if (job->before.factors) {
            make_pixels(job, made, first, count);
            for (int64_t p = 0; p < count; p++)
                put_column(windows + p * tile_rows, (size_t)count, 0, made + p * conv->c + c0, (size_t)(c1 - c0));
        } else {
            pack_windows(job, windows, first, count, t0, t1, c0, c1);
        }
        for (int64_t column = 0; column < conv->k; column += tile_columns) {
            size_t columns = (size_t)nf_min(tile_columns, conv->k - column);
            float *panel = panels + column * count;
            nf_kernel->gemm_pack_panel(panel, d_y + column, (size_t)conv->k, (size_t)count, columns);
            for (int64_t row = 0; row < depth; row += tile_rows)
                nf_kernel->gemm_columns(target + row * conv->k + column, (size_t)conv->k, windows + row * count,
                                        (size_t)tile_rows, panel, (size_t)count, (size_t)nf_min(tile_rows, depth - row),
                                        columns, accumulate);
        }
        if (job->d_bias && part == 0)
            nf_kernel->column_sums(job->bias_partial + segment * conv->k, d_y, (size_t)count, (size_t)conv->k,
                                   first > begin);
    }
}

enum { REDUCE_CHUNK = 16384 };

static void reduce_task(void *context, int64_t task, int worker) {
    (void)worker;
    const weight_job *job = context;
    int64_t size = weight_size(job->conv), begin = task * REDUCE_CHUNK;
    size_t count = (size_t)nf_min(REDUCE_CHUNK, size - begin);
    for (int64_t segment = 0; segment < job->split.segments; segment++)
        nf_kernel->scale(job->d_weight + begin, job->partial + segment * size + begin, 1.0f, count,
                         job->accumulate || segment > 0);
}

nf_status nf_conv_backward_parameters(const nf_conv *conv, float *d_weight, float *d_bias, const float *x,
                                      const nf_before *before, float *d_y, const nf_batch_norm_gradient *behind,
                                      bool accumulate, float *scratch) {
    if (conv->algorithm != NF_CONV_DIRECT)
        return nf_winograd_backward_weight(conv, d_weight, x, before, d_y, behind, accumulate, scratch);
    if (nf_few_channels_backward_pays(conv))
        return nf_few_channels_backward_parameters(conv, d_weight, d_bias, x, d_y, behind, accumulate, scratch);
    weight_job job = {.conv = conv,
                      .gather = forward_gather(conv),
                      .split = split_weights(conv),
                      .d_weight = d_weight,
                      .d_bias = d_bias,
                      .bias_partial = scratch,
                      .x = x,
                      .before = *before,
                      .d_y = d_y,
                      .accumulate = accumulate};
    int64_t segments = job.split.segments;
    scratch += segments * conv->k;
    if (segments > 1) {
        job.partial = scratch;
        scratch += segments * weight_size(conv);
    }
    job.blocks = scratch;
    NF_TRY(nf_parallel(weight_task, &job, segments * job.split.tap_parts * job.split.channel_parts, conv->workers));
    if (segments > 1)
        NF_TRY(nf_parallel(reduce_task, &job, nf_ceil_div(weight_size(conv), REDUCE_CHUNK), conv->workers));
    if (d_bias)
        nf_kernel->column_sums(d_bias, job.bias_partial, (size_t)segments, (size_t)conv->k, accumulate);
    return NF_OK;
}
