/* Cutout: a box around a random pixel is filled with one value. Source: DeVries and Taylor, "Improved regularization of
 * convolutional neural networks with cutout", 2017. */
#include "interleaved.h"
#include "transform.h"

#include <string.h>

typedef struct cutout_arguments {
    int64_t y, x, height, width;
    nf_fill fill;
} cutout_arguments;

/* Which of 0..n-1 are in a box of `size` around `center`. */
static void clip_box(size_t *begin, size_t *end, int64_t center, int64_t size, int64_t n) {
    int64_t first = center - size / 2;
    *begin = (size_t)(first > 0 ? first : 0);
    *end = (size_t)(first + size < n ? first + size : n);
}

/* `pixel`: bytes of a pixel. */
static void fill(uint8_t *image, nf_extent size, size_t pixel, cutout_arguments box) {
    size_t top, bottom, left, right;
    clip_box(&top, &bottom, box.y, box.height, size.height);
    clip_box(&left, &right, box.x, box.width, size.width);
    for (size_t y = top; y < bottom; y++)
        nf_fill_pixels(image + (y * (size_t)size.width + left) * pixel, box.fill, (int64_t)pixel,
                       (int64_t)(right - left));
}

static nf_status check_center(int64_t y, int64_t x, nf_extent in) {
    if (y < 0 || y >= in.height || x < 0 || x >= in.width)
        return nf_fail(NF_BAD_VALUE, "y and x must be a pixel of the image of %lld x %lld, got (%lld, %lld)",
                       (long long)in.height, (long long)in.width, (long long)y, (long long)x);
    return NF_OK;
}

/* ---- On a batch ---- */

typedef struct map {
    uint8_t *out;
    const uint8_t *images;
    nf_images shape;
    cutout_arguments box;
} map;

static void cutout_one(void *context, int64_t task, int worker) {
    (void)worker;
    const map *job = context;
    nf_extent size = {job->shape.height, job->shape.width};
    size_t bytes = (size_t)(size.height * size.width * job->shape.channels);
    uint8_t *out = job->out + (size_t)task * bytes;
    memcpy(out, job->images + (size_t)task * bytes, bytes);
    fill(out, size, (size_t)job->shape.channels, job->box);
}

nf_status nf_cutout(void *out, const void *images, nf_images shape, int64_t y, int64_t x, int64_t height, int64_t width,
                    const void *value, int64_t value_count) {
    NF_TRY(nf_check_images(images, shape));
    NF_TRY(check_center(y, x, (nf_extent){shape.height, shape.width}));
    NF_TRY(nf_check_size(height, width, "size"));
    NF_TRY(nf_check_fill(value, value_count, shape, "fill"));
    map job = {out, images, nf_as_bytes(shape), {y, x, height, width, nf_fill_of(value, value_count, shape.type)}};
    return nf_parallel(cutout_one, &job, shape.count, NF_MAX_THREADS);
}

/* ---- In a recipe ---- */

static nf_status check(const nf_transform *transform) {
    NF_TRY(nf_check_probability(transform));
    NF_TRY(nf_check_size(transform->cutout.height, transform->cutout.width, "size"));
    if (transform->cutout.fill < 0 || transform->cutout.fill > 255)
        return nf_fail(NF_BAD_VALUE, "fill must be in 0..255, got %lld", (long long)transform->cutout.fill);
    return NF_OK;
}

static void draw(void *record, const nf_transform *transform, nf_extent in, nf_random *random) {
    nf_cutout_draw *drawn = record;
    *drawn = (nf_cutout_draw){.applied = nf_random_uniform(random) < transform->probability};
    if (!drawn->applied)
        return;
    drawn->y = (int32_t)nf_random_below(random, (uint32_t)in.height);
    drawn->x = (int32_t)nf_random_below(random, (uint32_t)in.width);
}

static nf_status check_draw(const void *record, const nf_transform *transform, nf_extent in) {
    (void)transform;
    const nf_cutout_draw *drawn = record;
    return drawn->applied ? check_center(drawn->y, drawn->x, in) : NF_OK;
}

static void apply(nf_view *view, const nf_transform *transform, const void *record) {
    const nf_cutout_draw *drawn = record;
    if (!drawn->applied)
        return;
    nf_view_load(view);
    uint8_t value = (uint8_t)transform->cutout.fill;
    cutout_arguments box = {drawn->y, drawn->x, transform->cutout.height, transform->cutout.width,
                            nf_fill_of(&value, 1, NF_PIXEL_BYTE)};
    for (size_t c = 0; c < (size_t)view->channels; c++)
        fill(view->pixels + c * view->stride, (nf_extent){view->height, view->width}, 1, box);
}

const nf_transform_type nf_cutout_type = {
    .draw_size = sizeof(nf_cutout_draw), .check = check, .draw = draw, .check_draw = check_draw, .apply = apply};
