#include "update.h"

#include <math.h>

nf_status nf_update_check(double lr, double weight_decay) {
    if (!(lr >= 0) || isinf(lr))
        return nf_fail(NF_BAD_VALUE, "lr must be finite and >= 0, got %g", lr);
    if (!(weight_decay >= 0) || isinf(weight_decay))
        return nf_fail(NF_BAD_VALUE, "weight_decay must be finite and >= 0, got %g", weight_decay);
    return NF_OK;
}

nf_status nf_update_check_momentum(double momentum, bool nesterov, const float *buffer) {
    if (!(momentum >= 0 && momentum < 1))
        return nf_fail(NF_BAD_VALUE, "momentum must be in [0, 1), got %g", momentum);
    if (nesterov && momentum == 0)
        return nf_fail(NF_BAD_VALUE, "nesterov needs momentum > 0, got 0");
    if (momentum > 0 && !buffer)
        return nf_fail(NF_BAD_VALUE, "momentum %g needs a momentum buffer", momentum);
    return NF_OK;
}
