/* k nearest neighbours by cosine similarity, and their weighted vote. The similarities are computed tile by tile and
 * never stored as a whole: each test row keeps a heap of its k best while the training rows pass by. */

#include <math.h>
#include <string.h>

#include "../core/blas.h"
#include "../core/dispatch.h"
#include "../core/memory.h"
#include "../core/threads.h"

/* A task meets TEST_ROWS rows with one chunk of the training rows, TILE_COLUMNS at a time: a tile fits the level-2
 * cache. A chunk is so long that a task takes some 10 ms. */
enum { TEST_ROWS = 128, TILE_COLUMNS = 512, CHUNK_ELEMENTS = 1 << 22, NORMALIZE_ROWS = 256 };

typedef struct normalization {
    float *out;
    const float *x;
    int64_t n, d;
    int64_t *bad_rows; /* (tasks): a row that is not finite, or -1 */
} normalization;

static void normalize_rows(void *context, int64_t task, int worker) {
    (void)worker;
    const normalization *s = context;
    int64_t end = (task + 1) * NORMALIZE_ROWS < s->n ? (task + 1) * NORMALIZE_ROWS : s->n;
    s->bad_rows[task] = -1;
    for (int64_t row = task * NORMALIZE_ROWS; row < end; row++) {
        const float *x = s->x + row * s->d;
        float *out = s->out + row * s->d;
        double squares = nf_kernel->square_sum(x, (size_t)s->d);
        if (!isfinite(squares)) {
            s->bad_rows[task] = row;
            return;
        }
        double scale = squares > 0 ? 1 / sqrt(squares) : 0;
        for (int64_t i = 0; i < s->d; i++)
            out[i] = (float)(x[i] * scale);
    }
}

/* out (n, d): the rows of x divided by their lengths; rows of zeros stay zeros. */
static nf_status normalize(float *out, const float *x, int64_t n, int64_t d, const char *name) {
    int64_t tasks = (n + NORMALIZE_ROWS - 1) / NORMALIZE_ROWS;
    void *bad_rows;
    NF_TRY(nf_alloc(&bad_rows, (size_t)tasks * sizeof(int64_t)));
    normalization s = {out, x, n, d, bad_rows};
    nf_status status = nf_parallel(normalize_rows, &s, tasks, NF_MAX_THREADS);
    for (int64_t task = 0; status == NF_OK && task < tasks; task++)
        if (s.bad_rows[task] >= 0)
            status = nf_fail(NF_BAD_VALUE, "%s must be finite, got NaN or infinity in row %lld", name,
                             (long long)s.bad_rows[task]);
    nf_free(bad_rows);
    return status;
}

/* ---- A row's k best so far, as a heap with the worst on top ---- */

typedef struct best {
    float *similarities;
    int64_t *indices;
    int64_t count;
} best;

static bool is_worse(const best *b, int64_t i, int64_t j) {
    return b->similarities[i] < b->similarities[j] ||
           (b->similarities[i] == b->similarities[j] && b->indices[i] > b->indices[j]);
}

static void swap(best *b, int64_t i, int64_t j) {
    float similarity = b->similarities[i];
    int64_t index = b->indices[i];
    b->similarities[i] = b->similarities[j], b->indices[i] = b->indices[j];
    b->similarities[j] = similarity, b->indices[j] = index;
}

static void sift_down(best *b, int64_t count) {
    for (int64_t i = 0, child; (child = 2 * i + 1) < count; i = child) {
        if (child + 1 < count && is_worse(b, child + 1, child))
            child++;
        if (!is_worse(b, child, i))
            break;
        swap(b, i, child);
    }
}

static void push(best *b, float similarity, int64_t index) {
    int64_t i = b->count++;
    b->similarities[i] = similarity, b->indices[i] = index;
    for (; i > 0 && is_worse(b, i, (i - 1) / 2); i = (i - 1) / 2)
        swap(b, i, (i - 1) / 2);
}

/* Turns the heap into a list, best first: the worst goes last, again and again. */
static void sort(best *b) {
    for (int64_t count = b->count; count > 1; count--) {
        swap(b, 0, count - 1);
        sift_down(b, count - 1);
    }
}

/* Training rows come in ascending order, so of equal similarities the first stays. */
static void merge_row(best *b, int64_t k, const float *similarities, int64_t n, int64_t first_index) {
    int64_t j = 0;
    for (; j < n && b->count < k; j++)
        push(b, similarities[j], first_index + j);
    while (j < n) {
        j += (int64_t)nf_kernel->find_above(similarities + j, (size_t)(n - j), b->similarities[0]);
        if (j == n)
            return;
        b->similarities[0] = similarities[j], b->indices[0] = first_index + j;
        sift_down(b, k);
        j++;
    }
}

/* ---- Search ---- */

typedef struct search {
    float *similarities; /* (m, k) */
    int64_t *indices;    /* (m, k) */
    const float *train, *test;
    int64_t n, m, d, k, chunk_start, chunk_end;
    float *tiles; /* (workers, TEST_ROWS, TILE_COLUMNS) */
} search;

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static void search_chunk(void *context, int64_t task, int worker) {
    const search *s = context;
    int64_t row = task * TEST_ROWS, rows = smaller(s->m - row, TEST_ROWS);
    float *tile = s->tiles + (int64_t)worker * TEST_ROWS * TILE_COLUMNS;
    for (int64_t start = s->chunk_start; start < s->chunk_end; start += TILE_COLUMNS) {
        int64_t columns = smaller(s->chunk_end - start, TILE_COLUMNS);
        nf_gemm_f32(tile, NF_PLAIN, NF_TRANSPOSED, rows, columns, s->d, 1, s->test + row * s->d, s->d,
                    s->train + start * s->d, s->d, 0, TILE_COLUMNS);
        for (int64_t i = 0; i < rows; i++) {
            best b = {s->similarities + (row + i) * s->k, s->indices + (row + i) * s->k, smaller(start, s->k)};
            merge_row(&b, s->k, tile + i * TILE_COLUMNS, columns, start);
            if (start + columns == s->n)
                sort(&b);
        }
    }
}

static nf_status search_all(search *s, int workers) {
    int64_t chunk = CHUNK_ELEMENTS / s->d / TILE_COLUMNS * TILE_COLUMNS;
    if (chunk < TILE_COLUMNS)
        chunk = TILE_COLUMNS;
    for (int64_t start = 0; start < s->n; start += chunk) {
        s->chunk_start = start;
        s->chunk_end = smaller(start + chunk, s->n);
        NF_TRY(nf_parallel(search_chunk, s, (s->m + TEST_ROWS - 1) / TEST_ROWS, workers));
    }
    return NF_OK;
}

nf_status nf_knn_search(int64_t *indices, float *similarities, const float *train_v, const float *test_v, int64_t n,
                        int64_t m, int64_t d, int64_t k) {
    if (n < 1 || d < 1)
        return nf_fail(NF_BAD_VALUE, "train_v must not be empty, got shape (%lld, %lld)", (long long)n, (long long)d);
    if (m < 1)
        return nf_fail(NF_BAD_VALUE, "test_v must have at least 1 row, got 0");
    if (k < 1 || k > n)
        return nf_fail(NF_BAD_VALUE, "k must be in 1..%lld (rows of train_v), got %lld", (long long)n, (long long)k);
    int workers = nf_get_num_threads();
    void *train = NULL, *test = NULL, *tiles = NULL;
    nf_status status = nf_alloc(&train, (size_t)(n * d) * sizeof(float));
    if (status == NF_OK)
        status = nf_alloc(&test, (size_t)(m * d) * sizeof(float));
    if (status == NF_OK)
        status = nf_alloc(&tiles, (size_t)workers * TEST_ROWS * TILE_COLUMNS * sizeof(float));
    if (status == NF_OK)
        status = normalize(train, train_v, n, d, "train_v");
    if (status == NF_OK)
        status = normalize(test, test_v, m, d, "test_v");
    if (status == NF_OK) {
        search s = {similarities, indices, train, test, n, m, d, k, 0, 0, tiles};
        status = search_all(&s, workers);
    }
    nf_free(tiles);
    nf_free(test);
    nf_free(train);
    return status;
}

/* ---- Vote ---- */

static nf_status check_vote(const int64_t *indices, const int64_t *train_y, int64_t n, int64_t m, int64_t k,
                            int64_t classes, double temperature) {
    if (!(temperature > 0) || isinf(temperature))
        return nf_fail(NF_BAD_VALUE, "temperature must be finite and > 0, got %g", temperature);
    if (k < 1)
        return nf_fail(NF_BAD_VALUE, "k must be >= 1, got %lld", (long long)k);
    if (classes < 1 || classes > INT32_MAX)
        return nf_fail(NF_BAD_VALUE, "classes must be in 1..%d, got %lld", INT32_MAX, (long long)classes);
    for (int64_t i = 0; i < n; i++)
        if (train_y[i] < 0 || train_y[i] >= classes)
            return nf_fail(NF_BAD_VALUE, "train_y must be in 0..%lld, got %lld at position %lld",
                           (long long)(classes - 1), (long long)train_y[i], (long long)i);
    for (int64_t i = 0; i < m * k; i++)
        if (indices[i] < 0 || indices[i] >= n)
            return nf_fail(NF_BAD_VALUE, "indices must be in 0..%lld, got %lld", (long long)(n - 1),
                           (long long)indices[i]);
    return NF_OK;
}

/* The label with most votes; of equal ones the smallest. `votes` (classes) is zero before and after. */
static int64_t vote(double *votes, const int64_t *indices, const float *similarities, const int64_t *train_y, int64_t k,
                    double temperature) {
    for (int64_t i = 0; i < k; i++) /* relative to the best, so that nothing overflows */
        votes[train_y[indices[i]]] += exp(((double)similarities[i] - (double)similarities[0]) / temperature);
    int64_t winner = train_y[indices[0]];
    for (int64_t i = 1; i < k; i++) {
        int64_t label = train_y[indices[i]];
        if (votes[label] > votes[winner] || (votes[label] == votes[winner] && label < winner))
            winner = label;
    }
    for (int64_t i = 0; i < k; i++)
        votes[train_y[indices[i]]] = 0;
    return winner;
}

nf_status nf_knn_vote(int64_t *predicted, const int64_t *indices, const float *similarities, const int64_t *train_y,
                      int64_t n, int64_t m, int64_t k, int64_t classes, double temperature) {
    NF_TRY(check_vote(indices, train_y, n, m, k, classes, temperature));
    if (m == 0)
        return NF_OK;
    void *votes;
    NF_TRY(nf_alloc(&votes, (size_t)classes * sizeof(double)));
    memset(votes, 0, (size_t)classes * sizeof(double));
    for (int64_t row = 0; row < m; row++)
        predicted[row] = vote(votes, indices + row * k, similarities + row * k, train_y, k, temperature);
    nf_free(votes);
    return NF_OK;
}
