/* The filters of resampling, widened by the scale where an image shrinks. Source: Pillow, src/libImaging/Resample.c. */
#ifndef NF_KERNELS_FILTER_H
#define NF_KERNELS_FILTER_H

#include "../nearfar.h"

/* The filters' values at distance x; they are zero from their support on. */
static inline double nf_filter(nf_interpolation interpolation, double x) {
    const double a = -0.5; /* of the bicubic filter */
    x = x < 0 ? -x : x;
    if (interpolation == NF_BILINEAR)
        return x < 1 ? 1 - x : 0;
    if (x < 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

static inline int nf_filter_support(nf_interpolation interpolation) {
    return interpolation == NF_BILINEAR ? 1 : 2;
}

/* The most inputs that an output depends on. */
static inline size_t nf_filter_taps(int64_t in, int64_t out, int support) {
    double scale = in > out ? (double)in / (double)out : 1;
    return (size_t)(2 * support * scale) + 1;
}

#endif
