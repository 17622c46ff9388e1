#include "exponential.h"

#include "kernels.h"

void NF_REAL_KERNEL(exp)(real *y, const real *x, size_t n) {
    for (size_t i = 0; i < n; i += NF_WIDTH)
        v_store_some(y + i, v_exp(v_load_some(x + i, n - i)), n - i);
}
