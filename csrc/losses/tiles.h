/* The engine of the N x N losses: soft-max statistics and gradients of a matrix of scores that is not stored.
 *
 * With scores s_ij = rows_i . columns_j / temperature, of which the pairs i = j (mod period) or a range of columns for
 * each row are left out, one pass over the tiles of s gives log sum_j exp(s_ij) for each row (and column), and a second
 * pass the gradients. The second pass computes the tiles again, but for those whose exponentials fit a fixed memory.
 * Tiles go by blocks, and these in rounds, in which no two share rows or columns, and each block of rows or columns
 * takes part in them in the order of the rounds: no locks, and the same bits for any number of threads. If rows and
 * columns are the same, s is symmetric, and only tiles on and above the diagonal are computed.
 *
 * Exponentials are taken relative to one bound on all scores. Where these spread too far for that, float gives up (the
 * caller goes to double), and double takes them relative to each row's and column's own maximum. */
#ifndef NF_LOSSES_TILES_H
#define NF_LOSSES_TILES_H

#include "rows.h"
#include "weights.h"

typedef struct nf_tiles {
    const real *rows, *columns; /* as nf_rows keeps them; equal pointers: the symmetric case */
    int64_t row_count, column_count, width, stride;
    real *packed; /* the columns once more, in the kernels' own form */
    real *kept;   /* the exponentials of the first `kept_count` tiles */
    int64_t kept_count;
    real *d_rows, *d_columns;   /* the gradients, with `stride`; equal pointers in the symmetric case */
    int64_t period;             /* 0: no pair is left out because of it */
    const int64_t *first, *end; /* (row_count): row i leaves out columns first[i]..end[i]-1; NULL: does not */
    double temperature, bound;
    bool need_double; /* the caller has to go to double; set by opening and by the sums, which are then useless */
    bool spread;      /* double: the scores spread too far for one bound */
    int64_t tile_rows, tile_columns, tile_stride;
    int64_t block; /* tiles along the side of a block of them, which is one task */
    int workers;
    void *memory;
    char *worker_memory;
    size_t worker_bytes; /* of worker_memory, for each worker */
} nf_tiles;

/* Sets everything but `first` and `end`, which the symmetric case may set before the sums, to ranges that leave out i,
 * j if j, i; to be closed. Fails if scores overflow, and if memory is short. */
nf_status NF_REAL(nf_tiles_open)(nf_tiles *tiles, const nf_rows *rows, const nf_rows *columns, int64_t period,
                                 double temperature);
void NF_REAL(nf_tiles_close)(nf_tiles *tiles);

/* row_logs (row_count) = log sum_j exp(s_ij), column_logs (column_count, NULL: not wanted) = log sum_i exp(s_ij);
 * -infinity for an empty sum. In the symmetric case column_logs is NULL. */
nf_status NF_REAL(nf_tiles_log_sums)(nf_tiles *tiles, double *row_logs, double *column_logs);

/* With w_ij = v_i exp(s_ij - row_logs_i) + v_j exp(s_ij - column_logs_j) (column_logs NULL: the first term only), where
 * v are the relative `weights`, tiles->d_rows_i = sum_j w_ij columns_j and tiles->d_columns_j = sum_i w_ij rows_i. The
 * logs must be at least those of log_sums; in the symmetric case both are the same array. */
nf_status NF_REAL(nf_tiles_gradients)(nf_tiles *tiles, const double *row_logs, const double *column_logs,
                                      const nf_weights *weights);

#endif
