/* Deep images: what depends on neighbours. Source: torchvision, gaussian_blur and adjust_sharpness of float tensors. */
#include "deep.h"
#include "transform.h"

#include <string.h>

/* ---- Gaussian blur ---- */

/* Weights for distances 0, 1, ...; returns the largest distance whose weight changes a sum in single precision. */
static int64_t make_weights(float *weights, int64_t kernel, double sigma) {
    double sum = 1;
    for (int64_t k = 1; k <= kernel / 2; k++)
        sum += 2 * nf_gaussian(k, sigma);
    int64_t last = 0;
    for (int64_t k = 0; k <= kernel / 2; k++) {
        double weight = nf_gaussian(k, sigma) / sum;
        weights[k] = (float)weight;
        if (weight > 1e-9)
            last = k;
    }
    return last;
}

/* Row y of the sums of columns. */
static void blur_down(float *out, const nf_deep_view *view, int64_t y, const float *weights, int64_t radius) {
    int64_t row = view->width * view->channels;
    const float *middle = view->pixels + y * row;
    for (int64_t i = 0; i < row; i++)
        out[i] = weights[0] * middle[i];
    for (int64_t k = 1; k <= radius; k++) {
        const float *above = view->pixels + nf_reflect(y - k, view->height) * row;
        const float *below = view->pixels + nf_reflect(y + k, view->height) * row;
        for (int64_t i = 0; i < row; i++)
            out[i] += weights[k] * (above[i] + below[i]);
    }
}

/* `in` has `radius` pixels before and after the row. */
static void blur_across(float *out, const float *in, const float *weights, int64_t radius, int64_t channels,
                        int64_t row) {
    for (int64_t i = 0; i < row; i++)
        out[i] = weights[0] * in[i];
    for (int64_t k = 1; k <= radius; k++) {
        const float *left = in - k * channels, *right = in + k * channels;
        for (int64_t i = 0; i < row; i++)
            out[i] += weights[k] * (left[i] + right[i]);
    }
}

static void reflect_ends(float *row, int64_t width, int64_t radius, size_t channels) {
    int64_t c = (int64_t)channels;
    for (int64_t k = 1; k <= radius; k++) {
        memcpy(row - k * c, row + k * c, channels * sizeof *row);
        memcpy(row + (width - 1 + k) * c, row + (width - 1 - k) * c, channels * sizeof *row);
    }
}

size_t nf_deep_blur_size(nf_extent in, int64_t channels, int64_t kernel_height, int64_t kernel_width) {
    return (size_t)(kernel_height + kernel_width + (in.width + kernel_width) * channels) * sizeof(float);
}

void nf_deep_view_blur(nf_deep_view *view, int64_t kernel_height, int64_t kernel_width, double sigma_y,
                       double sigma_x) {
    nf_deep_load(view);
    int64_t channels = view->channels, row = view->width * channels;
    float *down = view->scratch, *across = down + kernel_height;
    int64_t down_radius = make_weights(down, kernel_height, sigma_y);
    int64_t across_radius = make_weights(across, kernel_width, sigma_x);
    float *padded = across + kernel_width + across_radius * channels;
    for (int64_t y = 0; y < view->height; y++) {
        blur_down(padded, view, y, down, down_radius);
        reflect_ends(padded, view->width, across_radius, (size_t)channels);
        blur_across(view->spare + y * row, padded, across, across_radius, channels, row);
    }
    nf_deep_swap(view, (nf_extent){view->height, view->width});
}

size_t nf_deep_blur_scratch(const nf_transform *transform, nf_extent in, int64_t channels) {
    return nf_deep_blur_size(in, channels, transform->blur.kernel_height, transform->blur.kernel_width);
}

void nf_deep_blur(nf_deep_view *view, const nf_transform *transform, const void *record) {
    const nf_blur_draw *drawn = record;
    if (drawn->applied)
        nf_deep_view_blur(view, transform->blur.kernel_height, transform->blur.kernel_width, drawn->sigma,
                          drawn->sigma);
}

/* ---- Sharpness ---- */

/* A blend with the mean of the nine pixels around, the middle one counted five times. */
static void sharpen_row(float *out, const float *in, int64_t row, int64_t channels, int64_t n, float factor,
                        float white) {
    for (int64_t i = 0; i < n; i++) {
        const float *x = in + i;
        float around = x[-row - channels] + x[-row] + x[-row + channels] + x[-channels] + x[channels] +
                       x[row - channels] + x[row] + x[row + channels];
        float smooth = (around + 5 * x[0]) * (1.0f / 13);
        out[i] = nf_deep_clamp(smooth + factor * (x[0] - smooth), white);
    }
}

void nf_deep_sharpen(nf_deep_view *view, const nf_transform *transform, const void *record) {
    (void)transform;
    const nf_sharpness_draw *drawn = record;
    if (drawn->applied)
        nf_deep_view_sharpness(view, drawn->factor);
}

/* Pixels at the border are not smoothed. */
void nf_deep_view_sharpness(nf_deep_view *view, double factor) {
    if (view->height < 3 || view->width < 3)
        return;
    nf_deep_load(view);
    int64_t channels = view->channels, row = view->width * channels;
    for (int64_t i = 0; i < view->height * row; i++)
        view->spare[i] = nf_deep_clamp(view->pixels[i], view->white);
    for (int64_t y = 1; y + 1 < view->height; y++) {
        int64_t first = y * row + channels;
        sharpen_row(view->spare + first, view->pixels + first, row, channels, row - 2 * channels, (float)factor,
                    view->white);
    }
    nf_deep_swap(view, (nf_extent){view->height, view->width});
}
