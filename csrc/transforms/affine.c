/* Affine maps: rotation, translation, scaling and shear about the image's centre. Source: torchvision, affine and
 * RandomAffine. */
#include "transform.h"
#include "warp.h"

#include <math.h>

static const double RADIANS = 3.141592653589793 / 180;

/* From the result to the image: the inverse of T C R S Y X C^-1, with rotation R, scale S and the shears Y, X, which
 * make a matrix of determinant scale^2 between them. */
static nf_map inverse_map(const nf_affine_draw *a, double center_x, double center_y) {
    double angle = a->angle * RADIANS, shear_x = a->shear_x * RADIANS, shear_y = a->shear_y * RADIANS;
    double turned = angle - shear_y;
    double xx = cos(turned) / cos(shear_y), xy = -cos(turned) * tan(shear_x) / cos(shear_y) - sin(angle);
    double yx = sin(turned) / cos(shear_y), yy = -sin(turned) * tan(shear_x) / cos(shear_y) + cos(angle);
    nf_map map = {{yy / a->scale, -xy / a->scale, 0, -yx / a->scale, xx / a->scale, 0}};
    double *m = map.m, x = -center_x - a->translate_x, y = -center_y - a->translate_y;
    m[2] = m[0] * x + m[1] * y + center_x;
    m[5] = m[3] * x + m[4] * y + center_y;
    return map;
}

static nf_status check_arguments(const nf_affine_draw *a) {
    if (!(fabs(a->angle) <= 1e6))
        return nf_fail(NF_BAD_VALUE, "angle must be within -1e6..1e6, got %g", a->angle);
    if (!(fabs(a->translate_x) <= 1e6 && fabs(a->translate_y) <= 1e6))
        return nf_fail(NF_BAD_VALUE, "translate must be within -1e6..1e6, got (%g, %g)", a->translate_x,
                       a->translate_y);
    if (!(a->scale >= 1e-6 && a->scale <= 1e6))
        return nf_fail(NF_BAD_VALUE, "scale must be in 1e-6..1e6, got %g", a->scale);
    /* at 90 degrees all pixels fall onto a line */
    if (!(fabs(a->shear_x) <= 89.9 && fabs(a->shear_y) <= 89.9))
        return nf_fail(NF_BAD_VALUE, "shear must be within -89.9..89.9 degrees, got (%g, %g)", a->shear_x, a->shear_y);
    return NF_OK;
}

/* ---- On a batch ---- */

nf_status nf_affine(void *out, const void *images, nf_images shape, double angle, const double translate[2],
                    double scale, const double shear[2], const double *center, nf_interpolation interpolation,
                    const void *fill, int64_t fill_count) {
    nf_affine_draw a = {.angle = angle,
                        .scale = scale,
                        .shear_x = shear[0],
                        .shear_y = shear[1],
                        .translate_x = translate[0],
                        .translate_y = translate[1]};
    NF_TRY(check_arguments(&a));
    NF_TRY(nf_check_center(center));
    nf_map map = inverse_map(&a, center ? center[0] : (double)shape.width * 0.5,
                             center ? center[1] : (double)shape.height * 0.5);
    return nf_warp_images(out, (nf_extent){shape.height, shape.width}, images, shape, map, interpolation, fill,
                          fill_count);
}

/* ---- In a recipe ---- */

static nf_status check(const nf_transform *transform) {
    NF_TRY(nf_check_range(transform->affine.degrees, "degrees", -1e6, 1e6));
    for (int i = 0; i < 2; i++)
        if (!(transform->affine.translate[i] >= 0 && transform->affine.translate[i] <= 1))
            return nf_fail(NF_BAD_VALUE, "translate must be two shares of the image's size, each in 0..1, got (%g, %g)",
                           transform->affine.translate[0], transform->affine.translate[1]);
    NF_TRY(nf_check_range(transform->affine.scale, "scale", 1e-6, 1e6));
    NF_TRY(nf_check_range(transform->affine.shear_x, "shear", -89.9, 89.9));
    NF_TRY(nf_check_range(transform->affine.shear_y, "shear", -89.9, 89.9));
    NF_TRY(nf_check_colors(&transform->affine.fill));
    return nf_check_interpolation(transform->affine.interpolation);
}

static nf_status plan(nf_extent *out, const nf_transform *transform, nf_extent in, int64_t channels) {
    *out = in;
    NF_TRY(nf_check_warp_images(in.height, in.width, channels));
    return nf_check_fill_count(transform->affine.fill.count, channels, "fill");
}

static size_t scratch_size(const nf_transform *transform, nf_extent in, int64_t channels) {
    (void)transform, (void)channels;
    return nf_warp_scratch_size(in);
}

static double draw_shift(double share, int64_t size, nf_random *random) {
    double most = share * (double)size;
    return rint(nf_draw_range((nf_range){-most, most}, random));
}

static void draw(void *record, const nf_transform *transform, nf_extent in, nf_random *random) {
    nf_affine_draw *a = record;
    a->angle = nf_draw_range(transform->affine.degrees, random);
    a->translate_x = draw_shift(transform->affine.translate[0], in.width, random);
    a->translate_y = draw_shift(transform->affine.translate[1], in.height, random);
    a->scale = nf_draw_range(transform->affine.scale, random);
    a->shear_x = nf_draw_range(transform->affine.shear_x, random);
    a->shear_y = nf_draw_range(transform->affine.shear_y, random);
}

static nf_status check_draw(const void *record, const nf_transform *transform, nf_extent in) {
    (void)transform, (void)in;
    return check_arguments(record);
}

nf_map nf_affine_map(const nf_affine_draw *a, nf_extent in) {
    return inverse_map(a, (double)in.width * 0.5, (double)in.height * 0.5);
}

static void apply(nf_view *view, const nf_transform *transform, const void *record) {
    nf_extent size = {view->height, view->width};
    nf_view_warp(view, size, nf_affine_map(record, size), transform->affine.interpolation,
                 nf_fill_of(transform->affine.fill.values, transform->affine.fill.count, NF_PIXEL_BYTE));
}

const nf_transform_type nf_affine_type = {.draw_size = sizeof(nf_affine_draw),
                                          .check = check,
                                          .plan = plan,
                                          .scratch_size = scratch_size,
                                          .draw = draw,
                                          .check_draw = check_draw,
                                          .apply = apply};
