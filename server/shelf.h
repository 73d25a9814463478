/* shelf.h - checkpoints that were adapted to one ARC task each: on disk, and open, to solve with.
 *
 * DIR/ID.safetensors and DIR/ID.tasks.safetensors (arc_index.h), where ID is made of the name of the model that was
 * adapted and the content of the demonstrations. At most so many: the one that was asked for the longest ago goes
 * first, also after a restart, as each use sets the file's time. What is in DIR and is none of these is left alone.
 * The directory belongs to one server. Loop thread, once it is open. */
#ifndef TRM_SERVER_SHELF_H
#define TRM_SERVER_SHELF_H

#include "engine/data/arc_index.h"
#include "server/models.h"

enum { SRV_TASK_ID = 33 }; /* 32 lower-case digits and the end */

struct srv_shelf;

/* What the demonstrations [DATA_ARC_HASH of data_arc_pairs_hash()] mean to the model of that name. */
void srv_task_id(const char *model, const uint8_t *hash, char id[SRV_TASK_ID]);

/* Makes `dir` if need be, and opens what is there for one of `models`, which outlive the shelf; files that cannot be
 * served are logged and left. */
trm_status srv_shelf_open(const char *dir, int limit, const struct srv_models *models,
                          const struct trm_model_options *precision, struct srv_shelf **shelf, trm_error *err);
void srv_shelf_close(struct srv_shelf *shelf); /* NULL is fine; the files stay */

int srv_shelf_count(const struct srv_shelf *shelf);

/* The checkpoint of that id, borrowed, and used from now on; NULL if there is none, or no shelf (NULL). *model: what
 * was adapted; may be NULL. */
trm_model *srv_shelf_find(struct srv_shelf *shelf, const char *id, const struct srv_model **model);

/* Where a checkpoint waits until srv_shelf_put(), into fresh memory; no two have the same number. Any thread. */
char *srv_shelf_draft(const struct srv_shelf *shelf, unsigned number);

/* Gives the files of a draft their names and takes `engine`, opened from them, over. On failure nothing has changed. */
trm_status srv_shelf_put(struct srv_shelf *shelf, const char *id, const struct srv_model *model, const char *draft,
                         trm_model *engine, trm_error *err);

/* Removes the files of a draft that nobody wants any more. Any thread. */
void srv_shelf_discard(const char *draft);

/* False if there is none of that id. Who solves with it goes on. */
bool srv_shelf_remove(struct srv_shelf *shelf, const char *id);

#endif
