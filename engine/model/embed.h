/* embed.h - what lies around the recursion: the input embedding before it and the two heads after
 * it, forward and backward (golden README section 3). Pure functions over the caller's arrays. */
#ifndef TRM_ENGINE_MODEL_EMBED_H
#define TRM_ENGINE_MODEL_EMBED_H

#include <stdint.h>

#include "engine/model/tensors.h"

/* e [tokens, hidden] of one puzzle: sqrt(hidden) times the puzzle tokens of row `id`, then the
 * embeddings of `input` [seq_len]; with learned positions 0.707106781 * (that + position). */
void embed_forward(const struct model_tensors *w, const int32_t *input, int id, float *e);

/* From de [tokens, hidden]: adds to `grads`, stores the puzzle row's gradient in `dpuzzle` [puzzle_emb_ndim]. */
void embed_backward(const struct model_tensors *w, const int32_t *input, const float *de, float *grads, float *dpuzzle);

/* q [2] = q_head(z) of one puzzle; z [hidden] is position 0. */
void embed_q_forward(const struct model_tensors *w, const float *z, float *q);

/* Adds to dz [hidden] and to `grads`. */
void embed_q_backward(const struct model_tensors *w, const float *z, const float *dq, float *dz, float *grads);

#endif
