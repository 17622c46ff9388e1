/* Plain matrix products by OpenBLAS, single-threaded: call them from tasks. Row-major, dense; ld is the row stride. */
#ifndef NF_CORE_BLAS_H
#define NF_CORE_BLAS_H

#include "../nearfar.h"

typedef enum nf_transpose { NF_PLAIN = 0, NF_TRANSPOSED = 1 } nf_transpose;

/* c (m, n) = alpha op(a) (m, k) op(b) (k, n) + beta c */
void nf_gemm_f32(float *c, nf_transpose op_a, nf_transpose op_b, int64_t m, int64_t n, int64_t k, float alpha,
                 const float *a, int64_t lda, const float *b, int64_t ldb, float beta, int64_t ldc);
void nf_gemm_f64(double *c, nf_transpose op_a, nf_transpose op_b, int64_t m, int64_t n, int64_t k, double alpha,
                 const double *a, int64_t lda, const double *b, int64_t ldb, double beta, int64_t ldc);

/* Sets the library to one thread; called once, at import. */
void nf_blas_init(void);

#endif
