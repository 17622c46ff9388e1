/* The logarithms and shares of one anchor, in double, right for any difference x of two log-sums, infinite ones too. */
#ifndef NF_LOSSES_LOGISTIC_H
#define NF_LOSSES_LOGISTIC_H

#include <math.h>

/* log(1 + exp(x)) */
static inline double nf_softplus(double x) {
    return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}

/* 1 / (1 + exp(-x)) */
static inline double nf_sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

/* log(exp(a) + exp(b)), a finite; never below either */
static inline double nf_log_add(double a, double b) {
    return a > b ? a + log1p(exp(b - a)) : b + log1p(exp(a - b));
}

#endif
