/* Images in and out: what transforms.c, photometry.c and recipes.c share. */
#ifndef NF_BINDING_IMAGES_H
#define NF_BINDING_IMAGES_H

#include "binding.h"

/* Py_XDECREF of any object. */
void nf_release(void *object);

/* `object` as contiguous uint8 images (H, W), (H, W, C) or (N, H, W, C), a new reference. */
PyArrayObject *nf_images_input(PyObject *object, const char *name, nf_images *shape, int min_ndim, int max_ndim);

/* A new array like `images`, of another shape; `shape.count` only matters if they are a batch. */
PyArrayObject *nf_new_images(PyArrayObject *images, nf_images shape, int type);

/* Gives up `images`, and returns `out`, or raises. */
PyObject *nf_finish_images(nf_status status, PyArrayObject *out, PyArrayObject *images);

/* `object` as float64 numbers, one per channel, a new reference. */
PyArrayObject *nf_channel_input(PyObject *object, const char *name, int64_t channels);

#endif
