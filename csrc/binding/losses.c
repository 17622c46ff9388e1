/* The losses of scores of all pairs. Arrays of float16 and float32 are computed in float32; if one of several is
 * something else, all become float64. The last argument of each is an nf_reduction. */
#include "loss_call.h"

/* ---- One query, one key ---- */

enum { QUERY, KEY, NEGATIVES, INFO_NCE_INPUTS };

static bool same_shape(PyArrayObject *query, PyArrayObject *key) {
    npy_intp *q = PyArray_DIMS(query), *k = PyArray_DIMS(key);
    if (q[0] == k[0] && q[1] == k[1])
        return true;
    PyErr_Format(PyExc_ValueError, "query and key must have the same shape, got (%zd, %zd) and (%zd, %zd)", q[0], q[1],
                 k[0], k[1]);
    return false;
}

static bool negatives_fit(PyArrayObject *query, PyArrayObject *negatives) {
    npy_intp *q = PyArray_DIMS(query), *shape = PyArray_DIMS(negatives);
    if (PyArray_NDIM(negatives) == 2) {
        if (shape[1] == q[1])
            return true;
        PyErr_Format(PyExc_ValueError, "negatives must be (K, D) with query's D, got (%zd, %zd) for query (%zd, %zd)",
                     shape[0], shape[1], q[0], q[1]);
        return false;
    }
    if (shape[0] == q[0] && shape[2] == q[1])
        return true;
    PyErr_Format(PyExc_ValueError,
                 "negatives must be (N, K, D) with query's N and D, got (%zd, %zd, %zd) for query (%zd, %zd)", shape[0],
                 shape[1], shape[2], q[0], q[1]);
    return false;
}

/* info_nce(query, key, negatives or None, temperature, symmetric, normalize, reduction)
 * -> loss, d_query, d_key, d_negatives or None, d_temperature */
static PyObject *info_nce(PyObject *module, PyObject *arguments) {
    (void)module;
    static const nf_real_input inputs[] = {{"query", 2, 2, false}, {"key", 2, 2, false}, {"negatives", 2, 3, true}};
    PyObject *objects[INFO_NCE_INPUTS];
    nf_number temperature = {"temperature", 0};
    int symmetric, normalize, reduction;
    if (!PyArg_ParseTuple(arguments, "OOOO&ppi", &objects[QUERY], &objects[KEY], &objects[NEGATIVES], nf_read_number,
                          &temperature, &symmetric, &normalize, &reduction))
        return NULL;
    nf_loss_call call = {0};
    PyArrayObject **x = call.x, **d = call.d;
    if (!nf_loss_inputs(&call, objects, inputs, INFO_NCE_INPUTS) || !same_shape(x[QUERY], x[KEY]) ||
        (x[NEGATIVES] && !negatives_fit(x[QUERY], x[NEGATIVES])) ||
        !nf_loss_outputs(&call, reduction, PyArray_DIM(x[QUERY], 0)))
        return nf_loss_give_up(&call);
    nf_negatives kind = symmetric ? NF_IN_BATCH_SYMMETRIC : NF_IN_BATCH;
    npy_intp *shape = PyArray_DIMS(x[QUERY]), count = 0;
    if (x[NEGATIVES]) {
        bool paired = PyArray_NDIM(x[NEGATIVES]) == 3;
        kind = paired ? NF_PAIRED_NEGATIVES : NF_SHARED_NEGATIVES;
        count = PyArray_DIM(x[NEGATIVES], paired ? 1 : 0);
    }
    nf_release_gil();
    nf_status status =
        NF_LOSS(&call, nf_info_nce, nf_data(call.loss), nf_data(d[QUERY]), nf_data(d[KEY]), nf_data(d[NEGATIVES]),
                &call.d_temperature, nf_data(x[QUERY]), nf_data(x[KEY]), nf_data(x[NEGATIVES]), shape[0], shape[1],
                count, kind, temperature.value, normalize != 0, (nf_reduction)reduction);
    nf_take_gil();
    return nf_loss_results(&call, status);
}

/* ---- Views of samples ---- */

static const nf_real_input views_input = {"z", 3, 3, false};

/* Everything before the operation, which reads the shape of z. */
static bool open_views(nf_loss_call *call, PyObject *z, int reduction) {
    return nf_loss_inputs(call, &z, &views_input, 1) &&
           nf_loss_outputs(call, reduction, PyArray_DIM(call->x[0], 0) * PyArray_DIM(call->x[0], 1));
}

/* nt_xent(z, temperature, normalize, reduction) -> loss, d_z, d_temperature */
static PyObject *nt_xent(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *z;
    nf_number temperature = {"temperature", 0};
    int normalize, reduction;
    if (!PyArg_ParseTuple(arguments, "OO&pi", &z, nf_read_number, &temperature, &normalize, &reduction))
        return NULL;
    nf_loss_call call = {0};
    if (!open_views(&call, z, reduction))
        return nf_loss_give_up(&call);
    npy_intp *shape = PyArray_DIMS(call.x[0]);
    nf_release_gil();
    nf_status status =
        NF_LOSS(&call, nf_nt_xent, nf_data(call.loss), nf_data(call.d[0]), &call.d_temperature, nf_data(call.x[0]),
                shape[0], shape[1], shape[2], temperature.value, normalize != 0, (nf_reduction)reduction);
    nf_take_gil();
    return nf_loss_results(&call, status);
}

/* dcl(z, temperature, sigma, normalize, reduction) -> loss, d_z, d_temperature */
static PyObject *dcl(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *z;
    nf_number temperature = {"temperature", 0}, sigma = {"sigma", 0};
    int normalize, reduction;
    if (!PyArg_ParseTuple(arguments, "OO&O&pi", &z, nf_read_number, &temperature, nf_read_number, &sigma, &normalize,
                          &reduction))
        return NULL;
    nf_loss_call call = {0};
    if (!open_views(&call, z, reduction))
        return nf_loss_give_up(&call);
    npy_intp *shape = PyArray_DIMS(call.x[0]);
    nf_release_gil();
    nf_status status =
        NF_LOSS(&call, nf_dcl, nf_data(call.loss), nf_data(call.d[0]), &call.d_temperature, nf_data(call.x[0]),
                shape[0], shape[1], shape[2], temperature.value, sigma.value, normalize != 0, (nf_reduction)reduction);
    nf_take_gil();
    return nf_loss_results(&call, status);
}

static bool two_views(PyArrayObject *z) {
    if (PyArray_DIM(z, 0) == 2)
        return true;
    PyErr_Format(PyExc_ValueError, "z must have 2 views, got %zd", PyArray_DIM(z, 0));
    return false;
}

/* debiased_nt_xent(z, temperature, tau_plus, beta, reduction) -> loss, d_z, d_temperature */
static PyObject *debiased_nt_xent(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *z;
    nf_number temperature = {"temperature", 0}, tau_plus = {"tau_plus", 0}, beta = {"beta", 0};
    int reduction;
    if (!PyArg_ParseTuple(arguments, "OO&O&O&i", &z, nf_read_number, &temperature, nf_read_number, &tau_plus,
                          nf_read_number, &beta, &reduction))
        return NULL;
    nf_loss_call call = {0};
    if (!open_views(&call, z, reduction) || !two_views(call.x[0]))
        return nf_loss_give_up(&call);
    npy_intp *shape = PyArray_DIMS(call.x[0]);
    nf_release_gil();
    nf_status status = NF_LOSS(&call, nf_debiased_nt_xent, nf_data(call.loss), nf_data(call.d[0]), &call.d_temperature,
                               nf_data(call.x[0]), shape[1], shape[2], temperature.value, tau_plus.value, beta.value,
                               (nf_reduction)reduction);
    nf_take_gil();
    return nf_loss_results(&call, status);
}

/* ---- Rows with labels ---- */

static bool labels_fit(PyArrayObject *z, PyArrayObject *labels) {
    npy_intp samples = PyArray_DIM(z, PyArray_NDIM(z) - 2), count = PyArray_DIM(labels, 0);
    if (samples == count)
        return true;
    PyErr_Format(PyExc_ValueError, "labels must have one label for each of %zd samples of z, got %zd", samples, count);
    return false;
}

/* sup_con(z, labels, positives inside, temperature, normalize, reduction)
 * -> (loss, d_z, d_temperature), anchors with a positive */
static PyObject *sup_con(PyObject *module, PyObject *arguments) {
    (void)module;
    static const nf_real_input input = {"z", 2, 3, false};
    PyObject *z, *labels_object;
    nf_number temperature = {"temperature", 0};
    int inside, normalize, reduction;
    if (!PyArg_ParseTuple(arguments, "OOpO&pi", &z, &labels_object, &inside, nf_read_number, &temperature, &normalize,
                          &reduction))
        return NULL;
    nf_loss_call call = {0};
    if (!nf_loss_inputs(&call, &z, &input, 1))
        return nf_loss_give_up(&call);
    int last = PyArray_NDIM(call.x[0]) - 1;
    npy_intp *shape = PyArray_DIMS(call.x[0]), views = last == 2 ? shape[0] : 1, samples = shape[last - 1];
    PyArrayObject *labels = nf_input(labels_object, "labels", NPY_INT64, 1, 1);
    if (!labels || !labels_fit(call.x[0], labels) || !nf_loss_outputs(&call, reduction, views * samples)) {
        Py_XDECREF((PyObject *)labels);
        return nf_loss_give_up(&call);
    }
    int64_t active = 0;
    nf_release_gil();
    nf_status status = NF_LOSS(&call, nf_sup_con, nf_data(call.loss), nf_data(call.d[0]), &call.d_temperature, &active,
                               nf_data(call.x[0]), nf_data(labels), views, samples, shape[last],
                               inside ? NF_POSITIVES_IN : NF_POSITIVES_OUT, temperature.value, normalize != 0,
                               (nf_reduction)reduction);
    nf_take_gil();
    Py_DECREF((PyObject *)labels);
    PyObject *results = nf_loss_results(&call, status);
    return results ? Py_BuildValue("NL", results, (long long)active) : NULL;
}

static PyMethodDef methods[] = {
    {"info_nce", info_nce, METH_VARARGS, NULL}, {"nt_xent", nt_xent, METH_VARARGS, NULL},
    {"dcl", dcl, METH_VARARGS, NULL},           {"debiased_nt_xent", debiased_nt_xent, METH_VARARGS, NULL},
    {"sup_con", sup_con, METH_VARARGS, NULL},   {0},
};

int nf_bind_losses(PyObject *module) {
    return PyModule_AddFunctions(module, methods);
}
