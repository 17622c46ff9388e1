/* Counter-based random numbers (Philox 4x32-10): a number is a function of where it is used, not of what was drawn
 * before. Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. */
#ifndef NF_CORE_RANDOM_H
#define NF_CORE_RANDOM_H

#include "../nearfar.h"

/* The raw generator: 128 random bits from a 128-bit counter and a 64-bit key. */
void nf_philox(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2]);

/* A stream of numbers for one place of use. Key: seed. Counter: (draw number and `stream`, epoch, index low and high).
 */
typedef struct nf_random {
    uint32_t key[2], counter[4], block[4];
    int used;
} nf_random;

/* `stream` tells apart the uses of one (seed, epoch, index), e.g. view * 16 + operation; must be < 2^20. A stream has
 * 2^14 draws; then those of the next one follow. */
nf_random nf_random_at(uint64_t seed, uint32_t epoch, uint64_t index, uint32_t stream);

uint32_t nf_random_bits(nf_random *random);              /* 32 uniform bits */
double nf_random_uniform(nf_random *random);             /* [0, 1), 53 bits, two draws */
uint32_t nf_random_below(nf_random *random, uint32_t n); /* 0..n-1, n >= 1, without bias beyond 2^-32 */
double nf_random_normal(nf_random *random);              /* mean 0, variance 1 (Box-Muller, cosine branch) */

#endif
