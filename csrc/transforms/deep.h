/* Images with more than 8 bits a value, uint16 or float32: deep_recipe.c runs recipes on them, deep.c single
 * operations; deep_resize.c, deep_geometry.c, deep_color.c and deep_filter.c have the operations.
 *
 * All is computed in float32, with the formulas of torchvision's transforms of tensors, and nothing is rounded on the
 * way. White is 65535 or 1; what operations of recipes give in 0..255 (fills, thresholds) is scaled to that. Plain
 * loops, compiled once, so that all instruction sets give the same bits.
 *
 * Single operations that only move pixels do not come here: they move them as pixels of more bytes. */
#ifndef NF_TRANSFORMS_DEEP_H
#define NF_TRANSFORMS_DEEP_H

#include "warp.h"

/* What apply needs besides the recipe, whose records are known to fit the images. */
typedef struct nf_deep_job {
    float *out;
    nf_view_layout layout;
    const nf_recipe *recipe;
    const nf_image *images;
    const char *records;
    size_t record_size;
    int64_t count;
    const float *scale, *offset; /* (channels) */
} nf_deep_job;

/* Are all of the recipe's transforms such as work on these images? */
nf_status nf_deep_check(const nf_recipe *recipe);

/* Makes the views. Float pixels must be finite, at most 1e30 in size. */
nf_status nf_deep_apply(const nf_deep_job *job);

/* The number that is white, 255 for bytes. */
double nf_white(nf_pixel_type type);

/* ---- One view, while operations work on it ---- */

/* While `source` is set, the image is still the caller's, and nothing is in `pixels`. Operations that can't work in
 * place write to `spare`, which has the same room. */
typedef struct nf_deep_view {
    const void *source;
    nf_pixel_type type;
    float *pixels, *spare; /* interleaved */
    void *scratch;         /* as much as the operation asks for */
    int64_t height, width, channels;
    int64_t number; /* of the image in the batch of nf_deep_map_images */
    float white;
} nf_deep_view;

/* n values of the image, from the first on, wherever it is. */
void nf_deep_read(float *out, const nf_deep_view *view, int64_t first, int64_t n);

/* Fills `pixels`, if that has not been done yet. */
void nf_deep_load(nf_deep_view *view);

/* `spare` has become the image, of this size. */
void nf_deep_swap(nf_deep_view *view, nf_extent size);

/* The most that a view needs: floats of pixels, bytes of scratch. */
typedef struct nf_deep_room {
    size_t pixels, scratch;
} nf_deep_room;

/* The workers' memory: two buffers of pixels and scratch each, in one block for nf_free; none after a failure. */
nf_status nf_deep_views_alloc(nf_deep_view views[NF_MAX_THREADS], void **memory, int workers, nf_deep_room room,
                              nf_pixel_type type, int64_t channels);

/* The value of pixels that have none of their own: one for all channels (count 1) or one for each. */
typedef struct nf_deep_fill {
    const float *values;
    int64_t count;
} nf_deep_fill;

/* Values below black, above white and not numbers: to the limits. */
static inline float nf_deep_clamp(float x, float white) {
    return x > 0 ? x < white ? x : white : 0;
}

/* ---- Operations on a view ---- */

void nf_deep_view_resize(nf_deep_view *view, nf_box box, nf_extent out, nf_interpolation interpolation);
void nf_deep_view_warp(nf_deep_view *view, nf_extent out, nf_map map, nf_interpolation interpolation,
                       nf_deep_fill fill);
void nf_deep_view_brightness(nf_deep_view *view, double factor);
void nf_deep_view_contrast(nf_deep_view *view, double factor);
void nf_deep_view_saturation(nf_deep_view *view, double factor);
void nf_deep_view_hue(nf_deep_view *view, double turns);
void nf_deep_view_gamma(nf_deep_view *view, double gamma, double gain);
void nf_deep_view_luma(nf_deep_view *view, int64_t channels);   /* as many channels, 1 or 3, remain */
void nf_deep_view_invert(nf_deep_view *view, double threshold); /* values from the threshold on */
void nf_deep_view_autocontrast(nf_deep_view *view);
void nf_deep_view_noise(nf_deep_view *view, double mean, double sigma, uint64_t seed, uint64_t index);
void nf_deep_view_blur(nf_deep_view *view, int64_t kernel_height, int64_t kernel_width, double sigma_y, double sigma_x);
void nf_deep_view_sharpness(nf_deep_view *view, double factor);

/* Bytes of scratch that they need. */
size_t nf_deep_resize_size(nf_extent in, nf_extent out, int64_t channels, nf_interpolation interpolation);
size_t nf_deep_blur_size(nf_extent in, int64_t channels, int64_t kernel_height, int64_t kernel_width);

/* ---- On a batch ---- */

/* Runs `operation` on each image, in parallel, and writes the results, each out_size values, in the images' type:
 * uint16_t are rounded and clipped. `room`: the most values on the way; `scratch_size`: bytes of view->scratch. */
typedef void (*nf_deep_image_operation)(nf_deep_view *view, const void *arguments);
nf_status nf_deep_map_images(void *out, int64_t out_size, const void *images, nf_images shape, int64_t room,
                             size_t scratch_size, nf_deep_image_operation operation, const void *arguments);

/* The same for an operation that takes a number, or that takes none, and leaves the shape as it is. */
nf_status nf_deep_adjust(void *out, const void *images, nf_images shape, void (*operation)(nf_deep_view *, double),
                         double factor);
nf_status nf_deep_map_alike(void *out, const void *images, nf_images shape, size_t scratch_size,
                            nf_deep_image_operation operation, const void *arguments);

/* n values of an array of the given type. */
void nf_deep_convert(float *out, const void *in, nf_pixel_type type, int64_t first, int64_t n);

/* ---- Operations of recipes ---- */

typedef void nf_deep_operation(nf_deep_view *view, const nf_transform *transform, const void *record);
nf_deep_operation nf_deep_crop, nf_deep_resize, nf_deep_flip, nf_deep_vertical_flip, nf_deep_random_crop;
nf_deep_operation nf_deep_center_crop, nf_deep_rotate, nf_deep_affine, nf_deep_perspective, nf_deep_erase;
nf_deep_operation nf_deep_cutout, nf_deep_jigsaw, nf_deep_jitter, nf_deep_grayscale, nf_deep_solarize, nf_deep_invert;
nf_deep_operation nf_deep_autocontrast, nf_deep_noise, nf_deep_blur, nf_deep_sharpen;

typedef size_t nf_deep_scratch_size(const nf_transform *transform, nf_extent in, int64_t channels);
nf_deep_scratch_size nf_deep_crop_scratch, nf_deep_resize_scratch, nf_deep_warp_scratch, nf_deep_blur_scratch;

#endif
