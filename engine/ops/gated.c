/* gated.c - see gated.h. Everything here belongs to the thread of the context. */
#include "engine/ops/gated.h"

#include <stdlib.h>
#include <string.h>

#include "engine/ops/kernels.h"

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
    float *both;            /* [block, 2 panel] */
    float *gather;          /* [2 panel, in] for packing */
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
    if (status == TRM_OK && (posix_memalign((void **)&g->both, ALIGNMENT, wide * (size_t)shape->rows.block) != 0 ||
                             posix_memalign((void **)&g->gather, ALIGNMENT, wide * (size_t)shape->in) != 0))
        status = trm_fail_memory(err, wide * (size_t)shape->in);
    if (status != TRM_OK) {
        op_gated_destroy(g);
        return status;
    }
    g->panel_bytes = (op_matmul_packed_size(g->block) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
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
        status = op_matmul_pack(g->block, g->gather, (char *)packed + (size_t)i * g->panel_bytes, err);
    }
    return status;
}

trm_status op_gated_run(op_gated *g, int first, int count, const void *x, const void *packed, void *act,
                        trm_error *err) {
    const struct op_gated_shape *s = &g->shape;
    const size_t element = op_operand_size(s->dtype), panel = (size_t)g->panel, inter = (size_t)s->inter;
    const size_t start = op_rows_at(&s->rows, first);
    for (int i = 0; i < g->panels; i++)
        for (int block = first; block < first + count; block++) {
            const size_t row = op_rows_at(&s->rows, block) - start;
            const int rows = op_rows_in(&s->rows, block);
            trm_status status = op_matmul_run(rows == s->rows.block ? g->block : g->end,
                                              (const char *)x + row * (size_t)s->in * element,
                                              (const char *)packed + (size_t)i * g->panel_bytes, g->both, err);
            if (status != TRM_OK)
                return status;
            g->kernels->swiglu(g->both, g->both + panel, rows, panel, 2 * panel, s->dtype,
                               (char *)act + (row * inter + (size_t)i * panel) * element, inter);
        }
    return TRM_OK;
}
