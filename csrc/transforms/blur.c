/* Gaussian blur: a separable kernel with reflected borders, in whole numbers of 16 bits and sums of 32. Source:
 * torchvision, gaussian_blur. */
#include "deep.h"
#include "transform.h"

#include "../core/integers.h"

#include <math.h>
#include <stdlib.h>

typedef struct blur_arguments {
    int64_t kernel_height, kernel_width;
    double sigma_y, sigma_x;
} blur_arguments;

/* A filter in whole numbers, which are 2^bits times the weights and sum up to 2^bits: for each two of the pixels that
 * two outputs side by side depend on, the first output's weights, then the second's, in the low and the high 16 bits.
 * `bits` are as many as the largest number allows, 15 at least unless the filter is one number. */
typedef struct filter {
    int32_t *weights; /* (count, 2) */
    size_t count;
    int64_t radius;
    int bits;
} filter;

enum { LEAST_BITS = 14, MOST_BITS = 18, SHORT_BITS = 8, SUM_BITS = 24 };

static size_t filter_size(int64_t kernel) {
    return 2 * (size_t)(kernel / 2 + 1);
}

/* `numbers` for distances 0, 1, ..., radius + 1, whose is 0. What rounding one number leaves is added to the next, so
 * that they sum up and neighbouring errors cancel. */
static filter make_numbers(int32_t *numbers, int64_t kernel, double sigma) {
    int64_t radius = kernel / 2;
    double sum = 1;
    for (int64_t k = 1; k <= radius; k++)
        sum += 2 * nf_gaussian(k, sigma);
    filter f = {.bits = LEAST_BITS};
    while (f.bits < MOST_BITS && (double)(2 << f.bits) / sum <= INT16_MAX)
        f.bits++;
    double tail = 0;
    int32_t done = 0;
    for (int64_t k = radius; k > 0; k--) {
        tail += nf_gaussian(k, sigma) / sum * (1 << f.bits);
        numbers[k] = (int32_t)(tail + 0.5) - done;
        done += numbers[k];
        if (f.radius == 0 && numbers[k] != 0)
            f.radius = k;
    }
    numbers[0] = (1 << f.bits) - 2 * done;
    numbers[f.radius + 1] = 0;
    return f;
}

static int32_t pair_of(int32_t low, int32_t high) {
    return low | high << 16;
}

/* `numbers`: room for kernel / 2 + 2. */
static filter make_filter(int32_t *weights, int32_t *numbers, int64_t kernel, double sigma) {
    filter f = make_numbers(numbers, kernel, sigma);
    f.weights = weights;
    f.count = (size_t)f.radius + 1;
    for (int64_t k = -f.radius; k <= f.radius; k += 2, weights += 2) {
        weights[0] = pair_of(numbers[llabs(k)], numbers[llabs(k + 1)]);
        weights[1] = pair_of(numbers[llabs(k - 1)], numbers[llabs(k)]);
    }
    return f;
}

/* What a blur works with, as places in an array of 32-bit numbers: numbers of a filter; weights of both axes; the pairs
 * of rows that it needs next, `row` apart, pair i in place i % count; two rows of 16-bit sums with reflected ends,
 * `sums_row` apart; pointers to the places of the pairs of rows -down_radius, -down_radius + 1, ..., reflected. */
typedef struct layout {
    size_t down, across, rows, row, sums, sums_row, pairs, size;
} layout;

static layout lay_out(nf_extent size, int64_t kernel_height, int64_t kernel_width) {
    int64_t line = 16;
    layout l = {.row = (size_t)nf_round_up(size.width, line),
                .sums_row = (size_t)nf_round_up(size.width + kernel_width, 2 * line) / 2 + 2 * (size_t)line};
    l.down = (size_t)nf_round_up(nf_max(kernel_height, kernel_width) / 2 + 2, line);
    l.across = l.down + filter_size(kernel_height);
    l.rows = (size_t)nf_round_up((int64_t)(l.across + filter_size(kernel_width)), line);
    l.sums = l.rows + (size_t)(kernel_height / 2 + 1) * l.row;
    l.pairs = l.sums + 2 * l.sums_row;
    l.size = l.pairs + 2 * (size_t)(size.height / 2 + kernel_height / 2 + 1); /* pointers: 8 bytes each */
    return l;
}

static size_t blur_scratch_size(nf_extent in, int64_t kernel_height, int64_t kernel_width) {
    return lay_out(in, kernel_height, kernel_width).size * sizeof(int32_t);
}

/* Writes up to 63 bytes into the next row, which comes after. */
static void blur_across(uint8_t *out, int16_t *row, int64_t width, const filter *across, int shift) {
    for (int64_t k = 1; k <= across->radius; k++) {
        row[-k] = row[k];
        row[width - 1 + k] = row[width - 1 - k];
    }
    nf_kernel->blur_row(out, row - across->radius, across->weights, across->count, shift, (size_t)width);
}

static void blur_plane(uint8_t *out, const uint8_t *in, nf_extent size, const filter *down, const filter *across,
                       int16_t *rows[2], int32_t *const *pairs) {
    int short_bits = (int)nf_min(SHORT_BITS, SUM_BITS - across->bits);
    int64_t ready = 0, last = size.height - 1 + down->radius;
    for (int64_t y = 0; y < size.height; y += 2) {
        for (; ready <= y / 2 + down->radius; ready++) {
            int64_t first = 2 * ready - down->radius, second = nf_min(first + 1, last);
            nf_kernel->pair_rows(pairs[ready], in + nf_reflect(first, size.height) * size.width,
                                 in + nf_reflect(second, size.height) * size.width, (size_t)size.width);
        }
        nf_kernel->blur_columns(rows[0], rows[1], (const int32_t *const *)pairs + y / 2, down->weights, down->count,
                                down->bits - short_bits, (size_t)size.width);
        for (int64_t i = 0; i < 2 && y + i < size.height; i++)
            blur_across(out + (y + i) * size.width, rows[i], size.width, across, short_bits + across->bits);
    }
}

static void blur(nf_view *view, blur_arguments arguments) {
    nf_view_load(view);
    nf_extent size = {view->height, view->width};
    layout l = lay_out(size, arguments.kernel_height, arguments.kernel_width);
    int32_t *scratch = view->scratch, **pairs = (int32_t **)(void *)(scratch + l.pairs);
    filter down = make_filter(scratch + l.down, scratch, arguments.kernel_height, arguments.sigma_y);
    filter across = make_filter(scratch + l.across, scratch, arguments.kernel_width, arguments.sigma_x);
    for (size_t i = 0; i < (size_t)(size.height + 1) / 2 + (size_t)down.radius; i++)
        pairs[i] = scratch + l.rows + i % down.count * l.row;
    int16_t *rows[2];
    for (size_t i = 0; i < 2; i++)
        rows[i] = (int16_t *)(scratch + l.sums + i * l.sums_row) + across.radius;
    for (size_t c = 0; c < (size_t)view->channels; c++)
        blur_plane(view->spare + c * view->stride, view->pixels + c * view->stride, size, &down, &across, rows, pairs);
    nf_view_swap(view, size);
}

static nf_status check_kernel(int64_t kernel) {
    if (kernel < 1 || kernel % 2 == 0 || kernel > 2 * NF_MAX_IMAGE_SIZE)
        return nf_fail(NF_BAD_VALUE, "kernel_size must be odd and >= 1, got %lld", (long long)kernel);
    return NF_OK;
}

static nf_status check_fit(int64_t kernel_height, int64_t kernel_width, nf_extent in) {
    if (kernel_height / 2 >= in.height || kernel_width / 2 >= in.width)
        return nf_fail(NF_BAD_VALUE,
                       "kernel_size must be below twice the image's size %lld x %lld, got (%lld, %lld) (height, width)",
                       (long long)in.height, (long long)in.width, (long long)kernel_height, (long long)kernel_width);
    return NF_OK;
}

static nf_status check_sigma(double sigma) {
    if (!(sigma > 0 && isfinite(sigma)))
        return nf_fail(NF_BAD_VALUE, "sigma must be finite and > 0, got %g", sigma);
    return NF_OK;
}

/* ---- On a batch ---- */

static void blur_one(nf_view *view, const void *arguments) {
    blur(view, *(const blur_arguments *)arguments);
}

static void deep_blur_one(nf_deep_view *view, const void *arguments) {
    const blur_arguments *blur = arguments;
    nf_deep_view_blur(view, blur->kernel_height, blur->kernel_width, blur->sigma_y, blur->sigma_x);
}

nf_status nf_gaussian_blur(void *out, const void *images, nf_images shape, int64_t kernel_height, int64_t kernel_width,
                           double sigma_y, double sigma_x) {
    nf_extent size = {shape.height, shape.width};
    NF_TRY(check_kernel(kernel_height));
    NF_TRY(check_kernel(kernel_width));
    NF_TRY(check_sigma(sigma_y));
    NF_TRY(check_sigma(sigma_x));
    NF_TRY(check_fit(kernel_height, kernel_width, size));
    blur_arguments arguments = {kernel_height, kernel_width, sigma_y, sigma_x};
    if (shape.type != NF_PIXEL_BYTE)
        return nf_deep_map_alike(out, images, shape,
                                 nf_deep_blur_size(size, shape.channels, kernel_height, kernel_width), deep_blur_one,
                                 &arguments);
    return nf_map_images(out, (size_t)(shape.height * shape.width * shape.channels), images, shape, size,
                         blur_scratch_size(size, kernel_height, kernel_width), blur_one, &arguments);
}

/* ---- In a recipe ---- */

static nf_status check(const nf_transform *transform) {
    NF_TRY(nf_check_probability(transform));
    NF_TRY(check_kernel(transform->blur.kernel_height));
    NF_TRY(check_kernel(transform->blur.kernel_width));
    return nf_check_range(transform->blur.sigma, "sigma", 1e-6, 1e6);
}

static nf_status plan(nf_extent *out, const nf_transform *transform, nf_extent in, int64_t channels) {
    (void)channels;
    *out = in;
    return transform->probability > 0 ? check_fit(transform->blur.kernel_height, transform->blur.kernel_width, in)
                                      : NF_OK;
}

static size_t scratch_size(const nf_transform *transform, nf_extent in, int64_t channels) {
    (void)channels;
    return blur_scratch_size(in, transform->blur.kernel_height, transform->blur.kernel_width);
}

static void draw(void *record, const nf_transform *transform, nf_extent in, nf_random *random) {
    (void)in;
    nf_blur_draw *drawn = record;
    *drawn = (nf_blur_draw){.applied = nf_random_uniform(random) < transform->probability};
    if (drawn->applied)
        drawn->sigma = nf_draw_range(transform->blur.sigma, random);
}

static nf_status check_draw(const void *record, const nf_transform *transform, nf_extent in) {
    const nf_blur_draw *drawn = record;
    if (!drawn->applied)
        return NF_OK;
    NF_TRY(check_fit(transform->blur.kernel_height, transform->blur.kernel_width, in));
    return check_sigma(drawn->sigma);
}

static void apply(nf_view *view, const nf_transform *transform, const void *record) {
    const nf_blur_draw *drawn = record;
    if (drawn->applied)
        blur(view,
             (blur_arguments){transform->blur.kernel_height, transform->blur.kernel_width, drawn->sigma, drawn->sigma});
}

const nf_transform_type nf_blur_type = {.draw_size = sizeof(nf_blur_draw),
                                        .check = check,
                                        .plan = plan,
                                        .scratch_size = scratch_size,
                                        .draw = draw,
                                        .check_draw = check_draw,
                                        .apply = apply};
