/* model_internal.h - what model.c, batch.c and trm-bench share: the inside of a trm_model. */
#ifndef TRM_ENGINE_MODEL_INTERNAL_H
#define TRM_ENGINE_MODEL_INTERNAL_H

#include <stdatomic.h>

#include "engine/data/arc_index.h"
#include "engine/engine.h"
#include "engine/model/checkpoint.h"
#include "engine/model/infer.h"

struct trm_model {
    atomic_int references;
    struct trm_model_info info;
    model_checkpoint *checkpoint; /* NULL for a model of borrowed arrays */
    st_file *tasks_file;          /* NULL when the checkpoint itself holds the index */
    data_arc_index *tasks;        /* NULL: there is none */
    struct infer_weights *weights;
    char *config_text; /* owned: info.config */
    char *puzzle_name; /* owned: info.puzzle_name */
};

/* From now on the batch's steps add to `profile`, which trm-bench prints; NULL: no more. */
void trm_batch_profile(trm_batch *batch, struct model_profile *profile);

#endif
