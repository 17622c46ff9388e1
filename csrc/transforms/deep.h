/* Views of images with more than 8 bits a value, uint16 or float32: deep.c runs recipes on them, deep_resize.c,
 * deep_geometry.c, deep_color.c and deep_filter.c have their operations.
 *
 * All is computed in float32, with the formulas of torchvision's transforms of tensors, and nothing is rounded on the
 * way. White is 65535 or 1; what the operations give in 0..255 (fills, thresholds) is scaled to that. Plain loops,
 * compiled once, so that all instruction sets give the same bits. */
#ifndef NF_TRANSFORMS_DEEP_H
#define NF_TRANSFORMS_DEEP_H

#include "view.h"

/* What apply needs besides the recipe, whose records are known to fit the images. */
typedef struct nf_deep_job {
    float *out;
    nf_view_layout layout;
    const nf_recipe *recipe;
    const nf_image *images;
    const char *records;
    size_t record_size;
    int64_t count;
    float white;
    const float *scale, *offset; /* (channels) */
} nf_deep_job;

/* Are all of the recipe's transforms such as work on these images? */
nf_status nf_deep_check(const nf_recipe *recipe);

/* Makes the views. Float pixels must be finite, at most 1e30 in size. */
nf_status nf_deep_apply(const nf_deep_job *job);

/* ---- One view, while operations work on it ---- */

/* While `source` is set, the image is still the caller's, and nothing is in `pixels`. Operations that can't work in
 * place write to `spare`, which has the same room. */
typedef struct nf_deep_view {
    const void *source;
    nf_pixel_type type;
    float *pixels, *spare; /* interleaved */
    void *scratch;         /* as much as the operation asks for */
    int64_t height, width, channels;
    float white;
} nf_deep_view;

/* n values of the image, from the first on, wherever it is. */
void nf_deep_read(float *out, const nf_deep_view *view, int64_t first, int64_t n);

/* Fills `pixels`, if that has not been done yet. */
void nf_deep_load(nf_deep_view *view);

/* `spare` has become the image, of this size. */
void nf_deep_swap(nf_deep_view *view, nf_extent size);

/* The value in units of `white` of one in 0..255, for a channel. */
float nf_deep_color(const nf_deep_view *view, const nf_colors *colors, int64_t channel);

/* Values below black, above white and not numbers: to the limits. */
static inline float nf_deep_clamp(float x, float white) {
    return x > 0 ? x < white ? x : white : 0;
}

/* ---- The operations ---- */

typedef void nf_deep_operation(nf_deep_view *view, const nf_transform *transform, const void *record);
nf_deep_operation nf_deep_crop, nf_deep_resize, nf_deep_flip, nf_deep_vertical_flip, nf_deep_random_crop;
nf_deep_operation nf_deep_center_crop, nf_deep_rotate, nf_deep_affine, nf_deep_perspective, nf_deep_erase;
nf_deep_operation nf_deep_cutout, nf_deep_jigsaw, nf_deep_jitter, nf_deep_grayscale, nf_deep_solarize, nf_deep_invert;
nf_deep_operation nf_deep_autocontrast, nf_deep_noise, nf_deep_blur, nf_deep_sharpen;

/* Bytes of scratch that they need. */
typedef size_t nf_deep_scratch_size(const nf_transform *transform, nf_extent in, int64_t channels);
nf_deep_scratch_size nf_deep_crop_scratch, nf_deep_resize_scratch, nf_deep_warp_scratch, nf_deep_blur_scratch;

#endif
