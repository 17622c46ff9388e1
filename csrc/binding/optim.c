/* The optimisers' steps: in place, on flat float32 vectors. Ctrl-C waits until a step is complete, so that it never
 * leaves half of the parameters updated; hence Python's own macros around the calls. */
#include "binding.h"

enum { MAX_ARRAYS = 4 };

/* The arrays of one call: first those that change, then those that are read. All have the length of the first. */
typedef struct vectors {
    PyArrayObject *array[MAX_ARRAYS];
    int changed, count;
} vectors;

static void release(vectors *v) {
    for (int i = v->changed; i < v->count; i++)
        Py_XDECREF((PyObject *)v->array[i]);
}

/* Reads `objects` into `v`. None stands for an array that is not there. */
static bool read_vectors(vectors *v, int changed, int count, PyObject *const objects[], const char *const names[]) {
    *v = (vectors){.changed = changed, .count = count};
    for (int i = 0; i < count; i++) {
        if (objects[i] == Py_None)
            continue;
        v->array[i] = i < changed ? nf_in_place(objects[i], names[i], NPY_FLOAT32, 1)
                                  : nf_input(objects[i], names[i], NPY_FLOAT32, 1, 1);
        if (!v->array[i])
            goto fail;
        npy_intp size = PyArray_SIZE(v->array[i]), wanted = PyArray_SIZE(v->array[0]);
        if (size != wanted) {
            PyErr_Format(PyExc_ValueError, "%s must have as many elements as %s, %zd, got %zd", names[i], names[0],
                         wanted, size);
            goto fail;
        }
        for (int j = 0; j < i && j < changed; j++)
            if (v->array[j] && nf_overlap(v->array[i], v->array[j])) {
                PyErr_Format(PyExc_ValueError, "%s must not share memory with %s", names[i], names[j]);
                goto fail;
            }
    }
    return true;
fail:
    release(v);
    return false;
}

static float *data(const vectors *v, int i) {
    return v->array[i] ? PyArray_DATA(v->array[i]) : NULL;
}

static PyObject *finish(vectors *v, nf_status status) {
    release(v);
    if (status != NF_OK)
        return nf_raise(status);
    Py_RETURN_NONE;
}

static bool must_exist(PyObject *object, const char *name) {
    if (object == Py_None)
        PyErr_Format(PyExc_TypeError, "%s must be a NumPy array of float32", name);
    return object != Py_None;
}

static PyObject *sgd_step(PyObject *module, PyObject *arguments) {
    (void)module;
    static const char *const names[] = {"parameters", "buffer", "gradients"};
    PyObject *objects[3];
    double lr, momentum, weight_decay;
    int nesterov;
    if (!PyArg_ParseTuple(arguments, "OOOdddp:sgd_step", &objects[0], &objects[1], &objects[2], &lr, &momentum,
                          &weight_decay, &nesterov) ||
        !must_exist(objects[0], names[0]) || !must_exist(objects[2], names[2]))
        return NULL;
    vectors v;
    if (!read_vectors(&v, 2, 3, objects, names))
        return NULL;
    nf_status status;
    Py_BEGIN_ALLOW_THREADS status = nf_sgd_step(data(&v, 0), data(&v, 1), data(&v, 2), PyArray_SIZE(v.array[0]), lr,
                                                momentum, weight_decay, nesterov != 0);
    Py_END_ALLOW_THREADS return finish(&v, status);
}

static PyObject *adamw_step(PyObject *module, PyObject *arguments) {
    (void)module;
    static const char *const names[] = {"parameters", "first", "second", "gradients"};
    PyObject *objects[4];
    long long step;
    double lr, beta1, beta2, eps, weight_decay;
    if (!PyArg_ParseTuple(arguments, "OOOOLddddd:adamw_step", &objects[0], &objects[1], &objects[2], &objects[3], &step,
                          &lr, &beta1, &beta2, &eps, &weight_decay))
        return NULL;
    for (int i = 0; i < 4; i++)
        if (!must_exist(objects[i], names[i]))
            return NULL;
    vectors v;
    if (!read_vectors(&v, 3, 4, objects, names))
        return NULL;
    nf_status status;
    Py_BEGIN_ALLOW_THREADS status = nf_adamw_step(data(&v, 0), data(&v, 1), data(&v, 2), data(&v, 3),
                                                  PyArray_SIZE(v.array[0]), step, lr, beta1, beta2, eps, weight_decay);
    Py_END_ALLOW_THREADS return finish(&v, status);
}

static PyObject *lars_step(PyObject *module, PyObject *arguments) {
    (void)module;
    static const char *const names[] = {"parameters", "buffer", "gradients"};
    PyObject *objects[3], *slots_object;
    double lr, momentum, weight_decay, trust_coefficient, eps;
    int nesterov;
    if (!PyArg_ParseTuple(arguments, "OOOOdddpdd:lars_step", &objects[0], &objects[1], &objects[2], &slots_object, &lr,
                          &momentum, &weight_decay, &nesterov, &trust_coefficient, &eps) ||
        !must_exist(objects[0], names[0]) || !must_exist(objects[2], names[2]))
        return NULL;
    PyArrayObject *slots = nf_input(slots_object, "slots", NPY_INT64, 2, 2);
    if (!slots)
        return NULL;
    vectors v;
    PyObject *result = NULL;
    if (PyArray_DIM(slots, 1) != 3) {
        PyErr_Format(PyExc_ValueError, "slots must have 3 columns (offset, size, adapted), got %zd",
                     PyArray_DIM(slots, 1));
    } else if (read_vectors(&v, 2, 3, objects, names)) {
        nf_status status;
        Py_BEGIN_ALLOW_THREADS status =
            nf_lars_step(data(&v, 0), data(&v, 1), data(&v, 2), PyArray_SIZE(v.array[0]), PyArray_DATA(slots),
                         PyArray_DIM(slots, 0), lr, momentum, weight_decay, nesterov != 0, trust_coefficient, eps);
        Py_END_ALLOW_THREADS result = finish(&v, status);
    }
    Py_DECREF(slots);
    return result;
}

static PyObject *momentum_update(PyObject *module, PyObject *arguments) {
    (void)module;
    static const char *const names[] = {"key", "query"};
    PyObject *objects[2];
    double m;
    if (!PyArg_ParseTuple(arguments, "OOd:momentum_update", &objects[0], &objects[1], &m) ||
        !must_exist(objects[0], names[0]) || !must_exist(objects[1], names[1]))
        return NULL;
    vectors v;
    if (!read_vectors(&v, 1, 2, objects, names))
        return NULL;
    nf_status status;
    Py_BEGIN_ALLOW_THREADS status = nf_momentum_update(data(&v, 0), data(&v, 1), PyArray_SIZE(v.array[0]), m);
    Py_END_ALLOW_THREADS return finish(&v, status);
}

static PyMethodDef methods[] = {
    {"sgd_step", sgd_step, METH_VARARGS, NULL},
    {"adamw_step", adamw_step, METH_VARARGS, NULL},
    {"lars_step", lars_step, METH_VARARGS, NULL},
    {"momentum_update", momentum_update, METH_VARARGS, NULL},
    {0},
};

int nf_bind_optim(PyObject *module) {
    return PyModule_AddFunctions(module, methods);
}
