/* A blend with a smoothed image. */
#include "kernels.h"
#include "pixels.h"

/* The sum of three neighbours of each pixel in a row. */
NF_INLINE vint three(const uint8_t *p) {
    return vi_add(vi_add(vi_load_bytes(p - 1), vi_load_bytes(p)), vi_load_bytes(p + 1));
}

void NF_KERNEL(sharpen_row)(uint8_t *out, const uint8_t *above, const uint8_t *row, const uint8_t *below, float factor,
                            size_t n) {
    for (size_t x = 0; x < n; x += NF_WIDTH) {
        vint pixel = vi_load_bytes(row + x);
        vint sum = vi_add(vi_add(three(above + x), three(row + x)), three(below + x));
        sum = vi_add(sum, vi_mul(pixel, vi_set(4)));
        /* (sum + 6) / 13 rounds sum / 13, which is never halfway; times 5042 / 2^16 it is exact up to 13 * 255 */
        vint smooth = VI_SHIFT_RIGHT(vi_mul(vi_add(sum, vi_set(6)), vi_set(5042)), 16);
        v_store_bytes(out + x, v_blend(vi_to_real(smooth), vi_to_real(pixel), v_set(factor)));
    }
}
