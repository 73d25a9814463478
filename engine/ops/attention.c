/* attention.c - see attention.h. All buffers belong to the thread that created the object. */
#include "engine/ops/attention.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/ops/kernels.h"
#include "engine/ops/rope.h"

struct op_attention {
    struct op_attention_shape shape;
    const struct op_kernels *kernels;
    op_matmul *scores; /* S = Q K^T */
    op_matmul *mix;    /* O = P V */
    op_matmul *dp;     /* dP = dO V^T */
    op_matmul *dv;     /* dV = P^T dO */
    op_matmul *dq;     /* dQ = dS K */
    op_matmul *dk;     /* dK = dS^T Q */
    float *cosine;     /* [tokens, dim / 2] */
    float *sine;       /* [tokens, dim / 2] */
    float *score;      /* [tokens, tokens] */
    void *prob;        /* operand [tokens, tokens] */
    float *dprob;      /* [tokens, tokens] */
    float *out;        /* [tokens, width] */
    float *dqkv;       /* [tokens, 3 * width] */
    op_bf16 *qkv16;    /* [tokens, 3 * width] operand copy, bf16 only */
    op_bf16 *dout16;   /* [tokens, width] operand copy, bf16 only */
};

static trm_status plan(op_attention *at, op_context *context, trm_error *err) {
    const int t = at->shape.tokens, d = at->shape.dim, width = at->shape.heads * d;
    const enum op_dtype type = at->shape.dtype;
    const struct {
        op_matmul **plan;
        struct op_matmul_shape shape;
    } plans[] = {
        {&at->scores,
         {.m = t, .n = t, .k = d, .lda = 3 * width, .ldb = 3 * width, .b_transposed = true, .dtype = type}},
        {&at->mix, {.m = t, .n = d, .k = t, .ldb = 3 * width, .ldc = width, .dtype = type}},
        {&at->dp, {.m = t, .n = t, .k = d, .lda = width, .ldb = 3 * width, .b_transposed = true, .dtype = type}},
        {&at->dv, {.m = t, .n = d, .k = t, .a_transposed = true, .ldb = width, .ldc = 3 * width, .dtype = type}},
        {&at->dq, {.m = t, .n = d, .k = t, .ldb = 3 * width, .ldc = 3 * width, .dtype = type}},
        {&at->dk, {.m = t, .n = d, .k = t, .a_transposed = true, .ldb = 3 * width, .ldc = 3 * width, .dtype = type}},
    };
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
        trm_status status = op_matmul_create(context, &plans[i].shape, plans[i].plan, err);
        if (status != TRM_OK)
            return status;
    }
    return TRM_OK;
}

static trm_status allocate(op_attention *at, trm_error *err) {
    const size_t t = (size_t)at->shape.tokens, half = (size_t)at->shape.dim / 2;
    const size_t width = (size_t)at->shape.heads * (size_t)at->shape.dim;
    const bool bf16 = at->shape.dtype == OP_BF16;
    const struct {
        void **buffer;
        size_t bytes;
    } buffers[] = {
        {(void **)&at->cosine, t * half * sizeof(float)},
        {(void **)&at->sine, t * half * sizeof(float)},
        {(void **)&at->score, t * t * sizeof(float)},
        {(void **)&at->prob, t * t * sizeof(float)},
        {(void **)&at->dprob, t * t * sizeof(float)},
        {(void **)&at->out, bf16 ? t * width * sizeof(float) : 0},
        {(void **)&at->dqkv, 3 * t * width * sizeof(float)},
        {(void **)&at->qkv16, bf16 ? 3 * t * width * sizeof(op_bf16) : 0},
        {(void **)&at->dout16, bf16 ? t * width * sizeof(op_bf16) : 0},
    };
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        if (buffers[i].bytes && posix_memalign(buffers[i].buffer, 64, buffers[i].bytes) != 0)
            return trm_fail_memory(err, buffers[i].bytes);
    return TRM_OK;
}

trm_status op_attention_create(op_context *context, const struct op_attention_shape *shape, op_attention **out,
                               trm_error *err) {
    op_attention *at = calloc(1, sizeof *at);
    if (!at)
        return trm_fail_memory(err, sizeof *at);
    at->shape = *shape;
    at->kernels = op_kernels(op_context_backend(context));
    trm_status status = plan(at, context, err);
    if (status == TRM_OK)
        status = allocate(at, err);
    if (status != TRM_OK) {
        op_attention_destroy(at);
        return status;
    }
    if (shape->rope_theta > 0.0)
        op_rope_fill(shape->tokens, shape->dim, shape->rope_theta, at->cosine, at->sine);
    *out = at;
    return TRM_OK;
}

void op_attention_destroy(op_attention *at) {
    if (!at)
        return;
    op_matmul *plans[] = {at->scores, at->mix, at->dp, at->dv, at->dq, at->dk};
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++)
        op_matmul_destroy(plans[i]);
    free(at->cosine);
    free(at->sine);
    free(at->score);
    free(at->prob);
    free(at->dprob);
    free(at->out);
    free(at->dqkv);
    free(at->qkv16);
    free(at->dout16);
    free(at);
}

/* Rotates the q and k heads of [tokens, 3 * width], which lie side by side. */
static void rotate(const op_attention *at, float *qkv, float sign) {
    const struct op_attention_shape *s = &at->shape;
    if (s->rope_theta > 0.0)
        at->kernels->rope(qkv, s->tokens, 2 * s->heads, s->dim, 3 * (size_t)s->heads * (size_t)s->dim, at->cosine,
                          at->sine, sign);
}

/* The operand form of qkv, from which heads are taken. */
static const void *operand(const op_attention *at, const float *x, size_t count, op_bf16 *copy) {
    if (at->shape.dtype == OP_F32)
        return x;
    at->kernels->to_bf16(x, count, copy);
    return copy;
}

/* Element `index` of an operand array. */
static const void *at_index(const op_attention *at, const void *array, size_t index) {
    return (const char *)array + index * (at->shape.dtype == OP_BF16 ? sizeof(op_bf16) : sizeof(float));
}

/* P = softmax(Q K^T / sqrt(dim)) of one head into at->prob. */
static trm_status probabilities(op_attention *at, const void *qkv, int head, trm_error *err) {
    const struct op_attention_shape *s = &at->shape;
    const size_t width = (size_t)s->heads * (size_t)s->dim, first = (size_t)head * (size_t)s->dim;
    trm_status status =
        op_matmul_run(at->scores, at_index(at, qkv, first), at_index(at, qkv, width + first), at->score, err);
    if (status == TRM_OK)
        at->kernels->softmax(at->score, s->tokens, s->tokens, 1.0f / sqrtf((float)s->dim), s->dtype, at->prob);
    return status;
}

trm_status op_attention_forward(op_attention *at, float *qkv, void *out, trm_error *err) {
    const struct op_attention_shape *s = &at->shape;
    const size_t width = (size_t)s->heads * (size_t)s->dim, t = (size_t)s->tokens;
    float *result = s->dtype == OP_F32 ? out : at->out;
    rotate(at, qkv, 1.0f);
    const void *operands = operand(at, qkv, 3 * t * width, at->qkv16);
    for (int head = 0; head < s->heads; head++) {
        const size_t first = (size_t)head * (size_t)s->dim;
        trm_status status = probabilities(at, operands, head, err);
        if (status == TRM_OK)
            status = op_matmul_run(at->mix, at->prob, at_index(at, operands, 2 * width + first), result + first, err);
        if (status != TRM_OK)
            return status;
    }
    if (s->dtype == OP_BF16)
        at->kernels->to_bf16(result, t * width, out);
    return TRM_OK;
}

static trm_status backward_head(op_attention *at, const void *qkv, const void *dout, int head, trm_error *err) {
    const struct op_attention_shape *s = &at->shape;
    const size_t width = (size_t)s->heads * (size_t)s->dim;
    const size_t q = (size_t)head * (size_t)s->dim, k = width + q, v = 2 * width + q;
    trm_status status = probabilities(at, qkv, head, err);
    if (status == TRM_OK)
        status = op_matmul_run(at->dv, at->prob, at_index(at, dout, q), at->dqkv + v, err);
    if (status == TRM_OK)
        status = op_matmul_run(at->dp, at_index(at, dout, q), at_index(at, qkv, v), at->dprob, err);
    if (status != TRM_OK)
        return status;
    /* dS takes the place of the scores, which are no longer needed. */
    at->kernels->softmax_backward(at->prob, at->dprob, s->tokens, s->tokens, 1.0f / sqrtf((float)s->dim), s->dtype,
                                  at->score);
    status = op_matmul_run(at->dq, at->score, at_index(at, qkv, k), at->dqkv + q, err);
    if (status == TRM_OK)
        status = op_matmul_run(at->dk, at->score, at_index(at, qkv, q), at->dqkv + k, err);
    return status;
}

trm_status op_attention_backward(op_attention *at, const float *qkv, const float *dout, void *dqkv, trm_error *err) {
    const struct op_attention_shape *s = &at->shape;
    const size_t width = (size_t)s->heads * (size_t)s->dim, t = (size_t)s->tokens;
    const void *operands = operand(at, qkv, 3 * t * width, at->qkv16);
    const void *dout_operand = operand(at, dout, t * width, at->dout16);
    for (int head = 0; head < s->heads; head++) {
        trm_status status = backward_head(at, operands, dout_operand, head, err);
        if (status != TRM_OK)
            return status;
    }
    rotate(at, at->dqkv, -1.0f);
    if (s->dtype == OP_BF16)
        at->kernels->to_bf16(at->dqkv, 3 * t * width, dqkv);
    else
        memcpy(dqkv, at->dqkv, 3 * t * width * sizeof(float));
    return TRM_OK;
}
