/* Crops, flips, colour and blur, and what all operations on images share. Images are uint8, uint16 or float32, exactly:
 * other types are errors, not casts. */
#include "images.h"

#include <math.h>

void nf_release(void *object) {
    Py_XDECREF((PyObject *)object);
}

int nf_numpy_type(nf_pixel_type type) {
    return type == NF_PIXEL_FLOAT ? NPY_FLOAT32 : type == NF_PIXEL_SHORT ? NPY_UINT16 : NPY_UINT8;
}

PyArrayObject *nf_images_input(PyObject *object, const char *name, nf_images *shape, int min_ndim, int max_ndim,
                               bool only_bytes) {
    PyArrayObject *array = (PyArrayObject *)PyArray_FROM_O(object);
    if (!array)
        return NULL;
    int type = PyArray_TYPE(array);
    if (type != NPY_UINT8 && (only_bytes || (type != NPY_UINT16 && type != NPY_FLOAT32))) {
        PyErr_Format(PyExc_TypeError, "%s must be %s, got dtype %S", name,
                     only_bytes ? "uint8" : "uint8, uint16 or float32", (PyObject *)PyArray_DESCR(array));
        Py_DECREF(array);
        return NULL;
    }
    int ndim = PyArray_NDIM(array);
    PyArrayObject *images = array;
    if (!PyArray_ISCARRAY_RO(array) || ndim < min_ndim || ndim > max_ndim) {
        images = nf_input((PyObject *)array, name, type, min_ndim, max_ndim);
        Py_DECREF(array);
        if (!images)
            return NULL;
        ndim = PyArray_NDIM(images);
    }
    const npy_intp *dims = PyArray_DIMS(images);
    *shape = (nf_images){.count = 1, .height = dims[0], .width = dims[1], .channels = ndim == 3 ? dims[2] : 1};
    if (ndim == 4)
        *shape = (nf_images){.count = dims[0], .height = dims[1], .width = dims[2], .channels = dims[3]};
    shape->type = type == NPY_FLOAT32 ? NF_PIXEL_FLOAT : type == NPY_UINT16 ? NF_PIXEL_SHORT : NF_PIXEL_BYTE;
    return images;
}

PyArrayObject *nf_new_images(PyArrayObject *images, nf_images shape, int type) {
    int ndim = PyArray_NDIM(images);
    npy_intp dims[4] = {shape.count, shape.height, shape.width, shape.channels};
    return nf_new_array(ndim, ndim == 4 ? dims : dims + 1, type);
}

static bool read_images(nf_image_call *call, PyObject *object, int min_ndim, bool only_bytes) {
    *call = (nf_image_call){0};
    call->images = nf_images_input(object, "image", &call->shape, min_ndim, 4, only_bytes);
    return call->images != NULL;
}

bool nf_read_images(nf_image_call *call, PyObject *object, int min_ndim) {
    return read_images(call, object, min_ndim, false);
}

static bool read_integer(int32_t *value, PyObject *object, const char *name) {
    PyObject *whole = PyBool_Check(object) || PyArray_IsScalar(object, Bool) ? NULL : PyNumber_Index(object);
    if (!whole) {
        if (!PyErr_Occurred() || PyErr_ExceptionMatches(PyExc_TypeError))
            PyErr_Format(PyExc_TypeError, "%s must be an integer, got %R", name, object);
        return false;
    }
    int overflow;
    long long number = PyLong_AsLongLongAndOverflow(whole, &overflow);
    bool fits = !overflow && number >= INT32_MIN && number <= INT32_MAX;
    if (!fits)
        PyErr_Format(PyExc_ValueError, "%s must be in %d..%d, got %S", name, INT32_MIN, INT32_MAX, whole);
    Py_DECREF(whole);
    *value = (int32_t)number;
    return fits;
}

bool nf_read_box(nf_box *box, PyObject *const *numbers) {
    return read_integer(&box->top, numbers[0], "top") && read_integer(&box->left, numbers[1], "left") &&
           read_integer(&box->height, numbers[2], "height") && read_integer(&box->width, numbers[3], "width");
}

static bool read_one_fill(nf_image_call *call, PyObject *object, const char *name) {
    int overflow, white = call->shape.type == NF_PIXEL_BYTE ? 255 : 65535;
    long value = PyLong_AsLongAndOverflow(object, &overflow);
    if (call->shape.type == NF_PIXEL_FLOAT) {
        double real = PyLong_AsDouble(object);
        if (PyErr_Occurred()) { /* too large; the core refuses what is not finite */
            PyErr_Clear();
            real = HUGE_VAL;
        }
        call->one.real = (float)real;
    } else if (overflow || value < 0 || value > white) {
        PyErr_Format(PyExc_ValueError, "%s must be in 0..%d, got %S", name, white, object);
        return false;
    } else if (call->shape.type == NF_PIXEL_SHORT) {
        call->one.number = (uint16_t)value;
    } else {
        call->one.byte = (uint8_t)value;
    }
    call->fill = &call->one;
    call->fill_count = 1;
    return true;
}

bool nf_read_fill(nf_image_call *call, PyObject *object, const char *name) {
    if (PyLong_CheckExact(object))
        return read_one_fill(call, object, name);
    int type = nf_numpy_type(call->shape.type);
    PyArrayObject *fill = PyArray_Check(object) ? (PyArrayObject *)object : NULL;
    if (fill && PyArray_TYPE(fill) == type && PyArray_NDIM(fill) == 1 && PyArray_ISCARRAY_RO(fill)) {
        Py_INCREF(object);
        call->fill_array = fill;
    } else {
        call->fill_array = nf_input(object, name, type, 1, 1);
    }
    if (!call->fill_array)
        return false;
    call->fill = PyArray_DATA(call->fill_array);
    call->fill_count = PyArray_DIM(call->fill_array, 0);
    return true;
}

bool nf_start_call(nf_image_call *call, int64_t height, int64_t width, int64_t channels) {
    return nf_start_typed_call(call, height, width, channels, nf_numpy_type(call->shape.type));
}

bool nf_start_typed_call(nf_image_call *call, int64_t height, int64_t width, int64_t channels, int type) {
    nf_images shape = {.count = call->shape.count, .height = height, .width = width, .channels = channels};
    call->out = nf_new_images(call->images, shape, type);
    if (!call->out)
        return false;
    call->from = PyArray_DATA(call->images);
    call->to = PyArray_DATA(call->out);
    nf_release_gil();
    return true;
}

static bool start_alike(nf_image_call *call, PyObject *object, bool only_bytes) {
    if (read_images(call, object, 2, only_bytes) &&
        nf_start_call(call, call->shape.height, call->shape.width, call->shape.channels))
        return true;
    nf_drop_call(call);
    return false;
}

bool nf_start_alike(nf_image_call *call, PyObject *object) {
    return start_alike(call, object, false);
}

bool nf_start_bytes_alike(nf_image_call *call, PyObject *object) {
    return start_alike(call, object, true);
}

PyObject *nf_drop_call(nf_image_call *call) {
    nf_release(call->images);
    nf_release(call->out);
    nf_release(call->fill_array);
    nf_release(call->numbers);
    return NULL;
}

PyObject *nf_end_call(nf_image_call *call, nf_status status) {
    nf_take_gil();
    PyObject *out = (PyObject *)call->out;
    if (status == NF_OK)
        call->out = NULL; /* the caller's */
    else
        out = nf_raise(status);
    nf_drop_call(call);
    return out;
}

/* ---- One operation ---- */

static PyObject *resized_crop(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *image, *numbers[4];
    nf_box box;
    int height, width, interpolation;
    nf_image_call call;
    if (!PyArg_ParseTuple(arguments, "OOOOOiii", &image, &numbers[0], &numbers[1], &numbers[2], &numbers[3], &height,
                          &width, &interpolation) ||
        !nf_read_box(&box, numbers))
        return NULL;
    if (!nf_read_images(&call, image, 2))
        return nf_drop_call(&call);
    if (height < 1 || width < 1 || height > NF_MAX_IMAGE_SIZE || width > NF_MAX_IMAGE_SIZE) { /* before there is room */
        PyErr_Format(PyExc_ValueError, "size must be in 1..%d, got (%d, %d)", NF_MAX_IMAGE_SIZE, height, width);
        return nf_drop_call(&call);
    }
    if (!nf_start_call(&call, height, width, call.shape.channels))
        return nf_drop_call(&call);
    return nf_end_call(
        &call, nf_resized_crop(call.to, call.from, call.shape, box, height, width, (nf_interpolation)interpolation));
}

static PyObject *hflip(PyObject *module, PyObject *image) {
    (void)module;
    nf_image_call call;
    return nf_start_alike(&call, image) ? nf_end_call(&call, nf_hflip(call.to, call.from, call.shape)) : NULL;
}

typedef nf_status (*adjustment)(void *out, const void *images, nf_images shape, double factor);

static PyObject *adjust(PyObject *arguments, adjustment operation) {
    PyObject *image;
    double factor;
    nf_image_call call;
    if (!PyArg_ParseTuple(arguments, "Od", &image, &factor) || !nf_start_alike(&call, image))
        return NULL;
    return nf_end_call(&call, operation(call.to, call.from, call.shape, factor));
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
    PyObject *image;
    int channels;
    nf_image_call call;
    if (!PyArg_ParseTuple(arguments, "Oi", &image, &channels))
        return NULL;
    if (channels != 1 && channels != 3)
        return PyErr_Format(PyExc_ValueError, "channels must be 1 or 3, got %d", channels);
    if (!nf_read_images(&call, image, 3) || !nf_start_call(&call, call.shape.height, call.shape.width, channels))
        return nf_drop_call(&call);
    return nf_end_call(&call, nf_rgb_to_grayscale(call.to, call.from, call.shape, channels));
}

static PyObject *gaussian_blur(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *image;
    int kernel_height, kernel_width;
    double sigma_y, sigma_x;
    nf_image_call call;
    if (!PyArg_ParseTuple(arguments, "Oiidd", &image, &kernel_height, &kernel_width, &sigma_y, &sigma_x) ||
        !nf_start_alike(&call, image))
        return NULL;
    return nf_end_call(&call,
                       nf_gaussian_blur(call.to, call.from, call.shape, kernel_height, kernel_width, sigma_y, sigma_x));
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
    PyObject *image, *mean_object, *std_object, *result = NULL;
    PyArrayObject *std = NULL, *mean = NULL;
    nf_image_call call;
    if (!PyArg_ParseTuple(arguments, "OOO", &image, &mean_object, &std_object))
        return NULL;
    if (nf_read_images(&call, image, 2) && (mean = nf_channel_input(mean_object, "mean", call.shape.channels)) &&
        (std = nf_channel_input(std_object, "std", call.shape.channels)) &&
        nf_start_typed_call(&call, call.shape.height, call.shape.width, call.shape.channels, NPY_FLOAT32))
        result =
            nf_end_call(&call, nf_normalize(call.to, call.from, call.shape, PyArray_DATA(mean), PyArray_DATA(std)));
    else
        nf_drop_call(&call);
    nf_release(mean);
    nf_release(std);
    return result;
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
