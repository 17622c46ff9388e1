#include "winograd_tiles.h"

static nf_winograd_tiles counted(nf_winograd_tiles tiles) {
    tiles.down = nf_ceil_div(tiles.out_h, tiles.form.tile);
    tiles.across = nf_ceil_div(tiles.out_w, tiles.form.tile);
    tiles.count = tiles.images * tiles.down * tiles.across;
    tiles.group_images = tiles.images / tiles.groups;
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

/* For a constant size the rows inside the image, most of them, are without loops. */
static inline __attribute__((always_inline)) void square_pixels(const float **pixels, const nf_squares *from,
                                                                const nf_tile *at, const float *outside,
                                                                const int64_t size) {
    int64_t y = at->i * from->step - from->pad_h, x = at->j * from->step - from->pad_w, c = from->c;
    int64_t left = nf_clamp(-x, 0, size), right = nf_clamp(from->w - x, left, size);
    for (int64_t i = 0; i < size; i++, pixels += size) {
        bool inside = y + i >= 0 && y + i < from->h;
        int64_t begin = inside ? left : size, end = inside ? right : size;
        const float *first = from->images + ((at->image * from->h + y + i) * from->w + x) * c;
        if (begin == 0 && end == size) {
#pragma GCC unroll 9
            for (int64_t j = 0; j < size; j++)
                pixels[j] = first + j * c;
            continue;
        }
        for (int64_t j = 0; j < size; j++)
            pixels[j] = j >= begin && j < end ? first + j * c : outside;
    }
}

void nf_tile_pixels(const float **pixels, const nf_squares *from, const nf_tile *at, const float *outside) {
    switch (from->size) { /* of all forms' tiles and patches */
    case 2: square_pixels(pixels, from, at, outside, 2); break;
    case 4: square_pixels(pixels, from, at, outside, 4); break;
    case 5: square_pixels(pixels, from, at, outside, 5); break;
    case 6: square_pixels(pixels, from, at, outside, 6); break;
    case 8: square_pixels(pixels, from, at, outside, 8); break;
    default: square_pixels(pixels, from, at, outside, 9);
    }
}

void nf_tiles_for_results(const nf_winograd_tiles *tiles, int64_t begin, int64_t end,
                          void (*each)(void *context, int64_t first, int64_t count), void *context) {
    int64_t tile = tiles->form.tile, beside; /* tiles beside each other, whose rows are one */
    for (; begin < end; begin += beside) {
        nf_tile at = nf_tile_locate(tiles, begin);
        beside = nf_min(end - begin, tiles->across - at.j);
        int64_t left = at.j * tile, right = nf_min((at.j + beside) * tile, tiles->out_w);
        for (int64_t y = at.i * tile; y < nf_min((at.i + 1) * tile, tiles->out_h); y++)
            each(context, (at.image * tiles->out_h + y) * tiles->out_w + left, right - left);
    }
}

/* ---- Ahead ---- */

enum { LINE = 16 }; /* floats of a cache line */

static void enter_row(nf_tiles_ahead *ahead) {
    const nf_squares *from = &ahead->from;
    ahead->lines = 0;
    if (ahead->rows_left == 0 || ahead->row >= ahead->rows)
        return;
    int64_t y = ahead->at.i * from->step + ahead->row, x = ahead->at.j * from->step;
    ahead->line = from->images + ((ahead->at.image * from->h + y) * from->w + x) * from->c;
    ahead->lines = nf_ceil_div(ahead->length, LINE);
}

static int64_t band_tiles(const nf_winograd_tiles *tiles, const nf_tiles_ahead *ahead) {
    return nf_min(ahead->tiles_left, tiles->across - ahead->at.j);
}

static void enter_band(const nf_winograd_tiles *tiles, nf_tiles_ahead *ahead) {
    const nf_squares *from = &ahead->from;
    int64_t width = (band_tiles(tiles, ahead) - 1) * from->step + from->size;
    ahead->rows = nf_clamp(from->h - ahead->at.i * from->step, 0, from->size);
    ahead->length = nf_clamp(from->w - ahead->at.j * from->step, 0, width) * from->c;
}

static void advance_band(const nf_winograd_tiles *tiles, nf_tiles_ahead *ahead) {
    ahead->tiles_left -= band_tiles(tiles, ahead);
    ahead->at.j = tiles->across - 1;
    nf_tile_advance(tiles, &ahead->at);
    enter_band(tiles, ahead);
}

nf_tiles_ahead nf_tiles_ahead_share(const nf_winograd_tiles *tiles, nf_squares from, int64_t first, int64_t count,
                                    int64_t share, int64_t shares, int64_t times) {
    nf_tiles_ahead ahead = {.from = from, .at = nf_tile_locate(tiles, first), .tiles_left = count};
    int64_t bands = nf_ceil_div(ahead.at.j + count, tiles->across), rows = bands * from.size;
    int64_t begin = rows * share / shares, lines = count * from.size * nf_ceil_div(from.size * from.c, LINE);
    ahead.rows_left = count > 0 ? rows * (share + 1) / shares - begin : 0;
    ahead.each = nf_ceil_div(lines, shares * times);
    ahead.row = begin % from.size;
    enter_band(tiles, &ahead);
    for (int64_t band = 0; band < begin / from.size; band++)
        advance_band(tiles, &ahead);
    enter_row(&ahead);
    return ahead;
}

/* To the next row, of this band or of the one after it. */
static void advance_row(const nf_winograd_tiles *tiles, nf_tiles_ahead *ahead) {
    ahead->rows_left--;
    if (++ahead->row == ahead->from.size) {
        ahead->row = 0;
        advance_band(tiles, ahead);
    }
    enter_row(ahead);
}

void nf_tiles_ask_now(const nf_winograd_tiles *tiles, nf_tiles_ahead *ahead) {
    for (int64_t wanted = ahead->each; wanted > 0 && ahead->rows_left > 0;) {
        int64_t now = nf_min(wanted, ahead->lines);
        for (int64_t i = 0; i < now; i++)
            __builtin_prefetch(ahead->line + i * LINE);
        __asm__ volatile(""); /* else gcc sees a loop without effects */
        ahead->line += now * LINE;
        ahead->lines -= now;
        wanted -= now;
        if (ahead->lines == 0)
            advance_row(tiles, ahead);
    }
}
