/* exclude.h - keeps test puzzles out of training data: also those that only look different. */
#ifndef TRM_ENGINE_DATA_EXCLUDE_H
#define TRM_ENGINE_DATA_EXCLUDE_H

#include "engine/data/dataset.h"

/* Removes every puzzle from `set` that is one of `tests` [count] in disguise: that has the same canonical form under
 * digits, rows, columns, bands, stacks and transposition (data_sudoku_canonical()). *dropped: how many went.
 * TRM_INVALID when a set is not of Sudoku, sizes differ, or nothing would be left; `set` is as it was then. */
trm_status data_exclude(struct data_set *set, const struct data_set *const *tests, int count, size_t *dropped,
                        trm_error *err);

#endif
