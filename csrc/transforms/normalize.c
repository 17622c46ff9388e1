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

void nf_view_normalize(float *out, nf_view *view, const float *scale, const float *offset) {
    nf_view_load(view);
    nf_kernel->normalize_planes(out, view->pixels, view->stride, (size_t)view->channels, scale, offset,
                                (size_t)(view->height * view->width));
}

static void store_floats(float *out, nf_view_layout layout, nf_view *view, const float *scale, const float *offset) {
    size_t n = (size_t)(view->height * view->width);
    if (layout == NF_VIEW_NHWC) {
        nf_view_normalize(out, view, scale, offset);
        return;
    }
    for (size_t c = 0; c < (size_t)view->channels; c++)
        nf_kernel->normalize_planes(out + c * n, view->pixels + c * view->stride, view->stride, 1, scale + c,
                                    offset + c, n);
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
                   const float *scale, const float *offset) {
    nf_view_load(view);
    int64_t size = view->height * view->width * view->channels;
    if (type == NF_VIEW_FLOATS)
        store_floats((float *)out + index * size, layout, view, scale, offset);
    else
        store_bytes((uint8_t *)out + index * size, layout, view);
}

typedef struct normalize_job {
    nf_view views[NF_MAX_THREADS];
    float *out, *scale, *offset;
    const uint8_t *images;
    nf_images shape;
} normalize_job;

static void normalize_one(void *context, int64_t task, int worker) {
    normalize_job *job = context;
    nf_images shape = job->shape;
    int64_t size = shape.height * shape.width * shape.channels;
    nf_view *view = &job->views[worker];
    nf_view_start(view, job->images + task * size, (nf_extent){shape.height, shape.width});
    nf_view_normalize(job->out + task * size, view, job->scale, job->offset);
}

nf_status nf_normalize(float *out, const uint8_t *images, nf_images shape, const double *mean, const double *std) {
    normalize_job job = {.out = out, .images = images, .shape = shape};
    if (shape.height < 1 || shape.width < 1 || shape.channels < 1)
        return nf_fail(NF_BAD_VALUE, "image must have at least one pixel and one channel, got shape (%lld, %lld, %lld)",
                       (long long)shape.height, (long long)shape.width, (long long)shape.channels);
    void *weights, *memory;
    NF_TRY(nf_alloc(&weights, 2 * (size_t)shape.channels * sizeof(float)));
    job.scale = weights;
    job.offset = job.scale + shape.channels;
    int workers = nf_workers(shape.count);
    nf_status status = nf_normalize_weights(job.scale, job.offset, mean, std, shape.channels, 255);
    if (status == NF_OK)
        status = nf_views_alloc(job.views, &memory, workers, (nf_extent){shape.height, shape.width}, shape.channels, 0);
    if (status == NF_OK) {
        status = nf_parallel(normalize_one, &job, shape.count, workers);
        nf_free(memory);
    }
    nf_free(weights);
    return status;
}
