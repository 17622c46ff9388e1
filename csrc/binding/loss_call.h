/* What the bindings of all losses share: real arrays in, the value and a gradient for each of them out.
 *
 *     nf_loss_call call = {0};
 *     if (!nf_loss_inputs(&call, objects, inputs, count) || ... shapes ... || !nf_loss_outputs(&call, reduction,
 * anchors)) return nf_loss_give_up(&call); nf_release_gil(); nf_status status = NF_LOSS(&call, nf_name,
 * nf_data(call.loss), nf_data(call.d[0]), ...); nf_take_gil(); return nf_loss_results(&call, status); */
#ifndef NF_BINDING_LOSS_CALL_H
#define NF_BINDING_LOSS_CALL_H

#include "binding.h"

enum { NF_LOSS_INPUTS = 4 };

typedef struct nf_loss_call {
    int count;
    PyArrayObject *x[NF_LOSS_INPUTS]; /* the inputs, all of one type; NULL for None */
    PyArrayObject *d[NF_LOSS_INPUTS]; /* their gradients */
    PyArrayObject *loss;
    double d_temperature;
} nf_loss_call;

/* Each false with an exception. `inputs` (count) as nf_inputs_real takes them; `anchors` as nf_new_loss does. */
bool nf_loss_inputs(nf_loss_call *call, PyObject *const *objects, const nf_real_input *inputs, int count);
bool nf_loss_outputs(nf_loss_call *call, int reduction, npy_intp anchors);

/* The operation for the inputs' type: nf_name_f64 or nf_name_f32 of the other arguments. */
#define NF_LOSS(call, name, ...) (nf_is_double((call)->x[0]) ? name##_f64(__VA_ARGS__) : name##_f32(__VA_ARGS__))

/* Both release what the call holds. The results are (loss, a gradient or None for each input, d_temperature), or NULL
 * with the status's exception; to give up is to return NULL with the exception that is set. */
PyObject *nf_loss_results(nf_loss_call *call, nf_status status);
PyObject *nf_loss_give_up(nf_loss_call *call);

/* Reads a number for PyArg_ParseTuple's "O&", which gets this function and an nf_number with its name set; TypeError
 * with the name. */
typedef struct nf_number {
    const char *name;
    double value;
} nf_number;
int nf_read_number(PyObject *object, void *number);

#endif
