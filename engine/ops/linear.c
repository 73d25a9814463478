/* linear.c - see linear.h. Everything here belongs to the thread of the context. */
#include "engine/ops/linear.h"

#include <stdlib.h>

/* Of the smallest L2 cache that is met, 1 MB: half for a panel of weights, a fifth for its results. */
enum { WEIGHT_PANEL_BYTES = 512 << 10, RESULT_PANEL_BYTES = 192 << 10 };

struct op_linear {
    struct op_linear_shape shape;
    int panel, panels;
    size_t panel_bytes;     /* of packed weights */
    op_matmul *block, *end; /* [rows, in] -> [rows, panel] of y; `end` for the tail, may be NULL */
};

int op_linear_panel(int channels, int copies, int rows, int in, enum op_dtype dtype) {
    const size_t weight = (size_t)copies * (size_t)in * op_operand_size(dtype);
    const size_t result = (size_t)copies * (size_t)rows * sizeof(float);
    int best = 1;
    for (int panel = 1; panel <= channels; panel++)
        if (channels % panel == 0 && (size_t)panel * weight <= WEIGHT_PANEL_BYTES &&
            (size_t)panel * result <= RESULT_PANEL_BYTES)
            best = panel;
    return best;
}

trm_status op_linear_create(op_context *context, const struct op_linear_shape *shape, op_linear **out, trm_error *err) {
    op_linear *linear = calloc(1, sizeof *linear);
    if (!linear)
        return trm_fail_memory(err, sizeof *linear);
    linear->shape = *shape;
    linear->panel = op_linear_panel(shape->out, 1, shape->rows.block, shape->in, shape->dtype);
    linear->panels = shape->out / linear->panel;
    struct op_matmul_shape product = {.m = shape->rows.block,
                                      .k = shape->in,
                                      .n = linear->panel,
                                      .ldc = shape->out,
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
    linear->panel_bytes = (op_matmul_packed_size(linear->block) + 63) / 64 * 64;
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
    return (size_t)linear->panels * linear->panel_bytes;
}

trm_status op_linear_pack(op_linear *linear, const float *weight, void *packed, trm_error *err) {
    const size_t step = (size_t)linear->panel * (size_t)linear->shape.in;
    trm_status status = TRM_OK;
    for (int i = 0; i < linear->panels && status == TRM_OK; i++)
        status = op_matmul_pack(linear->block, weight + (size_t)i * step,
                                (char *)packed + (size_t)i * linear->panel_bytes, err);
    return status;
}

trm_status op_linear_run(op_linear *linear, int first, int count, const void *x, const void *packed, float *y,
                         trm_error *err) {
    const struct op_linear_shape *s = &linear->shape;
    const size_t in = (size_t)s->in * op_operand_size(s->dtype), start = op_rows_at(&s->rows, first);
    trm_status status = TRM_OK;
    for (int i = 0; i < linear->panels; i++)
        for (int block = first; block < first + count && status == TRM_OK; block++) {
            const size_t row = op_rows_at(&s->rows, block) - start;
            status = op_matmul_run(op_rows_in(&s->rows, block) == s->rows.block ? linear->block : linear->end,
                                   (const char *)x + row * in, (const char *)packed + (size_t)i * linear->panel_bytes,
                                   y + row * (size_t)s->out + (size_t)i * (size_t)linear->panel, err);
        }
    return status;
}
