/* attend.c - see attend.h. All buffers belong to the thread that created the object. */
#include "engine/ops/attend.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/ops/kernels.h"
#include "engine/ops/rope.h"

struct op_attend {
    struct op_attend_shape shape;
    const struct op_kernels *kernels;
    op_linear *project;               /* one head's q, k, v: [block, in] -> [block, 3 dim] */
    op_matmul *scores, *scores_end;   /* S = Q K^T: [block, dim] -> [block, tokens] */
    op_matmul *combine, *combine_end; /* O = P V: [block, tokens] -> [block, dim] */
    size_t head_bytes;                /* of one head's packed weights */
    float *cosine, *sine;             /* [tokens, dim / 2] */
    float *qkv;                       /* [tokens, 3 dim] of one head */
    op_bf16 *qkv16;                   /* the same as operands, bf16 only */
    void *keys, *values;              /* packed */
    float *score;                     /* [block, tokens] */
    void *weight16;                   /* operand [block, tokens], bf16 only: else score */
    float *inverse;                   /* [block] */
    float *sum;                       /* [block, dim] */
    float *gather;                    /* [3 dim, in] for packing */
};

/* ---- life ---- */

static trm_status plan(op_attend *at, op_context *context, trm_error *err) {
    const struct op_attend_shape *s = &at->shape;
    const struct op_linear_shape project = {.rows = s->rows, .in = s->in, .out = 3 * s->dim, .dtype = s->dtype};
    trm_status status = op_linear_create(context, &project, &at->project, err);
    op_matmul **scores[] = {&at->scores, &at->scores_end}, **combine[] = {&at->combine, &at->combine_end};
    for (int i = 0; i < 2 && status == TRM_OK; i++) {
        const int rows = i == 0 ? s->rows.block : s->rows.tail;
        const struct op_matmul_shape qk = {.m = rows,
                                           .k = s->dim,
                                           .n = s->rows.total,
                                           .lda = 3 * s->dim,
                                           .ldb = 3 * s->dim,
                                           .b_transposed = true,
                                           .b_packed = true,
                                           .dtype = s->dtype};
        const struct op_matmul_shape pv = {
            .m = rows, .k = s->rows.total, .n = s->dim, .ldb = 3 * s->dim, .b_packed = true, .dtype = s->dtype};
        if (rows > 0)
            status = op_matmul_create(context, &qk, scores[i], err);
        if (rows > 0 && status == TRM_OK)
            status = op_matmul_create(context, &pv, combine[i], err);
    }
    return status;
}

static trm_status allocate(op_attend *at, trm_error *err) {
    const struct op_attend_shape *s = &at->shape;
    const size_t tokens = (size_t)s->rows.total, block = (size_t)s->rows.block, dim = (size_t)s->dim;
    const size_t half = dim / 2;
    const bool bf16 = s->dtype == OP_BF16;
    const struct {
        void **buffer;
        size_t bytes;
    } buffers[] = {
        {(void **)&at->cosine, tokens * half * sizeof(float)},
        {(void **)&at->sine, tokens * half * sizeof(float)},
        {(void **)&at->qkv, tokens * 3 * dim * sizeof(float)},
        {(void **)&at->qkv16, bf16 ? tokens * 3 * dim * sizeof(op_bf16) : 0},
        {&at->keys, op_matmul_packed_size(at->scores)},
        {&at->values, op_matmul_packed_size(at->combine)},
        {(void **)&at->score, block * tokens * sizeof(float)},
        {&at->weight16, bf16 ? block * tokens * sizeof(op_bf16) : 0},
        {(void **)&at->inverse, block * sizeof(float)},
        {(void **)&at->sum, block * dim * sizeof(float)},
        {(void **)&at->gather, 3 * dim * (size_t)s->in * sizeof(float)},
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
    at->kernels = op_kernels(op_context_backend(context));
    trm_status status = plan(at, context, err);
    if (status == TRM_OK)
        status = allocate(at, err);
    if (status != TRM_OK) {
        op_attend_destroy(at);
        return status;
    }
    at->head_bytes = op_linear_packed_size(at->project);
    if (shape->rope_theta > 0.0)
        op_rope_fill(shape->rows.total, shape->dim, shape->rope_theta, at->cosine, at->sine);
    *out = at;
    return TRM_OK;
}

void op_attend_destroy(op_attend *at) {
    if (!at)
        return;
    op_linear_destroy(at->project);
    op_matmul_destroy(at->scores);
    op_matmul_destroy(at->scores_end);
    op_matmul_destroy(at->combine);
    op_matmul_destroy(at->combine_end);
    void *buffers[] = {at->cosine, at->sine,     at->qkv,     at->qkv16, at->keys,  at->values,
                       at->score,  at->weight16, at->inverse, at->sum,   at->gather};
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
        for (size_t part = 0; part < 3; part++)
            memcpy(at->gather + part * head_size, weight + part * all + (size_t)head * head_size,
                   head_size * sizeof(float));
        status = op_linear_pack(at->project, at->gather, (char *)packed + (size_t)head * at->head_bytes, err);
    }
    return status;
}

/* ---- running ---- */

/* q, k, v of one head for all tokens; k and v packed, q an operand in its place. */
static trm_status prepare_head(op_attend *at, const void *x, const void *packed, const void **q, trm_error *err) {
    const struct op_attend_shape *s = &at->shape;
    const size_t dim = (size_t)s->dim;
    trm_status status = op_linear_run(at->project, 0, s->rows.count, x, packed, at->qkv, err);
    if (status == TRM_OK && s->rope_theta > 0.0)
        at->kernels->rope(at->qkv, s->rows.total, 2, s->dim, 3 * dim, at->cosine, at->sine, 1.0f);
    if (status == TRM_OK)
        status = op_matmul_pack(at->scores, at->qkv + dim, at->keys, err);
    if (status == TRM_OK)
        status = op_matmul_pack(at->combine, at->qkv + 2 * dim, at->values, err);
    *q = at->qkv;
    if (s->dtype == OP_BF16) {
        at->kernels->to_bf16(at->qkv, (size_t)s->rows.total * 3 * dim, at->qkv16);
        *q = at->qkv16;
    }
    return status;
}

/* One block of queries of one head. q: operand [rows, 3 dim]; out: operand, rows `width` apart. */
static trm_status run_block(op_attend *at, int index, const void *q, void *out, trm_error *err) {
    const struct op_attend_shape *s = &at->shape;
    const int rows = op_rows_in(&s->rows, index);
    const bool whole = rows == s->rows.block;
    void *weights = s->dtype == OP_BF16 ? at->weight16 : at->score;
    trm_status status = op_matmul_run(whole ? at->scores : at->scores_end, q, at->keys, at->score, err);
    if (status != TRM_OK)
        return status;
    at->kernels->exponentials(at->score, rows, s->rows.total, 1.0f / sqrtf((float)s->dim), s->dtype, weights,
                              at->inverse);
    status = op_matmul_run(whole ? at->combine : at->combine_end, weights, at->values, at->sum, err);
    if (status == TRM_OK)
        at->kernels->scale_rows(at->sum, at->inverse, rows, s->dim, s->dtype, out, (size_t)s->heads * (size_t)s->dim);
    return status;
}

trm_status op_attend_run(op_attend *at, const void *x, const void *packed, void *out, trm_error *err) {
    const struct op_attend_shape *s = &at->shape;
    const size_t element = op_operand_size(s->dtype), dim = (size_t)s->dim, width = (size_t)s->heads * dim;
    trm_status status = TRM_OK;
    for (int head = 0; head < s->heads && status == TRM_OK; head++) {
        const void *q = NULL;
        status = prepare_head(at, x, (const char *)packed + (size_t)head * at->head_bytes, &q, err);
        for (int i = 0; i < s->rows.count && status == TRM_OK; i++) {
            const size_t row = op_rows_at(&s->rows, i);
            status = run_block(at, i, (const char *)q + row * 3 * dim * element,
                               (char *)out + (row * width + (size_t)head * dim) * element, err);
        }
    }
    return status;
}
