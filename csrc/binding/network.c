/* The type _core.Network: a network of the C core with the arrays of its parameters, gradients and statistics. */
#include "binding.h"

#include <string.h>

#include "../core/memory.h"

typedef struct network_object {
    PyObject_HEAD nf_network *network;
    PyArrayObject *parameters, *gradients, *statistics;
    /* Their memory, held apart from the arrays: Python code can point those elsewhere. */
    PyObject *parameter_memory, *gradient_memory, *statistic_memory;
    int64_t out_features;
    bool takes_images; /* (N, H, W, C) rather than (N, F) */
} network_object;

/* ---- Reading the description ---- */

static const struct {
    const char *name;
    nf_layer_kind kind;
} kinds[] = {
    {"conv", NF_CONV},
    {"linear", NF_LINEAR},
    {"batch_norm", NF_BATCH_NORM},
    {"relu", NF_RELU},
    {"sum", NF_SUM},
    {"global_average_pool", NF_GLOBAL_AVERAGE_POOL},
    {"max_pool", NF_MAX_POOL},
    {"depthwise_conv", NF_DEPTHWISE_CONV},
    {"layer_norm", NF_LAYER_NORM},
    {"gelu", NF_GELU},
    {"silu", NF_SILU},
};

static bool read_kind(PyObject *object, nf_layer_kind *kind) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (PyUnicode_Check(object) && PyUnicode_CompareWithASCIIString(object, kinds[i].name) == 0) {
            *kind = kinds[i].kind;
            return true;
        }
    PyErr_Format(PyExc_ValueError, "a layer's kind must be one of those that nearfar.layers has, got %R", object);
    return false;
}

/* A new reference, since reading a number may run code that changes `options`; or NULL with an exception. */
static PyObject *read_option(PyObject *options, const char *name) {
    PyObject *item = PyDict_GetItemString(options, name);
    if (!item)
        PyErr_Format(PyExc_ValueError, "a layer's options must have %s", name);
    return Py_XNewRef(item);
}

static bool read_integer(PyObject *options, const char *name, int64_t *value) {
    PyObject *item = read_option(options, name);
    if (item)
        *value = PyLong_AsLongLong(item);
    Py_XDECREF(item);
    return !PyErr_Occurred();
}

static bool read_float(PyObject *options, const char *name, float *value) {
    PyObject *item = read_option(options, name);
    if (item)
        *value = (float)PyFloat_AsDouble(item);
    Py_XDECREF(item);
    return !PyErr_Occurred();
}

static bool read_bias(PyObject *options, nf_layer *layer) {
    int64_t bias = 0;
    bool good = read_integer(options, "bias", &bias);
    layer->bias = bias != 0;
    return good;
}

static bool read_window(PyObject *options, nf_layer *layer) {
    return read_integer(options, "kernel_h", &layer->kernel_h) && read_integer(options, "kernel_w", &layer->kernel_w) &&
           read_integer(options, "stride", &layer->stride) && read_integer(options, "padding_h", &layer->padding_h) &&
           read_integer(options, "padding_w", &layer->padding_w) && read_bias(options, layer);
}

static bool read_options(PyObject *options, nf_layer *layer) {
    switch (layer->kind) {
    case NF_CONV: return read_integer(options, "out_channels", &layer->out_channels) && read_window(options, layer);
    case NF_DEPTHWISE_CONV: return read_window(options, layer);
    case NF_LINEAR: return read_integer(options, "out_features", &layer->out_channels) && read_bias(options, layer);
    case NF_BATCH_NORM:
        return read_float(options, "eps", &layer->eps) && read_float(options, "momentum", &layer->momentum);
    case NF_LAYER_NORM: return read_float(options, "eps", &layer->eps);
    case NF_MAX_POOL:
        return read_integer(options, "kernel", &layer->kernel_h) && read_integer(options, "stride", &layer->stride) &&
               read_integer(options, "padding", &layer->padding_h);
    default: return true;
    }
}

/* (kind, inputs, options) */
static bool read_layer(PyObject *object, nf_layer *layer) {
    PyObject *kind, *inputs, *options;
    *layer = (nf_layer){0};
    if (!PyTuple_Check(object)) {
        PyErr_SetString(PyExc_TypeError, "a layer must be a tuple (kind, inputs, options)");
        return false;
    }
    if (!PyArg_ParseTuple(object, "OO!O!", &kind, &PyTuple_Type, &inputs, &PyDict_Type, &options) ||
        !read_kind(kind, &layer->kind))
        return false;
    Py_ssize_t wanted = layer->kind == NF_SUM ? 2 : 1, count = PyTuple_Size(inputs);
    if (count != wanted) {
        PyErr_Format(PyExc_ValueError, "a layer's inputs must be %zd, got %zd", wanted, count);
        return false;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        layer->inputs[i] = PyLong_AsLongLong(PyTuple_GetItem(inputs, i));
        if (PyErr_Occurred())
            return false;
    }
    return read_options(options, layer);
}

/* (H, W, C), H and W -1 for any, or (F,) */
static bool read_in_shape(PyObject *object, nf_shape *shape) {
    long long h = 0, w = 0, c = 0;
    bool images = PyTuple_Size(object) != 1;
    if (PyErr_Occurred() || !(images ? PyArg_ParseTuple(object, "LLL;in_shape must be (H, W, C) or (F,)", &h, &w, &c)
                                     : PyArg_ParseTuple(object, "L", &c)))
        return false;
    if (images && (h == 0 || w == 0 || h < -1 || w < -1)) {
        PyErr_Format(PyExc_ValueError, "in_shape must have sizes >= 1, got %R", object);
        return false;
    }
    *shape = (nf_shape){
        .n = 1, .h = images ? (h == -1 ? 0 : h) : 1, .w = images ? (w == -1 ? 0 : w) : 1, .c = c, .flat = !images};
    return true;
}

/* The place of a string among the names that an enum has in this order, or -1 with an exception. */
static int read_name(PyObject *object, const char *const *names, int count, const char *rule) {
    for (int i = 0; i < count; i++)
        if (PyUnicode_Check(object) && PyUnicode_CompareWithASCIIString(object, names[i]) == 0)
            return i;
    PyErr_Format(PyExc_ValueError, "%s, got %R", rule, object);
    return -1;
}

static bool read_algorithm(PyObject *object, nf_conv_algorithm *algorithm) {
    static const char *const names[] = {"auto", "direct", "winograd2", "winograd4"};
    int found = read_name(object, names, 4, "conv_algo must be \"auto\", \"direct\", \"winograd2\" or \"winograd4\"");
    *algorithm = (nf_conv_algorithm)found;
    return found >= 0;
}

static bool read_activations(PyObject *object, nf_activation_type *activations) {
    static const char *const names[] = {"float32", "bfloat16"};
    int found = read_name(object, names, 2, "activation_dtype must be \"float32\" or \"bfloat16\"");
    *activations = (nf_activation_type)found;
    return found >= 0;
}

/* layers: a tuple, since reading numbers from it may run code that would change a list */
static nf_status create(nf_network **network, PyObject *layers, nf_shape input, nf_conv_algorithm algorithm,
                        nf_activation_type activations) {
    Py_ssize_t count = PyTuple_Size(layers);
    void *memory;
    nf_status status = nf_alloc(&memory, (size_t)count * sizeof(nf_layer));
    nf_layer *list = memory;
    for (Py_ssize_t i = 0; i < count && status == NF_OK; i++)
        if (!read_layer(PyTuple_GetItem(layers, i), &list[i]))
            status = NF_BAD_VALUE;
    if (status == NF_OK)
        status = nf_network_create(network, list, count, input, algorithm, activations);
    nf_free(list);
    return status;
}

/* An array's memory is a capsule, its base (nf_new_array). */
static float *numbers(PyObject *memory) {
    return PyCapsule_GetPointer(memory, NULL);
}

static PyArrayObject *zero_vector(int64_t size) {
    npy_intp shape[1] = {(npy_intp)size};
    PyArrayObject *vector = nf_new_array(1, shape, NPY_FLOAT32);
    if (vector)
        memset(PyArray_DATA(vector), 0, (size_t)PyArray_NBYTES(vector));
    return vector;
}

static PyObject *network_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
    static char *names[] = {"layers", "in_shape", "conv_algo", "activation_dtype", NULL};
    PyObject *layers, *in_shape, *conv_algo = NULL, *activation_dtype = NULL;
    nf_shape input;
    nf_conv_algorithm algorithm = NF_CONV_AUTO;
    nf_activation_type activations = NF_ACTIVATIONS_FLOAT32;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "O!O!|OO", names, &PyList_Type, &layers, &PyTuple_Type,
                                     &in_shape, &conv_algo, &activation_dtype) ||
        !read_in_shape(in_shape, &input) || (conv_algo && !read_algorithm(conv_algo, &algorithm)) ||
        (activation_dtype && !read_activations(activation_dtype, &activations)))
        return NULL;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    network_object *self = (network_object *)allocate(type, 0);
    if (!self)
        return NULL;
    PyObject *fixed = PyList_AsTuple(layers);
    nf_status status = fixed ? create(&self->network, fixed, input, algorithm, activations) : NF_NO_MEMORY;
    Py_XDECREF(fixed);
    if (status != NF_OK) {
        if (!PyErr_Occurred())
            nf_raise(status);
        Py_DECREF(self);
        return NULL;
    }
    self->out_features = nf_network_out_channels(self->network);
    self->takes_images = !input.flat;
    self->parameters = zero_vector(nf_network_parameter_count(self->network));
    self->gradients = zero_vector(nf_network_parameter_count(self->network));
    self->statistics = zero_vector(nf_network_statistic_count(self->network));
    if (!self->parameters || !self->gradients || !self->statistics) {
        Py_DECREF(self);
        return NULL;
    }
    self->parameter_memory = Py_NewRef(PyArray_BASE(self->parameters));
    self->gradient_memory = Py_NewRef(PyArray_BASE(self->gradients));
    self->statistic_memory = Py_NewRef(PyArray_BASE(self->statistics));
    return (PyObject *)self;
}

static void network_dealloc(PyObject *object) {
    network_object *self = (network_object *)object;
    nf_network_free(self->network);
    Py_XDECREF((PyObject *)self->parameters);
    Py_XDECREF((PyObject *)self->gradients);
    Py_XDECREF((PyObject *)self->statistics);
    Py_XDECREF(self->parameter_memory);
    Py_XDECREF(self->gradient_memory);
    Py_XDECREF(self->statistic_memory);
    PyTypeObject *type = Py_TYPE(object);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

/* ---- Attributes ---- */

static PyObject *get_parameters(PyObject *self, void *unused) {
    (void)unused;
    return Py_NewRef((PyObject *)((network_object *)self)->parameters);
}

static PyObject *get_gradients(PyObject *self, void *unused) {
    (void)unused;
    return Py_NewRef((PyObject *)((network_object *)self)->gradients);
}

static PyObject *get_statistics(PyObject *self, void *unused) {
    (void)unused;
    return Py_NewRef((PyObject *)((network_object *)self)->statistics);
}

static PyObject *get_out_features(PyObject *self, void *unused) {
    (void)unused;
    return PyLong_FromLongLong(((network_object *)self)->out_features);
}

/* [(layer, name, offset, shape), ...] */
static PyObject *slot_list(const nf_slot *slots, int64_t count) {
    PyObject *list = PyList_New(0);
    for (int64_t i = 0; list && i < count; i++) {
        PyObject *shape = PyTuple_New((Py_ssize_t)slots[i].ndim);
        for (int64_t j = 0; shape && j < slots[i].ndim; j++)
            PyTuple_SetItem(shape, (Py_ssize_t)j, PyLong_FromLongLong(slots[i].shape[j]));
        PyObject *entry =
            shape ? Py_BuildValue("(LsLN)", (long long)slots[i].layer, slots[i].name, (long long)slots[i].offset, shape)
                  : NULL;
        if (!entry || PyList_Append(list, entry) < 0)
            Py_CLEAR(list);
        Py_XDECREF(entry);
    }
    return list;
}

static PyObject *network_slots(PyObject *self, PyObject *unused) {
    (void)unused;
    const nf_slot *slots;
    int64_t count = nf_network_parameter_slots(((network_object *)self)->network, &slots);
    return slot_list(slots, count);
}

static PyObject *network_statistic_slots(PyObject *self, PyObject *unused) {
    (void)unused;
    const nf_slot *slots;
    int64_t count = nf_network_statistic_slots(((network_object *)self)->network, &slots);
    return slot_list(slots, count);
}

/* ---- Running ---- */

static PyArrayObject *new_batch(nf_shape shape) {
    npy_intp images[4] = {(npy_intp)shape.n, (npy_intp)shape.h, (npy_intp)shape.w, (npy_intp)shape.c};
    npy_intp rows[2] = {(npy_intp)shape.n, (npy_intp)shape.c};
    return shape.flat ? nf_new_array(2, rows, NPY_FLOAT32) : nf_new_array(4, images, NPY_FLOAT32);
}

/* x has 2 or 4 dimensions */
static nf_shape batch_shape(PyArrayObject *x) {
    const npy_intp *size = PyArray_DIMS(x);
    bool flat = PyArray_NDIM(x) == 2;
    return (nf_shape){
        .n = size[0], .h = flat ? 1 : size[1], .w = flat ? 1 : size[2], .c = size[flat ? 1 : 3], .flat = flat};
}

static PyObject *network_forward(PyObject *object, PyObject *arguments, PyObject *keywords) {
    static char *names[] = {"x", "training", "groups", NULL};
    network_object *self = (network_object *)object;
    PyObject *x_object;
    int training;
    Py_ssize_t groups;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "Opn", names, &x_object, &training, &groups))
        return NULL;
    int ndim = self->takes_images ? 4 : 2;
    PyArrayObject *x = nf_input(x_object, "x", NPY_FLOAT32, ndim, ndim), *y = NULL;
    if (!x)
        return NULL;
    nf_shape input = batch_shape(x), output;
    nf_status status = nf_network_out_shape(self->network, &output, input);
    if (status == NF_OK && (y = new_batch(output)) != NULL) {
        float *statistics = numbers(self->statistic_memory), *parameters = numbers(self->parameter_memory);
        nf_release_gil();
        status = nf_network_forward(self->network, PyArray_DATA(y), statistics, PyArray_DATA(x), parameters, input,
                                    training, groups);
        nf_take_gil();
    }
    Py_DECREF(x);
    if (status != NF_OK) {
        Py_CLEAR(y);
        nf_raise(status);
    }
    return (PyObject *)y;
}

static bool has_shape(PyArrayObject *d_y, nf_shape wanted) {
    if (PyArray_NDIM(d_y) != (wanted.flat ? 2 : 4))
        return false;
    nf_shape shape = batch_shape(d_y);
    return shape.n == wanted.n && shape.h == wanted.h && shape.w == wanted.w && shape.c == wanted.c;
}

static PyObject *run_backward(network_object *self, PyArrayObject *d_y, bool input_gradient, bool accumulate) {
    nf_shape input, output;
    nf_release_gil(); /* never wait for the network's lock with the GIL: its holder may want it */
    nf_status status = nf_network_pending(self->network, &input, &output);
    nf_take_gil();
    if (status != NF_OK)
        return nf_raise(status);
    if (!has_shape(d_y, output))
        return PyErr_Format(PyExc_ValueError, "d_y must have the shape of forward's output, (%lld, %lld, %lld, %lld)%s",
                            (long long)output.n, (long long)output.h, (long long)output.w, (long long)output.c,
                            output.flat ? " without the 1s" : "");
    PyArrayObject *d_x = NULL;
    if (input_gradient && !(d_x = new_batch(input)))
        return NULL;
    float *gradients = numbers(self->gradient_memory), *parameters = numbers(self->parameter_memory);
    nf_release_gil();
    status = nf_network_backward(self->network, d_x ? PyArray_DATA(d_x) : NULL, gradients, PyArray_DATA(d_y),
                                 parameters, input, accumulate);
    nf_take_gil();
    if (status != NF_OK) {
        Py_XDECREF((PyObject *)d_x);
        return nf_raise(status);
    }
    return d_x ? (PyObject *)d_x : Py_NewRef(Py_None);
}

static PyObject *network_backward(PyObject *self, PyObject *arguments, PyObject *keywords) {
    static char *names[] = {"d_y", "input_gradient", "accumulate", NULL};
    PyObject *object;
    int input_gradient, accumulate;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "Opp", names, &object, &input_gradient, &accumulate))
        return NULL;
    PyArrayObject *d_y = nf_input(object, "d_y", NPY_FLOAT32, 2, 4);
    if (!d_y)
        return NULL;
    PyObject *result = run_backward((network_object *)self, d_y, input_gradient, accumulate);
    Py_DECREF(d_y);
    return result;
}

static PyObject *network_memory_bytes(PyObject *object, PyObject *arguments) {
    network_object *self = (network_object *)object;
    long long n, h, w;
    int training;
    Py_ssize_t groups;
    if (!PyArg_ParseTuple(arguments, "LLLpn", &n, &h, &w, &training, &groups))
        return NULL;
    size_t bytes;
    nf_shape input = {.n = n, .h = h, .w = w, .c = nf_network_in_channels(self->network), .flat = !self->takes_images};
    nf_status status = nf_network_memory(self->network, &bytes, input, training, groups);
    return status == NF_OK ? PyLong_FromSize_t(bytes) : nf_raise(status);
}

/* ---- The type ---- */

static PyMethodDef methods[] = {
    {"slots", network_slots, METH_NOARGS, NULL},
    {"statistic_slots", network_statistic_slots, METH_NOARGS, NULL},
    {"forward", (PyCFunction)(void (*)(void))network_forward, METH_VARARGS | METH_KEYWORDS, NULL},
    {"backward", (PyCFunction)(void (*)(void))network_backward, METH_VARARGS | METH_KEYWORDS, NULL},
    {"memory_bytes", network_memory_bytes, METH_VARARGS, NULL},
    {0},
};

static PyGetSetDef attributes[] = {
    {"parameters", get_parameters, NULL, NULL, NULL},
    {"gradients", get_gradients, NULL, NULL, NULL},
    {"statistics", get_statistics, NULL, NULL, NULL},
    {"out_features", get_out_features, NULL, NULL, NULL},
    {0},
};

static PyType_Slot slots[] = {
    {Py_tp_new, (void *)network_new},
    {Py_tp_dealloc, (void *)network_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, attributes},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "nearfar._core.Network",
    .basicsize = sizeof(network_object),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots,
};

int nf_bind_network(PyObject *module) {
    PyObject *type = PyType_FromSpec(&spec);
    if (!type)
        return -1;
    int result = PyModule_AddObjectRef(module, "Network", type);
    Py_DECREF(type);
    return result;
}
