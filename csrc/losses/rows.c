#include "rows.h"

#include "../core/dispatch.h"
#include "../core/memory.h"
#include "../core/threads.h"

#include <math.h>
#include <string.h>

int64_t NF_REAL(nf_rows_per_task)(int64_t width) {
    enum { NUMBERS_PER_TASK = 1 << 12 };
    return width < NUMBERS_PER_TASK ? NUMBERS_PER_TASK / width : 1;
}

int64_t NF_REAL(nf_rows_stride)(int64_t width) {
    enum { LINE = 64 / sizeof(real), GROUP = 16 };
    int64_t stride = (width + GROUP - 1) / GROUP * GROUP;
    return stride / LINE % 2 ? stride : stride + LINE;
}

int64_t NF_REAL(nf_rows_room)(int64_t count) {
    return (count + NF_BLOCK_STEP - 1) / NF_BLOCK_STEP * NF_BLOCK_STEP;
}

typedef struct preparation {
    nf_rows *rows;
    const real *x;
    const int64_t *order; /* NULL: as they come */
} preparation;

/* Takes the length of row i where squares may be out of range, or numbers not finite. */
static void measure_with_care(const nf_rows *rows, int64_t i, const real *x) {
    size_t width = (size_t)rows->width;
    double largest = (double)nf_kernel->NF_REAL(row_largest)(x, width);
    rows->first[i] = rows->second[i] = 0;
    rows->norm[i] = largest;
    if (largest > 0) { /* a power of two brings the largest element to 1/2..1, so that squares stay in range */
        int exponent;
        frexp(largest, &exponent);
        int limit = sizeof(real) == 8 ? 1022 : 126;
        real first = (real)ldexp(1, exponent > limit ? -limit : exponent < -limit ? limit : -exponent);
        double scaled = sqrt(nf_kernel->NF_REAL(row_squares)(x, first, width));
        rows->first[i] = first;
        rows->second[i] = (real)(1 / scaled);
        rows->norm[i] = scaled / (double)first;
    }
}

static void prepare_task(void *context, int64_t i, int worker) {
    (void)worker;
    const preparation *p = context;
    const nf_rows *rows = p->rows;
    const double least = sizeof(real) == 8 ? 1e-200 : 1e-60;
    size_t width = (size_t)rows->width;
    const real *x = p->x + (p->order ? p->order[i] : i) * rows->width;
    double squares = nf_kernel->NF_REAL(row_squares)(x, 1, width);
    if (squares > least && squares < 1 / least) {
        rows->first[i] = 1;
        rows->norm[i] = sqrt(squares);
        rows->second[i] = (real)(1 / rows->norm[i]);
    } else {
        measure_with_care(rows, i, x);
    }
    real *z = rows->z + i * rows->stride;
    if (rows->normalized)
        nf_kernel->NF_REAL(row_scale)(z, x, rows->first[i], rows->second[i], width);
    else
        memcpy(z, x, width * sizeof(real));
    memset(z + width, 0, (size_t)(rows->stride - rows->width) * sizeof(real));
}

nf_status NF_REAL(nf_rows_open)(nf_rows *rows, const char *name, const real *x, int64_t count, int64_t width,
                                bool normalize) {
    return NF_REAL(nf_rows_open_ordered)(rows, name, x, NULL, count, width, normalize);
}

nf_status NF_REAL(nf_rows_open_ordered)(nf_rows *rows, const char *name, const real *x, const int64_t *order,
                                        int64_t count, int64_t width, bool normalize) {
    int64_t stride = NF_REAL(nf_rows_stride)(width), room = NF_REAL(nf_rows_room)(count);
    *rows = (nf_rows){.count = count, .width = width, .stride = stride, .normalized = normalize};
    size_t n = (size_t)count, size = (size_t)(room * stride);
    NF_TRY(nf_alloc(&rows->memory, (size + 2 * n) * sizeof(real) + n * sizeof(double)));
    rows->z = rows->memory;
    rows->norm = (double *)(rows->z + size);
    rows->first = (real *)(rows->norm + n);
    rows->second = rows->first + n;
    memset(rows->z + count * stride, 0, (size_t)((room - count) * stride) * sizeof(real));
    preparation p = {rows, x, order};
    NF_TRY(nf_parallel_groups(prepare_task, &p, count, NF_REAL(nf_rows_per_task)(width), NF_MAX_THREADS));
    int64_t bad = count;
    for (int64_t i = 0; i < count; i++) {
        int64_t source = order ? order[i] : i;
        if (isnan(rows->norm[i]) && source < bad)
            bad = source;
        double norm = !normalize ? rows->norm[i] : rows->norm[i] > 0 ? 1 : 0;
        if (norm > rows->largest_norm)
            rows->largest_norm = norm;
    }
    if (bad < count)
        return nf_fail(NF_BAD_VALUE, "%s must be finite, got NaN or infinity in row %lld", name, (long long)bad);
    return NF_OK;
}

void NF_REAL(nf_rows_close)(nf_rows *rows) {
    nf_free(rows->memory);
}

nf_status NF_REAL(nf_scores_check)(const nf_rows *a, const nf_rows *b, double temperature, bool *need_double) {
    double product = a->largest_norm * b->largest_norm, bound = product / temperature;
    if (!(product < 1e300 && bound < 1e300 && 1 / temperature < 1e300))
        return nf_fail(
            NF_BAD_VALUE,
            "products of rows divided by temperature must stay below 1e300, got up to %g with temperature %g", bound,
            temperature);
    bool digits = bound <= 128; /* an error of 2^-24 of a score of 128 is 8e-6 of its exponential */
    bool range = temperature > 1e-30 && temperature < 1e30;
    if (sizeof(real) < sizeof(double) && !(digits && range))
        *need_double = true;
    return NF_OK;
}

double NF_REAL(nf_rows_gradient)(const nf_rows *rows, int64_t i, real *d_x, real *d_z, double scale) {
    size_t width = (size_t)rows->width;
    const real *z = rows->z + i * rows->stride;
    double along = nf_kernel->NF_REAL(row_dot)(d_z, z, width);
    if (rows->normalized) { /* d_x = (d_z - z <z, d_z>) / |x| */
        nf_kernel->NF_REAL(row_add_scaled)(d_z, z, (real)-along, width);
        bool extreme = rows->first[i] != 1;
        if (extreme)
            nf_kernel->NF_REAL(row_scale)(d_z, d_z, (real)scale, rows->first[i], width);
        nf_kernel->NF_REAL(row_scale)(d_x, d_z, extreme ? 1 : (real)scale, rows->second[i], width);
    } else {
        nf_kernel->NF_REAL(row_scale)(d_x, d_z, (real)scale, 1, width);
    }
    return along * scale;
}
