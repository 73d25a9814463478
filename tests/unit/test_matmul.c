/* test_matmul.c - oneDNN's products against the plain loops, for the kinds of shapes that models plan,
 * and what the engine takes for granted of them: one packed layout, bits that
 * depend on nothing but the operands. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/data/rng.h"
#include "engine/ops/bf16.h"
#include "engine/ops/matmul.h"

static const enum op_dtype TYPES[] = {OP_F32, OP_BF16};

/* ---- blocks ---- */

static void *block(size_t bytes) {
    void *memory = NULL;
    assert_int_equal(posix_memalign(&memory, 64, bytes ? bytes : 64), 0);
    return memset(memory, 0, bytes);
}

static float *normal(size_t count, uint64_t seed) {
    struct data_rng rng;
    float *out = block(count * sizeof *out);
    data_rng_seed(&rng, seed);
    for (size_t i = 0; i < count; i++)
        out[i] = (float)data_rng_normal(&rng);
    return out;
}

/* The operand form of x, a copy. */
static void *operand(const float *x, size_t count, enum op_dtype type) {
    if (type == OP_BF16) {
        op_bf16 *out = block(count * sizeof *out);
        op_bf16_from_f32(x, out, count);
        return out;
    }
    return memcpy(block(count * sizeof *x), x, count * sizeof *x);
}

static op_context *context_of(enum trm_backend backend) {
    op_context *context = NULL;
    assert_int_equal(op_context_create(backend, &context, NULL), TRM_OK);
    return context;
}

/* NULL where this machine cannot multiply bf16 or bytes. */
static op_matmul *plan(op_context *context, const struct op_matmul_shape *shape) {
    op_matmul *matmul = NULL;
    trm_error err = {""};
    trm_status status = op_matmul_create(context, shape, &matmul, &err);
    if (status == TRM_UNSUPPORTED && shape->dtype != OP_F32)
        return NULL;
    if (status != TRM_OK)
        fail_msg("[%d, %d] x [%d, %d]: %s", shape->m, shape->k, shape->k, shape->n, err.text);
    return matmul;
}

static void run(op_matmul *matmul, const void *a, const void *b, void *c) {
    trm_error err = {""};
    if (op_matmul_run(matmul, a, b, c, &err) != TRM_OK)
        fail_msg("%s", err.text);
}

static void *pack(op_matmul *matmul, const float *b) {
    void *packed = block(op_matmul_packed_size(matmul));
    assert_int_equal(op_matmul_pack(matmul, b, packed, NULL), TRM_OK);
    return packed;
}

/* ---- agreement ---- */

/* Elements of the three matrices, gaps between rows and batch elements included. */
struct extent {
    size_t a, b, c;
};

static size_t extent_of(int batch, size_t step, int rows, int cols, int stride) {
    const size_t row = (size_t)(stride ? stride : cols), matrix = (size_t)rows * (size_t)cols;
    return (size_t)(batch - 1) * (step ? step : matrix) + (size_t)(rows - 1) * row + (size_t)cols;
}

static struct extent extents_of(const struct op_matmul_shape *s) {
    const int batch = s->batch ? s->batch : 1;
    return (struct extent){.a = extent_of(s->a_shared ? 1 : batch, s->a_step, s->a_transposed ? s->k : s->m,
                                          s->a_transposed ? s->m : s->k, s->lda),
                           .b = extent_of(s->b_packed ? 1 : batch, s->b_step, s->b_transposed ? s->n : s->k,
                                          s->b_transposed ? s->k : s->n, s->ldb),
                           .c = extent_of(batch, s->c_step, s->m, s->n, s->ldc)};
}

/* Runs one shape on a backend into c; false where this machine cannot. */
static bool multiply(enum trm_backend backend, const struct op_matmul_shape *shape, const float *a, const float *b,
                     float *c) {
    const struct extent size = extents_of(shape);
    op_context *context = context_of(backend);
    op_matmul *matmul = plan(context, shape);
    if (matmul) {
        void *left = operand(a, size.a, shape->dtype);
        void *right = shape->b_packed ? pack(matmul, b) : operand(b, size.b, shape->dtype);
        run(matmul, left, right, c);
        free(right);
        free(left);
    }
    op_matmul_destroy(matmul);
    op_context_destroy(context);
    return matmul != NULL;
}

/* Sums of k products of normal values, in f32, in any order. */
static bool near(float got, float want, int k) {
    return fabs((double)got - (double)want) <= 4e-6 * sqrt((double)k) + 2e-6 * fabs((double)want);
}

static void check_shape(const struct op_matmul_shape *shape) {
    const struct extent size = extents_of(shape);
    float *a = normal(size.a, 1), *b = normal(size.b, 2), *want = normal(size.c, 3);
    float *got = memcpy(block(size.c * sizeof *got), want, size.c * sizeof *got);
    assert_true(multiply(TRM_BACKEND_REFERENCE, shape, a, b, want));
    if (multiply(TRM_BACKEND_ONEDNN, shape, a, b, got))
        for (size_t i = 0; i < size.c; i++)
            if (!near(got[i], want[i], shape->k))
                fail_msg("%d x [%d, %d] x [%d, %d], dtype %d: element %zu is %.9g, not %.9g", shape->batch, shape->m,
                         shape->k, shape->k, shape->n, (int)shape->dtype, i, (double)got[i], (double)want[i]);
    free(got);
    free(want);
    free(b);
    free(a);
}

static void check_shapes(const struct op_matmul_shape *shapes, size_t count) {
    for (size_t i = 0; i < count; i++)
        for (size_t t = 0; t < sizeof TYPES / sizeof *TYPES; t++) {
            struct op_matmul_shape shape = shapes[i];
            shape.dtype = TYPES[t];
            check_shape(&shape);
        }
}

#define CHECK_SHAPES(shapes) check_shapes(shapes, sizeof(shapes) / sizeof *(shapes))

static void plain_products_agree(void **state) {
    (void)state;
    const struct op_matmul_shape shapes[] = {
        {.m = 1, .n = 1, .k = 1},     {.m = 1, .n = 11, .k = 64},  {.m = 17, .n = 64, .k = 16},
        {.m = 97, .n = 512, .k = 64}, {.m = 31, .n = 33, .k = 29}, {.m = 64, .n = 64, .k = 1536},
        {.m = 3, .n = 1, .k = 130},
    };
    CHECK_SHAPES(shapes);
}

static void transposed_products_agree(void **state) {
    (void)state;
    const struct op_matmul_shape shapes[] = {
        {.m = 20, .n = 12, .k = 64, .b_transposed = true},
        {.m = 512, .n = 64, .k = 97, .a_transposed = true},
        {.m = 19, .n = 23, .k = 5, .a_transposed = true, .b_transposed = true},
        {.m = 1, .n = 7, .k = 9, .a_transposed = true},
    };
    CHECK_SHAPES(shapes);
}

/* As attention's heads lie: rows far apart. What lies between must stay as it is. */
static void strided_products_agree_and_leave_gaps_alone(void **state) {
    (void)state;
    const struct op_matmul_shape shapes[] = {
        {.m = 20, .n = 20, .k = 16, .lda = 192, .ldb = 192, .b_transposed = true},
        {.m = 20, .n = 16, .k = 20, .ldb = 192, .ldc = 64},
        {.m = 20, .n = 16, .k = 20, .a_transposed = true, .ldb = 64, .ldc = 192},
        {.m = 21, .n = 10, .k = 21, .ldb = 180, .ldc = 180, .accumulate = true},
        {.m = 5, .n = 7, .k = 3, .lda = 11, .ldb = 13, .ldc = 17},
    };
    CHECK_SHAPES(shapes);
}

static void batched_products_agree(void **state) {
    (void)state;
    const struct op_matmul_shape shapes[] = {
        {.batch = 3, .m = 9, .n = 12, .k = 8},
        {.batch = 3, .m = 9, .n = 12, .k = 8, .a_step = 100, .b_step = 120, .c_step = 140},
        {.batch = 4, .m = 512, .n = 64, .k = 18, .a_shared = true},
        {.batch = 4, .m = 18, .n = 64, .k = 512, .a_shared = true, .a_transposed = true, .accumulate = true},
        {.batch = 2, .m = 18, .n = 64, .k = 256, .a_shared = true},
        {.batch = 1, .m = 18, .n = 64, .k = 256, .a_shared = true},
    };
    CHECK_SHAPES(shapes);
}

static void accumulating_products_agree(void **state) {
    (void)state;
    const struct op_matmul_shape shapes[] = {
        {.m = 64, .n = 256, .k = 160, .a_transposed = true, .accumulate = true},
        {.m = 33, .n = 17, .k = 65, .accumulate = true},
        {.m = 512, .n = 18, .k = 64, .b_transposed = true, .accumulate = true},
    };
    CHECK_SHAPES(shapes);
}

static void packed_products_agree(void **state) {
    (void)state;
    const struct op_matmul_shape shapes[] = {
        {.m = 97, .n = 512, .k = 64, .b_transposed = true, .b_packed = true},
        {.m = 97, .n = 64, .k = 512, .b_packed = true, .accumulate = true},
        {.m = 81, .n = 11, .k = 64, .b_transposed = true, .b_packed = true},
        {.m = 81, .n = 64, .k = 11, .b_packed = true},
        {.m = 1, .n = 180, .k = 60, .b_transposed = true, .b_packed = true},
        {.m = 7, .n = 1, .k = 3, .b_transposed = true, .b_packed = true},
        {.m = 20, .n = 33, .k = 16, .ldb = 48, .ldc = 40, .b_transposed = true, .b_packed = true},
        {.m = 20, .n = 16, .k = 33, .lda = 50, .ldb = 48, .b_packed = true},
    };
    CHECK_SHAPES(shapes);
}

/* ---- 8 bits ---- */

/* `count` bytes: any, or only the ends of the range, where sums are largest and sums of pairs leave 16 bits. */
static uint8_t *bytes(size_t count, uint64_t seed, bool extreme) {
    struct data_rng rng;
    uint8_t *out = block(count);
    data_rng_seed(&rng, seed);
    for (size_t i = 0; i < count; i++) {
        const uint8_t byte = (uint8_t)(data_rng_next(&rng) >> 32);
        out[i] = extreme ? (uint8_t)(byte & 1 ? 0xff : 0x7f) : byte; /* 255 and 127, or -1 and 127 */
    }
    return out;
}

/* False where this machine cannot. */
static bool multiply_bytes(enum trm_backend backend, const struct op_matmul_shape *shape, const uint8_t *a,
                           const int8_t *b, int32_t *c) {
    op_context *context = context_of(backend);
    op_matmul *matmul = plan(context, shape);
    if (matmul) {
        void *packed = shape->b_packed ? block(op_matmul_packed_size(matmul)) : NULL;
        if (packed)
            assert_int_equal(op_matmul_pack(matmul, b, packed, NULL), TRM_OK);
        run(matmul, a, packed ? packed : (const void *)b, c);
        free(packed);
    }
    op_matmul_destroy(matmul);
    op_context_destroy(context);
    return matmul != NULL;
}

/* In 64 bits, straight from the definition. */
static int64_t exact_sum(const struct op_matmul_shape *s, const uint8_t *a, const int8_t *b, size_t batch, int row,
                         int column) {
    const size_t m = (size_t)s->m, n = (size_t)s->n, k = (size_t)s->k, i = (size_t)row, j = (size_t)column;
    const size_t lda = s->lda ? (size_t)s->lda : k, ldb = s->ldb ? (size_t)s->ldb : s->b_transposed ? k : n;
    int64_t sum = 0;
    a += s->a_shared ? 0 : batch * (s->a_step ? s->a_step : m * k);
    b += batch * (s->b_step ? s->b_step : k * n);
    for (size_t at = 0; at < k; at++)
        sum += (int64_t)a[i * lda + at] * b[s->b_transposed ? j * ldb + at : at * ldb + j];
    return sum;
}

static void check_exact(const struct op_matmul_shape *shape, enum trm_backend backend, bool extreme) {
    const struct extent size = extents_of(shape);
    const size_t batch = (size_t)(shape->batch ? shape->batch : 1), ldc = (size_t)(shape->ldc ? shape->ldc : shape->n);
    const size_t step = batch == 1 ? size.c : shape->c_step ? shape->c_step : (size_t)shape->m * (size_t)shape->n;
    const int32_t before = 1000;
    uint8_t *a = bytes(size.a, 21, extreme);
    int8_t *b = (int8_t *)bytes(size.b, 22, extreme);
    int32_t *c = block(size.c * sizeof *c);
    for (size_t i = 0; i < size.c; i++)
        c[i] = before;
    if (multiply_bytes(backend, shape, a, b, c))
        for (size_t at = 0; at < size.c; at++) {
            const size_t i = at % step / ldc, j = at % step % ldc;
            const bool gap = at / step >= batch || i >= (size_t)shape->m || j >= (size_t)shape->n;
            const int64_t sum = gap ? 0 : exact_sum(shape, a, b, at / step, (int)i, (int)j);
            assert_int_equal(c[at], sum + (gap || shape->accumulate ? before : 0));
        }
    free(c);
    free(b);
    free(a);
}

static void products_of_bytes_are_exact(void **state) {
    (void)state;
    const struct op_matmul_shape shapes[] = {
        {.m = 1, .n = 1, .k = 1, .dtype = OP_INT8},
        {.m = 31, .n = 33, .k = 29, .dtype = OP_INT8},
        {.m = 97, .n = 128, .k = 512, .b_transposed = true, .b_packed = true, .dtype = OP_INT8},
        {.m = 97, .n = 64, .k = 1536, .b_transposed = true, .b_packed = true, .ldc = 512, .dtype = OP_INT8},
        {.m = 5, .n = 11, .k = 64, .b_transposed = true, .b_packed = true, .dtype = OP_INT8},
        {.m = 7, .n = 13, .k = 3, .b_packed = true, .dtype = OP_INT8},
        {.m = 9, .n = 17, .k = 130, .b_transposed = true, .b_packed = true, .accumulate = true, .dtype = OP_INT8},
        {.m = 64, .n = 96, .k = 97, .dtype = OP_INT8},
        {.m = 97, .n = 64, .k = 512, .ldb = 80, .ldc = 96, .dtype = OP_INT8},
        {.batch = 3, .m = 48, .n = 96, .k = 82, .a_shared = true, .dtype = OP_INT8},
        {.batch = 2, .m = 9, .n = 12, .k = 8, .a_step = 100, .b_step = 120, .c_step = 140, .dtype = OP_INT8},
        {.m = 2, .n = 16, .k = OP_INT8_MAX_K, .b_transposed = true, .b_packed = true, .dtype = OP_INT8},
    };
    const enum trm_backend backends[] = {TRM_BACKEND_REFERENCE, TRM_BACKEND_ONEDNN};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (size_t b = 0; b < 2; b++) {
            check_exact(&shapes[i], backends[b], false);
            check_exact(&shapes[i], backends[b], true);
        }
}

/* One more product of the largest bytes than a sum may have would still fit: the bound is not too high. */
static void sums_of_bytes_that_could_overflow_are_refused(void **state) {
    (void)state;
    assert_true((int64_t)OP_INT8_MAX_K * 255 * 128 <= INT32_MAX);
    const struct op_matmul_shape shape = {.m = 1, .n = 1, .k = OP_INT8_MAX_K + 1, .dtype = OP_INT8};
    const enum trm_backend backends[] = {TRM_BACKEND_ONEDNN, TRM_BACKEND_REFERENCE};
    for (size_t b = 0; b < 2; b++) {
        op_context *context = context_of(backends[b]);
        op_matmul *matmul = NULL;
        assert_int_equal(op_matmul_create(context, &shape, &matmul, NULL), TRM_UNSUPPORTED);
        assert_null(matmul);
        op_context_destroy(context);
    }
}

/* ---- what the engine relies on ---- */

/* A linear layer's weight [n, k]; rows of the puzzles of one chunk, of several, and one alone. */
static const struct {
    int n, k;
} WEIGHTS[] = {{512, 64}, {64, 256}, {192, 64}, {11, 64}, {1024, 128}, {128, 512}, {3072, 512}, {180, 64}};
static const int ROWS[] = {97, 1, 2, 16, 17, 81, 194, 388, 776};
enum { WEIGHT_COUNT = sizeof WEIGHTS / sizeof *WEIGHTS, ROW_COUNT = sizeof ROWS / sizeof *ROWS };

static struct op_matmul_shape linear(size_t weight, size_t rows, enum op_dtype type) {
    return (struct op_matmul_shape){.m = ROWS[rows],
                                    .n = WEIGHTS[weight].n,
                                    .k = WEIGHTS[weight].k,
                                    .b_transposed = true,
                                    .b_packed = true,
                                    .dtype = type};
}

static void check_layout(op_context *context, size_t weight, enum op_dtype type) {
    const size_t count = (size_t)WEIGHTS[weight].n * (size_t)WEIGHTS[weight].k;
    float *b = normal(count, 4);
    void *first = NULL;
    size_t first_size = 0;
    for (size_t r = 0; r < ROW_COUNT; r++) {
        const struct op_matmul_shape shape = linear(weight, r, type);
        op_matmul *matmul = plan(context, &shape);
        if (!matmul)
            break;
        void *packed = pack(matmul, b);
        if (!first) {
            first = packed;
            first_size = op_matmul_packed_size(matmul);
        } else {
            assert_int_equal(op_matmul_packed_size(matmul), first_size);
            if (memcmp(packed, first, first_size) != 0)
                fail_msg("[%d, %d] packed for %d rows differs from that for %d", WEIGHTS[weight].n, WEIGHTS[weight].k,
                         ROWS[r], ROWS[0]);
            free(packed);
        }
        op_matmul_destroy(matmul);
    }
    free(first);
    free(b);
}

static void the_packed_layout_does_not_depend_on_the_rows(void **state) {
    (void)state;
    op_context *contexts[] = {context_of(TRM_BACKEND_ONEDNN), context_of(TRM_BACKEND_REFERENCE)};
    for (size_t c = 0; c < 2; c++) {
        for (size_t w = 0; w < WEIGHT_COUNT; w++)
            for (size_t t = 0; t < sizeof TYPES / sizeof *TYPES; t++)
                check_layout(contexts[c], w, TYPES[t]);
        op_context_destroy(contexts[c]);
    }
}

/* Half of the rows are ours, the others somebody else's, who changes: our bits do not. (That a row also has
 * the same bits in another place, or among another number of rows, is true of oneDNN's AVX-512 kernels
 * but not of its AVX2 and older ones: the engine gives a puzzle the same rows of the same shape.) */
static void check_rows(op_context *context, size_t weight, enum op_dtype type) {
    const size_t n = (size_t)WEIGHTS[weight].n, k = (size_t)WEIGHTS[weight].k;
    float *b = normal(n * k, 5);
    for (size_t r = 0; r < ROW_COUNT; r++) {
        const struct op_matmul_shape shape = linear(weight, r, type);
        const size_t rows = (size_t)ROWS[r];
        op_matmul *matmul = plan(context, &shape);
        if (!matmul)
            break;
        float *a[] = {normal(rows * k, 6), normal(rows * k, 7)}, *c[2];
        void *packed = pack(matmul, b);
        for (size_t i = 0; i < rows; i += 2)
            memcpy(a[1] + i * k, a[0] + i * k, k * sizeof **a);
        for (int side = 0; side < 2; side++) {
            void *left = operand(a[side], rows * k, type);
            c[side] = block(rows * n * sizeof **c);
            run(matmul, left, packed, c[side]);
            free(left);
        }
        for (size_t i = 0; i < rows; i += 2)
            assert_memory_equal(c[0] + i * n, c[1] + i * n, n * sizeof **c);
        for (int side = 0; side < 2; side++) {
            free(c[side]);
            free(a[side]);
        }
        free(packed);
        op_matmul_destroy(matmul);
    }
    free(b);
}

static void a_row_does_not_depend_on_the_other_rows(void **state) {
    (void)state;
    op_context *context = context_of(TRM_BACKEND_ONEDNN);
    for (size_t w = 0; w < WEIGHT_COUNT; w++)
        for (size_t t = 0; t < sizeof TYPES / sizeof *TYPES; t++)
            check_rows(context, w, TYPES[t]);
    op_context_destroy(context);
}

/* Two threads' plans of one shape, operands at any address (a multiple of what they are made of). */
static void a_product_gives_the_same_bits_at_any_address_from_any_plan(void **state) {
    (void)state;
    enum { M = 97, N = 64, K = 256, OFFSETS = 16 };
    const struct op_matmul_shape shape = {.m = M, .n = N, .k = K, .b_transposed = true, .b_packed = true};
    float *a = normal(M * K + OFFSETS, 12), *b = normal(N * K, 13), *first = block(M * N * sizeof *first);
    for (size_t offset = 0; offset < OFFSETS; offset++) {
        op_context *context = context_of(TRM_BACKEND_ONEDNN);
        op_matmul *matmul = plan(context, &shape);
        void *packed = pack(matmul, b);
        float *c = block((M * N + OFFSETS) * sizeof *c);
        if (offset > 0)
            memmove(a + offset, a + offset - 1, M * (size_t)K * sizeof *a);
        run(matmul, a + offset, packed, c + offset);
        if (offset == 0)
            memcpy(first, c, M * N * sizeof *c);
        assert_memory_equal(c + offset, first, M * N * sizeof *c);
        free(c);
        free(packed);
        op_matmul_destroy(matmul);
        op_context_destroy(context);
    }
    free(first);
    free(b);
    free(a);
}

/* Token mixing: each puzzle is a right-hand matrix of its own. */
static void a_puzzle_gives_the_same_bits_in_any_place_of_the_batch(void **state) {
    (void)state;
    enum { BATCH = 5, M = 512, N = 64, K = 97 };
    float *weight = normal((size_t)M * K, 7), *x = normal((size_t)K * N, 8);
    float *all = block(BATCH * (size_t)K * N * sizeof *all), *c = block(BATCH * (size_t)M * N * sizeof *c);
    float *alone = block((size_t)M * N * sizeof *alone);
    for (size_t i = 0; i < BATCH; i++)
        memcpy(all + i * K * N, x, (size_t)K * N * sizeof *x);
    for (size_t t = 0; t < sizeof TYPES / sizeof *TYPES; t++) {
        struct op_matmul_shape shape = {.batch = BATCH, .m = M, .n = N, .k = K, .a_shared = true, .dtype = TYPES[t]};
        if (!multiply(TRM_BACKEND_ONEDNN, &shape, weight, all, c))
            continue;
        shape.batch = 1;
        assert_true(multiply(TRM_BACKEND_ONEDNN, &shape, weight, x, alone));
        for (size_t i = 0; i < BATCH; i++)
            assert_memory_equal(c + i * M * N, alone, (size_t)M * N * sizeof *c);
    }
    free(alone);
    free(c);
    free(all);
    free(x);
    free(weight);
}

static void a_product_run_twice_gives_the_same_bits(void **state) {
    (void)state;
    const struct op_matmul_shape shape = {.m = 97, .n = 33, .k = 129};
    const struct extent size = extents_of(&shape);
    float *a = normal(size.a, 9), *b = normal(size.b, 10), *once = block(size.c * sizeof(float)),
          *twice = normal(size.c, 11); /* whatever was there does not matter */
    op_context *context = context_of(TRM_BACKEND_ONEDNN);
    op_matmul *matmul = plan(context, &shape);
    run(matmul, a, b, once);
    run(matmul, a, b, twice);
    assert_memory_equal(once, twice, size.c * sizeof *once);
    op_matmul_destroy(matmul);
    op_context_destroy(context);
    free(twice);
    free(once);
    free(b);
    free(a);
}

static void impossible_shapes_are_refused(void **state) {
    (void)state;
    const struct op_matmul_shape shapes[] = {{.m = 0, .n = 1, .k = 1},
                                             {.m = 1, .n = -1, .k = 1},
                                             {.m = 1, .n = 1, .k = 0},
                                             {.batch = -1, .m = 1, .n = 1, .k = 1},
                                             {.batch = 2, .m = 1, .n = 1, .k = 1, .b_packed = true}};
    const enum trm_backend backends[] = {TRM_BACKEND_ONEDNN, TRM_BACKEND_REFERENCE};
    for (size_t b = 0; b < 2; b++) {
        op_context *context = context_of(backends[b]);
        assert_int_equal(op_context_backend(context), backends[b]);
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            op_matmul *matmul = NULL;
            assert_int_equal(op_matmul_create(context, &shapes[i], &matmul, NULL), TRM_INVALID);
            assert_null(matmul);
        }
        op_context_destroy(context);
    }
}

static void the_library_says_its_version(void **state) {
    (void)state;
    char text[64];
    assert_ptr_equal(op_library_version(text, sizeof text), text);
    assert_int_equal(strncmp(text, "oneDNN ", 7), 0);
    assert_in_range(text[7], '2', '3');
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_products_agree),
        cmocka_unit_test(transposed_products_agree),
        cmocka_unit_test(strided_products_agree_and_leave_gaps_alone),
        cmocka_unit_test(batched_products_agree),
        cmocka_unit_test(accumulating_products_agree),
        cmocka_unit_test(packed_products_agree),
        cmocka_unit_test(products_of_bytes_are_exact),
        cmocka_unit_test(sums_of_bytes_that_could_overflow_are_refused),
        cmocka_unit_test(the_packed_layout_does_not_depend_on_the_rows),
        cmocka_unit_test(a_row_does_not_depend_on_the_other_rows),
        cmocka_unit_test(a_product_gives_the_same_bits_at_any_address_from_any_plan),
        cmocka_unit_test(a_puzzle_gives_the_same_bits_in_any_place_of_the_batch),
        cmocka_unit_test(a_product_run_twice_gives_the_same_bits),
        cmocka_unit_test(impossible_shapes_are_refused),
        cmocka_unit_test(the_library_says_its_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
