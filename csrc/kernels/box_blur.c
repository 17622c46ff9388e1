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

#ifdef __AVX2__
#define NF_HAS_SHORTS
enum { SHORTS = 2 * NF_WIDTH, SHORT_VECTORS = 64 / SHORTS, MOST_SHORT_RADIUS = 63 };

/* The same for sums below 2^15, with twice as many in a vector. A sum and what is beyond it are a pair, which the two
 * halves of the weights' bits multiply one after the other. */
NF_INLINE void box_columns_short(uint8_t *out, const uint8_t *in, size_t stride, size_t rows, size_t radius,
                                 uint32_t weight, uint32_t edge_weight) {
    enum { LOW_BITS = 12, LOW = (1 << LOW_BITS) - 1 };
    vint low = vi_set((int32_t)((edge_weight & LOW) << 16 | (weight & LOW)));
    vint high = vi_set((int32_t)(edge_weight >> LOW_BITS << 16 | weight >> LOW_BITS)), half = vi_set(1 << 23);
    size_t last = rows - 1;
    vint sums[SHORT_VECTORS], edges[SHORT_VECTORS];
    NF_UNROLL
    for (int v = 0; v < SHORT_VECTORS; v++) {
        edges[v] = vs_load_bytes(in + v * SHORTS);
        sums[v] = vs_mul(edges[v], vs_set((int16_t)(radius + 1)));
    }
    for (size_t y = 1; y <= radius; y++) {
        NF_UNROLL
        for (int v = 0; v < SHORT_VECTORS; v++)
            sums[v] = vs_add(sums[v], vs_load_bytes(in + (y < last ? y : last) * stride + v * SHORTS));
    }
    for (size_t y = 0; y < rows; y++) {
        const uint8_t *leaving = in + (y > radius ? y - radius : 0) * stride;
        const uint8_t *coming = in + (last - y > radius ? y + radius + 1 : last) * stride;
        NF_UNROLL
        for (int v = 0; v < SHORT_VECTORS; v++) {
            vint next = vs_load_bytes(coming + v * SHORTS), old = vs_load_bytes(leaving + v * SHORTS);
            vint beyond = vs_add(edges[v], next), totals[2];
            vint pairs[2] = {vs_pairs_low(sums[v], beyond), vs_pairs_high(sums[v], beyond)};
            NF_UNROLL
            for (int i = 0; i < 2; i++) {
                vuint more = (vuint)vi_sum_products(pairs[i], high) << LOW_BITS;
                totals[i] = (vint)(((vuint)vi_sum_products(pairs[i], low) + more + (vuint)half) >> 24);
            }
            vs_store_bytes(out + y * stride + v * SHORTS, totals[0], totals[1]);
            sums[v] = vs_add(sums[v], vs_sub(next, old));
            edges[v] = old;
        }
    }
}
#endif

void NF_KERNEL(box_columns)(uint8_t *out, const uint8_t *in, size_t stride, size_t rows, size_t columns, size_t radius,
                            uint32_t weight, uint32_t edge_weight) {
#ifdef NF_HAS_SHORTS
    if (radius <= MOST_SHORT_RADIUS) {
        for (size_t x = 0; x < columns; x += SHORT_VECTORS * SHORTS)
            box_columns_short(out + x, in + x, stride, rows, radius, weight, edge_weight);
        return;
    }
#endif
    for (size_t x = 0; x < columns; x += VECTORS * NF_WIDTH)
        box_columns_block(out + x, in + x, stride, rows, radius, weight, edge_weight);
}

/* Blocks of ROWS rows and 16 columns. */
void NF_KERNEL(transpose_bytes)(uint8_t *out, size_t out_stride, const uint8_t *in, size_t in_stride, size_t rows,
                                size_t columns) {
    enum { ROWS = 4 * NF_WIDTH };
    for (size_t y = 0; y < rows; y += ROWS)
        for (size_t x = 0; x < columns; x += 16) {
            const uint8_t *from[ROWS];
            vint block[16];
            for (size_t i = 0; i < ROWS; i++)
                from[i] = in + (y + i < rows ? y + i : rows - 1) * in_stride + x;
            NF_UNROLL
            for (size_t i = 0; i < 16; i++)
                block[i] = vb_load_rows(from + i, 16);
            transpose_blocks(block);
            NF_UNROLL
            for (size_t i = 0; i < 16; i++)
                memcpy(out + (x + i) * out_stride + y, &block[i], sizeof block[i]);
        }
}
