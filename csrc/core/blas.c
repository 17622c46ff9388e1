#define _GNU_SOURCE
#include "blas.h"

#include <cblas.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

/* The bundled copy of OpenBLAS prefixes its symbols, a system's does not: setup.py defines NF_BLAS accordingly. */
#ifndef NF_BLAS
#define NF_BLAS(name) name
#endif

/* ---- The end of the process ----
 *
 * OpenBLAS gives its buffers back when the process exits, even if other threads (daemon threads of Python, our workers)
 * are computing with them. This library is finalised before OpenBLAS, which it needs: it waits for the products under
 * way, and lets no other begin. */

static _Atomic int64_t under_way;
static _Atomic bool closed;

static void enter(void) {
    atomic_fetch_add(&under_way, 1);
    if (!atomic_load(&closed))
        return;
    atomic_fetch_sub(&under_way, 1);
    for (;;)
        pause(); /* until the process is gone */
}

static void leave(void) {
    atomic_fetch_sub(&under_way, 1);
}

__attribute__((destructor)) static void close_blas(void) {
    enum { WAIT_US = 200, MOST_WAITS = 5000 }; /* a product takes milliseconds; something is wrong after a second */
    atomic_store(&closed, true);
    for (int i = 0; i < MOST_WAITS && atomic_load(&under_way) > 0; i++)
        usleep(WAIT_US);
}

/* In a fork's child the threads that had products under way are gone. */
static void reset_after_fork(void) {
    atomic_store(&under_way, 0);
}

/* ---- Products ---- */

static enum CBLAS_TRANSPOSE transpose(nf_transpose op) {
    return op == NF_TRANSPOSED ? CblasTrans : CblasNoTrans;
}

void nf_gemm_f32(float *c, nf_transpose op_a, nf_transpose op_b, int64_t m, int64_t n, int64_t k, float alpha,
                 const float *a, int64_t lda, const float *b, int64_t ldb, float beta, int64_t ldc) {
    enter();
    NF_BLAS(cblas_sgemm)
    (CblasRowMajor, transpose(op_a), transpose(op_b), (blasint)m, (blasint)n, (blasint)k, alpha, a, (blasint)lda, b,
     (blasint)ldb, beta, c, (blasint)ldc);
    leave();
}

void nf_gemm_f64(double *c, nf_transpose op_a, nf_transpose op_b, int64_t m, int64_t n, int64_t k, double alpha,
                 const double *a, int64_t lda, const double *b, int64_t ldb, double beta, int64_t ldc) {
    enter();
    NF_BLAS(cblas_dgemm)
    (CblasRowMajor, transpose(op_a), transpose(op_b), (blasint)m, (blasint)n, (blasint)k, alpha, a, (blasint)lda, b,
     (blasint)ldb, beta, c, (blasint)ldc);
    leave();
}

void nf_blas_init(void) {
    pthread_atfork(NULL, NULL, reset_after_fork);
    NF_BLAS(openblas_set_num_threads)(1);
}

const char *nf_blas_config(void) {
    return NF_BLAS(openblas_get_config)();
}
