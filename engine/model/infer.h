/* infer.h - a thread's machine for solving: supervision steps of a few puzzles, nothing kept for a gradient.
 *
 * The recursion of runner.h and the blocks of net.h, arranged so that a core's L2 cache holds what it
 * works on (DESIGN section 3): tokens in blocks, weights in panels, gate and up joined panel by panel, token
 * mixing in slices of channels, attention in blocks of queries. Puzzles of a chunk share the trip of
 * each panel of weights into the cache and nothing else: their products are their own, so that a
 * puzzle's bits are the same alone and in company, and a lone puzzle pays for nobody. Owned by one
 * thread; many machines may share one infer_weights. */
#ifndef TRM_ENGINE_MODEL_INFER_H
#define TRM_ENGINE_MODEL_INFER_H

#include <stdint.h>

#include "engine/model/infer_weights.h"
#include "engine/model/profile.h"

typedef struct infer_machine infer_machine;

/* `weights` must outlive the machine. */
trm_status infer_machine_create(const struct infer_weights *weights, infer_machine **machine, trm_error *err);
void infer_machine_destroy(infer_machine *machine); /* NULL is fine */

/* tokens: [seq_len] inside the vocabulary; id: a row of the puzzle embedding; neither is checked here. */
struct infer_puzzle {
    const int32_t *tokens;
    int id;
    float *state; /* [latents, tokens, hidden], replaced by a step */
};

/* One supervision step of each of 1 .. weights->chunk puzzles. */
trm_status infer_step(infer_machine *machine, const struct infer_puzzle *puzzles, int count, trm_error *err);

/* Of puzzle `index` of the last step; valid until the next. */
const float *infer_logits(const infer_machine *machine, int index); /* [seq_len, vocab_size] */
const float *infer_q(const infer_machine *machine, int index);      /* halt, continue */

/* From now on adds to `profile`; NULL: no more. */
void infer_profile(infer_machine *machine, struct model_profile *profile);

#endif
