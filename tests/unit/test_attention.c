/* test_attention.c - attention against a plain double implementation, its gradient against finite
 * differences of that implementation: both backends, both kinds of operands, odd sizes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/data/rng.h"
#include "engine/ops/attention.h"
#include "engine/ops/bf16.h"

static const struct op_attention_shape SHAPES[] = {
    {.tokens = 1, .heads = 1, .dim = 1},
    {.tokens = 5, .heads = 2, .dim = 4},
    {.tokens = 9, .heads = 3, .dim = 10}, /* width smaller than hidden, as 6 heads of 10 */
    {.tokens = 7, .heads = 1, .dim = 5},  /* odd head */
    {.tokens = 8, .heads = 2, .dim = 8, .rope = {.theta = 10000.0}},
    {.tokens = 17, .heads = 3, .dim = 6, .rope = {.theta = 500.0}},
    {.tokens = 33, .heads = 1, .dim = 2, .rope = {.theta = 10000.0}},
    {.tokens = 18, .heads = 2, .dim = 12, .rope = {.theta = 100.0, .columns = 4, .prefix = 2}},
    {.tokens = 17, .heads = 3, .dim = 5, .reach = {OP_REACH_UNITS, .side = 4, .prefix = 1}},
    {.tokens = 36, .heads = 4, .dim = 4, .reach = {OP_REACH_UNITS, .side = 6}}, /* rows twice */
    {.tokens = 27, .heads = 1, .dim = 16, .reach = {OP_REACH_NEAR, .side = 5, .prefix = 2, .radius = 1}},
    {.tokens = 25,
     .heads = 2,
     .dim = 8,
     .rope = {.theta = 100.0, .columns = 5},
     .reach = {OP_REACH_NEAR, .side = 5, .radius = 2}},
};
enum { SHAPE_COUNT = sizeof SHAPES / sizeof *SHAPES };
static const enum trm_backend BACKENDS[] = {TRM_BACKEND_REFERENCE, TRM_BACKEND_ONEDNN};

struct sizes {
    size_t tokens, width, qkv; /* qkv: all of [tokens, 3 * width] */
};

static struct sizes sizes_of(const struct op_attention_shape *s) {
    const size_t tokens = (size_t)s->tokens, width = (size_t)s->heads * (size_t)s->dim;
    return (struct sizes){tokens, width, 3 * tokens * width};
}

static void *block(size_t bytes) {
    void *memory = calloc(1, bytes);
    assert_non_null(memory);
    return memory;
}

static double *normal(size_t count, uint64_t seed) {
    struct data_rng rng;
    double *out = block(count * sizeof *out);
    data_rng_seed(&rng, seed);
    for (size_t i = 0; i < count; i++)
        out[i] = (float)data_rng_normal(&rng); /* a float: both sides start from the same values */
    return out;
}

static float *to_float(const double *x, size_t count) {
    float *out = block(count * sizeof *out);
    for (size_t i = 0; i < count; i++)
        out[i] = (float)x[i];
    return out;
}

/* ---- the definition ---- */

/* By which pair i of `half` turns at position t. */
static double angle_of(const struct op_rope *rope, int t, int i, int half) {
    if (rope->columns == 0)
        return t * pow(rope->theta, -1.0 * i / half);
    const int pairs = half / 2; /* of an axis */
    const bool prefix = t < rope->prefix;
    const int row = prefix ? 0 : 1 + (t - rope->prefix) / rope->columns;
    const int column = prefix ? t : 1 + (t - rope->prefix) % rope->columns;
    return i < pairs ? row * pow(rope->theta, -2.0 * i / half) : column * pow(rope->theta, -2.0 * (i - pairs) / half);
}

/* Rotated element i of the head vector v at position t (half-split convention). */
static double rotated(const double *v, int t, int i, const struct op_attention_shape *s) {
    const int half = s->dim / 2;
    if (s->rope.theta <= 0.0 || half == 0)
        return v[i];
    const double angle = angle_of(&s->rope, t, i % half, half);
    const double other = i < half ? -v[i + half] : v[i - half];
    return v[i] * cos(angle) + other * sin(angle);
}

/* Whether a query of head `head` sees a key. */
static bool sees(const struct op_reach *reach, int head, int query, int key) {
    const int side = reach->side, a = query - reach->prefix, b = key - reach->prefix;
    const int rows = 2, columns = side / 2; /* of a box, for sides 4 and 6 */
    if (reach->kind == OP_REACH_ALL || a < 0 || b < 0)
        return true;
    if (reach->kind == OP_REACH_NEAR)
        return abs(a / side - b / side) <= reach->radius && abs(a % side - b % side) <= reach->radius;
    return head % 3 == 0   ? a / side == b / side
           : head % 3 == 1 ? a % side == b % side
                           : a / side / rows == b / side / rows && a % side / columns == b % side / columns;
}

/* out [tokens, width] from qkv [tokens, 3 * width]. */
static void define_attention(const struct op_attention_shape *s, const double *qkv, double *out) {
    const struct sizes n = sizes_of(s);
    double *p = block(n.tokens * sizeof *p);
    for (int head = 0; head < s->heads; head++)
        for (int i = 0; i < s->tokens; i++) {
            const size_t first = (size_t)head * (size_t)s->dim;
            const double *q = qkv + (size_t)i * 3 * n.width + first;
            double *o = out + (size_t)i * n.width + first, total = 0.0;
            for (int j = 0; j < s->tokens; j++) {
                const double *k = qkv + (size_t)j * 3 * n.width + n.width + first;
                double score = 0.0;
                for (int c = 0; c < s->dim; c++)
                    score += rotated(q, i, c, s) * rotated(k, j, c, s);
                p[j] = sees(&s->reach, head, i, j) ? exp(score / sqrt(s->dim)) : 0.0;
                total += p[j];
            }
            memset(o, 0, (size_t)s->dim * sizeof *o);
            for (int j = 0; j < s->tokens; j++)
                for (int c = 0; c < s->dim; c++)
                    o[c] += p[j] / total * qkv[(size_t)j * 3 * n.width + 2 * n.width + first + (size_t)c];
        }
    free(p);
}

/* The sum of out * weight: a scalar whose gradient with respect to qkv is what the backward pass gives. */
static double weighted(const struct op_attention_shape *s, const double *qkv, const double *weight, double *out) {
    const struct sizes n = sizes_of(s);
    double sum = 0.0;
    define_attention(s, qkv, out);
    for (size_t i = 0; i < n.tokens * n.width; i++)
        sum += out[i] * weight[i];
    return sum;
}

/* ---- the comparison ---- */

struct results {
    float *out;  /* [tokens, width] */
    float *dqkv; /* [tokens, 3 * width] */
    float *kept; /* [tokens, 3 * width] as the forward pass left it */
};

static void widen(const void *operand, enum op_dtype type, size_t count, float *out) {
    for (size_t i = 0; i < count; i++)
        out[i] = type == OP_BF16 ? op_bf16_to_f32(((const op_bf16 *)operand)[i]) : ((const float *)operand)[i];
}

/* False where this machine has no bf16 products. */
static bool run_attention(enum trm_backend backend, const struct op_attention_shape *shape, const double *qkv,
                          const double *dout, struct results *results) {
    const struct sizes n = sizes_of(shape);
    op_context *context = NULL;
    op_attention *attention = NULL;
    trm_error err = {""};
    assert_int_equal(op_context_create(backend, &context, NULL), TRM_OK);
    trm_status status = op_attention_create(context, shape, &attention, &err);
    if (status == TRM_OK) {
        void *out = block(n.tokens * n.width * sizeof(float)), *dqkv = block(n.qkv * sizeof(float));
        float *gradient = to_float(dout, n.tokens * n.width);
        results->kept = to_float(qkv, n.qkv);
        results->out = block(n.tokens * n.width * sizeof(float));
        results->dqkv = block(n.qkv * sizeof(float));
        assert_int_equal(op_attention_forward(attention, results->kept, out, &err), TRM_OK);
        widen(out, shape->dtype, n.tokens * n.width, results->out);
        assert_int_equal(op_attention_backward(attention, results->kept, gradient, dqkv, &err), TRM_OK);
        widen(dqkv, shape->dtype, n.qkv, results->dqkv);
        free(gradient);
        free(dqkv);
        free(out);
    } else if (shape->dtype != OP_BF16 || status != TRM_UNSUPPORTED) {
        fail_msg("%s", err.text);
    }
    op_attention_destroy(attention);
    op_context_destroy(context);
    return status == TRM_OK;
}

static void free_results(struct results *results) {
    free(results->out);
    free(results->dqkv);
    free(results->kept);
}

static void assert_near(const char *what, const float *got, const double *want, size_t count, double tolerance) {
    for (size_t i = 0; i < count; i++)
        if (!(fabs((double)got[i] - want[i]) <= tolerance * (1.0 + fabs(want[i]))))
            fail_msg("%s: element %zu of %zu is %.9g, not %.9g", what, i, count, (double)got[i], want[i]);
}

static void check_forward(enum trm_backend backend, const struct op_attention_shape *shape, double tolerance) {
    const struct sizes n = sizes_of(shape);
    double *qkv = normal(n.qkv, 1), *dout = normal(n.tokens * n.width, 2);
    double *want = block(n.tokens * n.width * sizeof *want);
    struct results got = {0};
    define_attention(shape, qkv, want);
    if (run_attention(backend, shape, qkv, dout, &got))
        assert_near("out", got.out, want, n.tokens * n.width, tolerance);
    free_results(&got);
    free(want);
    free(dout);
    free(qkv);
}

static void check_backward(enum trm_backend backend, const struct op_attention_shape *shape, double tolerance) {
    const double h = 1e-5;
    const struct sizes n = sizes_of(shape);
    double *qkv = normal(n.qkv, 3), *dout = normal(n.tokens * n.width, 4);
    double *scratch = block(n.tokens * n.width * sizeof *scratch), *want = block(n.qkv * sizeof *want);
    struct results got = {0};
    for (size_t i = 0; i < n.qkv; i++) {
        const double x = qkv[i];
        qkv[i] = x + h;
        const double above = weighted(shape, qkv, dout, scratch);
        qkv[i] = x - h;
        want[i] = (above - weighted(shape, qkv, dout, scratch)) / (2.0 * h);
        qkv[i] = x;
    }
    if (run_attention(backend, shape, qkv, dout, &got))
        assert_near("dqkv", got.dqkv, want, n.qkv, tolerance);
    free_results(&got);
    free(want);
    free(scratch);
    free(dout);
    free(qkv);
}

/* ---- tests ---- */

static void attention_agrees_with_its_definition(void **state) {
    (void)state;
    for (size_t b = 0; b < 2; b++)
        for (size_t i = 0; i < SHAPE_COUNT; i++)
            check_forward(BACKENDS[b], &SHAPES[i], 1e-5);
}

static void its_gradient_agrees_with_finite_differences(void **state) {
    (void)state;
    for (size_t b = 0; b < 2; b++)
        for (size_t i = 0; i < SHAPE_COUNT; i++)
            check_backward(BACKENDS[b], &SHAPES[i], 2e-5);
}

static void in_bf16_both_agree_within_its_rounding(void **state) {
    (void)state;
    for (size_t b = 0; b < 2; b++)
        for (size_t i = 0; i < SHAPE_COUNT; i++) {
            struct op_attention_shape shape = SHAPES[i];
            shape.dtype = OP_BF16;
            check_forward(BACKENDS[b], &shape, 0.03);
            check_backward(BACKENDS[b], &shape, 0.06);
        }
}

/* The caller keeps q and k as the forward pass rotated them, v as it was. */
static void queries_and_keys_are_rotated_in_place(void **state) {
    (void)state;
    const struct op_attention_shape *shape = &SHAPES[4];
    const struct sizes n = sizes_of(shape);
    double *qkv = normal(n.qkv, 7), *dout = normal(n.tokens * n.width, 8);
    double *want = block(n.qkv * sizeof *want);
    struct results got = {0};
    for (size_t row = 0; row < n.tokens * 3; row++)
        for (size_t i = 0; i < n.width; i++) {
            const size_t dim = (size_t)shape->dim, head = row * n.width + i / dim * dim;
            const bool is_v = row % 3 == 2;
            want[row * n.width + i] =
                is_v ? qkv[row * n.width + i] : rotated(qkv + head, (int)(row / 3), (int)(i % dim), shape);
        }
    if (run_attention(TRM_BACKEND_ONEDNN, shape, qkv, dout, &got)) /* f32: always */
        assert_near("kept", got.kept, want, n.qkv, 1e-5);
    free_results(&got);
    free(want);
    free(dout);
    free(qkv);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_agrees_with_its_definition),
        cmocka_unit_test(its_gradient_agrees_with_finite_differences),
        cmocka_unit_test(in_bf16_both_agree_within_its_rounding),
        cmocka_unit_test(queries_and_keys_are_rotated_in_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
