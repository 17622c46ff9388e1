/* Warps: each pixel of the result is sampled where a map from the result to the image says. Shared by rotate.c,
 * affine.c and perspective.c. Source: Pillow, src/libImaging/Geometry.c. */
#ifndef NF_TRANSFORMS_WARP_H
#define NF_TRANSFORMS_WARP_H

#include "interleaved.h"

/* Positions are those of corners: the pixel (0, 0) has its centre at (1/2, 1/2). Affine maps leave the last two numbers
 * 0: u = (m0 x + m1 y + m2) / (m6 x + m7 y + 1), v = (m3 x + m4 y + m5) / (m6 x + m7 y + 1). */
typedef struct nf_map {
    double m[8];
} nf_map;

typedef struct nf_warp {
    nf_projection projection;
    nf_extent in, out;
    int64_t channels;
    nf_interpolation interpolation;
    nf_fill fill;
    const int32_t *columns, *rows; /* nearest neighbours, no rotation: where they come from, or outside */
    bool affine, stepwise;
    int32_t x_start, y_start, x_down, y_down; /* stepwise, in 2^-16 pixels */
} nf_warp;

/* Bytes of the tables that a warp may need. */
size_t nf_warp_scratch_size(nf_extent out);

/* `scratch` must live as long as the warp, as must the fill. */
nf_warp nf_warp_prepare(nf_map map, nf_extent in, nf_extent out, int64_t channels, nf_interpolation interpolation,
                        nf_fill fill, void *scratch);

void nf_warp_rows(uint8_t *out, const uint8_t *image, int64_t begin, int64_t count, const void *warp);

/* Checks and runs a warp on a batch of any type, or on a view with its scratch memory. */
nf_status nf_warp_images(void *out, nf_extent size, const void *images, nf_images shape, nf_map map,
                         nf_interpolation interpolation, const void *fill, int64_t fill_count);
void nf_view_warp(nf_view *view, nf_extent size, nf_map map, nf_interpolation interpolation, nf_fill fill);

/* The maps that recipes' draws stand for. A rotation returns how many quarter turns it is, or -1 and a map. */
int nf_rotation_map(nf_map *map, double angle, nf_extent in);
nf_map nf_affine_map(const nf_affine_draw *drawn, nf_extent in);
nf_status nf_perspective_map(nf_map *map, const nf_perspective_draw *drawn, nf_extent in);

nf_status nf_check_warp_images(int64_t height, int64_t width, int64_t channels);
nf_status nf_check_interpolation(nf_interpolation interpolation);
nf_status nf_check_center(const double *center); /* (x, y), or NULL: the middle */

/* Where n pixels of nearest-neighbour scaling come from, origin + step / 2 being the first one's position, added up as
 * Pillow does. */
void nf_scale_table(int32_t *table, double origin, double step, int64_t n, int64_t size);

#endif
