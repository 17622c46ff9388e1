/* The optimisers' updates: each reads and writes every array once. */
#include "kernels.h"
#include "vector.h"

void NF_KERNEL(sgd)(float *parameters, float *buffer, const float *gradients, size_t n, float lr, float momentum,
                    float weight_decay, float scale, bool nesterov) {
    vreal decays = v_set(weight_decay), scales = v_set(scale), momenta = v_set(momentum), rates = v_set(lr);
    for (size_t i = 0; i < n; i += NF_WIDTH) {
        size_t rest = n - i;
        vreal p = v_load_some(parameters + i, rest);
        vreal d = v_mul(scales, v_fma(decays, p, v_load_some(gradients + i, rest)));
        if (buffer) {
            vreal b = v_fma(momenta, v_load_some(buffer + i, rest), d);
            v_store_some(buffer + i, b, rest);
            d = nesterov ? v_fma(momenta, b, d) : b;
        }
        v_store_some(parameters + i, v_fnma(rates, d, p), rest);
    }
}

void NF_KERNEL(adamw)(float *parameters, float *first, float *second, const float *gradients, size_t n, float keep,
                      float beta1, float one_minus_beta1, float beta2, float one_minus_beta2, float step_size,
                      float second_scale, float eps) {
    vreal olds1 = v_set(beta1), news1 = v_set(one_minus_beta1), olds2 = v_set(beta2), news2 = v_set(one_minus_beta2);
    vreal keeps = v_set(keep), steps = v_set(step_size), scales = v_set(second_scale), epsilons = v_set(eps);
    for (size_t i = 0; i < n; i += NF_WIDTH) {
        size_t rest = n - i;
        vreal g = v_load_some(gradients + i, rest);
        vreal m = v_load_some(first + i, rest), v = v_load_some(second + i, rest);
        m = v_fma(news1, g, v_mul(olds1, m)); /* not m + (1 - beta1) (g - m): inexact where g is small beside m */
        v = v_fma(news2, v_mul(g, g), v_mul(olds2, v));
        vreal p = v_mul(keeps, v_load_some(parameters + i, rest));
        p = v_fnma(steps, v_div(m, v_fma(scales, v_sqrt(v), epsilons)), p);
        v_store_some(first + i, m, rest);
        v_store_some(second + i, v, rest);
        v_store_some(parameters + i, p, rest);
    }
}

void NF_KERNEL(move_towards)(float *key, const float *query, size_t n, float share) {
    vreal shares = v_set(share);
    for (size_t i = 0; i < n; i += NF_WIDTH) {
        vreal k = v_load_some(key + i, n - i);
        v_store_some(key + i, v_fma(shares, v_sub(v_load_some(query + i, n - i), k), k), n - i);
    }
}

/* In double, sixteen partial sums: the same bits on every instruction set. */
double NF_KERNEL(square_sum)(const float *x, size_t n) {
    double sums[16] = {0};
    size_t whole = n - n % 16;
    for (size_t i = 0; i < whole; i += 16)
        for (size_t j = 0; j < 16; j++)
            sums[j] += (double)x[i + j] * (double)x[i + j];
    for (size_t i = whole; i < n; i++)
        sums[i - whole] += (double)x[i] * (double)x[i];
    for (size_t half = 8; half > 0; half /= 2)
        for (size_t j = 0; j < half; j++)
            sums[j] += sums[j + half];
    return sums[0];
}
