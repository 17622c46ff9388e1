/* Alignment and uniformity as a loss. Uniformity is the logarithm of a mean of exp(-t |x_i - x_j|^2), whose gradient
 * comes from the engine of pairs. */
#include "../core/dispatch.h"
#include "../core/memory.h"
#include "../core/threads.h"
#include "pairs.h"
#include "precision.h"
#include "reduction.h"

#include <math.h>

typedef struct problem {
    nf_rows x, y;
    nf_pairs pairs; /* of one of them with itself */
    double alpha, t, alignment, uniformity;
    real *d_x, *d_y;
    real *offsets;       /* -t |x|^2 */
    real *d_align;       /* (samples, stride): of x; that of y is its negative */
    double *values;      /* (samples): |x_i - y_i|^alpha */
    const nf_rows *rows; /* in work: x or y */
    real *d_rows;        /* d_x or d_y */
    double sign, total;  /* of d_align; of the exponentials */
    void *memory;
} problem;

static void align_task(void *context, int64_t i, int worker) {
    (void)worker;
    problem *p = context;
    int64_t width = p->x.width, stride = p->x.stride;
    const real *x = p->x.z + i * stride, *y = p->y.z + i * stride;
    real *d = p->d_align + i * stride;
    double squares = 0;
    for (int64_t k = 0; k < width; k++) {
        double difference = (double)x[k] - (double)y[k];
        squares += difference * difference;
    }
    p->values[i] = pow(squares, p->alpha / 2);
    double slope = squares > 0 ? p->alignment / (double)p->x.count * p->alpha * p->values[i] / squares : 0;
    for (int64_t k = 0; k < width; k++)
        d[k] = (real)(slope * ((double)x[k] - (double)y[k]));
}

/* The pair x_i, x_j is met twice: dlog(total)/dx_i = 4 t (sum_j g_ij x_j - x_i sum_j g_ij), g = exp(...) / total. */
static void gradient_task(void *context, int64_t i, int worker) {
    (void)worker;
    problem *p = context;
    const nf_rows *rows = p->rows;
    size_t width = (size_t)rows->width;
    double scale = p->uniformity / 2 * 4 * p->t / p->total;
    real *d = p->pairs.d_rows + i * rows->stride;
    nf_kernel->NF_REAL(row_add_scaled)(d, rows->z + i * rows->stride, (real)-p->pairs.row_weights[i], width);
    nf_kernel->NF_REAL(row_scale)(d, d, (real)scale, 1, width);
    nf_kernel->NF_REAL(row_add_scaled)(d, p->d_align + i * rows->stride, (real)p->sign, width);
    NF_REAL(nf_rows_gradient)(rows, i, p->d_rows + i * rows->width, d, 1);
}

static nf_status add_uniformity(problem *p, double *loss) {
    const nf_rows *rows = p->rows;
    for (int64_t i = 0; i < NF_REAL(nf_rows_room)(rows->count); i++) {
        double norm = i >= rows->count ? 0 : rows->normalized ? (rows->norm[i] > 0 ? 1 : 0) : rows->norm[i];
        p->offsets[i] = (real)(-p->t * norm * norm);
    }
    p->pairs = (nf_pairs){.rows = rows,
                          .columns = rows,
                          .row_offsets = p->offsets,
                          .column_offsets = p->offsets,
                          .scale = 2 * p->t,
                          .rows_only = true};
    double peak = 0, n = (double)rows->count;
    NF_TRY(NF_REAL(nf_pairs_open)(&p->pairs));
    NF_TRY(NF_REAL(nf_pairs_exponential)(&p->pairs, &peak, -4 * p->t * rows->largest_norm * rows->largest_norm, 0));
    p->total = nf_sum(p->pairs.row_sums, rows->count);
    *loss += p->uniformity / 2 * (peak + log(p->total) - log(n) - log(n - 1));
    return nf_parallel_groups(gradient_task, p, rows->count, NF_REAL(nf_rows_per_task)(rows->width), NF_MAX_THREADS);
}

static nf_status run(problem *p, double *loss) {
    int64_t count = p->x.count, room = NF_REAL(nf_rows_room)(count);
    NF_TRY(nf_alloc(&p->memory, (size_t)count * sizeof(double) + (size_t)(room + count * p->x.stride) * sizeof(real)));
    p->values = p->memory;
    p->offsets = (real *)(p->values + count);
    p->d_align = p->offsets + room;
    NF_TRY(nf_parallel_groups(align_task, p, count, NF_REAL(nf_rows_per_task)(p->x.width), NF_MAX_THREADS));
    *loss = nf_sum(p->values, count) * (p->alignment / (double)count);
    for (int side = 0; side < 2; side++) {
        p->rows = side ? &p->y : &p->x;
        p->d_rows = side ? p->d_y : p->d_x;
        p->sign = side ? -1 : 1;
        nf_status status = add_uniformity(p, loss);
        NF_REAL(nf_pairs_close)(&p->pairs);
        NF_TRY(status);
    }
    return NF_OK;
}

static nf_status prepare(problem *p, const real *x, const real *y, int64_t samples, int64_t width, bool normalize,
                         bool *need_double) {
    NF_TRY(NF_REAL(nf_rows_open)(&p->x, "x", x, samples, width, normalize));
    NF_TRY(NF_REAL(nf_rows_open)(&p->y, "y", y, samples, width, normalize));
    double largest = fmax(p->x.largest_norm, p->y.largest_norm);
    NF_TRY(NF_REAL(nf_scores_check)(&p->x, &p->x, 1 / (4 * p->t), need_double));
    NF_TRY(NF_REAL(nf_scores_check)(&p->y, &p->y, 1 / (4 * p->t), need_double));
    if (!(pow(2 * largest, p->alpha) < 1e300))
        return nf_fail(NF_BAD_VALUE, "distances to the power of alpha must stay below 1e300, got rows of length %g",
                       largest);
    return NF_OK;
}

#ifndef NF_DOUBLE
static nf_status in_double(double *loss, float *d_x, float *d_y, const float *x, const float *y, int64_t samples,
                           int64_t width, double alpha, double t, double alignment, double uniformity, bool normalize) {
    int64_t size = samples * width;
    nf_wide wide = {.from = {x, y}, .to = {d_x, d_y}, .size = {size, size}};
    NF_TRY(nf_wide_open(&wide));
    nf_status status = nf_align_uniform_f64(loss, wide.d[0], wide.d[1], wide.x[0], wide.x[1], samples, width, alpha, t,
                                            alignment, uniformity, normalize);
    return nf_wide_close(&wide, status);
}
#endif

nf_status NF_REAL(nf_align_uniform)(double *loss, real *d_x, real *d_y, const real *x, const real *y, int64_t samples,
                                    int64_t width, double alpha, double t, double alignment, double uniformity,
                                    bool normalize) {
    if (samples < 2 || width < 1)
        return nf_fail(NF_BAD_VALUE, "x must have at least 2 rows and one column, got shape (%lld, %lld)",
                       (long long)samples, (long long)width);
    if (!(alpha >= 1 && alpha <= 100))
        return nf_fail(NF_BAD_VALUE, "alpha must be from 1 to 100, got %g", alpha);
    if (!(t > 0 && isfinite(t)))
        return nf_fail(NF_BAD_VALUE, "t must be finite and > 0, got %g", t);
    if (!(alignment >= 0 && uniformity >= 0 && isfinite(alignment) && isfinite(uniformity)))
        return nf_fail(NF_BAD_VALUE, "weights must be finite and >= 0, got %g and %g", alignment, uniformity);
    problem p = {.alpha = alpha, .t = t, .alignment = alignment, .uniformity = uniformity, .d_x = d_x, .d_y = d_y};
    bool need_double = false;
    nf_status status = prepare(&p, x, y, samples, width, normalize, &need_double);
    if (status == NF_OK && !need_double)
        status = run(&p, loss);
    NF_REAL(nf_rows_close)(&p.x);
    NF_REAL(nf_rows_close)(&p.y);
    nf_free(p.memory);
#ifndef NF_DOUBLE
    if (status == NF_OK && need_double)
        return in_double(loss, d_x, d_y, x, y, samples, width, alpha, t, alignment, uniformity, normalize);
#endif
    return status;
}
