/* team.h - a few threads that work through numbered tasks together.
 *
 * The caller is one of them. Which thread gets which task is not fixed, so tasks must not depend on
 * it; results are deterministic when each task writes only what is its own. */
#ifndef TRM_ENGINE_TRAIN_TEAM_H
#define TRM_ENGINE_TRAIN_TEAM_H

#include "engine/status.h"

typedef struct train_team train_team;
typedef void (*train_task)(void *arg, int task);

/* `threads` >= 1, the caller included. */
trm_status train_team_create(int threads, train_team **team, trm_error *err);
void train_team_destroy(train_team *team); /* NULL is fine */

/* Runs task(arg, 0) .. task(arg, count - 1) and returns when all are done. Only by the creator. */
void train_team_run(train_team *team, train_task task, void *arg, int count);

#endif
