/* init.h - the weights that training starts from, as the original draws them. */
#ifndef TRM_ENGINE_TRAIN_INIT_H
#define TRM_ENGINE_TRAIN_INIT_H

#include "engine/data/rng.h"
#include "engine/model/config.h"
#include "engine/model/layout.h"

/* Linear weights: normal truncated at two standard deviations, standard deviation 1 / sqrt(in);
 * embeddings and learned positions: 1 / sqrt(hidden); initial latents: 1. The q head starts at zero
 * with bias -5 (nothing halts at first). The puzzle embedding starts at zero and is not touched. */
void train_init_weights(const struct model_config *config, const struct model_layout *layout, struct data_rng *rng,
                        float *params, float *buffers);

#endif
