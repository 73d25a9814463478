/* train_config.h - everything that decides a training run, read from one JSON file.
 *
 * The struct's members have the names of the file's keys. Only "model", "data" and "steps" must be
 * given; every other key has the default shown. Unknown keys and values out of range are errors that
 * name the key. Paths are used as written, relative to the working directory. Plain data, not
 * changed after loading: any thread. */
#ifndef TRM_CONFIG_TRAIN_CONFIG_H
#define TRM_CONFIG_TRAIN_CONFIG_H

#include <stdbool.h>

#include "engine/engine.h"
#include "engine/model/config.h"
#include "engine/train/loss.h"
#include "engine/train/optim.h"
#include "engine/train/schedule.h"

enum {
    CONF_SUDOKU_CLASSES = 4, /* easy, medium, hard, very hard: enum sudoku_class */
    CONF_MAX_STAGES = 16,
    CONF_MAX_REVEAL = 81
};

/* Where puzzles come from: a file or directory for data_set_load(), or the generator. Exactly one of
 * `path` and `generate` is given. */
struct conf_source {
    char *path;                          /* NULL for a generator */
    int limit;                           /* of a path: the first so many puzzles; 0 (default): all */
    int min_rating, max_rating;          /* of a path: those of the first that are rated so; by default all */
    char *generate;                      /* "sudoku", "maze"; NULL for a path */
    int size;                            /* of generate: 4, 6 or 9 (default 9); of mazes the side, 5 to 64 */
    double classes[CONF_SUDOKU_CLASSES]; /* of generated Sudoku: relative frequencies (default [1,1,1,0]) */
    int min_moves;                       /* of generated mazes: least length of the path; 0: data_maze_hard_moves() */
    int count;                           /* of generate: puzzles to make, must be given; 0: without end, made ahead */
    int seed;                            /* of generate: 0 by default; of those without end the run's decides */
    double weight;                       /* share of the training draws, relative to the other sources (default 1) */
    double final_weight;                 /* the same at the end of "curriculum" (default: weight) */
    int reveal;                          /* of Sudoku: 0 (default) to so many cells of the answer are clues as well */
};

enum conf_gradient { CONF_LAST_CYCLE, CONF_LAST_UPDATES };

/* Cycles that a supervision step runs for a part of the run. */
struct conf_stage {
    double until;           /* where the part ends, later than the one before it */
    int H_cycles, L_cycles; /* at most the model's */
};

struct conf_train {
    char *name;   /* "run": for people and provenance */
    char *puzzle; /* "sudoku", "maze", "arc" or "" (default "sudoku"): metadata of the checkpoints */

    /* "model": an object with the original's fields, or the path of a file that holds one. The keys
     * "halt_max_steps" and "halt_exploration_prob" beside "model" replace the model's. Resolved. */
    struct model_config model;

    char *start_from; /* NULL (default), or the checkpoint whose weights a new run takes: see engine/train/grow.h */

    struct conf_source *data; /* [data_count], at least one, weights not all zero */
    int data_count;
    struct {
        double from, to; /* 0, 1: the parts of the run at which weights begin and end to move, in a straight line */
    } curriculum;
    bool augment; /* true: a random symmetry each time a puzzle is drawn */

    int batch_size;  /* 16 puzzles an optimizer step */
    int pool_size;   /* 256 carried puzzles, visited batch by batch; a multiple of batch_size, equal to it: no pool */
    bool carry_bf16; /* false; true: their latents in 16 bits, half the memory: 32 KB a puzzle of sudoku-small */
    bool random_initial_steps; /* true: puzzles of a new pool start with a random step count */
    int shards;                /* 2 fixed parts of a batch, summed in order; at most batch_size */
    int threads;               /* 0: as many as cores; never more than shards work at once */
    int steps;                 /* optimizer steps of the run */
    int seed;                  /* 0 */

    struct conf_stage stages[CONF_MAX_STAGES]; /* [{"until": 0.3, "H_cycles": 1, "L_cycles": 1}]; none by default, */
    int stage_count;                           /* and after the last: the model's own cycles */
    enum conf_gradient gradient; /* of a step: "last_cycle" (default) | "last_updates": one of z_L and one of z_H */

    enum train_loss_kind loss; /* "stablemax" | "softmax" */
    double halt_loss_weight;   /* 0.5 */
    struct {
        double first, last; /* 1, 1 */
    } supervision_weight;   /* of the answer's loss, from a puzzle's first step to its last on a straight line */
    int min_halt_steps;     /* 1: a halt before this step is not accepted; at most halt_max_steps */
    double hint_prob;       /* 0; of a Sudoku: after a step a cell that is still wrong becomes a clue so often */
    double halt_threshold;  /* 0; logit above which servers let the finished model halt: metadata of checkpoints */
    struct {
        int rows;                  /* 0; puzzles of a batch that the token loss never learns from */
        bool halting;              /* false; true: they alone train the halting head, which all others do else */
        struct conf_source source; /* the members of a source are "probe"'s own; neither path nor generate: "data" */
    } probe;

    struct train_optim optimizer; /* {"name": "adam_atan2" | "adamw" | "muon", "lr": 1e-3, "weight_decay": 0.1,
                                      "beta1": 0.9, "beta2": 0.95, "scale": 1, "eps": 1e-8, "momentum": 0.95} */
    struct {
        double lr, weight_decay; /* 0.01, 0.1 */
    } puzzle_emb;
    struct train_schedule schedule; /* {"warmup": 0, "constant_fraction": 0, "min_ratio": 1}; total is `steps` */
    struct {
        double rate; /* 0.999; 0: the average is the weights */
        bool ramp;   /* false */
    } ema;

    int checkpoint_every; /* 0: at the end only; in optimizer steps, as are the next two */
    int log_every;        /* 100; at least 1 */
    struct {
        struct conf_source source; /* the members of a source are "eval"'s own; neither path nor generate: none */
        int every;                 /* 0: at the end only */
        int max_steps;             /* 0: the model's halt_max_steps */
    } eval;

    /* Operands of matrix products: "f32" (default) | "bf16" | "auto": bf16 where the CPU multiplies it faster. */
    enum trm_dtype compute;
};

/* Reads the file at `path`, then applies `overrides` [override_count] in order, each "key=value": dots reach nested
 * members ("optimizer.lr=1e-3", "data.0.limit=100", "model.hidden_size=64"), the value is JSON or else a string. On
 * success the caller releases *conf with conf_train_destroy(). TRM_IO and TRM_FORMAT for files, TRM_INVALID for
 * settings. */
trm_status conf_train_load(const char *path, const char *const *overrides, int override_count, struct conf_train *conf,
                           trm_error *err);

/* Frees what `conf` owns, not the struct; harmless on a zeroed one. */
void conf_train_destroy(struct conf_train *conf);

/* The whole configuration, defaults and model included, as one line of JSON: the provenance of a
 * checkpoint, and itself a valid file. Equal settings give equal texts. Returns a string that the
 * caller frees, or NULL when memory ran out. */
char *conf_train_format(const struct conf_train *conf);

#endif
