/* Gamma correction. Source: torchvision, adjust_gamma. */
#include "bytes.h"
#include "deep.h"

#include <math.h>

static void deep_gamma_one(nf_deep_view *view, const void *arguments) {
    const double *gamma = arguments;
    nf_deep_view_gamma(view, gamma[0], gamma[1]);
}

nf_status nf_adjust_gamma(void *out, const void *images, nf_images shape, double gamma, double gain) {
    if (!(gamma >= 0 && isfinite(gamma)))
        return nf_fail(NF_BAD_VALUE, "gamma must be finite and >= 0, got %g", gamma);
    if (!(gain >= 0 && gain <= 1e6))
        return nf_fail(NF_BAD_VALUE, "gain must be in 0..1e6, got %g", gain);
    if (shape.type != NF_PIXEL_BYTE)
        return nf_deep_map_alike(out, images, shape, 0, deep_gamma_one, (const double[]){gamma, gain});
    uint8_t table[256];
    for (int x = 0; x < 256; x++) {
        double value = 255.999 * gain * pow(x / 255.0, gamma);
        table[x] = (uint8_t)(value < 255 ? value : 255);
    }
    return nf_map_bytes(out, images, shape, nf_look_up, table);
}
