/* Warps: where pixels come from, and what lies there. Positions are whole numbers with NF_WARP_BITS binary places; sums
 * of bytes with weights of as many places are exact in whole numbers and, below 2^24, in single precision, so that all
 * instruction sets give the same bits. */
#include "kernels.h"
#include "pixels.h"

enum { ONE = 1 << NF_WARP_BITS, FRACTION = ONE - 1, MOST = NF_WARP_CHUNK };

/* ---- Positions ---- */

/* Position (u, v) as whole numbers; what lies outside, or nowhere (NaN), gives NF_WARP_OUTSIDE. Products and sums are
 * in Pillow's order. The denominator's inverse is taken to 24 bits, and to 47 by Newton's method, which is sooner there
 * than a division that gives 53. */
#if defined(__AVX2__) && !defined(__AVX512F__) /* four at a time: compilers do not find these vectors by themselves */

NF_INLINE __m256d linear(double factor, __m256d at, double rest) {
    return _mm256_add_pd(_mm256_mul_pd(_mm256_set1_pd(factor), at), _mm256_set1_pd(rest));
}

NF_INLINE __m256d is_within(__m256d a, double size) {
    return _mm256_and_pd(_mm256_cmp_pd(a, _mm256_setzero_pd(), _CMP_GE_OQ),
                         _mm256_cmp_pd(a, _mm256_set1_pd(size), _CMP_LT_OQ));
}

NF_INLINE void place_four(int32_t *x, int32_t *y, __m256d u, __m256d v, const nf_projection *p) {
    const __m256d outside = _mm256_set1_pd(NF_WARP_OUTSIDE);
    __m256d inside = _mm256_and_pd(is_within(u, p->width), is_within(v, p->height));
    u = _mm256_blendv_pd(outside, linear(p->scale, u, p->shift), inside);
    v = _mm256_blendv_pd(outside, linear(p->scale, v, p->shift), inside);
    _mm_storeu_si128((__m128i *)x, _mm256_cvttpd_epi32(u));
    _mm_storeu_si128((__m128i *)y, _mm256_cvttpd_epi32(v));
}

NF_INLINE __m256d four_from(double column, size_t i) {
    return _mm256_add_pd(_mm256_set1_pd(column + (double)(int32_t)i), _mm256_setr_pd(0, 1, 2, 3));
}

NF_INLINE void project_points(int32_t *x, int32_t *y, const nf_projection *projection, double column, double row,
                              size_t n) {
    const nf_projection p = *projection;
    const double *m = p.matrix;
    for (size_t i = 0; i < n; i += 4) {
        __m256d at = four_from(column, i), z = linear(m[6], at, m[7] * row + 1);
        __m256d over = _mm256_cvtps_pd(_mm_div_ps(_mm_set1_ps(1), _mm256_cvtpd_ps(z)));
        over = _mm256_mul_pd(over, _mm256_sub_pd(_mm256_set1_pd(2), _mm256_mul_pd(z, over)));
        __m256d u = linear(m[0], at, m[1] * row + m[2]), v = linear(m[3], at, m[4] * row + m[5]);
        place_four(x + i, y + i, _mm256_mul_pd(u, over), _mm256_mul_pd(v, over), &p);
    }
}

void NF_KERNEL(project_affine)(int32_t *restrict x, int32_t *restrict y, const nf_projection *projection, double column,
                               double row, size_t n) {
    const nf_projection p = *projection;
    const double *m = p.matrix;
    for (size_t i = 0; i < n; i += 4) {
        __m256d at = four_from(column, i);
        __m256d u = _mm256_add_pd(linear(m[0], at, m[1] * row), _mm256_set1_pd(m[2]));
        __m256d v = _mm256_add_pd(linear(m[3], at, m[4] * row), _mm256_set1_pd(m[5]));
        place_four(x + i, y + i, u, v, &p);
    }
}

#else /* all in double precision, so that loops over it become vectors */

NF_INLINE void place(int32_t *x, int32_t *y, double u, double v, const nf_projection *p) {
    bool inside = (u >= 0) & (u < p->width) & (v >= 0) & (v < p->height);
    u = u * p->scale + p->shift;
    v = v * p->scale + p->shift;
    *x = (int32_t)(inside ? u : NF_WARP_OUTSIDE);
    *y = (int32_t)(inside ? v : NF_WARP_OUTSIDE);
}

NF_INLINE void project_points(int32_t *restrict x, int32_t *restrict y, const nf_projection *projection, double column,
                              double row, size_t n) {
    const nf_projection p = *projection;
    const double *m = p.matrix;
    double x_row = m[1] * row + m[2], y_row = m[4] * row + m[5], z_row = m[7] * row + 1;
    for (size_t i = 0; i < n; i++) {
        double at = column + (double)(int32_t)i, z = m[6] * at + z_row, over = 1 / (float)z;
        over *= 2 - z * over;
        place(x + i, y + i, (m[0] * at + x_row) * over, (m[3] * at + y_row) * over, &p);
    }
}

void NF_KERNEL(project_affine)(int32_t *restrict x, int32_t *restrict y, const nf_projection *projection, double column,
                               double row, size_t n) {
    const nf_projection p = *projection;
    const double *m = p.matrix;
    double x_row = m[1] * row, y_row = m[4] * row;
    for (size_t i = 0; i < n; i++) {
        double at = column + (double)(int32_t)i;
        place(x + i, y + i, m[0] * at + x_row + m[2], m[3] * at + y_row + m[5], &p);
    }
}

#endif

/* For nearest neighbours: the same in single precision, and how far from the exact ones positions may be. They are
 * larger by one, so that cutting fractions off is the same on both sides of the image's borders. */
typedef struct quick_projection {
    float u, v, z, u_step, v_step, z_step, doubt;
    uint32_t width, height;
} quick_projection;

NF_INLINE double larger_size(double a, double b) {
    a = a < 0 ? -a : a;
    b = b < 0 ? -b : b;
    return a > b ? a : b;
}

/* Two coefficients, a product and a sum are rounded above, the same below, a quotient (by up to twice as much), a
 * product and a sum, each by 2^-24 of at most what `above` and `below` say; 9 and 4 leave something for what is rounded
 * in double precision.
 * Returns whether doubt is small, and positions fit into 24 bits. */
NF_INLINE bool make_quick(quick_projection *q, const nf_projection *p, double column, double row, size_t n) {
    const double *m = p->matrix, steps = (double)(int32_t)n;
    double z = m[6] * column + m[7] * row + 1, last = z + m[6] * steps;
    double u = m[0] * column + m[1] * row + m[2] + z, v = m[3] * column + m[4] * row + m[5] + z;
    double u_step = m[0] + m[6], v_step = m[3] + m[6];
    double above = larger_size(u, v) + larger_size(u_step, v_step) * steps, below = larger_size(z, last);
    double over_least = below / (z * last); /* 1 / the smaller of the two */
    double doubt = above * over_least * (9 + 4 * below * over_least) * 0x1p-24;
    *q = (quick_projection){
        .u = (float)u,
        .v = (float)v,
        .z = (float)z,
        .u_step = (float)u_step,
        .v_step = (float)v_step,
        .z_step = (float)m[6],
        .doubt = (float)doubt,
        .width = (uint32_t)p->width,
        .height = (uint32_t)p->height,
    };
    return z * last > 0 && doubt < 0.01;
}

enum { BLOCK = 32 };

/* Positions of a block's points, of which `first` is the first; whether none is in doubt about the whole number below
 * it. */
#ifdef __AVX512F__
NF_INLINE bool project_quickly(int32_t *restrict x, int32_t *restrict y, quick_projection q, int32_t first) {
    const vreal places = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), doubt = v_set(q.doubt);
    const vint one = vi_set(1), outside = vi_set(NF_WARP_OUTSIDE);
    const vint width = vi_set((int32_t)q.width), height = vi_set((int32_t)q.height);
    vmask close = 0;
    NF_UNROLL
    for (int32_t i = 0; i < BLOCK; i += NF_WIDTH) {
        vreal at = v_add(v_set((float)(first + i)), places), z = v_fma(v_set(q.z_step), at, v_set(q.z));
        vreal over = _mm512_rcp14_ps(z);
        over = v_mul(over, v_fnma(z, over, v_set(2)));
        vreal u = v_mul(v_fma(v_set(q.u_step), at, v_set(q.u)), over);
        vreal v = v_mul(v_fma(v_set(q.v_step), at, v_set(q.v)), over);
        vint left = vi_from_real(v_sub(u, doubt)), top = vi_from_real(v_sub(v, doubt));
        close |= _mm512_cmpneq_epi32_mask(left, vi_from_real(v_add(u, doubt)));
        close |= _mm512_cmpneq_epi32_mask(top, vi_from_real(v_add(v, doubt)));
        left = vi_sub(left, one);
        top = vi_sub(top, one);
        vmask inside = _mm512_mask_cmplt_epu32_mask(_mm512_cmplt_epu32_mask(left, width), top, height);
        _mm512_storeu_si512(x + i, _mm512_mask_mov_epi32(outside, inside, left));
        _mm512_storeu_si512(y + i, top);
    }
    return close == 0;
}
#elif defined(__AVX2__)
NF_INLINE vint is_below(vint a, vint size) { /* without sign */
    return _mm256_cmpeq_epi32(_mm256_min_epu32(a, vi_sub(size, vi_set(1))), a);
}
NF_INLINE bool project_quickly(int32_t *restrict x, int32_t *restrict y, quick_projection q, int32_t first) {
    const vreal places = _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7), doubt = v_set(q.doubt);
    const vint one = vi_set(1), outside = vi_set(NF_WARP_OUTSIDE);
    const vint width = vi_set((int32_t)q.width), height = vi_set((int32_t)q.height);
    vreal at = v_add(v_set((float)first), places);
    vint close = vi_set(0);
    NF_UNROLL
    for (int32_t i = 0; i < BLOCK; i += NF_WIDTH, at = v_add(at, v_set(NF_WIDTH))) {
        vreal over = v_div(v_set(1), v_fma(v_set(q.z_step), at, v_set(q.z)));
        vreal u = v_mul(v_fma(v_set(q.u_step), at, v_set(q.u)), over);
        vreal v = v_mul(v_fma(v_set(q.v_step), at, v_set(q.v)), over);
        vint left = vi_from_real(v_sub(u, doubt)), top = vi_from_real(v_sub(v, doubt));
        close = _mm256_or_si256(close, _mm256_xor_si256(left, vi_from_real(v_add(u, doubt))));
        close = _mm256_or_si256(close, _mm256_xor_si256(top, vi_from_real(v_add(v, doubt))));
        left = vi_sub(left, one);
        top = vi_sub(top, one);
        vint inside = _mm256_and_si256(is_below(left, width), is_below(top, height));
        _mm256_storeu_si256((__m256i *)(x + i), _mm256_blendv_epi8(outside, left, inside));
        _mm256_storeu_si256((__m256i *)(y + i), top);
    }
    return _mm256_testz_si256(close, close);
}
#else
NF_INLINE bool project_quickly(int32_t *restrict x, int32_t *restrict y, quick_projection q, int32_t first) {
    int32_t close = 0;
    for (int32_t i = 0; i < BLOCK; i++) {
        float at = (float)(first + i), over = 1 / (q.z + q.z_step * at);
        float u = (q.u + q.u_step * at) * over, v = (q.v + q.v_step * at) * over;
        int32_t left = (int32_t)(u - q.doubt), top = (int32_t)(v - q.doubt);
        close |= (left ^ (int32_t)(u + q.doubt)) | (top ^ (int32_t)(v + q.doubt));
        bool inside = ((uint32_t)left - 1 < q.width) & ((uint32_t)top - 1 < q.height);
        x[i] = inside ? left - 1 : NF_WARP_OUTSIDE;
        y[i] = top - 1;
    }
    return !close;
}
#endif

static void project_nearest(int32_t *x, int32_t *y, const nf_projection *p, double column, double row, size_t n) {
    quick_projection quick;
    bool is_quick = make_quick(&quick, p, column, row, (n + BLOCK - 1) / BLOCK * BLOCK);
    for (size_t i = 0; i < n; i += BLOCK) {
        size_t some = n - i < BLOCK ? n - i : BLOCK;
        if (!is_quick || !project_quickly(x + i, y + i, quick, (int32_t)i))
            project_points(x + i, y + i, p, column + (double)(int32_t)i, row, some);
    }
}

void NF_KERNEL(project_perspective)(int32_t *restrict x, int32_t *restrict y, const nf_projection *p, double column,
                                    double row, size_t n) {
    if (p->scale == 1)
        project_nearest(x, y, p, column, row, n);
    else
        project_points(x, y, p, column, row, n);
}

void NF_KERNEL(project_stepwise)(int32_t *restrict x, int32_t *restrict y, const nf_projection *projection,
                                 int32_t x_start, int32_t y_start, size_t n) {
    const nf_projection p = *projection;
    uint32_t x_step = (uint32_t)p.x_step, y_step = (uint32_t)p.y_step;
    int32_t width = (int32_t)p.width, height = (int32_t)p.height;
    for (uint32_t i = 0; i < (uint32_t)n; i++) {
        int32_t x_in = (int32_t)((uint32_t)x_start + i * x_step) >> 16;
        int32_t y_in = (int32_t)((uint32_t)y_start + i * y_step) >> 16;
        bool inside = (x_in >= 0) & (x_in < width) & (y_in >= 0) & (y_in < height);
        x[i] = inside ? x_in : NF_WARP_OUTSIDE;
        y[i] = y_in;
    }
}

#ifdef __AVX512F__
size_t NF_KERNEL(find_zones)(uint8_t *restrict zones, const nf_projection *p, const int32_t *x, const int32_t *y,
                             size_t n) {
    vint low_x = vi_set(p->low_x), high_x = vi_set(p->high_x), low_y = vi_set(p->low_y), high_y = vi_set(p->high_y);
    size_t count = 0;
    for (size_t i = 0; i < n; i += NF_WIDTH) {
        vmask there = (vmask)(n - i < NF_WIDTH ? (1u << (n - i)) - 1u : 0xffffu);
        vint column = _mm512_maskz_loadu_epi32(there, x + i), row = _mm512_maskz_loadu_epi32(there, y + i);
        vmask inner = _mm512_mask_cmpge_epi32_mask(there, column, low_x);
        inner = _mm512_mask_cmplt_epi32_mask(inner, column, high_x);
        inner = _mm512_mask_cmpge_epi32_mask(inner, row, low_y);
        inner = _mm512_mask_cmplt_epi32_mask(inner, row, high_y);
        vmask inside = (vmask)~_mm512_movepi32_mask(column);
        __m128i zone = _mm_add_epi8(_mm_maskz_set1_epi8(inside, 1), _mm_maskz_set1_epi8(inner, 1));
        _mm_mask_storeu_epi8(zones + i, there, zone);
        count += (size_t)__builtin_popcount(inner);
    }
    return count;
}
#else
/* The largest part that four vectors at a time make; the number of pixels done. */
NF_INLINE size_t find_zones_in_vectors(uint8_t *zones, size_t *inner_count, const nf_projection *p, const int32_t *x,
                                       const int32_t *y, size_t n) {
    size_t i = 0;
#ifdef __AVX2__
    const vint below_x = vi_set(p->low_x - 1), high_x = vi_set(p->high_x), below_y = vi_set(p->low_y - 1);
    const vint high_y = vi_set(p->high_y), outside = vi_set(NF_WARP_OUTSIDE);
    vint count = vi_set(0);
    for (; i + V_MANY_BYTES <= n; i += V_MANY_BYTES) {
        vint zone[V_MANY];
        NF_UNROLL
        for (size_t k = 0; k < V_MANY; k++) {
            vint column = _mm256_loadu_si256((const __m256i *)(x + i) + k);
            vint row = _mm256_loadu_si256((const __m256i *)(y + i) + k);
            vint in_x = _mm256_and_si256(_mm256_cmpgt_epi32(column, below_x), _mm256_cmpgt_epi32(high_x, column));
            vint in_y = _mm256_and_si256(_mm256_cmpgt_epi32(row, below_y), _mm256_cmpgt_epi32(high_y, row));
            vint inner = _mm256_and_si256(in_x, in_y), inside = _mm256_cmpgt_epi32(column, outside);
            zone[k] = vi_sub(vi_sub(vi_set(0), inside), inner);
            count = vi_sub(count, inner);
        }
        vi_store_many_bytes(zones + i, zone);
    }
    uint32_t counts[NF_WIDTH];
    _mm256_storeu_si256((__m256i *)counts, count);
    for (size_t k = 0; k < NF_WIDTH; k++)
        *inner_count += counts[k];
#else
    (void)zones, (void)inner_count, (void)p, (void)x, (void)y, (void)n;
#endif
    return i;
}

size_t NF_KERNEL(find_zones)(uint8_t *restrict zones, const nf_projection *p, const int32_t *x, const int32_t *y,
                             size_t n) {
    int32_t low_x = p->low_x, high_x = p->high_x, low_y = p->low_y, high_y = p->high_y, count = 0;
    size_t counted = 0, done = find_zones_in_vectors(zones, &counted, p, x, y, n);
    for (size_t i = done; i < n; i++) {
        int32_t inner = (x[i] >= low_x) & (x[i] < high_x) & (y[i] >= low_y) & (y[i] < high_y);
        zones[i] = (uint8_t)((x[i] >= 0) + inner);
        count += inner;
    }
    return counted + (size_t)count;
}
#endif

/* ---- Samples ---- */

static void find_offsets(int32_t *offsets, const nf_raster *in, const int32_t *x, const int32_t *y, int bits,
                         size_t n) {
    int32_t half = bits ? ONE / 2 : 0, row = (int32_t)in->row, channels = (int32_t)in->channels;
    for (size_t i = 0; i < n; i++)
        offsets[i] = ((y[i] - half) >> bits) * row + ((x[i] - half) >> bits) * channels;
}

NF_INLINE int32_t load_four_bytes(const uint8_t *p) {
    int32_t four;
    memcpy(&four, p, sizeof four);
    return four;
}

/* Pixels of three channels, each read with a byte of what follows; the number of pixels done. */
NF_INLINE size_t copy_triples(uint8_t *out, const uint8_t *pixels, const int32_t *offsets, size_t n) {
    size_t i = 0;
#ifdef __AVX2__
    for (; i + 6 <= n; i += 4) { /* four at a time; what is written too much the next pixels overwrite */
        const int32_t *at = offsets + i;
        __m128i four = _mm_setr_epi32(load_four_bytes(pixels + at[0]), load_four_bytes(pixels + at[1]),
                                      load_four_bytes(pixels + at[2]), load_four_bytes(pixels + at[3]));
        _mm_storeu_si128((__m128i *)(out + 3 * i), drop_fourths(four));
    }
#endif
    for (; i + 1 < n; i++)
        memcpy(out + 3 * i, pixels + offsets[i], 4);
    return i;
}

void NF_KERNEL(sample_nearest)(uint8_t *out, const nf_raster *in, const int32_t *x, const int32_t *y, size_t n) {
    const uint8_t *pixels = in->pixels;
    size_t channels = in->channels, i = 0;
    int32_t offsets[MOST];
    find_offsets(offsets, in, x, y, 0, n);
    if (channels == 1)
        for (; i < n; i++)
            out[i] = pixels[offsets[i]];
    else if (channels == 3)
        i = copy_triples(out, pixels, offsets, n);
    else if (channels == 4)
        for (; i < n; i++)
            memcpy(out + 4 * i, pixels + offsets[i], 4);
    for (; i < n; i++)
        for (size_t c = 0; c < channels; c++)
            out[i * channels + c] = pixels[offsets[i] + (int32_t)c];
}

/* Weights of the two columns, in the low and the high half, for sums of products of 16 bits; the lower row's weight. */
static void find_linear_weights(int32_t *pairs, float *lower, const int32_t *x, const int32_t *y, size_t n) {
    for (size_t i = 0; i < n; i++) {
        int32_t right = (x[i] - ONE / 2) & FRACTION;
        pairs[i] = (right << 16) + (ONE - right);
        lower[i] = (float)((y[i] - ONE / 2) & FRACTION) * (1.0f / ONE);
    }
}

/* One pixel from four; the vectors below do the same. */
NF_INLINE void blend_four(uint8_t *out, const uint8_t *const taps[4], int32_t pair, float lower, size_t channels) {
    int32_t left = pair & 0xffff, right = pair >> 16;
    for (size_t c = 0; c < channels; c++) {
        int32_t above = taps[0][c] * left + taps[1][c] * right, below = taps[2][c] * left + taps[3][c] * right;
        float sum = (float)above + (float)(below - above) * lower;
        out[c] = (uint8_t)((int32_t)sum >> NF_WARP_BITS);
    }
}

/* Weights of cubic convolution with a = -1 for the distances 1 + d, d, 1 - d, 2 - d. */
NF_INLINE void cubic_weights(float w[4], float d) {
    float d2 = d * d, d3 = d2 * d;
    w[0] = 2 * d2 - d - d3;
    w[1] = 1 - 2 * d2 + d3;
    w[2] = d + d2 - d3;
    w[3] = d3 - d2;
}

/* Columns: two pairs of whole numbers, whose sum is ONE; rows: four floats. */
static void find_cubic_weights(int32_t *pairs, float *rows, const int32_t *x, const int32_t *y, size_t n) {
    for (size_t i = 0; i < n; i++) {
        float w[4];
        cubic_weights(w, (float)((x[i] - ONE / 2) & FRACTION) * (1.0f / ONE));
        int32_t w0 = (int32_t)(w[0] * ONE - 0.5f), w3 = (int32_t)(w[3] * ONE - 0.5f); /* <= 0 */
        int32_t w2 = (int32_t)(w[2] * ONE + 0.5f), w1 = ONE - w0 - w2 - w3;
        pairs[2 * i] = w1 * 65536 + (w0 & 0xffff);
        pairs[2 * i + 1] = w3 * 65536 + (w2 & 0xffff);
        cubic_weights(rows + 4 * i, (float)((y[i] - ONE / 2) & FRACTION) * (1.0f / ONE));
    }
}

NF_INLINE int32_t low_half(int32_t pair) {
    return (int16_t)(pair & 0xffff);
}

/* One pixel from sixteen, in rows of four. */
NF_INLINE void blend_sixteen(uint8_t *out, const uint8_t *const taps[16], const int32_t pairs[2], const float rows[4],
                             size_t channels) {
    int32_t w0 = low_half(pairs[0]), w1 = pairs[0] >> 16, w2 = low_half(pairs[1]), w3 = pairs[1] >> 16;
    for (size_t c = 0; c < channels; c++) {
        float sums[4];
        for (int k = 0; k < 4; k++) {
            const uint8_t *const *row = taps + 4 * k;
            sums[k] = (float)(row[0][c] * w0 + row[1][c] * w1 + row[2][c] * w2 + row[3][c] * w3) * rows[k];
        }
        int32_t value = (int32_t)((sums[0] + sums[2]) + (sums[1] + sums[3])) >> NF_WARP_BITS;
        out[c] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
    }
}

#ifdef __AVX2__

NF_INLINE __m128i load_4(const uint8_t *p) {
    return _mm_cvtsi32_si128(load_four_bytes(p));
}
NF_INLINE int load_2(const uint8_t *p) {
    uint16_t two;
    memcpy(&two, p, 2);
    return two;
}
NF_INLINE __m256i load_two_eights(const uint8_t *low, const uint8_t *high) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadl_epi64((const __m128i *)low)),
                                   _mm_loadl_epi64((const __m128i *)high), 1);
}
NF_INLINE __m256i load_two_sixteens(const uint8_t *low, const uint8_t *high) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)low)),
                                   _mm_loadu_si128((const __m128i *)high), 1);
}

/* Bytes k and k + channels of a pixel and its right neighbour as pairs of 16 bits, in both halves. */
NF_INLINE __m256i pairs_of_channels(int channels, int first) {
    char places[16];
    for (int c = 0; c < 4; c++) {
        bool there = c < channels;
        places[4 * c] = (char)(there ? first + c : -1);
        places[4 * c + 2] = (char)(there ? first + channels + c : -1);
        places[4 * c + 1] = places[4 * c + 3] = -1;
    }
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)places));
}

NF_INLINE __m256i blend_rows(__m256i above, __m256i below, __m256 lower) {
    __m256 change = _mm256_cvtepi32_ps(_mm256_sub_epi32(below, above));
    __m256 sum = _mm256_add_ps(_mm256_cvtepi32_ps(above), _mm256_mul_ps(change, lower));
    return _mm256_srai_epi32(_mm256_cvttps_epi32(sum), NF_WARP_BITS);
}

/* a: the channels of pixels 0 and 1, b: of 2 and 3, four numbers each, to the bytes of four pixels. */
NF_INLINE __m128i pack_four(__m256i a, __m256i b) {
    __m256i bytes = _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_setzero_si256());
    return _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));
}

/* Stores four pixels of three channels, and four more bytes. */
NF_INLINE void store_triples(uint8_t *out, __m128i quads) {
    const __m128i places = _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1);
    _mm_storeu_si128((__m128i *)out, _mm_shuffle_epi8(quads, places));
}

NF_INLINE __m256i blend_two_pixels(const uint8_t *first, const uint8_t *second, size_t row, __m256i places,
                                   const int32_t *pairs, const float *lower) {
    const __m256i spread = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
    __m256i weights =
        _mm256_permutevar8x32_epi32(_mm256_castsi128_si256(_mm_loadl_epi64((const __m128i *)pairs)), spread);
    __m256i below_weights =
        _mm256_permutevar8x32_epi32(_mm256_castsi128_si256(_mm_loadl_epi64((const __m128i *)lower)), spread);
    __m256i above = _mm256_shuffle_epi8(load_two_eights(first, second), places);
    __m256i below = _mm256_shuffle_epi8(load_two_eights(first + row, second + row), places);
    return blend_rows(_mm256_madd_epi16(above, weights), _mm256_madd_epi16(below, weights),
                      _mm256_castsi256_ps(below_weights));
}

/* The number of pixels done. */
NF_INLINE size_t blend_many(uint8_t *out, const nf_raster *in, const int32_t *offsets, const int32_t *pairs,
                            const float *lower, size_t n, int channels) {
    __m256i places = pairs_of_channels(channels, 0);
    size_t i = 0;
    for (; i + (channels == 3 ? 6 : 4) <= n; i += 4) {
        const uint8_t *from = in->pixels;
        __m256i a = blend_two_pixels(from + offsets[i], from + offsets[i + 1], in->row, places, pairs + i, lower + i);
        __m256i b = blend_two_pixels(from + offsets[i + 2], from + offsets[i + 3], in->row, places, pairs + i + 2,
                                     lower + i + 2);
        if (channels == 3)
            store_triples(out + 3 * i, pack_four(a, b));
        else
            _mm_storeu_si128((__m128i *)(out + 4 * i), pack_four(a, b));
    }
    return i;
}

NF_INLINE __m256i load_eight_pairs(const uint8_t *from, const int32_t *offsets) {
    __m128i pairs = _mm_cvtsi32_si128(load_2(from + offsets[0]));
    pairs = _mm_insert_epi16(pairs, load_2(from + offsets[1]), 1);
    pairs = _mm_insert_epi16(pairs, load_2(from + offsets[2]), 2);
    pairs = _mm_insert_epi16(pairs, load_2(from + offsets[3]), 3);
    pairs = _mm_insert_epi16(pairs, load_2(from + offsets[4]), 4);
    pairs = _mm_insert_epi16(pairs, load_2(from + offsets[5]), 5);
    pairs = _mm_insert_epi16(pairs, load_2(from + offsets[6]), 6);
    pairs = _mm_insert_epi16(pairs, load_2(from + offsets[7]), 7);
    return _mm256_cvtepu8_epi16(pairs);
}

NF_INLINE size_t blend_many_single(uint8_t *out, const nf_raster *in, const int32_t *offsets, const int32_t *pairs,
                                   const float *lower, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256i weights = _mm256_loadu_si256((const __m256i *)(pairs + i));
        __m256i above = _mm256_madd_epi16(load_eight_pairs(in->pixels, offsets + i), weights);
        __m256i below = _mm256_madd_epi16(load_eight_pairs(in->pixels + in->row, offsets + i), weights);
        __m256i sums = blend_rows(above, below, _mm256_loadu_ps(lower + i));
        __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
        _mm_storel_epi64((__m128i *)(out + i), _mm_packus_epi16(words, words));
    }
    return i;
}

/* The sums of rows 0 and 2, and of rows 1 and 3, each four numbers, to whole numbers. */
NF_INLINE __m128i add_rows(__m256i first, __m256i second, const float *rows) {
    const __m256i low = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1), high = _mm256_setr_epi32(2, 2, 2, 2, 3, 3, 3, 3);
    __m256i weights = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)rows));
    __m256 w01 = _mm256_castsi256_ps(_mm256_permutevar8x32_epi32(weights, low));
    __m256 w23 = _mm256_castsi256_ps(_mm256_permutevar8x32_epi32(weights, high));
    __m256 sums =
        _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(first), w01), _mm256_mul_ps(_mm256_cvtepi32_ps(second), w23));
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1));
    return _mm_srai_epi32(_mm_cvttps_epi32(sum), NF_WARP_BITS);
}

NF_INLINE __m128i convolve_pixel(const uint8_t *from, size_t row, __m256i left, __m256i right, const int32_t *pairs,
                                 const float *rows) {
    __m256i w01 = _mm256_set1_epi32(pairs[0]), w23 = _mm256_set1_epi32(pairs[1]);
    __m256i first = load_two_sixteens(from, from + row), second = load_two_sixteens(from + 2 * row, from + 3 * row);
    first = _mm256_add_epi32(_mm256_madd_epi16(_mm256_shuffle_epi8(first, left), w01),
                             _mm256_madd_epi16(_mm256_shuffle_epi8(first, right), w23));
    second = _mm256_add_epi32(_mm256_madd_epi16(_mm256_shuffle_epi8(second, left), w01),
                              _mm256_madd_epi16(_mm256_shuffle_epi8(second, right), w23));
    return add_rows(first, second, rows);
}

NF_INLINE size_t convolve_many(uint8_t *out, const nf_raster *in, const int32_t *offsets, const int32_t *pairs,
                               const float *rows, size_t n, int channels) {
    __m256i left = pairs_of_channels(channels, 0), right = pairs_of_channels(channels, 2 * channels);
    const uint8_t *from = in->pixels - in->row - channels;
    size_t i = 0;
    for (; i + (channels == 3 ? 6 : 4) <= n; i += 4) {
        __m128i sums[4];
        NF_UNROLL
        for (size_t k = 0; k < 4; k++)
            sums[k] =
                convolve_pixel(from + offsets[i + k], in->row, left, right, pairs + 2 * (i + k), rows + 4 * (i + k));
        __m128i bytes = _mm_packus_epi16(_mm_packs_epi32(sums[0], sums[1]), _mm_packs_epi32(sums[2], sums[3]));
        if (channels == 3)
            store_triples(out + 3 * i, bytes);
        else
            _mm_storeu_si128((__m128i *)(out + 4 * i), bytes);
    }
    return i;
}

/* Four numbers, the sums over the columns of the rows 0, 1, 2, 3. */
NF_INLINE __m128i convolve_rows(const uint8_t *from, size_t row, const int32_t *pairs) {
    __m128i low = _mm_unpacklo_epi32(load_4(from), load_4(from + row));
    __m128i high = _mm_unpacklo_epi32(load_4(from + 2 * row), load_4(from + 3 * row));
    __m256i taps = _mm256_cvtepu8_epi16(_mm_unpacklo_epi64(low, high));
    int64_t both;
    memcpy(&both, pairs, sizeof both);
    __m256i halves = _mm256_madd_epi16(taps, _mm256_set1_epi64x(both));
    return _mm_hadd_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1));
}

NF_INLINE size_t convolve_many_single(uint8_t *out, const nf_raster *in, const int32_t *offsets, const int32_t *pairs,
                                      const float *rows, size_t n) {
    const uint8_t *from = in->pixels - in->row - 1;
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        __m128 sums[4];
        NF_UNROLL
        for (size_t k = 0; k < 4; k++) {
            __m128i of_rows = convolve_rows(from + offsets[i + k], in->row, pairs + 2 * (i + k));
            sums[k] = _mm_mul_ps(_mm_cvtepi32_ps(of_rows), _mm_loadu_ps(rows + 4 * (i + k)));
        }
        _MM_TRANSPOSE4_PS(sums[0], sums[1], sums[2], sums[3]);
        __m128 sum = _mm_add_ps(_mm_add_ps(sums[0], sums[2]), _mm_add_ps(sums[1], sums[3]));
        __m128i whole = _mm_srai_epi32(_mm_cvttps_epi32(sum), NF_WARP_BITS);
        whole = _mm_packs_epi32(whole, whole);
        int32_t four = _mm_cvtsi128_si32(_mm_packus_epi16(whole, whole));
        memcpy(out + i, &four, 4);
    }
    return i;
}

#endif

void NF_KERNEL(sample_bilinear)(uint8_t *out, const nf_raster *in, const int32_t *x, const int32_t *y, size_t n) {
    size_t channels = in->channels, i = 0;
    int32_t offsets[MOST], pairs[MOST];
    float lower[MOST];
    find_offsets(offsets, in, x, y, NF_WARP_BITS, n);
    find_linear_weights(pairs, lower, x, y, n);
#ifdef __AVX2__
    if (channels == 3)
        i = blend_many(out, in, offsets, pairs, lower, n, 3);
    else if (channels == 1)
        i = blend_many_single(out, in, offsets, pairs, lower, n);
    else if (channels == 4)
        i = blend_many(out, in, offsets, pairs, lower, n, 4);
#endif
    for (; i < n; i++) {
        const uint8_t *first = in->pixels + offsets[i], *below = first + in->row;
        const uint8_t *const taps[4] = {first, first + channels, below, below + channels};
        blend_four(out + i * channels, taps, pairs[i], lower[i], channels);
    }
}

void NF_KERNEL(sample_bicubic)(uint8_t *out, const nf_raster *in, const int32_t *x, const int32_t *y, size_t n) {
    size_t channels = in->channels, i = 0;
    int32_t offsets[MOST], pairs[2 * MOST];
    float rows[4 * MOST];
    find_offsets(offsets, in, x, y, NF_WARP_BITS, n);
    find_cubic_weights(pairs, rows, x, y, n);
#ifdef __AVX2__
    if (channels == 3)
        i = convolve_many(out, in, offsets, pairs, rows, n, 3);
    else if (channels == 1)
        i = convolve_many_single(out, in, offsets, pairs, rows, n);
    else if (channels == 4)
        i = convolve_many(out, in, offsets, pairs, rows, n, 4);
#endif
    for (; i < n; i++) {
        const uint8_t *taps[16];
        for (size_t k = 0; k < 16; k++)
            taps[k] = in->pixels + offsets[i] - in->row - channels + k / 4 * in->row + k % 4 * channels;
        blend_sixteen(out + i * channels, taps, pairs + 2 * i, rows + 4 * i, channels);
    }
}

/* ---- At the image's borders, where pixels beyond are the nearest ones within ---- */

NF_INLINE const uint8_t *nearest_within(const nf_raster *in, int32_t x, int32_t y) {
    int32_t last_x = (int32_t)in->width - 1, last_y = (int32_t)in->height - 1;
    x = x < 0 ? 0 : x > last_x ? last_x : x;
    y = y < 0 ? 0 : y > last_y ? last_y : y;
    return in->pixels + (size_t)y * in->row + (size_t)x * in->channels;
}

void NF_KERNEL(sample_nearest_edge)(uint8_t *out, const nf_raster *in, const int32_t *x, const int32_t *y, size_t n) {
    for (size_t i = 0; i < n; i++)
        memcpy(out + i * in->channels, nearest_within(in, x[i], y[i]), in->channels);
}

void NF_KERNEL(sample_bilinear_edge)(uint8_t *out, const nf_raster *in, const int32_t *x, const int32_t *y, size_t n) {
    for (size_t i = 0; i < n; i++) {
        int32_t left = (x[i] - ONE / 2) >> NF_WARP_BITS, top = (y[i] - ONE / 2) >> NF_WARP_BITS, pair;
        const uint8_t *taps[4];
        float lower;
        for (int32_t k = 0; k < 4; k++)
            taps[k] = nearest_within(in, left + k % 2, top + k / 2);
        find_linear_weights(&pair, &lower, x + i, y + i, 1);
        blend_four(out + i * in->channels, taps, pair, lower, in->channels);
    }
}

void NF_KERNEL(sample_bicubic_edge)(uint8_t *out, const nf_raster *in, const int32_t *x, const int32_t *y, size_t n) {
    for (size_t i = 0; i < n; i++) {
        int32_t left = ((x[i] - ONE / 2) >> NF_WARP_BITS) - 1, top = ((y[i] - ONE / 2) >> NF_WARP_BITS) - 1, pairs[2];
        const uint8_t *taps[16];
        float rows[4];
        for (int32_t k = 0; k < 16; k++)
            taps[k] = nearest_within(in, left + k % 4, top + k / 4);
        find_cubic_weights(pairs, rows, x + i, y + i, 1);
        blend_sixteen(out + i * in->channels, taps, pairs, rows, in->channels);
    }
}
