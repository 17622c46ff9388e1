/* The momentum encoder's update: an exponential moving average of another network's parameters. */
#include <string.h>

#include "../core/dispatch.h"
#include "../core/threads.h"
#include "update.h"

typedef struct momentum_update {
    float *key;
    const float *query;
    int64_t n;
    float one_minus_m;
} momentum_update;

static void run(void *context, int64_t task, int worker) {
    (void)worker;
    const momentum_update *u = context;
    int64_t start = task * NF_UPDATE_BLOCK;
    size_t length = nf_update_length(u->n, task);
    if (u->one_minus_m == 1.0f) /* key + (query - key) would round */
        memcpy(u->key + start, u->query + start, length * sizeof(float));
    else
        nf_kernel->move_towards(u->key + start, u->query + start, length, u->one_minus_m);
}

nf_status nf_momentum_update(float *key, const float *query, int64_t n, double m) {
    if (!(m >= 0 && m <= 1))
        return nf_fail(NF_BAD_VALUE, "m must be in [0, 1], got %g", m);
    momentum_update u = {key, query, n, (float)(1 - m)};
    return nf_parallel(run, &u, nf_update_blocks(n), NF_MAX_THREADS);
}
