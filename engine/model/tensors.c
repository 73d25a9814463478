/* tensors.c - see tensors.h. No state. */
#include "engine/model/tensors.h"

#include <string.h>

struct op_rope model_rope(const struct model_config *config) {
    const bool grid = config->pos_encodings == MODEL_POS_ROPE_2D, line = config->pos_encodings == MODEL_POS_ROPE;
    return (struct op_rope){.theta = grid || line ? config->rope_theta : 0.0,
                            .columns = grid ? config->side : 0,
                            .prefix = config->puzzle_emb_len};
}

struct op_reach model_reach(const struct model_config *config) {
    static const enum op_reach_kind kinds[] = {[MODEL_ATTENTION_ALL] = OP_REACH_ALL,
                                               [MODEL_ATTENTION_UNITS] = OP_REACH_UNITS,
                                               [MODEL_ATTENTION_NEAR] = OP_REACH_NEAR};
    return (struct op_reach){.kind = kinds[config->attention],
                             .side = config->side,
                             .prefix = config->puzzle_emb_len,
                             .radius = config->attention_radius};
}

size_t model_state_size(const struct model_config *config, const struct model_layout *layout) {
    return (size_t)layout->latents * (size_t)config->tokens * (size_t)config->hidden_size;
}

void model_state_reset(const struct model_tensors *tensors, float *state) {
    const size_t hidden = (size_t)tensors->config->hidden_size;
    for (int i = 0; i < tensors->layout->latents; i++) {
        const float *init = tensors->buffers + tensors->layout->tensors[tensors->layout->init[i]].offset;
        for (int t = 0; t < tensors->config->tokens; t++, state += hidden)
            memcpy(state, init, hidden * sizeof(float));
    }
}
