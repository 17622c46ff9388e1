#include "layer_norm.h"

#include <string.h>

#include "../core/dispatch.h"
#include "../core/integers.h"
#include "../core/threads.h"

/* Sums for the parameters are taken over blocks of rows, and those added in double. */
enum { BLOCK_NUMBERS = 1 << 16, MOST_BLOCKS = 1024, CHANNELS_PER_TASK = 32 };

static int64_t block_rows(const nf_layer_norm *norm) {
    return nf_max(nf_max(BLOCK_NUMBERS / norm->c, 1), nf_ceil_div(norm->rows, MOST_BLOCKS));
}

static int64_t block_count(const nf_layer_norm *norm) {
    return nf_ceil_div(norm->rows, block_rows(norm));
}

size_t nf_layer_norm_scratch(const nf_layer_norm *norm) {
    return (size_t)(block_count(norm) * 2 * norm->c);
}

size_t nf_layer_norm_saved_size(const nf_layer_norm *norm) {
    return (size_t)(2 * norm->rows);
}

typedef struct job {
    const nf_layer_norm *norm;
    float *y, *mean, *inverse, *d_x, *partial, *d_weight, *d_bias;
    const float *x, *d_y, *weight, *bias;
    int64_t count; /* rows, forwards */
    bool accumulate_input, accumulate_parameters;
} job;

static void forward_task(void *context, int64_t task, int worker) {
    (void)worker;
    const job *j = context;
    int64_t c = j->norm->c, first = task * block_rows(j->norm), rows = nf_min(j->count - first, block_rows(j->norm));
    nf_kernel->layer_norm(j->y + first * c, j->mean ? j->mean + first : NULL, j->mean ? j->inverse + first : NULL,
                          j->x + first * c, j->weight, j->bias, j->norm->eps, (size_t)rows, (size_t)c);
}

nf_status nf_layer_norm_forward(const nf_layer_norm *norm, float *y, float *saved, const float *x, const float *weight,
                                const float *bias, int64_t first, int64_t count) {
    job j = {.norm = norm, .y = y, .x = x, .weight = weight, .bias = bias, .count = count};
    j.mean = saved ? saved + first : NULL;
    j.inverse = saved ? saved + norm->rows + first : NULL;
    return nf_parallel(forward_task, &j, nf_ceil_div(count, block_rows(norm)), norm->workers);
}

static void backward_task(void *context, int64_t task, int worker) {
    (void)worker;
    const job *j = context;
    int64_t c = j->norm->c, first = task * block_rows(j->norm),
            rows = nf_min(j->norm->rows - first, block_rows(j->norm));
    float *sum = j->partial + task * 2 * c;
    memset(sum, 0, (size_t)(2 * c) * sizeof *sum);
    nf_kernel->layer_norm_backward(j->d_x ? j->d_x + first * c : NULL, sum, sum + c, j->d_y + first * c,
                                   j->x + first * c, j->mean + first, j->inverse + first, j->weight, (size_t)rows,
                                   (size_t)c, j->accumulate_input);
}

static void parameter_task(void *context, int64_t task, int worker) {
    (void)worker;
    const job *j = context;
    int64_t c = j->norm->c, end = nf_min((task + 1) * CHANNELS_PER_TASK, c);
    for (int64_t k = task * CHANNELS_PER_TASK; k < end; k++) {
        double d_bias = 0, d_weight = 0;
        for (int64_t block = 0; block < block_count(j->norm); block++) {
            d_bias += (double)j->partial[block * 2 * c + k];
            d_weight += (double)j->partial[(block * 2 + 1) * c + k];
        }
        j->d_bias[k] = (j->accumulate_parameters ? j->d_bias[k] : 0.0f) + (float)d_bias;
        j->d_weight[k] = (j->accumulate_parameters ? j->d_weight[k] : 0.0f) + (float)d_weight;
    }
}

nf_status nf_layer_norm_backward(const nf_layer_norm *norm, float *d_x, float *d_weight, float *d_bias,
                                 const float *d_y, const float *x, const float *saved, const float *weight,
                                 bool accumulate_input, bool accumulate_parameters, float *scratch) {
    job j = {.norm = norm,
             .d_x = d_x,
             .partial = scratch,
             .d_weight = d_weight,
             .d_bias = d_bias,
             .x = x,
             .d_y = d_y,
             .weight = weight,
             .mean = (float *)(uintptr_t)saved,
             .accumulate_input = accumulate_input,
             .accumulate_parameters = accumulate_parameters};
    j.inverse = j.mean + norm->rows;
    NF_TRY(nf_parallel(backward_task, &j, block_count(norm), norm->workers));
    return nf_parallel(parameter_task, &j, nf_ceil_div(norm->c, CHANNELS_PER_TASK), norm->workers);
}
