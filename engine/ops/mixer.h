/* mixer.h - the gated MLP over the tokens of one puzzle, for inference:
 *
 *     mixed = Wd (silu(Wg x) * (Wu x))        x, mixed [tokens, hidden]
 *
 * Every channel of x is mixed for itself, so x is cut into slices of channels: the weights stay in L2
 * from slice to slice, and what one slice needs in between fits beside them. No transposes: x and the
 * activations are the right operands as they lie. The weights are the original's [2 inter, tokens], gate
 * above up, and [tokens, inter] (golden README section 3). Owned by one thread, as its context is;
 * packed weights are plain bytes. */
#ifndef TRM_ENGINE_OPS_MIXER_H
#define TRM_ENGINE_OPS_MIXER_H

#include "engine/ops/matmul.h"

struct op_mixer_shape {
    int tokens, inter, hidden;
    enum op_dtype dtype; /* of the products */
};

typedef struct op_mixer op_mixer;

trm_status op_mixer_create(op_context *context, const struct op_mixer_shape *shape, op_mixer **mixer, trm_error *err);
void op_mixer_destroy(op_mixer *mixer); /* NULL is fine */

size_t op_mixer_packed_size(const op_mixer *mixer);

/* gate_up: [2 inter, tokens] f32; down: [tokens, inter] f32. */
void op_mixer_pack(const op_mixer *mixer, const float *gate_up, const float *down, void *packed);

int op_mixer_slices(const op_mixer *mixer);
int op_mixer_slice(const op_mixer *mixer); /* channels in one */

/* One slice. x: f32, its rows `hidden` apart; mixed: f32 [tokens, slice]. */
trm_status op_mixer_run(op_mixer *mixer, const float *x, const void *packed, float *mixed, trm_error *err);

#endif
