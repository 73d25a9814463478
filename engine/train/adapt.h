/* adapt.h - teaches a model an ARC task that it was not trained on, from the task's demonstrations.
 *
 * A TRM knows a task by its embedding only. The task and some augmentations of it get embeddings that begin as the
 * mean of the known ones; these are trained first, then all weights of a private copy. What comes out is a checkpoint
 * for this task alone, with the index beside it by which a server recognises the task. */
#ifndef TRM_ENGINE_TRAIN_ADAPT_H
#define TRM_ENGINE_TRAIN_ADAPT_H

#include "engine/data/arc_task.h"
#include "engine/status.h"

struct train_adapt_progress {
    double share;    /* of the budget: 0 .. 1 */
    int updates;     /* optimizer steps so far */
    double seconds;  /* so far */
    double loss;     /* of a demonstration, averaged over about the last 20 updates */
    double accuracy; /* likewise: of the demonstrations' cells */
    double exact;    /* likewise: the share of demonstrations of which every cell is right */
};

/* What is good for tasks that nobody knows anything of. */
enum { TRAIN_ADAPT_AUGMENT = 31 };
#define TRAIN_ADAPT_LR 1e-3 /* of a model as small as the bundled one; the paper's size is trained at a tenth of it */

struct train_adapt_options {
    const char *model;   /* checkpoint of an ARC model */
    const char *out;     /* X.safetensors, and X.tasks.safetensors (arc_index.h): both replaced */
    const char *command; /* for the provenance */
    int augment;         /* embeddings beside the one of the task itself */
    int updates;         /* the budget: optimizer steps, */
    double seconds;      /* seconds, or both, whichever ends first; 0: no limit, but not for both */
    double lr;           /* of the weights */
    uint64_t seed;
    int threads;
    /* After each update, on the calling thread; false: the budget is spent. May be NULL. */
    bool (*progress)(void *arg, const struct train_adapt_progress *progress);
    /* Many times in an update, on any thread that works; true: TRM_CANCELLED, and no file is written. May be NULL. */
    bool (*cancelled)(void *arg);
    void *arg; /* of both */
};

/* Adapts to `task`, which must have a name and a demonstration. TRM_INVALID for a model of other puzzles or without
 * puzzle embedding, TRM_CANCELLED if it was. With a budget of updates alone the same seed gives the same checkpoint.
 * The thread that calls it works, with helpers. */
trm_status train_adapt(const struct data_arc_task *task, const struct train_adapt_options *options,
                       struct train_adapt_progress *result, trm_error *err);

#endif
