/* infer_weights.c - see infer_weights.h. The packed matrices live in one block. */
#include "engine/model/infer_weights.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };

/* ---- planning ---- */

void infer_plan_destroy(struct infer_operations *ops) {
    op_mixer_destroy(ops->mixer);
    op_attend_destroy(ops->attend);
    op_linear_destroy(ops->o);
    op_gated_destroy(ops->gated);
    op_linear_destroy(ops->down);
    op_linear_destroy(ops->lm_head);
}

static trm_status plan_attention(op_context *context, const struct infer_weights *w, struct infer_operations *ops,
                                 trm_error *err) {
    const struct model_config *c = w->plain.config;
    const struct op_attend_shape attend = {.rows = w->rows,
                                           .in = c->hidden_size,
                                           .heads = c->num_heads,
                                           .dim = c->head_dim,
                                           .rope = model_rope(c),
                                           .reach = model_reach(c),
                                           .dtype = w->dtype};
    const struct op_linear_shape o = {.rows = w->rows,
                                      .blocks = w->group,
                                      .in = c->num_heads * c->head_dim,
                                      .out = c->hidden_size,
                                      .dtype = w->dtype};
    trm_status status = op_attend_create(context, &attend, &ops->attend, err);
    return status == TRM_OK ? op_linear_create(context, &o, &ops->o, err) : status;
}

trm_status infer_plan(op_context *context, const struct infer_weights *w, struct infer_operations *ops,
                      trm_error *err) {
    const struct model_config *c = w->plain.config;
    const struct op_gated_shape gated = {
        .rows = w->rows, .blocks = w->group, .in = c->hidden_size, .inter = c->inter, .dtype = w->dtype};
    const struct op_linear_shape down = {
        .rows = w->rows, .blocks = w->group, .in = c->inter, .out = c->hidden_size, .dtype = w->dtype};
    const struct op_linear_shape head = {.rows = w->rows,
                                         .blocks = w->rows.count,
                                         .in = c->hidden_size,
                                         .out = c->vocab_size,
                                         .dtype = op_passed_type(w->dtype)};
    const struct op_mixer_shape mixer = {
        .tokens = c->tokens, .inter = c->inter_t, .hidden = c->hidden_size, .dtype = w->dtype};
    trm_status status =
        c->mlp_t ? op_mixer_create(context, &mixer, &ops->mixer, err) : plan_attention(context, w, ops, err);
    if (status == TRM_OK)
        status = op_gated_create(context, &gated, &ops->gated, err);
    if (status == TRM_OK)
        status = op_linear_create(context, &down, &ops->down, err);
    if (status == TRM_OK)
        status = op_linear_create(context, &head, &ops->lm_head, err);
    return status;
}

/* ---- weights ---- */

struct packer {
    const struct infer_operations *ops;
    char *next; /* NULL while counting */
    size_t bytes;
};

/* The place of the next `bytes`; NULL while counting. */
static void *take(struct packer *p, size_t bytes) {
    void *place = p->next ? p->next + p->bytes : NULL;
    p->bytes += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return place;
}

static const float *tensor(const struct infer_weights *w, int index) {
    return w->plain.params + w->plain.layout->tensors[index].offset;
}

static trm_status pack_linear(const struct infer_weights *w, struct packer *p, op_linear *op, int index, void **place,
                              trm_error *err) {
    *place = take(p, op_linear_packed_size(op));
    return *place ? op_linear_pack(op, tensor(w, index), *place, err) : TRM_OK;
}

static trm_status pack_gated(const struct infer_weights *w, struct packer *p, op_gated *op, int index, void **place,
                             trm_error *err) {
    *place = take(p, op_gated_packed_size(op));
    return *place ? op_gated_pack(op, tensor(w, index), *place, err) : TRM_OK;
}

static trm_status pack_layer(const struct infer_weights *w, struct packer *p, const struct model_layer_tensors *t,
                             struct infer_layer *layer, trm_error *err) {
    trm_status status = TRM_OK;
    if (w->plain.config->mlp_t) {
        layer->mixer = take(p, op_mixer_packed_size(p->ops->mixer));
        if (layer->mixer)
            op_mixer_pack(p->ops->mixer, tensor(w, t->mix_gate_up), tensor(w, t->mix_down), layer->mixer);
    } else {
        layer->attend = take(p, op_attend_packed_size(p->ops->attend));
        status = layer->attend ? op_attend_pack(p->ops->attend, tensor(w, t->qkv), layer->attend, err) : TRM_OK;
        if (status == TRM_OK)
            status = pack_linear(w, p, p->ops->o, t->o, &layer->o, err);
    }
    if (status == TRM_OK)
        status = pack_gated(w, p, p->ops->gated, t->gate_up, &layer->gated, err);
    if (status == TRM_OK)
        status = pack_linear(w, p, p->ops->down, t->down, &layer->down, err);
    return status;
}

static trm_status pack_all(struct infer_weights *w, struct packer *p, trm_error *err) {
    trm_status status = TRM_OK;
    for (int net = 0; net < MODEL_NETS; net++)
        for (int i = 0; i < w->plain.layout->layers[net] && status == TRM_OK; i++)
            status = pack_layer(w, p, &w->plain.layout->layer[net][i], &w->layers[net][i], err);
    return status == TRM_OK ? pack_linear(w, p, p->ops->lm_head, w->plain.layout->lm_head, &w->lm_head, err) : status;
}

static trm_status fill(struct infer_weights *w, trm_error *err) {
    struct infer_operations ops = {0};
    op_context *context = NULL;
    trm_status status = op_context_create(w->backend, &context, err);
    if (status == TRM_OK)
        status = infer_plan(context, w, &ops, err);
    if (status == TRM_OK) {
        struct packer packer = {.ops = &ops};
        status = pack_all(w, &packer, err); /* counts */
        if (status == TRM_OK && posix_memalign(&w->storage, ALIGNMENT, packer.bytes) != 0) {
            w->storage = NULL;
            status = trm_fail_memory(err, packer.bytes);
        }
        packer.next = w->storage;
        packer.bytes = 0;
        if (status == TRM_OK)
            status = pack_all(w, &packer, err);
    }
    infer_plan_destroy(&ops);
    op_context_destroy(context);
    return status;
}

/* A block's activations of every layer of the paper's width fit into 1 MB of L2. */
enum { BLOCK_ROWS = 128 };

/* How many pieces of so many rows may take turns with a panel of weights. Measured at the paper's width: four
 * puzzles of 97 tokens are faster than two (by 4% in f32), and those than one. */
static int fitting(const struct model_config *config, int rows) {
    enum { VALUES = 240 << 10 };
    const int count = VALUES / (rows * config->hidden_size);
    return count < 1 ? 1 : count > INFER_MAX_CHUNK ? INFER_MAX_CHUNK : count;
}

trm_status infer_weights_create(const struct model_tensors *plain, enum trm_backend backend, enum op_dtype dtype,
                                struct infer_weights **out, trm_error *err) {
    struct infer_weights *w = calloc(1, sizeof *w);
    if (!w)
        return trm_fail_memory(err, sizeof *w);
    w->plain = *plain;
    w->backend = backend;
    w->dtype = dtype;
    w->rows = op_rows(plain->config->tokens, BLOCK_ROWS);
    w->group = fitting(plain->config, w->rows.block);
    w->chunk = fitting(plain->config, plain->config->tokens);
    trm_status status = TRM_OK;
    for (int net = 0; net < MODEL_NETS && status == TRM_OK; net++) {
        const size_t layers = (size_t)plain->layout->layers[net];
        if (layers > 0 && !(w->layers[net] = calloc(layers, sizeof **w->layers)))
            status = trm_fail_memory(err, layers * sizeof **w->layers);
    }
    if (status == TRM_OK)
        status = fill(w, err);
    if (status != TRM_OK) {
        infer_weights_destroy(w);
        return status;
    }
    *out = w;
    return TRM_OK;
}

void infer_weights_destroy(struct infer_weights *w) {
    if (!w)
        return;
    free(w->storage);
    for (int net = 0; net < MODEL_NETS; net++)
        free(w->layers[net]);
    free(w);
}
