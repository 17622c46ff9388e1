/* NT-Xent and its decoupled forms. The tiles hold the negatives alone: with R_i = sum over anchor i's negatives and T_i
 * = sum over its P = V - 1 positives of exp(s), and q_p = exp(s_ip) / T_i (1 if P = 1),
 *
 *     loss_i      = log(1 + R_i / T_i) + log T_i - mean_p s_ip
 *     dloss_i/ds_ip = T_i / (T_i + R_i) (q_p - 1 / P) - R_i / (T_i + R_i) / P
 *     dloss_i/ds_ij = exp(s_ij) / (T_i + R_i)                                     for a negative j
 *
 * so that nothing cancels where the positives have all but won. Decoupled, with a constant c_i, the pull of the
 * positives:
 *
 *     loss_i = log R_i - c_i mean_p s_ip,   dloss_i/ds_ip = -c_i / P,   dloss_i/ds_ij = exp(s_ij) / R_i */
#include "../core/dispatch.h"
#include "../core/memory.h"
#include "../core/threads.h"
#include "logistic.h"
#include "precision.h"
#include "reduction.h"
#include "tiles.h"

typedef struct problem {
    nf_rows rows;
    nf_tiles tiles;
    int64_t views, samples, anchors;
    double temperature;
    nf_reduction reduction;
    nf_weights weights; /* of the anchors */
    bool decoupled;
    double sigma; /* decoupled: of the pulls; infinite: all are 1 */
    real *d_z;
    double *negative_logs, *positive_logs, *all_logs; /* (anchors): log R, log T, log(R + T) */
    double *means;                                    /* (anchors): of the positives' scores */
    double *values;                                   /* (anchors): the losses, later <z_i, dz_i> */
    double *pulls;                                    /* (samples): decoupled */
    void *memory;
} problem;

static double product(const problem *p, int64_t i, int64_t j) {
    int64_t width = p->rows.width, stride = p->rows.stride;
    return nf_kernel->NF_REAL(row_dot)(p->rows.z + i * stride, p->rows.z + j * stride, (size_t)width);
}

static double score(const problem *p, int64_t i, int64_t j) {
    return product(p, i, j) / p->temperature;
}

static void value_task(void *context, int64_t i, int worker) {
    (void)worker;
    problem *p = context;
    double highest = -INFINITY, sum = 0, mean = 0;
    for (int64_t j = i % p->samples; j < p->anchors; j += p->samples) {
        if (j == i)
            continue;
        double s = score(p, i, j);
        if (sum == 0) { /* the first, and mostly the only one: its exponential, relative to the highest, is 1 */
            highest = s;
            sum = 1;
        } else if (s > highest) {
            sum = sum * exp(highest - s) + 1;
            highest = s;
        } else {
            sum += exp(s - highest);
        }
        mean += s / (double)(p->views - 1);
    }
    p->means[i] = mean;
    if (p->decoupled) {
        p->all_logs[i] = p->negative_logs[i];
        p->values[i] = p->negative_logs[i] - p->pulls[i % p->samples] * mean;
        return;
    }
    double positive_log = p->positive_logs[i] = sum == 1 ? highest : highest + log(sum);
    p->values[i] = nf_log_share(&p->all_logs[i], positive_log, p->negative_logs[i]) + (positive_log - mean);
}

/* dloss_i/ds_ij for a positive j */
static double positive_slope(const problem *p, int64_t i, double s) {
    double others = 1 / (double)(p->views - 1);
    if (p->decoupled)
        return -p->pulls[i % p->samples] * others;
    double excess = p->negative_logs[i] - p->positive_logs[i];
    if (p->views == 2)
        return -nf_sigmoid(excess);
    return nf_sigmoid(-excess) * (exp(s - p->positive_logs[i]) - others) - nf_sigmoid(excess) * others;
}

static void gradient_task(void *context, int64_t i, int worker) {
    (void)worker;
    problem *p = context;
    int64_t width = p->rows.width, stride = p->rows.stride;
    real *d_z = p->tiles.d_rows + i * stride;
    for (int64_t j = i % p->samples; j < p->anchors; j += p->samples) {
        if (j == i)
            continue;
        double s = p->views == 2 ? p->means[i] : score(p, i, j);
        double slope = positive_slope(p, i, s) * nf_relative_weight(&p->weights, i) +
                       positive_slope(p, j, s) * nf_relative_weight(&p->weights, j);
        nf_kernel->NF_REAL(row_add_scaled)(d_z, p->rows.z + j * stride, (real)slope, (size_t)width);
    }
    double scale = p->weights.scale / (nf_reduction_divisor(p->reduction, p->anchors) * p->temperature);
    p->values[i] = NF_REAL(nf_rows_gradient)(&p->rows, i, p->d_z + i * width, d_z, scale);
}

static int64_t anchors_per_task(const problem *p) {
    int64_t rows = NF_REAL(nf_rows_per_task)(p->rows.width) / p->views;
    return rows ? rows : 1;
}

static void pull_task(void *context, int64_t i, int worker) {
    (void)worker;
    problem *p = context;
    p->pulls[i] = product(p, i, i + p->samples) / p->sigma;
}

/* pulls_i = 2 - N softmax(z_i . z'_i / sigma)_i: less for pairs that are close already */
static nf_status take_pulls(problem *p) {
    NF_TRY(nf_parallel_groups(pull_task, p, p->samples, NF_REAL(nf_rows_per_task)(p->rows.width), NF_MAX_THREADS));
    double highest = -INFINITY, sum = 0;
    for (int64_t i = 0; i < p->samples; i++)
        highest = fmax(highest, p->pulls[i]);
    for (int64_t i = 0; i < p->samples; i++)
        sum += p->pulls[i] = exp(p->pulls[i] - highest);
    for (int64_t i = 0; i < p->samples; i++)
        p->pulls[i] = 2 - (double)p->samples * p->pulls[i] / sum;
    return NF_OK;
}

/* As nf_scores_check, for the pulls. */
static nf_status check_pulls(problem *p) {
    double bound = p->rows.largest_norm * p->rows.largest_norm / p->sigma;
    if (!(bound < 1e300))
        return nf_fail(NF_BAD_VALUE, "products of rows divided by sigma must stay below 1e300, got up to %g", bound);
    if (sizeof(real) < sizeof(double) && bound > 128)
        p->tiles.need_double = true;
    return NF_OK;
}

static nf_status run(problem *p, double *loss, double *d_temperature) {
    if (p->decoupled)
        NF_TRY(take_pulls(p));
    NF_TRY(nf_parallel_groups(value_task, p, p->anchors, anchors_per_task(p), NF_MAX_THREADS));
    nf_reduce(loss, p->values, &p->weights, p->anchors, p->reduction);
    NF_TRY(NF_REAL(nf_tiles_gradients)(&p->tiles, p->all_logs, p->all_logs, &p->weights));
    NF_TRY(nf_parallel_groups(gradient_task, p, p->anchors, anchors_per_task(p), NF_MAX_THREADS));
    /* Scores are homogeneous in z, of degree 2. */
    *d_temperature = -nf_sum(p->values, p->anchors) / (2 * p->temperature);
    return NF_OK;
}

/* Everything up to the log-sums of the negatives, after which it is known whether this precision will do. */
static nf_status prepare(problem *p, const real *z, int64_t width, bool normalize) {
    NF_TRY(nf_alloc(&p->memory, (size_t)(5 * p->anchors + p->samples) * sizeof(double)));
    p->negative_logs = p->memory;
    p->positive_logs = p->negative_logs + p->anchors;
    p->all_logs = p->positive_logs + p->anchors;
    p->means = p->all_logs + p->anchors;
    p->values = p->means + p->anchors;
    p->pulls = p->values + p->anchors;
    NF_TRY(NF_REAL(nf_rows_open)(&p->rows, "z", z, p->anchors, width, normalize));
    NF_TRY(NF_REAL(nf_tiles_open)(&p->tiles, &p->rows, &p->rows, p->samples, p->temperature));
    if (p->decoupled)
        NF_TRY(check_pulls(p));
    if (p->tiles.need_double)
        return NF_OK;
    return NF_REAL(nf_tiles_log_sums)(&p->tiles, p->negative_logs, NULL);
}

static void release(problem *p) {
    NF_REAL(nf_tiles_close)(&p->tiles);
    NF_REAL(nf_rows_close)(&p->rows);
    nf_free(p->memory);
}

#ifndef NF_DOUBLE
static nf_status in_double(const problem *p, double *loss, double *d_temperature, const float *z, int64_t width,
                           const double *weights, bool normalize) {
    nf_wide wide = {.from = {z}, .to = {p->d_z}, .size = {p->anchors * width}};
    NF_TRY(nf_wide_open(&wide));
    nf_status status = p->decoupled ? nf_dcl_f64(loss, wide.d[0], d_temperature, wide.x[0], weights, p->views,
                                                 p->samples, width, p->temperature, p->sigma, normalize, p->reduction)
                                    : nf_nt_xent_f64(loss, wide.d[0], d_temperature, wide.x[0], weights, p->views,
                                                     p->samples, width, p->temperature, normalize, p->reduction);
    return nf_wide_close(&wide, status);
}
#endif

static nf_status solve(problem *p, double *loss, double *d_temperature, const real *z, const double *weights,
                       int64_t width, bool normalize) {
    if (p->views < 2)
        return nf_fail(NF_BAD_VALUE, "z must have at least 2 views, got %lld", (long long)p->views);
    if (p->samples < 1 || width < 1)
        return nf_fail(NF_BAD_VALUE, "z must have at least one sample and one dimension, got %lld of %lld",
                       (long long)p->samples, (long long)width);
    NF_TRY(nf_temperature_check(p->temperature));
    p->anchors = p->views * p->samples;
    NF_TRY(nf_weights_open(&p->weights, weights, p->anchors));
    nf_status status = prepare(p, z, width, normalize);
    bool need_double = status == NF_OK && p->tiles.need_double;
    if (status == NF_OK && !need_double)
        status = run(p, loss, d_temperature);
    release(p);
#ifndef NF_DOUBLE
    if (need_double)
        return in_double(p, loss, d_temperature, z, width, weights, normalize);
#endif
    return status;
}

nf_status NF_REAL(nf_nt_xent)(double *loss, real *d_z, double *d_temperature, const real *z, const double *weights,
                              int64_t views, int64_t samples, int64_t width, double temperature, bool normalize,
                              nf_reduction reduction) {
    problem p = {.views = views, .samples = samples, .temperature = temperature, .reduction = reduction, .d_z = d_z};
    return solve(&p, loss, d_temperature, z, weights, width, normalize);
}

nf_status NF_REAL(nf_dcl)(double *loss, real *d_z, double *d_temperature, const real *z, const double *weights,
                          int64_t views, int64_t samples, int64_t width, double temperature, double sigma,
                          bool normalize, nf_reduction reduction) {
    if (!(sigma > 0))
        return nf_fail(NF_BAD_VALUE, "sigma must be > 0, got %g", sigma);
    if (isfinite(sigma) && views != 2)
        return nf_fail(NF_BAD_VALUE, "z must have 2 views for weighted positives, got %lld", (long long)views);
    if (samples == 1)
        return nf_fail(NF_BAD_VALUE, "z must have at least 2 samples: one has no negatives");
    problem p = {.views = views,
                 .samples = samples,
                 .temperature = temperature,
                 .reduction = reduction,
                 .decoupled = true,
                 .sigma = sigma,
                 .d_z = d_z};
    return solve(&p, loss, d_temperature, z, weights, width, normalize);
}
