/* The losses. Arrays of float16 and float32 are computed in float32; if one of several is something else, all become
 * float64. */
#include "binding.h"

/* The inputs of info_nce, and their gradients. */
enum { QUERY, KEY, NEGATIVES, MOST };
typedef struct arrays {
    PyArrayObject *inputs[MOST], *gradients[MOST];
} arrays;

static void release(arrays *a) {
    for (int i = 0; i < MOST; i++) {
        Py_XDECREF((PyObject *)a->inputs[i]);
        Py_XDECREF((PyObject *)a->gradients[i]);
    }
}

static bool same_shape(const arrays *a) {
    npy_intp *query = PyArray_DIMS(a->inputs[QUERY]), *key = PyArray_DIMS(a->inputs[KEY]);
    if (query[0] == key[0] && query[1] == key[1])
        return true;
    PyErr_Format(PyExc_ValueError, "query and key must have the same shape, got (%zd, %zd) and (%zd, %zd)", query[0],
                 query[1], key[0], key[1]);
    return false;
}

static bool negatives_fit(const arrays *a) {
    npy_intp *query = PyArray_DIMS(a->inputs[QUERY]), *shape = PyArray_DIMS(a->inputs[NEGATIVES]);
    if (PyArray_NDIM(a->inputs[NEGATIVES]) == 2) {
        if (shape[1] == query[1])
            return true;
        PyErr_Format(PyExc_ValueError, "negatives must be (K, D) with query's D, got (%zd, %zd) for query (%zd, %zd)",
                     shape[0], shape[1], query[0], query[1]);
        return false;
    }
    if (shape[0] == query[0] && shape[2] == query[1])
        return true;
    PyErr_Format(PyExc_ValueError,
                 "negatives must be (N, K, D) with query's N and D, got (%zd, %zd, %zd) for query (%zd, %zd)", shape[0],
                 shape[1], shape[2], query[0], query[1]);
    return false;
}

static bool read_info_nce(arrays *a, PyObject *const objects[MOST]) {
    static const nf_real_input inputs[MOST] = {{"query", 2, 2, false}, {"key", 2, 2, false}, {"negatives", 2, 3, true}};
    if (!nf_inputs_real(a->inputs, objects, inputs, MOST) || !same_shape(a) ||
        (a->inputs[NEGATIVES] && !negatives_fit(a)))
        return false;
    for (int i = 0; i < MOST; i++)
        if (a->inputs[i] && !(a->gradients[i] = nf_new_like(a->inputs[i])))
            return false;
    return true;
}

/* The results of a call: loss, gradients and d_temperature; None for negatives that were not given. */
static nf_status run_info_nce(const arrays *a, double *loss, double *d_temperature, double temperature, bool symmetric,
                              bool normalize) {
    PyArrayObject *const *x = a->inputs, *const *d = a->gradients;
    npy_intp *shape = PyArray_DIMS(x[QUERY]);
    nf_negatives kind = symmetric ? NF_IN_BATCH_SYMMETRIC : NF_IN_BATCH;
    npy_intp count = 0;
    if (x[NEGATIVES]) {
        bool paired = PyArray_NDIM(x[NEGATIVES]) == 3;
        kind = paired ? NF_PAIRED_NEGATIVES : NF_SHARED_NEGATIVES;
        count = PyArray_DIM(x[NEGATIVES], paired ? 1 : 0);
    }
    nf_release_gil();
    nf_status status = nf_is_double(x[QUERY])
                           ? nf_info_nce_f64(loss, nf_data(d[QUERY]), nf_data(d[KEY]), nf_data(d[NEGATIVES]),
                                             d_temperature, nf_data(x[QUERY]), nf_data(x[KEY]), nf_data(x[NEGATIVES]),
                                             shape[0], shape[1], count, kind, temperature, normalize)
                           : nf_info_nce_f32(loss, nf_data(d[QUERY]), nf_data(d[KEY]), nf_data(d[NEGATIVES]),
                                             d_temperature, nf_data(x[QUERY]), nf_data(x[KEY]), nf_data(x[NEGATIVES]),
                                             shape[0], shape[1], count, kind, temperature, normalize);
    nf_take_gil();
    return status;
}

/* info_nce(query, key, negatives or None, temperature, symmetric, normalize)
 * -> loss, d_query, d_key, d_negatives or None, d_temperature */
static PyObject *info_nce(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *objects[MOST], *result = NULL;
    double temperature, loss = 0, d_temperature = 0;
    int symmetric, normalize;
    if (!PyArg_ParseTuple(arguments, "OOOdpp", &objects[QUERY], &objects[KEY], &objects[NEGATIVES], &temperature,
                          &symmetric, &normalize))
        return NULL;
    arrays a = {0};
    if (read_info_nce(&a, objects)) {
        nf_status status = run_info_nce(&a, &loss, &d_temperature, temperature, symmetric != 0, normalize != 0);
        PyArrayObject *d_negatives = a.gradients[NEGATIVES];
        if (status != NF_OK)
            nf_raise(status);
        else
            result = Py_BuildValue("dOOOd", loss, a.gradients[QUERY], a.gradients[KEY],
                                   d_negatives ? (PyObject *)d_negatives : Py_None, d_temperature);
    }
    release(&a);
    return result;
}

/* nt_xent(z, temperature, normalize) -> loss, d_z, d_temperature */
static PyObject *nt_xent(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *object, *result = NULL;
    double temperature, loss = 0, d_temperature = 0;
    int normalize;
    if (!PyArg_ParseTuple(arguments, "Odp", &object, &temperature, &normalize))
        return NULL;
    PyArrayObject *z = nf_input_real(object, "z", 3, 3);
    PyArrayObject *d_z = z ? nf_new_like(z) : NULL;
    if (d_z) {
        npy_intp *shape = PyArray_DIMS(z);
        nf_release_gil();
        nf_status status = nf_is_double(z) ? nf_nt_xent_f64(&loss, nf_data(d_z), &d_temperature, nf_data(z), shape[0],
                                                            shape[1], shape[2], temperature, normalize != 0)
                                           : nf_nt_xent_f32(&loss, nf_data(d_z), &d_temperature, nf_data(z), shape[0],
                                                            shape[1], shape[2], temperature, normalize != 0);
        nf_take_gil();
        if (status != NF_OK)
            nf_raise(status);
        else
            result = Py_BuildValue("dOd", loss, d_z, d_temperature);
    }
    Py_XDECREF((PyObject *)z);
    Py_XDECREF((PyObject *)d_z);
    return result;
}

/* dcl(z, temperature, sigma, normalize) -> loss, d_z, d_temperature */
static PyObject *dcl(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *object, *result = NULL;
    double temperature, sigma, loss = 0, d_temperature = 0;
    int normalize;
    if (!PyArg_ParseTuple(arguments, "Oddp", &object, &temperature, &sigma, &normalize))
        return NULL;
    PyArrayObject *z = nf_input_real(object, "z", 3, 3);
    PyArrayObject *d_z = z ? nf_new_like(z) : NULL;
    if (d_z) {
        npy_intp *shape = PyArray_DIMS(z);
        nf_release_gil();
        nf_status status = nf_is_double(z) ? nf_dcl_f64(&loss, nf_data(d_z), &d_temperature, nf_data(z), shape[0],
                                                        shape[1], shape[2], temperature, sigma, normalize != 0)
                                           : nf_dcl_f32(&loss, nf_data(d_z), &d_temperature, nf_data(z), shape[0],
                                                        shape[1], shape[2], temperature, sigma, normalize != 0);
        nf_take_gil();
        if (status != NF_OK)
            nf_raise(status);
        else
            result = Py_BuildValue("dOd", loss, d_z, d_temperature);
    }
    Py_XDECREF((PyObject *)z);
    Py_XDECREF((PyObject *)d_z);
    return result;
}

/* debiased_nt_xent(z, temperature, tau_plus, beta) -> loss, d_z, d_temperature */
static PyObject *debiased_nt_xent(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *object, *result = NULL;
    double temperature, tau_plus, beta, loss = 0, d_temperature = 0;
    if (!PyArg_ParseTuple(arguments, "Oddd", &object, &temperature, &tau_plus, &beta))
        return NULL;
    PyArrayObject *z = nf_input_real(object, "z", 3, 3), *d_z = NULL;
    if (z && PyArray_DIM(z, 0) != 2)
        PyErr_Format(PyExc_ValueError, "z must have 2 views, got %zd", PyArray_DIM(z, 0));
    else if (z)
        d_z = nf_new_like(z);
    if (d_z) {
        npy_intp *shape = PyArray_DIMS(z);
        nf_release_gil();
        nf_status status = nf_is_double(z) ? nf_debiased_nt_xent_f64(&loss, nf_data(d_z), &d_temperature, nf_data(z),
                                                                     shape[1], shape[2], temperature, tau_plus, beta)
                                           : nf_debiased_nt_xent_f32(&loss, nf_data(d_z), &d_temperature, nf_data(z),
                                                                     shape[1], shape[2], temperature, tau_plus, beta);
        nf_take_gil();
        if (status != NF_OK)
            nf_raise(status);
        else
            result = Py_BuildValue("dOd", loss, d_z, d_temperature);
    }
    Py_XDECREF((PyObject *)z);
    Py_XDECREF((PyObject *)d_z);
    return result;
}

static bool labels_fit(PyArrayObject *z, PyArrayObject *labels) {
    npy_intp samples = PyArray_DIM(z, PyArray_NDIM(z) - 2), count = PyArray_DIM(labels, 0);
    if (samples == count)
        return true;
    PyErr_Format(PyExc_ValueError, "labels must have one label for each of %zd samples of z, got %zd", samples, count);
    return false;
}

/* sup_con(z, labels, positives inside, temperature, normalize) -> loss, d_z, d_temperature */
static PyObject *sup_con(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *z_object, *labels_object, *result = NULL;
    double temperature, loss = 0, d_temperature = 0;
    int inside, normalize;
    if (!PyArg_ParseTuple(arguments, "OOpdp", &z_object, &labels_object, &inside, &temperature, &normalize))
        return NULL;
    PyArrayObject *z = nf_input_real(z_object, "z", 2, 3);
    PyArrayObject *labels = z ? nf_input(labels_object, "labels", NPY_INT64, 1, 1) : NULL;
    PyArrayObject *d_z = labels && labels_fit(z, labels) ? nf_new_like(z) : NULL;
    if (d_z) {
        nf_positives positives = inside ? NF_POSITIVES_IN : NF_POSITIVES_OUT;
        int last = PyArray_NDIM(z) - 1;
        npy_intp views = last == 2 ? PyArray_DIM(z, 0) : 1, samples = PyArray_DIM(z, last - 1);
        npy_intp width = PyArray_DIM(z, last);
        nf_release_gil();
        nf_status status = nf_is_double(z)
                               ? nf_sup_con_f64(&loss, nf_data(d_z), &d_temperature, nf_data(z), nf_data(labels), views,
                                                samples, width, positives, temperature, normalize != 0)
                               : nf_sup_con_f32(&loss, nf_data(d_z), &d_temperature, nf_data(z), nf_data(labels), views,
                                                samples, width, positives, temperature, normalize != 0);
        nf_take_gil();
        if (status != NF_OK)
            nf_raise(status);
        else
            result = Py_BuildValue("dOd", loss, d_z, d_temperature);
    }
    Py_XDECREF((PyObject *)z);
    Py_XDECREF((PyObject *)labels);
    Py_XDECREF((PyObject *)d_z);
    return result;
}

static PyMethodDef methods[] = {
    {"info_nce", info_nce, METH_VARARGS, NULL}, {"nt_xent", nt_xent, METH_VARARGS, NULL},
    {"dcl", dcl, METH_VARARGS, NULL},           {"debiased_nt_xent", debiased_nt_xent, METH_VARARGS, NULL},
    {"sup_con", sup_con, METH_VARARGS, NULL},   {0},
};

int nf_bind_losses(PyObject *module) {
    return PyModule_AddFunctions(module, methods);
}
