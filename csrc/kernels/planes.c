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

NF_INLINE vreal normalized(const uint8_t *plane, float scale, float offset) {
    return v_add(v_mul(v_load_bytes(plane), v_set(scale)), v_set(offset));
}

/* The largest part that whole vectors make; the number of pixels done. */
NF_INLINE size_t normalize_vectors(float *out, const uint8_t *planes, size_t stride, size_t channels,
                                   const float *scale, const float *offset, size_t n, bool streams) {
    size_t i = 0;
    for (; i + NF_WIDTH <= n; i += NF_WIDTH) {
        vreal values[3], written[3];
        NF_UNROLL
        for (size_t c = 0; c < channels; c++)
            written[c] = values[c] = normalized(planes + c * stride + i, scale[c], offset[c]);
        if (channels == 3)
            v_interleave(written, values[0], values[1], values[2]);
        NF_UNROLL
        for (size_t k = 0; k < channels; k++) {
            float *to = out + i * channels + k * NF_WIDTH;
            if (streams)
                v_stream(to, written[k]);
            else
                v_store(to, written[k]);
        }
    }
    return i;
}

NF_INLINE size_t normalize_many(float *out, const uint8_t *planes, size_t stride, size_t channels, const float *scale,
                                const float *offset, size_t n, bool streams) {
    if (streams && (uintptr_t)out % (NF_WIDTH * sizeof *out) == 0)
        return normalize_vectors(out, planes, stride, channels, scale, offset, n, true);
    return normalize_vectors(out, planes, stride, channels, scale, offset, n, false);
}

void NF_KERNEL(end_streams)(void) {
    v_end_streams();
}

void NF_KERNEL(normalize_planes)(float *out, const uint8_t *planes, size_t stride, size_t channels, const float *scale,
                                 const float *offset, size_t n, bool streams) {
    size_t done = 0;
    if (channels == 1)
        done = normalize_many(out, planes, stride, 1, scale, offset, n, streams);
    else if (channels == 3)
        done = normalize_many(out, planes, stride, 3, scale, offset, n, streams);
    for (size_t c = 0; c < channels; c++)
        for (size_t i = done; i < n; i++)
            out[i * channels + c] = (float)planes[c * stride + i] * scale[c] + offset[c];
}

void NF_KERNEL(mirror_row)(uint8_t *row, size_t n) {
    for (size_t i = 0; i < n / 2; i++) {
        uint8_t left = row[i];
        row[i] = row[n - 1 - i];
        row[n - 1 - i] = left;
    }
}
