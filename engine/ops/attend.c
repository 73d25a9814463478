/* attend.c - see attend.h. All buffers belong to the thread that created the object. */
#include "engine/ops/attend.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/ops/kernels.h"
#include "engine/ops/panel.h"
#include "engine/ops/rope.h"

/* Queries of a block: its scores and their exponentials share L2 with all packed keys and values. */
enum { QUERY_ROWS = 96 };

struct op_attend {
    struct op_attend_shape shape;
    struct op_rows queries;
    const struct op_kernels *kernels;
    const struct op_int8_kernels *int8;
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
    void *score;                      /* [queries, tokens] f32, or int32 for OP_INT8 */
    void *weights;                    /* operand [queries, tokens]: score for f32 */
    float *inverse;                   /* [queries] */
    void *sum;                        /* [queries, dim] f32, or int32 for OP_INT8 */
    float *gather;                    /* [2 dim, in] for packing */
    /* Some keys only: none of the above but the positions and key_value, which makes q too. */
    struct op_reach_table *table; /* NULL: every query sees every key */
    float *qkv;                   /* [tokens, 3 width] */
    float *attended;              /* [tokens, width], where out is bf16 */
    float *space;                 /* [op_reach_room()] */
    /* OP_INT8 only. */
    struct op_int8_rows q8;         /* [tokens, dim] */
    struct op_int8_columns keys8;   /* columns: tokens; [tokens, dim] */
    struct op_int8_columns values8; /* columns: channels; [tokens, dim] */
    int32_t *no_offset;             /* [dim] zeros: weights have no zero point */
    float *room;                    /* [tokens], for one row of scores */
};

/* ---- life ---- */

/* Every query sees every key. */
static trm_status plan(op_attend *at, op_context *context, trm_error *err) {
    const struct op_attend_shape *s = &at->shape;
    struct op_linear_shape project = {
        .rows = s->rows, .blocks = s->rows.count, .in = s->in, .out = s->dim, .dtype = s->dtype};
    trm_status status = op_linear_create(context, &project, &at->query, err);
    project.out = 2 * s->dim;
    if (status == TRM_OK)
        status = op_linear_create(context, &project, &at->key_value, err);
    const int ldb = s->dtype == OP_INT8 ? 0 : 2 * s->dim; /* quantised keys and values are dense */
    op_matmul **scores[] = {&at->scores, &at->scores_end}, **combine[] = {&at->combine, &at->combine_end};
    for (int i = 0; i < 2 && status == TRM_OK; i++) {
        const int rows = i == 0 ? at->queries.block : at->queries.tail;
        const struct op_matmul_shape qk = {.m = rows,
                                           .k = s->dim,
                                           .n = s->rows.total,
                                           .ldb = ldb,
                                           .b_transposed = true,
                                           .b_packed = true,
                                           .dtype = s->dtype};
        const struct op_matmul_shape pv = {
            .m = rows, .k = s->rows.total, .n = s->dim, .ldb = ldb, .b_packed = true, .dtype = s->dtype};
        if (rows > 0)
            status = op_matmul_create(context, &qk, scores[i], err);
        if (rows > 0 && status == TRM_OK)
            status = op_matmul_create(context, &pv, combine[i], err);
    }
    return status;
}

static trm_status plan_some(op_attend *at, op_context *context, trm_error *err) {
    const struct op_attend_shape *s = &at->shape;
    const struct op_linear_shape project = {
        .rows = s->rows, .blocks = s->rows.count, .in = s->in, .out = 3 * s->heads * s->dim, .dtype = s->dtype};
    trm_status status = op_reach_table_create(&s->reach, &at->table, err);
    return status == TRM_OK ? op_linear_create(context, &project, &at->key_value, err) : status;
}

static trm_status allocate_some(op_attend *at, trm_error *err) {
    const struct op_attend_shape *s = &at->shape;
    const size_t tokens = (size_t)s->rows.total, half = (size_t)s->dim / 2, width = (size_t)s->heads * (size_t)s->dim;
    const struct {
        float **buffer;
        size_t count;
    } buffers[] = {
        {&at->cosine, tokens * half},
        {&at->sine, tokens * half},
        {&at->qkv, tokens * 3 * width},
        {&at->attended, op_passed_type(s->dtype) == OP_BF16 ? tokens * width : 0},
        {&at->space, op_reach_room(at->table, s->dim)},
    };
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        if (buffers[i].count && posix_memalign((void **)buffers[i].buffer, 64, buffers[i].count * sizeof(float)) != 0)
            return trm_fail_memory(err, buffers[i].count * sizeof(float));
    return TRM_OK;
}

static trm_status allocate(op_attend *at, trm_error *err) {
    const struct op_attend_shape *s = &at->shape;
    const size_t tokens = (size_t)s->rows.total, block = (size_t)at->queries.block, dim = (size_t)s->dim;
    const size_t half = dim / 2;
    const size_t bf16 = s->dtype == OP_BF16, int8 = s->dtype == OP_INT8, element = op_operand_size(s->dtype);
    const struct {
        void **buffer;
        size_t bytes;
    } buffers[] = {
        {(void **)&at->cosine, tokens * half * sizeof(float)},
        {(void **)&at->sine, tokens * half * sizeof(float)},
        {(void **)&at->q, tokens * dim * sizeof(float)},
        {(void **)&at->q16, bf16 * tokens * dim * sizeof(op_bf16)},
        {(void **)&at->kv, tokens * 2 * dim * sizeof(float)},
        {&at->keys, op_matmul_packed_size(at->scores)},
        {&at->values, op_matmul_packed_size(at->combine)},
        {&at->score, block * tokens * sizeof(float)},
        {&at->weights, (bf16 + int8) * block * tokens * element},
        {(void **)&at->inverse, block * sizeof(float)},
        {&at->sum, block * dim * sizeof(float)},
        {(void **)&at->gather, 2 * dim * (size_t)s->in * sizeof(float)},
        {(void **)&at->q8.q, int8 * tokens * dim},
        {(void **)&at->q8.scale, int8 * tokens * sizeof(float)},
        {(void **)&at->keys8.q, int8 * tokens * dim},
        {(void **)&at->keys8.scale, int8 * tokens * sizeof(float)},
        {(void **)&at->keys8.offset, int8 * tokens * sizeof(int32_t)},
        {(void **)&at->values8.q, int8 * tokens * dim},
        {(void **)&at->values8.scale, int8 * dim * sizeof(float)},
        {(void **)&at->values8.offset, int8 * dim * sizeof(int32_t)},
        {(void **)&at->room, int8 * tokens * sizeof(float)},
        {(void **)&at->no_offset, int8 * dim * sizeof(int32_t)},
    };
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        if (buffers[i].bytes && posix_memalign(buffers[i].buffer, 64, buffers[i].bytes) != 0)
            return trm_fail_memory(err, buffers[i].bytes);
    if (at->no_offset)
        memset(at->no_offset, 0, dim * sizeof(int32_t));
    return TRM_OK;
}

trm_status op_attend_create(op_context *context, const struct op_attend_shape *shape, op_attend **out, trm_error *err) {
    op_attend *at = calloc(1, sizeof *at);
    if (!at)
        return trm_fail_memory(err, sizeof *at);
    at->shape = *shape;
    at->queries = op_rows(shape->rows.total, QUERY_ROWS);
    at->kernels = op_kernels(op_context_backend(context));
    at->int8 = op_int8_kernels(op_context_backend(context));
    const bool some = shape->reach.kind != OP_REACH_ALL;
    trm_status status = some ? plan_some(at, context, err) : plan(at, context, err);
    if (status == TRM_OK)
        status = some ? allocate_some(at, err) : allocate(at, err);
    if (status != TRM_OK) {
        op_attend_destroy(at);
        return status;
    }
    if (!some)
        at->head_bytes = op_linear_packed_size(at->query) + op_linear_packed_size(at->key_value);
    if (shape->rope.theta > 0.0)
        op_rope_fill(&shape->rope, shape->rows.total, shape->dim, at->cosine, at->sine);
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
    op_reach_table_destroy(at->table);
    void *buffers[] = {
        at->qkv,         at->attended,     at->space,     at->cosine,        at->sine,           at->q,
        at->q16,         at->kv,           at->keys,      at->values,        at->score,          at->weights,
        at->inverse,     at->sum,          at->gather,    at->q8.q,          at->q8.scale,       at->keys8.q,
        at->keys8.scale, at->keys8.offset, at->values8.q, at->values8.scale, at->values8.offset, at->no_offset,
        at->room};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        free(buffers[i]);
    free(at);
}

/* ---- weights ---- */

size_t op_attend_packed_size(const op_attend *at) {
    return at->table ? op_linear_packed_size(at->key_value) : (size_t)at->shape.heads * at->head_bytes;
}

trm_status op_attend_pack(op_attend *at, const float *weight, void *packed, trm_error *err) {
    if (at->table)
        return op_linear_pack(at->key_value, weight, packed, err);
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

/* The operands of a head from its q and kv in f32: k and v packed. */
static trm_status load_head(op_attend *at, trm_error *err) {
    const struct op_attend_shape *s = &at->shape;
    const int tokens = s->rows.total, dim = s->dim;
    const size_t apart = 2 * (size_t)dim;
    const void *k = at->kv, *v = at->kv + dim;
    if (s->dtype == OP_INT8) {
        const struct op_int8_columns *k8 = &at->keys8, *v8 = &at->values8;
        at->int8->quantise_rows(at->q, tokens, dim, at->q8.q, at->q8.scale);
        at->int8->quantise_transposed(k, apart, tokens, dim, k8->q, k8->scale, k8->offset);
        at->int8->quantise_cols(v, apart, tokens, dim, v8->q, v8->scale, v8->offset);
        k = k8->q;
        v = v8->q;
    } else if (s->dtype == OP_BF16) {
        at->kernels->to_bf16(at->q, (size_t)tokens * (size_t)dim, at->q16);
    }
    trm_status status = op_matmul_pack(at->scores, k, at->keys, err);
    return status == TRM_OK ? op_matmul_pack(at->combine, v, at->values, err) : status;
}

/* q, k, v of one head for all tokens. */
static trm_status prepare_head(op_attend *at, const char *packed, trm_error *err) {
    const struct op_attend_shape *s = &at->shape;
    const size_t dim = (size_t)s->dim;
    trm_status status = op_linear_run(at->query, packed, at->q, err);
    if (status == TRM_OK)
        status = op_linear_run(at->key_value, packed + op_linear_packed_size(at->query), at->kv, err);
    if (status == TRM_OK && s->rope.theta > 0.0) {
        at->kernels->rope(at->q, s->rows.total, 1, s->dim, dim, at->cosine, at->sine, 1.0f);
        at->kernels->rope(at->kv, s->rows.total, 1, s->dim, 2 * dim, at->cosine, at->sine, 1.0f);
    }
    return status == TRM_OK ? load_head(at, err) : status;
}

/* The queries from token `row` on, as an operand. */
static const void *queries_at(const op_attend *at, size_t row) {
    const size_t index = row * (size_t)at->shape.dim;
    switch (at->shape.dtype) {
    case OP_INT8:
        return at->q8.q + index;
    case OP_BF16:
        return at->q16 + index;
    default:
        return at->q + index;
    }
}

/* The weights, an operand, and at->inverse from the scores of `rows` queries from token `row` on. */
static const void *weigh(op_attend *at, size_t row, int rows) {
    const struct op_attend_shape *s = &at->shape;
    const int tokens = s->rows.total;
    const float scale = 1.0f / sqrtf((float)s->dim);
    void *weights = at->weights ? at->weights : at->score;
    if (s->dtype == OP_INT8) {
        const struct op_int8_product scores = {at->score, (size_t)tokens, at->q8.scale + row, at->keys8.scale,
                                               at->keys8.offset};
        at->int8->exponentials(&scores, rows, tokens, scale, weights, at->inverse, at->room);
    } else {
        at->kernels->exponentials(at->score, rows, tokens, scale, s->dtype, weights, at->inverse);
    }
    return weights;
}

/* at->sum, divided, as `rows` rows of out. */
static void store(op_attend *at, int rows, void *out) {
    const struct op_attend_shape *s = &at->shape;
    const size_t dim = (size_t)s->dim, width = (size_t)s->heads * dim;
    if (s->dtype == OP_INT8) {
        const struct op_int8_product sums = {at->sum, dim, at->inverse, at->values8.scale, at->no_offset};
        at->int8->to_f32(&sums, rows, s->dim, out, width);
    } else {
        at->kernels->scale_rows(at->sum, at->inverse, rows, s->dim, s->dtype, out, width);
    }
}

/* One block of queries of one head; out: rows `width` apart. */
static trm_status run_block(op_attend *at, int index, void *out, trm_error *err) {
    const size_t row = op_rows_at(&at->queries, index);
    const int rows = op_rows_in(&at->queries, index);
    const bool whole = rows == at->queries.block;
    trm_status status =
        op_matmul_run(whole ? at->scores : at->scores_end, queries_at(at, row), at->keys, at->score, err);
    if (status == TRM_OK)
        status = op_matmul_run(whole ? at->combine : at->combine_end, weigh(at, row, rows), at->values, at->sum, err);
    if (status == TRM_OK)
        store(at, rows, out);
    return status;
}

/* Every query sees some keys. */
static trm_status run_some(op_attend *at, const void *x, const void *packed, void *out, trm_error *err) {
    const struct op_attend_shape *s = &at->shape;
    const size_t width = (size_t)s->heads * (size_t)s->dim;
    op_linear_load(at->key_value, 0, s->rows.count, x);
    trm_status status = op_linear_run(at->key_value, packed, at->qkv, err);
    if (status != TRM_OK)
        return status;
    if (s->rope.theta > 0.0)
        at->kernels->rope(at->qkv, s->rows.total, 2 * s->heads, s->dim, 3 * width, at->cosine, at->sine, 1.0f);
    at->kernels->reach(at->qkv, at->table, s->heads, s->dim, at->space, at->attended ? at->attended : out);
    if (at->attended)
        at->kernels->to_bf16(at->attended, (size_t)s->rows.total * width, out);
    return TRM_OK;
}

trm_status op_attend_run(op_attend *at, const void *x, const void *packed, void *out, trm_error *err) {
    if (at->table)
        return run_some(at, x, packed, out, err);
    const struct op_attend_shape *s = &at->shape;
    const size_t passed = op_operand_size(op_passed_type(s->dtype));
    const size_t dim = (size_t)s->dim, width = (size_t)s->heads * dim;
    trm_status status = TRM_OK;
    op_linear_load(at->query, 0, s->rows.count, x);
    op_linear_load(at->key_value, 0, s->rows.count, x);
    for (int head = 0; head < s->heads && status == TRM_OK; head++) {
        status = prepare_head(at, (const char *)packed + (size_t)head * at->head_bytes, err);
        for (int i = 0; i < at->queries.count && status == TRM_OK; i++) {
            const size_t row = op_rows_at(&at->queries, i);
            status = run_block(at, i, (char *)out + (row * width + (size_t)head * dim) * passed, err);
        }
    }
    return status;
}
