/* products.c - the table of shapes. All plans belong to the thread of the context. */
#include "engine/model/products.h"

#include <string.h>

/* A weight [out, in] and its three products. */
struct linear {
    op_matmul **forward, **dx, **dw;
    int in, out;
    bool into_residual; /* dx is added to what is there */
};

static trm_status plan_three(op_context *context, const struct linear *linear, const struct op_matmul_shape *forward,
                             const struct op_matmul_shape *dx, const struct op_matmul_shape *dw, trm_error *err) {
    trm_status status = op_matmul_create(context, forward, linear->forward, err);
    if (status == TRM_OK)
        status = op_matmul_create(context, dx, linear->dx, err);
    if (status == TRM_OK)
        status = op_matmul_create(context, dw, linear->dw, err);
    return status;
}

/* y = x W^T, dx = dy W, dW += dy^T x, for all rows of the chunk at once. */
static trm_status plan_linear(op_context *context, const struct linear *linear, int rows, enum op_dtype dtype,
                              trm_error *err) {
    const struct op_matmul_shape forward = {
        .m = rows, .k = linear->in, .n = linear->out, .b_transposed = true, .b_packed = true, .dtype = dtype};
    const struct op_matmul_shape dx = {.m = rows,
                                       .k = linear->out,
                                       .n = linear->in,
                                       .b_packed = true,
                                       .accumulate = linear->into_residual,
                                       .dtype = dtype};
    const struct op_matmul_shape dw = {
        .m = linear->out, .k = rows, .n = linear->in, .a_transposed = true, .accumulate = true, .dtype = dtype};
    return plan_three(context, linear, &forward, &dx, &dw, err);
}

/* y = W x, dx = W^T dy for every puzzle's x [in, hidden]; dW += dy x^T for one. */
static trm_status plan_mixing(op_context *context, const struct linear *linear, int chunk, int hidden,
                              enum op_dtype dtype, trm_error *err) {
    const struct op_matmul_shape forward = {
        .batch = chunk, .m = linear->out, .k = linear->in, .n = hidden, .a_shared = true, .dtype = dtype};
    const struct op_matmul_shape dx = {.batch = chunk,
                                       .m = linear->in,
                                       .k = linear->out,
                                       .n = hidden,
                                       .a_shared = true,
                                       .a_transposed = true,
                                       .accumulate = linear->into_residual,
                                       .dtype = dtype};
    const struct op_matmul_shape dw = {
        .m = linear->out, .k = hidden, .n = linear->in, .b_transposed = true, .accumulate = true, .dtype = dtype};
    return plan_three(context, linear, &forward, &dx, &dw, err);
}

trm_status model_products_create(op_context *context, const struct model_config *config, int chunk, enum op_dtype dtype,
                                 struct model_products *p, trm_error *err) {
    const int hidden = config->hidden_size, width = config->num_heads * config->head_dim, rows = chunk * config->tokens;
    const struct linear gate_up = {&p->gate_up, &p->gate_up_dx, &p->gate_up_dw, hidden, 2 * config->inter, true};
    const struct linear down = {&p->down, &p->down_dx, &p->down_dw, config->inter, hidden, false};
    const struct linear lm_head = {&p->lm_head, &p->lm_head_dx, &p->lm_head_dw, hidden, config->vocab_size, true};
    *p = (struct model_products){0};
    trm_status status = plan_linear(context, &gate_up, rows, dtype, err);
    if (status == TRM_OK)
        status = plan_linear(context, &down, rows, dtype, err);
    if (status == TRM_OK)
        status = plan_linear(context, &lm_head, rows, dtype, err);

    if (status == TRM_OK && config->mlp_t) {
        const struct linear mix_gate_up = {&p->mix_gate_up, &p->mix_gate_up_dx,  &p->mix_gate_up_dw,
                                           config->tokens,  2 * config->inter_t, true};
        const struct linear mix_down = {&p->mix_down,    &p->mix_down_dx, &p->mix_down_dw,
                                        config->inter_t, config->tokens,  false};
        status = plan_mixing(context, &mix_gate_up, chunk, hidden, dtype, err);
        if (status == TRM_OK)
            status = plan_mixing(context, &mix_down, chunk, hidden, dtype, err);
    } else if (status == TRM_OK) {
        const struct linear qkv = {&p->qkv, &p->qkv_dx, &p->qkv_dw, hidden, 3 * width, true};
        const struct linear o = {&p->o, &p->o_dx, &p->o_dw, width, hidden, false};
        status = plan_linear(context, &qkv, rows, dtype, err);
        if (status == TRM_OK)
            status = plan_linear(context, &o, rows, dtype, err);
    }
    if (status != TRM_OK)
        model_products_destroy(p);
    return status;
}

void model_products_destroy(struct model_products *p) {
    op_matmul *plans[] = {p->gate_up,     p->down,           p->qkv,           p->o,      p->lm_head,    p->mix_gate_up,
                          p->mix_down,    p->gate_up_dx,     p->down_dx,       p->qkv_dx, p->o_dx,       p->lm_head_dx,
                          p->gate_up_dw,  p->down_dw,        p->qkv_dw,        p->o_dw,   p->lm_head_dw, p->mix_down_dx,
                          p->mix_down_dw, p->mix_gate_up_dx, p->mix_gate_up_dw};
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++)
        op_matmul_destroy(plans[i]);
    memset(p, 0, sizeof *p);
}
