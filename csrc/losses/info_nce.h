/* What info_nce.c hands on to info_nce_paired.c. */
#ifndef NF_LOSSES_INFO_NCE_H
#define NF_LOSSES_INFO_NCE_H

#include "../core/real.h"
#include "../core/status.h"
#include "weights.h"

/* nf_info_nce for NF_PAIRED_NEGATIVES, its arguments checked. Does nothing but set `need_double`, false at first, if
 * float has too few digits for the scores. */
nf_status NF_REAL(nf_info_nce_paired)(double *loss, real *d_query, real *d_key, real *d_negatives,
                                      double *d_temperature, bool *need_double, const real *query, const real *key,
                                      const real *negatives, const nf_weights *weights, int64_t samples, int64_t width,
                                      int64_t negative_count, double temperature, bool normalize,
                                      nf_reduction reduction);

#endif
