/* Parts that several types of transforms have in common. */
#include "transform.h"

#include <math.h>

nf_status nf_check_range(nf_range range, const char *name, double least, double most) {
    if (!(range.low >= least && range.low <= range.high && range.high <= most))
        return nf_fail(NF_BAD_VALUE, "%s must be a range low <= high within %g..%g, got (%g, %g)", name, least, most,
                       range.low, range.high);
    return NF_OK;
}

nf_status nf_check_probability(const nf_transform *transform) {
    if (!(transform->probability >= 0 && transform->probability <= 1))
        return nf_fail(NF_BAD_VALUE, "p must be a probability in 0..1, got %g", transform->probability);
    return NF_OK;
}

nf_status nf_check_any_draw(const void *record, const nf_transform *transform, nf_extent in) {
    (void)record, (void)transform, (void)in;
    return NF_OK;
}

nf_status nf_check_colors(const nf_colors *colors) {
    if (colors->count < 1 || colors->count > NF_MAX_COLORS)
        return nf_fail(NF_BAD_VALUE, "a colour must be one to %d numbers in 0..255", NF_MAX_COLORS);
    return NF_OK;
}

nf_status nf_need_color(const nf_transform *transform, int64_t channels, const char *name) {
    if (channels != 3 && channels != 1 && transform->probability > 0)
        return nf_fail(NF_BAD_VALUE, "%s needs images with 3 channels (or 1), got %lld", name, (long long)channels);
    return NF_OK;
}

double nf_draw_range(nf_range range, nf_random *random) {
    double value = range.low + (range.high - range.low) * nf_random_uniform(random);
    return value < range.high ? value : range.high; /* rounding must not leave the range */
}

void nf_draw_switch(void *record, const nf_transform *transform, nf_extent in, nf_random *random) {
    (void)in;
    *(nf_switch *)record = (nf_switch){.applied = nf_random_uniform(random) < transform->probability};
}

void nf_draw_nothing(void *record, const nf_transform *transform, nf_extent in, nf_random *random) {
    (void)record, (void)transform, (void)in, (void)random;
}

double nf_gaussian(int64_t distance, double sigma) {
    return exp(-0.5 * ((double)distance / sigma) * ((double)distance / sigma));
}

int64_t nf_reflect(int64_t i, int64_t n) {
    return i < 0 ? -i : i >= n ? 2 * n - 2 - i : i;
}
