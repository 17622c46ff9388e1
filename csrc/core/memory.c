#define _GNU_SOURCE
#include "memory.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static _Atomic int64_t fail_countdown;

void nf_alloc_fail_at(int64_t n) {
    atomic_store(&fail_countdown, n);
}

static bool must_fail(void) {
    return atomic_load(&fail_countdown) > 0 && atomic_fetch_sub(&fail_countdown, 1) == 1;
}

/* The C library asks the system anew for each block of this size, where page faults would take as long as the work. */
enum { HUGE_BLOCK = 32 << 20, HUGE_PAGE = 2 << 20 };

nf_status nf_alloc(void **block, size_t size) {
    *block = NULL;
    bool huge = size >= HUGE_BLOCK;
    if (must_fail() || size > PTRDIFF_MAX - HUGE_PAGE ||
        posix_memalign(block, huge ? HUGE_PAGE : 64, size ? size : 64) != 0) {
        *block = NULL;
        return nf_fail(NF_NO_MEMORY, "out of memory: %zu bytes are not available", size);
    }
#ifdef MADV_HUGEPAGE
    if (huge)
        madvise(*block, size, MADV_HUGEPAGE); /* advice only */
#endif
    return NF_OK;
}

void nf_free(void *block) {
    free(block);
}

/* Whoever finds the spare block in another thread's hands does without: nobody waits, nor does a fork's child. */
enum { LARGEST_SPARE = 128 << 20 };
static struct {
    atomic_flag in_use;
    void *block;
    size_t size;
} spare = {.in_use = ATOMIC_FLAG_INIT};

/* Puts a block (NULL: none) in the place of the spare one, which it returns, with its size. */
static void *exchange_spare(void *block, size_t *size) {
    if (atomic_flag_test_and_set_explicit(&spare.in_use, memory_order_acquire))
        return block;
    void *previous = spare.block;
    size_t previous_size = spare.size;
    spare.block = block;
    spare.size = *size;
    *size = previous_size;
    atomic_flag_clear_explicit(&spare.in_use, memory_order_release);
    return previous;
}

nf_status nf_scratch_alloc(void **block, size_t size) {
    size_t spare_size = 0;
    *block = NULL;
    if (size < HUGE_BLOCK || size > LARGEST_SPARE)
        return nf_alloc(block, size);
    void *previous = exchange_spare(NULL, &spare_size);
    if (!previous || spare_size < size) {
        nf_free(previous);
        return nf_alloc(block, size);
    }
    if (must_fail()) {
        nf_free(previous);
        return nf_fail(NF_NO_MEMORY, "out of memory: %zu bytes are not available", size);
    }
    *block = previous;
    return NF_OK;
}

void nf_scratch_free(void *block, size_t size) {
    if (block && size >= HUGE_BLOCK && size <= LARGEST_SPARE)
        block = exchange_spare(block, &size);
    nf_free(block);
}

nf_status nf_arena_alloc(void **block, size_t size) {
    *block = NULL;
    if (size == 0)
        return NF_OK;
    void *mapped = MAP_FAILED;
    if (!must_fail() && size <= PTRDIFF_MAX)
        mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED)
        return nf_fail(NF_NO_MEMORY, "out of memory: %zu bytes are not available", size);
#ifdef MADV_HUGEPAGE
    madvise(mapped, size, MADV_HUGEPAGE); /* advice only: without it the block merely costs more page faults */
#endif
    *block = mapped;
    return NF_OK;
}

void nf_arena_free(void *block, size_t size) {
    if (block)
        munmap(block, size);
}
