/* grow.h - the weights of a trained model for a new one of the same kind that may be wider.
 *
 * The new model computes what the old one did, but for rounding: its hidden size is a multiple of the old one's, every
 * channel stands there as often as it takes, and whoever reads a channel shares its weight between the copies,
 * unevenly, so that they learn to differ. New inner units and heads read at random and say nothing at first
 * (Chen, Goodfellow and Shlens 2015, "Net2Net"). Attention with rotary positions has no weights that belong to a cell:
 * such a model may also go on with another number of cells. */
#ifndef TRM_ENGINE_TRAIN_GROW_H
#define TRM_ENGINE_TRAIN_GROW_H

#include "engine/data/rng.h"
#include "engine/model/checkpoint.h"

/* Fills params [layout->param_size], which hold initial weights (train_init_weights()), buffers [layout->buffer_size]
 * and puzzle_emb [identifiers, puzzle_emb_ndim] (NULL without) from `old`. TRM_INVALID names what keeps the new model
 * from computing the same: another architecture, depth, number of cells that have weights or of symbols, head size or
 * norm, a hidden size that is no multiple, or anything that is smaller. Cycles and halting may differ. */
trm_status train_grow(const model_checkpoint *old, const struct model_config *config, const struct model_layout *layout,
                      struct data_rng *rng, float *params, float *buffers, float *puzzle_emb, trm_error *err);

#endif
