/* The tiles of Winograd's algorithm: which pixels of a batch of images each reads and makes, and by what transforms.
 * For the files winograd*.c alone. */
#ifndef NF_NN_WINOGRAD_TILES_H
#define NF_NN_WINOGRAD_TILES_H

#include "../core/dispatch.h"
#include "../core/integers.h"
#include "conv.h"

enum { NF_WINOGRAD_MATRICES = 36, NF_WINOGRAD_PIXELS = 81 }; /* at most */

/* A padding between frequencies, and between rows, that keeps them from falling onto the same cache sets. */
enum { NF_WINOGRAD_PAD = 16 };

enum { NF_TRANSFORM_TILES = 8 }; /* of a task that only transforms */

typedef void (*nf_input_transform)(float *v, size_t frequency_stride, size_t chunk, size_t chunk_stride,
                                   const float *const *pixels, size_t c, size_t padded, const nf_rescale *rescale,
                                   const float *outside);
typedef void (*nf_gradient_transform)(float *z, size_t frequency_stride, size_t chunk, size_t chunk_stride,
                                      const float *const *pixels, size_t k, size_t padded);
typedef void (*nf_output_transform)(float *const *pixels, const float *m, size_t frequency_stride, size_t k,
                                    bool accumulate, const nf_rescale *rescale);

/* A way of making `tile` x `tile` numbers from `patch` x `patch` by line x line products with matrices x matrices
 * matrices. Along one axis each frequency has a matrix of its own, but those from the last matrix's on share it. */
typedef struct nf_winograd_form {
    int64_t tile, patch, line, matrices;
    nf_input_transform input;
    nf_output_transform output;
    void (*weights)(float *u, size_t frequency_stride, const float *g, size_t tap_stride, size_t n);
    /* forwards only: of the results' gradient, and from the matrices' gradient to that of the weights */
    nf_gradient_transform gradient;
    void (*weights_gradient)(float *d_g, size_t tap_stride, const float *d_u, size_t frequency_stride, size_t n,
                             bool accumulate);
} nf_winograd_form;

/* `out` is a 3 x 3 correlation of `source`: forwards y of x; for the gradient of the input d_x of d_y, with the taps
 * turned round and their matrices transposed. Tile (i, j) is the pixels of `out` from (i tile, j tile) on, made from
 * those of `source` from (i step - pad_h, j step - pad_w) on. */
typedef struct nf_winograd_tiles {
    nf_winograd_form form;
    int64_t images, groups, group_images, h, w, c, out_h, out_w, k, step, pad_h, pad_w;
    int64_t down, across, count; /* tiles in each image, and in all */
} nf_winograd_tiles;

nf_winograd_tiles nf_winograd_forward_tiles(const nf_conv *conv);
nf_winograd_tiles nf_winograd_backward_tiles(const nf_conv *conv);

static inline int64_t nf_tile_rows(void) {
    return (int64_t)nf_kernel->gemm_tile_rows;
}

static inline int64_t nf_tile_columns(void) {
    return (int64_t)nf_kernel->gemm_tile_columns;
}

static inline int64_t nf_frequency_count(const nf_winograd_tiles *tiles) {
    return tiles->form.line * tiles->form.line;
}

static inline int64_t nf_matrix_count(const nf_winograd_tiles *tiles) {
    return tiles->form.matrices * tiles->form.matrices;
}

/* The frequencies of a matrix, which follow each other. */
typedef struct nf_frequencies {
    int64_t first, count;
} nf_frequencies;

static inline nf_frequencies nf_matrix_frequencies(const nf_winograd_tiles *tiles, int64_t matrix) {
    const nf_winograd_form *form = &tiles->form;
    int32_t matrices = (int32_t)form->matrices; /* short numbers are divided fast */
    int64_t p = (int32_t)matrix / matrices, q = (int32_t)matrix % matrices, end = matrices - 1;
    int64_t down = p == end ? form->line - end : 1, across = q == end ? form->line - end : 1;
    return (nf_frequencies){p * form->line + q * down, down * across};
}

static inline int64_t nf_padded_channels(const nf_winograd_tiles *tiles) {
    return nf_round_up(tiles->c, 16);
}

static inline int64_t nf_padded_outputs(const nf_winograd_tiles *tiles) {
    return nf_round_up(tiles->k, nf_tile_columns());
}

typedef struct nf_tile {
    int64_t image, i, j;
} nf_tile;

nf_tile nf_tile_locate(const nf_winograd_tiles *tiles, int64_t index);

/* To the tile after this one. By address, as nf_tile_pixels takes it: copies of it would wait for stores that are under
 * way to memory. */
void nf_tile_advance(const nf_winograd_tiles *tiles, nf_tile *at);

/* A batch of images cut into squares of `size` x `size` pixels, `step` from one to the next. */
typedef struct nf_squares {
    const float *images;
    int64_t h, w, c, size, step, pad_h, pad_w;
} nf_squares;

nf_squares nf_source_squares(const nf_winograd_tiles *tiles, const float *source);
nf_squares nf_source_parts(const nf_winograd_tiles *tiles, const float *source); /* each pixel in one square only */
nf_squares nf_result_squares(const nf_winograd_tiles *tiles, const float *out);

/* The pixels of a tile's square; `outside` for those that are not in the image. */
void nf_tile_pixels(const float **pixels, const nf_squares *from, const nf_tile *at, const float *outside);

/* Calls `each` for the results of tiles [begin, end), pixels `first` to `first + count` of all images at a time. */
void nf_tiles_for_results(const nf_winograd_tiles *tiles, int64_t begin, int64_t end,
                          void (*each)(void *context, int64_t first, int64_t count), void *context);

/* What is done to a tile's pixels as they are loaded: `rescale`, made for its image's group; NULL: nothing. */
static inline const nf_rescale *nf_tile_rescale(nf_rescale *rescale, const nf_winograd_tiles *tiles,
                                                const nf_before *before, const nf_tile *at) {
    if (!before->factors)
        return NULL;
    int64_t group = tiles->groups > 1 ? at->image / tiles->group_images : 0;
    *rescale = (nf_rescale){.factor = before->factors + 2 * group * tiles->c,
                            .shift = before->factors + (2 * group + 1) * tiles->c,
                            .relu = before->relu};
    return rescale;
}

/* Memory that is to be in a cache near by when it is read or written: what is left of a share of the squares of
 * some tiles. Squares beside each other, a band, are gone through row by row, which in memory follow each other: then
 * processors see what comes next, and fetch more than they are asked for. */
typedef struct nf_tiles_ahead {
    nf_squares from;
    nf_tile at;           /* the first square of the band that is next, */
    int64_t tiles_left;   /* squares from there on, in all bands, */
    const float *line;    /* the cache line in the band, */
    int64_t lines, row;   /* lines that are left of its row, and that row's number; */
    int64_t rows, length; /* what of its rows, and of each, lies in the image */
    int64_t rows_left;    /* of all bands, the present row included */
    int64_t each;         /* lines that are asked for at a time */
} nf_tiles_ahead;

/* The `share`-th of `shares` shares of the squares of `count` tiles, the first with index `first`; to be asked for
 * `times` times. */
nf_tiles_ahead nf_tiles_ahead_share(const nf_winograd_tiles *tiles, nf_squares from, int64_t first, int64_t count,
                                    int64_t share, int64_t shares, int64_t times);

/* Asks for one part of it. */
void nf_tiles_ask_now(const nf_winograd_tiles *tiles, nf_tiles_ahead *ahead);

/* The same if there is something left. The parts are to be small and apart from each other: processors drop what they
 * are asked for while some twenty lines are under way. */
static inline void nf_tiles_ask(const nf_winograd_tiles *tiles, nf_tiles_ahead *ahead) {
    if (ahead->rows_left > 0)
        nf_tiles_ask_now(tiles, ahead);
}

#endif
