/* Recipes: lists of random transforms as rows of numbers, and their records as bytes. */
#include "images.h"

#include "../core/memory.h"

#include <string.h>

enum { ROW = 20 }; /* numbers that describe a transform: kind, probability, then the fields of its struct in order */

/* Numbers that no check accepts become -1. */
static int64_t whole(double number) {
    return number >= 0 && number <= 1e9 && number == (double)(int64_t)number ? (int64_t)number : -1;
}

/* How many values, then NF_MAX_COLORS of them; a count that no check accepts if they are no bytes. */
static nf_colors read_colors(const double *field) {
    nf_colors colors = {.count = (int32_t)whole(field[0])};
    for (int i = 0; i < NF_MAX_COLORS; i++) {
        int64_t value = whole(field[1 + i]);
        colors.values[i] = (uint8_t)value;
        if (value < 0 || value > 255)
            colors.count = -1;
    }
    return colors;
}

static nf_transform read_transform(const double *row) {
    nf_transform transform = {.kind = (nf_transform_kind)whole(row[0]), .probability = row[1]};
    const double *field = row + 2;
    if (transform.kind == NF_RANDOM_RESIZED_CROP) {
        transform.crop.height = whole(field[0]);
        transform.crop.width = whole(field[1]);
        transform.crop.scale = (nf_range){field[2], field[3]};
        transform.crop.ratio = (nf_range){field[4], field[5]};
        transform.crop.interpolation = (nf_interpolation)whole(field[6]);
    } else if (transform.kind == NF_COLOR_JITTER) {
        transform.jitter.brightness = (nf_range){field[0], field[1]};
        transform.jitter.contrast = (nf_range){field[2], field[3]};
        transform.jitter.saturation = (nf_range){field[4], field[5]};
        transform.jitter.hue = (nf_range){field[6], field[7]};
    } else if (transform.kind == NF_GAUSSIAN_BLUR) {
        transform.blur.kernel_height = whole(field[0]);
        transform.blur.kernel_width = whole(field[1]);
        transform.blur.sigma = (nf_range){field[2], field[3]};
    } else if (transform.kind == NF_SOLARIZE) {
        transform.solarize.threshold = field[0];
    } else if (transform.kind == NF_POSTERIZE) {
        transform.posterize.bits = whole(field[0]);
    } else if (transform.kind == NF_SHARPNESS) {
        transform.sharpness.factor = (nf_range){field[0], field[1]};
    } else if (transform.kind == NF_PILLOW_BLUR) {
        transform.pillow_blur.radius = (nf_range){field[0], field[1]};
    } else if (transform.kind == NF_GAUSSIAN_NOISE) {
        transform.noise.mean = field[0];
        transform.noise.sigma = (nf_range){field[1], field[2]};
    } else if (transform.kind == NF_CUTOUT) {
        transform.cutout.height = whole(field[0]);
        transform.cutout.width = whole(field[1]);
        transform.cutout.fill = whole(field[2]);
    } else if (transform.kind == NF_JIGSAW) {
        transform.jigsaw.grid = whole(field[0]);
    } else if (transform.kind == NF_RANDOM_ROTATION) {
        transform.rotation.degrees = (nf_range){field[0], field[1]};
        transform.rotation.interpolation = (nf_interpolation)whole(field[2]);
        transform.rotation.fill = read_colors(field + 3);
    } else if (transform.kind == NF_RANDOM_AFFINE) {
        transform.affine.degrees = (nf_range){field[0], field[1]};
        transform.affine.translate[0] = field[2];
        transform.affine.translate[1] = field[3];
        transform.affine.scale = (nf_range){field[4], field[5]};
        transform.affine.shear_x = (nf_range){field[6], field[7]};
        transform.affine.shear_y = (nf_range){field[8], field[9]};
        transform.affine.interpolation = (nf_interpolation)whole(field[10]);
        transform.affine.fill = read_colors(field + 11);
    } else if (transform.kind == NF_RANDOM_PERSPECTIVE) {
        transform.perspective.distortion_scale = field[0];
        transform.perspective.interpolation = (nf_interpolation)whole(field[1]);
        transform.perspective.fill = read_colors(field + 2);
    } else if (transform.kind == NF_RANDOM_CROP || transform.kind == NF_CENTER_CROP) {
        transform.window.height = whole(field[0]);
        transform.window.width = whole(field[1]);
        transform.window.padding = (nf_padding){whole(field[2]), whole(field[3]), whole(field[4]), whole(field[5]),
                                                (nf_padding_mode)whole(field[6])};
        transform.window.fill = read_colors(field + 7);
    } else if (transform.kind == NF_RANDOM_ERASING) {
        transform.erasing.scale = (nf_range){field[0], field[1]};
        transform.erasing.ratio = (nf_range){field[2], field[3]};
        transform.erasing.value = read_colors(field + 4);
    } else if (transform.kind == NF_RESIZE) {
        transform.resize.height = whole(field[0]);
        transform.resize.width = whole(field[1]);
        transform.resize.interpolation = (nf_interpolation)whole(field[2]);
    }
    return transform;
}

/* Reads rows (count, ROW) into `transforms` and checks them; the number of them, or -1 with an exception. */
static int64_t read_transforms(nf_transform transforms[NF_MAX_TRANSFORMS], PyObject *object) {
    PyArrayObject *rows = nf_input(object, "operations", NPY_FLOAT64, 2, 2);
    if (!rows)
        return -1;
    int64_t count = PyArray_DIM(rows, 0);
    if (PyArray_DIM(rows, 1) != ROW || count > NF_MAX_TRANSFORMS) {
        PyErr_Format(PyExc_ValueError, "a recipe may have up to %d operations, got %lld", NF_MAX_TRANSFORMS,
                     (long long)count);
        count = -1;
    }
    for (int64_t i = 0; i < count; i++) {
        transforms[i] = read_transform((const double *)PyArray_DATA(rows) + i * ROW);
        nf_status status = nf_transform_check(&transforms[i]);
        if (status != NF_OK) {
            nf_raise(status);
            count = -1;
        }
    }
    Py_DECREF(rows);
    return count;
}

static PyObject *check_transforms(PyObject *module, PyObject *rows) {
    (void)module;
    nf_transform transforms[NF_MAX_TRANSFORMS];
    int64_t count = read_transforms(transforms, rows);
    if (count < 0)
        return NULL;
    nf_recipe recipe = {.transforms = transforms, .count = count};
    return PyLong_FromSize_t(nf_recipe_record_size(&recipe));
}

static PyObject *recipe_sample(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *rows, *sizes_object, *indices_object;
    unsigned long long seed;
    unsigned int epoch;
    int views, first_view, channels;
    if (!PyArg_ParseTuple(arguments, "OiiiOOKI", &rows, &views, &first_view, &channels, &sizes_object, &indices_object,
                          &seed, &epoch))
        return NULL;
    nf_transform transforms[NF_MAX_TRANSFORMS];
    nf_recipe recipe = {.transforms = transforms, .views = views, .first_view = first_view, .channels = channels};
    if ((recipe.count = read_transforms(transforms, rows)) < 0)
        return NULL;
    PyArrayObject *indices = NULL, *records = NULL, *sizes = nf_input(sizes_object, "image_size", NPY_INT64, 2, 2);
    void *images = NULL;
    if (!sizes || !(indices = nf_input(indices_object, "indices", NPY_INT64, 1, 1)))
        goto done;
    npy_intp count = PyArray_DIM(sizes, 0);
    if (PyArray_DIM(sizes, 1) != 2 || PyArray_DIM(indices, 0) != count) {
        PyErr_Format(PyExc_ValueError, "indices must have one value per image (%zd), got %zd", (Py_ssize_t)count,
                     (Py_ssize_t)PyArray_DIM(indices, 0));
        goto done;
    }
    npy_intp dims[3] = {views < 0 ? 0 : views, count, (npy_intp)nf_recipe_record_size(&recipe)};
    records = nf_new_array(3, dims, NPY_UINT8);
    nf_status status = nf_alloc(&images, (size_t)count * sizeof(nf_image));
    if (status != NF_OK)
        nf_raise(status);
    if (!records || status != NF_OK) {
        Py_CLEAR(records);
        goto done;
    }
    const int64_t *size = PyArray_DATA(sizes);
    for (npy_intp n = 0; n < count; n++)
        ((nf_image *)images)[n] = (nf_image){NULL, size[2 * n], size[2 * n + 1]};
    nf_release_gil();
    status = nf_recipe_sample(PyArray_DATA(records), &recipe, images, PyArray_DATA(indices), count, seed, epoch);
    nf_take_gil();
    if (status != NF_OK) {
        Py_CLEAR(records);
        nf_raise(status);
    }
done:
    nf_free(images);
    nf_release(sizes);
    nf_release(indices);
    return (PyObject *)records;
}

/* The images of a call: an array (N, H, W, C), or a list or tuple of arrays (H, W, C) or (H, W). */
typedef struct image_list {
    nf_image *images;
    PyObject *owner; /* keeps the pixels alive */
    int64_t count, channels;
    int type; /* NPY_UINT8, NPY_UINT16 or NPY_FLOAT32 */
} image_list;

static void release_images(image_list *list) {
    nf_free(list->images);
    nf_release(list->owner);
}

/* Is each image of a batch contiguous, though the batch need not be? Slices of a file on disk are such. */
static bool has_contiguous_images(PyObject *object) {
    if (!PyArray_Check(object))
        return false;
    PyArrayObject *array = (PyArrayObject *)object;
    if (PyArray_NDIM(array) != 4 || !PyArray_ISALIGNED(array) || !PyArray_ISNOTSWAPPED(array))
        return false;
    npy_intp size = PyArray_ITEMSIZE(array);
    for (int i = 3; i > 0; size *= PyArray_DIM(array, i--))
        if (PyArray_DIM(array, i) != 1 && PyArray_STRIDE(array, i) != size)
            return false;
    return true;
}

/* `object` as contiguous images of one of the three types, a new reference; `type`: -1, or the type that it must have.
 */
static PyArrayObject *any_images(PyObject *object, const char *name, int *type, nf_images *shape, int ndim) {
    PyArrayObject *images = nf_images_input(object, name, shape, ndim == 4 ? 4 : 2, ndim, false);
    if (!images)
        return NULL;
    int own = nf_numpy_type(shape->type);
    if (*type >= 0 && own != *type) {
        PyErr_SetString(PyExc_TypeError, "images must have the same dtype");
        Py_DECREF(images);
        return NULL;
    }
    *type = own;
    return images;
}

static bool read_image_array(image_list *list, PyObject *object) {
    nf_images shape;
    list->type = PyArray_Check(object) ? PyArray_TYPE((PyArrayObject *)object) : -1;
    bool known = list->type == NPY_UINT8 || list->type == NPY_UINT16 || list->type == NPY_FLOAT32;
    if (known && has_contiguous_images(object)) {
        PyArrayObject *array = (PyArrayObject *)object;
        shape = (nf_images){.count = PyArray_DIM(array, 0),
                            .height = PyArray_DIM(array, 1),
                            .width = PyArray_DIM(array, 2),
                            .channels = PyArray_DIM(array, 3)};
        Py_INCREF(object);
        list->owner = object;
    } else {
        list->type = -1;
        list->owner = (PyObject *)any_images(object, "images", &list->type, &shape, 4);
    }
    if (!list->owner)
        return false;
    list->count = shape.count;
    list->channels = shape.channels;
    nf_status status = nf_alloc((void **)&list->images, (size_t)shape.count * sizeof(nf_image));
    if (status != NF_OK)
        return nf_raise(status) != NULL;
    const uint8_t *pixels = PyArray_DATA((PyArrayObject *)list->owner);
    npy_intp step = PyArray_STRIDE((PyArrayObject *)list->owner, 0);
    for (int64_t n = 0; n < shape.count; n++)
        list->images[n] = (nf_image){pixels + n * step, shape.height, shape.width};
    return true;
}

static bool read_image_list(image_list *list, PyObject *object) {
    list->type = -1;
    list->count = PyList_Size(object);
    list->owner = PyList_New(list->count);
    if (!list->owner)
        return false;
    nf_status status = nf_alloc((void **)&list->images, (size_t)list->count * sizeof(nf_image));
    if (status != NF_OK)
        return nf_raise(status) != NULL;
    for (int64_t n = 0; n < list->count; n++) {
        nf_images shape;
        PyObject *item = PyList_GetItem(object, n); /* borrowed; NULL if the list has shrunk meanwhile */
        PyArrayObject *image = item ? any_images(item, "each image", &list->type, &shape, 3) : NULL;
        if (!image)
            return false;
        PyList_SetItem(list->owner, n, (PyObject *)image);
        if (n > 0 && shape.channels != list->channels) {
            PyErr_Format(PyExc_ValueError, "images must have the same number of channels, got %lld and %lld",
                         (long long)list->channels, (long long)shape.channels);
            return false;
        }
        list->channels = shape.channels;
        list->images[n] = (nf_image){PyArray_DATA(image), shape.height, shape.width};
    }
    return true;
}

static bool read_images(image_list *list, PyObject *object) {
    *list = (image_list){0};
    bool fine = PyList_Check(object) ? read_image_list(list, object) : read_image_array(list, object);
    if (fine && list->count == 0) {
        PyErr_SetString(PyExc_ValueError, "images must hold at least one image");
        fine = false;
    }
    if (!fine)
        release_images(list);
    return fine;
}

/* `object` if it is fit for the views, or a new array if it is None. */
static PyArrayObject *output(PyObject *object, const npy_intp dims[5], int type, const image_list *list) {
    if (object == Py_None)
        return nf_new_array(5, dims, type);
    PyArrayObject *out = nf_in_place(object, "out", type, 5);
    if (!out)
        return NULL;
    for (int i = 0; i < 5; i++)
        if (PyArray_DIM(out, i) != dims[i]) {
            PyErr_Format(PyExc_ValueError, "out must have shape (%zd, %zd, %zd, %zd, %zd)", (Py_ssize_t)dims[0],
                         (Py_ssize_t)dims[1], (Py_ssize_t)dims[2], (Py_ssize_t)dims[3], (Py_ssize_t)dims[4]);
            return NULL;
        }
    const char *begin = PyArray_DATA(out), *end = begin + PyArray_NBYTES(out);
    int64_t item = list->type == NPY_FLOAT32 ? 4 : list->type == NPY_UINT16 ? 2 : 1;
    for (int64_t n = 0; n < list->count; n++) {
        const nf_image *image = &list->images[n];
        const char *pixels = image->pixels;
        if (pixels < end && begin < pixels + image->height * image->width * list->channels * item) {
            PyErr_SetString(PyExc_ValueError, "out must not overlap the images");
            return NULL;
        }
    }
    Py_INCREF((PyObject *)out);
    return out;
}

/* A copy of records (views, count, record size) that no other thread can change while they are in use. */
static bool copy_records(void **copy, PyObject *object, const nf_recipe *recipe, int64_t count) {
    PyArrayObject *records = nf_input(object, "params", NPY_UINT8, 3, 3);
    if (!records)
        return false;
    bool fits = PyArray_DIM(records, 0) == recipe->views && PyArray_DIM(records, 1) == count &&
                (size_t)PyArray_DIM(records, 2) == nf_recipe_record_size(recipe);
    nf_status status = NF_OK;
    if (!fits)
        PyErr_Format(PyExc_ValueError, "params must have shape (%lld, %lld) for these images, got (%zd, %zd)",
                     (long long)recipe->views, (long long)count, (Py_ssize_t)PyArray_DIM(records, 0),
                     (Py_ssize_t)PyArray_DIM(records, 1));
    else if ((status = nf_alloc(copy, (size_t)PyArray_NBYTES(records))) != NF_OK)
        nf_raise(status);
    else
        memcpy(*copy, PyArray_DATA(records), (size_t)PyArray_NBYTES(records));
    Py_DECREF(records);
    return fits && status == NF_OK;
}

/* apply(operations, views, images, records, mean, std, type, layout, out) */
static PyObject *recipe_apply(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *rows, *images_object, *records_object, *mean_object, *std_object, *out_object;
    int views, type, layout;
    if (!PyArg_ParseTuple(arguments, "OiOOOOppO", &rows, &views, &images_object, &records_object, &mean_object,
                          &std_object, &type, &layout, &out_object))
        return NULL;
    nf_transform transforms[NF_MAX_TRANSFORMS];
    nf_recipe recipe = {.transforms = transforms, .views = views};
    if ((recipe.count = read_transforms(transforms, rows)) < 0)
        return NULL;
    image_list list;
    if (!read_images(&list, images_object))
        return NULL;
    recipe.channels = list.channels;
    recipe.pixel_type = list.type == NPY_FLOAT32  ? NF_PIXEL_FLOAT
                        : list.type == NPY_UINT16 ? NF_PIXEL_SHORT
                                                  : NF_PIXEL_BYTE;
    PyArrayObject *mean = nf_channel_input(mean_object, "mean", list.channels);
    PyArrayObject *std = mean ? nf_channel_input(std_object, "std", list.channels) : NULL, *out = NULL;
    void *records = NULL;
    int64_t height, width;
    if (!std || !copy_records(&records, records_object, &recipe, list.count))
        goto done;
    recipe.mean = PyArray_DATA(mean);
    recipe.std = PyArray_DATA(std);
    nf_status status = nf_recipe_view_size(&height, &width, &recipe, list.images[0].height, list.images[0].width);
    if (status != NF_OK) {
        nf_raise(status);
        goto done;
    }
    npy_intp nhwc[5] = {views, list.count, height, width, list.channels};
    npy_intp nchw[5] = {views, list.count, list.channels, height, width};
    out = output(out_object, layout == NF_VIEW_NCHW ? nchw : nhwc, type == NF_VIEW_BYTES ? NPY_UINT8 : NPY_FLOAT32,
                 &list);
    if (!out)
        goto done;
    nf_release_gil();
    status = nf_recipe_apply(PyArray_DATA(out), (nf_view_type)type, (nf_view_layout)layout, &recipe, list.images,
                             records, list.count);
    nf_take_gil();
    if (status != NF_OK) {
        Py_CLEAR(out);
        nf_raise(status);
    }
done:
    nf_free(records);
    nf_release(mean);
    nf_release(std);
    release_images(&list);
    return (PyObject *)out;
}

static PyMethodDef methods[] = {
    {"check_transforms", check_transforms, METH_O, NULL},
    {"recipe_sample", recipe_sample, METH_VARARGS, NULL},
    {"recipe_apply", recipe_apply, METH_VARARGS, NULL},
    {0},
};

int nf_bind_recipes(PyObject *module) {
    return PyModule_AddFunctions(module, methods);
}
