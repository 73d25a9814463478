/* products.h - every matrix product of training, planned for one chunk of puzzles.
 *
 * A chunk is the number of puzzles that go through the network together; all plans have fixed
 * shapes, so that an answer does not depend on who shares the chunk. Owned by one thread. */
#ifndef TRM_ENGINE_MODEL_PRODUCTS_H
#define TRM_ENGINE_MODEL_PRODUCTS_H

#include "engine/model/config.h"
#include "engine/ops/matmul.h"

/* Rows: R = chunk * tokens. Names: `x_dx` is the gradient of x's input, `x_dw` of its weight.
 * Plans that a model does not need are NULL. */
struct model_products {
    op_matmul *gate_up; /* [R, hidden] -> [R, 2 inter] */
    op_matmul *down;    /* [R, inter] -> [R, hidden] */
    op_matmul *qkv;     /* [R, hidden] -> [R, 3 width] */
    op_matmul *o;       /* [R, width] -> [R, hidden] */
    op_matmul *lm_head; /* [R, hidden] -> [R, vocab] */
    /* Token mixing: the weight is the left operand, the puzzle as it lies the right one. */
    op_matmul *mix_gate_up; /* chunk x [2 inter_t, tokens] [tokens, hidden] */
    op_matmul *mix_down;    /* chunk x [tokens, inter_t] [inter_t, hidden] */

    op_matmul *gate_up_dx, *down_dx, *qkv_dx, *o_dx, *lm_head_dx, *mix_gate_up_dx, *mix_down_dx;
    op_matmul *gate_up_dw, *down_dw, *qkv_dw, *o_dw, *lm_head_dw;
    op_matmul *mix_gate_up_dw, *mix_down_dw; /* of one puzzle at a time */
};

trm_status model_products_create(op_context *context, const struct model_config *config, int chunk, enum op_dtype dtype,
                                 struct model_products *products, trm_error *err);
void model_products_destroy(struct model_products *products);

#endif
