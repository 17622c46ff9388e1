/* Operations that make rows of an interleaved image from another one: what moves pixels whole, or samples them where
 * they lie. They need no planes. */
#ifndef NF_TRANSFORMS_INTERLEAVED_H
#define NF_TRANSFORMS_INTERLEAVED_H

#include "view.h"

/* Writes rows begin .. begin + count - 1 of the result, the first of them to `out`. */
typedef void (*nf_row_operation)(uint8_t *out, const uint8_t *image, int64_t begin, int64_t count,
                                 const void *arguments);

/* Makes images of size `size` from a batch of bytes, in parallel over images and blocks of rows. */
nf_status nf_map_rows(uint8_t *out, nf_extent size, const uint8_t *images, nf_images shape, nf_row_operation operation,
                      const void *arguments);

/* The view becomes an image of size `size`. The operation reads the view as it was. */
void nf_view_rows(nf_view *view, nf_extent size, nf_row_operation operation, const void *arguments);

/* The value of pixels that have none of their own, as bytes: `size` of them that are repeated, which may be all of a
 * pixel, or one value of it. */
typedef struct nf_fill {
    const uint8_t *bytes;
    size_t size;
} nf_fill;

/* Of `count` values of the type. */
nf_fill nf_fill_of(const void *values, int64_t count, nf_pixel_type type);

/* Writes n pixels, of `pixel` bytes each. */
void nf_fill_pixels(uint8_t *out, nf_fill fill, int64_t pixel, int64_t n);

/* One value or one for each channel? Floats: finite, too. */
nf_status nf_check_fill_count(int64_t count, int64_t channels, const char *name);
nf_status nf_check_fill(const void *values, int64_t count, nf_images shape, const char *name);
nf_status nf_check_size(int64_t height, int64_t width, const char *name);

#endif
