/* Losses of a critic that tells N joint pairs (i, i) from the N (N - 1) pairs (i, j) of others: the sigmoid loss and
 * the bounds on mutual information. With S the scores, each is
 *
 *     sum_i positive(S_ii) + negative_factor sum_{i != j} f(S_ij),   f(s) = log(1 + exp(s)) or exp(s),
 *
 * or, for Donsker and Varadhan's, has the logarithm of the second sum. The pairs (i, i) are computed one by one in
 * double, the others by the engine of pairs, or row by row from a matrix that is given. */
#include "../core/dispatch.h"
#include "../core/integers.h"
#include "../core/memory.h"
#include "../core/threads.h"
#include "logistic.h"
#include "pairs.h"
#include "precision.h"
#include "reduction.h"
#include "scores.h"

#include <string.h>

/* What the objective makes of the scores, once those of i != j have been met. */
typedef struct plan {
    nf_objective objective;
    nf_reduction reduction;
    nf_weights weights; /* of the samples */
    int64_t samples;
    double *own;    /* (samples): S_ii */
    double *others; /* (samples): sum_{j != i} f(S_ij), relative to exp(peak) */
    double *slopes; /* (samples): d loss / d S_ii */
    double peak;    /* of exponentials; 0 for logistic terms */
    double factor;  /* d loss / d S_ij = factor f'(S_ij) times the relative weight of i */
    void *memory;
} plan;

static bool is_logistic(nf_objective objective) {
    return objective == NF_SIGMOID || objective == NF_JENSEN_SHANNON;
}

/* What gradients overflow beyond: exp of it times any embedding should be a number. */
static double highest_exponent(void) {
    return sizeof(real) == sizeof(double) ? 680 : 80;
}

static nf_status check(nf_objective objective, nf_reduction reduction, const double *weights, int64_t samples) {
    if (samples < 1)
        return nf_fail(NF_BAD_VALUE, "x must have at least one row, got 0");
    if (samples < 2 && objective != NF_SIGMOID)
        return nf_fail(NF_BAD_VALUE, "mutual information takes at least 2 samples, got %lld", (long long)samples);
    if (objective == NF_DONSKER_VARADHAN && reduction != NF_REDUCE_MEAN)
        return nf_fail(NF_BAD_VALUE, "Donsker and Varadhan's bound is no mean over samples: reduction must be mean");
    if (objective == NF_DONSKER_VARADHAN && weights)
        return nf_fail(NF_BAD_VALUE, "Donsker and Varadhan's bound is no mean over samples: it takes no weights");
    return NF_OK;
}

static nf_status open_plan(plan *p, const double *weights) {
    NF_TRY(nf_weights_open(&p->weights, weights, p->samples));
    NF_TRY(nf_alloc(&p->memory, (size_t)p->samples * 3 * sizeof(double)));
    p->own = p->memory;
    p->others = p->own + p->samples;
    p->slopes = p->others + p->samples;
    return NF_OK;
}

/* Loss, slopes and factor, from own, others and peak. */
static nf_status finish_plan(plan *p, double *loss) {
    double n = (double)p->samples, one = 1 / nf_reduction_divisor(p->reduction, p->samples), sum = 0;
    double share = p->objective == NF_SIGMOID ? 1 : 1 / (n - 1); /* of a pair (i, j) in the value of sample i */
    if (p->objective == NF_NWJ) {
        if (p->peak > highest_exponent())
            return nf_fail(NF_BAD_VALUE, "scores of different samples must stay below %g, got up to %g",
                           highest_exponent(), p->peak);
        if (p->peak + log(fabs(p->weights.scale)) > highest_exponent())
            return nf_fail(NF_BAD_VALUE, "weights up to %g are too large for scores of different samples up to %g",
                           fabs(p->weights.scale), p->peak);
        share *= exp(p->peak - 1);
    }
    for (int64_t i = 0; i < p->samples; i++) {
        double value, weight = nf_weight(&p->weights, i);
        if (is_logistic(p->objective)) {
            value = nf_softplus(-p->own[i]) + share * p->others[i];
            p->slopes[i] = -nf_sigmoid(-p->own[i]) * one * weight;
        } else {
            value = -p->own[i] + (p->objective == NF_NWJ ? share * p->others[i] : 0);
            p->slopes[i] = -one * weight;
        }
        if (p->reduction == NF_REDUCE_NONE)
            loss[i] = weight * value;
        sum += weight * value;
    }
    if (p->reduction != NF_REDUCE_NONE)
        *loss = sum * one;
    p->factor = share * one * p->weights.scale;
    if (p->objective == NF_DONSKER_VARADHAN) {
        double total = nf_sum(p->others, p->samples);
        *loss += p->peak + log(total) - log(n * (n - 1));
        p->factor = 1 / total;
    }
    return NF_OK;
}

/* ---- Of x and y ---- */

typedef struct problem {
    plan plan;
    nf_scored scored;
    nf_pairs pairs;
    double bias;
} problem;

static void own_task(void *context, int64_t i, int worker) {
    (void)worker;
    problem *p = context;
    p->plan.own[i] = NF_REAL(nf_scored_pair)(&p->scored, i, i) + p->bias;
}

/* What the engine found for i != j, and the pairs (i, i). */
static void join_task(void *context, int64_t i, int worker) {
    (void)worker;
    problem *p = context;
    const nf_rows *rows = &p->scored.rows, *columns = &p->scored.columns;
    size_t width = (size_t)rows->width;
    real factor = (real)p->plan.factor;
    real *d_row = p->pairs.d_rows + i * rows->stride, *d_column = p->pairs.d_columns + i * rows->stride;
    real slope = (real)p->plan.slopes[i];
    nf_kernel->NF_REAL(row_scale)(d_row, d_row, factor, 1, width);
    nf_kernel->NF_REAL(row_scale)(d_column, d_column, factor, 1, width);
    nf_kernel->NF_REAL(row_add_scaled)(d_row, columns->z + i * rows->stride, slope, width);
    nf_kernel->NF_REAL(row_add_scaled)(d_column, rows->z + i * rows->stride, slope, width);
    p->pairs.row_weights[i] = p->pairs.row_weights[i] * p->plan.factor + p->plan.slopes[i];
    p->pairs.column_weights[i] = p->pairs.column_weights[i] * p->plan.factor + p->plan.slopes[i];
}

static nf_status run(problem *p, double *loss, real *d_x, real *d_y, real *d_w, double *d_log_scale, double *d_bias) {
    int64_t samples = p->plan.samples, group = NF_REAL(nf_rows_per_task)(p->scored.rows.width);
    NF_TRY(nf_parallel_groups(own_task, p, samples, group, NF_MAX_THREADS));
    if (is_logistic(p->plan.objective)) {
        NF_TRY(NF_REAL(nf_pairs_logistic)(&p->pairs));
    } else {
        bool distance = p->scored.score == NF_SCORE_DISTANCE;
        double bound = p->scored.bound, highest = (distance ? 0 : bound) + p->bias, lowest = -bound + p->bias;
        NF_TRY(NF_REAL(nf_pairs_exponential)(&p->pairs, &p->plan.peak, lowest, highest));
    }
    memcpy(p->plan.others, p->pairs.row_sums, (size_t)samples * sizeof(double));
    NF_TRY(finish_plan(&p->plan, loss));
    NF_TRY(nf_parallel_groups(join_task, p, samples, group, NF_MAX_THREADS));
    *d_bias = nf_sum(p->pairs.row_weights, samples);
    return NF_REAL(nf_scored_gradients)(&p->scored, d_x, d_y, d_w, d_log_scale, p->pairs.d_rows, p->pairs.d_columns,
                                        p->pairs.row_weights, p->pairs.column_weights);
}

static nf_status open_problem(problem *p, const double *weights) {
    NF_TRY(open_plan(&p->plan, weights));
    for (int64_t i = 0; i < p->plan.samples; i++)
        p->scored.row_offsets[i] += (real)p->bias;
    p->pairs = (nf_pairs){.rows = &p->scored.rows,
                          .columns = &p->scored.columns,
                          .row_offsets = p->scored.row_offsets,
                          .column_offsets = p->scored.column_offsets,
                          .scale = p->scored.scale * p->scored.factor,
                          .weights = p->plan.weights};
    return NF_REAL(nf_pairs_open)(&p->pairs);
}

#ifndef NF_DOUBLE
static nf_status in_double(double *loss, float *d_x, float *d_y, float *d_w, double *d_log_scale, double *d_bias,
                           const float *x, const float *y, const float *w, const double *weights, int64_t samples,
                           int64_t x_width, int64_t y_width, nf_objective objective, nf_score score, double scale,
                           double bias, nf_reduction reduction) {
    nf_wide wide = {.from = {x, y, w},
                    .to = {d_x, d_y, d_w},
                    .size = {samples * x_width, samples * y_width, w ? x_width * y_width : 0}};
    NF_TRY(nf_wide_open(&wide));
    nf_status status =
        nf_critic_loss_f64(loss, wide.d[0], wide.d[1], wide.d[2], d_log_scale, d_bias, wide.x[0], wide.x[1], wide.x[2],
                           weights, samples, x_width, y_width, objective, score, scale, bias, reduction);
    if (status == NF_OK && !nf_wide_fits_float(&wide))
        status = nf_fail(NF_BAD_VALUE, "gradients exceed the range of float32: scores are too large");
    return nf_wide_close(&wide, status);
}
#endif

nf_status NF_REAL(nf_critic_loss)(double *loss, real *d_x, real *d_y, real *d_w, double *d_log_scale, double *d_bias,
                                  const real *x, const real *y, const real *w, const double *weights, int64_t samples,
                                  int64_t x_width, int64_t y_width, nf_objective objective, nf_score score,
                                  double scale, double bias, nf_reduction reduction) {
    NF_TRY(check(objective, reduction, weights, samples));
    if (x_width < 1 || y_width < 1)
        return nf_fail(NF_BAD_VALUE, "x and y must have at least one column, got %lld and %lld", (long long)x_width,
                       (long long)y_width);
    if (!(fabs(bias) < 1e300))
        return nf_fail(NF_BAD_VALUE, "the bias must be finite, got %g", bias);
    problem p = {.plan = {.objective = objective, .reduction = reduction, .samples = samples}, .bias = bias};
    nf_status status = NF_REAL(nf_scored_open)(&p.scored, score, x, y, w, samples, samples, x_width, y_width, scale);
    bool need_double = p.scored.need_double || (sizeof(real) < sizeof(double) && fabs(bias) > 128);
    if (status == NF_OK && !need_double)
        status = open_problem(&p, weights);
    if (status == NF_OK && !need_double)
        status = run(&p, loss, d_x, d_y, d_w, d_log_scale, d_bias);
    NF_REAL(nf_pairs_close)(&p.pairs);
    NF_REAL(nf_scored_close)(&p.scored);
    nf_free(p.plan.memory);
#ifndef NF_DOUBLE
    if (status == NF_OK && need_double)
        return in_double(loss, d_x, d_y, d_w, d_log_scale, d_bias, x, y, w, weights, samples, x_width, y_width,
                         objective, score, scale, bias, reduction);
#endif
    return status;
}

/* ---- Of a matrix of scores ---- */

enum { PIECE = 512 }; /* columns that are met at once; their sums are then added in double */

typedef struct matrix {
    plan plan;
    const real *scores;
    real *d_scores;
    double *highest; /* (samples): of row i without S_ii; NaN if one is not finite */
} matrix;

static void highest_task(void *context, int64_t i, int worker) {
    (void)worker;
    matrix *m = context;
    int64_t n = m->plan.samples;
    const real *row = m->scores + i * n;
    m->plan.own[i] = (double)row[i];
    m->highest[i] = -INFINITY;
    double largest = (double)nf_kernel->NF_REAL(row_largest)(row, (size_t)n);
    for (int64_t j = 0; j < n; j++)
        if (j != i && (double)row[j] > m->highest[i])
            m->highest[i] = (double)row[j];
    if (!(largest < 1e290))
        m->highest[i] = NAN;
}

/* d_scores = f', and the sums of f. */
static void row_task(void *context, int64_t i, int worker) {
    (void)worker;
    matrix *m = context;
    int64_t n = m->plan.samples;
    real buffer[PIECE], weights[PIECE], zeros[PIECE] = {0}, sum, weight_sum;
    m->plan.others[i] = 0;
    for (int64_t first = 0; first < n; first += PIECE) {
        int64_t count = nf_min(PIECE, n - first), padded = nf_round_up(count, 16);
        memcpy(buffer, m->scores + i * n + first, (size_t)count * sizeof(real));
        for (int64_t j = count; j < padded; j++)
            buffer[j] = (real)-INFINITY;
        if (i >= first && i < first + count)
            buffer[i - first] = (real)-INFINITY;
        if (is_logistic(m->plan.objective)) {
            nf_kernel->NF_REAL(tile_logistic)(&sum, &weight_sum, weights, buffer, 1, (size_t)padded, PIECE, 1, zeros,
                                              zeros);
        } else {
            nf_kernel->NF_REAL(tile_exponential)(&sum, weights, buffer, 1, (size_t)padded, PIECE, 1, zeros, zeros,
                                                 (real)m->plan.peak);
        }
        m->plan.others[i] += (double)sum;
        memcpy(m->d_scores + i * n + first, buffer, (size_t)count * sizeof(real));
    }
}

static void scale_task(void *context, int64_t i, int worker) {
    (void)worker;
    matrix *m = context;
    real *row = m->d_scores + i * m->plan.samples;
    double factor = m->plan.factor * nf_relative_weight(&m->plan.weights, i);
    nf_kernel->NF_REAL(row_scale)(row, row, (real)factor, 1, (size_t)m->plan.samples);
    row[i] = (real)m->plan.slopes[i];
}

static nf_status run_matrix(matrix *m, double *loss) {
    int64_t n = m->plan.samples;
    NF_TRY(nf_parallel(highest_task, m, n, NF_MAX_THREADS));
    double highest = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        if (isnan(m->highest[i]))
            return nf_fail(NF_BAD_VALUE, "scores must be finite and below 1e290 in size, but are not in row %lld",
                           (long long)i);
        highest = fmax(highest, m->highest[i]);
    }
    m->plan.peak = is_logistic(m->plan.objective) ? 0 : highest;
    NF_TRY(nf_parallel(row_task, m, n, NF_MAX_THREADS));
    NF_TRY(finish_plan(&m->plan, loss));
    return nf_parallel(scale_task, m, n, NF_MAX_THREADS);
}

nf_status NF_REAL(nf_critic_matrix_loss)(double *loss, real *d_scores, const real *scores, const double *weights,
                                         int64_t samples, nf_objective objective, nf_reduction reduction) {
    NF_TRY(check(objective, reduction, weights, samples));
    void *memory;
    NF_TRY(nf_alloc(&memory, (size_t)samples * sizeof(double)));
    matrix m = {.plan = {.objective = objective, .reduction = reduction, .samples = samples},
                .scores = scores,
                .d_scores = d_scores,
                .highest = memory};
    nf_status status = open_plan(&m.plan, weights);
    if (status == NF_OK)
        status = run_matrix(&m, loss);
    nf_free(m.plan.memory);
    nf_free(memory);
    return status;
}
