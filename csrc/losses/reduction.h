/* What a loss makes of the values of its anchors; in double, and in their order. */
#ifndef NF_LOSSES_REDUCTION_H
#define NF_LOSSES_REDUCTION_H

#include "../nearfar.h"
#include "weights.h"

static inline double nf_sum(const double *x, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += x[i];
    return sum;
}

/* What the sum over `count` anchors and its gradient are divided by. */
static inline double nf_reduction_divisor(nf_reduction reduction, int64_t count) {
    return reduction == NF_REDUCE_MEAN ? (double)count : 1;
}

static inline double nf_weighted_sum(const double *values, const nf_weights *weights, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += nf_weight(weights, i) * values[i];
    return sum;
}

/* loss (count) = the values times their weights; that of value i is loss[order[i]], or with NULL loss[i]. */
static inline void nf_weigh_values(double *loss, const double *values, const nf_weights *weights, const int64_t *order,
                                   int64_t count) {
    for (int64_t i = 0; i < count; i++)
        loss[order ? order[i] : i] = nf_weight(weights, i) * values[i];
}

/* loss = the values (count) times their weights, or the mean or sum of these: one number. */
static inline void nf_reduce(double *loss, const double *values, const nf_weights *weights, int64_t count,
                             nf_reduction reduction) {
    if (reduction == NF_REDUCE_NONE)
        nf_weigh_values(loss, values, weights, NULL, count);
    else
        *loss = nf_weighted_sum(values, weights, count) / nf_reduction_divisor(reduction, count);
}

#endif
