/* The luma of RGB, in one channel or in all three. Source: Pillow, Convert.c (ITU-R 601-2 luma). */
#include "deep.h"
#include "transform.h"

#include "../core/integers.h"

#include <string.h>

static void grayscale(nf_view *view) {
    nf_view_load(view);
    if (view->channels != 3)
        return;
    size_t n = (size_t)(view->height * view->width);
    nf_kernel->luma(view->pixels, view->pixels, view->stride, n);
    for (size_t c = 1; c < 3; c++)
        memcpy(view->pixels + c * view->stride, view->pixels, n);
}

static void grayscale_one(nf_view *view, const void *out_channels) {
    int64_t wanted = *(const int64_t *)out_channels;
    grayscale(view);
    if (wanted == 3 && view->channels == 1)
        view->stride = 0; /* the same plane three times */
    view->channels = wanted;
}

static void deep_luma_one(nf_deep_view *view, const void *out_channels) {
    nf_deep_view_luma(view, *(const int64_t *)out_channels);
}

nf_status nf_rgb_to_grayscale(void *out, const void *images, nf_images shape, int64_t out_channels) {
    NF_TRY(nf_check_color(shape, "rgb_to_grayscale"));
    if (out_channels != 1 && out_channels != 3)
        return nf_fail(NF_BAD_VALUE, "channels must be 1 or 3, got %lld", (long long)out_channels);
    int64_t pixels = shape.height * shape.width;
    if (shape.type != NF_PIXEL_BYTE)
        return nf_deep_map_images(out, pixels * out_channels, images, shape,
                                  pixels * nf_max(shape.channels, out_channels), 0, deep_luma_one, &out_channels);
    return nf_map_images(out, (size_t)(pixels * out_channels), images, shape, (nf_extent){shape.height, shape.width}, 0,
                         grayscale_one, &out_channels);
}

static nf_status plan(nf_extent *out, const nf_transform *transform, nf_extent in, int64_t channels) {
    *out = in;
    return nf_need_color(transform, channels, "Grayscale");
}

static void apply(nf_view *view, const nf_transform *transform, const void *record) {
    (void)transform;
    if (((const nf_switch *)record)->applied)
        grayscale(view);
}

const nf_transform_type nf_grayscale_type = {.draw_size = sizeof(nf_switch),
                                             .check = nf_check_probability,
                                             .plan = plan,
                                             .draw = nf_draw_switch,
                                             .check_draw = nf_check_any_draw,
                                             .apply = apply};
