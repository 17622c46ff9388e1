/* The thread pool: one set of workers for the whole process, started at first use. */
#ifndef NF_CORE_THREADS_H
#define NF_CORE_THREADS_H

#include "status.h"

/* One piece of work. `task` says which; `worker` (0..NF_MAX_THREADS-1) says who does it, to pick scratch memory: no two
 * tasks run with the same `worker` at the same time. A task should end within some 20 ms, so that Ctrl-C is honoured.
 */
typedef void (*nf_task)(void *context, int64_t task, int worker);

/* Runs tasks 0..count-1 on the pool, in any order, with `worker` < `workers`, and waits for them. Each worker begins
 * with a share of tasks that follow each other, the same in every call of as many tasks, and then helps the others:
 * what a task leaves in a cache, the tasks next to it and those of the next call find there. For results that do not
 * depend on the number of threads, let `count` and what a task computes depend on the problem alone, and add partial
 * results in task order afterwards. Called from inside a task, or while another thread uses the pool, the tasks run on
 * the calling thread. Denormals are flushed to zero inside tasks. Returns NF_OK, or NF_INTERRUPTED with some tasks not
 * run. */
nf_status nf_parallel(nf_task run, void *context, int64_t count, int workers);

/* The same, where a worker takes `group` tasks that follow each other at a time: for tasks of some microseconds. */
nf_status nf_parallel_groups(nf_task run, void *context, int64_t count, int64_t group, int workers);

/* The same, where tasks begin in their order: for such that wait for others. */
nf_status nf_parallel_in_order(nf_task run, void *context, int64_t count, int workers);

/* `workers` for all: nf_get_num_threads() of this moment if the tasks use scratch memory, which is then sized
 * by that number; NF_MAX_THREADS if they don't. */

/* Checks the environment's NEARFAR_NUM_THREADS; called once, at import. */
nf_status nf_threads_init(void);

#endif
