/* Layer-wise adaptive rate scaling: SGD with momentum in which each weight's step is scaled by the ratio of its norm
 * to its gradient's. Two passes over the slots' blocks: partial sums of squares, added up in order; then the update. */
#include <math.h>

#include "../core/dispatch.h"
#include "../core/memory.h"
#include "../core/threads.h"
#include "update.h"

typedef struct block {
    int64_t slot, start;
    size_t length;
    double parameter_squares, gradient_squares;
} block;

typedef struct lars_step {
    float *parameters, *buffer;
    const float *gradients;
    const nf_lars_slot *slots;
    block *blocks;
    float *ratios; /* (slots) */
    float lr, momentum, weight_decay;
    bool nesterov;
} lars_step;

static void measure(void *context, int64_t task, int worker) {
    (void)worker;
    const lars_step *s = context;
    block *b = s->blocks + task;
    if (!s->slots[b->slot].adapted)
        return;
    b->parameter_squares = nf_kernel->square_sum(s->parameters + b->start, b->length);
    b->gradient_squares = nf_kernel->square_sum(s->gradients + b->start, b->length);
}

/* A ratio of -1 stands for "no adaptation and no decay": slots that are excluded, and norms of 0, where it has no
 * meaning. */
static void find_ratios(lars_step *s, int64_t blocks, int64_t slots, double weight_decay, double trust_coefficient,
                        double eps) {
    int64_t next = 0;
    for (int64_t slot = 0; slot < slots; slot++) {
        double parameter_squares = 0, gradient_squares = 0;
        for (; next < blocks && s->blocks[next].slot == slot; next++) {
            parameter_squares += s->blocks[next].parameter_squares;
            gradient_squares += s->blocks[next].gradient_squares;
        }
        double parameter_norm = sqrt(parameter_squares), gradient_norm = sqrt(gradient_squares);
        bool adapt = s->slots[slot].adapted && parameter_norm > 0 && gradient_norm > 0;
        s->ratios[slot] =
            adapt ? (float)(trust_coefficient * parameter_norm / (gradient_norm + weight_decay * parameter_norm + eps))
                  : -1.0f;
    }
}

static void update(void *context, int64_t task, int worker) {
    (void)worker;
    const lars_step *s = context;
    const block *b = s->blocks + task;
    float ratio = s->ratios[b->slot];
    nf_kernel->sgd(s->parameters + b->start, s->buffer ? s->buffer + b->start : NULL, s->gradients + b->start,
                   b->length, s->lr, s->momentum, ratio < 0 ? 0.0f : s->weight_decay, ratio < 0 ? 1.0f : ratio,
                   s->nesterov);
}

static nf_status check_slots(const nf_lars_slot *slots, int64_t count, int64_t n, int64_t *blocks) {
    int64_t end = 0;
    *blocks = 0;
    for (int64_t i = 0; i < count; i++) {
        if (slots[i].offset < end || slots[i].size < 0 || slots[i].size > n - slots[i].offset)
            return nf_fail(NF_BAD_VALUE,
                           "slots must be ascending, disjoint and within the %lld parameters, got offset %lld and "
                           "size %lld at position %lld",
                           (long long)n, (long long)slots[i].offset, (long long)slots[i].size, (long long)i);
        end = slots[i].offset + slots[i].size;
        *blocks += nf_update_blocks(slots[i].size);
    }
    return NF_OK;
}

static void lay_out_blocks(block *blocks, const nf_lars_slot *slots, int64_t count) {
    for (int64_t slot = 0; slot < count; slot++)
        for (int64_t i = 0; i < nf_update_blocks(slots[slot].size); i++)
            *blocks++ = (block){.slot = slot,
                                .start = slots[slot].offset + i * NF_UPDATE_BLOCK,
                                .length = nf_update_length(slots[slot].size, i)};
}

nf_status nf_lars_step(float *parameters, float *buffer, const float *gradients, int64_t n, const nf_lars_slot *slots,
                       int64_t slot_count, double lr, double momentum, double weight_decay, bool nesterov,
                       double trust_coefficient, double eps) {
    NF_TRY(nf_update_check(lr, weight_decay));
    NF_TRY(nf_update_check_momentum(momentum, nesterov, buffer));
    if (!(trust_coefficient > 0) || isinf(trust_coefficient))
        return nf_fail(NF_BAD_VALUE, "trust_coefficient must be finite and > 0, got %g", trust_coefficient);
    if (!(eps >= 0) || isinf(eps))
        return nf_fail(NF_BAD_VALUE, "eps must be finite and >= 0, got %g", eps);
    int64_t count;
    NF_TRY(check_slots(slots, slot_count, n, &count));

    void *blocks, *ratios;
    NF_TRY(nf_alloc(&blocks, (size_t)count * sizeof(block)));
    nf_status status = nf_alloc(&ratios, (size_t)slot_count * sizeof(float));
    if (status == NF_OK) {
        lay_out_blocks(blocks, slots, slot_count);
        lars_step s = {parameters,      momentum > 0 ? buffer : NULL, gradients, slots, blocks, ratios, (float)lr,
                       (float)momentum, (float)weight_decay,          nesterov};
        status = nf_parallel(measure, &s, count, NF_MAX_THREADS);
        if (status == NF_OK) {
            find_ratios(&s, count, slot_count, weight_decay, trust_coefficient, eps);
            status = nf_parallel(update, &s, count, NF_MAX_THREADS);
        }
        nf_free(ratios);
    }
    nf_free(blocks);
    return status;
}
