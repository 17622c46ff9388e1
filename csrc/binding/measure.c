/* Measures of representations. */
#include "binding.h"

/* Whether `array` has `size` along `axis`; else ValueError. */
static bool check_size(PyArrayObject *array, const char *name, int axis, npy_intp size) {
    if (PyArray_DIM(array, axis) == size)
        return true;
    PyErr_Format(PyExc_ValueError, "%s must have size %zd in dimension %d, got %zd", name, size, axis,
                 PyArray_DIM(array, axis));
    return false;
}

static PyObject *knn_search(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *train_object, *test_object, *result = NULL;
    Py_ssize_t k;
    if (!PyArg_ParseTuple(arguments, "OOn:knn_search", &train_object, &test_object, &k))
        return NULL;
    PyArrayObject *train = nf_input(train_object, "train_v", NPY_FLOAT32, 2, 2);
    PyArrayObject *test = train ? nf_input(test_object, "test_v", NPY_FLOAT32, 2, 2) : NULL;
    PyArrayObject *indices = NULL, *similarities = NULL;
    if (!test || !check_size(test, "test_v", 1, PyArray_DIM(train, 1)))
        goto done;
    npy_intp n = PyArray_DIM(train, 0), m = PyArray_DIM(test, 0), d = PyArray_DIM(train, 1);
    if (k < 1 || k > n) { /* before the results are made: their size follows from k */
        PyErr_Format(PyExc_ValueError, "k must be in 1..%zd (rows of train_v), got %zd", n, k);
        goto done;
    }
    indices = nf_new_array(2, (npy_intp[]){m, k}, NPY_INT64);
    similarities = indices ? nf_new_array(2, (npy_intp[]){m, k}, NPY_FLOAT32) : NULL;
    if (!similarities)
        goto done;
    nf_release_gil();
    nf_status status = nf_knn_search(PyArray_DATA(indices), PyArray_DATA(similarities), PyArray_DATA(train),
                                     PyArray_DATA(test), n, m, d, k);
    nf_take_gil();
    result = status == NF_OK ? Py_BuildValue("OO", indices, similarities) : nf_raise(status);
done:
    Py_XDECREF((PyObject *)similarities);
    Py_XDECREF((PyObject *)indices);
    Py_XDECREF((PyObject *)test);
    Py_XDECREF((PyObject *)train);
    return result;
}

static PyObject *knn_vote(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *indices_object, *similarities_object, *train_y_object;
    long long classes;
    double temperature;
    if (!PyArg_ParseTuple(arguments, "OOOLd:knn_vote", &indices_object, &similarities_object, &train_y_object, &classes,
                          &temperature))
        return NULL;
    PyArrayObject *indices = nf_input(indices_object, "indices", NPY_INT64, 2, 2);
    PyArrayObject *similarities = indices ? nf_input(similarities_object, "similarities", NPY_FLOAT32, 2, 2) : NULL;
    PyArrayObject *train_y = similarities ? nf_input(train_y_object, "train_y", NPY_INT64, 1, 1) : NULL;
    PyArrayObject *predicted = NULL;
    if (!train_y || !check_size(similarities, "similarities", 0, PyArray_DIM(indices, 0)) ||
        !check_size(similarities, "similarities", 1, PyArray_DIM(indices, 1)))
        goto done;
    npy_intp m = PyArray_DIM(indices, 0), k = PyArray_DIM(indices, 1), n = PyArray_DIM(train_y, 0);
    predicted = nf_new_array(1, &m, NPY_INT64);
    if (!predicted)
        goto done;
    nf_release_gil();
    nf_status status = nf_knn_vote(PyArray_DATA(predicted), PyArray_DATA(indices), PyArray_DATA(similarities),
                                   PyArray_DATA(train_y), n, m, k, classes, temperature);
    nf_take_gil();
    if (status != NF_OK) {
        Py_CLEAR(predicted);
        nf_raise(status);
    }
done:
    Py_XDECREF((PyObject *)train_y);
    Py_XDECREF((PyObject *)similarities);
    Py_XDECREF((PyObject *)indices);
    return (PyObject *)predicted;
}

static PyObject *uniformity(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *object;
    double t, result = 0;
    if (!PyArg_ParseTuple(arguments, "Od:uniformity", &object, &t))
        return NULL;
    PyArrayObject *x = nf_input(object, "x", NPY_FLOAT64, 2, 2);
    if (!x)
        return NULL;
    nf_release_gil();
    nf_status status = nf_uniformity(&result, PyArray_DATA(x), PyArray_DIM(x, 0), PyArray_DIM(x, 1), t);
    nf_take_gil();
    Py_DECREF((PyObject *)x);
    return status == NF_OK ? PyFloat_FromDouble(result) : nf_raise(status);
}

static PyMethodDef methods[] = {
    {"knn_search", knn_search, METH_VARARGS, NULL},
    {"knn_vote", knn_vote, METH_VARARGS, NULL},
    {"uniformity", uniformity, METH_VARARGS, NULL},
    {0},
};

int nf_bind_measure(PyObject *module) {
    return PyModule_AddFunctions(module, methods);
}
