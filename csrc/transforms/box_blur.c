/* Box blur, and Pillow's Gaussian blur: three box blurs whose radius has a fraction. Source: Pillow, BoxBlur.c;
 * Gwosdek et al., "Theoretical foundations of Gaussian convolution by extended box filtering", SSVM 2011. */
#include "transform.h"

#include <math.h>
#include <string.h>

enum { GAUSSIAN_PASSES = 3, ALIGNMENT = 64 };

typedef struct blur_arguments {
    float radius_y, radius_x; /* of the boxes */
    int passes;
} blur_arguments;

static size_t align(size_t size) {
    return (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* Bytes: two planes, in either orientation, with rows that vectors may fill up. */
static size_t blur_scratch_size(nf_extent in) {
    return 2 * align((size_t)in.height) * align((size_t)in.width);
}

/* Blurs down the columns, `passes` times, between two planes; returns the one that has the result. */
static uint8_t *blur_columns(uint8_t *plane, uint8_t *other, size_t stride, size_t rows, size_t columns, float radius,
                             int passes) {
    uint32_t whole = (uint32_t)radius;
    uint32_t weight = (uint32_t)(16777216.0f / (radius * 2 + 1));
    uint32_t edge_weight = ((1u << 24) - (whole * 2 + 1) * weight) / 2;
    for (int pass = 0; pass < passes; pass++) {
        nf_kernel->box_columns(other, plane, stride, rows, columns, whole, weight, edge_weight);
        uint8_t *blurred = other;
        other = plane;
        plane = blurred;
    }
    return plane;
}

static void blur_plane(uint8_t *pixels, size_t height, size_t width, blur_arguments arguments, uint8_t *scratch) {
    size_t stride = align(width), turned_stride = align(height);
    uint8_t *plane = scratch, *other = scratch + stride * turned_stride;
    if (arguments.radius_x > 0) {
        nf_kernel->transpose_bytes(plane, turned_stride, pixels, width, height, width);
        uint8_t *turned =
            blur_columns(plane, other, turned_stride, width, height, arguments.radius_x, arguments.passes);
        plane = turned == plane ? other : plane;
        nf_kernel->transpose_bytes(plane, stride, turned, turned_stride, width, height);
        other = turned;
    } else {
        for (size_t y = 0; y < height; y++)
            memcpy(plane + y * stride, pixels + y * width, width);
    }
    if (arguments.radius_y > 0)
        plane = blur_columns(plane, other, stride, height, width, arguments.radius_y, arguments.passes);
    for (size_t y = 0; y < height; y++)
        memcpy(pixels + y * width, plane + y * stride, width);
}

static void blur(nf_view *view, blur_arguments arguments) {
    nf_view_load(view);
    for (size_t c = 0; c < (size_t)view->channels; c++)
        blur_plane(view->pixels + c * view->stride, (size_t)view->height, (size_t)view->width, arguments,
                   view->scratch);
}

/* The radius of boxes that together have the variance of the Gaussian: whole part, then the fraction. */
static float box_radius(double radius) {
    float variance = (float)radius * (float)radius / GAUSSIAN_PASSES;
    float whole = floorf(((float)sqrt(12.0 * (double)variance + 1.0) - 1.0f) / 2);
    float fraction = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance);
    return whole + fraction / (6 * (variance - (whole + 1) * (whole + 1)));
}

static blur_arguments gaussian(double radius_y, double radius_x) {
    return (blur_arguments){box_radius(radius_y), box_radius(radius_x), GAUSSIAN_PASSES};
}

static nf_status check_radius(double radius) {
    if (!(radius >= 0 && radius <= NF_MAX_IMAGE_SIZE))
        return nf_fail(NF_BAD_VALUE, "radius must be in 0..%d, got %g", NF_MAX_IMAGE_SIZE, radius);
    return NF_OK;
}

/* ---- On a batch ---- */

static void blur_one(nf_view *view, const void *arguments) {
    blur(view, *(const blur_arguments *)arguments);
}

static nf_status blur_images(uint8_t *out, const uint8_t *images, nf_images shape, blur_arguments arguments) {
    nf_extent size = {shape.height, shape.width};
    return nf_map_images(out, (size_t)(shape.height * shape.width * shape.channels), images, shape, size,
                         blur_scratch_size(size), blur_one, &arguments);
}

nf_status nf_box_blur(uint8_t *out, const uint8_t *images, nf_images shape, double radius_y, double radius_x) {
    NF_TRY(check_radius(radius_y));
    NF_TRY(check_radius(radius_x));
    return blur_images(out, images, shape, (blur_arguments){(float)radius_y, (float)radius_x, 1});
}

nf_status nf_pillow_gaussian_blur(uint8_t *out, const uint8_t *images, nf_images shape, double radius_y,
                                  double radius_x) {
    NF_TRY(check_radius(radius_y));
    NF_TRY(check_radius(radius_x));
    return blur_images(out, images, shape, gaussian(radius_y, radius_x));
}

/* ---- In a recipe ---- */

static nf_status check(const nf_transform *transform) {
    NF_TRY(nf_check_probability(transform));
    return nf_check_range(transform->pillow_blur.radius, "radius", 0, NF_MAX_IMAGE_SIZE);
}

static size_t scratch_size(const nf_transform *transform, nf_extent in, int64_t channels) {
    (void)transform, (void)channels;
    return blur_scratch_size(in);
}

static void draw(void *record, const nf_transform *transform, nf_extent in, nf_random *random) {
    (void)in;
    nf_pillow_blur_draw *drawn = record;
    *drawn = (nf_pillow_blur_draw){.applied = nf_random_uniform(random) < transform->probability};
    if (drawn->applied)
        drawn->radius = nf_draw_range(transform->pillow_blur.radius, random);
}

static nf_status check_draw(const void *record, const nf_transform *transform, nf_extent in) {
    (void)transform, (void)in;
    const nf_pillow_blur_draw *drawn = record;
    return drawn->applied ? check_radius(drawn->radius) : NF_OK;
}

static void apply(nf_view *view, const nf_transform *transform, const void *record) {
    (void)transform;
    const nf_pillow_blur_draw *drawn = record;
    if (drawn->applied)
        blur(view, gaussian(drawn->radius, drawn->radius));
}

const nf_transform_type nf_pillow_blur_type = {.draw_size = sizeof(nf_pillow_blur_draw),
                                               .check = check,
                                               .scratch_size = scratch_size,
                                               .draw = draw,
                                               .check_draw = check_draw,
                                               .apply = apply};
