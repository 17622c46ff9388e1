/* Windows onto an image that goes on beyond its borders: crops lie within, padding beyond. Sources: torchvision, crop,
 * center_crop, pad, RandomCrop; NumPy, pad. */
#include "interleaved.h"
#include "transform.h"

#include "../core/integers.h"

#include <math.h>
#include <string.h>

typedef struct window {
    nf_extent in, out;
    int64_t top, left, channels;
    nf_padding_mode mode;
    nf_fill fill;
} window;

int64_t nf_padding_place(int64_t i, int64_t n, nf_padding_mode mode) {
    if (i >= 0 && i < n)
        return i;
    if (mode == NF_PAD_CONSTANT)
        return -1;
    if (mode == NF_PAD_EDGE || n == 1)
        return nf_clamp(i, 0, n - 1);
    /* to and fro, with the last pixel once (reflect) or twice */
    int64_t repeat = mode == NF_PAD_SYMMETRIC, period = 2 * n - 2 + 2 * repeat;
    i = (i % period + period) % period;
    return i < n ? i : period - repeat - i;
}

/* The row that row y of the result comes from, and how many after it, before `end`, come from rows `step` apart. */
static int64_t find_run(int64_t *rows, int64_t *step, const window *w, int64_t y, int64_t end) {
    int64_t from = nf_padding_place(w->top + y, w->in.height, w->mode), at = from;
    *rows = 1;
    *step = 0;
    for (int64_t next = y + 1; next < end; next++, ++*rows) {
        int64_t place = nf_padding_place(w->top + next, w->in.height, w->mode);
        if (*rows == 1)
            *step = place - at;
        else if (place - at != *step)
            break;
        at = place;
    }
    return from;
}

/* Columns begin .. end - 1, beyond the image's sides, of some rows. Where they come from is found once for all rows. */
static void side_rows(uint8_t *out, const uint8_t *image, const window *w, int64_t first_row, int64_t count,
                      int64_t begin, int64_t end) {
    enum { SOME = 64 };
    int32_t columns[SOME];
    int64_t channels = w->channels;
    for (int64_t x = begin; x < end; x += SOME) {
        int64_t some = nf_min(SOME, end - x);
        for (int64_t i = 0; i < some; i++)
            columns[i] = (int32_t)nf_padding_place(w->left + x + i, w->in.width, w->mode);
        uint8_t *to = out + x * channels;
        int64_t row = w->in.width * channels, out_row = w->out.width * channels;
        for (int64_t y = first_row, rows; y < first_row + count; y += rows, to += rows * out_row) {
            int64_t step;
            int64_t from = find_run(&rows, &step, w, y, first_row + count);
            nf_kernel->pick_rows(to, out_row, image + from * row, step * row, columns, (int32_t)w->in.width - 1,
                                 (size_t)channels, (size_t)some, (size_t)rows);
        }
    }
}

static void fill_sides(uint8_t *out, const window *w, int64_t count, int64_t begin, int64_t end) {
    for (int64_t y = 0; y < count && begin < end; y++)
        nf_fill_pixels(out + (y * w->out.width + begin) * w->channels, w->fill, w->channels, end - begin);
}

static void window_rows(uint8_t *out, const uint8_t *image, int64_t begin, int64_t count, const void *arguments) {
    const window *w = arguments;
    int64_t size = w->out.width * w->channels, first = nf_clamp(-w->left, 0, w->out.width);
    int64_t last = nf_clamp(w->in.width - w->left, first, w->out.width);
    if (w->mode == NF_PAD_CONSTANT) {
        fill_sides(out, w, count, 0, first);
        fill_sides(out, w, count, last, w->out.width);
    } else {
        side_rows(out, image, w, begin, count, 0, first);
        side_rows(out, image, w, begin, count, last, w->out.width);
    }
    for (int64_t y = begin; y < begin + count; y++, out += size) {
        int64_t from = nf_padding_place(w->top + y, w->in.height, w->mode);
        if (from < 0)
            nf_fill_pixels(out, w->fill, w->channels, w->out.width);
        else
            memcpy(out + first * w->channels, image + (from * w->in.width + w->left + first) * w->channels,
                   (size_t)((last - first) * w->channels));
    }
}

/* ---- On a batch ---- */

static nf_status map_window(uint8_t *out, const uint8_t *images, nf_images shape, const window *w) {
    return nf_map_rows(out, w->out, images, shape, window_rows, w);
}

nf_status nf_check_box(nf_box box, nf_extent in) {
    if (box.height < 1 || box.width < 1 || box.top < 0 || box.left < 0 || box.height > in.height - box.top ||
        box.width > in.width - box.left)
        return nf_fail(NF_BAD_VALUE,
                       "crop box must lie within the image of %lld x %lld, got top %d, left %d, height %d, width %d",
                       (long long)in.height, (long long)in.width, box.top, box.left, box.height, box.width);
    return NF_OK;
}

nf_status nf_crop(void *out, const void *images, nf_images shape, nf_box box) {
    nf_extent in = {shape.height, shape.width};
    NF_TRY(nf_check_box(box, in));
    NF_TRY(nf_check_images(images, shape));
    shape = nf_as_bytes(shape);
    window w = {.in = in,
                .out = {box.height, box.width},
                .top = box.top,
                .left = box.left,
                .channels = shape.channels,
                .mode = NF_PAD_EDGE};
    return map_window(out, images, shape, &w);
}

static nf_status check_padding(nf_padding padding) {
    int64_t most = nf_max(nf_max(padding.left, padding.right), nf_max(padding.top, padding.bottom));
    int64_t least = nf_min(nf_min(padding.left, padding.right), nf_min(padding.top, padding.bottom));
    if (least < 0 || most > NF_MAX_IMAGE_SIZE)
        return nf_fail(NF_BAD_VALUE, "padding must be in 0..%d, got left %lld, top %lld, right %lld, bottom %lld",
                       NF_MAX_IMAGE_SIZE, (long long)padding.left, (long long)padding.top, (long long)padding.right,
                       (long long)padding.bottom);
    if ((int)padding.mode < 0 || (int)padding.mode > NF_PAD_SYMMETRIC)
        return nf_fail(NF_BAD_VALUE, "padding mode must be constant, edge, reflect or symmetric");
    return NF_OK;
}

static nf_extent padded(nf_extent in, nf_padding padding) {
    return (nf_extent){in.height + padding.top + padding.bottom, in.width + padding.left + padding.right};
}

nf_status nf_padded_size(int64_t *height, int64_t *width, nf_images shape, nf_padding padding) {
    NF_TRY(check_padding(padding));
    nf_extent size = padded((nf_extent){shape.height, shape.width}, padding);
    NF_TRY(nf_check_size(size.height, size.width, "the padded size"));
    *height = size.height;
    *width = size.width;
    return NF_OK;
}

nf_status nf_pad(void *out, const void *images, nf_images shape, nf_padding padding, const void *fill,
                 int64_t fill_count) {
    window w = {.in = {shape.height, shape.width},
                .top = -padding.top,
                .left = -padding.left,
                .mode = padding.mode,
                .fill = nf_fill_of(fill, fill_count, shape.type)};
    NF_TRY(nf_padded_size(&w.out.height, &w.out.width, shape, padding));
    NF_TRY(nf_check_fill(fill, fill_count, shape, "fill"));
    NF_TRY(nf_check_images(images, shape));
    shape = nf_as_bytes(shape);
    w.channels = shape.channels;
    return map_window(out, images, shape, &w);
}

/* ---- In a recipe: a random window of the padded image ---- */

static nf_status check_random(const nf_transform *transform) {
    NF_TRY(nf_check_size(transform->window.height, transform->window.width, "size"));
    NF_TRY(nf_check_colors(&transform->window.fill));
    return check_padding(transform->window.padding);
}

static nf_status plan_random(nf_extent *out, const nf_transform *transform, nf_extent in, int64_t channels) {
    nf_extent room = padded(in, transform->window.padding);
    *out = (nf_extent){transform->window.height, transform->window.width};
    if (out->height > room.height || out->width > room.width)
        return nf_fail(NF_BAD_VALUE, "size must be within the padded image's %lld x %lld, got (%lld, %lld)",
                       (long long)room.height, (long long)room.width, (long long)out->height, (long long)out->width);
    return nf_check_fill_count(transform->window.fill.count, channels, "fill");
}

static void draw(void *record, const nf_transform *transform, nf_extent in, nf_random *random) {
    nf_extent room = padded(in, transform->window.padding);
    nf_place *place = record;
    place->top = (int32_t)nf_random_below(random, (uint32_t)(room.height - transform->window.height + 1));
    place->left = (int32_t)nf_random_below(random, (uint32_t)(room.width - transform->window.width + 1));
}

static nf_status check_draw(const void *record, const nf_transform *transform, nf_extent in) {
    const nf_place *place = record;
    nf_box box = {place->top, place->left, (int32_t)transform->window.height, (int32_t)transform->window.width};
    return nf_check_box(box, padded(in, transform->window.padding));
}

static void apply_window(nf_view *view, const nf_transform *transform, int64_t top, int64_t left) {
    window w = {.in = {view->height, view->width},
                .out = {transform->window.height, transform->window.width},
                .top = top,
                .left = left,
                .channels = view->channels,
                .mode = transform->window.padding.mode,
                .fill = nf_fill_of(transform->window.fill.values, transform->window.fill.count, NF_PIXEL_BYTE)};
    nf_view_rows(view, w.out, window_rows, &w);
}

static void apply(nf_view *view, const nf_transform *transform, const void *record) {
    const nf_place *place = record;
    nf_padding padding = transform->window.padding;
    apply_window(view, transform, place->top - padding.top, place->left - padding.left);
}

const nf_transform_type nf_random_crop_type = {.draw_size = sizeof(nf_place),
                                               .check = check_random,
                                               .plan = plan_random,
                                               .draw = draw,
                                               .check_draw = check_draw,
                                               .apply = apply};

/* ---- In a recipe: the window in the middle ---- */

nf_box nf_center_box(const nf_transform *transform, nf_extent in) {
    int64_t height = transform->window.height, width = transform->window.width;
    /* halves are rounded to even, as torchvision does */
    return (nf_box){(int32_t)rint((double)(in.height - height) / 2), (int32_t)rint((double)(in.width - width) / 2),
                    (int32_t)height, (int32_t)width};
}

static void apply_center(nf_view *view, const nf_transform *transform, const void *record) {
    (void)record;
    nf_box box = nf_center_box(transform, (nf_extent){view->height, view->width});
    apply_window(view, transform, box.top, box.left);
}

const nf_transform_type nf_center_crop_type = {.draw_size = 0,
                                               .check = check_random,
                                               .plan = plan_random,
                                               .draw = nf_draw_nothing,
                                               .check_draw = nf_check_any_draw,
                                               .apply = apply_center};
