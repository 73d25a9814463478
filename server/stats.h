/* stats.h - what the scheduler counts, for GET /metrics.
 *
 * Everything counted grows from the start to the end of the process and is never reset; gauges say so.
 * A *puzzle* is one grid of a request; a *rollout* is one try at it, in a slot of its own: without the
 * option there is one for each puzzle. The figures of one call belong to one moment. */
#ifndef TRM_SERVER_STATS_H
#define TRM_SERVER_STATS_H

#include <stdint.h>

#include "server/job.h"

enum { SRV_BUCKETS = 20 };

struct srv_histogram {
    const double *bounds;         /* [bound_count] ascending upper bounds, constants */
    int bound_count;              /* < SRV_BUCKETS */
    uint64_t counts[SRV_BUCKETS]; /* [bound_count + 1] above the bound before, up to the own; the last: above all */
    double sum;                   /* of the values */
};

/* Of one model; all workers together. */
struct srv_model_stats {
    int waiting; /* gauge: rollouts without a slot */
    int parked;  /* gauge: of these, rollouts that had one and gave way */
    int running; /* gauge: rollouts in slots, busy slots in other words */
    int slots;   /* constant: slots there are */

    uint64_t accepted;               /* puzzles queued */
    uint64_t outcomes[SRV_OUTCOMES]; /* puzzles that have ended, by how; [SRV_RUNNING] stays 0 */
    uint64_t unstarted;              /* of these, puzzles that never got a slot */
    uint64_t rollouts;               /* rollouts that got a slot */
    uint64_t yields;                 /* times that a rollout gave way after its share of steps */
    uint64_t steps;                  /* supervision steps, each of one rollout */
    uint64_t rounds;                 /* steps of a worker's batch: steps / rounds is the mean batch */
    double busy_seconds;             /* that workers have spent in rounds */

    struct srv_histogram wait;       /* seconds from submission to the first slot of a puzzle */
    struct srv_histogram first_step; /* seconds from submission to the first step of a puzzle */
    struct srv_histogram solving;    /* steps in the answers to puzzles that a verifier or the halting head ended */
    struct srv_histogram occupancy;  /* busy part of a batch, by round */
};

struct srv_stats {
    int workers, max_queue;     /* constants */
    double rollouts_per_second; /* gauge: what the workers can do, by the last seconds of work */
    uint64_t reduced_rollouts;  /* puzzles that got fewer rollouts than asked for because of the load */
    uint64_t reduced_steps;     /* puzzles that got a lower step limit because of the load */
};

struct srv_scheduler;

/* Fills in *stats and `models` ([the number of models]). Loop thread; takes the scheduler's lock for
 * as long as it takes to copy. */
void srv_scheduler_stats(struct srv_scheduler *scheduler, struct srv_stats *stats, struct srv_model_stats *models);

/* Counters that all start at nothing, histograms with their bounds. */
void srv_model_stats_init(struct srv_model_stats *stats);

/* An empty histogram of durations. */
struct srv_histogram srv_histogram_of_seconds(void);

/* Adds a value. */
void srv_histogram_add(struct srv_histogram *histogram, double value);

#endif
