/* gated.c - see gated.h. Everything here belongs to the thread of the context. */
#include "engine/ops/gated.h"

#include <stdlib.h>
#include <string.h>

#include "engine/ops/kernels.h"
#include "engine/ops/panel.h"

enum { ALIGNMENT = 64 };

/* Of an L2 cache of 1 MB: half for a panel of weights, a fifth for its results. Measured with oneDNN 2.6 on
 * Zen 4 (97 rows, 512 -> 3072, f32): one product of all channels reaches 75% of the peak, panels 90% and more. */
enum { WEIGHT_BYTES = 512 << 10, RESULT_BYTES = 192 << 10 };

struct op_gated {
    struct op_gated_shape shape;
    const struct op_kernels *kernels;
    int panel, panels;      /* channels of inter in a panel, which holds as many of gate and of up */
    size_t panel_bytes;     /* of packed weights */
    op_matmul *block, *end; /* [rows, in] -> [rows, 2 panel]; `end` for the tail, may be NULL */
    void *both;             /* [block, 2 panel] f32, or int32 for OP_INT8 */
    float *gather;          /* [2 panel, in] for packing */
    /* OP_INT8 only. */
    const struct op_int8_kernels *int8;
    struct op_int8_rows rows; /* [blocks * rows.block, in] */
};

/* The largest divisor of inter whose panel of weights, gate and up, and of results fit. */
static int choose_panel(const struct op_gated_shape *shape) {
    const size_t weight = 2 * (size_t)shape->in * op_operand_size(shape->dtype);
    const size_t result = 2 * (size_t)shape->rows.block * sizeof(float);
    int best = 1;
    for (int panel = 1; panel <= shape->inter; panel++)
        if (shape->inter % panel == 0 && (size_t)panel * weight <= WEIGHT_BYTES &&
            (size_t)panel * result <= RESULT_BYTES)
            best = panel;
    return best;
}

trm_status op_gated_create(op_context *context, const struct op_gated_shape *shape, op_gated **out, trm_error *err) {
    op_gated *g = calloc(1, sizeof *g);
    if (!g)
        return trm_fail_memory(err, sizeof *g);
    g->shape = *shape;
    g->kernels = op_kernels(op_context_backend(context));
    g->int8 = op_int8_kernels(op_context_backend(context));
    g->panel = choose_panel(shape);
    g->panels = shape->inter / g->panel;
    struct op_matmul_shape product = {.m = shape->rows.block,
                                      .k = shape->in,
                                      .n = 2 * g->panel,
                                      .b_transposed = true,
                                      .b_packed = true,
                                      .dtype = shape->dtype};
    const size_t wide = 2 * (size_t)g->panel * sizeof(float);
    trm_status status = op_matmul_create(context, &product, &g->block, err);
    product.m = shape->rows.tail;
    if (status == TRM_OK && shape->rows.tail > 0)
        status = op_matmul_create(context, &product, &g->end, err);
    if (status == TRM_OK && (posix_memalign(&g->both, ALIGNMENT, wide * (size_t)shape->rows.block) != 0 ||
                             posix_memalign((void **)&g->gather, ALIGNMENT, wide * (size_t)shape->in) != 0))
        status = trm_fail_memory(err, wide * (size_t)shape->in);
    if (status == TRM_OK && shape->dtype == OP_INT8)
        status =
            op_int8_rows_create((size_t)shape->blocks * (size_t)shape->rows.block, (size_t)shape->in, &g->rows, err);
    if (status != TRM_OK) {
        op_gated_destroy(g);
        return status;
    }
    g->panel_bytes = op_panel_size(g->block, shape->dtype, 2 * g->panel);
    *out = g;
    return TRM_OK;
}

void op_gated_destroy(op_gated *g) {
    if (!g)
        return;
    op_matmul_destroy(g->block);
    op_matmul_destroy(g->end);
    free(g->both);
    free(g->gather);
    op_int8_rows_destroy(&g->rows);
    free(g);
}

size_t op_gated_packed_size(const op_gated *g) {
    return (size_t)g->panels * g->panel_bytes;
}

trm_status op_gated_pack(op_gated *g, const float *weight, void *packed, trm_error *err) {
    const size_t step = (size_t)g->panel * (size_t)g->shape.in, up = (size_t)g->shape.inter * (size_t)g->shape.in;
    trm_status status = TRM_OK;
    for (int i = 0; i < g->panels && status == TRM_OK; i++) {
        memcpy(g->gather, weight + (size_t)i * step, step * sizeof(float));
        memcpy(g->gather + step, weight + up + (size_t)i * step, step * sizeof(float));
        status = op_panel_pack(g->block, g->shape.dtype, g->gather, 2 * g->panel, g->shape.in,
                               (char *)packed + (size_t)i * g->panel_bytes, err);
    }
    return status;
}

/* act = silu(gate) * up of the block in g->both; `row`: its first row in the call. */
static void join(op_gated *g, size_t row, int rows, const char *packed, void *act) {
    const struct op_gated_shape *s = &g->shape;
    const size_t panel = (size_t)g->panel;
    if (s->dtype == OP_INT8) {
        const struct op_int8_product gate =
            op_panel_product(g->block, packed, 2 * g->panel, g->both, g->rows.scale + row);
        const struct op_int8_product up = op_int8_from_column(&gate, panel);
        g->int8->swiglu(&gate, &up, rows, g->panel, act, (size_t)s->inter);
    } else {
        const float *gate = g->both;
        g->kernels->swiglu(gate, gate + panel, rows, panel, 2 * panel, s->dtype, act, (size_t)s->inter);
    }
}

trm_status op_gated_run(op_gated *g, int first, int count, const void *x, const void *packed, void *act,
                        trm_error *err) {
    const struct op_gated_shape *s = &g->shape;
    const size_t in = (size_t)s->in * op_operand_size(s->dtype), out = op_operand_size(op_passed_type(s->dtype));
    const size_t start = op_rows_at(&s->rows, first), inter = (size_t)s->inter;
    if (s->dtype == OP_INT8) {
        g->int8->quantise_rows(x, op_rows_of(&s->rows, first, count), s->in, g->rows.q, g->rows.scale);
        x = g->rows.q;
    }
    for (int i = 0; i < g->panels; i++)
        for (int block = first; block < first + count; block++) {
            const size_t row = op_rows_at(&s->rows, block) - start;
            const int rows = op_rows_in(&s->rows, block);
            const char *panel = (const char *)packed + (size_t)i * g->panel_bytes;
            trm_status status = op_matmul_run(rows == s->rows.block ? g->block : g->end, (const char *)x + row * in,
                                              panel, g->both, err);
            if (status != TRM_OK)
                return status;
            join(g, row, rows, panel, (char *)act + (row * inter + (size_t)i * (size_t)g->panel) * out);
        }
    return TRM_OK;
}
