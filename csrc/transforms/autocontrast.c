/* Autocontrast: stretches the values of each channel to 0..255. Source: Pillow, ImageOps.autocontrast; torchvision,
 * RandomAutocontrast. */
#include "bytes.h"
#include "deep.h"
#include "transform.h"

static bool make_table(uint8_t table[256], const uint8_t *plane, size_t n) {
    uint8_t least, most;
    nf_kernel->byte_range(&least, &most, plane, n);
    if (most <= least || (least == 0 && most == 255))
        return false;
    double scale = 255.0 / (most - least), offset = -least * scale;
    for (int x = least; x <= most; x++) { /* no other value occurs */
        double value = x * scale + offset;
        table[x] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
    }
    return true;
}

static void autocontrast_one(nf_view *view, const void *arguments) {
    (void)arguments;
    nf_view_map_channels(view, make_table);
}

static void deep_autocontrast_one(nf_deep_view *view, const void *arguments) {
    (void)arguments;
    nf_deep_view_autocontrast(view);
}

nf_status nf_autocontrast(void *out, const void *images, nf_images shape) {
    if (shape.type != NF_PIXEL_BYTE)
        return nf_deep_map_alike(out, images, shape, 0, deep_autocontrast_one, NULL);
    return nf_map_images(out, (size_t)(shape.height * shape.width * shape.channels), images, shape,
                         (nf_extent){shape.height, shape.width}, 0, autocontrast_one, NULL);
}

static void apply(nf_view *view, const nf_transform *transform, const void *record) {
    (void)transform;
    if (((const nf_switch *)record)->applied)
        nf_view_map_channels(view, make_table);
}

const nf_transform_type nf_autocontrast_type = {.draw_size = sizeof(nf_switch),
                                                .check = nf_check_probability,
                                                .draw = nf_draw_switch,
                                                .check_draw = nf_check_any_draw,
                                                .apply = apply};
