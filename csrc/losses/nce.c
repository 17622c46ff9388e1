/* Binary NCE: each query's positive and each of its negatives is a logistic regression of its own. Against negatives
 * that all queries share the engine of pairs does the work; a query's own negatives are met once, one task for each
 * query. */
#include "../core/dispatch.h"
#include "../core/memory.h"
#include "../core/threads.h"
#include "logistic.h"
#include "pairs.h"
#include "precision.h"
#include "reduction.h"

#include <string.h>

typedef struct problem {
    nf_rows query, key, negatives;
    nf_pairs pairs;     /* shared negatives */
    nf_weights weights; /* of the queries */
    bool paired;
    int64_t samples, width, count;
    double temperature, scale;                    /* scale: of gradients */
    const double *key_offsets, *negative_offsets; /* NULL: none */
    real *d_query, *d_key, *d_negatives;
    double *values, *products; /* (samples): the losses, <q_i, dq_i> */
    real *offsets;             /* shared: of queries, zeros, and of negatives */
    void *memory;
} problem;

static double offset(const double *offsets, int64_t i) {
    return offsets ? offsets[i] : 0;
}

/* d_query (one row, or the sum of the negatives' so far) and d_key of query i, given its negatives' value. */
static void finish_query(problem *p, int64_t i, real *d_query, double negatives_value) {
    size_t width = (size_t)p->width;
    const real *query = p->query.z + i * p->query.stride, *key = p->key.z + i * p->key.stride;
    real *d_key = p->d_key + i * p->width;
    double s = nf_kernel->NF_REAL(row_dot)(query, key, width) / p->temperature - offset(p->key_offsets, i);
    double slope = -nf_sigmoid(-s) * nf_relative_weight(&p->weights, i);
    p->values[i] = nf_softplus(-s) + negatives_value;
    nf_kernel->NF_REAL(row_add_scaled)(d_query, key, (real)slope, width);
    nf_kernel->NF_REAL(row_scale)(d_key, query, (real)slope, 1, width);
    p->products[i] = NF_REAL(nf_rows_gradient)(&p->query, i, p->d_query + i * p->width, d_query, p->scale);
    NF_REAL(nf_rows_gradient)(&p->key, i, d_key, d_key, p->scale);
}

static void shared_task(void *context, int64_t i, int worker) {
    (void)worker;
    problem *p = context;
    finish_query(p, i, p->pairs.d_rows + i * p->query.stride, p->pairs.row_sums[i]);
}

static void shared_negative_task(void *context, int64_t i, int worker) {
    (void)worker;
    problem *p = context;
    real *d_negative = p->d_negatives + i * p->width, *sum = p->pairs.d_columns + i * p->query.stride;
    NF_REAL(nf_rows_gradient)(&p->negatives, i, d_negative, sum, p->scale);
}

static void paired_task(void *context, int64_t i, int worker) {
    (void)worker;
    problem *p = context;
    size_t width = (size_t)p->width;
    const real *query = p->query.z + i * p->query.stride;
    real *d_query = p->d_query + i * p->width;
    double value = 0;
    memset(d_query, 0, width * sizeof(real));
    for (int64_t row = i * p->count; row < (i + 1) * p->count; row++) {
        const real *negative = p->negatives.z + row * p->negatives.stride;
        real *d_negative = p->d_negatives + row * p->width;
        double s = nf_kernel->NF_REAL(row_dot)(query, negative, width) / p->temperature;
        s -= offset(p->negative_offsets, row);
        real weight = (real)(nf_sigmoid(s) * nf_relative_weight(&p->weights, i));
        value += nf_softplus(s);
        nf_kernel->NF_REAL(row_add_scaled)(d_query, negative, weight, width);
        nf_kernel->NF_REAL(row_scale)(d_negative, query, weight, 1, width);
        NF_REAL(nf_rows_gradient)(&p->negatives, row, d_negative, d_negative, p->scale);
    }
    finish_query(p, i, d_query, value);
}

static nf_status run_shared(problem *p) {
    int64_t group = NF_REAL(nf_rows_per_task)(p->width), row_room = NF_REAL(nf_rows_room)(p->samples);
    memset(p->offsets, 0, (size_t)(row_room + NF_REAL(nf_rows_room)(p->count)) * sizeof(real));
    for (int64_t k = 0; k < p->count; k++)
        p->offsets[row_room + k] = (real)-offset(p->negative_offsets, k);
    p->pairs = (nf_pairs){.rows = &p->query,
                          .columns = &p->negatives,
                          .row_offsets = p->offsets,
                          .column_offsets = p->offsets + row_room,
                          .weights = p->weights,
                          .scale = 1 / p->temperature,
                          .diagonal = true};
    NF_TRY(NF_REAL(nf_pairs_open)(&p->pairs));
    NF_TRY(NF_REAL(nf_pairs_logistic)(&p->pairs));
    NF_TRY(nf_parallel_groups(shared_task, p, p->samples, group, NF_MAX_THREADS));
    return nf_parallel_groups(shared_negative_task, p, p->count, group, NF_MAX_THREADS);
}

static nf_status run(problem *p, double *loss, double *d_temperature, nf_reduction reduction) {
    int64_t rooms = NF_REAL(nf_rows_room)(p->samples) + (p->paired ? 0 : NF_REAL(nf_rows_room)(p->count));
    NF_TRY(nf_alloc(&p->memory, (size_t)p->samples * 2 * sizeof(double) + (size_t)rooms * sizeof(real)));
    p->values = p->memory;
    p->products = p->values + p->samples;
    p->offsets = (real *)(p->products + p->samples);
    p->scale = p->weights.scale / nf_reduction_divisor(reduction, p->samples) / p->temperature;
    NF_TRY(p->paired ? nf_parallel(paired_task, p, p->samples, NF_MAX_THREADS) : run_shared(p));
    nf_reduce(loss, p->values, &p->weights, p->samples, reduction);
    /* Scores are homogeneous in the queries, of degree 1. */
    *d_temperature = -nf_sum(p->products, p->samples) / p->temperature;
    return NF_OK;
}

static nf_status check_offsets(const char *name, const double *offsets, int64_t count, bool *need_double) {
    for (int64_t i = 0; offsets && i < count; i++) {
        if (!(fabs(offsets[i]) < 1e300))
            return nf_fail(NF_BAD_VALUE, "%s must be finite, got %g in place %lld", name, offsets[i], (long long)i);
        if (sizeof(real) < sizeof(double) && fabs(offsets[i]) > 128)
            *need_double = true;
    }
    return NF_OK;
}

static nf_status prepare(problem *p, const real *query, const real *key, const real *negatives, bool normalize,
                         bool *need_double) {
    int64_t total = p->paired ? p->samples * p->count : p->count;
    NF_TRY(NF_REAL(nf_rows_open)(&p->query, "query", query, p->samples, p->width, normalize));
    NF_TRY(NF_REAL(nf_rows_open)(&p->key, "key", key, p->samples, p->width, normalize));
    NF_TRY(NF_REAL(nf_rows_open)(&p->negatives, "negatives", negatives, total, p->width, normalize));
    NF_TRY(check_offsets("log_noise of the keys", p->key_offsets, p->samples, need_double));
    NF_TRY(check_offsets("log_noise of the negatives", p->negative_offsets, total, need_double));
    NF_TRY(NF_REAL(nf_scores_check)(&p->query, &p->key, p->temperature, need_double));
    return NF_REAL(nf_scores_check)(&p->query, &p->negatives, p->temperature, need_double);
}

#ifndef NF_DOUBLE
static nf_status in_double(const problem *p, double *loss, double *d_temperature, const float *query, const float *key,
                           const float *negatives, const double *weights, nf_negatives kind, bool normalize,
                           nf_reduction reduction) {
    int64_t size = p->samples * p->width, sets = p->paired ? p->samples : 1;
    nf_wide wide = {.from = {query, key, negatives},
                    .to = {p->d_query, p->d_key, p->d_negatives},
                    .size = {size, size, sets * p->count * p->width}};
    NF_TRY(nf_wide_open(&wide));
    nf_status status = nf_nce_f64(loss, wide.d[0], wide.d[1], wide.d[2], d_temperature, wide.x[0], wide.x[1], wide.x[2],
                                  p->key_offsets, p->negative_offsets, weights, p->samples, p->width, p->count, kind,
                                  p->temperature, normalize, reduction);
    return nf_wide_close(&wide, status);
}
#endif

nf_status NF_REAL(nf_nce)(double *loss, real *d_query, real *d_key, real *d_negatives, double *d_temperature,
                          const real *query, const real *key, const real *negatives, const double *key_offsets,
                          const double *negative_offsets, const double *weights, int64_t samples, int64_t width,
                          int64_t negative_count, nf_negatives kind, double temperature, bool normalize,
                          nf_reduction reduction) {
    if (samples < 1 || width < 1)
        return nf_fail(NF_BAD_VALUE, "query must have at least one row and one column, got shape (%lld, %lld)",
                       (long long)samples, (long long)width);
    if (kind != NF_SHARED_NEGATIVES && kind != NF_PAIRED_NEGATIVES)
        return nf_fail(NF_BAD_VALUE, "NCE needs negatives of its own");
    NF_TRY(nf_temperature_check(temperature));
    problem p = {.paired = kind == NF_PAIRED_NEGATIVES,
                 .samples = samples,
                 .width = width,
                 .count = negative_count,
                 .temperature = temperature,
                 .key_offsets = key_offsets,
                 .negative_offsets = negative_offsets,
                 .d_query = d_query,
                 .d_key = d_key,
                 .d_negatives = d_negatives};
    NF_TRY(nf_weights_open(&p.weights, weights, samples));
    bool need_double = false;
    nf_status status = prepare(&p, query, key, negatives, normalize, &need_double);
    if (status == NF_OK && !need_double)
        status = run(&p, loss, d_temperature, reduction);
    NF_REAL(nf_pairs_close)(&p.pairs);
    NF_REAL(nf_rows_close)(&p.query);
    NF_REAL(nf_rows_close)(&p.key);
    NF_REAL(nf_rows_close)(&p.negatives);
    nf_free(p.memory);
#ifndef NF_DOUBLE
    if (status == NF_OK && need_double)
        return in_double(&p, loss, d_temperature, query, key, negatives, weights, kind, normalize, reduction);
#endif
    return status;
}
