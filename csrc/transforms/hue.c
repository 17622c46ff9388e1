/* Hue: a shift in HSV of 8 bits. Source: Pillow, Convert.c (rgb2hsv, hsv2rgb); torchvision, adjust_hue. */
#include "deep.h"
#include "transform.h"

nf_status nf_check_hue(double factor) {
    if (!(factor >= -0.5 && factor <= 0.5))
        return nf_fail(NF_BAD_VALUE, "hue factor must be in -0.5..0.5, got %g", factor);
    return NF_OK;
}

void nf_view_hue(nf_view *view, double factor) {
    nf_view_load(view);
    int shift = (int)(factor * 255) & 255; /* negative shifts wrap around */
    if (view->channels == 3)
        nf_kernel->shift_hue(view->pixels, view->stride, (float)shift, (size_t)(view->height * view->width));
}

static void hue_one(nf_view *view, const void *factor) {
    nf_view_hue(view, *(const double *)factor);
}

nf_status nf_adjust_hue(void *out, const void *images, nf_images shape, double factor) {
    NF_TRY(nf_check_hue(factor));
    NF_TRY(nf_check_color(shape, "adjust_hue"));
    if (shape.type != NF_PIXEL_BYTE)
        return nf_deep_adjust(out, images, shape, nf_deep_view_hue, factor);
    return nf_map_images(out, (size_t)(shape.height * shape.width * shape.channels), images, shape,
                         (nf_extent){shape.height, shape.width}, 0, hue_one, &factor);
}
