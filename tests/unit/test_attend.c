/* test_attend.c - attention of inference, projections included, against a plain double implementation: every
 * backend and kind of operands, with and without rotary positions, blocks of queries with and without a tail. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/data/rng.h"
#include "engine/ops/attend.h"
#include "engine/ops/bf16.h"

struct size {
    int tokens, in, heads, dim;
    struct op_rope rope;
    struct op_reach reach;
};

static const struct size SIZES[] = {
    {.tokens = 1, .in = 8, .heads = 1, .dim = 4},
    {.tokens = 5, .in = 16, .heads = 2, .dim = 8, .rope = {.theta = 10000.0}},
    {.tokens = 70, .in = 32, .heads = 3, .dim = 10},
    {.tokens = 193, .in = 64, .heads = 2, .dim = 32, .rope = {.theta = 500.0}}, /* blocks of 65, 65 and 63 */
    {.tokens = 10, .in = 16, .heads = 3, .dim = 6, .reach = {OP_REACH_NEAR, .side = 3, .prefix = 1, .radius = 1}},
    {.tokens = 121,
     .in = 32,
     .heads = 2,
     .dim = 16,
     .rope = {.theta = 500.0},
     .reach = {OP_REACH_NEAR, .side = 11, .radius = 2}},
};
enum { SIZE_COUNT = sizeof SIZES / sizeof *SIZES };
static const enum trm_backend BACKENDS[] = {TRM_BACKEND_REFERENCE, TRM_BACKEND_ONEDNN};

static void *block(size_t bytes) {
    void *memory = calloc(1, bytes);
    assert_non_null(memory);
    return memory;
}

static float *normal(size_t count, double scale, uint64_t seed) {
    struct data_rng rng;
    float *out = block(count * sizeof *out);
    data_rng_seed(&rng, seed);
    for (size_t i = 0; i < count; i++)
        out[i] = (float)(scale * data_rng_normal(&rng));
    return out;
}

static size_t width_of(const struct size *s) {
    return (size_t)s->heads * (size_t)s->dim;
}

/* ---- the definition ---- */

/* Element i of q, k or v of one head, whose weight rows begin at `weight`, at token t; rotated if asked for. */
static double projected(const struct size *s, const float *x, const float *weight, int t, int i) {
    double sum = 0.0;
    for (int c = 0; c < s->in; c++)
        sum += (double)x[(size_t)t * (size_t)s->in + (size_t)c] * (double)weight[(size_t)i * (size_t)s->in + (size_t)c];
    return sum;
}

/* [tokens, dim] */
static double *project(const struct size *s, const float *x, const float *weight, bool rotate) {
    const int half = s->dim / 2;
    double *out = block((size_t)s->tokens * (size_t)s->dim * sizeof *out);
    for (int t = 0; t < s->tokens; t++)
        for (int i = 0; i < s->dim; i++) {
            double *to = &out[(size_t)t * (size_t)s->dim + (size_t)i];
            *to = projected(s, x, weight, t, i);
            if (rotate && s->rope.theta > 0.0) {
                const int partner = i < half ? i + half : i - half, lower = i < half ? i : partner;
                const double angle = t * pow(s->rope.theta, -2.0 * lower / s->dim);
                const double other = projected(s, x, weight, t, partner);
                *to = *to * cos(angle) + (i < half ? -other : other) * sin(angle);
            }
        }
    return out;
}

/* One head: rows of out lie `width` apart. */
static void attend_head(const struct size *s, const double *q, const double *k, const double *v, double *out) {
    const size_t dim = (size_t)s->dim;
    const struct op_reach *r = &s->reach;
    for (int i = 0; i < s->tokens; i++) {
        double *to = out + (size_t)i * width_of(s), total = 0.0;
        for (int j = 0; j < s->tokens; j++) {
            const int a = i - r->prefix, b = j - r->prefix;
            double score = 0.0;
            if (r->kind == OP_REACH_NEAR && a >= 0 && b >= 0 &&
                (abs(a / r->side - b / r->side) > r->radius || abs(a % r->side - b % r->side) > r->radius))
                continue;
            for (size_t c = 0; c < dim; c++)
                score += q[(size_t)i * dim + c] * k[(size_t)j * dim + c];
            const double e = exp(score / sqrt(s->dim));
            total += e;
            for (size_t c = 0; c < dim; c++)
                to[c] += e * v[(size_t)j * dim + c];
        }
        for (size_t c = 0; c < dim; c++)
            to[c] /= total;
    }
}

/* [tokens, width] */
static double *define(const struct size *s, const float *x, const float *weight) {
    const size_t head_size = (size_t)s->dim * (size_t)s->in, all = (size_t)s->heads * head_size;
    double *out = block((size_t)s->tokens * width_of(s) * sizeof *out);
    for (int head = 0; head < s->heads; head++) {
        const float *rows = weight + (size_t)head * head_size;
        double *q = project(s, x, rows, true), *k = project(s, x, rows + all, true);
        double *v = project(s, x, rows + 2 * all, false);
        attend_head(s, q, k, v, out + (size_t)head * (size_t)s->dim);
        free(v);
        free(k);
        free(q);
    }
    return out;
}

/* ---- the comparison ---- */

static void *to_operand(const float *x, enum op_dtype type, size_t count) {
    void *out = block(count * sizeof(float));
    if (type == OP_BF16)
        op_bf16_from_f32(x, out, count);
    else
        memcpy(out, x, count * sizeof(float));
    return out;
}

/* The distance of got from want, of the root mean square of want. */
static double error_of(const void *got, enum op_dtype type, const double *want, size_t count) {
    double squares = 0.0, errors = 0.0;
    for (size_t i = 0; i < count; i++) {
        const double value =
            type == OP_BF16 ? (double)op_bf16_to_f32(((const op_bf16 *)got)[i]) : (double)((const float *)got)[i];
        squares += want[i] * want[i];
        errors += (value - want[i]) * (value - want[i]);
    }
    return sqrt(errors / squares);
}

static void check(enum trm_backend backend, enum op_dtype dtype, const struct size *s, double tolerance) {
    const size_t tokens = (size_t)s->tokens, in = (size_t)s->in, width = width_of(s);
    const struct op_attend_shape shape = {.rows = op_rows(s->tokens, 64),
                                          .in = s->in,
                                          .heads = s->heads,
                                          .dim = s->dim,
                                          .rope = s->rope,
                                          .reach = s->reach,
                                          .dtype = dtype};
    const enum op_dtype passed = op_passed_type(dtype);
    op_context *context = NULL;
    op_attend *attend = NULL;
    trm_error err = {""};
    assert_int_equal(op_context_create(backend, &context, &err), TRM_OK);
    const trm_status status = op_attend_create(context, &shape, &attend, &err);
    if (status == TRM_OK) {
        float *x = normal(tokens * in, 1.0, 1), *weight = normal(3 * width * in, 1.2 / sqrt(s->in), 2);
        void *operand = to_operand(x, passed, tokens * in), *packed = NULL,
             *out = block(tokens * width * sizeof(float));
        double *want = define(s, x, weight);
        assert_int_equal(posix_memalign(&packed, 64, op_attend_packed_size(attend)), 0);
        assert_int_equal(op_attend_pack(attend, weight, packed, &err), TRM_OK);
        assert_int_equal(op_attend_run(attend, operand, packed, out, &err), TRM_OK);
        const double error = error_of(out, passed, want, tokens * width);
        if (!(error <= tolerance))
            fail_msg("%d tokens, %d heads of %d: %.4g from the definition, over %.4g", s->tokens, s->heads, s->dim,
                     error, tolerance);
        free(want);
        free(packed);
        free(out);
        free(operand);
        free(weight);
        free(x);
    } else if (dtype == OP_F32 || status != TRM_UNSUPPORTED) {
        fail_msg("%s", err.text);
    }
    op_attend_destroy(attend);
    op_context_destroy(context);
}

static void check_all(enum op_dtype dtype, double tolerance) {
    for (size_t b = 0; b < 2; b++)
        for (size_t i = 0; i < SIZE_COUNT; i++)
            check(BACKENDS[b], dtype, &SIZES[i], tolerance);
}

static void attention_of_inference_agrees_with_its_definition(void **state) {
    (void)state;
    check_all(OP_F32, 1e-5);
}

static void in_bf16_within_its_rounding(void **state) {
    (void)state;
    check_all(OP_BF16, 0.015);
}

static void in_8_bits_within_its_rounding(void **state) {
    (void)state;
    check_all(OP_INT8, 0.03);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_of_inference_agrees_with_its_definition),
        cmocka_unit_test(in_bf16_within_its_rounding),
        cmocka_unit_test(in_8_bits_within_its_rounding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
