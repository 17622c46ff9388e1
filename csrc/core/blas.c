#define _GNU_SOURCE
#include "blas.h"

#include <cblas.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

/* The bundled copy of OpenBLAS prefixes its symbols, a system's does not: setup.py defines NF_BLAS accordingly. */
#ifndef NF_BLAS
#define NF_BLAS(name) name
#endif

/* ---- When no product may be under way ----
 *
 * While the process forks: OpenBLAS takes a lock in each product, and the child would find it locked for good if
 * another thread held it. When the process exits: OpenBLAS gives its buffers back then, even if other threads (daemon
 * threads of Python, our workers) are computing with them; this library is finalised before OpenBLAS, which it needs.
 * Both wait for the products under way and let no other begin. */

static _Atomic int64_t under_way;
static _Atomic int64_t closings; /* forks under way and exits: no product may begin unless 0 */

static void enter(void) {
    atomic_fetch_add(&under_way, 1);
    while (atomic_load(&closings) > 0) {
        atomic_fetch_sub(&under_way, 1);
        while (atomic_load(&closings) > 0)
            sched_yield();
        atomic_fetch_add(&under_way, 1);
    }
}

static void leave(void) {
    atomic_fetch_sub(&under_way, 1);
}

static void close_products(void) {
    enum { WAIT_US = 50, MOST_WAITS = 20000 }; /* a product takes milliseconds; something is wrong after a second */
    atomic_fetch_add(&closings, 1);
    for (int i = 0; i < MOST_WAITS && atomic_load(&under_way) > 0; i++)
        usleep(WAIT_US);
}

static void reopen_products(void) {
    atomic_fetch_sub(&closings, 1);
}

/* In a fork's child the forking thread, which is in no product, is alone. */
static void reset_after_fork(void) {
    atomic_store(&under_way, 0);
    atomic_store(&closings, 0);
}

__attribute__((destructor)) static void close_blas(void) {
    close_products();
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
    pthread_atfork(close_products, reopen_products, reset_after_fork);
    NF_BLAS(openblas_set_num_threads)(1);
}

const char *nf_blas_config(void) {
    return NF_BLAS(openblas_get_config)();
}
