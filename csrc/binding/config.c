/* Threads and configuration, and the hooks that only tests use. */
#include "binding.h"

#include "../core/dispatch.h"
#include "../core/memory.h"

static PyObject *get_num_threads(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    return PyLong_FromLong(nf_get_num_threads());
}

static PyObject *set_num_threads(PyObject *module, PyObject *argument) {
    (void)module;
    int overflow;
    long count = PyLong_AsLongAndOverflow(argument, &overflow);
    if (count == -1 && PyErr_Occurred())
        return NULL;
    if (overflow)
        count = overflow > 0 ? NF_MAX_THREADS + 1 : -1;
    if (count > NF_MAX_THREADS || count < 0)
        return PyErr_Format(PyExc_ValueError, "n must be in 1..%d, got %S", NF_MAX_THREADS, argument);
    nf_status status = nf_set_num_threads((int)count);
    if (status != NF_OK)
        return nf_raise(status);
    Py_RETURN_NONE;
}

static PyObject *config(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    return Py_BuildValue("{s:s,s:s,s:i}", "instruction_set", nf_instruction_set(), "blas", nf_blas_config(), "threads",
                         nf_get_num_threads());
}

static PyObject *alloc_fail_at(PyObject *module, PyObject *argument) {
    (void)module;
    long long n = PyLong_AsLongLong(argument);
    if (n == -1 && PyErr_Occurred())
        return NULL;
    nf_alloc_fail_at(n);
    Py_RETURN_NONE;
}

static PyObject *kernel_exp(PyObject *module, PyObject *argument) {
    (void)module;
    PyArrayObject *x = nf_input_real(argument, "x", 1, 1);
    if (!x)
        return NULL;
    PyArrayObject *y = nf_new_array(1, PyArray_DIMS(x), PyArray_TYPE(x));
    if (y && PyArray_TYPE(x) == NPY_FLOAT32)
        nf_kernel->exp_f32(PyArray_DATA(y), PyArray_DATA(x), (size_t)PyArray_SIZE(x));
    else if (y)
        nf_kernel->exp_f64(PyArray_DATA(y), PyArray_DATA(x), (size_t)PyArray_SIZE(x));
    Py_DECREF(x);
    return (PyObject *)y;
}

static PyMethodDef methods[] = {
    {"get_num_threads", get_num_threads, METH_NOARGS, NULL},
    {"set_num_threads", set_num_threads, METH_O, NULL},
    {"config", config, METH_NOARGS, NULL},
    {"_alloc_fail_at", alloc_fail_at, METH_O, NULL},
    {"_kernel_exp", kernel_exp, METH_O, NULL},
    {0},
};

int nf_bind_config(PyObject *module) {
    return PyModule_AddFunctions(module, methods);
}
