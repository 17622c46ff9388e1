/* The losses that are sums over pairs, and scoring functions. Types are those of losses.c. */
#include "binding.h"

/* The real arrays of a call, and the gradients of the first few. */
enum { MOST = 4 };
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

static npy_intp dim(PyArrayObject *array, int axis) {
    return PyArray_DIM(array, axis);
}

/* A gradient for each of the first `count` inputs that is there. */
static bool new_gradients(arrays *a, int count) {
    for (int i = 0; i < count; i++)
        if (a->inputs[i] && !(a->gradients[i] = nf_new_like(a->inputs[i])))
            return false;
    return true;
}

static bool read_reduction(nf_reduction *reduction, int number) {
    *reduction = (nf_reduction)number;
    if (number >= NF_REDUCE_MEAN && number <= NF_REDUCE_NONE)
        return true;
    PyErr_Format(PyExc_ValueError, "reduction must be 0, 1 or 2, got %d", number);
    return false;
}

static PyObject *or_none(PyArrayObject *array) {
    return array ? (PyObject *)array : Py_None;
}

static bool same_shape(PyArrayObject *a, const char *a_name, PyArrayObject *b, const char *b_name) {
    if (dim(a, 0) == dim(b, 0) && dim(a, 1) == dim(b, 1))
        return true;
    PyErr_Format(PyExc_ValueError, "%s and %s must have the same shape, got (%zd, %zd) and (%zd, %zd)", a_name, b_name,
                 dim(a, 0), dim(a, 1), dim(b, 0), dim(b, 1));
    return false;
}

/* ---- Scores ---- */

enum { X, Y, W, D_SCORES };

static bool widths_fit(const arrays *a, int score) {
    PyArrayObject *x = a->inputs[X], *y = a->inputs[Y], *w = a->inputs[W];
    if ((w != NULL) != (score == NF_SCORE_BILINEAR)) {
        PyErr_SetString(PyExc_ValueError, w ? "w is for the bilinear score only" : "the bilinear score needs w");
        return false;
    }
    if (w && (dim(w, 0) != dim(x, 1) || dim(w, 1) != dim(y, 1))) {
        PyErr_Format(PyExc_ValueError, "w must have shape (%zd, %zd), x's and y's columns, got (%zd, %zd)", dim(x, 1),
                     dim(y, 1), dim(w, 0), dim(w, 1));
        return false;
    }
    if (!w && dim(x, 1) != dim(y, 1)) {
        PyErr_Format(PyExc_ValueError, "x and y must have the same number of columns, got %zd and %zd", dim(x, 1),
                     dim(y, 1));
        return false;
    }
    return true;
}

static bool read_score(int score) {
    if (score >= NF_SCORE_DOT && score <= NF_SCORE_DISTANCE)
        return true;
    PyErr_Format(PyExc_ValueError, "score must be from 0 to 3, got %d", score);
    return false;
}

static const nf_real_input scored_inputs[MOST] = {
    {"x", 2, 2, false}, {"y", 2, 2, false}, {"w", 2, 2, true}, {"d_scores", 2, 2, false}};

/* scores(x, y, w or None, score) -> scores */
static PyObject *scores(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *objects[MOST], *result = NULL;
    int score;
    if (!PyArg_ParseTuple(arguments, "OOOi", &objects[X], &objects[Y], &objects[W], &score) || !read_score(score))
        return NULL;
    arrays a = {0};
    PyArrayObject *out = NULL, **in = a.inputs;
    if (nf_inputs_real(a.inputs, objects, scored_inputs, 3) && widths_fit(&a, score)) {
        npy_intp shape[2] = {dim(in[X], 0), dim(in[Y], 0)};
        out = nf_new_array(2, shape, PyArray_TYPE(in[X]));
    }
    if (out) {
        npy_intp n = dim(in[X], 0), m = dim(in[Y], 0), x_width = dim(in[X], 1), y_width = dim(in[Y], 1);
        nf_release_gil();
        nf_status status = nf_is_double(in[X]) ? nf_scores_f64(nf_data(out), nf_data(in[X]), nf_data(in[Y]),
                                                               nf_data(in[W]), n, m, x_width, y_width, (nf_score)score)
                                               : nf_scores_f32(nf_data(out), nf_data(in[X]), nf_data(in[Y]),
                                                               nf_data(in[W]), n, m, x_width, y_width, (nf_score)score);
        nf_take_gil();
        if (status != NF_OK)
            nf_raise(status);
        else
            result = Py_NewRef((PyObject *)out);
    }
    Py_XDECREF((PyObject *)out);
    release(&a);
    return result;
}

static bool d_scores_fit(const arrays *a) {
    PyArrayObject *d = a->inputs[D_SCORES];
    npy_intp n = dim(a->inputs[X], 0), m = dim(a->inputs[Y], 0);
    if (dim(d, 0) == n && dim(d, 1) == m)
        return true;
    PyErr_Format(PyExc_ValueError, "d_scores must have shape (%zd, %zd), got (%zd, %zd)", n, m, dim(d, 0), dim(d, 1));
    return false;
}

/* scores_backward(x, y, w or None, d_scores, score) -> d_x, d_y, d_w or None */
static PyObject *scores_backward(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *objects[MOST], *result = NULL;
    int score;
    if (!PyArg_ParseTuple(arguments, "OOOOi", &objects[X], &objects[Y], &objects[W], &objects[D_SCORES], &score) ||
        !read_score(score))
        return NULL;
    arrays a = {0};
    PyArrayObject **in = a.inputs, **d = a.gradients;
    if (nf_inputs_real(a.inputs, objects, scored_inputs, 4) && widths_fit(&a, score) && d_scores_fit(&a) &&
        new_gradients(&a, 3)) {
        npy_intp n = dim(in[X], 0), m = dim(in[Y], 0), x_width = dim(in[X], 1), y_width = dim(in[Y], 1);
        nf_release_gil();
        nf_status status = nf_is_double(in[X])
                               ? nf_scores_backward_f64(nf_data(d[X]), nf_data(d[Y]), nf_data(d[W]),
                                                        nf_data(in[D_SCORES]), nf_data(in[X]), nf_data(in[Y]),
                                                        nf_data(in[W]), n, m, x_width, y_width, (nf_score)score)
                               : nf_scores_backward_f32(nf_data(d[X]), nf_data(d[Y]), nf_data(d[W]),
                                                        nf_data(in[D_SCORES]), nf_data(in[X]), nf_data(in[Y]),
                                                        nf_data(in[W]), n, m, x_width, y_width, (nf_score)score);
        nf_take_gil();
        if (status != NF_OK)
            nf_raise(status);
        else
            result = Py_BuildValue("OOO", d[X], d[Y], or_none(d[W]));
    }
    release(&a);
    return result;
}

/* ---- Critics ---- */

static bool read_objective(int objective) {
    if (objective >= NF_SIGMOID && objective <= NF_DONSKER_VARADHAN)
        return true;
    PyErr_Format(PyExc_ValueError, "objective must be from 0 to 3, got %d", objective);
    return false;
}

static bool as_many_rows(const arrays *a) {
    npy_intp n = dim(a->inputs[X], 0), m = dim(a->inputs[Y], 0);
    if (n == m)
        return true;
    PyErr_Format(PyExc_ValueError, "x and y must have as many rows, got %zd and %zd", n, m);
    return false;
}

/* critic_loss(x, y, w or None, objective, score, scale, bias, reduction)
 * -> values, d_x, d_y, d_w or None, d_log_scale, d_bias */
static PyObject *critic_loss(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *objects[MOST], *result = NULL;
    int objective, score, number;
    double scale, bias, d_log_scale = 0, d_bias = 0;
    nf_reduction reduction;
    if (!PyArg_ParseTuple(arguments, "OOOiiddi", &objects[X], &objects[Y], &objects[W], &objective, &score, &scale,
                          &bias, &number) ||
        !read_objective(objective) || !read_score(score) || !read_reduction(&reduction, number))
        return NULL;
    arrays a = {0};
    PyArrayObject **in = a.inputs, **d = a.gradients;
    if (nf_inputs_real(a.inputs, objects, scored_inputs, 3) && as_many_rows(&a) && widths_fit(&a, score) &&
        new_gradients(&a, 3) && (a.loss = nf_new_loss(reduction, dim(in[X], 0)))) {
        npy_intp n = dim(in[X], 0), x_width = dim(in[X], 1), y_width = dim(in[Y], 1);
        nf_release_gil();
        nf_status status =
            nf_is_double(in[X])
                ? nf_critic_loss_f64(nf_data(a.loss), nf_data(d[X]), nf_data(d[Y]), nf_data(d[W]), &d_log_scale,
                                     &d_bias, nf_data(in[X]), nf_data(in[Y]), nf_data(in[W]), n, x_width, y_width,
                                     (nf_objective)objective, (nf_score)score, scale, bias, reduction)
                : nf_critic_loss_f32(nf_data(a.loss), nf_data(d[X]), nf_data(d[Y]), nf_data(d[W]), &d_log_scale,
                                     &d_bias, nf_data(in[X]), nf_data(in[Y]), nf_data(in[W]), n, x_width, y_width,
                                     (nf_objective)objective, (nf_score)score, scale, bias, reduction);
        nf_take_gil();
        if (status != NF_OK)
            nf_raise(status);
        else
            result = Py_BuildValue("OOOOdd", a.loss, d[X], d[Y], or_none(d[W]), d_log_scale, d_bias);
    }
    release(&a);
    return result;
}

static bool is_square(PyArrayObject *scored) {
    if (dim(scored, 0) == dim(scored, 1))
        return true;
    PyErr_Format(PyExc_ValueError, "scores must be square, got shape (%zd, %zd)", dim(scored, 0), dim(scored, 1));
    return false;
}

/* critic_matrix_loss(scores, objective, reduction) -> values, d_scores */
static PyObject *critic_matrix_loss(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *objects[MOST], *result = NULL;
    int objective, number;
    nf_reduction reduction;
    if (!PyArg_ParseTuple(arguments, "Oii", &objects[0], &objective, &number) || !read_objective(objective) ||
        !read_reduction(&reduction, number))
        return NULL;
    arrays a = {0};
    static const nf_real_input inputs[] = {{"scores", 2, 2, false}};
    if (nf_inputs_real(a.inputs, objects, inputs, 1) && is_square(a.inputs[0]) && new_gradients(&a, 1) &&
        (a.loss = nf_new_loss(reduction, dim(a.inputs[0], 0)))) {
        npy_intp n = dim(a.inputs[0], 0);
        nf_release_gil();
        nf_status status = nf_is_double(a.inputs[0])
                               ? nf_critic_matrix_loss_f64(nf_data(a.loss), nf_data(a.gradients[0]),
                                                           nf_data(a.inputs[0]), n, (nf_objective)objective, reduction)
                               : nf_critic_matrix_loss_f32(nf_data(a.loss), nf_data(a.gradients[0]),
                                                           nf_data(a.inputs[0]), n, (nf_objective)objective, reduction);
        nf_take_gil();
        if (status != NF_OK)
            nf_raise(status);
        else
            result = Py_BuildValue("OO", a.loss, a.gradients[0]);
    }
    release(&a);
    return result;
}

/* align_uniform(x, y, alpha, t, alignment, uniformity, normalize) -> loss, d_x, d_y */
static PyObject *align_uniform(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *objects[MOST], *result = NULL;
    double alpha, t, alignment, uniformity, loss = 0;
    int normalize;
    if (!PyArg_ParseTuple(arguments, "OOddddp", &objects[X], &objects[Y], &alpha, &t, &alignment, &uniformity,
                          &normalize))
        return NULL;
    arrays a = {0};
    PyArrayObject **in = a.inputs, **d = a.gradients;
    if (nf_inputs_real(a.inputs, objects, scored_inputs, 2) && same_shape(in[X], "x", in[Y], "y") &&
        new_gradients(&a, 2)) {
        npy_intp n = dim(in[X], 0), width = dim(in[X], 1);
        nf_release_gil();
        nf_status status =
            nf_is_double(in[X])
                ? nf_align_uniform_f64(&loss, nf_data(d[X]), nf_data(d[Y]), nf_data(in[X]), nf_data(in[Y]), n, width,
                                       alpha, t, alignment, uniformity, normalize != 0)
                : nf_align_uniform_f32(&loss, nf_data(d[X]), nf_data(d[Y]), nf_data(in[X]), nf_data(in[Y]), n, width,
                                       alpha, t, alignment, uniformity, normalize != 0);
        nf_take_gil();
        if (status != NF_OK)
            nf_raise(status);
        else
            result = Py_BuildValue("dOO", loss, d[X], d[Y]);
    }
    release(&a);
    return result;
}

/* ---- NCE ---- */

enum { QUERY, KEY, NEGATIVES };

static bool negatives_fit(const arrays *a) {
    PyArrayObject *query = a->inputs[QUERY], *negatives = a->inputs[NEGATIVES];
    int ndim = PyArray_NDIM(negatives);
    if (dim(negatives, ndim - 1) == dim(query, 1) && (ndim == 2 || dim(negatives, 0) == dim(query, 0)))
        return true;
    PyErr_Format(PyExc_ValueError, "negatives must be (K, %zd) or (%zd, K, %zd), got %zd rows of %zd columns",
                 dim(query, 1), dim(query, 0), dim(query, 1), dim(negatives, 0), dim(negatives, ndim - 1));
    return false;
}

/* The offsets of an array of embeddings, float64 and one for each row; false with an exception. None: *offsets = NULL.
 */
static bool read_offsets(PyArrayObject **offsets, PyObject *object, const char *name, PyArrayObject *rows) {
    *offsets = NULL;
    if (object == Py_None)
        return true;
    int ndim = PyArray_NDIM(rows) - 1;
    *offsets = nf_input(object, name, NPY_FLOAT64, ndim, ndim);
    for (int axis = 0; *offsets && axis < ndim; axis++)
        if (dim(*offsets, axis) != dim(rows, axis)) {
            PyErr_Format(PyExc_ValueError, "%s must have one number for each row, %zd on axis %d, got %zd", name,
                         dim(rows, axis), axis, dim(*offsets, axis));
            return false;
        }
    return *offsets != NULL;
}

static nf_status run_nce(const arrays *a, PyArrayObject *key_offsets, PyArrayObject *negative_offsets,
                         double *d_temperature, double temperature, bool normalize, nf_reduction reduction) {
    PyArrayObject *const *x = a->inputs, *const *d = a->gradients;
    bool paired = PyArray_NDIM(x[NEGATIVES]) == 3;
    nf_negatives kind = paired ? NF_PAIRED_NEGATIVES : NF_SHARED_NEGATIVES;
    npy_intp n = dim(x[QUERY], 0), width = dim(x[QUERY], 1), count = dim(x[NEGATIVES], paired ? 1 : 0);
    nf_release_gil();
    nf_status status =
        nf_is_double(x[QUERY])
            ? nf_nce_f64(nf_data(a->loss), nf_data(d[QUERY]), nf_data(d[KEY]), nf_data(d[NEGATIVES]), d_temperature,
                         nf_data(x[QUERY]), nf_data(x[KEY]), nf_data(x[NEGATIVES]), nf_data(key_offsets),
                         nf_data(negative_offsets), n, width, count, kind, temperature, normalize, reduction)
            : nf_nce_f32(nf_data(a->loss), nf_data(d[QUERY]), nf_data(d[KEY]), nf_data(d[NEGATIVES]), d_temperature,
                         nf_data(x[QUERY]), nf_data(x[KEY]), nf_data(x[NEGATIVES]), nf_data(key_offsets),
                         nf_data(negative_offsets), n, width, count, kind, temperature, normalize, reduction);
    nf_take_gil();
    return status;
}

/* nce(query, key, negatives, key_offsets or None, negative_offsets or None, temperature, normalize, reduction)
 * -> values, d_query, d_key, d_negatives, d_temperature */
static PyObject *nce(PyObject *module, PyObject *arguments) {
    (void)module;
    static const nf_real_input inputs[] = {{"query", 2, 2, false}, {"key", 2, 2, false}, {"negatives", 2, 3, false}};
    PyObject *objects[MOST], *key_object, *negative_object, *result = NULL;
    double temperature, d_temperature = 0;
    int normalize, number;
    nf_reduction reduction;
    if (!PyArg_ParseTuple(arguments, "OOOOOdpi", &objects[QUERY], &objects[KEY], &objects[NEGATIVES], &key_object,
                          &negative_object, &temperature, &normalize, &number) ||
        !read_reduction(&reduction, number))
        return NULL;
    arrays a = {0};
    PyArrayObject *key_offsets = NULL, *negative_offsets = NULL;
    if (nf_inputs_real(a.inputs, objects, inputs, 3) && same_shape(a.inputs[QUERY], "query", a.inputs[KEY], "key") &&
        negatives_fit(&a) && read_offsets(&key_offsets, key_object, "log_noise of the keys", a.inputs[KEY]) &&
        read_offsets(&negative_offsets, negative_object, "log_noise of the negatives", a.inputs[NEGATIVES]) &&
        new_gradients(&a, 3) && (a.loss = nf_new_loss(reduction, dim(a.inputs[QUERY], 0)))) {
        nf_status status =
            run_nce(&a, key_offsets, negative_offsets, &d_temperature, temperature, normalize != 0, reduction);
        PyArrayObject **d = a.gradients;
        if (status != NF_OK)
            nf_raise(status);
        else
            result = Py_BuildValue("OOOOd", a.loss, d[QUERY], d[KEY], d[NEGATIVES], d_temperature);
    }
    Py_XDECREF((PyObject *)key_offsets);
    Py_XDECREF((PyObject *)negative_offsets);
    release(&a);
    return result;
}

/* ---- The memory bank ---- */

enum { BANK = 1 };

static bool bank_fits(const arrays *a, PyArrayObject *indices, PyArrayObject *negatives) {
    PyArrayObject *query = a->inputs[QUERY], *bank = a->inputs[BANK];
    if (dim(bank, 1) != dim(query, 1))
        PyErr_Format(PyExc_ValueError, "bank must have query's %zd columns, got %zd", dim(query, 1), dim(bank, 1));
    else if (dim(indices, 0) != dim(query, 0))
        PyErr_Format(PyExc_ValueError, "indices must have one for each of %zd queries, got %zd", dim(query, 0),
                     dim(indices, 0));
    else if (dim(negatives, 0) != dim(query, 0))
        PyErr_Format(PyExc_ValueError, "negative indices must have one row for each of %zd queries, got %zd",
                     dim(query, 0), dim(negatives, 0));
    else
        return true;
    return false;
}

/* npid(query, bank, indices, negative indices, log_offset, temperature, normalize, reduction)
 * -> values, d_query, d_temperature */
static PyObject *npid(PyObject *module, PyObject *arguments) {
    (void)module;
    static const nf_real_input inputs[] = {{"query", 2, 2, false}, {"bank", 2, 2, false}};
    PyObject *objects[MOST], *indices_object, *negatives_object, *result = NULL;
    double log_offset, temperature, d_temperature = 0;
    int normalize, number;
    nf_reduction reduction;
    if (!PyArg_ParseTuple(arguments, "OOOOddpi", &objects[QUERY], &objects[BANK], &indices_object, &negatives_object,
                          &log_offset, &temperature, &normalize, &number) ||
        !read_reduction(&reduction, number))
        return NULL;
    arrays a = {0};
    PyArrayObject **in = a.inputs, *d_query = NULL, *indices = NULL, *negatives = NULL;
    if (nf_inputs_real(a.inputs, objects, inputs, 2) &&
        (indices = nf_input(indices_object, "indices", NPY_INT64, 1, 1)) &&
        (negatives = nf_input(negatives_object, "negative indices", NPY_INT64, 2, 2)) &&
        bank_fits(&a, indices, negatives) && new_gradients(&a, 1) &&
        (a.loss = nf_new_loss(reduction, dim(in[QUERY], 0)))) {
        d_query = a.gradients[QUERY];
        npy_intp n = dim(in[QUERY], 0), width = dim(in[QUERY], 1), rows = dim(in[BANK], 0), count = dim(negatives, 1);
        nf_release_gil();
        nf_status status = nf_is_double(in[QUERY])
                               ? nf_npid_f64(nf_data(a.loss), nf_data(d_query), &d_temperature, nf_data(in[QUERY]),
                                             nf_data(in[BANK]), nf_data(indices), nf_data(negatives), n, width, rows,
                                             count, log_offset, temperature, normalize != 0, reduction)
                               : nf_npid_f32(nf_data(a.loss), nf_data(d_query), &d_temperature, nf_data(in[QUERY]),
                                             nf_data(in[BANK]), nf_data(indices), nf_data(negatives), n, width, rows,
                                             count, log_offset, temperature, normalize != 0, reduction);
        nf_take_gil();
        if (status != NF_OK)
            nf_raise(status);
        else
            result = Py_BuildValue("OOd", a.loss, d_query, d_temperature);
    }
    Py_XDECREF((PyObject *)indices);
    Py_XDECREF((PyObject *)negatives);
    release(&a);
    return result;
}

static PyMethodDef methods[] = {
    {"scores", scores, METH_VARARGS, NULL},
    {"scores_backward", scores_backward, METH_VARARGS, NULL},
    {"critic_loss", critic_loss, METH_VARARGS, NULL},
    {"critic_matrix_loss", critic_matrix_loss, METH_VARARGS, NULL},
    {"align_uniform", align_uniform, METH_VARARGS, NULL},
    {"nce", nce, METH_VARARGS, NULL},
    {"npid", npid, METH_VARARGS, NULL},
    {0},
};

int nf_bind_pair_losses(PyObject *module) {
    return PyModule_AddFunctions(module, methods);
}
