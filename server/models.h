/* models.h - the checkpoints that a server holds, by name.
 *
 * Opened at the start by the main thread. Afterwards all is immutable, for any thread, but what the
 * loop thread alone reads and writes. */
#ifndef TRM_SERVER_MODELS_H
#define TRM_SERVER_MODELS_H

#include "engine/engine.h"
#include "proto/grid.h"
#include "proto/request.h"
#include "proto/text.h"

struct srv_model {
    char *name, *path;
    struct proto_form form; /* the same for every checkpoint that it may get */
    int index;              /* in struct srv_models */

    /* The loop thread's. */
    trm_model *engine; /* the newest checkpoint */
    uint64_t reloads, refused_reloads;
    bool reloading;    /* another one is being opened */
    bool reload_again; /* and shall be once more after that */
};

struct srv_models {
    struct srv_model *items; /* [count] in the order of the command line */
    int count;
};

/* Opens every "PATH" or "NAME=PATH" of `specs` ([count]); a PATH alone is named after its file. */
trm_status srv_models_open(char *const *specs, int count, const struct trm_model_options *precision,
                           struct srv_models *models, trm_error *err);
void srv_models_close(struct srv_models *models);

/* TRM_INVALID unless the puzzles of `engine`, opened from `path`, have the shape and vocabulary of the model's. */
trm_status srv_model_check(const struct srv_model *model, const trm_model *engine, const char *path, trm_error *err);

/* Opens the model's file again, which may have changed, with the same `precision` as before. TRM_INVALID
 * if its puzzles have another shape or vocabulary, or its identifiers are other ARC tasks. Any thread, while nobody
 * replaces the model's checkpoint. */
trm_status srv_model_open_again(const struct srv_model *model, const struct trm_model_options *precision,
                                trm_model **engine, trm_error *err);

/* Takes `engine` over and lets go of the former checkpoint. Loop thread. */
void srv_model_replace(struct srv_model *model, trm_model *engine);

/* NULL if there is no such model. */
struct srv_model *srv_models_find(const struct srv_models *models, const char *name);

/* The same for a request's "model": NULL with *problem filled in. */
const struct srv_model *srv_models_named(const struct srv_models *models, const char *name,
                                         struct proto_problem *problem);

/* The first for ARC tasks that has room for all grids of `task`, or the first for ARC tasks; NULL if none is. */
const struct srv_model *srv_models_for_task(const struct srv_models *models, const struct data_arc_task *task);

/* False with *problem filled in if the model is not for ARC tasks, or a grid of `task` is too large for it. */
bool srv_model_takes_task(const struct srv_model *model, const struct data_arc_task *task,
                          struct proto_problem *problem);

/* The model that the task of `request` is for, as above; or that its grids are for: the first whose puzzles
 * have as many cells as its first grid and know its symbols, else the first with as many cells. An only model is for
 * everything; NULL if there are several and none of them has such puzzles. */
const struct srv_model *srv_models_for(const struct srv_models *models, const struct proto_request *request);

/* The document of GET /models. */
void srv_models_write(const struct srv_models *models, struct proto_text *text);

#endif
