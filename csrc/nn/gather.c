#include "gather.h"

#include <string.h>

#include "../core/dispatch.h"
#include "../core/integers.h"
#include "../core/threads.h"

/* Numbers of one row that are packed at a time: a block of rows and a panel of weights then share the L2 cache. */
enum { DEPTH_BLOCK = 1536 };

/* ---- Sizes. The depth, (tap, channel), is cut into blocks of whole taps, each padded to a multiple of 16. ---- */

static int64_t tap_count(const nf_gather *gather) {
    return gather->taps_h * gather->taps_w;
}

static int64_t taps_per_block(const nf_gather *gather) {
    return nf_clamp(DEPTH_BLOCK / gather->channels, 1, tap_count(gather));
}

static int64_t depth_blocks(const nf_gather *gather) {
    return nf_ceil_div(tap_count(gather), taps_per_block(gather));
}

static int64_t padded_depth(const nf_gather *gather) {
    return nf_round_up(taps_per_block(gather) * gather->channels, 16);
}

static int64_t panel_count(const nf_gather *gather) {
    return nf_ceil_div(gather->columns, (int64_t)nf_kernel->gemm_tile_columns);
}

static int64_t group_points(const nf_gather *gather) {
    return gather->images / gather->groups * gather->grid_h * gather->grid_w;
}

int64_t nf_gather_blocks(const nf_gather *gather) {
    return nf_ceil_div(group_points(gather), NF_ROW_BLOCK);
}

static size_t panel_size(const nf_gather *gather) {
    return (size_t)padded_depth(gather) * nf_kernel->gemm_tile_columns;
}

size_t nf_gather_panels_size(const nf_gather *gather) {
    return (size_t)(depth_blocks(gather) * panel_count(gather)) * panel_size(gather);
}

/* Packed rows, and where something may be to be done to them, the rows before that. */
size_t nf_gather_rows_size(const nf_gather *gather) {
    return (size_t)(NF_ROW_BLOCK * (padded_depth(gather) + (tap_count(gather) == 1 ? gather->channels : 0)));
}

/* ---- Packing the weights ---- */

typedef struct pack_job {
    const nf_gather *gather;
    const float *const *taps;
    size_t stride;
    bool transposed;
} pack_job;

static void pack_task(void *context, int64_t task, int worker) {
    (void)worker;
    const pack_job *job = context;
    const nf_gather *gather = job->gather;
    size_t width = nf_kernel->gemm_tile_columns, channels = (size_t)gather->channels;
    size_t column = (size_t)(task % panel_count(gather)) * width;
    size_t columns = (size_t)nf_min(gather->columns - (int64_t)column, (int64_t)width);
    int64_t t0 = task / panel_count(gather) * taps_per_block(gather);
    int64_t t1 = nf_min(t0 + taps_per_block(gather), tap_count(gather));
    float *panel = gather->panels + (size_t)task * panel_size(gather), *target = panel;
    for (int64_t t = t0; t < t1; t++, target += channels * width) {
        if (job->transposed)
            nf_kernel->gemm_pack_panel_transposed(target, job->taps[t] + column * job->stride, job->stride, channels,
                                                  columns);
        else
            nf_kernel->gemm_pack_panel(target, job->taps[t] + column, job->stride, channels, columns);
    }
    memset(target, 0, (size_t)(panel + panel_size(gather) - target) * sizeof *target);
}

nf_status nf_gather_pack(const nf_gather *gather, const float *const *taps, int64_t stride, bool transposed) {
    pack_job job = {gather, taps, (size_t)stride, transposed};
    return nf_parallel(pack_task, &job, depth_blocks(gather) * panel_count(gather), gather->workers);
}

/* ---- The product ---- */

void nf_gather_window(const nf_gather *gather, const float *image, int64_t y, int64_t x, int64_t t0, int64_t t1,
                      nf_put_run put, float *target, size_t depth) {
    int64_t channels = gather->channels;
    size_t position = 0;
    for (int64_t t = t0; t < t1;) {
        /* the taps of one row of the window: those left of the image, in it, right of it */
        int64_t i = t / gather->taps_w, j0 = t % gather->taps_w, j1 = nf_min(j0 + (t1 - t), gather->taps_w);
        bool inside = y + i >= 0 && y + i < gather->source_h;
        int64_t from = inside ? nf_clamp(-x, j0, j1) : j1, to = inside ? nf_clamp(gather->source_w - x, from, j1) : j1;
        size_t left = (size_t)((from - j0) * channels), middle = (size_t)((to - from) * channels);
        size_t right = (size_t)((j1 - to) * channels);
        if (left)
            put(target, depth, position, NULL, left);
        if (middle)
            put(target, depth, position + left, image + ((y + i) * gather->source_w + x + from) * channels, middle);
        if (right)
            put(target, depth, position + left + middle, NULL, right);
        position += left + middle + right;
        t += j1 - j0;
    }
}

static void put_row(float *target, size_t depth, size_t position, const float *run, size_t n) {
    (void)depth;
    nf_kernel->gemm_pack_rows(target, position, run, n);
}

typedef struct place {
    const float *image; /* of the source */
    int64_t y, x;       /* first tap */
} place;

static void locate(const nf_gather *gather, int64_t index, place *where, float **out) {
    int64_t gx = index % gather->grid_w, gy = index / gather->grid_w % gather->grid_h;
    int64_t n = index / (gather->grid_w * gather->grid_h);
    where->image = gather->source + n * gather->source_h * gather->source_w * gather->channels;
    where->y = gy * gather->stride + gather->offset_h;
    where->x = gx * gather->stride + gather->offset_w;
    int64_t row = n * gather->out_h + gather->first_h + gy * gather->step;
    *out = gather->out + (row * gather->out_w + gather->first_w + gx * gather->step) * gather->columns;
}

/* One block of points, all columns. */
static void run_task(void *context, int64_t task, int worker) {
    const nf_gather *gather = context;
    int64_t blocks = nf_gather_blocks(gather), points = group_points(gather), block = task % blocks;
    int64_t first = task / blocks * points + block * NF_ROW_BLOCK;
    int64_t count = nf_min(points - block * NF_ROW_BLOCK, NF_ROW_BLOCK);
    int64_t tile_rows = (int64_t)nf_kernel->gemm_tile_rows, tile_columns = (int64_t)nf_kernel->gemm_tile_columns;
    int64_t padded = padded_depth(gather), channels = gather->channels;
    float *rows = gather->rows + (size_t)worker * nf_gather_rows_size(gather), *made = rows + NF_ROW_BLOCK * padded;
    if (gather->before.factors)
        nf_before_pixels(&gather->before, made, gather->source + first * channels, task / blocks, count, channels);
    place places[NF_ROW_BLOCK];
    float *out[NF_ROW_BLOCK];
    for (int64_t r = 0; r < count; r++) {
        locate(gather, first + r, &places[r], &out[r]);
        if (gather->before.factors)
            places[r] = (place){.image = made + r * channels};
        if (gather->bias && !gather->accumulate)
            memcpy(out[r], gather->bias, (size_t)gather->columns * sizeof(float));
    }

    const float *panel = gather->panels;
    bool accumulate = gather->accumulate || gather->bias;
    for (int64_t t0 = 0; t0 < tap_count(gather); t0 += taps_per_block(gather), accumulate = true) {
        int64_t t1 = nf_min(t0 + taps_per_block(gather), tap_count(gather)), depth = (t1 - t0) * gather->channels;
        for (int64_t r = 0; r < count; r++) {
            float *row = rows + r / tile_rows * tile_rows * padded + r % tile_rows * 16;
            nf_gather_window(gather, places[r].image, places[r].y, places[r].x, t0, t1, put_row, row, 0);
            if (depth < padded)
                put_row(row, 0, (size_t)depth, NULL, (size_t)(padded - depth));
        }
        for (int64_t column = 0; column < gather->columns; column += tile_columns, panel += panel_size(gather))
            for (int64_t r = 0; r < count; r += tile_rows)
                nf_kernel->gemm_rows(out + r, (size_t)column, rows + r * padded, panel, (size_t)padded,
                                     (size_t)nf_min(count - r, tile_rows),
                                     (size_t)nf_min(gather->columns - column, tile_columns), accumulate);
    }
    nf_finish_rows(&gather->behind, gather->out, task, first, count, gather->columns);
}

nf_status nf_gather_run(const nf_gather *gather) {
    return nf_parallel(run_task, (void *)(uintptr_t)gather, gather->groups * nf_gather_blocks(gather), gather->workers);
}
