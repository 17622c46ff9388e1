/* Tiles of the scores of pairs, in place, for losses that are sums over pairs: s = tile scale + row_offset +
 * column_offset. A tile's -infinity stays one and counts for nothing. */
#include "exponential.h"
#include "kernels.h"

/* log(1 + u), 0 <= u <= 1, by the series of 2 atanh(v), v = w / (2 + w), where 1 + w is 1 + u or half of it. */
NF_INLINE vreal v_log_one_plus(vreal u) {
    enum { TERMS = sizeof(real) == 8 ? 11 : 5 };
    static const real ln2 = (real)0.6931471805599453;
    vmask high = v_gt(u, v_set((real)0.4142135));
    vreal numerator = v_sub(u, v_keep(high, v_set(1)));
    vreal v = v_div(numerator, v_add(u, v_select(high, v_set(3), v_set(2))));
    vreal square = v_mul(v, v), sum = v_zero();
    NF_UNROLL
    for (int term = TERMS - 1; term > 0; term--)
        sum = v_mul(v_add(sum, v_set((real)1 / (real)(2 * term + 1))), square);
    vreal half = v_fma(v, sum, v);
    return v_add(v_add(half, half), v_keep(high, v_set(ln2)));
}

NF_INLINE vreal score(vreal product, real scale, real row_offset, const real *column_offsets) {
    return v_fma(product, v_set(scale), v_add(v_set(row_offset), v_load(column_offsets)));
}

void NF_REAL_KERNEL(tile_logistic)(real *row_sums, real *row_weights, real *column_weights, real *tile, size_t rows,
                                   size_t columns, size_t stride, real scale, const real *row_offsets,
                                   const real *column_offsets) {
    for (size_t j = 0; j < columns; j += NF_WIDTH)
        v_store(column_weights + j, v_zero());
    for (size_t i = 0; i < rows; i++, tile += stride) {
        vreal sum = v_zero(), weight_sum = v_zero();
        for (size_t j = 0; j < columns; j += NF_WIDTH) {
            vreal s = score(v_load(tile + j), scale, row_offsets[i], column_offsets + j);
            vreal u = v_exp(v_sub(v_zero(), v_abs(s)));
            vreal weight = v_div(v_select(v_gt(s, v_zero()), v_set(1), u), v_add(v_set(1), u));
            sum = v_add(sum, v_add(v_max(s, v_zero()), v_log_one_plus(u)));
            weight_sum = v_add(weight_sum, weight);
            v_store(column_weights + j, v_add(v_load(column_weights + j), weight));
            v_store(tile + j, weight);
        }
        row_sums[i] = v_sum(sum);
        row_weights[i] = v_sum(weight_sum);
    }
}

void NF_REAL_KERNEL(tile_exponential)(real *row_weights, real *column_weights, real *tile, size_t rows, size_t columns,
                                      size_t stride, real scale, const real *row_offsets, const real *column_offsets,
                                      real peak) {
    for (size_t j = 0; j < columns; j += NF_WIDTH)
        v_store(column_weights + j, v_zero());
    for (size_t i = 0; i < rows; i++, tile += stride) {
        vreal weight_sum = v_zero();
        for (size_t j = 0; j < columns; j += NF_WIDTH) {
            vreal s = score(v_load(tile + j), scale, row_offsets[i], column_offsets + j);
            vreal weight = v_exp(v_sub(s, v_set(peak)));
            weight_sum = v_add(weight_sum, weight);
            v_store(column_weights + j, v_add(v_load(column_weights + j), weight));
            v_store(tile + j, weight);
        }
        row_weights[i] = v_sum(weight_sum);
    }
}

real NF_REAL_KERNEL(tile_highest)(const real *tile, size_t rows, size_t columns, size_t stride, real scale,
                                  const real *row_offsets, const real *column_offsets) {
    vreal highest = v_set((real)-__builtin_inf());
    for (size_t i = 0; i < rows; i++, tile += stride)
        for (size_t j = 0; j < columns; j += NF_WIDTH)
            highest = v_max(highest, score(v_load(tile + j), scale, row_offsets[i], column_offsets + j));
    return v_maximum(highest);
}
