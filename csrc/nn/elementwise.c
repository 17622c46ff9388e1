#include "elementwise.h"

#include <stdatomic.h>
#include <string.h>

#include "../core/dispatch.h"
#include "../core/integers.h"
#include "../core/threads.h"

enum { CHUNK = 32768 };

typedef struct elementwise_job {
    nf_layer_kind kind; /* of an activation */
    float *out;
    const float *a, *b;
    uint16_t *narrow;
    const uint16_t *narrowed;
    int64_t size;
    bool accumulate;
    _Atomic bool not_finite;
} elementwise_job;

static nf_status run(nf_task task, elementwise_job *job, int workers) {
    return nf_parallel(task, job, nf_ceil_div(job->size, CHUNK), workers);
}

static size_t chunk_size(const elementwise_job *job, int64_t task) {
    return (size_t)nf_min(CHUNK, job->size - task * CHUNK);
}

static void activation_task(void *context, int64_t task, int worker) {
    (void)worker;
    elementwise_job *job = context;
    float *y = job->out + task * CHUNK;
    const float *x = job->a + task * CHUNK;
    size_t n = chunk_size(job, task);
    switch (job->kind) {
    case NF_GELU: nf_kernel->gelu(y, x, n); break;
    case NF_SILU: nf_kernel->silu(y, x, n); break;
    default: nf_kernel->relu(y, x, n);
    }
}

nf_status nf_activation_forward(nf_layer_kind kind, float *y, const float *x, int64_t size, int workers) {
    elementwise_job job = {.kind = kind, .out = y, .a = x, .size = size};
    return run(activation_task, &job, workers);
}

static void activation_backward_task(void *context, int64_t task, int worker) {
    (void)worker;
    elementwise_job *job = context;
    float *d_x = job->out + task * CHUNK;
    const float *d_y = job->a + task * CHUNK, *seen = job->b + task * CHUNK;
    size_t n = chunk_size(job, task);
    switch (job->kind) {
    case NF_GELU: nf_kernel->gelu_backward(d_x, d_y, seen, n, job->accumulate); break;
    case NF_SILU: nf_kernel->silu_backward(d_x, d_y, seen, n, job->accumulate); break;
    default: nf_kernel->relu_backward(d_x, d_y, seen, n, job->accumulate);
    }
}

nf_status nf_activation_backward(nf_layer_kind kind, float *d_x, const float *d_y, const float *seen, int64_t size,
                                 bool accumulate, int workers) {
    elementwise_job job = {.kind = kind, .out = d_x, .a = d_y, .b = seen, .size = size, .accumulate = accumulate};
    return run(activation_backward_task, &job, workers);
}

static void sum_task(void *context, int64_t task, int worker) {
    (void)worker;
    elementwise_job *job = context;
    nf_kernel->add(job->out + task * CHUNK, job->a + task * CHUNK, job->b + task * CHUNK, chunk_size(job, task));
}

nf_status nf_sum_forward(float *y, const float *a, const float *b, int64_t size, int workers) {
    elementwise_job job = {.out = y, .a = a, .b = b, .size = size};
    return run(sum_task, &job, workers);
}

static void sum_backward_task(void *context, int64_t task, int worker) {
    (void)worker;
    elementwise_job *job = context;
    nf_kernel->scale(job->out + task * CHUNK, job->a + task * CHUNK, 1.0f, chunk_size(job, task), job->accumulate);
}

nf_status nf_sum_backward(float *d_a, const float *d_y, int64_t size, bool accumulate, int workers) {
    elementwise_job job = {.out = d_a, .a = d_y, .size = size, .accumulate = accumulate};
    return run(sum_backward_task, &job, workers);
}

static void to_bfloat16_task(void *context, int64_t task, int worker) {
    (void)worker;
    elementwise_job *job = context;
    nf_kernel->to_bfloat16(job->narrow + task * CHUNK, job->a + task * CHUNK, chunk_size(job, task));
}

nf_status nf_to_bfloat16(uint16_t *y, const float *x, int64_t size, int workers) {
    elementwise_job job = {.narrow = y, .a = x, .size = size};
    return run(to_bfloat16_task, &job, workers);
}

static void from_bfloat16_task(void *context, int64_t task, int worker) {
    (void)worker;
    elementwise_job *job = context;
    nf_kernel->from_bfloat16(job->out + task * CHUNK, job->narrowed + task * CHUNK, chunk_size(job, task));
}

nf_status nf_from_bfloat16(float *y, const uint16_t *x, int64_t size, int workers) {
    elementwise_job job = {.out = y, .narrowed = x, .size = size};
    return run(from_bfloat16_task, &job, workers);
}

static void copy_task(void *context, int64_t task, int worker) {
    (void)worker;
    elementwise_job *job = context;
    const float *x = job->a + task * CHUNK;
    memcpy(job->out + task * CHUNK, x, chunk_size(job, task) * sizeof *x);
    uint32_t largest = 0; /* exponent: all ones means infinite or not a number */
    for (size_t i = 0; i < chunk_size(job, task); i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        bits &= 0x7f800000u;
        largest = bits > largest ? bits : largest;
    }
    if (largest == 0x7f800000u)
        atomic_store(&job->not_finite, true);
}

nf_status nf_copy_finite(float *y, const float *x, int64_t size, const char *name, int workers) {
    elementwise_job job = {.out = y, .a = x, .size = size};
    NF_TRY(run(copy_task, &job, workers));
    if (atomic_load(&job.not_finite))
        return nf_fail(NF_BAD_VALUE, "%s must be finite, got NaN or infinite numbers", name);
    return NF_OK;
}
