/* Brightness, contrast, saturation and hue by random factors, in random order. Source: torchvision, ColorJitter. */
#include "transform.h"

enum { BRIGHTNESS, CONTRAST, SATURATION, HUE, STEPS };

static bool changes(nf_range factor) {
    return factor.low != 1 || factor.high != 1;
}

static bool changes_hue(nf_range factor) {
    return factor.low != 0 || factor.high != 0;
}

static nf_status check(const nf_transform *transform) {
    NF_TRY(nf_check_probability(transform));
    NF_TRY(nf_check_range(transform->jitter.brightness, "brightness", 0, 1e6));
    NF_TRY(nf_check_range(transform->jitter.contrast, "contrast", 0, 1e6));
    NF_TRY(nf_check_range(transform->jitter.saturation, "saturation", 0, 1e6));
    return nf_check_range(transform->jitter.hue, "hue", -0.5, 0.5);
}

static nf_status plan(nf_extent *out, const nf_transform *transform, nf_extent in, int64_t channels) {
    *out = in;
    if (changes(transform->jitter.saturation) || changes_hue(transform->jitter.hue))
        return nf_need_color(transform, channels, "ColorJitter with saturation or hue");
    return NF_OK;
}

static void draw(void *record, const nf_transform *transform, nf_extent in, nf_random *random) {
    (void)in;
    nf_jitter_draw *jitter = record;
    *jitter = (nf_jitter_draw){.brightness = 1, .contrast = 1, .saturation = 1, .order = {0, 1, 2, 3}};
    jitter->applied = nf_random_uniform(random) < transform->probability;
    if (!jitter->applied)
        return;
    for (uint32_t i = STEPS - 1; i > 0; i--) {
        uint32_t other = nf_random_below(random, i + 1);
        uint8_t step = jitter->order[i];
        jitter->order[i] = jitter->order[other];
        jitter->order[other] = step;
    }
    jitter->brightness = nf_draw_range(transform->jitter.brightness, random);
    jitter->contrast = nf_draw_range(transform->jitter.contrast, random);
    jitter->saturation = nf_draw_range(transform->jitter.saturation, random);
    jitter->hue = nf_draw_range(transform->jitter.hue, random);
}

static nf_status check_draw(const void *record, const nf_transform *transform, nf_extent in) {
    (void)transform, (void)in;
    const nf_jitter_draw *jitter = record;
    if (!jitter->applied)
        return NF_OK;
    NF_TRY(nf_check_factor(jitter->brightness, "brightness"));
    NF_TRY(nf_check_factor(jitter->contrast, "contrast"));
    NF_TRY(nf_check_factor(jitter->saturation, "saturation"));
    NF_TRY(nf_check_hue(jitter->hue));
    unsigned seen = 0;
    for (int i = 0; i < STEPS; i++)
        seen |= jitter->order[i] < STEPS ? 1u << jitter->order[i] : 0;
    if (seen != (1u << STEPS) - 1)
        return nf_fail(NF_BAD_VALUE, "order must be a permutation of 0, 1, 2, 3, got %d, %d, %d, %d", jitter->order[0],
                       jitter->order[1], jitter->order[2], jitter->order[3]);
    return NF_OK;
}

static void apply(nf_view *view, const nf_transform *transform, const void *record) {
    const nf_jitter_draw *jitter = record;
    if (!jitter->applied)
        return;
    for (int i = 0; i < STEPS; i++) {
        int step = jitter->order[i];
        if (step == BRIGHTNESS && changes(transform->jitter.brightness))
            nf_view_brightness(view, jitter->brightness);
        else if (step == CONTRAST && changes(transform->jitter.contrast))
            nf_view_contrast(view, jitter->contrast);
        else if (step == SATURATION && changes(transform->jitter.saturation))
            nf_view_saturation(view, jitter->saturation);
        else if (step == HUE && changes_hue(transform->jitter.hue))
            nf_view_hue(view, jitter->hue);
    }
}

const nf_transform_type nf_jitter_type = {.draw_size = sizeof(nf_jitter_draw),
                                          .check = check,
                                          .plan = plan,
                                          .draw = draw,
                                          .check_draw = check_draw,
                                          .apply = apply};
