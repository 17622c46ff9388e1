/* The product behind a convolution: rows of pixels gathered from a batch of images, times packed weights.
 *
 *   out[point] (+)= bias + sum over taps (i, j) of source[gy stride + offset_h + i][gx stride + offset_w + j] W[i][j]
 *
 * for every point (gy, gx) of a grid over every image; pixels outside the source count as zero. A convolution forwards
 * is one such product; its gradient with respect to the input is one for each phase of the stride (conv.c). */
#ifndef NF_NN_GATHER_H
#define NF_NN_GATHER_H

#include "../core/status.h"
#include "around.h"

/* Points that are handled together: few enough for the cache. */
enum { NF_ROW_BLOCK = 96 };

typedef struct nf_gather {
    int64_t images, groups; /* the images fall into `groups` equal runs; no block spans two of them */
    const float *source;    /* (images, source_h, source_w, channels) */
    int64_t source_h, source_w, channels;
    int64_t taps_h, taps_w, stride, offset_h, offset_w;
    float *out; /* (images, out_h, out_w, columns) */
    int64_t out_h, out_w, columns;
    int64_t grid_h, grid_w, first_h, first_w,
        step;          /* point (gy, gx) is pixel (first_h + gy step, first_w + gx step) of out */
    const float *bias; /* (columns), or NULL */
    bool accumulate;   /* add to what is in out */
    nf_before before;  /* what is to be done to the source: of a single tap, with stride 1 and without offset */
    nf_behind behind;  /* whole blocks of out: step must be 1 if there is something */
    float *panels;     /* packed weights, nf_gather_panels_size floats */
    float *rows;       /* per worker, nf_gather_rows_size floats */
    int workers;
} nf_gather;

int64_t nf_gather_blocks(const nf_gather *gather); /* in each group */
size_t nf_gather_panels_size(const nf_gather *gather);
size_t nf_gather_rows_size(const nf_gather *gather);

/* Packs the weights: taps[t] is the (channels, columns) matrix of tap t with row stride `stride`; if `transposed`, its
 * transpose, (columns, channels). */
nf_status nf_gather_pack(const nf_gather *gather, const float *const *taps, int64_t stride, bool transposed);

nf_status nf_gather_run(const nf_gather *gather);

/* Hands taps t0..t1-1 of the window at (y, x) of `image` to put(target, depth, position, run, n), as runs of numbers
 * that lie side by side in the image; run is NULL outside it. Shared with the gradient of the weights. */
typedef void (*nf_put_run)(float *target, size_t depth, size_t position, const float *run, size_t n);
void nf_gather_window(const nf_gather *gather, const float *image, int64_t y, int64_t x, int64_t t0, int64_t t1,
                      nf_put_run put, float *target, size_t depth);

#endif
