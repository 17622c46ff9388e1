/* Stochastic gradient descent with momentum. The first step needs no case of its own: from a buffer of zeros,
 * momentum * 0 + d is the first gradient. */
#include "../core/dispatch.h"
#include "../core/threads.h"
#include "update.h"

typedef struct sgd_step {
    float *parameters, *buffer;
    const float *gradients;
    int64_t n;
    float lr, momentum, weight_decay;
    bool nesterov;
} sgd_step;

static void run(void *context, int64_t task, int worker) {
    (void)worker;
    const sgd_step *s = context;
    int64_t start = task * NF_UPDATE_BLOCK;
    nf_kernel->sgd(s->parameters + start, s->buffer ? s->buffer + start : NULL, s->gradients + start,
                   nf_update_length(s->n, task), s->lr, s->momentum, s->weight_decay, 1.0f, s->nesterov);
}

nf_status nf_sgd_step(float *parameters, float *buffer, const float *gradients, int64_t n, double lr, double momentum,
                      double weight_decay, bool nesterov) {
    NF_TRY(nf_update_check(lr, weight_decay));
    NF_TRY(nf_update_check_momentum(momentum, nesterov, buffer));
    sgd_step step = {parameters,      momentum > 0 ? buffer : NULL, gradients, n, (float)lr,
                     (float)momentum, (float)weight_decay,          nesterov};
    return nf_parallel(run, &step, nf_update_blocks(n), NF_MAX_THREADS);
}
