/* A network: the description of its layers, where their parameters lie, and the plans of the shapes it was last run on.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "../core/integers.h"
#include "../core/memory.h"
#include "../core/threads.h"
#include "plan.h"

enum { RESETTING = -1 };
enum { MAX_SIZE = 1 << 24 }; /* of any one dimension or option; products of four then still fit int64 with a check */

struct nf_network {
    int64_t count;
    nf_layer *layers;
    nf_shape input; /* h = w = 0: any */
    int64_t out_channels;
    nf_conv_algorithm algorithm;
    nf_activation_type activations;
    nf_layer_offsets *offsets;
    nf_slot *parameters, *statistics;
    int64_t parameter_slots, statistic_slots, parameter_count, statistic_count;
    pthread_mutex_t lock;  /* a network runs one call at a time: its plans hold the activations */
    _Atomic pid_t process; /* in which the lock was made; RESETTING while a fork's child makes it anew */
    nf_plan *plans[2];     /* evaluation, training */
    bool pending;          /* the training plan holds what backward needs */
};

/* ---- Shapes ---- */

static nf_status check_range(int64_t layer, const char *name, int64_t value, int64_t low, int64_t high) {
    if (value >= low && value <= high)
        return NF_OK;
    return nf_fail(NF_BAD_VALUE, "layer %lld: %s must be in %lld..%lld, got %lld", (long long)layer, name,
                   (long long)low, (long long)high, (long long)value);
}

static nf_status check_layer(const nf_layer *layer, int64_t index) {
    for (int64_t operand = 0; operand < (layer->kind == NF_SUM ? 2 : 1); operand++)
        NF_TRY(check_range(index, "an input", layer->inputs[operand], -1, index - 1));
    switch (layer->kind) {
    case NF_CONV:
    case NF_DEPTHWISE_CONV:
        NF_TRY(check_range(index, "kernel_h", layer->kernel_h, 1, NF_MAX_KERNEL));
        NF_TRY(check_range(index, "kernel_w", layer->kernel_w, 1, NF_MAX_KERNEL));
        NF_TRY(check_range(index, "stride", layer->stride, 1,
                           layer->kind == NF_CONV ? MAX_SIZE : NF_MAX_DEPTHWISE_STRIDE));
        NF_TRY(check_range(index, "padding_h", layer->padding_h, 0, layer->kernel_h - 1));
        NF_TRY(check_range(index, "padding_w", layer->padding_w, 0, layer->kernel_w - 1));
        if (layer->kind == NF_DEPTHWISE_CONV)
            return NF_OK;
        return check_range(index, "out_channels", layer->out_channels, 1, MAX_SIZE);
    case NF_LINEAR: return check_range(index, "out_features", layer->out_channels, 1, MAX_SIZE);
    case NF_BATCH_NORM:
    case NF_LAYER_NORM:
        if (!(layer->eps > 0 && layer->eps < 1e30f))
            return nf_fail(NF_BAD_VALUE, "layer %lld: eps must be > 0, got %g", (long long)index, (double)layer->eps);
        if (layer->kind == NF_BATCH_NORM && !(layer->momentum >= 0 && layer->momentum <= 1))
            return nf_fail(NF_BAD_VALUE, "layer %lld: momentum must be in 0..1, got %g", (long long)index,
                           (double)layer->momentum);
        return NF_OK;
    case NF_MAX_POOL:
        NF_TRY(check_range(index, "kernel", layer->kernel_h, 1, NF_MAX_POOL_KERNEL));
        NF_TRY(check_range(index, "stride", layer->stride, 1, MAX_SIZE));
        return check_range(index, "padding", layer->padding_h, 0, layer->kernel_h / 2);
    case NF_RELU:
    case NF_GELU:
    case NF_SILU:
    case NF_SUM:
    case NF_GLOBAL_AVERAGE_POOL: return NF_OK;
    }
    return nf_fail(NF_BAD_VALUE, "layer %lld: unknown kind %d", (long long)index, (int)layer->kind);
}

/* Size along one axis after a window has slid over it; 0 stays 0, "any". */
static nf_status window_size(int64_t layer, int64_t *out, int64_t size, int64_t kernel, int64_t stride,
                             int64_t padding) {
    *out = 0;
    if (size == 0)
        return NF_OK;
    if (size + 2 * padding < kernel)
        return nf_fail(NF_BAD_VALUE, "layer %lld: its kernel of %lld does not fit an input of %lld with padding %lld",
                       (long long)layer, (long long)kernel, (long long)size, (long long)padding);
    *out = (size + 2 * padding - kernel) / stride + 1;
    return NF_OK;
}

static nf_status layer_shape(const nf_layer *layer, int64_t index, nf_shape *out, const nf_shape *shapes) {
    nf_shape in = shapes[layer->inputs[0] + 1];
    *out = in;
    bool on_images = layer->kind == NF_CONV || layer->kind == NF_DEPTHWISE_CONV || layer->kind == NF_MAX_POOL ||
                     layer->kind == NF_GLOBAL_AVERAGE_POOL;
    if (on_images && in.flat)
        return nf_fail(NF_BAD_VALUE, "layer %lld: it needs images (H, W, C), got vectors of %lld features",
                       (long long)index, (long long)in.c);
    switch (layer->kind) {
    case NF_CONV:
    case NF_DEPTHWISE_CONV:
        NF_TRY(window_size(index, &out->h, in.h, layer->kernel_h, layer->stride, layer->padding_h));
        NF_TRY(window_size(index, &out->w, in.w, layer->kernel_w, layer->stride, layer->padding_w));
        out->c = layer->kind == NF_CONV ? layer->out_channels : in.c;
        out->flat = false;
        return NF_OK;
    case NF_MAX_POOL:
        NF_TRY(window_size(index, &out->h, in.h, layer->kernel_h, layer->stride, layer->padding_h));
        return window_size(index, &out->w, in.w, layer->kernel_h, layer->stride, layer->padding_h);
    case NF_LINEAR:
        if (in.h == 0 || in.w == 0)
            return nf_fail(NF_BAD_VALUE, "layer %lld: a linear layer on images needs a fixed in_shape",
                           (long long)index);
        *out = (nf_shape){in.n, 1, 1, layer->out_channels, true};
        return NF_OK;
    case NF_GLOBAL_AVERAGE_POOL: *out = (nf_shape){in.n, 1, 1, in.c, true}; return NF_OK;
    case NF_SUM: {
        nf_shape other = shapes[layer->inputs[1] + 1];
        if (in.h != other.h || in.w != other.w || in.c != other.c)
            return nf_fail(NF_BAD_VALUE,
                           "layer %lld: operands of a sum must have one shape, got (%lld, %lld, %lld) and (%lld, "
                           "%lld, %lld)",
                           (long long)index, (long long)in.h, (long long)in.w, (long long)in.c, (long long)other.h,
                           (long long)other.w, (long long)other.c);
        return NF_OK;
    }
    default: return NF_OK;
    }
}

/* shapes[0] is the input; fills the count others, and holds every tensor to a size whose bytes can be counted. */
static nf_status infer_shapes(const nf_layer *layers, int64_t count, nf_shape *shapes) {
    for (int64_t i = 0; i <= count; i++) {
        if (i > 0)
            NF_TRY(layer_shape(&layers[i - 1], i - 1, &shapes[i], shapes));
        int64_t size = nf_max(shapes[i].n, 1);
        if (__builtin_mul_overflow(size, nf_max(shapes[i].h, 1), &size) ||
            __builtin_mul_overflow(size, nf_max(shapes[i].w, 1), &size) ||
            __builtin_mul_overflow(size, nf_max(shapes[i].c, 1), &size) || size > INT64_MAX / 4096)
            return nf_fail(NF_BAD_VALUE, "layer %lld: its output would have too many numbers", (long long)(i - 1));
    }
    return NF_OK;
}

/* ---- Parameters ---- */

static int64_t add_slot(nf_slot *slots, int64_t *slot_count, int64_t *total, int64_t layer, const char *name,
                        int64_t ndim, const int64_t *shape) {
    nf_slot *slot = &slots[(*slot_count)++];
    *slot = (nf_slot){.layer = layer, .name = name, .offset = *total, .ndim = ndim};
    int64_t size = 1;
    for (int64_t i = 0; i < ndim; i++)
        size *= slot->shape[i] = shape[i];
    *total += size;
    return slot->offset;
}

static nf_status lay_out_parameters(nf_network *network, const nf_shape *shapes) {
    for (int64_t i = 0; i < network->count; i++) {
        const nf_layer *layer = &network->layers[i];
        nf_layer_offsets *at = &network->offsets[i];
        nf_shape in = shapes[layer->inputs[0] + 1];
        int64_t channels[1] = {in.c}, *slots = &network->parameter_slots, *total = &network->parameter_count;
        if (layer->kind == NF_CONV || layer->kind == NF_LINEAR) {
            int64_t conv[4] = {layer->kernel_h, layer->kernel_w, in.c, layer->out_channels};
            int64_t linear[2] = {in.h * in.w * in.c, layer->out_channels};
            bool images = layer->kind == NF_CONV;
            int64_t size = images ? layer->kernel_h * layer->kernel_w * in.c : linear[0];
            if (__builtin_mul_overflow(size, layer->out_channels, &size) || size > INT64_MAX / 4096)
                return nf_fail(NF_BAD_VALUE, "layer %lld: it would have too many parameters", (long long)i);
            at->weight =
                add_slot(network->parameters, slots, total, i, "weight", images ? 4 : 2, images ? conv : linear);
            if (layer->bias)
                at->bias = add_slot(network->parameters, slots, total, i, "bias", 1, &layer->out_channels);
        } else if (layer->kind == NF_DEPTHWISE_CONV) {
            int64_t shape[4] = {layer->kernel_h, layer->kernel_w, 1, in.c};
            at->weight = add_slot(network->parameters, slots, total, i, "weight", 4, shape);
            if (layer->bias)
                at->bias = add_slot(network->parameters, slots, total, i, "bias", 1, channels);
        } else if (layer->kind == NF_LAYER_NORM) {
            at->weight = add_slot(network->parameters, slots, total, i, "weight", 1, channels);
            at->bias = add_slot(network->parameters, slots, total, i, "bias", 1, channels);
        } else if (layer->kind == NF_BATCH_NORM) {
            at->weight = add_slot(network->parameters, slots, total, i, "weight", 1, channels);
            at->bias = add_slot(network->parameters, slots, total, i, "bias", 1, channels);
            slots = &network->statistic_slots, total = &network->statistic_count;
            at->running_mean = add_slot(network->statistics, slots, total, i, "running_mean", 1, channels);
            at->running_var = add_slot(network->statistics, slots, total, i, "running_var", 1, channels);
        }
    }
    return NF_OK;
}

/* ---- Making a network ---- */

static nf_status check_all_used(const nf_layer *layers, int64_t count) {
    for (int64_t i = 0; i < count - 1; i++) {
        bool read = false;
        for (int64_t j = i + 1; j < count && !read; j++)
            read = layers[j].inputs[0] == i || (layers[j].kind == NF_SUM && layers[j].inputs[1] == i);
        if (!read)
            return nf_fail(NF_BAD_VALUE, "layer %lld: no later layer reads its output", (long long)i);
    }
    return NF_OK;
}

static nf_status allocate(void **block, size_t size) {
    NF_TRY(nf_alloc(block, size));
    memset(*block, 0, size);
    return NF_OK;
}

static nf_status fill(nf_network *network, const nf_layer *layers, nf_shape input) {
    size_t count = (size_t)network->count;
    void *memory;
    NF_TRY(allocate(&memory, count * sizeof *layers));
    network->layers = memcpy(memory, layers, count * sizeof *layers);
    NF_TRY(allocate(&memory, count * sizeof *network->offsets));
    network->offsets = memory;
    NF_TRY(allocate(&memory, 2 * count * sizeof *network->parameters));
    network->parameters = memory;
    NF_TRY(allocate(&memory, 2 * count * sizeof *network->statistics));
    network->statistics = memory;
    NF_TRY(allocate(&memory, (count + 1) * sizeof(nf_shape)));
    nf_shape *shapes = memory;
    shapes[0] = input;
    nf_status status = infer_shapes(layers, network->count, shapes);
    if (status == NF_OK)
        status = lay_out_parameters(network, shapes);
    network->out_channels = shapes[network->count].c;
    nf_free(shapes);
    return status;
}

static void make_lock(nf_network *network) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(&network->lock, &attributes);
    pthread_mutexattr_destroy(&attributes);
    atomic_store(&network->process, getpid());
}

nf_status nf_network_create(nf_network **network, const nf_layer *layers, int64_t count, nf_shape input,
                            nf_conv_algorithm algorithm, nf_activation_type activations) {
    *network = NULL;
    if (count < 1 || count > 100000)
        return nf_fail(NF_BAD_VALUE, "layers must have 1..100000 entries, got %lld", (long long)count);
    if (input.c < 1 || input.c > MAX_SIZE || input.h < 0 || input.w < 0 || (input.h == 0) != (input.w == 0))
        return nf_fail(NF_BAD_VALUE, "in_shape must have sizes >= 1, got (%lld, %lld, %lld)", (long long)input.h,
                       (long long)input.w, (long long)input.c);
    for (int64_t i = 0; i < count; i++)
        NF_TRY(check_layer(&layers[i], i));
    NF_TRY(check_all_used(layers, count));
    void *memory;
    NF_TRY(allocate(&memory, sizeof **network));
    nf_network *made = memory;
    made->count = count;
    made->input = input;
    made->algorithm = algorithm;
    made->activations = activations;
    made->input.n = 1;
    make_lock(made);
    nf_status status = fill(made, layers, made->input);
    if (status != NF_OK) {
        nf_network_free(made);
        return status;
    }
    *network = made;
    return NF_OK;
}

void nf_network_free(nf_network *network) {
    if (!network)
        return;
    nf_plan_free(network->plans[0]);
    nf_plan_free(network->plans[1]);
    pthread_mutex_destroy(&network->lock);
    nf_free(network->statistics);
    nf_free(network->parameters);
    nf_free(network->offsets);
    nf_free(network->layers);
    nf_free(network);
}

int64_t nf_network_parameter_slots(const nf_network *network, const nf_slot **slots) {
    *slots = network->parameters;
    return network->parameter_slots;
}

int64_t nf_network_statistic_slots(const nf_network *network, const nf_slot **slots) {
    *slots = network->statistics;
    return network->statistic_slots;
}

int64_t nf_network_parameter_count(const nf_network *network) {
    return network->parameter_count;
}

int64_t nf_network_statistic_count(const nf_network *network) {
    return network->statistic_count;
}

int64_t nf_network_in_channels(const nf_network *network) {
    return network->input.c;
}

int64_t nf_network_out_channels(const nf_network *network) {
    return network->out_channels;
}

/* ---- Plans ---- */

static nf_status check_input(const nf_network *network, nf_shape input) {
    const nf_shape *own = &network->input;
    if (input.n < 1 || input.h < 1 || input.w < 1 || input.n > INT64_C(1) << 40 || input.h > MAX_SIZE ||
        input.w > MAX_SIZE)
        return nf_fail(NF_BAD_VALUE, "x must not be empty, got shape (%lld, %lld, %lld, %lld)", (long long)input.n,
                       (long long)input.h, (long long)input.w, (long long)input.c);
    if (input.c != own->c || (own->h && (input.h != own->h || input.w != own->w)))
        return nf_fail(NF_BAD_VALUE, "x must have shape (N, %lld, %lld, %lld) (0: any), got (%lld, %lld, %lld, %lld)",
                       (long long)own->h, (long long)own->w, (long long)own->c, (long long)input.n, (long long)input.h,
                       (long long)input.w, (long long)input.c);
    return NF_OK;
}

/* The shapes of all tensors; free with nf_free. */
static nf_status all_shapes(const nf_network *network, nf_shape **shapes, nf_shape input) {
    *shapes = NULL;
    NF_TRY(check_input(network, input));
    void *memory;
    NF_TRY(nf_alloc(&memory, (size_t)(network->count + 1) * sizeof **shapes));
    *shapes = memory;
    (*shapes)[0] = input;
    nf_status status = infer_shapes(network->layers, network->count, *shapes);
    if (status != NF_OK) {
        nf_free(*shapes);
        *shapes = NULL;
    }
    return status;
}

nf_status nf_network_out_shape(const nf_network *network, nf_shape *output, nf_shape input) {
    nf_shape *shapes;
    NF_TRY(all_shapes(network, &shapes, input));
    *output = shapes[network->count];
    nf_free(shapes);
    return NF_OK;
}

static nf_status check_groups(const nf_network *network, const nf_shape *shapes, bool training, int64_t groups) {
    int64_t n = shapes[0].n;
    if (groups < 1 || n % groups != 0)
        return nf_fail(NF_BAD_VALUE, "groups must divide the %lld samples of x, got %lld", (long long)n,
                       (long long)groups);
    for (int64_t i = 0; training && i < network->count; i++) {
        const nf_shape *in = &shapes[network->layers[i].inputs[0] + 1];
        if (network->layers[i].kind == NF_BATCH_NORM && n / groups * in->h * in->w < 2)
            return nf_fail(
                NF_BAD_VALUE,
                "x must have more samples: in training, batch norm (layer %lld) needs at least 2 values of each "
                "channel, got 1",
                (long long)i);
    }
    return NF_OK;
}

static nf_status make_plan(const nf_network *network, nf_plan **plan, nf_shape input, bool training, int64_t groups) {
    nf_shape *shapes;
    NF_TRY(all_shapes(network, &shapes, input));
    nf_status status = check_groups(network, shapes, training, groups);
    if (status == NF_OK)
        status = nf_plan_create(plan, network->layers, network->count, shapes, network->algorithm, network->activations,
                                training, groups, nf_get_num_threads());
    nf_free(shapes);
    return status;
}

static bool fits(const nf_plan *plan, nf_shape input, int64_t groups) {
    return plan && plan->input.n == input.n && plan->input.h == input.h && plan->input.w == input.w &&
           plan->groups == groups && plan->workers == nf_get_num_threads();
}

nf_status nf_network_memory(nf_network *network, size_t *bytes, nf_shape input, bool training, int64_t groups) {
    nf_plan *plan;
    NF_TRY(make_plan(network, &plan, input, training, groups));
    *bytes = plan->arena_bytes;
    nf_plan_free(plan);
    return NF_OK;
}

/* ---- Running ---- */

static nf_status run_forward(nf_network *network, float *y, float *statistics, const float *x, const float *parameters,
                             nf_shape input, bool training, int64_t groups) {
    nf_plan **plan = &network->plans[training];
    if (!fits(*plan, input, groups)) {
        nf_plan *made;
        NF_TRY(make_plan(network, &made, input, training, groups));
        nf_plan *old = *plan;
        *plan = made;
        nf_plan_free(old); /* before the new arena is allocated, so that both never exist at once */
    }
    if (!(*plan)->arena)
        NF_TRY(nf_plan_allocate(*plan));
    return nf_plan_forward(*plan, network->layers, network->offsets, y, statistics, x, parameters);
}

/* In a fork's child, whoever held the lock is gone. */
static void reset_after_fork(nf_network *network) {
    pid_t here = getpid(), owner = atomic_load(&network->process);
    if (owner != here && owner != RESETTING && atomic_compare_exchange_strong(&network->process, &owner, RESETTING))
        make_lock(network);
    while (atomic_load(&network->process) != here)
        sched_yield();
}

/* Another thread's call is waited for; one of this thread's own can only be a signal handler's, inside a call. */
static nf_status lock(nf_network *network) {
    reset_after_fork(network);
    if (pthread_mutex_lock(&network->lock) != 0)
        return nf_fail(NF_BAD_VALUE, "a network can't be run from inside a call to itself");
    return NF_OK;
}

nf_status nf_network_forward(nf_network *network, float *y, float *statistics, const float *x, const float *parameters,
                             nf_shape input, bool training, int64_t groups) {
    NF_TRY(lock(network));
    if (training)
        network->pending = false;
    nf_status status = run_forward(network, y, statistics, x, parameters, input, training, groups);
    if (training && status == NF_OK)
        network->pending = true;
    pthread_mutex_unlock(&network->lock);
    return status;
}

static nf_status check_pending(const nf_network *network) {
    if (network->pending)
        return NF_OK;
    return nf_fail(NF_BAD_VALUE, "backward needs a forward with training=True before it, one for each backward");
}

nf_status nf_network_pending(nf_network *network, nf_shape *input, nf_shape *output) {
    NF_TRY(lock(network));
    nf_status status = check_pending(network);
    if (status == NF_OK) {
        const nf_plan *plan = network->plans[1];
        *input = plan->input;
        *output = plan->tensors[plan->output].shape;
    }
    pthread_mutex_unlock(&network->lock);
    return status;
}

static nf_status run_backward(nf_network *network, float *d_x, float *gradients, const float *d_y,
                              const float *parameters, nf_shape input, bool accumulate) {
    NF_TRY(check_pending(network));
    const nf_plan *plan = network->plans[1];
    if (plan->input.n != input.n || plan->input.h != input.h || plan->input.w != input.w)
        return nf_fail(NF_BAD_VALUE, "another thread has run the network between forward and backward");
    network->pending = false;
    return nf_plan_backward(plan, network->layers, network->offsets, d_x, gradients, d_y, parameters, accumulate);
}

nf_status nf_network_backward(nf_network *network, float *d_x, float *gradients, const float *d_y,
                              const float *parameters, nf_shape input, bool accumulate) {
    NF_TRY(lock(network));
    nf_status status = run_backward(network, d_x, gradients, d_y, parameters, input, accumulate);
    pthread_mutex_unlock(&network->lock);
    return status;
}
