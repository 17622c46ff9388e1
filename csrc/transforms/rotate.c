/* Rotation counter-clockwise. Right angles only move pixels. Sources: Pillow, Image.rotate; torchvision,
 * RandomRotation. */
#include "transform.h"
#include "warp.h"

#include <math.h>
#include <string.h>

/* ---- The map ---- */

/* To 15 decimal places, so that right angles have no rounding errors. */
static double round15(double x) {
    return rint(x * 1e15) / 1e15;
}

static double degrees(double angle) {
    angle = fmod(angle, 360);
    return angle < 0 ? fmod(angle + 360, 360) : angle;
}

static void turn(double *x, double *y, const nf_map *map) {
    double u = map->m[0] * *x + map->m[1] * *y + map->m[2], v = map->m[3] * *x + map->m[4] * *y + map->m[5];
    *x = u;
    *y = v;
}

/* From the result of the same size to the image. */
static nf_map rotation(double angle, double center_x, double center_y) {
    double radians = -(angle * (3.141592653589793 / 180));
    double cosine = round15(cos(radians)), sine = round15(sin(radians));
    nf_map map = {{cosine, sine, 0, round15(-sin(radians)), cosine, 0}};
    double x = -center_x, y = -center_y;
    turn(&x, &y, &map);
    map.m[2] = x + center_x;
    map.m[5] = y + center_y;
    return map;
}

/* The whole-numbered extent of the corners' places, and the map from that. */
static nf_extent expand(nf_map *map, nf_extent in) {
    double low_x = INFINITY, high_x = -INFINITY, low_y = INFINITY, high_y = -INFINITY;
    for (int corner = 0; corner < 4; corner++) {
        double x = corner % 2 ? (double)in.width : 0, y = corner / 2 ? (double)in.height : 0;
        turn(&x, &y, map);
        low_x = fmin(low_x, x), high_x = fmax(high_x, x);
        low_y = fmin(low_y, y), high_y = fmax(high_y, y);
    }
    double width = ceil(high_x) - floor(low_x), height = ceil(high_y) - floor(low_y);
    double x = -(width - (double)in.width) / 2, y = -(height - (double)in.height) / 2;
    turn(&x, &y, map);
    map->m[2] = x;
    map->m[5] = y;
    return (nf_extent){(int64_t)height, (int64_t)width};
}

static nf_status check_angle(double angle) {
    if (!isfinite(angle))
        return nf_fail(NF_BAD_VALUE, "angle must be finite, got %g", angle);
    return NF_OK;
}

/* ---- Right angles ---- */

typedef struct quarter_turns {
    nf_extent in;
    int64_t channels;
    int count; /* 0..3, counter-clockwise */
} quarter_turns;

static void turn_rows(uint8_t *out, const uint8_t *image, int64_t begin, int64_t count, const void *arguments) {
    const quarter_turns *turns = arguments;
    size_t channels = (size_t)turns->channels, width = (size_t)turns->in.width, height = (size_t)turns->in.height;
    size_t first = (size_t)begin, rows = (size_t)count, row = width * channels;
    if (turns->count == 0) {
        memcpy(out, image + first * row, rows * row);
    } else if (turns->count == 2) {
        for (size_t y = first; y < first + rows; y++, out += row)
            nf_kernel->reverse_pixels(out, image + (height - 1 - y) * row, channels, width);
    } else {
        ptrdiff_t out_row = (ptrdiff_t)(height * channels), in_row = (ptrdiff_t)row;
        if (turns->count == 3) /* the first column from the bottom up is the first row */
            nf_kernel->transpose_pixels(out, out_row, image + (height - 1) * row + first * channels, -in_row, channels,
                                        rows, height);
        else /* the last column is the first row, so the rows are written from the last one up */
            nf_kernel->transpose_pixels(out + (ptrdiff_t)(rows - 1) * out_row, -out_row,
                                        image + (width - first - rows) * channels, in_row, channels, rows, height);
    }
}

/* The quarter turns that a rotation about the middle is, if any, -1 otherwise. */
static int quarters(double angle, const double *center, bool expands, nf_extent in) {
    if (center || fmod(angle, 90) != 0)
        return -1;
    int count = (int)(angle / 90);
    return count % 2 && !expands && in.height != in.width ? -1 : count;
}

/* ---- On a batch ---- */

/* What there is to do: quarter turns, or a map. */
typedef struct plan {
    quarter_turns turns;
    nf_map map;
    nf_extent out;
} plan;

static plan make_plan(nf_extent in, int64_t channels, double angle, bool expands, const double *center) {
    plan made = {.turns = {in, channels, 0}, .out = in};
    angle = degrees(angle);
    made.turns.count = quarters(angle, center, expands, in);
    if (made.turns.count >= 0) {
        if (made.turns.count % 2)
            made.out = (nf_extent){in.width, in.height};
        return made;
    }
    made.map = rotation(angle, center ? center[0] : (double)in.width / 2, center ? center[1] : (double)in.height / 2);
    if (expands)
        made.out = expand(&made.map, in);
    return made;
}

nf_status nf_rotated_size(int64_t *height, int64_t *width, nf_images shape, double angle, bool expands,
                          const double *center) {
    NF_TRY(check_angle(angle));
    NF_TRY(nf_check_center(center));
    NF_TRY(nf_check_warp_images(shape.height, shape.width, shape.channels));
    plan made = make_plan((nf_extent){shape.height, shape.width}, shape.channels, angle, expands, center);
    *height = made.out.height;
    *width = made.out.width;
    return NF_OK;
}

nf_status nf_rotate(void *out, const void *images, nf_images shape, double angle, bool expands, const double *center,
                    nf_interpolation interpolation, const void *fill, int64_t fill_count) {
    int64_t height, width;
    NF_TRY(nf_rotated_size(&height, &width, shape, angle, expands, center));
    NF_TRY(nf_check_interpolation(interpolation));
    NF_TRY(nf_check_fill(fill, fill_count, shape, "fill"));
    NF_TRY(nf_check_images(images, shape));
    plan made = make_plan((nf_extent){shape.height, shape.width}, shape.channels, angle, expands, center);
    if (made.turns.count < 0)
        return nf_warp_images(out, made.out, images, shape, made.map, interpolation, fill, fill_count);
    shape = nf_as_bytes(shape);
    made.turns.channels = shape.channels;
    return nf_map_rows(out, made.out, images, shape, turn_rows, &made.turns);
}

/* ---- In a recipe ---- */

static nf_status check(const nf_transform *transform) {
    NF_TRY(nf_check_interpolation(transform->rotation.interpolation));
    NF_TRY(nf_check_colors(&transform->rotation.fill));
    return nf_check_range(transform->rotation.degrees, "degrees", -1e6, 1e6);
}

static nf_status plan_rotation(nf_extent *out, const nf_transform *transform, nf_extent in, int64_t channels) {
    *out = in;
    NF_TRY(nf_check_warp_images(in.height, in.width, channels));
    return nf_check_fill_count(transform->rotation.fill.count, channels, "fill");
}

static size_t scratch_size(const nf_transform *transform, nf_extent in, int64_t channels) {
    (void)transform, (void)channels;
    return nf_warp_scratch_size(in);
}

static void draw(void *record, const nf_transform *transform, nf_extent in, nf_random *random) {
    (void)in;
    ((nf_rotation_draw *)record)->angle = nf_draw_range(transform->rotation.degrees, random);
}

static nf_status check_draw(const void *record, const nf_transform *transform, nf_extent in) {
    (void)transform, (void)in;
    return check_angle(((const nf_rotation_draw *)record)->angle);
}

int nf_rotation_map(nf_map *map, double angle, nf_extent in) {
    plan made = make_plan(in, 1, angle, false, NULL);
    *map = made.map;
    return made.turns.count;
}

static void apply(nf_view *view, const nf_transform *transform, const void *record) {
    nf_extent size = {view->height, view->width};
    plan made = make_plan(size, view->channels, ((const nf_rotation_draw *)record)->angle, false, NULL);
    if (made.turns.count > 0)
        nf_view_rows(view, size, turn_rows, &made.turns);
    else if (made.turns.count < 0)
        nf_view_warp(view, size, made.map, transform->rotation.interpolation,
                     nf_fill_of(transform->rotation.fill.values, transform->rotation.fill.count, NF_PIXEL_BYTE));
}

const nf_transform_type nf_rotation_type = {.draw_size = sizeof(nf_rotation_draw),
                                            .check = check,
                                            .plan = plan_rotation,
                                            .scratch_size = scratch_size,
                                            .draw = draw,
                                            .check_draw = check_draw,
                                            .apply = apply};
