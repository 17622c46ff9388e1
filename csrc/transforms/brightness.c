/* Brightness: a blend with black. Source: Pillow, ImageEnhance.Brightness. */
#include "bytes.h"
#include "deep.h"
#include "transform.h"

nf_status nf_check_factor(double factor, const char *name) {
    if (!(factor >= 0 && factor <= 1e6))
        return nf_fail(NF_BAD_VALUE, "%s must be in 0..1e6, got %g", name, factor);
    return NF_OK;
}

void nf_view_blend(nf_view *view, float base, double factor) {
    uint8_t table[256];
    for (int x = 0; x < 256; x++)
        table[x] = (uint8_t)x;
    nf_kernel->blend_constant(table, base, (float)factor, 256);
    nf_view_map_bytes(view, nf_look_up, table);
}

void nf_view_brightness(nf_view *view, double factor) {
    nf_view_blend(view, 0, factor);
}

static void brightness_one(nf_view *view, const void *factor) {
    nf_view_brightness(view, *(const double *)factor);
}

nf_status nf_adjust_brightness(void *out, const void *images, nf_images shape, double factor) {
    NF_TRY(nf_check_factor(factor, "factor"));
    if (shape.type != NF_PIXEL_BYTE)
        return nf_deep_adjust(out, images, shape, nf_deep_view_brightness, factor);
    return nf_map_images(out, (size_t)(shape.height * shape.width * shape.channels), images, shape,
                         (nf_extent){shape.height, shape.width}, 0, brightness_one, &factor);
}
