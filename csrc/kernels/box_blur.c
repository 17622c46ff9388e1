/* A box filter down the columns, by running sums: its cost does not depend on the radius. All numbers are whole. */
#include "kernels.h"
#include "pixels.h"

typedef uint32_t vuint __attribute__((vector_size(4 * NF_WIDTH)));

enum { VECTORS = 4 };

NF_INLINE vuint vu_set(uint32_t a) {
    return a - (vuint){0};
}

/* out[y] = (weight * sum of the pixels at most radius away + edge_weight * the two just beyond) / 2^24, rounded;
 * beyond the borders the last pixel goes on. */
NF_INLINE void box_columns_block(uint8_t *out, const uint8_t *in, size_t stride, size_t rows, size_t radius,
                                 uint32_t weight, uint32_t edge_weight) {
    size_t last = rows - 1;
    vuint sums[VECTORS], edges[VECTORS];
    NF_UNROLL
    for (int v = 0; v < VECTORS; v++) {
        edges[v] = (vuint)vi_load_bytes(in + v * NF_WIDTH);
        sums[v] = edges[v] * vu_set((uint32_t)radius + 1);
    }
    for (size_t y = 1; y <= radius && y < last; y++) {
        NF_UNROLL
        for (int v = 0; v < VECTORS; v++)
            sums[v] += (vuint)vi_load_bytes(in + y * stride + v * NF_WIDTH);
    }
    size_t beyond = last > 1 ? last : 1; /* from here on it is the last row */
    uint32_t repeats = radius < beyond ? 0 : (uint32_t)(radius - beyond + 1);
    NF_UNROLL
    for (int v = 0; v < VECTORS; v++)
        sums[v] += (vuint)vi_load_bytes(in + last * stride + v * NF_WIDTH) * vu_set(repeats);
    for (size_t y = 0; y < rows; y++) {
        const uint8_t *leaving = in + (y > radius ? y - radius : 0) * stride;
        const uint8_t *coming = in + (last - y > radius ? y + radius + 1 : last) * stride;
        NF_UNROLL
        for (int v = 0; v < VECTORS; v++) {
            vuint next = (vuint)vi_load_bytes(coming + v * NF_WIDTH),
                  old = (vuint)vi_load_bytes(leaving + v * NF_WIDTH);
            vuint total = sums[v] * vu_set(weight) + (edges[v] + next) * vu_set(edge_weight) + vu_set(1u << 23);
            vi_store_bytes(out + y * stride + v * NF_WIDTH, (vint)(total >> 24));
            sums[v] += next - old;
            edges[v] = old;
        }
    }
}

void NF_KERNEL(box_columns)(uint8_t *out, const uint8_t *in, size_t stride, size_t rows, size_t columns, size_t radius,
                            uint32_t weight, uint32_t edge_weight) {
    for (size_t x = 0; x < columns; x += VECTORS * NF_WIDTH)
        box_columns_block(out + x, in + x, stride, rows, radius, weight, edge_weight);
}

/* 16 x 16 bytes: four times, the first half of the rows is interleaved with the second. */
NF_INLINE void transpose_block(uint8_t *out, size_t out_stride, const uint8_t *const rows[16]) {
    bytes16 a[16], b[16];
    NF_UNROLL
    for (int i = 0; i < 16; i++)
        memcpy(&a[i], rows[i], 16);
    NF_UNROLL
    for (int round = 0; round < 4; round++) {
        NF_UNROLL
        for (int i = 0; i < 8; i++) {
            b[2 * i] = interleave_low(a[i], a[i + 8]);
            b[2 * i + 1] = interleave_high(a[i], a[i + 8]);
        }
        NF_UNROLL
        for (int i = 0; i < 16; i++)
            a[i] = b[i];
    }
    NF_UNROLL
    for (size_t i = 0; i < 16; i++)
        memcpy(out + i * out_stride, &a[i], 16);
}

void NF_KERNEL(transpose_bytes)(uint8_t *out, size_t out_stride, const uint8_t *in, size_t in_stride, size_t rows,
                                size_t columns) {
    for (size_t y = 0; y < rows; y += 16)
        for (size_t x = 0; x < columns; x += 16) {
            const uint8_t *from[16];
            for (size_t i = 0; i < 16; i++)
                from[i] = in + (y + i < rows ? y + i : rows - 1) * in_stride + x;
            transpose_block(out + x * out_stride + y, out_stride, from);
        }
}
