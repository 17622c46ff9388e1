/* The losses that are sums over all pairs, and scoring functions. Types are those of losses.c. */
#include "loss_call.h"

enum { X, Y, W, D_SCORES, SCORED_INPUTS };

static const nf_real_input scored_inputs[] = {
    {"x", 2, 2, false}, {"y", 2, 2, false}, {"w", 2, 2, true}, {"d_scores", 2, 2, false}};

/* ---- Scores ---- */

static bool widths_fit(const nf_loss_call *call, int score) {
    npy_intp *x = PyArray_DIMS(call->x[X]), *y = PyArray_DIMS(call->x[Y]);
    npy_intp *w = call->x[W] ? PyArray_DIMS(call->x[W]) : NULL;
    if ((w != NULL) != (score == NF_SCORE_BILINEAR)) {
        PyErr_SetString(PyExc_ValueError, w ? "w is for the bilinear score only" : "the bilinear score needs w");
        return false;
    }
    if (w && (w[0] != x[1] || w[1] != y[1])) {
        PyErr_Format(PyExc_ValueError, "w must have shape (%zd, %zd), x's and y's columns, got (%zd, %zd)", x[1], y[1],
                     w[0], w[1]);
        return false;
    }
    if (!w && x[1] != y[1]) {
        PyErr_Format(PyExc_ValueError, "x and y must have the same number of columns, got %zd and %zd", x[1], y[1]);
        return false;
    }
    return true;
}

/* scores(x, y, w or None, score) -> scores */
static PyObject *scores(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *objects[SCORED_INPUTS];
    int score;
    if (!PyArg_ParseTuple(arguments, "OOOi", &objects[X], &objects[Y], &objects[W], &score))
        return NULL;
    nf_loss_call call = {0};
    PyArrayObject **x = call.x;
    if (!nf_loss_inputs(&call, objects, scored_inputs, 3) || !widths_fit(&call, score))
        return nf_loss_give_up(&call);
    npy_intp shape[] = {PyArray_DIM(x[X], 0), PyArray_DIM(x[Y], 0)};
    npy_intp x_width = PyArray_DIM(x[X], 1), y_width = PyArray_DIM(x[Y], 1);
    PyArrayObject *result = nf_new_array(2, shape, PyArray_TYPE(x[X]));
    if (!result)
        return nf_loss_give_up(&call);
    nf_release_gil();
    nf_status status = NF_LOSS(&call, nf_scores, nf_data(result), nf_data(x[X]), nf_data(x[Y]), nf_data(x[W]), shape[0],
                               shape[1], x_width, y_width, (nf_score)score);
    nf_take_gil();
    nf_loss_give_up(&call);
    if (status == NF_OK)
        return (PyObject *)result;
    Py_DECREF((PyObject *)result);
    return nf_raise(status);
}

static bool d_scores_fit(const nf_loss_call *call) {
    npy_intp *d = PyArray_DIMS(call->x[D_SCORES]), n = PyArray_DIM(call->x[X], 0), m = PyArray_DIM(call->x[Y], 0);
    if (d[0] == n && d[1] == m)
        return true;
    PyErr_Format(PyExc_ValueError, "d_scores must have shape (%zd, %zd), got (%zd, %zd)", n, m, d[0], d[1]);
    return false;
}

/* scores_backward(x, y, w or None, d_scores, score) -> d_x, d_y, d_w or None */
static PyObject *scores_backward(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *objects[SCORED_INPUTS];
    int score;
    if (!PyArg_ParseTuple(arguments, "OOOOi", &objects[X], &objects[Y], &objects[W], &objects[D_SCORES], &score))
        return NULL;
    nf_loss_call call = {0};
    PyArrayObject **x = call.x, **d = call.d;
    if (!nf_loss_inputs(&call, objects, scored_inputs, 4) || !widths_fit(&call, score) || !d_scores_fit(&call) ||
        !nf_loss_gradients(&call, 3))
        return nf_loss_give_up(&call);
    npy_intp *x_shape = PyArray_DIMS(x[X]), *y_shape = PyArray_DIMS(x[Y]);
    nf_release_gil();
    nf_status status = NF_LOSS(&call, nf_scores_backward, nf_data(d[X]), nf_data(d[Y]), nf_data(d[W]),
                               nf_data(x[D_SCORES]), nf_data(x[X]), nf_data(x[Y]), nf_data(x[W]), x_shape[0],
                               y_shape[0], x_shape[1], y_shape[1], (nf_score)score);
    nf_take_gil();
    return nf_loss_results(&call, status);
}

/* ---- Critics ---- */

static bool as_many_rows(const nf_loss_call *call) {
    npy_intp n = PyArray_DIM(call->x[X], 0), m = PyArray_DIM(call->x[Y], 0);
    if (n == m)
        return true;
    PyErr_Format(PyExc_ValueError, "x and y must have as many rows, got %zd and %zd", n, m);
    return false;
}

/* critic_loss(x, y, w or None, weights or None, objective, score, scale, bias, reduction)
 * -> loss, d_x, d_y, d_w or None, d_log_scale, d_bias */
static PyObject *critic_loss(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *objects[SCORED_INPUTS], *weights;
    nf_number scale = {"scale", 0}, bias = {"bias", 0};
    int objective, score, reduction;
    if (!PyArg_ParseTuple(arguments, "OOOOiiO&O&i", &objects[X], &objects[Y], &objects[W], &weights, &objective, &score,
                          nf_read_number, &scale, nf_read_number, &bias, &reduction))
        return NULL;
    nf_loss_call call = {.numbers = 2};
    PyArrayObject **x = call.x, **d = call.d;
    if (!nf_loss_inputs(&call, objects, scored_inputs, 3) || !as_many_rows(&call) || !widths_fit(&call, score) ||
        !nf_loss_weights(&call, weights) || !nf_loss_outputs(&call, reduction, PyArray_DIM(x[X], 0)))
        return nf_loss_give_up(&call);
    npy_intp *shape = PyArray_DIMS(x[X]), y_width = PyArray_DIM(x[Y], 1);
    nf_release_gil();
    nf_status status =
        NF_LOSS(&call, nf_critic_loss, nf_data(call.loss), nf_data(d[X]), nf_data(d[Y]), nf_data(d[W]), &call.number[0],
                &call.number[1], nf_data(x[X]), nf_data(x[Y]), nf_data(x[W]), nf_data(call.weights), shape[0], shape[1],
                y_width, (nf_objective)objective, (nf_score)score, scale.value, bias.value, (nf_reduction)reduction);
    nf_take_gil();
    return nf_loss_results(&call, status);
}

static bool is_square(PyArrayObject *matrix) {
    npy_intp *shape = PyArray_DIMS(matrix);
    if (shape[0] == shape[1])
        return true;
    PyErr_Format(PyExc_ValueError, "scores must be square, got shape (%zd, %zd)", shape[0], shape[1]);
    return false;
}

/* critic_matrix_loss(scores, weights or None, objective, reduction) -> loss, d_scores */
static PyObject *critic_matrix_loss(PyObject *module, PyObject *arguments) {
    (void)module;
    static const nf_real_input input = {"scores", 2, 2, false};
    PyObject *object, *weights;
    int objective, reduction;
    if (!PyArg_ParseTuple(arguments, "OOii", &object, &weights, &objective, &reduction))
        return NULL;
    nf_loss_call call = {0};
    if (!nf_loss_inputs(&call, &object, &input, 1) || !is_square(call.x[0]) || !nf_loss_weights(&call, weights) ||
        !nf_loss_outputs(&call, reduction, PyArray_DIM(call.x[0], 0)))
        return nf_loss_give_up(&call);
    npy_intp samples = PyArray_DIM(call.x[0], 0);
    nf_release_gil();
    nf_status status = NF_LOSS(&call, nf_critic_matrix_loss, nf_data(call.loss), nf_data(call.d[0]), nf_data(call.x[0]),
                               nf_data(call.weights), samples, (nf_objective)objective, (nf_reduction)reduction);
    nf_take_gil();
    return nf_loss_results(&call, status);
}

/* ---- The sphere ---- */

/* align_uniform(x, y, alpha, t, alignment, uniformity, normalize) -> loss, d_x, d_y */
static PyObject *align_uniform(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *objects[SCORED_INPUTS];
    nf_number alpha = {"alpha", 0}, t = {"t", 0}, alignment = {"weights", 0}, uniformity = {"weights", 0};
    int normalize;
    if (!PyArg_ParseTuple(arguments, "OOO&O&O&O&p", &objects[X], &objects[Y], nf_read_number, &alpha, nf_read_number,
                          &t, nf_read_number, &alignment, nf_read_number, &uniformity, &normalize))
        return NULL;
    nf_loss_call call = {0};
    PyArrayObject **x = call.x, **d = call.d;
    if (!nf_loss_inputs(&call, objects, scored_inputs, 2) || !nf_same_shapes(&call, 2) ||
        !nf_loss_outputs(&call, NF_REDUCE_MEAN, PyArray_DIM(x[X], 0)))
        return nf_loss_give_up(&call);
    npy_intp *shape = PyArray_DIMS(x[X]);
    nf_release_gil();
    nf_status status =
        NF_LOSS(&call, nf_align_uniform, nf_data(call.loss), nf_data(d[X]), nf_data(d[Y]), nf_data(x[X]), nf_data(x[Y]),
                shape[0], shape[1], alpha.value, t.value, alignment.value, uniformity.value, normalize != 0);
    nf_take_gil();
    return nf_loss_results(&call, status);
}

static PyMethodDef methods[] = {
    {"scores", scores, METH_VARARGS, NULL},
    {"scores_backward", scores_backward, METH_VARARGS, NULL},
    {"critic_loss", critic_loss, METH_VARARGS, NULL},
    {"critic_matrix_loss", critic_matrix_loss, METH_VARARGS, NULL},
    {"align_uniform", align_uniform, METH_VARARGS, NULL},
    {0},
};

int nf_bind_pair_losses(PyObject *module) {
    return PyModule_AddFunctions(module, methods);
}
