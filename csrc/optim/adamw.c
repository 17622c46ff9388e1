/* Adam with decoupled weight decay. */
#include <float.h>
#include <math.h>

#include "../core/dispatch.h"
#include "../core/threads.h"
#include "update.h"

typedef struct adamw_step {
    float *parameters, *first, *second;
    const float *gradients;
    int64_t n;
    float keep, beta1, one_minus_beta1, beta2, one_minus_beta2, step_size, second_scale, eps;
} adamw_step;

static void run(void *context, int64_t task, int worker) {
    (void)worker;
    const adamw_step *s = context;
    int64_t start = task * NF_UPDATE_BLOCK;
    nf_kernel->adamw(s->parameters + start, s->first + start, s->second + start, s->gradients + start,
                     nf_update_length(s->n, task), s->keep, s->beta1, s->one_minus_beta1, s->beta2, s->one_minus_beta2,
                     s->step_size, s->second_scale, s->eps);
}

static nf_status check_betas(double beta1, double beta2) {
    if (!(beta1 >= 0 && beta1 < 1))
        return nf_fail(NF_BAD_VALUE, "betas[0] must be in [0, 1), got %g", beta1);
    if (!(beta2 >= 0 && beta2 < 1))
        return nf_fail(NF_BAD_VALUE, "betas[1] must be in [0, 1), got %g", beta2);
    return NF_OK;
}

nf_status nf_adamw_step(float *parameters, float *first, float *second, const float *gradients, int64_t n, int64_t step,
                        double lr, double beta1, double beta2, double eps, double weight_decay) {
    NF_TRY(nf_update_check(lr, weight_decay));
    NF_TRY(check_betas(beta1, beta2));
    if (!(eps >= (double)FLT_MIN) || isinf(eps)) /* less would be 0 in float32, and 0 / 0 for a gradient of 0 */
        return nf_fail(NF_BAD_VALUE, "eps must be finite and >= %.3g, got %g", (double)FLT_MIN, eps);
    if (step < 1)
        return nf_fail(NF_BAD_VALUE, "step must be >= 1, got %lld", (long long)step);
    double correction1 = 1 - pow(beta1, (double)step), correction2 = 1 - pow(beta2, (double)step);
    adamw_step s = {.parameters = parameters,
                    .first = first,
                    .second = second,
                    .gradients = gradients,
                    .n = n,
                    .keep = (float)(1 - lr * weight_decay),
                    .beta1 = (float)beta1,
                    .one_minus_beta1 = (float)(1 - beta1),
                    .beta2 = (float)beta2,
                    .one_minus_beta2 = (float)(1 - beta2),
                    .step_size = (float)(lr / correction1),
                    .second_scale = (float)(1 / sqrt(correction2)),
                    .eps = (float)eps};
    return nf_parallel(run, &s, nf_update_blocks(n), NF_MAX_THREADS);
}
