/* Perspective: four points of the image go to four others. Sources: torchvision, perspective and RandomPerspective;
 * Heckbert, "Fundamentals of texture mapping and image warping", 1989, section 2.2. */
#include "transform.h"
#include "warp.h"

#include <math.h>

/* 3 x 3, row by row. */
typedef struct matrix {
    double m[9];
} matrix;

/* Twice the area of the triangle of points a, b, c, positive if they turn right (rows count downwards). */
static double area(const double *a, const double *b, const double *c) {
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
}

/* Do no three of the four points lie on a line? Measured by the square that holds them. */
static bool spread_out(const double *p) {
    double low_x = p[0], high_x = p[0], low_y = p[1], high_y = p[1];
    for (int i = 1; i < 4; i++) {
        low_x = fmin(low_x, p[2 * i]), high_x = fmax(high_x, p[2 * i]);
        low_y = fmin(low_y, p[2 * i + 1]), high_y = fmax(high_y, p[2 * i + 1]);
    }
    double side = fmax(high_x - low_x, high_y - low_y), least = 1e-9 * side * side;
    for (int i = 0; i < 4; i++)
        if (!(fabs(area(p + 2 * i, p + 2 * ((i + 1) % 4), p + 2 * ((i + 2) % 4))) > least))
            return false;
    return true;
}

/* The map of the unit square's corners (0, 0), (1, 0), (1, 1), (0, 1) to four points, up to a factor. */
static matrix from_square(const double *p) {
    double dx1 = p[2] - p[4], dx2 = p[6] - p[4], sx = p[0] - p[2] + p[4] - p[6];
    double dy1 = p[3] - p[5], dy2 = p[7] - p[5], sy = p[1] - p[3] + p[5] - p[7];
    double g = sx * dy2 - dx2 * sy, h = dx1 * sy - sx * dy1, w = dx1 * dy2 - dx2 * dy1;
    return (matrix){{(p[2] - p[0]) * w + g * p[2], (p[6] - p[0]) * w + h * p[6], p[0] * w, (p[3] - p[1]) * w + g * p[3],
                     (p[7] - p[1]) * w + h * p[7], p[1] * w, g, h, w}};
}

/* The inverse, up to a factor. */
static matrix adjoint(const matrix *a) {
    const double *m = a->m;
    return (matrix){{m[4] * m[8] - m[5] * m[7], m[2] * m[7] - m[1] * m[8], m[1] * m[5] - m[2] * m[4],
                     m[5] * m[6] - m[3] * m[8], m[0] * m[8] - m[2] * m[6], m[2] * m[3] - m[0] * m[5],
                     m[3] * m[7] - m[4] * m[6], m[1] * m[6] - m[0] * m[7], m[0] * m[4] - m[1] * m[3]}};
}

static matrix product(const matrix *a, const matrix *b) {
    matrix c;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            c.m[3 * i + j] = a->m[3 * i] * b->m[j] + a->m[3 * i + 1] * b->m[3 + j] + a->m[3 * i + 2] * b->m[6 + j];
    return c;
}

/* From `ends`, in the result, to `starts`, in the image. Numbers are rounded to single precision, as torchvision does.
 */
static nf_status find_map(nf_map *map, const double starts[8], const double ends[8]) {
    for (int i = 0; i < 8; i++)
        if (!(fabs(starts[i]) <= 1e6 && fabs(ends[i]) <= 1e6))
            return nf_fail(NF_BAD_VALUE, "points must be within -1e6..1e6, got %g",
                           fabs(starts[i]) <= 1e6 ? ends[i] : starts[i]);
    const double *p = spread_out(starts) ? ends : starts;
    if (!spread_out(p))
        return nf_fail(NF_BAD_VALUE,
                       "no three of the four %s may lie on a line, got (%g, %g), (%g, %g), (%g, %g), (%g, %g)",
                       p == ends ? "endpoints" : "startpoints", p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]);
    matrix to = from_square(starts), from = from_square(ends), back = adjoint(&from), all = product(&to, &back);
    double largest = 0;
    for (int i = 6; i < 9; i++)
        largest = fmax(largest, fabs(all.m[i]));
    if (!(fabs(all.m[8]) > 1e-12 * largest))
        return nf_fail(NF_BAD_VALUE, "the result's corner (0, 0) must not lie on the horizon of the endpoints");
    for (int i = 0; i < 8; i++)
        map->m[i] = (double)(float)(all.m[i] / all.m[8]);
    return NF_OK;
}

/* ---- On a batch ---- */

nf_status nf_perspective(void *out, const void *images, nf_images shape, const double startpoints[8],
                         const double endpoints[8], nf_interpolation interpolation, const void *fill,
                         int64_t fill_count) {
    nf_map map;
    NF_TRY(find_map(&map, startpoints, endpoints));
    return nf_warp_images(out, (nf_extent){shape.height, shape.width}, images, shape, map, interpolation, fill,
                          fill_count);
}

/* ---- In a recipe ---- */

static nf_status check(const nf_transform *transform) {
    NF_TRY(nf_check_probability(transform));
    if (!(transform->perspective.distortion_scale >= 0 && transform->perspective.distortion_scale <= 1))
        return nf_fail(NF_BAD_VALUE, "distortion_scale must be in 0..1, got %g",
                       transform->perspective.distortion_scale);
    NF_TRY(nf_check_colors(&transform->perspective.fill));
    return nf_check_interpolation(transform->perspective.interpolation);
}

static nf_status plan(nf_extent *out, const nf_transform *transform, nf_extent in, int64_t channels) {
    *out = in;
    if (transform->probability > 0 && (in.height < 2 || in.width < 2))
        return nf_fail(NF_BAD_VALUE, "RandomPerspective needs images of at least 2 x 2 pixels, got %lld x %lld",
                       (long long)in.height, (long long)in.width);
    NF_TRY(nf_check_warp_images(in.height, in.width, channels));
    return nf_check_fill_count(transform->perspective.fill.count, channels, "fill");
}

static size_t scratch_size(const nf_transform *transform, nf_extent in, int64_t channels) {
    (void)transform, (void)channels;
    return nf_warp_scratch_size(in);
}

/* Top left, top right, bottom right, bottom left. */
static void corners(double points[8], nf_extent in) {
    for (int i = 0; i < 4; i++) {
        points[2 * i] = i == 1 || i == 2 ? (double)(in.width - 1) : 0;
        points[2 * i + 1] = i >= 2 ? (double)(in.height - 1) : 0;
    }
}

nf_status nf_perspective_map(nf_map *map, const nf_perspective_draw *drawn, nf_extent in) {
    double starts[8], ends[8];
    corners(starts, in);
    for (int i = 0; i < 8; i++)
        ends[i] = drawn->endpoints[i];
    return find_map(map, starts, ends);
}

static void draw_corners(int32_t points[8], double distortion, nf_extent in, nf_random *random) {
    uint32_t reach_x = (uint32_t)(distortion * (double)(in.width / 2)) + 1;
    uint32_t reach_y = (uint32_t)(distortion * (double)(in.height / 2)) + 1;
    for (int i = 0; i < 4; i++) {
        int32_t x = (int32_t)nf_random_below(random, reach_x), y = (int32_t)nf_random_below(random, reach_y);
        points[2 * i] = i == 1 || i == 2 ? (int32_t)in.width - (int32_t)reach_x + x : x;
        points[2 * i + 1] = i >= 2 ? (int32_t)in.height - (int32_t)reach_y + y : y;
    }
}

/* Corners that lie on a line, as they can in tiny images, are drawn again. */
static void draw(void *record, const nf_transform *transform, nf_extent in, nf_random *random) {
    nf_perspective_draw *drawn = record;
    *drawn = (nf_perspective_draw){.applied = nf_random_uniform(random) < transform->probability};
    nf_map map;
    for (int attempt = 0; drawn->applied && attempt < 10; attempt++) {
        draw_corners(drawn->endpoints, transform->perspective.distortion_scale, in, random);
        if (nf_perspective_map(&map, drawn, in) == NF_OK)
            return;
    }
    draw_corners(drawn->endpoints, 0, in, random); /* the image's own */
}

static nf_status check_draw(const void *record, const nf_transform *transform, nf_extent in) {
    (void)transform;
    const nf_perspective_draw *drawn = record;
    nf_map map;
    return drawn->applied ? nf_perspective_map(&map, drawn, in) : NF_OK;
}

static void apply(nf_view *view, const nf_transform *transform, const void *record) {
    const nf_perspective_draw *drawn = record;
    nf_extent size = {view->height, view->width};
    nf_map map;
    if (drawn->applied && nf_perspective_map(&map, drawn, size) == NF_OK)
        nf_view_warp(view, size, map, transform->perspective.interpolation,
                     nf_fill_of(transform->perspective.fill.values, transform->perspective.fill.count, NF_PIXEL_BYTE));
}

const nf_transform_type nf_perspective_type = {.draw_size = sizeof(nf_perspective_draw),
                                               .check = check,
                                               .plan = plan,
                                               .scratch_size = scratch_size,
                                               .draw = draw,
                                               .check_draw = check_draw,
                                               .apply = apply};
