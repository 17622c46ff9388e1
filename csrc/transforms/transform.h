/* What a recipe needs to know of each kind of transform. One row per kind in kinds.c. */
#ifndef NF_TRANSFORMS_TRANSFORM_H
#define NF_TRANSFORMS_TRANSFORM_H

#include "../core/random.h"
#include "view.h"

typedef struct nf_transform_type {
    size_t draw_size; /* a multiple of 8; 0: it draws nothing */
    /* Are the transform's values in range? */
    nf_status (*check)(const nf_transform *transform);
    /* Can it work on images of this size, and of what size is the result? NULL: on all, and the same. */
    nf_status (*plan)(nf_extent *out, const nf_transform *transform, nf_extent in, int64_t channels);
    size_t (*scratch_size)(const nf_transform *transform, nf_extent in, int64_t channels); /* NULL: none */
    size_t (*slot_size)(const nf_transform *transform, nf_extent in); /* of taps that are kept; NULL: none */
    void (*draw)(void *record, const nf_transform *transform, nf_extent in, nf_random *random);
    /* Can this draw, which may come from anywhere, be carried out? */
    nf_status (*check_draw)(const void *record, const nf_transform *transform, nf_extent in);
    void (*apply)(nf_view *view, const nf_transform *transform, const void *draw);
} nf_transform_type;

extern const nf_transform_type nf_crop_type, nf_flip_type, nf_jitter_type, nf_grayscale_type, nf_blur_type;
extern const nf_transform_type nf_solarize_type, nf_posterize_type, nf_invert_type, nf_autocontrast_type;
extern const nf_transform_type nf_equalize_type, nf_sharpness_type, nf_pillow_blur_type, nf_noise_type;
extern const nf_transform_type nf_cutout_type, nf_jigsaw_type;
extern const nf_transform_type nf_vertical_flip_type, nf_rotation_type, nf_affine_type, nf_perspective_type;
extern const nf_transform_type nf_random_crop_type, nf_erasing_type, nf_resize_type, nf_center_crop_type;

extern const nf_transform_type *const nf_transform_types[]; /* by kind, of those that nf_transform_check accepts */

/* Parts of the types, in transform.c. */
nf_status nf_check_range(nf_range range, const char *name, double least, double most);
nf_status nf_check_probability(const nf_transform *transform);
nf_status nf_check_any_draw(const void *record, const nf_transform *transform,
                            nf_extent in); /* nf_switch: all are fine */
nf_status nf_check_colors(const nf_colors *colors);
nf_status nf_check_box(nf_box box, nf_extent in); /* of at least one pixel */
nf_status nf_need_color(const nf_transform *transform, int64_t channels, const char *name);
double nf_draw_range(nf_range range, nf_random *random);
void nf_draw_switch(void *record, const nf_transform *transform, nf_extent in, nf_random *random);
void nf_draw_nothing(void *record, const nf_transform *transform, nf_extent in, nf_random *random);

/* exp(-distance^2 / (2 sigma^2)), a filter's weight but for a factor. */
double nf_gaussian(int64_t distance, double sigma);

/* What stands for place i of n where the ends are reflected without repeating them; -n < i < 2 n - 1. */
int64_t nf_reflect(int64_t i, int64_t n);

/* Operations on a view that several files use. */
size_t nf_crop_scratch_size(nf_extent in, int64_t channels, nf_extent out);
void nf_view_crop(nf_view *view, nf_box box, nf_extent out, nf_interpolation interpolation, bool mirror);
void nf_view_blend(nf_view *view, float base, double factor); /* base + factor (x - base) */
void nf_view_brightness(nf_view *view, double factor);
void nf_view_contrast(nf_view *view, double factor);
void nf_view_saturation(nf_view *view, double factor);
void nf_view_hue(nf_view *view, double factor);
/* `pixel`: bytes of a pixel. */
void nf_permute_tiles(uint8_t *out, const uint8_t *in, nf_extent size, size_t pixel, const uint8_t *order, size_t grid);
nf_extent nf_resized_extent(const nf_transform *transform, nf_extent in); /* of an NF_RESIZE */
nf_box nf_center_box(const nf_transform *transform, nf_extent in);        /* of an NF_CENTER_CROP */
int64_t nf_padding_place(int64_t i, int64_t n, nf_padding_mode mode); /* the pixel at place i, -1: the fill's value */
nf_status nf_check_factor(double factor, const char *name);
nf_status nf_check_hue(double factor);
nf_status nf_check_color(nf_images shape, const char *operation);

#endif
