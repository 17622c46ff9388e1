/* Brightness: a blend with black. Source: Pillow, ImageEnhance.Brightness. */
#include "bytes.h"
#include "deep.h"
#include "transform.h"

nf_status nf_check_factor(double factor, const char *name) {
    if (!(factor >= 0 && factor <= 1e6))
        return nf_fail(NF_BAD_VALUE, "%s must be in 0..1e6, got %g", name, factor);
    return NF_OK;
}

typedef struct blend {
    float base, factor;
} blend;

static void blend_bytes(uint8_t *out, const uint8_t *in, size_t n, const void *arguments) {
    const blend *with = arguments;
    nf_kernel->blend_constant(out, in, with->base, with->factor, n);
}

void nf_view_blend(nf_view *view, float base, double factor) {
    nf_view_map_bytes(view, blend_bytes, &(blend){base, (float)factor});
}

void nf_view_brightness(nf_view *view, double factor) {
    nf_view_blend(view, 0, factor);
}

nf_status nf_adjust_brightness(void *out, const void *images, nf_images shape, double factor) {
    NF_TRY(nf_check_factor(factor, "factor"));
    if (shape.type != NF_PIXEL_BYTE)
        return nf_deep_adjust(out, images, shape, nf_deep_view_brightness, factor);
    return nf_map_bytes(out, images, shape, blend_bytes, &(blend){0, (float)factor});
}
