#include "deep.h"

#include "../core/integers.h"

#include <math.h>
#include <string.h>

enum { MAX_SIDE = 65536 }; /* positions are 32-bit numbers with NF_WARP_BITS binary places */

nf_status nf_check_warp_images(int64_t height, int64_t width, int64_t channels) {
    if (height > MAX_SIDE || width > MAX_SIDE || (channels > 0 && height * width > INT32_MAX / channels))
        return nf_fail(NF_BAD_VALUE,
                       "image must have at most %d rows and columns and less than 2^31 bytes to be warped, got %lld x "
                       "%lld pixels of %lld bytes",
                       MAX_SIDE, (long long)height, (long long)width, (long long)channels);
    return NF_OK;
}

nf_status nf_check_interpolation(nf_interpolation interpolation) {
    if (interpolation != NF_BILINEAR && interpolation != NF_BICUBIC && interpolation != NF_NEAREST)
        return nf_fail(NF_BAD_VALUE, "interpolation must be nearest, bilinear or bicubic");
    return NF_OK;
}

nf_status nf_check_center(const double *center) {
    if (center && !(fabs(center[0]) <= 1e6 && fabs(center[1]) <= 1e6))
        return nf_fail(NF_BAD_VALUE, "center must be within -1e6..1e6, got (%g, %g)", center[0], center[1]);
    return NF_OK;
}

/* ---- Preparations ---- */

size_t nf_warp_scratch_size(nf_extent out) {
    return (size_t)(out.height + out.width) * sizeof(int32_t);
}

void nf_scale_table(int32_t *table, double origin, double step, int64_t n, int64_t size) {
    double position = origin + step * 0.5;
    for (int64_t i = 0; i < n; i++) {
        bool inside = position >= 0 && position < (double)size;
        table[i] = inside ? (int32_t)position : NF_WARP_OUTSIDE;
        position += step;
    }
}

/* Positions with 16 binary places suffice, as Pillow sees it, if those of the corners have 15 before. */
static bool fits_steps(const double *m, nf_extent out) {
    for (int corner = 0; corner < 4; corner++) {
        double x = corner % 2 ? (double)out.width : 0, y = corner / 2 ? (double)out.height : 0;
        if (!(fabs(x * m[0] + y * m[1] + m[2]) < 32768 && fabs(x * m[3] + y * m[4] + m[5]) < 32768))
            return false;
    }
    return true;
}

static int32_t steps(double x) {
    return (int32_t)(int64_t)floor(x * 65536 + 0.5);
}

/* The range of whole-numbered positions at which a sample, which reads `before` and `after` pixels beside the one at
 * its left, stays within `size` pixels. */
static void find_inner(int32_t *low, int32_t *high, int64_t size, int before, int after) {
    int32_t one = 1 << NF_WARP_BITS;
    *low = one / 2 + before * one;
    *high = one / 2 + (int32_t)(size - after) * one;
}

static void find_limits(nf_projection *p, nf_extent in, int64_t channels, nf_interpolation interpolation) {
    /* kernels read pixels of three channels with some bytes of what follows: there must be another row */
    int64_t height = channels == 3 ? in.height - 1 : in.height;
    p->scale = 1 << NF_WARP_BITS;
    p->shift = 0.5;
    if (interpolation == NF_NEAREST) {
        p->scale = 1;
        p->shift = 0;
        p->high_x = (int32_t)in.width;
        p->high_y = (int32_t)height;
        return;
    }
    int before = interpolation == NF_BICUBIC, after = interpolation == NF_BICUBIC ? 2 : 1;
    find_inner(&p->low_x, &p->high_x, in.width, before, after);
    find_inner(&p->low_y, &p->high_y, height, before, after);
}

nf_warp nf_warp_prepare(nf_map map, nf_extent in, nf_extent out, int64_t channels, nf_interpolation interpolation,
                        nf_fill fill, void *scratch) {
    const double *m = map.m;
    nf_warp warp = {.projection = {.width = (double)in.width, .height = (double)in.height},
                    .in = in,
                    .out = out,
                    .channels = channels,
                    .interpolation = interpolation,
                    .fill = fill,
                    .affine = m[6] == 0 && m[7] == 0};
    memcpy(warp.projection.matrix, m, sizeof map.m);
    find_limits(&warp.projection, in, channels, interpolation);
    if (interpolation != NF_NEAREST || !warp.affine)
        return warp;
    if (m[1] == 0 && m[3] == 0) {
        int32_t *columns = scratch, *rows = columns + out.width;
        nf_scale_table(columns, m[2], m[0], out.width, in.width);
        nf_scale_table(rows, m[5], m[4], out.height, in.height);
        warp.columns = columns;
        warp.rows = rows;
    } else if (fits_steps(m, out)) {
        warp.stepwise = true;
        warp.projection.x_step = steps(m[0]);
        warp.projection.y_step = steps(m[3]);
        warp.x_down = steps(m[1]);
        warp.y_down = steps(m[4]);
        warp.x_start = steps(m[2] + m[0] * 0.5 + m[1] * 0.5);
        warp.y_start = steps(m[5] + m[3] * 0.5 + m[4] * 0.5);
    }
    return warp;
}

/* ---- Rows ---- */

typedef struct positions {
    int32_t x[NF_WARP_CHUNK], y[NF_WARP_CHUNK];
} positions;

/* a + b c modulo 2^32, as adding up gives it. */
static int32_t step(int32_t a, int32_t b, int64_t c) {
    return (int32_t)((uint32_t)a + (uint32_t)b * (uint32_t)c);
}

/* Of `n` pixels from (x, y) on. */
static void find_positions(positions *at, const nf_warp *warp, int64_t x, int64_t y, size_t n) {
    const nf_projection *p = &warp->projection;
    double column = (double)x + 0.5, row = (double)y + 0.5;
    if (warp->columns) {
        for (size_t i = 0; i < n; i++) {
            int32_t from = warp->columns[x + (int64_t)i], down = warp->rows[y];
            at->x[i] = from >= 0 && down >= 0 ? from : NF_WARP_OUTSIDE;
            at->y[i] = down;
        }
    } else if (warp->stepwise) {
        nf_kernel->project_stepwise(at->x, at->y, p, step(step(warp->x_start, warp->x_down, y), p->x_step, x),
                                    step(step(warp->y_start, warp->y_down, y), p->y_step, x), n);
    } else if (warp->affine) {
        nf_kernel->project_affine(at->x, at->y, p, column, row, n);
    } else {
        nf_kernel->project_perspective(at->x, at->y, p, column, row, n);
    }
}

typedef enum zone { OUTSIDE, EDGE, INNER } zone;

/* The end of the run of equal bytes that begins at `begin`; eight bytes after the n-th may be read. */
static size_t run_end(const uint8_t *zones, size_t begin, size_t n) {
    uint64_t same = zones[begin] * UINT64_C(0x0101010101010101), eight;
    for (size_t i = begin; i < n; i += 8) {
        memcpy(&eight, zones + i, sizeof eight);
        if (eight != same) {
            size_t end = i;
            while (zones[end] == zones[begin] && end < n)
                end++;
            return end;
        }
    }
    return n;
}

typedef void (*sampler)(uint8_t *out, const nf_raster *in, const int32_t *x, const int32_t *y, size_t n);

typedef struct samplers {
    sampler inner, edge;
} samplers;

static samplers samplers_of(nf_interpolation interpolation) {
    if (interpolation == NF_NEAREST)
        return (samplers){nf_kernel->sample_nearest, nf_kernel->sample_nearest_edge};
    if (interpolation == NF_BILINEAR)
        return (samplers){nf_kernel->sample_bilinear, nf_kernel->sample_bilinear_edge};
    return (samplers){nf_kernel->sample_bicubic, nf_kernel->sample_bicubic_edge};
}

/* Pixels of more than one zone: run by run. */
static void sample_mixed(uint8_t *out, const nf_raster *in, const nf_warp *warp, samplers sample, const positions *at,
                         const uint8_t *zones, size_t n) {
    for (size_t begin = 0, end; begin < n; begin = end) {
        zone here = zones[begin];
        end = run_end(zones, begin, n);
        uint8_t *to = out + begin * in->channels;
        if (here == OUTSIDE)
            nf_fill_pixels(to, warp->fill, warp->channels, (int64_t)(end - begin));
        else if (here == EDGE)
            sample.edge(to, in, at->x + begin, at->y + begin, end - begin);
        else
            sample.inner(to, in, at->x + begin, at->y + begin, end - begin);
    }
}

void nf_warp_rows(uint8_t *out, const uint8_t *image, int64_t begin, int64_t count, const void *arguments) {
    const nf_warp *warp = arguments;
    nf_raster in = {.pixels = image,
                    .width = (size_t)warp->in.width,
                    .height = (size_t)warp->in.height,
                    .channels = (size_t)warp->channels,
                    .row = (size_t)(warp->in.width * warp->channels)};
    samplers sample = samplers_of(warp->interpolation);
    positions at;
    uint8_t zones[NF_WARP_CHUNK + 8] = {0};
    for (int64_t y = begin; y < begin + count; y++)
        for (int64_t x = 0; x < warp->out.width; x += NF_WARP_CHUNK) {
            size_t n = (size_t)nf_min(NF_WARP_CHUNK, warp->out.width - x);
            find_positions(&at, warp, x, y, n);
            if (nf_kernel->find_zones(zones, &warp->projection, at.x, at.y, n) == n)
                sample.inner(out, &in, at.x, at.y, n);
            else
                sample_mixed(out, &in, warp, sample, &at, zones, n);
            out += n * in.channels;
        }
}

/* ---- On a batch, on a view ---- */

typedef struct deep_warp {
    nf_extent out;
    nf_map map;
    nf_interpolation interpolation;
    nf_deep_fill fill;
} deep_warp;

static void warp_deep_image(nf_deep_view *view, const void *arguments) {
    const deep_warp *w = arguments;
    nf_deep_view_warp(view, w->out, w->map, w->interpolation, w->fill);
}

static nf_status warp_deep_images(void *out, const void *images, nf_images shape, deep_warp warp, const void *fill,
                                  int64_t count) {
    void *values;
    NF_TRY(nf_alloc(&values, (size_t)count * sizeof(float)));
    nf_deep_convert(values, fill, shape.type, 0, count);
    warp.fill = (nf_deep_fill){values, count};
    int64_t in = shape.height * shape.width * shape.channels, made = warp.out.height * warp.out.width * shape.channels;
    nf_status status = nf_deep_map_images(out, made, images, shape, nf_max(in, made), nf_warp_scratch_size(warp.out),
                                          warp_deep_image, &warp);
    nf_free(values);
    return status;
}

nf_status nf_warp_images(void *out, nf_extent size, const void *images, nf_images shape, nf_map map,
                         nf_interpolation interpolation, const void *fill, int64_t fill_count) {
    NF_TRY(nf_check_interpolation(interpolation));
    NF_TRY(nf_check_warp_images(shape.height, shape.width, nf_as_bytes(shape).channels));
    NF_TRY(nf_check_fill(fill, fill_count, shape, "fill"));
    if (shape.type != NF_PIXEL_BYTE && interpolation != NF_NEAREST)
        return warp_deep_images(out, images, shape, (deep_warp){size, map, interpolation, {0}}, fill, fill_count);
    NF_TRY(nf_check_images(images, shape));
    nf_fill bytes = nf_fill_of(fill, fill_count, shape.type);
    shape = nf_as_bytes(shape);
    void *scratch;
    NF_TRY(nf_alloc(&scratch, nf_warp_scratch_size(size)));
    nf_warp warp = nf_warp_prepare(map, (nf_extent){shape.height, shape.width}, size, shape.channels, interpolation,
                                   bytes, scratch);
    nf_status status = nf_map_rows(out, size, images, shape, nf_warp_rows, &warp);
    nf_free(scratch);
    return status;
}

void nf_view_warp(nf_view *view, nf_extent size, nf_map map, nf_interpolation interpolation, nf_fill fill) {
    nf_warp warp = nf_warp_prepare(map, (nf_extent){view->height, view->width}, size, view->channels, interpolation,
                                   fill, view->scratch);
    nf_view_rows(view, size, nf_warp_rows, &warp);
}
