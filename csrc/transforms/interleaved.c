#include "interleaved.h"

#include "../core/integers.h"

#include <math.h>
#include <string.h>

enum { BYTES_PER_TASK = 1 << 16 };

typedef struct map {
    uint8_t *out;
    nf_extent size;
    const uint8_t *images;
    nf_images shape;
    int64_t rows_per_task, tasks_per_image;
    nf_row_operation operation;
    const void *arguments;
} map;

static void map_rows(void *context, int64_t task, int worker) {
    (void)worker;
    const map *job = context;
    int64_t n = task / job->tasks_per_image, begin = task % job->tasks_per_image * job->rows_per_task;
    int64_t count = nf_min(job->rows_per_task, job->size.height - begin), row = job->size.width * job->shape.channels;
    job->operation(job->out + (n * job->size.height + begin) * row,
                   job->images + n * job->shape.height * job->shape.width * job->shape.channels, begin, count,
                   job->arguments);
}

nf_status nf_map_rows(uint8_t *out, nf_extent size, const uint8_t *images, nf_images shape, nf_row_operation operation,
                      const void *arguments) {
    NF_TRY(nf_check_images(images, shape));
    map job = {.out = out,
               .size = size,
               .images = images,
               .shape = shape,
               .rows_per_task = nf_max(1, BYTES_PER_TASK / (size.width * shape.channels)),
               .operation = operation,
               .arguments = arguments};
    job.tasks_per_image = nf_ceil_div(size.height, job.rows_per_task);
    return nf_parallel(map_rows, &job, shape.count * job.tasks_per_image, NF_MAX_THREADS);
}

/* Interleaved pixels take less room than planes with their padding, so they go to and fro between the view's buffers.
 */
void nf_view_rows(nf_view *view, nf_extent size, nf_row_operation operation, const void *arguments) {
    size_t channels = (size_t)view->channels;
    const uint8_t *source = view->source;
    if (!source) {
        nf_kernel->join_planes(view->spare, view->pixels, view->stride, channels, (size_t)(view->height * view->width));
        source = view->spare;
    }
    operation(view->pixels, source, 0, size.height, arguments);
    nf_kernel->split_planes(view->spare, nf_plane_size(size), view->pixels, channels,
                            (size_t)(size.height * size.width));
    nf_view_swap(view, size);
}

nf_fill nf_fill_of(const void *values, int64_t count, nf_pixel_type type) {
    return (nf_fill){values, (size_t)count * nf_value_size(type)};
}

void nf_fill_pixels(uint8_t *out, nf_fill fill, int64_t pixel, int64_t n) {
    size_t size = (size_t)(n * pixel);
    if (fill.size == 1)
        memset(out, fill.bytes[0], size);
    else
        for (size_t i = 0; i < size; i += fill.size)
            memcpy(out + i, fill.bytes, fill.size);
}

nf_status nf_check_fill_count(int64_t count, int64_t channels, const char *name) {
    if (count != 1 && count != channels)
        return nf_fail(NF_BAD_VALUE, "%s must be one number, or one per channel (%lld), got %lld numbers", name,
                       (long long)channels, (long long)count);
    return NF_OK;
}

nf_status nf_check_fill(const void *values, int64_t count, nf_images shape, const char *name) {
    NF_TRY(nf_check_fill_count(count, shape.channels, name));
    for (int64_t i = 0; i < count && shape.type == NF_PIXEL_FLOAT; i++)
        if (!isfinite(((const float *)values)[i]))
            return nf_fail(NF_BAD_VALUE, "%s must be finite, got %g", name, (double)((const float *)values)[i]);
    return NF_OK;
}

nf_status nf_check_size(int64_t height, int64_t width, const char *name) {
    if (height < 1 || width < 1 || height > NF_MAX_IMAGE_SIZE || width > NF_MAX_IMAGE_SIZE)
        return nf_fail(NF_BAD_VALUE, "%s must be in 1..%d, got (%lld, %lld)", name, NF_MAX_IMAGE_SIZE,
                       (long long)height, (long long)width);
    return NF_OK;
}
