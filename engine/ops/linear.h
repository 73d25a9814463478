/* linear.h - y = x W^T for inference: the rows in blocks, each block a product of its own, so that the
 * bits of a row do not depend on what else is in the call. Owned by one thread, as its context is; packed
 * weights are plain bytes. */
#ifndef TRM_ENGINE_OPS_LINEAR_H
#define TRM_ENGINE_OPS_LINEAR_H

#include "engine/ops/matmul.h"
#include "engine/ops/rows.h"

struct op_linear_shape {
    struct op_rows rows;
    int blocks; /* at most, in one call */
    int in, out;
    enum op_dtype dtype; /* of the products */
};

typedef struct op_linear op_linear;

trm_status op_linear_create(op_context *context, const struct op_linear_shape *shape, op_linear **linear,
                            trm_error *err);
void op_linear_destroy(op_linear *linear); /* NULL is fine */

size_t op_linear_packed_size(const op_linear *linear);

/* weight: [out, in] f32. */
trm_status op_linear_pack(op_linear *linear, const float *weight, void *packed, trm_error *err);

/* The rows that the next runs multiply: `count` blocks from block `first` on, n rows in all. x: [n, in] of
 * op_passed_type(dtype); it must outlive those runs. */
void op_linear_load(op_linear *linear, int first, int count, const void *x);

/* y: f32 [n, out]. */
trm_status op_linear_run(op_linear *linear, const void *packed, float *y, trm_error *err);

#endif
