/* Products of blocks that lie in a cache near by, where a general matrix product would pack its operands anew each
 * time. Sums for ROWS x VECTORS vectors of the result stay in registers. */
#include "kernels.h"
#include "vector.h"

#if defined(__AVX512F__)
enum { ROWS = 8, VECTORS = 3 }; /* of 32 registers */
#elif defined(__AVX2__)
enum { ROWS = 6, VECTORS = 2 }; /* of 16 */
#else
enum { ROWS = 4, VECTORS = 2 };
#endif
enum { PANEL = VECTORS * NF_WIDTH };
_Static_assert(NF_BLOCK_STEP % ROWS == 0 && NF_BLOCK_STEP % PANEL == 0, "blocks must consist of whole pieces");

/* c (ROWS, vectors) = or += sum_k a[row a_row + k a_step] b[k b_step ...] */
NF_INLINE void multiply_piece(real *c, size_t c_stride, const real *a, size_t a_row, size_t a_step, const real *b,
                              size_t b_step, size_t depth, bool add, const int vectors) {
    vreal sums[ROWS][VECTORS];
    NF_UNROLL for (int row = 0; row < ROWS; row++) {
        NF_UNROLL for (int v = 0; v < vectors; v++) sums[row][v] =
            add ? v_load(c + (size_t)row * c_stride + v * NF_WIDTH) : v_zero();
    }
    for (size_t k = 0; k < depth; k++) {
        vreal column[VECTORS];
        NF_UNROLL for (int v = 0; v < vectors; v++) column[v] = v_load(b + v * NF_WIDTH);
        NF_UNROLL for (int row = 0; row < ROWS; row++) {
            vreal factor = v_set(a[(size_t)row * a_row]);
            NF_UNROLL for (int v = 0; v < vectors; v++) sums[row][v] = v_fma(factor, column[v], sums[row][v]);
        }
        a += a_step;
        b += b_step;
    }
    NF_UNROLL for (int row = 0; row < ROWS; row++) {
        NF_UNROLL for (int v = 0; v < vectors; v++) v_store(c + (size_t)row * c_stride + v * NF_WIDTH, sums[row][v]);
    }
}

void NF_REAL_KERNEL(pack_rows)(real *packed, const real *x, size_t stride, size_t rows, size_t width) {
    for (size_t first = 0; first < rows; first += PANEL)
        for (size_t k = 0; k < width; k++)
            for (size_t row = first; row < first + PANEL; row++)
                *packed++ = row < rows ? x[row * stride + k] : 0;
}

void NF_REAL_KERNEL(multiply_packed)(real *c, size_t c_stride, const real *a, size_t a_stride, const real *packed,
                                     size_t rows, size_t columns, size_t width) {
    for (size_t j = 0; j < columns; j += PANEL, packed += PANEL * width)
        for (size_t i = 0; i < rows; i += ROWS)
            multiply_piece(c + i * c_stride + j, c_stride, a + i * a_stride, a_stride, 1, packed, PANEL, width, false,
                           VECTORS);
}

/* All rows of c, for one panel of columns. */
NF_INLINE void add_panel(real *c, const real *w, size_t w_row, size_t w_step, const real *b, size_t stride, size_t rows,
                         size_t depth, const int vectors) {
    for (size_t i = 0; i < rows; i += ROWS)
        multiply_piece(c + i * stride, stride, w + i * w_row, w_row, w_step, b, stride, depth, true, vectors);
}

NF_INLINE void add_product(real *c, const real *w, size_t w_row, size_t w_step, const real *b, size_t stride,
                           size_t rows, size_t columns, size_t depth) {
    size_t k = 0;
    for (; k + PANEL <= columns; k += PANEL)
        add_panel(c + k, w, w_row, w_step, b + k, stride, rows, depth, VECTORS);
    if (VECTORS > 2 && k + 2 * NF_WIDTH <= columns) {
        add_panel(c + k, w, w_row, w_step, b + k, stride, rows, depth, 2);
        k += 2 * NF_WIDTH;
    }
    if (k < columns)
        add_panel(c + k, w, w_row, w_step, b + k, stride, rows, depth, 1);
}

void NF_REAL_KERNEL(multiply_add)(real *c, const real *w, size_t w_stride, const real *b, size_t stride, size_t rows,
                                  size_t columns, size_t depth) {
    add_product(c, w, w_stride, 1, b, stride, rows, columns, depth);
}

void NF_REAL_KERNEL(multiply_transposed_add)(real *c, const real *w, size_t w_stride, const real *b, size_t stride,
                                             size_t rows, size_t columns, size_t depth) {
    add_product(c, w, 1, w_stride, b, stride, rows, columns, depth);
}
