#include "view.h"

enum { PADDING = 64, ALIGNMENT = 64 };

static size_t align(size_t size) {
    return (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

size_t nf_plane_size(nf_extent extent) {
    return align((size_t)extent.height * (size_t)extent.width) + PADDING;
}

void nf_view_start(nf_view *view, const uint8_t *source, nf_extent extent) {
    view->source = source;
    view->height = extent.height;
    view->width = extent.width;
    view->stride = nf_plane_size(extent);
}

void nf_view_load(nf_view *view) {
    if (!view->source)
        return;
    nf_kernel->split_planes(view->pixels, view->stride, view->source, (size_t)view->channels,
                            (size_t)(view->height * view->width));
    view->source = NULL;
}

void nf_view_swap(nf_view *view, nf_extent extent) {
    uint8_t *pixels = view->spare;
    view->spare = view->pixels;
    view->pixels = pixels;
    view->source = NULL;
    view->height = extent.height;
    view->width = extent.width;
    view->stride = nf_plane_size(extent);
}

int nf_workers(int64_t tasks) {
    int threads = nf_get_num_threads();
    return tasks >= threads ? threads : tasks > 1 ? (int)tasks : 1;
}

nf_status nf_views_alloc(nf_view views[NF_MAX_THREADS], void **memory, int workers, nf_extent room, int64_t channels,
                         size_t scratch_size) {
    size_t planes, total;
    if (__builtin_mul_overflow(nf_plane_size(room), (size_t)channels, &planes) || planes > PTRDIFF_MAX / 4 ||
        scratch_size > PTRDIFF_MAX / 4 ||
        __builtin_mul_overflow(2 * planes + align(scratch_size), (size_t)workers, &total))
        return nf_fail(NF_NO_MEMORY, "out of memory: the images are too large");
    NF_TRY(nf_alloc(memory, total));
    uint8_t *next = *memory;
    for (int i = 0; i < workers; i++) {
        views[i] =
            (nf_view){.channels = channels, .pixels = next, .spare = next + planes, .scratch = next + 2 * planes};
        next += 2 * planes + align(scratch_size);
    }
    return NF_OK;
}

nf_status nf_check_images(nf_images shape) {
    if (shape.height < 1 || shape.width < 1 || shape.channels < 1)
        return nf_fail(NF_BAD_VALUE, "image must have at least one pixel and one channel, got shape (%lld, %lld, %lld)",
                       (long long)shape.height, (long long)shape.width, (long long)shape.channels);
    return NF_OK;
}

typedef struct map {
    nf_view views[NF_MAX_THREADS];
    uint8_t *out;
    size_t out_size;
    const uint8_t *images;
    nf_images shape;
    nf_view_operation operation;
    const void *arguments;
} map;

static void map_one(void *context, int64_t task, int worker) {
    map *job = context;
    nf_images shape = job->shape;
    nf_view *view = &job->views[worker];
    view->channels = shape.channels;
    view->number = task;
    nf_view_start(view, job->images + task * shape.height * shape.width * shape.channels,
                  (nf_extent){shape.height, shape.width});
    job->operation(view, job->arguments);
    nf_kernel->join_planes(job->out + (size_t)task * job->out_size, view->pixels, view->stride, (size_t)view->channels,
                           (size_t)(view->height * view->width));
}

nf_status nf_map_images(uint8_t *out, size_t out_size, const uint8_t *images, nf_images shape, nf_extent room,
                        size_t scratch_size, nf_view_operation operation, const void *arguments) {
    NF_TRY(nf_check_images(shape));
    map job = {.out = out,
               .out_size = out_size,
               .images = images,
               .shape = shape,
               .operation = operation,
               .arguments = arguments};
    int workers = nf_workers(shape.count);
    void *memory;
    NF_TRY(nf_views_alloc(job.views, &memory, workers, room, shape.channels, scratch_size));
    nf_status status = nf_parallel(map_one, &job, shape.count, workers);
    nf_free(memory);
    return status;
}
