/* linear.c - see linear.h. Everything here belongs to the thread of the context. */
#include "engine/ops/linear.h"

#include <stdlib.h>

struct op_linear {
    struct op_linear_shape shape;
    op_matmul *block, *end; /* [rows, in] -> [rows, out]; `end` for the tail, may be NULL */
};

trm_status op_linear_create(op_context *context, const struct op_linear_shape *shape, op_linear **out, trm_error *err) {
    op_linear *linear = calloc(1, sizeof *linear);
    if (!linear)
        return trm_fail_memory(err, sizeof *linear);
    linear->shape = *shape;
    struct op_matmul_shape product = {.m = shape->rows.block,
                                      .k = shape->in,
                                      .n = shape->out,
                                      .b_transposed = true,
                                      .b_packed = true,
                                      .dtype = shape->dtype};
    trm_status status = op_matmul_create(context, &product, &linear->block, err);
    product.m = shape->rows.tail;
    if (status == TRM_OK && shape->rows.tail > 0)
        status = op_matmul_create(context, &product, &linear->end, err);
    if (status != TRM_OK) {
        op_linear_destroy(linear);
        return status;
    }
    *out = linear;
    return TRM_OK;
}

void op_linear_destroy(op_linear *linear) {
    if (!linear)
        return;
    op_matmul_destroy(linear->block);
    op_matmul_destroy(linear->end);
    free(linear);
}

size_t op_linear_packed_size(const op_linear *linear) {
    return (op_matmul_packed_size(linear->block) + 63) / 64 * 64;
}

trm_status op_linear_pack(op_linear *linear, const float *weight, void *packed, trm_error *err) {
    return op_matmul_pack(linear->block, weight, packed, err);
}

trm_status op_linear_run(op_linear *linear, int first, int count, const void *x, const void *packed, float *y,
                         trm_error *err) {
    const struct op_linear_shape *s = &linear->shape;
    const size_t in = (size_t)s->in * op_operand_size(s->dtype), start = op_rows_at(&s->rows, first);
    trm_status status = TRM_OK;
    for (int block = first; block < first + count && status == TRM_OK; block++) {
        const size_t row = op_rows_at(&s->rows, block) - start;
        status = op_matmul_run(op_rows_in(&s->rows, block) == s->rows.block ? linear->block : linear->end,
                               (const char *)x + row * in, packed, y + row * (size_t)s->out, err);
    }
    return status;
}
