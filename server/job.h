/* job.h - puzzles on their way through the scheduler, in groups: the puzzles of one request.
 *
 * A group is made by the loop thread, given to the scheduler, and freed by the loop thread when every
 * job of it has come back. Each job has two tracks of its progress: `shared`, which the worker writes
 * and only the scheduler's lock protects, and `seen`, the loop thread's copy. */
#ifndef TRM_SERVER_JOB_H
#define TRM_SERVER_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"
#include "server/models.h"

enum srv_outcome {
    SRV_RUNNING, /* waiting or being computed */
    SRV_Q_HEAD,
    SRV_VERIFIED,
    SRV_MAX_STEPS,
    SRV_DEADLINE,  /* its time was over */
    SRV_CANCELLED, /* its client went away, or the server ends */
    SRV_FAILED,    /* the engine refused */
    SRV_OUTCOMES
};

/* "q_head", "verified", "max_steps", "deadline", "cancelled", "failed"; "running" for SRV_RUNNING. */
const char *srv_outcome_name(enum srv_outcome outcome);

/* What is known of a puzzle's steps. The answers of the last `depth` steps are kept: whoever reads
 * slower than that misses some, and memory stays bounded. */
struct srv_track {
    int steps;           /* supervision steps done */
    float *q_halt;       /* [max_steps] */
    float *confidence;   /* [max_steps] */
    int32_t *answers;    /* [depth, cells]; step s, counted from 1, at (s - 1) % depth */
    uint64_t started_ns; /* uv_hrtime() when it got a slot, 0 before */
    uint64_t ended_ns;   /* uv_hrtime() after its last step, 0 before */
    enum srv_outcome outcome;
};

struct srv_group;

struct srv_job {
    struct srv_group *group;
    int index;       /* in the group */
    int32_t *tokens; /* [cells] the puzzle; read-only once submitted */
    /* The loop thread's. */
    struct srv_track seen;
    struct srv_job *next_seen; /* while updates are delivered */

    /* The scheduler's, under its lock. */
    struct srv_track shared;
    struct srv_job *next_updated;
    bool updated; /* is in the list of updated jobs */
};

struct srv_group {
    const struct srv_model *model;
    int cells, depth, max_steps, count;
    struct srv_job *jobs; /* [count] */
    struct trm_solve_options options;
    bool every_step; /* the owner wants to hear of every step, not only of the last */
    void *owner;     /* the loop thread's */

    /* The scheduler's, under its lock. */
    struct srv_group *next; /* in the ring of waiting groups */
    int taken;              /* jobs[taken .. count) wait */
    enum srv_outcome end;   /* SRV_RUNNING, or what its unfinished jobs were given up for */
    uint64_t submitted_ns;

    void *slabs[3]; /* the memory of all jobs: tokens, floats, answers */
};

/* A group of `count` jobs for `model` with room for options.max_steps steps (>= 1) each; the caller
 * fills in the tokens. NULL when memory ran out. */
struct srv_group *srv_group_create(const struct srv_model *model, int count, const struct trm_solve_options *options,
                                   bool every_step);
void srv_group_destroy(struct srv_group *group); /* NULL is fine */

/* Appends a step. `answer` is [cells]. */
void srv_track_add(const struct srv_group *group, struct srv_track *track, const int32_t *answer, float q_halt,
                   float confidence);

/* Brings `to` up to date with `from`. */
void srv_track_copy(const struct srv_group *group, struct srv_track *to, const struct srv_track *from);

/* The answer after `step`, one of the last `depth`; [cells]. */
int32_t *srv_track_answer(const struct srv_group *group, const struct srv_track *track, int step);

#endif
