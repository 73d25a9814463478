/* muon.h - Muon: steps of a matrix whose singular values are all made about equal (Jordan et al. 2024), scaled as
 * Liu et al. 2025, "Muon is Scalable for LLM Training", so that a rate which suits Adam suits it too.
 *
 * For the matrices of the layers alone; embeddings and heads before them in the layout go on with Adam. A fused
 * weight (gate and up; q, k and v) is as many matrices as it holds. The matrices are dealt out to a fixed number of
 * shares, each with working memory of its own: different shares may be stepped by different threads at once, and the
 * result does not depend on which. */
#ifndef TRM_ENGINE_TRAIN_MUON_H
#define TRM_ENGINE_TRAIN_MUON_H

#include "engine/model/layout.h"
#include "engine/ops/matmul.h"
#include "engine/train/optim.h"

typedef struct train_muon train_muon;

/* `dtype`, OP_F32 or OP_BF16, is that of the operands of the iteration's products. */
trm_status train_muon_create(const struct model_layout *layout, enum trm_backend backend, enum op_dtype dtype,
                             int shares, train_muon **muon, trm_error *err);
void train_muon_destroy(train_muon *muon); /* NULL is fine */

/* The first element of the flat arrays that belongs to Muon, up to their end. */
size_t train_muon_begin(const struct model_layout *layout);

/* One step of the matrices of `share`, at the rate lr = optim->lr * factor, on the flat arrays of the layout:
 *     m = momentum * m + g;  u = g + momentum * m  (Nesterov);  p -= lr * weight_decay * p
 *     p -= lr * 0.2 * sqrt(max(rows, cols)) * O,  O = about U V' of u = U S V', singular values 0.7 to 1.2
 * O comes of five steps of X <- a X + b (X X') X + c (X X')^2 X from u over its Frobenius norm. */
trm_status train_muon_step(train_muon *muon, int share, const struct train_optim *optim, double factor, float *params,
                           const float *grads, float *moment, trm_error *err);

#endif
