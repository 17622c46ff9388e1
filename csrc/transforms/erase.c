/* Erasing: a box of one colour. Source: torchvision, erase and RandomErasing; Zhong et al., "Random erasing data
 * augmentation", AAAI 2020. */
#include "interleaved.h"
#include "transform.h"

#include "../core/integers.h"

#include <math.h>
#include <string.h>

typedef struct erasure {
    nf_box box;
    int64_t width, channels; /* of the image */
    nf_fill fill;
} erasure;

static void erase_rows(uint8_t *out, const uint8_t *image, int64_t begin, int64_t count, const void *arguments) {
    const erasure *e = arguments;
    int64_t row = e->width * e->channels;
    memcpy(out, image + begin * row, (size_t)(count * row));
    int64_t first = nf_max(begin, e->box.top), end = nf_min(begin + count, e->box.top + e->box.height);
    for (int64_t y = first; y < end; y++)
        nf_fill_pixels(out + (y - begin) * row + e->box.left * e->channels, e->fill, e->channels, e->box.width);
}

static nf_status check_box(nf_box box, nf_extent in) {
    if (box.height < 0 || box.width < 0 || box.top < 0 || box.left < 0 || box.height > in.height - box.top ||
        box.width > in.width - box.left)
        return nf_fail(
            NF_BAD_VALUE,
            "box to erase must lie within the image of %lld x %lld, got top %d, left %d, height %d, width %d",
            (long long)in.height, (long long)in.width, box.top, box.left, box.height, box.width);
    return NF_OK;
}

/* ---- On a batch ---- */

nf_status nf_erase(void *out, const void *images, nf_images shape, nf_box box, const void *value, int64_t value_count) {
    nf_extent size = {shape.height, shape.width};
    NF_TRY(check_box(box, size));
    NF_TRY(nf_check_fill(value, value_count, shape, "value"));
    NF_TRY(nf_check_images(images, shape));
    nf_fill fill = nf_fill_of(value, value_count, shape.type);
    shape = nf_as_bytes(shape);
    erasure e = {box, shape.width, shape.channels, fill};
    return nf_map_rows(out, size, images, shape, erase_rows, &e);
}

/* ---- In a recipe ---- */

static nf_status check(const nf_transform *transform) {
    NF_TRY(nf_check_probability(transform));
    NF_TRY(nf_check_range(transform->erasing.scale, "scale", 0, 1));
    NF_TRY(nf_check_range(transform->erasing.ratio, "ratio", 1e-3, 1e3));
    return nf_check_colors(&transform->erasing.value);
}

static nf_status plan(nf_extent *out, const nf_transform *transform, nf_extent in, int64_t channels) {
    *out = in;
    return nf_check_fill_count(transform->erasing.value.count, channels, "value");
}

/* If no box smaller than the image is found, none is erased. */
static void draw(void *record, const nf_transform *transform, nf_extent in, nf_random *random) {
    nf_range ratio = transform->erasing.ratio, log_ratio = {log(ratio.low), log(ratio.high)};
    nf_erasing_draw *drawn = record;
    *drawn = (nf_erasing_draw){.applied = nf_random_uniform(random) < transform->probability};
    for (int attempt = 0; drawn->applied && attempt < 10; attempt++) {
        double area = (double)in.height * (double)in.width * nf_draw_range(transform->erasing.scale, random);
        double aspect = exp(nf_draw_range(log_ratio, random));
        double height = rint(sqrt(area * aspect)), width = rint(sqrt(area / aspect));
        if (!(height < (double)in.height && width < (double)in.width))
            continue;
        drawn->box.height = (int32_t)height;
        drawn->box.width = (int32_t)width;
        drawn->box.top = (int32_t)nf_random_below(random, (uint32_t)(in.height - drawn->box.height + 1));
        drawn->box.left = (int32_t)nf_random_below(random, (uint32_t)(in.width - drawn->box.width + 1));
        return;
    }
}

static nf_status check_draw(const void *record, const nf_transform *transform, nf_extent in) {
    (void)transform;
    const nf_erasing_draw *drawn = record;
    return drawn->applied ? check_box(drawn->box, in) : NF_OK;
}

static void apply(nf_view *view, const nf_transform *transform, const void *record) {
    const nf_erasing_draw *drawn = record;
    if (!drawn->applied)
        return;
    nf_view_load(view);
    const nf_colors *value = &transform->erasing.value;
    for (int64_t c = 0; c < view->channels; c++)
        for (int64_t y = drawn->box.top; y < drawn->box.top + drawn->box.height; y++)
            memset(view->pixels + (size_t)c * view->stride + y * view->width + drawn->box.left,
                   value->values[value->count == 1 ? 0 : c], (size_t)drawn->box.width);
}

const nf_transform_type nf_erasing_type = {.draw_size = sizeof(nf_erasing_draw),
                                           .check = check,
                                           .plan = plan,
                                           .draw = draw,
                                           .check_draw = check_draw,
                                           .apply = apply};
