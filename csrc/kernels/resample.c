/* Separable resampling of bytes with 22-bit weights, as Pillow does it (Resample.c). */
#include "kernels.h"
#include "pixels.h"

enum { ROWS = 16, SHIFT = NF_WEIGHT_BITS, HALF = 1 << (SHIFT - 1) };

/* `count` (1..16) rows of `width` bytes become `width` columns of 16; missing rows repeat the last one. */
static void gather_columns(uint8_t *columns, const uint8_t *source, size_t source_row, size_t count, size_t width) {
    for (size_t x = 0; x < width; x += 16) {
        size_t some = width - x < 16 ? width - x : 16;
        bytes16 block[ROWS];
        for (size_t i = 0; i < ROWS; i++) {
            const uint8_t *row = source + (i < count ? i : count - 1) * source_row + x;
            if (some == 16) {
                memcpy(&block[i], row, 16);
            } else {
                block[i] = (bytes16){0};
                memcpy(&block[i], row, some);
            }
        }
        transpose16(block);
        memcpy(columns + x * ROWS, block, sizeof block);
    }
}

/* The other way: `width` columns of 16 become `count` rows. */
static void scatter_columns(uint8_t *out, size_t out_row, const uint8_t *columns, size_t count, size_t width) {
    for (size_t x = 0; x < width; x += 16) {
        size_t some = width - x < 16 ? width - x : 16;
        bytes16 block[ROWS];
        memcpy(block, columns + x * ROWS, sizeof block);
        transpose16(block);
        for (size_t i = 0; i < count; i++)
            if (some == 16)
                memcpy(out + i * out_row + x, &block[i], 16);
            else
                memcpy(out + i * out_row + x, &block[i], some);
    }
}

enum { PARTS = ROWS / NF_WIDTH };

/* Weighted sums over `count` columns, `step` bytes apart, for `channels` (a constant) channels side by side. */
NF_INLINE void weigh_columns(uint8_t *out, size_t out_plane, const uint8_t *columns, size_t step,
                             const int32_t *weights, size_t count, size_t channels) {
    vint sums[3][PARTS];
    NF_UNROLL
    for (size_t c = 0; c < channels; c++)
        NF_UNROLL
    for (size_t part = 0; part < PARTS; part++)
        sums[c][part] = vi_set(HALF);
    for (size_t k = 0; k < count; k++) {
        vint weight = vi_set(weights[k]);
        NF_UNROLL
        for (size_t c = 0; c < channels; c++)
            NF_UNROLL
        for (size_t part = 0; part < PARTS; part++) {
            vint pixels = vi_load_bytes(columns + k * step + c * ROWS + part * NF_WIDTH);
            sums[c][part] = vi_add(sums[c][part], vi_mul(pixels, weight));
        }
    }
    NF_UNROLL
    for (size_t c = 0; c < channels; c++)
        NF_UNROLL
    for (size_t part = 0; part < PARTS; part++)
        vi_store_bytes(out + c * out_plane + part * NF_WIDTH, VI_SHIFT_RIGHT(sums[c][part], SHIFT));
}

/* The vectors run across 16 rows at a time, which are transposed on the way in and out. */
void NF_KERNEL(resample_rows)(uint8_t *out, size_t out_row, size_t out_plane, const uint8_t *source, size_t source_row,
                              size_t rows, size_t channels, const nf_taps *taps, uint8_t *scratch) {
    size_t width = (taps->end - taps->begin) * channels, padded = (taps->outputs + 15) / 16 * 16;
    uint8_t *in_columns = scratch, *out_columns = scratch + (width + 15) / 16 * 16 * ROWS;
    source += taps->begin * channels;
    for (size_t y = 0; y < rows; y += ROWS) {
        size_t count = rows - y < ROWS ? rows - y : ROWS;
        gather_columns(in_columns, source + y * source_row, source_row, count, width);
        for (size_t x = 0; x < taps->outputs; x++) {
            const int32_t *weights = taps->weights + x * taps->most;
            const uint8_t *first = in_columns + (taps->start[x] - taps->begin) * channels * ROWS;
            uint8_t *to = out_columns + x * ROWS;
            if (channels == 3) {
                weigh_columns(to, padded * ROWS, first, 3 * ROWS, weights, taps->count[x], 3);
                continue;
            }
            for (size_t c = 0; c < channels; c++)
                weigh_columns(to + c * padded * ROWS, 0, first + c * ROWS, channels * ROWS, weights, taps->count[x], 1);
        }
        for (size_t c = 0; c < channels; c++)
            scatter_columns(out + c * out_plane + y * out_row, out_row, out_columns + c * padded * ROWS, count,
                            taps->outputs);
    }
}

NF_INLINE void weigh_rows(uint8_t *out, const uint8_t *source, size_t source_row, const int32_t *weights, size_t count,
                          int vectors) {
    vint sums[4];
    NF_UNROLL
    for (int i = 0; i < vectors; i++)
        sums[i] = vi_set(HALF);
    for (size_t k = 0; k < count; k++) {
        vint weight = vi_set(weights[k]);
        NF_UNROLL
        for (int i = 0; i < vectors; i++)
            sums[i] = vi_add(sums[i], vi_mul(vi_load_bytes(source + k * source_row + i * NF_WIDTH), weight));
    }
    NF_UNROLL
    for (int i = 0; i < vectors; i++)
        vi_store_bytes(out + i * NF_WIDTH, VI_SHIFT_RIGHT(sums[i], SHIFT));
}

static void weigh_narrow_rows(uint8_t *out, const uint8_t *source, size_t source_row, size_t width,
                              const int32_t *weights, size_t count) {
    for (size_t x = 0; x < width; x++) {
        int32_t sum = HALF;
        for (size_t k = 0; k < count; k++)
            sum += source[k * source_row + x] * weights[k];
        sum >>= SHIFT;
        out[x] = (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
    }
}

void NF_KERNEL(resample_columns)(uint8_t *out, size_t out_row, const uint8_t *source, size_t source_row, size_t width,
                                 const nf_taps *taps) {
    for (size_t y = 0; y < taps->outputs; y++, out += out_row) {
        const uint8_t *first = source + taps->start[y] * source_row;
        const int32_t *weights = taps->weights + y * taps->most;
        size_t count = taps->count[y], x = 0;
        for (; x + 4 * NF_WIDTH <= width; x += 4 * NF_WIDTH)
            weigh_rows(out + x, first + x, source_row, weights, count, 4);
        for (; x + NF_WIDTH <= width; x += NF_WIDTH)
            weigh_rows(out + x, first + x, source_row, weights, count, 1);
        if (x == width)
            continue;
        if (width >= NF_WIDTH) /* the last vector reaches back over what is done already */
            weigh_rows(out + width - NF_WIDTH, first + width - NF_WIDTH, source_row, weights, count, 1);
        else
            weigh_narrow_rows(out, first, source_row, width, weights, count);
    }
}
