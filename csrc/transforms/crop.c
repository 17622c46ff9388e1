/* Cropping and resizing with antialiasing, as Pillow does it: 22-bit weights, one pass per axis, bytes between them; or
 * by nearest neighbours. Source: Pillow, src/libImaging/Resample.c, Geometry.c. */
#include "deep.h"
#include "transform.h"

#include "../core/integers.h"
#include "../kernels/filter.h"

#include <math.h>
#include <string.h>

enum { MAX_SUPPORT = 2 };

/* ---- Weights ---- */

/* What taps are for: `channels` of the pixels that lie along the axis, or 0, if they are rows. */
typedef struct axis {
    int64_t in, out, channels;
    nf_interpolation interpolation;
    bool mirror;
} axis;

static bool is_same(axis a, axis b) {
    return a.in == b.in && a.out == b.out && a.channels == b.channels && a.interpolation == b.interpolation &&
           a.mirror == b.mirror;
}

static size_t align16(size_t n) {
    return (n + 15) / 16 * 16;
}

static size_t most_taps(int64_t in, int64_t out, int support) {
    return (nf_filter_taps(in, out, support) + 3) / 4 * 4;
}

/* In bytes, a multiple of 64. */
static size_t taps_size(int64_t in, int64_t out) {
    size_t room = align16((size_t)out), words = room * (most_taps(in, out, MAX_SUPPORT) + 2);
    return room / 16 * NF_GROUP_SIZE + words * sizeof(uint32_t);
}

static nf_taps make_taps(axis a, void *memory) {
    size_t room = align16((size_t)a.out);
    uint32_t *words = (uint32_t *)(void *)((char *)memory + room / 16 * NF_GROUP_SIZE);
    nf_taps taps = {.outputs = (size_t)a.out,
                    .most = most_taps(a.in, a.out, nf_filter_support(a.interpolation)),
                    .groups = memory,
                    .start = words,
                    .count = words + room,
                    .weights = (int32_t *)(words + 2 * room)};
    nf_kernel->make_taps(&taps, (size_t)a.in, a.interpolation == NF_BICUBIC, a.mirror);
    if (a.channels > 0)
        nf_kernel->group_taps(&taps, (size_t)a.channels);
    return taps;
}

/* Taps that are kept for views to come, as many of them need the same where images are small. The memory follows. */
typedef struct slot {
    axis axis; /* empty if the first number, `in`, is 0 */
    nf_taps taps;
} slot;

enum { SLOT_HEADER = 128 };
_Static_assert(sizeof(slot) <= SLOT_HEADER, "a slot's header");

static size_t tap_slot_size(nf_extent in, nf_extent out) {
    return SLOT_HEADER + nf_larger(taps_size(in.width, out.width), taps_size(in.height, out.height));
}

/* From the view's slots, or made in `memory`. Those of the two axes are never in the same slot. */
static nf_taps find_taps(nf_view *view, axis a, void *memory) {
    if (view->slots == 0)
        return make_taps(a, memory);
    size_t number = ((size_t)a.in * 4 + (a.channels > 0 ? 2 : 0) + a.mirror) % view->slots;
    slot *kept = (void *)(view->tap_slots + number * view->slot_size);
    if (!is_same(kept->axis, a))
        *kept = (slot){a, make_taps(a, (char *)kept + SLOT_HEADER)};
    return kept->taps;
}

/* ---- Two passes ---- */

/* Pillow 13 makes the vertical pass first where the height shrinks by over twice as many pixels as the width. */
static bool vertical_first(nf_extent in, nf_extent out) {
    return out.height < in.height && in.height - out.height > 2 * (in.width - out.width);
}

/* Bytes of scratch for a pass along rows. */
static size_t blocks_size(int64_t in, int64_t out, size_t channels) {
    return (align16((size_t)in * channels) + align16((size_t)out) * channels) * 16;
}

size_t nf_crop_scratch_size(nf_extent in, int64_t channels, nf_extent out) {
    size_t c = (size_t)channels, rows = (size_t)in.height * (size_t)out.width * c;
    size_t columns = (size_t)out.height * (size_t)in.width * c;
    return taps_size(in.width, out.width) + taps_size(in.height, out.height) + blocks_size(in.width, out.width, c) +
           nf_larger(rows, columns) + 64;
}

/* Resizes (in.height, in.width, channels) interleaved bytes, rows `source_row` apart, to planes of the view's spare
 * buffer from `out` on. */
static void resize(nf_view *view, uint8_t *out, const uint8_t *source, size_t source_row, size_t channels, nf_extent in,
                   nf_extent size, nf_interpolation interpolation, bool mirror) {
    uint8_t *down_memory = (uint8_t *)view->scratch + taps_size(in.width, size.width);
    uint8_t *blocks = down_memory + taps_size(in.height, size.height);
    uint8_t *middle = blocks + blocks_size(in.width, size.width, channels);
    nf_taps across =
        find_taps(view, (axis){in.width, size.width, (int64_t)channels, interpolation, mirror}, view->scratch);
    nf_taps down = find_taps(view, (axis){in.height, size.height, 0, interpolation, false}, down_memory);
    size_t width = (size_t)size.width, stride = nf_plane_size(size), rows = down.end - down.begin;
    if (in.height == size.height) {
        nf_kernel->resample_rows(out, width, stride, source, source_row, rows, channels, &across, blocks);
    } else if (vertical_first(in, size)) {
        size_t row = (size_t)in.width * channels;
        nf_kernel->resample_columns(middle, row, 0, source, source_row, 1, row, &down);
        nf_kernel->resample_rows(out, width, stride, middle, row, down.outputs, channels, &across, blocks);
    } else {
        nf_kernel->resample_rows(middle, width * channels, width, source + down.begin * source_row, source_row, rows,
                                 channels, &across, blocks);
        down.begin = 0; /* the first row that it needs is the first one there */
        nf_kernel->resample_columns(out, width, stride, middle, width * channels, channels, width, &down);
    }
}

/* ---- Nearest neighbours ---- */

typedef struct picks {
    const int32_t *columns, *rows; /* of the box, for each of the result */
    nf_box box;
    int64_t in_width, out_width, channels;
} picks;

static void pick_rows(uint8_t *out, const uint8_t *image, int64_t begin, int64_t count, const void *arguments) {
    const picks *p = arguments;
    size_t channels = (size_t)p->channels, row = (size_t)p->out_width * channels;
    const uint8_t *corner = image + (p->box.top * p->in_width + p->box.left) * p->channels;
    for (int64_t y = begin; y < begin + count; y++, out += row)
        if (y > begin && p->rows[y] == p->rows[y - 1])
            memcpy(out, out - row, row);
        else
            nf_kernel->pick_pixels(out, corner + p->rows[y] * p->in_width * p->channels, p->columns, p->box.width - 1,
                                   channels, (size_t)p->out_width);
}

/* `scratch`: room for a number for each column and row of the result. */
static picks make_picks(nf_box box, int64_t in_width, int64_t channels, nf_extent out, bool mirror, void *scratch) {
    int32_t *columns = scratch, *rows = columns + out.width;
    nf_scale_table(columns, 0, (double)box.width / (double)out.width, out.width, box.width);
    nf_scale_table(rows, 0, (double)box.height / (double)out.height, out.height, box.height);
    for (int64_t i = 0; mirror && i < out.width / 2; i++) {
        int32_t left = columns[i];
        columns[i] = columns[out.width - 1 - i];
        columns[out.width - 1 - i] = left;
    }
    return (picks){columns, rows, box, in_width, out.width, channels};
}

static nf_status pick(void *out, const void *images, nf_images shape, nf_box box, nf_extent size) {
    NF_TRY(nf_check_images(images, shape));
    shape = nf_as_bytes(shape);
    void *scratch;
    NF_TRY(nf_alloc(&scratch, nf_warp_scratch_size(size)));
    picks p = make_picks(box, shape.width, shape.channels, size, false, scratch);
    nf_status status = nf_map_rows(out, size, images, shape, pick_rows, &p);
    nf_free(scratch);
    return status;
}

/* ---- On a view ---- */

void nf_view_crop(nf_view *view, nf_box box, nf_extent out, nf_interpolation interpolation, bool mirror) {
    if (interpolation == NF_NEAREST) {
        picks p = make_picks(box, view->width, view->channels, out, mirror, view->scratch);
        nf_view_rows(view, out, pick_rows, &p);
        return;
    }
    nf_extent in = {box.height, box.width};
    size_t first = (size_t)box.top * (size_t)view->width + (size_t)box.left;
    size_t channels = (size_t)view->channels, width = (size_t)view->width;
    if (view->source)
        resize(view, view->spare, view->source + first * channels, width * channels, channels, in, out, interpolation,
               mirror);
    else
        for (size_t c = 0; c < channels; c++)
            resize(view, view->spare + c * nf_plane_size(out), view->pixels + c * view->stride + first, width, 1, in,
                   out, interpolation, mirror);
    nf_view_swap(view, out);
}

static nf_status check_size(int64_t height, int64_t width, nf_interpolation interpolation) {
    NF_TRY(nf_check_size(height, width, "size"));
    return nf_check_interpolation(interpolation);
}

/* ---- On a batch ---- */

typedef struct crop_arguments {
    nf_box box;
    nf_extent out;
    nf_interpolation interpolation;
} crop_arguments;

static void crop_one(nf_view *view, const void *arguments) {
    const crop_arguments *crop = arguments;
    nf_view_crop(view, crop->box, crop->out, crop->interpolation, false);
}

static void deep_crop_one(nf_deep_view *view, const void *arguments) {
    const crop_arguments *crop = arguments;
    nf_deep_view_resize(view, crop->box, crop->out, crop->interpolation);
}

/* Rows are read from the caller's image, so there must be room for the result alone. */
static nf_status resize_deep(void *out, const void *images, nf_images shape, const crop_arguments *crop) {
    int64_t size = crop->out.height * crop->out.width * shape.channels;
    size_t scratch_size = nf_deep_resize_size((nf_extent){crop->box.height, crop->box.width}, crop->out, shape.channels,
                                              crop->interpolation);
    return nf_deep_map_images(out, size, images, shape, size, scratch_size, deep_crop_one, crop);
}

nf_status nf_resized_crop(void *out, const void *images, nf_images shape, nf_box box, int64_t out_height,
                          int64_t out_width, nf_interpolation interpolation) {
    NF_TRY(check_size(out_height, out_width, interpolation));
    NF_TRY(nf_check_box(box, (nf_extent){shape.height, shape.width}));
    if (interpolation == NF_NEAREST)
        return pick(out, images, shape, box, (nf_extent){out_height, out_width});
    crop_arguments arguments = {box, {out_height, out_width}, interpolation};
    if (shape.type != NF_PIXEL_BYTE)
        return resize_deep(out, images, shape, &arguments);
    return nf_map_images(out, (size_t)(out_height * out_width * shape.channels), images, shape, arguments.out,
                         nf_crop_scratch_size((nf_extent){box.height, box.width}, shape.channels, arguments.out),
                         crop_one, &arguments);
}

/* ---- In a recipe ---- */

static nf_status check(const nf_transform *transform) {
    NF_TRY(check_size(transform->crop.height, transform->crop.width, transform->crop.interpolation));
    NF_TRY(nf_check_range(transform->crop.scale, "scale", 1e-9, 1));
    return nf_check_range(transform->crop.ratio, "ratio", 1e-3, 1e3);
}

static nf_status plan(nf_extent *out, const nf_transform *transform, nf_extent in, int64_t channels) {
    (void)in, (void)channels;
    *out = (nf_extent){transform->crop.height, transform->crop.width};
    return NF_OK;
}

static size_t scratch_size(const nf_transform *transform, nf_extent in, int64_t channels) {
    return nf_crop_scratch_size(in, channels, (nf_extent){transform->crop.height, transform->crop.width});
}

static size_t slot_size(const nf_transform *transform, nf_extent in) {
    return tap_slot_size(in, (nf_extent){transform->crop.height, transform->crop.width});
}

/* The largest centred box of allowed ratio. */
static nf_box central_box(nf_extent in, nf_range ratio) {
    double height = (double)in.height, width = (double)in.width;
    if (width / height < ratio.low)
        height = fmax(1, rint(width / ratio.low));
    else if (width / height > ratio.high)
        width = fmax(1, rint(height * ratio.high));
    nf_box box = {.height = (int32_t)height, .width = (int32_t)width};
    box.top = (int32_t)((in.height - box.height) / 2);
    box.left = (int32_t)((in.width - box.width) / 2);
    return box;
}

static void draw(void *record, const nf_transform *transform, nf_extent in, nf_random *random) {
    nf_range scale = transform->crop.scale, ratio = transform->crop.ratio;
    nf_range log_ratio = {log(ratio.low), log(ratio.high)};
    nf_box *box = record;
    for (int attempt = 0; attempt < 10; attempt++) {
        double area = (double)in.height * (double)in.width * nf_draw_range(scale, random);
        double aspect = exp(nf_draw_range(log_ratio, random));
        double width = rint(sqrt(area * aspect)), height = rint(sqrt(area / aspect));
        if (width < 1 || height < 1 || width > (double)in.width || height > (double)in.height)
            continue;
        box->height = (int32_t)height;
        box->width = (int32_t)width;
        box->top = (int32_t)nf_random_below(random, (uint32_t)(in.height - box->height + 1));
        box->left = (int32_t)nf_random_below(random, (uint32_t)(in.width - box->width + 1));
        return;
    }
    *box = central_box(in, ratio);
}

static nf_status check_draw(const void *record, const nf_transform *transform, nf_extent in) {
    (void)transform;
    return nf_check_box(*(const nf_box *)record, in);
}

static void apply(nf_view *view, const nf_transform *transform, const void *record) {
    nf_extent out = {transform->crop.height, transform->crop.width};
    nf_view_crop(view, *(const nf_box *)record, out, transform->crop.interpolation, false);
}

const nf_transform_type nf_crop_type = {.draw_size = sizeof(nf_box),
                                        .check = check,
                                        .plan = plan,
                                        .scratch_size = scratch_size,
                                        .slot_size = slot_size,
                                        .draw = draw,
                                        .check_draw = check_draw,
                                        .apply = apply};

/* ---- In a recipe: all of the image, resized ---- */

nf_extent nf_resized_extent(const nf_transform *transform, nf_extent in) {
    int64_t height = transform->resize.height, width = transform->resize.width;
    if (width > 0)
        return (nf_extent){height, width};
    int64_t shorter = height;
    return in.width <= in.height ? (nf_extent){shorter * in.height / in.width, shorter}
                                 : (nf_extent){shorter, shorter * in.width / in.height};
}

static nf_status check_resize(const nf_transform *transform) {
    int64_t height = transform->resize.height, width = transform->resize.width;
    return check_size(height, width == 0 ? height : width, transform->resize.interpolation);
}

static nf_status plan_resize(nf_extent *out, const nf_transform *transform, nf_extent in, int64_t channels) {
    (void)channels;
    *out = nf_resized_extent(transform, in);
    return nf_check_size(out->height, out->width, "the resized image");
}

static size_t resize_scratch_size(const nf_transform *transform, nf_extent in, int64_t channels) {
    return nf_crop_scratch_size(in, channels, nf_resized_extent(transform, in));
}

static size_t resize_slot_size(const nf_transform *transform, nf_extent in) {
    return tap_slot_size(in, nf_resized_extent(transform, in));
}

static void apply_resize(nf_view *view, const nf_transform *transform, const void *record) {
    (void)record;
    nf_extent in = {view->height, view->width}, out = nf_resized_extent(transform, in);
    nf_box all = {.height = (int32_t)in.height, .width = (int32_t)in.width};
    nf_view_crop(view, all, out, transform->resize.interpolation, false);
}

const nf_transform_type nf_resize_type = {.draw_size = 0,
                                          .check = check_resize,
                                          .plan = plan_resize,
                                          .scratch_size = resize_scratch_size,
                                          .slot_size = resize_slot_size,
                                          .draw = nf_draw_nothing,
                                          .check_draw = nf_check_any_draw,
                                          .apply = apply_resize};
