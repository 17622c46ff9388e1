/* Saturation: a blend with each pixel's luma. Source: Pillow, ImageEnhance.Color. */
#include "deep.h"
#include "transform.h"

nf_status nf_check_color(nf_images shape, const char *operation) {
    if (shape.channels != 1 && shape.channels != 3)
        return nf_fail(NF_BAD_VALUE, "%s needs an image with 3 channels (or 1), got %lld", operation,
                       (long long)shape.channels);
    return NF_OK;
}

void nf_view_saturation(nf_view *view, double factor) {
    nf_view_load(view);
    if (view->channels == 3)
        nf_kernel->blend_luma(view->pixels, view->stride, (float)factor, (size_t)(view->height * view->width));
}

static void saturation_one(nf_view *view, const void *factor) {
    nf_view_saturation(view, *(const double *)factor);
}

nf_status nf_adjust_saturation(void *out, const void *images, nf_images shape, double factor) {
    NF_TRY(nf_check_factor(factor, "factor"));
    NF_TRY(nf_check_color(shape, "adjust_saturation"));
    if (shape.type != NF_PIXEL_BYTE)
        return nf_deep_adjust(out, images, shape, nf_deep_view_saturation, factor);
    return nf_map_images(out, (size_t)(shape.height * shape.width * shape.channels), images, shape,
                         (nf_extent){shape.height, shape.width}, 0, saturation_one, &factor);
}
