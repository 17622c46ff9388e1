/* SupCon. Anchors are sorted by class, so that a class is a range of rows, which the tiles can leave out. With R_i =
 * sum over anchor i's negatives and T_i = sum over its P positives of exp(s),
 *
 *     L_out,i = log(1 + R_i / T_i) + log T_i - mean_p s_ip        L_in,i = log(1 + R_i / T_i) + log P
 *
 * and the slopes of both with respect to the scores of positives in terms of R_i / T_i, as in nt_xent.c, so that
 * nothing cancels where the positives have all but won. That takes each pair of a class by itself. Where L_out has many
 * positives there is nothing to win by it: these classes are left in the tiles, so that their R_i are sums over all
 * others, and the mean over their positives comes from the sum of the class, and its gradient, if anchors have weights,
 * from the weighted sum as well. */
#include "../core/dispatch.h"
#include "../core/memory.h"
#include "../core/threads.h"
#include "classes.h"
#include "logistic.h"
#include "precision.h"
#include "reduction.h"
#include "tiles.h"

#include <string.h>

enum {
    MOST_PAIRED = 32, /* rows of a class that L_out takes pair by pair */
    SUM_PART = 256    /* rows of a class that are summed at a time */
};

typedef struct problem {
    nf_rows rows;
    nf_tiles tiles;
    nf_positives positives;
    nf_reduction reduction;
    nf_weights weights;      /* of the sorted anchors */
    int64_t anchors, active; /* active: that have a positive */
    double temperature;
    real *d_z;
    int64_t *order;                                   /* (anchors): where the sorted rows come from */
    int64_t *first, *end;                             /* (anchors): the rows of an anchor's class */
    int64_t *left_first, *left_end;                   /* (anchors): the columns that its tiles leave out */
    double *negative_logs, *positive_logs, *all_logs; /* (anchors): log R, log T, log(R + T) */
    double *values;                                   /* (anchors): the losses, later <z_i, dz_i> */
    double *sorted_weights;                           /* (anchors) */
    real *class_sums;                                 /* rows.z summed over a class, at the class's first row */
    real *weighted_sums;                              /* the same with relative weights; NULL: these are all 1 */
    void *memory, *sums_memory;
} problem;

static int64_t positive_count(const problem *p, int64_t i) {
    return p->end[i] - p->first[i] - 1;
}

/* Whether the class of row i is left in the tiles. */
static bool is_summed(const problem *p, int64_t i) {
    return p->positives == NF_POSITIVES_OUT && p->end[i] - p->first[i] > MOST_PAIRED;
}

static nf_status find_classes(problem *p, const int64_t *labels, int64_t samples) {
    NF_TRY(nf_sort_classes(p->order, p->first, p->end, labels, p->anchors, samples));
    for (int64_t i = 0; i < p->anchors; i++) {
        p->left_first[i] = is_summed(p, i) ? i : p->first[i];
        p->left_end[i] = is_summed(p, i) ? i + 1 : p->end[i];
        p->active += positive_count(p, i) > 0;
    }
    return NF_OK;
}

static const real *row(const problem *p, int64_t i) {
    return p->rows.z + i * p->rows.stride;
}

static double product(const problem *p, const real *a, const real *b) {
    return nf_kernel->NF_REAL(row_dot)(a, b, (size_t)p->rows.width) / p->temperature;
}

/* ---- Classes that are left in the tiles ---- */

/* The sum of the class that starts at row i, there. */
static void sum_class(const problem *p, real *sums, const nf_weights *weights, int64_t i) {
    int64_t stride = p->rows.stride;
    size_t width = (size_t)p->rows.width;
    real *sum = sums + i * stride, *part = sum;
    for (int64_t j = i; j < p->end[i]; j++) { /* in parts, so that rounding errors do not pile up */
        real weight = weights ? (real)nf_relative_weight(weights, j) : 1;
        if ((j - i) % SUM_PART == 0) {
            part = sums + j * stride;
            nf_kernel->NF_REAL(row_scale)(part, row(p, j), weight, 1, width);
        } else {
            nf_kernel->NF_REAL(row_add_scaled)(part, row(p, j), weight, width);
        }
    }
    for (int64_t j = i + SUM_PART; j < p->end[i]; j += SUM_PART)
        nf_kernel->NF_REAL(row_add_scaled)(sum, sums + j * stride, 1, width);
}

static void class_sum_task(void *context, int64_t i, int worker) {
    (void)worker;
    const problem *p = context;
    if (!is_summed(p, i) || p->first[i] != i)
        return;
    sum_class(p, p->class_sums, NULL, i);
    if (p->weighted_sums)
        sum_class(p, p->weighted_sums, &p->weights, i);
}

static const real *class_sum(const problem *p, const real *sums, int64_t i) {
    return sums + p->first[i] * p->rows.stride;
}

static void summed_value(problem *p, int64_t i) {
    double all = product(p, class_sum(p, p->class_sums, i), row(p, i)), own = product(p, row(p, i), row(p, i));
    p->positive_logs[i] = -INFINITY;
    p->all_logs[i] = p->negative_logs[i];
    p->values[i] = p->negative_logs[i] - (all - own) / (double)positive_count(p, i);
}

static void summed_gradient(const problem *p, int64_t i, real *d_z) {
    size_t width = (size_t)p->rows.width;
    double mean = 1 / (double)positive_count(p, i), weight = nf_relative_weight(&p->weights, i);
    if (p->weighted_sums) { /* of i's own loss, and of the losses of its class */
        nf_kernel->NF_REAL(row_add_scaled)(d_z, class_sum(p, p->class_sums, i), (real)(-weight * mean), width);
        nf_kernel->NF_REAL(row_add_scaled)(d_z, class_sum(p, p->weighted_sums, i), (real)-mean, width);
    } else {
        nf_kernel->NF_REAL(row_add_scaled)(d_z, class_sum(p, p->class_sums, i), (real)(-2 * mean), width);
    }
    nf_kernel->NF_REAL(row_add_scaled)(d_z, row(p, i), (real)(2 * weight * mean), width);
}

/* ---- Classes pair by pair ---- */

static void paired_value(problem *p, int64_t i) {
    double highest = -INFINITY, sum = 0, mean = 0, count = (double)positive_count(p, i);
    for (int64_t j = p->first[i]; j < p->end[i]; j++) {
        if (j == i)
            continue;
        double s = product(p, row(p, i), row(p, j));
        if (s > highest) {
            sum *= exp(highest - s);
            highest = s;
        }
        sum += exp(s - highest);
        mean += s / count;
    }
    double positive_log = p->positive_logs[i] = highest + log(sum);
    p->values[i] = nf_log_share(&p->all_logs[i], positive_log, p->negative_logs[i]) +
                   (p->positives == NF_POSITIVES_OUT ? positive_log - mean : log(count));
}

/* dloss_i/ds_ij for a positive j with s_ij = s */
static double positive_slope(const problem *p, int64_t i, double s) {
    double share = exp(s - p->positive_logs[i]), excess = p->negative_logs[i] - p->positive_logs[i];
    if (p->positives == NF_POSITIVES_IN)
        return -nf_sigmoid(excess) * share;
    double others = 1 / (double)positive_count(p, i);
    return nf_sigmoid(-excess) * (share - others) - nf_sigmoid(excess) * others;
}

static void paired_gradient(const problem *p, int64_t i, real *d_z) {
    for (int64_t j = p->first[i]; j < p->end[i]; j++) {
        if (j == i)
            continue;
        double s = product(p, row(p, i), row(p, j));
        double slope = positive_slope(p, i, s) * nf_relative_weight(&p->weights, i) +
                       positive_slope(p, j, s) * nf_relative_weight(&p->weights, j);
        nf_kernel->NF_REAL(row_add_scaled)(d_z, row(p, j), (real)slope, (size_t)p->rows.width);
    }
}

/* ---- All anchors ---- */

/* Anchors without a positive have no loss, those without a negative get nothing from the tiles: an infinite log makes
 * all their exponentials 0. */
static void value_task(void *context, int64_t i, int worker) {
    (void)worker;
    problem *p = context;
    if (positive_count(p, i) == 0) {
        p->values[i] = 0;
        p->all_logs[i] = INFINITY;
    } else if (is_summed(p, i)) {
        summed_value(p, i);
    } else {
        paired_value(p, i);
        if (positive_count(p, i) + 1 == p->anchors)
            p->all_logs[i] = INFINITY;
    }
}

static void gradient_task(void *context, int64_t i, int worker) {
    (void)worker;
    problem *p = context;
    real *d_z = p->tiles.d_rows + i * p->rows.stride;
    if (is_summed(p, i))
        summed_gradient(p, i, d_z);
    else
        paired_gradient(p, i, d_z);
    double scale = p->weights.scale / (nf_reduction_divisor(p->reduction, p->active) * p->temperature);
    p->values[i] = NF_REAL(nf_rows_gradient)(&p->rows, i, p->d_z + p->order[i] * p->rows.width, d_z, scale);
}

/* Few enough for classes of any size to end soon. */
static int64_t anchors_per_task(const problem *p) {
    int64_t step = NF_REAL(nf_rows_per_task)(p->rows.width) / MOST_PAIRED;
    return step && p->positives == NF_POSITIVES_OUT ? step : 1;
}

/* In the order of the rows that were passed in; the mean is that of the anchors that have a positive. */
static void reduce(const problem *p, double *loss) {
    if (p->reduction == NF_REDUCE_NONE)
        nf_weigh_values(loss, p->values, &p->weights, p->order, p->anchors);
    else
        *loss = nf_weighted_sum(p->values, &p->weights, p->anchors) / nf_reduction_divisor(p->reduction, p->active);
}

static nf_status run(problem *p, double *loss, double *d_temperature) {
    int64_t group = anchors_per_task(p), rows = NF_REAL(nf_rows_per_task)(p->rows.width);
    if (p->class_sums)
        NF_TRY(nf_parallel_groups(class_sum_task, p, p->anchors, rows, NF_MAX_THREADS));
    NF_TRY(nf_parallel_groups(value_task, p, p->anchors, group, NF_MAX_THREADS));
    reduce(p, loss);
    NF_TRY(NF_REAL(nf_tiles_gradients)(&p->tiles, p->all_logs, p->all_logs, &p->weights));
    NF_TRY(nf_parallel_groups(gradient_task, p, p->anchors, group, NF_MAX_THREADS));
    /* Scores are homogeneous in z, of degree 2. */
    *d_temperature = -nf_sum(p->values, p->anchors) / (2 * p->temperature);
    return NF_OK;
}

static nf_status take_memory(problem *p) {
    size_t n = (size_t)p->anchors;
    NF_TRY(nf_alloc(&p->memory, n * (5 * sizeof(int64_t) + 5 * sizeof(double))));
    int64_t **integers[] = {&p->order, &p->first, &p->end, &p->left_first, &p->left_end};
    for (size_t i = 0; i < 5; i++)
        *integers[i] = (int64_t *)p->memory + i * n;
    double **numbers[] = {&p->negative_logs, &p->positive_logs, &p->all_logs, &p->values, &p->sorted_weights};
    for (size_t i = 0; i < 5; i++)
        *numbers[i] = (double *)(p->left_end + n) + i * n;
    return NF_OK;
}

/* Those of anchors without a positive don't matter, and become that of some other: they set no scale. */
static nf_status sort_weights(problem *p, const double *weights) {
    NF_TRY(nf_weights_open(&p->weights, weights, p->anchors));
    if (!p->weights.values || p->active == 0)
        return NF_OK;
    int64_t some = 0;
    while (positive_count(p, some) == 0)
        some++;
    for (int64_t i = 0; i < p->anchors; i++)
        p->sorted_weights[i] = weights[p->order[positive_count(p, i) > 0 ? i : some]];
    return nf_weights_open(&p->weights, p->sorted_weights, p->anchors);
}

/* Everything up to the log-sums of the negatives, after which it is known whether this precision will do. */
static nf_status prepare(problem *p, const real *z, const int64_t *labels, const double *weights, int64_t samples,
                         int64_t width, bool normalize) {
    NF_TRY(take_memory(p));
    NF_TRY(find_classes(p, labels, samples));
    NF_TRY(sort_weights(p, weights));
    NF_TRY(NF_REAL(nf_rows_open_ordered)(&p->rows, "z", z, p->order, p->anchors, width, normalize));
    NF_TRY(NF_REAL(nf_tiles_open)(&p->tiles, &p->rows, &p->rows, 0, p->temperature));
    p->tiles.first = p->left_first;
    p->tiles.end = p->left_end;
    bool any_summed = false;
    for (int64_t i = 0; i < p->anchors && !any_summed; i = p->end[i])
        any_summed = is_summed(p, i);
    if (any_summed) {
        int64_t size = p->anchors * p->rows.stride, sums = p->weights.values ? 2 : 1;
        NF_TRY(nf_alloc(&p->sums_memory, (size_t)(sums * size) * sizeof(real)));
        p->class_sums = p->sums_memory;
        p->weighted_sums = p->weights.values ? p->class_sums + size : NULL;
    }
    if (p->tiles.need_double || p->active == 0)
        return NF_OK;
    return NF_REAL(nf_tiles_log_sums)(&p->tiles, p->negative_logs, NULL);
}

static void release(problem *p) {
    NF_REAL(nf_tiles_close)(&p->tiles);
    NF_REAL(nf_rows_close)(&p->rows);
    nf_free(p->sums_memory);
    nf_free(p->memory);
}

#ifndef NF_DOUBLE
static nf_status in_double(double *loss, float *d_z, double *d_temperature, int64_t *active, const float *z,
                           const int64_t *labels, const double *weights, int64_t views, int64_t samples, int64_t width,
                           nf_positives positives, double temperature, bool normalize, nf_reduction reduction) {
    nf_wide wide = {.from = {z}, .to = {d_z}, .size = {views * samples * width}};
    NF_TRY(nf_wide_open(&wide));
    nf_status status = nf_sup_con_f64(loss, wide.d[0], d_temperature, active, wide.x[0], labels, weights, views,
                                      samples, width, positives, temperature, normalize, reduction);
    return nf_wide_close(&wide, status);
}
#endif

nf_status NF_REAL(nf_sup_con)(double *loss, real *d_z, double *d_temperature, int64_t *active, const real *z,
                              const int64_t *labels, const double *weights, int64_t views, int64_t samples,
                              int64_t width, nf_positives positives, double temperature, bool normalize,
                              nf_reduction reduction) {
    if (views < 1 || samples < 1 || width < 1)
        return nf_fail(NF_BAD_VALUE, "z must have at least one row and one column, got %lld views of %lld by %lld",
                       (long long)views, (long long)samples, (long long)width);
    NF_TRY(nf_temperature_check(temperature));
    problem p = {.positives = positives,
                 .reduction = reduction,
                 .anchors = views * samples,
                 .temperature = temperature,
                 .d_z = d_z};
    nf_status status = prepare(&p, z, labels, weights, samples, width, normalize);
    bool need_double = status == NF_OK && p.active > 0 && p.tiles.need_double;
    if (status == NF_OK && p.active == 0) {
        memset(loss, 0, (size_t)(reduction == NF_REDUCE_NONE ? p.anchors : 1) * sizeof *loss);
        *d_temperature = 0;
        memset(d_z, 0, (size_t)(p.anchors * width) * sizeof(real));
    } else if (status == NF_OK && !need_double) {
        status = run(&p, loss, d_temperature);
    }
    *active = p.active;
    release(&p);
#ifndef NF_DOUBLE
    if (need_double)
        return in_double(loss, d_z, d_temperature, active, z, labels, weights, views, samples, width, positives,
                         temperature, normalize, reduction);
#endif
    return status;
}
