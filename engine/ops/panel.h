/* panel.h - a panel of a linear weight and the rows that it multiplies, as products want them: what linear.c
 * and gated.c share. With OP_INT8 a packed panel is followed by a scale and an offset for each of its
 * channels (int8.h), and rows are quantised. Packed panels are plain bytes; rows belong to one thread. */
#ifndef TRM_ENGINE_OPS_PANEL_H
#define TRM_ENGINE_OPS_PANEL_H

#include "engine/ops/int8.h"

/* Bytes of a packed panel of `channels` channels, a multiple of 64; `product` has it as its packed operand. */
size_t op_panel_size(const op_matmul *product, enum op_dtype dtype, int channels);

/* weight: [channels, in] f32. */
trm_status op_panel_pack(op_matmul *product, enum op_dtype dtype, const float *weight, int channels, int in,
                         void *packed, trm_error *err);

/* OP_INT8: the reader's view of sums [rows, channels], of the rows whose scales are given. */
struct op_int8_product op_panel_product(const op_matmul *product, const void *packed, int channels, const int32_t *sums,
                                        const float *row_scale);

/* Quantised rows. Zero-initialised: none. */
struct op_int8_rows {
    uint8_t *q;   /* [rows, n] */
    float *scale; /* [rows] */
};

trm_status op_int8_rows_create(size_t rows, size_t n, struct op_int8_rows *out, trm_error *err);
void op_int8_rows_destroy(struct op_int8_rows *rows);

#endif
