/* runner.h - a thread's machine for training the recursion on chunks of puzzles (infer.h: for solving).
 *
 * A runner owns latents, records and scratch memory for one chunk. One supervision step is:
 *
 *     model_runner_set_input(r, tokens, ids);     the puzzles
 *     model_runner_load(r, i, state) ...          each puzzle's latents
 *     model_runner_step(r, record);               the program, then the heads
 *     model_runner_logits(r), model_runner_q(r);  what came out
 *     model_runner_backward(r, dlogits, dq, ...)  if recorded: gradients of this step
 *     model_runner_store(r, i, state) ...         the latents for the next step (detached)
 *
 * Owned by one thread; many runners may share one model_weights. */
#ifndef TRM_ENGINE_MODEL_RUNNER_H
#define TRM_ENGINE_MODEL_RUNNER_H

#include <stdint.h>

#include "engine/model/weights.h"

typedef struct model_runner model_runner;

/* A runner for weights->chunk puzzles. `weights` must outlive it. */
trm_status model_runner_create(const struct model_weights *weights, model_runner **runner, trm_error *err);
void model_runner_destroy(model_runner *runner); /* NULL is fine */

/* Runs `H_cycles` of `L_cycles` from now on, neither more than the configuration's, which are what a runner starts
 * with. `last_updates`: gradient flows through the last update of each network's latent alone, the last two of the
 * step, and not through the whole last cycle (the "1-step gradient" of hrm, which never has more). */
trm_status model_runner_recur(model_runner *runner, int H_cycles, int L_cycles, bool last_updates, trm_error *err);

/* Computes the input embeddings. tokens: [chunk, seq_len] inside the vocabulary; ids: [chunk] rows
 * of the puzzle embedding. Neither is checked here. */
void model_runner_set_input(model_runner *runner, const int32_t *tokens, const int32_t *ids);

/* Puzzle `index` of the chunk: latents in, latents out; state [latents, tokens, hidden]. */
void model_runner_load(model_runner *runner, int index, const float *state);
void model_runner_store(const model_runner *runner, int index, float *state);

/* Runs the program once and the heads on its output. */
trm_status model_runner_step(model_runner *runner, bool record, trm_error *err);

/* Of the last step; valid until the next. Puzzle i's logits are rows of [seq_len, vocab]. */
const float *model_runner_logits(const model_runner *runner, int index); /* [seq_len, vocab_size] */
const float *model_runner_q(const model_runner *runner, int index);      /* halt, continue */

/* Gradients of the last recorded step, from those of the logits and of q of every puzzle, which
 * the caller writes into model_runner_dlogits() and model_runner_dq() first. Adds to `grads`
 * [layout->param_size]; stores (not adds) the puzzle embedding rows' gradients in `dpuzzle`
 * [chunk, puzzle_emb_ndim] (may be NULL without puzzle embedding). */
float *model_runner_dlogits(model_runner *runner, int index); /* [seq_len, vocab_size] */
float *model_runner_dq(model_runner *runner, int index);      /* halt, continue */
trm_status model_runner_backward(model_runner *runner, float *grads, float *dpuzzle, trm_error *err);

#endif
