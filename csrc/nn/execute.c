/* Carries out a plan, forwards and backwards. */
#include <string.h>

#include "../core/integers.h"
#include "elementwise.h"
#include "plan.h"

static float *buffer(const nf_plan *plan, int64_t index) {
    return index < 0 ? NULL : (float *)(void *)(plan->arena + plan->buffers[index].offset);
}

static float *value(const nf_plan *plan, int64_t tensor) {
    return tensor < 0 ? NULL : buffer(plan, plan->tensors[tensor].buffer);
}

/* The same on the way back. */
static float *kept(const nf_plan *plan, int64_t tensor) {
    if (tensor >= 0 && plan->tensors[tensor].again >= 0)
        return buffer(plan, plan->tensors[tensor].again);
    return value(plan, tensor);
}

/* ---- What is never whole ---- */

/* What a convolution works on at a time: images of one group, from `first` on. */
typedef struct image_run {
    int64_t first, count;
} image_run;

/* The run that begins at image `first` of the step's input: all images, or a block. */
static image_run run_from(const nf_plan *plan, const nf_step *step, int64_t first) {
    const nf_tensor *input = &plan->tensors[step->input];
    int64_t group = input->shape.n / plan->groups;
    return (image_run){first, input->block > 0 ? nf_min(input->block, group - first % group) : input->shape.n};
}

static int64_t image_size(const nf_plan *plan, int64_t tensor) {
    return plan->tensors[tensor].size / plan->tensors[tensor].shape.n;
}

/* The step for a run. */
static nf_step part_of(const nf_plan *plan, const nf_step *step, image_run run) {
    return plan->tensors[step->input].block > 0 ? nf_step_part(step, run.count) : *step;
}

/* Images of the output of a cheap step without an addend, from images of its input; of a batch norm, those of one
 * group, whose statistics are there already. `again`: on the way back, from an input that may have been rounded. */
static nf_status make_images(const nf_plan *plan, const nf_layer_offsets *offsets, const float *parameters,
                             const nf_step *step, float *y, const float *x, image_run run, bool again) {
    const nf_layer_offsets *at = &offsets[step->layer];
    int64_t size = image_size(plan, step->output), rows = size / plan->tensors[step->output].shape.c;
    switch (step->kind) {
    case NF_BATCH_NORM:
        return nf_batch_norm_rows(&step->norm, y, x, buffer(plan, step->saved), run.first * rows, run.count * rows);
    case NF_LAYER_NORM:
        return nf_layer_norm_forward(&step->layer_norm, y, again ? NULL : buffer(plan, step->saved), x,
                                     parameters + at->weight, parameters + at->bias, run.first * rows,
                                     run.count * rows);
    default: return nf_activation_forward(step->kind, y, x, run.count * size, plan->workers);
    }
}

/* What a filter reads for a run. */
typedef struct run_input {
    const float *x;
    nf_before before; /* and is to do to it */
} run_input;

/* The run of the step's input; or a block of it, which is made now; or the run of what the step itself makes it from.
 */
static nf_status prepare_input(const nf_plan *plan, const nf_layer_offsets *offsets, const float *parameters,
                               const nf_step *step, image_run run, bool again, run_input *input) {
    const nf_tensor *tensor = &plan->tensors[step->input];
    float *x = again ? kept(plan, step->input) : value(plan, step->input);
    *input = (run_input){.x = x};
    if (!nf_never_whole(tensor))
        return NF_OK;
    const nf_step *maker = &plan->steps[tensor->producer];
    const float *source = again ? kept(plan, maker->input) : value(plan, maker->input);
    source += run.first * image_size(plan, maker->input);
    if (!tensor->on_load)
        return make_images(plan, offsets, parameters, maker, x, source, run, again);
    const float *factors = nf_batch_norm_saved_factors(&maker->norm, buffer(plan, maker->saved));
    *input = (run_input){source, {factors, maker->norm.relu}};
    return NF_OK;
}

/* ---- Forward ---- */

typedef struct forward_call {
    const nf_plan *plan;
    const nf_layer *layers;
    const nf_layer_offsets *offsets;
    float *statistics;
    const float *parameters;
} forward_call;

static nf_status batch_norm_forward(const forward_call *call, const nf_step *step, float *scratch) {
    const nf_plan *plan = call->plan;
    const nf_layer_offsets *at = &call->offsets[step->layer];
    const float *weight = call->parameters + at->weight, *bias = call->parameters + at->bias;
    const float *x = value(plan, step->input), *addend = value(plan, step->addend);
    float *y = nf_never_whole(&plan->tensors[step->output]) ? NULL : value(plan, step->output);
    float *mean = call->statistics + at->running_mean, *variance = call->statistics + at->running_var;
    if (!plan->training)
        return nf_batch_norm_evaluate(&step->norm, y, x, addend, mean, variance, weight, bias, scratch);
    int64_t blocks = step->moment_blocks > 0 ? step->moment_blocks : nf_batch_norm_blocks(&step->norm);
    nf_batch_norm_moments moments = nf_batch_norm_moments_in(buffer(plan, step->moments), &step->norm, blocks);
    if (step->moment_blocks == 0)
        NF_TRY(nf_batch_norm_measure(&step->norm, &moments, x));
    return nf_batch_norm_forward(&step->norm, y, buffer(plan, step->saved), mean, variance, x, addend, &moments, weight,
                                 bias);
}

/* The first of all blocks, `blocks` in each group, that a run of the filter `step` works on; of: blocks of a step. */
static int64_t first_block(const nf_plan *plan, const nf_step *step, image_run run, int64_t blocks,
                           int64_t (*of)(const nf_step *)) {
    const nf_tensor *input = &plan->tensors[step->input];
    if (input->block == 0)
        return 0;
    int64_t group = input->shape.n / plan->groups;
    nf_step whole = nf_step_part(step, input->block);
    return run.first / group * blocks + run.first % group / input->block * of(&whole);
}

/* Where a filter puts the moments of a run for the batch norm behind it. */
static nf_batch_norm_moments run_moments(const nf_plan *plan, const nf_step *step, image_run run) {
    nf_batch_norm shape = {.c = plan->tensors[step->output].shape.c, .groups = plan->groups};
    nf_batch_norm_moments moments = nf_batch_norm_moments_in(buffer(plan, step->moments), &shape, step->moment_blocks);
    moments.block = first_block(plan, step, run, step->moment_blocks, nf_step_moment_blocks);
    return moments;
}

/* What the layers behind a convolution do in its pass, to the run. */
static nf_behind run_behind(const forward_call *call, const nf_step *step, const nf_batch_norm_moments *moments,
                            float *factors) {
    const nf_plan *plan = call->plan;
    if (step->behind < 0)
        return (nf_behind){.moments = moments};
    const nf_layer_offsets *at = &call->offsets[step->behind];
    const nf_layer *last = &call->layers[step->output - 1];
    int64_t k = step->conv.k;
    nf_batch_norm_factors(factors, factors + k, k, call->layers[step->behind].eps, call->statistics + at->running_mean,
                          call->statistics + at->running_var, call->parameters + at->weight,
                          call->parameters + at->bias);
    return (nf_behind){
        .factor = factors, .shift = factors + k, .addend = value(plan, step->addend), .relu = last->kind == NF_RELU};
}

static nf_status filter_forward(const forward_call *call, const nf_step *step, float *scratch) {
    const nf_plan *plan = call->plan;
    const nf_layer_offsets *at = &call->offsets[step->layer];
    const nf_tensor *input = &plan->tensors[step->input];
    const float *weight = call->parameters + at->weight;
    const float *bias = call->layers[step->layer].bias ? call->parameters + at->bias : NULL;
    image_run run;
    for (int64_t first = 0; first < input->shape.n; first += run.count) {
        run = run_from(plan, step, first);
        nf_step part = part_of(plan, step, run);
        run_input from;
        NF_TRY(prepare_input(plan, call->offsets, call->parameters, step, run, false, &from));
        float *y = value(plan, step->output) + first * image_size(plan, step->output);
        nf_batch_norm_moments moments = run_moments(plan, step, run);
        const nf_batch_norm_moments *taken = step->moment_blocks > 0 ? &moments : NULL;
        if (step->kind == NF_DEPTHWISE_CONV) {
            NF_TRY(nf_depthwise_forward(&part.depthwise, y, from.x, &from.before, weight, bias, taken, scratch));
            continue;
        }
        nf_behind behind = run_behind(call, step, taken, scratch);
        NF_TRY(nf_conv_forward(&part.conv, y, from.x, &from.before, weight, bias, &behind,
                               scratch + nf_step_factors(step)));
    }
    return NF_OK;
}

static nf_status step_forward(const forward_call *call, const nf_step *step, float *scratch) {
    const nf_plan *plan = call->plan;
    const nf_tensor *output = &plan->tensors[step->output];
    const float *x = value(plan, step->input);
    float *y = value(plan, step->output);
    switch (step->kind) {
    case NF_CONV:
    case NF_LINEAR:
    case NF_DEPTHWISE_CONV: return filter_forward(call, step, scratch);
    case NF_BATCH_NORM: return batch_norm_forward(call, step, scratch);
    case NF_LAYER_NORM:
    case NF_RELU:
    case NF_GELU:
    case NF_SILU:
        return output->block > 0 ? NF_OK
                                 : make_images(plan, call->offsets, call->parameters, step, y, x,
                                               (image_run){0, output->shape.n}, false);
    case NF_SUM: return nf_sum_forward(y, x, value(plan, step->addend), output->size, plan->workers);
    case NF_MAX_POOL: return nf_max_pool_forward(&step->pool, y, (uint8_t *)buffer(plan, step->saved), x);
    case NF_GLOBAL_AVERAGE_POOL: return nf_average_pool_forward(&step->pool, y, x);
    }
    return NF_OK;
}

static nf_status store(const nf_plan *plan, int64_t tensor) {
    const nf_tensor *done = &plan->tensors[tensor];
    uint16_t *stored = (uint16_t *)buffer(plan, done->stored);
    const nf_step *reader = &plan->steps[done->last_reader];
    if (nf_never_whole(&plan->tensors[reader->input]))
        reader = &plan->steps[plan->tensors[reader->input].producer];
    if (reader->kind == NF_BATCH_NORM && reader->norm.relu && reader->addend < 0)
        return nf_batch_norm_store(&reader->norm, stored, value(plan, tensor), buffer(plan, reader->saved));
    return nf_to_bfloat16(stored, value(plan, tensor), done->size, plan->workers);
}

nf_status nf_plan_forward(const nf_plan *plan, const nf_layer *layers, const nf_layer_offsets *offsets, float *y,
                          float *statistics, const float *x, const float *parameters) {
    forward_call call = {plan, layers, offsets, statistics, parameters};
    NF_TRY(nf_copy_finite(value(plan, 0), x, plan->tensors[0].size, "x", plan->workers));
    for (int64_t i = 0; i < plan->forward_count; i++) {
        const nf_action *action = &plan->actions[i];
        NF_TRY(action->deed == NF_DEED_STORE
                   ? store(plan, action->index)
                   : step_forward(&call, &plan->steps[action->index], buffer(plan, action->scratch)));
    }
    memcpy(y, value(plan, plan->output), (size_t)plan->tensors[plan->output].size * sizeof *y);
    return NF_OK;
}

/* ---- Backward ---- */

typedef struct backward_call {
    const nf_plan *plan;
    const nf_layer *layers;
    const nf_layer_offsets *offsets;
    float *d_x, *gradients;
    const float *parameters;
    bool accumulate;
} backward_call;

/* The gradient of a tensor; NULL for the network's input if the caller does not want it. */
static float *gradient(const backward_call *call, int64_t tensor) {
    return tensor == 0 ? call->d_x : buffer(call->plan, call->plan->tensors[tensor].gradient);
}

static nf_status fetch(const nf_plan *plan, int64_t tensor) {
    const nf_tensor *wanted = &plan->tensors[tensor];
    const uint16_t *stored = (const uint16_t *)buffer(plan, wanted->stored);
    return nf_from_bfloat16(kept(plan, tensor), stored, wanted->size, plan->workers);
}

/* What a step computed forwards, once more. */
static nf_status step_again(const backward_call *call, const nf_step *step) {
    const nf_plan *plan = call->plan;
    float *y = kept(plan, step->output);
    const float *x = kept(plan, step->input);
    if (step->kind == NF_BATCH_NORM)
        return nf_batch_norm_again(&step->norm, y, x, kept(plan, step->addend), buffer(plan, step->saved));
    return make_images(plan, call->offsets, call->parameters, step, y, x,
                       (image_run){0, plan->tensors[step->output].shape.n}, true);
}

static nf_batch_norm_gradient norm_gradient(const backward_call *call, const nf_step *step) {
    const nf_plan *plan = call->plan;
    return (nf_batch_norm_gradient){.norm = &step->norm,
                                    .d_y = gradient(call, step->output),
                                    .x = kept(plan, step->input),
                                    .saved = buffer(plan, step->saved),
                                    .factors = buffer(plan, step->factors),
                                    .masked = step->addend >= 0,
                                    .d_x = gradient(call, step->input)};
}

/* Of a convolution of either kind, first the gradients of its parameters, then that of its input. */
static nf_status weights_backward(const backward_call *call, const nf_step *step, float *scratch) {
    const nf_plan *plan = call->plan;
    const nf_layer_offsets *at = &call->offsets[step->layer];
    const nf_tensor *input = &plan->tensors[step->input];
    float *d_weight = call->gradients + at->weight;
    float *d_bias = call->layers[step->layer].bias ? call->gradients + at->bias : NULL;
    bool late = step + 1 < plan->steps + plan->step_count && step[1].late;
    nf_batch_norm_gradient behind = {0};
    if (late)
        behind = norm_gradient(call, step + 1);
    image_run run;
    for (int64_t first = 0; first < input->shape.n; first += run.count) {
        run = run_from(plan, step, first);
        nf_step part = part_of(plan, step, run);
        run_input from;
        NF_TRY(prepare_input(plan, call->offsets, call->parameters, step, run, true, &from));
        float *d_y = gradient(call, step->output) + first * image_size(plan, step->output);
        bool accumulate = call->accumulate || first > 0;
        if (step->kind == NF_DEPTHWISE_CONV)
            NF_TRY(nf_depthwise_backward_parameters(&part.depthwise, d_weight, d_bias, from.x, &from.before, d_y,
                                                    accumulate, scratch));
        else
            NF_TRY(nf_conv_backward_parameters(&part.conv, d_weight, d_bias, from.x, &from.before, d_y,
                                               late ? &behind : NULL, accumulate, scratch));
    }
    return NF_OK;
}

static nf_batch_norm_sums norm_sums(const nf_plan *plan, const nf_step *step) {
    return (nf_batch_norm_sums){.norm = &step->norm,
                                .x = kept(plan, step->input),
                                .saved = buffer(plan, step->saved),
                                .y = step->addend >= 0 && step->norm.relu ? kept(plan, step->output) : NULL,
                                .blocks = step->sum_blocks > 0 ? step->sum_blocks : nf_batch_norm_blocks(&step->norm),
                                .sums = buffer(plan, step->sums)};
}

static nf_status filter_backward(const backward_call *call, const nf_step *step, float *scratch) {
    const float *weight = call->parameters + call->offsets[step->layer].weight, *d_y = gradient(call, step->output);
    const nf_plan *plan = call->plan;
    const nf_tensor *input = &plan->tensors[step->input];
    const nf_step *before = input->producer < 0 ? NULL : &plan->steps[input->producer];
    bool takes_sums = before && before->sum_blocks > 0 && input->first_reader == step - plan->steps;
    nf_batch_norm_sums sums = {0};
    if (takes_sums)
        sums = norm_sums(plan, before);
    float *d_x = gradient(call, step->input);
    bool add = step->input_route == NF_ROUTE_ADD;
    if (!d_x)
        return NF_OK;
    image_run run;
    for (int64_t first = 0; first < input->shape.n; first += run.count) {
        run = run_from(plan, step, first);
        nf_step part = part_of(plan, step, run);
        sums.row = run.first * input->shape.h * input->shape.w;
        sums.block = first_block(plan, step, run, sums.blocks, nf_step_sum_blocks);
        float *d = d_x + first * image_size(plan, step->input);
        const float *d_out = d_y + first * image_size(plan, step->output);
        if (step->kind == NF_DEPTHWISE_CONV)
            NF_TRY(nf_depthwise_backward_input(&part.depthwise, d, d_out, weight, takes_sums ? &sums : NULL, add,
                                               scratch));
        else
            NF_TRY(nf_conv_backward_input(&part.conv, d, d_out, weight, takes_sums ? &sums : NULL, add, scratch));
    }
    return NF_OK;
}

static nf_status layer_norm_backward(const backward_call *call, const nf_step *step, float *scratch) {
    const nf_plan *plan = call->plan;
    const nf_layer_offsets *at = &call->offsets[step->layer];
    return nf_layer_norm_backward(&step->layer_norm, gradient(call, step->input), call->gradients + at->weight,
                                  call->gradients + at->bias, gradient(call, step->output), kept(plan, step->input),
                                  buffer(plan, step->saved), call->parameters + at->weight,
                                  step->input_route == NF_ROUTE_ADD, call->accumulate, scratch);
}

/* The gradient of a sum's operand is the sum's own; nothing is to be done where it shares its memory. */
static nf_status sum_backward(const backward_call *call, const nf_step *step, int64_t operand, nf_route route) {
    float *d = gradient(call, operand);
    if (route == NF_ROUTE_SHARE || !d)
        return NF_OK;
    return nf_sum_backward(d, gradient(call, step->output), call->plan->tensors[operand].size, route == NF_ROUTE_ADD,
                           call->plan->workers);
}

static nf_status batch_norm_backward(const backward_call *call, const nf_step *step) {
    const nf_plan *plan = call->plan;
    const nf_layer_offsets *at = &call->offsets[step->layer];
    nf_batch_norm_sums sums = norm_sums(plan, step);
    if (step->sum_blocks == 0)
        NF_TRY(nf_batch_norm_sum(&sums, gradient(call, step->output)));
    NF_TRY(nf_batch_norm_backward_parameters(&sums, buffer(plan, step->factors), call->gradients + at->weight,
                                             call->gradients + at->bias, call->parameters + at->weight,
                                             call->accumulate));
    nf_batch_norm_gradient of = norm_gradient(call, step);
    if (of.d_x && !step->late)
        NF_TRY(nf_batch_norm_backward_input(&of, step->input_route == NF_ROUTE_ADD));
    return step->addend < 0 ? NF_OK : sum_backward(call, step, step->addend, step->addend_route);
}

static nf_status step_backward(const backward_call *call, const nf_step *step, float *scratch) {
    const nf_plan *plan = call->plan;
    float *d_x = gradient(call, step->input);
    const float *d_y = gradient(call, step->output);
    bool add = step->input_route == NF_ROUTE_ADD;
    switch (step->kind) {
    case NF_CONV:
    case NF_LINEAR:
    case NF_DEPTHWISE_CONV: return filter_backward(call, step, scratch);
    case NF_BATCH_NORM: return batch_norm_backward(call, step);
    case NF_LAYER_NORM: return layer_norm_backward(call, step, scratch);
    case NF_SUM:
        NF_TRY(sum_backward(call, step, step->addend, step->addend_route));
        return sum_backward(call, step, step->input, step->input_route);
    default: break;
    }
    if (!d_x)
        return NF_OK;
    switch (step->kind) {
    case NF_RELU:
    case NF_GELU:
    case NF_SILU:
        return nf_activation_backward(step->kind, d_x, d_y,
                                      kept(plan, step->kind == NF_RELU ? step->output : step->input),
                                      plan->tensors[step->output].size, add, plan->workers);
    case NF_MAX_POOL:
        return nf_max_pool_backward(&step->pool, d_x, d_y, (const uint8_t *)buffer(plan, step->saved), add);
    case NF_GLOBAL_AVERAGE_POOL: return nf_average_pool_backward(&step->pool, d_x, d_y, add);
    default: return NF_OK;
    }
}

nf_status nf_plan_backward(const nf_plan *plan, const nf_layer *layers, const nf_layer_offsets *offsets, float *d_x,
                           float *gradients, const float *d_y, const float *parameters, bool accumulate) {
    backward_call call = {plan, layers, offsets, d_x, gradients, parameters, accumulate};
    NF_TRY(nf_copy_finite(gradient(&call, plan->output), d_y, plan->tensors[plan->output].size, "d_y", plan->workers));
    for (int64_t i = plan->forward_count; i < plan->action_count; i++) {
        const nf_action *action = &plan->actions[i];
        float *scratch = buffer(plan, action->scratch);
        switch (action->deed) {
        case NF_DEED_FETCH: NF_TRY(fetch(plan, action->index)); break;
        case NF_DEED_AGAIN: NF_TRY(step_again(&call, &plan->steps[action->index])); break;
        case NF_DEED_WEIGHTS: NF_TRY(weights_backward(&call, &plan->steps[action->index], scratch)); break;
        default: NF_TRY(step_backward(&call, &plan->steps[action->index], scratch));
        }
    }
    return NF_OK;
}
