#include "scores.h"

#include "../core/blas.h"
#include "../core/dispatch.h"
#include "../core/integers.h"
#include "../core/memory.h"
#include "../core/threads.h"
#include "reduction.h"

#include <math.h>
#include <string.h>

/* c (m, n) = alpha op(a) (m, k) op(b) (k, n), in tasks of a few rows of c. */
typedef struct product {
    real *c;
    const real *a, *b;
    nf_transpose op_a, op_b;
    int64_t m, n, k, c_stride, a_stride, b_stride, step;
    double alpha;
} product;

static void multiply_task(void *context, int64_t task, int worker) {
    (void)worker;
    const product *p = context;
    int64_t first = task * p->step;
    const real *a = p->a + first * (p->op_a == NF_PLAIN ? p->a_stride : 1);
    NF_REAL(nf_gemm)
    (p->c + first * p->c_stride, p->op_a, p->op_b, nf_min(p->step, p->m - first), p->n, p->k, (real)p->alpha, a,
     p->a_stride, p->b, p->b_stride, 0, p->c_stride);
}

static nf_status multiply(product p) {
    enum { PRODUCTS_PER_TASK = 1 << 27 };
    double row = (double)p.n * (double)p.k;
    p.step = nf_clamp((int64_t)(PRODUCTS_PER_TASK / row), 1, 64);
    return nf_parallel(multiply_task, &p, nf_ceil_div(p.m, p.step), NF_MAX_THREADS);
}

static bool is_distance(const nf_scored *scored) {
    return scored->score == NF_SCORE_DISTANCE;
}

/* rows = x w */
static nf_status open_bilinear(nf_scored *scored, int64_t count, int64_t width) {
    int64_t x_width = scored->x_width;
    nf_rows x = {0}, w = {0};
    nf_status status = NF_REAL(nf_rows_open)(&x, "x", scored->x, count, x_width, false);
    if (status == NF_OK)
        status = NF_REAL(nf_rows_open)(&w, "w", scored->w, x_width, width, false);
    double highest = x.largest_norm * w.largest_norm * sqrt((double)x_width); /* of the numbers of x w */
    if (status == NF_OK && !(highest < 1e300))
        status = nf_fail(NF_BAD_VALUE, "products of x and w must stay below 1e300, got up to %g", highest);
    if (status == NF_OK && sizeof(real) < sizeof(double) && !(highest < 1e30)) {
        scored->need_double = true;
    } else if (status == NF_OK) {
        void *product_memory = NULL;
        status = nf_alloc(&product_memory, (size_t)(count * width) * sizeof(real));
        if (status == NF_OK)
            status = multiply((product){.c = product_memory,
                                        .a = scored->x,
                                        .b = scored->w,
                                        .m = count,
                                        .n = width,
                                        .k = x_width,
                                        .c_stride = width,
                                        .a_stride = x_width,
                                        .b_stride = width,
                                        .alpha = 1});
        if (status == NF_OK)
            status = NF_REAL(nf_rows_open)(&scored->rows, "x w", product_memory, count, width, false);
        nf_free(product_memory);
    }
    NF_REAL(nf_rows_close)(&x);
    NF_REAL(nf_rows_close)(&w);
    return status;
}

/* Of the distance: -scale |x|^2; zeros else. */
static void set_offsets(const nf_scored *scored, real *offsets, const nf_rows *rows) {
    memset(offsets, 0, (size_t)NF_REAL(nf_rows_room)(rows->count) * sizeof(real));
    for (int64_t i = 0; is_distance(scored) && i < rows->count; i++) {
        const real *z = rows->z + i * rows->stride;
        offsets[i] = (real)(-scored->scale * nf_kernel->NF_REAL(row_dot)(z, z, (size_t)rows->width));
    }
}

nf_status NF_REAL(nf_scored_open)(nf_scored *scored, nf_score score, const real *x, const real *y, const real *w,
                                  int64_t x_count, int64_t y_count, int64_t x_width, int64_t y_width, double scale) {
    *scored = (nf_scored){.score = score,
                          .x = x,
                          .w = w,
                          .x_width = x_width,
                          .scale = scale,
                          .factor = score == NF_SCORE_DISTANCE ? 2 : 1};
    if (!(scale > 0 && isfinite(scale) && 1 / scale < 1e300))
        return nf_fail(NF_BAD_VALUE, "the factor of the scores must be finite and > 0, got %g", scale);
    bool normalize = score == NF_SCORE_COSINE;
    if (score == NF_SCORE_BILINEAR)
        NF_TRY(open_bilinear(scored, x_count, y_width));
    else
        NF_TRY(NF_REAL(nf_rows_open)(&scored->rows, "x", x, x_count, x_width, normalize));
    NF_TRY(NF_REAL(nf_rows_open)(&scored->columns, "y", y, y_count, y_width, normalize));
    if (scored->need_double)
        return NF_OK;
    NF_TRY(NF_REAL(nf_scores_check)(&scored->rows, &scored->columns, 1 / scale, &scored->need_double));
    double a = scored->rows.largest_norm, b = scored->columns.largest_norm;
    scored->bound = (is_distance(scored) ? (a + b) * (a + b) : a * b) * scale * (1 + 1e-6);
    if (!(scored->bound < 1e300))
        return nf_fail(NF_BAD_VALUE, "scores must stay below 1e300, got up to %g", scored->bound);
    if (sizeof(real) < sizeof(double) && scored->bound > 128) /* as in nf_scores_check */
        scored->need_double = true;
    int64_t row_room = NF_REAL(nf_rows_room)(x_count), column_room = NF_REAL(nf_rows_room)(y_count);
    NF_TRY(nf_alloc(&scored->memory, (size_t)(row_room + column_room) * sizeof(real)));
    scored->row_offsets = scored->memory;
    scored->column_offsets = scored->row_offsets + row_room;
    set_offsets(scored, scored->row_offsets, &scored->rows);
    set_offsets(scored, scored->column_offsets, &scored->columns);
    return NF_OK;
}

void NF_REAL(nf_scored_close)(nf_scored *scored) {
    NF_REAL(nf_rows_close)(&scored->rows);
    NF_REAL(nf_rows_close)(&scored->columns);
    nf_free(scored->memory);
}

double NF_REAL(nf_scored_pair)(const nf_scored *scored, int64_t i, int64_t j) {
    const real *a = scored->rows.z + i * scored->rows.stride, *b = scored->columns.z + j * scored->columns.stride;
    if (!is_distance(scored))
        return scored->scale * nf_kernel->NF_REAL(row_dot)(a, b, (size_t)scored->rows.width);
    double sum = 0;
    for (int64_t k = 0; k < scored->rows.width; k++) {
        double difference = (double)a[k] - (double)b[k];
        sum += difference * difference;
    }
    return -scored->scale * sum;
}

/* ---- The way back ---- */

typedef struct side {
    const nf_scored *scored;
    const nf_rows *rows;
    real *d_x, *d_z;    /* (count, width) of rows; with the rows' stride */
    const double *sums; /* (count) */
    double *products;   /* (count): x_i . d_x_i, or z_i . d_z_i */
} side;

static void side_task(void *context, int64_t i, int worker) {
    (void)worker;
    side *s = context;
    const nf_rows *rows = s->rows;
    double scale = s->scored->scale * s->scored->factor;
    real *d_z = s->d_z + i * rows->stride;
    if (is_distance(s->scored))
        nf_kernel->NF_REAL(row_add_scaled)(d_z, rows->z + i * rows->stride, (real)-s->sums[i], (size_t)rows->width);
    s->products[i] = NF_REAL(nf_rows_gradient)(rows, i, s->d_x + i * rows->width, d_z, scale);
}

static nf_status run_side(side *s) {
    int64_t group = NF_REAL(nf_rows_per_task)(s->rows->width);
    return nf_parallel_groups(side_task, s, s->rows->count, group, NF_MAX_THREADS);
}

/* d_x = d_rows w^T, d_w = x^T d_rows, with d_rows (count, width) dense */
static nf_status bilinear_gradients(const nf_scored *scored, real *d_x, real *d_w, const real *d_rows) {
    int64_t count = scored->rows.count, width = scored->rows.width, x_width = scored->x_width;
    NF_TRY(multiply((product){.c = d_x,
                              .a = d_rows,
                              .b = scored->w,
                              .op_b = NF_TRANSPOSED,
                              .m = count,
                              .n = x_width,
                              .k = width,
                              .c_stride = x_width,
                              .a_stride = width,
                              .b_stride = width,
                              .alpha = 1}));
    return multiply((product){.c = d_w,
                              .a = scored->x,
                              .b = d_rows,
                              .op_a = NF_TRANSPOSED,
                              .m = x_width,
                              .n = width,
                              .k = count,
                              .c_stride = width,
                              .a_stride = x_width,
                              .b_stride = width,
                              .alpha = 1});
}

nf_status NF_REAL(nf_scored_gradients)(const nf_scored *scored, real *d_x, real *d_y, real *d_w, double *d_log_scale,
                                       real *d_rows, real *d_columns, const double *row_sums,
                                       const double *column_sums) {
    int64_t count = scored->rows.count, width = scored->rows.width, y_count = scored->columns.count;
    bool bilinear = scored->score == NF_SCORE_BILINEAR;
    void *memory;
    NF_TRY(nf_alloc(&memory, (size_t)(count + y_count) * sizeof(double) +
                                 (bilinear ? (size_t)(count * width) * sizeof(real) : 0)));
    double *products = memory;
    real *d_dense = (real *)(products + count + y_count);
    side x = {scored, &scored->rows, bilinear ? d_dense : d_x, d_rows, row_sums, products};
    nf_status status = run_side(&x);
    double total = nf_sum(products, count);
    if (status == NF_OK) {
        side y = {scored, &scored->columns, d_y, d_columns, column_sums, products + count};
        status = run_side(&y);
        if (is_distance(scored)) /* homogeneous of degree 2 in x and y together, where the others are of 1 in x */
            total = (total + nf_sum(products + count, y_count)) / 2;
    }
    *d_log_scale = total;
    if (status == NF_OK && bilinear)
        status = bilinear_gradients(scored, d_x, d_w, d_dense);
    nf_free(memory);
    return status;
}

/* ---- The matrix ---- */

/* As nf_scored_open, in this precision whatever its digits, unless its range is too small. */
static nf_status open_matrix(nf_scored *scored, const real *x, const real *y, const real *w, int64_t x_count,
                             int64_t y_count, int64_t x_width, int64_t y_width, nf_score score) {
    *scored = (nf_scored){0};
    if (x_count < 1 || x_width < 1)
        return nf_fail(NF_BAD_VALUE, "x must have at least one row and one column, got shape (%lld, %lld)",
                       (long long)x_count, (long long)x_width);
    if (y_count < 1 || y_width < 1)
        return nf_fail(NF_BAD_VALUE, "y must have at least one row and one column, got shape (%lld, %lld)",
                       (long long)y_count, (long long)y_width);
    NF_TRY(NF_REAL(nf_scored_open)(scored, score, x, y, w, x_count, y_count, x_width, y_width, 1));
    bool too_large = scored->need_double && (!scored->memory || scored->bound > 1e38);
    return too_large
               ? nf_fail(NF_BAD_VALUE, "scores must stay below 1e38 in float32, and products of x and w below 1e30")
               : NF_OK;
}

typedef struct matrix {
    const nf_scored *scored;
    real *scores;
} matrix;

static void distance_task(void *context, int64_t i, int worker) {
    (void)worker;
    const matrix *m = context;
    real *scores = m->scores + i * m->scored->columns.count;
    for (int64_t j = 0; j < m->scored->columns.count; j++) {
        real s = scores[j] + (m->scored->row_offsets[i] + m->scored->column_offsets[j]);
        scores[j] = s < 0 ? s : 0;
    }
}

static nf_status fill_matrix(const nf_scored *scored, real *scores) {
    const nf_rows *rows = &scored->rows, *columns = &scored->columns;
    NF_TRY(multiply((product){.c = scores,
                              .a = rows->z,
                              .b = columns->z,
                              .op_b = NF_TRANSPOSED,
                              .m = rows->count,
                              .n = columns->count,
                              .k = rows->width,
                              .c_stride = columns->count,
                              .a_stride = rows->stride,
                              .b_stride = columns->stride,
                              .alpha = scored->scale * scored->factor}));
    if (!is_distance(scored))
        return NF_OK;
    matrix m = {scored, scores};
    return nf_parallel(distance_task, &m, rows->count, NF_MAX_THREADS);
}

nf_status NF_REAL(nf_scores)(real *scores, const real *x, const real *y, const real *w, int64_t x_count,
                             int64_t y_count, int64_t x_width, int64_t y_width, nf_score score) {
    nf_scored scored;
    nf_status status = open_matrix(&scored, x, y, w, x_count, y_count, x_width, y_width, score);
    if (status == NF_OK)
        status = fill_matrix(&scored, scores);
    NF_REAL(nf_scored_close)(&scored);
    return status;
}

typedef struct sums {
    const real *d_scores;
    double *row_sums, *column_sums;
    int64_t rows, columns;
    bool *bad; /* (rows): whether a number is not finite */
} sums;

static void row_sum_task(void *context, int64_t i, int worker) {
    (void)worker;
    const sums *s = context;
    const real *row = s->d_scores + i * s->columns;
    s->bad[i] = isnan(nf_kernel->NF_REAL(row_largest)(row, (size_t)s->columns));
    s->row_sums[i] = 0;
    for (int64_t j = 0; j < s->columns; j++)
        s->row_sums[i] += (double)row[j];
}

enum { COLUMNS_PER_TASK = 64 };

static void column_sum_task(void *context, int64_t task, int worker) {
    (void)worker;
    const sums *s = context;
    int64_t first = task * COLUMNS_PER_TASK, end = nf_min(first + COLUMNS_PER_TASK, s->columns);
    memset(s->column_sums + first, 0, (size_t)(end - first) * sizeof(double));
    for (int64_t i = 0; i < s->rows; i++)
        for (int64_t j = first; j < end; j++)
            s->column_sums[j] += (double)s->d_scores[i * s->columns + j];
}

static nf_status find_sums(sums *s) {
    NF_TRY(nf_parallel(row_sum_task, s, s->rows, NF_MAX_THREADS));
    for (int64_t i = 0; i < s->rows; i++)
        if (s->bad[i])
            return nf_fail(NF_BAD_VALUE, "d_scores must be finite, got NaN or infinity in row %lld", (long long)i);
    return nf_parallel(column_sum_task, s, nf_ceil_div(s->columns, COLUMNS_PER_TASK), NF_MAX_THREADS);
}

static nf_status matrix_backward(const nf_scored *scored, real *d_x, real *d_y, real *d_w, const real *d_scores) {
    const nf_rows *rows = &scored->rows, *columns = &scored->columns;
    int64_t count = rows->count, y_count = columns->count, stride = rows->stride;
    void *memory;
    NF_TRY(nf_alloc(&memory, (size_t)(count + y_count) * (sizeof(double) + (size_t)stride * sizeof(real)) +
                                 (size_t)count * sizeof(bool)));
    double *row_sums = memory, *column_sums = row_sums + count, ignored;
    real *d_rows = (real *)(column_sums + y_count), *d_columns = d_rows + count * stride;
    sums s = {d_scores, row_sums, column_sums, count, y_count, (bool *)(d_columns + y_count * stride)};
    nf_status status = find_sums(&s);
    if (status == NF_OK)
        status = multiply((product){.c = d_rows,
                                    .a = d_scores,
                                    .b = columns->z,
                                    .m = count,
                                    .n = stride,
                                    .k = y_count,
                                    .c_stride = stride,
                                    .a_stride = y_count,
                                    .b_stride = stride,
                                    .alpha = 1});
    if (status == NF_OK)
        status = multiply((product){.c = d_columns,
                                    .a = d_scores,
                                    .b = rows->z,
                                    .op_a = NF_TRANSPOSED,
                                    .m = y_count,
                                    .n = stride,
                                    .k = count,
                                    .c_stride = stride,
                                    .a_stride = y_count,
                                    .b_stride = stride,
                                    .alpha = 1});
    if (status == NF_OK)
        status =
            NF_REAL(nf_scored_gradients)(scored, d_x, d_y, d_w, &ignored, d_rows, d_columns, row_sums, column_sums);
    nf_free(memory);
    return status;
}

nf_status NF_REAL(nf_scores_backward)(real *d_x, real *d_y, real *d_w, const real *d_scores, const real *x,
                                      const real *y, const real *w, int64_t x_count, int64_t y_count, int64_t x_width,
                                      int64_t y_width, nf_score score) {
    nf_scored scored;
    nf_status status = open_matrix(&scored, x, y, w, x_count, y_count, x_width, y_width, score);
    if (status == NF_OK)
        status = matrix_backward(&scored, d_x, d_y, d_w, d_scores);
    NF_REAL(nf_scored_close)(&scored);
    return status;
}
