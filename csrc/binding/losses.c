/* The losses of scores of all pairs. Arrays of float16 and float32 are computed in float32; if one of several is
 * something else, all become float64. The last argument of each is an nf_reduction. */
#include "loss_call.h"

/* ---- One query, one key ---- */

enum { QUERY, KEY, NEGATIVES, INFO_NCE_INPUTS };

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

/* *count: of each query. */
static nf_negatives kind_of(PyArrayObject *negatives, npy_intp *count) {
    bool paired = PyArray_NDIM(negatives) == 3;
    *count = PyArray_DIM(negatives, paired ? 1 : 0);
    return paired ? NF_PAIRED_NEGATIVES : NF_SHARED_NEGATIVES;
}

/* info_nce(query, key, negatives or None, weights or None, temperature, symmetric, normalize, reduction)
 * -> loss, d_query, d_key, d_negatives or None, d_temperature */
static PyObject *info_nce(PyObject *module, PyObject *arguments) {
    (void)module;
    static const nf_real_input inputs[] = {{"query", 2, 2, false}, {"key", 2, 2, false}, {"negatives", 2, 3, true}};
    PyObject *objects[INFO_NCE_INPUTS], *weights;
    nf_number temperature = {"temperature", 0};
    int symmetric, normalize, reduction;
    if (!PyArg_ParseTuple(arguments, "OOOOO&ppi", &objects[QUERY], &objects[KEY], &objects[NEGATIVES], &weights,
                          nf_read_number, &temperature, &symmetric, &normalize, &reduction))
        return NULL;
    nf_loss_call call = {.numbers = 1};
    PyArrayObject **x = call.x, **d = call.d;
    if (!nf_loss_inputs(&call, objects, inputs, INFO_NCE_INPUTS) || !nf_same_shapes(&call, 2) ||
        (x[NEGATIVES] && !negatives_fit(x[QUERY], x[NEGATIVES])) || !nf_loss_weights(&call, weights) ||
        !nf_loss_outputs(&call, reduction, PyArray_DIM(x[QUERY], 0)))
        return nf_loss_give_up(&call);
    npy_intp *shape = PyArray_DIMS(x[QUERY]), count = 0;
    nf_negatives kind = symmetric ? NF_IN_BATCH_SYMMETRIC : NF_IN_BATCH;
    if (x[NEGATIVES])
        kind = kind_of(x[NEGATIVES], &count);
    nf_release_gil();
    nf_status status =
        NF_LOSS(&call, nf_info_nce, nf_data(call.loss), nf_data(d[QUERY]), nf_data(d[KEY]), nf_data(d[NEGATIVES]),
                &call.number[0], nf_data(x[QUERY]), nf_data(x[KEY]), nf_data(x[NEGATIVES]), nf_data(call.weights),
                shape[0], shape[1], count, kind, temperature.value, normalize != 0, (nf_reduction)reduction);
    nf_take_gil();
    return nf_loss_results(&call, status);
}

/* constants[place] = the offsets of an array of embeddings, float64 and one for each row; none for None. */
static bool read_offsets(nf_loss_call *call, int place, PyObject *object, const char *name, PyArrayObject *rows) {
    if (object == Py_None)
        return true;
    int ndim = PyArray_NDIM(rows) - 1;
    PyArrayObject *offsets = call->constants[place] = nf_input(object, name, NPY_FLOAT64, ndim, ndim);
    for (int axis = 0; offsets && axis < ndim; axis++)
        if (PyArray_DIM(offsets, axis) != PyArray_DIM(rows, axis)) {
            PyErr_Format(PyExc_ValueError, "%s must have one number for each row, %zd on axis %d, got %zd", name,
                         PyArray_DIM(rows, axis), axis, PyArray_DIM(offsets, axis));
            return false;
        }
    return offsets != NULL;
}

/* nce(query, key, negatives, key_offsets or None, negative_offsets or None, weights or None, temperature, normalize,
 * reduction)
 * -> loss, d_query, d_key, d_negatives, d_temperature */
static PyObject *nce(PyObject *module, PyObject *arguments) {
    (void)module;
    static const nf_real_input inputs[] = {{"query", 2, 2, false}, {"key", 2, 2, false}, {"negatives", 2, 3, false}};
    PyObject *objects[INFO_NCE_INPUTS], *key_offsets, *negative_offsets, *weights;
    nf_number temperature = {"temperature", 0};
    int normalize, reduction;
    if (!PyArg_ParseTuple(arguments, "OOOOOOO&pi", &objects[QUERY], &objects[KEY], &objects[NEGATIVES], &key_offsets,
                          &negative_offsets, &weights, nf_read_number, &temperature, &normalize, &reduction))
        return NULL;
    nf_loss_call call = {.numbers = 1};
    PyArrayObject **x = call.x, **d = call.d;
    if (!nf_loss_inputs(&call, objects, inputs, INFO_NCE_INPUTS) || !nf_same_shapes(&call, 2) ||
        !negatives_fit(x[QUERY], x[NEGATIVES]) ||
        !read_offsets(&call, 0, key_offsets, "log_noise of the keys", x[KEY]) ||
        !read_offsets(&call, 1, negative_offsets, "log_noise of the negatives", x[NEGATIVES]) ||
        !nf_loss_weights(&call, weights) || !nf_loss_outputs(&call, reduction, PyArray_DIM(x[QUERY], 0)))
        return nf_loss_give_up(&call);
    npy_intp *shape = PyArray_DIMS(x[QUERY]), count;
    nf_negatives kind = kind_of(x[NEGATIVES], &count);
    nf_release_gil();
    nf_status status =
        NF_LOSS(&call, nf_nce, nf_data(call.loss), nf_data(d[QUERY]), nf_data(d[KEY]), nf_data(d[NEGATIVES]),
                &call.number[0], nf_data(x[QUERY]), nf_data(x[KEY]), nf_data(x[NEGATIVES]), nf_data(call.constants[0]),
                nf_data(call.constants[1]), nf_data(call.weights), shape[0], shape[1], count, kind, temperature.value,
                normalize != 0, (nf_reduction)reduction);
    nf_take_gil();
    return nf_loss_results(&call, status);
}

/* ---- The memory bank ---- */

enum { BANK = 1, INDICES = 0, DRAWN = 1 };

static bool bank_fits(nf_loss_call *call, PyObject *indices, PyObject *drawn) {
    npy_intp *query = PyArray_DIMS(call->x[QUERY]), *bank = PyArray_DIMS(call->x[BANK]);
    if (bank[1] != query[1]) {
        PyErr_Format(PyExc_ValueError, "bank must have query's %zd columns, got %zd", query[1], bank[1]);
        return false;
    }
    if (!nf_loss_integers(call, INDICES, indices, "indices", query[0], "queries"))
        return false;
    PyArrayObject *negatives = call->constants[DRAWN] = nf_input(drawn, "negatives", NPY_INT64, 2, 2);
    if (negatives && PyArray_DIM(negatives, 0) != query[0])
        PyErr_Format(PyExc_ValueError, "negatives must have one row for each of %zd queries, got %zd", query[0],
                     PyArray_DIM(negatives, 0));
    return negatives && PyArray_DIM(negatives, 0) == query[0];
}

/* npid(query, bank, indices, negatives, weights or None, log_offset, temperature, normalize, reduction)
 * -> loss, d_query, d_temperature */
static PyObject *npid(PyObject *module, PyObject *arguments) {
    (void)module;
    static const nf_real_input inputs[] = {{"query", 2, 2, false}, {"bank", 2, 2, false}};
    PyObject *objects[2], *indices, *drawn, *weights;
    nf_number log_offset = {"partition", 0}, temperature = {"temperature", 0};
    int normalize, reduction;
    if (!PyArg_ParseTuple(arguments, "OOOOOO&O&pi", &objects[QUERY], &objects[BANK], &indices, &drawn, &weights,
                          nf_read_number, &log_offset, nf_read_number, &temperature, &normalize, &reduction))
        return NULL;
    nf_loss_call call = {.numbers = 1};
    PyArrayObject **x = call.x;
    if (!nf_loss_inputs(&call, objects, inputs, 2) || !bank_fits(&call, indices, drawn) ||
        !nf_loss_weights(&call, weights) || !nf_loss_gradients(&call, 1) ||
        !(call.loss = nf_new_loss((nf_reduction)reduction, PyArray_DIM(x[QUERY], 0))))
        return nf_loss_give_up(&call);
    npy_intp *shape = PyArray_DIMS(x[QUERY]), rows = PyArray_DIM(x[BANK], 0);
    npy_intp count = PyArray_DIM(call.constants[DRAWN], 1);
    nf_release_gil();
    nf_status status = NF_LOSS(&call, nf_npid, nf_data(call.loss), nf_data(call.d[QUERY]), &call.number[0],
                               nf_data(x[QUERY]), nf_data(x[BANK]), nf_data(call.constants[INDICES]),
                               nf_data(call.constants[DRAWN]), nf_data(call.weights), shape[0], shape[1], rows, count,
                               log_offset.value, temperature.value, normalize != 0, (nf_reduction)reduction);
    nf_take_gil();
    return nf_loss_results(&call, status);
}

/* ---- Views of samples ---- */

static const nf_real_input views_input = {"z", 3, 3, false};

/* Everything before the operation, which reads the shape of z. */
static bool open_views(nf_loss_call *call, PyObject *z, PyObject *weights, int reduction) {
    return nf_loss_inputs(call, &z, &views_input, 1) && nf_loss_weights(call, weights) &&
           nf_loss_outputs(call, reduction, PyArray_DIM(call->x[0], 0) * PyArray_DIM(call->x[0], 1));
}

/* nt_xent(z, weights or None, temperature, normalize, reduction) -> loss, d_z, d_temperature */
static PyObject *nt_xent(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *z, *weights;
    nf_number temperature = {"temperature", 0};
    int normalize, reduction;
    if (!PyArg_ParseTuple(arguments, "OOO&pi", &z, &weights, nf_read_number, &temperature, &normalize, &reduction))
        return NULL;
    nf_loss_call call = {.numbers = 1};
    if (!open_views(&call, z, weights, reduction))
        return nf_loss_give_up(&call);
    npy_intp *shape = PyArray_DIMS(call.x[0]);
    nf_release_gil();
    nf_status status = NF_LOSS(&call, nf_nt_xent, nf_data(call.loss), nf_data(call.d[0]), &call.number[0],
                               nf_data(call.x[0]), nf_data(call.weights), shape[0], shape[1], shape[2],
                               temperature.value, normalize != 0, (nf_reduction)reduction);
    nf_take_gil();
    return nf_loss_results(&call, status);
}

/* dcl(z, weights or None, temperature, sigma, normalize, reduction) -> loss, d_z, d_temperature */
static PyObject *dcl(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *z, *weights;
    nf_number temperature = {"temperature", 0}, sigma = {"sigma", 0};
    int normalize, reduction;
    if (!PyArg_ParseTuple(arguments, "OOO&O&pi", &z, &weights, nf_read_number, &temperature, nf_read_number, &sigma,
                          &normalize, &reduction))
        return NULL;
    nf_loss_call call = {.numbers = 1};
    if (!open_views(&call, z, weights, reduction))
        return nf_loss_give_up(&call);
    npy_intp *shape = PyArray_DIMS(call.x[0]);
    nf_release_gil();
    nf_status status = NF_LOSS(&call, nf_dcl, nf_data(call.loss), nf_data(call.d[0]), &call.number[0],
                               nf_data(call.x[0]), nf_data(call.weights), shape[0], shape[1], shape[2],
                               temperature.value, sigma.value, normalize != 0, (nf_reduction)reduction);
    nf_take_gil();
    return nf_loss_results(&call, status);
}

static bool two_views(PyArrayObject *z) {
    if (PyArray_DIM(z, 0) == 2)
        return true;
    PyErr_Format(PyExc_ValueError, "z must have 2 views, got %zd", PyArray_DIM(z, 0));
    return false;
}

/* debiased_nt_xent(z, weights or None, temperature, tau_plus, beta, reduction) -> loss, d_z, d_temperature */
static PyObject *debiased_nt_xent(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *z, *weights;
    nf_number temperature = {"temperature", 0}, tau_plus = {"tau_plus", 0}, beta = {"beta", 0};
    int reduction;
    if (!PyArg_ParseTuple(arguments, "OOO&O&O&i", &z, &weights, nf_read_number, &temperature, nf_read_number, &tau_plus,
                          nf_read_number, &beta, &reduction))
        return NULL;
    nf_loss_call call = {.numbers = 1};
    if (!open_views(&call, z, weights, reduction) || !two_views(call.x[0]))
        return nf_loss_give_up(&call);
    npy_intp *shape = PyArray_DIMS(call.x[0]);
    nf_release_gil();
    nf_status status = NF_LOSS(&call, nf_debiased_nt_xent, nf_data(call.loss), nf_data(call.d[0]), &call.number[0],
                               nf_data(call.x[0]), nf_data(call.weights), shape[1], shape[2], temperature.value,
                               tau_plus.value, beta.value, (nf_reduction)reduction);
    nf_take_gil();
    return nf_loss_results(&call, status);
}

/* ---- Rows with labels ---- */

/* sup_con(z, labels, weights or None, positives inside, temperature, normalize, reduction)
 * -> (loss, d_z, d_temperature), anchors with a positive */
static PyObject *sup_con(PyObject *module, PyObject *arguments) {
    (void)module;
    static const nf_real_input input = {"z", 2, 3, false};
    PyObject *z, *labels, *weights;
    nf_number temperature = {"temperature", 0};
    int inside, normalize, reduction;
    if (!PyArg_ParseTuple(arguments, "OOOpO&pi", &z, &labels, &weights, &inside, nf_read_number, &temperature,
                          &normalize, &reduction))
        return NULL;
    nf_loss_call call = {.numbers = 1};
    if (!nf_loss_inputs(&call, &z, &input, 1))
        return nf_loss_give_up(&call);
    int last = PyArray_NDIM(call.x[0]) - 1;
    npy_intp *shape = PyArray_DIMS(call.x[0]), views = last == 2 ? shape[0] : 1, samples = shape[last - 1];
    if (!nf_loss_integers(&call, 0, labels, "labels", samples, "samples of z") || !nf_loss_weights(&call, weights) ||
        !nf_loss_outputs(&call, reduction, views * samples))
        return nf_loss_give_up(&call);
    int64_t active = 0;
    nf_release_gil();
    nf_status status = NF_LOSS(&call, nf_sup_con, nf_data(call.loss), nf_data(call.d[0]), &call.number[0], &active,
                               nf_data(call.x[0]), nf_data(call.constants[0]), nf_data(call.weights), views, samples,
                               shape[last], inside ? NF_POSITIVES_IN : NF_POSITIVES_OUT, temperature.value,
                               normalize != 0, (nf_reduction)reduction);
    nf_take_gil();
    PyObject *results = nf_loss_results(&call, status);
    return results ? Py_BuildValue("NL", results, (long long)active) : NULL;
}

static PyMethodDef methods[] = {
    {"info_nce", info_nce, METH_VARARGS, NULL}, {"nce", nce, METH_VARARGS, NULL},
    {"npid", npid, METH_VARARGS, NULL},         {"nt_xent", nt_xent, METH_VARARGS, NULL},
    {"dcl", dcl, METH_VARARGS, NULL},           {"debiased_nt_xent", debiased_nt_xent, METH_VARARGS, NULL},
    {"sup_con", sup_con, METH_VARARGS, NULL},   {0},
};

int nf_bind_losses(PyObject *module) {
    return PyModule_AddFunctions(module, methods);
}
