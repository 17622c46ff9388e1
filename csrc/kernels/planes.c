/* Between interleaved pixels and planes. Plain loops, which the compilers vectorise. */
#include "kernels.h"
#include "pixels.h"

void NF_KERNEL(split_planes)(uint8_t *planes, size_t stride, const uint8_t *pixels, size_t channels, size_t n) {
    if (channels == 1) {
        memcpy(planes, pixels, n);
    } else if (channels == 3) {
        uint8_t *restrict r = planes, *restrict g = r + stride, *restrict b = g + stride;
        for (size_t i = 0; i < n; i++)
            r[i] = pixels[3 * i], g[i] = pixels[3 * i + 1], b[i] = pixels[3 * i + 2];
    } else {
        for (size_t c = 0; c < channels; c++)
            for (size_t i = 0; i < n; i++)
                planes[c * stride + i] = pixels[i * channels + c];
    }
}

void NF_KERNEL(join_planes)(uint8_t *pixels, const uint8_t *planes, size_t stride, size_t channels, size_t n) {
    if (channels == 1) {
        memcpy(pixels, planes, n);
    } else if (channels == 3) {
        const uint8_t *r = planes, *g = r + stride, *b = g + stride;
        uint8_t *restrict to = pixels;
        for (size_t i = 0; i < n; i++)
            to[3 * i] = r[i], to[3 * i + 1] = g[i], to[3 * i + 2] = b[i];
    } else {
        for (size_t c = 0; c < channels; c++)
            for (size_t i = 0; i < n; i++)
                pixels[i * channels + c] = planes[c * stride + i];
    }
}

void NF_KERNEL(normalize_planes)(float *out, const uint8_t *planes, size_t stride, size_t channels, const float *scale,
                                 const float *offset, size_t n) {
    if (channels == 1) {
        for (size_t i = 0; i < n; i += NF_WIDTH)
            v_store_some(out + i, v_add(v_mul(v_load_bytes(planes + i), v_set(scale[0])), v_set(offset[0])), n - i);
    } else if (channels == 3) {
        for (size_t i = 0; i < n; i += NF_WIDTH) {
            vreal rgb[3];
            NF_UNROLL
            for (size_t c = 0; c < 3; c++)
                rgb[c] = v_add(v_mul(v_load_bytes(planes + c * stride + i), v_set(scale[c])), v_set(offset[c]));
            if (n - i >= NF_WIDTH) {
                v_store_triples(out + 3 * i, rgb[0], rgb[1], rgb[2]);
            } else {
                float last[3 * NF_WIDTH];
                v_store_triples(last, rgb[0], rgb[1], rgb[2]);
                memcpy(out + 3 * i, last, 3 * (n - i) * sizeof *last);
            }
        }
    } else {
        for (size_t c = 0; c < channels; c++)
            for (size_t i = 0; i < n; i++)
                out[i * channels + c] = (float)planes[c * stride + i] * scale[c] + offset[c];
    }
}

void NF_KERNEL(mirror_row)(uint8_t *row, size_t n) {
    for (size_t i = 0; i < n / 2; i++) {
        uint8_t left = row[i];
        row[i] = row[n - 1 - i];
        row[n - 1 - i] = left;
    }
}
