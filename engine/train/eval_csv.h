/* eval_csv.h - an evaluation step by step, for pictures. */
#ifndef TRM_ENGINE_TRAIN_EVAL_CSV_H
#define TRM_ENGINE_TRAIN_EVAL_CSV_H

#include "engine/train/eval.h"

/* Replaces `path` by lines group,step,puzzles,exact,ended: shares of the group's puzzles that are exact after the step,
 * and that had run their last. Groups: "all", "source NAME", "class NAME" of rated Sudoku; those without puzzles are
 * left out. */
trm_status train_eval_save_csv(const struct train_eval_result *result, const struct data_set *set, const char *path,
                               trm_error *err);

#endif
