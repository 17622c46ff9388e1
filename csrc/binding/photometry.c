/* Operations on images that change values in place, not where they are: beyond the colour jitter's, in transforms.c. */
#include "images.h"

typedef nf_status (*operation)(uint8_t *out, const uint8_t *images, nf_images shape, double argument);

/* Calls an operation with one number. */
static PyObject *with_number(PyObject *arguments, operation run) {
    PyObject *object;
    double argument;
    if (!PyArg_ParseTuple(arguments, "Od", &object, &argument))
        return NULL;
    nf_images shape;
    PyArrayObject *images = nf_images_input(object, "image", &shape, 2, 4);
    PyArrayObject *out = images ? nf_new_images(images, shape, NPY_UINT8) : NULL;
    if (!out) {
        nf_release(images);
        return NULL;
    }
    nf_release_gil();
    nf_status status = run(PyArray_DATA(out), PyArray_DATA(images), shape, argument);
    nf_take_gil();
    return nf_finish_images(status, out, images);
}

static PyObject *solarize(PyObject *module, PyObject *arguments) {
    (void)module;
    return with_number(arguments, nf_solarize);
}

static PyMethodDef methods[] = {
    {"solarize", solarize, METH_VARARGS, NULL},
    {0},
};

int nf_bind_photometry(PyObject *module) {
    return PyModule_AddFunctions(module, methods);
}
