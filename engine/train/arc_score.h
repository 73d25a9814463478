/* arc_score.h - ARC's measure: the answers to all augmentations of a task vote, and pass@K says how often
 * the right grid is among the K most voted (golden README section 8). */
#ifndef TRM_ENGINE_TRAIN_ARC_SCORE_H
#define TRM_ENGINE_TRAIN_ARC_SCORE_H

#include "engine/data/arc_poll.h"
#include "engine/data/arc_task.h"
#include "engine/data/dataset.h"
#include "engine/engine.h"

typedef struct train_arc_score train_arc_score;

enum { TRAIN_ARC_KS = 6 };
extern const int train_arc_ks[TRAIN_ARC_KS]; /* the original's: 1, 2, 5, 10, 100, 1000 */

struct train_arc_result {
    size_t tasks, tests, voted; /* tests for which there was a vote */
    double pass[TRAIN_ARC_KS];  /* share of a task's tests that are right, averaged over all tasks */
};

/* For `tasks`, with outputs of all tests, and identifiers with these names (a JSON array); both are borrowed. */
trm_status train_arc_create(const struct data_arc_tasks *tasks, const json_t *names, train_arc_score **score,
                            trm_error *err);
void train_arc_destroy(train_arc_score *score); /* NULL is fine */

/* One prediction [side * side] for the puzzle `input` [side * side] of an identifier. Those for the blank
 * identifier, and for what is no test, do not count. TRM_FORMAT if the identifier has no name. */
trm_status train_arc_vote(train_arc_score *score, int identifier, int side, const int32_t *input, const int32_t *answer,
                          float q_halt, trm_error *err);

/* The vote on test `test` of task `task`, to look at. */
data_arc_poll *train_arc_poll(const train_arc_score *score, size_t task, int test);

void train_arc_count(const train_arc_score *score, struct train_arc_result *result);

#endif
