#include "pool.h"

#include <string.h>

#include "../core/dispatch.h"
#include "../core/integers.h"
#include "../core/threads.h"

typedef struct pool_job {
    const nf_pool *pool;
    float *out;
    uint8_t *index;
    const float *in;
    const uint8_t *chosen;
    bool accumulate;
} pool_job;

/* The pixels of a window that lie in the image, as offsets into it. */
static size_t window(const nf_pool *pool, int64_t oy, int64_t ox, int64_t *offsets) {
    int64_t y0 = oy * pool->stride - pool->padding, x0 = ox * pool->stride - pool->padding;
    size_t count = 0;
    for (int64_t y = nf_max(y0, 0); y < nf_min(y0 + pool->kernel, pool->h); y++)
        for (int64_t x = nf_max(x0, 0); x < nf_min(x0 + pool->kernel, pool->w); x++)
            offsets[count++] = (y * pool->w + x) * pool->c;
    return count;
}

/* ---- Maximum; a task is a row of output pixels forwards, an image backwards, where windows overlap ---- */

static void max_forward_task(void *context, int64_t task, int worker) {
    (void)worker;
    const pool_job *job = context;
    const nf_pool *pool = job->pool;
    const float *image = job->in + task / pool->out_h * pool->h * pool->w * pool->c;
    for (int64_t ox = 0; ox < pool->out_w; ox++) {
        int64_t offsets[NF_MAX_POOL_KERNEL * NF_MAX_POOL_KERNEL];
        const float *taps[NF_MAX_POOL_KERNEL * NF_MAX_POOL_KERNEL];
        size_t count = window(pool, task % pool->out_h, ox, offsets);
        for (size_t t = 0; t < count; t++)
            taps[t] = image + offsets[t];
        int64_t at = (task * pool->out_w + ox) * pool->c;
        nf_kernel->max_pool(job->out + at, job->index ? job->index + at : NULL, taps, count, (size_t)pool->c);
    }
}

nf_status nf_max_pool_forward(const nf_pool *pool, float *y, uint8_t *index, const float *x) {
    pool_job job = {.pool = pool, .out = y, .index = index, .in = x};
    return nf_parallel(max_forward_task, &job, pool->n * pool->out_h, pool->workers);
}

static void max_backward_task(void *context, int64_t task, int worker) {
    (void)worker;
    const pool_job *job = context;
    const nf_pool *pool = job->pool;
    int64_t size = pool->h * pool->w * pool->c;
    float *image = job->out + task * size;
    if (!job->accumulate)
        memset(image, 0, (size_t)size * sizeof *image);
    for (int64_t p = 0; p < pool->out_h * pool->out_w; p++) {
        int64_t offsets[NF_MAX_POOL_KERNEL * NF_MAX_POOL_KERNEL];
        float *taps[NF_MAX_POOL_KERNEL * NF_MAX_POOL_KERNEL];
        size_t count = window(pool, p / pool->out_w, p % pool->out_w, offsets);
        for (size_t t = 0; t < count; t++)
            taps[t] = image + offsets[t];
        int64_t at = (task * pool->out_h * pool->out_w + p) * pool->c;
        nf_kernel->max_pool_backward(taps, count, job->in + at, job->chosen + at, (size_t)pool->c);
    }
}

nf_status nf_max_pool_backward(const nf_pool *pool, float *d_x, const float *d_y, const uint8_t *index,
                               bool accumulate) {
    pool_job job = {.pool = pool, .out = d_x, .in = d_y, .chosen = index, .accumulate = accumulate};
    return nf_parallel(max_backward_task, &job, pool->n, pool->workers);
}

/* ---- Global average; a task is an image ---- */

static void average_forward_task(void *context, int64_t task, int worker) {
    (void)worker;
    const pool_job *job = context;
    const nf_pool *pool = job->pool;
    int64_t pixels = pool->h * pool->w;
    float *y = job->out + task * pool->c;
    nf_kernel->column_sums(y, job->in + task * pixels * pool->c, (size_t)pixels, (size_t)pool->c, false);
    nf_kernel->scale(y, y, 1.0f / (float)pixels, (size_t)pool->c, false);
}

nf_status nf_average_pool_forward(const nf_pool *pool, float *y, const float *x) {
    pool_job job = {.pool = pool, .out = y, .in = x};
    return nf_parallel(average_forward_task, &job, pool->n, pool->workers);
}

static void average_backward_task(void *context, int64_t task, int worker) {
    (void)worker;
    const pool_job *job = context;
    const nf_pool *pool = job->pool;
    int64_t pixels = pool->h * pool->w;
    for (int64_t p = 0; p < pixels; p++)
        nf_kernel->scale(job->out + (task * pixels + p) * pool->c, job->in + task * pool->c, 1.0f / (float)pixels,
                         (size_t)pool->c, job->accumulate);
}

nf_status nf_average_pool_backward(const nf_pool *pool, float *d_x, const float *d_y, bool accumulate) {
    pool_job job = {.pool = pool, .out = d_x, .in = d_y, .accumulate = accumulate};
    return nf_parallel(average_backward_task, &job, pool->n, pool->workers);
}
