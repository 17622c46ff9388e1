/* Around a call: status to exception, the GIL, Ctrl-C. */
#define _GNU_SOURCE
#include "binding.h"

#include <sys/syscall.h>
#include <unistd.h>

PyObject *nf_raise(nf_status status) {
    switch (status) {
    case NF_NO_MEMORY: PyErr_SetString(PyExc_MemoryError, nf_last_message()); break;
    case NF_INTERRUPTED:
        if (!PyErr_Occurred()) /* the signal's handler has usually raised already */
            PyErr_SetNone(PyExc_KeyboardInterrupt);
        break;
    case NF_OK:
    case NF_BAD_VALUE: PyErr_SetString(PyExc_ValueError, nf_last_message()); break;
    }
    return NULL;
}

static _Thread_local PyThreadState *released;

static int check_signals(void) {
    PyEval_RestoreThread(released);
    int raised = PyErr_CheckSignals();
    released = PyEval_SaveThread();
    nf_set_interrupt_check(check_signals); /* a handler that called an operation has switched it off */
    return raised;
}

/* Python runs signal handlers on the main thread only. Other threads had better not ask: while the interpreter shuts
 * down, taking the GIL ends a thread, here in the middle of a job. Asked of the system once per thread. */
static bool is_main_thread(void) {
#if defined(__linux__)
    static _Thread_local int answer; /* 0: not known */
    if (!answer)
        answer = syscall(SYS_gettid) == getpid() ? 1 : -1;
    return answer > 0;
#else
    return true;
#endif
}

void nf_release_gil(void) {
    released = PyEval_SaveThread();
    nf_set_interrupt_check(is_main_thread() ? check_signals : NULL);
}

void nf_take_gil(void) {
    nf_set_interrupt_check(NULL);
    PyEval_RestoreThread(released);
}
