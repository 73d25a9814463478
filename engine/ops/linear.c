/* linear.c - see linear.h. Everything here belongs to the thread of the context. */
#include "engine/ops/linear.h"

#include <stdlib.h>

#include "engine/ops/panel.h"

struct op_linear {
    struct op_linear_shape shape;
    op_matmul *block, *end; /* [rows, in] -> [rows, out]; `end` for the tail, may be NULL */
    const char *x;          /* what was loaded, as the products want it */
    int first, count;       /* its blocks */
    /* OP_INT8 only. */
    const struct op_int8_kernels *int8;
    struct op_int8_rows rows; /* [blocks * rows.block, in] */
    int32_t *sums;            /* [rows.block, out] */
};

static trm_status create_int8(op_linear *linear, trm_error *err) {
    const struct op_linear_shape *s = &linear->shape;
    const size_t block = (size_t)s->rows.block, bytes = block * (size_t)s->out * sizeof(int32_t);
    if (posix_memalign((void **)&linear->sums, 64, bytes) != 0)
        return trm_fail_memory(err, bytes);
    return op_int8_rows_create((size_t)s->blocks * block, (size_t)s->in, &linear->rows, err);
}

trm_status op_linear_create(op_context *context, const struct op_linear_shape *shape, op_linear **out, trm_error *err) {
    op_linear *linear = calloc(1, sizeof *linear);
    if (!linear)
        return trm_fail_memory(err, sizeof *linear);
    linear->shape = *shape;
    linear->int8 = op_int8_kernels(op_context_backend(context));
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
    if (status == TRM_OK && shape->dtype == OP_INT8)
        status = create_int8(linear, err);
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
    op_int8_rows_destroy(&linear->rows);
    free(linear->sums);
    free(linear);
}

size_t op_linear_packed_size(const op_linear *linear) {
    return op_panel_size(linear->block, linear->shape.dtype, linear->shape.out);
}

trm_status op_linear_pack(op_linear *linear, const float *weight, void *packed, trm_error *err) {
    return op_panel_pack(linear->block, linear->shape.dtype, weight, linear->shape.out, linear->shape.in, packed, err);
}

void op_linear_load(op_linear *linear, int first, int count, const void *x) {
    const struct op_linear_shape *s = &linear->shape;
    linear->x = x;
    linear->first = first;
    linear->count = count;
    if (s->dtype == OP_INT8) {
        linear->int8->quantise_rows(x, op_rows_of(&s->rows, first, count), s->in, linear->rows.q, linear->rows.scale);
        linear->x = (const char *)linear->rows.q;
    }
}

/* One block, from row `row` of what was loaded on. */
static trm_status run_block(op_linear *linear, size_t row, int rows, const void *packed, float *y, trm_error *err) {
    const struct op_linear_shape *s = &linear->shape;
    const bool int8 = s->dtype == OP_INT8;
    op_matmul *product = rows == s->rows.block ? linear->block : linear->end;
    trm_status status = op_matmul_run(product, linear->x + row * (size_t)s->in * op_operand_size(s->dtype), packed,
                                      int8 ? (void *)linear->sums : y, err);
    if (status == TRM_OK && int8) {
        const struct op_int8_product sums =
            op_panel_product(linear->block, packed, s->out, linear->sums, linear->rows.scale + row);
        linear->int8->to_f32(&sums, rows, s->out, y, (size_t)s->out);
    }
    return status;
}

trm_status op_linear_run(op_linear *linear, const void *packed, float *y, trm_error *err) {
    const struct op_linear_shape *s = &linear->shape;
    const size_t start = op_rows_at(&s->rows, linear->first);
    trm_status status = TRM_OK;
    for (int block = linear->first; block < linear->first + linear->count && status == TRM_OK; block++) {
        const size_t row = op_rows_at(&s->rows, block) - start;
        status = run_block(linear, row, op_rows_in(&s->rows, block), packed, y + row * (size_t)s->out, err);
    }
    return status;
}
