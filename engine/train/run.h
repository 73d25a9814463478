/* run.h - the inside of a training run, shared by trainer.c (the loop), run_state.c (saving and
 * resuming) and report.c (log and progress). One thread. */
#ifndef TRM_ENGINE_TRAIN_RUN_H
#define TRM_ENGINE_TRAIN_RUN_H

#include <stdio.h>

#include "config/train_config.h"
#include "engine/data/arc_index.h"
#include "engine/data/source.h"
#include "engine/train/core.h"
#include "engine/train/eval.h"
#include "engine/train/trainer.h"

enum { TRAIN_HISTORY = 12 };

/* Sums of metrics since the last line of the log. */
struct train_window {
    struct train_metrics sums;
    struct train_probes probes;
    int64_t updates;
};

/* What a source draws from: one of the two. */
struct train_supply {
    struct data_set *set;
    data_stream *stream; /* of puzzles without end */
};

struct train_run {
    const struct conf_train *conf;
    const struct train_run_options *options;
    char *settings;            /* conf_train_format() */
    struct model_config model; /* conf->model with the cycles that are in force */
    struct model_layout *layout;
    train_core *core;

    struct train_supply *supplies; /* [conf->data_count + 1], the last of the probes */
    data_source *source;
    data_source *probe_source; /* of the probes; NULL: the source of all others */
    struct data_set *eval_set; /* NULL: no evaluation */
    st_file *tasks_file;       /* of ARC data: DIR/tasks.safetensors, for the checkpoints */
    data_arc_index *tasks;     /* NULL: there is none */
    uint8_t *drawn;            /* [2, seq_len] inputs and labels of one puzzle */

    struct data_rng rng; /* all chance of the run comes from here, but streams' puzzles */
    struct train_window window;
    double best;           /* best exact accuracy of an evaluation; -1 before the first */
    double last_exact;     /* of the last evaluation, all steps; -1 before the first */
    double seconds_before; /* spent by the earlier parts of a resumed run */
    double cpu_before;     /* CPU time of the earlier parts; `cpu_spent`: of all, when the state was saved */
    double cpu_spent;
    double started;     /* clock when this part started */
    double flops;       /* of the matrix products of this part */
    int64_t started_at; /* update at which this part started */

    FILE *log, *timing;
    bool terminal; /* stderr is one */

    /* What the progress line shows; the log does not depend on it. */
    double smooth_loss;            /* of a puzzle, averaged over about the last 50 updates; 0 at first */
    double history[TRAIN_HISTORY]; /* exact accuracy of the last evaluations, oldest first */
    int history_count;
    double drawn_at; /* clock when the line was drawn last */
};

/* Whether this process writes the files and talks to the person. */
static inline bool train_leads(const struct train_run *run) {
    return train_comm_rank(run->options->comm) == 0;
}

/* "DIR/name" in `path` [size]; TRM_INVALID if it does not fit. */
trm_status train_path(const struct train_run *run, const char *name, char *path, size_t size, trm_error *err);

/* run_state.c: checkpoints. */
trm_status train_save_model(struct train_run *run, const char *name, trm_error *err);
trm_status train_save_state(struct train_run *run, trm_error *err);
/* Restores DIR/state.safetensors if it is there and says so in *found. Other processes get what the first one reads. */
trm_status train_load_state(struct train_run *run, bool *found, trm_error *err);

/* report.c: the log and the terminal. */
trm_status train_open_logs(struct train_run *run, bool resumed, trm_error *err);
void train_close_logs(struct train_run *run);
trm_status train_report_window(struct train_run *run, double lr, trm_error *err); /* writes and empties the window */
/* `full`: all steps, as published evaluations do; `halting`: as served. */
trm_status train_report_eval(struct train_run *run, const struct train_eval_result *full,
                             const struct train_eval_result *halting, trm_error *err);

/* The line on a terminal, drawn again at most five times a second; `loss` of the last update's batch. */
void train_report_progress(struct train_run *run, double loss);

#endif
