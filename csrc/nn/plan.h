/* The plan of a step: what is computed in which order, what is fused (plan.c), what is kept for the way back and where
 * in memory everything lies (placement.c). Made once for each input shape, carried out by execute.c, owned by
 * network.c. Nothing is allocated in a step. */
#ifndef NF_NN_PLAN_H
#define NF_NN_PLAN_H

#include "../core/status.h"
#include "batch_norm.h"
#include "conv.h"
#include "depthwise.h"
#include "layer_norm.h"
#include "pool.h"

/* How the gradient of a step's operand comes about. */
typedef enum nf_route {
    NF_ROUTE_SHARE, /* it takes over the memory of the output's gradient */
    NF_ROUTE_WRITE, /* this step is the first to contribute: it writes */
    NF_ROUTE_ADD,   /* another has written: it adds */
} nf_route;

/* Tensor 0 is the network's input, tensor i + 1 the output of layer i. Layers that are fused away have none. */
typedef struct nf_tensor {
    nf_shape shape;
    int64_t size;                      /* numbers */
    int64_t consumers;                 /* layers that read it; being the network's output counts as one */
    int64_t producer;                  /* step, or -1 */
    int64_t buffer, gradient;          /* buffers, or -1; the input's gradient is the caller's */
    bool read_back;                    /* some step reads it on its way back */
    int64_t passes;                    /* by which it is computed again on the way back; 0: it is kept */
    int64_t block;                     /* > 0: it is never whole, its reader has so many images of it made at a time */
    bool on_load;                      /* it is never in memory, its reader makes it of what it loads */
    int64_t first_reader, last_reader; /* steps, forwards */
    int64_t stored, again; /* buffers, or -1: it in bfloat16; it on the way back, if no longer in `buffer` */
} nf_tensor;

static inline bool nf_never_whole(const nf_tensor *tensor) {
    return tensor->block > 0 || tensor->on_load;
}

typedef struct nf_step {
    nf_layer_kind kind;
    int64_t layer;                 /* the layer whose parameters it uses */
    int64_t input, addend, output; /* tensors; addend: of a sum, or of what is fused with one; else -1 */
    int64_t behind;                /* of a filter in evaluation: layer of the batch norm that it does too, or -1 */
    int64_t saved, moments;        /* buffers, or -1: what backward needs; batch norm's, or a filter's for it */
    int64_t moment_blocks;         /* of the moments, in each group, if a filter takes them; else 0 */
    int64_t sums, factors;         /* buffers, or -1: batch norm's on the way back */
    int64_t sum_blocks;            /* of the sums, in each group, if another step makes them; else 0 */
    bool late;                     /* batch norm: its input's gradient is made by the convolution that reads it */
    int64_t time;                  /* its action forwards */
    nf_route input_route, addend_route;
    union {
        nf_conv conv;
        nf_depthwise depthwise;
        nf_batch_norm norm;
        nf_layer_norm layer_norm;
        nf_pool pool;
    };
} nf_step;

/* What is done at one time of a training step, or of an evaluation. */
typedef enum nf_deed {
    NF_DEED_FORWARD,
    NF_DEED_STORE,   /* a tensor that only the way back will read, as bfloat16 */
    NF_DEED_FETCH,   /* the same tensor, into memory for the way back */
    NF_DEED_AGAIN,   /* forward once more, into such memory */
    NF_DEED_WEIGHTS, /* first part of a convolution's way back: only it reads the input */
    NF_DEED_BACKWARD,
} nf_deed;

typedef struct nf_action {
    nf_deed deed;
    int64_t index;   /* of the step, or tensor to store or fetch */
    int64_t scratch; /* buffer, or -1 */
} nf_action;

/* A piece of the arena, in use from action `first` to action `last`. */
typedef struct nf_buffer {
    size_t bytes, offset;
    int64_t first, last;
} nf_buffer;

typedef struct nf_plan {
    nf_shape input;
    nf_conv_algorithm algorithm;
    nf_activation_type activations;
    bool training;
    int64_t groups;
    int workers;
    int64_t step_count, tensor_count, buffer_count, output; /* output: the tensor */
    int64_t action_count, forward_count;                    /* the first forward_count actions go forwards */
    nf_step *steps;
    nf_tensor *tensors;
    nf_buffer *buffers;
    nf_action *actions;
    size_t arena_bytes;
    char *arena;
} nf_plan;

/* shapes[i] is the shape of tensor i. The plan has no arena yet. Free with nf_plan_free, which accepts NULL. */
nf_status nf_plan_create(nf_plan **plan, const nf_layer *layers, int64_t count, const nf_shape *shapes,
                         nf_conv_algorithm algorithm, nf_activation_type activations, bool training, int64_t groups,
                         int workers);
nf_status nf_plan_allocate(nf_plan *plan);
void nf_plan_free(nf_plan *plan);

/* A convolution's step, of either kind, for `images` images of one group. */
nf_step nf_step_part(const nf_step *step, int64_t images);

/* Blocks, of each group, of the moments that a filter takes for the batch norm behind it, and of the sums for the one
 * before it; 0: it takes none. */
int64_t nf_step_moment_blocks(const nf_step *step);
int64_t nf_step_sum_blocks(const nf_step *step);

/* Floats that a filter's scratch memory begins with: factors and shifts of the batch norm that it does too. */
size_t nf_step_factors(const nf_step *step);

/* placement.c: the actions, the routes of the gradients and all buffers, for a plan with steps and tensors. */
nf_status nf_plan_place(nf_plan *plan);

/* Offsets of each layer's parameters and statistics in their vectors; what a layer does not have is not looked at. */
typedef struct nf_layer_offsets {
    int64_t weight, bias, running_mean, running_var;
} nf_layer_offsets;

/* execute.c. forward leaves the output in the plan's memory and copies it to y. */
nf_status nf_plan_forward(const nf_plan *plan, const nf_layer *layers, const nf_layer_offsets *offsets, float *y,
                          float *statistics, const float *x, const float *parameters);
nf_status nf_plan_backward(const nf_plan *plan, const nf_layer *layers, const nf_layer_offsets *offsets, float *d_x,
                           float *gradients, const float *d_y, const float *parameters, bool accumulate);

#endif
