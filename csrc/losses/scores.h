/* Scoring functions: x (N, E) and y (M, D) as the rows and columns of a matrix of products, and the way back from the
 * gradients of these to those of x, y and w. */
#ifndef NF_LOSSES_SCORES_H
#define NF_LOSSES_SCORES_H

#include "rows.h"

/* s_ij = scale factor rows_i . columns_j + row_offsets_i + column_offsets_j, with factor 2 for the distance and 1 else,
 * and rows = x w in the bilinear case; offsets are those of the distance, or zeros. */
typedef struct nf_scored {
    nf_score score;
    const real *x, *w;
    int64_t x_width; /* differs from the rows' in the bilinear case only */
    double scale, factor;
    nf_rows rows, columns;
    real *row_offsets, *column_offsets; /* (nf_rows_room of the counts) */
    double bound;                       /* of |s| */
    bool need_double;                   /* float has too few digits */
    void *memory;
} nf_scored;

/* w (x_width, y_width) is for the bilinear score, else x_width is y_width; sizes >= 1. To be closed whatever it
 * returns. Fails for numbers that are not finite, scores that overflow, and a scale that is not finite and > 0. */
nf_status NF_REAL(nf_scored_open)(nf_scored *scored, nf_score score, const real *x, const real *y, const real *w,
                                  int64_t x_count, int64_t y_count, int64_t x_width, int64_t y_width, double scale);
void NF_REAL(nf_scored_close)(nf_scored *scored);

/* The score of x_i and y_j, exact also where the distance is small. */
double NF_REAL(nf_scored_pair)(const nf_scored *scored, int64_t i, int64_t j);

/* d_x, d_y, and d_w if bilinear, given G = dloss/ds as d_rows = G columns and d_columns = G^T rows, both with the rows'
 * stride, and the sums of G over each row and column. d_rows and d_columns are changed. *d_log_scale = sum_ij G_ij s_ij
 * = dloss/dlog(scale). */
nf_status NF_REAL(nf_scored_gradients)(const nf_scored *scored, real *d_x, real *d_y, real *d_w, double *d_log_scale,
                                       real *d_rows, real *d_columns, const double *row_sums,
                                       const double *column_sums);

#endif
