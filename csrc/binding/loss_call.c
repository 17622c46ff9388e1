#include "loss_call.h"

bool nf_loss_inputs(nf_loss_call *call, PyObject *const *objects, const nf_real_input *inputs, int count) {
    call->inputs = inputs;
    call->count = count;
    return nf_inputs_real(call->x, objects, inputs, count);
}

bool nf_loss_gradients(nf_loss_call *call, int gradients) {
    call->count = gradients;
    for (int i = 0; i < gradients; i++)
        if (call->x[i] && !(call->d[i] = nf_new_like(call->x[i])))
            return false;
    return true;
}

bool nf_loss_outputs(nf_loss_call *call, int reduction, npy_intp anchors) {
    call->loss = nf_new_loss((nf_reduction)reduction, anchors);
    return call->loss && nf_loss_gradients(call, call->count);
}

bool nf_same_shapes(const nf_loss_call *call, int count) {
    npy_intp *first = PyArray_DIMS(call->x[0]);
    for (int i = 1; i < count; i++) {
        npy_intp *shape = PyArray_DIMS(call->x[i]);
        if (shape[0] != first[0] || shape[1] != first[1]) {
            PyErr_Format(PyExc_ValueError, "%s and %s must have the same shape, got (%zd, %zd) and (%zd, %zd)",
                         call->inputs[0].name, call->inputs[i].name, first[0], first[1], shape[0], shape[1]);
            return false;
        }
    }
    return true;
}

bool nf_loss_weights(nf_loss_call *call, PyObject *object) {
    if (object == Py_None)
        return true;
    npy_intp *wanted = PyArray_DIMS(call->x[0]);
    int ndim = PyArray_NDIM(call->x[0]) - 1;
    PyArrayObject *weights = call->weights = nf_input(object, "weights", NPY_FLOAT64, ndim, ndim);
    if (!weights)
        return false;
    npy_intp *shape = PyArray_DIMS(weights);
    if (ndim == 1 && shape[0] != wanted[0])
        PyErr_Format(PyExc_ValueError, "weights must have shape (%zd,), one for each value of the loss, got (%zd,)",
                     wanted[0], shape[0]);
    else if (ndim == 2 && (shape[0] != wanted[0] || shape[1] != wanted[1]))
        PyErr_Format(PyExc_ValueError,
                     "weights must have shape (%zd, %zd), one for each value of the loss, got (%zd, %zd)", wanted[0],
                     wanted[1], shape[0], shape[1]);
    return !PyErr_Occurred();
}

bool nf_loss_integers(nf_loss_call *call, int place, PyObject *object, const char *name, npy_intp count,
                      const char *of) {
    PyArrayObject *array = call->constants[place] = nf_input(object, name, NPY_INT64, 1, 1);
    if (array && PyArray_DIM(array, 0) != count)
        PyErr_Format(PyExc_ValueError, "%s must have one element for each of %zd %s, got %zd", name, count, of,
                     PyArray_DIM(array, 0));
    return array && PyArray_DIM(array, 0) == count;
}

PyObject *nf_loss_give_up(nf_loss_call *call) {
    for (int i = 0; i < NF_LOSS_INPUTS; i++) {
        Py_XDECREF((PyObject *)call->x[i]);
        Py_XDECREF((PyObject *)call->d[i]);
    }
    for (int i = 0; i < NF_LOSS_CONSTANTS; i++)
        Py_XDECREF((PyObject *)call->constants[i]);
    Py_XDECREF((PyObject *)call->weights);
    Py_XDECREF((PyObject *)call->loss);
    return NULL;
}

static PyObject *new_reference(PyArrayObject *array) {
    PyObject *object = array ? (PyObject *)array : Py_None;
    Py_INCREF(object);
    return object;
}

PyObject *nf_loss_results(nf_loss_call *call, nf_status status) {
    int place = 0, size = (call->loss != NULL) + call->count + call->numbers;
    PyObject *results = status == NF_OK ? PyTuple_New(size) : nf_raise(status);
    if (results && call->loss)
        PyTuple_SetItem(results, place++, new_reference(call->loss));
    for (int i = 0; results && i < call->count; i++)
        PyTuple_SetItem(results, place++, new_reference(call->d[i]));
    for (int i = 0; results && i < call->numbers; i++) {
        PyObject *number = PyFloat_FromDouble(call->number[i]);
        if (number)
            PyTuple_SetItem(results, place++, number);
        else
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
