/* The two passes of a separable symmetric filter. Products and sums are rounded one by one, so that all instruction
 * sets give the same bits. */
#include "kernels.h"
#include "pixels.h"

void NF_KERNEL(bytes_to_floats)(float *out, const uint8_t *in, size_t n) {
    for (size_t i = 0; i < n; i += NF_WIDTH)
        v_store(out + i, v_load_bytes(in + i));
}

NF_INLINE void blur_columns_block(float *out, const float *const *rows, size_t x, const float *weights, size_t radius,
                                  int vectors) {
    vreal sums[4];
    NF_UNROLL
    for (int i = 0; i < vectors; i++)
        sums[i] = v_mul(v_load(rows[radius] + x + i * NF_WIDTH), v_set(weights[0]));
    for (size_t k = 1; k <= radius; k++) {
        const float *above = rows[radius - k] + x, *below = rows[radius + k] + x;
        vreal weight = v_set(weights[k]);
        NF_UNROLL
        for (int i = 0; i < vectors; i++) {
            vreal pair = v_add(v_load(above + i * NF_WIDTH), v_load(below + i * NF_WIDTH));
            sums[i] = v_add(sums[i], v_mul(pair, weight));
        }
    }
    NF_UNROLL
    for (int i = 0; i < vectors; i++)
        v_store(out + x + i * NF_WIDTH, sums[i]);
}

void NF_KERNEL(blur_columns)(float *out, const float *const *rows, const float *weights, size_t radius, size_t n) {
    size_t x = 0;
    for (; x + 4 * NF_WIDTH <= n; x += 4 * NF_WIDTH)
        blur_columns_block(out, rows, x, weights, radius, 4);
    for (; x < n; x += NF_WIDTH)
        blur_columns_block(out, rows, x, weights, radius, 1);
}

NF_INLINE void blur_row_block(uint8_t *out, const float *row, const float *weights, size_t radius, int vectors) {
    vreal sums[4];
    NF_UNROLL
    for (int i = 0; i < vectors; i++)
        sums[i] = v_mul(v_load(row + i * NF_WIDTH), v_set(weights[0]));
    for (size_t k = 1; k <= radius; k++) {
        vreal weight = v_set(weights[k]);
        NF_UNROLL
        for (int i = 0; i < vectors; i++) {
            vreal pair = v_add(v_load(row + i * NF_WIDTH - k), v_load(row + i * NF_WIDTH + k));
            sums[i] = v_add(sums[i], v_mul(pair, weight));
        }
    }
    NF_UNROLL
    for (int i = 0; i < vectors; i++)
        v_store_bytes(out + i * NF_WIDTH, v_round(sums[i]));
}

void NF_KERNEL(blur_row)(uint8_t *out, const float *row, const float *weights, size_t radius, size_t n) {
    size_t x = 0;
    for (; x + 4 * NF_WIDTH <= n; x += 4 * NF_WIDTH)
        blur_row_block(out + x, row + x, weights, radius, 4);
    for (; x < n; x += NF_WIDTH)
        blur_row_block(out + x, row + x, weights, radius, 1);
}
