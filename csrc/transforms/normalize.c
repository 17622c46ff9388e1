#include "normalize.h"

#include <math.h>
#include <string.h>

nf_status nf_normalize_weights(float *scale, float *offset, const double *mean, const double *std, int64_t channels,
                               double full) {
    for (int64_t c = 0; c < channels; c++) {
        if (!isfinite(mean[c]))
            return nf_fail(NF_BAD_VALUE, "mean must be finite, got %g", mean[c]);
        if (!(std[c] >= 1e-6 && isfinite(std[c])))
            return nf_fail(NF_BAD_VALUE, "std must be finite and >= 1e-6, got %g", std[c]);
        scale[c] = (float)(1 / (full * std[c]));
        offset[c] = (float)(-mean[c] / std[c]);
        if (!isfinite(offset[c]))
            return nf_fail(NF_BAD_VALUE, "mean / std must be finite in float32, got %g / %g", mean[c], std[c]);
    }
    return NF_OK;
}

static void store_floats(float *out, nf_view_layout layout, nf_view *view, const float *scale, const float *offset,
                         bool streams) {
    size_t n = (size_t)(view->height * view->width);
    if (layout == NF_VIEW_NHWC) {
        nf_kernel->normalize_planes(out, view->pixels, view->stride, (size_t)view->channels, scale, offset, n, streams);
        return;
    }
    for (size_t c = 0; c < (size_t)view->channels; c++)
        nf_kernel->normalize_planes(out + c * n, view->pixels + c * view->stride, view->stride, 1, scale + c,
                                    offset + c, n, streams);
}

static void store_bytes(uint8_t *out, nf_view_layout layout, nf_view *view) {
    size_t n = (size_t)(view->height * view->width);
    if (layout == NF_VIEW_NHWC)
        nf_kernel->join_planes(out, view->pixels, view->stride, (size_t)view->channels, n);
    else
        for (size_t c = 0; c < (size_t)view->channels; c++)
            memcpy(out + c * n, view->pixels + c * view->stride, n);
}

void nf_view_store(void *out, nf_view_type type, nf_view_layout layout, int64_t index, nf_view *view,
                   const float *scale, const float *offset, bool streams) {
    nf_view_load(view);
    int64_t size = view->height * view->width * view->channels;
    if (type == NF_VIEW_FLOATS)
        store_floats((float *)out + index * size, layout, view, scale, offset, streams);
    else
        store_bytes((uint8_t *)out + index * size, layout, view);
}

/* A recipe without operations. */
nf_status nf_normalize(float *out, const void *images, nf_images shape, const double *mean, const double *std) {
    if (shape.type != NF_PIXEL_FLOAT) /* those are checked below */
        NF_TRY(nf_check_images(images, shape));
    static const nf_transform none;
    nf_recipe recipe = {.transforms = &none,
                        .views = 1,
                        .channels = shape.channels,
                        .pixel_type = shape.type,
                        .mean = mean,
                        .std = std};
    void *list;
    NF_TRY(nf_alloc(&list, (size_t)shape.count * sizeof(nf_image)));
    size_t size = (size_t)(shape.height * shape.width * shape.channels) * nf_value_size(shape.type);
    for (int64_t n = 0; n < shape.count; n++)
        ((nf_image *)list)[n] = (nf_image){(const char *)images + (size_t)n * size, shape.height, shape.width};
    nf_status status = nf_recipe_apply(out, NF_VIEW_FLOATS, NF_VIEW_NHWC, &recipe, list, "", shape.count);
    nf_free(list);
    return status;
}
