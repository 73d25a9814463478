/* weights.h - a model's parameters in the form that the matrix products of training want.
 *
 * Linear weights are packed by oneDNN (and turned, for the backward pass); token-mixing weights
 * stay as they are, or become bf16. Everything else is read from the flat arrays.
 *
 * Threads: read by many; model_weights_update() only while nobody reads. */
#ifndef TRM_ENGINE_MODEL_WEIGHTS_H
#define TRM_ENGINE_MODEL_WEIGHTS_H

#include "engine/model/products.h"
#include "engine/model/tensors.h"

struct model_layer_weights {
    void *qkv, *o, *gate_up, *down;             /* packed, forward; NULL where absent */
    void *qkv_dx, *o_dx, *gate_up_dx, *down_dx; /* packed, backward */
    const void *mix_gate_up, *mix_down;         /* operands [2 inter_t, tokens], [tokens, inter_t] */
};

struct model_weights {
    struct model_tensors plain;
    enum trm_backend backend;
    enum op_dtype dtype;
    int chunk;
    struct model_layer_weights *layers[MODEL_NETS]; /* [layout->layers[net]] */
    void *lm_head, *lm_head_dx;
    /* Private to weights.c. */
    op_context *context;
    struct model_products products;
    void *storage;
};

struct model_weights_options {
    enum trm_backend backend;
    enum op_dtype dtype;
    int chunk; /* puzzles that go through the network together */
};

/* The arrays are the caller's and must outlive the weights. */
trm_status model_weights_create(const struct model_tensors *plain, const struct model_weights_options *options,
                                struct model_weights **weights, trm_error *err);
void model_weights_destroy(struct model_weights *weights); /* NULL is fine */

/* Packs again after the parameters changed. */
trm_status model_weights_update(struct model_weights *weights, trm_error *err);

#endif
