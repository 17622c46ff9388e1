/* The random numbers, so that tests can hold them against published answers and against their twin. */
#include "binding.h"

#include "../core/random.h"

static PyObject *philox(PyObject *module, PyObject *arguments) {
    (void)module;
    unsigned int c[4], k[2];
    if (!PyArg_ParseTuple(arguments, "(IIII)(II)", &c[0], &c[1], &c[2], &c[3], &k[0], &k[1]))
        return NULL;
    uint32_t out[4];
    nf_philox(out, (uint32_t[4]){c[0], c[1], c[2], c[3]}, (uint32_t[2]){k[0], k[1]});
    return Py_BuildValue("(IIII)", out[0], out[1], out[2], out[3]);
}

/* _draw(kind, seed, epoch, index, stream, count, below=1): a list of `count` numbers. */
static PyObject *draw(PyObject *module, PyObject *arguments) {
    (void)module;
    const char *kind;
    unsigned long long seed, index;
    unsigned epoch, stream, below = 1;
    Py_ssize_t count;
    if (!PyArg_ParseTuple(arguments, "sKIKIn|I", &kind, &seed, &epoch, &index, &stream, &count, &below))
        return NULL;
    nf_random random = nf_random_at(seed, epoch, index, stream);
    PyObject *numbers = PyList_New(0);
    for (Py_ssize_t i = 0; numbers && i < count; i++) {
        PyObject *number;
        switch (kind[0]) {
        case 'b': number = PyLong_FromUnsignedLong(nf_random_bits(&random)); break;
        case 'i': number = PyLong_FromUnsignedLong(nf_random_below(&random, below)); break;
        case 'u': number = PyFloat_FromDouble(nf_random_uniform(&random)); break;
        case 'n': number = PyFloat_FromDouble(nf_random_normal(&random)); break;
        default: number = PyErr_Format(PyExc_ValueError, "kind must be bits, integer, uniform or normal, got %s", kind);
        }
        if (!number || PyList_Append(numbers, number) < 0)
            Py_CLEAR(numbers);
        Py_XDECREF(number);
    }
    return numbers;
}

static PyMethodDef methods[] = {
    {"_philox", philox, METH_VARARGS, NULL},
    {"_draw", draw, METH_VARARGS, NULL},
    {0},
};

int nf_bind_random(PyObject *module) {
    return PyModule_AddFunctions(module, methods);
}
