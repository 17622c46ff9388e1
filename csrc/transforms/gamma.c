/* Gamma correction. Source: torchvision, adjust_gamma. */
#include "bytes.h"

#include <math.h>

nf_status nf_adjust_gamma(uint8_t *out, const uint8_t *images, nf_images shape, double gamma, double gain) {
    if (!(gamma >= 0 && isfinite(gamma)))
        return nf_fail(NF_BAD_VALUE, "gamma must be finite and >= 0, got %g", gamma);
    if (!(gain >= 0 && gain <= 1e6))
        return nf_fail(NF_BAD_VALUE, "gain must be in 0..1e6, got %g", gain);
    uint8_t table[256];
    for (int x = 0; x < 256; x++) {
        double value = 255.999 * gain * pow(x / 255.0, gamma);
        table[x] = (uint8_t)(value < 255 ? value : 255);
    }
    return nf_map_bytes(out, images, shape, nf_look_up, table);
}
