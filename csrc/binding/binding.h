/* What the files of this folder share: arrays in and out, statuses to exceptions, the GIL. Nothing else in csrc/ knows
 * Python.
 *
 * A binding function parses its arguments, checks types, shapes and overlap, releases the GIL around one operation, and
 * returns new arrays. */
#ifndef NF_BINDING_H
#define NF_BINDING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_2_0_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL nearfar_numpy_api
#ifndef NF_BINDING_MODULE
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>

#include "../nearfar.h"

/* Turns a failed status into the Python exception (ValueError, MemoryError, KeyboardInterrupt). Returns NULL. */
PyObject *nf_raise(nf_status status);

/* `object` as a C-contiguous, aligned array of `type` (NPY_FLOAT32, ...), a new reference; copied only if it is
 * something else. Fails with TypeError for what can't be cast safely in kind (complex, object, text; floats where
 * integers are wanted), with ValueError unless min_ndim <= ndim <= max_ndim. Messages name the argument `name`. */
PyArrayObject *nf_input(PyObject *object, const char *name, int type, int min_ndim, int max_ndim);

/* As nf_input in float32 or float64, whichever `object` has: float32 for float16 and float32, else float64. */
PyArrayObject *nf_input_real(PyObject *object, const char *name, int min_ndim, int max_ndim);

/* Several real arrays of one operation: each as nf_input_real, and all in float64 if one of them is. None is NULL if
 * optional. False with an exception; `arrays` holds new references either way. */
typedef struct nf_real_input {
    const char *name;
    int min_ndim, max_ndim;
    bool optional;
} nf_real_input;
bool nf_inputs_real(PyArrayObject **arrays, PyObject *const *objects, const nf_real_input *inputs, int count);

/* `object` itself, a borrowed reference, if it is a writeable, C-contiguous, aligned array of just this type and number
 * of dimensions: for arrays that an operation changes in place. */
PyArrayObject *nf_in_place(PyObject *object, const char *name, int type, int ndim);

/* A new uninitialised array on 64-byte aligned memory, writeable. */
PyArrayObject *nf_new_array(int ndim, const npy_intp *shape, int type);

/* A new array with the shape and type of `array`, as nf_new_array; its data or NULL; whether it is float64. */
PyArrayObject *nf_new_like(PyArrayObject *array);
void *nf_data(PyArrayObject *array);
bool nf_is_double(const PyArrayObject *array);

/* A new array for the value of a loss over `count` anchors: float64, (1), or (count) with NF_REDUCE_NONE. */
PyArrayObject *nf_new_loss(nf_reduction reduction, npy_intp count);

/* Whether the memory of two arrays overlaps. */
bool nf_overlap(PyArrayObject *a, PyArrayObject *b);

/* Around an operation: releases the GIL and lets Ctrl-C end it. The second takes the GIL back; Python is off limits
 * between. nf_release_gil(); nf_status status = nf_...(...); nf_take_gil(); if (status != NF_OK) return
 * nf_raise(status); */
void nf_release_gil(void);
void nf_take_gil(void);

/* Each adds its functions and types to the module; 0, or -1 with an exception. */
int nf_bind_config(PyObject *module);
int nf_bind_random(PyObject *module);
int nf_bind_network(PyObject *module);
int nf_bind_optim(PyObject *module);
int nf_bind_losses(PyObject *module);
int nf_bind_margin_losses(PyObject *module);
int nf_bind_pair_losses(PyObject *module);
int nf_bind_measure(PyObject *module);
int nf_bind_transforms(PyObject *module);
int nf_bind_photometry(PyObject *module);
int nf_bind_geometry(PyObject *module);
int nf_bind_recipes(PyObject *module);

#endif
