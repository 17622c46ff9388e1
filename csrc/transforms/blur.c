/* Gaussian blur: a separable kernel with reflected borders, rounded once at the end. Source: torchvision,
 * gaussian_blur. */
#include "deep.h"
#include "transform.h"

#include "../core/integers.h"

#include <math.h>

typedef struct blur_arguments {
    int64_t kernel_height, kernel_width;
    double sigma_y, sigma_x;
} blur_arguments;

/* Weights for distances 0, 1, ...; returns the largest distance whose weight still matters: what is left out changes a
 * sum by less than a thousandth of a grey level. */
static int64_t make_weights(float *weights, int64_t kernel, double sigma) {
    int64_t radius = kernel / 2;
    double sum = 1;
    for (int64_t k = 1; k <= radius; k++)
        sum += 2 * exp(-0.5 * ((double)k / sigma) * ((double)k / sigma));
    int64_t last = 0;
    for (int64_t k = 0; k <= radius; k++) {
        double weight = exp(-0.5 * ((double)k / sigma) * ((double)k / sigma)) / sum;
        weights[k] = (float)weight;
        if (weight > 1e-7)
            last = k;
    }
    return last;
}

/* What a blur works with, as places in an array of floats: weights of both axes; the rows that it needs next, `row`
 * floats apart, row y in place y % count; a row of sums with reflected ends; pointers
 * to the places of rows -down_radius .. height - 1 + down_radius, reflected. */
typedef struct layout {
    size_t across, rows, row, count, sums, around, size;
} layout;

static layout lay_out(nf_extent size, int64_t kernel_height, int64_t kernel_width) {
    size_t line = 16, height = (size_t)kernel_height, width = (size_t)kernel_width, pointers = 2; /* 8 bytes each */
    layout l = {.row = (size_t)nf_round_up(size.width, 16) + line, .count = (size_t)nf_min(kernel_height, size.height)};
    l.across = (height / 2 + line) / line * line;
    l.rows = l.across + (width / 2 + line) / line * line;
    l.sums = l.rows + l.count * l.row;
    l.around = l.sums + l.row + (width + line) / line * line;
    l.size = l.around + pointers * ((size_t)size.height + height);
    return l;
}

static size_t blur_scratch_size(nf_extent in, int64_t kernel_height, int64_t kernel_width) {
    return lay_out(in, kernel_height, kernel_width).size * sizeof(float);
}

static int64_t reflect(int64_t i, int64_t n) {
    return i < 0 ? -i : i >= n ? 2 * n - 2 - i : i;
}

static void blur_plane(uint8_t *out, const uint8_t *in, nf_extent size, int64_t down_radius, int64_t across_radius,
                       layout l, float *scratch) {
    float *row = scratch + l.sums + across_radius, *const *around = (float *const *)(void *)(scratch + l.around);
    int64_t ready = 0;
    for (int64_t y = 0; y < size.height; y++) {
        for (; ready < size.height && ready <= y + down_radius; ready++)
            nf_kernel->bytes_to_floats(around[down_radius + ready], in + ready * size.width, (size_t)size.width);
        nf_kernel->blur_columns(row, (const float *const *)around + y, scratch, (size_t)down_radius,
                                (size_t)size.width);
        for (int64_t k = 1; k <= across_radius; k++) {
            row[-k] = row[k];
            row[size.width - 1 + k] = row[size.width - 1 - k];
        }
        /* writes a few bytes into the next row, which comes after */
        nf_kernel->blur_row(out + y * size.width, row, scratch + l.across, (size_t)across_radius, (size_t)size.width);
    }
}

static void blur(nf_view *view, blur_arguments arguments) {
    nf_view_load(view);
    nf_extent size = {view->height, view->width};
    layout l = lay_out(size, arguments.kernel_height, arguments.kernel_width);
    float *scratch = view->scratch, **around = (float **)(void *)(scratch + l.around);
    int64_t down_radius = make_weights(scratch, arguments.kernel_height, arguments.sigma_y);
    int64_t across_radius = make_weights(scratch + l.across, arguments.kernel_width, arguments.sigma_x);
    for (int64_t i = 0; i < size.height + 2 * down_radius; i++)
        around[i] = scratch + l.rows + (size_t)reflect(i - down_radius, size.height) % l.count * l.row;
    for (size_t c = 0; c < (size_t)view->channels; c++)
        blur_plane(view->spare + c * view->stride, view->pixels + c * view->stride, size, down_radius, across_radius, l,
                   scratch);
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
