#include "depthwise.h"

#include <string.h>

#include "../core/dispatch.h"
#include "../core/integers.h"
#include "../core/threads.h"
#include "conv.h"

enum { POINTS = NF_DEPTHWISE_POINTS, MAX_TAPS = NF_MAX_KERNEL * NF_MAX_KERNEL };
/* Multiplications: a task's, and those for which a further segment pays; how many segments at the most, but for tasks
 * of so much work that Ctrl-C would have to wait. */
enum { TASK_WORK = 500000, SEGMENT_WORK = 4000000, MAX_SEGMENTS = 32, MAX_SEGMENT_WORK = 200000000 };

typedef struct job {
    const nf_depthwise *conv;
    float *out, *partial, *sinks; /* sinks: one pixel per worker, for points beyond the end of a row */
    const float *in, *d_y, *weight, *bias, *zeros;
    int64_t rows_per_task, segments;
    bool accumulate;
} job;

static int64_t tap_count(const nf_depthwise *conv) {
    return conv->kernel_h * conv->kernel_w;
}

static int64_t weight_size(const nf_depthwise *conv) {
    return tap_count(conv) * conv->c;
}

/* Rows of `width` pixels that make up a task. */
static int64_t rows_per_task(const nf_depthwise *conv, int64_t width) {
    double row = (double)width * (double)weight_size(conv);
    return row < TASK_WORK ? (int64_t)(TASK_WORK / row) : 1;
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

/* The pixels under all taps at POINTS places from (oy, ox) on, zeros outside the image. */
static void find_pixels(const job *j, const float **pixels, const float *image, int64_t oy, int64_t ox) {
    const nf_depthwise *conv = j->conv;
    for (int64_t i = 0; i < conv->kernel_h; i++) {
        int64_t y = oy * conv->stride - conv->pad_h + i;
        bool in_rows = y >= 0 && y < conv->h;
        for (int64_t k = 0; k < conv->kernel_w; k++)
            for (int64_t p = 0; p < POINTS; p++) {
                int64_t x = (ox + p) * conv->stride - conv->pad_w + k;
                bool inside = in_rows && x >= 0 && x < conv->w;
                *pixels++ = inside ? image + (y * conv->w + x) * conv->c : j->zeros;
            }
    }
}

static void forward_row(const job *j, int64_t row, float *sink) {
    const nf_depthwise *conv = j->conv;
    const float *pixels[MAX_TAPS * POINTS], *weights[MAX_TAPS];
    for (int64_t t = 0; t < tap_count(conv); t++)
        weights[t] = j->weight + t * conv->c;
    const float *image = j->in + row / conv->out_h * conv->h * conv->w * conv->c;
    float *y = j->out + row * conv->out_w * conv->c;
    for (int64_t ox = 0; ox < conv->out_w; ox += POINTS) {
        float *out[POINTS];
        for (int64_t p = 0; p < POINTS; p++)
            out[p] = ox + p < conv->out_w ? y + (ox + p) * conv->c : sink;
        find_pixels(j, pixels, image, row % conv->out_h, ox);
        nf_kernel->depthwise(out, pixels, weights, j->bias, (size_t)tap_count(conv), (size_t)conv->c, false);
    }
}

static void forward_task(void *context, int64_t task, int worker) {
    const job *j = context;
    int64_t end = nf_min((task + 1) * j->rows_per_task, j->conv->n * j->conv->out_h);
    for (int64_t row = task * j->rows_per_task; row < end; row++)
        forward_row(j, row, j->sinks + worker * j->conv->c);
}

nf_status nf_depthwise_forward(const nf_depthwise *conv, float *y, const float *x, const float *weight,
                               const float *bias, float *scratch) {
    job j = make_job(conv, scratch);
    j.out = y, j.in = x, j.weight = weight, j.bias = bias;
    j.rows_per_task = rows_per_task(conv, conv->out_w);
    return nf_parallel(forward_task, &j, nf_ceil_div(conv->n * conv->out_h, j.rows_per_task), conv->workers);
}

/* ---- Gradient of the input ----
 *
 * Pixel (h, w) receives from (oy, ox) through tap (i, k) where oy stride + i - pad_h = h and ox stride + k - pad_w = w.
 * The columns of a row fall into `stride` phases, each of which is reached by the same taps. */

/* The row or column that tap `tap` brings to `position`; false if there is none. */
static bool source_of(int64_t position, int64_t pad, int64_t tap, int64_t stride, int64_t size, int64_t *source) {
    int64_t distance = position + pad - tap;
    *source = distance / stride;
    return distance >= 0 && distance % stride == 0 && *source < size;
}

static void phase_of_row(const job *j, int64_t row, int64_t phase, float *sink) {
    const nf_depthwise *conv = j->conv;
    int64_t stride = conv->stride, h = row % conv->h, oy;
    const float *image = j->d_y + row / conv->h * conv->out_h * conv->out_w * conv->c;
    float *d_x = j->out + row * conv->w * conv->c;
    for (int64_t first = phase; first < conv->w; first += POINTS * stride) {
        const float *pixels[MAX_TAPS * POINTS], *weights[MAX_TAPS];
        float *out[POINTS];
        int64_t taps = 0;
        for (int64_t p = 0; p < POINTS; p++)
            out[p] = first + p * stride < conv->w ? d_x + (first + p * stride) * conv->c : sink;
        for (int64_t i = 0; i < conv->kernel_h; i++) {
            if (!source_of(h, conv->pad_h, i, stride, conv->out_h, &oy))
                continue;
            int64_t k = (phase + conv->pad_w) % stride;
            for (; k < conv->kernel_w; k += stride, taps++) {
                weights[taps] = j->weight + (i * conv->kernel_w + k) * conv->c;
                for (int64_t p = 0; p < POINTS; p++) {
                    int64_t ox;
                    bool inside = source_of(first + p * stride, conv->pad_w, k, stride, conv->out_w, &ox);
                    pixels[taps * POINTS + p] = inside ? image + (oy * conv->out_w + ox) * conv->c : j->zeros;
                }
            }
        }
        nf_kernel->depthwise(out, pixels, weights, NULL, (size_t)taps, (size_t)conv->c, j->accumulate);
    }
}

static void backward_input_task(void *context, int64_t task, int worker) {
    const job *j = context;
    int64_t end = nf_min((task + 1) * j->rows_per_task, j->conv->n * j->conv->h);
    for (int64_t row = task * j->rows_per_task; row < end; row++)
        for (int64_t phase = 0; phase < j->conv->stride; phase++)
            phase_of_row(j, row, phase, j->sinks + worker * j->conv->c);
}

nf_status nf_depthwise_backward_input(const nf_depthwise *conv, float *d_x, const float *d_y, const float *weight,
                                      bool accumulate, float *scratch) {
    job j = make_job(conv, scratch);
    j.out = d_x, j.d_y = d_y, j.weight = weight, j.accumulate = accumulate;
    j.rows_per_task = rows_per_task(conv, conv->w);
    return nf_parallel(backward_input_task, &j, nf_ceil_div(conv->n * conv->h, j.rows_per_task), conv->workers);
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
            const float *pixels[MAX_TAPS * POINTS], *d[POINTS];
            for (int64_t p = 0; p < POINTS; p++)
                d[p] = ox + p < conv->out_w ? d_y + (ox + p) * c : j->zeros;
            find_pixels(j, pixels, image, row % conv->out_h, ox);
            nf_kernel->depthwise_weights(d_weight, pixels, d, (size_t)tap_count(conv), (size_t)c);
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
