/* Views of images with more than 8 bits a value, uint16 or float32: cropped, resized, flipped and normalised. */
#ifndef NF_TRANSFORMS_DEEP_H
#define NF_TRANSFORMS_DEEP_H

#include "view.h"

/* What apply needs besides the recipe, whose records are known to fit the images. */
typedef struct nf_deep_job {
    float *out;
    nf_view_layout layout;
    const nf_recipe *recipe;
    const nf_image *images;
    const char *records;
    size_t record_size;
    int64_t count;
    const float *scale, *offset; /* (channels) */
} nf_deep_job;

/* Are all of the recipe's transforms such as work on these images? */
nf_status nf_deep_check(const nf_recipe *recipe);

/* Makes the views. Float pixels must be finite, at most 1e30 in size. */
nf_status nf_deep_apply(const nf_deep_job *job);

#endif
