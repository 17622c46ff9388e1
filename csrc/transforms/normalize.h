/* Views on their way out: as normalised floats or as bytes. */
#ifndef NF_TRANSFORMS_NORMALIZE_H
#define NF_TRANSFORMS_NORMALIZE_H

#include "view.h"

/* (x / full - mean) / std = x scale + offset, by channel; scale and offset: (channels). */
nf_status nf_normalize_weights(float *scale, float *offset, const double *mean, const double *std, int64_t channels,
                               double full);

/* Writes the view as view number `index` of an array; floats past the caches, if `streams`. */
void nf_view_store(void *out, nf_view_type type, nf_view_layout layout, int64_t index, nf_view *view,
                   const float *scale, const float *offset, bool streams);

#endif
