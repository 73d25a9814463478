/* bench_measure.h - how fast a model runs on one core, and on several. The calling thread measures. */
#ifndef TRM_ENGINE_BENCH_MEASURE_H
#define TRM_ENGINE_BENCH_MEASURE_H

#include "engine/bench_peak.h"
#include "engine/engine.h"
#include "engine/model/profile.h"

struct trm_bench_plan {
    int batch;      /* puzzles in a batch */
    int threads;    /* the most that the throughput is measured with */
    double seconds; /* about how long to measure; every round of a large model takes its steps whatever this says */
};

/* One figure of all rounds. */
struct trm_bench_figure {
    double best, median;
};

/* One core, in its CPU time. A step is one supervision step of one puzzle. */
struct trm_bench_core {
    int rounds;
    struct trm_bench_figure peak_gflops[TRM_PEAKS];
    struct trm_bench_figure alone_ms; /* a step in a batch of one */
    struct trm_bench_figure batch_ms; /* a step in a batch of plan.batch */
    struct trm_bench_figure wall_ms;  /* as alone_ms, by the clock on the wall: what a client waits for */
};

/* Throughput of a number of threads, each with a full batch, by the clock on the wall. */
struct trm_bench_team {
    int threads;
    double steps_per_second; /* of all threads; the best round */
    double cpu_share;        /* of that round: CPU time that the threads got / time that they wanted */
};

enum { TRM_BENCH_MAX_TEAMS = 16 };

/* The peak and the model's steps by turns. */
trm_status trm_bench_core(trm_model *model, const struct trm_bench_plan *plan, struct trm_bench_core *core,
                          trm_error *err);

/* 1, 2, 4 ... plan.threads threads by turns; fills in teams[0..*count-1]. */
trm_status trm_bench_teams(trm_model *model, const struct trm_bench_plan *plan,
                           struct trm_bench_team teams[TRM_BENCH_MAX_TEAMS], int *count, trm_error *err);

/* Where the time of a batch's steps goes, in CPU time: of the round that took least. */
struct trm_bench_profile {
    double steps;   /* of puzzles */
    double seconds; /* of all of them; what the stages leave of it is the batch's own work */
    struct model_profile stages;
};

trm_status trm_bench_profile(trm_model *model, const struct trm_bench_plan *plan, struct trm_bench_profile *profile,
                             trm_error *err);

/* A batch of `puzzles` slots full of random puzzles that never end, stepped once to warm up; for
 * the calling thread, which destroys it. `seed` makes the puzzles repeatable. */
trm_status trm_bench_batch(trm_model *model, int puzzles, uint64_t seed, trm_batch **batch, trm_error *err);

#endif
