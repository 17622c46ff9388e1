#include "depthwise.h"

#include <string.h>

#include "../core/dispatch.h"
#include "../core/integers.h"
#include "../core/threads.h"
#include "conv.h"

enum { POINTS = NF_DEPTHWISE_POINTS, MAX_TAPS = NF_MAX_KERNEL * NF_MAX_KERNEL };
enum { MAX_COLUMNS = NF_MAX_KERNEL * ((POINTS - 1) * NF_MAX_DEPTHWISE_STRIDE + NF_MAX_KERNEL) };
/* Multiplications: a task's, and those for which a further segment pays; how many segments at the most, but for tasks
 * of so much work that Ctrl-C would have to wait. */
enum { TASK_WORK = 500000, SEGMENT_WORK = 4000000, MAX_SEGMENTS = 32, MAX_SEGMENT_WORK = 200000000 };

typedef struct job {
    const nf_depthwise *conv;
    float *out, *partial, *sinks; /* sinks: one pixel per worker, for points beyond the end of a row */
    const float *in, *d_y, *weight, *bias, *zeros;
    int64_t segments;
    const nf_batch_norm_moments *moments;
    const nf_batch_norm_sums *sums;
    bool accumulate;
} job;

static int64_t weight_size(const nf_depthwise *conv) {
    return conv->kernel_h * conv->kernel_w * conv->c;
}

/* Rows of `width` pixels that make up a task. */
static int64_t rows_per_task(const nf_depthwise *conv, int64_t width) {
    double row = (double)width * (double)weight_size(conv);
    return row < TASK_WORK ? (int64_t)(TASK_WORK / row) : 1;
}

/* Of `height` rows to an image: tasks for each group, none of which spans two. */
static int64_t group_tasks(const nf_depthwise *conv, int64_t height, int64_t width) {
    return nf_ceil_div(conv->n / conv->groups * height, rows_per_task(conv, width));
}

typedef struct row_range {
    int64_t begin, end;
} row_range;

static row_range task_rows(const nf_depthwise *conv, int64_t height, int64_t width, int64_t task) {
    int64_t tasks = group_tasks(conv, height, width), rows = conv->n / conv->groups * height;
    int64_t each = rows_per_task(conv, width), start = task % tasks * each, begin = task / tasks * rows + start;
    return (row_range){begin, begin + nf_min(each, rows - start)};
}

int64_t nf_depthwise_moment_blocks(const nf_depthwise *conv) {
    return group_tasks(conv, conv->out_h, conv->out_w);
}

int64_t nf_depthwise_sum_blocks(const nf_depthwise *conv) {
    return group_tasks(conv, conv->h, conv->w);
}

static int64_t segment_count(const nf_depthwise *conv) {
    double work = (double)(conv->n * conv->out_h * conv->out_w) * (double)weight_size(conv);
    double wanted = work / SEGMENT_WORK, least = work / MAX_SEGMENT_WORK;
    double count = wanted < MAX_SEGMENTS ? wanted : least > MAX_SEGMENTS ? least : MAX_SEGMENTS;
    return nf_clamp((int64_t)count, 1, conv->n * conv->out_h);
}

/* Scratch: a pixel of zeros, and a sink per worker or the segments' partial gradients. */
size_t nf_depthwise_scratch(const nf_depthwise *conv) {
    int64_t partial = segment_count(conv) * (weight_size(conv) + conv->c);
    return (size_t)(conv->c + nf_max(conv->workers * conv->c, partial));
}

static job make_job(const nf_depthwise *conv, float *scratch) {
    memset(scratch, 0, (size_t)conv->c * sizeof *scratch);
    return (job){.conv = conv, .zeros = scratch, .sinks = scratch + conv->c, .partial = scratch + conv->c};
}

/* ---- Forward ---- */

/* Pixels that POINTS places of a kernel `kernel_w` wide see in one row. */
static int64_t column_count(int64_t kernel_w, int64_t stride) {
    return (POINTS - 1) * stride + kernel_w;
}

/* The pixels of row y from x on, zeros outside the image. */
static void find_row(const float **columns, int64_t count, const float *image, int64_t y, int64_t x, int64_t h,
                     int64_t w, int64_t c, const float *zeros) {
    bool inside = y >= 0 && y < h;
    int64_t from = inside ? nf_clamp(-x, 0, count) : count, to = inside ? nf_clamp(w - x, from, count) : count;
    for (int64_t i = 0; i < from; i++)
        columns[i] = zeros;
    for (int64_t i = from; i < to; i++)
        columns[i] = image + (y * w + x + i) * c;
    for (int64_t i = to; i < count; i++)
        columns[i] = zeros;
}

/* All pixels under the kernel at POINTS places from (oy, ox) on. */
static void find_columns(const job *j, const float **columns, const float *image, int64_t oy, int64_t ox) {
    const nf_depthwise *conv = j->conv;
    int64_t count = column_count(conv->kernel_w, conv->stride);
    for (int64_t i = 0; i < conv->kernel_h; i++, columns += count)
        find_row(columns, count, image, oy * conv->stride - conv->pad_h + i, ox * conv->stride - conv->pad_w, conv->h,
                 conv->w, conv->c, j->zeros);
}

static void forward_row(const job *j, int64_t row, float *sink) {
    const nf_depthwise *conv = j->conv;
    const float *columns[MAX_COLUMNS], *weights[MAX_TAPS];
    for (int64_t t = 0; t < conv->kernel_h * conv->kernel_w; t++)
        weights[t] = j->weight + t * conv->c;
    const float *image = j->in + row / conv->out_h * conv->h * conv->w * conv->c;
    float *y = j->out + row * conv->out_w * conv->c;
    for (int64_t ox = 0; ox < conv->out_w; ox += POINTS) {
        float *out[POINTS];
        for (int64_t p = 0; p < POINTS; p++)
            out[p] = ox + p < conv->out_w ? y + (ox + p) * conv->c : sink;
        find_columns(j, columns, image, row % conv->out_h, ox);
        nf_kernel->depthwise(out, columns, weights, j->bias, (size_t)conv->kernel_h, (size_t)conv->kernel_w,
                             (size_t)conv->stride, (size_t)conv->c, false);
    }
}

static void forward_task(void *context, int64_t task, int worker) {
    const job *j = context;
    const nf_depthwise *conv = j->conv;
    row_range rows = task_rows(conv, conv->out_h, conv->out_w, task);
    for (int64_t row = rows.begin; row < rows.end; row++) {
        forward_row(j, row, j->sinks + worker * conv->c);
        if (j->moments)
            nf_batch_norm_take_moments(j->moments, task, j->out + row * conv->out_w * conv->c, conv->out_w,
                                       row > rows.begin);
    }
}

nf_status nf_depthwise_forward(const nf_depthwise *conv, float *y, const float *x, const float *weight,
                               const float *bias, const nf_batch_norm_moments *moments, float *scratch) {
    job j = make_job(conv, scratch);
    j.out = y, j.in = x, j.weight = weight, j.bias = bias, j.moments = moments;
    return nf_parallel(forward_task, &j, conv->groups * nf_depthwise_moment_blocks(conv), conv->workers);
}

/* ---- Gradient of the input ----
 *
 * Pixel (h, w) receives from (oy, ox) through tap (i, k) where oy stride + i - pad_h = h and ox stride + k - pad_w = w.
 * The columns of a row fall into `stride` phases, each of which is reached by the same taps; for the points of a phase,
 * and with its taps reversed, this is again a convolution, with stride 1. */

/* The filters' rows that reach row h, by pointers to the taps of a phase, and the rows of d_y that they bring. */
static int64_t find_taps(const job *j, const float **weights, int64_t *rows, int64_t h, int64_t first_tap,
                         int64_t taps) {
    const nf_depthwise *conv = j->conv;
    int64_t count = 0;
    for (int64_t i = 0; i < conv->kernel_h; i++) {
        int64_t distance = h + conv->pad_h - i;
        if (distance < 0 || distance % conv->stride || distance / conv->stride >= conv->out_h)
            continue;
        for (int64_t k = 0; k < taps; k++)
            *weights++ = j->weight + (i * conv->kernel_w + first_tap + (taps - 1 - k) * conv->stride) * conv->c;
        rows[count++] = distance / conv->stride;
    }
    return count;
}

static void phase_of_row(const job *j, int64_t row, int64_t phase, float *sink) {
    const nf_depthwise *conv = j->conv;
    const float *columns[MAX_COLUMNS], *weights[MAX_TAPS];
    int64_t rows[NF_MAX_KERNEL], stride = conv->stride, first_tap = (phase + conv->pad_w) % stride;
    int64_t taps = nf_max(nf_ceil_div(conv->kernel_w - first_tap, stride), 0), count = column_count(taps, 1);
    int64_t row_count = find_taps(j, weights, rows, row % conv->h, first_tap, taps);
    const float *image = j->d_y + row / conv->h * conv->out_h * conv->out_w * conv->c;
    float *d_x = j->out + row * conv->w * conv->c;
    for (int64_t w = phase; w < conv->w; w += POINTS * stride) {
        float *out[POINTS];
        for (int64_t p = 0; p < POINTS; p++)
            out[p] = w + p * stride < conv->w ? d_x + (w + p * stride) * conv->c : sink;
        int64_t ox = (w + conv->pad_w - first_tap) / stride - (taps - 1);
        for (int64_t i = 0; taps > 0 && i < row_count; i++)
            find_row(columns + i * count, count, image, rows[i], ox, conv->out_h, conv->out_w, conv->c, j->zeros);
        nf_kernel->depthwise(out, columns, weights, NULL, (size_t)(taps > 0 ? row_count : 0), (size_t)taps, 1,
                             (size_t)conv->c, j->accumulate);
    }
}

static void backward_input_task(void *context, int64_t task, int worker) {
    const job *j = context;
    const nf_depthwise *conv = j->conv;
    row_range rows = task_rows(conv, conv->h, conv->w, task);
    for (int64_t row = rows.begin; row < rows.end; row++) {
        for (int64_t phase = 0; phase < conv->stride; phase++)
            phase_of_row(j, row, phase, j->sinks + worker * conv->c);
        if (j->sums)
            nf_batch_norm_sum_rows(j->sums, task, j->out + row * conv->w * conv->c, row * conv->w, conv->w,
                                   row > rows.begin);
    }
}

nf_status nf_depthwise_backward_input(const nf_depthwise *conv, float *d_x, const float *d_y, const float *weight,
                                      const nf_batch_norm_sums *sums, bool accumulate, float *scratch) {
    job j = make_job(conv, scratch);
    j.out = d_x, j.d_y = d_y, j.weight = weight, j.sums = sums, j.accumulate = accumulate;
    return nf_parallel(backward_input_task, &j, conv->groups * nf_depthwise_sum_blocks(conv), conv->workers);
}

/* ---- Gradient of the parameters: of segments of the rows, which are added in order ---- */

static void segment_task(void *context, int64_t task, int worker) {
    (void)worker;
    const job *j = context;
    const nf_depthwise *conv = j->conv;
    int64_t rows = conv->n * conv->out_h, c = conv->c;
    float *d_weight = j->partial + task * (weight_size(conv) + c), *d_bias = d_weight + weight_size(conv);
    memset(d_weight, 0, (size_t)(weight_size(conv) + c) * sizeof *d_weight);
    int64_t begin = task * rows / j->segments, end = (task + 1) * rows / j->segments;
    for (int64_t row = begin; row < end; row++) {
        const float *image = j->in + row / conv->out_h * conv->h * conv->w * c, *d_y = j->d_y + row * conv->out_w * c;
        for (int64_t ox = 0; ox < conv->out_w; ox += POINTS) {
            const float *columns[MAX_COLUMNS], *d[POINTS];
            for (int64_t p = 0; p < POINTS; p++)
                d[p] = ox + p < conv->out_w ? d_y + (ox + p) * c : j->zeros;
            find_columns(j, columns, image, row % conv->out_h, ox);
            nf_kernel->depthwise_weights(d_weight, columns, d, (size_t)conv->kernel_h, (size_t)conv->kernel_w,
                                         (size_t)conv->stride, (size_t)c);
        }
        nf_kernel->column_sums(d_bias, d_y, (size_t)conv->out_w, (size_t)c, true);
    }
}

static void add_segments(float *target, const job *j, int64_t offset, int64_t size) {
    int64_t stride = weight_size(j->conv) + j->conv->c;
    for (int64_t segment = 0; segment < j->segments; segment++)
        nf_kernel->scale(target, j->partial + segment * stride + offset, 1.0f, (size_t)size,
                         j->accumulate || segment > 0);
}

nf_status nf_depthwise_backward_parameters(const nf_depthwise *conv, float *d_weight, float *d_bias, const float *x,
                                           const float *d_y, bool accumulate, float *scratch) {
    job j = make_job(conv, scratch);
    j.in = x, j.d_y = d_y, j.accumulate = accumulate;
    j.segments = segment_count(conv);
    NF_TRY(nf_parallel(segment_task, &j, j.segments, conv->workers));
    add_segments(d_weight, &j, 0, weight_size(conv));
    if (d_bias)
        add_segments(d_bias, &j, weight_size(conv), conv->c);
    return NF_OK;
}
