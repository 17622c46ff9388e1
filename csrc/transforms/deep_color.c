/* Deep images: what changes each value, or each pixel, by itself. Source: torchvision, functional transforms of float
 * tensors; with the luma of ITU-R 601-2, as for bytes, whose weights add up to 1. */
#include "deep.h"
#include "transform.h"

#include "../core/random.h"

#include <math.h>

static int64_t pixels_of(const nf_deep_view *view) {
    return view->height * view->width;
}

static int64_t values_of(const nf_deep_view *view) {
    return pixels_of(view) * view->channels;
}

static bool is_on(const void *record) {
    return ((const nf_switch *)record)->applied;
}

static float luma(const float *pixel) {
    return 0.299f * pixel[0] + 0.587f * pixel[1] + 0.114f * pixel[2];
}

static float blend(float base, float x, float factor, float white) {
    return nf_deep_clamp(base + factor * (x - base), white);
}

/* ---- Colour jitter ---- */

static void blend_with(nf_deep_view *view, float base, float factor) {
    nf_deep_load(view);
    int64_t n = values_of(view);
    float *x = view->pixels, white = view->white;
    for (int64_t i = 0; i < n; i++)
        x[i] = blend(base, x[i], factor, white);
}

/* Of the luma; of all values unless there are three channels. */
static float mean_of(const nf_deep_view *view) {
    double sum = 0;
    int64_t n = view->channels == 3 ? pixels_of(view) : values_of(view);
    for (int64_t i = 0; i < n; i++)
        sum += view->channels == 3 ? luma(view->pixels + 3 * i) : view->pixels[i];
    return (float)(sum / (double)n);
}

void nf_deep_view_brightness(nf_deep_view *view, double factor) {
    blend_with(view, 0, (float)factor);
}

void nf_deep_view_contrast(nf_deep_view *view, double factor) {
    nf_deep_load(view);
    blend_with(view, mean_of(view), (float)factor);
}

void nf_deep_view_saturation(nf_deep_view *view, double factor) {
    if (view->channels != 3)
        return;
    nf_deep_load(view);
    float *pixel = view->pixels, share = (float)factor;
    for (int64_t i = 0; i < pixels_of(view); i++, pixel += 3) {
        float gray = luma(pixel);
        for (int c = 0; c < 3; c++)
            pixel[c] = blend(gray, pixel[c], share, view->white);
    }
}

/* The largest of the three, with the smallest and how far around the circle, 0..6, the hue is. */
static float read_hue(float *low, float *hue, const float *pixel) {
    float r = pixel[0], g = pixel[1], b = pixel[2];
    float high = fmaxf(fmaxf(r, g), b);
    *low = fminf(fminf(r, g), b);
    float range = high - *low;
    if (!(range > 0))
        *hue = 0;
    else if (high == r)
        *hue = (g - b) / range;
    else if (high == g)
        *hue = 2 + (b - r) / range;
    else
        *hue = 4 + (r - g) / range;
    return high;
}

/* The shift of hue in HSV: `high` stays the largest value, and `low` the smallest. */
void nf_deep_view_hue(nf_deep_view *view, double turns) {
    static const int8_t order[6][3] = {{0, 2, 1}, {3, 0, 1}, {1, 0, 2}, {1, 3, 0}, {2, 1, 0}, {0, 1, 3}};
    if (view->channels != 3)
        return;
    nf_deep_load(view);
    float *pixel = view->pixels, shift = (float)(6 * turns);
    for (int64_t i = 0; i < pixels_of(view); i++, pixel += 3) {
        float low, hue, high = read_hue(&low, &hue, pixel), range = high - low;
        hue += shift; /* -4 .. 8 */
        hue = hue < 0 ? hue + 6 : hue >= 6 ? hue - 6 : hue;
        int sector = hue < 5 ? (int)hue : 5;
        float part = hue - (float)sector;
        float values[4] = {high, low, low + range * part, high - range * part};
        for (int c = 0; c < 3; c++)
            pixel[c] = nf_deep_clamp(values[order[sector][c]], view->white);
    }
}

void nf_deep_jitter(nf_deep_view *view, const nf_transform *transform, const void *record) {
    enum { BRIGHTNESS, CONTRAST, SATURATION, STEPS = 4 };
    const nf_jitter_draw *drawn = record;
    if (!drawn->applied)
        return;
    const nf_range ranges[STEPS] = {transform->jitter.brightness, transform->jitter.contrast,
                                    transform->jitter.saturation, transform->jitter.hue};
    const double factors[STEPS] = {drawn->brightness, drawn->contrast, drawn->saturation, drawn->hue};
    for (int i = 0; i < STEPS; i++) {
        int step = drawn->order[i];
        double neutral = step <= SATURATION ? 1 : 0;
        if (ranges[step].low == neutral && ranges[step].high == neutral)
            continue;
        if (step == BRIGHTNESS)
            nf_deep_view_brightness(view, factors[step]);
        else if (step == CONTRAST)
            nf_deep_view_contrast(view, factors[step]);
        else if (step == SATURATION)
            nf_deep_view_saturation(view, factors[step]);
        else
            nf_deep_view_hue(view, factors[step]);
    }
}

/* ---- By a switch, and gamma ---- */

void nf_deep_view_luma(nf_deep_view *view, int64_t channels) {
    nf_deep_load(view);
    int64_t in_channels = view->channels;
    for (int64_t i = 0; i < pixels_of(view); i++) {
        const float *pixel = view->pixels + i * in_channels;
        float gray = in_channels == 3 ? luma(pixel) : pixel[0];
        for (int64_t c = 0; c < channels; c++)
            view->spare[i * channels + c] = gray;
    }
    view->channels = channels;
    nf_deep_swap(view, (nf_extent){view->height, view->width});
}

void nf_deep_grayscale(nf_deep_view *view, const nf_transform *transform, const void *record) {
    (void)transform;
    if (is_on(record) && view->channels == 3)
        nf_deep_view_luma(view, 3);
}

void nf_deep_view_invert(nf_deep_view *view, double threshold) {
    nf_deep_load(view);
    int64_t n = values_of(view);
    float *x = view->pixels, white = view->white, from = (float)threshold;
    for (int64_t i = 0; i < n; i++)
        x[i] = x[i] >= from ? white - x[i] : x[i];
}

void nf_deep_solarize(nf_deep_view *view, const nf_transform *transform, const void *record) {
    if (is_on(record))
        nf_deep_view_invert(view, transform->solarize.threshold / 255 * (double)view->white);
}

void nf_deep_invert(nf_deep_view *view, const nf_transform *transform, const void *record) {
    (void)transform;
    if (is_on(record))
        nf_deep_view_invert(view, -INFINITY);
}

void nf_deep_view_gamma(nf_deep_view *view, double gamma, double gain) {
    nf_deep_load(view);
    double white = (double)view->white;
    for (int64_t i = 0; i < values_of(view); i++) {
        double share = view->pixels[i] > 0 ? (double)view->pixels[i] / white : 0;
        double value = gain > 0 ? gain * pow(share, gamma) : 0;
        view->pixels[i] = (float)(white * fmin(value, 1));
    }
}

void nf_deep_autocontrast(nf_deep_view *view, const nf_transform *transform, const void *record) {
    (void)transform;
    if (is_on(record))
        nf_deep_view_autocontrast(view);
}

/* Stretches what is between the least and the largest value of a channel; a channel of one value is only clamped. */
void nf_deep_view_autocontrast(nf_deep_view *view) {
    nf_deep_load(view);
    int64_t n = values_of(view), channels = view->channels;
    for (int64_t c = 0; c < channels; c++) {
        float *x = view->pixels, low = x[c], high = x[c], white = view->white;
        for (int64_t i = c; i < n; i += channels) {
            low = x[i] < low ? x[i] : low;
            high = x[i] > high ? x[i] : high;
        }
        float range = high - low;
        bool stretches = range > 0;
        for (int64_t i = c; i < n; i += channels)
            x[i] = nf_deep_clamp(stretches ? (x[i] - low) / range * white : x[i], white);
    }
}

/* ---- Noise: the numbers of noise.c, in double precision ---- */

typedef struct normals { /* of 64 places in a channel */
    double values[64];
} normals;

/* Sixteen counters make four numbers each, sixteen places apart: cosines and sines of two radii. */
static void draw_normals(normals *z, int64_t group, uint32_t channel, uint64_t seed, uint64_t index) {
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    for (uint32_t lane = 0; lane < 16; lane++) {
        const uint32_t counter[4] = {(uint32_t)(16 * group) + lane, channel, (uint32_t)index, (uint32_t)(index >> 32)};
        uint32_t words[4];
        nf_philox(words, counter, key);
        for (int pair = 0; pair < 2; pair++) {
            uint32_t a = words[2 * pair], b = words[2 * pair + 1];
            double radius = sqrt(-2 * log((double)((a >> 8) + 1) * 0x1p-24));
            double angle = 1.5707963267948966 * ((double)(b >> 8) * 0x1p-24 - 0.5 + (double)(b & 3));
            z->values[lane + 32 * (uint32_t)pair] = radius * cos(angle);
            z->values[lane + 32 * (uint32_t)pair + 16] = radius * sin(angle);
        }
    }
}

void nf_deep_noise(nf_deep_view *view, const nf_transform *transform, const void *record) {
    const nf_noise_draw *drawn = record;
    if (drawn->applied)
        nf_deep_view_noise(view, transform->noise.mean, drawn->sigma, drawn->seed, 0);
}

void nf_deep_view_noise(nf_deep_view *view, double mean, double sigma, uint64_t seed, uint64_t index) {
    nf_deep_load(view);
    int64_t n = pixels_of(view);
    for (int64_t c = 0; c < view->channels; c++)
        for (int64_t begin = 0; begin < n; begin += 64) {
            normals z;
            draw_normals(&z, begin / 64, (uint32_t)c, seed, index);
            for (int64_t i = begin; i < n && i < begin + 64; i++) {
                float *x = view->pixels + i * view->channels + c;
                float noise = (float)((double)view->white * (mean + sigma * z.values[i - begin]));
                *x = nf_deep_clamp(*x + noise, view->white);
            }
        }
}
