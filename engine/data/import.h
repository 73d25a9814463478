/* import.h - makes a checkpoint of this project from one that the original's training published. */
#ifndef TRM_ENGINE_DATA_IMPORT_H
#define TRM_ENGINE_DATA_IMPORT_H

#include "engine/model/config.h"

struct data_import_options {
    const char *checkpoint; /* PyTorch's file */
    const char *config;     /* the model as JSON (engine/model/config.h); how many tokens and puzzle identifiers there
                               are is taken from the checkpoint */
    const char *puzzle;     /* "sudoku", "maze", "arc", or NULL */
    const char *out;        /* replaced atomically */
};

/* Writes every tensor as f32 under the name that the model has for it. The checkpoint must hold exactly the tensors of
 * the configured model, in their shapes: TRM_FORMAT names the first that differs. Stores the model in *config. The
 * memory that it takes does not depend on the size of the tensors. Any thread. */
trm_status data_import(const struct data_import_options *options, struct model_config *config, trm_error *err);

#endif
