/* Sums of tiles of exponentials of scores. */
#include "kernels.h"
#include "vector.h"

enum { GROUP = 4 }; /* rows that share the loads and stores of column sums */

/* `rows` <= GROUP rows of a tile. */
NF_INLINE void sum_rows(real *row_sums, real *column_sums, const real *tile, size_t columns, size_t stride,
                        const int rows) {
    vreal sums[GROUP];
    NF_UNROLL for (int row = 0; row < rows; row++) sums[row] = v_zero();
    for (size_t j = 0; j < columns; j += NF_WIDTH) {
        vreal column = v_zero();
        NF_UNROLL for (int row = 0; row < rows; row++) {
            vreal e = v_load(tile + (size_t)row * stride + j);
            sums[row] = v_add(sums[row], e);
            column = v_add(column, e);
        }
        if (column_sums)
            v_store(column_sums + j, v_add(v_load(column_sums + j), column));
    }
    NF_UNROLL for (int row = 0; row < rows; row++) row_sums[row] = v_sum(sums[row]);
}

void NF_REAL_KERNEL(tile_sums)(real *row_sums, real *column_sums, const real *tile, size_t rows, size_t columns,
                               size_t stride) {
    for (size_t j = 0; column_sums && j < columns; j += NF_WIDTH)
        v_store(column_sums + j, v_zero());
    size_t i = 0;
    for (; i + GROUP <= rows; i += GROUP)
        sum_rows(row_sums + i, column_sums, tile + i * stride, columns, stride, GROUP);
    for (; i < rows; i++)
        sum_rows(row_sums + i, column_sums, tile + i * stride, columns, stride, 1);
}
