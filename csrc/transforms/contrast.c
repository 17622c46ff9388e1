/* Contrast: a blend with the mean of the image's luma. Source: Pillow, ImageEnhance.Contrast. */
#include "deep.h"
#include "transform.h"

/* The mean, rounded; of all channels unless there are three. */
static float mean_level(const nf_view *view) {
    size_t n = (size_t)(view->height * view->width);
    uint64_t sum = 0, count = n;
    if (view->channels == 3) {
        enum { CHUNK = 4096 };
        uint8_t luma[CHUNK + 64];
        for (size_t begin = 0; begin < n; begin += CHUNK) {
            size_t some = n - begin < CHUNK ? n - begin : CHUNK;
            nf_kernel->luma(luma, view->pixels + begin, view->stride, some);
            sum += nf_kernel->sum_bytes(luma, some);
        }
    } else {
        for (int64_t c = 0; c < view->channels; c++)
            sum += nf_kernel->sum_bytes(view->pixels + (size_t)c * view->stride, n);
        count *= (uint64_t)view->channels;
    }
    return (float)(int)((double)sum / (double)count + 0.5);
}

void nf_view_contrast(nf_view *view, double factor) {
    nf_view_load(view);
    nf_view_blend(view, mean_level(view), factor);
}

static void contrast_one(nf_view *view, const void *factor) {
    nf_view_contrast(view, *(const double *)factor);
}

nf_status nf_adjust_contrast(void *out, const void *images, nf_images shape, double factor) {
    NF_TRY(nf_check_factor(factor, "factor"));
    if (shape.type != NF_PIXEL_BYTE)
        return nf_deep_adjust(out, images, shape, nf_deep_view_contrast, factor);
    return nf_map_images(out, (size_t)(shape.height * shape.width * shape.channels), images, shape,
                         (nf_extent){shape.height, shape.width}, 0, contrast_one, &factor);
}
