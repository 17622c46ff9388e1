/* Products of blocks that lie in a cache near by, where a general matrix product would pack its operands anew each
 * time. Sums for ROWS x VECTORS vectors of the result stay in registers. */
#include "exponential.h"
#include "kernels.h"
#include "transpose.h"

#if defined(__AVX512F__)
enum { ROWS = 8, VECTORS = 3 }; /* of 32 registers */
#elif defined(__AVX2__)
enum { ROWS = 6, VECTORS = 2 }; /* of 16 */
#else
enum { ROWS = 4, VECTORS = 2 };
#endif
enum { PANEL = VECTORS * NF_WIDTH };
_Static_assert(NF_BLOCK_STEP % ROWS == 0 && NF_BLOCK_STEP % PANEL == 0, "blocks must consist of whole pieces");

/* What becomes of the sums of a piece. */
typedef enum { STORE, ADD, EXPONENTIAL, WEIGHT } ending;

/* Exponentials and weights of scores; the factors belong to the piece. */
typedef struct scores {
    real scale, shift;
    const real *row_factors, *column_factors;
} scores;

NF_INLINE vreal end_sum(vreal sum, const real *c, const ending end, const scores *s, size_t row, size_t column) {
    if (end == STORE)
        return sum;
    if (end == ADD)
        return v_add(v_load(c), sum);
    vreal e = v_exp2_of_product(sum, s->scale, s->shift);
    if (end == EXPONENTIAL)
        return e;
    vreal factor = v_set(s->row_factors[row]);
    if (s->column_factors)
        factor = v_add(factor, v_load(s->column_factors + column));
    return v_mul(e, factor);
}

/* sum_k a[row a_row + k a_step] b[k b_step ...] for ROWS rows and `vectors` vectors, and with that to c. Fetches depth
 * * ROWS numbers from `ahead`, unless NULL. */
NF_INLINE void multiply_piece(real *c, size_t c_stride, const real *a, size_t a_row, size_t a_step, const real *b,
                              size_t b_step, size_t depth, const int vectors, const ending end, const scores *s,
                              const real *ahead) {
    vreal sums[ROWS][VECTORS];
    NF_UNROLL for (size_t row = 0; row < ROWS; row++) {
        NF_UNROLL for (int v = 0; v < vectors; v++) {
            sums[row][v] = v_zero();
            if (end == ADD || end == EXPONENTIAL) /* comes from afar while the sums are made */
                __builtin_prefetch(c + row * c_stride + v * NF_WIDTH, 1);
        }
    }
    for (size_t k = 0; k < depth; k++) {
        if (ahead)
            __builtin_prefetch(ahead + k * ROWS, 0, 2);
        vreal column[VECTORS];
        NF_UNROLL for (int v = 0; v < vectors; v++) column[v] = v_load(b + v * NF_WIDTH);
        NF_UNROLL for (size_t row = 0; row < ROWS; row++) {
            vreal factor = v_set(a[row * a_row]);
            NF_UNROLL for (int v = 0; v < vectors; v++) sums[row][v] = v_fma(factor, column[v], sums[row][v]);
        }
        a += a_step;
        b += b_step;
    }
    NF_UNROLL for (size_t row = 0; row < ROWS; row++) {
        NF_UNROLL for (int v = 0; v < vectors; v++) {
            real *target = c + row * c_stride + v * NF_WIDTH;
            v_store(target, end_sum(sums[row][v], target, end, s, row, (size_t)v * NF_WIDTH));
        }
    }
}

void NF_REAL_KERNEL(pack_rows)(real *packed, const real *x, size_t stride, size_t rows, size_t width) {
    for (size_t first = 0; first < rows; first += PANEL)
        transpose_panel(packed + first * width, PANEL, x + first * stride, stride, width);
}

/* The first rows of c, for one panel of columns. */
NF_INLINE void multiply_panel(real *c, size_t c_stride, const real *a, size_t a_stride, const real *packed, size_t rows,
                              size_t width, const int vectors, const ending end, scores s) {
    for (size_t i = 0; i < rows; i += ROWS) {
        multiply_piece(c + i * c_stride, c_stride, a + i * a_stride, a_stride, 1, packed, PANEL, width, vectors, end,
                       &s, NULL);
        if (end == WEIGHT)
            s.row_factors += ROWS;
    }
}

/* upper: pieces that lie below the diagonal are left out. */
NF_INLINE void multiply_tile(real *c, size_t c_stride, const real *a, size_t a_stride, const real *packed, size_t rows,
                             size_t columns, size_t width, const ending end, scores s, bool upper) {
    for (size_t done = 0, now; done < columns; done += now, c += now, packed += PANEL * width) {
        size_t left = columns - done, needed = upper && done + PANEL < rows ? done + PANEL : rows;
        now = left < PANEL ? left : PANEL;
        if (now == PANEL)
            multiply_panel(c, c_stride, a, a_stride, packed, needed, width, VECTORS, end, s);
        else if (VECTORS > 2 && now == 2 * NF_WIDTH)
            multiply_panel(c, c_stride, a, a_stride, packed, needed, width, 2, end, s);
        else
            multiply_panel(c, c_stride, a, a_stride, packed, needed, width, 1, end, s);
        if (s.column_factors)
            s.column_factors += now;
    }
}

/* The rest of a symmetric c: rows beyond those of the pieces of each panel. */
NF_INLINE void mirror_upper(real *c, size_t stride, size_t rows) {
    for (size_t column = 0; column < rows; column += 4) {
        size_t panel_end = (column / PANEL + 1) * PANEL; /* what lies below it up to whole pieces is there already */
        for (size_t row = panel_end; row < rows; row += 4)
            transpose_4x4(c + row * stride + column, stride, c + column * stride + row, stride);
    }
}

void NF_REAL_KERNEL(multiply_packed)(real *c, size_t c_stride, const real *a, size_t a_stride, const real *packed,
                                     size_t rows, size_t columns, size_t width) {
    multiply_tile(c, c_stride, a, a_stride, packed, rows, columns, width, STORE, (scores){0}, false);
}

void NF_REAL_KERNEL(multiply_exp)(real *c, size_t c_stride, const real *a, size_t a_stride, const real *packed,
                                  size_t rows, size_t columns, size_t width, real scale, real shift, bool symmetric) {
    scores s = {.scale = scale, .shift = shift};
    multiply_tile(c, c_stride, a, a_stride, packed, rows, columns, width, EXPONENTIAL, s, symmetric);
    if (symmetric)
        mirror_upper(c, c_stride, rows);
}

void NF_REAL_KERNEL(multiply_weights)(real *c, size_t c_stride, const real *a, size_t a_stride, const real *packed,
                                      size_t rows, size_t columns, size_t width, real scale, real shift,
                                      const real *row_factors, const real *column_factors) {
    scores s = {scale, shift, row_factors, column_factors};
    multiply_tile(c, c_stride, a, a_stride, packed, rows, columns, width, WEIGHT, s, false);
}

/* All rows of c, for one panel of columns. */
NF_INLINE void add_panel(real *c, const real *w, size_t w_row, size_t w_step, const real *b, size_t stride, size_t rows,
                         size_t depth, const int vectors) {
    for (size_t i = 0; i < rows; i += ROWS)
        multiply_piece(c + i * stride, stride, w + i * w_row, w_row, w_step, b, stride, depth, vectors, ADD, NULL,
                       NULL);
}

/* Vectors of the next panel. One of a single vector is slow: a remainder of one is shared by the last two panels. */
NF_INLINE size_t next_panel(size_t vectors) {
    if (VECTORS > 2 && vectors == VECTORS + 1)
        return 2;
    return vectors < VECTORS ? vectors : VECTORS;
}

NF_INLINE void add_product(real *c, const real *w, size_t w_row, size_t w_step, const real *b, size_t stride,
                           size_t rows, size_t columns, size_t depth) {
    size_t vectors = (columns + NF_WIDTH - 1) / NF_WIDTH;
    while (vectors > 0) {
        size_t now = next_panel(vectors);
        if (now == VECTORS)
            add_panel(c, w, w_row, w_step, b, stride, rows, depth, VECTORS);
        else if (VECTORS > 2 && now == 2)
            add_panel(c, w, w_row, w_step, b, stride, rows, depth, 2);
        else
            add_panel(c, w, w_row, w_step, b, stride, rows, depth, 1);
        c += now * NF_WIDTH;
        b += now * NF_WIDTH;
        vectors -= now;
    }
}

void NF_REAL_KERNEL(multiply_add)(real *c, const real *w, size_t w_stride, const real *b, size_t stride, size_t rows,
                                  size_t columns, size_t depth) {
    add_product(c, w, w_stride, 1, b, stride, rows, columns, depth);
}

void NF_REAL_KERNEL(multiply_transposed_add)(real *c, const real *w, size_t w_stride, const real *b, size_t stride,
                                             size_t rows, size_t columns, size_t depth) {
    add_product(c, w, 1, w_stride, b, stride, rows, columns, depth);
}

NF_INLINE void weigh_row(real *w, const real *e, real row_factor, const real *column_factors, size_t columns) {
    for (size_t j = 0; j < columns; j += NF_WIDTH) {
        vreal factor = v_set(row_factor);
        if (column_factors)
            factor = v_add(factor, v_load(column_factors + j));
        v_store(w + j, v_mul(v_load(e + j), factor));
    }
}

/* The exponentials come from afar: those of the next rows are fetched while the first panel of these is made. */
void NF_REAL_KERNEL(weigh_add)(real *c, real *w, size_t w_stride, const real *e, size_t e_stride,
                               const real *row_factors, const real *column_factors, const real *b, size_t stride,
                               size_t rows, size_t columns, size_t depth) {
    size_t weights = (depth + 15) / 16 * 16, vectors = next_panel((columns + NF_WIDTH - 1) / NF_WIDTH);
    size_t panel = vectors * NF_WIDTH;
    for (size_t i = 0; i < rows; i += ROWS) {
        for (size_t row = i; row < i + ROWS; row++)
            weigh_row(w + row * w_stride, e + row * e_stride, row_factors[row], column_factors, weights);
        const real *ahead = e + (i + ROWS < rows ? i + ROWS : i) * e_stride;
        if (vectors == VECTORS)
            multiply_piece(c + i * stride, stride, w + i * w_stride, w_stride, 1, b, stride, depth, VECTORS, ADD, NULL,
                           ahead);
        else if (VECTORS > 2 && vectors == 2)
            multiply_piece(c + i * stride, stride, w + i * w_stride, w_stride, 1, b, stride, depth, 2, ADD, NULL,
                           ahead);
        else
            multiply_piece(c + i * stride, stride, w + i * w_stride, w_stride, 1, b, stride, depth, 1, ADD, NULL,
                           ahead);
    }
    if (columns > panel)
        add_product(c + panel, w, w_stride, 1, b + panel, stride, rows, columns - panel, depth);
}
