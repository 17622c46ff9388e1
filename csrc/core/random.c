#include "random.h"

#include <math.h>

void nf_philox(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c0 = n0, c1 = (uint32_t)p1, c2 = n2, c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

static void next_block(nf_random *random) {
    nf_philox(random->block, random->counter, random->key);
    random->counter[0]++;
    random->used = 0;
}

nf_random nf_random_at(uint64_t seed, uint32_t epoch, uint64_t index, uint32_t stream) {
    nf_random random = {.key = {(uint32_t)seed, (uint32_t)(seed >> 32)},
                        .counter = {stream << 12, epoch, (uint32_t)index, (uint32_t)(index >> 32)}};
    next_block(&random);
    return random;
}

uint32_t nf_random_bits(nf_random *random) {
    if (random->used == 4)
        next_block(random);
    return random->block[random->used++];
}

double nf_random_uniform(nf_random *random) {
    uint64_t high = nf_random_bits(random) >> 5, low = nf_random_bits(random) >> 6;
    return (double)((high << 26) | low) * 0x1p-53;
}

uint32_t nf_random_below(nf_random *random, uint32_t n) {
    return (uint32_t)(((uint64_t)nf_random_bits(random) * n) >> 32);
}

double nf_random_normal(nf_random *random) {
    double radius = sqrt(-2.0 * log1p(-nf_random_uniform(random)));
    return radius * cos(6.283185307179586 * nf_random_uniform(random));
}
