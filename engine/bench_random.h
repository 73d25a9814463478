/* bench_random.h - a model of a given shape with random weights: its speed needs no training. */
#ifndef TRM_ENGINE_BENCH_RANDOM_H
#define TRM_ENGINE_BENCH_RANDOM_H

#include "engine/engine.h"

/* The weights of such a model; must outlive it. */
typedef struct trm_random_weights trm_random_weights;

/* Makes the model that the file config/models/NAME.json describes, or the file `name` itself if that
 * has a slash or a dot. The caller releases the model, then the weights. */
trm_status trm_random_model(const char *name, const struct trm_model_options *options, trm_random_weights **weights,
                            trm_model **model, trm_error *err);
void trm_random_weights_destroy(trm_random_weights *weights); /* NULL is fine */

#endif
