/* attention.c - see attention.h. All buffers belong to the thread that created the object. */
#include "engine/ops/attention.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/ops/kernels.h"
#include "engine/ops/rope.h"
#include "engine/ops/rows.h"

/* Queries of a block: its scores, weights and their gradients fit into L2 together. */
enum { QUERY_ROWS = 160 };

/* The products of a block of queries; m: its rows. */
struct products {
    op_matmul *scores; /* S = Q K^T: [m, dim] -> [m, tokens] */
    op_matmul *mix;    /* O = P V: [m, tokens] -> [m, dim] */
    op_matmul *dp;     /* dP = dO V^T */
    op_matmul *dv;     /* dV += P^T dO */
    op_matmul *dq;     /* dQ = dS K */
    op_matmul *dk;     /* dK += dS^T Q */
};

struct op_attention {
    struct op_attention_shape shape;
    const struct op_kernels *kernels;
    struct op_reach_table *table; /* NULL: every query sees every key */
    float *room;                  /* [op_reach_room()], with a table only */
    struct op_rows queries;
    struct products whole, last; /* of a block, of a shorter last one; without a table only, as what they fill */
    float *cosine;               /* [tokens, dim / 2] */
    float *sine;                 /* [tokens, dim / 2] */
    void *keys, *values;         /* of a head, packed for scores and dp */
    float *score;                /* [block, tokens] */
    void *prob;                  /* operand [block, tokens] */
    float *dprob;                /* [block, tokens] */
    float *out;                  /* [tokens, width], bf16 only */
    float *dqkv;                 /* [tokens, 3 * width] */
    op_bf16 *qkv16;              /* [tokens, 3 * width] operand copy, bf16 only */
    op_bf16 *dout16;             /* [tokens, width] operand copy, bf16 only */
};

static trm_status plan(const op_attention *at, op_context *context, int rows, struct products *products,
                       trm_error *err) {
    const int t = at->shape.tokens, d = at->shape.dim, width = at->shape.heads * d;
    const enum op_dtype type = at->shape.dtype;
    const bool adds = at->queries.count > 1;
    const struct {
        op_matmul **plan;
        struct op_matmul_shape shape;
    } plans[] = {
        {&products->scores,
         {.m = rows, .n = t, .k = d, .lda = 3 * width, .ldb = 3 * width, .b_transposed = true, .b_packed = true}},
        {&products->mix, {.m = rows, .n = d, .k = t, .ldb = 3 * width, .ldc = width}},
        {&products->dp,
         {.m = rows, .n = t, .k = d, .lda = width, .ldb = 3 * width, .b_transposed = true, .b_packed = true}},
        {&products->dv,
         {.m = t, .n = d, .k = rows, .a_transposed = true, .ldb = width, .ldc = 3 * width, .accumulate = adds}},
        {&products->dq, {.m = rows, .n = d, .k = t, .ldb = 3 * width, .ldc = 3 * width}},
        {&products->dk,
         {.m = t, .n = d, .k = rows, .a_transposed = true, .ldb = 3 * width, .ldc = 3 * width, .accumulate = adds}},
    };
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
        struct op_matmul_shape shape = plans[i].shape;
        shape.dtype = type;
        trm_status status = op_matmul_create(context, &shape, plans[i].plan, err);
        if (status != TRM_OK)
            return status;
    }
    return TRM_OK;
}

/* The products of both sizes of blocks. */
static trm_status plan_all(op_attention *at, op_context *context, trm_error *err) {
    trm_status status = plan(at, context, at->queries.block, &at->whole, err);
    if (status == TRM_OK && at->queries.tail > 0)
        status = plan(at, context, at->queries.tail, &at->last, err);
    return status;
}

static trm_status allocate(op_attention *at, trm_error *err) {
    const size_t t = (size_t)at->shape.tokens, half = (size_t)at->shape.dim / 2, block = (size_t)at->queries.block;
    const size_t width = (size_t)at->shape.heads * (size_t)at->shape.dim;
    const bool bf16 = at->shape.dtype == OP_BF16, some = at->table != NULL;
    const struct {
        void **buffer;
        size_t bytes;
    } buffers[] = {
        {(void **)&at->cosine, t * half * sizeof(float)},
        {(void **)&at->sine, t * half * sizeof(float)},
        {(void **)&at->room, some ? op_reach_room(at->table, at->shape.dim) * sizeof(float) : 0},
        {&at->keys, some ? 0 : op_matmul_packed_size(at->whole.scores)},
        {&at->values, some ? 0 : op_matmul_packed_size(at->whole.dp)},
        {(void **)&at->score, some ? 0 : block * t * sizeof(float)},
        {&at->prob, some ? 0 : block * t * sizeof(float)},
        {(void **)&at->dprob, some ? 0 : block * t * sizeof(float)},
        {(void **)&at->out, bf16 ? t * width * sizeof(float) : 0},
        {(void **)&at->dqkv, 3 * t * width * sizeof(float)},
        {(void **)&at->qkv16, bf16 && !some ? 3 * t * width * sizeof(op_bf16) : 0},
        {(void **)&at->dout16, bf16 && !some ? t * width * sizeof(op_bf16) : 0},
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
    at->queries = op_rows(shape->tokens, QUERY_ROWS);
    trm_status status = shape->reach.kind == OP_REACH_ALL ? plan_all(at, context, err)
                                                          : op_reach_table_create(&shape->reach, &at->table, err);
    if (status == TRM_OK)
        status = allocate(at, err);
    if (status != TRM_OK) {
        op_attention_destroy(at);
        return status;
    }
    if (shape->rope.theta > 0.0)
        op_rope_fill(&shape->rope, shape->tokens, shape->dim, at->cosine, at->sine);
    *out = at;
    return TRM_OK;
}

static void destroy_products(struct products *products) {
    op_matmul_destroy(products->scores);
    op_matmul_destroy(products->mix);
    op_matmul_destroy(products->dp);
    op_matmul_destroy(products->dv);
    op_matmul_destroy(products->dq);
    op_matmul_destroy(products->dk);
}

void op_attention_destroy(op_attention *at) {
    if (!at)
        return;
    destroy_products(&at->whole);
    destroy_products(&at->last);
    op_reach_table_destroy(at->table);
    void *buffers[] = {at->cosine, at->sine,  at->room, at->keys, at->values, at->score,
                       at->prob,   at->dprob, at->out,  at->dqkv, at->qkv16,  at->dout16};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        free(buffers[i]);
    free(at);
}

/* Rotates the q and k heads of [tokens, 3 * width], which lie side by side. */
static void rotate(const op_attention *at, float *qkv, float sign) {
    const struct op_attention_shape *s = &at->shape;
    if (s->rope.theta > 0.0)
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

static float scale_of(const op_attention *at) {
    return 1.0f / sqrtf((float)at->shape.dim);
}

static const struct products *products_of(const op_attention *at, int block) {
    return op_rows_in(&at->queries, block) == at->queries.block ? &at->whole : &at->last;
}

/* P = softmax(Q K^T / sqrt(dim)) of a block of queries of a head whose keys are packed, into at->prob. qkv: operands.
 */
static trm_status probabilities(op_attention *at, const void *qkv, int head, int block, trm_error *err) {
    const struct op_attention_shape *s = &at->shape;
    const size_t width = (size_t)s->heads * (size_t)s->dim, row = op_rows_at(&at->queries, block);
    const void *q = at_index(at, qkv, row * 3 * width + (size_t)head * (size_t)s->dim);
    trm_status status = op_matmul_run(products_of(at, block)->scores, q, at->keys, at->score, err);
    if (status == TRM_OK)
        at->kernels->softmax(at->score, op_rows_in(&at->queries, block), s->tokens, scale_of(at), s->dtype, at->prob);
    return status;
}

/* Every query sees every key; qkv as it is after rotation, out: [tokens, width]. */
static trm_status forward_all(op_attention *at, const float *qkv, float *out, trm_error *err) {
    const struct op_attention_shape *s = &at->shape;
    const size_t width = (size_t)s->heads * (size_t)s->dim, t = (size_t)s->tokens;
    const void *operands = operand(at, qkv, 3 * t * width, at->qkv16);
    trm_status status = TRM_OK;
    for (int head = 0; head < s->heads && status == TRM_OK; head++) {
        const size_t first = (size_t)head * (size_t)s->dim;
        status = op_matmul_pack(at->whole.scores, qkv + width + first, at->keys, err);
        for (int block = 0; block < at->queries.count && status == TRM_OK; block++) {
            float *place = out + op_rows_at(&at->queries, block) * width + first;
            status = probabilities(at, operands, head, block, err);
            if (status == TRM_OK)
                status = op_matmul_run(products_of(at, block)->mix, at->prob, at_index(at, operands, 2 * width + first),
                                       place, err);
        }
    }
    return status;
}

trm_status op_attention_forward(op_attention *at, float *qkv, void *out, trm_error *err) {
    const struct op_attention_shape *s = &at->shape;
    const size_t width = (size_t)s->heads * (size_t)s->dim, t = (size_t)s->tokens;
    float *result = s->dtype == OP_F32 ? out : at->out;
    trm_status status = TRM_OK;
    rotate(at, qkv, 1.0f);
    if (at->table)
        at->kernels->reach(qkv, at->table, s->heads, s->dim, at->room, result);
    else
        status = forward_all(at, qkv, result, err);
    if (status == TRM_OK && s->dtype == OP_BF16)
        at->kernels->to_bf16(result, t * width, out);
    return status;
}

/* What one block of queries of one head, whose keys and values are packed, adds to at->dqkv. */
static trm_status backward_block(op_attention *at, const void *qkv, const void *dout, int head, int block,
                                 trm_error *err) {
    const struct op_attention_shape *s = &at->shape;
    const struct products *products = products_of(at, block);
    const size_t width = (size_t)s->heads * (size_t)s->dim, row = op_rows_at(&at->queries, block);
    const size_t first = (size_t)head * (size_t)s->dim, k = width + first, v = 2 * width + first;
    const size_t q = row * 3 * width + first, o = row * width + first;
    trm_status status = probabilities(at, qkv, head, block, err);
    if (status == TRM_OK)
        status = op_matmul_run(products->dv, at->prob, at_index(at, dout, o), at->dqkv + v, err);
    if (status == TRM_OK)
        status = op_matmul_run(products->dp, at_index(at, dout, o), at->values, at->dprob, err);
    if (status != TRM_OK)
        return status;
    /* dS takes the place of the scores, which are no longer needed. */
    at->kernels->softmax_backward(at->prob, at->dprob, op_rows_in(&at->queries, block), s->tokens, scale_of(at),
                                  s->dtype, at->score);
    status = op_matmul_run(products->dq, at->score, at_index(at, qkv, k), at->dqkv + q, err);
    if (status == TRM_OK)
        status = op_matmul_run(products->dk, at->score, at_index(at, qkv, q), at->dqkv + k, err);
    return status;
}

/* Adds to at->dqkv what all heads do, where every query sees every key. */
static trm_status backward_all(op_attention *at, const float *qkv, const float *dout, trm_error *err) {
    const struct op_attention_shape *s = &at->shape;
    const size_t width = (size_t)s->heads * (size_t)s->dim, t = (size_t)s->tokens;
    const void *operands = operand(at, qkv, 3 * t * width, at->qkv16);
    const void *dout_operand = operand(at, dout, t * width, at->dout16);
    trm_status status = TRM_OK;
    for (int head = 0; head < s->heads && status == TRM_OK; head++) {
        const float *k = qkv + width + (size_t)head * (size_t)s->dim;
        status = op_matmul_pack(at->whole.scores, k, at->keys, err);
        if (status == TRM_OK)
            status = op_matmul_pack(at->whole.dp, k + width, at->values, err);
        for (int block = 0; block < at->queries.count && status == TRM_OK; block++)
            status = backward_block(at, operands, dout_operand, head, block, err);
    }
    return status;
}

trm_status op_attention_backward(op_attention *at, const float *qkv, const float *dout, void *dqkv, trm_error *err) {
    const struct op_attention_shape *s = &at->shape;
    const size_t width = (size_t)s->heads * (size_t)s->dim, t = (size_t)s->tokens;
    trm_status status = TRM_OK;
    memset(at->dqkv, 0, 3 * t * width * sizeof(float));
    if (at->table)
        at->kernels->reach_backward(qkv, dout, at->table, s->heads, s->dim, at->room, at->dqkv);
    else
        status = backward_all(at, qkv, dout, err);
    if (status != TRM_OK)
        return status;
    rotate(at, at->dqkv, -1.0f);
    if (s->dtype == OP_BF16)
        at->kernels->to_bf16(at->dqkv, 3 * t * width, dqkv);
    else
        memcpy(dqkv, at->dqkv, 3 * t * width * sizeof(float));
    return TRM_OK;
}
