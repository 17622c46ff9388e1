/* Images in and out: what transforms.c, photometry.c, geometry.c and recipes.c share. */
#ifndef NF_BINDING_IMAGES_H
#define NF_BINDING_IMAGES_H

#include "binding.h"

/* Py_XDECREF of any object. */
void nf_release(void *object);

/* `object` as contiguous images (H, W), (H, W, C) or (N, H, W, C) of uint8, or uint16 or float32 unless `only_bytes`, a
 * new reference. */
PyArrayObject *nf_images_input(PyObject *object, const char *name, nf_images *shape, int min_ndim, int max_ndim,
                               bool only_bytes);

/* A new array like `images`, of another shape; `shape.count` only matters if they are a batch. */
PyArrayObject *nf_new_images(PyArrayObject *images, nf_images shape, int type);

/* The arrays of a call on images: the fill and `numbers` where there are such arguments. */
typedef struct nf_image_call {
    PyArrayObject *images, *out, *fill_array, *numbers;
    nf_images shape;  /* of the images */
    const void *fill; /* fill_count numbers of the images' type */
    npy_intp fill_count;
    union {
        uint8_t byte;
        uint16_t number;
        float real;
    } one; /* a fill that is no array */
    const void *from;
    void *to;
} nf_image_call;

/* NumPy's type of pixels. */
int nf_numpy_type(nf_pixel_type type);

/* Reads the images; false with an exception. The call is to be ended or dropped in any case. */
bool nf_read_images(nf_image_call *call, PyObject *object, int min_ndim);

/* Makes the result, of the images' type unless said otherwise, and lets go of the GIL; false with an exception. */
bool nf_start_call(nf_image_call *call, int64_t height, int64_t width, int64_t channels);
bool nf_start_typed_call(nf_image_call *call, int64_t height, int64_t width, int64_t channels, int type);

/* Both, for results like the images; after a failure, nothing is left to drop. */
bool nf_start_alike(nf_image_call *call, PyObject *object);
bool nf_start_bytes_alike(nf_image_call *call, PyObject *object); /* of bytes only */

/* The integers of a box, named in errors; false with an exception. */
bool nf_read_box(nf_box *box, PyObject *const *numbers);

/* The value of pixels that have none: an integer for all channels, or an array of one number for all or one for each,
 * of the images' type; false with an exception. */
bool nf_read_fill(nf_image_call *call, PyObject *object, const char *name);

/* After nf_start_call: takes the GIL again, and returns the result or raises. */
PyObject *nf_end_call(nf_image_call *call, nf_status status);

/* After a Python error, and NULL for its caller. */
PyObject *nf_drop_call(nf_image_call *call);

/* `object` as float64 numbers, one per channel, a new reference. */
PyArrayObject *nf_channel_input(PyObject *object, const char *name, int64_t channels);

#endif
