/* The distances among the rows of a labelled batch, and gradients through them.
 *
 * Rows are sorted by class, so that a class is a range of rows. A pass hands the loss each row's distances to all rows,
 * from which it makes its statistics, or the slopes dL/dD_ij of what the row contributes as an anchor. From the slopes
 * comes the gradient, with respect to both rows of each distance. Passes go group of rows by group of rows: the slopes
 * of a group are all that is stored, 16 MB or 192 rows of them.
 *
 * D_ij^2 = |z_i|^2 + |z_j|^2 - 2 z_i.z_j by products of blocks; where most of that cancels, from the differences
 * themselves, in double. Equal rows have the distance 0, and no gradient comes from it. */
#ifndef NF_LOSSES_DISTANCES_H
#define NF_LOSSES_DISTANCES_H

#include "rows.h"
#include "weights.h"

#include <stdatomic.h>

typedef struct nf_distances {
    nf_rows rows;         /* sorted by class */
    int64_t count, room;  /* of rows; and with the padding to whole blocks */
    int64_t *order;       /* (count): where the sorted rows come from */
    int64_t *first, *end; /* (count): the rows of a row's class */
    bool squared;         /* D^2 in place of D */
    nf_weights weights;   /* of the sorted rows as anchors: for the losses, which put them into slopes */
    /* float is not enough for these rows, and the caller has to go to double: for their range, or because some are so
     * close that the gradient of D has too few digits. Set by opening and by passes, which are then useless. */
    _Atomic bool need_double;

    real *packed, *squares;         /* the rows in the kernels' own form; (room): |z|^2 */
    real *group;                    /* (group_rows, room), `stride` apart: distances, then slopes */
    real *sums;                     /* (room, rows.stride): sum_j (w_ij + w_ji) z_j */
    double *totals;                 /* (count): sum_j (w_ij + w_ji) */
    double *statistics;             /* (statistics, count): for the loss's own use */
    int64_t group_rows, stride;     /* of a group */
    int64_t group_first, group_end; /* the group in work */
    int workers;
    char *worker_memory;
    size_t worker_bytes; /* of worker_memory, for each worker */
    void *memory, *class_memory;
} nf_distances;

enum { NF_SCRATCH_ROWS = 4 };

/* Called for each row i, in any order, with (room) `distances`, of which those beyond `count` are meaningless. Sets all
 * (count) `slopes`, unless the pass is without gradients. scratch: NF_SCRATCH_ROWS times (room) for its own use. */
typedef void (*nf_weigh)(void *context, int64_t i, const real *distances, real *slopes, real *scratch);

/* z (count, width), labels (count), weights (count) or NULL, and how many statistics; always to be closed. Fails if z
 * has no rows or columns or is not finite, if its squares overflow, and for weights as nf_weights_open does. */
nf_status NF_REAL(nf_distances_open)(nf_distances *d, const real *z, const int64_t *labels, const double *weights,
                                     int64_t count, int64_t width, int64_t statistics, bool squared, bool normalize);
void NF_REAL(nf_distances_close)(nf_distances *d);

/* One pass over all rows; with `gradients`, gradients are added up from the slopes. At most one such pass. */
nf_status NF_REAL(nf_distances_pass)(nf_distances *d, nf_weigh weigh, void *context, bool gradients);

/* d_z (count, width) = the gradient times `scale` and that of the weights, in the order of the rows that were passed
 * in. */
nf_status NF_REAL(nf_distances_gradient)(nf_distances *d, real *d_z, double scale);

/* The distances to the rows of other classes, infinity elsewhere, and up to `room`. */
void NF_REAL(nf_distances_negatives)(const nf_distances *d, int64_t i, real *negatives, const real *distances);

/* sum_kj h(thresholds_k - x_j) over x (room), with h(e) = max(e, 0), or if `soft` log(1 + exp(e)), and its gradients.
 * parts: (count) */
double NF_REAL(nf_margin_terms)(real *d_thresholds, real *d_x, const real *thresholds, int64_t count, const real *x,
                                int64_t room, bool soft, real *parts);

/* slopes (count) times the relative weight of row i. */
void NF_REAL(nf_distances_apply_weight)(const nf_distances *d, int64_t i, real *slopes);

/* The loss from the values of the anchors, sorted by class, without their weights, and how many terms their mean is
 * over; and the scale of its gradient. */
double NF_REAL(nf_distances_reduce)(const nf_distances *d, double *loss, const double *values, double terms,
                                    nf_reduction reduction);

/* In class order, how many rows have the label of row i, itself not counted; and how many another one. */
static inline int64_t nf_positive_count(const nf_distances *d, int64_t i) {
    return d->end[i] - d->first[i] - 1;
}
static inline int64_t nf_negative_count(const nf_distances *d, int64_t i) {
    return d->count - (d->end[i] - d->first[i]);
}

#endif
