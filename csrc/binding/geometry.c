/* Operations that move pixels: crops, padding, flips and warps. */
#include "images.h"

/* Other numbers: `count` of them, or none if that is allowed. */
static bool read_numbers(nf_image_call *call, PyObject *object, const char *name, npy_intp count, bool optional) {
    call->numbers = nf_input(object, name, NPY_FLOAT64, 1, 1);
    if (!call->numbers)
        return false;
    npy_intp given = PyArray_DIM(call->numbers, 0);
    if (given == count || (optional && given == 0))
        return true;
    PyErr_Format(PyExc_ValueError, "%s must be %zd numbers, got %zd", name, (Py_ssize_t)count, (Py_ssize_t)given);
    return false;
}

static const double *numbers_of(const nf_image_call *call) {
    return PyArray_DIM(call->numbers, 0) > 0 ? PyArray_DATA(call->numbers) : NULL;
}

static bool start(nf_image_call *call, int64_t height, int64_t width) {
    return nf_start_call(call, height, width, call->shape.channels);
}

/* Of arguments that come in an array. */
static bool check_count(Py_ssize_t count, Py_ssize_t wanted) {
    if (count != wanted)
        PyErr_Format(PyExc_TypeError, "%zd arguments are needed, got %zd", wanted, count);
    return count == wanted;
}

static PyObject *vflip(PyObject *module, PyObject *object) {
    (void)module;
    nf_image_call call;
    return nf_start_alike(&call, object) ? nf_end_call(&call, nf_vflip(call.to, call.from, call.shape)) : NULL;
}

/* crop(image, top, left, height, width) */
static PyObject *crop(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    (void)module;
    nf_box box;
    nf_image_call call;
    if (!check_count(count, 5) || !nf_read_box(&box, arguments + 1))
        return NULL;
    if (!nf_read_images(&call, arguments[0], 2))
        return nf_drop_call(&call);
    /* no room for a box that will be refused */
    bool fits = box.height >= 0 && box.height <= call.shape.height && box.width >= 0 && box.width <= call.shape.width;
    if (!start(&call, fits ? box.height : 0, fits ? box.width : 0))
        return nf_drop_call(&call);
    return nf_end_call(&call, nf_crop(call.to, call.from, call.shape, box));
}

/* pad(image, left, top, right, bottom, mode, fill) */
static PyObject *pad(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *object, *fill;
    int left, top, right, bottom, mode;
    nf_image_call call;
    if (!PyArg_ParseTuple(arguments, "OiiiiiO", &object, &left, &top, &right, &bottom, &mode, &fill))
        return NULL;
    if (!nf_read_images(&call, object, 2) || !nf_read_fill(&call, fill, "fill"))
        return nf_drop_call(&call);
    nf_padding padding = {left, top, right, bottom, (nf_padding_mode)mode};
    int64_t height, width;
    nf_status status = nf_padded_size(&height, &width, call.shape, padding);
    if (status != NF_OK)
        nf_raise(status);
    if (status != NF_OK || !start(&call, height, width))
        return nf_drop_call(&call);
    status = nf_pad(call.to, call.from, call.shape, padding, call.fill, call.fill_count);
    return nf_end_call(&call, status);
}

/* rotate(image, angle, expand, center, interpolation, fill) */
static PyObject *rotate(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *object, *center, *fill;
    double angle;
    int expands, interpolation;
    nf_image_call call;
    if (!PyArg_ParseTuple(arguments, "OdpOiO", &object, &angle, &expands, &center, &interpolation, &fill))
        return NULL;
    if (!nf_read_images(&call, object, 2) || !nf_read_fill(&call, fill, "fill") ||
        !read_numbers(&call, center, "center", 2, true))
        return nf_drop_call(&call);
    int64_t height, width;
    nf_status status = nf_rotated_size(&height, &width, call.shape, angle, expands, numbers_of(&call));
    if (status != NF_OK)
        nf_raise(status);
    if (status != NF_OK || !start(&call, height, width))
        return nf_drop_call(&call);
    status = nf_rotate(call.to, call.from, call.shape, angle, expands, numbers_of(&call),
                       (nf_interpolation)interpolation, call.fill, call.fill_count);
    return nf_end_call(&call, status);
}

/* affine(image, angle, translate_x, translate_y, scale, shear_x, shear_y, center, interpolation, fill) */
static PyObject *affine(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *object, *center, *fill;
    double angle, translate[2], scale, shear[2];
    int interpolation;
    nf_image_call call;
    if (!PyArg_ParseTuple(arguments, "OddddddOiO", &object, &angle, translate, translate + 1, &scale, shear, shear + 1,
                          &center, &interpolation, &fill))
        return NULL;
    if (!nf_read_images(&call, object, 2) || !nf_read_fill(&call, fill, "fill") ||
        !read_numbers(&call, center, "center", 2, true) || !start(&call, call.shape.height, call.shape.width))
        return nf_drop_call(&call);
    nf_status status = nf_affine(call.to, call.from, call.shape, angle, translate, scale, shear, numbers_of(&call),
                                 (nf_interpolation)interpolation, call.fill, call.fill_count);
    return nf_end_call(&call, status);
}

/* perspective(image, points, interpolation, fill); points: the four startpoints, then the four endpoints */
static PyObject *perspective(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *object, *points, *fill;
    int interpolation;
    nf_image_call call;
    if (!PyArg_ParseTuple(arguments, "OOiO", &object, &points, &interpolation, &fill))
        return NULL;
    if (!nf_read_images(&call, object, 2) || !nf_read_fill(&call, fill, "fill") ||
        !read_numbers(&call, points, "points", 16, false) || !start(&call, call.shape.height, call.shape.width))
        return nf_drop_call(&call);
    const double *p = numbers_of(&call);
    nf_status status = nf_perspective(call.to, call.from, call.shape, p, p + 8, (nf_interpolation)interpolation,
                                      call.fill, call.fill_count);
    return nf_end_call(&call, status);
}

/* erase(image, top, left, height, width, value) */
static PyObject *erase(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    (void)module;
    nf_box box;
    nf_image_call call;
    if (!check_count(count, 6) || !nf_read_box(&box, arguments + 1))
        return NULL;
    if (!nf_read_images(&call, arguments[0], 2) || !nf_read_fill(&call, arguments[5], "value") ||
        !start(&call, call.shape.height, call.shape.width))
        return nf_drop_call(&call);
    nf_status status = nf_erase(call.to, call.from, call.shape, box, call.fill, call.fill_count);
    return nf_end_call(&call, status);
}

static PyMethodDef methods[] = {
    {"vflip", vflip, METH_O, NULL},
    {"crop", (PyCFunction)(void (*)(void))crop, METH_FASTCALL, NULL},
    {"pad", pad, METH_VARARGS, NULL},
    {"rotate", rotate, METH_VARARGS, NULL},
    {"affine", affine, METH_VARARGS, NULL},
    {"perspective", perspective, METH_VARARGS, NULL},
    {"erase", (PyCFunction)(void (*)(void))erase, METH_FASTCALL, NULL},
    {0},
};

int nf_bind_geometry(PyObject *module) {
    return PyModule_AddFunctions(module, methods);
}
