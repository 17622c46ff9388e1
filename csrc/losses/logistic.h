/* The logarithms and shares of one anchor, in double, right for any difference x of two log-sums, infinite ones too. */
#ifndef NF_LOSSES_LOGISTIC_H
#define NF_LOSSES_LOGISTIC_H

#include <math.h>

/* log(1 + exp(-|x|)): by how much softplus(x) is above max(x, 0), and log(exp(a) + exp(a + x)) above max(a, a + x) */
static inline double nf_log_excess(double x) {
    return log1p(exp(-fabs(x)));
}

/* log(1 + exp(x)) */
static inline double nf_softplus(double x) {
    return fmax(x, 0) + nf_log_excess(x);
}

/* 1 / (1 + exp(-x)) */
static inline double nf_sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

/* -log( exp(a) / (exp(a) + exp(b)) ), a finite, and the logarithm of that denominator, which is never below either */
static inline double nf_log_share(double *log_sum, double a, double b) {
    double excess = b - a, more = nf_log_excess(excess);
    *log_sum = fmax(a, b) + more;
    return fmax(excess, 0) + more;
}

/* log(exp(a) + exp(b)), a finite; never below either */
static inline double nf_log_add(double a, double b) {
    return fmax(a, b) + nf_log_excess(b - a);
}

#endif
