/* embed.c - see embed.h. Small loops: a thousandth of a step's work. No state. */
#include "engine/model/embed.h"

#include <math.h>
#include <string.h>

static const float POSITION_SCALE = 0.707106781f;

static const float *param(const struct model_tensors *w, int tensor) {
    return w->params + w->layout->tensors[tensor].offset;
}

/* The factor between an embedding and what enters the network. */
static float input_scale(const struct model_tensors *w) {
    float scale = sqrtf((float)w->config->hidden_size);
    return w->config->pos_encodings == MODEL_POS_LEARNED ? scale * POSITION_SCALE : scale;
}

void embed_forward(const struct model_tensors *w, const int32_t *input, int id, float *e) {
    const struct model_config *c = w->config;
    const size_t hidden = (size_t)c->hidden_size, prefix = (size_t)c->puzzle_emb_len * hidden;
    const size_t ndim = (size_t)c->puzzle_emb_ndim;
    const float scale = input_scale(w);

    memset(e, 0, prefix * sizeof(float)); /* the puzzle vector is padded with zeros to whole tokens */
    if (ndim > 0)
        memcpy(e, w->puzzle_emb + (size_t)id * ndim, ndim * sizeof(float));
    for (int t = 0; t < c->seq_len; t++)
        memcpy(e + prefix + (size_t)t * hidden, param(w, w->layout->embed_tokens) + (size_t)input[t] * hidden,
               hidden * sizeof(float));

    const size_t n = (size_t)c->tokens * hidden;
    if (c->pos_encodings == MODEL_POS_LEARNED) {
        const float *position = param(w, w->layout->embed_pos);
        for (size_t i = 0; i < n; i++)
            e[i] = scale * (e[i] + position[i]);
    } else {
        for (size_t i = 0; i < n; i++)
            e[i] *= scale;
    }
}

void embed_backward(const struct model_tensors *w, const int32_t *input, const float *de, float *grads,
                    float *dpuzzle) {
    const struct model_config *c = w->config;
    const size_t hidden = (size_t)c->hidden_size, prefix = (size_t)c->puzzle_emb_len * hidden;
    const float scale = input_scale(w);

    for (int i = 0; i < c->puzzle_emb_ndim; i++)
        dpuzzle[i] = scale * de[i];
    float *dtokens = grads + w->layout->tensors[w->layout->embed_tokens].offset;
    for (int t = 0; t < c->seq_len; t++) {
        float *row = dtokens + (size_t)input[t] * hidden;
        for (size_t i = 0; i < hidden; i++)
            row[i] += scale * de[prefix + (size_t)t * hidden + i];
    }
    if (c->pos_encodings == MODEL_POS_LEARNED) {
        float *dposition = grads + w->layout->tensors[w->layout->embed_pos].offset;
        for (size_t i = 0; i < (size_t)c->tokens * hidden; i++)
            dposition[i] += scale * de[i];
    }
}

void embed_q_forward(const struct model_tensors *w, const float *z, float *q) {
    const int hidden = w->config->hidden_size;
    const float *weight = param(w, w->layout->q_weight), *bias = param(w, w->layout->q_bias);
    for (int k = 0; k < 2; k++) {
        double sum = 0.0;
        for (int i = 0; i < hidden; i++)
            sum += (double)z[i] * (double)weight[k * hidden + i];
        q[k] = (float)sum + bias[k];
    }
}

void embed_q_backward(const struct model_tensors *w, const float *z, const float *dq, float *dz, float *grads) {
    const int hidden = w->config->hidden_size;
    const float *weight = param(w, w->layout->q_weight);
    float *dweight = grads + w->layout->tensors[w->layout->q_weight].offset;
    float *dbias = grads + w->layout->tensors[w->layout->q_bias].offset;
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < hidden; i++) {
            dz[i] += dq[k] * weight[k * hidden + i];
            dweight[k * hidden + i] += dq[k] * z[i];
        }
        dbias[k] += dq[k];
    }
}
