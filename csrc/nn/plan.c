#include "plan.h"

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

/* The convolution or linear layer whose output batch norm `norm` alone reads, or -1. */
static int64_t filter_before(const nf_plan *plan, const nf_layer *layers, int64_t count, int64_t norm) {
    int64_t before = layers[norm].inputs[0];
    bool filters = before >= 0 && (layers[before].kind == NF_CONV || layers[before].kind == NF_LINEAR);
    return filters && only_reader(plan, layers, count, before + 1) == norm ? before : -1;
}

/* Batch norm takes a residual sum and a ReLU that follow it into its own pass, and in evaluation, where its statistics
 * are known before, all of them are done by the convolution whose output it reads. Such a step runs where the last of
 * them stands, since the other operand of the sum may come later than the batch norm itself: fused[last] = batch norm's
 * layer, or the convolution's, and fused[other members] = -1. Layers on their own have fused[i] = i.
 * behind[convolution] = batch norm's layer, or -1. */
static void fuse(const nf_plan *plan, const nf_layer *layers, int64_t count, int64_t *fused, int64_t *addend,
                 int64_t *behind) {
    for (int64_t i = 0; i < count; i++) {
        fused[i] = i;
        addend[i] = behind[i] = -1;
    }
    for (int64_t i = 0; i < count; i++) {
        if (layers[i].kind != NF_BATCH_NORM)
            continue;
        int64_t last = i, next = only_reader(plan, layers, count, i + 1);
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
        int64_t filter = plan->training ? -1 : filter_before(plan, layers, count, i);
        if (filter >= 0) {
            fused[filter] = -1;
            addend[filter] = addend[i];
            behind[filter] = i;
        }
        fused[last] = filter >= 0 ? filter : i;
    }
}

static nf_step make_step(const nf_plan *plan, const nf_layer *layer, int64_t index) {
    nf_step step = {.kind = layer->kind,
                    .layer = index,
                    .input = layer->inputs[0] + 1,
                    .addend = -1,
                    .behind = -1,
                    .saved = -1,
                    .moments = -1,
                    .sums = -1,
                    .factors = -1};
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
                                        .groups = plan->groups,
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
                       const int64_t *addend, const int64_t *behind) {
    for (int64_t i = 0; i < count; i++) {
        int64_t index = fused[i];
        if (index < 0)
            continue;
        nf_step step = make_step(plan, &layers[index], index);
        step.output = i + 1;
        step.behind = behind[index];
        if (step.kind == NF_BATCH_NORM)
            step.norm.relu = layers[i].kind == NF_RELU;
        if (step.kind == NF_BATCH_NORM || step.behind >= 0)
            step.addend = addend[index];
        plan->tensors[step.output].producer = plan->step_count;
        plan->steps[plan->step_count++] = step;
    }
}

nf_step nf_step_part(const nf_step *step, int64_t images) {
    nf_step part = *step;
    if (step->kind == NF_DEPTHWISE_CONV) {
        part.depthwise.n = images;
        part.depthwise.groups = 1;
    } else {
        part.conv.n = images;
        part.conv.groups = 1;
    }
    return part;
}

int64_t nf_step_moment_blocks(const nf_step *step) {
    switch (step->kind) {
    case NF_CONV: return nf_conv_moment_blocks(&step->conv);
    case NF_DEPTHWISE_CONV: return nf_depthwise_moment_blocks(&step->depthwise);
    default: return 0;
    }
}

int64_t nf_step_sum_blocks(const nf_step *step) {
    switch (step->kind) {
    case NF_CONV: return nf_conv_sum_blocks(&step->conv);
    case NF_DEPTHWISE_CONV: return nf_depthwise_sum_blocks(&step->depthwise);
    default: return 0;
    }
}

size_t nf_step_factors(const nf_step *step) {
    return step->behind < 0 ? 0 : (size_t)nf_round_up(2 * step->conv.k, 16);
}

/* ---- Making a plan ---- */

static nf_status allocate_lists(nf_plan *plan, int64_t count) {
    size_t tensors = (size_t)count + 1;
    void *memory;
    NF_TRY(nf_alloc(&memory, (size_t)count * sizeof(nf_step)));
    plan->steps = memset(memory, 0, (size_t)count * sizeof(nf_step));
    NF_TRY(nf_alloc(&memory, tensors * sizeof(nf_tensor)));
    plan->tensors = memset(memory, 0, tensors * sizeof(nf_tensor));
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
                                       .gradient = -1,
                                       .stored = -1,
                                       .again = -1};
    }
    void *memory;
    NF_TRY(nf_alloc(&memory, 3 * (size_t)count * sizeof(int64_t)));
    int64_t *fused = memory, *addend = fused + count, *behind = addend + count;
    count_consumers(plan, layers, count);
    fuse(plan, layers, count, fused, addend, behind);
    make_steps(plan, layers, count, fused, addend, behind);
    nf_free(memory);
    return nf_plan_place(plan);
}

nf_status nf_plan_create(nf_plan **plan, const nf_layer *layers, int64_t count, const nf_shape *shapes,
                         nf_conv_algorithm algorithm, nf_activation_type activations, bool training, int64_t groups,
                         int workers) {
    void *memory;
    *plan = NULL;
    NF_TRY(nf_alloc(&memory, sizeof **plan));
    nf_plan *made = memory;
    *made = (nf_plan){.input = shapes[0],
                      .algorithm = algorithm,
                      .activations = activations,
                      .training = training,
                      .groups = groups,
                      .workers = workers};
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
    nf_free(plan->actions);
    nf_free(plan->buffers);
    nf_free(plan->tensors);
    nf_free(plan->steps);
    nf_free(plan);
}
