/* init.c - see init.h. Pure but for the caller's generator. */
#include "engine/train/init.h"

#include <math.h>

static const float Q_BIAS = -5.0f;

/* Standard deviation of a normal cut off at +-2: dividing by it restores the wanted one. */
static const double TRUNCATED_DEVIATION = 0.87962566103423978;

static void fill(struct data_rng *rng, float *values, size_t count, double deviation) {
    for (size_t i = 0; i < count; i++) {
        double x;
        do
            x = data_rng_normal(rng);
        while (fabs(x) > 2.0);
        values[i] = (float)(x * deviation / TRUNCATED_DEVIATION);
    }
}

void train_init_weights(const struct model_config *config, const struct model_layout *layout, struct data_rng *rng,
                        float *params, float *buffers) {
    for (int i = 0; i < layout->count; i++) {
        const struct model_tensor *t = &layout->tensors[i];
        const size_t count = (size_t)t->rows * (size_t)t->cols;
        if (t->kind == MODEL_BUFFER)
            fill(rng, buffers + t->offset, count, 1.0);
        if (t->kind != MODEL_PARAM || i == layout->q_weight)
            continue;
        if (i == layout->q_bias) {
            for (size_t k = 0; k < count; k++)
                params[t->offset + k] = Q_BIAS;
            continue;
        }
        const bool embedding = i == layout->embed_tokens || i == layout->embed_pos;
        fill(rng, params + t->offset, count, 1.0 / sqrt(embedding ? config->hidden_size : t->cols));
    }
}
