/* test_kernels.c - the vector kernels against the reference ones, at every length around the vector
 * widths, for both kinds of operands; blocks are exactly as long as the kernels may touch. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/data/rng.h"
#include "engine/ops/kernels.h"

enum { MAX_N = 130, PAD = 3 };
static const int ROWS[] = {1, 2, 7};
static const enum op_dtype TYPES[] = {OP_F32, OP_BF16};
static const struct op_kernels *const REF = &op_kernels_reference, *const VEC = &op_kernels_vector;

/* ---- blocks ---- */

static void *block(size_t bytes) {
    void *memory = calloc(1, bytes ? bytes : 1);
    assert_non_null(memory);
    return memory;
}

static float *zeros(size_t count) {
    return block(count * sizeof(float));
}

static float *normal(size_t count, double scale) {
    struct data_rng rng;
    float *out = zeros(count);
    data_rng_seed(&rng, count * 1000003 + (uint64_t)(scale * 16.0));
    for (size_t i = 0; i < count; i++)
        out[i] = (float)(scale * data_rng_normal(&rng));
    return out;
}

static float *copy(const float *from, size_t count) {
    return memcpy(zeros(count), from, count * sizeof(float));
}

static void *operand(size_t count, enum op_dtype type) {
    return block(count * (type == OP_BF16 ? sizeof(op_bf16) : sizeof(float)));
}

static float value(const void *array, enum op_dtype type, size_t index) {
    return type == OP_BF16 ? op_bf16_to_f32(((const op_bf16 *)array)[index]) : ((const float *)array)[index];
}

/* ---- judgements ---- */

static void assert_agree(const char *what, const void *got, const void *want, enum op_dtype type, size_t count) {
    const double relative = type == OP_BF16 ? 1.0 / 128 : 1e-5;
    for (size_t i = 0; i < count; i++) {
        const double g = value(got, type, i), w = value(want, type, i);
        if (!(fabs(g - w) <= 1e-5 + relative * fabs(w)))
            fail_msg("%s: element %zu of %zu is %.9g, not %.9g", what, i, count, g, w);
    }
}

static void assert_finite(const char *what, const void *got, enum op_dtype type, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!isfinite(value(got, type, i)))
            fail_msg("%s: element %zu is not finite", what, i);
}

/* A 16-bit copy is the rounding of what it copies. */
static void assert_copy16(const char *what, const float *x, const op_bf16 *x16, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (x16[i] != op_bf16_round(x[i]))
            fail_msg("%s: 16-bit element %zu is not the rounded one", what, i);
}

/* Calls `check` for every length, a few row counts and both operand types. */
static void for_each_size(void (*check)(int rows, int n, enum op_dtype type)) {
    for (size_t t = 0; t < sizeof TYPES / sizeof *TYPES; t++)
        for (size_t r = 0; r < sizeof ROWS / sizeof *ROWS; r++)
            for (int n = 1; n <= MAX_N; n++)
                check(ROWS[r], n, TYPES[t]);
}

/* ---- agreement ---- */

static void check_sum(int rows, int n, enum op_dtype type) {
    const size_t size = (size_t)rows * (size_t)n;
    float *blocks[OP_MAX_ADDENDS];
    const float *addends[OP_MAX_ADDENDS];
    for (int a = 0; a < OP_MAX_ADDENDS; a++)
        addends[a] = blocks[a] = normal(size, a + 1);
    for (int count = 1; count <= OP_MAX_ADDENDS; count++) {
        float *want = zeros(size), *got = zeros(size);
        op_bf16 *got16 = type == OP_BF16 ? operand(size, type) : NULL;
        REF->sum(addends, count, size, want, NULL);
        VEC->sum(addends, count, size, got, got16);
        assert_agree("sum", got, want, OP_F32, size);
        if (got16)
            assert_copy16("sum", got, got16, size);
        VEC->sum(addends, count, size, blocks[count - 1], NULL);
        assert_memory_equal(blocks[count - 1], got, size * sizeof *got); /* in place of the last addend */
        free(got16);
        free(got);
        free(want);
    }
    for (int a = 0; a < OP_MAX_ADDENDS; a++)
        free(blocks[a]);
}

static void sums_agree_also_in_place(void **state) {
    (void)state;
    for_each_size(check_sum);
}

static void check_accumulate(int rows, int n, enum op_dtype type) {
    const size_t size = (size_t)rows * (size_t)n;
    float *x = normal(size, 1), *want = normal(size, 2), *got = copy(want, size);
    (void)type;
    REF->accumulate(x, size, want);
    VEC->accumulate(x, size, got);
    assert_agree("accumulate", got, want, OP_F32, size);
    free(got);
    free(want);
    free(x);
}

static void accumulation_agrees(void **state) {
    (void)state;
    for_each_size(check_accumulate);
}

static void check_to_bf16(int rows, int n, enum op_dtype type) {
    const size_t size = (size_t)rows * (size_t)n;
    float *x = normal(size, 1000);
    op_bf16 *got = operand(size, OP_BF16);
    (void)type;
    VEC->to_bf16(x, size, got);
    assert_copy16("to_bf16", x, got, size);
    free(got);
    free(x);
}

static void conversion_to_bf16_is_exact(void **state) {
    (void)state;
    for_each_size(check_to_bf16);
}

static void bf16_rounds_to_nearest_even(void **state) {
    (void)state;
    const struct {
        float in, out;
    } cases[] = {{0.0f, 0.0f},
                 {1.0f, 1.0f},
                 {-2.5f, -2.5f},
                 {0x1.01p0f, 0x1.00p0f},       /* half way: down to even */
                 {0x1.03p0f, 0x1.04p0f},       /* half way: up to even */
                 {0x1.010002p0f, 0x1.02p0f},   /* just above half way */
                 {0x1.00fffep0f, 0x1.00p0f},   /* just below */
                 {-0x1.03p0f, -0x1.04p0f},     /* symmetric */
                 {0x1.fffffep0f, 0x1.000p1f}}; /* carries into the exponent */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_true(op_bf16_to_f32(op_bf16_round(cases[i].in)) == cases[i].out);
}

typedef void (*rms_forward)(const float *x, const float *d, int rows, int n, float eps, float *y, float *rinv,
                            op_bf16 *y16);
typedef void (*rms_backward)(const float *y, const float *rinv, const float *dy, int rows, int n, float *ds,
                             op_bf16 *ds16);

static void check_rms(const char *what, const rms_forward forward[2], const rms_backward backward[2], int rows, int n,
                      size_t norms, enum op_dtype type) {
    const size_t size = (size_t)rows * (size_t)n;
    float *x = normal(size, 1), *d = normal(size, 3), *dy = normal(size, 2);
    float *y[2], *rinv[2], *ds[2], *inplace = copy(dy, size);
    op_bf16 *out16[2] = {NULL, NULL};
    for (int k = 0; k < 2; k++) {
        y[k] = zeros(size);
        rinv[k] = zeros(norms);
        ds[k] = zeros(size);
        if (type == OP_BF16)
            out16[k] = operand(size, type);
        forward[k](x, d, rows, n, 1e-5f, y[k], rinv[k], out16[k]);
        if (out16[k])
            assert_copy16(what, y[k], out16[k], size);
        backward[k](y[0], rinv[0], dy, rows, n, ds[k], out16[k]);
        if (out16[k])
            assert_copy16(what, ds[k], out16[k], size);
    }
    assert_agree(what, y[1], y[0], OP_F32, size);
    assert_agree(what, rinv[1], rinv[0], OP_F32, norms);
    assert_agree(what, ds[1], ds[0], OP_F32, size);
    backward[1](y[0], rinv[0], inplace, rows, n, inplace, NULL);
    assert_memory_equal(inplace, ds[1], size * sizeof *inplace);
    for (int k = 0; k < 2; k++) {
        free(out16[k]);
        free(ds[k]);
        free(rinv[k]);
        free(y[k]);
    }
    free(inplace);
    free(dy);
    free(d);
    free(x);
}

static void check_rms_rows(int rows, int n, enum op_dtype type) {
    const rms_forward forward[] = {REF->rms_rows, VEC->rms_rows};
    const rms_backward backward[] = {REF->rms_rows_backward, VEC->rms_rows_backward};
    check_rms("rms_rows", forward, backward, rows, n, (size_t)rows, type);
}

static void reference_cols(const float *x, const float *d, int rows, int n, float eps, float *y, float *rinv,
                           op_bf16 *y16) {
    REF->rms_cols(x, d, rows, n, (size_t)n, eps, y, rinv, y16);
}

static void vector_cols(const float *x, const float *d, int rows, int n, float eps, float *y, float *rinv,
                        op_bf16 *y16) {
    VEC->rms_cols(x, d, rows, n, (size_t)n, eps, y, rinv, y16);
}

static void check_rms_cols(int rows, int n, enum op_dtype type) {
    const rms_forward forward[] = {reference_cols, vector_cols};
    const rms_backward backward[] = {REF->rms_cols_backward, VEC->rms_cols_backward};
    check_rms("rms_cols", forward, backward, rows, n, (size_t)n, type);
}

/* A slice of the columns of wider x and y gives the bits that it has among the others. */
static void check_slice(int rows, int n, enum op_dtype type) {
    const size_t wide = 2 * (size_t)n, size = (size_t)rows * wide;
    float *x = normal(size, 7), *d = normal(size, 8), *rinv = zeros(wide);
    (void)type;
    for (int k = 0; k < 2; k++) {
        const struct op_kernels *kernels = k ? VEC : REF;
        float *whole = zeros(size), *parts = zeros(size), *half = zeros(size / 2);
        kernels->rms_cols(x, d, rows, 2 * n, wide, 1e-5f, whole, rinv, NULL);
        for (size_t part = 0; part < 2; part++) {
            for (int r = 0; r < rows; r++)
                memcpy(half + (size_t)r * (size_t)n, d + (size_t)r * wide + part * (size_t)n, (size_t)n * sizeof *half);
            kernels->rms_cols(x + part * (size_t)n, half, rows, n, wide, 1e-5f, parts + part * (size_t)n, rinv, NULL);
        }
        assert_memory_equal(parts, whole, size * sizeof *whole);
        free(half);
        free(parts);
        free(whole);
    }
    free(rinv);
    free(d);
    free(x);
}

static void a_slice_of_columns_has_the_norm_that_it_has_among_all(void **state) {
    (void)state;
    for_each_size(check_slice);
}

static void norms_over_rows_agree_also_in_place(void **state) {
    (void)state;
    for_each_size(check_rms_rows);
}

static void norms_over_columns_agree_also_in_place(void **state) {
    (void)state;
    for_each_size(check_rms_cols);
}

/* Gates and ups side by side in rows with a gap behind them, which must stay as it is. */
static void check_swiglu(int rows, int n, enum op_dtype type) {
    const size_t stride = 2 * (size_t)n + PAD, wide = (size_t)rows * stride, narrow = (size_t)rows * (size_t)n;
    float *in = normal(wide, 4), *dact = normal(narrow, 2);
    void *act[2], *dwide[2];
    for (int k = 0; k < 2; k++) {
        const struct op_kernels *kernels = k ? VEC : REF;
        void *again = operand(narrow, type);
        act[k] = operand(narrow, type);
        dwide[k] = operand(wide, type);
        memset(dwide[k], 0x3f, wide * (type == OP_BF16 ? sizeof(op_bf16) : sizeof(float)));
        kernels->swiglu(in, in + n, rows, (size_t)n, stride, type, act[k], (size_t)n);
        kernels->swiglu_backward(in, in + n, dact, rows, (size_t)n, stride, type, dwide[k],
                                 type == OP_BF16 ? (void *)((op_bf16 *)dwide[k] + n) : (void *)((float *)dwide[k] + n),
                                 again);
        assert_agree("swiglu again", again, act[k], type, narrow);
        free(again);
    }
    assert_agree("swiglu", act[1], act[0], type, narrow);
    assert_agree("swiglu_backward", dwide[1], dwide[0], type, wide);
    for (int k = 0; k < 2; k++) {
        free(dwide[k]);
        free(act[k]);
    }
    free(dact);
    free(in);
}

static void gated_units_agree_and_leave_gaps_alone(void **state) {
    (void)state;
    for_each_size(check_swiglu);
}

static void check_softmax(int rows, int n, enum op_dtype type) {
    const size_t size = (size_t)rows * (size_t)n;
    const float scale = 0.25f;
    float *scores = normal(size, 8), *dp = normal(size, 1);
    void *p[2], *ds[2];
    for (int k = 0; k < 2; k++) {
        const struct op_kernels *kernels = k ? VEC : REF;
        p[k] = operand(size, type);
        ds[k] = operand(size, type);
        kernels->softmax(scores, rows, n, scale, type, p[k]);
        kernels->softmax_backward(p[0], dp, rows, n, scale, type, ds[k]);
        for (int r = 0; r < rows; r++) {
            double total = 0.0;
            for (int i = 0; i < n; i++)
                total += value(p[k], type, (size_t)r * (size_t)n + (size_t)i);
            assert_true(fabs(total - 1.0) < (type == OP_BF16 ? 1e-2 : 1e-5));
        }
    }
    assert_agree("softmax", p[1], p[0], type, size);
    assert_agree("softmax_backward", ds[1], ds[0], type, size);
    if (type == OP_F32) {
        VEC->softmax_backward(p[0], dp, rows, n, scale, type, dp);
        assert_memory_equal(dp, ds[1], size * sizeof *dp);
        VEC->softmax(scores, rows, n, scale, type, scores);
        assert_memory_equal(scores, p[1], size * sizeof *scores);
    }
    for (int k = 0; k < 2; k++) {
        free(ds[k]);
        free(p[k]);
    }
    free(dp);
    free(scores);
}

/* A panel of activations among others, as the gated MLP writes them. */
static void check_swiglu_panel(int rows, int n, enum op_dtype type) {
    const size_t length = (size_t)n, stride = 3 * length, size = (size_t)rows * length;
    float *in = normal(2 * size, 5);
    void *act[2];
    for (int k = 0; k < 2; k++) {
        const struct op_kernels *kernels = k ? VEC : REF;
        act[k] = operand((size_t)rows * stride, type);
        kernels->swiglu(in, in + n, rows, length, 2 * length, type,
                        type == OP_BF16 ? (void *)((op_bf16 *)act[k] + n) : (void *)((float *)act[k] + n), stride);
        for (int r = 0; r < rows; r++)
            for (size_t i = 0; i < stride; i++)
                if (i / length != 1)
                    assert_true(value(act[k], type, (size_t)r * stride + i) == 0.0);
    }
    assert_agree("swiglu", act[1], act[0], type, (size_t)rows * stride);
    free(act[1]);
    free(act[0]);
    free(in);
}

static void a_panel_of_gated_units_leaves_its_neighbours_alone(void **state) {
    (void)state;
    for_each_size(check_swiglu_panel);
}

/* exponentials() and scale_rows() together are softmax(). */
static void check_exponentials(int rows, int n, enum op_dtype type) {
    const float scale = 0.5f;
    const size_t size = (size_t)rows * (size_t)n;
    float *scores = normal(size, 6), *inverse = zeros((size_t)rows), *wanted = zeros(size), *plain = zeros(size);
    void *p[2], *scaled[2];
    REF->softmax(scores, rows, n, scale, OP_F32, wanted);
    for (int k = 0; k < 2; k++) {
        const struct op_kernels *kernels = k ? VEC : REF;
        p[k] = operand(size, type);
        scaled[k] = operand(size, type);
        kernels->exponentials(scores, rows, n, scale, type, p[k], inverse);
        kernels->exponentials(scores, rows, n, scale, OP_F32, plain, inverse);
        kernels->scale_rows(plain, inverse, rows, n, type, scaled[k], (size_t)n);
        for (size_t i = 0; i < size; i++) {
            const double got = value(scaled[k], type, i);
            assert_true(fabs(got - (double)wanted[i]) <= (double)wanted[i] / (type == OP_BF16 ? 250 : 200000));
        }
    }
    assert_agree("exponentials", p[1], p[0], type, size);
    VEC->exponentials(scores, rows, n, scale, OP_F32, scores, inverse);
    assert_agree("exponentials in place", scores, plain, OP_F32, size);
    for (int k = 0; k < 2; k++) {
        free(scaled[k]);
        free(p[k]);
    }
    free(plain);
    free(wanted);
    free(inverse);
    free(scores);
}

static void softmax_in_two_parts_is_softmax(void **state) {
    (void)state;
    for_each_size(check_exponentials);
}

static void softmax_agrees_also_in_place(void **state) {
    (void)state;
    for_each_size(check_softmax);
}

/* `n` is the head size; three heads in rows with a gap. */
static void check_rope(int tokens, int n, enum op_dtype type) {
    enum { HEADS = 3 };
    const int dim = 2 * n;
    const size_t stride = HEADS * (size_t)dim + PAD, size = (size_t)tokens * stride;
    const size_t angles = (size_t)tokens * (size_t)n;
    float *x = normal(size, 1), *cosine = zeros(angles), *sine = zeros(angles);
    float *want = copy(x, size), *got = copy(x, size);
    (void)type;
    for (size_t i = 0; i < angles; i++) {
        cosine[i] = cosf((float)i);
        sine[i] = sinf((float)i);
    }
    REF->rope(want, tokens, HEADS, dim, stride, cosine, sine, 1.0f);
    VEC->rope(got, tokens, HEADS, dim, stride, cosine, sine, 1.0f);
    assert_agree("rope", got, want, OP_F32, size);
    for (int t = 0; t < tokens; t++)
        assert_memory_equal(got + (size_t)t * stride + HEADS * (size_t)dim,
                            x + (size_t)t * stride + HEADS * (size_t)dim, PAD * sizeof *x);
    VEC->rope(got, tokens, HEADS, dim, stride, cosine, sine, -1.0f);
    assert_agree("rope there and back", got, x, OP_F32, size);
    free(got);
    free(want);
    free(sine);
    free(cosine);
    free(x);
}

static void rotations_agree_and_undo_each_other(void **state) {
    (void)state;
    for_each_size(check_rope);
}

/* ---- extremes ---- */

/* Every pair of these meets in one of the places. */
static const float EXTREMES[] = {0.0f, -0.0f, 1e-30f, -1e-30f, 88.0f, -88.0f, 100.0f, -100.0f, 1e4f, -1e4f};
enum { EXTREME_COUNT = sizeof EXTREMES / sizeof *EXTREMES, EXTREME_PAIRS = EXTREME_COUNT * EXTREME_COUNT };

static void check_extremes(const struct op_kernels *kernels, enum op_dtype type) {
    enum { N = EXTREME_PAIRS };
    float *pair = zeros(2 * N), *ones = zeros(N), *y = zeros(N), *rinv = zeros(N), *ds = zeros(N);
    void *act = operand(N, type), *dwide = operand(2 * N, type), *again = operand(N, type);
    for (int i = 0; i < N; i++) {
        pair[i] = EXTREMES[i / EXTREME_COUNT];
        pair[N + i] = EXTREMES[i % EXTREME_COUNT];
        ones[i] = 1.0f;
    }
    kernels->swiglu(pair, pair + N, 1, N, N, type, act, N);
    assert_finite("swiglu", act, type, N);
    for (int i = 0; i < N; i++) {
        const double gate = pair[i], wanted = gate / (1.0 + exp(-gate)) * (double)pair[N + i];
        assert_true(fabs(value(act, type, (size_t)i) - wanted) <= 1e-20 + fabs(wanted) / 128);
    }
    kernels->swiglu_backward(pair, pair + N, ones, 1, N, N, type, dwide,
                             type == OP_BF16 ? (void *)((op_bf16 *)dwide + N) : (void *)((float *)dwide + N), again);
    assert_finite("swiglu_backward", dwide, type, 2 * (size_t)N);
    assert_finite("swiglu_backward act", again, type, N);

    kernels->softmax(pair, 1, N, 1.0f, type, act);
    assert_finite("softmax", act, type, N);
    kernels->softmax_backward(act, pair, 1, N, 1.0f, type, again);
    assert_finite("softmax_backward", again, type, N);
    kernels->softmax(ones, 1, N, 1e4f, type, act);
    assert_true(fabs(value(act, type, N - 1) - 1.0 / N) < 1e-4); /* equal scores share */

    const rms_forward cols = kernels == REF ? reference_cols : vector_cols;
    const struct {
        rms_forward forward;
        rms_backward backward;
        int rows, n;
    } norms[] = {{kernels->rms_rows, kernels->rms_rows_backward, 1, N},
                 {kernels->rms_rows, kernels->rms_rows_backward, N, 1},
                 {cols, kernels->rms_cols_backward, N, 1},
                 {cols, kernels->rms_cols_backward, 1, N}};
    for (size_t i = 0; i < sizeof norms / sizeof *norms; i++) {
        norms[i].forward(pair, pair + N, norms[i].rows, norms[i].n, 1e-5f, y, rinv, NULL);
        assert_finite("rms", y, OP_F32, N);
        norms[i].backward(y, rinv, pair, norms[i].rows, norms[i].n, ds, NULL);
        assert_finite("rms backward", ds, OP_F32, N);
    }
    free(again);
    free(dwide);
    free(act);
    free(ds);
    free(rinv);
    free(y);
    free(ones);
    free(pair);
}

static void extreme_values_give_no_nan_and_no_infinity(void **state) {
    (void)state;
    for (size_t t = 0; t < sizeof TYPES / sizeof *TYPES; t++) {
        check_extremes(REF, TYPES[t]);
        check_extremes(VEC, TYPES[t]);
    }
}

static void a_norm_of_zeros_is_zero(void **state) {
    (void)state;
    float x[5] = {0}, y[5] = {1, 1, 1, 1, 1}, rinv[5];
    const struct op_kernels *tables[] = {REF, VEC};
    for (int k = 0; k < 2; k++) {
        tables[k]->rms_rows(x, x, 1, 5, 1e-5f, y, rinv, NULL);
        for (int i = 0; i < 5; i++)
            assert_true(y[i] == 0.0f);
        assert_true(fabs(rinv[0] - 1.0 / sqrt(1e-5)) < 1e-3);
    }
}

/* ---- where a row lies does not matter ---- */

enum { PLACES = 9, OFFSETS = 16 };

/* Runs every row kernel on `rows` equal rows of n and returns all results, row after row: y, rinv and ds
 * of the norm, act, dgate and dup, p and its ds. */
static size_t run_rows(const float *row, int rows, int n, float *results) {
    const size_t size = (size_t)rows * (size_t)n, length = (size_t)n;
    float *x = zeros(size + OFFSETS), *out[8];
    for (int k = 0; k < 8; k++)
        out[k] = zeros(size + OFFSETS);
    size_t at = 0;
    for (int offset = 0; offset < OFFSETS; offset++) {
        float *in = x + offset, *y = out[0] + offset, *rinv = out[1] + offset, *ds = out[2] + offset;
        for (int r = 0; r < rows; r++)
            memcpy(in + (size_t)r * length, row, length * sizeof *row);
        VEC->rms_rows(in, in, rows, n, 1e-5f, y, rinv, NULL);
        VEC->rms_rows_backward(y, rinv, in, rows, n, ds, NULL);
        VEC->swiglu(in, in, rows, length, length, OP_F32, out[3] + offset, length);
        VEC->swiglu_backward(in, in, in, rows, length, length, OP_F32, out[4] + offset, out[5] + offset,
                             out[3] + offset);
        VEC->softmax(in, rows, n, 0.5f, OP_F32, out[6] + offset);
        VEC->softmax_backward(out[6] + offset, in, rows, n, 0.5f, OP_F32, out[7] + offset);
        for (int r = 0; r < rows; r++) {
            for (int k = 0; k < 8; k++)
                if (k != 1)
                    memcpy(results + at + (size_t)k * length, out[k] + offset + (size_t)r * length,
                           length * sizeof *results);
            for (int i = 0; i < n; i++)
                results[at + length + (size_t)i] = rinv[r];
            at += 8 * length;
        }
    }
    for (int k = 0; k < 8; k++)
        free(out[k]);
    free(x);
    return 8 * length;
}

static void a_row_gives_the_same_bits_in_any_place(void **state) {
    (void)state;
    for (int n = 1; n <= MAX_N; n++) {
        float *row = normal((size_t)n, 2), *results = zeros((size_t)OFFSETS * PLACES * 8 * (size_t)n);
        const size_t per_row = run_rows(row, PLACES, n, results);
        for (size_t place = 1; place < (size_t)OFFSETS * PLACES; place++)
            if (memcmp(results, results + place * per_row, per_row * sizeof *results) != 0)
                fail_msg("rows of %d: place %zu gives other bits", n, place);
        free(results);
        free(row);
    }
}

static void a_puzzle_gives_the_same_bits_at_any_address(void **state) {
    (void)state;
    enum { ROWS_OF_PUZZLE = 17 };
    for (int n = 1; n <= MAX_N; n++) {
        const size_t size = ROWS_OF_PUZZLE * (size_t)n;
        float *x = normal(size, 2), *first = NULL, *first_ds = NULL;
        for (size_t offset = 0; offset < OFFSETS; offset++) {
            float *in = zeros(size + offset), *y = zeros(size + offset), *ds = zeros(size + offset);
            float *rinv = zeros((size_t)n);
            memcpy(in + offset, x, size * sizeof *x);
            VEC->rms_cols(in + offset, in + offset, ROWS_OF_PUZZLE, n, (size_t)n, 1e-5f, y + offset, rinv, NULL);
            VEC->rms_cols_backward(y + offset, rinv, in + offset, ROWS_OF_PUZZLE, n, ds + offset, NULL);
            free(rinv);
            free(in);
            if (offset == 0) {
                first = y;
                first_ds = ds;
                continue;
            }
            assert_memory_equal(y + offset, first, size * sizeof *y);
            assert_memory_equal(ds + offset, first_ds, size * sizeof *ds);
            free(ds);
            free(y);
        }
        free(first_ds);
        free(first);
        free(x);
    }
}

static void each_backend_has_its_table(void **state) {
    (void)state;
    assert_ptr_equal(op_kernels(TRM_BACKEND_REFERENCE), REF);
    assert_ptr_equal(op_kernels(TRM_BACKEND_ONEDNN), VEC);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_agree_also_in_place),
        cmocka_unit_test(accumulation_agrees),
        cmocka_unit_test(conversion_to_bf16_is_exact),
        cmocka_unit_test(bf16_rounds_to_nearest_even),
        cmocka_unit_test(norms_over_rows_agree_also_in_place),
        cmocka_unit_test(norms_over_columns_agree_also_in_place),
        cmocka_unit_test(a_slice_of_columns_has_the_norm_that_it_has_among_all),
        cmocka_unit_test(gated_units_agree_and_leave_gaps_alone),
        cmocka_unit_test(softmax_agrees_also_in_place),
        cmocka_unit_test(softmax_in_two_parts_is_softmax),
        cmocka_unit_test(a_panel_of_gated_units_leaves_its_neighbours_alone),
        cmocka_unit_test(rotations_agree_and_undo_each_other),
        cmocka_unit_test(extreme_values_give_no_nan_and_no_infinity),
        cmocka_unit_test(a_norm_of_zeros_is_zero),
        cmocka_unit_test(a_row_gives_the_same_bits_in_any_place),
        cmocka_unit_test(a_puzzle_gives_the_same_bits_at_any_address),
        cmocka_unit_test(each_backend_has_its_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
