/* What a plan keeps in memory, where, and for how long. */
#include <stdlib.h>

#include "../core/integers.h"
#include "../core/memory.h"
#include "plan.h"

/* ---- Kinds of steps ---- */

typedef struct traits {
    bool reads_input, reads_output; /* on the way back */
    bool weights_first;             /* NF_DEED_WEIGHTS */
    bool shares_gradient;           /* its input's gradient may take the place of its output's */
    bool cheap; /* one pass over its input, which it reads on the way back: rather than kept for others, its output is
                   computed again */
} traits;

static traits traits_of(const nf_step *step) {
    static const traits kinds[] = {
        [NF_CONV] = {.reads_input = true, .weights_first = true},
        [NF_LINEAR] = {.reads_input = true, .weights_first = true},
        [NF_DEPTHWISE_CONV] = {.reads_input = true, .weights_first = true},
        [NF_BATCH_NORM] = {.reads_input = true, .shares_gradient = true, .cheap = true},
        [NF_LAYER_NORM] = {.reads_input = true, .shares_gradient = true, .cheap = true},
        [NF_GELU] = {.reads_input = true, .shares_gradient = true, .cheap = true},
        [NF_SILU] = {.reads_input = true, .shares_gradient = true, .cheap = true},
        [NF_RELU] = {.reads_output = true, .shares_gradient = true},
        [NF_SUM] = {.shares_gradient = true},
        [NF_MAX_POOL] = {0},
        [NF_GLOBAL_AVERAGE_POOL] = {0},
    };
    traits found = kinds[step->kind];
    if (step->kind == NF_BATCH_NORM && step->addend >= 0) {
        found.reads_output = step->norm.relu;
        found.shares_gradient = false; /* the addend's does */
    }
    return found;
}

/* ---- Buffers and actions ---- */

static int64_t new_buffer(nf_plan *plan, size_t bytes, int64_t time) {
    plan->buffers[plan->buffer_count] = (nf_buffer){.bytes = bytes, .first = time, .last = time};
    return plan->buffer_count++;
}

static int64_t new_floats(nf_plan *plan, int64_t count, int64_t time) {
    return new_buffer(plan, (size_t)count * sizeof(float), time);
}

static void use(nf_plan *plan, int64_t buffer, int64_t time) {
    plan->buffers[buffer].first = nf_min(plan->buffers[buffer].first, time);
    plan->buffers[buffer].last = nf_max(plan->buffers[buffer].last, time);
}

static size_t whole_scratch(const nf_step *step, nf_deed deed) {
    switch (step->kind) {
    case NF_CONV:
        return deed == NF_DEED_FORWARD ? nf_conv_forward_scratch(&step->conv) + nf_step_factors(step)
                                       : nf_conv_backward_scratch(&step->conv);
    case NF_DEPTHWISE_CONV: return nf_depthwise_scratch(&step->depthwise);
    case NF_BATCH_NORM: return deed == NF_DEED_FORWARD ? nf_batch_norm_evaluate_scratch(&step->norm) : 0;
    case NF_LAYER_NORM: return nf_layer_norm_scratch(&step->layer_norm);
    default: return 0;
    }
}

/* Images in the last block of each group. */
static int64_t last_block(const nf_plan *plan, const nf_tensor *tensor) {
    return (tensor->shape.n / plan->groups - 1) % tensor->block + 1;
}

static size_t scratch_floats(const nf_plan *plan, const nf_step *step, nf_deed deed) {
    const nf_tensor *input = &plan->tensors[step->input];
    if (input->block == 0)
        return whole_scratch(step, deed);
    nf_step block = nf_step_part(step, input->block), last = nf_step_part(step, last_block(plan, input));
    return nf_larger(whole_scratch(&block, deed), whole_scratch(&last, deed));
}

/* Returns its time. */
static int64_t new_action(nf_plan *plan, nf_deed deed, int64_t index) {
    int64_t time = plan->action_count++;
    bool moves = deed == NF_DEED_STORE || deed == NF_DEED_FETCH;
    size_t floats = moves ? 0 : scratch_floats(plan, &plan->steps[index], deed);
    int64_t scratch = floats ? new_buffer(plan, floats * sizeof(float), time) : -1;
    plan->actions[time] = (nf_action){deed, index, scratch};
    return time;
}

/* ---- Forward ---- */

/* Whether the step's output may take the memory of its input: nobody else, and no backward, needs the input. */
static bool works_in_place(const nf_plan *plan, const nf_step *step) {
    const nf_tensor *input = &plan->tensors[step->input];
    if (input->consumers != 1 || input->producer < 0 || step->addend == step->input)
        return false;
    if (!plan->training)
        return step->kind == NF_RELU || traits_of(step).cheap;
    return step->kind == NF_RELU && !traits_of(&plan->steps[input->producer]).reads_output;
}

/* Blocks of each group that a filter works through, in all its blocks of images; 0 if `blocks`, of a step, is 0 for one
 * of them. */
static int64_t count_blocks(const nf_plan *plan, const nf_step *step, int64_t (*blocks)(const nf_step *)) {
    const nf_tensor *input = &plan->tensors[step->input];
    if (input->block == 0)
        return blocks(step);
    nf_step block = nf_step_part(step, input->block), last = nf_step_part(step, last_block(plan, input));
    int64_t runs = nf_ceil_div(input->shape.n / plan->groups, input->block), each = blocks(&block),
            rest = blocks(&last);
    return each > 0 && rest > 0 ? (runs - 1) * each + rest : 0;
}

/* A batch norm's moments, taken by the filter before it if that can. */
static void place_moments(nf_plan *plan, nf_step *norm, int64_t time) {
    int64_t producer = plan->tensors[norm->input].producer, own = nf_batch_norm_blocks(&norm->norm);
    nf_step *before = producer >= 0 ? &plan->steps[producer] : NULL;
    if (before && before->moments < 0)
        norm->moment_blocks = count_blocks(plan, before, nf_step_moment_blocks);
    int64_t blocks = norm->moment_blocks > 0 ? norm->moment_blocks : own;
    norm->moments = new_floats(plan, (int64_t)nf_batch_norm_moments_size(&norm->norm, blocks), time);
    if (norm->moment_blocks == 0)
        return;
    before->moments = norm->moments;
    before->moment_blocks = norm->moment_blocks;
    use(plan, norm->moments, before->time);
}

/* What a step of training keeps besides tensors. */
static void place_saved(nf_plan *plan, nf_step *step, int64_t time) {
    if (step->kind == NF_LAYER_NORM)
        step->saved = new_buffer(plan, nf_layer_norm_saved_size(&step->layer_norm) * sizeof(float), time);
    if (step->kind == NF_MAX_POOL)
        step->saved = new_buffer(plan, (size_t)plan->tensors[step->output].size, time);
    if (step->kind != NF_BATCH_NORM)
        return;
    step->saved = new_buffer(plan, nf_batch_norm_saved_size(&step->norm) * sizeof(float), time);
    place_moments(plan, step, time);
}

/* Of what step `s` is the last to read, that is stored which will be read on the way back. */
static void store(nf_plan *plan, int64_t tensor, int64_t s) {
    if (tensor < 0)
        return;
    nf_tensor *done = &plan->tensors[tensor];
    if (done->last_reader != s || !done->read_back || done->passes > 0 || tensor == plan->output || done->stored >= 0)
        return;
    int64_t time = new_action(plan, NF_DEED_STORE, tensor);
    use(plan, done->buffer, time);
    done->stored = new_buffer(plan, (size_t)done->size * sizeof(uint16_t), time);
}

/* Memory for a block of a tensor that is never whole, while its reader works on it; -1 if that makes it on loading. */
static int64_t place_block(nf_plan *plan, const nf_tensor *tensor, int64_t time) {
    const nf_step *maker = &plan->steps[tensor->producer];
    if (maker->saved >= 0)
        use(plan, maker->saved, time);
    return tensor->on_load ? -1 : new_floats(plan, tensor->size / tensor->shape.n * tensor->block, time);
}

static void place_operands(nf_plan *plan, const nf_step *step, int64_t time) {
    nf_tensor *input = &plan->tensors[step->input];
    if (nf_never_whole(input)) {
        input->buffer = place_block(plan, input, time);
        use(plan, plan->tensors[plan->steps[input->producer].input].buffer, time);
    }
    if (input->buffer >= 0)
        use(plan, input->buffer, time);
    if (step->addend >= 0)
        use(plan, plan->tensors[step->addend].buffer, time);
}

static void place_forward(nf_plan *plan) {
    plan->tensors[0].buffer = new_floats(plan, plan->tensors[0].size, 0);
    for (int64_t s = 0; s < plan->step_count; s++) {
        nf_step *step = &plan->steps[s];
        int64_t time = step->time = new_action(plan, NF_DEED_FORWARD, s);
        nf_tensor *input = &plan->tensors[step->input], *output = &plan->tensors[step->output];
        place_operands(plan, step, time);
        if (!nf_never_whole(output)) {
            output->buffer = works_in_place(plan, step) ? input->buffer : new_floats(plan, output->size, time);
            use(plan, output->buffer, time);
        }
        if (plan->training)
            place_saved(plan, step, time);
        if (plan->training && plan->activations == NF_ACTIVATIONS_BFLOAT16) {
            store(plan, nf_never_whole(input) ? plan->steps[input->producer].input : step->input, s);
            store(plan, step->addend, s);
        }
    }
    plan->forward_count = plan->action_count;
    use(plan, plan->tensors[plan->output].buffer, plan->forward_count - 1);
}

/* ---- What is kept for the way back ---- */

/* The most passes, one after the other, by which a tensor may be had again: in a chain of residual blocks each asks for
 * the one before. What comes from rounded tensors takes one pass and no sum, so that errors do not add up and ReLU is
 * zero where it was. */
enum { MAX_PASSES = 3 };

/* Passes that the output of `step` takes to be had again from tensors that are kept anyway; 0: it is to be kept. */
static int64_t count_passes(const nf_plan *plan, const nf_step *step) {
    int64_t operands[2] = {step->input, step->addend}, passes = 1;
    for (int i = 0; i < 2; i++) {
        const nf_tensor *operand = operands[i] >= 0 ? &plan->tensors[operands[i]] : NULL;
        if (operand && !operand->read_back && operand->passes == 0)
            return 0;
        passes += operand ? operand->passes : 0;
    }
    bool rounds = plan->activations == NF_ACTIVATIONS_BFLOAT16;
    if (!traits_of(step).cheap || (rounds && step->addend >= 0))
        return 0;
    return passes <= (rounds ? 1 : MAX_PASSES) ? passes : 0;
}

/* The output of a cheap step that a convolution alone reads need not exist as a whole. If that does what a batch norm
 * before it does, it makes it of what it loads. Else it has it made block by block of images, which then stay in a
 * cache near by, forwards and again for the gradient of its weights. That pays where the whole is larger than caches,
 * and a block large beside the weights, which are prepared for each. */
enum { LEAST_WHOLE = 8 << 20, BLOCK_BYTES = 8 << 20, BLOCK_WEIGHTS = 16 };

static int64_t weight_size(const nf_step *step) {
    if (step->kind == NF_DEPTHWISE_CONV)
        return step->depthwise.kernel_h * step->depthwise.kernel_w * step->depthwise.c;
    return step->conv.kernel_h * step->conv.kernel_w * step->conv.c * step->conv.k;
}

/* Images in a block of what `step` reads; 0: all. */
static int64_t block_images(const nf_plan *plan, const nf_step *step) {
    const nf_tensor *input = &plan->tensors[step->input];
    int64_t image = input->size / input->shape.n * (int64_t)sizeof(float), group = input->shape.n / plan->groups;
    int64_t weights = nf_min(weight_size(step), INT32_MAX) * (int64_t)sizeof(float);
    int64_t bytes = nf_max(BLOCK_BYTES, BLOCK_WEIGHTS * weights);
    int64_t images = nf_max(bytes / image, 1);
    return image >= LEAST_WHOLE / input->shape.n && images <= group / 2 ? images : 0;
}

static void choose_blocks(nf_plan *plan) {
    for (int64_t s = 0; s < plan->step_count; s++) {
        const nf_step *step = &plan->steps[s];
        nf_tensor *input = &plan->tensors[step->input];
        if (!traits_of(step).weights_first || input->consumers != 1 || input->passes != 1)
            continue;
        const nf_step *maker = &plan->steps[input->producer];
        if (maker->addend >= 0)
            continue;
        bool takes = step->kind == NF_DEPTHWISE_CONV || nf_conv_takes_before(&step->conv);
        input->on_load = maker->kind == NF_BATCH_NORM && takes;
        if (!input->on_load)
            input->block = block_images(plan, step);
        nf_tensor *origin = &plan->tensors[maker->input];
        if (nf_never_whole(input))
            origin->last_reader = nf_max(origin->last_reader, s);
    }
}

static void choose_kept(nf_plan *plan) {
    for (int64_t s = plan->step_count - 1; s >= 0; s--) {
        const nf_step *step = &plan->steps[s];
        plan->tensors[step->input].first_reader = s;
        if (step->addend >= 0)
            plan->tensors[step->addend].first_reader = s;
    }
    for (int64_t s = 0; s < plan->step_count; s++) {
        const nf_step *step = &plan->steps[s];
        plan->tensors[step->input].read_back |= traits_of(step).reads_input;
        plan->tensors[step->output].read_back |= traits_of(step).reads_output;
        plan->tensors[step->input].last_reader = s;
        if (step->addend >= 0)
            plan->tensors[step->addend].last_reader = s;
    }
    for (int64_t s = 0; s < plan->step_count; s++)
        plan->tensors[plan->steps[s].output].passes = count_passes(plan, &plan->steps[s]);
    choose_blocks(plan);
}

static void read_back(nf_plan *plan, int64_t tensor, int64_t time) {
    nf_tensor *read = &plan->tensors[tensor];
    if (nf_never_whole(read)) {
        read->again = place_block(plan, read, time);
        read = &plan->tensors[plan->steps[read->producer].input];
    }
    use(plan, read->again >= 0 ? read->again : read->buffer, time);
}

/* Has a tensor that is not kept as it was fetched or computed again, unless it has been already. */
static void recall(nf_plan *plan, int64_t tensor) {
    nf_tensor *wanted = &plan->tensors[tensor];
    if (wanted->again >= 0 || (wanted->passes == 0 && wanted->stored < 0))
        return;
    if (wanted->stored >= 0) {
        int64_t time = new_action(plan, NF_DEED_FETCH, tensor);
        wanted->again = new_floats(plan, wanted->size, time);
        use(plan, wanted->stored, time);
        return;
    }
    const nf_step *step = &plan->steps[wanted->producer];
    recall(plan, step->input);
    if (nf_never_whole(wanted))
        return;
    if (step->addend >= 0)
        recall(plan, step->addend);
    int64_t time = new_action(plan, NF_DEED_AGAIN, wanted->producer);
    wanted->again = new_floats(plan, wanted->size, time);
    if (step->saved >= 0)
        use(plan, step->saved, time);
    read_back(plan, step->input, time);
    if (step->addend >= 0)
        read_back(plan, step->addend, time);
}

/* ---- Backward ---- */

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
        operand->gradient = may_share ? output_gradient : new_floats(plan, operand->size, time);
    }
    use(plan, operand->gradient, time);
    return route;
}

/* In the order in which execute.c computes them. Of a sum's operands one can take over the gradient as it is. */
static void route_gradients(nf_plan *plan, nf_step *step, int64_t time, bool *input_written) {
    int64_t gradient = plan->tensors[step->output].gradient;
    bool shares = traits_of(step).shares_gradient;
    if (step->kind == NF_SUM) {
        step->addend_route = route_gradient(plan, step->addend, gradient, true, time, input_written);
        shares = step->addend_route != NF_ROUTE_SHARE;
    }
    step->input_route = route_gradient(plan, step->input, gradient, shares, time, input_written);
    if (step->kind == NF_BATCH_NORM && step->addend >= 0)
        step->addend_route = route_gradient(plan, step->addend, gradient, true, time, input_written);
}

/* The batch norm whose output's gradient is whole once `step` has contributed to it, and whose sums that takes in
 * passing; or NULL. */
static nf_step *norm_to_sum(nf_plan *plan, int64_t s) {
    const nf_step *step = &plan->steps[s];
    const nf_tensor *input = &plan->tensors[step->input];
    nf_step *norm = input->producer < 0 ? NULL : &plan->steps[input->producer];
    bool last = input->first_reader == s && step->input != plan->output;
    if (!norm || norm->kind != NF_BATCH_NORM || !last)
        return NULL;
    norm->sum_blocks = count_blocks(plan, step, nf_step_sum_blocks);
    return norm->sum_blocks > 0 ? norm : NULL;
}

static void place_sums(nf_plan *plan, nf_step *norm, int64_t blocks, int64_t time) {
    norm->sums = new_floats(plan, plan->groups * blocks * 2 * norm->norm.c, time);
    use(plan, norm->saved, time);
    read_back(plan, norm->input, time);
    if (traits_of(norm).reads_output)
        read_back(plan, norm->output, time);
}

/* Whether the gradient of the norm's input is left to the convolution before it, which reads it next. */
static bool comes_late(const nf_plan *plan, int64_t s) {
    const nf_step *norm = &plan->steps[s], *before = norm - 1;
    return norm->kind == NF_BATCH_NORM && s > 0 && before->kind == NF_CONV && before->output == norm->input &&
           plan->tensors[norm->input].consumers == 1 && plan->tensors[before->input].block == 0 &&
           nf_conv_takes_gradient(&before->conv);
}

/* What it takes to make the gradient of the norm's input, at `time`. */
static void use_norm(nf_plan *plan, const nf_step *norm, int64_t time) {
    use(plan, norm->saved, time);
    use(plan, norm->factors, time);
    use(plan, plan->tensors[norm->output].gradient, time);
    read_back(plan, norm->input, time);
}

static void place_backward(nf_plan *plan) {
    nf_tensor *output = &plan->tensors[plan->output];
    output->gradient = new_floats(plan, output->size, plan->forward_count);
    bool input_written = false;
    for (int64_t s = plan->step_count - 1; s >= 0; s--) {
        nf_step *step = &plan->steps[s];
        traits kind = traits_of(step);
        if (kind.reads_output)
            recall(plan, step->output);
        if (kind.reads_input)
            recall(plan, step->input);
        int64_t gradient = plan->tensors[step->output].gradient;
        int64_t time = new_action(plan, kind.weights_first ? NF_DEED_WEIGHTS : NF_DEED_BACKWARD, s);
        if (kind.reads_output)
            read_back(plan, step->output, time);
        if (kind.reads_input)
            read_back(plan, step->input, time);
        if (step->saved >= 0)
            use(plan, step->saved, time);
        use(plan, gradient, time);
        if (s + 1 < plan->step_count && step[1].late)
            use_norm(plan, step + 1, time);
        if (step->kind == NF_BATCH_NORM) {
            step->factors = new_floats(plan, (int64_t)nf_batch_norm_factors_size(&step->norm), time);
            if (step->sum_blocks == 0)
                place_sums(plan, step, nf_batch_norm_blocks(&step->norm), time);
            use(plan, step->sums, time);
            step->late = comes_late(plan, s);
        }
        nf_step *before = norm_to_sum(plan, s);
        if (before)
            recall(plan, before->input);
        if (kind.weights_first)
            time = new_action(plan, NF_DEED_BACKWARD, s); /* d_x may take the place of x */
        use(plan, gradient, time);
        if (before)
            place_sums(plan, before, before->sum_blocks, time);
        route_gradients(plan, step, time, &input_written);
    }
}

/* ---- Offsets: buffers that are in use at the same time must not overlap; in some order, each into the first gap ----
 */

static int by_bytes(const nf_buffer *a, const nf_buffer *b) {
    return a->bytes == b->bytes ? 0 : a->bytes < b->bytes ? 1 : -1;
}

static int by_duration(const nf_buffer *a, const nf_buffer *b) {
    int64_t difference = (b->last - b->first) - (a->last - a->first);
    return (difference > 0) - (difference < 0);
}

static int largest_first(const void *a, const void *b) {
    const nf_buffer *first = *(nf_buffer *const *)a, *second = *(nf_buffer *const *)b;
    int order = by_bytes(first, second);
    return order ? order : (first > second) - (first < second);
}

static int longest_first(const void *a, const void *b) {
    const nf_buffer *first = *(nf_buffer *const *)a, *second = *(nf_buffer *const *)b;
    int order = by_duration(first, second);
    order = order ? order : by_bytes(first, second);
    return order ? order : (first > second) - (first < second);
}

/* Buffers that are placed already lie in `placed`, by offset. */
static size_t first_gap(const nf_buffer *buffer, nf_buffer *const *placed, int64_t count) {
    enum { ALIGNMENT = 64 };
    size_t offset = 0;
    for (int64_t i = 0; i < count; i++) {
        const nf_buffer *other = placed[i];
        if (other->last < buffer->first || buffer->last < other->first)
            continue;
        if (offset + buffer->bytes <= other->offset)
            break;
        size_t end = (other->offset + other->bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        offset = end > offset ? end : offset;
    }
    return offset;
}

static nf_status assign_offsets(nf_plan *plan, nf_buffer **order, nf_buffer **placed,
                                int (*compare)(const void *, const void *)) {
    static const size_t MAX_ARENA = SIZE_MAX / 4; /* no buffer comes near it, so that sums with one can't overflow */
    qsort(order, (size_t)plan->buffer_count, sizeof *order, compare);
    plan->arena_bytes = 0;
    for (int64_t i = 0; i < plan->buffer_count; i++) {
        nf_buffer *buffer = order[i];
        size_t offset = first_gap(buffer, placed, i);
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
    return NF_OK;
}

/* By the one of two orders that takes less memory. */
static nf_status place_buffers(nf_plan *plan) {
    void *memory;
    NF_TRY(nf_alloc(&memory, (size_t)plan->buffer_count * 2 * sizeof(nf_buffer *)));
    nf_buffer **order = memory, **placed = order + plan->buffer_count;
    for (int64_t i = 0; i < plan->buffer_count; i++)
        order[i] = &plan->buffers[i];
    nf_status status = assign_offsets(plan, order, placed, longest_first);
    size_t bytes = plan->arena_bytes;
    if (status == NF_OK)
        status = assign_offsets(plan, order, placed, largest_first);
    if (status == NF_OK && bytes < plan->arena_bytes)
        status = assign_offsets(plan, order, placed, longest_first);
    nf_free(memory);
    return status;
}

/* ---- All of it ---- */

nf_status nf_plan_place(nf_plan *plan) {
    size_t tensors = (size_t)plan->tensor_count, steps = (size_t)plan->step_count;
    void *memory;
    NF_TRY(nf_alloc(&memory, (4 * steps + 2 * tensors) * sizeof(nf_action)));
    plan->actions = memory;
    NF_TRY(nf_alloc(&memory, (4 * tensors + 7 * steps) * sizeof(nf_buffer)));
    plan->buffers = memory;
    if (plan->training)
        choose_kept(plan);
    place_forward(plan);
    if (plan->training)
        place_backward(plan);
    return place_buffers(plan);
}
