/* Convolutions of few channels, whose windows are too short to be worth packing: products straight from the rows of
 * an image that has its border of zeros around it. What a window takes from one row of the image, its run, lies side by
 * side there, and the next window's run `step` numbers on. */
#include "gemm.h"

#include "kernels.h"

/* Windows of a register tile come in one, two or three times this many, so that few cost little. */
enum { WINDOWS = GEMM_ROWS / 3 };

/* `height` windows and `vectors` vectors of columns are constants wherever this is inlined, and so is `step`, which
 * then takes no arithmetic, if it is a usual one. */
NF_INLINE void multiply_windows(int height, int vectors, size_t step, float *y, size_t stride, const float *bias,
                                const float *image, size_t image_row, size_t taps, size_t run, const float *b,
                                size_t windows, size_t columns) {
    vreal sum[GEMM_ROWS][2];
    NF_UNROLL
    for (int m = 0; m < height; m++) {
        NF_UNROLL
        for (int v = 0; v < vectors; v++) {
            sum[m][v] = v_load(bias + v * NF_WIDTH);
            __builtin_prefetch(y + (size_t)m * stride + v * NF_WIDTH, 1); /* comes while the sums are made */
        }
    }
    for (size_t i = 0; i < taps; i++) {
        const float *a = image + i * image_row;
        for (size_t j = 0; j < run; j++, a++, b += GEMM_COLUMNS) {
            vreal first = v_load(b), second = vectors == 2 ? v_load(b + NF_WIDTH) : first;
            NF_UNROLL
            for (int m = 0; m < height; m++) {
                vreal factor = v_set(a[(size_t)m * step]);
                sum[m][0] = v_fma(factor, first, sum[m][0]);
                if (vectors == 2)
                    sum[m][1] = v_fma(factor, second, sum[m][1]);
            }
        }
    }
    NF_UNROLL
    for (int m = 0; m < height; m++)
        if ((size_t)m < windows) {
            v_store_some(y + (size_t)m * stride, sum[m][0], columns);
            if (vectors == 2)
                v_store_some(y + (size_t)m * stride + NF_WIDTH, sum[m][1], columns - NF_WIDTH);
        }
}

NF_INLINE void multiply_row(int vectors, size_t step, float *y, size_t stride, const float *bias, const float *image,
                            size_t image_row, size_t taps, size_t run, const float *b, size_t windows, size_t columns) {
    for (size_t done = 0; done < windows;) {
        size_t left = windows - done;
        const float *a = image + done * step;
        float *out = y + done * stride;
        if (left > 2 * WINDOWS) {
            multiply_windows(3 * WINDOWS, vectors, step, out, stride, bias, a, image_row, taps, run, b, left, columns);
            done += 3 * WINDOWS;
        } else if (left > WINDOWS) {
            multiply_windows(2 * WINDOWS, vectors, step, out, stride, bias, a, image_row, taps, run, b, left, columns);
            done += 2 * WINDOWS;
        } else {
            multiply_windows(WINDOWS, vectors, step, out, stride, bias, a, image_row, taps, run, b, left, columns);
            done += WINDOWS;
        }
    }
}

NF_INLINE void multiply_steps(int vectors, float *y, size_t stride, const float *bias, const float *image,
                              size_t image_row, size_t step, size_t taps, size_t run, const float *b, size_t windows,
                              size_t columns) {
    switch (step) { /* of one and of three channels, with stride 1 and 2 */
    case 1: multiply_row(vectors, 1, y, stride, bias, image, image_row, taps, run, b, windows, columns); break;
    case 2: multiply_row(vectors, 2, y, stride, bias, image, image_row, taps, run, b, windows, columns); break;
    case 3: multiply_row(vectors, 3, y, stride, bias, image, image_row, taps, run, b, windows, columns); break;
    case 6: multiply_row(vectors, 6, y, stride, bias, image, image_row, taps, run, b, windows, columns); break;
    default: multiply_row(vectors, step, y, stride, bias, image, image_row, taps, run, b, windows, columns);
    }
}

void NF_KERNEL(window_products)(float *y, size_t stride, const float *bias, const float *image, size_t image_row,
                                size_t step, size_t taps, size_t run, const float *b, size_t windows, size_t columns) {
    if (columns > NF_WIDTH)
        multiply_steps(2, y, stride, bias, image, image_row, step, taps, run, b, windows, columns);
    else
        multiply_steps(1, y, stride, bias, image, image_row, step, taps, run, b, windows, columns);
}

/* ---- The gradient of the weights ---- */

typedef struct gradient_job {
    const float *image, *d_y;
    size_t image_row, image_step, step; /* from one row of the image, of windows, and from one window, to the next */
    size_t height, width, k;            /* rows of windows, windows in each, channels of d_y */
    bool accumulate;
} gradient_job;

/* `rows` of d_w, the first of them at `offset` in the windows' runs, in `groups` runs of `run` numbers from one row of
 * the image each. */
NF_INLINE void gradient_tile(int groups, int run, int vectors, float *d_w, const gradient_job *job, size_t offset,
                             size_t column, size_t rows) {
    vreal sum[GEMM_ROWS > 9 ? GEMM_ROWS : 9][2];
    NF_UNROLL
    for (int m = 0; m < groups * run; m++)
        sum[m][0] = sum[m][1] = v_zero();
    const float *d = job->d_y + column;
    for (size_t y = 0; y < job->height; y++) {
        const float *a = job->image + y * job->image_step + offset;
        for (size_t x = 0; x < job->width; x++, a += job->step, d += job->k) {
            vreal first = v_load(d), second = vectors == 2 ? v_load(d + NF_WIDTH) : first;
            NF_UNROLL
            for (int m = 0; m < groups * run; m++) {
                vreal factor = v_set(a[(size_t)(m / run) * job->image_row + (size_t)(m % run)]);
                sum[m][0] = v_fma(factor, first, sum[m][0]);
                if (vectors == 2)
                    sum[m][1] = v_fma(factor, second, sum[m][1]);
            }
        }
    }
    NF_UNROLL
    for (int m = 0; m < groups * run; m++)
        if ((size_t)m < rows) {
            NF_UNROLL
            for (int v = 0; v < vectors; v++) {
                float *target = d_w + (size_t)m * job->k + column + v * NF_WIDTH;
                v_store(target, job->accumulate ? v_add(v_load(target), sum[m][v]) : sum[m][v]);
            }
        }
}

/* Up to 12 rows of one run. */
NF_INLINE void gradient_rows(int vectors, float *d_w, const gradient_job *job, size_t offset, size_t column,
                             size_t rows) {
    if (GEMM_ROWS > 6 && rows > 9)
        gradient_tile(1, GEMM_ROWS > 6 ? 12 : 3, vectors, d_w, job, offset, column, rows);
    else if (GEMM_ROWS > 6 && rows > 6)
        gradient_tile(1, GEMM_ROWS > 6 ? 9 : 3, vectors, d_w, job, offset, column, rows);
    else if (GEMM_ROWS >= 6 && rows > 3)
        gradient_tile(1, GEMM_ROWS >= 6 ? 6 : 3, vectors, d_w, job, offset, column, rows);
    else
        gradient_tile(1, 3, vectors, d_w, job, offset, column, rows);
}

void NF_KERNEL(window_gradient)(float *d_w, const float *image, size_t image_row, size_t image_step, size_t step,
                                size_t taps, size_t run, const float *d_y, size_t height, size_t width, size_t k,
                                bool accumulate) {
    enum { MOST = GEMM_ROWS >= 6 ? GEMM_ROWS : 3 };
    gradient_job job = {image, d_y, image_row, image_step, step, height, width, k, accumulate};
    if (taps == 3 && run == 3) { /* of one channel: short runs, but all of the window fits the registers */
        for (size_t column = 0; column < k; column += NF_WIDTH)
            gradient_tile(3, 3, 1, d_w, &job, 0, column, 9);
        return;
    }
    for (size_t i = 0; i < taps; i++)
        for (size_t j = 0; j < run; j += MOST) {
            size_t rows = run - j < MOST ? run - j : MOST, column = 0, offset = i * image_row + j;
            for (; column + 2 * NF_WIDTH <= k; column += 2 * NF_WIDTH)
                gradient_rows(2, d_w + (i * run + j) * k, &job, offset, column, rows);
            if (column < k)
                gradient_rows(1, d_w + (i * run + j) * k, &job, offset, column, rows);
        }
}
