#include "loss_call.h"

bool nf_loss_inputs(nf_loss_call *call, PyObject *const *objects, const nf_real_input *inputs, int count) {
    call->count = count;
    return nf_inputs_real(call->x, objects, inputs, count);
}

bool nf_loss_outputs(nf_loss_call *call, int reduction, npy_intp anchors) {
    for (int i = 0; i < call->count; i++)
        if (call->x[i] && !(call->d[i] = nf_new_like(call->x[i])))
            return false;
    call->loss = nf_new_loss((nf_reduction)reduction, anchors);
    return call->loss != NULL;
}

PyObject *nf_loss_give_up(nf_loss_call *call) {
    for (int i = 0; i < call->count; i++) {
        Py_XDECREF((PyObject *)call->x[i]);
        Py_XDECREF((PyObject *)call->d[i]);
    }
    Py_XDECREF((PyObject *)call->loss);
    return NULL;
}

static PyObject *new_reference(PyArrayObject *array) {
    PyObject *object = array ? (PyObject *)array : Py_None;
    Py_INCREF(object);
    return object;
}

PyObject *nf_loss_results(nf_loss_call *call, nf_status status) {
    PyObject *results = status == NF_OK ? PyTuple_New(call->count + 2) : nf_raise(status);
    PyObject *d_temperature = results ? PyFloat_FromDouble(call->d_temperature) : NULL;
    if (d_temperature) {
        PyTuple_SetItem(results, 0, new_reference(call->loss));
        for (int i = 0; i < call->count; i++)
            PyTuple_SetItem(results, i + 1, new_reference(call->d[i]));
        PyTuple_SetItem(results, call->count + 1, d_temperature);
    } else {
        Py_CLEAR(results);
    }
    nf_loss_give_up(call);
    return results;
}

int nf_read_number(PyObject *object, void *number) {
    nf_number *n = number;
    n->value = PyFloat_AsDouble(object);
    if (n->value != -1 || !PyErr_Occurred())
        return 1;
    if (PyErr_ExceptionMatches(PyExc_TypeError))
        PyErr_Format(PyExc_TypeError, "%s must be a real number, got %R", n->name, object);
    return 0;
}
