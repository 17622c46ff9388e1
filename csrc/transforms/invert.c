/* The negative. Source: Pillow, ImageOps.invert; torchvision, RandomInvert. */
#include "bytes.h"
#include "deep.h"
#include "transform.h"

#include <math.h>

static void invert(uint8_t *out, const uint8_t *in, size_t n, const void *arguments) {
    (void)arguments;
    nf_kernel->invert_from(out, in, 0, n);
}

nf_status nf_invert(void *out, const void *images, nf_images shape) {
    if (shape.type != NF_PIXEL_BYTE)
        return nf_deep_adjust(out, images, shape, nf_deep_view_invert, -INFINITY);
    return nf_map_bytes(out, images, shape, invert, NULL);
}

static void apply(nf_view *view, const nf_transform *transform, const void *record) {
    (void)transform;
    if (((const nf_switch *)record)->applied)
        nf_view_map_bytes(view, invert, NULL);
}

const nf_transform_type nf_invert_type = {.draw_size = sizeof(nf_switch),
                                          .check = nf_check_probability,
                                          .draw = nf_draw_switch,
                                          .check_draw = nf_check_any_draw,
                                          .apply = apply};
