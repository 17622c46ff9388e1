#include "binding.h"

#include "../core/memory.h"

static const char *type_name(int type) {
    switch (type) {
    case NPY_FLOAT32: return "float32";
    case NPY_FLOAT64: return "float64";
    case NPY_UINT8: return "uint8";
    case NPY_UINT16: return "uint16";
    case NPY_INT64: return "int64";
    default: return "this type";
    }
}

static bool check_ndim(PyArrayObject *array, const char *name, int min_ndim, int max_ndim) {
    int ndim = PyArray_NDIM(array);
    if (ndim >= min_ndim && ndim <= max_ndim)
        return true;
    if (min_ndim == max_ndim)
        PyErr_Format(PyExc_ValueError, "%s must have %d dimension%s, got %d", name, min_ndim, min_ndim == 1 ? "" : "s",
                     ndim);
    else
        PyErr_Format(PyExc_ValueError, "%s must have %d to %d dimensions, got %d", name, min_ndim, max_ndim, ndim);
    return false;
}

/* The array that `object` is or can be read as; a new reference. */
static PyArrayObject *any_array(PyObject *object, const char *name) {
    PyArrayObject *array = (PyArrayObject *)PyArray_FROM_O(object);
    if (!array) {
        if (PyErr_ExceptionMatches(PyExc_ValueError)) /* of NumPy's, and without the name */
            PyErr_Format(PyExc_ValueError, "%s must be an array: its parts have different shapes", name);
        return NULL;
    }
    if (!PyArray_ISNUMBER(array) && !PyArray_ISBOOL(array)) {
        PyErr_Format(PyExc_TypeError, "%s must be an array of numbers, got dtype %S", name,
                     (PyObject *)PyArray_DESCR(array));
        Py_DECREF(array);
        return NULL;
    }
    return array;
}

static PyArrayObject *as_type(PyArrayObject *array, const char *name, int type, int min_ndim, int max_ndim) {
    PyArrayObject *result = NULL;
    PyArray_Descr *wanted = PyArray_DescrFromType(type);
    if (!PyArray_CanCastTypeTo(PyArray_DESCR(array), wanted, NPY_SAME_KIND_CASTING)) {
        PyErr_Format(PyExc_TypeError, "%s must be %s, got dtype %S", name, type_name(type),
                     (PyObject *)PyArray_DESCR(array));
        Py_DECREF(wanted);
    } else if (check_ndim(array, name, min_ndim, max_ndim)) {
        result = (PyArrayObject *)PyArray_FromArray(array, wanted, NPY_ARRAY_CARRAY_RO | NPY_ARRAY_FORCECAST);
    } else {
        Py_DECREF(wanted);
    }
    Py_DECREF(array);
    return result;
}

PyArrayObject *nf_input(PyObject *object, const char *name, int type, int min_ndim, int max_ndim) {
    PyArrayObject *array = any_array(object, name);
    return array ? as_type(array, name, type, min_ndim, max_ndim) : NULL;
}

PyArrayObject *nf_input_real(PyObject *object, const char *name, int min_ndim, int max_ndim) {
    PyArrayObject *array = any_array(object, name);
    if (!array)
        return NULL;
    int own = PyArray_TYPE(array);
    return as_type(array, name, own == NPY_FLOAT16 || own == NPY_FLOAT32 ? NPY_FLOAT32 : NPY_FLOAT64, min_ndim,
                   max_ndim);
}

bool nf_inputs_real(PyArrayObject **arrays, PyObject *const *objects, const nf_real_input *inputs, int count) {
    bool any_double = false;
    for (int i = 0; i < count; i++)
        arrays[i] = NULL;
    for (int i = 0; i < count; i++) {
        if (inputs[i].optional && objects[i] == Py_None)
            continue;
        arrays[i] = nf_input_real(objects[i], inputs[i].name, inputs[i].min_ndim, inputs[i].max_ndim);
        if (!arrays[i])
            return false;
        any_double = any_double || nf_is_double(arrays[i]);
    }
    for (int i = 0; any_double && i < count; i++)
        if (arrays[i] && !nf_is_double(arrays[i])) {
            arrays[i] = as_type(arrays[i], inputs[i].name, NPY_FLOAT64, inputs[i].min_ndim, inputs[i].max_ndim);
            if (!arrays[i])
                return false;
        }
    return true;
}

PyArrayObject *nf_in_place(PyObject *object, const char *name, int type, int ndim) {
    if (!PyArray_Check(object) || PyArray_TYPE((PyArrayObject *)object) != type) {
        PyErr_Format(PyExc_TypeError, "%s must be a NumPy array of %s", name, type_name(type));
        return NULL;
    }
    PyArrayObject *array = (PyArrayObject *)object;
    if (!PyArray_ISCARRAY(array)) {
        PyErr_Format(PyExc_ValueError, "%s must be writeable, C-contiguous and in native byte order", name);
        return NULL;
    }
    return check_ndim(array, name, ndim, ndim) ? array : NULL;
}

static void free_memory(PyObject *capsule) {
    nf_free(PyCapsule_GetPointer(capsule, NULL));
}

PyArrayObject *nf_new_array(int ndim, const npy_intp *shape, int type) {
    PyArray_Descr *descr = PyArray_DescrFromType(type);
    size_t bytes = (size_t)PyDataType_ELSIZE(descr);
    for (int i = 0; i < ndim; i++)
        if (__builtin_mul_overflow(bytes, (size_t)shape[i], &bytes)) {
            Py_DECREF(descr);
            PyErr_SetString(PyExc_ValueError, "the result would be larger than the address space");
            return NULL;
        }
    void *memory;
    nf_status status = nf_alloc(&memory, bytes);
    if (status != NF_OK) {
        Py_DECREF(descr);
        nf_raise(status);
        return NULL;
    }
    PyObject *owner = PyCapsule_New(memory, NULL, free_memory);
    if (!owner) {
        nf_free(memory);
        Py_DECREF(descr);
        return NULL;
    }
    PyArrayObject *array =
        (PyArrayObject *)PyArray_NewFromDescr(&PyArray_Type, descr, ndim, shape, NULL, memory, NPY_ARRAY_CARRAY, NULL);
    if (!array) {
        Py_DECREF(owner);
        return NULL;
    }
    if (PyArray_SetBaseObject(array, owner) < 0) {
        Py_DECREF(array);
        return NULL;
    }
    return array;
}

PyArrayObject *nf_new_like(PyArrayObject *array) {
    return nf_new_array(PyArray_NDIM(array), PyArray_DIMS(array), PyArray_TYPE(array));
}

PyArrayObject *nf_new_loss(nf_reduction reduction, npy_intp count) {
    npy_intp shape = reduction == NF_REDUCE_NONE ? count : 1;
    return nf_new_array(1, &shape, NPY_FLOAT64);
}

void *nf_data(PyArrayObject *array) {
    return array ? PyArray_DATA(array) : NULL;
}

bool nf_is_double(const PyArrayObject *array) {
    return array && PyArray_TYPE(array) == NPY_FLOAT64;
}

bool nf_overlap(PyArrayObject *a, PyArrayObject *b) {
    const char *a_start = PyArray_BYTES(a), *b_start = PyArray_BYTES(b);
    return a_start < b_start + PyArray_NBYTES(b) && b_start < a_start + PyArray_NBYTES(a);
}
