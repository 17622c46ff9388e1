/* From float to double and back, for losses that float has too few digits for. */
#ifndef NF_LOSSES_PRECISION_H
#define NF_LOSSES_PRECISION_H

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>

/* Empty arrays may be NULL. */
static inline void nf_widen(double *wide, const float *x, int64_t size) {
    for (int64_t i = 0; i < size; i++)
        wide[i] = (double)x[i];
}
static inline void nf_narrow(float *x, const double *wide, int64_t size) {
    for (int64_t i = 0; i < size; i++)
        x[i] = (float)wide[i];
}

/* Whether all numbers are in float's range. */
static inline bool nf_fits_float(const double *wide, int64_t size) {
    for (int64_t i = 0; i < size; i++)
        if (!(fabs(wide[i]) <= (double)FLT_MAX))
            return false;
    return true;
}

#endif
