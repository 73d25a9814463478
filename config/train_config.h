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

enum { CONF_SUDOKU_CLASSES = 4 }; /* easy, medium, hard, very hard: enum sudoku_class */

/* Where puzzles come from: a file or directory for data_set_load(), or the generator. Exactly one of
 * `path` and `generate` is given. */
struct conf_source {
    char *path;                          /* NULL for a generator */
    int limit;                           /* of a path: at most so many puzzles; 0 (default): all */
    char *generate;                      /* "sudoku", "maze"; NULL for a path */
    int size;                            /* of generate: 4, 6 or 9 (default 9); of mazes the side, 5 to 64 */
    double classes[CONF_SUDOKU_CLASSES]; /* of generated Sudoku: relative frequencies (default [1,1,1,0]) */
    int min_moves;                       /* of generated mazes: least length of the path; 0: data_maze_hard_moves() */
    int count;                           /* of generate: puzzles to make, must be given */
    int seed;                            /* of generate: 0 by default */
    double weight;                       /* share of the training draws, relative to the other sources (default 1) */
};

struct conf_train {
    char *name;   /* "run": for people and provenance */
    char *puzzle; /* "sudoku", "maze", "arc" or "" (default "sudoku"): metadata of the checkpoints */

    /* "model": an object with the original's fields, or the path of a file that holds one. The keys
     * "halt_max_steps" and "halt_exploration_prob" beside "model" replace the model's. Resolved. */
    struct model_config model;

    struct conf_source *data; /* [data_count], at least one, weights not all zero */
    int data_count;
    bool augment; /* true: a random symmetry each time a puzzle is drawn */

    int batch_size; /* 16 puzzles an optimizer step */
    int pool_size;  /* 256 carried puzzles, visited batch by batch; a multiple of batch_size, equal to it: no pool */
    bool random_initial_steps; /* true: puzzles of a new pool start with a random step count */
    int shards;                /* 2 fixed parts of a batch, summed in order; at most batch_size */
    int threads;               /* 0: as many as cores; never more than shards work at once */
    int steps;                 /* optimizer steps of the run */
    int seed;                  /* 0 */

    enum train_loss_kind loss; /* "stablemax" | "softmax" */
    double halt_loss_weight;   /* 0.5 */
    int min_halt_steps;        /* 1: a halt before this step is not accepted; at most halt_max_steps */

    struct train_optim optimizer; /* {"name": "adam_atan2" | "adamw", "lr": 1e-3, "weight_decay": 0.1, "beta1": 0.9,
                                      "beta2": 0.95, "scale": 1, "eps": 1e-8} */
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
