#include "bytes.h"

enum { BYTES_PER_TASK = 1 << 18 };

typedef struct map {
    uint8_t *out;
    const uint8_t *in;
    int64_t size;
    nf_byte_operation operation;
    const void *arguments;
} map;

static void map_some(void *context, int64_t task, int worker) {
    (void)worker;
    const map *job = context;
    int64_t begin = task * BYTES_PER_TASK;
    int64_t some = job->size - begin < BYTES_PER_TASK ? job->size - begin : BYTES_PER_TASK;
    job->operation(job->out + begin, job->in + begin, (size_t)some, job->arguments);
}

nf_status nf_map_bytes(uint8_t *out, const uint8_t *images, nf_images shape, nf_byte_operation operation,
                       const void *arguments) {
    NF_TRY(nf_check_images(images, shape));
    map job = {out, images, shape.count * shape.height * shape.width * shape.channels, operation, arguments};
    return nf_parallel(map_some, &job, (job.size + BYTES_PER_TASK - 1) / BYTES_PER_TASK, NF_MAX_THREADS);
}

void nf_view_map_bytes(nf_view *view, nf_byte_operation operation, const void *arguments) {
    nf_view_load(view);
    operation(view->pixels, view->pixels, view->stride * (size_t)view->channels, arguments);
}

void nf_look_up(uint8_t *out, const uint8_t *in, size_t n, const void *table) {
    nf_kernel->look_up(out, in, table, n);
}

void nf_view_map_channels(nf_view *view, bool (*make_table)(uint8_t table[256], const uint8_t *plane, size_t n)) {
    nf_view_load(view);
    size_t n = (size_t)(view->height * view->width);
    for (size_t c = 0; c < (size_t)view->channels; c++) {
        uint8_t table[256], *plane = view->pixels + c * view->stride;
        if (make_table(table, plane, n))
            nf_kernel->look_up(plane, plane, table, n);
    }
}
