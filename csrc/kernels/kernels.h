/* The kernel table: tight loops that exist once per instruction set. No checks, no allocation, no libm in them.
 *
 * To add a kernel: a line in one of the lists below, and the function in a file of this folder, written over vector.h
 * and named NF_KERNEL(name), or NF_REAL_KERNEL(name) if it exists in float and double. Pointers need the alignment of
 * their element only, unless the line says otherwise. */
#ifndef NF_KERNELS_KERNELS_H
#define NF_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Points that depthwise convolution computes at a time. */
#define NF_DEPTHWISE_POINTS 8

/* What numbers x become: factor x + shift (+ addend, of each pixel, unless NULL), then max(., 0) if relu. */
typedef struct nf_rescale {
    const float *factor, *shift;
    const float *const *addend;
    bool relu;
} nf_rescale;

/* The network's layers. */
#define NF_NETWORK_KERNELS(K)                                                                                         \
    /* elementwise.c */                                                                                               \
    /* out = a + b; out may be a or b */                                                                              \
    K(void, add, (float *out, const float *a, const float *b, size_t n))                                              \
    /* y = max(x, 0); y may be x */                                                                                   \
    K(void, relu, (float *y, const float *x, size_t n))                                                               \
    /* d_x (+)= d_y where y > 0; d_x may be d_y */                                                                    \
    K(void, relu_backward, (float *d_x, const float *d_y, const float *y, size_t n, bool accumulate))                 \
    /* out (+)= factor a */                                                                                           \
    K(void, scale, (float *out, const float *a, float factor, size_t n, bool accumulate))                             \
    /* sums (c) (+)= the column sums of x (rows, c) */                                                                \
    K(void, column_sums, (float *sums, const float *x, size_t rows, size_t c, bool accumulate))                       \
    /* bfloat16.c: float32 to bfloat16, to the nearest, ties to even, and back */                                     \
    K(void, to_bfloat16, (uint16_t * y, const float *x, size_t n))                                                    \
    K(void, to_bfloat16_by_side, /* x (rows, c): to the nearest for which factor x + shift > 0 is as true as of x */  \
      (uint16_t * y, const float *x, const float *factor, const float *shift, size_t rows, size_t c))                 \
    K(void, from_bfloat16, (float *y, const uint16_t *x, size_t n))                                                   \
    /* gemm.c: products of packed operands; the layouts are described there */                                        \
    K(void, gemm_pack_rows, (float *a, size_t position, const float *source, size_t n))                               \
    K(void, gemm_pack_columns, (float *a, size_t depth, size_t position, const float *source, size_t n))              \
    K(void, gemm_pack_panel, (float *b, const float *source, size_t stride, size_t depth, size_t columns))            \
    K(void, gemm_pack_panel_transposed, (float *b, const float *source, size_t stride, size_t depth, size_t columns)) \
    K(void, gemm_rows,                                                                                                \
      (float *const *c, size_t column, const float *a, const float *b, size_t depth, size_t rows, size_t columns,     \
       bool accumulate))                                                                                              \
    K(void, gemm_tiles,                                                                                               \
      (float *c, size_t stride, const float *a, const float *b, size_t depth, size_t rows, size_t columns))           \
    K(void, gemm_columns,                                                                                             \
      (float *c, size_t stride, const float *a, size_t a_stride, const float *b, size_t depth, size_t rows,           \
       size_t columns, bool accumulate))                                                                              \
    /* windows.c: `windows` rows of y, `stride` apart, = bias + windows times b, a panel of gemm.c; a window is a run \
     * of numbers from each of `taps` rows of the image. bias has a panel's columns */                                \
    K(void, window_products,                                                                                          \
      (float *y, size_t stride, const float *bias, const float *image, size_t image_row, size_t step, size_t taps,    \
       size_t run, const float *b, size_t windows, size_t columns))                                                   \
    /* d_w (taps * run, k) (+)= windows^T d_y for d_y (height, width, k) of whole vectors k; rows of windows are      \
     * image_step apart */                                                                                            \
    K(void, window_gradient,                                                                                          \
      (float *d_w, const float *image, size_t image_row, size_t image_step, size_t step, size_t taps, size_t run,     \
       const float *d_y, size_t height, size_t width, size_t k, bool accumulate))                                     \
    /* batch_norm.c: x is (rows, c), what belongs to a channel is (c) */                                              \
    K(void, moments, (float *mean, float *squares, const float *x, size_t rows, size_t c, size_t before))             \
    K(void, scale_shift,                                                                                              \
      (float *y, const float *x, const float *addend, const float *factor, const float *shift, size_t rows, size_t c, \
       bool relu))                                                                                                    \
    K(void, batch_norm_sums,                                                                                          \
      (float *sum, float *sum_x, float *d_y, const float *y, const float *x, const float *mean, const float *factor,  \
       const float *shift, size_t rows, size_t c, bool relu, bool accumulate))                                        \
    K(void, batch_norm_backward,                                                                                      \
      (float *d_x, const float *d_y, const float *x, const float *mean, const float *factor_y, const float *factor_x, \
       const float *shift, const float *relu, size_t rows, size_t c, bool accumulate))                                \
    /* depthwise.c, for NF_DEPTHWISE_POINTS points at a time; columns (kernel_h, (points - 1) stride + kernel_w) are  \
     * pixels and weights (kernel_h, kernel_w) filters, both by pointers to c numbers: out[p] (+)= bias (or 0) +      \
     * sum_ik columns[i][p stride + k] weights[i][k] */                                                               \
    K(void, depthwise,                                                                                                \
      (float *const *out, const float *const *columns, const float *const *weights, const float *bias,                \
       size_t kernel_h, size_t kernel_w, size_t stride, size_t c, bool accumulate))                                   \
    /* d_weight[i][k] (c) += sum_p columns[i][p stride + k] d_y[p] */                                                 \
    K(void, depthwise_weights,                                                                                        \
      (float *d_weight, const float *const *columns, const float *const *d_y, size_t kernel_h, size_t kernel_w,       \
       size_t stride, size_t c))                                                                                      \
    /* layer_norm.c: x is (rows, c), mean and inverse, if not NULL, are (rows) */                                     \
    K(void, layer_norm,                                                                                               \
      (float *y, float *mean, float *inverse, const float *x, const float *weight, const float *bias, float eps,      \
       size_t rows, size_t c))                                                                                        \
    K(void, layer_norm_backward,                                                                                      \
      (float *d_x, float *sum, float *sum_u, const float *d_y, const float *x, const float *mean,                     \
       const float *inverse, const float *weight, size_t rows, size_t c, bool accumulate))                            \
    /* activations.c: y may be x, d_x may be d_y; gelu(x) = x times the normal distribution's integral up to x,       \
     * silu(x) = x / (1 + exp(-x)) */                                                                                 \
    K(void, gelu, (float *y, const float *x, size_t n))                                                               \
    K(void, gelu_backward, (float *d_x, const float *d_y, const float *x, size_t n, bool accumulate))                 \
    K(void, silu, (float *y, const float *x, size_t n))                                                               \
    K(void, silu_backward, (float *d_x, const float *d_y, const float *x, size_t n, bool accumulate))                 \
    /* max_pool.c: one output pixel of c channels; taps are the pixels of its window, index the chosen one's place */ \
    K(void, max_pool, (float *y, uint8_t *index, const float *const *taps, size_t tap_count, size_t c))               \
    K(void, max_pool_backward,                                                                                        \
      (float *const *d_taps, size_t tap_count, const float *d_y, const uint8_t *index, size_t c))                     \
    /* winograd.c: frequencies are frequency_stride apart; chunk, chunk_stride: the layout of a row of channels;      \
     * rescale: or NULL; of input all pixels but those that are `outside` */                                          \
    K(void, winograd_input,                                                                                           \
      (float *v, size_t frequency_stride, size_t chunk, size_t chunk_stride, const float *const *pixels, size_t c,    \
       size_t padded, const nf_rescale *rescale, const float *outside))                                               \
    K(void, winograd_gradient,                                                                                        \
      (float *z, size_t frequency_stride, size_t chunk, size_t chunk_stride, const float *const *pixels, size_t k,    \
       size_t padded))                                                                                                \
    K(void, winograd_output,                                                                                          \
      (float *const *pixels, const float *m, size_t frequency_stride, size_t k, bool accumulate,                      \
       const nf_rescale *rescale))                                                                                    \
    K(void, winograd_weights, (float *u, size_t frequency_stride, const float *g, size_t tap_stride, size_t n))       \
    K(void, winograd_weights_gradient,                                                                                \
      (float *d_g, size_t tap_stride, const float *d_u, size_t frequency_stride, size_t n, bool accumulate))          \
    /* winograd_small.c: the same for tiles of 2 x 2 */                                                               \
    K(void, winograd_small_input,                                                                                     \
      (float *v, size_t frequency_stride, size_t chunk, size_t chunk_stride, const float *const *pixels, size_t c,    \
       size_t padded, const nf_rescale *rescale, const float *outside))                                               \
    K(void, winograd_small_gradient,                                                                                  \
      (float *z, size_t frequency_stride, size_t chunk, size_t chunk_stride, const float *const *pixels, size_t k,    \
       size_t padded))                                                                                                \
    K(void, winograd_small_output,                                                                                    \
      (float *const *pixels, const float *m, size_t frequency_stride, size_t k, bool accumulate,                      \
       const nf_rescale *rescale))                                                                                    \
    K(void, winograd_small_weights, (float *u, size_t frequency_stride, const float *g, size_t tap_stride, size_t n)) \
    K(void, winograd_small_weights_gradient,                                                                          \
      (float *d_g, size_t tap_stride, const float *d_u, size_t frequency_stride, size_t n, bool accumulate))          \
    /* winograd_strided.c: the same for stride 2; back_: of the gradient of the input */                              \
    K(void, winograd_strided_input,                                                                                   \
      (float *v, size_t frequency_stride, size_t chunk, size_t chunk_stride, const float *const *pixels, size_t c,    \
       size_t padded, const nf_rescale *rescale, const float *outside))                                               \
    K(void, winograd_strided_gradient,                                                                                \
      (float *z, size_t frequency_stride, size_t chunk, size_t chunk_stride, const float *const *pixels, size_t k,    \
       size_t padded))                                                                                                \
    K(void, winograd_strided_output,                                                                                  \
      (float *const *pixels, const float *m, size_t frequency_stride, size_t k, bool accumulate,                      \
       const nf_rescale *rescale))                                                                                    \
    K(void, winograd_strided_weights,                                                                                 \
      (float *u, size_t frequency_stride, const float *g, size_t tap_stride, size_t n))                               \
    K(void, winograd_strided_weights_gradient,                                                                        \
      (float *d_g, size_t tap_stride, const float *d_u, size_t frequency_stride, size_t n, bool accumulate))          \
    K(void, winograd_strided_back_input,                                                                              \
      (float *v, size_t frequency_stride, size_t chunk, size_t chunk_stride, const float *const *pixels, size_t c,    \
       size_t padded, const nf_rescale *rescale, const float *outside))                                               \
    K(void, winograd_strided_back_output,                                                                             \
      (float *const *pixels, const float *m, size_t frequency_stride, size_t k, bool accumulate,                      \
       const nf_rescale *rescale))

/* optimizers.c. sgd: d = scale (gradients + weight_decay parameters); with a buffer (or NULL): buffer = momentum buffer
 * + d, d = buffer or d + momentum buffer; parameters -= lr d.
 * adamw: first = beta1 first + one_minus_beta1 gradients, second = beta2 second + one_minus_beta2 gradients^2,
 * parameters = keep parameters - step_size first / (second_scale sqrt(second) + eps). move_towards: key += share (query
 * - key). square_sum: the sum of x^2, in double. */
#define NF_OPTIMIZER_KERNELS(K)                                                                                    \
    K(void, sgd,                                                                                                   \
      (float *parameters, float *buffer, const float *gradients, size_t n, float lr, float momentum,               \
       float weight_decay, float scale, bool nesterov))                                                            \
    K(void, adamw,                                                                                                 \
      (float *parameters, float *first, float *second, const float *gradients, size_t n, float keep, float beta1,  \
       float one_minus_beta1, float beta2, float one_minus_beta2, float step_size, float second_scale, float eps)) \
    K(void, move_towards, (float *key, const float *query, size_t n, float share))                                 \
    K(double, square_sum, (const float *x, size_t n))

/* selection.c: the first i with x[i] > threshold, or n. */
#define NF_MEASURE_KERNELS(K) K(size_t, find_above, (const float *x, size_t n, float threshold))

/* A resampling along one axis: output i is the sum of weights[i * most + k] * input[begin + start[i] + k] over k <
 * count[i], divided by 2^NF_WEIGHT_BITS. All inputs lie in begin..end-1, and no output has more than `longest`. There
 * is room for a multiple of 16 outputs; those beyond are like the last one, and weights without an input are zero. */
enum { NF_WEIGHT_BITS = 22, NF_GROUP_SIZE = 576 };
typedef struct nf_taps {
    size_t outputs, most, begin, end, longest; /* `most` is a multiple of 4 */
    uint32_t *start, *count;                   /* (outputs) */
    int32_t *weights;                          /* (outputs, most) */
    void *groups; /* NF_GROUP_SIZE bytes for each 16 outputs, for group_taps; aligned to 64 bytes */
    bool grouped;
} nf_taps;

/* A warp's way from pixels of the result to pixels of the image. Positions count from the image's corner, so that
 * pixel 0 has its centre at 1/2; as whole numbers they are position scale + shift, fraction dropped. */
enum { NF_WARP_CHUNK = 256, NF_WARP_BITS = 14, NF_WARP_OUTSIDE = -1 };
typedef struct nf_projection {
    double matrix[8];                     /* u = (m0 x + m1 y + m2) / (m6 x + m7 y + 1), v with m3, m4, m5 */
    double width, height;                 /* of the image */
    double scale, shift;                  /* 2^NF_WARP_BITS, 1/2; for nearest neighbours 1, 0 */
    int32_t x_step, y_step;               /* in 2^-16 pixels, for project_stepwise */
    int32_t low_x, high_x, low_y, high_y; /* positions low..high - 1 are "inner": a sample reads no pixel beyond */
} nf_projection;

/* An image of interleaved channels, rows `row` bytes apart; its bytes number less than 2^31. */
typedef struct nf_raster {
    const uint8_t *pixels;
    size_t width, height, channels, row;
} nf_raster;

/* Kernels of images, in NF_KERNELS. Pixels are planes of bytes. "Padded": up to 63 bytes after the n-th are read and
 * written too. */
#define NF_IMAGE_KERNELS(K)                                                                                           \
    /* taps.c: fills the arrays for `outputs` outputs from `in` inputs, by the bilinear filter or the bicubic one;    \
     * backwards if mirrored */                                                                                       \
    K(void, make_taps, (nf_taps * taps, size_t in, bool cubic, bool mirror))                                          \
    /* resample.c, where up to 63 bytes after a result are written too, before what comes after. First: the same taps \
     * in another form, if rows of so many channels can be weighed faster by it */                                    \
    K(void, group_taps, (nf_taps * taps, size_t channels))                                                            \
    /* rows of interleaved channels to planes; scratch: (columns + planes' columns) * 16 bytes, both numbers rounded  \
     * up to multiples of 16 */                                                                                       \
    K(void, resample_rows,                                                                                            \
      (uint8_t * out, size_t out_row, size_t out_plane, const uint8_t *source, size_t source_row, size_t rows,        \
       size_t channels, const nf_taps *taps, uint8_t *scratch))                                                       \
    /* columns of planes whose rows of `width` bytes lie side by side */                                              \
    K(void, resample_columns,                                                                                         \
      (uint8_t * out, size_t out_row, size_t out_plane, const uint8_t *source, size_t source_row, size_t planes,      \
       size_t width, const nf_taps *taps))                                                                            \
    /* color.c: base + factor (x - base); out may be in */                                                            \
    K(void, blend_constant, (uint8_t * out, const uint8_t *in, float base, float factor, size_t n))                   \
    /* the same with the luma of three planes, padded, as base */                                                     \
    K(void, blend_luma, (uint8_t * pixels, size_t stride, float factor, size_t n))                                    \
    K(void, luma, (uint8_t * gray, const uint8_t *pixels, size_t stride, size_t n))                                   \
    /* hue.c, padded: hue + shift, modulo 256 */                                                                      \
    K(void, shift_hue, (uint8_t * pixels, size_t stride, float shift, size_t n))                                      \
    K(uint64_t, sum_bytes, (const uint8_t *pixels, size_t n)) /* not padded */                                        \
    /* blur.c, padded: x - 128 of two rows, side by side in the low and the high 16 bits */                           \
    K(void, pair_rows, (int32_t * pairs, const uint8_t *first, const uint8_t *second, size_t n))                      \
    /* the sums of `count` rows of pairs by two sets of such weights, by turns, / 2^shift, rounded */                 \
    K(void, blur_columns,                                                                                             \
      (int16_t * first, int16_t * second, const int32_t *const *pairs, const int32_t *weights, size_t count,          \
       int shift, size_t n))                                                                                          \
    /* the same along a row, whose numbers 2 k and 2 k + 1 weights k weigh, for outputs of even and of odd numbers;   \
     * then + 128 */                                                                                                  \
    K(void, blur_row, (uint8_t * out, const int16_t *row, const int32_t *weights, size_t count, int shift, size_t n)) \
    /* planes.c: interleaved channels to planes and back */                                                           \
    K(void, split_planes, (uint8_t * planes, size_t stride, const uint8_t *pixels, size_t channels, size_t n))        \
    K(void, join_planes, (uint8_t * pixels, const uint8_t *planes, size_t stride, size_t channels, size_t n))         \
    /* x scale + offset, by channel, interleaved; planes are read padded; streams: past the caches, if it can be */   \
    K(void, normalize_planes,                                                                                         \
      (float *out, const uint8_t *planes, size_t stride, size_t channels, const float *scale, const float *offset,    \
       size_t n, bool streams))                                                                                       \
    K(void, end_streams, (void)) /* before another thread reads what went past the caches */                          \
    /* bytes.c, not padded; out may be in: 255 - x where x >= from, else x */                                         \
    K(void, invert_from, (uint8_t * out, const uint8_t *in, uint8_t from, size_t n))                                  \
    /* x & mask */                                                                                                    \
    K(void, mask_bytes, (uint8_t * out, const uint8_t *in, uint8_t mask, size_t n))                                   \
    /* table[x], for 256 bytes `table` */                                                                             \
    K(void, look_up, (uint8_t * out, const uint8_t *in, const uint8_t *table, size_t n))                              \
    /* the least and the largest byte; how often each of the 256 occurs; n < 2^32 */                                  \
    K(void, byte_range, (uint8_t * least, uint8_t * most, const uint8_t *in, size_t n))                               \
    K(void, count_bytes, (uint32_t * counts, const uint8_t *in, size_t n))                                            \
    /* sharpen.c, padded, pointers to the second pixel of rows: s + factor (x - s), s the mean of 3 x 3 pixels, x     \
     * counted five times */                                                                                          \
    K(void, sharpen_row,                                                                                              \
      (uint8_t * out, const uint8_t *above, const uint8_t *row, const uint8_t *below, float factor, size_t n))        \
    /* box_blur.c; rows are read and written in steps of 64 bytes: (weight * sum of 2 radius + 1 pixels + edge_weight \
     * * the two beyond) / 2^24 */                                                                                    \
    K(void, box_columns,                                                                                              \
      (uint8_t * out, const uint8_t *in, size_t stride, size_t rows, size_t columns, size_t radius, uint32_t weight,  \
       uint32_t edge_weight))                                                                                         \
    /* out[x][y] = in[y][x], in steps of 16 columns, and of rows by 64 at the most */                                 \
    K(void, transpose_bytes,                                                                                          \
      (uint8_t * out, size_t out_stride, const uint8_t *in, size_t in_stride, size_t rows, size_t columns))           \
    /* noise.c, padded: x + mean + sigma z, rounded; the counters are `counter` and those after it */                 \
    K(void, add_noise,                                                                                                \
      (uint8_t * pixels, float mean, float sigma, const uint32_t counter[4], const uint32_t key[2], size_t n))        \
    /* reverses the order of bytes */                                                                                 \
    K(void, mirror_row, (uint8_t * row, size_t n))                                                                    \
    /* warp.c: positions for `n` <= NF_WARP_CHUNK pixels of a row, from (column, row) on, or NF_WARP_OUTSIDE in x;    \
     * there is room for NF_WARP_CHUNK */                                                                             \
    K(void, project_affine,                                                                                           \
      (int32_t * x, int32_t * y, const nf_projection *projection, double column, double row, size_t n))               \
    K(void, project_perspective,                                                                                      \
      (int32_t * x, int32_t * y, const nf_projection *projection, double column, double row, size_t n))               \
    /* for nearest neighbours, from a start in 2^-16 pixels */                                                        \
    K(void, project_stepwise,                                                                                         \
      (int32_t * x, int32_t * y, const nf_projection *projection, int32_t x_start, int32_t y_start, size_t n))        \
    /* 0 outside, 1 within the image, 2 inner; the number of inner ones */                                            \
    K(size_t, find_zones,                                                                                             \
      (uint8_t * zones, const nf_projection *projection, const int32_t *x, const int32_t *y, size_t n))               \
    /* the pixels there: at inner positions, at any */                                                                \
    K(void, sample_nearest, (uint8_t * out, const nf_raster *in, const int32_t *x, const int32_t *y, size_t n))       \
    K(void, sample_bilinear, (uint8_t * out, const nf_raster *in, const int32_t *x, const int32_t *y, size_t n))      \
    K(void, sample_bicubic, (uint8_t * out, const nf_raster *in, const int32_t *x, const int32_t *y, size_t n))       \
    K(void, sample_nearest_edge, (uint8_t * out, const nf_raster *in, const int32_t *x, const int32_t *y, size_t n))  \
    K(void, sample_bilinear_edge, (uint8_t * out, const nf_raster *in, const int32_t *x, const int32_t *y, size_t n)) \
    K(void, sample_bicubic_edge, (uint8_t * out, const nf_raster *in, const int32_t *x, const int32_t *y, size_t n))  \
    /* moves.c: n pixels of `channels` bytes in reverse order, or from the given columns of a row, which ends with    \
     * column `last`; columns of a matrix of pixels, `step` bytes from one row to the next (down or up), to rows */   \
    K(void, reverse_pixels, (uint8_t * out, const uint8_t *in, size_t channels, size_t n))                            \
    K(void, pick_pixels,                                                                                              \
      (uint8_t * out, const uint8_t *row, const int32_t *columns, int32_t last, size_t channels, size_t n))           \
    K(void, pick_rows, /* pick_pixels of several rows */                                                              \
      (uint8_t * out, ptrdiff_t out_step, const uint8_t *in, ptrdiff_t in_step, const int32_t *columns, int32_t last, \
       size_t channels, size_t n, size_t rows))                                                                       \
    K(void, transpose_pixels,                                                                                         \
      (uint8_t * out, ptrdiff_t out_step, const uint8_t *in, ptrdiff_t in_step, size_t channels, size_t out_rows,     \
       size_t out_columns))

/* K(return type, name, (arguments)): single-precision and integer kernels. */
#define NF_KERNELS(K)       \
    NF_NETWORK_KERNELS(K)   \
    NF_OPTIMIZER_KERNELS(K) \
    NF_MEASURE_KERNELS(K)   \
    NF_IMAGE_KERNELS(K)

/* Rows of distances, in NF_REAL_KERNELS. */
#define NF_MARGIN_KERNELS(K, suffix, real)                                                                           \
    /* rows.c: sum x; sum (a - b)^2; y = y / x, or y if not `divide`, but 0 where x is 0 */                          \
    K(suffix, double, row_sum, (const real *x, size_t n))                                                            \
    K(suffix, double, row_squared_distance, (const real *a, const real *b, size_t n))                                \
    K(suffix, void, row_weights, (real * y, const real *x, bool divide, size_t n))                                   \
    /* margins.c, with n and `columns` multiples of 16: products of rows to their squared distances, or if `root` to \
     * distances, given their squares; -1 where less than `close` of the sum of both squares is left */              \
    K(suffix, void, tile_distances,                                                                                  \
      (real * tile, const real *row_squares, const real *column_squares, bool root, size_t rows, size_t columns,     \
       size_t stride, real close))                                                                                   \
    /* the place of the smallest finite x above the threshold, the first of several; n if there is none */           \
    K(suffix, size_t, nearest_above, (const real *x, size_t n, real threshold))                                      \
    /* sum_kj h(thresholds_k - x_j) with its gradients, h(e) = max(e, 0) or log(1 + exp(e)) */                       \
    K(suffix, double, hinge_terms,                                                                                   \
      (real * d_thresholds, real * d_x, const real *thresholds, size_t count, const real *x, size_t n))              \
    K(suffix, double, softplus_terms,                                                                                \
      (real * d_thresholds, real * d_x, const real *thresholds, size_t count, const real *x, size_t n))

/* Tiles of the scores of pairs, in NF_REAL_KERNELS. */
#define NF_PAIR_KERNELS(K, suffix, real)                                                                               \
    /* pair_tile.c, with `columns` a multiple of 16 and rows `stride` apart, scores s = tile scale + row_offsets[i] +  \
     * column_offsets[j]: the sums of log(1 + exp(s)) over each row, tile = its derivative, and that summed over rows  \
     * and columns */                                                                                                  \
    K(suffix, void, tile_logistic,                                                                                     \
      (real * row_sums, real * row_weights, real * column_weights, real * tile, size_t rows, size_t columns,           \
       size_t stride, real scale, const real *row_offsets, const real *column_offsets))                                \
    /* tile = exp(s - peak), and that summed over rows and columns */                                                  \
    K(suffix, void, tile_exponential,                                                                                  \
      (real * row_weights, real * column_weights, real * tile, size_t rows, size_t columns, size_t stride, real scale, \
       const real *row_offsets, const real *column_offsets, real peak))                                                \
    /* the largest s */                                                                                                \
    K(suffix, real, tile_highest,                                                                                      \
      (const real *tile, size_t rows, size_t columns, size_t stride, real scale, const real *row_offsets,              \
       const real *column_offsets))

/* K(suffix, return type, name, (arguments)): kernels in both precisions; `real` is float or double. */
#define NF_REAL_KERNELS(K, suffix, real)                                                                              \
    /* exponential.c: y = exp(x); 0 below the smallest normal number */                                               \
    K(suffix, void, exp, (real * y, const real *x, size_t n))                                                         \
    /* rows.c: the largest |x|, NaN if any x is not finite; sum a b; sum (x scale)^2; y = (x first) second; y += x    \
     * scale */                                                                                                       \
    K(suffix, real, row_largest, (const real *x, size_t n))                                                           \
    K(suffix, double, row_dot, (const real *a, const real *b, size_t n))                                              \
    K(suffix, double, row_squares, (const real *x, real scale, size_t n))                                             \
    K(suffix, void, row_scale, (real * y, const real *x, real first, real second, size_t n))                          \
    K(suffix, void, row_add_scaled, (real * y, const real *x, real scale, size_t n))                                  \
    /* multiply.c, for blocks whose arrays have room for multiples of NF_BLOCK_STEP rows (which may be written), with \
     * columns of c multiples of 16: x (rows, width) to the form that the next three take, by whole blocks; c (rows,  \
     * columns) = p = a packed^T over `width` */                                                                      \
    K(suffix, void, pack_rows, (real * packed, const real *x, size_t stride, size_t rows, size_t width))              \
    K(suffix, void, multiply_packed,                                                                                  \
      (real * c, size_t c_stride, const real *a, size_t a_stride, const real *packed, size_t rows, size_t columns,    \
       size_t width))                                                                                                 \
    /* c = e = 2^(p scale - shift) for whole-numbered shift; symmetric: of rows by themselves, half of it mirrored */ \
    K(suffix, void, multiply_exp,                                                                                     \
      (real * c, size_t c_stride, const real *a, size_t a_stride, const real *packed, size_t rows, size_t columns,    \
       size_t width, real scale, real shift, bool symmetric))                                                         \
    /* c = e (row_factors[i] + column_factors[j]), without the latter if NULL */                                      \
    K(suffix, void, multiply_weights,                                                                                 \
      (real * c, size_t c_stride, const real *a, size_t a_stride, const real *packed, size_t rows, size_t columns,    \
       size_t width, real scale, real shift, const real *row_factors, const real *column_factors))                    \
    /* c (rows, columns) += w (rows, depth) b (depth, columns), or w^T b with w (depth, rows); c and b have `stride`  \
     */                                                                                                               \
    K(suffix, void, multiply_add,                                                                                     \
      (real * c, const real *w, size_t w_stride, const real *b, size_t stride, size_t rows, size_t columns,           \
       size_t depth))                                                                                                 \
    K(suffix, void, multiply_transposed_add,                                                                          \
      (real * c, const real *w, size_t w_stride, const real *b, size_t stride, size_t rows, size_t columns,           \
       size_t depth))                                                                                                 \
    /* w = e (row_factors[i] + column_factors[j]), without the latter if NULL, and c += w b */                        \
    K(suffix, void, weigh_add,                                                                                        \
      (real * c, real * w, size_t w_stride, const real *e, size_t e_stride, const real *row_factors,                  \
       const real *column_factors, const real *b, size_t stride, size_t rows, size_t columns, size_t depth))          \
    /* score_tile.c, with `columns` a multiple of 16 and rows `stride` apart: the sums of each row and, unless NULL,  \
     * of each column */                                                                                              \
    K(suffix, void, tile_sums,                                                                                        \
      (real * row_sums, real * column_sums, const real *tile, size_t rows, size_t columns, size_t stride))            \
    NF_MARGIN_KERNELS(K, suffix, real)                                                                                \
    NF_PAIR_KERNELS(K, suffix, real)

/* Blocks of matrices in multiply.c are padded to multiples of this many rows. */
#define NF_BLOCK_STEP 48

typedef struct nf_kernels {
    const char *instruction_set;
    size_t gemm_tile_rows, gemm_tile_columns; /* the register tile of gemm.c */
#define NF_FIELD(type, name, arguments) type(*name) arguments;
#define NF_REAL_FIELD(suffix, type, name, arguments) type(*name##_##suffix) arguments;
    NF_KERNELS(NF_FIELD)
    NF_REAL_KERNELS(NF_REAL_FIELD, f32, float)
    NF_REAL_KERNELS(NF_REAL_FIELD, f64, double)
#undef NF_FIELD
#undef NF_REAL_FIELD
} nf_kernels;

extern const nf_kernels nf_kernels_scalar, nf_kernels_avx2, nf_kernels_avx512;

#endif
