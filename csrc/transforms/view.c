#include "view.h"

#include <stdatomic.h>
#include <string.h>

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

nf_status nf_views_alloc(nf_view views[NF_MAX_THREADS], void **memory, int workers, nf_room room, int64_t channels) {
    size_t planes, total, scratch = align(room.scratch_size), slots = room.slots * room.slot_size;
    if (__builtin_mul_overflow(nf_plane_size(room.planes), (size_t)channels, &planes) || planes > PTRDIFF_MAX / 4 ||
        room.scratch_size > PTRDIFF_MAX / 4 ||
        __builtin_mul_overflow(2 * planes + scratch + slots, (size_t)workers, &total))
        return nf_fail(NF_NO_MEMORY, "out of memory: the images are too large");
    NF_TRY(nf_alloc(memory, total));
    uint8_t *next = *memory;
    for (int i = 0; i < workers; i++) {
        views[i] = (nf_view){.channels = channels,
                             .pixels = next,
                             .spare = next + planes,
                             .scratch = next + 2 * planes,
                             .tap_slots = next + 2 * planes + scratch,
                             .slots = room.slots,
                             .slot_size = room.slot_size};
        for (size_t slot = 0; slot < room.slots; slot++)
            memset(views[i].tap_slots + slot * room.slot_size, 0, sizeof(int64_t)); /* empty */
        next += 2 * planes + scratch + slots;
    }
    return NF_OK;
}

/* ---- Checks ---- */

static const float LARGEST = 1e30f; /* leaves room for filters and for 1 / std */

typedef struct check {
    const nf_image *images; /* or NULL: */
    const float *batch;
    int64_t pixels, channels; /* of each image of the batch */
    atomic_llong bad;         /* the first image that is not finite, or their number */
} check;

static void check_one(void *context, int64_t n, int worker) {
    (void)worker;
    check *job = context;
    const nf_image *image = job->images ? &job->images[n] : NULL;
    int64_t size = job->channels * (image ? image->height * image->width : job->pixels);
    const float *pixels = image ? image->pixels : job->batch + n * size;
    bool fine = true;
    for (int64_t i = 0; i < size; i++)
        fine &= (pixels[i] >= -LARGEST) & (pixels[i] <= LARGEST);
    long long first = atomic_load(&job->bad);
    while (!fine && n < first && !atomic_compare_exchange_weak(&job->bad, &first, n))
        ;
}

static nf_status run_check(check *job, int64_t count, const char *name) {
    atomic_init(&job->bad, count);
    NF_TRY(nf_parallel(check_one, job, count, NF_MAX_THREADS));
    long long bad = atomic_load(&job->bad);
    if (bad < count)
        return nf_fail(NF_BAD_VALUE, "%s must be finite and at most %g in size: image %lld is not", name,
                       (double)LARGEST, bad);
    return NF_OK;
}

nf_status nf_check_floats(const nf_image *images, int64_t count, int64_t channels, const char *name) {
    return run_check(&(check){.images = images, .channels = channels}, count, name);
}

nf_status nf_check_images(const void *images, nf_images shape) {
    if (shape.height < 1 || shape.width < 1 || shape.channels < 1)
        return nf_fail(NF_BAD_VALUE, "image must have at least one pixel and one channel, got shape (%lld, %lld, %lld)",
                       (long long)shape.height, (long long)shape.width, (long long)shape.channels);
    if (shape.type != NF_PIXEL_FLOAT)
        return NF_OK;
    check job = {.batch = images, .pixels = shape.height * shape.width, .channels = shape.channels};
    return run_check(&job, shape.count, "image");
}

size_t nf_value_size(nf_pixel_type type) {
    return type == NF_PIXEL_BYTE ? 1 : type == NF_PIXEL_SHORT ? 2 : 4;
}

nf_images nf_as_bytes(nf_images shape) {
    shape.channels *= (int64_t)nf_value_size(shape.type);
    shape.type = NF_PIXEL_BYTE;
    return shape;
}

/* ---- One operation on a batch ---- */

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
    NF_TRY(nf_check_images(images, shape));
    map job = {.out = out,
               .out_size = out_size,
               .images = images,
               .shape = shape,
               .operation = operation,
               .arguments = arguments};
    int workers = nf_workers(shape.count);
    void *memory;
    NF_TRY(nf_views_alloc(job.views, &memory, workers, (nf_room){room, scratch_size, 0, 0}, shape.channels));
    nf_status status = nf_parallel(map_one, &job, shape.count, workers);
    nf_free(memory);
    return status;
}
