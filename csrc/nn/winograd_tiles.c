#include "winograd_tiles.h"

static nf_winograd_tiles counted(nf_winograd_tiles tiles) {
    tiles.down = nf_ceil_div(tiles.out_h, tiles.form.tile);
    tiles.across = nf_ceil_div(tiles.out_w, tiles.form.tile);
    tiles.count = tiles.images * tiles.down * tiles.across;
    return tiles;
}

static nf_winograd_form forward_form(const nf_conv *conv) {
    if (conv->stride == 2)
        return (nf_winograd_form){.tile = 4,
                                  .patch = 9,
                                  .line = 9,
                                  .matrices = 6,
                                  .input = nf_kernel->winograd_strided_input,
                                  .output = nf_kernel->winograd_strided_output,
                                  .weights = nf_kernel->winograd_strided_weights,
                                  .gradient = nf_kernel->winograd_strided_gradient,
                                  .weights_gradient = nf_kernel->winograd_strided_weights_gradient};
    if (conv->algorithm == NF_CONV_WINOGRAD2)
        return (nf_winograd_form){.tile = 2,
                                  .patch = 4,
                                  .line = 4,
                                  .matrices = 4,
                                  .input = nf_kernel->winograd_small_input,
                                  .output = nf_kernel->winograd_small_output,
                                  .weights = nf_kernel->winograd_small_weights,
                                  .gradient = nf_kernel->winograd_small_gradient,
                                  .weights_gradient = nf_kernel->winograd_small_weights_gradient};
    return (nf_winograd_form){.tile = 4,
                              .patch = 6,
                              .line = 6,
                              .matrices = 6,
                              .input = nf_kernel->winograd_input,
                              .output = nf_kernel->winograd_output,
                              .weights = nf_kernel->winograd_weights,
                              .gradient = nf_kernel->winograd_gradient,
                              .weights_gradient = nf_kernel->winograd_weights_gradient};
}

/* Of stride 1 the same as forwards. */
static nf_winograd_form backward_form(const nf_conv *conv) {
    if (conv->stride == 1)
        return forward_form(conv);
    return (nf_winograd_form){.tile = 8,
                              .patch = 5,
                              .line = 9,
                              .matrices = 6,
                              .input = nf_kernel->winograd_strided_back_input,
                              .output = nf_kernel->winograd_strided_back_output,
                              .weights = nf_kernel->winograd_strided_weights};
}

nf_winograd_tiles nf_winograd_forward_tiles(const nf_conv *conv) {
    nf_winograd_form form = forward_form(conv);
    return counted((nf_winograd_tiles){.form = form,
                                       .images = conv->n,
                                       .groups = conv->groups,
                                       .h = conv->h,
                                       .w = conv->w,
                                       .c = conv->c,
                                       .out_h = conv->out_h,
                                       .out_w = conv->out_w,
                                       .k = conv->k,
                                       .step = form.tile * conv->stride,
                                       .pad_h = conv->pad_h,
                                       .pad_w = conv->pad_w});
}

nf_winograd_tiles nf_winograd_backward_tiles(const nf_conv *conv) {
    nf_winograd_form form = backward_form(conv);
    bool plain = conv->stride == 1;
    return counted((nf_winograd_tiles){.form = form,
                                       .images = conv->n,
                                       .groups = conv->groups,
                                       .h = conv->out_h,
                                       .w = conv->out_w,
                                       .c = conv->k,
                                       .out_h = conv->h,
                                       .out_w = conv->w,
                                       .k = conv->c,
                                       .step = form.tile / conv->stride,
                                       .pad_h = plain ? 2 - conv->pad_h : 0,
                                       .pad_w = plain ? 2 - conv->pad_w : 0});
}

nf_tile nf_tile_locate(const nf_winograd_tiles *tiles, int64_t index) {
    return (nf_tile){index / (tiles->across * tiles->down), index / tiles->across % tiles->down, index % tiles->across};
}

void nf_tile_advance(const nf_winograd_tiles *tiles, nf_tile *at) {
    if (++at->j < tiles->across)
        return;
    at->j = 0;
    if (++at->i < tiles->down)
        return;
    at->i = 0;
    at->image++;
}

nf_squares nf_source_squares(const nf_winograd_tiles *tiles, const float *source) {
    return (nf_squares){source,      tiles->h,     tiles->w,    tiles->c, tiles->form.patch,
                        tiles->step, tiles->pad_h, tiles->pad_w};
}

nf_squares nf_source_parts(const nf_winograd_tiles *tiles, const float *source) {
    return (nf_squares){source, tiles->h, tiles->w, tiles->c, tiles->step, tiles->step, 0, 0};
}

nf_squares nf_result_squares(const nf_winograd_tiles *tiles, const float *out) {
    return (nf_squares){out, tiles->out_h, tiles->out_w, tiles->k, tiles->form.tile, tiles->form.tile, 0, 0};
}

void nf_tile_pixels(const float **pixels, const nf_squares *from, const nf_tile *at, const float *outside) {
    int64_t y = at->i * from->step - from->pad_h, x = at->j * from->step - from->pad_w, size = from->size, c = from->c;
    int64_t left = nf_clamp(-x, 0, size), right = nf_clamp(from->w - x, left, size);
    for (int64_t i = 0; i < size; i++, pixels += size) {
        bool inside = y + i >= 0 && y + i < from->h;
        const float *first = from->images + ((at->image * from->h + y + i) * from->w + x) * c;
        if (inside && left == 0 && right == size) {
            for (int64_t j = 0; j < size; j++)
                pixels[j] = first + j * c;
        } else {
            for (int64_t j = 0; j < size; j++)
                pixels[j] = inside && j >= left && j < right ? first + j * c : outside;
        }
    }
}

/* Asks for the memory of n floats, to be in a cache near by when they are read or written. */
static void ask(const float *memory, int64_t n) {
    for (int64_t j = 0; j < n; j += 16)
        __builtin_prefetch(memory + j, 0, 2);
    __asm__ volatile(""); /* else gcc sees a function without effects, and drops calls of it */
}

enum { RUN = 256 }; /* floats that are asked for at a time */

nf_tiles_ahead nf_tiles_ahead_share(const nf_winograd_tiles *tiles, nf_squares from, int64_t first, int64_t count,
                                    int64_t share, int64_t shares) {
    int64_t runs = nf_ceil_div(from.size * from.c, RUN), all = count * from.size * runs;
    int64_t begin = all * share / shares, end = all * (share + 1) / shares;
    return (nf_tiles_ahead){.from = from,
                            .at = nf_tile_locate(tiles, first + begin / runs / from.size),
                            .row = begin / runs % from.size,
                            .begin = begin % runs * RUN,
                            .runs = end - begin};
}

void nf_tiles_ask(const nf_winograd_tiles *tiles, nf_tiles_ahead *ahead, int64_t runs) {
    const nf_squares *from = &ahead->from;
    int64_t row_floats = from->size * from->c, now = nf_min(runs, ahead->runs);
    ahead->runs -= now;
    for (; now > 0; now--) {
        int64_t y = ahead->at.i * from->step + ahead->row, x = ahead->at.j * from->step, begin = ahead->begin;
        int64_t end = nf_min(nf_min(begin + RUN, row_floats), (from->w - x) * from->c);
        if (y < from->h)
            ask(from->images + ((ahead->at.image * from->h + y) * from->w + x) * from->c + begin, end - begin);
        ahead->begin += RUN;
        if (ahead->begin < row_floats)
            continue;
        ahead->begin = 0;
        if (++ahead->row < from->size)
            continue;
        ahead->row = 0;
        nf_tile_advance(tiles, &ahead->at);
    }
}
