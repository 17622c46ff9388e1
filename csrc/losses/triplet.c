/* Triplets of a labelled batch. An anchor's triplets need its own distances only: one pass. */
#include "../core/dispatch.h"
#include "distances.h"
#include "logistic.h"
#include "precision.h"

#include <string.h>

typedef struct problem {
    nf_distances distances;
    nf_mining mining;
    bool soft;
    double margin;
    double *values, *valid, *active; /* (count): of an anchor's triplets the sum, their number, those above 0 */
} problem;

/* Where h(excess) is added; returns its slope. */
static double add_triplet(problem *p, int64_t i, double excess) {
    double value = p->soft ? nf_softplus(excess) : excess > 0 ? excess : 0;
    p->values[i] += value;
    p->valid[i] += 1;
    p->active[i] += value > 0;
    return p->soft ? nf_sigmoid(excess) : excess > 0;
}

/* The farthest of rows first..end-1 other than i, the first of several; -1 if there is none. */
static int64_t farthest(const real *distances, int64_t first, int64_t end, int64_t i) {
    int64_t best = -1;
    for (int64_t j = first; j < end; j++)
        if (j != i && (best < 0 || distances[j] > distances[best]))
            best = j;
    return best;
}

static int64_t farthest_negative(const nf_distances *d, int64_t i, const real *distances) {
    int64_t before = farthest(distances, 0, d->first[i], -1), after = farthest(distances, d->end[i], d->count, -1);
    if (before < 0 || after < 0)
        return before < 0 ? after : before;
    return distances[after] > distances[before] ? after : before;
}

static void all_triplets(problem *p, int64_t i, const real *distances, real *slopes, real *scratch) {
    const nf_distances *d = &p->distances;
    int64_t count = nf_positive_count(d, i), k = 0;
    real *negatives = scratch, *thresholds = negatives + d->room, *d_thresholds = thresholds + d->room;
    real *parts = d_thresholds + d->room;
    for (int64_t j = d->first[i]; j < d->end[i]; j++)
        if (j != i)
            thresholds[k++] = (real)((double)distances[j] + p->margin);
    NF_REAL(nf_distances_negatives)(d, i, negatives, distances);
    p->values[i] =
        NF_REAL(nf_margin_terms)(d_thresholds, slopes, thresholds, count, negatives, d->room, p->soft, parts);
    p->valid[i] = (double)count * (double)nf_negative_count(d, i);
    slopes[i] = 0;
    for (int64_t j = d->first[i], n = 0; j < d->end[i]; j++) {
        if (j == i)
            continue;
        p->active[i] += p->soft ? (double)nf_negative_count(d, i) : (double)d_thresholds[n];
        slopes[j] = d_thresholds[n++];
    }
}

static void hardest_triplet(problem *p, int64_t i, const real *distances, real *slopes, real *scratch) {
    const nf_distances *d = &p->distances;
    NF_REAL(nf_distances_negatives)(d, i, scratch, distances);
    int64_t positive = farthest(distances, d->first[i], d->end[i], i);
    size_t negative = nf_kernel->NF_REAL(nearest_above)(scratch, (size_t)d->room, -1);
    double slope = add_triplet(p, i, (double)distances[positive] - (double)distances[negative] + p->margin);
    slopes[positive] += (real)slope;
    slopes[negative] -= (real)slope;
}

/* The nearest negative that is farther than the positive, else the farthest. */
static void semi_hard_triplets(problem *p, int64_t i, const real *distances, real *slopes, real *scratch) {
    const nf_distances *d = &p->distances;
    NF_REAL(nf_distances_negatives)(d, i, scratch, distances);
    size_t room = (size_t)d->room, fall_back = (size_t)farthest_negative(d, i, distances);
    for (int64_t j = d->first[i]; j < d->end[i]; j++) {
        if (j == i)
            continue;
        size_t negative = nf_kernel->NF_REAL(nearest_above)(scratch, room, distances[j]);
        negative = negative < room ? negative : fall_back;
        double slope = add_triplet(p, i, (double)distances[j] - (double)distances[negative] + p->margin);
        slopes[j] += (real)slope;
        slopes[negative] -= (real)slope;
    }
}

static void weigh(void *context, int64_t i, const real *distances, real *slopes, real *scratch) {
    problem *p = context;
    p->values[i] = p->valid[i] = p->active[i] = 0;
    memset(slopes, 0, (size_t)p->distances.count * sizeof(real));
    if (nf_positive_count(&p->distances, i) == 0 || nf_negative_count(&p->distances, i) == 0)
        return;
    switch (p->mining) {
    case NF_MINE_ALL: all_triplets(p, i, distances, slopes, scratch); break;
    case NF_MINE_HARD: hardest_triplet(p, i, distances, slopes, scratch); break;
    case NF_MINE_SEMI_HARD: semi_hard_triplets(p, i, distances, slopes, scratch); break;
    }
    NF_REAL(nf_distances_apply_weight)(&p->distances, i, slopes);
}

static nf_status run(problem *p, double *loss, real *d_z, bool nonzero, nf_reduction reduction) {
    nf_distances *d = &p->distances;
    NF_TRY(NF_REAL(nf_distances_pass)(d, weigh, p, true));
    if (d->need_double)
        return NF_OK;
    double terms = 0;
    for (int64_t i = 0; i < d->count; i++)
        terms += nonzero ? p->active[i] : p->valid[i];
    double scale = NF_REAL(nf_distances_reduce)(d, loss, p->values, terms, reduction);
    return NF_REAL(nf_distances_gradient)(d, d_z, scale);
}

nf_status NF_REAL(nf_triplet)(double *loss, real *d_z, const real *z, const int64_t *labels, const double *weights,
                              int64_t count, int64_t width, double margin, nf_mining mining, bool squared, bool soft,
                              bool nonzero, bool normalize, nf_reduction reduction) {
    if (!(margin >= 0 && margin <= 1e30))
        return nf_fail(NF_BAD_VALUE, "margin must be >= 0 and at most 1e30, got %g", margin);
    problem p = {.mining = mining, .soft = soft, .margin = margin};
    nf_status status =
        NF_REAL(nf_distances_open)(&p.distances, z, labels, weights, count, width, 3, squared, normalize);
    if (status == NF_OK && !p.distances.need_double) {
        p.values = p.distances.statistics;
        p.valid = p.values + count;
        p.active = p.valid + count;
        status = run(&p, loss, d_z, nonzero, reduction);
    }
    bool need_double = p.distances.need_double;
    NF_REAL(nf_distances_close)(&p.distances);
#ifndef NF_DOUBLE
    if (status == NF_OK && need_double) {
        nf_wide wide = {.from = {z}, .to = {d_z}, .size = {count * width}};
        NF_TRY(nf_wide_open(&wide));
        return nf_wide_close(&wide, nf_triplet_f64(loss, wide.d[0], wide.x[0], labels, weights, count, width, margin,
                                                   mining, squared, soft, nonzero, normalize, reduction));
    }
#else
    (void)need_double;
#endif
    return status;
}
