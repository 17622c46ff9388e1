/* Posterisation: keeps the upper bits. Source: Pillow, ImageOps.posterize; torchvision, RandomPosterize. */
#include "bytes.h"
#include "transform.h"

static nf_status check_bits(int64_t bits) {
    if (bits < 0 || bits > 8)
        return nf_fail(NF_BAD_VALUE, "bits must be in 0..8, got %lld", (long long)bits);
    return NF_OK;
}

static void posterize(uint8_t *out, const uint8_t *in, size_t n, const void *bits) {
    nf_kernel->mask_bytes(out, in, (uint8_t)(0xff00 >> *(const int64_t *)bits), n);
}

nf_status nf_posterize(uint8_t *out, const uint8_t *images, nf_images shape, int64_t bits) {
    NF_TRY(check_bits(bits));
    return nf_map_bytes(out, images, shape, posterize, &bits);
}

static nf_status check(const nf_transform *transform) {
    NF_TRY(nf_check_probability(transform));
    return check_bits(transform->posterize.bits);
}

static void apply(nf_view *view, const nf_transform *transform, const void *record) {
    if (((const nf_switch *)record)->applied)
        nf_view_map_bytes(view, posterize, &transform->posterize.bits);
}

const nf_transform_type nf_posterize_type = {.draw_size = sizeof(nf_switch),
                                             .check = check,
                                             .draw = nf_draw_switch,
                                             .check_draw = nf_check_any_draw,
                                             .apply = apply};
