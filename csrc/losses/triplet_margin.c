/* Triplets that are given as three arrays, each by itself: one pass over the rows. */
#include "../core/memory.h"
#include "../core/threads.h"
#include "differences.h"
#include "logistic.h"

enum { ANCHOR, POSITIVE, NEGATIVE, KINDS };

typedef struct problem {
    nf_rows rows[KINDS];
    nf_weights weights; /* of the triplets */
    double margin, divisor;
    bool squared, soft, swap;
    real *d_rows[KINDS];
    real *scratch;  /* (workers, width) */
    double *values; /* (samples) */
} problem;

static double distance_of(const problem *p, double square) {
    return p->squared ? square : sqrt(square);
}

/* With `swap` the negative is as near as it is to the anchor or to the positive, whichever is less. */
static void triplet_task(void *context, int64_t i, int worker) {
    const problem *p = context;
    const nf_rows *anchor = &p->rows[ANCHOR], *positive = &p->rows[POSITIVE], *negative = &p->rows[NEGATIVE];
    size_t width = (size_t)anchor->width;
    real *u = p->scratch + worker * anchor->width;
    double near = nf_difference_square(anchor, positive, i), far = nf_difference_square(anchor, negative, i);
    const nf_rows *source = anchor;
    if (p->swap) {
        double other = nf_difference_square(positive, negative, i);
        source = other < far ? positive : anchor;
        far = fmin(other, far);
    }
    double excess = distance_of(p, near) - distance_of(p, far) + p->margin;
    p->values[i] = p->soft ? nf_softplus(excess) : fmax(excess, 0);
    double slope = p->soft ? nf_sigmoid(excess) : excess > 0;
    real *d_anchor = p->d_rows[ANCHOR] + i * anchor->width, *d_positive = p->d_rows[POSITIVE] + i * anchor->width;
    real *d_negative = p->d_rows[NEGATIVE] + i * anchor->width;
    nf_difference_gradient(d_anchor, anchor, positive, i, near, p->squared, slope);
    nf_kernel->NF_REAL(row_scale)(d_positive, d_anchor, -1, 1, width);
    nf_difference_gradient(u, source, negative, i, far, p->squared, -slope);
    nf_kernel->NF_REAL(row_scale)(d_negative, u, -1, 1, width);
    nf_kernel->NF_REAL(row_add_scaled)(source == anchor ? d_anchor : d_positive, u, 1, width);
    double scale = nf_weight(&p->weights, i) / p->divisor;
    NF_REAL(nf_rows_gradient)(anchor, i, d_anchor, d_anchor, scale);
    NF_REAL(nf_rows_gradient)(positive, i, d_positive, d_positive, scale);
    NF_REAL(nf_rows_gradient)(negative, i, d_negative, d_negative, scale);
}

static nf_status run(problem *p, double *loss, const real *const x[KINDS], int64_t samples, int64_t width,
                     bool normalize, nf_reduction reduction) {
    static const char *const names[KINDS] = {"anchor", "positive", "negative"};
    for (int kind = 0; kind < KINDS; kind++) {
        NF_TRY(NF_REAL(nf_rows_open)(&p->rows[kind], names[kind], x[kind], samples, width, normalize));
        NF_TRY(nf_differences_check(&p->rows[kind], names[kind]));
    }
    int workers = nf_get_num_threads();
    void *memory;
    NF_TRY(nf_alloc(&memory, (size_t)samples * sizeof(double) + (size_t)(workers * width) * sizeof(real)));
    p->values = memory;
    p->scratch = (real *)(p->values + samples);
    p->divisor = nf_reduction_divisor(reduction, samples);
    nf_status status = nf_parallel_groups(triplet_task, p, samples, NF_REAL(nf_rows_per_task)(width), workers);
    if (status == NF_OK)
        nf_reduce(loss, p->values, &p->weights, samples, reduction);
    nf_free(memory);
    return status;
}

nf_status NF_REAL(nf_triplet_margin)(double *loss, real *d_anchor, real *d_positive, real *d_negative,
                                     const real *anchor, const real *positive, const real *negative,
                                     const double *weights, int64_t samples, int64_t width, double margin, bool squared,
                                     bool soft, bool swap, bool normalize, nf_reduction reduction) {
    if (samples < 1 || width < 1)
        return nf_fail(NF_BAD_VALUE, "anchor must have at least one row and one column, got shape (%lld, %lld)",
                       (long long)samples, (long long)width);
    if (!(margin >= 0 && margin <= 1e30))
        return nf_fail(NF_BAD_VALUE, "margin must be >= 0 and at most 1e30, got %g", margin);
    problem p = {
        .margin = margin, .squared = squared, .soft = soft, .swap = swap, .d_rows = {d_anchor, d_positive, d_negative}};
    NF_TRY(nf_weights_open(&p.weights, weights, samples));
    const real *const x[KINDS] = {anchor, positive, negative};
    nf_status status = run(&p, loss, x, samples, width, normalize, reduction);
    for (int kind = 0; kind < KINDS; kind++)
        NF_REAL(nf_rows_close)(&p.rows[kind]);
    return status;
}
