/* model_internal.h - what model.c and batch.c share: the inside of a trm_model. */
#ifndef TRM_ENGINE_MODEL_INTERNAL_H
#define TRM_ENGINE_MODEL_INTERNAL_H

#include <stdatomic.h>

#include "engine/engine.h"
#include "engine/model/checkpoint.h"
#include "engine/model/weights.h"

struct trm_model {
    atomic_int references;
    struct trm_model_info info;
    model_checkpoint *checkpoint; /* NULL for a model of borrowed arrays */
    struct model_weights *weights;
    char *config_text; /* owned: info.config */
    char *puzzle_name; /* owned: info.puzzle_name */
};

#endif
