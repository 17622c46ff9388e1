/* Distances of rows that are given as pairs: value and gradient from the difference itself, so that nothing cancels. */
#ifndef NF_LOSSES_DIFFERENCES_H
#define NF_LOSSES_DIFFERENCES_H

#include "../core/dispatch.h"
#include "reduction.h"
#include "rows.h"

#include <math.h>
#include <string.h>

/* Fails unless squares and differences of all rows are in range. */
static inline nf_status nf_differences_check(const nf_rows *rows, const char *name) {
    double limit = sizeof(real) < sizeof(double) ? 1e37 : 1e150;
    if (rows->largest_norm < limit)
        return NF_OK;
    return nf_fail(NF_BAD_VALUE, "%s must have rows shorter than %g, got length %g", name, limit, rows->largest_norm);
}

static inline double nf_difference_square(const nf_rows *a, const nf_rows *b, int64_t i) {
    return nf_kernel->NF_REAL(row_squared_distance)(a->z + i * a->stride, b->z + i * b->stride, (size_t)a->width);
}

/* u = slope dD/da for D = |a_i - b_i|, or its square, of which `square` is the value; zeros where D is 0. */
static inline void nf_difference_gradient(real *u, const nf_rows *a, const nf_rows *b, int64_t i, double square,
                                          bool squared, double slope) {
    size_t width = (size_t)a->width;
    double distance = sqrt(square);
    bool apart = distance > (sizeof(real) < sizeof(double) ? 1e-37 : 1e-150);
    double first = squared ? 2 : apart ? 1 / distance : 0;
    memcpy(u, a->z + i * a->stride, width * sizeof(real));
    nf_kernel->NF_REAL(row_add_scaled)(u, b->z + i * b->stride, -1, width);
    nf_kernel->NF_REAL(row_scale)(u, u, (real)first, (real)slope, width);
}

#endif
