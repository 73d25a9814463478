/* checkpoint.h - a model's weights and what is known about them, as one safetensors file.
 *
 * Tensors under the original's names; metadata: "config" (model_config as JSON), "puzzle"
 * ("sudoku", "maze", "arc"; optional), "halt_threshold" (a number; optional), "provenance" (JSON: command, data, steps,
 * hours, accuracy; optional). Unknown tensors and keys are ignored. An open checkpoint is immutable: any thread. */
#ifndef TRM_ENGINE_MODEL_CHECKPOINT_H
#define TRM_ENGINE_MODEL_CHECKPOINT_H

#include <jansson.h>

#include "engine/model/config.h"
#include "engine/model/layout.h"
#include "engine/model/safetensors.h"

typedef struct model_checkpoint model_checkpoint;

/* Maps `path`, checks that every tensor of the configuration is there with its shape and a float
 * dtype, and copies parameters and buffers to f32 (the puzzle embedding stays in the mapping when
 * it is F32, and is converted otherwise). TRM_FORMAT names the tensor or member at fault; copied
 * values must be finite (the mapped embedding is not read through). Errors else as st_open(). */
trm_status model_checkpoint_open(const char *path, model_checkpoint **checkpoint, trm_error *err);
void model_checkpoint_close(model_checkpoint *checkpoint);

const struct model_config *model_checkpoint_config(const model_checkpoint *checkpoint);
const struct model_layout *model_checkpoint_layout(const model_checkpoint *checkpoint);
/* The arrays start at a multiple of 64 bytes, the mapped puzzle embedding at one of 4; padding is zero. */
const float *model_checkpoint_params(const model_checkpoint *checkpoint);     /* [layout->param_size] */
const float *model_checkpoint_buffers(const model_checkpoint *checkpoint);    /* [layout->buffer_size] */
const float *model_checkpoint_puzzle_emb(const model_checkpoint *checkpoint); /* [identifiers, ndim] or NULL */
const st_file *model_checkpoint_file(const model_checkpoint *checkpoint);     /* for further metadata */

/* The logit of the halting head above which its word is good enough, as whoever trained it measured: metadata
 * "halt_threshold", 0 if there is none. TRM_FORMAT unless that is a number from -100 to 100. */
trm_status model_checkpoint_halt_threshold(const model_checkpoint *checkpoint, float *threshold, trm_error *err);

/* Adds the model's tensors and "config" metadata to `writer`; the caller adds the rest and writes. `puzzle_emb` may be
 * NULL when the model has none. The arrays must live until st_write(). */
trm_status model_checkpoint_add(st_writer *writer, const struct model_config *config, const struct model_layout *layout,
                                const float *params, const float *buffers, const float *puzzle_emb, trm_error *err);

/* Adds what else is known about the model. `puzzle` may be NULL. Takes the reference to `provenance`; TRM_INVALID if
 * that is NULL or cannot be written: paths that are not UTF-8, or memory ran out. */
trm_status model_checkpoint_add_metadata(st_writer *writer, const char *puzzle, double halt_threshold,
                                         json_t *provenance, trm_error *err);

#endif
