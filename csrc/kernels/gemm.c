/* Matrix products c = a b of packed operands, one register tile of GEMM_ROWS x GEMM_COLUMNS at a time.
 *
 * b is packed in panels of GEMM_COLUMNS columns: element (k, n) of a panel at b[k * GEMM_COLUMNS + n], columns beyond
 * the matrix zero. a is packed in one of two layouts, whichever takes whole runs from where it comes from: rows     a
 * tile of GEMM_ROWS rows, each contiguous in its source; (m, k) at a[k / 16][m][k % 16], depth a multiple of 16 columns
 * a tile of GEMM_ROWS rows whose columns are contiguous in the source; (m, k) at a[k][m] The first serves products
 * whose depth is what is contiguous (a convolution's input against its weights), the second those whose depth is the
 * pixels (the gradient of the weights). */
#include "gemm.h"

#include "kernels.h"

/* Splits a run of n numbers, the first at `position`, into chunks of `chunk` that lie `stride` apart. */
NF_INLINE void pack_run(float *a, size_t chunk, size_t stride, size_t position, const float *source, size_t n) {
    float *target = a + position / chunk * stride;
    size_t offset = position % chunk;
    if (offset) {
        size_t count = chunk - offset < n ? chunk - offset : n;
        for (size_t i = 0; i < count; i++)
            target[offset + i] = source ? source[i] : 0.0f;
        source = source ? source + count : NULL;
        n -= count;
        target += stride;
    }
    for (; n >= chunk; n -= chunk, target += stride) {
        if (source) {
            memcpy(target, source, chunk * sizeof *target);
            source += chunk;
        } else {
            memset(target, 0, chunk * sizeof *target);
        }
    }
    for (size_t i = 0; i < n; i++)
        target[i] = source ? source[i] : 0.0f;
}

/* Into row m of a tile in the rows layout, with a already advanced by 16 m. source NULL: zeros. */
void NF_KERNEL(gemm_pack_rows)(float *a, size_t position, const float *source, size_t n) {
    pack_run(a, 16, GEMM_ROWS * 16, position, source, n);
}

/* Into column k of consecutive tiles of `depth` columns in the columns layout, with a already advanced by GEMM_ROWS k.
 */
void NF_KERNEL(gemm_pack_columns)(float *a, size_t depth, size_t position, const float *source, size_t n) {
    pack_run(a, GEMM_ROWS, GEMM_ROWS * depth, position, source, n);
}

/* A panel of b: `depth` rows of `columns` <= GEMM_COLUMNS numbers, `stride` apart in the source. */
void NF_KERNEL(gemm_pack_panel)(float *b, const float *source, size_t stride, size_t depth, size_t columns) {
    for (size_t k = 0; k < depth; k++, b += GEMM_COLUMNS, source += stride) {
        if (columns == GEMM_COLUMNS) {
            v_store(b, v_load(source));
            v_store(b + NF_WIDTH, v_load(source + NF_WIDTH));
        } else {
            for (size_t n = 0; n < GEMM_COLUMNS; n++)
                b[n] = n < columns ? source[n] : 0.0f;
        }
    }
}

/* As above from the transposed matrix: (k, n) is source[n * stride + k]. */
void NF_KERNEL(gemm_pack_panel_transposed)(float *b, const float *source, size_t stride, size_t depth, size_t columns) {
    enum { BLOCK = 16 }; /* rows at a time, so that a cache line of the source is used whole */
    for (size_t k0 = 0; k0 < depth; k0 += BLOCK) {
        size_t k1 = k0 + BLOCK < depth ? k0 + BLOCK : depth;
        for (size_t n = 0; n < GEMM_COLUMNS; n++)
            for (size_t k = k0; k < k1; k++)
                b[k * GEMM_COLUMNS + n] = n < columns ? source[n * stride + k] : 0.0f;
    }
}

NF_INLINE void store_row(float *c, vreal first, vreal second, size_t columns, bool accumulate) {
    if (columns == GEMM_COLUMNS) {
        v_store(c, accumulate ? v_add(first, v_load(c)) : first);
        v_store(c + NF_WIDTH, accumulate ? v_add(second, v_load(c + NF_WIDTH)) : second);
        return;
    }
    v_store_some(c, accumulate ? v_add(first, v_load_some(c, columns)) : first, columns);
    if (columns > NF_WIDTH) {
        size_t rest = columns - NF_WIDTH;
        v_store_tail(c + NF_WIDTH, accumulate ? v_add(second, v_load_tail(c + NF_WIDTH, rest)) : second, rest);
    }
}

/* Rows layout. Row m of the result goes to c[m] + column; only `rows` rows and `columns` columns are written. */
void NF_KERNEL(gemm_rows)(float *const *c, size_t column, const float *a, const float *b, size_t depth, size_t rows,
                          size_t columns, bool accumulate) {
    vreal sum[GEMM_ROWS][2];
    NF_UNROLL
    for (int m = 0; m < GEMM_ROWS; m++)
        sum[m][0] = sum[m][1] = v_zero();
    for (size_t k = 0; k < depth; k += 16, a += GEMM_ROWS * 16) {
#ifndef __clang__
#pragma GCC unroll 4
#endif
        for (int j = 0; j < 16; j++, b += GEMM_COLUMNS) {
            vreal first = v_load(b), second = v_load(b + NF_WIDTH);
            NF_UNROLL
            for (int m = 0; m < GEMM_ROWS; m++) {
                vreal factor = v_set(a[m * 16 + j]);
                sum[m][0] = v_fma(factor, first, sum[m][0]);
                sum[m][1] = v_fma(factor, second, sum[m][1]);
            }
        }
    }
    NF_UNROLL
    for (size_t m = 0; m < GEMM_ROWS; m++)
        if (m < rows)
            store_row(c[m] + column, sum[m][0], sum[m][1], columns, accumulate);
}

/* Columns layout. c is (rows, columns) with row stride `stride`. */
void NF_KERNEL(gemm_columns)(float *c, size_t stride, const float *a, size_t a_stride, const float *b, size_t depth,
                             size_t rows, size_t columns, bool accumulate) {
    vreal sum[GEMM_ROWS][2];
    NF_UNROLL
    for (int m = 0; m < GEMM_ROWS; m++)
        sum[m][0] = sum[m][1] = v_zero();
#ifndef __clang__
#pragma GCC unroll 4
#endif
    for (size_t k = 0; k < depth; k++, a += a_stride, b += GEMM_COLUMNS) {
        vreal first = v_load(b), second = v_load(b + NF_WIDTH);
        NF_UNROLL
        for (int m = 0; m < GEMM_ROWS; m++) {
            vreal factor = v_set(a[m]);
            sum[m][0] = v_fma(factor, first, sum[m][0]);
            sum[m][1] = v_fma(factor, second, sum[m][1]);
        }
    }
    NF_UNROLL
    for (size_t m = 0; m < GEMM_ROWS; m++)
        if (m < rows)
            store_row(c + m * stride, sum[m][0], sum[m][1], columns, accumulate);
}
