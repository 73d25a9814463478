/* attention.h - multi-head self-attention of one puzzle, forward and backward.
 *
 * O_h = softmax(Q_h K_h^T / sqrt(dim)) V_h for every head h; no bias; rotary positions on Q and K where
 * wanted (golden README section 3); over all keys, or over those that reach.h says. One head and one block of queries
 * at a time, so that no [tokens, tokens] score matrix ever exists and what does stays in a core's cache; the backward
 * pass computes the scores again rather than keeping them. Owned by one thread. */
#ifndef TRM_ENGINE_OPS_ATTENTION_H
#define TRM_ENGINE_OPS_ATTENTION_H

#include "engine/ops/matmul.h"
#include "engine/ops/reach.h"
#include "engine/ops/rope.h"

struct op_attention_shape {
    int tokens, heads, dim; /* width = heads * dim */
    struct op_rope rope;    /* positions */
    struct op_reach reach;  /* the keys of a query */
    enum op_dtype dtype;    /* of the operands of its products */
};

typedef struct op_attention op_attention;

trm_status op_attention_create(op_context *context, const struct op_attention_shape *shape, op_attention **attention,
                               trm_error *err);
void op_attention_destroy(op_attention *attention); /* NULL is fine */

/* qkv: [tokens, 3 * width] f32, all q heads, all k heads, all v heads; q and k are rotated in place
 * and kept by the caller for the backward pass. out: operand [tokens, width]. */
trm_status op_attention_forward(op_attention *attention, float *qkv, void *out, trm_error *err);

/* qkv as the forward pass left it; dout: f32 [tokens, width]; dqkv: operand [tokens, 3 * width]. */
trm_status op_attention_backward(op_attention *attention, const float *qkv, const float *dout, void *dqkv,
                                 trm_error *err);

#endif
