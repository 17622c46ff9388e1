/* Pairs that are said to be the same or not, each by itself: one pass over the rows. */
#include "../core/memory.h"
#include "../core/threads.h"
#include "differences.h"

typedef struct problem {
    nf_rows a, b;
    const int64_t *same;
    nf_pair_form form;
    nf_weights weights; /* of the pairs */
    double margin, divisor;
    real *d_a, *d_b;
    double *values; /* (samples) */
} problem;

static double absolute_distance(const real *a, const real *b, int64_t width) {
    double sum = 0;
    for (int64_t k = 0; k < width; k++)
        sum += fabs((double)a[k] - (double)b[k]);
    return sum;
}

/* u = slope d|a - b|_1/da */
static void absolute_gradient(real *u, const real *a, const real *b, int64_t width, double slope) {
    for (int64_t k = 0; k < width; k++)
        u[k] = (real)((a[k] > b[k]) - (a[k] < b[k])) * (real)slope;
}

/* L = 2 / Q E^2 or 2 Q exp(-2.77 E / Q); the value, and dL/dE */
static double chopra(const problem *p, int64_t i, double e, double *slope) {
    double q = p->margin;
    *slope = p->same[i] ? 4 / q * e : -2 * 2.77 * exp(-2.77 * e / q);
    return p->same[i] ? 2 / q * e * e : 2 * q * exp(-2.77 * e / q);
}

/* L = D^2 / 2 or max(0, m - D)^2 / 2; the value, and dL/dD */
static double hadsell(const problem *p, int64_t i, double distance, double *slope) {
    double lack = fmax(p->margin - distance, 0);
    *slope = p->same[i] ? distance : -lack;
    return (p->same[i] ? distance * distance : lack * lack) / 2;
}

static void pair_task(void *context, int64_t i, int worker) {
    (void)worker;
    const problem *p = context;
    int64_t width = p->a.width;
    const real *a = p->a.z + i * p->a.stride, *b = p->b.z + i * p->b.stride;
    double slope, square = 0, distance;
    if (p->form == NF_PAIR_CHOPRA) {
        distance = absolute_distance(a, b, width);
        p->values[i] = chopra(p, i, distance, &slope);
    } else {
        square = nf_difference_square(&p->a, &p->b, i);
        p->values[i] = hadsell(p, i, sqrt(square), &slope);
    }
    real *d_a = p->d_a + i * width, *d_b = p->d_b + i * width;
    if (p->form == NF_PAIR_CHOPRA)
        absolute_gradient(d_a, a, b, width, slope);
    else
        nf_difference_gradient(d_a, &p->a, &p->b, i, square, false, slope);
    memcpy(d_b, d_a, (size_t)width * sizeof(real));
    double scale = nf_weight(&p->weights, i) / p->divisor;
    NF_REAL(nf_rows_gradient)(&p->a, i, d_a, d_a, scale);
    NF_REAL(nf_rows_gradient)(&p->b, i, d_b, d_b, -scale);
}

static nf_status check(const int64_t *same, int64_t samples, int64_t width, nf_pair_form form, double margin) {
    if (samples < 1 || width < 1)
        return nf_fail(NF_BAD_VALUE, "a and b must have at least one row and one column, got shape (%lld, %lld)",
                       (long long)samples, (long long)width);
    if (!(margin > 0 && margin <= 1e30))
        return nf_fail(NF_BAD_VALUE, "%s must be > 0 and at most 1e30, got %g",
                       form == NF_PAIR_CHOPRA ? "bound" : "margin", margin);
    for (int64_t i = 0; i < samples; i++)
        if (same[i] != 0 && same[i] != 1)
            return nf_fail(NF_BAD_VALUE, "same must be 0 or 1, got %lld at position %lld", (long long)same[i],
                           (long long)i);
    return NF_OK;
}

static nf_status run(problem *p, double *loss, const real *a, const real *b, int64_t samples, int64_t width,
                     bool normalize, nf_reduction reduction) {
    NF_TRY(NF_REAL(nf_rows_open)(&p->a, "a", a, samples, width, normalize));
    NF_TRY(NF_REAL(nf_rows_open)(&p->b, "b", b, samples, width, normalize));
    NF_TRY(nf_differences_check(&p->a, "a"));
    NF_TRY(nf_differences_check(&p->b, "b"));
    void *memory;
    NF_TRY(nf_alloc(&memory, (size_t)samples * sizeof(double)));
    p->values = memory;
    p->divisor = nf_reduction_divisor(reduction, samples);
    nf_status status = nf_parallel_groups(pair_task, p, samples, NF_REAL(nf_rows_per_task)(width), NF_MAX_THREADS);
    if (status == NF_OK)
        nf_reduce(loss, p->values, &p->weights, samples, reduction);
    nf_free(memory);
    return status;
}

nf_status NF_REAL(nf_pair)(double *loss, real *d_a, real *d_b, const real *a, const real *b, const int64_t *same,
                           const double *weights, int64_t samples, int64_t width, nf_pair_form form, double margin,
                           bool normalize, nf_reduction reduction) {
    NF_TRY(check(same, samples, width, form, margin));
    problem p = {.same = same, .form = form, .margin = margin, .d_a = d_a, .d_b = d_b};
    NF_TRY(nf_weights_open(&p.weights, weights, samples));
    nf_status status = run(&p, loss, a, b, samples, width, normalize, reduction);
    NF_REAL(nf_rows_close)(&p.a);
    NF_REAL(nf_rows_close)(&p.b);
    return status;
}
