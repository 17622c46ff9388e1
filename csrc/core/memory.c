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

/* The C library gives large blocks back to the system and asks for them anew, where page faults would take as long as
 * the work: call after call needs the same. So blocks that are freed are spared for the next that they fit. */
enum { HUGE_BLOCK = 4 << 20, HUGE_PAGE = 2 << 20, HEADER = 64 };
enum { SPARES = 16, LEAST_SPARE = 1 << 14, MOST_SPARED = 192 << 20 };
#if defined(__SANITIZE_ADDRESS__) /* which is to see that a block is used after it was freed */
static const bool spares_blocks = false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
static const bool spares_blocks = false;
#else
static const bool spares_blocks = true;
#endif
#else
static const bool spares_blocks = true;
#endif

/* Precedes what the caller sees. */
typedef struct header {
    size_t size; /* of the block, the header included */
} header;
_Static_assert(sizeof(header) <= HEADER, "a header must have room before an aligned block");

/* Whoever finds the spares in another thread's hands does without: nobody waits, nor does a fork's child. */
static struct {
    atomic_flag in_use;
    header *blocks[SPARES]; /* the oldest first */
    int count;
    size_t bytes;
} spare = {.in_use = ATOMIC_FLAG_INIT};

static bool enter_spares(void) {
    return spares_blocks && !atomic_flag_test_and_set_explicit(&spare.in_use, memory_order_acquire);
}
static void leave_spares(void) {
    atomic_flag_clear_explicit(&spare.in_use, memory_order_release);
}

static header *take_spare(int index) {
    header *block = spare.blocks[index];
    spare.bytes -= block->size;
    spare.count--;
    for (int i = index; i < spare.count; i++)
        spare.blocks[i] = spare.blocks[i + 1];
    return block;
}

/* The smallest spare block of `size` bytes, but not one of far more; NULL if there is none. */
static header *find_spare(size_t size) {
    if (size < LEAST_SPARE || !enter_spares())
        return NULL;
    int best = -1;
    for (int i = 0; i < spare.count; i++) {
        size_t have = spare.blocks[i]->size;
        if (have >= size && have / 2 <= size && (best < 0 || have < spare.blocks[best]->size))
            best = i;
    }
    header *block = best < 0 ? NULL : take_spare(best);
    leave_spares();
    return block;
}

/* Puts a block with the spares, and frees old ones until it has room there; or frees it. */
static void spare_or_free(header *block) {
    header *old[SPARES + 1];
    int count = 0;
    if (block->size < LEAST_SPARE || block->size > MOST_SPARED || !enter_spares()) {
        free(block);
        return;
    }
    while (spare.count == SPARES || spare.bytes > MOST_SPARED - block->size)
        old[count++] = take_spare(0);
    spare.blocks[spare.count++] = block;
    spare.bytes += block->size;
    leave_spares();
    while (count > 0)
        free(old[--count]);
}

static void free_spares(void) {
    header *old[SPARES];
    int count = 0;
    if (!enter_spares())
        return;
    while (spare.count > 0)
        old[count++] = take_spare(0);
    leave_spares();
    while (count > 0)
        free(old[--count]);
}

static header *new_block(size_t size) {
    void *block;
    bool huge = size >= HUGE_BLOCK;
    size_t alignment = huge ? HUGE_PAGE : HEADER;
    if (posix_memalign(&block, alignment, size) != 0) {
        free_spares();
        if (posix_memalign(&block, alignment, size) != 0)
            return NULL;
    }
#ifdef MADV_HUGEPAGE
    if (huge)
        madvise(block, size, MADV_HUGEPAGE); /* advice only */
#endif
    *(header *)block = (header){.size = size};
    return block;
}

nf_status nf_alloc(void **block, size_t size) {
    *block = NULL;
    header *found = NULL;
    if (!must_fail() && size <= PTRDIFF_MAX - HUGE_PAGE) {
        found = find_spare(size + HEADER);
        found = found ? found : new_block(size + HEADER);
    }
    if (!found)
        return nf_fail(NF_NO_MEMORY, "out of memory: %zu bytes are not available", size);
    *block = (char *)found + HEADER;
    return NF_OK;
}

void nf_free(void *block) {
    if (block)
        spare_or_free((header *)((char *)block - HEADER));
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
