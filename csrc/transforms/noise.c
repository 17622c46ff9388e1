/* Gaussian noise. Source: torchvision, gaussian_noise; the numbers are a function of seed, image, channel and place. */
#include "deep.h"
#include "transform.h"

#include <math.h>

typedef struct noise_arguments {
    double mean, sigma;
    uint64_t seed, index;
} noise_arguments;

static void add_noise(nf_view *view, noise_arguments noise) {
    nf_view_load(view);
    const uint32_t key[2] = {(uint32_t)noise.seed, (uint32_t)(noise.seed >> 32)};
    for (size_t c = 0; c < (size_t)view->channels; c++) {
        const uint32_t counter[4] = {0, (uint32_t)c, (uint32_t)noise.index, (uint32_t)(noise.index >> 32)};
        nf_kernel->add_noise(view->pixels + c * view->stride, (float)(255 * noise.mean), (float)(255 * noise.sigma),
                             counter, key, (size_t)(view->height * view->width));
    }
}

static nf_status check_mean(double mean) {
    if (!(fabs(mean) <= 1e6))
        return nf_fail(NF_BAD_VALUE, "mean must be in -1e6..1e6, got %g", mean);
    return NF_OK;
}

static nf_status check_sigma(double sigma) {
    if (!(sigma >= 0 && sigma <= 1e6))
        return nf_fail(NF_BAD_VALUE, "sigma must be in 0..1e6, got %g", sigma);
    return NF_OK;
}

/* ---- On a batch ---- */

static void noise_one(nf_view *view, const void *arguments) {
    noise_arguments noise = *(const noise_arguments *)arguments;
    noise.index += (uint64_t)view->number;
    add_noise(view, noise);
}

static void deep_noise_one(nf_deep_view *view, const void *arguments) {
    const noise_arguments *noise = arguments;
    nf_deep_view_noise(view, noise->mean, noise->sigma, noise->seed, noise->index + (uint64_t)view->number);
}

nf_status nf_gaussian_noise(void *out, const void *images, nf_images shape, double mean, double sigma, uint64_t seed,
                            uint64_t index) {
    NF_TRY(check_mean(mean));
    NF_TRY(check_sigma(sigma));
    noise_arguments noise = {mean, sigma, seed, index};
    if (shape.type != NF_PIXEL_BYTE)
        return nf_deep_map_alike(out, images, shape, 0, deep_noise_one, &noise);
    return nf_map_images(out, (size_t)(shape.height * shape.width * shape.channels), images, shape,
                         (nf_extent){shape.height, shape.width}, 0, noise_one, &noise);
}

/* ---- In a recipe ---- */

static nf_status check(const nf_transform *transform) {
    NF_TRY(nf_check_probability(transform));
    NF_TRY(check_mean(transform->noise.mean));
    return nf_check_range(transform->noise.sigma, "sigma", 0, 1e6);
}

static void draw(void *record, const nf_transform *transform, nf_extent in, nf_random *random) {
    (void)in;
    nf_noise_draw *drawn = record;
    *drawn = (nf_noise_draw){.applied = nf_random_uniform(random) < transform->probability};
    if (!drawn->applied)
        return;
    drawn->sigma = nf_draw_range(transform->noise.sigma, random);
    drawn->seed = (uint64_t)nf_random_bits(random) << 32;
    drawn->seed |= nf_random_bits(random);
}

static nf_status check_draw(const void *record, const nf_transform *transform, nf_extent in) {
    (void)transform, (void)in;
    const nf_noise_draw *drawn = record;
    return drawn->applied ? check_sigma(drawn->sigma) : NF_OK;
}

static void apply(nf_view *view, const nf_transform *transform, const void *record) {
    const nf_noise_draw *drawn = record;
    if (drawn->applied)
        add_noise(view, (noise_arguments){transform->noise.mean, drawn->sigma, drawn->seed, 0});
}

const nf_transform_type nf_noise_type = {
    .draw_size = sizeof(nf_noise_draw), .check = check, .draw = draw, .check_draw = check_draw, .apply = apply};
