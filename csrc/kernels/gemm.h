/* The register tile of gemm.c: as many rows as leave room for two vectors of b and a broadcast. */
#ifndef NF_KERNELS_GEMM_H
#define NF_KERNELS_GEMM_H

#include "vector.h"

#if defined(__AVX512F__)
enum { GEMM_ROWS = 12 };
#elif defined(__AVX2__)
enum { GEMM_ROWS = 6 };
#else
enum { GEMM_ROWS = 4 };
#endif
enum { GEMM_COLUMNS = 2 * NF_WIDTH, GEMM_FEW_ROWS = GEMM_ROWS > 6 ? 4 : 2 };

#endif
