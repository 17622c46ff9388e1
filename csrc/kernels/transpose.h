/* Matrices transposed in registers, by blocks of 4 x 4 numbers. */
#ifndef NF_KERNELS_TRANSPOSE_H
#define NF_KERNELS_TRANSPOSE_H

#include "vector.h"

typedef real four __attribute__((vector_size(4 * sizeof(real))));
#ifdef NF_DOUBLE
typedef int64_t four_places __attribute__((vector_size(32)));
#else
typedef int32_t four_places __attribute__((vector_size(16)));
#endif

NF_INLINE void transpose_4x4(real *out, size_t out_stride, const real *in, size_t in_stride) {
    four row[4], column[4];
    for (size_t i = 0; i < 4; i++)
        memcpy(&row[i], in + i * in_stride, sizeof row[i]);
    four low01 = NF_SHUFFLE(four_places, row[0], row[1], 0, 4, 1, 5);
    four high01 = NF_SHUFFLE(four_places, row[0], row[1], 2, 6, 3, 7);
    four low23 = NF_SHUFFLE(four_places, row[2], row[3], 0, 4, 1, 5);
    four high23 = NF_SHUFFLE(four_places, row[2], row[3], 2, 6, 3, 7);
    column[0] = NF_SHUFFLE(four_places, low01, low23, 0, 1, 4, 5);
    column[1] = NF_SHUFFLE(four_places, low01, low23, 2, 3, 6, 7);
    column[2] = NF_SHUFFLE(four_places, high01, high23, 0, 1, 4, 5);
    column[3] = NF_SHUFFLE(four_places, high01, high23, 2, 3, 6, 7);
    for (size_t i = 0; i < 4; i++)
        memcpy(out + i * out_stride, &column[i], sizeof column[i]);
}

/* A panel of `columns`, a multiple of 4: out[k * columns + n] = in[n * stride + k] for k < depth. */
NF_INLINE void transpose_panel(real *out, size_t columns, const real *in, size_t stride, size_t depth) {
    enum { RUN = 16 }; /* of a row at a time, so that its cache lines are used whole */
    size_t whole = depth / RUN * RUN;
    for (size_t start = 0; start < whole; start += RUN)
        for (size_t n = 0; n < columns; n += 4) {
            for (size_t i = n; i < n + 4; i++) /* rows may lie too far apart for the machine to foresee what is next */
                __builtin_prefetch(in + i * stride + start + 2 * RUN);
            for (size_t k = start; k < start + RUN; k += 4)
                transpose_4x4(out + k * columns + n, columns, in + n * stride + k, stride);
        }
    for (size_t k = whole; k < depth; k++)
        for (size_t n = 0; n < columns; n++)
            out[k * columns + n] = in[n * stride + k];
}

#endif
