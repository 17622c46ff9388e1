/* Operations on images that change values, not where they are, beyond those of the colour jitter (transforms.c); and
 * jigsaw. */
#include "images.h"

static PyObject *adjust_gamma(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *image;
    double gamma, gain;
    nf_image_call call;
    if (!PyArg_ParseTuple(arguments, "Odd", &image, &gamma, &gain) || !nf_start_alike(&call, image))
        return NULL;
    return nf_end_call(&call, nf_adjust_gamma(call.to, call.from, call.shape, gamma, gain));
}

static PyObject *solarize(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *image;
    double threshold;
    nf_image_call call;
    if (!PyArg_ParseTuple(arguments, "Od", &image, &threshold) || !nf_start_alike(&call, image))
        return NULL;
    return nf_end_call(&call, nf_solarize(call.to, call.from, call.shape, threshold));
}

static PyObject *posterize(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *image;
    int bits;
    nf_image_call call;
    if (!PyArg_ParseTuple(arguments, "Oi", &image, &bits) || !nf_start_bytes_alike(&call, image))
        return NULL;
    return nf_end_call(&call, nf_posterize(call.to, call.from, call.shape, bits));
}

static PyObject *invert(PyObject *module, PyObject *image) {
    (void)module;
    nf_image_call call;
    return nf_start_alike(&call, image) ? nf_end_call(&call, nf_invert(call.to, call.from, call.shape)) : NULL;
}

static PyObject *autocontrast(PyObject *module, PyObject *image) {
    (void)module;
    nf_image_call call;
    return nf_start_alike(&call, image) ? nf_end_call(&call, nf_autocontrast(call.to, call.from, call.shape)) : NULL;
}

static PyObject *equalize(PyObject *module, PyObject *image) {
    (void)module;
    nf_image_call call;
    return nf_start_bytes_alike(&call, image) ? nf_end_call(&call, nf_equalize(call.to, call.from, call.shape)) : NULL;
}

static PyObject *adjust_sharpness(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *image;
    double factor;
    nf_image_call call;
    if (!PyArg_ParseTuple(arguments, "Od", &image, &factor) || !nf_start_alike(&call, image))
        return NULL;
    return nf_end_call(&call, nf_adjust_sharpness(call.to, call.from, call.shape, factor));
}

static PyObject *box_blur(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *image;
    double radius_y, radius_x;
    nf_image_call call;
    if (!PyArg_ParseTuple(arguments, "Odd", &image, &radius_y, &radius_x) || !nf_start_bytes_alike(&call, image))
        return NULL;
    return nf_end_call(&call, nf_box_blur(call.to, call.from, call.shape, radius_y, radius_x));
}

static PyObject *pillow_gaussian_blur(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *image;
    double radius_y, radius_x;
    nf_image_call call;
    if (!PyArg_ParseTuple(arguments, "Odd", &image, &radius_y, &radius_x) || !nf_start_bytes_alike(&call, image))
        return NULL;
    return nf_end_call(&call, nf_pillow_gaussian_blur(call.to, call.from, call.shape, radius_y, radius_x));
}

static PyObject *gaussian_noise(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *image;
    double mean, sigma;
    unsigned long long seed, index;
    nf_image_call call;
    if (!PyArg_ParseTuple(arguments, "OddKK", &image, &mean, &sigma, &seed, &index) || !nf_start_alike(&call, image))
        return NULL;
    return nf_end_call(&call, nf_gaussian_noise(call.to, call.from, call.shape, mean, sigma, seed, index));
}

static PyObject *cutout(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *image, *fill;
    int y, x, height, width;
    nf_image_call call;
    if (!PyArg_ParseTuple(arguments, "OiiiiO", &image, &y, &x, &height, &width, &fill))
        return NULL;
    if (!nf_read_images(&call, image, 2) || !nf_read_fill(&call, fill, "fill") ||
        !nf_start_call(&call, call.shape.height, call.shape.width, call.shape.channels))
        return nf_drop_call(&call);
    return nf_end_call(&call,
                       nf_cutout(call.to, call.from, call.shape, y, x, height, width, call.fill, call.fill_count));
}

/* `order` as bytes; what does not fit in one becomes 255, which no grid accepts. */
static bool read_order(uint8_t order[NF_MAX_GRID * NF_MAX_GRID], PyObject *object, int grid) {
    PyArrayObject *array = nf_input(object, "order", NPY_INT64, 1, 1);
    if (!array)
        return false;
    bool fits = grid >= 1 && grid <= NF_MAX_GRID && PyArray_DIM(array, 0) == grid * grid;
    if (grid < 1 || grid > NF_MAX_GRID)
        PyErr_Format(PyExc_ValueError, "grid must be in 1..%d, got %d", NF_MAX_GRID, grid);
    else if (!fits)
        PyErr_Format(PyExc_ValueError, "order must have a number for each of %d tiles, got %zd", grid * grid,
                     (Py_ssize_t)PyArray_DIM(array, 0));
    const int64_t *values = PyArray_DATA(array);
    for (int i = 0; fits && i < grid * grid; i++)
        order[i] = values[i] >= 0 && values[i] < 255 ? (uint8_t)values[i] : 255;
    Py_DECREF(array);
    return fits;
}

static PyObject *jigsaw(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *image, *order_object;
    int grid;
    uint8_t order[NF_MAX_GRID * NF_MAX_GRID];
    nf_image_call call;
    if (!PyArg_ParseTuple(arguments, "OOi", &image, &order_object, &grid) || !read_order(order, order_object, grid) ||
        !nf_start_alike(&call, image))
        return NULL;
    return nf_end_call(&call, nf_jigsaw(call.to, call.from, call.shape, order, grid));
}

static PyMethodDef methods[] = {
    {"adjust_gamma", adjust_gamma, METH_VARARGS, NULL},
    {"solarize", solarize, METH_VARARGS, NULL},
    {"posterize", posterize, METH_VARARGS, NULL},
    {"invert", invert, METH_O, NULL},
    {"autocontrast", autocontrast, METH_O, NULL},
    {"equalize", equalize, METH_O, NULL},
    {"adjust_sharpness", adjust_sharpness, METH_VARARGS, NULL},
    {"box_blur", box_blur, METH_VARARGS, NULL},
    {"pillow_gaussian_blur", pillow_gaussian_blur, METH_VARARGS, NULL},
    {"gaussian_noise", gaussian_noise, METH_VARARGS, NULL},
    {"cutout", cutout, METH_VARARGS, NULL},
    {"jigsaw", jigsaw, METH_VARARGS, NULL},
    {0},
};

int nf_bind_photometry(PyObject *module) {
    return PyModule_AddFunctions(module, methods);
}
