/* All pairs of a labelled batch. The mean is over the pairs that are not 0, so that their number has to be known before
 * there are slopes: two passes. */
#include "distances.h"
#include "precision.h"
#include "reduction.h"

#include <string.h>

typedef struct problem {
    nf_distances distances;
    double positive_margin, negative_margin;
    double positive_scale, negative_scale;       /* of slopes */
    double *positive_values, *negative_values;   /* (count): sums over an anchor's pairs */
    double *positive_actives, *negative_actives; /* (count): how many of them are not 0 */
} problem;

static void weigh(void *context, int64_t i, const real *distances, real *slopes, real *scratch) {
    problem *p = context;
    const nf_distances *d = &p->distances;
    real *negatives = scratch, margin = (real)p->negative_margin, active, part;
    NF_REAL(nf_distances_negatives)(d, i, negatives, distances);
    p->negative_values[i] = NF_REAL(nf_margin_terms)(&active, slopes, &margin, 1, negatives, d->room, false, &part);
    p->negative_actives[i] = (double)active;
    for (int64_t j = 0; j < d->count; j++)
        slopes[j] *= (real)p->negative_scale;
    p->positive_values[i] = p->positive_actives[i] = 0;
    for (int64_t j = d->first[i]; j < d->end[i]; j++) {
        double excess = (double)distances[j] - p->positive_margin;
        bool counts = j != i && excess > 0;
        p->positive_values[i] += counts ? excess : 0;
        p->positive_actives[i] += counts;
        slopes[j] = counts ? (real)p->positive_scale : 0;
    }
    NF_REAL(nf_distances_apply_weight)(d, i, slopes);
}

static double one_over(double count) {
    return count > 0 ? 1 / count : 0;
}

/* Means of positive and of negative pairs. */
static nf_status find_scales(problem *p) {
    nf_distances *d = &p->distances;
    NF_TRY(NF_REAL(nf_distances_pass)(d, weigh, p, false));
    p->positive_scale = one_over(nf_sum(p->positive_actives, d->count));
    p->negative_scale = one_over(nf_sum(p->negative_actives, d->count));
    return NF_OK;
}

static nf_status run(problem *p, double *loss, real *d_z, nf_reduction reduction) {
    nf_distances *d = &p->distances;
    p->positive_scale = p->negative_scale = 1;
    if (reduction == NF_REDUCE_MEAN)
        NF_TRY(find_scales(p));
    if (!d->need_double)
        NF_TRY(NF_REAL(nf_distances_pass)(d, weigh, p, true));
    if (d->need_double)
        return NF_OK;
    for (int64_t i = 0; i < d->count; i++)
        p->positive_values[i] = p->positive_scale * p->positive_values[i] + p->negative_scale * p->negative_values[i];
    NF_REAL(nf_distances_reduce)(d, loss, p->positive_values, 1, reduction);
    return NF_REAL(nf_distances_gradient)(d, d_z, 1);
}

nf_status NF_REAL(nf_contrastive)(double *loss, real *d_z, const real *z, const int64_t *labels, const double *weights,
                                  int64_t count, int64_t width, double positive_margin, double negative_margin,
                                  bool normalize, nf_reduction reduction) {
    if (!(positive_margin >= 0 && positive_margin <= 1e30))
        return nf_fail(NF_BAD_VALUE, "pos_margin must be >= 0 and at most 1e30, got %g", positive_margin);
    if (!(negative_margin >= 0 && negative_margin <= 1e30))
        return nf_fail(NF_BAD_VALUE, "neg_margin must be >= 0 and at most 1e30, got %g", negative_margin);
    problem p = {.positive_margin = positive_margin, .negative_margin = negative_margin};
    nf_status status = NF_REAL(nf_distances_open)(&p.distances, z, labels, weights, count, width, 4, false, normalize);
    if (status == NF_OK && !p.distances.need_double) {
        p.positive_values = p.distances.statistics;
        p.negative_values = p.positive_values + count;
        p.positive_actives = p.negative_values + count;
        p.negative_actives = p.positive_actives + count;
        status = run(&p, loss, d_z, reduction);
    }
    bool need_double = p.distances.need_double;
    NF_REAL(nf_distances_close)(&p.distances);
#ifndef NF_DOUBLE
    if (status == NF_OK && need_double) {
        nf_wide wide = {.from = {z}, .to = {d_z}, .size = {count * width}};
        NF_TRY(nf_wide_open(&wide));
        return nf_wide_close(&wide, nf_contrastive_f64(loss, wide.d[0], wide.x[0], labels, weights, count, width,
                                                       positive_margin, negative_margin, normalize, reduction));
    }
#else
    (void)need_double;
#endif
    return status;
}
