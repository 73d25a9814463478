/* job.h - puzzles on their way through the scheduler, in groups: the puzzles of one request.
 *
 * Each puzzle has one or more rollouts; each rollout is a job with a slot of its own. All rollouts 0
 * come first, then all rollouts 1 and so on, so that a puzzle that its first rollout solves may never
 * need the others.
 *
 * A group is made by the loop thread, given to the scheduler, and freed by the loop thread when every
 * job of it has come back. Each job has two tracks of its progress: `shared`, which the worker writes
 * and only the scheduler's lock protects, and `seen`, the loop thread's copy. */
#ifndef TRM_SERVER_JOB_H
#define TRM_SERVER_JOB_H

#include <stdbool.h>
#include <stdint.h>
#include <uv/tree.h>

#include "engine/engine.h"
#include "server/models.h"

enum srv_outcome {
    SRV_RUNNING, /* waiting or being computed */
    SRV_Q_HEAD,
    SRV_VERIFIED,
    SRV_MAX_STEPS,
    SRV_DEADLINE,  /* its time was over */
    SRV_CANCELLED, /* its client went away, another rollout or the vote decided, or the server ends */
    SRV_FAILED,    /* the engine refused */
    SRV_OUTCOMES
};

/* "q_head", "verified", "max_steps", "deadline", "cancelled", "failed"; "running" for SRV_RUNNING. */
const char *srv_outcome_name(enum srv_outcome outcome);

/* What is known of a rollout's steps. The answers of the last `depth` steps are kept: whoever reads
 * slower than that misses some, and memory stays bounded. */
struct srv_track {
    int steps;           /* supervision steps done */
    float *q_halt;       /* [max_steps] */
    float *confidence;   /* [max_steps] */
    float *ms;           /* [max_steps] from started_ns to the end of the step */
    int32_t *answers;    /* [depth, cells]; step s, counted from 1, at (s - 1) % depth */
    uint64_t started_ns; /* uv_hrtime() when it got a slot, 0 before */
    uint64_t ended_ns;   /* uv_hrtime() after its last step, 0 before */
    enum srv_outcome outcome;
};

struct srv_group;

struct srv_job {
    struct srv_group *group;
    int puzzle, rollout; /* both from 0 */

    /* The loop thread's. */
    struct srv_track seen;
    struct srv_job *next_seen; /* while updates are delivered */

    /* The scheduler's, under its lock. */
    struct srv_track shared;
    struct srv_job *next_updated;
    bool updated;              /* is in the list of updated jobs */
    struct srv_job *next_back; /* in the group's list of jobs that have given way */
    bool is_back;              /* is in it */
    trm_parked *parked;        /* what it had come to then, until it has a slot again */
    uint64_t parked_ns;        /* uv_hrtime() when it gave way */
    int steps_before;          /* steps it had made when it got its slot */
};

struct srv_puzzle {
    int32_t *tokens; /* [cells] read-only once submitted, as is */
    int identifier;  /* the puzzle identifier: 0 but for ARC */

    /* The scheduler's, under its lock. */
    int pending;  /* rollouts without an outcome */
    bool started; /* one had a slot */
    bool stepped; /* one had a step */
    bool solved;  /* one was verified, or nobody waits for any: the others are not needed any more */

    /* The loop thread's. */
    int unseen;       /* rollouts of which it has not seen the end */
    bool seen_solved; /* it has seen a verified one */
    bool counted;     /* its answer, or that it has none, is part of a vote */
};

/* How a group waits and runs; queue.h's, under the scheduler's lock. */
struct srv_turn {
    RB_ENTRY(srv_group) node;
    uint64_t number;                        /* of its last turn, or of its arrival */
    int next;                               /* jobs[next ..) that have no outcome wait */
    struct srv_job *first_back, *last_back; /* so do these, which have had a slot and gave way */
    int waiting;                            /* the number of both */
    int running;                            /* jobs in slots */
    bool had_share;                         /* one of its jobs gave way */
};

struct srv_group_config {
    const struct srv_model *model;
    trm_model *engine; /* a checkpoint for this group alone, which outlives it; NULL: the model's newest */
    struct trm_solve_options options; /* max_steps >= 1; variation and stride are for srv_job_options() to set */
    int puzzles, rollouts;            /* >= 1; rollouts of each puzzle */
    int asked_rollouts, asked_steps;  /* what was asked for before the load took some of it */
    int priority;                     /* SRV_LOWEST_PRIORITY .. SRV_HIGHEST_PRIORITY */
    int share;                        /* steps after which a job gives way to those that wait; 0: never */
    bool every_step;                  /* the owner wants to hear of every step, not only of the last */
};

enum { SRV_LOWEST_PRIORITY = -10, SRV_HIGHEST_PRIORITY = 10 };

struct srv_group {
    struct srv_group_config config;
    int cells, depth, count;
    struct srv_puzzle *puzzles; /* [config.puzzles] */
    struct srv_job *jobs;       /* [count] job of puzzle p, rollout r at r * puzzles + p */
    void *owner;                /* the loop thread's */

    /* The scheduler's, under its lock. */
    struct srv_turn turn;
    enum srv_outcome end; /* SRV_RUNNING, or what its unfinished jobs were given up for */
    uint64_t submitted_ns;

    void *slabs[3]; /* the memory of all: tokens, floats, answers */
};

/* A group whose puzzles' tokens are for the caller to fill in. NULL when memory ran out. */
struct srv_group *srv_group_create(const struct srv_group_config *config);
void srv_group_destroy(struct srv_group *group); /* NULL is fine */

/* What the engine is told of a job: rollout r is variation r of its puzzle, and those of its restarts are no other
 * rollout's. */
struct trm_solve_options srv_job_options(const struct srv_job *job);

static inline struct srv_puzzle *srv_job_puzzle(const struct srv_job *job) {
    return &job->group->puzzles[job->puzzle];
}

/* Which of two rollouts of a puzzle has the better answer: the one that was verified, or was so first;
 * else the one with the higher q_halt after its last step, else the one that has made a step or has not
 * failed. */
bool srv_track_leads(const struct srv_track *track, const struct srv_track *other);

/* Of the rollouts of a puzzle, as the loop thread has seen them, the one that leads: its answer is the
 * puzzle's. The lowest of equal ones. */
const struct srv_job *srv_group_leader(const struct srv_group *group, int puzzle);

/* Appends a step that has just ended. `answer` is [cells]. */
void srv_track_add(const struct srv_group *group, struct srv_track *track, const int32_t *answer, float q_halt,
                   float confidence);

/* Brings `to` up to date with `from`. */
void srv_track_copy(const struct srv_group *group, struct srv_track *to, const struct srv_track *from);

/* The answer after `step`, one of the last `depth`; [cells]. */
int32_t *srv_track_answer(const struct srv_group *group, const struct srv_track *track, int step);

#endif
