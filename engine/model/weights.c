/* weights.c - packing. The packed matrices live in one block owned by the model_weights. */
#include "engine/model/weights.h"

#include <stdlib.h>

#include "engine/ops/bf16.h"

enum { ALIGNMENT = 64 };

/* A packed matrix: where its address goes, the plan that knows its layout, its source tensor. */
struct packing {
    void **where;
    op_matmul *plan;
    int tensor;
};

typedef trm_status (*visit_packing)(struct model_weights *w, const struct packing *packing, void *state,
                                    trm_error *err);

/* Calls `visit` for every packed matrix of the model, always in the same order. */
static trm_status for_each_packing(struct model_weights *w, visit_packing visit, void *state, trm_error *err) {
    const struct model_products *p = &w->products;
    trm_status status = TRM_OK;
    for (int net = 0; net < MODEL_NETS; net++)
        for (int i = 0; i < w->plain.layout->layers[net]; i++) {
            struct model_layer_weights *layer = &w->layers[net][i];
            const struct model_layer_tensors *t = &w->plain.layout->layer[net][i];
            const struct packing packings[] = {
                {&layer->qkv, p->qkv, t->qkv},
                {&layer->o, p->o, t->o},
                {&layer->gate_up, p->gate_up, t->gate_up},
                {&layer->down, p->down, t->down},
                {&layer->qkv_dx, p->qkv_dx, t->qkv},
                {&layer->o_dx, p->o_dx, t->o},
                {&layer->gate_up_dx, p->gate_up_dx, t->gate_up},
                {&layer->down_dx, p->down_dx, t->down},
            };
            for (size_t k = 0; k < sizeof packings / sizeof *packings && status == TRM_OK; k++)
                if (packings[k].plan && packings[k].tensor >= 0)
                    status = visit(w, &packings[k], state, err);
        }
    const struct packing heads[] = {{&w->lm_head, p->lm_head, w->plain.layout->lm_head},
                                    {&w->lm_head_dx, p->lm_head_dx, w->plain.layout->lm_head}};
    for (size_t k = 0; k < sizeof heads / sizeof *heads && status == TRM_OK; k++)
        if (heads[k].plan)
            status = visit(w, &heads[k], state, err);
    return status;
}

static size_t aligned(size_t bytes) {
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static const struct model_tensor *tensor_at(const struct model_weights *w, int index) {
    return &w->plain.layout->tensors[index];
}

static size_t tensor_size(const struct model_weights *w, int index) {
    return (size_t)tensor_at(w, index)->rows * (size_t)tensor_at(w, index)->cols;
}

static trm_status add_size(struct model_weights *w, const struct packing *packing, void *state, trm_error *err) {
    (void)w;
    (void)err;
    *(size_t *)state += aligned(op_matmul_packed_size(packing->plan));
    return TRM_OK;
}

static trm_status place(struct model_weights *w, const struct packing *packing, void *state, trm_error *err) {
    char **next = state;
    (void)w;
    (void)err;
    *packing->where = *next;
    *next += aligned(op_matmul_packed_size(packing->plan));
    return TRM_OK;
}

static trm_status pack(struct model_weights *w, const struct packing *packing, void *state, trm_error *err) {
    (void)state;
    return op_matmul_pack(packing->plan, w->plain.params + tensor_at(w, packing->tensor)->offset, *packing->where, err);
}

/* Token-mixing weights in f32 are used where they are; in bf16 each gets a place in the block. */
static size_t mixing_bytes(const struct model_weights *w) {
    size_t bytes = 0;
    if (w->dtype != OP_BF16 || !w->plain.config->mlp_t)
        return 0;
    for (int net = 0; net < MODEL_NETS; net++)
        for (int i = 0; i < w->plain.layout->layers[net]; i++) {
            const struct model_layer_tensors *t = &w->plain.layout->layer[net][i];
            bytes += aligned(tensor_size(w, t->mix_gate_up) * sizeof(op_bf16));
            bytes += aligned(tensor_size(w, t->mix_down) * sizeof(op_bf16));
        }
    return bytes;
}

static const void *place_mixing(struct model_weights *w, int index, char **next) {
    if (w->dtype == OP_F32)
        return w->plain.params + tensor_at(w, index)->offset;
    void *here = *next;
    *next += aligned(tensor_size(w, index) * sizeof(op_bf16));
    op_bf16_from_f32(w->plain.params + tensor_at(w, index)->offset, here, tensor_size(w, index));
    return here;
}

/* `next`: the first free byte of the block behind the packed matrices. */
static void refresh_mixing(struct model_weights *w, char *next) {
    if (!w->plain.config->mlp_t)
        return;
    for (int net = 0; net < MODEL_NETS; net++)
        for (int i = 0; i < w->plain.layout->layers[net]; i++) {
            const struct model_layer_tensors *t = &w->plain.layout->layer[net][i];
            w->layers[net][i].mix_gate_up = place_mixing(w, t->mix_gate_up, &next);
            w->layers[net][i].mix_down = place_mixing(w, t->mix_down, &next);
        }
}

static trm_status allocate(struct model_weights *w, trm_error *err) {
    for (int net = 0; net < MODEL_NETS; net++) {
        size_t layers = (size_t)w->plain.layout->layers[net];
        if (layers == 0)
            continue;
        w->layers[net] = calloc(layers, sizeof **w->layers);
        if (!w->layers[net])
            return trm_fail_memory(err, layers * sizeof **w->layers);
    }
    size_t packed = 0;
    for_each_packing(w, add_size, &packed, err);
    size_t bytes = packed + mixing_bytes(w);
    if (posix_memalign(&w->storage, ALIGNMENT, bytes ? bytes : ALIGNMENT) != 0)
        return trm_fail_memory(err, bytes);
    char *next = w->storage;
    return for_each_packing(w, place, &next, err);
}

trm_status model_weights_update(struct model_weights *w, trm_error *err) {
    size_t packed = 0;
    for_each_packing(w, add_size, &packed, err);
    refresh_mixing(w, (char *)w->storage + packed);
    return for_each_packing(w, pack, NULL, err);
}

trm_status model_weights_create(const struct model_tensors *plain, const struct model_weights_options *options,
                                struct model_weights **out, trm_error *err) {
    struct model_weights *w = calloc(1, sizeof *w);
    if (!w)
        return trm_fail_memory(err, sizeof *w);
    w->plain = *plain;
    w->backend = options->backend;
    w->dtype = options->dtype;
    w->chunk = options->chunk;
    trm_status status = op_context_create(w->backend, &w->context, err);
    if (status == TRM_OK)
        status = model_products_create(w->context, plain->config, w->chunk, w->dtype, &w->products, err);
    if (status == TRM_OK)
        status = allocate(w, err);
    if (status == TRM_OK)
        status = model_weights_update(w, err);
    if (status != TRM_OK) {
        model_weights_destroy(w);
        return status;
    }
    *out = w;
    return TRM_OK;
}

void model_weights_destroy(struct model_weights *w) {
    if (!w)
        return;
    free(w->storage);
    for (int net = 0; net < MODEL_NETS; net++)
        free(w->layers[net]);
    model_products_destroy(&w->products);
    op_context_destroy(w->context);
    free(w);
}
