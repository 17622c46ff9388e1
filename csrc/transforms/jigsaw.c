/* Jigsaw: the image is cut into a grid, and the tiles change places. Source: Misra and van der Maaten, "Self-supervised
 * learning of pretext-invariant representations" (PIRL), CVPR 2020. */
#include "transform.h"

#include <string.h>

void nf_permute_tiles(uint8_t *out, const uint8_t *in, nf_extent size, size_t pixel, const uint8_t *order,
                      size_t grid) {
    size_t row = (size_t)size.width * pixel, tile_width = row / grid, tile_height = (size_t)size.height / grid;
    for (size_t y = 0; y < grid * tile_height; y++)
        for (size_t column = 0; column < grid; column++) {
            size_t from = order[y / tile_height * grid + column];
            size_t from_row = from / grid * tile_height + y % tile_height;
            memcpy(out + y * row + column * tile_width, in + from_row * row + from % grid * tile_width, tile_width);
        }
}

static nf_status check_grid(int64_t grid) {
    if (grid < 1 || grid > NF_MAX_GRID)
        return nf_fail(NF_BAD_VALUE, "grid must be in 1..%d, got %lld", NF_MAX_GRID, (long long)grid);
    return NF_OK;
}

static nf_status check_fit(int64_t grid, nf_extent in) {
    if (in.height % grid != 0 || in.width % grid != 0)
        return nf_fail(NF_BAD_VALUE, "grid must divide the image's height and width, got %lld for %lld x %lld",
                       (long long)grid, (long long)in.height, (long long)in.width);
    return NF_OK;
}

static nf_status check_order(const uint8_t *order, int64_t grid) {
    uint64_t seen = 0;
    for (int64_t i = 0; i < grid * grid; i++) {
        if (order[i] >= grid * grid || seen >> order[i] & 1)
            return nf_fail(NF_BAD_VALUE, "order must be a permutation of 0..%lld, got %d at place %lld",
                           (long long)(grid * grid - 1), order[i], (long long)i);
        seen |= (uint64_t)1 << order[i];
    }
    return NF_OK;
}

/* ---- On a batch ---- */

typedef struct map {
    uint8_t *out;
    const uint8_t *images;
    nf_images shape;
    const uint8_t *order;
    int64_t grid;
} map;

static void jigsaw_one(void *context, int64_t task, int worker) {
    (void)worker;
    const map *job = context;
    nf_extent size = {job->shape.height, job->shape.width};
    int64_t bytes = size.height * size.width * job->shape.channels;
    nf_permute_tiles(job->out + task * bytes, job->images + task * bytes, size, (size_t)job->shape.channels, job->order,
                     (size_t)job->grid);
}

nf_status nf_jigsaw(void *out, const void *images, nf_images shape, const uint8_t *order, int64_t grid) {
    NF_TRY(nf_check_images(images, shape));
    NF_TRY(check_grid(grid));
    NF_TRY(check_fit(grid, (nf_extent){shape.height, shape.width}));
    NF_TRY(check_order(order, grid));
    map job = {out, images, nf_as_bytes(shape), order, grid};
    return nf_parallel(jigsaw_one, &job, shape.count, NF_MAX_THREADS);
}

/* ---- In a recipe ---- */

static nf_status check(const nf_transform *transform) {
    NF_TRY(nf_check_probability(transform));
    return check_grid(transform->jigsaw.grid);
}

static nf_status plan(nf_extent *out, const nf_transform *transform, nf_extent in, int64_t channels) {
    (void)channels;
    *out = in;
    return transform->probability > 0 ? check_fit(transform->jigsaw.grid, in) : NF_OK;
}

static void draw(void *record, const nf_transform *transform, nf_extent in, nf_random *random) {
    (void)in;
    nf_jigsaw_draw *drawn = record;
    *drawn = (nf_jigsaw_draw){.applied = nf_random_uniform(random) < transform->probability};
    if (!drawn->applied)
        return;
    uint32_t tiles = (uint32_t)(transform->jigsaw.grid * transform->jigsaw.grid);
    for (uint32_t i = 0; i < tiles; i++) {
        uint32_t other = nf_random_below(random, i + 1);
        drawn->order[i] = drawn->order[other];
        drawn->order[other] = (uint8_t)i;
    }
}

static nf_status check_draw(const void *record, const nf_transform *transform, nf_extent in) {
    const nf_jigsaw_draw *drawn = record;
    if (!drawn->applied)
        return NF_OK;
    NF_TRY(check_fit(transform->jigsaw.grid, in));
    return check_order(drawn->order, transform->jigsaw.grid);
}

static void apply(nf_view *view, const nf_transform *transform, const void *record) {
    const nf_jigsaw_draw *drawn = record;
    if (!drawn->applied)
        return;
    nf_view_load(view);
    nf_extent size = {view->height, view->width};
    for (size_t c = 0; c < (size_t)view->channels; c++)
        nf_permute_tiles(view->spare + c * view->stride, view->pixels + c * view->stride, size, 1, drawn->order,
                         (size_t)transform->jigsaw.grid);
    nf_view_swap(view, size);
}

const nf_transform_type nf_jigsaw_type = {.draw_size = sizeof(nf_jigsaw_draw),
                                          .check = check,
                                          .plan = plan,
                                          .draw = draw,
                                          .check_draw = check_draw,
                                          .apply = apply};
