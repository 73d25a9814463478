/* model_memory.h - models of weights that are already in memory: the trainer evaluates its own.
 * Inside the engine only; everyone else opens checkpoints. */
#ifndef TRM_ENGINE_MODEL_MEMORY_H
#define TRM_ENGINE_MODEL_MEMORY_H

#include "engine/engine.h"
#include "engine/model/config.h"
#include "engine/model/layout.h"

/* A model of borrowed arrays, which must stay as they are until its last reference is gone. */
trm_status trm_model_from_memory(const struct model_config *config, const struct model_layout *layout,
                                 const float *params, const float *buffers, const float *puzzle_emb,
                                 const char *puzzle_name, const struct trm_model_options *options, trm_model **model,
                                 trm_error *err);

#endif
