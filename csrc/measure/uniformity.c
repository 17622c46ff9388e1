/* Uniformity: the logarithm of the mean Gaussian potential over all pairs of rows. Pairs are met in square tiles of the
 * upper triangle; each tile gives a maximum and a sum relative to it, which are added up in order. */
#include <math.h>

#include "../core/blas.h"
#include "../core/dispatch.h"
#include "../core/memory.h"
#include "../core/threads.h"

enum { TILE = 128 };

typedef struct potential {
    double maximum, sum; /* of the exponents; of exp(exponent - maximum) */
} potential;

typedef struct pairs {
    const double *x;
    double *squares;       /* (n) */
    double *tiles;         /* (workers, TILE, TILE) */
    potential *potentials; /* (tasks) */
    int64_t n, d, blocks;
    double t;
} pairs;

static int64_t block_rows(const pairs *s, int64_t block) {
    int64_t rest = s->n - block * TILE;
    return rest < TILE ? rest : TILE;
}

/* The tiles of the upper triangle, row by row: task -> (row, column). */
static void tile_of(const pairs *s, int64_t task, int64_t *row, int64_t *column) {
    int64_t r = 0;
    for (int64_t left = s->blocks; task >= left; left--, r++)
        task -= left;
    *row = r;
    *column = r + task;
}

static void run(void *context, int64_t task, int worker) {
    pairs *s = context;
    int64_t row, column;
    tile_of(s, task, &row, &column);
    int64_t m = block_rows(s, row), n = block_rows(s, column);
    double *tile = s->tiles + (int64_t)worker * TILE * TILE;
    const double *a_squares = s->squares + row * TILE, *b_squares = s->squares + column * TILE;
    nf_gemm_f64(tile, NF_PLAIN, NF_TRANSPOSED, m, n, s->d, 1, s->x + row * TILE * s->d, s->d,
                s->x + column * TILE * s->d, s->d, 0, n);
    double maximum = -INFINITY;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double distance = a_squares[i] + b_squares[j] - 2 * tile[i * n + j];
            double exponent = -s->t * (distance > 0 ? distance : 0);
            bool counts = row < column || i < j;
            tile[i * n + j] = counts ? exponent : -INFINITY;
            maximum = counts && exponent > maximum ? exponent : maximum;
        }
    double sum = 0;
    if (maximum > -INFINITY) {
        for (int64_t i = 0; i < m * n; i++)
            tile[i] -= maximum;
        nf_kernel->exp_f64(tile, tile, (size_t)(m * n));
        for (int64_t i = 0; i < m * n; i++)
            sum += tile[i];
    }
    s->potentials[task] = (potential){maximum, sum};
}

static nf_status find_squares(const pairs *s) {
    for (int64_t i = 0; i < s->n; i++) {
        double sum = 0;
        for (int64_t j = 0; j < s->d; j++)
            sum += s->x[i * s->d + j] * s->x[i * s->d + j];
        if (!isfinite(sum))
            return nf_fail(NF_BAD_VALUE, "x must be finite and its squares too, got row %lld with squares of sum %g",
                           (long long)i, sum);
        s->squares[i] = sum;
    }
    return NF_OK;
}

nf_status nf_uniformity(double *uniformity, const double *x, int64_t n, int64_t d, double t) {
    if (n < 2)
        return nf_fail(NF_BAD_VALUE, "x must have at least 2 rows, got %lld", (long long)n);
    if (!(t > 0) || isinf(t))
        return nf_fail(NF_BAD_VALUE, "t must be finite and > 0, got %g", t);
    int workers = nf_get_num_threads();
    int64_t blocks = (n + TILE - 1) / TILE, tasks = blocks * (blocks + 1) / 2;
    void *squares = NULL, *tiles = NULL, *potentials = NULL;
    nf_status status = nf_alloc(&squares, (size_t)n * sizeof(double));
    if (status == NF_OK)
        status = nf_alloc(&tiles, (size_t)workers * TILE * TILE * sizeof(double));
    if (status == NF_OK)
        status = nf_alloc(&potentials, (size_t)tasks * sizeof(potential));
    pairs s = {x, squares, tiles, potentials, n, d, blocks, t};
    if (status == NF_OK)
        status = find_squares(&s);
    if (status == NF_OK)
        status = nf_parallel(run, &s, tasks, workers);
    if (status == NF_OK) {
        double maximum = -INFINITY, sum = 0;
        for (int64_t i = 0; i < tasks; i++)
            maximum = s.potentials[i].maximum > maximum ? s.potentials[i].maximum : maximum;
        for (int64_t i = 0; i < tasks; i++)
            sum += s.potentials[i].sum * exp(s.potentials[i].maximum - maximum);
        *uniformity = maximum + log(sum) - log((double)n) - log((double)(n - 1) / 2);
    }
    nf_free(potentials);
    nf_free(tiles);
    nf_free(squares);
    return status;
}
