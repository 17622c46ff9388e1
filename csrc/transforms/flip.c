/* Mirroring left and right. */
#include "transform.h"

static void hflip(nf_view *view) {
    nf_view_load(view);
    size_t width = (size_t)view->width;
    for (int64_t c = 0; c < view->channels; c++)
        for (size_t y = 0; y < (size_t)view->height; y++)
            nf_kernel->mirror_row(view->pixels + (size_t)c * view->stride + y * width, width);
}

static void flip_one(nf_view *view, const void *arguments) {
    (void)arguments;
    hflip(view);
}

nf_status nf_hflip(uint8_t *out, const uint8_t *images, nf_images shape) {
    return nf_map_images(out, (size_t)(shape.height * shape.width * shape.channels), images, shape,
                         (nf_extent){shape.height, shape.width}, 0, flip_one, NULL);
}

static void apply(nf_view *view, const nf_transform *transform, const void *record) {
    (void)transform;
    if (((const nf_switch *)record)->applied)
        hflip(view);
}

const nf_transform_type nf_flip_type = {.draw_size = sizeof(nf_switch),
                                        .check = nf_check_probability,
                                        .draw = nf_draw_switch,
                                        .check_draw = nf_check_any_draw,
                                        .apply = apply};
