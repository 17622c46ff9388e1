#include "tiles.h"

#include "../core/dispatch.h"
#include "../core/integers.h"
#include "../core/memory.h"
#include "../core/threads.h"

#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

/* Exponentials are kept from the first pass to the second, a quarter less to compute: those of all tiles where there is
 * room for them, as with 8,192 rows; else of as many as take less room, the same whatever the input. Where that is but
 * a small share of them, none are. */
static const int64_t all_kept_bytes = 144 << 20, some_kept_bytes = 96 << 20;
enum { LEAST_KEPT_SHARE = 16 }; /* one in so many */

/* Of one tile in multiplications, and of a block's. */
enum { LARGEST_TILE = 1 << 26, LARGEST_BLOCK = 1 << 27 };
/* Along a side of a block. With so many blocks there is work for many threads. */
enum { MOST_TILES = 4, MANY_BLOCKS = 20 };

#ifdef NF_DOUBLE
enum { TOP = 800, LOWEST_POWER = -1021, DIGITS = 53 };
static const double largest_power = 709; /* of e */
#else
static const double largest_power = 88;
enum { TOP = 80, LOWEST_POWER = -125, DIGITS = 24 };
#endif
static const double ln2 = 0.6931471805599453;

/* Exponentials are taken times 2^-shift, so that the largest is about 2^TOP and they may spread far below it. */
static double shift_of(const nf_tiles *tiles) {
    return ceil(tiles->bound / ln2) - TOP;
}
/* Scores beyond this are but rounding errors. */
static const double largest_bound = 1e12;

/* One pass over the tiles: its inputs, its outputs, how far it is. */
typedef struct pass {
    const nf_tiles *tiles;
    void (*run)(const struct pass *pass, int64_t row_tile, int64_t column_tile, int worker);
    bool backwards;                   /* the second pass: what was kept last may still be in a cache */
    _Atomic int64_t *turns;           /* how many of its tiles each block of rows, and then of columns, has behind it */
    double *row_sums, *column_sums;   /* first pass */
    double *row_peaks, *column_peaks; /* first pass, spread: sums are relative to these */
    const double *row_logs, *column_logs;     /* second pass, spread */
    const nf_weights *weights;                /* second pass, spread */
    const real *row_factors, *column_factors; /* second pass: 2^shift exp(-logs), weighted */
} pass;

/* A tile in work. */
typedef struct tile {
    real *scores; /* (rows, columns), `stride` apart */
    real *row_part, *column_part;
    int64_t stride, row, column, rows, columns, padded_columns;
    bool diagonal; /* on the diagonal of a symmetric matrix: complete in itself */
} tile;

static bool symmetric(const nf_tiles *tiles) {
    return tiles->rows == tiles->columns;
}

/* The numbers of tiles, and of blocks of them. */
static int64_t row_tiles(const nf_tiles *tiles) {
    return nf_ceil_div(tiles->row_count, tiles->tile_rows);
}
static int64_t column_tiles(const nf_tiles *tiles) {
    return nf_ceil_div(tiles->column_count, tiles->tile_columns);
}
static int64_t row_blocks(const nf_tiles *tiles) {
    return nf_ceil_div(row_tiles(tiles), tiles->block);
}
static int64_t column_blocks(const nf_tiles *tiles) {
    return nf_ceil_div(column_tiles(tiles), tiles->block);
}

/* Large enough to be worth the loads, small enough for a cache, for many tasks, and for each to end in some 20 ms. */
static int64_t tile_size(int64_t count, int64_t width) {
    int64_t size = (count >= 2048 ? 4 : count >= 384 ? 2 : 1) * NF_BLOCK_STEP;
    while (size > NF_BLOCK_STEP && size * size * width > LARGEST_TILE)
        size /= 2;
    return size;
}

/* A block's tiles follow each other on one worker, whose cache has half of what each takes from the tile before. */
static int64_t tiles_per_side(const nf_tiles *tiles) {
    int64_t most = nf_min(row_tiles(tiles), column_tiles(tiles)) / MANY_BLOCKS, side = 1;
    while (side < MOST_TILES && 2 * side <= most &&
           4 * side * side * tiles->tile_rows * tiles->tile_columns * tiles->width <= LARGEST_BLOCK)
        side *= 2;
    return side;
}

static nf_status open_kept(nf_tiles *tiles) {
    int64_t rows = row_tiles(tiles), columns = column_tiles(tiles);
    int64_t tile_bytes = tiles->tile_rows * tiles->tile_columns * (int64_t)sizeof(real);
    int64_t all = all_kept_bytes / tile_bytes, most = some_kept_bytes / tile_bytes, limit = most * LEAST_KEPT_SHARE;
    if (rows > limit || columns > limit) /* their product may overflow */
        return NF_OK;
    int64_t count = symmetric(tiles) ? rows * (rows + 1) / 2 : rows * columns;
    if (count > limit)
        return NF_OK;
    void *memory;
    tiles->kept_count = count <= all ? count : most;
    NF_TRY(nf_alloc(&memory, (size_t)(tiles->kept_count * tile_bytes)));
    tiles->kept = memory;
    return NF_OK;
}

nf_status NF_REAL(nf_tiles_open)(nf_tiles *tiles, const nf_rows *rows, const nf_rows *columns, int64_t period,
                                 double temperature) {
    *tiles = (nf_tiles){.rows = rows->z,
                        .columns = columns->z,
                        .row_count = rows->count,
                        .column_count = columns->count,
                        .width = rows->width,
                        .stride = rows->stride,
                        .period = period,
                        .temperature = temperature,
                        .bound = rows->largest_norm * columns->largest_norm * (1 + 1e-6) / temperature,
                        .tile_rows = tile_size(rows->count, rows->width),
                        .tile_columns = tile_size(columns->count, rows->width),
                        .workers = nf_get_num_threads()};
    NF_TRY(NF_REAL(nf_scores_check)(rows, columns, temperature, &tiles->need_double));
    if (symmetric(tiles))
        tiles->tile_columns = tiles->tile_rows;
    tiles->block = tiles_per_side(tiles);
    tiles->tile_stride = tiles->tile_columns + 16; /* columns of a tile spread over the cache */
    int64_t worker_reals = tiles->tile_rows * tiles->tile_stride + tiles->tile_rows + tiles->tile_columns;
    tiles->worker_bytes = (size_t)nf_round_up(worker_reals * (int64_t)sizeof(real), 64);
    int64_t row_room = NF_REAL(nf_rows_room)(tiles->row_count), width = tiles->width, stride = tiles->stride;
    int64_t column_room = NF_REAL(nf_rows_room)(tiles->column_count);
    int64_t reals = column_room * (width + stride) + (symmetric(tiles) ? 0 : row_room * stride);
    size_t bytes = (size_t)nf_round_up(reals * (int64_t)sizeof(real), 64);
    NF_TRY(nf_alloc(&tiles->memory, bytes + tiles->worker_bytes * (size_t)tiles->workers));
    tiles->packed = tiles->memory;
    tiles->d_columns = tiles->packed + column_room * width;
    tiles->d_rows = symmetric(tiles) ? tiles->d_columns : tiles->d_columns + column_room * stride;
    tiles->worker_memory = (char *)tiles->memory + bytes;
    return open_kept(tiles);
}

void NF_REAL(nf_tiles_close)(nf_tiles *tiles) {
    nf_free(tiles->memory);
    nf_free(tiles->kept);
}

/* ---- Which tile when ---- */

static int64_t task_count(const nf_tiles *tiles) {
    int64_t rows = row_blocks(tiles), columns = column_blocks(tiles);
    return symmetric(tiles) ? rows + (nf_round_up(rows, 2) - 1) * (nf_round_up(rows, 2) / 2) : rows * columns;
}

/* Splits a task into its round and its number there. */
static int64_t find_round(const nf_tiles *tiles, int64_t *task) {
    int64_t rows = row_blocks(tiles), per_round = nf_min(rows, column_blocks(tiles)), round = 0;
    if (symmetric(tiles)) { /* the diagonal has a round of its own */
        if (*task < rows)
            return 0;
        *task -= rows;
        per_round = nf_round_up(rows, 2) / 2;
        round = 1;
    }
    round += *task / per_round;
    *task %= per_round;
    return round;
}

/* The tile of a task of a round. Symmetric: the diagonal, then a tournament of all blocks against all (the circle
 * method; with an odd number there is one column block too many, and its partner rests). Else: diagonals that wrap
 * around. */
static void find_tile(const nf_tiles *tiles, int64_t round, int64_t task, int64_t *row_block, int64_t *column_block) {
    int64_t rows = row_blocks(tiles), columns = column_blocks(tiles);
    if (!symmetric(tiles)) {
        *row_block = rows <= columns ? task : (task + round) % rows;
        *column_block = rows <= columns ? (task + round) % columns : task;
        return;
    }
    if (round == 0) {
        *row_block = *column_block = task;
        return;
    }
    int64_t circle = nf_round_up(rows, 2) - 1;
    int64_t a = task == 0 ? circle : (round - 1 + task) % circle;
    int64_t b = task == 0 ? round - 1 : (round - 1 - task + circle) % circle;
    *row_block = nf_min(a, b);
    *column_block = a + b - *row_block;
}

/* How many tiles `block` has before this round, where in each round r it is block - r, modulo `many`, against one of
 * `few`. */
static int64_t turns_before(int64_t block, int64_t round, int64_t few, int64_t many) {
    int64_t down = nf_min(round, block + 1); /* rounds until the difference wraps around */
    int64_t turns = block < few ? down : nf_max(0, down - (block - few + 1));
    return turns + nf_max(0, round - down - (many - few));
}

/* Where the exponentials of a tile are kept; NULL if they are not. */
static real *kept_tile(const nf_tiles *tiles, int64_t row_tile, int64_t column_tile) {
    int64_t slot = row_tile * column_tiles(tiles) + column_tile;
    if (symmetric(tiles))
        slot -= row_tile * (row_tile + 1) / 2;
    return slot < tiles->kept_count ? tiles->kept + slot * tiles->tile_rows * tiles->tile_columns : NULL;
}

/* Blocks take part in their tiles in the order of the rounds: each waits for its turn. The tasks that it waits for were
 * begun before, so one of those that wait can always go on. */
static void wait_for_turn(_Atomic int64_t *turn, int64_t wanted) {
    enum { SPINS_BEFORE_YIELD = 1000 };
    for (int64_t spin = 0; atomic_load_explicit(turn, memory_order_acquire) != wanted; spin++)
        if (spin > SPINS_BEFORE_YIELD)
            sched_yield();
}

static void end_turn(_Atomic int64_t *turn, int64_t number) {
    atomic_store_explicit(turn, number + 1, memory_order_release);
}

static void clear_gradients(const nf_tiles *tiles, real *d_z, int64_t count) {
    memset(d_z, 0, (size_t)(NF_REAL(nf_rows_room)(count) * tiles->stride) * sizeof(real));
}

/* The first to take a block of rows or columns makes it ready, just before its use: packs the columns, or clears the
 * gradients. */
static void begin_block(const pass *p, int64_t block, bool columns) {
    const nf_tiles *tiles = p->tiles;
    int64_t step = tiles->block * (columns ? tiles->tile_columns : tiles->tile_rows), first = block * step;
    int64_t count = nf_min(step, (columns ? tiles->column_count : tiles->row_count) - first);
    if (p->backwards)
        clear_gradients(tiles, (columns ? tiles->d_columns : tiles->d_rows) + first * tiles->stride, count);
    else if (columns)
        nf_kernel->NF_REAL(pack_rows)(tiles->packed + first * tiles->width, tiles->columns + first * tiles->stride,
                                      (size_t)tiles->stride, (size_t)count, (size_t)tiles->width);
}

/* Row by row, to and fro: each tile has rows or columns in common with the one before. */
static void run_block(const pass *p, int64_t row_block, int64_t column_block, int worker) {
    const nf_tiles *tiles = p->tiles;
    int64_t row = row_block * tiles->block, row_end = nf_min(row + tiles->block, row_tiles(tiles));
    int64_t column = column_block * tiles->block, column_end = nf_min(column + tiles->block, column_tiles(tiles));
    for (int64_t i = row; i < row_end; i++)
        for (int64_t k = column; k < column_end; k++) {
            int64_t j = (i - row) % 2 ? column + column_end - 1 - k : k;
            if (!symmetric(tiles) || i <= j)
                p->run(p, i, j, worker);
        }
}

static void run_task(void *context, int64_t task, int worker) {
    const pass *p = context;
    const nf_tiles *tiles = p->tiles;
    if (p->backwards)
        task = task_count(tiles) - 1 - task;
    int64_t rows = row_blocks(tiles), columns = column_blocks(tiles), row_block, column_block;
    int64_t round = find_round(tiles, &task), row_turn = round, column_turn = round;
    find_tile(tiles, round, task, &row_block, &column_block);
    if (!symmetric(tiles) && rows < columns)
        column_turn = turns_before(column_block, round, rows, columns);
    if (!symmetric(tiles) && columns < rows)
        row_turn = turns_before(row_block, round, columns, rows);
    if (p->backwards) {
        row_turn = (symmetric(tiles) ? nf_round_up(rows, 2) : columns) - 1 - row_turn;
        column_turn = (symmetric(tiles) ? nf_round_up(rows, 2) : rows) - 1 - column_turn;
    }
    bool rests = column_block >= columns, two = !rests && !(symmetric(tiles) && row_block == column_block);
    _Atomic int64_t *row = p->turns + row_block, *column = p->turns + (symmetric(tiles) ? 0 : rows) + column_block;
    wait_for_turn(row, row_turn);
    if (two)
        wait_for_turn(column, column_turn);
    if (row_turn == 0)
        begin_block(p, row_block, symmetric(tiles));
    if (two && column_turn == 0)
        begin_block(p, column_block, true);
    if (!rests)
        run_block(p, row_block, column_block, worker);
    end_turn(row, row_turn);
    if (two)
        end_turn(column, column_turn);
}

static nf_status run_pass(pass *p) {
    int64_t blocks = row_blocks(p->tiles) + column_blocks(p->tiles);
    void *memory;
    NF_TRY(nf_alloc(&memory, (size_t)blocks * sizeof *p->turns));
    p->turns = memory;
    for (int64_t i = 0; i < blocks; i++)
        atomic_init(p->turns + i, 0);
    nf_status status = nf_parallel_in_order(run_task, p, task_count(p->tiles), p->tiles->workers);
    nf_free(memory);
    return status;
}

/* ---- One tile ---- */

/* Whether there is something to leave out. */
static bool has_left_out(const nf_tiles *tiles, const tile *t) {
    if (tiles->first || t->columns < t->padded_columns)
        return true;
    if (tiles->period == 0)
        return false;
    int64_t first = ((t->row - t->column) % tiles->period + tiles->period) % tiles->period;
    return first < t->columns || first + t->rows > tiles->period;
}

/* Scores that are left out become `nothing`, and so do those beyond the last column, up to a whole group. */
static void leave_out(const nf_tiles *tiles, const tile *t, real nothing) {
    if (!has_left_out(tiles, t))
        return;
    for (int64_t i = 0; i < t->rows; i++) {
        real *scores = t->scores + i * t->stride;
        for (int64_t j = t->columns; j < t->padded_columns; j++)
            scores[j] = nothing;
        if (tiles->first) {
            int64_t end = nf_min(tiles->end[t->row + i] - t->column, t->columns);
            for (int64_t j = nf_max(tiles->first[t->row + i] - t->column, 0); j < end; j++)
                scores[j] = nothing;
        }
        if (tiles->period == 0)
            continue;
        int64_t first = ((t->row + i - t->column) % tiles->period + tiles->period) % tiles->period;
        for (int64_t j = first; j < t->columns; j += tiles->period)
            scores[j] = nothing;
    }
}

static tile place_tile(const nf_tiles *tiles, int64_t row_tile, int64_t column_tile, int worker) {
    tile t = {
        .stride = tiles->tile_stride, .row = row_tile * tiles->tile_rows, .column = column_tile * tiles->tile_columns};
    t.scores = (real *)(tiles->worker_memory + tiles->worker_bytes * (size_t)worker);
    t.row_part = t.scores + tiles->tile_rows * tiles->tile_stride;
    t.column_part = t.row_part + tiles->tile_rows;
    t.rows = nf_min(tiles->tile_rows, tiles->row_count - t.row);
    t.columns = nf_min(tiles->tile_columns, tiles->column_count - t.column);
    t.padded_columns = nf_round_up(t.columns, 16);
    t.diagonal = symmetric(tiles) && row_tile == column_tile;
    return t;
}

static real scale_of(const nf_tiles *tiles) {
    return (real)(1 / (tiles->temperature * ln2));
}

static void sum_tile(const pass *p, int64_t row_tile, int64_t column_tile, int worker) {
    const nf_tiles *tiles = p->tiles;
    tile t = place_tile(tiles, row_tile, column_tile, worker);
    real *kept = kept_tile(tiles, row_tile, column_tile);
    if (kept) {
        t.scores = kept;
        t.stride = tiles->tile_columns;
    }
    nf_kernel->NF_REAL(multiply_exp)(t.scores, (size_t)t.stride, tiles->rows + t.row * tiles->stride,
                                     (size_t)tiles->stride, tiles->packed + t.column * tiles->width, (size_t)t.rows,
                                     (size_t)t.padded_columns, (size_t)tiles->width, scale_of(tiles),
                                     (real)shift_of(tiles), t.diagonal);
    leave_out(tiles, &t, 0);
    bool columns_too = p->column_sums && !t.diagonal;
    nf_kernel->NF_REAL(tile_sums)(t.row_part, columns_too ? t.column_part : NULL, t.scores, (size_t)t.rows,
                                  (size_t)t.padded_columns, (size_t)t.stride);
    for (int64_t i = 0; i < t.rows; i++)
        p->row_sums[t.row + i] += (double)t.row_part[i];
    for (int64_t j = 0; columns_too && j < t.columns; j++)
        p->column_sums[t.column + j] += (double)t.column_part[j];
}

/* d_rows += w columns */
static void add_to_rows(const nf_tiles *tiles, const tile *t) {
    nf_kernel->NF_REAL(multiply_add)(tiles->d_rows + t->row * tiles->stride, t->scores, (size_t)t->stride,
                                     tiles->columns + t->column * tiles->stride, (size_t)tiles->stride, (size_t)t->rows,
                                     (size_t)nf_round_up(tiles->width, 16), (size_t)t->columns);
}

/* d_columns += w^T rows */
static void add_to_columns(const nf_tiles *tiles, const tile *t) {
    if (!t->diagonal)
        nf_kernel->NF_REAL(multiply_transposed_add)(tiles->d_columns + t->column * tiles->stride, t->scores,
                                                    (size_t)t->stride, tiles->rows + t->row * tiles->stride,
                                                    (size_t)tiles->stride, (size_t)t->columns,
                                                    (size_t)nf_round_up(tiles->width, 16), (size_t)t->rows);
}

static void weigh_tile(const pass *p, int64_t row_tile, int64_t column_tile, int worker) {
    const nf_tiles *tiles = p->tiles;
    tile t = place_tile(tiles, row_tile, column_tile, worker);
    const real *row_factors = p->row_factors + t.row;
    const real *column_factors = p->column_factors ? p->column_factors + t.column : NULL;
    const real *kept = kept_tile(tiles, row_tile, column_tile);
    if (kept) {
        nf_kernel->NF_REAL(weigh_add)(tiles->d_rows + t.row * tiles->stride, t.scores, (size_t)t.stride, kept,
                                      (size_t)tiles->tile_columns, row_factors, column_factors,
                                      tiles->columns + t.column * tiles->stride, (size_t)tiles->stride, (size_t)t.rows,
                                      (size_t)nf_round_up(tiles->width, 16), (size_t)t.columns);
    } else {
        nf_kernel->NF_REAL(multiply_weights)(t.scores, (size_t)t.stride, tiles->rows + t.row * tiles->stride,
                                             (size_t)tiles->stride, tiles->packed + t.column * tiles->width,
                                             (size_t)t.rows, (size_t)t.padded_columns, (size_t)tiles->width,
                                             scale_of(tiles), (real)shift_of(tiles), row_factors, column_factors);
        leave_out(tiles, &t, 0);
        add_to_rows(tiles, &t);
    }
    add_to_columns(tiles, &t);
}

/* ---- One tile of scores that spread far: relative to each row's and column's own maximum ---- */

static tile compute_tile(const nf_tiles *tiles, int64_t row_tile, int64_t column_tile, int worker) {
    tile t = place_tile(tiles, row_tile, column_tile, worker);
    nf_kernel->NF_REAL(multiply_packed)(t.scores, (size_t)t.stride, tiles->rows + t.row * tiles->stride,
                                        (size_t)tiles->stride, tiles->packed + t.column * tiles->width, (size_t)t.rows,
                                        (size_t)t.padded_columns, (size_t)tiles->width);
    leave_out(tiles, &t, (real)-INFINITY);
    return t;
}

/* Adds `count` exponentials of scores / temperature, `stride` apart, to the sum relative to the peak. */
static void add_exponentials(double *peak, double *sum, const real *scores, int64_t count, int64_t stride,
                             double temperature) {
    double highest = -INFINITY;
    for (int64_t i = 0; i < count; i++)
        highest = fmax(highest, (double)scores[i * stride]);
    highest /= temperature;
    if (highest > *peak) {
        *sum *= exp(*peak - highest);
        *peak = highest;
    }
    if (highest > -INFINITY)
        for (int64_t i = 0; i < count; i++)
            *sum += exp((double)scores[i * stride] / temperature - *peak);
}

static void sum_spread_tile(const pass *p, int64_t row_tile, int64_t column_tile, int worker) {
    tile t = compute_tile(p->tiles, row_tile, column_tile, worker);
    double temperature = p->tiles->temperature;
    for (int64_t i = t.row; i < t.row + t.rows; i++)
        add_exponentials(p->row_peaks + i, p->row_sums + i, t.scores + (i - t.row) * t.stride, t.columns, 1,
                         temperature);
    if (!p->column_sums || t.diagonal)
        return;
    for (int64_t j = t.column; j < t.column + t.columns; j++)
        add_exponentials(p->column_peaks + j, p->column_sums + j, t.scores + j - t.column, t.rows, t.stride,
                         temperature);
}

static void weigh_spread_tile(const pass *p, int64_t row_tile, int64_t column_tile, int worker) {
    tile t = compute_tile(p->tiles, row_tile, column_tile, worker);
    for (int64_t i = 0; i < t.rows; i++)
        for (int64_t j = 0; j < t.columns; j++) {
            real *score = t.scores + i * t.stride + j;
            double s = (double)*score / p->tiles->temperature;
            double weight = exp(s - p->row_logs[t.row + i]) * nf_relative_weight(p->weights, t.row + i);
            if (p->column_logs)
                weight += exp(s - p->column_logs[t.column + j]) * nf_relative_weight(p->weights, t.column + j);
            *score = s > -INFINITY ? (real)weight : 0;
        }
    add_to_rows(p->tiles, &t);
    add_to_columns(p->tiles, &t);
}

/* ---- The two passes ---- */

/* How many columns a row has that are not left out. */
static int64_t term_count(const nf_tiles *tiles, int64_t row) {
    int64_t left_out = tiles->period ? tiles->column_count / tiles->period : 0;
    if (tiles->first)
        left_out += tiles->end[row] - tiles->first[row];
    return tiles->column_count - left_out;
}

/* Sums to logarithms. False if a sum is so small that exponentials which were flushed to zero might count in it. A sum
 * of nothing is zero and fine. */
static bool take_logs(const nf_tiles *tiles, double *sums, int64_t count) {
    double shift = shift_of(tiles) * ln2;
    for (int64_t i = 0; i < count; i++) {
        int64_t terms = term_count(tiles, i);
        if (terms > 0 && sums[i] < ldexp((double)terms, LOWEST_POWER + DIGITS))
            return false;
        sums[i] = terms > 0 ? log(sums[i]) + shift : -INFINITY;
    }
    return true;
}

static nf_status sum_spread(const nf_tiles *tiles, double *row_logs, double *column_logs) {
    int64_t rows = tiles->row_count, columns = column_logs ? tiles->column_count : 0;
    void *memory;
    NF_TRY(nf_alloc(&memory, (size_t)(rows + columns) * sizeof(double)));
    double *peaks = memory;
    for (int64_t i = 0; i < rows + columns; i++)
        peaks[i] = -INFINITY;
    memset(row_logs, 0, (size_t)rows * sizeof(double));
    if (column_logs)
        memset(column_logs, 0, (size_t)columns * sizeof(double));
    pass p = {.tiles = tiles,
              .run = sum_spread_tile,
              .row_sums = row_logs,
              .row_peaks = peaks,
              .column_sums = symmetric(tiles) ? row_logs : column_logs,
              .column_peaks = symmetric(tiles) ? peaks : peaks + rows};
    nf_status status = run_pass(&p);
    for (int64_t i = 0; i < rows; i++)
        row_logs[i] = peaks[i] + log(row_logs[i]);
    for (int64_t j = 0; j < columns; j++)
        column_logs[j] = peaks[rows + j] + log(column_logs[j]);
    nf_free(memory);
    return status;
}

nf_status NF_REAL(nf_tiles_log_sums)(nf_tiles *tiles, double *row_logs, double *column_logs) {
    memset(row_logs, 0, (size_t)tiles->row_count * sizeof(double));
    if (column_logs)
        memset(column_logs, 0, (size_t)tiles->column_count * sizeof(double));
    pass p = {.tiles = tiles,
              .run = sum_tile,
              .row_sums = row_logs,
              .column_sums = symmetric(tiles) ? row_logs : column_logs};
    bool near = tiles->bound <= largest_bound;
    if (near)
        NF_TRY(run_pass(&p));
    if (near && take_logs(tiles, row_logs, tiles->row_count) &&
        (!column_logs || take_logs(tiles, column_logs, tiles->column_count)))
        return NF_OK;
    tiles->need_double = sizeof(real) < sizeof(double);
    tiles->spread = !tiles->need_double;
    return tiles->spread ? sum_spread(tiles, row_logs, column_logs) : NF_OK;
}

/* 2^shift exp(-logs) times the relative weights, and zeros up to a whole block. */
static void take_factors(const nf_tiles *tiles, real *factors, const double *logs, const nf_weights *weights,
                         int64_t count) {
    enum { CHUNK = 64 };
    double shift = shift_of(tiles) * ln2, factor[CHUNK];
    for (int64_t first = 0; first < count; first += CHUNK) {
        int64_t chunk = nf_min(CHUNK, count - first);
        for (int64_t i = 0; i < chunk; i++) /* only rows without exponentials have larger ones */
            factor[i] = fmin(shift - logs[first + i], largest_power);
        nf_kernel->exp_f64(factor, factor, (size_t)chunk);
        for (int64_t i = 0; i < chunk; i++)
            factors[first + i] = (real)(factor[i] * nf_relative_weight(weights, first + i));
    }
    for (int64_t i = count; i < NF_REAL(nf_rows_room)(count); i++)
        factors[i] = 0;
}

nf_status NF_REAL(nf_tiles_gradients)(nf_tiles *tiles, const double *row_logs, const double *column_logs,
                                      const nf_weights *weights) {
    int64_t row_room = NF_REAL(nf_rows_room)(tiles->row_count);
    int64_t column_room = NF_REAL(nf_rows_room)(tiles->column_count);
    if (!tiles->first && term_count(tiles, 0) == 0) {
        clear_gradients(tiles, tiles->d_rows, tiles->row_count);
        clear_gradients(tiles, tiles->d_columns, tiles->column_count);
        return NF_OK;
    }
    void *memory;
    NF_TRY(nf_alloc(&memory, (size_t)(row_room + column_room) * sizeof(real)));
    real *row_factors = memory, *column_factors = row_factors + row_room;
    take_factors(tiles, row_factors, row_logs, weights, tiles->row_count);
    if (column_logs == row_logs)
        column_factors = row_factors;
    else if (column_logs)
        take_factors(tiles, column_factors, column_logs, weights, tiles->column_count);
    pass p = {.tiles = tiles,
              .run = tiles->spread ? weigh_spread_tile : weigh_tile,
              .backwards = true,
              .row_logs = row_logs,
              .column_logs = column_logs,
              .weights = weights,
              .row_factors = row_factors,
              .column_factors = column_logs ? column_factors : NULL};
    nf_status status = run_pass(&p);
    nf_free(memory);
    return status;
}
