/* Separable resampling of bytes with 22-bit weights, as Pillow does it (Resample.c). */
#include "kernels.h"
#include "pixels.h"

enum { ROWS = 16, SHIFT = NF_WEIGHT_BITS, HALF = 1 << (SHIFT - 1) };

/* ---- Along rows: the vectors run across 16 rows at a time, which are transposed on the way in and out ---- */

#ifdef __AVX2__

/* Rows in pairs i and i + 8, or columns in pairs 2 i and 2 i + 1. */
typedef struct square {
    __m256i pairs[ROWS / 2];
} square;

/* One perfect shuffle of the rows in either half. */
NF_INLINE square shuffle(square a) {
    square b;
    NF_UNROLL
    for (int i = 0; i < ROWS / 4; i++) {
        b.pairs[2 * i] = _mm256_unpacklo_epi8(a.pairs[i], a.pairs[i + ROWS / 4]);
        b.pairs[2 * i + 1] = _mm256_unpackhi_epi8(a.pairs[i], a.pairs[i + ROWS / 4]);
    }
    return b;
}

NF_INLINE void square_to_columns(uint8_t *columns, const uint8_t *const rows[ROWS], size_t x) {
    square block;
    NF_UNROLL
    for (int i = 0; i < ROWS / 2; i++) {
        __m256i row = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(rows[i] + x)));
        const __m128i *other = (const __m128i *)(rows[i + ROWS / 2] + x);
        block.pairs[i] = _mm256_inserti128_si256(row, _mm_loadu_si128(other), 1);
    }
    block = shuffle(shuffle(shuffle(block)));
    NF_UNROLL
    for (int i = 0; i < ROWS / 2; i++)
        _mm256_storeu_si256((__m256i *)columns + i, _mm256_permute4x64_epi64(block.pairs[i], 0xd8));
}

NF_INLINE void square_to_rows(uint8_t *const rows[ROWS], size_t x, const uint8_t *columns) {
    square block;
    NF_UNROLL
    for (int i = 0; i < ROWS / 2; i++)
        block.pairs[i] = _mm256_permute4x64_epi64(_mm256_loadu_si256((const __m256i *)columns + i), 0xd8);
    block = shuffle(shuffle(shuffle(shuffle(block))));
    NF_UNROLL
    for (int i = 0; i < ROWS / 2; i++) {
        _mm_storeu_si128((__m128i *)(rows[i] + x), _mm256_castsi256_si128(block.pairs[i]));
        _mm_storeu_si128((__m128i *)(rows[i + ROWS / 2] + x), _mm256_extracti128_si256(block.pairs[i], 1));
    }
}

#else

NF_INLINE void square_to_columns(uint8_t *columns, const uint8_t *const rows[ROWS], size_t x) {
    bytes16 block[ROWS];
    for (size_t i = 0; i < ROWS; i++)
        memcpy(&block[i], rows[i] + x, sizeof block[i]);
    transpose16(block);
    memcpy(columns, block, sizeof block);
}

NF_INLINE void square_to_rows(uint8_t *const rows[ROWS], size_t x, const uint8_t *columns) {
    bytes16 block[ROWS];
    memcpy(block, columns, sizeof block);
    transpose16(block);
    for (size_t i = 0; i < ROWS; i++)
        memcpy(rows[i] + x, &block[i], sizeof block[i]);
}

#endif

/* `count` (1..16) rows of `width` bytes become `width` columns of 16; missing rows repeat the last one. */
static void gather_columns(uint8_t *columns, const uint8_t *source, size_t source_row, size_t count, size_t width) {
    const uint8_t *rows[ROWS];
    uint8_t narrow[ROWS][ROWS] = {{0}};
    for (size_t i = 0; i < ROWS; i++) {
        rows[i] = source + (i < count ? i : count - 1) * source_row;
        if (width < ROWS)
            rows[i] = memcpy(narrow[i], rows[i], width);
    }
    for (size_t x = 0; x + ROWS <= width; x += ROWS)
        square_to_columns(columns + x * ROWS, rows, x);
    if (width % ROWS != 0) { /* the last ones: reaching back over what is done already */
        size_t last = width < ROWS ? 0 : width - ROWS;
        square_to_columns(columns + last * ROWS, rows, last);
    }
}

/* The other way: `width` columns of 16 become `count` rows; rows that were repeated are written to the last again. */
static void scatter_columns(uint8_t *out, size_t out_row, const uint8_t *columns, size_t count, size_t width) {
    uint8_t *rows[ROWS], narrow[ROWS][ROWS];
    for (size_t i = 0; i < ROWS; i++)
        rows[i] = width < ROWS ? narrow[i] : out + (i < count ? i : count - 1) * out_row;
    for (size_t x = 0; x + ROWS <= width; x += ROWS)
        square_to_rows(rows, x, columns + x * ROWS);
    if (width % ROWS != 0) {
        size_t last = width < ROWS ? 0 : width - ROWS;
        square_to_rows(rows, last, columns + last * ROWS);
    }
    for (size_t i = 0; i < count && width < ROWS; i++)
        memcpy(out + i * out_row, narrow[i], width);
}

/* Weighted sums over `count` columns, `step` bytes apart, for `channels` (a constant) channels side by side. */
NF_INLINE void weigh_columns(uint8_t *out, size_t out_plane, const uint8_t *columns, size_t step,
                             const int32_t *weights, size_t count, size_t channels) {
    vint sums[3][V_IN_16];
    NF_UNROLL
    for (size_t c = 0; c < channels; c++)
        NF_UNROLL
    for (size_t part = 0; part < V_IN_16; part++)
        sums[c][part] = vi_set(HALF);
    for (size_t k = 0; k < count; k++) {
        vint weight = vi_set(weights[k]);
        NF_UNROLL
        for (size_t c = 0; c < channels; c++)
            NF_UNROLL
        for (size_t part = 0; part < V_IN_16; part++) {
            vint pixels = vi_load_bytes(columns + k * step + c * ROWS + part * NF_WIDTH);
            sums[c][part] = vi_add(sums[c][part], vi_mul(pixels, weight));
        }
    }
    NF_UNROLL
    for (size_t c = 0; c < channels; c++) {
        NF_UNROLL
        for (size_t part = 0; part < V_IN_16; part++)
            sums[c][part] = VI_SHIFT_RIGHT(sums[c][part], SHIFT);
        vi_store_16_bytes(out + c * out_plane, sums[c]);
    }
}

/* Rows that come next, up to 16, which are fetched line by line, some for each output. */
typedef struct rows_ahead {
    const uint8_t *source;
    size_t source_row, count, width, per_output, fetched;
} rows_ahead;

NF_INLINE void fetch_some(rows_ahead *ahead) {
    for (size_t i = 0; i < ahead->per_output; i++, ahead->fetched++) {
        size_t row = ahead->fetched % ROWS, x = ahead->fetched / ROWS * 64;
        if (row < ahead->count && x < ahead->width)
            __builtin_prefetch(ahead->source + row * ahead->source_row + x, 0, 2);
    }
}

/* All outputs of 16 rows, each of `count` (a constant) inputs, some perhaps of no weight, or 0: of as many as it has.
 */
NF_INLINE void weigh_all_columns(uint8_t *out, size_t out_plane, const uint8_t *columns, size_t channels,
                                 const nf_taps *taps, size_t count, rows_ahead ahead) {
    for (size_t x = 0; x < taps->outputs; x++, out += ROWS) {
        fetch_some(&ahead);
        const int32_t *weights = taps->weights + x * taps->most;
        const uint8_t *first = columns + taps->start[x] * channels * ROWS;
        size_t inputs = count ? count : taps->count[x];
        if (channels == 3)
            weigh_columns(out, out_plane, first, 3 * ROWS, weights, inputs, 3);
        else
            for (size_t c = 0; c < channels; c++)
                weigh_columns(out + c * out_plane, 0, first + c * ROWS, channels * ROWS, weights, inputs, 1);
    }
}

/* A switch to a constant, so that loops over so few are unrolled and no branch depends on the output. */
#define FOR_LONGEST(longest, call) \
    switch (longest) {             \
    case 1: call(1); break;        \
    case 2: call(2); break;        \
    case 3: call(3); break;        \
    case 4: call(4); break;        \
    case 5: call(5); break;        \
    case 6: call(6); break;        \
    case 7: call(7); break;        \
    case 8: call(8); break;        \
    default: call(0);              \
    }

static void resample_rows_plainly(uint8_t *out, size_t out_row, size_t out_plane, const uint8_t *source,
                                  size_t source_row, size_t rows, size_t channels, const nf_taps *taps,
                                  uint8_t *scratch) {
    size_t width = (taps->end - taps->begin) * channels, padded = (taps->outputs + 15) / 16 * 16;
    uint8_t *in_columns = scratch, *out_columns = scratch + (width + 15) / 16 * 16 * ROWS;
    source += taps->begin * channels;
    for (size_t y = 0; y < rows; y += ROWS) {
        size_t count = rows - y < ROWS ? rows - y : ROWS;
        gather_columns(in_columns, source + y * source_row, source_row, count, width);
        size_t next = y + count, lines = (width + 63) / 64;
        rows_ahead ahead = {.source = source + next * source_row,
                            .source_row = source_row,
                            .count = rows - next < ROWS ? rows - next : ROWS,
                            .width = width,
                            .per_output = (lines * ROWS + taps->outputs - 1) / taps->outputs};
#define WEIGH(inputs) weigh_all_columns(out_columns, padded *ROWS, in_columns, channels, taps, inputs, ahead)
        FOR_LONGEST(taps->longest, WEIGH)
#undef WEIGH
        for (size_t c = 0; c < channels; c++)
            scatter_columns(out + c * out_plane + y * out_row, out_row, out_columns + c * padded * ROWS, count,
                            taps->outputs);
    }
}

/* ---- Along columns ---- */

/* `vectors`: V_MANY or 1. */
NF_INLINE void weigh_rows(uint8_t *out, const uint8_t *source, size_t source_row, const int32_t *weights, size_t count,
                          const int vectors) {
    vint sums[V_MANY];
    NF_UNROLL
    for (int i = 0; i < vectors; i++)
        sums[i] = vi_set(HALF);
    for (size_t k = 0; k < count; k++) {
        vint weight = vi_set(weights[k]);
        NF_UNROLL
        for (int i = 0; i < vectors; i++)
            sums[i] = vi_add(sums[i], vi_mul(vi_load_bytes(source + k * source_row + i * NF_WIDTH), weight));
    }
    NF_UNROLL
    for (int i = 0; i < vectors; i++)
        sums[i] = VI_SHIFT_RIGHT(sums[i], SHIFT);
    if (vectors == V_MANY)
        vi_store_many_bytes(out, sums);
    else
        vi_store_bytes(out, sums[0]);
}

static void weigh_narrow_rows(uint8_t *out, const uint8_t *source, size_t source_row, size_t width,
                              const int32_t *weights, size_t count) {
    for (size_t x = 0; x < width; x++) {
        int32_t sum = HALF;
        for (size_t k = 0; k < count; k++)
            sum += source[k * source_row + x] * weights[k];
        sum >>= SHIFT;
        out[x] = (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
    }
}

/* A row of at least `vectors` vectors; the last ones reach back over what is done already. */
NF_INLINE void weigh_wide_row(uint8_t *out, const uint8_t *source, size_t source_row, size_t width,
                              const int32_t *weights, size_t inputs, const int vectors) {
    size_t step = (size_t)vectors * NF_WIDTH;
    for (size_t x = 0; x < width; x += step) {
        size_t at = x + step <= width ? x : width - step;
        weigh_rows(out + at, source + at, source_row, weights, inputs, vectors);
    }
}

NF_INLINE void weigh_row(uint8_t *out, const uint8_t *source, size_t source_row, size_t width, const int32_t *weights,
                         size_t inputs) {
    if (width >= V_MANY_BYTES)
        weigh_wide_row(out, source, source_row, width, weights, inputs, V_MANY);
    else if (width >= NF_WIDTH)
        weigh_wide_row(out, source, source_row, width, weights, inputs, 1);
    else
        weigh_narrow_rows(out, source, source_row, width, weights, inputs);
}

/* One output of each plane, of `inputs` rows: the constant `count`, unless that is 0. */
NF_INLINE void weigh_planes_plainly(uint8_t *out, size_t out_plane, const uint8_t *source, size_t source_row,
                                    size_t planes, size_t width, const int32_t *weights, size_t inputs, size_t count) {
    for (size_t c = 0; c < planes; c++)
        weigh_row(out + c * out_plane, source + c * width, source_row, width, weights, count ? count : inputs);
}

static void resample_columns_plainly(uint8_t *out, size_t out_row, size_t out_plane, const uint8_t *source,
                                     size_t source_row, size_t planes, size_t width, const nf_taps *taps) {
    source += taps->begin * source_row;
    for (size_t y = 0; y < taps->outputs; y++, out += out_row) {
        const uint8_t *first = source + taps->start[y] * source_row;
        const int32_t *weights = taps->weights + y * taps->most;
        size_t inputs = taps->count[y];
#define WEIGH(count) weigh_planes_plainly(out, out_plane, first, source_row, planes, width, weights, inputs, count)
        FOR_LONGEST(inputs, WEIGH)
#undef WEIGH
    }
}

#ifdef NF_BYTE_PERMUTE

/* Sums of four products of a byte and a weight in one step each for the three digits of the weights, of 8 bits with
 * sign: w = d0 + 256 (d1 + 256 d2). HALF goes in with the highest. Sums of two products are of numbers of 16 bits, with
 * two digits: w = low + 256 high. */
enum { DIGITS = 3, MOST_QUADS = 2, HIGH_HALF = HALF >> 16, PAIR = 2, LOW = 0, HIGH = 1 };

/* How many inputs are weighed for each output: a pair, or one or two times four. */
NF_INLINE size_t weighed_inputs(size_t longest) {
    return longest <= PAIR ? PAIR : longest <= 4 ? 4 : 8;
}

/* A digit of each weight, and what remains. */
NF_INLINE __m128i take_digit(vint *weights) {
    __m128i digit = _mm512_cvtepi32_epi8(*weights);
    *weights = VI_SHIFT_RIGHT(vi_add(*weights, vi_set(128)), 8);
    return digit;
}

/* 16 outputs of a row: where the inputs that are weighed lie in 128 bytes, of which `low` and `high` are needed, and
 * the weights' digits. */
typedef struct group {
    __m512i places[MOST_QUADS], digits[MOST_QUADS][DIGITS];
    __mmask64 low, high;
    size_t begin;
    uint64_t unused[5];
} group;
_Static_assert(sizeof(group) == NF_GROUP_SIZE, "a group's size");

/* Four weights of each of 16 outputs, by digits. */
NF_INLINE void split_fours(__m512i digits[DIGITS], const int32_t *weights, size_t most) {
    for (size_t part = 0; part < 4; part++, weights += 4 * most) {
        vint four = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)weights));
        four = _mm512_inserti32x4(four, _mm_loadu_si128((const __m128i *)(weights + most)), 1);
        four = _mm512_inserti32x4(four, _mm_loadu_si128((const __m128i *)(weights + 2 * most)), 2);
        four = _mm512_inserti32x4(four, _mm_loadu_si128((const __m128i *)(weights + 3 * most)), 3);
        for (size_t d = 0; d < DIGITS; d++)
            _mm_storeu_si128((__m128i *)&digits[d] + part, take_digit(&four));
    }
}

NF_INLINE void split_pairs(__m512i digits[DIGITS], const int32_t *weights, size_t most) {
    vint pairs[PAIR];
    for (size_t half = 0; half < 2; half++) {
        vint places = vi_mul(_mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7), vi_set((int32_t)most));
        places = vi_add(places, _mm512_setr_epi32(0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1));
        pairs[half] = _mm512_i32gather_epi32(places, weights + 8 * half * most, sizeof *weights);
    }
    for (size_t half = 0; half < 2; half++) {
        __m256i low = _mm512_cvtepi32_epi16(_mm512_and_si512(pairs[half], vi_set(255)));
        __m256i high = _mm512_cvtepi32_epi16(VI_SHIFT_RIGHT(pairs[half], 8));
        _mm256_storeu_si256((__m256i *)&digits[LOW] + half, low);
        _mm256_storeu_si256((__m256i *)&digits[HIGH] + half, high);
    }
}

/* Returns whether the outputs fit into groups. */
static bool make_groups(group *groups, const nf_taps *taps, size_t channels) {
    if (taps->longest > 4 * MOST_QUADS || channels > 64)
        return false;
    size_t inputs = weighed_inputs(taps->longest);
    uint8_t steps[4 * MOST_QUADS];
    for (size_t k = 0; k < 4 * MOST_QUADS; k++)
        steps[k] = (uint8_t)((inputs == PAIR ? k / 2 : k) * channels);
    for (size_t x = 0; x < taps->outputs; x += 16, groups++) {
        vint start = _mm512_loadu_si512(taps->start + x), count = _mm512_loadu_si512(taps->count + x);
        size_t begin = _mm512_reduce_min_epu32(start), end = _mm512_reduce_max_epu32(vi_add(start, count));
        size_t needed = (end - begin) * channels;
        if (needed > 128)
            return false;
        groups->begin = begin * channels;
        groups->low = first_bytes(needed);
        groups->high = needed <= 64 ? 0 : first_bytes(needed - 64);
        vint first = vi_mul(vi_sub(start, vi_set((int32_t)begin)), vi_set((int32_t)channels * 0x01010101));
        for (size_t q = 0; q < (inputs + 3) / 4; q++) {
            int32_t four;
            memcpy(&four, steps + 4 * q, sizeof four);
            groups->places[q] = _mm512_add_epi8(first, vi_set(four));
        }
        const int32_t *weights = taps->weights + x * taps->most;
        if (inputs == PAIR)
            split_pairs(groups->digits[0], weights, taps->most);
        else
            for (size_t q = 0; q < inputs / 4; q++)
                split_fours(groups->digits[q], weights + 4 * q, taps->most);
    }
    return true;
}

NF_BYTE_PERMUTE NF_INLINE vint weigh_quads(const __m512i pixels[MOST_QUADS], const __m512i digits[MOST_QUADS][DIGITS],
                                           size_t quads) {
    vint sum = vi_set(HIGH_HALF);
    NF_UNROLL
    for (int d = DIGITS - 1; d >= 0; d--) {
        NF_UNROLL
        for (size_t q = 0; q < quads; q++)
            sum = _mm512_dpbusd_epi32(sum, pixels[q], digits[q][d]);
        if (d > 0)
            sum = _mm512_slli_epi32(sum, 8);
    }
    return VI_SHIFT_RIGHT(sum, SHIFT);
}

/* Pixels of one channel for 16 outputs, from 128 bytes of a row. */
NF_BYTE_PERMUTE NF_INLINE vint weigh_places(__m512i low, __m512i high, const group *g, size_t channel, size_t inputs) {
    __m512i shift = _mm512_set1_epi8((char)channel);
    if (inputs == PAIR) {
        const __mmask64 even = 0x5555555555555555;
        __m512i places = _mm512_add_epi8(g->places[0], shift);
        __m512i pixels = _mm512_maskz_permutex2var_epi8(even, low, places, high);
        vint sum = _mm512_dpwssd_epi32(vi_set(HALF >> 8), pixels, g->digits[0][HIGH]);
        return VI_SHIFT_RIGHT(_mm512_dpwssd_epi32(_mm512_slli_epi32(sum, 8), pixels, g->digits[0][LOW]), SHIFT);
    }
    __m512i pixels[MOST_QUADS];
    NF_UNROLL
    for (size_t q = 0; q < inputs / 4; q++)
        pixels[q] = _mm512_permutex2var_epi8(low, _mm512_add_epi8(g->places[q], shift), high);
    return weigh_quads(pixels, g->digits, inputs / 4);
}

/* Writes 16 bytes of each channel, whether there are so many outputs or not. */
NF_BYTE_PERMUTE NF_INLINE void weigh_group(uint8_t *out, size_t out_plane, const uint8_t *row, const group *g,
                                           size_t channels, size_t inputs) {
    __m512i low = _mm512_maskz_loadu_epi8(g->low, row + g->begin);
    __m512i high = _mm512_maskz_loadu_epi8(g->high, row + g->begin + 64);
    vint sums[4];
    NF_UNROLL
    for (size_t c = 0; c < channels; c++)
        sums[c] = weigh_places(low, high, g, c, inputs);
    NF_UNROLL
    for (size_t c = channels; c < 4; c++)
        sums[c] = sums[0];
    __m512i bytes = pack_bytes64(sums);
    _mm_storeu_si128((__m128i *)out, _mm512_castsi512_si128(bytes));
    if (channels > 1)
        _mm_storeu_si128((__m128i *)(out + out_plane), _mm512_extracti32x4_epi32(bytes, 1));
    if (channels > 2)
        _mm_storeu_si128((__m128i *)(out + 2 * out_plane), _mm512_extracti32x4_epi32(bytes, 2));
}

/* Rows begin .. end - 1; those that follow, up to row `last`, are fetched. */
NF_BYTE_PERMUTE NF_INLINE void weigh_rows_of_group(uint8_t *out, size_t out_row, size_t out_plane,
                                                   const uint8_t *source, size_t source_row, size_t begin, size_t end,
                                                   size_t last, const group *in, size_t channels, size_t inputs) {
    const group g = *in;
    for (size_t y = begin; y < end; y++) {
        const uint8_t *row = source + y * source_row;
        __builtin_prefetch(y + ROWS <= last ? row + ROWS * source_row + g.begin : row);
        if (channels == 3)
            weigh_group(out + y * out_row, out_plane, row, &g, 3, inputs);
        else
            for (size_t c = 0; c < channels; c++)
                weigh_group(out + y * out_row + c * out_plane, 0, row + c, &g, 1, inputs);
    }
}

NF_BYTE_PERMUTE NF_INLINE void weigh_all_groups(uint8_t *out, size_t out_row, size_t out_plane, const uint8_t *source,
                                                size_t source_row, size_t rows, size_t channels, const nf_taps *taps,
                                                size_t inputs) {
    const group *groups = taps->groups;
    size_t count = (taps->outputs + 15) / 16;
    for (size_t begin = 0; begin < rows; begin += ROWS) {
        size_t end = rows - begin < ROWS ? rows : begin + ROWS;
        for (size_t i = 0; i < count; i++) { /* the last first: what it writes too much is written again by others */
            size_t number = i == 0 ? count - 1 : i - 1;
            if (channels == 3)
                weigh_rows_of_group(out + 16 * number, out_row, out_plane, source, source_row, begin, end, rows - 1,
                                    &groups[number], 3, inputs);
            else
                weigh_rows_of_group(out + 16 * number, out_row, out_plane, source, source_row, begin, end, rows - 1,
                                    &groups[number], channels, inputs);
        }
    }
}

NF_BYTE_PERMUTE static void resample_rows_permuting(uint8_t *out, size_t out_row, size_t out_plane,
                                                    const uint8_t *source, size_t source_row, size_t rows,
                                                    size_t channels, const nf_taps *taps) {
    source += taps->begin * channels;
    if (weighed_inputs(taps->longest) == PAIR)
        weigh_all_groups(out, out_row, out_plane, source, source_row, rows, channels, taps, PAIR);
    else if (weighed_inputs(taps->longest) == 4)
        weigh_all_groups(out, out_row, out_plane, source, source_row, rows, channels, taps, 4);
    else
        weigh_all_groups(out, out_row, out_plane, source, source_row, rows, channels, taps, 8);
}

/* The same for 32 columns of an output, whose rows are interleaved by pairs or by fours. Pairs are weighed as numbers
 * of 16 bits, by two digits w = low + 256 high. */
typedef struct row_weights {
    __m256i high, low, digits[MOST_QUADS][DIGITS];
} row_weights;

NF_BYTE_PERMUTE NF_INLINE __m256i weigh_pairs(__m256i pixels, const row_weights *weights) {
    __m256i sum = _mm256_dpwssd_epi32(_mm256_set1_epi32(HALF >> 8), pixels, weights->high);
    return _mm256_srai_epi32(_mm256_dpwssd_epi32(_mm256_slli_epi32(sum, 8), pixels, weights->low), SHIFT);
}

NF_BYTE_PERMUTE NF_INLINE __m256i weigh_fours(const __m256i pixels[MOST_QUADS], const row_weights *weights,
                                              size_t quads) {
    __m256i sum = _mm256_set1_epi32(HIGH_HALF);
    NF_UNROLL
    for (int d = DIGITS - 1; d >= 0; d--) {
        NF_UNROLL
        for (size_t q = 0; q < quads; q++)
            sum = _mm256_dpbusd_epi32(sum, pixels[q], weights->digits[q][d]);
        if (d > 0)
            sum = _mm256_slli_epi32(sum, 8);
    }
    return _mm256_srai_epi32(sum, SHIFT);
}

NF_BYTE_PERMUTE NF_INLINE __m256i weigh_rows32(const __m256i *pixels, size_t rows, const row_weights *weights) {
    const __m256i zero = _mm256_setzero_si256();
    __m256i fours[4][MOST_QUADS], sums[4];
    NF_UNROLL
    for (size_t q = 0; q < (rows + 3) / 4; q++, pixels += 4) {
        __m256i first = _mm256_unpacklo_epi8(pixels[0], pixels[1]), second = first;
        NF_UNROLL
        for (int half = 0; half < 2; half++) {
            if (half == 1)
                first = _mm256_unpackhi_epi8(pixels[0], pixels[1]);
            if (rows == 2) {
                fours[2 * half][q] = _mm256_unpacklo_epi8(first, zero);
                fours[2 * half + 1][q] = _mm256_unpackhi_epi8(first, zero);
            } else {
                second =
                    half == 0 ? _mm256_unpacklo_epi8(pixels[2], pixels[3]) : _mm256_unpackhi_epi8(pixels[2], pixels[3]);
                fours[2 * half][q] = _mm256_unpacklo_epi16(first, second);
                fours[2 * half + 1][q] = _mm256_unpackhi_epi16(first, second);
            }
        }
    }
    NF_UNROLL
    for (size_t part = 0; part < 4; part++)
        sums[part] =
            rows == 2 ? weigh_pairs(fours[part][0], weights) : weigh_fours(fours[part], weights, (rows + 3) / 4);
    return _mm256_packus_epi16(_mm256_packs_epi32(sums[0], sums[1]), _mm256_packs_epi32(sums[2], sums[3]));
}

NF_BYTE_PERMUTE NF_INLINE row_weights split_row_weights(const int32_t *weights, size_t rows) {
    row_weights split;
    __m128i four = _mm_loadu_si128((const __m128i *)weights);
    if (rows == 2) {
        __m128i low = _mm_and_si128(four, _mm_set1_epi32(255)), high = _mm_srai_epi32(four, 8);
        split.low = _mm256_broadcastd_epi32(_mm_packs_epi32(low, low));
        split.high = _mm256_broadcastd_epi32(_mm_packs_epi32(high, high));
        return split;
    }
    NF_UNROLL
    for (size_t q = 0; q < rows / 4; q++) {
        four = _mm_loadu_si128((const __m128i *)(weights + 4 * q));
        NF_UNROLL
        for (size_t d = 0; d < DIGITS; d++) {
            split.digits[q][d] = _mm256_broadcastd_epi32(_mm_cvtepi32_epi8(four));
            four = _mm_srai_epi32(_mm_add_epi32(four, _mm_set1_epi32(128)), 8);
        }
    }
    return split;
}

static const __mmask32 ALL_32 = ~(__mmask32)0;

/* 32 columns, of which those that are wanted are read. */
NF_BYTE_PERMUTE NF_INLINE void weigh_columns32(uint8_t *out, const uint8_t *const *row, size_t x, __mmask32 wanted,
                                               const row_weights *weights, size_t rows) {
    __m256i pixels[4 * MOST_QUADS];
    NF_UNROLL
    for (size_t k = 0; k < rows; k++)
        pixels[k] = wanted == ALL_32 ? _mm256_loadu_si256((const __m256i *)(row[k] + x))
                                     : _mm256_maskz_loadu_epi8(wanted, row[k] + x);
    _mm256_storeu_si256((__m256i *)out, weigh_rows32(pixels, rows, weights));
}

/* All outputs, each of `rows` (2, 4 or 8) rows, some perhaps of no weight. */
NF_BYTE_PERMUTE NF_INLINE void weigh_all_rows(uint8_t *out, size_t out_row, size_t out_plane, const uint8_t *source,
                                              size_t source_row, size_t planes, size_t width, const nf_taps *taps,
                                              size_t rows) {
    for (size_t y = 0; y < taps->outputs; y++, out += out_row) {
        const row_weights weights = split_row_weights(taps->weights + y * taps->most, rows);
        const uint8_t *row[4 * MOST_QUADS] = {source + (taps->begin + taps->start[y]) * source_row};
        NF_UNROLL
        for (size_t k = 1; k < rows; k++)
            row[k] = row[0] + (k < taps->count[y] ? k : 0) * source_row;
        for (size_t c = 0; c < planes; c++) {
            uint8_t *to = out + c * out_plane;
            size_t x = c * width, end = x + width;
            for (; x + 32 <= end; x += 32, to += 32)
                weigh_columns32(to, row, x, ALL_32, &weights, rows);
            if (x < end)
                weigh_columns32(to, row, x, ALL_32 >> (32 - (end - x)), &weights, rows);
        }
    }
}

NF_BYTE_PERMUTE static void resample_columns_permuting(uint8_t *out, size_t out_row, size_t out_plane,
                                                       const uint8_t *source, size_t source_row, size_t planes,
                                                       size_t width, const nf_taps *taps) {
    size_t rows = weighed_inputs(taps->longest);
    if (rows == PAIR)
        weigh_all_rows(out, out_row, out_plane, source, source_row, planes, width, taps, PAIR);
    else if (rows == 4)
        weigh_all_rows(out, out_row, out_plane, source, source_row, planes, width, taps, 4);
    else
        weigh_all_rows(out, out_row, out_plane, source, source_row, planes, width, taps, 8);
}

void NF_KERNEL(group_taps)(nf_taps *taps, size_t channels) {
    taps->grouped = has_byte_permute() && make_groups(taps->groups, taps, channels);
}

void NF_KERNEL(resample_rows)(uint8_t *out, size_t out_row, size_t out_plane, const uint8_t *source, size_t source_row,
                              size_t rows, size_t channels, const nf_taps *taps, uint8_t *scratch) {
    if (taps->grouped)
        resample_rows_permuting(out, out_row, out_plane, source, source_row, rows, channels, taps);
    else
        resample_rows_plainly(out, out_row, out_plane, source, source_row, rows, channels, taps, scratch);
}

void NF_KERNEL(resample_columns)(uint8_t *out, size_t out_row, size_t out_plane, const uint8_t *source,
                                 size_t source_row, size_t planes, size_t width, const nf_taps *taps) {
    if (has_byte_permute() && taps->longest <= 4 * MOST_QUADS)
        resample_columns_permuting(out, out_row, out_plane, source, source_row, planes, width, taps);
    else
        resample_columns_plainly(out, out_row, out_plane, source, source_row, planes, width, taps);
}

#else

void NF_KERNEL(group_taps)(nf_taps *taps, size_t channels) {
    (void)channels;
    taps->grouped = false;
}

void NF_KERNEL(resample_rows)(uint8_t *out, size_t out_row, size_t out_plane, const uint8_t *source, size_t source_row,
                              size_t rows, size_t channels, const nf_taps *taps, uint8_t *scratch) {
    resample_rows_plainly(out, out_row, out_plane, source, source_row, rows, channels, taps, scratch);
}

void NF_KERNEL(resample_columns)(uint8_t *out, size_t out_row, size_t out_plane, const uint8_t *source,
                                 size_t source_row, size_t planes, size_t width, const nf_taps *taps) {
    resample_columns_plainly(out, out_row, out_plane, source, source_row, planes, width, taps);
}

#endif
