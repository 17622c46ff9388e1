/* Debiased NT-Xent with hard negatives. With M = 2 N - 2 negatives and s the score of the positive of an anchor,
 *
 *     log R = log sum_n exp((1 + beta) s_n) - log sum_n exp(beta s_n) + log M,   rho = R / exp(s),
 *     loss  = log(1 + gamma),   gamma = max((rho - M tau_plus) / (1 - tau_plus), M exp(-1 / temperature - s)),
 *
 * the sums come from two engines, at temperature / (1 + beta) and at temperature / beta. Where the first term of the
 * maximum wins, dloss/dlog R = -dloss/ds = rho / (1 - tau_plus) / (1 + gamma); where the second does, nothing reaches
 * the negatives. */
#include "../core/dispatch.h"
#include "../core/memory.h"
#include "../core/threads.h"
#include "precision.h"
#include "reduction.h"
#include "tiles.h"

#include <math.h>

/* The largest score that float has digits for if something is subtracted from the sum. */
enum { MOST_IN_FLOAT = 64 };

typedef struct problem {
    nf_rows rows;
    nf_tiles hard, importance; /* the second with beta > 0 only */
    int64_t samples, anchors;
    double temperature, tau_plus, beta;
    nf_reduction reduction;
    nf_weights weights; /* of the anchors */
    real *d_z;
    double *hard_logs, *importance_logs; /* (anchors): log-sums, later those that give the gradients */
    double *slopes;                      /* (anchors): dloss_i/ds_i */
    double *values;                      /* (anchors): the losses, later <z_i, dz_i> */
    double *floors;                      /* (anchors): what the second term adds to the temperature's gradient */
    void *memory;
} problem;

static int64_t positive_of(const problem *p, int64_t i) {
    return i < p->samples ? i + p->samples : i - p->samples;
}

static const real *row(const problem *p, int64_t i) {
    return p->rows.z + i * p->rows.stride;
}

static void value_task(void *context, int64_t i, int worker) {
    (void)worker;
    problem *p = context;
    enum { FAR = 500 }; /* beyond exp(FAR), rho is all there is */
    double product = nf_kernel->NF_REAL(row_dot)(row(p, i), row(p, positive_of(p, i)), (size_t)p->rows.width);
    double s = product / p->temperature, negatives = (double)(p->anchors - 2), rest = 1 - p->tau_plus;
    double log_rho = p->hard_logs[i] - s;
    if (p->beta > 0)
        log_rho += log(negatives) - p->importance_logs[i];
    double rho = exp(log_rho), gamma = (rho - negatives * p->tau_plus) / rest;
    double lowest = p->tau_plus > 0 ? negatives * exp(-1 / p->temperature - s) : 0, share;
    p->floors[i] = 0;
    if (log_rho > FAR) {
        share = 1;
        p->values[i] = log_rho - log(rest);
        p->slopes[i] = -1;
    } else if (gamma >= lowest) {
        share = rho / rest / (1 + gamma);
        p->values[i] = log1p(gamma);
        p->slopes[i] = -share;
    } else {
        share = 0;
        p->values[i] = log1p(lowest);
        p->slopes[i] = -lowest / (1 + lowest);
        p->floors[i] = -p->slopes[i] / (p->temperature * p->temperature);
    }
    p->hard_logs[i] -= log(share * (1 + p->beta));
    if (p->beta > 0)
        p->importance_logs[i] -= log(share * p->beta);
    p->slopes[i] *= nf_relative_weight(&p->weights, i);
    p->floors[i] *= nf_relative_weight(&p->weights, i);
}

static void gradient_task(void *context, int64_t i, int worker) {
    (void)worker;
    problem *p = context;
    size_t width = (size_t)p->rows.width;
    int64_t j = positive_of(p, i);
    real *d_z = p->hard.d_rows + i * p->rows.stride;
    if (p->beta > 0)
        nf_kernel->NF_REAL(row_add_scaled)(d_z, p->importance.d_rows + i * p->rows.stride, -1, width);
    nf_kernel->NF_REAL(row_add_scaled)(d_z, row(p, j), (real)(p->slopes[i] + p->slopes[j]), width);
    double scale = p->weights.scale / (nf_reduction_divisor(p->reduction, p->anchors) * p->temperature);
    p->values[i] = NF_REAL(nf_rows_gradient)(&p->rows, i, p->d_z + i * p->rows.width, d_z, scale);
}

static nf_status run(problem *p, double *loss, double *d_temperature) {
    int64_t group = NF_REAL(nf_rows_per_task)(p->rows.width);
    NF_TRY(nf_parallel_groups(value_task, p, p->anchors, group, NF_MAX_THREADS));
    nf_reduce(loss, p->values, &p->weights, p->anchors, p->reduction);
    NF_TRY(NF_REAL(nf_tiles_gradients)(&p->hard, p->hard_logs, p->hard_logs, &p->weights));
    if (p->beta > 0)
        NF_TRY(NF_REAL(nf_tiles_gradients)(&p->importance, p->importance_logs, p->importance_logs, &p->weights));
    NF_TRY(nf_parallel_groups(gradient_task, p, p->anchors, group, NF_MAX_THREADS));
    /* Scores are homogeneous in z, of degree 2; the second term depends on the temperature by itself too. */
    *d_temperature = -nf_sum(p->values, p->anchors) / (2 * p->temperature);
    double floors = nf_sum(p->floors, p->anchors) * p->weights.scale;
    *d_temperature += floors / nf_reduction_divisor(p->reduction, p->anchors);
    return NF_OK;
}

/* Everything up to the log-sums of the negatives, after which it is known whether this precision will do. */
static nf_status prepare(problem *p, const real *z, int64_t width, bool *need_double) {
    NF_TRY(nf_alloc(&p->memory, (size_t)p->anchors * 5 * sizeof(double)));
    double **arrays[] = {&p->hard_logs, &p->importance_logs, &p->slopes, &p->values, &p->floors};
    for (int64_t i = 0; i < 5; i++)
        *arrays[i] = (double *)p->memory + i * p->anchors;
    NF_TRY(NF_REAL(nf_rows_open)(&p->rows, "z", z, p->anchors, width, true));
    nf_rows *rows = &p->rows;
    NF_TRY(NF_REAL(nf_tiles_open)(&p->hard, rows, rows, p->samples, p->temperature / (1 + p->beta)));
    if (sizeof(real) < sizeof(double) && p->tau_plus > 0 && (1 + p->beta) / p->temperature > MOST_IN_FLOAT)
        p->hard.need_double = true;
    if (!p->hard.need_double)
        NF_TRY(NF_REAL(nf_tiles_log_sums)(&p->hard, p->hard_logs, NULL));
    *need_double = p->hard.need_double;
    if (*need_double || p->beta == 0)
        return NF_OK;
    NF_TRY(NF_REAL(nf_tiles_open)(&p->importance, rows, rows, p->samples, p->temperature / p->beta));
    if (!p->importance.need_double)
        NF_TRY(NF_REAL(nf_tiles_log_sums)(&p->importance, p->importance_logs, NULL));
    *need_double = p->importance.need_double;
    return NF_OK;
}

static void release(problem *p) {
    NF_REAL(nf_tiles_close)(&p->hard);
    NF_REAL(nf_tiles_close)(&p->importance);
    NF_REAL(nf_rows_close)(&p->rows);
    nf_free(p->memory);
}

#ifndef NF_DOUBLE
static nf_status in_double(const problem *p, double *loss, double *d_temperature, const float *z, const double *weights,
                           int64_t width) {
    nf_wide wide = {.from = {z}, .to = {p->d_z}, .size = {p->anchors * width}};
    NF_TRY(nf_wide_open(&wide));
    nf_status status = nf_debiased_nt_xent_f64(loss, wide.d[0], d_temperature, wide.x[0], weights, p->samples, width,
                                               p->temperature, p->tau_plus, p->beta, p->reduction);
    return nf_wide_close(&wide, status);
}
#endif

nf_status NF_REAL(nf_debiased_nt_xent)(double *loss, real *d_z, double *d_temperature, const real *z,
                                       const double *weights, int64_t samples, int64_t width, double temperature,
                                       double tau_plus, double beta, nf_reduction reduction) {
    if (samples < 2 || width < 1)
        return nf_fail(NF_BAD_VALUE, "z must have at least 2 samples and one dimension, got %lld of %lld",
                       (long long)samples, (long long)width);
    NF_TRY(nf_temperature_check(temperature));
    if (!(tau_plus >= 0 && tau_plus <= 0.999))
        return nf_fail(NF_BAD_VALUE, "tau_plus must be from 0 to 0.999, got %g", tau_plus);
    if (!(beta == 0 || (beta >= 1e-6 && beta <= 1e4)))
        return nf_fail(NF_BAD_VALUE, "beta must be 0 or from 1e-6 to 1e4, got %g", beta);
    problem p = {.samples = samples,
                 .anchors = 2 * samples,
                 .temperature = temperature,
                 .tau_plus = tau_plus,
                 .beta = beta,
                 .reduction = reduction,
                 .d_z = d_z};
    NF_TRY(nf_weights_open(&p.weights, weights, p.anchors));
    bool need_double = false;
    nf_status status = prepare(&p, z, width, &need_double);
    if (status == NF_OK && !need_double)
        status = run(&p, loss, d_temperature);
    release(&p);
#ifndef NF_DOUBLE
    if (status == NF_OK && need_double)
        return in_double(&p, loss, d_temperature, z, weights, width);
#endif
    return status;
}
