#include "distances.h"

#include "../core/dispatch.h"
#include "../core/integers.h"
#include "../core/memory.h"
#include "../core/threads.h"
#include "classes.h"
#include "reduction.h"

#include <math.h>
#include <string.h>

static const int64_t group_bytes = 16 << 20;
static const int64_t group_least_rows = 4 * NF_BLOCK_STEP; /* so that there is work for several threads */

/* Less than this part of |z_i|^2 + |z_j|^2 left: the products have lost too many digits, and D^2 comes from
 * differences. Below the second, of the gradient of D too many are lost: w_ij = slope / D times z_i and z_j apart. */
#ifdef NF_DOUBLE
static const double close_part = 0x1p-20;
static const double too_close_part = 0;
#else
static const double close_part = 0x1p-6;
static const double too_close_part = 0x1p-16;
#endif

/* ---- Opening ---- */

static nf_status find_classes(nf_distances *d, const int64_t *labels, const double *weights) {
    NF_TRY(nf_weights_open(&d->weights, weights, d->count));
    NF_TRY(nf_alloc(&d->class_memory, (size_t)d->count * (3 * sizeof(int64_t) + sizeof(double))));
    d->order = d->class_memory;
    d->first = d->order + d->count;
    d->end = d->first + d->count;
    NF_TRY(nf_sort_classes(d->order, d->first, d->end, labels, d->count, d->count));
    if (d->weights.values) {
        double *sorted = (double *)(d->end + d->count);
        for (int64_t i = 0; i < d->count; i++)
            sorted[i] = weights[d->order[i]];
        d->weights.values = sorted;
    }
    return NF_OK;
}

static nf_status check_range(nf_distances *d) {
    double largest = d->rows.largest_norm;
    if (!(largest * largest < 1e300))
        return nf_fail(NF_BAD_VALUE, "squares of rows must stay below 1e300, got a row of length %g", largest);
    if (sizeof(real) < sizeof(double) && largest > 0 && !(largest > 1e-9 && largest < 1e15))
        d->need_double = true;
    return NF_OK;
}

/* One block of packed rows, and their squares: the diagonal of the products of the block with itself. So squares are
 * added up in the same order as products, and nothing is left of the distance of equal rows. */
static void pack_task(void *context, int64_t task, int worker) {
    nf_distances *d = context;
    enum { STEP = NF_BLOCK_STEP };
    int64_t first = task * STEP, width = d->rows.width, stride = d->rows.stride;
    real *packed = d->packed + first * width, *products = (real *)(d->worker_memory + d->worker_bytes * (size_t)worker);
    const real *z = d->rows.z + first * stride;
    size_t rows = (size_t)nf_min(STEP, d->count - first);
    nf_kernel->NF_REAL(pack_rows)(packed, z, (size_t)stride, rows, (size_t)width);
    nf_kernel->NF_REAL(multiply_packed)(products, STEP, z, (size_t)stride, packed, STEP, STEP, (size_t)width);
    for (int64_t i = 0; i < STEP; i++)
        d->squares[first + i] = products[i * STEP + i];
}

static nf_status reserve(nf_distances *d, int64_t statistics) {
    d->room = NF_REAL(nf_rows_room)(d->count);
    d->stride = d->room + 16; /* columns of a group spread over the cache */
    int64_t rows = nf_max(group_bytes / (d->stride * (int64_t)sizeof(real)), group_least_rows);
    d->group_rows = nf_min(rows / NF_BLOCK_STEP * NF_BLOCK_STEP, d->room);
    d->workers = nf_get_num_threads();
    int64_t worker_reals = nf_max((1 + NF_SCRATCH_ROWS) * d->room, NF_BLOCK_STEP * NF_BLOCK_STEP);
    d->worker_bytes = (size_t)nf_round_up(worker_reals * (int64_t)sizeof(real), 64);
    int64_t reals = d->room * (d->rows.width + d->rows.stride + 1) + d->group_rows * d->stride;
    int64_t doubles = (1 + statistics) * d->count;
    size_t bytes = (size_t)nf_round_up(reals * (int64_t)sizeof(real) + doubles * (int64_t)sizeof(double), 64);
    NF_TRY(nf_alloc(&d->memory, bytes + d->worker_bytes * (size_t)d->workers));
    d->totals = d->memory;
    d->statistics = d->totals + d->count;
    d->sums = (real *)(d->totals + doubles);
    d->packed = d->sums + d->room * d->rows.stride;
    d->squares = d->packed + d->room * d->rows.width;
    d->group = d->squares + d->room;
    d->worker_memory = (char *)d->memory + bytes;
    return NF_OK;
}

nf_status NF_REAL(nf_distances_open)(nf_distances *d, const real *z, const int64_t *labels, const double *weights,
                                     int64_t count, int64_t width, int64_t statistics, bool squared, bool normalize) {
    memset(d, 0, sizeof *d);
    d->count = count;
    d->squared = squared;
    if (count < 1 || width < 1)
        return nf_fail(NF_BAD_VALUE, "z must have at least one row and one column, got shape (%lld, %lld)",
                       (long long)count, (long long)width);
    NF_TRY(find_classes(d, labels, weights));
    NF_TRY(NF_REAL(nf_rows_open_ordered)(&d->rows, "z", z, d->order, count, width, normalize));
    NF_TRY(check_range(d));
    NF_TRY(reserve(d, statistics));
    return nf_parallel(pack_task, d, d->room / NF_BLOCK_STEP, d->workers);
}

void NF_REAL(nf_distances_close)(nf_distances *d) {
    NF_REAL(nf_rows_close)(&d->rows);
    nf_free(d->class_memory);
    nf_free(d->memory);
}

/* ---- Distances of a group ---- */

/* Distances of a row that products are too coarse for. */
static void refine(nf_distances *d, int64_t i, real *distances, int64_t first, int64_t end) {
    size_t width = (size_t)d->rows.width, stride = (size_t)d->rows.stride;
    const real *z = d->rows.z;
    for (int64_t j = first; j < end; j++) {
        if (!(distances[j] < 0))
            continue;
        double square = 0;
        if (i != j)
            square = nf_kernel->NF_REAL(row_squared_distance)(z + (size_t)i * stride, z + (size_t)j * stride, width);
        double part = too_close_part * ((double)d->squares[i] + (double)d->squares[j]);
        if (!d->squared && square > 0 && square < part)
            d->need_double = true;
        distances[j] = (real)(d->squared ? square : sqrt(square));
    }
}

enum { COLUMNS_PER_TASK = 64 * NF_BLOCK_STEP, WIDTH_PER_TASK = 256 };

static void distance_task(void *context, int64_t task, int worker) {
    (void)worker;
    nf_distances *d = context;
    int64_t chunks = nf_ceil_div(d->room, COLUMNS_PER_TASK);
    int64_t row = d->group_first + task / chunks * NF_BLOCK_STEP, column = task % chunks * COLUMNS_PER_TASK;
    int64_t rows = nf_min(NF_BLOCK_STEP, d->group_end - row), columns = nf_min(COLUMNS_PER_TASK, d->room - column);
    real *block = d->group + (row - d->group_first) * d->stride;
    nf_kernel->NF_REAL(multiply_packed)(block + column, (size_t)d->stride, d->rows.z + row * d->rows.stride,
                                        (size_t)d->rows.stride, d->packed + column * d->rows.width, (size_t)rows,
                                        (size_t)columns, (size_t)d->rows.width);
    nf_kernel->NF_REAL(tile_distances)(block + column, d->squares + row, d->squares + column, !d->squared, (size_t)rows,
                                       (size_t)columns, (size_t)d->stride, (real)close_part);
    for (int64_t i = 0; i < rows; i++)
        refine(d, row + i, block + i * d->stride, column, nf_min(column + columns, d->count));
}

/* ---- Slopes of a group ---- */

typedef struct pass {
    nf_distances *distances;
    nf_weigh weigh;
    void *context;
    bool gradients;
} pass;

static void weigh_task(void *context, int64_t task, int worker) {
    const pass *p = context;
    nf_distances *d = p->distances;
    int64_t i = d->group_first + task;
    real *row = d->group + task * d->stride, *scratch = (real *)(d->worker_memory + d->worker_bytes * (size_t)worker);
    size_t count = (size_t)d->count;
    memcpy(scratch, row, (size_t)d->room * sizeof(real));
    p->weigh(p->context, i, scratch, row, scratch + d->room);
    if (!p->gradients)
        return;
    nf_kernel->NF_REAL(row_weights)(row, scratch, !d->squared, count);
    memset(row + count, 0, (size_t)(d->room - d->count) * sizeof(real));
    d->totals[i] += nf_kernel->NF_REAL(row_sum)(row, count);
}

/* ---- Gradients from a group ---- */

/* sums_i += sum_j w_ij z_j for the rows of a block, and a part of the width. */
static void row_gradient_task(void *context, int64_t task, int worker) {
    (void)worker;
    enum { DEPTH = 1024 }; /* rows of z that stay in a cache */
    nf_distances *d = context;
    int64_t width = nf_round_up(d->rows.width, 16), chunks = nf_ceil_div(width, WIDTH_PER_TASK);
    int64_t row = d->group_first + task / chunks * NF_BLOCK_STEP, column = task % chunks * WIDTH_PER_TASK;
    const real *block = d->group + (row - d->group_first) * d->stride;
    for (int64_t depth = 0; depth < d->count; depth += DEPTH)
        nf_kernel->NF_REAL(multiply_add)(d->sums + row * d->rows.stride + column, block + depth, (size_t)d->stride,
                                         d->rows.z + depth * d->rows.stride + column, (size_t)d->rows.stride,
                                         (size_t)nf_min(NF_BLOCK_STEP, d->group_end - row),
                                         (size_t)nf_min(WIDTH_PER_TASK, width - column),
                                         (size_t)nf_min(DEPTH, d->count - depth));
}

/* sums_j += sum_i w_ij z_i for a block of columns j of the group. */
static void column_gradient_task(void *context, int64_t task, int worker) {
    (void)worker;
    nf_distances *d = context;
    int64_t column = task * NF_BLOCK_STEP, columns = nf_min(NF_BLOCK_STEP, d->count - column);
    int64_t rows = d->group_end - d->group_first;
    const real *block = d->group + column;
    nf_kernel->NF_REAL(multiply_transposed_add)(d->sums + column * d->rows.stride, block, (size_t)d->stride,
                                                d->rows.z + d->group_first * d->rows.stride, (size_t)d->rows.stride,
                                                (size_t)columns, (size_t)nf_round_up(d->rows.width, 16), (size_t)rows);
    double totals[NF_BLOCK_STEP] = {0};
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < NF_BLOCK_STEP; j++)
            totals[j] += (double)block[i * d->stride + j];
    for (int64_t j = 0; j < columns; j++)
        d->totals[column + j] += totals[j];
}

nf_status NF_REAL(nf_distances_pass)(nf_distances *d, nf_weigh weigh, void *context, bool gradients) {
    enum { DISTANCES_PER_TASK = 1 << 12 }; /* few: all triplets of a row are many times as many */
    pass p = {d, weigh, context, gradients};
    int64_t rows_per_task = nf_max(DISTANCES_PER_TASK / d->count, 1);
    int64_t column_chunks = nf_ceil_div(d->room, COLUMNS_PER_TASK);
    int64_t width_chunks = nf_ceil_div(nf_round_up(d->rows.width, 16), WIDTH_PER_TASK);
    if (gradients) {
        memset(d->sums, 0, (size_t)(d->room * d->rows.stride) * sizeof(real));
        memset(d->totals, 0, (size_t)d->count * sizeof(double));
    }
    for (d->group_first = 0; d->group_first < d->count && !d->need_double; d->group_first = d->group_end) {
        d->group_end = nf_min(d->group_first + d->group_rows, d->count);
        int64_t rows = d->group_end - d->group_first, blocks = nf_ceil_div(rows, NF_BLOCK_STEP);
        NF_TRY(nf_parallel(distance_task, d, blocks * column_chunks, d->workers));
        NF_TRY(nf_parallel_groups(weigh_task, &p, rows, rows_per_task, d->workers));
        if (!gradients)
            continue;
        NF_TRY(nf_parallel(row_gradient_task, d, blocks * width_chunks, d->workers));
        NF_TRY(nf_parallel(column_gradient_task, d, d->room / NF_BLOCK_STEP, d->workers));
    }
    return NF_OK;
}

/* ---- Back to the rows that were passed in ---- */

typedef struct way_back {
    nf_distances *distances;
    real *d_z;
    double scale;
} way_back;

/* dz_i = sum_j (w_ij + w_ji) (z_i - z_j) */
static void gradient_task(void *context, int64_t i, int worker) {
    (void)worker;
    const way_back *b = context;
    nf_distances *d = b->distances;
    size_t width = (size_t)d->rows.width;
    real *gradient = d->sums + i * d->rows.stride;
    nf_kernel->NF_REAL(row_add_scaled)(gradient, d->rows.z + i * d->rows.stride, (real)-d->totals[i], width);
    NF_REAL(nf_rows_gradient)(&d->rows, i, b->d_z + d->order[i] * d->rows.width, gradient, -b->scale);
}

nf_status NF_REAL(nf_distances_gradient)(nf_distances *d, real *d_z, double scale) {
    scale *= d->weights.scale;
    way_back b = {d, d_z, d->squared ? 2 * scale : scale};
    return nf_parallel_groups(gradient_task, &b, d->count, NF_REAL(nf_rows_per_task)(d->rows.width), d->workers);
}

/* ---- For the losses ---- */

void NF_REAL(nf_distances_negatives)(const nf_distances *d, int64_t i, real *negatives, const real *distances) {
    memcpy(negatives, distances, (size_t)d->count * sizeof(real));
    for (int64_t j = d->first[i]; j < d->end[i]; j++)
        negatives[j] = (real)INFINITY;
    for (int64_t j = d->count; j < d->room; j++)
        negatives[j] = (real)INFINITY;
}

double NF_REAL(nf_margin_terms)(real *d_thresholds, real *d_x, const real *thresholds, int64_t count, const real *x,
                                int64_t room, bool soft, real *parts) {
    enum { CHUNK = 2048 }; /* so that x and its gradient stay in the nearest cache, and float sums short */
    double sum = 0;
    memset(d_thresholds, 0, (size_t)count * sizeof(real));
    for (int64_t j = 0; j < room; j += CHUNK) {
        size_t n = (size_t)nf_min(CHUNK, room - j);
        sum += soft ? nf_kernel->NF_REAL(softplus_terms)(parts, d_x + j, thresholds, (size_t)count, x + j, n)
                    : nf_kernel->NF_REAL(hinge_terms)(parts, d_x + j, thresholds, (size_t)count, x + j, n);
        for (int64_t k = 0; k < count; k++)
            d_thresholds[k] += parts[k];
    }
    return sum;
}

void NF_REAL(nf_distances_apply_weight)(const nf_distances *d, int64_t i, real *slopes) {
    if (d->weights.values)
        nf_kernel->NF_REAL(row_scale)(slopes, slopes, (real)nf_relative_weight(&d->weights, i), 1, (size_t)d->count);
}

double NF_REAL(nf_distances_reduce)(const nf_distances *d, double *loss, const double *values, double terms,
                                    nf_reduction reduction) {
    double sum = nf_weighted_sum(values, &d->weights, d->count);
    if (reduction == NF_REDUCE_NONE)
        nf_weigh_values(loss, values, &d->weights, d->order, d->count);
    else
        *loss = reduction == NF_REDUCE_SUM ? sum : terms > 0 ? sum / terms : 0;
    return reduction == NF_REDUCE_MEAN ? 1 / fmax(terms, 1) : 1;
}
