/* tensors.h - a model's parameters as plain arrays, and the latents that they start from.
 * Borrowed pointers; reading is for any thread. */
#ifndef TRM_ENGINE_MODEL_TENSORS_H
#define TRM_ENGINE_MODEL_TENSORS_H

#include "engine/model/config.h"
#include "engine/model/layout.h"
#include "engine/ops/reach.h"
#include "engine/ops/rope.h"

struct model_tensors {
    const struct model_config *config;
    const struct model_layout *layout;
    const float *params;     /* [layout->param_size] */
    const float *buffers;    /* [layout->buffer_size] */
    const float *puzzle_emb; /* [num_puzzle_identifiers, puzzle_emb_ndim] or NULL */
};

/* The positions of its attention. */
struct op_rope model_rope(const struct model_config *config);

/* Which tokens its attention sees. */
struct op_reach model_reach(const struct model_config *config);

/* The latents of one puzzle, in elements: latents * tokens * hidden. */
size_t model_state_size(const struct model_config *config, const struct model_layout *layout);

/* Fills `state` [latents, tokens, hidden] with the initial vectors. */
void model_state_reset(const struct model_tensors *tensors, float *state);

#endif
