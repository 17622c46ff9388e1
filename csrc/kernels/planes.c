/* Between interleaved pixels and planes. */
#include "kernels.h"
#include "pixels.h"

#ifdef NF_BYTE_PERMUTE

/* For each byte of 64 pixels of three channels: where it is in the planes of red and green side by side, or in that of
 * blue; and for each of 64 red bytes its place in the pixels. */
#define PIXEL(i) (i), 64 + (i), (i)
#define THREEFOLD(i) 3 * (i)
static const uint8_t in_planes[3 * 64] = {SIXTY_FOUR(PIXEL, 0)}, in_pixels[64] = {SIXTY_FOUR(THREEFOLD, 0)};

/* Planes are read and written as far as they are padded. */
NF_BYTE_PERMUTE static void join_permuting(uint8_t *pixels, const uint8_t *planes, size_t stride, size_t n) {
    const __mmask64 blue[3] = {0x4924924924924924, 0x2492492492492492, 0x9249249249249249};
    for (size_t i = 0; i < n; i += 64, pixels += 3 * 64) {
        __m512i r = _mm512_loadu_si512(planes + i), g = _mm512_loadu_si512(planes + stride + i);
        __m512i b = _mm512_loadu_si512(planes + 2 * stride + i);
        size_t left = 3 * (n - i);
        NF_UNROLL
        for (size_t part = 0; part < 3; part++) {
            __m512i places = _mm512_loadu_si512(in_planes + 64 * part);
            __m512i joined = _mm512_permutex2var_epi8(r, places, g);
            joined = _mm512_mask_permutexvar_epi8(joined, blue[part], places, b);
            if (left >= 3 * 64)
                _mm512_storeu_si512(pixels + 64 * part, joined);
            else if (left > 64 * part)
                _mm512_mask_storeu_epi8(pixels + 64 * part, first_bytes(left - 64 * part), joined);
        }
    }
}

NF_BYTE_PERMUTE static void split_permuting(uint8_t *planes, size_t stride, const uint8_t *pixels, size_t n) {
    for (size_t i = 0; i < n; i += 64, pixels += 3 * 64) {
        __m512i parts[3], places = _mm512_loadu_si512(in_pixels);
        size_t left = 3 * (n - i);
        NF_UNROLL
        for (size_t part = 0; part < 3; part++)
            parts[part] = left >= 3 * 64 ? _mm512_loadu_si512(pixels + 64 * part)
                          : left > 64 * part
                              ? _mm512_maskz_loadu_epi8(first_bytes(left - 64 * part), pixels + 64 * part)
                              : _mm512_setzero_si512();
        NF_UNROLL
        for (size_t c = 0; c < 3; c++) {
            __m512i plane = _mm512_permutex2var_epi8(parts[0], places, parts[1]);
            plane = _mm512_mask_permutexvar_epi8(plane, _mm512_movepi8_mask(places), places, parts[2]);
            _mm512_storeu_si512(planes + c * stride + i, plane);
            places = _mm512_add_epi8(places, _mm512_set1_epi8(1));
        }
    }
}

/* These return whether the machine can. */
static bool join_three(uint8_t *pixels, const uint8_t *planes, size_t stride, size_t n) {
    if (!has_byte_permute())
        return false;
    join_permuting(pixels, planes, stride, n);
    return true;
}

static bool split_three(uint8_t *planes, size_t stride, const uint8_t *pixels, size_t n) {
    if (!has_byte_permute())
        return false;
    split_permuting(planes, stride, pixels, n);
    return true;
}

#else

static bool join_three(uint8_t *pixels, const uint8_t *planes, size_t stride, size_t n) {
    (void)pixels, (void)planes, (void)stride, (void)n;
    return false;
}

static bool split_three(uint8_t *planes, size_t stride, const uint8_t *pixels, size_t n) {
    (void)pixels, (void)planes, (void)stride, (void)n;
    return false;
}

#endif

/* Plain loops, which the compilers vectorise. */
void NF_KERNEL(split_planes)(uint8_t *planes, size_t stride, const uint8_t *pixels, size_t channels, size_t n) {
    if (channels == 3 && split_three(planes, stride, pixels, n))
        return;
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
    if (channels == 3 && join_three(pixels, planes, stride, n))
        return;
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
