/* InfoNCE against the batch or negatives that all queries share. The tiles hold the negatives alone: with R_i = sum
 * over query i's negatives of exp(s),
 *
 *     loss_i = log(1 + R_i / exp(s_i)),   dloss_i/ds_i = -R_i / (exp(s_i) + R_i),
 *
 * so that nothing cancels near convergence. */
#include "info_nce.h"

#include "../core/dispatch.h"
#include "../core/memory.h"
#include "../core/threads.h"
#include "logistic.h"
#include "precision.h"
#include "reduction.h"
#include "tiles.h"

typedef struct problem {
    nf_rows query, key, negatives;
    nf_tiles tiles;
    nf_negatives kind;
    nf_reduction reduction;
    nf_weights weights; /* of the queries, with their keys */
    int64_t samples;
    double temperature;
    real *d_query, *d_key, *d_negatives;
    double *scores;                   /* (samples): of the positives */
    double *negative_logs, *key_logs; /* (samples): log R of queries, and of keys if symmetric */
    double *all_logs, *all_key_logs;  /* (samples): the positive included */
    double *values;                   /* (samples): the losses, later <q_i, dq_i> */
    void *memory;
} problem;

static bool shared(const problem *p) {
    return p->kind == NF_SHARED_NEGATIVES;
}
static bool is_symmetric(const problem *p) {
    return p->kind == NF_IN_BATCH_SYMMETRIC;
}

static void value_task(void *context, int64_t i, int worker) {
    (void)worker;
    problem *p = context;
    int64_t width = p->query.width, stride = p->query.stride;
    double product = nf_kernel->NF_REAL(row_dot)(p->query.z + i * stride, p->key.z + i * stride, (size_t)width);
    double s = p->scores[i] = product / p->temperature;
    p->values[i] = nf_log_share(&p->all_logs[i], s, p->negative_logs[i]);
    if (is_symmetric(p))
        p->values[i] = (p->values[i] + nf_log_share(&p->all_key_logs[i], s, p->key_logs[i])) / 2;
}

static double gradient_scale(const problem *p) {
    return p->weights.scale /
           (nf_reduction_divisor(p->reduction, p->samples) * p->temperature * (is_symmetric(p) ? 2 : 1));
}

static void gradient_task(void *context, int64_t i, int worker) {
    (void)worker;
    problem *p = context;
    int64_t width = p->query.width, stride = p->query.stride;
    double scale = gradient_scale(p);
    double slope = -nf_sigmoid(p->negative_logs[i] - p->scores[i]);
    if (is_symmetric(p))
        slope -= nf_sigmoid(p->key_logs[i] - p->scores[i]);
    slope *= nf_relative_weight(&p->weights, i);
    const real *query = p->query.z + i * stride, *key = p->key.z + i * stride;
    real *d_query = p->tiles.d_rows + i * stride, *d_key = p->d_key + i * width;
    if (shared(p)) { /* the tiles gave nothing to the keys */
        nf_kernel->NF_REAL(row_scale)(d_key, query, (real)slope, 1, (size_t)width);
        NF_REAL(nf_rows_gradient)(&p->key, i, d_key, d_key, scale);
    } else {
        real *sum = p->tiles.d_columns + i * stride;
        nf_kernel->NF_REAL(row_add_scaled)(sum, query, (real)slope, (size_t)width);
        NF_REAL(nf_rows_gradient)(&p->key, i, d_key, sum, scale);
    }
    nf_kernel->NF_REAL(row_add_scaled)(d_query, key, (real)slope, (size_t)width);
    p->values[i] = NF_REAL(nf_rows_gradient)(&p->query, i, p->d_query + i * width, d_query, scale);
}

static void negative_gradient_task(void *context, int64_t i, int worker) {
    (void)worker;
    problem *p = context;
    real *d_negative = p->d_negatives + i * p->query.width, *sum = p->tiles.d_columns + i * p->query.stride;
    NF_REAL(nf_rows_gradient)(&p->negatives, i, d_negative, sum, gradient_scale(p));
}

static nf_status run(problem *p, double *loss, double *d_temperature) {
    int64_t group = NF_REAL(nf_rows_per_task)(p->query.width);
    NF_TRY(nf_parallel_groups(value_task, p, p->samples, group, NF_MAX_THREADS));
    nf_reduce(loss, p->values, &p->weights, p->samples, p->reduction);
    NF_TRY(NF_REAL(nf_tiles_gradients)(&p->tiles, p->all_logs, is_symmetric(p) ? p->all_key_logs : NULL, &p->weights));
    NF_TRY(nf_parallel_groups(gradient_task, p, p->samples, group, NF_MAX_THREADS));
    if (shared(p))
        NF_TRY(nf_parallel_groups(negative_gradient_task, p, p->negatives.count, group, NF_MAX_THREADS));
    /* Scores are homogeneous in the queries, of degree 1. */
    *d_temperature = -nf_sum(p->values, p->samples) / p->temperature;
    return NF_OK;
}

/* Everything up to the log-sums of the negatives, after which it is known whether this precision will do. */
static nf_status prepare(problem *p, const real *query, const real *key, const real *negatives, int64_t width,
                         int64_t negative_count, bool normalize) {
    NF_TRY(nf_alloc(&p->memory, (size_t)p->samples * 6 * sizeof(double)));
    double **arrays[] = {&p->scores, &p->negative_logs, &p->key_logs, &p->all_logs, &p->all_key_logs, &p->values};
    for (int64_t i = 0; i < 6; i++)
        *arrays[i] = (double *)p->memory + i * p->samples;
    NF_TRY(NF_REAL(nf_rows_open)(&p->query, "query", query, p->samples, width, normalize));
    NF_TRY(NF_REAL(nf_rows_open)(&p->key, "key", key, p->samples, width, normalize));
    if (shared(p))
        NF_TRY(NF_REAL(nf_rows_open)(&p->negatives, "negatives", negatives, negative_count, width, normalize));
    bool positives_need_double = false;
    NF_TRY(NF_REAL(nf_scores_check)(&p->query, &p->key, p->temperature, &positives_need_double));
    NF_TRY(NF_REAL(nf_tiles_open)(&p->tiles, &p->query, shared(p) ? &p->negatives : &p->key, shared(p) ? 0 : p->samples,
                                  p->temperature));
    p->tiles.need_double |= positives_need_double;
    if (p->tiles.need_double)
        return NF_OK;
    return NF_REAL(nf_tiles_log_sums)(&p->tiles, p->negative_logs, is_symmetric(p) ? p->key_logs : NULL);
}

static void release(problem *p) {
    NF_REAL(nf_tiles_close)(&p->tiles);
    NF_REAL(nf_rows_close)(&p->query);
    NF_REAL(nf_rows_close)(&p->key);
    NF_REAL(nf_rows_close)(&p->negatives);
    nf_free(p->memory);
}

#ifndef NF_DOUBLE
static nf_status in_double(double *loss, float *d_query, float *d_key, float *d_negatives, double *d_temperature,
                           const float *query, const float *key, const float *negatives, const double *weights,
                           int64_t samples, int64_t width, int64_t negative_count, nf_negatives kind,
                           double temperature, bool normalize, nf_reduction reduction) {
    int64_t size = samples * width, sets = kind == NF_SHARED_NEGATIVES ? 1 : kind == NF_PAIRED_NEGATIVES ? samples : 0;
    nf_wide wide = {.from = {query, key, negatives},
                    .to = {d_query, d_key, d_negatives},
                    .size = {size, size, sets * negative_count * width}};
    NF_TRY(nf_wide_open(&wide));
    nf_status status =
        nf_info_nce_f64(loss, wide.d[0], wide.d[1], wide.d[2], d_temperature, wide.x[0], wide.x[1], wide.x[2], weights,
                        samples, width, negative_count, kind, temperature, normalize, reduction);
    return nf_wide_close(&wide, status);
}
#endif

nf_status NF_REAL(nf_info_nce)(double *loss, real *d_query, real *d_key, real *d_negatives, double *d_temperature,
                               const real *query, const real *key, const real *negatives, const double *weights,
                               int64_t samples, int64_t width, int64_t negative_count, nf_negatives kind,
                               double temperature, bool normalize, nf_reduction reduction) {
    if (samples < 1 || width < 1)
        return nf_fail(NF_BAD_VALUE, "query must have at least one row and one column, got shape (%lld, %lld)",
                       (long long)samples, (long long)width);
    NF_TRY(nf_temperature_check(temperature));
    nf_weights opened;
    NF_TRY(nf_weights_open(&opened, weights, samples));
    bool need_double = false;
    nf_status status;
    if (kind == NF_PAIRED_NEGATIVES) {
        status = NF_REAL(nf_info_nce_paired)(loss, d_query, d_key, d_negatives, d_temperature, &need_double, query, key,
                                             negatives, &opened, samples, width, negative_count, temperature, normalize,
                                             reduction);
    } else {
        problem p = {.kind = kind,
                     .reduction = reduction,
                     .weights = opened,
                     .samples = samples,
                     .temperature = temperature,
                     .d_query = d_query,
                     .d_key = d_key,
                     .d_negatives = d_negatives};
        status = prepare(&p, query, key, negatives, width, negative_count, normalize);
        need_double = status == NF_OK && p.tiles.need_double;
        if (status == NF_OK && !need_double)
            status = run(&p, loss, d_temperature);
        release(&p);
    }
#ifndef NF_DOUBLE
    if (status == NF_OK && need_double)
        return in_double(loss, d_query, d_key, d_negatives, d_temperature, query, key, negatives, weights, samples,
                         width, negative_count, kind, temperature, normalize, reduction);
#endif
    return status;
}
