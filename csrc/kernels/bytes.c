/* Operations on each byte by itself, wherever it stands. Plain loops, which the compilers vectorise. */
#include "kernels.h"
#include "vector.h"

void NF_KERNEL(invert_from)(uint8_t *out, const uint8_t *in, uint8_t from, size_t n) {
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(in[i] ^ (in[i] >= from ? 255 : 0));
}
