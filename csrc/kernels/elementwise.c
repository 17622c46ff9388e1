#include "kernels.h"
#include "vector.h"

void NF_KERNEL(add)(float *out, const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i += NF_WIDTH)
        v_store_some(out + i, v_add(v_load_some(a + i, n - i), v_load_some(b + i, n - i)), n - i);
}

void NF_KERNEL(relu)(float *y, const float *x, size_t n) {
    for (size_t i = 0; i < n; i += NF_WIDTH)
        v_store_some(y + i, v_max(v_load_some(x + i, n - i), v_zero()), n - i);
}

void NF_KERNEL(relu_backward)(float *d_x, const float *d_y, const float *y, size_t n, bool accumulate) {
    for (size_t i = 0; i < n; i += NF_WIDTH) {
        vreal d = v_keep(v_gt(v_load_some(y + i, n - i), v_zero()), v_load_some(d_y + i, n - i));
        v_store_some(d_x + i, accumulate ? v_add(v_load_some(d_x + i, n - i), d) : d, n - i);
    }
}

void NF_KERNEL(scale)(float *out, const float *a, float factor, size_t n, bool accumulate) {
    for (size_t i = 0; i < n; i += NF_WIDTH) {
        vreal scaled = v_mul(v_load_some(a + i, n - i), v_set(factor));
        v_store_some(out + i, accumulate ? v_add(v_load_some(out + i, n - i), scaled) : scaled, n - i);
    }
}

void NF_KERNEL(column_sums)(float *sums, const float *x, size_t rows, size_t c, bool accumulate) {
    for (size_t j = 0; j < c; j += NF_WIDTH) {
        vreal sum = v_zero();
        for (size_t i = 0; i < rows; i++)
            sum = v_add(sum, v_load_some(x + i * c + j, c - j));
        v_store_some(sums + j, accumulate ? v_add(v_load_some(sums + j, c - j), sum) : sum, c - j);
    }
}
