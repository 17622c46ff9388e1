/* Mirroring left and right, and top and bottom. */
#include "interleaved.h"
#include "transform.h"

#include <string.h>

typedef struct rows {
    size_t width, channels;
    int64_t last; /* row */
} rows;

static rows rows_of(nf_images shape) {
    return (rows){(size_t)shape.width, (size_t)shape.channels, shape.height - 1};
}

/* ---- On a batch ---- */

static void hflip_rows(uint8_t *out, const uint8_t *image, int64_t begin, int64_t count, const void *arguments) {
    const rows *in = arguments;
    size_t row = in->width * in->channels;
    for (size_t y = (size_t)begin; y < (size_t)(begin + count); y++, out += row)
        nf_kernel->reverse_pixels(out, image + y * row, in->channels, in->width);
}

nf_status nf_hflip(void *out, const void *images, nf_images shape) {
    NF_TRY(nf_check_images(images, shape));
    shape = nf_as_bytes(shape);
    rows in = rows_of(shape);
    return nf_map_rows(out, (nf_extent){shape.height, shape.width}, images, shape, hflip_rows, &in);
}

static void vflip_rows(uint8_t *out, const uint8_t *image, int64_t begin, int64_t count, const void *arguments) {
    const rows *in = arguments;
    size_t row = in->width * in->channels;
    for (int64_t y = begin; y < begin + count; y++, out += row)
        memcpy(out, image + (size_t)(in->last - y) * row, row);
}

nf_status nf_vflip(void *out, const void *images, nf_images shape) {
    NF_TRY(nf_check_images(images, shape));
    shape = nf_as_bytes(shape);
    rows in = rows_of(shape);
    return nf_map_rows(out, (nf_extent){shape.height, shape.width}, images, shape, vflip_rows, &in);
}

/* ---- In a recipe ---- */

static void apply_hflip(nf_view *view, const nf_transform *transform, const void *record) {
    (void)transform;
    if (!((const nf_switch *)record)->applied)
        return;
    nf_view_load(view);
    size_t width = (size_t)view->width;
    for (int64_t c = 0; c < view->channels; c++)
        for (size_t y = 0; y < (size_t)view->height; y++)
            nf_kernel->mirror_row(view->pixels + (size_t)c * view->stride + y * width, width);
}

static void apply_vflip(nf_view *view, const nf_transform *transform, const void *record) {
    (void)transform;
    if (!((const nf_switch *)record)->applied)
        return;
    nf_view_load(view);
    rows plane = {(size_t)view->width, 1, view->height - 1};
    for (size_t c = 0; c < (size_t)view->channels; c++)
        vflip_rows(view->spare + c * view->stride, view->pixels + c * view->stride, 0, view->height, &plane);
    nf_view_swap(view, (nf_extent){view->height, view->width});
}

const nf_transform_type nf_flip_type = {.draw_size = sizeof(nf_switch),
                                        .check = nf_check_probability,
                                        .draw = nf_draw_switch,
                                        .check_draw = nf_check_any_draw,
                                        .apply = apply_hflip};

const nf_transform_type nf_vertical_flip_type = {.draw_size = sizeof(nf_switch),
                                                 .check = nf_check_probability,
                                                 .draw = nf_draw_switch,
                                                 .check_draw = nf_check_any_draw,
                                                 .apply = apply_vflip};
