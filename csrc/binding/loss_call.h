/* What the bindings of all losses share: arrays in, the value and a gradient for each of them out.
 *
 *     nf_loss_call call = {.numbers = 1};
 *     if (!nf_loss_inputs(&call, objects, inputs, 2) || !nf_same_shapes(&call, 2) ||
 *         !nf_loss_weights(&call, weights) || !nf_loss_outputs(&call, reduction, anchors))
 *         return nf_loss_give_up(&call);
 *     nf_release_gil();
 *     nf_status status = NF_LOSS(&call, nf_name, nf_data(call.loss), nf_data(call.d[0]), ..., &call.number[0], ...);
 *     nf_take_gil();
 *     return nf_loss_results(&call, status); */
#ifndef NF_BINDING_LOSS_CALL_H
#define NF_BINDING_LOSS_CALL_H

#include "binding.h"

enum { NF_LOSS_INPUTS = 4, NF_LOSS_CONSTANTS = 2, NF_LOSS_NUMBERS = 2 };

typedef struct nf_loss_call {
    int numbers; /* set by the caller: how many numbers have a gradient */

    const nf_real_input *inputs;
    int count;
    PyArrayObject *x[NF_LOSS_INPUTS]; /* the inputs, all of one type; NULL for None */
    PyArrayObject *d[NF_LOSS_INPUTS]; /* their gradients */
    PyArrayObject *loss;
    PyArrayObject *weights;                      /* of the anchors; NULL for None */
    double number[NF_LOSS_NUMBERS];              /* the gradients of numbers, as of a temperature */
    PyArrayObject *constants[NF_LOSS_CONSTANTS]; /* other arrays, without a gradient; NULL for none */
} nf_loss_call;

/* Each false with an exception. `inputs` (count) as nf_inputs_real takes them, to outlive the call; `anchors` as
 * nf_new_loss does. A gradient for each input, or for the first `gradients` of them. */
bool nf_loss_inputs(nf_loss_call *call, PyObject *const *objects, const nf_real_input *inputs, int count);
bool nf_loss_gradients(nf_loss_call *call, int gradients);
bool nf_loss_outputs(nf_loss_call *call, int reduction, npy_intp anchors);

/* weights = `object` in float64, in the shape of the first input but for its last axis; none for None. */
bool nf_loss_weights(nf_loss_call *call, PyObject *object);

/* False with a ValueError unless the first `count` inputs, matrices, have one shape. */
bool nf_same_shapes(const nf_loss_call *call, int count);

/* constants[place] = `object` in int64, (count); what there are so many of is for the message. */
bool nf_loss_integers(nf_loss_call *call, int place, PyObject *object, const char *name, npy_intp count,
                      const char *of);

/* The operation for the inputs' type: nf_name_f64 or nf_name_f32 of the other arguments. */
#define NF_LOSS(call, name, ...) (nf_is_double((call)->x[0]) ? name##_f64(__VA_ARGS__) : name##_f32(__VA_ARGS__))

/* Both release what the call holds. The results are a tuple of the loss, if there is one, a gradient or None for each
 * input that has one, and numbers, or NULL with the status's exception; to give up is to return NULL with the exception
 * that is set. */
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
