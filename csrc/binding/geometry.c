/* Operations that move pixels: crops, padding, flips and warps. */
#include "images.h"

/* The arrays of a call. */
typedef struct call {
    PyArrayObject *images, *out, *fill, *numbers;
    nf_images shape;
} call;

static PyObject *end_call(call *c, nf_status status) {
    nf_release(c->images);
    nf_release(c->fill);
    nf_release(c->numbers);
    if (status == NF_OK)
        return (PyObject *)c->out;
    nf_release(c->out);
    return nf_raise(status);
}

/* After a Python error. */
static PyObject *drop_call(call *c) {
    nf_release(c->images);
    nf_release(c->out);
    nf_release(c->fill);
    nf_release(c->numbers);
    return NULL;
}

static bool read_images(call *c, PyObject *object) {
    c->images = nf_images_input(object, "image", &c->shape, 2, 4);
    return c->images != NULL;
}

static bool make_out(call *c, int64_t height, int64_t width) {
    c->out = nf_new_images(c->images, (nf_images){c->shape.count, height, width, c->shape.channels}, NPY_UINT8);
    return c->out != NULL;
}

/* The value of pixels that have none: one number for all channels, or one for each. */
static bool read_fill(call *c, PyObject *object) {
    c->fill = nf_input(object, "fill", NPY_UINT8, 1, 1);
    return c->fill != NULL;
}

/* Other numbers: `count` of them, or none if that is allowed. */
static bool read_numbers(call *c, PyObject *object, const char *name, npy_intp count, bool optional) {
    c->numbers = nf_input(object, name, NPY_FLOAT64, 1, 1);
    if (!c->numbers)
        return false;
    npy_intp given = PyArray_DIM(c->numbers, 0);
    if (given == count || (optional && given == 0))
        return true;
    PyErr_Format(PyExc_ValueError, "%s must be %zd numbers, got %zd", name, (Py_ssize_t)count, (Py_ssize_t)given);
    return false;
}

static const double *numbers_of(const call *c) {
    return PyArray_DIM(c->numbers, 0) > 0 ? PyArray_DATA(c->numbers) : NULL;
}

static PyObject *vflip(PyObject *module, PyObject *object) {
    (void)module;
    call c = {0};
    if (!read_images(&c, object) || !make_out(&c, c.shape.height, c.shape.width))
        return drop_call(&c);
    nf_release_gil();
    nf_status status = nf_vflip(PyArray_DATA(c.out), PyArray_DATA(c.images), c.shape);
    nf_take_gil();
    return end_call(&c, status);
}

/* crop(image, top, left, height, width) */
static PyObject *crop(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *object;
    nf_box box;
    call c = {0};
    if (!PyArg_ParseTuple(arguments, "Oiiii", &object, &box.top, &box.left, &box.height, &box.width))
        return NULL;
    if (!read_images(&c, object))
        return drop_call(&c);
    /* no room for a box that will be refused */
    bool fits = box.height >= 0 && box.height <= c.shape.height && box.width >= 0 && box.width <= c.shape.width;
    if (!make_out(&c, fits ? box.height : 0, fits ? box.width : 0))
        return drop_call(&c);
    nf_release_gil();
    nf_status status = nf_crop(PyArray_DATA(c.out), PyArray_DATA(c.images), c.shape, box);
    nf_take_gil();
    return end_call(&c, status);
}

/* pad(image, left, top, right, bottom, mode, fill) */
static PyObject *pad(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *object, *fill;
    int left, top, right, bottom, mode;
    call c = {0};
    if (!PyArg_ParseTuple(arguments, "OiiiiiO", &object, &left, &top, &right, &bottom, &mode, &fill))
        return NULL;
    if (!read_images(&c, object) || !read_fill(&c, fill))
        return drop_call(&c);
    nf_padding padding = {left, top, right, bottom, (nf_padding_mode)mode};
    int64_t height, width;
    nf_status status = nf_padded_size(&height, &width, c.shape, padding);
    if (status != NF_OK)
        return end_call(&c, status);
    if (!make_out(&c, height, width))
        return drop_call(&c);
    nf_release_gil();
    status = nf_pad(PyArray_DATA(c.out), PyArray_DATA(c.images), c.shape, padding, PyArray_DATA(c.fill),
                    PyArray_DIM(c.fill, 0));
    nf_take_gil();
    return end_call(&c, status);
}

/* rotate(image, angle, expand, center, interpolation, fill) */
static PyObject *rotate(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *object, *center, *fill;
    double angle;
    int expands, interpolation;
    call c = {0};
    if (!PyArg_ParseTuple(arguments, "OdpOiO", &object, &angle, &expands, &center, &interpolation, &fill))
        return NULL;
    if (!read_images(&c, object) || !read_fill(&c, fill) || !read_numbers(&c, center, "center", 2, true))
        return drop_call(&c);
    int64_t height, width;
    nf_status status = nf_rotated_size(&height, &width, c.shape, angle, expands, numbers_of(&c));
    if (status != NF_OK)
        return end_call(&c, status);
    if (!make_out(&c, height, width))
        return drop_call(&c);
    nf_release_gil();
    status = nf_rotate(PyArray_DATA(c.out), PyArray_DATA(c.images), c.shape, angle, expands, numbers_of(&c),
                       (nf_interpolation)interpolation, PyArray_DATA(c.fill), PyArray_DIM(c.fill, 0));
    nf_take_gil();
    return end_call(&c, status);
}

/* affine(image, angle, translate_x, translate_y, scale, shear_x, shear_y, center, interpolation, fill) */
static PyObject *affine(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *object, *center, *fill;
    double angle, translate[2], scale, shear[2];
    int interpolation;
    call c = {0};
    if (!PyArg_ParseTuple(arguments, "OddddddOiO", &object, &angle, translate, translate + 1, &scale, shear, shear + 1,
                          &center, &interpolation, &fill))
        return NULL;
    if (!read_images(&c, object) || !read_fill(&c, fill) || !read_numbers(&c, center, "center", 2, true) ||
        !make_out(&c, c.shape.height, c.shape.width))
        return drop_call(&c);
    nf_release_gil();
    nf_status status =
        nf_affine(PyArray_DATA(c.out), PyArray_DATA(c.images), c.shape, angle, translate, scale, shear, numbers_of(&c),
                  (nf_interpolation)interpolation, PyArray_DATA(c.fill), PyArray_DIM(c.fill, 0));
    nf_take_gil();
    return end_call(&c, status);
}

/* perspective(image, points, interpolation, fill); points: the four startpoints, then the four endpoints */
static PyObject *perspective(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *object, *points, *fill;
    int interpolation;
    call c = {0};
    if (!PyArg_ParseTuple(arguments, "OOiO", &object, &points, &interpolation, &fill))
        return NULL;
    if (!read_images(&c, object) || !read_fill(&c, fill) || !read_numbers(&c, points, "points", 16, false) ||
        !make_out(&c, c.shape.height, c.shape.width))
        return drop_call(&c);
    const double *p = numbers_of(&c);
    nf_release_gil();
    nf_status status = nf_perspective(PyArray_DATA(c.out), PyArray_DATA(c.images), c.shape, p, p + 8,
                                      (nf_interpolation)interpolation, PyArray_DATA(c.fill), PyArray_DIM(c.fill, 0));
    nf_take_gil();
    return end_call(&c, status);
}

/* erase(image, top, left, height, width, value) */
static PyObject *erase(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *object, *value;
    nf_box box;
    call c = {0};
    if (!PyArg_ParseTuple(arguments, "OiiiiO", &object, &box.top, &box.left, &box.height, &box.width, &value))
        return NULL;
    if (!read_images(&c, object) || !read_fill(&c, value) || !make_out(&c, c.shape.height, c.shape.width))
        return drop_call(&c);
    nf_release_gil();
    nf_status status = nf_erase(PyArray_DATA(c.out), PyArray_DATA(c.images), c.shape, box, PyArray_DATA(c.fill),
                                PyArray_DIM(c.fill, 0));
    nf_take_gil();
    return end_call(&c, status);
}

static PyMethodDef methods[] = {
    {"vflip", vflip, METH_O, NULL},         {"crop", crop, METH_VARARGS, NULL},
    {"pad", pad, METH_VARARGS, NULL},       {"rotate", rotate, METH_VARARGS, NULL},
    {"affine", affine, METH_VARARGS, NULL}, {"perspective", perspective, METH_VARARGS, NULL},
    {"erase", erase, METH_VARARGS, NULL},   {0},
};

int nf_bind_geometry(PyObject *module) {
    return PyModule_AddFunctions(module, methods);
}
