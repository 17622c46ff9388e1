#include "batch_norm.h"

#include <math.h>
#include <string.h>

#include "../core/dispatch.h"
#include "../core/integers.h"
#include "../core/threads.h"

/* Sums are taken over blocks of so many rows, and those added in double; a task has several blocks. */
enum { BLOCK_ROWS = 96, BLOCKS_PER_TASK = 8, CHANNELS_PER_TASK = 32 };

static int64_t group_rows(const nf_batch_norm *norm) {
    return norm->rows / norm->groups;
}

int64_t nf_batch_norm_blocks(const nf_batch_norm *norm) {
    return nf_ceil_div(group_rows(norm), BLOCK_ROWS);
}

static int64_t block_count(const nf_batch_norm *norm) {
    return norm->groups * nf_batch_norm_blocks(norm);
}

/* Saved: mean and inverse deviation of each group and channel, then the factors and shifts of y = factor x + shift. */
static size_t affine_size(const nf_batch_norm *norm) {
    return (size_t)(2 * norm->groups * norm->c);
}

size_t nf_batch_norm_saved_size(const nf_batch_norm *norm) {
    return 2 * affine_size(norm);
}

const float *nf_batch_norm_saved_factors(const nf_batch_norm *norm, const float *saved) {
    return saved + affine_size(norm);
}

size_t nf_batch_norm_evaluate_scratch(const nf_batch_norm *norm) {
    return affine_size(norm);
}

size_t nf_batch_norm_factors_size(const nf_batch_norm *norm) {
    return (size_t)(3 * norm->groups * norm->c);
}

typedef struct norm_job {
    const nf_batch_norm *norm;
    float *y, *saved, *running_mean, *running_var, *factors;
    const float *x, *addend, *weight, *bias;
    const nf_batch_norm_moments *moments;
    uint16_t *stored;
} norm_job;

typedef struct row_range {
    int64_t group, first, count;
} row_range;

static row_range block_rows(const nf_batch_norm *norm, int64_t block) {
    row_range range = {.group = block / nf_batch_norm_blocks(norm)};
    int64_t start = block % nf_batch_norm_blocks(norm) * BLOCK_ROWS;
    range.first = range.group * group_rows(norm) + start;
    range.count = nf_min(group_rows(norm) - start, BLOCK_ROWS);
    return range;
}

/* Blocks, several to a task, and what is done to each. */
typedef struct blocks_job {
    const nf_batch_norm *norm;
    void (*each)(const void *context, int64_t block, row_range rows);
    const void *context;
} blocks_job;

static void blocks_task(void *context, int64_t task, int worker) {
    (void)worker;
    const blocks_job *job = context;
    int64_t end = nf_min((task + 1) * BLOCKS_PER_TASK, block_count(job->norm));
    for (int64_t block = task * BLOCKS_PER_TASK; block < end; block++)
        job->each(job->context, block, block_rows(job->norm, block));
}

static nf_status over_blocks(const nf_batch_norm *norm, void (*each)(const void *, int64_t, row_range),
                             const void *context) {
    blocks_job job = {norm, each, context};
    return nf_parallel(blocks_task, &job, nf_ceil_div(block_count(norm), BLOCKS_PER_TASK), norm->workers);
}

static nf_status over_channels(const nf_batch_norm *norm, nf_task task, void *context) {
    return nf_parallel(task, context, nf_ceil_div(norm->c, CHANNELS_PER_TASK), norm->workers);
}

/* ---- Forward ---- */

size_t nf_batch_norm_moments_size(const nf_batch_norm *norm, int64_t blocks) {
    return (size_t)(norm->groups * blocks * (2 * norm->c + 1));
}

nf_batch_norm_moments nf_batch_norm_moments_in(float *memory, const nf_batch_norm *norm, int64_t blocks) {
    return (nf_batch_norm_moments){
        .c = norm->c, .blocks = blocks, .moments = memory, .counts = memory + norm->groups * blocks * 2 * norm->c};
}

void nf_batch_norm_take_moments(const nf_batch_norm_moments *of, int64_t block, const float *x, int64_t count,
                                bool accumulate) {
    int64_t at = of->block + block, before = accumulate ? (int64_t)of->counts[at] : 0;
    float *mean = of->moments + at * 2 * of->c;
    nf_kernel->moments(mean, mean + of->c, x, (size_t)count, (size_t)of->c, (size_t)before);
    of->counts[at] = (float)(before + count);
}

static void block_moments(const void *context, int64_t block, row_range rows) {
    const norm_job *job = context;
    nf_batch_norm_take_moments(job->moments, block, job->x + rows.first * job->norm->c, rows.count, false);
}

nf_status nf_batch_norm_measure(const nf_batch_norm *norm, const nf_batch_norm_moments *moments, const float *x) {
    norm_job job = {.norm = norm, .moments = moments, .x = x};
    return over_blocks(norm, block_moments, &job);
}

/* The channels of a task. */
typedef struct channel_range {
    int64_t first, count;
} channel_range;

static channel_range task_channels(const nf_batch_norm *norm, int64_t task) {
    int64_t first = task * CHANNELS_PER_TASK;
    return (channel_range){first, nf_min(CHANNELS_PER_TASK, norm->c - first)};
}

/* Of some channels and one group, from the blocks' moments: those of all its rows (Chan, Golub and LeVeque). */
static void merge_moments(const norm_job *job, int64_t group, channel_range of, double *mean, double *squares) {
    const nf_batch_norm *norm = job->norm;
    const nf_batch_norm_moments *from = job->moments;
    double count = 0;
    for (int64_t j = 0; j < of.count; j++)
        mean[j] = squares[j] = 0;
    for (int64_t block = group * from->blocks; block < (group + 1) * from->blocks; block++) {
        const float *moments = from->moments + block * 2 * norm->c + of.first;
        double more = (double)from->counts[block];
        for (int64_t j = 0; j < of.count; j++) {
            double difference = (double)moments[j] - mean[j];
            squares[j] += (double)moments[norm->c + j] + difference * difference * count * more / (count + more);
            mean[j] += difference * more / (count + more);
        }
        count += more;
    }
}

/* Moments of some channels, and from them factor and shift. */
static void statistics_task(void *context, int64_t task, int worker) {
    (void)worker;
    const norm_job *job = context;
    const nf_batch_norm *norm = job->norm;
    channel_range of = task_channels(norm, task);
    int64_t c = norm->c;
    double rows = (double)group_rows(norm), momentum = (double)norm->momentum;
    for (int64_t group = 0; group < norm->groups; group++) {
        double mean[CHANNELS_PER_TASK], squares[CHANNELS_PER_TASK];
        merge_moments(job, group, of, mean, squares);
        float *saved = job->saved + 2 * group * c + of.first, *factors = job->factors + 2 * group * c + of.first;
        const float *weight = job->weight + of.first, *bias = job->bias + of.first;
        float *running_mean = job->running_mean + of.first, *running_var = job->running_var + of.first;
        for (int64_t j = 0; j < of.count; j++) {
            double inverse = 1 / sqrt(squares[j] / rows + (double)norm->eps), factor = (double)weight[j] * inverse;
            saved[j] = (float)mean[j];
            saved[c + j] = (float)inverse;
            factors[j] = (float)factor;
            factors[c + j] = (float)((double)bias[j] - mean[j] * factor);
            running_mean[j] = (float)((1 - momentum) * (double)running_mean[j] + momentum * mean[j]);
            running_var[j] = (float)((1 - momentum) * (double)running_var[j] + momentum * squares[j] / (rows - 1));
        }
    }
}

static void block_apply(const void *context, int64_t block, row_range rows) {
    const norm_job *job = context;
    (void)block;
    int64_t c = job->norm->c, at = rows.first * c;
    const float *factor = job->factors + 2 * rows.group * c;
    nf_kernel->scale_shift(job->y + at, job->x + at, job->addend ? job->addend + at : NULL, factor, factor + c,
                           (size_t)rows.count, (size_t)c, job->norm->relu);
}

nf_status nf_batch_norm_forward(const nf_batch_norm *norm, float *y, float *saved, float *running_mean,
                                float *running_var, const float *x, const float *addend,
                                const nf_batch_norm_moments *moments, const float *weight, const float *bias) {
    norm_job job = {.norm = norm,
                    .y = y,
                    .saved = saved,
                    .running_mean = running_mean,
                    .running_var = running_var,
                    .factors = saved + affine_size(norm),
                    .x = x,
                    .addend = addend,
                    .moments = moments,
                    .weight = weight,
                    .bias = bias};
    NF_TRY(over_channels(norm, statistics_task, &job));
    return y ? over_blocks(norm, block_apply, &job) : NF_OK;
}

void nf_batch_norm_factors(float *factor, float *shift, int64_t c, float eps, const float *running_mean,
                           const float *running_var, const float *weight, const float *bias) {
    for (int64_t j = 0; j < c; j++) {
        double scale = (double)weight[j] / sqrt((double)running_var[j] + (double)eps);
        factor[j] = (float)scale;
        shift[j] = (float)((double)bias[j] - (double)running_mean[j] * scale);
    }
}

nf_status nf_batch_norm_evaluate(const nf_batch_norm *norm, float *y, const float *x, const float *addend,
                                 const float *running_mean, const float *running_var, const float *weight,
                                 const float *bias, float *scratch) {
    nf_batch_norm all = *norm;
    all.groups = 1;
    norm_job job = {.norm = &all, .y = y, .factors = scratch, .x = x, .addend = addend};
    nf_batch_norm_factors(scratch, scratch + norm->c, norm->c, norm->eps, running_mean, running_var, weight, bias);
    return over_blocks(&all, block_apply, &job);
}

nf_status nf_batch_norm_again(const nf_batch_norm *norm, float *y, const float *x, const float *addend,
                              const float *saved) {
    float *factors = (float *)(uintptr_t)saved + affine_size(norm);
    norm_job job = {.norm = norm, .y = y, .factors = factors, .x = x, .addend = addend};
    return over_blocks(norm, block_apply, &job);
}

nf_status nf_batch_norm_rows(const nf_batch_norm *norm, float *y, const float *x, const float *saved, int64_t first,
                             int64_t count) {
    nf_batch_norm part = *norm;
    part.rows = count;
    part.groups = 1;
    float *factors = (float *)(uintptr_t)saved + affine_size(norm) + first / group_rows(norm) * 2 * norm->c;
    norm_job job = {.norm = &part, .y = y, .factors = factors, .x = x};
    return over_blocks(&part, block_apply, &job);
}

static void block_store(const void *context, int64_t block, row_range rows) {
    const norm_job *job = context;
    (void)block;
    int64_t c = job->norm->c, at = rows.first * c;
    const float *factor = job->factors + 2 * rows.group * c;
    nf_kernel->to_bfloat16_by_side(job->stored + at, job->x + at, factor, factor + c, (size_t)rows.count, (size_t)c);
}

nf_status nf_batch_norm_store(const nf_batch_norm *norm, uint16_t *stored, const float *x, const float *saved) {
    float *factors = (float *)(uintptr_t)saved + affine_size(norm);
    norm_job job = {.norm = norm, .stored = stored, .factors = factors, .x = x};
    return over_blocks(norm, block_store, &job);
}

/* ---- Backward ----
 *
 * With u = (x - mean) / s, s = sqrt(variance + eps), M rows, and d the gradient before ReLU:
 *   d_bias = sum d,  d_weight = sum d u,  d_x = weight / s (d - sum d / M - u sum(d u) / M). */

void nf_batch_norm_sum_rows(const nf_batch_norm_sums *of, int64_t block, float *d_y, int64_t first, int64_t count,
                            bool accumulate) {
    const nf_batch_norm *norm = of->norm;
    int64_t c = norm->c, row = of->row + first, at = row * c, group = row / group_rows(norm);
    float *sum = of->sums + (of->block + block) * 2 * c;
    const float *mean = of->saved + 2 * group * c, *factor = mean + affine_size(norm);
    nf_kernel->batch_norm_sums(sum, sum + c, d_y, of->y ? of->y + at : NULL, of->x + at, mean, factor, factor + c,
                               (size_t)count, (size_t)c, norm->relu, accumulate);
}

typedef struct sums_job {
    const nf_batch_norm_sums *of;
    float *d_y;
} sums_job;

static void block_sums(const void *context, int64_t block, row_range rows) {
    const sums_job *job = context;
    nf_batch_norm_sum_rows(job->of, block, job->d_y + rows.first * job->of->norm->c, rows.first, rows.count, false);
}

nf_status nf_batch_norm_sum(const nf_batch_norm_sums *of, float *d_y) {
    sums_job job = {of, d_y};
    return over_blocks(of->norm, block_sums, &job);
}

typedef struct parameters_job {
    const nf_batch_norm_sums *of;
    float *factors, *d_weight, *d_bias;
    const float *weight;
    bool accumulate;
} parameters_job;

static void parameters_task(void *context, int64_t task, int worker) {
    (void)worker;
    const parameters_job *job = context;
    const nf_batch_norm *norm = job->of->norm;
    channel_range of = task_channels(norm, task);
    int64_t c = norm->c, blocks = job->of->blocks;
    double rows = (double)group_rows(norm), d_weight[CHANNELS_PER_TASK] = {0}, d_bias[CHANNELS_PER_TASK] = {0};
    for (int64_t group = 0; group < norm->groups; group++) {
        double sum[CHANNELS_PER_TASK] = {0}, sum_x[CHANNELS_PER_TASK] = {0};
        for (int64_t block = group * blocks; block < (group + 1) * blocks; block++) {
            const float *partial = job->of->sums + block * 2 * c + of.first;
            for (int64_t j = 0; j < of.count; j++) {
                sum[j] += (double)partial[j];
                sum_x[j] += (double)partial[c + j];
            }
        }
        const float *saved_inverse = job->of->saved + (2 * group + 1) * c + of.first, *weight = job->weight + of.first;
        float *factors = job->factors + 3 * group * c + of.first;
        for (int64_t j = 0; j < of.count; j++) {
            double inverse = (double)saved_inverse[j], factor = (double)weight[j] * inverse;
            factors[j] = (float)factor;
            factors[c + j] = (float)(-factor * inverse * inverse * sum_x[j] / rows);
            factors[2 * c + j] = (float)(-factor * sum[j] / rows);
            d_bias[j] += sum[j];
            d_weight[j] += sum_x[j] * inverse;
        }
    }
    for (int64_t j = 0; j < of.count; j++) {
        float *weight = job->d_weight + of.first + j, *bias = job->d_bias + of.first + j;
        *weight = (job->accumulate ? *weight : 0.0f) + (float)d_weight[j];
        *bias = (job->accumulate ? *bias : 0.0f) + (float)d_bias[j];
    }
}

nf_status nf_batch_norm_backward_parameters(const nf_batch_norm_sums *of, float *factors, float *d_weight,
                                            float *d_bias, const float *weight, bool accumulate) {
    parameters_job job = {of, factors, d_weight, d_bias, weight, accumulate};
    return over_channels(of->norm, parameters_task, &job);
}

void nf_batch_norm_backward_rows(const nf_batch_norm_gradient *of, float *d_x, int64_t first, int64_t count,
                                 bool accumulate) {
    const nf_batch_norm *norm = of->norm;
    int64_t c = norm->c, group = first / group_rows(norm), at = first * c;
    const float *factors = of->factors + 3 * group * c;
    const float *affine = nf_batch_norm_saved_factors(norm, of->saved) + 2 * group * c;
    nf_kernel->batch_norm_backward(d_x, of->d_y + at, of->x + at, of->saved + 2 * group * c, factors, factors + c,
                                   factors + 2 * c, norm->relu && !of->masked ? affine : NULL, (size_t)count, (size_t)c,
                                   accumulate);
}

typedef struct input_job {
    const nf_batch_norm_gradient *of;
    bool accumulate;
} input_job;

static void block_input_gradient(const void *context, int64_t block, row_range rows) {
    (void)block;
    const input_job *job = context;
    float *d_x = job->of->d_x + rows.first * job->of->norm->c;
    nf_batch_norm_backward_rows(job->of, d_x, rows.first, rows.count, job->accumulate);
}

nf_status nf_batch_norm_backward_input(const nf_batch_norm_gradient *of, bool accumulate) {
    input_job job = {of, accumulate};
    return over_blocks(of->norm, block_input_gradient, &job);
}
