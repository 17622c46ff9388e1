#define _GNU_SOURCE
#include "threads.h"

#include "integers.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define FLUSH_DENORMALS 0x8040u /* MXCSR: flush-to-zero and denormals-are-zero */
typedef unsigned float_state;
static float_state flush_denormals(void) {
    unsigned state = _mm_getcsr();
    _mm_setcsr(state | FLUSH_DENORMALS);
    return state;
}
static void restore_float_state(float_state state) {
    _mm_setcsr(state);
}
static void pause_spinning(void) {
    _mm_pause();
}
#else
typedef int float_state;
static float_state flush_denormals(void) {
    return 0;
}
static void restore_float_state(float_state state) {
    (void)state;
}
static void pause_spinning(void) {
}
#endif

/* Operations come in bursts of many short jobs: a worker that sleeps at once would cost each of them a wake-up. */
enum { SPINS_BEFORE_SLEEP = 2000 };
static const int64_t CHECK_INTERVAL_NS = 20 * 1000 * 1000;

/* Tasks that follow each other, on a cache line of its own. */
typedef struct task_range {
    _Alignas(64) _Atomic int64_t next;
    int64_t end;
} task_range;

typedef struct nf_job {
    nf_task run;
    void *context;
    int64_t group;
    int workers, range_count;
    task_range *ranges;
    _Atomic int active; /* workers inside the job, the caller not counted */
    _Atomic bool cancelled;
} nf_job;

static struct {
    _Atomic bool busy;    /* some thread's job has the pool */
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;
    _Atomic unsigned generation; /* counts jobs; written under the lock, read by spinning workers without it */
    nf_job *open;                /* the job that workers may still join */
    int started;                 /* workers that exist, with numbers 1..started */
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static _Atomic int thread_count; /* 0: not decided yet */
static _Thread_local bool inside_task;
static _Thread_local nf_interrupt_check interrupt_check;
static _Thread_local int64_t last_check_ns;

static int64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* ---- How many threads ---- */

/* The number that `text` starts with, at most NF_MAX_THREADS, if that is positive and followed by `end` or nothing;
 * else 0. */
static int parse_count(const char *text, char end) {
    if (!text)
        return 0;
    char *rest;
    long value = strtol(text, &rest, 10);
    if (value < 1 || (*rest != '\0' && *rest != end))
        return 0;
    return value < NF_MAX_THREADS ? (int)value : NF_MAX_THREADS;
}

static int default_thread_count(void) {
    int count = parse_count(getenv("NEARFAR_NUM_THREADS"), '\0');
    if (!count)
        count = parse_count(getenv("OMP_NUM_THREADS"), ','); /* a list there is by level of nesting */
#if defined(__linux__)
    cpu_set_t cpus;
    if (!count && sched_getaffinity(0, sizeof cpus, &cpus) == 0)
        count = CPU_COUNT(&cpus);
#endif
    if (!count) /* not Linux, or more than the 1024 CPUs of a cpu_set_t */
        count = (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (count < 1)
        count = 1;
    return count < NF_MAX_THREADS ? count : NF_MAX_THREADS;
}

nf_status nf_threads_init(void) {
    const char *text = getenv("NEARFAR_NUM_THREADS");
    if (text && *text && !parse_count(text, '\0'))
        return nf_fail(NF_BAD_VALUE, "NEARFAR_NUM_THREADS must be a number >= 1, got \"%s\"", text);
    return NF_OK;
}

int nf_get_num_threads(void) {
    int count = atomic_load(&thread_count);
    if (count == 0) {
        count = default_thread_count();
        atomic_store(&thread_count, count);
    }
    return count;
}

nf_status nf_set_num_threads(int count) {
    if (count < 1 || count > NF_MAX_THREADS)
        return nf_fail(NF_BAD_VALUE, "number of threads must be in 1..%d, got %d", NF_MAX_THREADS, count);
    atomic_store(&thread_count, count);
    return NF_OK;
}

/* ---- Interrupts ---- */

nf_interrupt_check nf_set_interrupt_check(nf_interrupt_check check) {
    nf_interrupt_check previous = interrupt_check;
    interrupt_check = check;
    last_check_ns = now_ns();
    return previous;
}

static bool is_check_due(void) {
    return interrupt_check && now_ns() - last_check_ns >= CHECK_INTERVAL_NS;
}

static bool must_stop(void) {
    bool stop = interrupt_check() != 0;
    last_check_ns = now_ns();
    return stop;
}

/* ---- Running ---- */

static void run_tasks(nf_job *job, int worker) {
    bool was_inside = inside_task;
    inside_task = true;
    float_state state = flush_denormals();
    int left = job->range_count; /* ranges that may have tasks left, this worker's own first */
    task_range *range = job->ranges + worker % job->range_count;
    while (left > 0 && !atomic_load_explicit(&job->cancelled, memory_order_relaxed)) {
        int64_t first = atomic_fetch_add(&range->next, job->group);
        if (first >= range->end) {
            left--;
            range = range + 1 < job->ranges + job->range_count ? range + 1 : job->ranges;
            continue;
        }
        int64_t end = range->end - first < job->group ? range->end : first + job->group;
        for (int64_t task = first; task < end; task++)
            job->run(job->context, task, worker);
        if (worker == 0 && !was_inside && is_check_due()) {
            restore_float_state(state); /* the check may run the caller's own code */
            if (must_stop())
                atomic_store(&job->cancelled, true);
            flush_denormals();
        }
    }
    restore_float_state(state);
    inside_task = was_inside;
}

static void *worker_main(void *argument) {
    int worker = (int)(intptr_t)argument;
    unsigned seen = 0;
    for (;;) {
        for (int spin = 0; spin < SPINS_BEFORE_SLEEP && atomic_load(&pool.generation) == seen; spin++)
            pause_spinning();
        pthread_mutex_lock(&pool.lock);
        while (atomic_load(&pool.generation) == seen)
            pthread_cond_wait(&pool.wake, &pool.lock);
        seen = atomic_load(&pool.generation);
        nf_job *job = pool.open;
        bool surplus = worker == pool.started && worker >= nf_get_num_threads();
        if (surplus)
            pool.started--;
        else if (job && worker < job->workers)
            atomic_fetch_add(&job->active, 1);
        else
            job = NULL;
        pthread_mutex_unlock(&pool.lock);
        if (surplus)
            return NULL;
        if (job) {
            run_tasks(job, worker);
            atomic_fetch_sub(&job->active, 1); /* the job may be gone right after this */
        }
    }
}

/* In a fork's child only the forking thread lives on: forget the workers, and locks that others may have held. */
static void reset_after_fork(void) {
    if (pool.open) { /* if this is the forking thread's own (a signal's handler forked): what its workers did is lost */
        atomic_store(&pool.open->active, 0);
        atomic_store(&pool.open->cancelled, true);
    }
    pthread_mutex_init(&pool.lock, NULL);
    pthread_cond_init(&pool.wake, NULL);
    atomic_store(&pool.busy, false);
    atomic_store(&pool.generation, 0);
    pool.open = NULL;
    pool.started = 0;
}

static void register_fork_handler(void) {
    pthread_atfork(NULL, NULL, reset_after_fork);
}

/* Starts what is missing of `wanted` workers. If the system refuses one, the work is done by those there are. */
static void start_workers(int wanted) {
    if (pool.started >= wanted)
        return;
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, register_fork_handler);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* workers inherit it: signals are for the threads of the caller */
    while (pool.started < wanted) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, worker_main, (void *)(intptr_t)(pool.started + 1)) != 0)
            break;
        pthread_detach(thread);
        pool.started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static nf_status run_job(nf_task run, void *context, int64_t count, int64_t group, int workers, bool in_order) {
    task_range ranges[NF_MAX_THREADS];
    nf_job job = {.run = run, .context = context, .group = group, .workers = nf_get_num_threads(), .ranges = ranges};
    int64_t groups = nf_ceil_div(count, group);
    if (job.workers > workers)
        job.workers = workers;
    if (job.workers > groups)
        job.workers = (int)groups;
    job.range_count = in_order ? 1 : (int)nf_max(job.workers, 1);
    for (int i = 0; i < job.range_count; i++) {
        atomic_init(&ranges[i].next, groups * i / job.range_count * group);
        ranges[i].end = nf_min(groups * (i + 1) / job.range_count * group, count);
    }
    bool alone = job.workers <= 1 || inside_task || atomic_exchange(&pool.busy, true);
    if (alone) {
        run_tasks(&job, 0);
    } else {
        pthread_mutex_lock(&pool.lock);
        start_workers(job.workers - 1);
        pool.open = &job;
        atomic_fetch_add(&pool.generation, 1);
        pthread_cond_broadcast(&pool.wake);
        pthread_mutex_unlock(&pool.lock);

        run_tasks(&job, 0);

        pthread_mutex_lock(&pool.lock);
        pool.open = NULL; /* who has not joined by now need not */
        pthread_mutex_unlock(&pool.lock);
        for (int spin = 0; atomic_load(&job.active) > 0; spin++)
            spin < SPINS_BEFORE_SLEEP ? pause_spinning() : (void)sched_yield();
        atomic_store(&pool.busy, false);
    }
    return atomic_load(&job.cancelled) ? nf_fail(NF_INTERRUPTED, "interrupted") : NF_OK;
}

nf_status nf_parallel(nf_task run, void *context, int64_t count, int workers) {
    return run_job(run, context, count, 1, workers, false);
}

nf_status nf_parallel_groups(nf_task run, void *context, int64_t count, int64_t group, int workers) {
    return run_job(run, context, count, group, workers, false);
}

nf_status nf_parallel_in_order(nf_task run, void *context, int64_t count, int workers) {
    return run_job(run, context, count, 1, workers, true);
}
