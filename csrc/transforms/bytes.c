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
    NF_TRY(nf_check_images(shape));
    map job = {out, images, shape.count * shape.height * shape.width * shape.channels, operation, arguments};
    return nf_parallel(map_some, &job, (job.size + BYTES_PER_TASK - 1) / BYTES_PER_TASK, NF_MAX_THREADS);
}

void nf_view_map_bytes(nf_view *view, nf_byte_operation operation, const void *arguments) {
    nf_view_load(view);
    operation(view->pixels, view->pixels, view->stride * (size_t)view->channels, arguments);
}
