/* Sharpness: a blend with the smoothed image. Source: Pillow, ImageEnhance.Sharpness; torchvision,
 * RandomAdjustSharpness. */
#include "deep.h"
#include "transform.h"

#include <string.h>

/* Pixels at the border are not smoothed, and so stay as they are. */
static void sharpen_plane(uint8_t *out, const uint8_t *in, size_t height, size_t width, float factor) {
    memcpy(out, in, width);
    for (size_t y = 1; y + 1 < height; y++) {
        const uint8_t *row = in + y * width;
        uint8_t *to = out + y * width;
        /* writes a few bytes into the next row, which comes after */
        nf_kernel->sharpen_row(to + 1, row - width + 1, row + 1, row + width + 1, factor, width - 2);
        to[0] = row[0];
        to[width - 1] = row[width - 1];
    }
    memcpy(out + (height - 1) * width, in + (height - 1) * width, width);
}

static void sharpen(nf_view *view, double factor) {
    nf_view_load(view);
    if (view->height < 3 || view->width < 3)
        return;
    for (size_t c = 0; c < (size_t)view->channels; c++)
        sharpen_plane(view->spare + c * view->stride, view->pixels + c * view->stride, (size_t)view->height,
                      (size_t)view->width, (float)factor);
    nf_view_swap(view, (nf_extent){view->height, view->width});
}

static void sharpen_one(nf_view *view, const void *factor) {
    sharpen(view, *(const double *)factor);
}

nf_status nf_adjust_sharpness(void *out, const void *images, nf_images shape, double factor) {
    NF_TRY(nf_check_factor(factor, "factor"));
    if (shape.type != NF_PIXEL_BYTE)
        return nf_deep_adjust(out, images, shape, nf_deep_view_sharpness, factor);
    return nf_map_images(out, (size_t)(shape.height * shape.width * shape.channels), images, shape,
                         (nf_extent){shape.height, shape.width}, 0, sharpen_one, &factor);
}

static nf_status check(const nf_transform *transform) {
    NF_TRY(nf_check_probability(transform));
    return nf_check_range(transform->sharpness.factor, "factor", 0, 1e6);
}

static void draw(void *record, const nf_transform *transform, nf_extent in, nf_random *random) {
    (void)in;
    nf_sharpness_draw *drawn = record;
    *drawn = (nf_sharpness_draw){.factor = 1, .applied = nf_random_uniform(random) < transform->probability};
    if (drawn->applied)
        drawn->factor = nf_draw_range(transform->sharpness.factor, random);
}

static nf_status check_draw(const void *record, const nf_transform *transform, nf_extent in) {
    (void)transform, (void)in;
    const nf_sharpness_draw *drawn = record;
    return drawn->applied ? nf_check_factor(drawn->factor, "factor") : NF_OK;
}

static void apply(nf_view *view, const nf_transform *transform, const void *record) {
    (void)transform;
    const nf_sharpness_draw *drawn = record;
    if (drawn->applied)
        sharpen(view, drawn->factor);
}

const nf_transform_type nf_sharpness_type = {
    .draw_size = sizeof(nf_sharpness_draw), .check = check, .draw = draw, .check_draw = check_draw, .apply = apply};
