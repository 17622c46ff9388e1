/* Lifted structure. With S_i = log sum_{k negative of i} exp(margin - D_ik) from a first pass, a second pass has for
 * each positive j of an anchor i
 *
 *     J_ij = log(exp(S_i) + exp(S_j)) + D_ij,
 *
 * and its share in half of the pair, which is met from both sides. The weight of a pair is the mean of its rows'. */
#include "../core/dispatch.h"
#include "distances.h"
#include "logistic.h"
#include "precision.h"

#include <string.h>

typedef struct problem {
    nf_distances distances;
    double margin;
    double *logs;            /* (count): S */
    double *values, *active; /* (count): of an anchor's pairs half the sum, and half the number of those above 0 */
} problem;

/* e (count) = exp(nearest - D_ik) for the negatives k, else 0. Returns the sum of e; *nearest: the least D_ik. */
static double exponentials(const nf_distances *d, int64_t i, const real *distances, real *e, double *nearest) {
    NF_REAL(nf_distances_negatives)(d, i, e, distances);
    size_t room = (size_t)d->room, least = nf_kernel->NF_REAL(nearest_above)(e, room, -1);
    *nearest = (double)distances[least];
    real lowest = distances[least];
    for (size_t j = 0; j < room; j++)
        e[j] = lowest - e[j];
    nf_kernel->NF_REAL(exp)(e, e, room);
    return nf_kernel->NF_REAL(row_sum)(e, room);
}

static void sum_negatives(void *context, int64_t i, const real *distances, real *slopes, real *scratch) {
    (void)slopes;
    problem *p = context;
    p->logs[i] = -INFINITY;
    if (nf_negative_count(&p->distances, i) == 0)
        return;
    double nearest, sum = exponentials(&p->distances, i, distances, scratch, &nearest);
    p->logs[i] = log(sum) + p->margin - nearest;
}

static void weigh(void *context, int64_t i, const real *distances, real *slopes, real *scratch) {
    problem *p = context;
    const nf_distances *d = &p->distances;
    p->values[i] = p->active[i] = 0;
    memset(slopes, 0, (size_t)d->count * sizeof(real));
    if (nf_positive_count(d, i) == 0 || nf_negative_count(d, i) == 0)
        return;
    double nearest, sum = exponentials(d, i, distances, scratch, &nearest), d_log = 0; /* dL/dS_i */
    double own = nf_relative_weight(&d->weights, i);
    for (int64_t j = d->first[i]; j < d->end[i]; j++) {
        double log_sum = nf_log_add(p->logs[i], p->logs[j]), excess = log_sum + (double)distances[j];
        if (j == i || excess <= 0)
            continue;
        p->values[i] += excess * excess / 4;
        p->active[i] += 0.5;
        double weight = (own + nf_relative_weight(&d->weights, j)) / 2;
        slopes[j] = (real)(excess / 2 * weight);
        d_log += excess * exp(p->logs[i] - log_sum) * weight;
    }
    real factor = (real)(-d_log / sum);
    for (int64_t j = 0; j < d->count; j++)
        slopes[j] += factor * scratch[j];
}

static nf_status run(problem *p, double *loss, real *d_z, bool nonzero, nf_reduction reduction) {
    nf_distances *d = &p->distances;
    NF_TRY(NF_REAL(nf_distances_pass)(d, sum_negatives, p, false));
    if (!d->need_double)
        NF_TRY(NF_REAL(nf_distances_pass)(d, weigh, p, true));
    if (d->need_double)
        return NF_OK;
    double terms = 0;
    for (int64_t i = 0; i < d->count; i++)
        terms += nonzero ? p->active[i] : (double)nf_positive_count(d, i) / 2;
    double scale = NF_REAL(nf_distances_reduce)(d, loss, p->values, terms, reduction);
    return NF_REAL(nf_distances_gradient)(d, d_z, scale);
}

nf_status NF_REAL(nf_lifted_structure)(double *loss, real *d_z, const real *z, const int64_t *labels,
                                       const double *weights, int64_t count, int64_t width, double margin, bool nonzero,
                                       bool normalize, nf_reduction reduction) {
    if (!(fabs(margin) <= 1e30))
        return nf_fail(NF_BAD_VALUE, "margin must be in -1e30..1e30, got %g", margin);
    problem p = {.margin = margin};
    nf_status status = NF_REAL(nf_distances_open)(&p.distances, z, labels, weights, count, width, 3, false, normalize);
    if (status == NF_OK && !p.distances.need_double) {
        p.logs = p.distances.statistics;
        p.values = p.logs + count;
        p.active = p.values + count;
        status = run(&p, loss, d_z, nonzero, reduction);
    }
    bool need_double = p.distances.need_double;
    NF_REAL(nf_distances_close)(&p.distances);
#ifndef NF_DOUBLE
    if (status == NF_OK && need_double) {
        nf_wide wide = {.from = {z}, .to = {d_z}, .size = {count * width}};
        NF_TRY(nf_wide_open(&wide));
        return nf_wide_close(&wide, nf_lifted_structure_f64(loss, wide.d[0], wide.x[0], labels, weights, count, width,
                                                            margin, nonzero, normalize, reduction));
    }
#else
    (void)need_double;
#endif
    return status;
}
