/* infer_weights.h - a model's parameters in the form that solving wants: immutable once made.
 *
 * Each operation knows how its own weights are cut and packed; the same plan for packing and for
 * running, made once here and once by every machine. Reading is for any thread. */
#ifndef TRM_ENGINE_MODEL_INFER_WEIGHTS_H
#define TRM_ENGINE_MODEL_INFER_WEIGHTS_H

#include "engine/model/tensors.h"
#include "engine/ops/attend.h"
#include "engine/ops/gated.h"
#include "engine/ops/mixer.h"

enum { INFER_MAX_CHUNK = 8 };

/* The operations of a model. Those that it does not need are NULL. */
struct infer_operations {
    op_mixer *mixer;
    op_attend *attend;
    op_linear *o;
    op_gated *gated;
    op_linear *down;
    op_linear *lm_head;
};

/* A layer's weights as the operations packed them. */
struct infer_layer {
    void *mixer, *attend, *o, *gated, *down;
};

struct infer_weights {
    struct model_tensors plain;
    enum trm_backend backend;
    enum op_dtype dtype;                    /* of the products; the heads' is op_passed_type(dtype) */
    struct op_rows rows;                    /* the blocks of a puzzle's tokens */
    int group;                              /* blocks that go through the gated MLP together */
    int chunk;                              /* puzzles that go through the network together, at most */
    struct infer_layer *layers[MODEL_NETS]; /* [layout->layers[net]] */
    void *lm_head;
    void *storage; /* all of the above */
};

/* The arrays of `plain` are the caller's and must outlive the weights. */
trm_status infer_weights_create(const struct model_tensors *plain, enum trm_backend backend, enum op_dtype dtype,
                                struct infer_weights **weights, trm_error *err);
void infer_weights_destroy(struct infer_weights *weights); /* NULL is fine */

/* What the weights are for, planned in `context`. Zero-initialised operations; destroy them whatever happens. */
trm_status infer_plan(op_context *context, const struct infer_weights *weights, struct infer_operations *ops,
                      trm_error *err);
void infer_plan_destroy(struct infer_operations *ops);

#endif
