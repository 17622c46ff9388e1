/* The engine of losses that are sums over pairs: sum_ij v_i f(s_ij) and its gradient, tile by tile, in one pass.
 *
 * With scores s_ij = scale rows_i . columns_j + row_offsets_i + column_offsets_j, f is log(1 + exp(s)) or exp(s). A
 * tile of products becomes one of derivatives w_ij = v_i f'(s_ij) in place, and these go into the gradients at once:
 * the matrix is not stored, nor computed twice. Within a round no two tiles share rows or columns, and the rounds have
 * a fixed order: no locks, and the same bits for any number of threads. */
#ifndef NF_LOSSES_PAIRS_H
#define NF_LOSSES_PAIRS_H

#include "rows.h"
#include "weights.h"

typedef struct nf_pairs {
    const nf_rows *rows, *columns;
    const real *row_offsets, *column_offsets; /* (nf_rows_room of the counts) */
    double scale;                             /* > 0 */
    nf_weights weights;                       /* v, relative, of the rows */
    bool diagonal;                            /* whether pairs i, i count */
    bool rows_only;                           /* d_columns is not wanted, and NULL */
    real *d_rows, *d_columns;                 /* sum_j w_ij columns_j, sum_i w_ij rows_i; with the rows' stride */
    double *row_sums;                         /* sum_j f(s_ij) */
    double *row_weights, *column_weights;     /* sum_j w_ij, sum_i w_ij */
    real *packed;                             /* the columns once more, in the kernels' own form */
    int64_t row_block, column_block, tile_stride;
    int workers;
    void *memory;
    char *worker_memory;
    size_t worker_bytes;
} nf_pairs;

/* `*pairs` has its fields up to rows_only set. To be closed whatever it returns. Scores must have been checked. */
nf_status NF_REAL(nf_pairs_open)(nf_pairs *pairs);
void NF_REAL(nf_pairs_close)(nf_pairs *pairs);

/* f(s) = log(1 + exp(s)) */
nf_status NF_REAL(nf_pairs_logistic)(nf_pairs *pairs);

/* f(s) = exp(s - *peak). The peak is chosen such that none of it overflows and not all of it underflows, given that
 * all scores lie in lowest..highest. */
nf_status NF_REAL(nf_pairs_exponential)(nf_pairs *pairs, double *peak, double lowest, double highest);

#endif
