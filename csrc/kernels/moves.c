/* Pixels moved whole: rows reversed, columns picked, matrices transposed. */
#include "kernels.h"
#include "pixels.h"

/* Without a byte beyond the pixel. */
NF_INLINE void copy_pixel(uint8_t *out, const uint8_t *in, size_t channels) {
    for (size_t c = 0; c < channels; c++)
        out[c] = in[c];
}

NF_INLINE bytes16 load16(const uint8_t *p) {
    bytes16 a;
    memcpy(&a, p, sizeof a);
    return a;
}

/* 16 bytes of pixels in reverse order; three channels: five pixels, from the second byte on, to the front. */
NF_INLINE bytes16 reverse16(bytes16 a, size_t channels) {
    if (channels == 1)
        return NF_SHUFFLE(bytes16, a, a, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    if (channels == 3)
        return NF_SHUFFLE(bytes16, a, a, 13, 14, 15, 10, 11, 12, 7, 8, 9, 4, 5, 6, 1, 2, 3, 0);
    return NF_SHUFFLE(bytes16, a, a, 12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
}

/* Sixteen bytes a time, from the row's start outwards and its end inwards; the number of pixels done. With three
 * channels a 16th byte is written, which the next pixel overwrites, and one before the pixels is read. */
NF_INLINE size_t reverse_many(uint8_t *out, const uint8_t *in, size_t channels, size_t n) {
    size_t some = 16 / channels, spare = channels == 3, done = 0;
    const uint8_t *from = in + n * channels - 16;
    for (; done + 4 * some + spare <= n; done += 4 * some, from -= 4 * some * channels) {
        NF_UNROLL
        for (size_t k = 0; k < 4; k++) {
            bytes16 pixels = reverse16(load16(from - k * some * channels), channels);
            memcpy(out + (done + k * some) * channels, &pixels, sizeof pixels);
        }
    }
    for (; done + some + spare <= n; done += some, from -= some * channels) {
        bytes16 pixels = reverse16(load16(from), channels);
        memcpy(out + done * channels, &pixels, sizeof pixels);
    }
    return done;
}

void NF_KERNEL(reverse_pixels)(uint8_t *out, const uint8_t *in, size_t channels, size_t n) {
    size_t done = 0;
    if (channels == 1)
        done = reverse_many(out, in, 1, n);
    else if (channels == 3)
        done = reverse_many(out, in, 3, n);
    else if (channels == 4)
        done = reverse_many(out, in, 4, n);
    for (; done < n; done++)
        copy_pixel(out + done * channels, in + (n - 1 - done) * channels, channels);
}

void NF_KERNEL(pick_pixels)(uint8_t *out, const uint8_t *row, const int32_t *columns, int32_t last, size_t channels,
                            size_t n) {
    size_t i = 0;
    if (channels == 1)
        for (; i < n; i++)
            out[i] = row[columns[i]];
    else if (channels == 3)
        for (; i + 1 < n; i++) {
            if (columns[i] != last) /* four bytes at a time, the last of which the next pixel overwrites */
                memcpy(out + 3 * i, row + 3 * (ptrdiff_t)columns[i], 4);
            else
                copy_pixel(out + 3 * i, row + 3 * (ptrdiff_t)last, 3);
        }
    else if (channels == 4)
        for (; i < n; i++)
            memcpy(out + 4 * i, row + 4 * (ptrdiff_t)columns[i], 4);
    for (; i < n; i++)
        copy_pixel(out + i * channels, row + (size_t)columns[i] * channels, channels);
}

#ifdef __AVX2__
/* Sixteen picked bytes of each row come from 32 that lie side by side there. */
typedef struct byte_picks {
    ptrdiff_t first;   /* of the 32, in a row */
    __m128i low, high; /* places in either half; -1: of the other half */
} byte_picks;

/* Of the bytes from `begin` on, of picked pixels; false if they lie farther apart, or the row is shorter. */
NF_INLINE bool find_bytes(byte_picks *picks, const int32_t *columns, size_t begin, size_t channels, ptrdiff_t row) {
    ptrdiff_t from[16], least = row, most = 0;
    size_t pixel = begin / channels, channel = begin % channels;
    for (size_t i = 0; i < 16; i++, channel++) {
        if (channel == channels) {
            channel = 0;
            pixel++;
        }
        from[i] = columns[pixel] * (ptrdiff_t)channels + (ptrdiff_t)channel;
        least = from[i] < least ? from[i] : least;
        most = from[i] > most ? from[i] : most;
    }
    picks->first = least < row - 32 ? least : row - 32;
    if (picks->first < 0 || most - picks->first >= 32)
        return false;
    int8_t low[16], high[16];
    for (size_t i = 0; i < 16; i++) {
        ptrdiff_t place = from[i] - picks->first;
        low[i] = (int8_t)(place < 16 ? place : -1);
        high[i] = (int8_t)(place < 16 ? -1 : place - 16);
    }
    memcpy(&picks->low, low, 16);
    memcpy(&picks->high, high, 16);
    return true;
}

/* The same as pick_rows, sixteen bytes of all rows at a time; false if not all can be had so. */
static bool pick_bytes(uint8_t *out, ptrdiff_t out_step, const uint8_t *in, ptrdiff_t in_step, const int32_t *columns,
                       ptrdiff_t row, size_t channels, size_t n, size_t rows) {
    size_t size = n * channels;
    if (size < 16)
        return false;
    for (size_t begin = 0; begin < size; begin += 16) {
        size_t at = begin + 16 <= size ? begin : size - 16; /* the last sixteen overlap others */
        byte_picks picks;
        if (!find_bytes(&picks, columns, at, channels, row))
            return false;
        for (size_t y = 0; y < rows; y++) {
            const __m128i *from = (const __m128i *)(in + (ptrdiff_t)y * in_step + picks.first);
            __m128i low = _mm_shuffle_epi8(_mm_loadu_si128(from), picks.low);
            __m128i high = _mm_shuffle_epi8(_mm_loadu_si128(from + 1), picks.high);
            _mm_storeu_si128((__m128i *)(out + (ptrdiff_t)y * out_step + at), _mm_or_si128(low, high));
        }
    }
    return true;
}
#endif

void NF_KERNEL(pick_rows)(uint8_t *out, ptrdiff_t out_step, const uint8_t *in, ptrdiff_t in_step,
                          const int32_t *columns, int32_t last, size_t channels, size_t n, size_t rows) {
#ifdef __AVX2__
    ptrdiff_t row = (last + (ptrdiff_t)1) * (ptrdiff_t)channels;
    if (rows > 1 && pick_bytes(out, out_step, in, in_step, columns, row, channels, n, rows))
        return;
#endif
    for (; rows > 0; rows--, out += out_step, in += in_step)
        NF_KERNEL(pick_pixels)(out, in, columns, last, channels, n);
}

/* Blocks of 16 x 16 bytes. */
static void transpose_bytes(uint8_t *out, ptrdiff_t out_step, const uint8_t *in, ptrdiff_t in_step) {
    bytes16 rows[16];
    NF_UNROLL
    for (ptrdiff_t i = 0; i < 16; i++)
        rows[i] = load16(in + i * in_step);
    transpose16(rows);
    NF_UNROLL
    for (ptrdiff_t i = 0; i < 16; i++)
        memcpy(out + i * out_step, &rows[i], 16);
}

#ifdef __AVX2__
/* 4 x 4 pixels of three channels. Four bytes more are read and written at the end of each row. */
NF_INLINE void transpose_triples(uint8_t *out, ptrdiff_t out_step, const uint8_t *in, ptrdiff_t in_step) {
    const __m128i to_four = _mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1);
    __m128i rows[4];
    NF_UNROLL
    for (ptrdiff_t i = 0; i < 4; i++)
        rows[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(in + i * in_step)), to_four);
    __m128i a = _mm_unpacklo_epi32(rows[0], rows[1]), b = _mm_unpacklo_epi32(rows[2], rows[3]);
    __m128i c = _mm_unpackhi_epi32(rows[0], rows[1]), d = _mm_unpackhi_epi32(rows[2], rows[3]);
    rows[0] = _mm_unpacklo_epi64(a, b), rows[1] = _mm_unpackhi_epi64(a, b);
    rows[2] = _mm_unpacklo_epi64(c, d), rows[3] = _mm_unpackhi_epi64(c, d);
    NF_UNROLL
    for (ptrdiff_t i = 0; i < 4; i++)
        _mm_storeu_si128((__m128i *)(out + i * out_step), drop_fourths(rows[i]));
}

/* Four rows of the result; the number of columns done. */
NF_INLINE size_t transpose_four_rows(uint8_t *out, ptrdiff_t out_step, const uint8_t *in, ptrdiff_t in_step,
                                     size_t out_columns) {
    size_t x = 0;
    for (; x + 6 <= out_columns; x += 4)
        transpose_triples(out + 3 * x, out_step, in + (ptrdiff_t)x * in_step, in_step);
    return x;
}
#endif

NF_INLINE void transpose_block(uint8_t *out, ptrdiff_t out_step, const uint8_t *in, ptrdiff_t in_step, size_t channels,
                               size_t out_rows, size_t out_columns) {
    for (size_t y = 0; y < out_rows; y++) {
        uint8_t *to = out + (ptrdiff_t)y * out_step;
        const uint8_t *from = in + y * channels;
        size_t x = 0;
        if (channels == 3 && y + 1 < out_rows) /* four bytes a time: there is a pixel to the right, and one to come */
            for (; x + 1 < out_columns; x++)
                memcpy(to + 3 * x, from + (ptrdiff_t)x * in_step, 4);
        for (; x < out_columns; x++)
            copy_pixel(to + x * channels, from + (ptrdiff_t)x * in_step, channels);
    }
}

void NF_KERNEL(transpose_pixels)(uint8_t *out, ptrdiff_t out_step, const uint8_t *in, ptrdiff_t in_step,
                                 size_t channels, size_t out_rows, size_t out_columns) {
    enum { BLOCK = 16 };
    size_t first = 0;
#ifdef __AVX2__
    for (; channels == 3 && first + 6 <= out_rows; first += 4) {
        uint8_t *to = out + (ptrdiff_t)first * out_step;
        size_t done = transpose_four_rows(to, out_step, in + 3 * first, in_step, out_columns);
        transpose_block(to + 3 * done, out_step, in + 3 * first + (ptrdiff_t)done * in_step, in_step, 3, 4,
                        out_columns - done);
    }
#endif
    for (size_t y = first; y < out_rows; y += BLOCK)
        for (size_t x = 0; x < out_columns; x += BLOCK) {
            size_t height = out_rows - y < BLOCK ? out_rows - y : BLOCK;
            size_t width = out_columns - x < BLOCK ? out_columns - x : BLOCK;
            uint8_t *to = out + (ptrdiff_t)y * out_step + (ptrdiff_t)(x * channels);
            const uint8_t *from = in + (ptrdiff_t)x * in_step + (ptrdiff_t)(y * channels);
            if (channels == 1 && height == BLOCK && width == BLOCK)
                transpose_bytes(to, out_step, from, in_step);
            else if (channels == 1)
                transpose_block(to, out_step, from, in_step, 1, height, width);
            else if (channels == 3)
                transpose_block(to, out_step, from, in_step, 3, height, width);
            else if (channels == 4)
                transpose_block(to, out_step, from, in_step, 4, height, width);
            else
                transpose_block(to, out_step, from, in_step, channels, height, width);
        }
}
