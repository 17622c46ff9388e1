/* What the value of each anchor counts for in a loss, as for an optimiser's gradient of some function of these values.
 *
 * Equal weights are but a factor, and cost nothing. Else the engines use weights relative to a power of two that none
 * exceeds, so that exponentials stay in range, and the scale of the gradient has that power. */
#ifndef NF_LOSSES_WEIGHTS_H
#define NF_LOSSES_WEIGHTS_H

#include "../core/status.h"

#include <math.h>

typedef struct nf_weights {
    const double *values;  /* (anchors); NULL: all are `scale` */
    double scale, inverse; /* the power of two, and one over it */
} nf_weights;

/* weights: (count), NULL: all are 1. Fails unless they are finite and at most 1e30 in size. */
static inline nf_status nf_weights_open(nf_weights *w, const double *weights, int64_t count) {
    static const double most = 1e30;
    enum { LEAST_EXPONENT = -1000 }; /* one over the power is a number, too */
    *w = (nf_weights){.scale = 1, .inverse = 1};
    if (!weights)
        return NF_OK;
    double largest = 0;
    bool equal = true;
    for (int64_t i = 0; i < count; i++) {
        if (!(fabs(weights[i]) <= most))
            return nf_fail(NF_BAD_VALUE, "weights must be finite and at most %g in size, got %g in place %lld", most,
                           weights[i], (long long)i);
        largest = fmax(largest, fabs(weights[i]));
        equal = equal && weights[i] == weights[0];
    }
    if (equal) {
        w->scale = weights[0];
        return NF_OK;
    }
    int exponent;
    frexp(largest, &exponent);
    if (exponent < LEAST_EXPONENT)
        exponent = LEAST_EXPONENT;
    *w = (nf_weights){weights, ldexp(1, exponent), ldexp(1, -exponent)};
    return NF_OK;
}

static inline double nf_weight(const nf_weights *w, int64_t i) {
    return w->values ? w->values[i] : w->scale;
}

/* Over the scale: from -1 to 1, and 1 if all weights are equal. */
static inline double nf_relative_weight(const nf_weights *w, int64_t i) {
    return w->values ? w->values[i] * w->inverse : 1;
}

#endif
