/* The margin losses: of pairs and triplets that are given, and of labelled batches. Types are those of losses.c. */
#include "loss_call.h"

/* ---- Pairs and triplets that are given ---- */

/* Matrices of one shape, each with its gradient. */
static bool open_rows(nf_loss_call *call, PyObject *const *objects, const nf_real_input *inputs, int count,
                      PyObject *weights, int reduction) {
    return nf_loss_inputs(call, objects, inputs, count) && nf_same_shapes(call, count) &&
           nf_loss_weights(call, weights) && nf_loss_outputs(call, reduction, PyArray_DIM(call->x[0], 0));
}

/* pair(a, b, same, weights or None, form, margin, normalize, reduction) -> loss, d_a, d_b */
static PyObject *pair(PyObject *module, PyObject *arguments) {
    (void)module;
    static const nf_real_input inputs[] = {{"a", 2, 2, false}, {"b", 2, 2, false}};
    PyObject *objects[2], *same, *weights;
    nf_number margin = {"margin or bound", 0};
    int form, normalize, reduction;
    if (!PyArg_ParseTuple(arguments, "OOOOiO&pi", &objects[0], &objects[1], &same, &weights, &form, nf_read_number,
                          &margin, &normalize, &reduction))
        return NULL;
    nf_loss_call call = {0};
    PyArrayObject **x = call.x, **d = call.d;
    if (!open_rows(&call, objects, inputs, 2, weights, reduction) ||
        !nf_loss_integers(&call, 0, same, "same", PyArray_DIM(x[0], 0), "rows of a"))
        return nf_loss_give_up(&call);
    npy_intp *shape = PyArray_DIMS(x[0]);
    nf_release_gil();
    nf_status status = NF_LOSS(&call, nf_pair, nf_data(call.loss), nf_data(d[0]), nf_data(d[1]), nf_data(x[0]),
                               nf_data(x[1]), nf_data(call.constants[0]), nf_data(call.weights), shape[0], shape[1],
                               (nf_pair_form)form, margin.value, normalize != 0, (nf_reduction)reduction);
    nf_take_gil();
    return nf_loss_results(&call, status);
}

/* triplet_margin(anchor, positive, negative, weights or None, margin, squared, soft, swap, normalize, reduction)
 * -> loss, d_anchor, d_positive, d_negative */
static PyObject *triplet_margin(PyObject *module, PyObject *arguments) {
    (void)module;
    static const nf_real_input inputs[] = {
        {"anchor", 2, 2, false}, {"positive", 2, 2, false}, {"negative", 2, 2, false}};
    PyObject *objects[3], *weights;
    nf_number margin = {"margin", 0};
    int squared, soft, swap, normalize, reduction;
    if (!PyArg_ParseTuple(arguments, "OOOOO&ppppi", &objects[0], &objects[1], &objects[2], &weights, nf_read_number,
                          &margin, &squared, &soft, &swap, &normalize, &reduction))
        return NULL;
    nf_loss_call call = {0};
    PyArrayObject **x = call.x, **d = call.d;
    if (!open_rows(&call, objects, inputs, 3, weights, reduction))
        return nf_loss_give_up(&call);
    npy_intp *shape = PyArray_DIMS(x[0]);
    nf_release_gil();
    nf_status status =
        NF_LOSS(&call, nf_triplet_margin, nf_data(call.loss), nf_data(d[0]), nf_data(d[1]), nf_data(d[2]),
                nf_data(x[0]), nf_data(x[1]), nf_data(x[2]), nf_data(call.weights), shape[0], shape[1], margin.value,
                squared != 0, soft != 0, swap != 0, normalize != 0, (nf_reduction)reduction);
    nf_take_gil();
    return nf_loss_results(&call, status);
}

/* ---- Labelled batches ---- */

static bool open_batch(nf_loss_call *call, PyObject *z, PyObject *labels, PyObject *weights, int reduction) {
    static const nf_real_input input = {"z", 2, 2, false};
    return nf_loss_inputs(call, &z, &input, 1) &&
           nf_loss_integers(call, 0, labels, "labels", PyArray_DIM(call->x[0], 0), "rows of z") &&
           nf_loss_weights(call, weights) && nf_loss_outputs(call, reduction, PyArray_DIM(call->x[0], 0));
}

/* contrastive(z, labels, weights or None, pos_margin, neg_margin, normalize, reduction) -> loss, d_z */
static PyObject *contrastive(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *z, *labels, *weights;
    nf_number pos_margin = {"pos_margin", 0}, neg_margin = {"neg_margin", 0};
    int normalize, reduction;
    if (!PyArg_ParseTuple(arguments, "OOOO&O&pi", &z, &labels, &weights, nf_read_number, &pos_margin, nf_read_number,
                          &neg_margin, &normalize, &reduction))
        return NULL;
    nf_loss_call call = {0};
    if (!open_batch(&call, z, labels, weights, reduction))
        return nf_loss_give_up(&call);
    npy_intp *shape = PyArray_DIMS(call.x[0]);
    nf_release_gil();
    nf_status status = NF_LOSS(&call, nf_contrastive, nf_data(call.loss), nf_data(call.d[0]), nf_data(call.x[0]),
                               nf_data(call.constants[0]), nf_data(call.weights), shape[0], shape[1], pos_margin.value,
                               neg_margin.value, normalize != 0, (nf_reduction)reduction);
    nf_take_gil();
    return nf_loss_results(&call, status);
}

/* triplet(z, labels, weights or None, margin, mining, squared, soft, nonzero, normalize, reduction) -> loss, d_z */
static PyObject *triplet(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *z, *labels, *weights;
    nf_number margin = {"margin", 0};
    int mining, squared, soft, nonzero, normalize, reduction;
    if (!PyArg_ParseTuple(arguments, "OOOO&ippppi", &z, &labels, &weights, nf_read_number, &margin, &mining, &squared,
                          &soft, &nonzero, &normalize, &reduction))
        return NULL;
    nf_loss_call call = {0};
    if (!open_batch(&call, z, labels, weights, reduction))
        return nf_loss_give_up(&call);
    npy_intp *shape = PyArray_DIMS(call.x[0]);
    nf_release_gil();
    nf_status status =
        NF_LOSS(&call, nf_triplet, nf_data(call.loss), nf_data(call.d[0]), nf_data(call.x[0]),
                nf_data(call.constants[0]), nf_data(call.weights), shape[0], shape[1], margin.value, (nf_mining)mining,
                squared != 0, soft != 0, nonzero != 0, normalize != 0, (nf_reduction)reduction);
    nf_take_gil();
    return nf_loss_results(&call, status);
}

/* lifted_structure(z, labels, weights or None, margin, nonzero, normalize, reduction) -> loss, d_z */
static PyObject *lifted_structure(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *z, *labels, *weights;
    nf_number margin = {"margin", 0};
    int nonzero, normalize, reduction;
    if (!PyArg_ParseTuple(arguments, "OOOO&ppi", &z, &labels, &weights, nf_read_number, &margin, &nonzero, &normalize,
                          &reduction))
        return NULL;
    nf_loss_call call = {0};
    if (!open_batch(&call, z, labels, weights, reduction))
        return nf_loss_give_up(&call);
    npy_intp *shape = PyArray_DIMS(call.x[0]);
    nf_release_gil();
    nf_status status = NF_LOSS(&call, nf_lifted_structure, nf_data(call.loss), nf_data(call.d[0]), nf_data(call.x[0]),
                               nf_data(call.constants[0]), nf_data(call.weights), shape[0], shape[1], margin.value,
                               nonzero != 0, normalize != 0, (nf_reduction)reduction);
    nf_take_gil();
    return nf_loss_results(&call, status);
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
