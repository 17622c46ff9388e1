/* Operations on images. Images are uint8, exactly: other types are errors, not casts. */
#include "images.h"

void nf_release(void *object) {
    Py_XDECREF((PyObject *)object);
}

PyArrayObject *nf_images_input(PyObject *object, const char *name, nf_images *shape, int min_ndim, int max_ndim) {
    PyArrayObject *array = (PyArrayObject *)PyArray_FROM_O(object);
    if (!array)
        return NULL;
    if (PyArray_TYPE(array) != NPY_UINT8) {
        PyErr_Format(PyExc_TypeError, "%s must be uint8, got dtype %S", name, (PyObject *)PyArray_DESCR(array));
        Py_DECREF(array);
        return NULL;
    }
    PyArrayObject *images = nf_input((PyObject *)array, name, NPY_UINT8, min_ndim, max_ndim);
    Py_DECREF(array);
    if (!images)
        return NULL;
    int ndim = PyArray_NDIM(images);
    const npy_intp *dims = PyArray_DIMS(images);
    *shape = (nf_images){1, dims[0], dims[1], 1};
    if (ndim == 3)
        shape->channels = dims[2];
    if (ndim == 4)
        *shape = (nf_images){dims[0], dims[1], dims[2], dims[3]};
    return images;
}

PyArrayObject *nf_new_images(PyArrayObject *images, nf_images shape, int type) {
    int ndim = PyArray_NDIM(images);
    npy_intp dims[4] = {shape.count, shape.height, shape.width, shape.channels};
    return nf_new_array(ndim, ndim == 4 ? dims : dims + 1, type);
}

/* Returns `out`, or raises. */
static PyObject *finish(nf_status status, PyArrayObject *out, PyArrayObject *images) {
    Py_DECREF(images);
    if (status == NF_OK)
        return (PyObject *)out;
    Py_DECREF(out);
    return nf_raise(status);
}

/* ---- One operation ---- */

static PyObject *resized_crop(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *object;
    nf_box box;
    int height, width, interpolation;
    if (!PyArg_ParseTuple(arguments, "Oiiiiiii", &object, &box.top, &box.left, &box.height, &box.width, &height, &width,
                          &interpolation))
        return NULL;
    nf_images shape;
    PyArrayObject *images = nf_images_input(object, "image", &shape, 2, 4);
    if (!images)
        return NULL;
    if (height < 1 || width < 1 || height > NF_MAX_IMAGE_SIZE || width > NF_MAX_IMAGE_SIZE) {
        Py_DECREF(images);
        return PyErr_Format(PyExc_ValueError, "size must be in 1..%d, got (%d, %d)", NF_MAX_IMAGE_SIZE, height, width);
    }
    PyArrayObject *out = nf_new_images(images, (nf_images){shape.count, height, width, shape.channels}, NPY_UINT8);
    if (!out) {
        Py_DECREF(images);
        return NULL;
    }
    nf_release_gil();
    nf_status status = nf_resized_crop(PyArray_DATA(out), PyArray_DATA(images), shape, box, height, width,
                                       (nf_interpolation)interpolation);
    nf_take_gil();
    return finish(status, out, images);
}

static PyObject *hflip(PyObject *module, PyObject *argument) {
    (void)module;
    nf_images shape;
    PyArrayObject *images = nf_images_input(argument, "image", &shape, 2, 4);
    PyArrayObject *out = images ? nf_new_images(images, shape, NPY_UINT8) : NULL;
    if (!out) {
        nf_release(images);
        return NULL;
    }
    nf_release_gil();
    nf_status status = nf_hflip(PyArray_DATA(out), PyArray_DATA(images), shape);
    nf_take_gil();
    return finish(status, out, images);
}

typedef nf_status (*adjustment)(uint8_t *out, const uint8_t *images, nf_images shape, double factor);

static PyObject *adjust(PyObject *arguments, adjustment operation) {
    PyObject *object;
    double factor;
    if (!PyArg_ParseTuple(arguments, "Od", &object, &factor))
        return NULL;
    nf_images shape;
    PyArrayObject *images = nf_images_input(object, "image", &shape, 2, 4);
    PyArrayObject *out = images ? nf_new_images(images, shape, NPY_UINT8) : NULL;
    if (!out) {
        nf_release(images);
        return NULL;
    }
    nf_release_gil();
    nf_status status = operation(PyArray_DATA(out), PyArray_DATA(images), shape, factor);
    nf_take_gil();
    return finish(status, out, images);
}

static PyObject *adjust_brightness(PyObject *module, PyObject *arguments) {
    (void)module;
    return adjust(arguments, nf_adjust_brightness);
}

static PyObject *adjust_contrast(PyObject *module, PyObject *arguments) {
    (void)module;
    return adjust(arguments, nf_adjust_contrast);
}

static PyObject *adjust_saturation(PyObject *module, PyObject *arguments) {
    (void)module;
    return adjust(arguments, nf_adjust_saturation);
}

static PyObject *adjust_hue(PyObject *module, PyObject *arguments) {
    (void)module;
    return adjust(arguments, nf_adjust_hue);
}

static PyObject *rgb_to_grayscale(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *object;
    int channels;
    if (!PyArg_ParseTuple(arguments, "Oi", &object, &channels))
        return NULL;
    if (channels != 1 && channels != 3)
        return PyErr_Format(PyExc_ValueError, "channels must be 1 or 3, got %d", channels);
    nf_images shape;
    PyArrayObject *images = nf_images_input(object, "image", &shape, 3, 4), *out = NULL;
    if (images)
        out = nf_new_images(images, (nf_images){shape.count, shape.height, shape.width, channels}, NPY_UINT8);
    if (!out) {
        nf_release(images);
        return NULL;
    }
    nf_release_gil();
    nf_status status = nf_rgb_to_grayscale(PyArray_DATA(out), PyArray_DATA(images), shape, channels);
    nf_take_gil();
    return finish(status, out, images);
}

static PyObject *gaussian_blur(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *object;
    int kernel_height, kernel_width;
    double sigma_y, sigma_x;
    if (!PyArg_ParseTuple(arguments, "Oiidd", &object, &kernel_height, &kernel_width, &sigma_y, &sigma_x))
        return NULL;
    nf_images shape;
    PyArrayObject *images = nf_images_input(object, "image", &shape, 2, 4);
    PyArrayObject *out = images ? nf_new_images(images, shape, NPY_UINT8) : NULL;
    if (!out) {
        nf_release(images);
        return NULL;
    }
    nf_release_gil();
    nf_status status =
        nf_gaussian_blur(PyArray_DATA(out), PyArray_DATA(images), shape, kernel_height, kernel_width, sigma_y, sigma_x);
    nf_take_gil();
    return finish(status, out, images);
}

PyArrayObject *nf_channel_input(PyObject *object, const char *name, int64_t channels) {
    PyArrayObject *array = nf_input(object, name, NPY_FLOAT64, 1, 1);
    if (array && PyArray_DIM(array, 0) != channels) {
        PyErr_Format(PyExc_ValueError, "%s must have one value per channel (%lld), got %zd", name, (long long)channels,
                     (Py_ssize_t)PyArray_DIM(array, 0));
        Py_CLEAR(array);
    }
    return array;
}

static PyObject *normalize(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *object, *mean_object, *std_object;
    if (!PyArg_ParseTuple(arguments, "OOO", &object, &mean_object, &std_object))
        return NULL;
    nf_images shape;
    PyArrayObject *std = NULL, *mean = NULL, *out = NULL;
    PyArrayObject *images = nf_images_input(object, "image", &shape, 2, 4);
    if (images && (mean = nf_channel_input(mean_object, "mean", shape.channels)) &&
        (std = nf_channel_input(std_object, "std", shape.channels)) &&
        (out = nf_new_images(images, shape, NPY_FLOAT32))) {
        nf_release_gil();
        nf_status status =
            nf_normalize(PyArray_DATA(out), PyArray_DATA(images), shape, PyArray_DATA(mean), PyArray_DATA(std));
        nf_take_gil();
        if (status != NF_OK) {
            Py_CLEAR(out);
            nf_raise(status);
        }
    }
    nf_release(images);
    nf_release(mean);
    nf_release(std);
    return (PyObject *)out;
}

static PyMethodDef methods[] = {
    {"resized_crop", resized_crop, METH_VARARGS, NULL},
    {"hflip", hflip, METH_O, NULL},
    {"adjust_brightness", adjust_brightness, METH_VARARGS, NULL},
    {"adjust_contrast", adjust_contrast, METH_VARARGS, NULL},
    {"adjust_saturation", adjust_saturation, METH_VARARGS, NULL},
    {"adjust_hue", adjust_hue, METH_VARARGS, NULL},
    {"rgb_to_grayscale", rgb_to_grayscale, METH_VARARGS, NULL},
    {"gaussian_blur", gaussian_blur, METH_VARARGS, NULL},
    {"normalize", normalize, METH_VARARGS, NULL},
    {0},
};

int nf_bind_transforms(PyObject *module) {
    return PyModule_AddFunctions(module, methods);
}
