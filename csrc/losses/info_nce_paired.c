/* InfoNCE against each query's own negatives: every negative is met once, so this is bound by memory and needs no
 * tiles. Scores (samples, negative_count) are kept, in double: a width-th of the input. A task is a part of one query's
 * negatives. */
#include "info_nce.h"

#include "../core/dispatch.h"
#include "../core/integers.h"
#include "../core/memory.h"
#include "../core/threads.h"
#include "logistic.h"
#include "reduction.h"
#include "rows.h"

#include <string.h>

typedef struct problem {
    nf_rows query, key, negatives;
    int64_t samples, width, stride, count; /* negatives of a query */
    int64_t parts, part;                   /* of a query's negatives: how many, how large */
    nf_reduction reduction;
    nf_weights weights; /* of the queries */
    double temperature, scale;
    real *d_query, *d_key, *d_negatives;
    real *shares;                                     /* (samples, parts, width): of d_query */
    double *scores;                                   /* (samples, count) */
    double *positive_scores, *negative_logs, *values; /* (samples) */
    void *memory;
} problem;

static void score_task(void *context, int64_t task, int worker) {
    (void)worker;
    problem *p = context;
    int64_t i = task / p->parts, first = task % p->parts * p->part, end = first + p->part;
    const real *query = p->query.z + i * p->stride, *negatives = p->negatives.z + i * p->count * p->stride;
    for (int64_t k = first; k < end && k < p->count; k++)
        p->scores[i * p->count + k] =
            nf_kernel->NF_REAL(row_dot)(query, negatives + k * p->stride, (size_t)p->width) / p->temperature;
}

static void value_task(void *context, int64_t i, int worker) {
    (void)worker;
    problem *p = context;
    const double *scores = p->scores + i * p->count;
    double highest = -INFINITY, sum = 0;
    for (int64_t k = 0; k < p->count; k++)
        highest = fmax(highest, scores[k]);
    for (int64_t k = 0; k < p->count; k++)
        sum += exp(scores[k] - highest);
    p->negative_logs[i] = highest + log(sum);
    p->positive_scores[i] =
        nf_kernel->NF_REAL(row_dot)(p->query.z + i * p->stride, p->key.z + i * p->stride, (size_t)p->width) /
        p->temperature;
    p->values[i] = nf_softplus(p->negative_logs[i] - p->positive_scores[i]);
}

static void negative_gradient_task(void *context, int64_t task, int worker) {
    (void)worker;
    problem *p = context;
    int64_t i = task / p->parts, first = task % p->parts * p->part, end = first + p->part;
    size_t width = (size_t)p->width;
    const real *query = p->query.z + i * p->stride;
    real *share = p->shares + task * p->width;
    double all_log = nf_log_add(p->positive_scores[i], p->negative_logs[i]);
    memset(share, 0, width * sizeof(real));
    for (int64_t row = i * p->count + first; row < i * p->count + end && row < (i + 1) * p->count; row++) {
        real weight = (real)(exp(p->scores[row] - all_log) * nf_relative_weight(&p->weights, i));
        real *d_negative = p->d_negatives + row * p->width;
        nf_kernel->NF_REAL(row_add_scaled)(share, p->negatives.z + row * p->stride, weight, width);
        nf_kernel->NF_REAL(row_scale)(d_negative, query, weight, 1, width);
        NF_REAL(nf_rows_gradient)(&p->negatives, row, d_negative, d_negative, p->scale);
    }
}

static void gradient_task(void *context, int64_t i, int worker) {
    (void)worker;
    problem *p = context;
    size_t width = (size_t)p->width;
    real *d_query = p->d_query + i * p->width, *d_key = p->d_key + i * p->width;
    double share = nf_sigmoid(p->negative_logs[i] - p->positive_scores[i]);
    real slope = (real)(-share * nf_relative_weight(&p->weights, i));
    nf_kernel->NF_REAL(row_scale)(d_query, p->key.z + i * p->stride, slope, 1, width);
    for (int64_t part = 0; part < p->parts; part++)
        nf_kernel->NF_REAL(row_add_scaled)(d_query, p->shares + (i * p->parts + part) * p->width, 1, width);
    nf_kernel->NF_REAL(row_scale)(d_key, p->query.z + i * p->stride, slope, 1, width);
    p->values[i] = NF_REAL(nf_rows_gradient)(&p->query, i, d_query, d_query, p->scale);
    NF_REAL(nf_rows_gradient)(&p->key, i, d_key, d_key, p->scale);
}

static nf_status prepare(problem *p, const real *query, const real *key, const real *negatives, bool normalize) {
    size_t n = (size_t)p->samples, count = (size_t)p->count, width = (size_t)p->width, parts = (size_t)p->parts;
    NF_TRY(nf_alloc(&p->memory, n * (count + 3) * sizeof(double) + n * parts * width * sizeof(real)));
    p->scores = p->memory;
    p->positive_scores = p->scores + n * count;
    p->negative_logs = p->positive_scores + n;
    p->values = p->negative_logs + n;
    p->shares = (real *)(p->values + n);
    NF_TRY(NF_REAL(nf_rows_open)(&p->query, "query", query, p->samples, p->width, normalize));
    NF_TRY(NF_REAL(nf_rows_open)(&p->key, "key", key, p->samples, p->width, normalize));
    return NF_REAL(nf_rows_open)(&p->negatives, "negatives", negatives, p->samples * p->count, p->width, normalize);
}

static nf_status run(problem *p, double *loss, double *d_temperature) {
    NF_TRY(nf_parallel(score_task, p, p->samples * p->parts, NF_MAX_THREADS));
    NF_TRY(nf_parallel(value_task, p, p->samples, NF_MAX_THREADS));
    nf_reduce(loss, p->values, &p->weights, p->samples, p->reduction);
    NF_TRY(nf_parallel(negative_gradient_task, p, p->samples * p->parts, NF_MAX_THREADS));
    NF_TRY(nf_parallel(gradient_task, p, p->samples, NF_MAX_THREADS));
    *d_temperature = -nf_sum(p->values, p->samples) / p->temperature;
    return NF_OK;
}

nf_status NF_REAL(nf_info_nce_paired)(double *loss, real *d_query, real *d_key, real *d_negatives,
                                      double *d_temperature, bool *need_double, const real *query, const real *key,
                                      const real *negatives, const nf_weights *weights, int64_t samples, int64_t width,
                                      int64_t negative_count, double temperature, bool normalize,
                                      nf_reduction reduction) {
    enum { LARGEST_PART = 256 };
    int64_t part = nf_min(negative_count, LARGEST_PART);
    problem p = {.samples = samples,
                 .width = width,
                 .stride = NF_REAL(nf_rows_stride)(width),
                 .count = negative_count,
                 .part = part,
                 .parts = part ? nf_ceil_div(negative_count, part) : 0,
                 .reduction = reduction,
                 .weights = *weights,
                 .temperature = temperature,
                 .scale = weights->scale / (nf_reduction_divisor(reduction, samples) * temperature),
                 .d_query = d_query,
                 .d_key = d_key,
                 .d_negatives = d_negatives};
    nf_status status = prepare(&p, query, key, negatives, normalize);
    if (status == NF_OK)
        status = NF_REAL(nf_scores_check)(&p.query, &p.key, temperature, need_double);
    if (status == NF_OK)
        status = NF_REAL(nf_scores_check)(&p.query, &p.negatives, temperature, need_double);
    if (status == NF_OK && !*need_double)
        status = run(&p, loss, d_temperature);
    NF_REAL(nf_rows_close)(&p.query);
    NF_REAL(nf_rows_close)(&p.key);
    NF_REAL(nf_rows_close)(&p.negatives);
    nf_free(p.memory);
    return status;
}
