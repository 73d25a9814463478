/* optim.h - updates of weights from gradients, over flat arrays.
 *
 * Each function works on elements [begin, end) of arrays that share one layout, and touches nothing
 * else: a trainer may give disjoint ranges to different threads. Elements are independent, but their
 * last bit may depend on where a range begins (vector body or scalar tail): keep the split fixed.
 * Padding (gradient, weight and moments zero) stays zero. */
#ifndef TRM_ENGINE_TRAIN_OPTIM_H
#define TRM_ENGINE_TRAIN_OPTIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum train_optim_kind { TRAIN_ADAM_ATAN2, TRAIN_ADAMW, TRAIN_MUON };

struct train_optim {
    enum train_optim_kind kind;
    double lr;           /* full learning rate */
    double weight_decay; /* decoupled, applied first: p *= 1 - lr * weight_decay */
    double beta1, beta2; /* in [0, 1) */
    double scale;        /* adam_atan2 only: multiplies the step, not the decay. 1 is the original; with 4/pi a
                            steady gradient (m = sqrt(v), atan2 = pi/4) moves a weight by lr, as in Adam */
    double eps;          /* adamw only */
    double momentum;     /* muon only: of the matrices of the layers; see muon.h */
};

/* Step t = 1, 2, ... at the rate lr = optim->lr * factor (factor from train_schedule_factor()).
 * `moment1` and `moment2` start at zero. All kinds:
 *     m += (1 - beta1) * (g - m);  v += (1 - beta2) * (g*g - v)
 * adam_atan2 (imoneoi/adam-atan2 0.0.3, after Everett et al. 2024, "Scaling Exponents Across Parameterizations
 * and Optimizers"), no epsilon, atan2(0, 0) = 0:
 *     p -= lr * scale / (1 - beta1^t) * atan2(m, sqrt(v) / sqrt(1 - beta2^t))
 * adamw (Loshchilov and Hutter 2019):
 *     p -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
 * muon: what Muon leaves to Adam steps as adam_atan2.
 * Arithmetic is f32; the arc tangent is within 4e-7 of the exact one, relatively. */
void train_optim_step(const struct train_optim *optim, int64_t t, double factor, float *params, const float *grads,
                      float *moment1, float *moment2, size_t begin, size_t end);

/* The arc tangent of train_optim_step(): atan2(y, x) for x >= 0, and 0 for atan2(0, 0). */
float train_atan2(float y, float x);

/* Sign descent for the puzzle embedding, one step at the rate lr: gradients of rows with the same id are summed
 * (in row order, f32), then once per distinct id: w = w * (1 - lr * weight_decay) - lr * sign(sum), sign(0) = 0.
 * Other rows of `table` are untouched. table [identifiers, ndim]; ids [rows], each a row of the table;
 * grads [rows, ndim], destroyed: the sums are made in it. */
void train_sign_step(double lr, double weight_decay, float *table, int ndim, float *grads, const int32_t *ids,
                     int rows);

/* The averaging rate at update t = 1, 2, ...: `rate`, or with `ramp` min(rate, (1 + t) / (10 + t)), so that an
 * early average does not hold on to the initial weights. */
double train_ema_rate(double rate, bool ramp, int64_t t);

/* average = (1 - rate) * params + rate * average. */
void train_ema_step(float *average, const float *params, double rate, size_t begin, size_t end);

/* Sum of squares of grads: the square of their global norm, in double, the same for the same range.
 * Not finite if any gradient is not. */
double train_sum_squares(const float *grads, size_t begin, size_t end);

#endif
