/* What the optimisers share: checks of the common settings, and the split of flat vectors into tasks. */
#ifndef NF_OPTIM_UPDATE_H
#define NF_OPTIM_UPDATE_H

#include "../core/status.h"

/* Elements that one task updates. Depends on nothing, so that results don't either. */
enum { NF_UPDATE_BLOCK = 1 << 15 };

static inline int64_t nf_update_blocks(int64_t n) {
    return (n + NF_UPDATE_BLOCK - 1) / NF_UPDATE_BLOCK;
}

static inline size_t nf_update_length(int64_t n, int64_t block) {
    int64_t rest = n - block * NF_UPDATE_BLOCK;
    return (size_t)(rest < NF_UPDATE_BLOCK ? rest : NF_UPDATE_BLOCK);
}

/* lr and weight_decay must be finite and >= 0. */
nf_status nf_update_check(double lr, double weight_decay);

/* momentum must be in [0, 1); Nesterov's form needs some; with momentum there must be a buffer. */
nf_status nf_update_check_momentum(double momentum, bool nesterov, const float *buffer);

#endif
