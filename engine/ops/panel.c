/* panel.c - see panel.h. */
#include "engine/ops/panel.h"

#include <stdlib.h>

enum { ALIGNMENT = 64 };

static size_t aligned(size_t bytes) {
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* Where the scales [channels] of a packed panel begin; its offsets [channels] follow. */
static size_t scales_at(const op_matmul *product) {
    return aligned(op_matmul_packed_size(product));
}

size_t op_panel_size(const op_matmul *product, enum op_dtype dtype, int channels) {
    const size_t extra = dtype == OP_INT8 ? (size_t)channels * (sizeof(float) + sizeof(int32_t)) : 0;
    return aligned(scales_at(product) + extra);
}

static trm_status pack_int8(op_matmul *product, const float *weight, int channels, int in, void *packed,
                            trm_error *err) {
    const size_t size = (size_t)channels * (size_t)in;
    float *scale = (void *)((char *)packed + scales_at(product));
    int8_t *q = malloc(size);
    if (!q)
        return trm_fail_memory(err, size);
    op_int8_kernels_reference.quantise_transposed(weight, (size_t)in, channels, in, q, scale,
                                                  (void *)(scale + channels));
    trm_status status = op_matmul_pack(product, q, packed, err);
    free(q);
    return status;
}

trm_status op_panel_pack(op_matmul *product, enum op_dtype dtype, const float *weight, int channels, int in,
                         void *packed, trm_error *err) {
    return dtype == OP_INT8 ? pack_int8(product, weight, channels, in, packed, err)
                            : op_matmul_pack(product, weight, packed, err);
}

struct op_int8_product op_panel_product(const op_matmul *product, const void *packed, int channels, const int32_t *sums,
                                        const float *row_scale) {
    const float *scale = (const void *)((const char *)packed + scales_at(product));
    return (struct op_int8_product){.sums = sums,
                                    .stride = (size_t)channels,
                                    .row_scale = row_scale,
                                    .col_scale = scale,
                                    .offset = (const void *)(scale + channels)};
}

trm_status op_int8_rows_create(size_t rows, size_t n, struct op_int8_rows *out, trm_error *err) {
    *out = (struct op_int8_rows){0};
    if (posix_memalign((void **)&out->q, ALIGNMENT, rows * n) != 0 ||
        posix_memalign((void **)&out->scale, ALIGNMENT, rows * sizeof(float)) != 0)
        return trm_fail_memory(err, rows * n);
    return TRM_OK;
}

void op_int8_rows_destroy(struct op_int8_rows *rows) {
    free(rows->q);
    free(rows->scale);
}
