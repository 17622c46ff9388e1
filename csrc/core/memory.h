/* The only allocator of csrc/. All blocks are aligned to 64 bytes (a cache line, a 512-bit vector). */
#ifndef NF_CORE_MEMORY_H
#define NF_CORE_MEMORY_H

#include "status.h"

/* `*block` becomes `size` uninitialised bytes (size 0 gives a valid pointer too), of huge pages if they are many and
 * the system offers them. Free with nf_free, which accepts NULL and keeps up to 192 MB for blocks to come, so that
 * calls which follow each other find their memory without page faults. */
nf_status nf_alloc(void **block, size_t size);
void nf_free(void *block);

/* As nf_alloc, for large long-lived blocks: zeroed, page-aligned and backed by huge pages where the system offers them.
 * Free with nf_arena_free and the same size. */
nf_status nf_arena_alloc(void **block, size_t size);
void nf_arena_free(void *block, size_t size);

/* For tests: the `n`-th allocation from now (1 is the next) fails with NF_NO_MEMORY, once; 0 switches this off. */
void nf_alloc_fail_at(int64_t n);

#endif
