/* int8.h - what happens around products of 8-bit operands (OP_INT8 of matmul.h): quantising what goes in,
 * reading the int32 sums that come out.
 *
 * Quantisation is symmetric and dynamic: a row of the left operand, or a column of the right one, has
 * one f32 scale, its largest |x| / 127; q = x / scale to the nearest integer, ties to even. Values are
 * never clipped, so nothing is calibrated.
 *
 * As in kernels.h there are two tables: `reference`, plain C, and `vector`. Both quantise to the same
 * bits. Not-a-number and infinite inputs give some 8-bit value. Pure functions: any thread. */
#ifndef TRM_ENGINE_OPS_INT8_H
#define TRM_ENGINE_OPS_INT8_H

#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"
#include "engine/ops/matmul.h"

/* A quantised right operand [rows, n], or [n, rows] where it is stored transposed. */
struct op_int8_columns {
    int8_t *q;
    float *scale;    /* [n] */
    int32_t *offset; /* [n] */
};

/* A product [rows, n] as its reader sees it: element i of row r is worth
 *     (sums[r * stride + i] - offset[i]) * row_scale[r] * col_scale[i]. */
struct op_int8_product {
    const int32_t *sums;
    size_t stride;
    const float *row_scale; /* [rows] of the left operand */
    const float *col_scale; /* [n] of the right operand */
    const int32_t *offset;  /* [n] OP_INT8_ZERO times the sum of the right operand's column */
};

/* The same product from column, or row, `count` on. */
static inline struct op_int8_product op_int8_from_column(const struct op_int8_product *p, size_t count) {
    return (struct op_int8_product){p->sums + count, p->stride, p->row_scale, p->col_scale + count, p->offset + count};
}

static inline struct op_int8_product op_int8_from_row(const struct op_int8_product *p, size_t count) {
    return (struct op_int8_product){p->sums + count * p->stride, p->stride, p->row_scale + count, p->col_scale,
                                    p->offset};
}

struct op_int8_kernels {
    /* Left operands: x, q [rows, n], OP_INT8_ZERO added to q; scale [rows]. */
    void (*quantise_rows)(const float *x, int rows, int n, uint8_t *q, float *scale);

    /* Right operands: x [rows, n], rows `stride` apart; q [rows, n], scale [n], offset [n]. */
    void (*quantise_cols)(const float *x, size_t stride, int rows, int n, int8_t *q, float *scale, int32_t *offset);

    /* Right operands stored transposed: x [n, length], rows `stride` apart, each a column of the operand;
     * q [n, length], scale [n], offset [n]. */
    void (*quantise_transposed)(const float *x, size_t stride, int n, int length, int8_t *q, float *scale,
                                int32_t *offset);

    /* act = silu(gate) * up for each of `rows` rows of n; rows of act lie `act_stride` apart. */
    void (*swiglu)(const struct op_int8_product *gate, const struct op_int8_product *up, int rows, int n, float *act,
                   size_t act_stride);

    /* The first part of softmax over each row of the product's values, as kernels.h has it, for a product that
     * follows: p = 255 exp(scale * (value - largest of the row)) to the nearest integer, [rows, n], a left operand
     * that has no zero point; inverse[r] = 1 / sum of the row's p, so that what the weights lose in rounding does
     * not change their sum, 1. A weight below 1/510 of its row's largest vanishes. room: [n], overwritten. */
    void (*exponentials)(const struct op_int8_product *product, int rows, int n, float scale, uint8_t *p,
                         float *inverse, float *room);

    /* out = the product's values; rows of out lie `out_stride` apart. */
    void (*to_f32)(const struct op_int8_product *product, int rows, int n, float *out, size_t out_stride);
};

const struct op_int8_kernels *op_int8_kernels(enum trm_backend backend);

/* The two tables; use op_int8_kernels(). */
extern const struct op_int8_kernels op_int8_kernels_reference, op_int8_kernels_vector;

#endif
