/* Equalisation: makes the histogram of each channel as flat as whole levels can be. Source: Pillow,
 * ImageOps.equalize; torchvision, RandomEqualize. */
#include "bytes.h"
#include "transform.h"

static bool make_table(uint8_t table[256], const uint8_t *plane, size_t n) {
    uint32_t counts[256];
    nf_kernel->count_bytes(counts, plane, n);
    int last = 255;
    while (counts[last] == 0)
        last--;
    uint64_t step = (n - counts[last]) / 255;
    if (step == 0) /* one level only, or few pixels */
        return false;
    uint64_t below = step / 2;
    for (int x = 0; x <= last; x++) { /* no other value occurs */
        uint64_t level = below / step;
        table[x] = (uint8_t)(level < 255 ? level : 255);
        below += counts[x];
    }
    return true;
}

static void equalize_one(nf_view *view, const void *arguments) {
    (void)arguments;
    nf_view_map_channels(view, make_table);
}

nf_status nf_equalize(uint8_t *out, const uint8_t *images, nf_images shape) {
    return nf_map_images(out, (size_t)(shape.height * shape.width * shape.channels), images, shape,
                         (nf_extent){shape.height, shape.width}, 0, equalize_one, NULL);
}

static void apply(nf_view *view, const nf_transform *transform, const void *record) {
    (void)transform;
    if (((const nf_switch *)record)->applied)
        nf_view_map_channels(view, make_table);
}

const nf_transform_type nf_equalize_type = {.draw_size = sizeof(nf_switch),
                                            .check = nf_check_probability,
                                            .draw = nf_draw_switch,
                                            .check_draw = nf_check_any_draw,
                                            .apply = apply};
