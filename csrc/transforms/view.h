/* An image while operations work on it: planes of bytes, one per channel. Shared by all files of this folder. */
#ifndef NF_TRANSFORMS_VIEW_H
#define NF_TRANSFORMS_VIEW_H

#include "../core/dispatch.h"
#include "../core/memory.h"
#include "../core/threads.h"

typedef struct nf_extent {
    int64_t height, width;
} nf_extent;

/* `pixels` holds the planes, `stride` bytes apart, with at least 64 bytes of padding after each, so that kernels need
 * no tails; `spare` has the same room for operations that can't work in place. While `source` is set, the image is
 * still the caller's, interleaved, and nothing is in `pixels`. `tap_slots`: crop.c's, from view to view. */
typedef struct nf_view {
    const uint8_t *source;
    uint8_t *pixels, *spare;
    size_t stride;
    int64_t height, width, channels;
    int64_t number; /* of the image in the batch of nf_map_images */
    void *scratch;
    uint8_t *tap_slots;
    size_t slots, slot_size; /* their number, a multiple of 4, or 0 */
} nf_view;

/* Bytes of one plane with its padding, and of all a view's planes. */
size_t nf_plane_size(nf_extent extent);

/* Starts with an interleaved image, then makes planes of it, if that has not been done yet. */
void nf_view_start(nf_view *view, const uint8_t *source, nf_extent extent);
void nf_view_load(nf_view *view);

/* `spare` has become the image, of this size. */
void nf_view_swap(nf_view *view, nf_extent extent);

/* Have the images of a batch at least one pixel? Are they finite and at most 1e30 in size, if they are floats? */
nf_status nf_check_images(const void *images, nf_images shape);

/* The second question alone, for images of any sizes. `name`: of the argument. */
nf_status nf_check_floats(const nf_image *images, int64_t count, int64_t channels, const char *name);

/* Bytes of a value. */
size_t nf_value_size(nf_pixel_type type);

/* The shape of the same images, seen as images of bytes with more channels: operations that move pixels whole take
 * these. */
nf_images nf_as_bytes(nf_images shape);

/* Runs `operation` on each image of a batch, in parallel, and writes the results, each out_size bytes, interleaved.
 * `room`: the largest extent on the way; `scratch_size`: bytes of view->scratch. */
typedef void (*nf_view_operation)(nf_view *view, const void *arguments);
nf_status nf_map_images(uint8_t *out, size_t out_size, const uint8_t *images, nf_images shape, nf_extent room,
                        size_t scratch_size, nf_view_operation operation, const void *arguments);

/* How many workers to make room for: no more than there are tasks. */
int nf_workers(int64_t tasks);

/* What a worker needs. */
typedef struct nf_room {
    nf_extent planes; /* the largest */
    size_t scratch_size, slots, slot_size;
} nf_room;

/* The workers' memory: two buffers of planes, scratch and slots each, in one block for nf_free; none after a failure.
 */
nf_status nf_views_alloc(nf_view views[NF_MAX_THREADS], void **memory, int workers, nf_room room, int64_t channels);

#endif
