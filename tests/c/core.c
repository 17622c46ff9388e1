/* Exercises the thread pool, the random numbers and the status messages without Python, from several threads at once:
 * made to be run under a sanitizer. Prints what is wrong and returns 1; returns 0 if nothing is. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../csrc/core/memory.h"
#include "../../csrc/core/random.h"
#include "../../csrc/core/status.h"
#include "../../csrc/core/threads.h"

static _Atomic int failures;

#define CHECK(condition)                                                              \
    do {                                                                              \
        if (!(condition)) {                                                           \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
            atomic_fetch_add(&failures, 1);                                           \
        }                                                                             \
    } while (0)

enum { TASKS = 200, ROUNDS = 500, CALLERS = 3 };

typedef struct job {
    int64_t results[TASKS]; /* not atomic: each is written by one task, and read after the job */
    int runs[TASKS];
    _Atomic int busy[NF_MAX_THREADS];
    uint64_t seed;
} job;

static void task(void *context, int64_t index, int worker) {
    job *j = context;
    CHECK(worker >= 0 && worker < NF_MAX_THREADS);
    CHECK(atomic_fetch_add(&j->busy[worker], 1) == 0); /* nobody else has this worker's scratch memory */
    nf_random random = nf_random_at(j->seed, 1, (uint64_t)index, 2);
    for (int i = 0; i < 20; i++)
        j->results[index] += nf_random_below(&random, 1000);
    j->runs[index]++;
    atomic_fetch_sub(&j->busy[worker], 1);
}

static void nesting_task(void *context, int64_t index, int worker) {
    job inner = {.seed = (uint64_t)index};
    CHECK(nf_parallel(task, &inner, TASKS / 10, NF_MAX_THREADS) == NF_OK);
    task(context, index, worker);
}

static void check_job(const job *j, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        nf_random random = nf_random_at(j->seed, 1, (uint64_t)i, 2);
        int64_t expected = 0;
        for (int k = 0; k < 20; k++)
            expected += nf_random_below(&random, 1000);
        CHECK(j->runs[i] == 1 && j->results[i] == expected);
    }
    for (int64_t i = count; i < TASKS; i++)
        CHECK(j->runs[i] == 0);
}

static void *call_many(void *argument) {
    int caller = (int)(intptr_t)argument;
    char wanted[64];
    for (int round = 0; round < ROUNDS; round++) {
        job j = {.seed = (uint64_t)(caller * ROUNDS + round)};
        int64_t count = (round * 7) % (TASKS + 1);
        CHECK(nf_parallel(round % 5 ? task : nesting_task, &j, count, round % 3 ? NF_MAX_THREADS : 2) == NF_OK);
        check_job(&j, count);

        void *block;
        size_t size = (size_t)(round % 7) << 13;
        CHECK(nf_alloc(&block, size) == NF_OK && block && (uintptr_t)block % 64 == 0);
        memset(block, caller, size); /* a race, if anybody else had it too */
        nf_free(block);

        CHECK(nf_fail(NF_BAD_VALUE, "caller %d, round %d", caller, round) == NF_BAD_VALUE);
        if (round % 16 == 0)
            sched_yield();
        snprintf(wanted, sizeof wanted, "caller %d, round %d", caller, round);
        CHECK(strcmp(nf_last_message(), wanted) == 0); /* every thread has its own */
    }
    return NULL;
}

static _Atomic bool done;

static void *change_thread_count(void *unused) {
    (void)unused;
    for (int i = 0; !atomic_load(&done); i++) {
        CHECK(nf_set_num_threads(1 + i % 6) == NF_OK);
        sched_yield();
    }
    return NULL;
}

/* ---- Interrupts ---- */

static int checks_before_stop;

static int check(void) {
    return --checks_before_stop <= 0;
}

static void slow_task(void *context, int64_t index, int worker) {
    (void)index, (void)worker;
    atomic_fetch_add((_Atomic int *)context, 1);
    struct timespec pause = {.tv_nsec = 2 * 1000 * 1000};
    nanosleep(&pause, NULL);
}

static void test_interrupt(void) {
    _Atomic int run = 0;
    CHECK(nf_set_interrupt_check(check) == NULL);
    checks_before_stop = 2;
    CHECK(nf_parallel(slow_task, &run, 10000, NF_MAX_THREADS) == NF_INTERRUPTED);
    CHECK(run > 10 && run < 1000);
    CHECK(strcmp(nf_last_message(), "interrupted") == 0);
    CHECK(nf_set_interrupt_check(NULL) == check);
    run = 0;
    CHECK(nf_parallel(slow_task, &run, 30, NF_MAX_THREADS) == NF_OK);
    CHECK(run == 30);
}

/* ---- Spared memory ---- */

#if defined(__SANITIZE_ADDRESS__) /* then every block is new */
#define CHECK_SPARED(condition) ((void)0)
#else
#define CHECK_SPARED CHECK
#endif

static void test_spares(void) {
    const size_t large = 40 << 20;
    void *first, *second, *third;
    CHECK(nf_alloc(&first, large) == NF_OK);
    nf_free(first);
    nf_alloc_fail_at(1);
    CHECK(nf_alloc(&second, large) == NF_NO_MEMORY && !second);
    CHECK(nf_alloc(&second, large) == NF_OK);
    CHECK_SPARED(second == first);
    CHECK(nf_alloc(&first, large) == NF_OK && second != first);
    nf_free(first);
    CHECK(nf_alloc(&third, large + 1) == NF_OK && third != second);
    ((char *)third)[large] = 1;
    nf_free(third);
    nf_free(second);
    CHECK(nf_alloc(&second, large / 4) == NF_OK); /* none of the spare ones: they are far too large */
    CHECK_SPARED(second != first && second != third);
    nf_free(second);
    CHECK(nf_alloc(&second, large) == NF_OK); /* the smallest that will do */
    CHECK_SPARED(second != third);
    nf_free(second);
    void *many[40];
    for (int i = 0; i < 40; i++)
        CHECK(nf_alloc(&many[i], (size_t)(i + 1) << 20) == NF_OK);
    for (int i = 0; i < 40; i++)
        nf_free(many[i]);
    CHECK(nf_alloc(&first, (size_t)300 << 20) == NF_OK); /* more than is ever spared */
    nf_free(first);
    CHECK(nf_alloc(&second, (size_t)40 << 20) == NF_OK);
    CHECK_SPARED(second == many[39]);
    nf_free(second);
}

/* ---- Bad values ---- */

static void test_limits(void) {
    CHECK(nf_set_num_threads(0) == NF_BAD_VALUE);
    CHECK(strcmp(nf_last_message(), "number of threads must be in 1..64, got 0") == 0);
    CHECK(nf_set_num_threads(NF_MAX_THREADS + 1) == NF_BAD_VALUE);
    void *block;
    CHECK(nf_alloc(&block, SIZE_MAX) == NF_NO_MEMORY && !block);
    CHECK(nf_arena_alloc(&block, SIZE_MAX) == NF_NO_MEMORY && !block);
    nf_alloc_fail_at(2);
    CHECK(nf_alloc(&block, 1) == NF_OK);
    nf_free(block);
    CHECK(nf_alloc(&block, 1) == NF_NO_MEMORY && !block);
    CHECK(nf_arena_alloc(&block, 1 << 20) == NF_OK);
    CHECK(((char *)block)[(1 << 20) - 1] == 0);
    nf_arena_free(block, 1 << 20);
    nf_arena_free(NULL, 0);
    nf_free(NULL);
    char text[2000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    nf_fail(NF_BAD_VALUE, "%s", text);
    CHECK(strlen(nf_last_message()) == 511); /* cut, not overrun */
}

int main(void) {
    CHECK(nf_set_num_threads(4) == NF_OK);
    test_spares();
    test_limits();
    test_interrupt();
    pthread_t callers[CALLERS], changer;
    pthread_create(&changer, NULL, change_thread_count, NULL);
    for (int i = 0; i < CALLERS; i++)
        pthread_create(&callers[i], NULL, call_many, (void *)(intptr_t)i);
    for (int i = 0; i < CALLERS; i++)
        pthread_join(callers[i], NULL);
    atomic_store(&done, true);
    pthread_join(changer, NULL);
    return atomic_load(&failures) != 0;
}
