/* Solarisation: inverts what is bright. Source: Pillow, ImageOps.solarize; torchvision, RandomSolarize. */
#include "bytes.h"
#include "deep.h"
#include "transform.h"

#include <math.h>
#include <string.h>

/* `most`: of the images' type. */
static nf_status check_threshold(double threshold, double most) {
    if (!(threshold >= 0 && threshold <= most))
        return nf_fail(NF_BAD_VALUE, "threshold must be in 0..%g, got %g", most, threshold);
    return NF_OK;
}

static void solarize(uint8_t *out, const uint8_t *in, size_t n, const void *threshold) {
    int from = (int)ceil(*(const double *)threshold);
    if (from <= 255)
        nf_kernel->invert_from(out, in, (uint8_t)from, n);
    else if (out != in)
        memcpy(out, in, n);
}

nf_status nf_solarize(void *out, const void *images, nf_images shape, double threshold) {
    if (shape.type == NF_PIXEL_FLOAT && !isfinite(threshold))
        return nf_fail(NF_BAD_VALUE, "threshold must be finite, got %g", threshold);
    if (shape.type != NF_PIXEL_FLOAT)
        NF_TRY(check_threshold(threshold, nf_white(shape.type) + 1));
    if (shape.type != NF_PIXEL_BYTE)
        return nf_deep_adjust(out, images, shape, nf_deep_view_invert, threshold);
    return nf_map_bytes(out, images, shape, solarize, &threshold);
}

static nf_status check(const nf_transform *transform) {
    NF_TRY(nf_check_probability(transform));
    return check_threshold(transform->solarize.threshold, 256);
}

static void apply(nf_view *view, const nf_transform *transform, const void *record) {
    if (((const nf_switch *)record)->applied)
        nf_view_map_bytes(view, solarize, &transform->solarize.threshold);
}

const nf_transform_type nf_solarize_type = {.draw_size = sizeof(nf_switch),
                                            .check = check,
                                            .draw = nf_draw_switch,
                                            .check_draw = nf_check_any_draw,
                                            .apply = apply};
