/* arc_task.h - ARC tasks: pairs of grids, read from the JSON of the public data.
 *
 * {"train": [{"input": [[..]], "output": [[..]]}, ...], "test": [{"input": [[..]]}, ...]}. Plain data,
 * not changed once read: any thread. */
#ifndef TRM_ENGINE_DATA_ARC_TASK_H
#define TRM_ENGINE_DATA_ARC_TASK_H

#include <jansson.h>

#include "engine/data/arc.h"
#include "engine/status.h"

enum { DATA_ARC_MAX_PAIRS = 64 }; /* of either kind; public tasks have at most 10 */

struct data_arc_pair {
    struct data_arc_grid input, output; /* an output that is not known has 0 x 0 cells */
};

struct data_arc_task {
    char name[DATA_ARC_NAME];    /* "" while it has none */
    int train_count, test_count; /* >= 0, >= 1 */
    struct data_arc_pair *pairs; /* [train_count + test_count] owned, demonstrations first */
};

/* Reads a task. TRM_FORMAT with the place of what is wrong, "/train/0/input/3/4", in `where` [where_size]. Outputs of
 * tests may be missing, and "train" too; other members are ignored. The caller releases *task. */
trm_status data_arc_task_read(const json_t *json, struct data_arc_task *task, char *where, size_t where_size,
                              trm_error *err);
void data_arc_task_release(struct data_arc_task *task); /* fine on a zeroed one */

/* Whether no grid of the task has more rows or columns than `side`. */
bool data_arc_task_fits(const struct data_arc_task *task, int side);

/* A hash of pairs [count <= 2 * DATA_ARC_MAX_PAIRS] that does not depend on their order. It is the original's, by which
 * that tells whether an augmentation is new; of the demonstrations alone, by which we know a task again. */
void data_arc_pairs_hash(const struct data_arc_pair *pairs, int count, uint8_t hash[DATA_ARC_HASH]);

/* The tasks of some subsets, in the order of the files. */
struct data_arc_tasks {
    struct data_arc_task *items; /* [count] */
    int *subsets;                /* [count] index of the subset that each is from */
    size_t count;
};

/* Reads PREFIX_SUBSET_challenges.json and, where there is one, PREFIX_SUBSET_solutions.json of each of `subsets`
 * [subset_count]. TRM_FORMAT names the file and the place in it. */
trm_status data_arc_tasks_load(const char *prefix, char *const *subsets, int subset_count, struct data_arc_tasks *tasks,
                               trm_error *err);

/* Reads one file {"name": task, ...}, as test_puzzles.json. */
trm_status data_arc_tasks_load_file(const char *path, struct data_arc_tasks *tasks, trm_error *err);

/* Drops the tasks whose names are in the file `path`, one a line; empty lines and what follows a # are skipped.
 * TRM_FORMAT for a name that no task has. */
trm_status data_arc_tasks_drop(struct data_arc_tasks *tasks, const char *path, trm_error *err);

/* Drops the tasks that do not fit into `side` rows and columns; returns how many those were. */
size_t data_arc_tasks_drop_larger(struct data_arc_tasks *tasks, int side);

void data_arc_tasks_release(struct data_arc_tasks *tasks);

#endif
