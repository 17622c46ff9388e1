/* Tiles of the matrix of scores, in place: exponentials with their sums, and the weights of the gradient. */
#include "exponential.h"
#include "kernels.h"

#ifdef NF_DOUBLE
enum { NF_SCORE_TOP = NF_SCORE_TOP_F64 };
#else
enum { NF_SCORE_TOP = NF_SCORE_TOP_F32 };
#endif

/* exp(score scale - bound) 2^NF_SCORE_TOP, for scores with |score scale| <= bound */
NF_INLINE vreal exponential(vreal score, real scale, real bound) {
    return v_exp_power(v_fma(score, v_set(scale), v_set(-bound)), NF_SCORE_TOP);
}

void NF_REAL_KERNEL(tile_exp)(real *tile, size_t rows, size_t columns, size_t stride, real scale, real bound) {
    for (size_t i = 0; i < rows; i++, tile += stride)
        for (size_t j = 0; j < columns; j += NF_WIDTH)
            v_store(tile + j, exponential(v_load(tile + j), scale, bound));
}

void NF_REAL_KERNEL(tile_sums)(real *row_sums, real *column_sums, real *tile, bool keep, size_t rows, size_t columns,
                               size_t stride, real scale, real bound) {
    for (size_t j = 0; column_sums && j < columns; j += NF_WIDTH)
        v_store(column_sums + j, v_zero());
    for (size_t i = 0; i < rows; i++, tile += stride) {
        vreal row_sum = v_zero();
        for (size_t j = 0; j < columns; j += NF_WIDTH) {
            vreal e = exponential(v_load(tile + j), scale, bound);
            row_sum = v_add(row_sum, e);
            if (column_sums)
                v_store(column_sums + j, v_add(v_load(column_sums + j), e));
            if (keep)
                v_store(tile + j, e);
        }
        row_sums[i] = v_sum(row_sum);
    }
}

void NF_REAL_KERNEL(tile_weights)(real *tile, const real *row_factors, const real *column_factors, size_t rows,
                                  size_t columns, size_t stride) {
    for (size_t i = 0; i < rows; i++, tile += stride)
        for (size_t j = 0; j < columns; j += NF_WIDTH) {
            vreal factor = v_set(row_factors[i]);
            if (column_factors)
                factor = v_add(factor, v_load(column_factors + j));
            v_store(tile + j, v_mul(v_load(tile + j), factor));
        }
}
