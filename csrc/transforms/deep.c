/* One image with more than 8 bits a value, and single operations on batches of them. */
#include "deep.h"

#include <string.h>

/* ---- One view ---- */

double nf_white(nf_pixel_type type) {
    return type == NF_PIXEL_BYTE ? 255 : type == NF_PIXEL_SHORT ? 65535 : 1;
}

void nf_deep_convert(float *out, const void *in, nf_pixel_type type, int64_t first, int64_t n) {
    if (type == NF_PIXEL_FLOAT)
        memcpy(out, (const float *)in + first, (size_t)n * sizeof *out);
    else
        for (int64_t i = 0; i < n; i++)
            out[i] = ((const uint16_t *)in)[first + i];
}

void nf_deep_read(float *out, const nf_deep_view *view, int64_t first, int64_t n) {
    if (view->source)
        nf_deep_convert(out, view->source, view->type, first, n);
    else
        memcpy(out, view->pixels + first, (size_t)n * sizeof *out);
}

void nf_deep_load(nf_deep_view *view) {
    if (!view->source)
        return;
    nf_deep_read(view->pixels, view, 0, view->height * view->width * view->channels);
    view->source = NULL;
}

void nf_deep_swap(nf_deep_view *view, nf_extent size) {
    float *pixels = view->spare;
    view->spare = view->pixels;
    view->pixels = pixels;
    view->source = NULL;
    view->height = size.height;
    view->width = size.width;
}

nf_status nf_deep_views_alloc(nf_deep_view views[NF_MAX_THREADS], void **memory, int workers, nf_deep_room room,
                              nf_pixel_type type, int64_t channels) {
    if (room.pixels > PTRDIFF_MAX / 32 / NF_MAX_THREADS || room.scratch > PTRDIFF_MAX / 4 / NF_MAX_THREADS)
        return nf_fail(NF_NO_MEMORY, "out of memory: the images are too large");
    size_t scratch = (room.scratch + 63) / 64 * 64, pixels = (room.pixels + 15) / 16 * 16;
    size_t bytes = scratch + 2 * pixels * sizeof(float);
    NF_TRY(nf_alloc(memory, bytes * (size_t)workers));
    for (int i = 0; i < workers; i++) {
        char *own = (char *)*memory + bytes * (size_t)i;
        float *planes = (float *)(own + scratch);
        views[i] = (nf_deep_view){.type = type,
                                  .channels = channels,
                                  .white = (float)nf_white(type),
                                  .scratch = own,
                                  .pixels = planes,
                                  .spare = planes + pixels};
    }
    return NF_OK;
}

/* ---- One operation on a batch ---- */

typedef struct deep_map {
    nf_deep_view views[NF_MAX_THREADS];
    void *out;
    int64_t out_size;
    const void *images;
    nf_images shape;
    nf_deep_image_operation operation;
    const void *arguments;
} deep_map;

static void store_shorts(uint16_t *out, const float *pixels, int64_t n) {
    const float whole = 0x1.8p23f; /* numbers of that size have no fraction, so adding it rounds */
    for (int64_t i = 0; i < n; i++) {
        float rounded = (nf_deep_clamp(pixels[i], 65535) + whole) - whole;
        out[i] = (uint16_t)(int32_t)rounded;
    }
}

static void map_one(void *context, int64_t task, int worker) {
    deep_map *job = context;
    nf_images shape = job->shape;
    nf_deep_view *view = &job->views[worker];
    int64_t size = shape.height * shape.width * shape.channels, first = task * job->out_size;
    bool is_short = shape.type == NF_PIXEL_SHORT;
    view->source = (const char *)job->images + task * size * (int64_t)nf_value_size(shape.type);
    view->height = shape.height;
    view->width = shape.width;
    view->channels = shape.channels;
    view->number = task;
    job->operation(view, job->arguments);
    nf_deep_load(view);
    if (is_short)
        store_shorts((uint16_t *)job->out + first, view->pixels, job->out_size);
    else
        memcpy((float *)job->out + first, view->pixels, (size_t)job->out_size * sizeof(float));
}

nf_status nf_deep_map_images(void *out, int64_t out_size, const void *images, nf_images shape, int64_t room,
                             size_t scratch_size, nf_deep_image_operation operation, const void *arguments) {
    NF_TRY(nf_check_images(images, shape));
    deep_map job = {.out = out,
                    .out_size = out_size,
                    .images = images,
                    .shape = shape,
                    .operation = operation,
                    .arguments = arguments};
    int workers = nf_workers(shape.count);
    void *memory;
    NF_TRY(nf_deep_views_alloc(job.views, &memory, workers, (nf_deep_room){(size_t)room, scratch_size}, shape.type,
                               shape.channels));
    nf_status status = nf_parallel(map_one, &job, shape.count, workers);
    nf_free(memory);
    return status;
}

nf_status nf_deep_map_alike(void *out, const void *images, nf_images shape, size_t scratch_size,
                            nf_deep_image_operation operation, const void *arguments) {
    int64_t size = shape.height * shape.width * shape.channels;
    return nf_deep_map_images(out, size, images, shape, size, scratch_size, operation, arguments);
}

typedef struct adjustment {
    void (*operation)(nf_deep_view *, double);
    double factor;
} adjustment;

static void adjust_one(nf_deep_view *view, const void *arguments) {
    const adjustment *a = arguments;
    a->operation(view, a->factor);
}

nf_status nf_deep_adjust(void *out, const void *images, nf_images shape, void (*operation)(nf_deep_view *, double),
                         double factor) {
    return nf_deep_map_alike(out, images, shape, 0, adjust_one, &(adjustment){operation, factor});
}
