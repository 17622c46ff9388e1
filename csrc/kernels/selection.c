#include "kernels.h"
#include "vector.h"

/* Looks at four vectors at once, and closely only where one of them has something. */
size_t NF_KERNEL(find_above)(const float *x, size_t n, float threshold) {
    size_t i = 0;
    for (; i + 4 * NF_WIDTH <= n; i += 4 * NF_WIDTH) {
        vreal a = v_max(v_load(x + i), v_load(x + i + NF_WIDTH));
        vreal b = v_max(v_load(x + i + 2 * NF_WIDTH), v_load(x + i + 3 * NF_WIDTH));
        if (v_maximum(v_max(a, b)) > threshold)
            break;
    }
    while (i < n && !(x[i] > threshold))
        i++;
    return i;
}
