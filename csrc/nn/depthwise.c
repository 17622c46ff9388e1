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
    float *out, *partial, *sinks, *bands; /* sinks: one pixel per worker, for points beyond the end of a row */
    const float *in, *d_y, *weight, *bias, *zeros;
    nf_before before;
    int64_t segments;
    const nf_batch_norm_moments *moments;
    const nf_batch_norm_sums *sums;
    bool accumulate;
} job;

static int64_t weight_size(const nf_depthwise *conv) {
    return conv->kernel_h * conv->kernel_w * conv->c;
}

/* Rows of `width` pixels that make up a block whose moments or sums are taken: few, since what they add up to in float
 * is added in double. */
static int64_t rows_per_block(int64_t width) {
    enum { BLOCK_PIXELS = 96 };
    return nf_max(BLOCK_PIXELS / width, 1);
}

/* Rows that make up a task: whole blocks. */
static int64_t rows_per_task(const nf_depthwise *conv, int64_t width) {
    double row = (double)width * (double)weight_size(conv);
    return nf_round_up(row < TASK_WORK ? (int64_t)(TASK_WORK / row) : 1, rows_per_block(width));
}

/* Of `height` rows to an image: tasks for each group, none of which spans two. */
static int64_t group_tasks(const nf_depthwise *conv, int64_t height, int64_t width) {
    return nf_ceil_div(conv->n / conv->groups * height, rows_per_task(conv, width));
}

static int64_t group_blocks(const nf_depthwise *conv, int64_t height, int64_t width) {
    return nf_ceil_div(conv->n / conv->groups * height, rows_per_block(width));
}

typedef struct row_range {
    int64_t begin, end, block; /* block: the first one's number */
} row_range;

static row_range task_rows(const nf_depthwise *conv, int64_t height, int64_t width, int64_t task) {
    int64_t tasks = group_tasks(conv, height, width), rows = conv->n / conv->groups * height, group = task / tasks;
    int64_t each = rows_per_task(conv, width), start = task % tasks * each, begin = group * rows + start;
    int64_t block = group * group_blocks(conv, height, width) + start / rows_per_block(width);
    return (row_range){begin, begin + nf_min(each, rows - start), block};
}

int64_t nf_depthwise_moment_blocks(const nf_depthwise *conv) {
    return group_blocks(conv, conv->out_h, conv->out_w);
}

int64_t nf_depthwise_sum_blocks(const nf_depthwise *conv) {
    return group_blocks(conv, conv->h, conv->w);
}

static int64_t segment_count(const nf_depthwise *conv) {
    double work = (double)(conv->n * conv->out_h * conv->out_w) * (double)weight_size(conv);
    double wanted = work / SEGMENT_WORK, least = work / MAX_SEGMENT_WORK;
    double count = wanted < MAX_SEGMENTS ? wanted : least > MAX_SEGMENTS ? least : MAX_SEGMENTS;
    return nf_clamp((int64_t)count, 1, conv->n * conv->out_h);
}

/* Rows of results whose windows are made at a time, where something is to be done to x: they are to stay in a cache
 * near by. */
enum { BAND_NUMBERS = 1 << 16 };

static int64_t band_rows(const nf_depthwise *conv) {
    return nf_clamp(BAND_NUMBERS / (conv->stride * conv->w * conv->c), 1, conv->out_h);
}

static int64_t band_size(const nf_depthwise *conv) {
    return ((band_rows(conv) - 1) * conv->stride + conv->kernel_h) * conv->w * conv->c;
}

static int64_t partial_size(const nf_depthwise *conv) {
    return segment_count(conv) * (weight_size(conv) + conv->c);
}

/* Scratch: a pixel of zeros; a sink and a band per worker; the segments' partial gradients. */
size_t nf_depthwise_scratch(const nf_depthwise *conv) {
    return (size_t)(conv->c + conv->workers * (conv->c + band_size(conv)) + partial_size(conv));
}

static job make_job(const nf_depthwise *conv, float *scratch) {
    memset(scratch, 0, (size_t)conv->c * sizeof *scratch);
    job j = {.conv = conv, .zeros = scratch, .sinks = scratch + conv->c};
    j.bands = j.sinks + conv->workers * conv->c;
    j.partial = j.bands + conv->workers * band_size(conv);
    return j;
}

/* ---- Forward ---- */

/* Rows of an image, from row `first` on. */
typedef struct image_rows {
    const float *pixels;
    int64_t first;
} image_rows;

/* Those that the windows of results [begin, end) see, which are rows of one image. */
static image_rows seen_rows(const job *j, int64_t begin, int64_t end, int worker) {
    const nf_depthwise *conv = j->conv;
    int64_t image = begin / conv->out_h, row = conv->w * conv->c, y = begin % conv->out_h * conv->stride - conv->pad_h;
    const float *pixels = j->in + image * conv->h * row;
    if (!j->before.factors)
        return (image_rows){pixels, 0};
    int64_t top = nf_clamp(y, 0, conv->h);
    int64_t bottom = nf_clamp(y + (end - begin - 1) * conv->stride + conv->kernel_h, top, conv->h);
    float *made = j->bands + worker * band_size(conv);
    nf_before_pixels(&j->before, made, pixels + top * row, image / (conv->n / conv->groups), (bottom - top) * conv->w,
                     conv->c);
    return (image_rows){made, top};
}

/* The end of the band that begins with row `begin`. */
static int64_t band_end(const nf_depthwise *conv, int64_t begin, int64_t end) {
    return nf_min(nf_min(begin + band_rows(conv), end), (begin / conv->out_h + 1) * conv->out_h);
}

/* Pixels that POINTS places of a kernel `kernel_w` wide see in one row. */
static int64_t column_count(int64_t kernel_w, int64_t stride) {
    return (POINTS - 1) * stride + kernel_w;
}

/* The pixels of row y from x on, zeros outside the image. */
static void find_row(const float **columns, int64_t count, image_rows image, int64_t y, int64_t x, int64_t h, int64_t w,
                     int64_t c, const float *zeros) {
    bool inside = y >= 0 && y < h;
    int64_t from = inside ? nf_clamp(-x, 0, count) : count, to = inside ? nf_clamp(w - x, from, count) : count;
    for (int64_t i = 0; i < from; i++)
        columns[i] = zeros;
    for (int64_t i = from; i < to; i++)
        columns[i] = image.pixels + ((y - image.first) * w + x + i) * c;
    for (int64_t i = to; i < count; i++)
        columns[i] = zeros;
}

/* All pixels under the kernel at POINTS places from (oy, ox) on. */
static void find_columns(const job *j, const float **columns, image_rows image, int64_t oy, int64_t ox) {
    const nf_depthwise *conv = j->conv;
    int64_t count = column_count(conv->kernel_w, conv->stride);
    for (int64_t i = 0; i < conv->kernel_h; i++, columns += count)
        find_row(columns, count, image, oy * conv->stride - conv->pad_h + i, ox * conv->stride - conv->pad_w, conv->h,
                 conv->w, conv->c, j->zeros);
}

static void forward_row(const job *j, int64_t row, image_rows image, float *sink) {
    const nf_depthwise *conv = j->conv;
    const float *columns[MAX_COLUMNS], *weights[MAX_TAPS];
    for (int64_t t = 0; t < conv->kernel_h * conv->kernel_w; t++)
        weights[t] = j->weight + t * conv->c;
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
    for (int64_t row = rows.begin, end; row < rows.end;) {
        end = band_end(conv, row, rows.end);
        image_rows image = seen_rows(j, row, end, worker);
        for (; row < end; row++)
            forward_row(j, row, image, j->sinks + worker * conv->c);
    }
    int64_t each = rows_per_block(conv->out_w);
    for (int64_t first = rows.begin, block = rows.block; j->moments && first < rows.end; first += each, block++)
        nf_batch_norm_take_moments(j->moments, block, j->out + first * conv->out_w * conv->c,
                                   nf_min(each, rows.end - first) * conv->out_w, false);
}

nf_status nf_depthwise_forward(const nf_depthwise *conv, float *y, const float *x, const nf_before *before,
                               const float *weight, const float *bias, const nf_batch_norm_moments *moments,
                               float *scratch) {
    job j = make_job(conv, scratch);
    j.out = y, j.in = x, j.before = *before, j.weight = weight, j.bias = bias, j.moments = moments;
    return nf_parallel(forward_task, &j, conv->groups * group_tasks(conv, conv->out_h, conv->out_w), conv->workers);
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
    image_rows image = {j->d_y + row / conv->h * conv->out_h * conv->out_w * conv->c, 0};
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
    for (int64_t row = rows.begin; row < rows.end; row++)
        for (int64_t phase = 0; phase < conv->stride; phase++)
            phase_of_row(j, row, phase, j->sinks + worker * conv->c);
    int64_t each = rows_per_block(conv->w);
    for (int64_t first = rows.begin, block = rows.block; j->sums && first < rows.end; first += each, block++)
        nf_batch_norm_sum_rows(j->sums, block, j->out + first * conv->w * conv->c, first * conv->w,
                               nf_min(each, rows.end - first) * conv->w, false);
}

nf_status nf_depthwise_backward_input(const nf_depthwise *conv, float *d_x, const float *d_y, const float *weight,
                                      const nf_batch_norm_sums *sums, bool accumulate, float *scratch) {
    job j = make_job(conv, scratch);
    j.out = d_x, j.d_y = d_y, j.weight = weight, j.sums = sums, j.accumulate = accumulate;
    return nf_parallel(backward_input_task, &j, conv->groups * group_tasks(conv, conv->h, conv->w), conv->workers);
}

/* ---- Gradient of the parameters: of segments of the rows, which are added in order ---- */

static void segment_row(const job *j, int64_t row, image_rows image, float *d_weight) {
    const nf_depthwise *conv = j->conv;
    const float *d_y = j->d_y + row * conv->out_w * conv->c;
    for (int64_t ox = 0; ox < conv->out_w; ox += POINTS) {
        const float *columns[MAX_COLUMNS], *d[POINTS];
        for (int64_t p = 0; p < POINTS; p++)
            d[p] = ox + p < conv->out_w ? d_y + (ox + p) * conv->c : j->zeros;
        find_columns(j, columns, image, row % conv->out_h, ox);
        nf_kernel->depthwise_weights(d_weight, columns, d, (size_t)conv->kernel_h, (size_t)conv->kernel_w,
                                     (size_t)conv->stride, (size_t)conv->c);
    }
    nf_kernel->column_sums(d_weight + weight_size(conv), d_y, (size_t)conv->out_w, (size_t)conv->c, true);
}

static void segment_task(void *context, int64_t task, int worker) {
    const job *j = context;
    const nf_depthwise *conv = j->conv;
    int64_t rows = conv->n * conv->out_h, c = conv->c;
    float *d_weight = j->partial + task * (weight_size(conv) + c); /* and d_bias */
    memset(d_weight, 0, (size_t)(weight_size(conv) + c) * sizeof *d_weight);
    int64_t row = task * rows / j->segments, last = (task + 1) * rows / j->segments;
    for (int64_t end; row < last;) {
        end = band_end(conv, row, last);
        image_rows image = seen_rows(j, row, end, worker);
        for (; row < end; row++)
            segment_row(j, row, image, d_weight);
    }
}

static void add_segments(float *target, const job *j, int64_t offset, int64_t size) {
    int64_t stride = weight_size(j->conv) + j->conv->c;
    for (int64_t segment = 0; segment < j->segments; segment++)
        nf_kernel->scale(target, j->partial + segment * stride + offset, 1.0f, (size_t)size,
                         j->accumulate || segment > 0);
}

nf_status nf_depthwise_backward_parameters(const nf_depthwise *conv, float *d_weight, float *d_bias, const float *x,
                                           const nf_before *before, const float *d_y, bool accumulate, float *scratch) {
    job j = make_job(conv, scratch);
    j.in = x, j.before = *before, j.d_y = d_y, j.accumulate = accumulate;
    j.segments = segment_count(conv);
    NF_TRY(nf_parallel(segment_task, &j, j.segments, conv->workers));
    add_segments(d_weight, &j, 0, weight_size(conv));
    if (d_bias)
        add_segments(d_bias, &j, weight_size(conv), conv->c);
    return NF_OK;
}
