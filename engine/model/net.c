/* net.c - see net.h. Forward and backward of each half of a block stand side by side. */
#include "engine/model/net.h"

/* Sizes that every function needs. */
struct sizes {
    int chunk, tokens, rows, hidden, inter, inter_t, width;
    size_t mix; /* inter_t * hidden: values of gate (and of up) of one puzzle */
};

static struct sizes sizes_of(const struct net_machine *m) {
    const struct model_config *c = m->weights->plain.config;
    return (struct sizes){.chunk = m->weights->chunk,
                          .tokens = c->tokens,
                          .rows = m->weights->chunk * c->tokens,
                          .hidden = c->hidden_size,
                          .inter = c->inter,
                          .inter_t = c->inter_t,
                          .width = c->num_heads * c->head_dim,
                          .mix = (size_t)c->inter_t * (size_t)c->hidden_size};
}

/* The form in which a product reads x. */
static const void *operand(const struct net_machine *m, const float *x, const op_bf16 *x16) {
    return m->weights->dtype == OP_BF16 ? (const void *)x16 : (const void *)x;
}

/* Element `index` of an operand array. */
static void *operand_at(const struct net_machine *m, const void *array, size_t index) {
    size_t size = m->weights->dtype == OP_BF16 ? sizeof(op_bf16) : sizeof(float);
    return (char *)(uintptr_t)array + index * size;
}

static float *grad_of(const struct net_machine *m, float *grads, int tensor) {
    return grads + m->weights->plain.layout->tensors[tensor].offset;
}

/* ---- the gated MLP over the features: rms(y + down(silu(gate) * up)) ---- */

static trm_status mlp_forward(struct net_machine *m, const struct model_layer_weights *w, struct net_layer_record *r,
                              float *out, op_bf16 *out16, trm_error *err) {
    const struct sizes s = sizes_of(m);
    trm_status status = op_matmul_run(m->products->gate_up, operand(m, r->y, r->y16), w->gate_up, r->gate_up, err);
    if (status != TRM_OK)
        return status;
    m->kernels->swiglu(r->gate_up, r->gate_up + s.inter, s.rows, (size_t)s.inter, 2 * (size_t)s.inter,
                       m->weights->dtype, m->work.act, (size_t)s.inter);
    status = op_matmul_run(m->products->down, m->work.act, w->down, m->work.residual, err);
    if (status == TRM_OK)
        m->kernels->rms_rows(r->y, m->work.residual, s.rows, s.hidden, (float)m->weights->plain.config->rms_norm_eps,
                             out, r->rinv, out16);
    return status;
}

static trm_status mlp_backward(struct net_machine *m, const struct model_layer_weights *w,
                               const struct model_layer_tensors *t, const struct net_layer_record *r, const float *out,
                               float *dx, float *grads, trm_error *err) {
    const struct sizes s = sizes_of(m);
    m->kernels->rms_rows_backward(out, r->rinv, dx, s.rows, s.hidden, dx, m->work.ds16);
    const void *ds = operand(m, dx, m->work.ds16);
    trm_status status = op_matmul_run(m->products->down_dx, ds, w->down_dx, m->work.dact, err);
    if (status != TRM_OK)
        return status;
    m->kernels->swiglu_backward(r->gate_up, r->gate_up + s.inter, m->work.dact, s.rows, (size_t)s.inter,
                                2 * (size_t)s.inter, m->weights->dtype, m->work.dwide,
                                operand_at(m, m->work.dwide, (size_t)s.inter), m->work.act);
    status = op_matmul_run(m->products->down_dw, ds, m->work.act, grad_of(m, grads, t->down), err);
    if (status == TRM_OK)
        status = op_matmul_run(m->products->gate_up_dw, m->work.dwide, operand(m, r->y, r->y16),
                               grad_of(m, grads, t->gate_up), err);
    if (status == TRM_OK)
        status = op_matmul_run(m->products->gate_up_dx, m->work.dwide, w->gate_up_dx, dx, err);
    return status;
}

/* ---- the gated MLP over the tokens: the same along the other axis, its norm too ---- */

static trm_status mixing_forward(struct net_machine *m, const struct model_layer_weights *w, struct net_layer_record *r,
                                 trm_error *err) {
    const struct sizes s = sizes_of(m);
    trm_status status =
        op_matmul_run(m->products->mix_gate_up, w->mix_gate_up, operand(m, r->x, r->x16), r->mixer, err);
    if (status != TRM_OK)
        return status;
    m->kernels->swiglu(r->mixer, r->mixer + s.mix, s.chunk, s.mix, 2 * s.mix, m->weights->dtype, m->work.act, s.mix);
    status = op_matmul_run(m->products->mix_down, w->mix_down, m->work.act, m->work.residual, err);
    if (status != TRM_OK)
        return status;
    for (int p = 0; p < s.chunk; p++) {
        size_t at = (size_t)p * (size_t)s.tokens * (size_t)s.hidden;
        m->kernels->rms_cols(r->x + at, m->work.residual + at, s.tokens, s.hidden, (size_t)s.hidden,
                             (float)m->weights->plain.config->rms_norm_eps, r->y + at,
                             r->mixer_rinv + (size_t)p * (size_t)s.hidden, r->y16 ? r->y16 + at : NULL);
    }
    return TRM_OK;
}

static trm_status mixing_backward(struct net_machine *m, const struct model_layer_weights *w,
                                  const struct model_layer_tensors *t, const struct net_layer_record *r, float *dx,
                                  float *grads, trm_error *err) {
    const struct sizes s = sizes_of(m);
    const size_t puzzle = (size_t)s.tokens * (size_t)s.hidden;
    for (int p = 0; p < s.chunk; p++) {
        size_t at = (size_t)p * puzzle;
        m->kernels->rms_cols_backward(r->y + at, r->mixer_rinv + (size_t)p * (size_t)s.hidden, dx + at, s.tokens,
                                      s.hidden, dx + at, m->work.ds16 ? m->work.ds16 + at : NULL);
    }
    const void *ds = operand(m, dx, m->work.ds16), *x = operand(m, r->x, r->x16);
    trm_status status = op_matmul_run(m->products->mix_down_dx, w->mix_down, ds, m->work.dact, err);
    if (status != TRM_OK)
        return status;
    m->kernels->swiglu_backward(r->mixer, r->mixer + s.mix, m->work.dact, s.chunk, s.mix, 2 * s.mix, m->weights->dtype,
                                m->work.dwide, operand_at(m, m->work.dwide, s.mix), m->work.act);
    for (int p = 0; p < s.chunk && status == TRM_OK; p++) {
        size_t n = (size_t)p;
        status = op_matmul_run(m->products->mix_down_dw, operand_at(m, ds, n * puzzle),
                               operand_at(m, m->work.act, n * s.mix), grad_of(m, grads, t->mix_down), err);
        if (status == TRM_OK)
            status = op_matmul_run(m->products->mix_gate_up_dw, operand_at(m, m->work.dwide, n * 2 * s.mix),
                                   operand_at(m, x, n * puzzle), grad_of(m, grads, t->mix_gate_up), err);
    }
    if (status == TRM_OK)
        status = op_matmul_run(m->products->mix_gate_up_dx, w->mix_gate_up, m->work.dwide, dx, err);
    return status;
}

/* ---- attention ---- */

static trm_status attention_forward(struct net_machine *m, const struct model_layer_weights *w,
                                    struct net_layer_record *r, trm_error *err) {
    const struct sizes s = sizes_of(m);
    const size_t width = (size_t)s.tokens * (size_t)s.width;
    trm_status status = op_matmul_run(m->products->qkv, operand(m, r->x, r->x16), w->qkv, r->mixer, err);
    for (int p = 0; p < s.chunk && status == TRM_OK; p++)
        status = op_attention_forward(m->attention, r->mixer + (size_t)p * 3 * width,
                                      operand_at(m, r->attended, (size_t)p * width), err);
    if (status == TRM_OK)
        status = op_matmul_run(m->products->o, r->attended, w->o, m->work.residual, err);
    if (status == TRM_OK)
        m->kernels->rms_rows(r->x, m->work.residual, s.rows, s.hidden, (float)m->weights->plain.config->rms_norm_eps,
                             r->y, r->mixer_rinv, r->y16);
    return status;
}

static trm_status attention_backward(struct net_machine *m, const struct model_layer_weights *w,
                                     const struct model_layer_tensors *t, const struct net_layer_record *r, float *dx,
                                     float *grads, trm_error *err) {
    const struct sizes s = sizes_of(m);
    const size_t width = (size_t)s.tokens * (size_t)s.width;
    m->kernels->rms_rows_backward(r->y, r->mixer_rinv, dx, s.rows, s.hidden, dx, m->work.ds16);
    const void *ds = operand(m, dx, m->work.ds16);
    trm_status status = op_matmul_run(m->products->o_dx, ds, w->o_dx, m->work.dact, err);
    if (status == TRM_OK)
        status = op_matmul_run(m->products->o_dw, ds, r->attended, grad_of(m, grads, t->o), err);
    for (int p = 0; p < s.chunk && status == TRM_OK; p++)
        status = op_attention_backward(m->attention, r->mixer + (size_t)p * 3 * width, m->work.dact + (size_t)p * width,
                                       operand_at(m, m->work.dwide, (size_t)p * 3 * width), err);
    if (status == TRM_OK)
        status =
            op_matmul_run(m->products->qkv_dw, m->work.dwide, operand(m, r->x, r->x16), grad_of(m, grads, t->qkv), err);
    if (status == TRM_OK)
        status = op_matmul_run(m->products->qkv_dx, m->work.dwide, w->qkv_dx, dx, err);
    return status;
}

/* ---- the stack ---- */

trm_status net_forward(struct net_machine *m, int net, struct net_record *record, trm_error *err) {
    const int layers = m->weights->plain.layout->layers[net];
    trm_status status = TRM_OK;
    for (int i = 0; i < layers && status == TRM_OK; i++) {
        const struct model_layer_weights *w = &m->weights->layers[net][i];
        struct net_layer_record *r = &record->layers[i];
        const bool last = i == layers - 1;
        status = m->attention ? attention_forward(m, w, r, err) : mixing_forward(m, w, r, err);
        if (status == TRM_OK)
            status = mlp_forward(m, w, r, last ? record->out : r[1].x, last ? NULL : r[1].x16, err);
    }
    return status;
}

trm_status net_backward(struct net_machine *m, int net, const struct net_record *record, float *dx, float *grads,
                        trm_error *err) {
    const int layers = m->weights->plain.layout->layers[net];
    trm_status status = TRM_OK;
    for (int i = layers - 1; i >= 0 && status == TRM_OK; i--) {
        const struct model_layer_weights *w = &m->weights->layers[net][i];
        const struct model_layer_tensors *t = &m->weights->plain.layout->layer[net][i];
        const struct net_layer_record *r = &record->layers[i];
        status = mlp_backward(m, w, t, r, i == layers - 1 ? record->out : r[1].x, dx, grads, err);
        if (status == TRM_OK)
            status = m->attention ? attention_backward(m, w, t, r, dx, grads, err)
                                  : mixing_backward(m, w, t, r, dx, grads, err);
    }
    return status;
}
