/* Deep images: what moves pixels, with the geometry of window.c, flip.c, rotate.c, affine.c, perspective.c, erase.c,
 * cutout.c and jigsaw.c. */
#include "deep.h"
#include "transform.h"

#include "../core/integers.h"

#include <math.h>
#include <string.h>

static nf_extent size_of(const nf_deep_view *view) {
    return (nf_extent){view->height, view->width};
}

/* A recipe's colour, in units of white. */
typedef struct deep_color {
    float values[NF_MAX_COLORS];
    int64_t count;
} deep_color;

static deep_color read_color(const nf_deep_view *view, const nf_colors *colors) {
    deep_color read = {.count = colors->count};
    for (int i = 0; i < NF_MAX_COLORS; i++)
        read.values[i] = (float)((double)colors->values[i] / 255 * (double)view->white);
    return read;
}

static nf_deep_fill fill_of(const deep_color *color) {
    return (nf_deep_fill){color->values, color->count};
}

static void fill_pixels(float *out, const nf_deep_view *view, nf_deep_fill fill, int64_t n) {
    for (int64_t c = 0; c < view->channels; c++) {
        float value = fill.values[fill.count == 1 ? 0 : c];
        for (int64_t i = 0; i < n; i++)
            out[i * view->channels + c] = value;
    }
}

/* ---- Flips ---- */

void nf_deep_flip(nf_deep_view *view, const nf_transform *transform, const void *record) {
    (void)transform;
    if (!((const nf_switch *)record)->applied)
        return;
    nf_deep_load(view);
    int64_t channels = view->channels;
    for (int64_t y = 0; y < view->height; y++) {
        float *left = view->pixels + y * view->width * channels, *right = left + (view->width - 1) * channels;
        for (; left < right; left += channels, right -= channels)
            for (int64_t c = 0; c < channels; c++) {
                float value = left[c];
                left[c] = right[c];
                right[c] = value;
            }
    }
}

void nf_deep_vertical_flip(nf_deep_view *view, const nf_transform *transform, const void *record) {
    (void)transform;
    if (!((const nf_switch *)record)->applied)
        return;
    int64_t row = view->width * view->channels;
    for (int64_t y = 0; y < view->height; y++)
        nf_deep_read(view->spare + y * row, view, (view->height - 1 - y) * row, row);
    nf_deep_swap(view, size_of(view));
}

/* ---- Windows ---- */

static void window(nf_deep_view *view, const nf_transform *transform, int64_t top, int64_t left) {
    nf_padding_mode mode = transform->window.padding.mode;
    int64_t channels = view->channels, width = transform->window.width, height = transform->window.height;
    int64_t first = nf_clamp(-left, 0, width), last = nf_clamp(view->width - left, first, width);
    deep_color color = read_color(view, &transform->window.fill);
    float *out = view->spare;
    for (int64_t y = 0; y < height; y++, out += width * channels) {
        int64_t row = nf_padding_place(top + y, view->height, mode);
        fill_pixels(out, view, fill_of(&color), row < 0 ? width : 0);
        for (int64_t x = 0; row >= 0 && x < width; x++) {
            if (x == first && first < last) { /* all that lies within the image */
                nf_deep_read(out + x * channels, view, (row * view->width + left + x) * channels,
                             (last - first) * channels);
                x = last - 1;
                continue;
            }
            int64_t column = nf_padding_place(left + x, view->width, mode);
            if (column < 0)
                fill_pixels(out + x * channels, view, fill_of(&color), 1);
            else
                nf_deep_read(out + x * channels, view, (row * view->width + column) * channels, channels);
        }
    }
    nf_deep_swap(view, (nf_extent){height, width});
}

void nf_deep_random_crop(nf_deep_view *view, const nf_transform *transform, const void *record) {
    const nf_place *place = record;
    window(view, transform, place->top - transform->window.padding.top, place->left - transform->window.padding.left);
}

void nf_deep_center_crop(nf_deep_view *view, const nf_transform *transform, const void *record) {
    (void)record;
    nf_box box = nf_center_box(transform, size_of(view));
    window(view, transform, box.top, box.left);
}

/* ---- Warps ---- */

/* Of the pixels at distances 1 + d, d, 1 - d, 2 - d. */
static void cubic_weights(float weights[4], double d) {
    const double a = -1; /* the filter of warps, unlike that of resizing */
    double e = 1 - d;
    weights[0] = (float)(a * d * e * e);
    weights[1] = (float)(((a + 2) * d - (a + 3)) * d * d + 1);
    weights[2] = (float)(((a + 2) * e - (a + 3)) * e * e + 1);
    weights[3] = (float)(a * e * d * d);
}

/* The image at (u, v), where its pixel (0, 0) has its centre at (1/2, 1/2), its borders going on. */
static void sample(float *out, const nf_deep_view *view, double u, double v, nf_interpolation interpolation) {
    double left = floor(u - 0.5), top = floor(v - 0.5);
    int64_t x = (int64_t)left, y = (int64_t)top;
    float across[4] = {0, 1 - (float)(u - 0.5 - left), (float)(u - 0.5 - left), 0};
    float down[4] = {0, 1 - (float)(v - 0.5 - top), (float)(v - 0.5 - top), 0};
    int begin = 1, end = 3;
    if (interpolation == NF_BICUBIC) {
        cubic_weights(across, u - 0.5 - left);
        cubic_weights(down, v - 0.5 - top);
        begin = 0;
        end = 4;
    }
    for (int64_t c = 0; c < view->channels; c++)
        out[c] = 0;
    for (int j = begin; j < end; j++) {
        const float *row = view->pixels + nf_clamp(y + j - 1, 0, view->height - 1) * view->width * view->channels;
        for (int i = begin; i < end; i++) {
            const float *from = row + nf_clamp(x + i - 1, 0, view->width - 1) * view->channels;
            float weight = across[i] * down[j];
            for (int64_t c = 0; c < view->channels; c++)
                out[c] += weight * from[c];
        }
    }
}

/* a + b x + c y, numbers of 2^-16 pixels, modulo 2^16 pixels. */
static int32_t steps(int32_t a, int32_t b, int64_t x, int32_t c, int64_t y) {
    uint32_t sum = (uint32_t)a + (uint32_t)b * (uint32_t)x + (uint32_t)c * (uint32_t)y;
    return (int32_t)sum >> 16;
}

typedef struct position {
    double u, v;
} position;

/* Where the pixel (x, y) of the result comes from. */
static position find(const nf_warp *warp, int64_t x, int64_t y) {
    const double *m = warp->projection.matrix;
    if (warp->columns)
        return (position){warp->columns[x], warp->rows[y]};
    if (warp->stepwise)
        return (position){steps(warp->x_start, warp->projection.x_step, x, warp->x_down, y),
                          steps(warp->y_start, warp->projection.y_step, x, warp->y_down, y)};
    double column = (double)x + 0.5, row = (double)y + 0.5;
    position at = {m[0] * column + m[1] * row + m[2], m[3] * column + m[4] * row + m[5]};
    if (!warp->affine) {
        double over = m[6] * column + m[7] * row + 1;
        at.u /= over;
        at.v /= over;
    }
    return at;
}

void nf_deep_view_warp(nf_deep_view *view, nf_extent out, nf_map map, nf_interpolation interpolation,
                       nf_deep_fill fill) {
    nf_deep_load(view);
    nf_extent in = size_of(view);
    nf_warp warp = nf_warp_prepare(map, in, out, view->channels, interpolation, (nf_fill){0}, view->scratch);
    float *to = view->spare;
    for (int64_t y = 0; y < out.height; y++)
        for (int64_t x = 0; x < out.width; x++, to += view->channels) {
            position at = find(&warp, x, y);
            if (!(at.u >= 0 && at.u < (double)in.width && at.v >= 0 && at.v < (double)in.height))
                fill_pixels(to, view, fill, 1);
            else if (interpolation == NF_NEAREST)
                memcpy(to, view->pixels + ((int64_t)at.v * in.width + (int64_t)at.u) * view->channels,
                       (size_t)view->channels * sizeof *to);
            else
                sample(to, view, at.u, at.v, interpolation);
        }
    nf_deep_swap(view, out);
}

static void warp_view(nf_deep_view *view, nf_map map, nf_interpolation interpolation, const nf_colors *colors) {
    deep_color color = read_color(view, colors);
    nf_deep_view_warp(view, size_of(view), map, interpolation, fill_of(&color));
}

size_t nf_deep_warp_scratch(const nf_transform *transform, nf_extent in, int64_t channels) {
    (void)transform, (void)channels;
    return nf_warp_scratch_size(in);
}

/* Counter-clockwise; odd numbers of turns are for squares. */
static void turn(nf_deep_view *view, int quarters) {
    nf_deep_load(view);
    int64_t height = view->height, width = view->width;
    float *out = view->spare;
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++, out += view->channels) {
            int64_t row = quarters == 1 ? x : quarters == 2 ? height - 1 - y : width - 1 - x;
            int64_t column = quarters == 1 ? height - 1 - y : quarters == 2 ? width - 1 - x : y;
            memcpy(out, view->pixels + (row * width + column) * view->channels, (size_t)view->channels * sizeof *out);
        }
    nf_deep_swap(view, size_of(view));
}

void nf_deep_rotate(nf_deep_view *view, const nf_transform *transform, const void *record) {
    nf_map map;
    int quarters = nf_rotation_map(&map, ((const nf_rotation_draw *)record)->angle, size_of(view));
    if (quarters > 0)
        turn(view, quarters);
    else if (quarters < 0)
        warp_view(view, map, transform->rotation.interpolation, &transform->rotation.fill);
}

void nf_deep_affine(nf_deep_view *view, const nf_transform *transform, const void *record) {
    warp_view(view, nf_affine_map(record, size_of(view)), transform->affine.interpolation, &transform->affine.fill);
}

void nf_deep_perspective(nf_deep_view *view, const nf_transform *transform, const void *record) {
    const nf_perspective_draw *drawn = record;
    nf_map map;
    if (drawn->applied && nf_perspective_map(&map, drawn, size_of(view)) == NF_OK)
        warp_view(view, map, transform->perspective.interpolation, &transform->perspective.fill);
}

/* ---- Boxes and tiles ---- */

static void fill_box(nf_deep_view *view, nf_box box, const nf_colors *colors) {
    nf_deep_load(view);
    deep_color color = read_color(view, colors);
    for (int64_t y = box.top; y < box.top + box.height; y++)
        fill_pixels(view->pixels + (y * view->width + box.left) * view->channels, view, fill_of(&color), box.width);
}

void nf_deep_erase(nf_deep_view *view, const nf_transform *transform, const void *record) {
    const nf_erasing_draw *drawn = record;
    if (drawn->applied)
        fill_box(view, drawn->box, &transform->erasing.value);
}

void nf_deep_cutout(nf_deep_view *view, const nf_transform *transform, const void *record) {
    const nf_cutout_draw *drawn = record;
    if (!drawn->applied)
        return;
    int64_t top = drawn->y - transform->cutout.height / 2, left = drawn->x - transform->cutout.width / 2;
    int64_t bottom = nf_min(top + transform->cutout.height, view->height);
    int64_t right = nf_min(left + transform->cutout.width, view->width);
    top = nf_max(top, 0);
    left = nf_max(left, 0);
    nf_box box = {(int32_t)top, (int32_t)left, (int32_t)(bottom - top), (int32_t)(right - left)};
    fill_box(view, box, &(nf_colors){.values = {(uint8_t)transform->cutout.fill}, .count = 1});
}

void nf_deep_jigsaw(nf_deep_view *view, const nf_transform *transform, const void *record) {
    const nf_jigsaw_draw *drawn = record;
    if (!drawn->applied)
        return;
    nf_deep_load(view);
    nf_permute_tiles((uint8_t *)view->spare, (const uint8_t *)view->pixels, size_of(view),
                     (size_t)view->channels * sizeof(float), drawn->order, (size_t)transform->jigsaw.grid);
    nf_deep_swap(view, size_of(view));
}
