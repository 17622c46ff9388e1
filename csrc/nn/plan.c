#include "plan.h"

#include <stdlib.h>
#include <string.h>

#include "../core/integers.h"
#include "../core/memory.h"

/* ---- Steps: which layers run as one ---- */

static void count_consumers(nf_plan *plan, const nf_layer *layers, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        plan->tensors[layers[i].inputs[0] + 1].consumers++;
        if (layers[i].kind == NF_SUM)
            plan->tensors[layers[i].inputs[1] + 1].consumers++;
    }
    plan->tensors[count].consumers++;
}

/* The only layer that reads tensor `tensor`, or -1. */
static int64_t only_reader(const nf_plan *plan, const nf_layer *layers, int64_t count, int64_t tensor) {
    if (plan->tensors[tensor].consumers != 1)
        return -1;
    for (int64_t i = tensor; i < count; i++)
        if (layers[i].inputs[0] + 1 == tensor || (layers[i].kind == NF_SUM && layers[i].inputs[1] + 1 == tensor))
            return i;
    return -1;
}

/* Batch norm takes a residual sum and a ReLU that follow it into its own pass. Such a step runs where the last of them
 * stands, since the other operand of the sum may come later than the batch norm itself: fused[last] = batch norm's
 * layer, and fused[other members] = -1. Layers on their own have fused[i] = i. */
static void fuse(const nf_plan *plan, const nf_layer *layers, int64_t count, int64_t *fused, int64_t *addend) {
    for (int64_t i = 0; i < count; i++)
        fused[i] = i;
    for (int64_t i = 0; i < count; i++) {
        if (layers[i].kind != NF_BATCH_NORM)
            continue;
        int64_t last = i, next = only_reader(plan, layers, count, i + 1);
        addend[i] = -1;
        if (next >= 0 && layers[next].kind == NF_SUM && fused[next] == next) {
            bool first = layers[next].inputs[0] == i;
            addend[i] = layers[next].inputs[first ? 1 : 0] + 1;
            last = next;
            fused[next] = -1;
            next = only_reader(plan, layers, count, next + 1);
        }
        if (next >= 0 && layers[next].kind == NF_RELU)
            last = next;
        fused[i] = -1;
        fused[last] = i;
    }
}

static nf_step make_step(const nf_plan *plan, const nf_layer *layer, int64_t index) {
    nf_step step = {
        .kind = layer->kind, .layer = index, .input = layer->inputs[0] + 1, .addend = -1, .saved = -1, .moments = -1};
    const nf_shape *in = &plan->tensors[step.input].shape, *out = &plan->tensors[index + 1].shape;
    switch (layer->kind) {
    case NF_CONV:
        step.conv = (nf_conv){.n = in->n,
                              .h = in->h,
                              .w = in->w,
                              .c = in->c,
                              .out_h = out->h,
                              .out_w = out->w,
                              .k = out->c,
                              .kernel_h = layer->kernel_h,
                              .kernel_w = layer->kernel_w,
                              .stride = layer->stride,
                              .pad_h = layer->padding_h,
                              .pad_w = layer->padding_w,
                              .groups = plan->groups,
                              .workers = plan->workers};
        step.conv.algorithm = nf_conv_choose(&step.conv, layer->bias, plan->algorithm);
        break;
    case NF_LINEAR:
        step.kind = NF_CONV;
        step.conv = (nf_conv){.n = in->n,
                              .h = 1,
                              .w = 1,
                              .c = in->h * in->w * in->c,
                              .out_h = 1,
                              .out_w = 1,
                              .k = out->c,
                              .kernel_h = 1,
                              .kernel_w = 1,
                              .stride = 1,
                              .groups = plan->groups,
                              .algorithm = NF_CONV_DIRECT,
                              .workers = plan->workers};
        break;
    case NF_BATCH_NORM:
        step.norm = (nf_batch_norm){.rows = in->n * in->h * in->w,
                                    .c = in->c,
                                    .groups = plan->groups,
                                    .eps = layer->eps,
                                    .momentum = layer->momentum,
                                    .workers = plan->workers};
        break;
    case NF_DEPTHWISE_CONV:
        step.depthwise = (nf_depthwise){.n = in->n,
                                        .h = in->h,
                                        .w = in->w,
                                        .c = in->c,
                                        .out_h = out->h,
                                        .out_w = out->w,
                                        .kernel_h = layer->kernel_h,
                                        .kernel_w = layer->kernel_w,
                                        .stride = layer->stride,
                                        .pad_h = layer->padding_h,
                                        .pad_w = layer->padding_w,
                                        .workers = plan->workers};
        break;
    case NF_LAYER_NORM:
        step.layer_norm =
            (nf_layer_norm){.rows = in->n * in->h * in->w, .c = in->c, .eps = layer->eps, .workers = plan->workers};
        break;
    case NF_SUM: step.addend = layer->inputs[1] + 1; break;
    case NF_MAX_POOL:
    case NF_GLOBAL_AVERAGE_POOL:
        step.pool = (nf_pool){.n = in->n,
                              .h = in->h,
                              .w = in->w,
                              .c = in->c,
                              .out_h = out->h,
                              .out_w = out->w,
                              .kernel = layer->kernel_h,
                              .stride = layer->stride,
                              .padding = layer->padding_h,
                              .workers = plan->workers};
        break;
    case NF_RELU:
    case NF_GELU:
    case NF_SILU: break;
    }
    return step;
}

static void make_steps(nf_plan *plan, const nf_layer *layers, int64_t count, const int64_t *fused,
                       const int64_t *addend) {
    for (int64_t i = 0; i < count; i++) {
        int64_t index = fused[i];
        if (index < 0)
            continue;
        nf_step step = make_step(plan, &layers[index], index);
        step.output = i + 1;
        if (step.kind == NF_BATCH_NORM) {
            step.addend = addend[index];
            step.norm.relu = layers[i].kind == NF_RELU;
        }
        plan->tensors[step.output].producer = plan->step_count;
        plan->steps[plan->step_count++] = step;
    }
}

/* ---- Memory: buffers and when they are in use ---- */

static int64_t new_buffer(nf_plan *plan, size_t bytes, int64_t time) {
    plan->buffers[plan->buffer_count] = (nf_buffer){.bytes = bytes, .first = time, .last = time};
    return plan->buffer_count++;
}

static void use(nf_plan *plan, int64_t buffer, int64_t time) {
    plan->buffers[buffer].first = nf_min(plan->buffers[buffer].first, time);
    plan->buffers[buffer].last = nf_max(plan->buffers[buffer].last, time);
}

static size_t float_bytes(int64_t count) {
    return (size_t)count * sizeof(float);
}

/* Whether the step's output may take the memory of its input: nobody else, and no backward, needs the input. */
static bool works_in_place(const nf_plan *plan, const nf_step *step) {
    const nf_tensor *input = &plan->tensors[step->input];
    if (input->consumers != 1 || step->addend == step->input)
        return false;
    if (step->kind == NF_BATCH_NORM || step->kind == NF_LAYER_NORM || step->kind == NF_GELU || step->kind == NF_SILU)
        return !plan->training;
    if (step->kind != NF_RELU || input->producer < 0)
        return false;
    const nf_step *before = &plan->steps[input->producer]; /* must not need its output to go back */
    return before->kind == NF_CONV || before->kind == NF_DEPTHWISE_CONV || before->kind == NF_SUM;
}

static void place_forward(nf_plan *plan) {
    plan->tensors[0].buffer = new_buffer(plan, float_bytes(plan->tensors[0].size), 0);
    for (int64_t s = 0; s < plan->step_count; s++) {
        nf_step *step = &plan->steps[s];
        nf_tensor *input = &plan->tensors[step->input], *output = &plan->tensors[step->output];
        output->buffer = works_in_place(plan, step) ? input->buffer : new_buffer(plan, float_bytes(output->size), s);
        use(plan, output->buffer, s);
        use(plan, input->buffer, s);
        if (step->addend >= 0)
            use(plan, plan->tensors[step->addend].buffer, s);
        if (!plan->training)
            continue;
        if (step->kind == NF_BATCH_NORM) {
            step->saved = new_buffer(plan, nf_batch_norm_saved_size(&step->norm) * sizeof(float), s);
            nf_step *before = input->producer >= 0 ? &plan->steps[input->producer] : NULL;
            if (before && before->kind == NF_CONV && nf_conv_takes_moments(&before->conv) && before->moments < 0) {
                before->moments = new_buffer(plan, nf_batch_norm_moments_size(&step->norm) * sizeof(float), s);
                use(plan, before->moments, input->producer);
                step->moments = before->moments;
            }
        }
        if (step->kind == NF_LAYER_NORM)
            step->saved = new_buffer(plan, nf_layer_norm_saved_size(&step->layer_norm) * sizeof(float), s);
        if (step->kind == NF_MAX_POOL)
            step->saved = new_buffer(plan, (size_t)output->size, s);
    }
    use(plan, plan->tensors[plan->output].buffer, plan->step_count - 1);
}

/* What a step reads again on its way back. */
static void keep_for_backward(nf_plan *plan, const nf_step *step, int64_t time) {
    switch (step->kind) {
    case NF_CONV:
    case NF_DEPTHWISE_CONV:
    case NF_BATCH_NORM:
    case NF_LAYER_NORM:
    case NF_GELU:
    case NF_SILU: use(plan, plan->tensors[step->input].buffer, time); break;
    default: break;
    }
    if (step->kind == NF_RELU || (step->kind == NF_BATCH_NORM && step->norm.relu))
        use(plan, plan->tensors[step->output].buffer, time);
    if (step->saved >= 0)
        use(plan, step->saved, time);
}

/* Decides how the gradient of operand `tensor` comes about, and gives it memory. */
static nf_route route_gradient(nf_plan *plan, int64_t tensor, int64_t output_gradient, bool may_share, int64_t time,
                               bool *input_written) {
    if (tensor == 0) { /* the caller's array */
        nf_route route = *input_written ? NF_ROUTE_ADD : NF_ROUTE_WRITE;
        *input_written = true;
        return route;
    }
    nf_tensor *operand = &plan->tensors[tensor];
    nf_route route = NF_ROUTE_ADD;
    if (operand->gradient < 0) {
        route = may_share ? NF_ROUTE_SHARE : NF_ROUTE_WRITE;
        operand->gradient = may_share ? output_gradient : new_buffer(plan, float_bytes(operand->size), time);
    }
    use(plan, operand->gradient, time);
    return route;
}

static void place_backward(nf_plan *plan) {
    nf_tensor *output = &plan->tensors[plan->output];
    output->gradient = new_buffer(plan, float_bytes(output->size), plan->step_count);
    bool input_written = false;
    for (int64_t s = plan->step_count - 1; s >= 0; s--) {
        nf_step *step = &plan->steps[s];
        int64_t time = 2 * plan->step_count - 1 - s, gradient = plan->tensors[step->output].gradient;
        keep_for_backward(plan, step, time);
        use(plan, gradient, time);
        /* In the order in which execute.c computes them. Of a sum's operands one can take over the gradient as it is; a
         * batch norm without one works in place. */
        bool sums = step->addend >= 0;
        if (step->kind == NF_SUM)
            step->addend_route = route_gradient(plan, step->addend, gradient, true, time, &input_written);
        bool shares = step->kind == NF_RELU || step->kind == NF_GELU || step->kind == NF_SILU ||
                      step->kind == NF_LAYER_NORM || (step->kind == NF_BATCH_NORM && !sums) ||
                      (step->kind == NF_SUM && step->addend_route != NF_ROUTE_SHARE);
        step->input_route = route_gradient(plan, step->input, gradient, shares, time, &input_written);
        if (step->kind == NF_BATCH_NORM && sums)
            step->addend_route = route_gradient(plan, step->addend, gradient, true, time, &input_written);
    }
}

static void place_scratch(nf_plan *plan) {
    size_t most = 0;
    for (int64_t s = 0; s < plan->step_count; s++) {
        const nf_step *step = &plan->steps[s];
        size_t floats = 0;
        if (step->kind == NF_CONV) {
            floats = nf_conv_forward_scratch(&step->conv);
            size_t back = plan->training ? nf_conv_backward_scratch(&step->conv) : 0;
            floats = back > floats ? back : floats;
        } else if (step->kind == NF_DEPTHWISE_CONV) {
            floats = nf_depthwise_scratch(&step->depthwise);
        } else if (step->kind == NF_BATCH_NORM) {
            floats = nf_batch_norm_scratch(&step->norm);
        } else if (step->kind == NF_LAYER_NORM) {
            floats = nf_layer_norm_scratch(&step->layer_norm);
        }
        most = floats > most ? floats : most;
    }
    plan->scratch = new_buffer(plan, most * sizeof(float), 0);
    use(plan, plan->scratch, 2 * plan->step_count);
}

/* ---- Offsets: buffers that are in use at the same time must not overlap. Largest first, each into the first gap. ----
 */

static int by_size(const void *a, const void *b) {
    const nf_buffer *first = *(nf_buffer *const *)a, *second = *(nf_buffer *const *)b;
    if (first->bytes != second->bytes)
        return first->bytes < second->bytes ? 1 : -1;
    return first < second ? -1 : first > second;
}

static nf_status assign_offsets(nf_plan *plan) {
    enum { ALIGNMENT = 64 };
    static const size_t MAX_ARENA = SIZE_MAX / 4; /* no buffer comes near it, so that sums with one can't overflow */
    void *memory;
    NF_TRY(nf_alloc(&memory, (size_t)plan->buffer_count * 2 * sizeof(nf_buffer *)));
    nf_buffer **order = memory, **placed = order + plan->buffer_count; /* placed: by offset */
    for (int64_t i = 0; i < plan->buffer_count; i++)
        order[i] = &plan->buffers[i];
    qsort(order, (size_t)plan->buffer_count, sizeof *order, by_size);
    for (int64_t i = 0; i < plan->buffer_count; i++) {
        nf_buffer *buffer = order[i];
        size_t offset = 0;
        for (int64_t j = 0; j < i; j++) {
            const nf_buffer *other = placed[j];
            if (other->last < buffer->first || buffer->last < other->first)
                continue;
            if (offset + buffer->bytes <= other->offset)
                break;
            size_t end = (other->offset + other->bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
            offset = end > offset ? end : offset;
        }
        if (buffer->bytes > MAX_ARENA - offset)
            return nf_fail(NF_NO_MEMORY, "out of memory: the network's activations would take more than %zu bytes",
                           MAX_ARENA);
        buffer->offset = offset;
        int64_t at = i;
        for (; at > 0 && placed[at - 1]->offset > offset; at--)
            placed[at] = placed[at - 1];
        placed[at] = buffer;
        plan->arena_bytes = offset + buffer->bytes > plan->arena_bytes ? offset + buffer->bytes : plan->arena_bytes;
    }
    nf_free(memory);
    return NF_OK;
}

/* ---- Making a plan ---- */

static nf_status allocate_lists(nf_plan *plan, int64_t count) {
    size_t tensors = (size_t)count + 1, buffers = 5 * tensors + 8;
    void *memory;
    NF_TRY(nf_alloc(&memory, (size_t)count * sizeof(nf_step)));
    plan->steps = memset(memory, 0, (size_t)count * sizeof(nf_step));
    NF_TRY(nf_alloc(&memory, tensors * sizeof(nf_tensor)));
    plan->tensors = memset(memory, 0, tensors * sizeof(nf_tensor));
    NF_TRY(nf_alloc(&memory, buffers * sizeof(nf_buffer)));
    plan->buffers = memory;
    return NF_OK;
}

static nf_status fill(nf_plan *plan, const nf_layer *layers, int64_t count, const nf_shape *shapes) {
    NF_TRY(allocate_lists(plan, count));
    plan->tensor_count = count + 1;
    plan->output = count;
    for (int64_t i = 0; i <= count; i++) {
        nf_shape shape = shapes[i];
        plan->tensors[i] = (nf_tensor){.shape = shape,
                                       .size = shape.n * shape.h * shape.w * shape.c,
                                       .producer = -1,
                                       .buffer = -1,
                                       .gradient = -1};
    }
    void *memory;
    NF_TRY(nf_alloc(&memory, 2 * (size_t)count * sizeof(int64_t)));
    int64_t *fused = memory, *addend = fused + count;
    count_consumers(plan, layers, count);
    fuse(plan, layers, count, fused, addend);
    make_steps(plan, layers, count, fused, addend);
    nf_free(memory);
    place_forward(plan);
    if (plan->training)
        place_backward(plan);
    place_scratch(plan);
    return assign_offsets(plan);
}

nf_status nf_plan_create(nf_plan **plan, const nf_layer *layers, int64_t count, const nf_shape *shapes,
                         nf_conv_algorithm algorithm, bool training, int64_t groups, int workers) {
    void *memory;
    *plan = NULL;
    NF_TRY(nf_alloc(&memory, sizeof **plan));
    nf_plan *made = memory;
    *made = (nf_plan){
        .input = shapes[0], .algorithm = algorithm, .training = training, .groups = groups, .workers = workers};
    nf_status status = fill(made, layers, count, shapes);
    if (status != NF_OK) {
        nf_plan_free(made);
        return status;
    }
    *plan = made;
    return NF_OK;
}

nf_status nf_plan_allocate(nf_plan *plan) {
    void *arena;
    NF_TRY(nf_arena_alloc(&arena, plan->arena_bytes));
    plan->arena = arena;
    return NF_OK;
}

void nf_plan_free(nf_plan *plan) {
    if (!plan)
        return;
    nf_arena_free(plan->arena, plan->arena_bytes);
    nf_free(plan->buffers);
    nf_free(plan->tensors);
    nf_free(plan->steps);
    nf_free(plan);
}
