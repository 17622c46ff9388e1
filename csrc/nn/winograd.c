#include "winograd.h"

#include <string.h>

#include "../core/threads.h"
#include "winograd_tiles.h"

enum { TAPS = 9 };

/* One product: `out` = 3 x 3 correlation of `source`, tile by tile. */
typedef struct correlation {
    nf_winograd_tiles tiles;
    const float *source, *weight;
    bool transposed; /* the matrices of the weights */
    float *out;
    bool accumulate;
    nf_before before;
    nf_behind behind;
    int workers;
    bool by_panels; /* how the work is split: see below */
    int64_t block_tiles;
    float *u, *v, *block; /* block: per worker */
    int64_t first, count; /* the tiles of this pass */
} correlation;

static int64_t padded_channels(const correlation *job) {
    return nf_padded_channels(&job->tiles);
}

static int64_t frequency_count(const correlation *job) {
    return nf_frequency_count(&job->tiles);
}

static int64_t matrix_count(const correlation *job) {
    return nf_matrix_count(&job->tiles);
}

static int64_t panel_count(const correlation *job) {
    return nf_ceil_div(job->tiles.k, nf_tile_columns());
}

static int64_t panel_size(const correlation *job) {
    return padded_channels(job) * nf_tile_columns();
}

/* The work is split in one of two ways. By blocks of tiles, where a task takes a few tiles all the way from x to y and
 * what they need stays in the fastest caches; all weights are transformed before. Or, where transformed weights are
 * more than what they meet, by panels of output channels: all tiles are transformed before, and a task transforms its
 * panel's weights, which then never leave a cache near by. That takes several passes if tiles are many. */
enum { BLOCK_TILES = 12, PANELS_BYTES = 16 << 20, PANELS_TILES = 64, PASS_INPUT_BYTES = 20 << 20, LEAST_PASS = 96 };

static correlation split(correlation made) {
    correlation *job = &made;
    int64_t weights = matrix_count(job) * panel_count(job) * panel_size(job) * (int64_t)sizeof(float);
    job->by_panels = weights > PANELS_BYTES || job->tiles.count <= PANELS_TILES;
    job->block_tiles = BLOCK_TILES;
    if (job->by_panels) {
        int64_t bytes = frequency_count(job) * padded_channels(job) * (int64_t)sizeof(float);
        int64_t most = nf_max(PASS_INPUT_BYTES / bytes, LEAST_PASS), passes = nf_ceil_div(job->tiles.count, most);
        job->block_tiles = nf_ceil_div(job->tiles.count, passes);
    }
    job->block_tiles = nf_round_up(job->block_tiles, nf_tile_rows());
    return made;
}

static correlation forward_correlation(const nf_conv *conv) {
    return split((correlation){.tiles = nf_winograd_forward_tiles(conv), .workers = conv->workers});
}

static correlation backward_correlation(const nf_conv *conv) {
    return split(
        (correlation){.tiles = nf_winograd_backward_tiles(conv), .workers = conv->workers, .transposed = true});
}

/* ---- Weights ---- */

/* u: [matrix][panel][channel][column of the panel] of `panels` panels. */
static int64_t matrix_stride(const correlation *job, int64_t panels) {
    return panels * panel_size(job) + NF_WINOGRAD_PAD;
}

/* One panel: its nine taps side by side, then transformed. */
static void transform_weights(const correlation *job, float *u, int64_t stride, int64_t panel, float *taps) {
    int64_t column = panel * nf_tile_columns(), size = panel_size(job), used = job->tiles.c * nf_tile_columns();
    size_t columns = (size_t)nf_min(job->tiles.k - column, nf_tile_columns());
    for (int64_t t = 0; t < TAPS; t++) {
        float *tap = taps + t * size;
        const float *matrix = job->weight + (job->transposed ? TAPS - 1 - t : t) * job->tiles.c * job->tiles.k;
        if (job->transposed)
            nf_kernel->gemm_pack_panel_transposed(tap, matrix + column * job->tiles.c, (size_t)job->tiles.c,
                                                  (size_t)job->tiles.c, columns);
        else
            nf_kernel->gemm_pack_panel(tap, matrix + column, (size_t)job->tiles.k, (size_t)job->tiles.c, columns);
        memset(tap + used, 0, (size_t)(size - used) * sizeof *tap);
    }
    job->tiles.form.weights(u, (size_t)stride, taps, (size_t)size, (size_t)size);
}

/* ---- The product ---- */

static int64_t input_stride(const correlation *job) {
    return job->block_tiles * padded_channels(job) + NF_WINOGRAD_PAD;
}

static int64_t output_row(const correlation *job) {
    return nf_padded_outputs(&job->tiles);
}

/* m: [frequency][tile][column]; by panels, of one panel's columns. */
static int64_t m_row(const correlation *job) {
    return job->by_panels ? nf_tile_columns() : output_row(job);
}

static int64_t m_stride(const correlation *job) {
    return job->block_tiles * m_row(job) + NF_WINOGRAD_PAD;
}

/* Whole vectors of a panel's columns. */
static size_t written_columns(const correlation *job, int64_t panel) {
    int64_t left = job->tiles.k - panel * nf_tile_columns(), width = nf_tile_columns() / 2;
    return (size_t)nf_min(nf_round_up(left, width), nf_tile_columns());
}

/* By blocks: no block spans two groups of images. */
static int64_t group_tiles(const correlation *job) {
    return job->tiles.count / job->tiles.groups;
}

static int64_t group_blocks(const correlation *job) {
    return nf_ceil_div(group_tiles(job), job->block_tiles);
}

/* What is asked for during the products of a block, which leave the way to memory idle: the tiles that they are for,
 * whose results are written afterwards, maybe plus an addend, and those whose source is read next. */
typedef struct block_ahead {
    nf_tiles_ahead result, addend, source;
} block_ahead;

static block_ahead ask_from(const correlation *job, int64_t first, int64_t count) {
    const nf_winograd_tiles *tiles = &job->tiles;
    int64_t next = first + job->block_tiles; /* of this worker, but for the end of its share */
    int64_t next_count = nf_clamp(tiles->count - next, 0, job->block_tiles);
    int64_t products = frequency_count(job) * panel_count(job);
    const float *addend = job->behind.sums ? job->behind.sums->x : job->behind.addend;
    return (block_ahead){
        nf_tiles_ahead_share(tiles, nf_result_squares(tiles, job->out), first, count, 0, 1, products),
        nf_tiles_ahead_share(tiles, nf_result_squares(tiles, addend), first, addend ? count : 0, 0, 1, products),
        nf_tiles_ahead_share(tiles, nf_source_parts(tiles, job->source), next, next_count, 0, 1, products)};
}

/* m = v u for `count` tiles and `panels` panels from `first` on; ahead: or NULL. */
static void multiply(const correlation *job, float *m, const float *v, const float *u, int64_t count, int64_t first,
                     int64_t panels, block_ahead *ahead) {
    int64_t input = input_stride(job), output = m_stride(job), row = m_row(job), stride = matrix_stride(job, panels);
    int64_t channels = padded_channels(job), size = panel_size(job), width = nf_tile_columns();
    size_t last = written_columns(job, first + panels - 1); /* in the last panel; all before are whole */
    for (int64_t matrix = 0; matrix < matrix_count(job); matrix++, u += stride) {
        nf_frequencies of = nf_matrix_frequencies(&job->tiles, matrix);
        for (int64_t panel = 0; panel < panels; panel++)
            for (int64_t f = of.first; f < of.first + of.count; f++) {
                if (ahead) {
                    nf_tiles_ask(&job->tiles, &ahead->result);
                    nf_tiles_ask(&job->tiles, &ahead->addend);
                    nf_tiles_ask(&job->tiles, &ahead->source);
                }
                nf_kernel->gemm_tiles(m + f * output + panel * width, (size_t)row, v + f * input, u + panel * size,
                                      (size_t)channels, (size_t)count, panel + 1 < panels ? (size_t)width : last);
            }
    }
}

/* v of tiles [begin, end), with tile `first` at its start. */
static void transform_input(const correlation *job, float *v, int64_t first, int64_t begin, int64_t end,
                            const float *zeros) {
    int64_t channels = padded_channels(job), rows = nf_tile_rows(), stride = input_stride(job);
    nf_squares source = nf_source_squares(&job->tiles, job->source);
    nf_tile at = nf_tile_locate(&job->tiles, begin);
    for (int64_t t = begin; t < end; t++, nf_tile_advance(&job->tiles, &at)) {
        const float *pixel[NF_WINOGRAD_PIXELS];
        nf_tile_pixels(pixel, &source, &at, zeros);
        nf_rescale rescale;
        float *target = v + (t - first) / rows * rows * channels + (t - first) % rows * 16;
        job->tiles.form.input(target, (size_t)stride, 16, (size_t)(rows * 16), pixel, (size_t)job->tiles.c,
                              (size_t)channels, nf_tile_rescale(&rescale, &job->tiles, &job->before, &at), zeros);
    }
}

/* From m of `count` tiles to `columns` channels of the result, from `column` on. */
static void transform_output(const correlation *job, const float *m, int64_t first, int64_t count, int64_t column,
                             int64_t columns, float *sink) {
    int64_t row = m_row(job), stride = m_stride(job);
    const nf_behind *behind = &job->behind;
    nf_squares result = nf_result_squares(&job->tiles, job->out + column), addend = result;
    const float *added[NF_WINOGRAD_PIXELS];
    nf_rescale rescale = {.relu = behind->relu};
    if (behind->factor) {
        rescale.factor = behind->factor + column;
        rescale.shift = behind->shift + column;
    }
    if (behind->addend) {
        addend.images = behind->addend + column;
        rescale.addend = added;
    }
    nf_tile at = nf_tile_locate(&job->tiles, first);
    for (int64_t t = 0; t < count; t++, m += row, nf_tile_advance(&job->tiles, &at)) {
        const float *pixel[NF_WINOGRAD_PIXELS];
        nf_tile_pixels(pixel, &result, &at, sink);
        if (behind->addend)
            nf_tile_pixels(added, &addend, &at, sink);
        job->tiles.form.output((float *const *)(uintptr_t)pixel, m, (size_t)stride, (size_t)columns, job->accumulate,
                               behind->factor ? &rescale : NULL);
    }
}

/* ---- By blocks of tiles ---- */

static int64_t blocks_weights_size(const correlation *job) {
    return matrix_count(job) * matrix_stride(job, panel_count(job));
}

/* Of one worker: v and m of a block, a row of zeros, and one for results that lie outside the image. */
static int64_t block_size(const correlation *job) {
    int64_t block = frequency_count(job) * (input_stride(job) + m_stride(job)) + padded_channels(job) + output_row(job);
    return nf_round_up(nf_max(block, TAPS * panel_size(job)), NF_WINOGRAD_PAD);
}

static void weights_task(void *context, int64_t task, int worker) {
    const correlation *job = context;
    transform_weights(job, job->u + task * panel_size(job), matrix_stride(job, panel_count(job)), task,
                      job->block + worker * block_size(job));
}

/* A block whose results batch norm is to know, and whether some of them are done. */
typedef struct known_block {
    const correlation *job;
    int64_t block;
    bool begun;
} known_block;

static void know_results(void *context, int64_t first, int64_t count) {
    known_block *of = context;
    const nf_behind *behind = &of->job->behind;
    float *results = of->job->out + first * of->job->tiles.k;
    if (behind->moments)
        nf_batch_norm_take_moments(behind->moments, of->block, results, count, of->begun);
    if (behind->sums)
        nf_batch_norm_sum_rows(behind->sums, of->block, results, first, count, of->begun);
    of->begun = true;
}

static void block_task(void *context, int64_t task, int worker) {
    const correlation *job = context;
    int64_t channels = padded_channels(job), frequencies = frequency_count(job);
    float *v = job->block + worker * block_size(job), *m = v + frequencies * input_stride(job);
    float *zeros = m + frequencies * m_stride(job), *sink = zeros + channels;
    memset(zeros, 0, (size_t)channels * sizeof *zeros);
    int64_t start = task % group_blocks(job) * job->block_tiles;
    int64_t first = task / group_blocks(job) * group_tiles(job) + start;
    int64_t count = nf_min(job->block_tiles, group_tiles(job) - start);
    block_ahead ahead = ask_from(job, first, count);
    transform_input(job, v, first, first, first + count, zeros);
    multiply(job, m, v, job->u, count, 0, panel_count(job), &ahead);
    transform_output(job, m, first, count, 0, job->tiles.k, sink);
    known_block known = {.job = job, .block = task};
    if (job->behind.moments || job->behind.sums)
        nf_tiles_for_results(&job->tiles, first, first + count, know_results, &known);
}

static nf_status correlate_by_blocks(correlation *job, float *scratch) {
    job->u = scratch;
    job->block = scratch + blocks_weights_size(job);
    NF_TRY(nf_parallel(weights_task, job, panel_count(job), job->workers));
    return nf_parallel(block_task, job, job->tiles.groups * group_blocks(job), job->workers);
}

/* ---- By panels ---- */

/* v of a pass, and a row of zeros. */
static int64_t pass_size(const correlation *job) {
    return nf_round_up(frequency_count(job) * input_stride(job) + padded_channels(job), NF_WINOGRAD_PAD);
}

/* Of one worker: u, taps and m of a panel, and a place for results that lie outside the image. */
static int64_t panel_block_size(const correlation *job) {
    return matrix_count(job) * matrix_stride(job, 1) + TAPS * panel_size(job) + frequency_count(job) * m_stride(job) +
           nf_tile_columns();
}

static void input_task(void *context, int64_t task, int worker) {
    (void)worker;
    const correlation *job = context;
    int64_t begin = task * NF_TRANSFORM_TILES, end = nf_min(begin + NF_TRANSFORM_TILES, job->count);
    transform_input(job, job->v, job->first, job->first + begin, job->first + end,
                    job->v + frequency_count(job) * input_stride(job));
}

static void panel_task(void *context, int64_t task, int worker) {
    const correlation *job = context;
    int64_t column = task * nf_tile_columns();
    float *u = job->block + worker * panel_block_size(job), *taps = u + matrix_count(job) * matrix_stride(job, 1);
    float *m = taps + TAPS * panel_size(job), *sink = m + frequency_count(job) * m_stride(job);
    transform_weights(job, u, matrix_stride(job, 1), task, taps);
    multiply(job, m, job->v, u, job->count, task, 1, NULL);
    transform_output(job, m, job->first, job->count, column, nf_min(job->tiles.k - column, nf_tile_columns()), sink);
}

static nf_status correlate_by_panels(correlation *job, float *scratch) {
    job->v = scratch;
    job->block = scratch + pass_size(job);
    float *zeros = job->v + frequency_count(job) * input_stride(job);
    memset(zeros, 0, (size_t)(job->block - zeros) * sizeof *zeros);
    for (job->first = 0; job->first < job->tiles.count; job->first += job->block_tiles) {
        job->count = nf_min(job->block_tiles, job->tiles.count - job->first);
        NF_TRY(nf_parallel(input_task, job, nf_ceil_div(job->count, NF_TRANSFORM_TILES), job->workers));
        NF_TRY(nf_parallel(panel_task, job, panel_count(job), job->workers));
    }
    return NF_OK;
}

static size_t correlation_scratch(const correlation *job) {
    if (job->by_panels)
        return (size_t)(pass_size(job) + job->workers * panel_block_size(job));
    return (size_t)(blocks_weights_size(job) + job->workers * block_size(job));
}

static nf_status correlate(correlation *job, float *scratch) {
    return job->by_panels ? correlate_by_panels(job, scratch) : correlate_by_blocks(job, scratch);
}

size_t nf_winograd_forward_scratch(const nf_conv *conv) {
    correlation job = forward_correlation(conv);
    return correlation_scratch(&job);
}

nf_status nf_winograd_forward(const nf_conv *conv, float *y, const float *x, const nf_before *before,
                              const float *weight, const nf_behind *behind, float *scratch) {
    correlation job = forward_correlation(conv);
    job.source = x;
    job.out = y;
    job.weight = weight;
    job.before = *before;
    job.behind = *behind;
    return correlate(&job, scratch);
}

int64_t nf_winograd_moment_blocks(const nf_conv *conv) {
    correlation job = forward_correlation(conv);
    return job.by_panels ? 0 : group_blocks(&job);
}

int64_t nf_winograd_sum_blocks(const nf_conv *conv) {
    correlation job = backward_correlation(conv);
    return job.by_panels ? 0 : group_blocks(&job);
}

nf_status nf_winograd_backward_input(const nf_conv *conv, float *d_x, const float *d_y, const float *weight,
                                     const nf_batch_norm_sums *sums, bool accumulate, float *scratch) {
    correlation job = backward_correlation(conv);
    job.behind.sums = sums;
    job.source = d_y;
    job.out = d_x;
    job.weight = weight;
    job.accumulate = accumulate;
    return correlate(&job, scratch);
}

size_t nf_winograd_backward_scratch(const nf_conv *conv) {
    correlation job = backward_correlation(conv);
    return nf_larger(correlation_scratch(&job), nf_winograd_weight_scratch(conv));
}
