/* average.h - one model out of several runs of it: the mean of their weights.
 *
 * Runs that start from each other end in different places of one valley; their mean lies lower than either where the
 * rate was too high to settle ("Model soups: averaging weights of multiple fine-tuned models", Wortsman et al., 2022).
 * It is the same thing as the moving average within a run, over a longer time. Pure but for the files: any thread. */
#ifndef TRM_ENGINE_TRAIN_AVERAGE_H
#define TRM_ENGINE_TRAIN_AVERAGE_H

#include "engine/status.h"

/* Writes the mean of `count` checkpoints of one model to `out`: weights, initial latents and puzzle embeddings. Its
 * puzzle and threshold of halting are the first one's; its provenance is `command` and those of all of them, settings
 * where they change.
 * TRM_INVALID for less than two, or models that do not have the same configuration; TRM_UNSUPPORTED for ARC, whose
 * identifiers mean what the data of a run says. */
trm_status train_average(const char *const *paths, int count, const char *command, const char *out, trm_error *err);

#endif
