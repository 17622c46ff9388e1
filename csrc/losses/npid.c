/* Instance discrimination against a memory bank: binary NCE of each query with rows of the bank that are named by their
 * indices. The bank may be far larger than what is met of it, and is read in place. A task is a query. */
#include "../core/dispatch.h"
#include "../core/memory.h"
#include "../core/threads.h"
#include "logistic.h"
#include "reduction.h"
#include "rows.h"

#include <string.h>

typedef struct problem {
    nf_rows query;
    const real *bank;
    const int64_t *indices, *negative_indices;
    int64_t count;      /* negatives of a query */
    nf_weights weights; /* of the queries */
    double temperature, offset, scale;
    real *d_query, *d_z;       /* d_z: (samples, width) */
    double *values, *products; /* (samples): the losses, NaN if a row of the bank is not finite; <q_i, dq_i> */
    void *memory;
} problem;

static void query_task(void *context, int64_t i, int worker) {
    (void)worker;
    problem *p = context;
    int64_t width = p->query.width;
    const real *query = p->query.z + i * p->query.stride;
    real *d_z = p->d_z + i * width;
    double value = 0;
    memset(d_z, 0, (size_t)width * sizeof(real));
    for (int64_t k = -1; k < p->count; k++) { /* -1: the positive */
        const real *row = p->bank + width * (k < 0 ? p->indices[i] : p->negative_indices[i * p->count + k]);
        double s = nf_kernel->NF_REAL(row_dot)(query, row, (size_t)width) / p->temperature - p->offset;
        value += isfinite(s) ? nf_softplus(k < 0 ? -s : s) : NAN;
        double weight = k < 0 ? -nf_sigmoid(-s) : nf_sigmoid(s);
        nf_kernel->NF_REAL(row_add_scaled)(d_z, row, (real)weight, (size_t)width);
    }
    p->values[i] = value;
    p->products[i] =
        NF_REAL(nf_rows_gradient)(&p->query, i, p->d_query + i * width, d_z, p->scale * nf_weight(&p->weights, i));
}

static nf_status check_indices(const char *name, const int64_t *indices, int64_t count, int64_t bank_count) {
    for (int64_t i = 0; i < count; i++)
        if (indices[i] < 0 || indices[i] >= bank_count)
            return nf_fail(NF_BAD_VALUE, "%s must be from 0 to %lld, got %lld", name, (long long)bank_count - 1,
                           (long long)indices[i]);
    return NF_OK;
}

static nf_status run(problem *p, double *loss, double *d_temperature, nf_reduction reduction) {
    int64_t samples = p->query.count;
    NF_TRY(
        nf_alloc(&p->memory, (size_t)samples * 2 * sizeof(double) + (size_t)(samples * p->query.width) * sizeof(real)));
    p->values = p->memory;
    p->products = p->values + samples;
    p->d_z = (real *)(p->products + samples);
    NF_TRY(nf_parallel(query_task, p, samples, NF_MAX_THREADS));
    for (int64_t i = 0; i < samples; i++)
        if (isnan(p->values[i]))
            return nf_fail(NF_BAD_VALUE, "bank must be finite and its products too, but is not where query %lld met it",
                           (long long)i);
    nf_reduce(loss, p->values, &p->weights, samples, reduction);
    *d_temperature = -nf_sum(p->products, samples) / p->temperature;
    return NF_OK;
}

nf_status NF_REAL(nf_npid)(double *loss, real *d_query, double *d_temperature, const real *query, const real *bank,
                           const int64_t *indices, const int64_t *negative_indices, const double *weights,
                           int64_t samples, int64_t width, int64_t bank_count, int64_t negative_count,
                           double log_offset, double temperature, bool normalize, nf_reduction reduction) {
    if (samples < 1 || width < 1)
        return nf_fail(NF_BAD_VALUE, "query must have at least one row and one column, got shape (%lld, %lld)",
                       (long long)samples, (long long)width);
    if (!(temperature > 1e-30 && temperature < 1e30))
        return nf_fail(NF_BAD_VALUE, "temperature must be from 1e-30 to 1e30, got %g", temperature);
    if (!(fabs(log_offset) < 1e300))
        return nf_fail(NF_BAD_VALUE, "the logarithm of the partition must be finite, got %g", log_offset);
    NF_TRY(check_indices("indices", indices, samples, bank_count));
    NF_TRY(check_indices("negatives", negative_indices, samples * negative_count, bank_count));
    problem p = {.bank = bank,
                 .indices = indices,
                 .negative_indices = negative_indices,
                 .count = negative_count,
                 .temperature = temperature,
                 .offset = log_offset,
                 .scale = 1 / nf_reduction_divisor(reduction, samples) / temperature,
                 .d_query = d_query};
    NF_TRY(nf_weights_open(&p.weights, weights, samples));
    nf_status status = NF_REAL(nf_rows_open)(&p.query, "query", query, samples, width, normalize);
    if (status == NF_OK)
        status = run(&p, loss, d_temperature, reduction);
    NF_REAL(nf_rows_close)(&p.query);
    nf_free(p.memory);
    return status;
}
