#include "pairs.h"

#include "../core/dispatch.h"
#include "../core/integers.h"
#include "../core/memory.h"
#include "../core/threads.h"

#include <math.h>
#include <string.h>

typedef enum function { LOGISTIC, EXPONENTIAL, HIGHEST } function;

/* One pass over the tiles. */
typedef struct pass {
    const nf_pairs *pairs;
    function function;
    int64_t round;
    real peak;
    double *highest; /* (row blocks) */
} pass;

/* A tile in work. */
typedef struct tile {
    real *scores, *row_sums, *row_weights, *column_weights;
    int64_t row, column, rows, columns, padded_columns;
} tile;

static int64_t row_blocks(const nf_pairs *pairs) {
    return nf_ceil_div(pairs->rows->count, pairs->row_block);
}
static int64_t column_blocks(const nf_pairs *pairs) {
    return nf_ceil_div(pairs->columns->count, pairs->column_block);
}

/* Large enough to be worth the loads, small enough for a cache, for many tasks, and for each to end in some 20 ms. */
static int64_t block_size(int64_t count, int64_t width) {
    enum { LARGEST_PRODUCT = 1 << 26, LARGEST_BLOCK = 4 * NF_BLOCK_STEP };
    int64_t block = count >= 2048 ? LARGEST_BLOCK : count >= 1024 ? LARGEST_BLOCK / 2 : NF_BLOCK_STEP;
    while (block > NF_BLOCK_STEP && block * block * width > LARGEST_PRODUCT)
        block /= 2;
    return block;
}

static void pack_task(void *context, int64_t task, int worker) {
    (void)worker;
    const nf_pairs *pairs = context;
    const nf_rows *columns = pairs->columns;
    int64_t first = task * NF_BLOCK_STEP;
    nf_kernel->NF_REAL(pack_rows)(pairs->packed + first * columns->width, columns->z + first * columns->stride,
                                  (size_t)columns->stride, (size_t)nf_min(NF_BLOCK_STEP, columns->count - first),
                                  (size_t)columns->width);
}

nf_status NF_REAL(nf_pairs_open)(nf_pairs *pairs) {
    int64_t row_count = pairs->rows->count, column_count = pairs->columns->count, width = pairs->rows->width;
    int64_t row_room = NF_REAL(nf_rows_room)(row_count), column_room = NF_REAL(nf_rows_room)(column_count);
    pairs->memory = NULL;
    pairs->row_block = block_size(row_count, width);
    pairs->column_block = block_size(column_count, width);
    pairs->tile_stride = pairs->column_block + 16; /* columns of a tile spread over the cache */
    pairs->workers = nf_get_num_threads();
    int64_t worker_reals = pairs->row_block * (pairs->tile_stride + 2) + pairs->column_block;
    pairs->worker_bytes = (size_t)nf_round_up(worker_reals * (int64_t)sizeof(real), 64);
    int64_t gradient_rows = row_room + (pairs->rows_only ? 0 : column_room);
    int64_t reals = nf_round_up(column_room * width, 16) + gradient_rows * pairs->rows->stride;
    int64_t doubles = 2 * row_count + column_count;
    size_t bytes = (size_t)nf_round_up(doubles * 8 + reals * (int64_t)sizeof(real), 64);
    NF_TRY(nf_alloc(&pairs->memory, bytes + pairs->worker_bytes * (size_t)pairs->workers));
    pairs->packed = pairs->memory;
    pairs->d_rows = pairs->packed + nf_round_up(column_room * width, 16);
    pairs->d_columns = pairs->rows_only ? NULL : pairs->d_rows + row_room * pairs->rows->stride;
    pairs->row_sums = (double *)(pairs->packed + reals);
    pairs->row_weights = pairs->row_sums + row_count;
    pairs->column_weights = pairs->row_weights + row_count;
    pairs->worker_memory = (char *)pairs->memory + bytes;
    memset(pairs->d_rows, 0, (size_t)(gradient_rows * pairs->rows->stride) * sizeof(real));
    memset(pairs->row_sums, 0, (size_t)doubles * sizeof(double));
    return nf_parallel(pack_task, pairs, column_room / NF_BLOCK_STEP, NF_MAX_THREADS);
}

void NF_REAL(nf_pairs_close)(nf_pairs *pairs) {
    nf_free(pairs->memory);
}

static tile compute_tile(const nf_pairs *pairs, int64_t row_block, int64_t column_block, int worker) {
    const nf_rows *rows = pairs->rows, *columns = pairs->columns;
    tile t = {.row = row_block * pairs->row_block, .column = column_block * pairs->column_block};
    t.scores = (real *)(pairs->worker_memory + pairs->worker_bytes * (size_t)worker);
    t.row_sums = t.scores + pairs->row_block * pairs->tile_stride;
    t.row_weights = t.row_sums + pairs->row_block;
    t.column_weights = t.row_weights + pairs->row_block;
    t.rows = nf_min(pairs->row_block, rows->count - t.row);
    t.columns = nf_min(pairs->column_block, columns->count - t.column);
    t.padded_columns = nf_round_up(t.columns, NF_BLOCK_STEP);
    nf_kernel->NF_REAL(multiply_packed)(t.scores, (size_t)pairs->tile_stride, rows->z + t.row * rows->stride,
                                        (size_t)rows->stride, pairs->packed + t.column * columns->width, (size_t)t.rows,
                                        (size_t)t.padded_columns, (size_t)rows->width);
    for (int64_t i = 0; i < t.rows; i++) { /* what doesn't count */
        real *scores = t.scores + i * pairs->tile_stride;
        for (int64_t j = t.columns; j < t.padded_columns; j++)
            scores[j] = (real)-INFINITY;
        int64_t own = t.row + i - t.column;
        if (!pairs->diagonal && own >= 0 && own < t.columns)
            scores[own] = (real)-INFINITY;
    }
    return t;
}

/* Derivatives times the weights of their rows, and their sums. */
static void apply_weights(const nf_pairs *pairs, const tile *t) {
    size_t columns = (size_t)t->padded_columns, stride = (size_t)pairs->tile_stride;
    for (int64_t i = 0; i < t->rows; i++) {
        real *weights = t->scores + i * pairs->tile_stride;
        double factor = nf_relative_weight(&pairs->weights, t->row + i);
        nf_kernel->NF_REAL(row_scale)(weights, weights, (real)factor, 1, columns);
    }
    nf_kernel->NF_REAL(tile_sums)(t->row_weights, t->column_weights, t->scores, (size_t)t->rows, columns, stride);
}

static void weigh_tile(const pass *p, tile *t) {
    const nf_pairs *pairs = p->pairs;
    size_t rows = (size_t)t->rows, columns = (size_t)t->padded_columns, stride = (size_t)pairs->tile_stride;
    const real *row_offsets = pairs->row_offsets + t->row, *column_offsets = pairs->column_offsets + t->column;
    if (p->function == LOGISTIC) {
        nf_kernel->NF_REAL(tile_logistic)(t->row_sums, t->row_weights, t->column_weights, t->scores, rows, columns,
                                          stride, (real)pairs->scale, row_offsets, column_offsets);
    } else {
        nf_kernel->NF_REAL(tile_exponential)(t->row_weights, t->column_weights, t->scores, rows, columns, stride,
                                             (real)pairs->scale, row_offsets, column_offsets, p->peak);
        memcpy(t->row_sums, t->row_weights, rows * sizeof(real));
    }
    if (pairs->weights.values)
        apply_weights(pairs, t);
}

static void add_tile(const nf_pairs *pairs, const tile *t) {
    for (int64_t i = 0; i < t->rows; i++) {
        pairs->row_sums[t->row + i] += (double)t->row_sums[i];
        pairs->row_weights[t->row + i] += (double)t->row_weights[i];
    }
    for (int64_t j = 0; j < t->columns; j++)
        pairs->column_weights[t->column + j] += (double)t->column_weights[j];
    size_t tile_stride = (size_t)pairs->tile_stride, stride = (size_t)pairs->rows->stride;
    size_t width = (size_t)nf_round_up(pairs->rows->width, 16);
    int64_t row = t->row * pairs->rows->stride, column = t->column * pairs->rows->stride;
    nf_kernel->NF_REAL(multiply_add)(pairs->d_rows + row, t->scores, tile_stride, pairs->columns->z + column, stride,
                                     (size_t)t->rows, width, (size_t)t->columns);
    if (pairs->d_columns)
        nf_kernel->NF_REAL(multiply_transposed_add)(pairs->d_columns + column, t->scores, tile_stride,
                                                    pairs->rows->z + row, stride, (size_t)t->columns, width,
                                                    (size_t)t->rows);
}

/* Rounds are diagonals of blocks that wrap around. */
static void run_task(void *context, int64_t task, int worker) {
    const pass *p = context;
    const nf_pairs *pairs = p->pairs;
    int64_t rows = row_blocks(pairs), columns = column_blocks(pairs);
    int64_t row_block = rows <= columns ? task : (task + p->round) % rows;
    int64_t column_block = rows <= columns ? (task + p->round) % columns : task;
    tile t = compute_tile(pairs, row_block, column_block, worker);
    if (p->function == HIGHEST) {
        double highest = (double)nf_kernel->NF_REAL(tile_highest)(
            t.scores, (size_t)t.rows, (size_t)t.padded_columns, (size_t)pairs->tile_stride, (real)pairs->scale,
            pairs->row_offsets + t.row, pairs->column_offsets + t.column);
        p->highest[row_block] = fmax(p->highest[row_block], highest);
    } else {
        weigh_tile(p, &t);
        add_tile(pairs, &t);
    }
}

static nf_status run_pass(pass *p) {
    int64_t rows = row_blocks(p->pairs), columns = column_blocks(p->pairs);
    for (p->round = 0; p->round < nf_max(rows, columns); p->round++)
        NF_TRY(nf_parallel(run_task, p, nf_min(rows, columns), p->pairs->workers));
    return NF_OK;
}

nf_status NF_REAL(nf_pairs_logistic)(nf_pairs *pairs) {
    pass p = {.pairs = pairs, .function = LOGISTIC};
    return run_pass(&p);
}

static nf_status find_highest(const nf_pairs *pairs, double *highest) {
    void *memory;
    int64_t count = row_blocks(pairs);
    NF_TRY(nf_alloc(&memory, (size_t)count * sizeof(double)));
    pass p = {.pairs = pairs, .function = HIGHEST, .highest = memory};
    for (int64_t i = 0; i < count; i++)
        p.highest[i] = -INFINITY;
    nf_status status = run_pass(&p);
    *highest = -INFINITY;
    for (int64_t i = 0; i < count; i++)
        *highest = fmax(*highest, p.highest[i]);
    nf_free(memory);
    return status;
}

nf_status NF_REAL(nf_pairs_exponential)(nf_pairs *pairs, double *peak, double lowest, double highest) {
    enum { SPREAD = sizeof(real) == 8 ? 300 : 40 }; /* exp of it, times small embeddings, is still a normal number */
    *peak = (double)(real)highest;
    if (highest - lowest > SPREAD)
        NF_TRY(find_highest(pairs, peak));
    pass p = {.pairs = pairs, .function = EXPONENTIAL, .peak = (real)*peak};
    return run_pass(&p);
}
