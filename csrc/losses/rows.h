/* Embeddings as the losses use them: checked, brought to length 1, and the way back for their gradients. */
#ifndef NF_LOSSES_ROWS_H
#define NF_LOSSES_ROWS_H

#include "../core/real.h"
#include "../core/status.h"

#include <math.h>

typedef struct nf_rows {
    real *z;             /* (count, width), `stride` apart, zeros between: x / |x|, or x itself */
    double largest_norm; /* of the rows of z */
    int64_t count, width, stride;
    bool normalized;
    real *first, *second; /* (count): z = (x first) second; two factors, because 1 / |x| may be out of range */
    double *norm;         /* (count) */
    void *memory;
} nf_rows;

/* The group of nf_parallel_groups where a task is one row of this width. */
int64_t NF_REAL(nf_rows_per_task)(int64_t width);

/* Fails if x (count, width) has a number that is not finite; `name` is for the message. Rows of zeros stay zeros.
 * Always to be closed. */
nf_status NF_REAL(nf_rows_open)(nf_rows *rows, const char *name, const real *x, int64_t count, int64_t width,
                                bool normalize);
/* The same with row i of z from row order[i] of x; order is a permutation. */
nf_status NF_REAL(nf_rows_open_ordered)(nf_rows *rows, const char *name, const real *x, const int64_t *order,
                                        int64_t count, int64_t width, bool normalize);
void NF_REAL(nf_rows_close)(nf_rows *rows);

/* Fails if the scores of rows a and b overflow. Sets `need_double` if float has too few digits or too small a range for
 * them. */
nf_status NF_REAL(nf_scores_check)(const nf_rows *a, const nf_rows *b, double temperature, bool *need_double);

static inline nf_status nf_temperature_check(double temperature) {
    if (temperature > 0 && isfinite(temperature))
        return NF_OK;
    return nf_fail(NF_BAD_VALUE, "temperature must be finite and > 0, got %g", temperature);
}

/* Room for rows of this width: whole cache lines, an odd number of them, so that a column is spread over the cache. And
 * for this many rows: whole blocks of the kernels. */
int64_t NF_REAL(nf_rows_stride)(int64_t width);
int64_t NF_REAL(nf_rows_room)(int64_t count);

/* d_x (one row) = the gradient with respect to row `i` of x, given that with respect to z but for the factor `scale`.
 * d_z is changed, and may be d_x. Returns the product of z and its gradient. */
double NF_REAL(nf_rows_gradient)(const nf_rows *rows, int64_t i, real *d_x, real *d_z, double scale);

#endif
