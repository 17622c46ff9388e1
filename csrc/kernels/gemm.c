/* Matrix products c = a b of packed operands, one register tile of GEMM_ROWS x GEMM_COLUMNS at a time.
 *
 * b is packed in panels of GEMM_COLUMNS columns: element (k, n) of a panel at b[k * GEMM_COLUMNS + n], columns beyond
 * the matrix zero. a is packed in tiles of GEMM_ROWS rows, in one of two layouts, whichever takes whole runs from where
 * it comes from:
 *
 *   rows      each row is contiguous in the source; (m, k) at a[k / 16][m][k % 16], depth a multiple of 16
 *   columns   each column is contiguous in the source; (m, k) at a[k][m]
 *
 * The first serves products whose depth is what is contiguous (a convolution's input against its weights), the second
 * those whose depth is the pixels (the gradient of the weights). */
#include "gemm.h"

#include "kernels.h"
#include "transpose.h"

/* source NULL: zeros */
NF_INLINE void copy_few(float *target, const float *source, size_t n) {
    for (size_t i = 0; i < n; i += NF_WIDTH)
        v_store_some(target + i, source ? v_load_some(source + i, n - i) : v_zero(), n - i);
}

/* Splits a run of n numbers, the first at `position`, into chunks of `chunk` that lie `stride` apart. */
NF_INLINE void pack_run(float *a, size_t chunk, size_t stride, size_t position, const float *source, size_t n) {
    float *target = a + position / chunk * stride;
    size_t offset = position % chunk;
    if (offset) {
        size_t count = chunk - offset < n ? chunk - offset : n;
        copy_few(target + offset, source, count);
        source = source ? source + count : NULL;
        n -= count;
        target += stride;
    }
    for (; n >= chunk; n -= chunk, target += stride) {
        copy_few(target, source, chunk);
        source = source ? source + chunk : NULL;
    }
    copy_few(target, source, n);
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
    if (columns == GEMM_COLUMNS) {
        transpose_panel(b, GEMM_COLUMNS, source, stride, depth);
        return;
    }
    for (size_t k = 0; k < depth; k++)
        for (size_t n = 0; n < GEMM_COLUMNS; n++)
            b[k * GEMM_COLUMNS + n] = n < columns ? source[n * stride + k] : 0.0f;
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

NF_INLINE void store_tile_row(float *c, const vreal *sum, int vectors, size_t columns, bool accumulate) {
    if (vectors == 2)
        store_row(c, sum[0], sum[1], columns, accumulate);
    else
        v_store_some(c, accumulate ? v_add(sum[0], v_load_some(c, columns)) : sum[0], columns);
}

/* Where a tile of the result goes: its rows each somewhere, or `stride` apart from `first` on. */
typedef struct place {
    float *const *rows; /* or NULL */
    float *first;
    size_t stride;
} place;

/* The product of a register tile, of `height` rows and `vectors` vectors of columns: constants wherever it is inlined.
 * Few rows or columns, as at the edge of a matrix, need not cost a whole tile's arithmetic. */
NF_INLINE void tile_by_rows(int height, int vectors, place c, size_t column, const float *a, const float *b,
                            size_t depth, size_t rows, size_t columns, bool accumulate) {
    vreal sum[GEMM_ROWS][2];
    NF_UNROLL
    for (int m = 0; m < height; m++)
        sum[m][0] = sum[m][1] = v_zero();
    for (size_t k = 0; k < depth; k += 16, a += GEMM_ROWS * 16) {
#ifndef __clang__
#pragma GCC unroll 4
#endif
        for (int j = 0; j < 16; j++, b += GEMM_COLUMNS) {
            vreal first = v_load(b), second = vectors == 2 ? v_load(b + NF_WIDTH) : first;
            NF_UNROLL
            for (int m = 0; m < height; m++) {
                vreal factor = v_set(a[m * 16 + j]);
                sum[m][0] = v_fma(factor, first, sum[m][0]);
                if (vectors == 2)
                    sum[m][1] = v_fma(factor, second, sum[m][1]);
            }
        }
    }
    NF_UNROLL
    for (int m = 0; m < height; m++)
        if ((size_t)m < rows) {
            float *row = c.rows ? c.rows[m] : c.first + (size_t)m * c.stride;
            store_tile_row(row + column, sum[m], vectors, columns, accumulate);
        }
}

NF_INLINE void tile_by_columns(int height, int vectors, float *c, size_t stride, const float *a, size_t a_stride,
                               const float *b, size_t depth, size_t rows, size_t columns, bool accumulate) {
    vreal sum[GEMM_ROWS][2];
    NF_UNROLL
    for (int m = 0; m < height; m++) {
        sum[m][0] = sum[m][1] = v_zero();
        if (accumulate && (size_t)m < rows) /* comes while the sums are made */
            for (int v = 0; v < vectors; v++)
                __builtin_prefetch(c + (size_t)m * stride + v * NF_WIDTH, 1);
    }
#ifndef __clang__
#pragma GCC unroll 4
#endif
    for (size_t k = 0; k < depth; k++, a += a_stride, b += GEMM_COLUMNS) {
        vreal first = v_load(b), second = vectors == 2 ? v_load(b + NF_WIDTH) : first;
        NF_UNROLL
        for (int m = 0; m < height; m++) {
            vreal factor = v_set(a[m]);
            sum[m][0] = v_fma(factor, first, sum[m][0]);
            if (vectors == 2)
                sum[m][1] = v_fma(factor, second, sum[m][1]);
        }
    }
    NF_UNROLL
    for (int m = 0; m < height; m++)
        if ((size_t)m < rows)
            store_tile_row(c + (size_t)m * stride, sum[m], vectors, columns, accumulate);
}

/* Rows layout. Row m of the result goes to c[m] + column; only `rows` rows and `columns` columns are written. */
void NF_KERNEL(gemm_rows)(float *const *c, size_t column, const float *a, const float *b, size_t depth, size_t rows,
                          size_t columns, bool accumulate) {
    place to = {.rows = c};
    if (columns > NF_WIDTH)
        tile_by_rows(GEMM_ROWS, 2, to, column, a, b, depth, rows, columns, accumulate);
    else
        tile_by_rows(GEMM_ROWS, 1, to, column, a, b, depth, rows, columns, accumulate);
}

/* Rows layout. c is (rows, columns) with row stride `stride`, where rows up to a whole tile, and columns up to a whole
 * vector, may be written. */
void NF_KERNEL(gemm_tiles)(float *c, size_t stride, const float *a, const float *b, size_t depth, size_t rows,
                           size_t columns) {
    for (size_t m = 0; m < rows; m += GEMM_ROWS, c += GEMM_ROWS * stride, a += GEMM_ROWS * depth) {
        place to = {.first = c, .stride = stride};
        if (columns > NF_WIDTH)
            tile_by_rows(GEMM_ROWS, 2, to, 0, a, b, depth, GEMM_ROWS, GEMM_COLUMNS, false);
        else
            tile_by_rows(GEMM_ROWS, 1, to, 0, a, b, depth, GEMM_ROWS, NF_WIDTH, false);
    }
}

NF_INLINE void columns_of(int vectors, float *c, size_t stride, const float *a, size_t a_stride, const float *b,
                          size_t depth, size_t rows, size_t columns, bool accumulate) {
    if (rows <= GEMM_FEW_ROWS)
        tile_by_columns(GEMM_FEW_ROWS, vectors, c, stride, a, a_stride, b, depth, rows, columns, accumulate);
    else if (rows <= 2 * GEMM_FEW_ROWS)
        tile_by_columns(2 * GEMM_FEW_ROWS, vectors, c, stride, a, a_stride, b, depth, rows, columns, accumulate);
    else
        tile_by_columns(GEMM_ROWS, vectors, c, stride, a, a_stride, b, depth, rows, columns, accumulate);
}

/* Columns layout. c is (rows, columns) with row stride `stride`. */
void NF_KERNEL(gemm_columns)(float *c, size_t stride, const float *a, size_t a_stride, const float *b, size_t depth,
                             size_t rows, size_t columns, bool accumulate) {
    if (columns > NF_WIDTH)
        columns_of(2, c, stride, a, a_stride, b, depth, rows, columns, accumulate);
    else
        columns_of(1, c, stride, a, a_stride, b, depth, rows, columns, accumulate);
}
