/* optim.c - the optimizers as plain loops that the compiler vectorises. Owns no data: each call works on
 * the caller's range of the caller's arrays.
 *
 * A small model updates its weights tens of times a second, so the arc tangent is a polynomial without
 * branches, and the loops are compiled for several instruction sets and chosen when the program is loaded. */
#include "engine/train/optim.h"

#include <math.h>

#if defined __x86_64__ && !defined __SANITIZE_THREAD__
#define WIDE_LOOPS __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define WIDE_LOOPS
#endif

/* atan2(y, x) for x >= 0. The smaller of |y| and x over the larger is r in [0, 1]; atan(r) is r + r^3 * P(r^2), P the
 * minimax polynomial of the relative error (1.1e-7; Remez exchange), and atan(1/r) = pi/2 - atan(r). */
static inline float fast_atan2(float y, float x) {
    float a = fabsf(y);
    float low = a > x ? x : a, high = a > x ? a : x;
    float r = low / (high == 0.0f ? 1.0f : high);
    float z = r * r;
    float p = -0.004822533069f;
    p = p * z + 0.02473405883f;
    p = p * z - 0.06020312333f;
    p = p * z + 0.09968472577f;
    p = p * z - 0.1404132755f;
    p = p * z + 0.1997421405f;
    p = p * z - 0.3333239159f;
    float angle = r + r * (z * p);
    return copysignf(a > x ? (float)M_PI_2 - angle : angle, y);
}

float train_atan2(float y, float x) {
    return fast_atan2(y, x);
}

/* What is the same for every element of a step. */
struct step_factors {
    float keep;         /* 1 - lr * weight_decay */
    float rate;         /* lr / (1 - beta1^t), times the scale of adam_atan2 */
    float gain1, gain2; /* 1 - beta1, 1 - beta2 */
    float root;         /* 1 / sqrt(1 - beta2^t) */
    float eps;
};

WIDE_LOOPS
static void adam_atan2(struct step_factors s, float *restrict p, const float *restrict g, float *restrict m,
                       float *restrict v, size_t count) {
    for (size_t i = 0; i < count; i++) {
        m[i] += s.gain1 * (g[i] - m[i]);
        v[i] += s.gain2 * (g[i] * g[i] - v[i]);
        p[i] = p[i] * s.keep - s.rate * fast_atan2(m[i], sqrtf(v[i]) * s.root);
    }
}

WIDE_LOOPS
static void adamw(struct step_factors s, float *restrict p, const float *restrict g, float *restrict m,
                  float *restrict v, size_t count) {
    for (size_t i = 0; i < count; i++) {
        m[i] += s.gain1 * (g[i] - m[i]);
        v[i] += s.gain2 * (g[i] * g[i] - v[i]);
        p[i] = p[i] * s.keep - s.rate * (m[i] / (sqrtf(v[i]) * s.root + s.eps));
    }
}

void train_optim_step(const struct train_optim *optim, int64_t t, double factor, float *params, const float *grads,
                      float *moment1, float *moment2, size_t begin, size_t end) {
    double lr = optim->lr * factor;
    double step_scale = optim->kind == TRAIN_ADAMW ? 1.0 : optim->scale;
    struct step_factors s = {
        .keep = (float)(1.0 - lr * optim->weight_decay),
        .rate = (float)(lr * step_scale / (1.0 - pow(optim->beta1, (double)t))),
        .gain1 = (float)(1.0 - optim->beta1),
        .gain2 = (float)(1.0 - optim->beta2),
        .root = (float)(1.0 / sqrt(1.0 - pow(optim->beta2, (double)t))),
        .eps = (float)optim->eps,
    };
    if (optim->kind == TRAIN_ADAMW)
        adamw(s, params + begin, grads + begin, moment1 + begin, moment2 + begin, end - begin);
    else
        adam_atan2(s, params + begin, grads + begin, moment1 + begin, moment2 + begin, end - begin);
}

static float sign(float x) {
    return (float)((x > 0.0f) - (x < 0.0f));
}

void train_sign_step(double lr, double weight_decay, float *table, int ndim, float *grads, const int32_t *ids,
                     int rows) {
    float keep = (float)(1.0 - lr * weight_decay), rate = (float)lr;
    for (int row = 0; row < rows; row++) {
        int first = 0;
        while (ids[first] != ids[row])
            first++;
        if (first < row)
            continue;                            /* summed with the first row of its id */
        float *sum = grads + (size_t)row * ndim; /* [ndim] */
        for (int other = row + 1; other < rows; other++) {
            if (ids[other] != ids[row])
                continue;
            const float *more = grads + (size_t)other * ndim; /* [ndim] */
            for (int i = 0; i < ndim; i++)
                sum[i] += more[i];
        }
        float *weights = table + (size_t)ids[row] * ndim; /* [ndim] */
        for (int i = 0; i < ndim; i++)
            weights[i] = weights[i] * keep - rate * sign(sum[i]);
    }
}

double train_ema_rate(double rate, bool ramp, int64_t t) {
    return ramp ? fmin(rate, (1.0 + (double)t) / (10.0 + (double)t)) : rate;
}

WIDE_LOOPS
void train_ema_step(float *average, const float *params, double rate, size_t begin, size_t end) {
    float old = (float)rate, new = (float)(1.0 - rate);
    for (size_t i = begin; i < end; i++)
        average[i] = new *params[i] + old *average[i];
}

WIDE_LOOPS
double train_sum_squares(const float *grads, size_t begin, size_t end) {
    enum { LANES = 16 };
    double lane[LANES] = {0}; /* independent sums: a single one could not be vectorised */
    size_t i = begin;
    for (; i + LANES <= end; i += LANES)
        for (int j = 0; j < LANES; j++)
            lane[j] += (double)grads[i + j] * grads[i + j];
    double sum = 0.0;
    for (; i < end; i++)
        sum += (double)grads[i] * grads[i];
    for (int j = 0; j < LANES; j++)
        sum += lane[j];
    return sum;
}
