/* float rows in double, for what float is not enough for, and their gradient back. */
#ifndef NF_LOSSES_WIDEN_H
#define NF_LOSSES_WIDEN_H

#include "../core/memory.h"

#ifndef NF_DOUBLE
typedef struct nf_wide {
    double *z, *d_z; /* (size) */
    int64_t size;
    void *memory;
} nf_wide;

static inline nf_status nf_widen(nf_wide *wide, const float *z, int64_t size) {
    *wide = (nf_wide){.size = size};
    NF_TRY(nf_alloc(&wide->memory, (size_t)size * 2 * sizeof(double)));
    wide->z = wide->memory;
    wide->d_z = wide->z + size;
    for (int64_t i = 0; i < size; i++)
        wide->z[i] = (double)z[i];
    return NF_OK;
}

/* Frees; d_z = wide->d_z if all went well. */
static inline void nf_narrow(nf_wide *wide, float *d_z, nf_status status) {
    for (int64_t i = 0; status == NF_OK && i < wide->size; i++)
        d_z[i] = (float)wide->d_z[i];
    nf_free(wide->memory);
}
#endif

#endif
