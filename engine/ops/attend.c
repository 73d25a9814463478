/* attend.c - see attend.h. All buffers belong to the thread that created the object. */
#include "engine/ops/attend.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/ops/kernels.h"
#include "engine/ops/rope.h"

/* Queries of a block: its scores and their exponentials share L2 with all packed keys and values. */
enum { QUERY_ROWS = 64 };

struct op_attend {
    struct op_attend_shape shape;
    struct op_rows queries;
    const struct op_kernels *kernels;
    enum op_dtype inner;              /* of the operands of scores and mixing */
    op_linear *query;                 /* one head's q: [block, in] -> [block, dim] */
    op_linear *key_value;             /* one head's k and v: [block, in] -> [block, 2 dim] */
    op_matmul *scores, *scores_end;   /* S = Q K^T: [queries, dim] -> [queries, tokens] */
    op_matmul *combine, *combine_end; /* O = P V: [queries, tokens] -> [queries, dim] */
    size_t head_bytes;                /* of one head's packed weights: q's, then those of k and v */
    float *cosine, *sine;             /* [tokens, dim / 2] */
    float *q;                         /* [tokens, dim] of one head */
    op_bf16 *q16;                     /* the same as operands, bf16 only */
    float *kv;                        /* [tokens, 2 dim] of one head */
    void *keys, *values;              /* packed */
    float *score;                     /* [queries, tokens] */
    void *weight16;                   /* operand [queries, tokens], bf16 only: else score */
    float *inverse;                   /* [queries] */
    float *sum;                       /* [queries, dim] */
    float *gather;                    /* [2 dim, in] for packing */
};

/* ---- life ---- */

static trm_status plan(op_attend *at, op_context *context, trm_error *err) {
    const struct op_attend_shape *s = &at->shape;
    struct op_linear_shape project = {
        .rows = s->rows, .blocks = s->rows.count, .in = s->in, .out = s->dim, .dtype = s->dtype};
    trm_status status = op_linear_create(context, &project, &at->query, err);
    project.out = 2 * s->dim;
    if (status == TRM_OK)
        status = op_linear_create(context, &project, &at->key_value, err);
    op_matmul **scores[] = {&at->scores, &at->scores_end}, **combine[] = {&at->combine, &at->combine_end};
    for (int i = 0; i < 2 && status == TRM_OK; i++) {
        const int rows = i == 0 ? at->queries.block : at->queries.tail;
        const struct op_matmul_shape qk = {.m = rows,
                                           .k = s->dim,
                                           .n = s->rows.total,
                                           .ldb = 2 * s->dim,
                                           .b_transposed = true,
                                           .b_packed = true,
                                           .dtype = at->inner};
        const struct op_matmul_shape pv = {
            .m = rows, .k = s->rows.total, .n = s->dim, .ldb = 2 * s->dim, .b_packed = true, .dtype = at->inner};
        if (rows > 0)
            status = op_matmul_create(context, &qk, scores[i], err);
        if (rows > 0 && status == TRM_OK)
            status = op_matmul_create(context, &pv, combine[i], err);
    }
    return status;
}

static trm_status allocate(op_attend *at, trm_error *err) {
    const struct op_attend_shape *s = &at->shape;
    const size_t tokens = (size_t)s->rows.total, block = (size_t)at->queries.block, dim = (size_t)s->dim;
    const size_t half = dim / 2;
    const bool bf16 = at->inner == OP_BF16;
    const struct {
        void **buffer;
        size_t bytes;
    } buffers[] = {
        {(void **)&at->cosine, tokens * half * sizeof(float)},
        {(void **)&at->sine, tokens * half * sizeof(float)},
        {(void **)&at->q, tokens * dim * sizeof(float)},
        {(void **)&at->q16, bf16 ? tokens * dim * sizeof(op_bf16) : 0},
        {(void **)&at->kv, tokens * 2 * dim * sizeof(float)},
        {&at->keys, op_matmul_packed_size(at->scores)},
        {&at->values, op_matmul_packed_size(at->combine)},
        {(void **)&at->score, block * tokens * sizeof(float)},
        {&at->weight16, bf16 ? block * tokens * sizeof(op_bf16) : 0},
        {(void **)&at->inverse, block * sizeof(float)},
        {(void **)&at->sum, block * dim * sizeof(float)},
        {(void **)&at->gather, 2 * dim * (size_t)s->in * sizeof(float)},
    };
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        if (buffers[i].bytes && posix_memalign(buffers[i].buffer, 64, buffers[i].bytes) != 0)
            return trm_fail_memory(err, buffers[i].bytes);
    return TRM_OK;
}

trm_status op_attend_create(op_context *context, const struct op_attend_shape *shape, op_attend **out, trm_error *err) {
    op_attend *at = calloc(1, sizeof *at);
    if (!at)
        return trm_fail_memory(err, sizeof *at);
    at->shape = *shape;
    at->queries = op_rows(shape->rows.total, QUERY_ROWS);
    at->kernels = op_kernels(op_context_backend(context));
    at->inner = shape->dtype;
    if (shape->dtype == OP_INT8)
        at->inner = op_operand_type(op_settle_dtype(op_context_backend(context), TRM_DTYPE_AUTO));
    trm_status status = plan(at, context, err);
    if (status == TRM_OK)
        status = allocate(at, err);
    if (status != TRM_OK) {
        op_attend_destroy(at);
        return status;
    }
    at->head_bytes = op_linear_packed_size(at->query) + op_linear_packed_size(at->key_value);
    if (shape->rope_theta > 0.0)
        op_rope_fill(shape->rows.total, shape->dim, shape->rope_theta, at->cosine, at->sine);
    *out = at;
    return TRM_OK;
}

void op_attend_destroy(op_attend *at) {
    if (!at)
        return;
    op_linear_destroy(at->query);
    op_linear_destroy(at->key_value);
    op_matmul_destroy(at->scores);
    op_matmul_destroy(at->scores_end);
    op_matmul_destroy(at->combine);
    op_matmul_destroy(at->combine_end);
    void *buffers[] = {at->cosine, at->sine,  at->q,        at->q16,     at->kv,  at->keys,
                       at->values, at->score, at->weight16, at->inverse, at->sum, at->gather};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        free(buffers[i]);
    free(at);
}

/* ---- weights ---- */

size_t op_attend_packed_size(const op_attend *at) {
    return (size_t)at->shape.heads * at->head_bytes;
}

trm_status op_attend_pack(op_attend *at, const float *weight, void *packed, trm_error *err) {
    const size_t head_size = (size_t)at->shape.dim * (size_t)at->shape.in, all = (size_t)at->shape.heads * head_size;
    trm_status status = TRM_OK;
    for (int head = 0; head < at->shape.heads && status == TRM_OK; head++) {
        const float *q = weight + (size_t)head * head_size, *k = q + all, *v = k + all;
        char *place = (char *)packed + (size_t)head * at->head_bytes;
        memcpy(at->gather, k, head_size * sizeof(float));
        memcpy(at->gather + head_size, v, head_size * sizeof(float));
        status = op_linear_pack(at->query, q, place, err);
        if (status == TRM_OK)
            status = op_linear_pack(at->key_value, at->gather, place + op_linear_packed_size(at->query), err);
    }
    return status;
}

/* ---- running ---- */

/* q, k, v of one head for all tokens; k and v packed, q an operand [tokens, dim]. */
static trm_status prepare_head(op_attend *at, const char *packed, const void **q, trm_error *err) {
    const struct op_attend_shape *s = &at->shape;
    const size_t dim = (size_t)s->dim, tokens = (size_t)s->rows.total;
    trm_status status = op_linear_run(at->query, packed, at->q, err);
    if (status == TRM_OK)
        status = op_linear_run(at->key_value, packed + op_linear_packed_size(at->query), at->kv, err);
    if (status == TRM_OK && s->rope_theta > 0.0) {
        at->kernels->rope(at->q, s->rows.total, 1, s->dim, dim, at->cosine, at->sine, 1.0f);
        at->kernels->rope(at->kv, s->rows.total, 1, s->dim, 2 * dim, at->cosine, at->sine, 1.0f);
    }
    if (status == TRM_OK)
        status = op_matmul_pack(at->scores, at->kv, at->keys, err);
    if (status == TRM_OK)
        status = op_matmul_pack(at->combine, at->kv + dim, at->values, err);
    if (at->q16)
        at->kernels->to_bf16(at->q, tokens * dim, at->q16);
    *q = at->q16 ? (const void *)at->q16 : at->q;
    return status;
}

/* One block of queries of one head. q: operand [rows, dim]; out: rows `width` apart. */
static trm_status run_block(op_attend *at, int index, const void *q, void *out, trm_error *err) {
    const struct op_attend_shape *s = &at->shape;
    const int rows = op_rows_in(&at->queries, index);
    const bool whole = rows == at->queries.block;
    void *weights = at->inner == OP_BF16 ? at->weight16 : at->score;
    trm_status status = op_matmul_run(whole ? at->scores : at->scores_end, q, at->keys, at->score, err);
    if (status != TRM_OK)
        return status;
    at->kernels->exponentials(at->score, rows, s->rows.total, 1.0f / sqrtf((float)s->dim), at->inner, weights,
                              at->inverse);
    status = op_matmul_run(whole ? at->combine : at->combine_end, weights, at->values, at->sum, err);
    if (status == TRM_OK)
        at->kernels->scale_rows(at->sum, at->inverse, rows, s->dim, op_passed_type(s->dtype), out,
                                (size_t)s->heads * (size_t)s->dim);
    return status;
}

trm_status op_attend_run(op_attend *at, const void *x, const void *packed, void *out, trm_error *err) {
    const struct op_attend_shape *s = &at->shape;
    const size_t element = op_operand_size(at->inner), passed = op_operand_size(op_passed_type(s->dtype));
    const size_t dim = (size_t)s->dim, width = (size_t)s->heads * dim;
    trm_status status = TRM_OK;
    op_linear_load(at->query, 0, s->rows.count, x);
    op_linear_load(at->key_value, 0, s->rows.count, x);
    for (int head = 0; head < s->heads && status == TRM_OK; head++) {
        const void *q = NULL;
        status = prepare_head(at, (const char *)packed + (size_t)head * at->head_bytes, &q, err);
        for (int i = 0; i < at->queries.count && status == TRM_OK; i++) {
            const size_t row = op_rows_at(&at->queries, i);
            status = run_block(at, i, (const char *)q + row * dim * element,
                               (char *)out + (row * width + (size_t)head * dim) * passed, err);
        }
    }
    return status;
}
