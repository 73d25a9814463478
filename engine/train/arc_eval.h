/* arc_eval.h - an evaluation on ARC data: keeps every answer of train_evaluate() and counts the votes in
 * the order of the rows, whatever order the threads had. */
#ifndef TRM_ENGINE_TRAIN_ARC_EVAL_H
#define TRM_ENGINE_TRAIN_ARC_EVAL_H

#include "engine/train/arc_score.h"

typedef struct train_arc_eval train_arc_eval;

/* Looks whether `data` is what trm-data arc writes, DIR or DIR/test with test_puzzles.json in DIR. If so, *eval is
 * to be destroyed, and *rows, the path of DIR/test, to be freed; else both are NULL. */
trm_status train_arc_eval_open(const char *data, train_arc_eval **eval, char **rows, trm_error *err);
void train_arc_eval_destroy(train_arc_eval *eval); /* NULL is fine */

/* Makes room for the answers to `set`, which must outlive the counting. */
trm_status train_arc_eval_begin(train_arc_eval *eval, const struct data_set *set, int rollouts, trm_error *err);

/* The `answered` of struct train_eval_options; `eval` is a train_arc_eval. */
void train_arc_eval_answered(void *eval, size_t row, int rollout, const struct trm_report *report);

/* Each rollout has a vote. */
trm_status train_arc_eval_count(train_arc_eval *eval, struct train_arc_result *result, trm_error *err);

#endif
