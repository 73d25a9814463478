/* gated.h - the first half of a gated MLP over the features, for inference:
 *
 *     act = silu(x Wg^T) * (x Wu^T)
 *
 * Gate and up are computed panel by panel and joined while they are in the cache; they never exist as
 * a whole. A panel of weights comes into L2 once and is used by every block of rows of a call; each block is
 * a product of its own (linear.h). The cut is decided by the shape alone, never by a timing, so that the same
 * puzzle gives the same bits after every start. The weight is the original's [2 inter, in], gate above up (golden
 * README section 3). Owned by one thread, as its context is; packed weights are plain bytes. */
#ifndef TRM_ENGINE_OPS_GATED_H
#define TRM_ENGINE_OPS_GATED_H

#include "engine/ops/linear.h"

struct op_gated_shape {
    struct op_rows rows;
    int blocks; /* at most, in one call */
    int in, inter;
    enum op_dtype dtype; /* of the products */
};

typedef struct op_gated op_gated;

trm_status op_gated_create(op_context *context, const struct op_gated_shape *shape, op_gated **gated, trm_error *err);
void op_gated_destroy(op_gated *gated); /* NULL is fine */

size_t op_gated_packed_size(const op_gated *gated);

/* weight: [2 inter, in] f32. */
trm_status op_gated_pack(op_gated *gated, const float *weight, void *packed, trm_error *err);

/* `count` blocks from block `first` on, n rows in all. x: [n, in], act: [n, inter], both of
 * op_passed_type(dtype). */
trm_status op_gated_run(op_gated *gated, int first, int count, const void *x, const void *packed, void *act,
                        trm_error *err);

#endif
