/* The extension module nearfar._core. */
#define NF_BINDING_MODULE
#include "binding.h"

#include "../core/blas.h"
#include "../core/dispatch.h"
#include "../core/threads.h"

static int execute(PyObject *module) {
    if (PyArray_ImportNumPyAPI() < 0)
        return -1;
    nf_status status = nf_dispatch_init();
    if (status == NF_OK)
        status = nf_threads_init();
    if (status != NF_OK) {
        nf_raise(status);
        return -1;
    }
    nf_blas_init();
    static int (*const parts[])(PyObject *) = {
        nf_bind_config,        nf_bind_random,      nf_bind_network,  nf_bind_losses,
        nf_bind_margin_losses, nf_bind_pair_losses, nf_bind_optim,    nf_bind_measure,
        nf_bind_transforms,    nf_bind_photometry,  nf_bind_geometry, nf_bind_recipes,
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (parts[i](module) < 0)
            return -1;
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)execute},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "nearfar._core",
    .m_doc = "The C side of nearfar.",
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__core(void) {
    return PyModuleDef_Init(&definition);
}
