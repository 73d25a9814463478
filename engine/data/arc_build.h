/* arc_build.h - the original's ARC data set: every task with augmentations of it, each an identifier.
 *
 * DIR/train has the demonstrations of all tasks, and the tests of those that are not for testing; each
 * puzzle (a task in one augmentation) has its pairs moved to random places of the tokens, but for
 * one of them. DIR/test has the tests of the others, all at the upper left. DIR/identifiers.json names the
 * identifiers, DIR/test_puzzles.json has the tasks to test, and DIR/tasks.safetensors what arc_index.h says.
 * Unlike in the original, tests without a known output are not trained on. */
#ifndef TRM_ENGINE_DATA_ARC_BUILD_H
#define TRM_ENGINE_DATA_ARC_BUILD_H

#include "engine/data/arc_task.h"

struct data_arc_build_options {
    const char *prefix;   /* of the files: data_arc_tasks_load() */
    char *const *subsets; /* [subset_count] in this order */
    const bool *testing;  /* [subset_count] whose tests are not trained on */
    int subset_count;
    int augment; /* augmentations of each task, as many as there are different ones at most */
    uint64_t seed;
    int side;            /* rows and columns of tokens, DATA_ARC_SIDE at most; tasks with a larger grid are left out */
    const char *without; /* a file that names tasks which are left out: data_arc_tasks_drop(); NULL: none */
    const char *dir;
};

struct data_arc_build_result {
    size_t tasks, test_tasks;
    int identifiers; /* with the blank one */
    size_t train_rows, test_rows;
    size_t larger;     /* tasks that were left out for their size */
    size_t incomplete; /* tasks with fewer different augmentations than were wanted */
};

trm_status data_arc_build(const struct data_arc_build_options *options, struct data_arc_build_result *result,
                          trm_error *err);

/* Writes DIR/tasks.safetensors for a data set that the original's script made: `identifiers` is its
 * identifiers.json, in which every task of the options' subsets may occur. *count: identifiers. */
trm_status data_arc_index_build(const struct data_arc_build_options *options, const char *identifiers, int *count,
                                trm_error *err);

#endif
