/* kernels.h - everything a network does between its matrix products, forward and backward.
 *
 * Two tables of the same functions: `reference`, plain C one can read and trust, and `vector`, the
 * same loops shaped for SIMD and compiled for AVX-512, AVX2 and the baseline, chosen at run time.
 * All functions are pure: any thread.
 *
 * "Operand" arrays feed matrix products and have the product's dtype (f32 or bf16); everything
 * else is f32. Optional bf16 copies (`*16`) may be NULL. Outputs may not overlap inputs unless said. */
#ifndef TRM_ENGINE_OPS_KERNELS_H
#define TRM_ENGINE_OPS_KERNELS_H

#include <stddef.h>

#include "engine/engine.h"
#include "engine/ops/bf16.h"
#include "engine/ops/matmul.h"
#include "engine/ops/reach.h"

enum { OP_MAX_ADDENDS = 8 };

struct op_kernels {
    /* out[i] = sum of addends[0..count-1][i]; `out` may be one of the addends. */
    void (*sum)(const float *const *addends, int count, size_t n, float *out, op_bf16 *out16);

    /* y += x */
    void (*accumulate)(const float *x, size_t n, float *y);

    void (*to_bf16)(const float *x, size_t n, op_bf16 *out);

    /* Post-norm residual: s = x + d; rinv = 1 / sqrt(mean(s^2) + eps); y = s * rinv, in f32.
     * Rows: the mean is over each row of [rows, n]; rinv [rows].
     * Cols: over each column of [rows, n] (the norm of the token-mixing half, over the tokens of
     * one puzzle); rinv [n]; rows of x, y and y16 lie `stride` apart, those of d n. */
    void (*rms_rows)(const float *x, const float *d, int rows, int n, float eps, float *y, float *rinv, op_bf16 *y16);
    void (*rms_cols)(const float *x, const float *d, int rows, int n, size_t stride, float eps, float *y, float *rinv,
                     op_bf16 *y16);

    /* ds = rinv * (dy - y * mean(dy * y)): the gradient of x and of d alike. ds may be dy. */
    void (*rms_rows_backward)(const float *y, const float *rinv, const float *dy, int rows, int n, float *ds,
                              op_bf16 *ds16);
    void (*rms_cols_backward)(const float *y, const float *rinv, const float *dy, int rows, int n, float *ds,
                              op_bf16 *ds16);

    /* act = silu(gate) * up, an operand. For each of `rows` rows: gate and up are n long, rows of
     * gate and up lie `stride` apart, rows of act `act_stride` apart. */
    void (*swiglu)(const float *gate, const float *up, int rows, size_t n, size_t stride, enum op_dtype type, void *act,
                   size_t act_stride);

    /* Operands dgate, dup (rows `stride` apart) and act (rows n apart) from dact (rows n apart). */
    void (*swiglu_backward)(const float *gate, const float *up, const float *dact, int rows, size_t n, size_t stride,
                            enum op_dtype type, void *dgate, void *dup, void *act);

    /* p = softmax(scale * scores) over each row of [rows, n]; p is an operand and may be scores when f32. */
    void (*softmax)(const float *scores, int rows, int n, float scale, enum op_dtype type, void *p);

    /* ds = scale * p * (dp - sum(dp * p)); p and ds are operands; ds may be dp when f32. */
    void (*softmax_backward)(const void *p, const float *dp, int rows, int n, float scale, enum op_dtype type,
                             void *ds);

    /* The same in two parts, so that the division waits for the product that follows:
     * p = exp(scale * (scores - largest of the row)), inverse[r] = 1 / sum of the row. p may be scores when f32. */
    void (*exponentials)(const float *scores, int rows, int n, float scale, enum op_dtype type, void *p,
                         float *inverse);

    /* out[r] = factor[r] * x[r], an operand; rows of x lie n apart, rows of out `stride` apart. */
    void (*scale_rows)(const float *x, const float *factor, int rows, int n, enum op_dtype type, void *out,
                       size_t stride);

    /* Rotary positions, half-split: of each of `heads` heads of [tokens, heads * dim] (rows `stride`
     * apart), x = x * cos + rotate_half(x) * sin, in place. cos and sin are [tokens, dim / 2];
     * sign -1 rotates back, which is the backward pass. */
    void (*rope)(float *x, int tokens, int heads, int dim, size_t stride, const float *cosine, const float *sine,
                 float sign);

    /* Attention of every token to those that it sees (reach.h). qkv: [tokens, 3 * heads * dim], all q heads, all k
     * heads, all v heads; out: [tokens, heads * dim]; room: [op_reach_room(table, dim)],
     * whatever it holds. */
    void (*reach)(const float *qkv, const struct op_reach_table *table, int heads, int dim, float *room, float *out);

    /* dqkv [tokens, 3 * heads * dim] += the gradient from dout [tokens, heads * dim]. */
    void (*reach_backward)(const float *qkv, const float *dout, const struct op_reach_table *table, int heads, int dim,
                           float *room, float *dqkv);
};

const struct op_kernels *op_kernels(enum trm_backend backend);

/* The two tables; use op_kernels(). */
extern const struct op_kernels op_kernels_reference, op_kernels_vector;

#endif
