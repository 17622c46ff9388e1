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

/* A sum and what is beyond it are a pair, which the two halves of the weights' bits multiply one after the other. */
typedef struct pair_weights {
    vint low, high;
} pair_weights;

enum { LOW_BITS = 12, LOW = (1 << LOW_BITS) - 1 };

NF_INLINE pair_weights make_pair_weights(uint32_t weight, uint32_t edge_weight) {
    return (pair_weights){vi_set((int32_t)((edge_weight & LOW) << 16 | (weight & LOW))),
                          vi_set((int32_t)(edge_weight >> LOW_BITS << 16 | weight >> LOW_BITS))};
}

NF_INLINE vint weigh_pairs(vint sums, vint beyond, pair_weights weights) {
    vint totals[2], pairs[2] = {vs_pairs_low(sums, beyond), vs_pairs_high(sums, beyond)};
    NF_UNROLL
    for (int i = 0; i < 2; i++) {
        vuint more = (vuint)vi_sum_products(pairs[i], weights.high) << LOW_BITS;
        totals[i] = (vint)(((vuint)vi_sum_products(pairs[i], weights.low) + more + vu_set(1u << 23)) >> 24);
    }
    return vs_from_pairs(totals[0], totals[1]);
}

/* If the radius is whole, the weights amount to a division by the number of pixels, 2 radius + 1, rounded to nearest;
 * and that, of sums below 2^15, to a product with 2^(16 + shift) / divisor, rounded up. */
typedef struct divider {
    vint half, inverse;
    int shift;
} divider;

NF_INLINE divider make_divider(size_t radius) {
    uint32_t divisor = 2 * (uint32_t)radius + 1;
    int shift = 31 - __builtin_clz(divisor);
    uint32_t inverse = (1u << (16 + shift)) / divisor + 1;
    return (divider){vs_set((int16_t)radius), vs_set((int16_t)(uint16_t)inverse), shift};
}

NF_INLINE vint divide(vint sums, divider by) {
    return vs_shift_right(vs_mul_high(vs_add(sums, by.half), by.inverse), by.shift);
}

/* The same for sums below 2^15, with twice as many in a vector. */
NF_INLINE void box_columns_short(uint8_t *out, const uint8_t *in, size_t stride, size_t rows, size_t radius,
                                 uint32_t weight, uint32_t edge_weight, const bool whole) {
    pair_weights weights = make_pair_weights(weight, edge_weight);
    divider by = make_divider(radius);
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
            vint mean = whole ? divide(sums[v], by) : weigh_pairs(sums[v], vs_add(edges[v], next), weights);
            vs_store_bytes(out + y * stride + v * SHORTS, mean);
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
        bool whole = weight == (1u << 24) / (2 * radius + 1);
        for (size_t x = 0; x < columns; x += SHORT_VECTORS * SHORTS)
            if (whole)
                box_columns_short(out + x, in + x, stride, rows, radius, weight, edge_weight, true);
            else
                box_columns_short(out + x, in + x, stride, rows, radius, weight, edge_weight, false);
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
