/* Blocks of 4 x 4 numbers, transposed in registers. */
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

#endif
