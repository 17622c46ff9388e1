#include "winograd.h"

#include <string.h>

#include "../core/threads.h"
#include "winograd_tiles.h"

/* The gradient of the weights: d_u[matrix] = sum over its frequencies and tiles of v[frequency] z[frequency]^T, then
 * back through G. The tiles are taken in passes, few enough for a cache near by: in each all are transformed first, and
 * then every matrix is a product whose depth is the frequencies and the tiles. Where d_u is small, tasks are segments
 * of the tiles, each with a d_u of its own, which are added in order; else the tiles, and then the matrices, of a pass
 * are shared out, the matrices together with the tiles of the next pass unless those take much memory. */

enum { PASS_BYTES = 3 << 19, LEAST_PASS_TILES = 32, MOST_PASS_TILES = 48 };
enum { LARGE_MATRICES = 6 << 20, LARGE_PASS_TILES = 256 }; /* a d_u that takes long to pass over */
enum { SMALL_MATRICES = 5 << 18, SEGMENT_TILES = 2048, LEAST_SEGMENTS = 8, MOST_SEGMENTS = 64 };
enum { SEGMENT_PASS_BYTES = 9 << 16, LEAST_SEGMENT_PASS_TILES = 9 };
enum { PRODUCT_ROWS = 192, FINISH_CHUNK = 4096, PART_ROWS = 48, PART_COLUMNS = 128, PARTS_BYTES = 20 << 20 };

typedef struct weight_job {
    nf_winograd_tiles tiles; /* of the way forwards */
    int64_t pass_tiles, segments;
    int64_t buffers; /* without segments: passes in memory */
    bool by_parts;
    int workers;
    const float *x;
    float *d_y;
    nf_before before;
    const nf_batch_norm_gradient *behind;
    float *d_weight, *passes, *d_u, *zeros; /* passes: per worker; d_u: of each segment, or each worker's part */
    bool accumulate;
    int64_t first; /* without segments: of the current pass */
} weight_job;

/* v: [frequency][tile][channel, padded]; z: [panel][frequency][tile][column of the panel]. A row of v is an odd number
 * of cache lines, and there is an odd number of tiles, the last maybe of zeros, so that frequencies don't fall onto the
 * same cache sets. */
static int64_t v_row(const nf_winograd_tiles *tiles) {
    return (nf_ceil_div(tiles->c, NF_WINOGRAD_PAD) | 1) * NF_WINOGRAD_PAD;
}

static int64_t pass_floats(const weight_job *job) {
    return nf_frequency_count(&job->tiles) * job->pass_tiles * (v_row(&job->tiles) + nf_padded_outputs(&job->tiles));
}

static int64_t d_u_size(const weight_job *job) {
    return nf_matrix_count(&job->tiles) * job->tiles.c * job->tiles.k;
}

/* d_u of a part, with a padding that keeps its matrices from falling onto the same cache sets. */
static int64_t part_size(void) {
    return NF_WINOGRAD_MATRICES * (PART_ROWS * PART_COLUMNS + NF_WINOGRAD_PAD);
}

static int64_t zeros_size(const nf_winograd_tiles *tiles) {
    return nf_max(nf_padded_channels(tiles), nf_padded_outputs(tiles)) + NF_WINOGRAD_PAD;
}

static weight_job make_weight_job(const nf_conv *conv) {
    weight_job job = {.tiles = nf_winograd_forward_tiles(conv), .workers = conv->workers};
    const nf_winograd_tiles *tiles = &job.tiles;
    int64_t tile_bytes = nf_frequency_count(tiles) * (v_row(tiles) + nf_padded_outputs(tiles)) * (int64_t)sizeof(float);
    int64_t d_u_bytes = d_u_size(&job) * (int64_t)sizeof(float);
    job.segments = job.buffers = 1;
    if (d_u_bytes <= SMALL_MATRICES) {
        job.segments = nf_clamp(tiles->count / SEGMENT_TILES, LEAST_SEGMENTS, MOST_SEGMENTS);
        job.pass_tiles = nf_clamp(SEGMENT_PASS_BYTES / tile_bytes, LEAST_SEGMENT_PASS_TILES, MOST_PASS_TILES);
    } else if (d_u_bytes <= LARGE_MATRICES) {
        job.pass_tiles = nf_clamp(PASS_BYTES / tile_bytes, LEAST_PASS_TILES, MOST_PASS_TILES);
        job.buffers = job.pass_tiles < tiles->count ? 2 : 1;
    } else {
        job.pass_tiles = LARGE_PASS_TILES;
        job.by_parts = tiles->count <= LARGE_PASS_TILES && tiles->count * tile_bytes <= PARTS_BYTES;
    }
    job.pass_tiles = nf_min(job.pass_tiles, tiles->count) | 1;
    return job;
}

/* The tiles of one pass, and where what belongs to it lies. */
typedef struct pass {
    float *v, *z;
    int64_t first, end, count; /* tiles `first` to `end`, and one of zeros if that makes count odd */
    bool accumulate;           /* add to d_u */
} pass;

static pass make_pass(const weight_job *job, int64_t worker, int64_t first, int64_t end) {
    float *v = job->passes + worker * pass_floats(job);
    end = nf_min(first + job->pass_tiles, end);
    return (pass){.v = v,
                  .z = v + nf_frequency_count(&job->tiles) * job->pass_tiles * v_row(&job->tiles),
                  .first = first,
                  .end = end,
                  .count = (end - first) | 1};
}

/* By batch norm behind, the gradient of some results, which no other tiles read. */
static void make_gradient(void *context, int64_t first, int64_t count) {
    const weight_job *job = context;
    nf_batch_norm_backward_rows(job->behind, job->d_y + first * job->tiles.k, first, count, false);
}

/* v and z of tiles [begin, end) of the pass. */
static void transform_tiles(const weight_job *job, const pass *now, int64_t begin, int64_t end) {
    const nf_winograd_tiles *tiles = &job->tiles;
    int64_t row = v_row(tiles), columns = nf_tile_columns(), panel = nf_frequency_count(tiles) * now->count * columns;
    size_t channels = (size_t)nf_padded_channels(tiles), outputs = (size_t)nf_round_up(tiles->k, columns / 2);
    nf_squares source = nf_source_squares(tiles, job->x), result = nf_result_squares(tiles, job->d_y);
    nf_tile at = nf_tile_locate(tiles, now->first + begin);
    if (job->behind)
        nf_tiles_for_results(tiles, now->first + begin, nf_min(now->first + end, now->end), make_gradient,
                             (void *)(uintptr_t)job);
    for (int64_t t = begin; t < end; t++, nf_tile_advance(tiles, &at)) {
        if (now->first + t == now->end)
            at = (nf_tile){.i = tiles->h + tiles->out_h}; /* below the image */
        const float *pixel[NF_WINOGRAD_PIXELS], *gradient[NF_WINOGRAD_PIXELS];
        nf_tile_pixels(pixel, &source, &at, job->zeros);
        nf_tile_pixels(gradient, &result, &at, job->zeros);
        nf_rescale rescale;
        tiles->form.input(now->v + t * row, (size_t)(now->count * row), 16, 16, pixel, (size_t)tiles->c, channels,
                          nf_tile_rescale(&rescale, tiles, &job->before, &at), job->zeros);
        tiles->form.gradient(now->z + t * columns, (size_t)(now->count * columns), (size_t)columns, (size_t)panel,
                             gradient, (size_t)tiles->k, outputs);
    }
}

/* Rows and columns of a matrix, and where they go: d_u of the first of them, and from one row to the next. */
typedef struct part {
    int64_t top, bottom, left, right;
    float *d_u;
    int64_t stride;
} part;

/* The pixels of the pass that begins with tile `first`, if there is one: what is asked for, in `times` parts, during
 * the products of the one before. */
typedef struct pass_ahead {
    nf_tiles_ahead source, result;
} pass_ahead;

static pass_ahead pass_share(const weight_job *job, int64_t first, int64_t end, int64_t share, int64_t shares,
                             int64_t times) {
    const nf_winograd_tiles *tiles = &job->tiles;
    int64_t count = nf_clamp(end - first, 0, job->pass_tiles), results = job->behind ? 0 : count; /* those come late */
    return (pass_ahead){
        nf_tiles_ahead_share(tiles, nf_source_parts(tiles, job->x), first, count, share, shares, times),
        nf_tiles_ahead_share(tiles, nf_result_squares(tiles, job->d_y), first, results, share, shares, times)};
}

static void ask_for_some(const weight_job *job, pass_ahead *ahead) {
    nf_tiles_ask(&job->tiles, &ahead->source);
    nf_tiles_ask(&job->tiles, &ahead->result);
}

/* ahead: or NULL */
static void multiply_part(const weight_job *job, const pass *now, int64_t matrix, part of, pass_ahead *ahead) {
    const nf_winograd_tiles *tiles = &job->tiles;
    nf_frequencies frequencies = nf_matrix_frequencies(tiles, matrix);
    int64_t first = frequencies.first * now->count, depth = frequencies.count * now->count;
    int64_t panel_depth = nf_frequency_count(tiles) * now->count;
    const float *v = now->v + first * v_row(tiles), *z = now->z + first * nf_tile_columns();
    for (int64_t column = of.left; column < of.right; column += nf_tile_columns())
        for (int64_t row = of.top; row < of.bottom; row += nf_tile_rows()) {
            if (ahead)
                ask_for_some(job, ahead);
            nf_kernel->gemm_columns(of.d_u + (row - of.top) * of.stride + column - of.left, (size_t)of.stride, v + row,
                                    (size_t)v_row(tiles), z + column * panel_depth, (size_t)depth,
                                    (size_t)nf_min(nf_tile_rows(), of.bottom - row),
                                    (size_t)nf_min(nf_tile_columns(), of.right - column), now->accumulate);
        }
}

/* Products of register tiles for `rows` rows of a matrix. */
static int64_t tile_products(const weight_job *job, int64_t rows) {
    return nf_ceil_div(rows, nf_tile_rows()) * nf_ceil_div(job->tiles.k, nf_tile_columns());
}

/* Rows [top, bottom) of one matrix of a whole d_u. */
static void multiply_rows(const weight_job *job, const pass *now, float *d_u, int64_t matrix, int64_t top,
                          int64_t bottom, pass_ahead *ahead) {
    int64_t c = job->tiles.c, k = job->tiles.k;
    multiply_part(job, now, matrix, (part){top, bottom, 0, k, d_u + (matrix * c + top) * k, k}, ahead);
}

static void segment_task(void *context, int64_t task, int worker) {
    const weight_job *job = context;
    int64_t begin = job->tiles.count * task / job->segments, end = job->tiles.count * (task + 1) / job->segments;
    float *d_u = job->d_u + task * d_u_size(job);
    if (begin == end)
        memset(d_u, 0, (size_t)d_u_size(job) * sizeof *d_u);
    for (int64_t first = begin; first < end; first += job->pass_tiles) {
        pass now = make_pass(job, worker, first, end);
        now.accumulate = first > begin;
        transform_tiles(job, &now, 0, now.count);
        int64_t matrices = nf_matrix_count(&job->tiles), c = job->tiles.c;
        pass_ahead ahead = pass_share(job, first + job->pass_tiles, end, 0, 1, matrices * tile_products(job, c));
        for (int64_t matrix = 0; matrix < matrices; matrix++)
            multiply_rows(job, &now, d_u, matrix, 0, c, &ahead);
    }
}

/* Without segments: one that all workers share. */
static pass shared_pass(const weight_job *job, int64_t first) {
    return make_pass(job, first / job->pass_tiles % job->buffers, first, job->tiles.count);
}

static void transform_some(const weight_job *job, int64_t first, int64_t task) {
    pass now = shared_pass(job, first);
    int64_t begin = task * NF_TRANSFORM_TILES;
    transform_tiles(job, &now, begin, nf_min(begin + NF_TRANSFORM_TILES, now.count));
}

static int64_t transform_tasks(const weight_job *job, int64_t first) {
    return first < job->tiles.count ? nf_ceil_div(shared_pass(job, first).count, NF_TRANSFORM_TILES) : 0;
}

static void transform_task(void *context, int64_t task, int worker) {
    (void)worker;
    const weight_job *job = context;
    transform_some(job, job->first, task);
}

static int64_t product_tasks(const weight_job *job) {
    return nf_matrix_count(&job->tiles) * nf_ceil_div(job->tiles.c, PRODUCT_ROWS);
}

/* The products of the pass; if there are two buffers, the next pass is then transformed meanwhile. */
static void pass_task(void *context, int64_t task, int worker) {
    (void)worker;
    const weight_job *job = context;
    int64_t products = product_tasks(job), parts = products / nf_matrix_count(&job->tiles),
            ahead = job->first + job->pass_tiles;
    if (task >= products) {
        transform_some(job, ahead, task - products);
        return;
    }
    pass now = shared_pass(job, job->first);
    now.accumulate = job->first > 0;
    if (job->buffers > 1)
        ahead += job->pass_tiles;
    int64_t top = task % parts * PRODUCT_ROWS, bottom = nf_min(top + PRODUCT_ROWS, job->tiles.c);
    pass_ahead asked = pass_share(job, ahead, job->tiles.count, task, products, tile_products(job, bottom - top));
    multiply_rows(job, &now, job->d_u, task / parts, top, bottom, &asked);
}

static void part_task(void *context, int64_t task, int worker) {
    const weight_job *job = context;
    int64_t c = job->tiles.c, k = job->tiles.k, across = nf_ceil_div(k, PART_COLUMNS);
    int64_t top = task / across * PART_ROWS, left = task % across * PART_COLUMNS;
    int64_t rows = nf_min(PART_ROWS, c - top), columns = nf_min(PART_COLUMNS, k - left),
            stride = rows * columns + NF_WINOGRAD_PAD;
    pass now = make_pass(job, 0, 0, job->tiles.count);
    float *d_u = job->d_u + worker * part_size();
    for (int64_t matrix = 0; matrix < nf_matrix_count(&job->tiles); matrix++)
        multiply_part(job, &now, matrix, (part){top, top + rows, left, left + columns, d_u + matrix * stride, columns},
                      NULL);
    for (int64_t row = 0; row < rows; row++)
        job->tiles.form.weights_gradient(job->d_weight + (top + row) * k + left, (size_t)(c * k), d_u + row * columns,
                                         (size_t)stride, (size_t)columns, job->accumulate);
}

static void finish_task(void *context, int64_t task, int worker) {
    (void)worker;
    const weight_job *job = context;
    int64_t size = job->tiles.c * job->tiles.k, begin = task * FINISH_CHUNK;
    int64_t count = nf_min(FINISH_CHUNK, size - begin);
    for (int64_t at = begin; at < d_u_size(job); at += size)
        for (int64_t segment = 1; segment < job->segments; segment++)
            nf_kernel->scale(job->d_u + at, job->d_u + segment * d_u_size(job) + at, 1.0f, (size_t)count, true);
    job->tiles.form.weights_gradient(job->d_weight + begin, (size_t)size, job->d_u + begin, (size_t)size, (size_t)count,
                                     job->accumulate);
}

/* Passes in memory. */
static int64_t pass_count(const weight_job *job) {
    return job->segments > 1 ? job->workers : job->buffers;
}

static int64_t matrices_size(const weight_job *job) {
    return job->by_parts ? job->workers * part_size() : job->segments * d_u_size(job);
}

size_t nf_winograd_weight_scratch(const nf_conv *conv) {
    weight_job job = make_weight_job(conv);
    return (size_t)(pass_count(&job) * pass_floats(&job) + matrices_size(&job) + zeros_size(&job.tiles));
}

static nf_status sum_products(weight_job *job) {
    int64_t count = job->tiles.count, c = job->tiles.c, k = job->tiles.k;
    int workers = job->workers;
    if (job->segments > 1)
        return nf_parallel(segment_task, job, job->segments, workers);
    NF_TRY(nf_parallel(transform_task, job, transform_tasks(job, 0), workers));
    if (job->by_parts)
        return nf_parallel(part_task, job, nf_ceil_div(c, PART_ROWS) * nf_ceil_div(k, PART_COLUMNS), workers);
    for (; job->first < count; job->first += job->pass_tiles) {
        bool meanwhile = job->buffers > 1;
        if (!meanwhile && job->first > 0)
            NF_TRY(nf_parallel(transform_task, job, transform_tasks(job, job->first), workers));
        int64_t transforms = meanwhile ? transform_tasks(job, job->first + job->pass_tiles) : 0;
        NF_TRY(nf_parallel(pass_task, job, product_tasks(job) + transforms, workers));
    }
    return NF_OK;
}

nf_status nf_winograd_backward_weight(const nf_conv *conv, float *d_weight, const float *x, const nf_before *before,
                                      float *d_y, const nf_batch_norm_gradient *behind, bool accumulate,
                                      float *scratch) {
    weight_job job = make_weight_job(conv);
    job.x = x;
    job.before = *before;
    job.d_y = d_y;
    job.behind = behind;
    job.d_weight = d_weight;
    job.accumulate = accumulate;
    job.passes = scratch;
    job.d_u = job.passes + pass_count(&job) * pass_floats(&job);
    job.zeros = job.d_u + matrices_size(&job);
    memset(job.zeros, 0, (size_t)zeros_size(&job.tiles) * sizeof *job.zeros);
    NF_TRY(sum_products(&job));
    return job.by_parts ? NF_OK
                        : nf_parallel(finish_task, &job, nf_ceil_div(conv->c * conv->k, FINISH_CHUNK), conv->workers);
}
