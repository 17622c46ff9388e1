/* The margin losses: of pairs and triplets that are given, and of labelled batches. */
#include "binding.h"

/* `count` arrays of the same shape (N, D) and their gradients. */
enum { MOST = 3 };
typedef struct arrays {
    PyArrayObject *inputs[MOST], *gradients[MOST], *loss;
} arrays;

static void release(arrays *a) {
    for (int i = 0; i < MOST; i++) {
        Py_XDECREF((PyObject *)a->inputs[i]);
        Py_XDECREF((PyObject *)a->gradients[i]);
    }
    Py_XDECREF((PyObject *)a->loss);
}

static bool same_shapes(const arrays *a, const nf_real_input *inputs, int count) {
    npy_intp *first = PyArray_DIMS(a->inputs[0]);
    for (int i = 1; i < count; i++) {
        npy_intp *shape = PyArray_DIMS(a->inputs[i]);
        if (shape[0] != first[0] || shape[1] != first[1]) {
            PyErr_Format(PyExc_ValueError, "%s must have the shape of %s, (%zd, %zd), got (%zd, %zd)", inputs[i].name,
                         inputs[0].name, first[0], first[1], shape[0], shape[1]);
            return false;
        }
    }
    return true;
}

static bool read_arrays(arrays *a, PyObject *const *objects, const nf_real_input *inputs, int count,
                        nf_reduction reduction) {
    if (!nf_inputs_real(a->inputs, objects, inputs, count) || !same_shapes(a, inputs, count))
        return false;
    for (int i = 0; i < count; i++)
        if (!(a->gradients[i] = nf_new_like(a->inputs[i])))
            return false;
    return (a->loss = nf_new_loss(reduction, PyArray_DIM(a->inputs[0], 0))) != NULL;
}

/* int64 (N), one for each row of the array. */
static PyArrayObject *one_for_each_row(PyObject *object, const char *name, PyArrayObject *rows, const char *rows_name) {
    PyArrayObject *array = nf_input(object, name, NPY_INT64, 1, 1);
    if (array && PyArray_DIM(array, 0) != PyArray_DIM(rows, 0)) {
        PyErr_Format(PyExc_ValueError, "%s must have one element for each of %zd rows of %s, got %zd", name,
                     PyArray_DIM(rows, 0), rows_name, PyArray_DIM(array, 0));
        Py_CLEAR(array);
    }
    return array;
}

/* pair(a, b, same, form, margin, normalize, reduction) -> loss, d_a, d_b */
static PyObject *pair(PyObject *module, PyObject *arguments) {
    (void)module;
    static const nf_real_input inputs[] = {{"a", 2, 2, false}, {"b", 2, 2, false}};
    PyObject *objects[2], *same_object, *result = NULL;
    double margin;
    int form, normalize, reduction;
    if (!PyArg_ParseTuple(arguments, "OOOidpi", &objects[0], &objects[1], &same_object, &form, &margin, &normalize,
                          &reduction))
        return NULL;
    arrays a = {0};
    PyArrayObject *same = NULL;
    if (read_arrays(&a, objects, inputs, 2, (nf_reduction)reduction) &&
        (same = one_for_each_row(same_object, "same", a.inputs[0], "a"))) {
        PyArrayObject *const *x = a.inputs, *const *d = a.gradients;
        npy_intp *shape = PyArray_DIMS(x[0]);
        nf_release_gil();
        nf_status status = nf_is_double(x[0])
                               ? nf_pair_f64(nf_data(a.loss), nf_data(d[0]), nf_data(d[1]), nf_data(x[0]),
                                             nf_data(x[1]), nf_data(same), shape[0], shape[1], (nf_pair_form)form,
                                             margin, normalize != 0, (nf_reduction)reduction)
                               : nf_pair_f32(nf_data(a.loss), nf_data(d[0]), nf_data(d[1]), nf_data(x[0]),
                                             nf_data(x[1]), nf_data(same), shape[0], shape[1], (nf_pair_form)form,
                                             margin, normalize != 0, (nf_reduction)reduction);
        nf_take_gil();
        result = status == NF_OK ? Py_BuildValue("OOO", a.loss, d[0], d[1]) : nf_raise(status);
    }
    Py_XDECREF((PyObject *)same);
    release(&a);
    return result;
}

/* triplet_margin(anchor, positive, negative, margin, squared, soft, swap, normalize, reduction)
 * -> loss, d_anchor, d_positive, d_negative */
static PyObject *triplet_margin(PyObject *module, PyObject *arguments) {
    (void)module;
    static const nf_real_input inputs[] = {
        {"anchor", 2, 2, false}, {"positive", 2, 2, false}, {"negative", 2, 2, false}};
    PyObject *objects[3], *result = NULL;
    double margin;
    int squared, soft, swap, normalize, reduction;
    if (!PyArg_ParseTuple(arguments, "OOOdppppi", &objects[0], &objects[1], &objects[2], &margin, &squared, &soft,
                          &swap, &normalize, &reduction))
        return NULL;
    arrays a = {0};
    if (read_arrays(&a, objects, inputs, 3, (nf_reduction)reduction)) {
        PyArrayObject *const *x = a.inputs, *const *d = a.gradients;
        npy_intp *shape = PyArray_DIMS(x[0]);
        nf_release_gil();
        nf_status status =
            nf_is_double(x[0])
                ? nf_triplet_margin_f64(nf_data(a.loss), nf_data(d[0]), nf_data(d[1]), nf_data(d[2]), nf_data(x[0]),
                                        nf_data(x[1]), nf_data(x[2]), shape[0], shape[1], margin, squared != 0,
                                        soft != 0, swap != 0, normalize != 0, (nf_reduction)reduction)
                : nf_triplet_margin_f32(nf_data(a.loss), nf_data(d[0]), nf_data(d[1]), nf_data(d[2]), nf_data(x[0]),
                                        nf_data(x[1]), nf_data(x[2]), shape[0], shape[1], margin, squared != 0,
                                        soft != 0, swap != 0, normalize != 0, (nf_reduction)reduction);
        nf_take_gil();
        result = status == NF_OK ? Py_BuildValue("OOOO", a.loss, d[0], d[1], d[2]) : nf_raise(status);
    }
    release(&a);
    return result;
}

/* ---- Labelled batches ---- */

typedef struct batch {
    PyArrayObject *z, *labels, *d_z, *loss;
    int normalize, reduction;
} batch;

static bool read_batch(batch *b, PyObject *z, PyObject *labels) {
    return (b->z = nf_input_real(z, "z", 2, 2)) && (b->labels = one_for_each_row(labels, "labels", b->z, "z")) &&
           (b->d_z = nf_new_like(b->z)) && (b->loss = nf_new_loss((nf_reduction)b->reduction, PyArray_DIM(b->z, 0)));
}

static PyObject *batch_result(batch *b, nf_status status) {
    return status == NF_OK ? Py_BuildValue("OO", b->loss, b->d_z) : nf_raise(status);
}

static void release_batch(batch *b) {
    Py_XDECREF((PyObject *)b->z);
    Py_XDECREF((PyObject *)b->labels);
    Py_XDECREF((PyObject *)b->d_z);
    Py_XDECREF((PyObject *)b->loss);
}

/* contrastive(z, labels, pos_margin, neg_margin, normalize, reduction) -> loss, d_z */
static PyObject *contrastive(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *z, *labels, *result = NULL;
    double pos_margin, neg_margin;
    batch b = {0};
    if (!PyArg_ParseTuple(arguments, "OOddpi", &z, &labels, &pos_margin, &neg_margin, &b.normalize, &b.reduction))
        return NULL;
    if (read_batch(&b, z, labels)) {
        npy_intp *shape = PyArray_DIMS(b.z);
        nf_release_gil();
        nf_status status =
            nf_is_double(b.z)
                ? nf_contrastive_f64(nf_data(b.loss), nf_data(b.d_z), nf_data(b.z), nf_data(b.labels), shape[0],
                                     shape[1], pos_margin, neg_margin, b.normalize != 0, (nf_reduction)b.reduction)
                : nf_contrastive_f32(nf_data(b.loss), nf_data(b.d_z), nf_data(b.z), nf_data(b.labels), shape[0],
                                     shape[1], pos_margin, neg_margin, b.normalize != 0, (nf_reduction)b.reduction);
        nf_take_gil();
        result = batch_result(&b, status);
    }
    release_batch(&b);
    return result;
}

/* triplet(z, labels, margin, mining, squared, soft, nonzero, normalize, reduction) -> loss, d_z */
static PyObject *triplet(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *z, *labels, *result = NULL;
    double margin;
    int mining, squared, soft, nonzero;
    batch b = {0};
    if (!PyArg_ParseTuple(arguments, "OOdippppi", &z, &labels, &margin, &mining, &squared, &soft, &nonzero,
                          &b.normalize, &b.reduction))
        return NULL;
    if (read_batch(&b, z, labels)) {
        npy_intp *shape = PyArray_DIMS(b.z);
        nf_release_gil();
        nf_status status = nf_is_double(b.z)
                               ? nf_triplet_f64(nf_data(b.loss), nf_data(b.d_z), nf_data(b.z), nf_data(b.labels),
                                                shape[0], shape[1], margin, (nf_mining)mining, squared != 0, soft != 0,
                                                nonzero != 0, b.normalize != 0, (nf_reduction)b.reduction)
                               : nf_triplet_f32(nf_data(b.loss), nf_data(b.d_z), nf_data(b.z), nf_data(b.labels),
                                                shape[0], shape[1], margin, (nf_mining)mining, squared != 0, soft != 0,
                                                nonzero != 0, b.normalize != 0, (nf_reduction)b.reduction);
        nf_take_gil();
        result = batch_result(&b, status);
    }
    release_batch(&b);
    return result;
}

/* lifted_structure(z, labels, margin, nonzero, normalize, reduction) -> loss, d_z */
static PyObject *lifted_structure(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *z, *labels, *result = NULL;
    double margin;
    int nonzero;
    batch b = {0};
    if (!PyArg_ParseTuple(arguments, "OOdppi", &z, &labels, &margin, &nonzero, &b.normalize, &b.reduction))
        return NULL;
    if (read_batch(&b, z, labels)) {
        npy_intp *shape = PyArray_DIMS(b.z);
        nf_release_gil();
        nf_status status =
            nf_is_double(b.z)
                ? nf_lifted_structure_f64(nf_data(b.loss), nf_data(b.d_z), nf_data(b.z), nf_data(b.labels), shape[0],
                                          shape[1], margin, nonzero != 0, b.normalize != 0, (nf_reduction)b.reduction)
                : nf_lifted_structure_f32(nf_data(b.loss), nf_data(b.d_z), nf_data(b.z), nf_data(b.labels), shape[0],
                                          shape[1], margin, nonzero != 0, b.normalize != 0, (nf_reduction)b.reduction);
        nf_take_gil();
        result = batch_result(&b, status);
    }
    release_batch(&b);
    return result;
}

static PyMethodDef methods[] = {
    {"pair", pair, METH_VARARGS, NULL},
    {"triplet_margin", triplet_margin, METH_VARARGS, NULL},
    {"contrastive", contrastive, METH_VARARGS, NULL},
    {"triplet", triplet, METH_VARARGS, NULL},
    {"lifted_structure", lifted_structure, METH_VARARGS, NULL},
    {0},
};

int nf_bind_margin_losses(PyObject *module) {
    return PyModule_AddFunctions(module, methods);
}
