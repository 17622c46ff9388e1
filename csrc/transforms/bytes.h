/* Operations on each byte by itself, wherever it stands: images stay as they are, interleaved or in planes. */
#ifndef NF_TRANSFORMS_BYTES_H
#define NF_TRANSFORMS_BYTES_H

#include "view.h"

/* out[i] = f(in[i]) for i < n; out may be in. */
typedef void (*nf_byte_operation)(uint8_t *out, const uint8_t *in, size_t n, const void *arguments);

/* Runs `operation` on all bytes of a batch, in parallel, or on all planes of a view. */
nf_status nf_map_bytes(uint8_t *out, const uint8_t *images, nf_images shape, nf_byte_operation operation,
                       const void *arguments);
void nf_view_map_bytes(nf_view *view, nf_byte_operation operation, const void *arguments);

/* The byte operation of tables: out[i] = table[in[i]], for 256 bytes `table`. */
void nf_look_up(uint8_t *out, const uint8_t *in, size_t n, const void *table);

/* Gives each channel of a view a table of its own, made from its values; none where make_table returns false. */
void nf_view_map_channels(nf_view *view, bool (*make_table)(uint8_t table[256], const uint8_t *plane, size_t n));

#endif
