/* attend.h - full bidirectional self-attention of one puzzle for inference: projections included.
 *
 * One head at a time: its q, k and v are computed for all tokens, k and v are packed, and blocks of
 * queries run against them, so that no [tokens, tokens] matrix ever exists; the division of softmax
 * waits until after the product with v. With OP_INT8 each token's q and k, each channel of v and the exponentials
 * are quantised too (int8.h says what small weights lose). Where queries do not see all keys (reach.h), one product
 * makes all heads' q, k and v, and what follows is in f32. attention.h has the definition, and the form that training
 * needs. Owned by one thread, as its context is; packed weights are plain bytes. */
#ifndef TRM_ENGINE_OPS_ATTEND_H
#define TRM_ENGINE_OPS_ATTEND_H

#include "engine/ops/linear.h"
#include "engine/ops/reach.h"
#include "engine/ops/rope.h"

struct op_attend_shape {
    struct op_rows rows;   /* tokens */
    int in, heads, dim;    /* width = heads * dim */
    struct op_rope rope;   /* positions */
    struct op_reach reach; /* the keys of a query */
    enum op_dtype dtype;   /* of the operands of all products */
};

typedef struct op_attend op_attend;

trm_status op_attend_create(op_context *context, const struct op_attend_shape *shape, op_attend **attend,
                            trm_error *err);
void op_attend_destroy(op_attend *attend); /* NULL is fine */

size_t op_attend_packed_size(const op_attend *attend);

/* weight: [3 width, in] f32: all q heads, all k heads, all v heads. */
trm_status op_attend_pack(op_attend *attend, const float *weight, void *packed, trm_error *err);

/* x: [tokens, in]; out: [tokens, width], heads side by side; both of op_passed_type(dtype). */
trm_status op_attend_run(op_attend *attend, const void *x, const void *packed, void *out, trm_error *err);

#endif
