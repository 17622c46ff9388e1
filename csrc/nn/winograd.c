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
    const float *weight;
    bool transposed;
    int64_t down, across, tiles;      /* tiles in each image, and in all */
    bool by_panels;                   /* how the work is split: see below */
    int64_t block_tiles, task_blocks; /* tiles of a block, blocks of a task */
    float *u, *v, *block;             /* block: per worker */
    int64_t first, count;             /* the tiles of this pass */
} correlation;

static int64_t tile_rows(void) {
    return (int64_t)nf_kernel->gemm_tile_rows;
}

static int64_t tile_columns(void) {
    return (int64_t)nf_kernel->gemm_tile_columns;
}

static int64_t frequency_count(const correlation *job) {
    return job->form.line * job->form.line;
}

static int64_t padded_channels(const correlation *job) {
    return nf_round_up(job->c, 16);
}

static int64_t panel_count(const correlation *job) {
    return nf_ceil_div(job->k, tile_columns());
}

static int64_t panel_size(const correlation *job) {
    return padded_channels(job) * tile_columns();
}

/* The work is split in one of two ways. By blocks of tiles, where a task takes a few tiles all the way from x to y and
 * what they need stays in the fastest caches; all weights are transformed before. A task has a few such blocks, so that
 * a worker knows what it will need next. Or, where transformed weights are
 * more than what they meet, by panels of output channels: all tiles are transformed before, and a task transforms its
 * panel's weights, which then never leave a cache near by. That takes several passes if tiles are many. */
enum { BLOCK_TILES = 12, WANTED_TASKS = 64, MOST_TASK_BLOCKS = 4, TASK_WEIGHTS = 1 << 16 };
enum { PANELS_BYTES = 16 << 20, PANELS_TILES = 64, PASS_INPUT_BYTES = 20 << 20, LEAST_PASS = 96 };

static void split(correlation *job) {
    job->down = nf_ceil_div(job->out_h, job->form.tile);
    job->across = nf_ceil_div(job->out_w, job->form.tile);
    job->tiles = job->images * job->down * job->across;
    int64_t weights = MATRICES * panel_count(job) * panel_size(job) * (int64_t)sizeof(float);
    job->by_panels = weights > PANELS_BYTES || job->tiles <= PANELS_TILES;
    job->block_tiles = BLOCK_TILES;
    if (job->by_panels) {
        int64_t bytes = frequency_count(job) * padded_channels(job) * (int64_t)sizeof(float);
        int64_t most = nf_max(PASS_INPUT_BYTES / bytes, LEAST_PASS), passes = nf_ceil_div(job->tiles, most);
        job->block_tiles = nf_ceil_div(job->tiles, passes);
    }
    job->block_tiles = nf_round_up(job->block_tiles, tile_rows());
    int64_t most = nf_clamp(TASK_WEIGHTS / (job->c * job->k), 1, MOST_TASK_BLOCKS);
    job->task_blocks = nf_clamp(job->tiles / (job->block_tiles * WANTED_TASKS), 1, most);
}

static correlation forward_correlation(const nf_conv *conv) {
    form plain = {4, 6, 6, nf_kernel->winograd_input, nf_kernel->winograd_output, nf_kernel->winograd_weights};
    form strided = {4,
                    9,
                    9,
                    nf_kernel->winograd_strided_input,
                    nf_kernel->winograd_strided_output,
                    nf_kernel->winograd_strided_weights};
    correlation job = {.form = conv->stride == 1 ? plain : strided,
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
    split(&job);
    return job;
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
    correlation job = {.form = stride1 ? plain : strided,
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
    split(&job);
    return job;
}

/* ---- Tiles ---- */

typedef struct tile {
    int64_t image, i, j;
} tile;

static tile locate(const correlation *job, int64_t index) {
    return (tile){index / (job->across * job->down), index / job->across % job->down, index % job->across};
}

/* To the tile after this one. By address, as `pixels` takes it: copies of it would wait for stores that are under way
 * to memory. */
static void advance(const correlation *job, tile *at) {
    if (++at->j < job->across)
        return;
    at->j = 0;
    if (++at->i < job->down)
        return;
    at->i = 0;
    at->image++;
}

/* A batch of images cut into squares of `size` x `size` pixels, `step` from one to the next. */
typedef struct squares {
    const float *images;
    int64_t h, w, c, size, step, pad_h, pad_w;
} squares;

static squares source_squares(const correlation *job) {
    return (squares){job->source, job->h, job->w, job->c, job->form.patch, job->step, job->pad_h, job->pad_w};
}

/* The same pixels, each in one square only. */
static squares source_parts(const correlation *job) {
    return (squares){job->source, job->h, job->w, job->c, job->step, job->step, 0, 0};
}

/* For `images` of the result's shape. */
static squares result_squares(const correlation *job, const float *images) {
    return (squares){images, job->out_h, job->out_w, job->k, job->form.tile, job->form.tile, 0, 0};
}

/* The pixels of a tile's square; `outside` for those that are not in the image. */
static void pixels(const float **out, const squares *from, const tile *at, const float *outside) {
    int64_t y = at->i * from->step - from->pad_h, x = at->j * from->step - from->pad_w, size = from->size, c = from->c;
    int64_t left = nf_clamp(-x, 0, size), right = nf_clamp(from->w - x, left, size);
    for (int64_t i = 0; i < size; i++, out += size) {
        bool inside = y + i >= 0 && y + i < from->h;
        const float *first = from->images + ((at->image * from->h + y + i) * from->w + x) * c;
        if (inside && left == 0 && right == size) {
            for (int64_t j = 0; j < size; j++)
                out[j] = first + j * c;
        } else {
            for (int64_t j = 0; j < size; j++)
                out[j] = inside && j >= left && j < right ? first + j * c : outside;
        }
    }
}

/* Asks for the memory of n floats, to be in a cache near by when they are read or written. */
static void ask(const float *memory, int64_t n) {
    for (int64_t j = 0; j < n; j += 16)
        __builtin_prefetch(memory + j, 0, 2);
    __asm__ volatile(""); /* else gcc sees a function without effects, and drops calls of it */
}

enum { RUN = 256 }; /* floats that are asked for at a time */

/* Asks for the `part`-th of `parts` shares of the squares of `count` tiles, the first with index `first`. */
static void ask_for_tiles(const correlation *job, const squares *from, int64_t first, int64_t count, int64_t part,
                          int64_t parts) {
    int64_t row = from->size * from->c, runs = nf_ceil_div(row, RUN), all = count * from->size * runs;
    for (int64_t i = all * part / parts; i < all * (part + 1) / parts; i++) {
        tile at = locate(job, first + i / runs / from->size);
        int64_t y = at.i * from->step + i / runs % from->size, x = at.j * from->step, begin = i % runs * RUN;
        int64_t end = nf_min(nf_min(begin + RUN, row), (from->w - x) * from->c);
        if (y < from->h)
            ask(from->images + ((at.image * from->h + y) * from->w + x) * from->c + begin, end - begin);
    }
}

/* The frequencies along one axis that have matrix `index` are those from `index` to here. */
static int64_t end_frequency(const correlation *job, int64_t index) {
    return index == LINE_MATRICES - 1 ? job->form.line : index + 1;
}

/* ---- Weights ---- */

/* u: [matrix][panel][channel][column of the panel] of `panels` panels. */
static int64_t matrix_stride(const correlation *job, int64_t panels) {
    return panels * panel_size(job) + PAD;
}

/* One panel: its nine taps side by side, then transformed. */
static void transform_weights(const correlation *job, float *u, int64_t stride, int64_t panel, float *taps) {
    int64_t column = panel * tile_columns(), size = panel_size(job), used = job->c * tile_columns();
    size_t columns = (size_t)nf_min(job->k - column, tile_columns());
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
    job->form.weights(u, (size_t)stride, taps, (size_t)size, (size_t)size);
}

/* ---- The product ---- */

enum { TRANSFORM_TILES = 8 }; /* of a task */

static int64_t input_stride(const correlation *job) {
    return job->block_tiles * padded_channels(job) + PAD;
}

static int64_t output_row(const correlation *job) {
    return nf_round_up(job->k, tile_columns());
}

/* m: [frequency][tile][column]; by panels, of one panel's columns. */
static int64_t m_row(const correlation *job) {
    return job->by_panels ? tile_columns() : output_row(job);
}

static int64_t m_stride(const correlation *job) {
    return job->block_tiles * m_row(job) + PAD;
}

/* Whole vectors of a panel's columns. */
static size_t written_columns(const correlation *job, int64_t panel) {
    int64_t left = job->k - panel * tile_columns(), width = tile_columns() / 2;
    return (size_t)nf_min(nf_round_up(left, width), tile_columns());
}

/* Tiles to ask for during a product, which leaves the way to memory idle: those that it is for, whose results are
 * written afterwards, and those whose source is read next. */
typedef struct tiles_ahead {
    int64_t first, count, next, next_count;
} tiles_ahead;

static void ask_ahead(const correlation *job, const tiles_ahead *ahead, int64_t part, int64_t parts) {
    squares source = source_parts(job), result = result_squares(job, job->out);
    ask_for_tiles(job, &result, ahead->first, ahead->count, part, parts);
    ask_for_tiles(job, &source, ahead->next, ahead->next_count, part, parts);
}

/* m = v u for `count` tiles and `panels` panels from `first` on; ahead: or NULL. */
static void multiply(const correlation *job, float *m, const float *v, const float *u, int64_t count, int64_t first,
                     int64_t panels, const tiles_ahead *ahead) {
    int64_t input = input_stride(job), output = m_stride(job), row = m_row(job), product = 0;
    for (int64_t matrix = 0; matrix < MATRICES; matrix++, u += matrix_stride(job, panels)) {
        int64_t p = matrix / LINE_MATRICES, q = matrix % LINE_MATRICES;
        for (int64_t panel = 0; panel < panels; panel++, product++) {
            if (ahead)
                ask_ahead(job, ahead, product, MATRICES * panels);
            for (int64_t i = p; i < end_frequency(job, p); i++)
                for (int64_t j = q; j < end_frequency(job, q); j++) {
                    int64_t f = i * job->form.line + j;
                    nf_kernel->gemm_tiles(m + f * output + panel * tile_columns(), (size_t)row, v + f * input,
                                          u + panel * panel_size(job), (size_t)padded_channels(job), (size_t)count,
                                          written_columns(job, first + panel));
                }
        }
    }
}

/* v of tiles [begin, end), with tile `first` at its start. */
static void transform_input(const correlation *job, float *v, int64_t first, int64_t begin, int64_t end,
                            const float *zeros) {
    int64_t channels = padded_channels(job), rows = tile_rows(), stride = input_stride(job);
    squares source = source_squares(job);
    tile at = locate(job, begin);
    for (int64_t t = begin; t < end; t++, advance(job, &at)) {
        const float *pixel[MAX_PIXELS];
        pixels(pixel, &source, &at, zeros);
        float *target = v + (t - first) / rows * rows * channels + (t - first) % rows * 16;
        job->form.input(target, (size_t)stride, 16, (size_t)(rows * 16), pixel, (size_t)job->c, (size_t)channels);
    }
}

/* From m of `count` tiles to `columns` channels of the result, from `column` on. */
static void transform_output(const correlation *job, const float *m, int64_t first, int64_t count, int64_t column,
                             int64_t columns, float *sink) {
    int64_t row = m_row(job), stride = m_stride(job);
    squares result = result_squares(job, job->out + column);
    tile at = locate(job, first);
    for (int64_t t = 0; t < count; t++, m += row, advance(job, &at)) {
        const float *pixel[MAX_PIXELS];
        pixels(pixel, &result, &at, sink);
        job->form.output((float *const *)(uintptr_t)pixel, m, (size_t)stride, (size_t)columns, job->accumulate);
    }
}

/* ---- By blocks of tiles ---- */

static int64_t blocks_weights_size(const correlation *job) {
    return MATRICES * matrix_stride(job, panel_count(job));
}

/* Of one worker: v and m of a block, a row of zeros, and one for results that lie outside the image. */
static int64_t block_size(const correlation *job) {
    int64_t block = frequency_count(job) * (input_stride(job) + m_stride(job)) + padded_channels(job) + output_row(job);
    return nf_round_up(nf_max(block, TAPS * panel_size(job)), PAD);
}

static void weights_task(void *context, int64_t task, int worker) {
    const correlation *job = context;
    transform_weights(job, job->u + task * panel_size(job), matrix_stride(job, panel_count(job)), task,
                      job->block + worker * block_size(job));
}

static void block_task(void *context, int64_t task, int worker) {
    const correlation *job = context;
    int64_t channels = padded_channels(job), frequencies = frequency_count(job);
    float *v = job->block + worker * block_size(job), *m = v + frequencies * input_stride(job);
    float *zeros = m + frequencies * m_stride(job), *sink = zeros + channels;
    memset(zeros, 0, (size_t)channels * sizeof *zeros);
    int64_t end = nf_min((task + 1) * job->task_blocks * job->block_tiles, job->tiles);
    for (int64_t first = task * job->task_blocks * job->block_tiles; first < end; first += job->block_tiles) {
        int64_t count = nf_min(job->block_tiles, end - first), next = first + count;
        tiles_ahead ahead = {first, count, next, nf_min(job->block_tiles, end - next)};
        transform_input(job, v, first, first, first + count, zeros);
        multiply(job, m, v, job->u, count, 0, panel_count(job), &ahead);
        transform_output(job, m, first, count, 0, job->k, sink);
    }
}

static nf_status correlate_by_blocks(correlation *job, float *scratch) {
    job->u = scratch;
    job->block = scratch + blocks_weights_size(job);
    NF_TRY(nf_parallel(weights_task, job, panel_count(job), job->workers));
    return nf_parallel(block_task, job, nf_ceil_div(job->tiles, job->task_blocks * job->block_tiles), job->workers);
}

/* ---- By panels ---- */

/* v of a pass, and a row of zeros. */
static int64_t pass_size(const correlation *job) {
    return nf_round_up(frequency_count(job) * input_stride(job) + padded_channels(job), PAD);
}

/* Of one worker: u, taps and m of a panel, and a place for results that lie outside the image. */
static int64_t panel_block_size(const correlation *job) {
    return MATRICES * matrix_stride(job, 1) + TAPS * panel_size(job) + frequency_count(job) * m_stride(job) +
           tile_columns();
}

static void input_task(void *context, int64_t task, int worker) {
    (void)worker;
    const correlation *job = context;
    int64_t begin = task * TRANSFORM_TILES, end = nf_min(begin + TRANSFORM_TILES, job->count);
    transform_input(job, job->v, job->first, job->first + begin, job->first + end,
                    job->v + frequency_count(job) * input_stride(job));
}

static void panel_task(void *context, int64_t task, int worker) {
    const correlation *job = context;
    int64_t column = task * tile_columns();
    float *u = job->block + worker * panel_block_size(job), *taps = u + MATRICES * matrix_stride(job, 1);
    float *m = taps + TAPS * panel_size(job), *sink = m + frequency_count(job) * m_stride(job);
    transform_weights(job, u, matrix_stride(job, 1), task, taps);
    multiply(job, m, job->v, u, job->count, task, 1, NULL);
    transform_output(job, m, job->first, job->count, column, nf_min(job->k - column, tile_columns()), sink);
}

static nf_status correlate_by_panels(correlation *job, float *scratch) {
    job->v = scratch;
    job->block = scratch + pass_size(job);
    float *zeros = job->v + frequency_count(job) * input_stride(job);
    memset(zeros, 0, (size_t)(job->block - zeros) * sizeof *zeros);
    for (job->first = 0; job->first < job->tiles; job->first += job->block_tiles) {
        job->count = nf_min(job->block_tiles, job->tiles - job->first);
        NF_TRY(nf_parallel(input_task, job, nf_ceil_div(job->count, TRANSFORM_TILES), job->workers));
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
 * d_u[frequency] = sum over tiles of v[frequency] z[frequency]^T, then back through G. The tiles are taken in passes,
 * few enough for a cache near by: in each all are transformed first, and then every frequency is a product whose depth
 * is the tiles. Where d_u is small, tasks are segments of the tiles, each with a d_u of its own, which are added in
 * order; else the tiles, and then the matrices, of a pass are shared out, the matrices together with the tiles of the
 * next pass unless those take much memory. */

enum { PASS_BYTES = 3 << 19, LEAST_PASS_TILES = 24, MOST_PASS_TILES = 48 };
enum { LARGE_MATRICES = 4 << 20, LARGE_PASS_TILES = 256 }; /* a d_u that takes long to pass over */
enum { SMALL_MATRICES = 384 << 10, SEGMENT_TILES = 2048, LEAST_SEGMENTS = 8, MOST_SEGMENTS = 64 };
enum { PRODUCT_ROWS = 192, FINISH_CHUNK = 4096, PART_ROWS = 48, PART_COLUMNS = 128, PARTS_BYTES = 20 << 20 };

typedef struct weight_job {
    correlation forward; /* the geometry of the tiles; its source is x */
    input_transform gradient;
    void (*finish)(float *d_g, size_t tap_stride, const float *d_u, size_t frequency_stride, size_t n, bool accumulate);
    int64_t pass_tiles, segments;
    int64_t buffers; /* without segments: passes in memory */
    bool by_parts;
    const float *d_y;
    float *d_weight, *passes, *d_u, *zeros; /* passes: per worker; d_u: of each segment, or each worker's part */
    bool accumulate;
    int64_t first; /* without segments: of the current pass */
} weight_job;

/* v: [frequency][tile][channel, padded]; z: [frequency][panel][tile][column of the panel] */
static int64_t v_row(const correlation *job) {
    return padded_channels(job) + PAD;
}

static int64_t v_stride(const weight_job *job) {
    return job->pass_tiles * v_row(&job->forward) + PAD;
}

static int64_t z_stride(const weight_job *job) {
    return job->pass_tiles * output_row(&job->forward) + PAD;
}

static int64_t pass_floats(const weight_job *job) {
    return frequency_count(&job->forward) * (v_stride(job) + z_stride(job));
}

static int64_t d_u_size(const weight_job *job) {
    return MATRICES * job->forward.c * job->forward.k;
}

/* d_u of a part, with a padding that keeps its matrices from falling onto the same cache sets. */
static int64_t part_size(void) {
    return MATRICES * (PART_ROWS * PART_COLUMNS + PAD);
}

static int64_t zeros_size(const correlation *job) {
    return nf_max(padded_channels(job), output_row(job)) + PAD;
}

static weight_job make_weight_job(const nf_conv *conv) {
    bool stride1 = conv->stride == 1;
    weight_job job = {.forward = forward_correlation(conv),
                      .gradient = stride1 ? nf_kernel->winograd_gradient : nf_kernel->winograd_strided_gradient,
                      .finish = stride1 ? nf_kernel->winograd_weights_gradient
                                        : nf_kernel->winograd_strided_weights_gradient};
    const correlation *forward = &job.forward;
    int64_t tile_bytes = frequency_count(forward) * (v_row(forward) + output_row(forward)) * (int64_t)sizeof(float);
    int64_t d_u_bytes = d_u_size(&job) * (int64_t)sizeof(float);
    job.pass_tiles = nf_clamp(PASS_BYTES / tile_bytes, LEAST_PASS_TILES, MOST_PASS_TILES);
    if (d_u_bytes > LARGE_MATRICES) {
        job.pass_tiles = LARGE_PASS_TILES;
        job.by_parts = forward->tiles <= LARGE_PASS_TILES && forward->tiles * tile_bytes <= PARTS_BYTES;
    }
    job.pass_tiles = nf_min(job.pass_tiles, forward->tiles);
    job.segments = 1;
    job.buffers = d_u_bytes <= LARGE_MATRICES && job.pass_tiles < forward->tiles ? 2 : 1;
    if (d_u_bytes <= SMALL_MATRICES)
        job.segments = nf_clamp(forward->tiles / SEGMENT_TILES, LEAST_SEGMENTS, MOST_SEGMENTS);
    return job;
}

/* The tiles of one pass, and where what belongs to it lies. */
typedef struct pass {
    float *v, *z;
    int64_t first, count;
    bool accumulate; /* add to d_u */
} pass;

static pass make_pass(const weight_job *job, int64_t worker, int64_t first, int64_t end) {
    float *v = job->passes + worker * pass_floats(job);
    return (pass){.v = v,
                  .z = v + frequency_count(&job->forward) * v_stride(job),
                  .first = first,
                  .count = nf_min(job->pass_tiles, end - first)};
}

/* v and z of tiles [begin, end) of the pass. */
static void transform_tiles(const weight_job *job, const pass *now, int64_t begin, int64_t end) {
    const correlation *forward = &job->forward;
    int64_t v_step = v_stride(job), z_step = z_stride(job), row = v_row(forward), columns = tile_columns();
    size_t channels = (size_t)padded_channels(forward), outputs = (size_t)nf_round_up(forward->k, columns / 2);
    squares source = source_squares(forward), result = result_squares(forward, job->d_y);
    tile at = locate(forward, now->first + begin);
    for (int64_t t = begin; t < end; t++, advance(forward, &at)) {
        const float *pixel[MAX_PIXELS], *gradient[MAX_PIXELS];
        pixels(pixel, &source, &at, job->zeros);
        pixels(gradient, &result, &at, job->zeros);
        forward->form.input(now->v + t * row, (size_t)v_step, 16, 16, pixel, (size_t)forward->c, channels);
        job->gradient(now->z + t * columns, (size_t)z_step, (size_t)columns, (size_t)(now->count * columns), gradient,
                      (size_t)forward->k, outputs);
    }
}

/* Rows and columns of a matrix, and where they go: d_u of the first of them, and from one row to the next. */
typedef struct part {
    int64_t top, bottom, left, right;
    float *d_u;
    int64_t stride;
} part;

static void multiply_part(const weight_job *job, const pass *now, int64_t matrix, part of) {
    const correlation *forward = &job->forward;
    int64_t p = matrix / LINE_MATRICES, q = matrix % LINE_MATRICES;
    bool accumulate = now->accumulate;
    for (int64_t i = p; i < end_frequency(forward, p); i++)
        for (int64_t j = q; j < end_frequency(forward, q); j++, accumulate = true) {
            int64_t f = i * forward->form.line + j;
            const float *v = now->v + f * v_stride(job), *z = now->z + f * z_stride(job);
            for (int64_t column = of.left; column < of.right; column += tile_columns())
                for (int64_t row = of.top; row < of.bottom; row += tile_rows())
                    nf_kernel->gemm_columns(of.d_u + (row - of.top) * of.stride + column - of.left, (size_t)of.stride,
                                            v + row, (size_t)v_row(forward), z + column * now->count,
                                            (size_t)now->count, (size_t)nf_min(tile_rows(), of.bottom - row),
                                            (size_t)nf_min(tile_columns(), of.right - column), accumulate);
        }
}

/* Asks for a share of the pixels of the pass that begins with tile `first`, if there is one. */
static void ask_for_pass(const weight_job *job, int64_t first, int64_t end, int64_t share, int64_t shares) {
    const correlation *forward = &job->forward;
    squares source = source_parts(forward), result = result_squares(forward, job->d_y);
    int64_t count = nf_clamp(end - first, 0, job->pass_tiles);
    ask_for_tiles(forward, &source, first, count, share, shares);
    ask_for_tiles(forward, &result, first, count, share, shares);
}

/* Rows [top, bottom) of one matrix of a whole d_u. */
static void multiply_rows(const weight_job *job, const pass *now, float *d_u, int64_t matrix, int64_t top,
                          int64_t bottom) {
    int64_t c = job->forward.c, k = job->forward.k;
    multiply_part(job, now, matrix, (part){top, bottom, 0, k, d_u + (matrix * c + top) * k, k});
}

static void segment_task(void *context, int64_t task, int worker) {
    const weight_job *job = context;
    int64_t begin = job->forward.tiles * task / job->segments, end = job->forward.tiles * (task + 1) / job->segments;
    float *d_u = job->d_u + task * d_u_size(job);
    if (begin == end)
        memset(d_u, 0, (size_t)d_u_size(job) * sizeof *d_u);
    for (int64_t first = begin; first < end; first += job->pass_tiles) {
        pass now = make_pass(job, worker, first, end);
        now.accumulate = first > begin;
        transform_tiles(job, &now, 0, now.count);
        for (int64_t matrix = 0; matrix < MATRICES; matrix++) {
            ask_for_pass(job, first + job->pass_tiles, end, matrix, MATRICES);
            multiply_rows(job, &now, d_u, matrix, 0, job->forward.c);
        }
    }
}

/* Without segments: one that all workers share. */
static pass shared_pass(const weight_job *job, int64_t first) {
    return make_pass(job, first / job->pass_tiles % job->buffers, first, job->forward.tiles);
}

static void transform_some(const weight_job *job, int64_t first, int64_t task) {
    pass now = shared_pass(job, first);
    int64_t begin = task * TRANSFORM_TILES;
    transform_tiles(job, &now, begin, nf_min(begin + TRANSFORM_TILES, now.count));
}

static int64_t transform_tasks(const weight_job *job, int64_t first) {
    return nf_ceil_div(nf_clamp(job->forward.tiles - first, 0, job->pass_tiles), TRANSFORM_TILES);
}

static void transform_task(void *context, int64_t task, int worker) {
    (void)worker;
    const weight_job *job = context;
    transform_some(job, job->first, task);
}

static int64_t product_tasks(const weight_job *job) {
    return MATRICES * nf_ceil_div(job->forward.c, PRODUCT_ROWS);
}

/* The products of the pass; if there are two buffers, the next pass is then transformed meanwhile. */
static void pass_task(void *context, int64_t task, int worker) {
    (void)worker;
    const weight_job *job = context;
    int64_t products = product_tasks(job), parts = products / MATRICES, ahead = job->first + job->pass_tiles;
    if (task >= products) {
        transform_some(job, ahead, task - products);
        return;
    }
    pass now = shared_pass(job, job->first);
    now.accumulate = job->first > 0;
    if (job->buffers > 1)
        ahead += job->pass_tiles;
    ask_for_pass(job, ahead, job->forward.tiles, task, products);
    int64_t top = task % parts * PRODUCT_ROWS, bottom = nf_min(top + PRODUCT_ROWS, job->forward.c);
    multiply_rows(job, &now, job->d_u, task / parts, top, bottom);
}

static void part_task(void *context, int64_t task, int worker) {
    const weight_job *job = context;
    int64_t c = job->forward.c, k = job->forward.k, across = nf_ceil_div(k, PART_COLUMNS);
    int64_t top = task / across * PART_ROWS, left = task % across * PART_COLUMNS;
    int64_t rows = nf_min(PART_ROWS, c - top), columns = nf_min(PART_COLUMNS, k - left), stride = rows * columns + PAD;
    pass now = make_pass(job, 0, 0, job->forward.tiles);
    float *d_u = job->d_u + worker * part_size();
    for (int64_t matrix = 0; matrix < MATRICES; matrix++)
        multiply_part(job, &now, matrix, (part){top, top + rows, left, left + columns, d_u + matrix * stride, columns});
    for (int64_t row = 0; row < rows; row++)
        job->finish(job->d_weight + (top + row) * k + left, (size_t)(c * k), d_u + row * columns, (size_t)stride,
                    (size_t)columns, job->accumulate);
}

static void finish_task(void *context, int64_t task, int worker) {
    (void)worker;
    const weight_job *job = context;
    int64_t size = job->forward.c * job->forward.k, begin = task * FINISH_CHUNK;
    int64_t count = nf_min(FINISH_CHUNK, size - begin);
    for (int64_t segment = 1; segment < job->segments; segment++)
        for (int64_t at = begin; at < d_u_size(job); at += size)
            nf_kernel->scale(job->d_u + at, job->d_u + segment * d_u_size(job) + at, 1.0f, (size_t)count, true);
    job->finish(job->d_weight + begin, (size_t)size, job->d_u + begin, (size_t)size, (size_t)count, job->accumulate);
}

/* Passes in memory. */
static int64_t pass_count(const weight_job *job) {
    return job->segments > 1 ? job->forward.workers : job->buffers;
}

static int64_t matrices_size(const weight_job *job) {
    return job->by_parts ? job->forward.workers * part_size() : job->segments * d_u_size(job);
}

static size_t weight_scratch(const weight_job *job) {
    return (size_t)(pass_count(job) * pass_floats(job) + matrices_size(job) + zeros_size(&job->forward));
}

size_t nf_winograd_backward_scratch(const nf_conv *conv) {
    correlation backward = backward_correlation(conv);
    weight_job job = make_weight_job(conv);
    size_t input = correlation_scratch(&backward), weight = weight_scratch(&job);
    return nf_larger(input, weight);
}

static nf_status sum_products(weight_job *job) {
    int64_t tiles = job->forward.tiles, c = job->forward.c, k = job->forward.k;
    int workers = job->forward.workers;
    if (job->segments > 1)
        return nf_parallel(segment_task, job, job->segments, workers);
    NF_TRY(nf_parallel(transform_task, job, transform_tasks(job, 0), workers));
    if (job->by_parts)
        return nf_parallel(part_task, job, nf_ceil_div(c, PART_ROWS) * nf_ceil_div(k, PART_COLUMNS), workers);
    for (; job->first < tiles; job->first += job->pass_tiles) {
        bool meanwhile = job->buffers > 1;
        if (!meanwhile && job->first > 0)
            NF_TRY(nf_parallel(transform_task, job, transform_tasks(job, job->first), workers));
        int64_t transforms = meanwhile ? transform_tasks(job, job->first + job->pass_tiles) : 0;
        NF_TRY(nf_parallel(pass_task, job, product_tasks(job) + transforms, workers));
    }
    return NF_OK;
}

nf_status nf_winograd_backward_weight(const nf_conv *conv, float *d_weight, const float *x, const float *d_y,
                                      bool accumulate, float *scratch) {
    weight_job job = make_weight_job(conv);
    job.forward.source = x;
    job.d_y = d_y;
    job.d_weight = d_weight;
    job.accumulate = accumulate;
    job.passes = scratch;
    job.d_u = job.passes + pass_count(&job) * pass_floats(&job);
    job.zeros = job.d_u + matrices_size(&job);
    memset(job.zeros, 0, (size_t)zeros_size(&job.forward) * sizeof *job.zeros);
    NF_TRY(sum_products(&job));
    return job.by_parts ? NF_OK
                        : nf_parallel(finish_task, &job, nf_ceil_div(conv->c * conv->k, FINISH_CHUNK), conv->workers);
}
