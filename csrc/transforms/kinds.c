/* The kinds of transforms: a row for each. */
#include "transform.h"

const nf_transform_type *const nf_transform_types[] = {
    [NF_RANDOM_RESIZED_CROP] = &nf_crop_type,
    [NF_HORIZONTAL_FLIP] = &nf_flip_type,
    [NF_COLOR_JITTER] = &nf_jitter_type,
    [NF_GRAYSCALE] = &nf_grayscale_type,
    [NF_GAUSSIAN_BLUR] = &nf_blur_type,
    [NF_SOLARIZE] = &nf_solarize_type,
    [NF_POSTERIZE] = &nf_posterize_type,
    [NF_INVERT] = &nf_invert_type,
    [NF_AUTOCONTRAST] = &nf_autocontrast_type,
    [NF_EQUALIZE] = &nf_equalize_type,
    [NF_SHARPNESS] = &nf_sharpness_type,
    [NF_PILLOW_BLUR] = &nf_pillow_blur_type,
    [NF_GAUSSIAN_NOISE] = &nf_noise_type,
    [NF_CUTOUT] = &nf_cutout_type,
    [NF_JIGSAW] = &nf_jigsaw_type,
    [NF_VERTICAL_FLIP] = &nf_vertical_flip_type,
    [NF_RANDOM_ROTATION] = &nf_rotation_type,
    [NF_RANDOM_AFFINE] = &nf_affine_type,
    [NF_RANDOM_PERSPECTIVE] = &nf_perspective_type,
    [NF_RANDOM_CROP] = &nf_random_crop_type,
    [NF_RANDOM_ERASING] = &nf_erasing_type,
    [NF_RESIZE] = &nf_resize_type,
    [NF_CENTER_CROP] = &nf_center_crop_type,
};
enum { KINDS = sizeof nf_transform_types / sizeof *nf_transform_types };

nf_status nf_transform_check(const nf_transform *transform) {
    if ((int)transform->kind < 0 || transform->kind >= (int)KINDS || !nf_transform_types[transform->kind])
        return nf_fail(NF_BAD_VALUE, "unknown kind of transform: %d", (int)transform->kind);
    return nf_transform_types[transform->kind]->check(transform);
}
