/* test_int8.c - quantisation to 8 bits and the readers of int32 sums: exact where exactness is promised,
 * vector against reference elsewhere, at every length around the vector widths; and a whole product
 * through both forms against f32. Blocks are exactly as long as the kernels may touch. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/data/rng.h"
#include "engine/ops/int8.h"

enum { MAX_N = 130, PAD = 3 };
static const int ROWS[] = {1, 2, 7};
static const struct op_int8_kernels *const REF = &op_int8_kernels_reference, *const VEC = &op_int8_kernels_vector;

static void *block(size_t bytes) {
    void *memory = calloc(1, bytes);
    assert_non_null(memory);
    return memory;
}

static float *normal(size_t count, double scale) {
    struct data_rng rng;
    float *out = block(count * sizeof *out);
    data_rng_seed(&rng, count * 1000003 + (uint64_t)(scale * 16.0));
    for (size_t i = 0; i < count; i++)
        out[i] = (float)(scale * data_rng_normal(&rng));
    return out;
}

static void for_each_size(void (*check)(int rows, int n)) {
    for (size_t r = 0; r < sizeof ROWS / sizeof *ROWS; r++)
        for (int n = 1; n <= MAX_N; n++)
            check(ROWS[r], n);
}

/* ---- quantisation ---- */

struct quantised {
    uint8_t *rows; /* [rows, n] */
    int8_t *cols;  /* [rows, n] */
    float *row_scale, *col_scale;
    int32_t *offset;
};

static struct quantised quantise(const struct op_int8_kernels *kernels, const float *x, int rows, int n) {
    const size_t size = (size_t)rows * (size_t)n;
    struct quantised q = {.rows = block(size),
                          .cols = block(size),
                          .row_scale = block((size_t)rows * sizeof(float)),
                          .col_scale = block((size_t)n * sizeof(float)),
                          .offset = block((size_t)n * sizeof(int32_t))};
    kernels->quantise_rows(x, rows, n, q.rows, q.row_scale);
    kernels->quantise_cols(x, (size_t)n, rows, n, q.cols, q.col_scale, q.offset);
    return q;
}

static void free_quantised(struct quantised *q) {
    free(q->rows);
    free(q->cols);
    free(q->row_scale);
    free(q->col_scale);
    free(q->offset);
}

static void assert_same(const struct quantised *got, const struct quantised *want, int rows, int n) {
    const size_t size = (size_t)rows * (size_t)n;
    assert_memory_equal(got->rows, want->rows, size);
    assert_memory_equal(got->cols, want->cols, size);
    assert_memory_equal(got->row_scale, want->row_scale, (size_t)rows * sizeof(float));
    assert_memory_equal(got->col_scale, want->col_scale, (size_t)n * sizeof(float));
    assert_memory_equal(got->offset, want->offset, (size_t)n * sizeof(int32_t));
}

/* The transposed form of a matrix's rows: the left operand's without its zero point, the scales alike. */
static void check_transposed(const struct op_int8_kernels *kernels, const float *x, int rows, int n) {
    const size_t size = (size_t)rows * (size_t)n, stride = (size_t)n + PAD;
    float *apart = block((size_t)rows * stride * sizeof *apart), *scale = block((size_t)rows * sizeof *scale);
    int8_t *q = block(size);
    int32_t *offset = block((size_t)rows * sizeof *offset);
    struct quantised want = quantise(REF, x, rows, n);
    for (int r = 0; r < rows; r++)
        memcpy(apart + (size_t)r * stride, x + (size_t)r * (size_t)n, (size_t)n * sizeof *x);
    kernels->quantise_transposed(apart, stride, rows, n, q, scale, offset);
    assert_memory_equal(scale, want.row_scale, (size_t)rows * sizeof *scale);
    for (int r = 0; r < rows; r++) {
        int32_t sum = 0;
        for (size_t at = (size_t)r * (size_t)n; at < (size_t)(r + 1) * (size_t)n; at++) {
            assert_int_equal(q[at], want.rows[at] - OP_INT8_ZERO);
            sum += q[at];
        }
        assert_int_equal(offset[r], OP_INT8_ZERO * sum);
    }
    free_quantised(&want);
    free(offset);
    free(q);
    free(scale);
    free(apart);
}

static void check_quantisation(int rows, int n) {
    const size_t size = (size_t)rows * (size_t)n;
    float *x = normal(size, 3.0);
    struct quantised want = quantise(REF, x, rows, n), got = quantise(VEC, x, rows, n);
    assert_same(&got, &want, rows, n);
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < n; i++) {
            const size_t at = (size_t)r * (size_t)n + (size_t)i;
            const double half = 0.5 + 1e-4; /* of a step */
            assert_true(fabs((got.rows[at] - OP_INT8_ZERO) * (double)got.row_scale[r] - (double)x[at]) <=
                        half * (double)got.row_scale[r]);
            assert_true(fabs(got.cols[at] * (double)got.col_scale[i] - (double)x[at]) <=
                        half * (double)got.col_scale[i]);
        }
    for (int i = 0; i < n; i++) {
        int32_t sum = 0;
        for (int r = 0; r < rows; r++)
            sum += got.cols[(size_t)r * (size_t)n + (size_t)i];
        assert_int_equal(got.offset[i], OP_INT8_ZERO * sum);
    }
    check_transposed(REF, x, rows, n);
    check_transposed(VEC, x, rows, n);
    if (n > 2) { /* the middle columns of a wider matrix */
        const float *inside = x + 1;
        REF->quantise_cols(inside, (size_t)n, rows, n - 2, want.cols, want.col_scale, want.offset);
        VEC->quantise_cols(inside, (size_t)n, rows, n - 2, got.cols, got.col_scale, got.offset);
        assert_same(&got, &want, rows, n);
        assert_true(fabs(got.cols[0] * (double)got.col_scale[0] - (double)x[1]) <= 0.51 * (double)got.col_scale[0]);
    }
    free_quantised(&got);
    free_quantised(&want);
    free(x);
}

static void quantisation_is_exact_to_half_a_step_and_alike_in_both_tables(void **state) {
    (void)state;
    for_each_size(check_quantisation);
}

/* The largest value becomes 127 of its sign, half way goes to even. */
static void quantisation_rounds_to_nearest_even(void **state) {
    (void)state;
    const float x[] = {-127.0f, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 0.49999997f, 126.5f, 125.5f, 0.0f, -0.0f};
    const int want[] = {-127, 0, 2, 2, 0, -2, -2, 0, 126, 126, 0, 0};
    enum { N = sizeof x / sizeof *x };
    const struct op_int8_kernels *tables[] = {REF, VEC};
    for (size_t k = 0; k < 2; k++) {
        struct quantised row = quantise(tables[k], x, 1, N), column = quantise(tables[k], x, N, 1);
        assert_true(row.row_scale[0] == 1.0f);
        assert_true(column.col_scale[0] == 1.0f);
        for (int i = 0; i < N; i++) {
            assert_int_equal(row.rows[i], want[i] + OP_INT8_ZERO);
            assert_int_equal(column.cols[i], want[i]);
        }
        free_quantised(&column);
        free_quantised(&row);
    }
}

static void extreme_values_give_finite_scales_and_the_same_bytes_in_both_tables(void **state) {
    (void)state;
    const float values[] = {0.0f, -0.0f, 1e-45f, 1e-38f, 1e-31f, 1.0f, -1e4f, FLT_MAX, -FLT_MAX};
    enum { N = sizeof values / sizeof *values };
    float x[N * N];
    for (int i = 0; i < N * N; i++)
        x[i] = values[i % N] * (i / N == 0 ? 0.0f : i / N < N - 2 ? 1e-3f : 1.0f);
    struct quantised want = quantise(REF, x, N, N), got = quantise(VEC, x, N, N);
    assert_same(&got, &want, N, N);
    for (int i = 0; i < N; i++)
        assert_true(isfinite(got.row_scale[i]) && isfinite(got.col_scale[i]));
    for (int i = 0; i < N; i++)
        assert_int_equal(got.rows[i], OP_INT8_ZERO); /* a row of zeros */
    free_quantised(&got);
    free_quantised(&want);
}

static void broken_values_do_no_harm(void **state) {
    (void)state;
    enum { ROWS_OF_BROKEN = 300, N = 70 };
    float *x = block(ROWS_OF_BROKEN * N * sizeof *x);
    for (int i = 0; i < ROWS_OF_BROKEN * N; i++)
        x[i] = i % 5 == 0 ? NAN : i % 5 == 1 ? INFINITY : i % 5 == 2 ? -INFINITY : 1.0f;
    const struct op_int8_kernels *tables[] = {REF, VEC};
    for (size_t k = 0; k < 2; k++) {
        struct quantised q = quantise(tables[k], x, ROWS_OF_BROKEN, N);
        for (int i = 0; i < N; i++)
            assert_true(isfinite(q.col_scale[i]) && abs(q.offset[i]) <= OP_INT8_ZERO * OP_INT8_ZERO * ROWS_OF_BROKEN);
        for (int r = 0; r < ROWS_OF_BROKEN; r++)
            assert_true(isfinite(q.row_scale[r]));
        free_quantised(&q);
    }
    free(x);
}

/* ---- readers ---- */

/* A made-up product [rows, n] with a gap behind each row. */
struct sums {
    int32_t *sums, *offset;
    float *row_scale, *col_scale;
    struct op_int8_product product;
};

static struct sums make_sums(int rows, int n, uint64_t seed) {
    const size_t stride = (size_t)n + PAD;
    struct sums s = {.sums = block((size_t)rows * stride * sizeof(int32_t)),
                     .offset = block((size_t)n * sizeof(int32_t)),
                     .row_scale = block((size_t)rows * sizeof(float)),
                     .col_scale = block((size_t)n * sizeof(float))};
    struct data_rng rng;
    data_rng_seed(&rng, seed);
    for (size_t i = 0; i < (size_t)rows * stride; i++)
        s.sums[i] = data_rng_below(&rng, 2000000) - 1000000;
    for (int i = 0; i < n; i++) {
        s.offset[i] = data_rng_below(&rng, 200000) - 100000;
        s.col_scale[i] = (float)(1e-3 * (0.5 + data_rng_uniform(&rng)));
    }
    for (int r = 0; r < rows; r++)
        s.row_scale[r] = (float)(5e-3 * (0.5 + data_rng_uniform(&rng)));
    s.product = (struct op_int8_product){s.sums, stride, s.row_scale, s.col_scale, s.offset};
    return s;
}

/* A value as int8.h defines it. */
static double score(const struct op_int8_product *p, int r, int i) {
    return (double)(p->sums[(size_t)r * p->stride + (size_t)i] - p->offset[i]) * (double)p->row_scale[r] *
           (double)p->col_scale[i];
}

static void free_sums(struct sums *s) {
    free(s->sums);
    free(s->offset);
    free(s->row_scale);
    free(s->col_scale);
}

static void assert_agree(const char *what, const float *got, const float *want, size_t count, double relative) {
    for (size_t i = 0; i < count; i++)
        if (!(fabs((double)got[i] - (double)want[i]) <= 1e-5 + relative * fabs((double)want[i])))
            fail_msg("%s: element %zu of %zu is %.9g, not %.9g", what, i, count, (double)got[i], (double)want[i]);
}

/* Rows of act and of to_f32's result have gaps that must stay as they are: zero. */
static void check_readers(int rows, int n) {
    const size_t stride = (size_t)n + PAD, wide = (size_t)rows * stride;
    struct sums gate = make_sums(rows, n, 1), up = make_sums(rows, n, 2);
    const struct op_int8_kernels *tables[] = {REF, VEC};
    float *out[2][2];
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < 2; i++)
            out[k][i] = block(wide * sizeof(float));
        tables[k]->to_f32(&gate.product, rows, n, out[k][0], stride);
        tables[k]->swiglu(&gate.product, &up.product, rows, n, out[k][1], stride);
    }
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < n; i++) {
            const double want = score(&gate.product, r, i);
            assert_true(fabs((double)out[0][0][(size_t)r * stride + (size_t)i] - want) <= 1e-6 * fabs(want));
        }
    assert_agree("to_f32", out[1][0], out[0][0], wide, 1e-6);
    assert_agree("swiglu", out[1][1], out[0][1], wide, 2e-4);
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < 2; i++)
            free(out[k][i]);
    free_sums(&up);
    free_sums(&gate);
}

static void readers_of_products_agree_and_leave_gaps_alone(void **state) {
    (void)state;
    for_each_size(check_readers);
}

/* Every exponential to half a unit (the vector table's e^x is off by 1e-4: 0.03 units), the largest exactly, and
 * the weights' sum 1. */
static void check_exponentials(int rows, int n) {
    const double scale = 1.0; /* from 1 to below e^-10 of the largest */
    const size_t size = (size_t)rows * (size_t)n;
    struct sums scores = make_sums(rows, n, 3);
    const struct op_int8_kernels *tables[] = {REF, VEC};
    for (int k = 0; k < 2; k++) {
        uint8_t *p = block(size);
        float *inverse = block((size_t)rows * sizeof(float)), *room = block((size_t)n * sizeof(float));
        tables[k]->exponentials(&scores.product, rows, n, (float)scale, p, inverse, room);
        for (int r = 0; r < rows; r++) {
            double largest = -DBL_MAX;
            int total = 0, most = 0;
            for (int i = 0; i < n; i++) {
                const double value = score(&scores.product, r, i);
                largest = value > largest ? value : largest; /* fmax() makes gcc 12 fail for arm64 */
            }
            for (int i = 0; i < n; i++) {
                const int got = p[(size_t)r * (size_t)n + (size_t)i];
                const double want = 255.0 * exp(scale * (score(&scores.product, r, i) - largest));
                assert_true(fabs(got - want) <= 0.54);
                total += got;
                most = got > most ? got : most;
            }
            assert_int_equal(most, 255);
            assert_true(fabs((double)inverse[r] * total - 1.0) <= 1e-6);
        }
        free(room);
        free(inverse);
        free(p);
    }
    free_sums(&scores);
}

static void exponentials_are_exact_to_half_a_unit_and_sum_to_one(void **state) {
    (void)state;
    for_each_size(check_exponentials);
}

static void broken_scores_do_no_harm(void **state) {
    (void)state;
    enum { ROWS_OF_BROKEN = 4, N = 70 };
    const float broken[ROWS_OF_BROKEN] = {FLT_MAX, INFINITY, NAN, 0.0f};
    struct sums scores = make_sums(ROWS_OF_BROKEN, N, 4);
    uint8_t p[ROWS_OF_BROKEN * N];
    float inverse[ROWS_OF_BROKEN], room[N];
    memcpy(scores.row_scale, broken, sizeof broken);
    for (int i = 0; i < N; i++)
        scores.col_scale[i] = i % 5 < ROWS_OF_BROKEN ? broken[i % 5] : 1.0f;
    REF->exponentials(&scores.product, ROWS_OF_BROKEN, N, 1.0f, p, inverse, room);
    VEC->exponentials(&scores.product, ROWS_OF_BROKEN, N, 1.0f, p, inverse, room);
    free_sums(&scores);
}

/* ---- whole products ---- */

enum { M = 40, N = 48, K = 96 };

/* How far an [M, N] product is from that of a [M, K] and b [K, N], of its root mean square. */
static double error_of(const float *got, const float *a, const float *b) {
    double squares = 0.0, errors = 0.0;
    for (int i = 0; i < M; i++)
        for (int j = 0; j < N; j++) {
            double want = 0.0;
            for (int k = 0; k < K; k++)
                want += (double)a[i * K + k] * (double)b[k * N + j];
            squares += want * want;
            errors += (want - (double)got[i * N + j]) * (want - (double)got[i * N + j]);
        }
    return sqrt(errors / squares);
}

/* a quantised by rows, b by columns, multiplied, read: within the error that 8 bits of normal values make. */
static void a_product_of_quantised_matrices_is_near_that_of_the_matrices(void **state) {
    (void)state;
    const enum trm_backend backends[] = {TRM_BACKEND_REFERENCE, TRM_BACKEND_ONEDNN};
    const struct op_matmul_shape shape = {.m = M, .n = N, .k = K, .dtype = OP_INT8};
    float *a = normal((size_t)M * K, 1.0), *b = normal((size_t)K * N, 2.0), *out = block(M * (size_t)N * sizeof *out);
    int32_t *c = block(M * (size_t)N * sizeof *c);
    for (size_t k = 0; k < 2; k++) {
        const struct op_int8_kernels *kernels = op_int8_kernels(backends[k]);
        struct quantised left = quantise(kernels, a, M, K), right = quantise(kernels, b, K, N);
        op_context *context = NULL;
        op_matmul *matmul = NULL;
        assert_int_equal(op_context_create(backends[k], &context, NULL), TRM_OK);
        trm_status status = op_matmul_create(context, &shape, &matmul, NULL);
        if (status != TRM_UNSUPPORTED) {
            assert_int_equal(status, TRM_OK);
            assert_int_equal(op_matmul_run(matmul, left.rows, right.cols, c, NULL), TRM_OK);
            const struct op_int8_product product = {c, N, left.row_scale, right.col_scale, right.offset};
            kernels->to_f32(&product, M, N, out, N);
            const double error = error_of(out, a, b);
            assert_true(error > 1e-4 && error < 0.015);
        }
        op_matmul_destroy(matmul);
        op_context_destroy(context);
        free_quantised(&right);
        free_quantised(&left);
    }
    free(c);
    free(out);
    free(b);
    free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantisation_is_exact_to_half_a_step_and_alike_in_both_tables),
        cmocka_unit_test(quantisation_rounds_to_nearest_even),
        cmocka_unit_test(extreme_values_give_finite_scales_and_the_same_bytes_in_both_tables),
        cmocka_unit_test(broken_values_do_no_harm),
        cmocka_unit_test(readers_of_products_agree_and_leave_gaps_alone),
        cmocka_unit_test(exponentials_are_exact_to_half_a_unit_and_sum_to_one),
        cmocka_unit_test(broken_scores_do_no_harm),
        cmocka_unit_test(a_product_of_quantised_matrices_is_near_that_of_the_matrices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
