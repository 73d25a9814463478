/* scheduler.h - continuous batching at the supervision step: one bounded queue, worker threads with
 * slots, and the way back.
 *
 * Before every step a worker takes waiting puzzles into its free slots, never more than its share of
 * all that wait and run, so that idle workers get some; after the step each puzzle that is done leaves
 * its slot. Nothing waits for a batch to fill or for the slowest puzzle.
 *
 * Who is next is queue.h's matter. A job that has had its share of steps gives way to those that wait when
 * all slots are taken: it is parked with all it has come to, goes on later, in a slot of any worker, and computes
 * what it would have computed without a break. When memory for parked ones is short it keeps its slot.
 *
 * Models take turns step by step.
 *
 * When a rollout is verified the others of its puzzle are not needed: those that wait never run, those
 * that run leave before their next step.
 *
 * Threads: all functions here are for the loop thread; `notify` is called on any. Workers own their
 * batches; jobs are shared under the scheduler's lock (job.h). */
#ifndef TRM_SERVER_SCHEDULER_H
#define TRM_SERVER_SCHEDULER_H

#include "engine/status.h"
#include "server/bench.h"
#include "server/job.h"
#include "server/models.h"

struct srv_scheduler;

struct srv_scheduler_config {
    const struct srv_models *models; /* must outlive the scheduler */
    int workers, slots, max_queue;
    size_t parked_memory;      /* bytes that jobs may hold which have given way */
    void (*notify)(void *arg); /* there is something to collect; must not block */
    void *arg;
};

/* Starts the workers and returns when all of them are ready to compute, or with the first failure. */
trm_status srv_scheduler_create(const struct srv_scheduler_config *config, struct srv_scheduler **scheduler,
                                trm_error *err);

/* Ends the workers after the step they are in; every job that is not done becomes SRV_CANCELLED and
 * waits to be collected. */
void srv_scheduler_stop(struct srv_scheduler *scheduler);

/* Frees a scheduler, stopping it first if need be. NULL is fine. */
void srv_scheduler_destroy(struct srv_scheduler *scheduler);

/* Batches of another checkpoint for a model that is served: one for each worker, to be given to
 * srv_scheduler_replace(). Any thread, as it takes its time. */
trm_status srv_benches_create(const struct srv_scheduler *scheduler, trm_model *engine, struct srv_bench **benches,
                              trm_error *err);

/* Takes `benches` over: puzzles that get a slot from now on are computed by them, those that have one
 * finish where they are. `model` is the index; form and vocabulary must be the same. */
void srv_scheduler_replace(struct srv_scheduler *scheduler, int model, struct srv_bench *benches);

/* Queues a whole group, or TRM_FULL if the queue has not room for all of its jobs. The group must live
 * until each of its jobs was collected with an outcome other than SRV_RUNNING. */
trm_status srv_scheduler_submit(struct srv_scheduler *scheduler, struct srv_group *group);

/* Rollouts that wait. No other call than srv_scheduler_submit() adds to them. */
int srv_scheduler_waiting(struct srv_scheduler *scheduler);

/* Seconds until what waits now is done, by the rate of the last seconds: for Retry-After. */
int srv_scheduler_wait_s(struct srv_scheduler *scheduler);

/* Gives up a group's unfinished jobs with the outcome `why`, SRV_DEADLINE or SRV_CANCELLED: those that
 * wait at once, those that run after the current step. All of them are there to be collected (again),
 * with the progress they have made. */
void srv_scheduler_cancel(struct srv_scheduler *scheduler, struct srv_group *group, enum srv_outcome why);

/* Gives up one puzzle of a group, whose answer is not needed any more, with the outcome SRV_CANCELLED, in the same
 * way. */
void srv_scheduler_drop(struct srv_scheduler *scheduler, struct srv_group *group, int puzzle);

/* Brings `seen` of all updated jobs up to date and calls `update` for each, outside the lock. A job
 * is final with the first outcome that is not SRV_RUNNING; `update` may then free its group once
 * all of its jobs are, but not call this function again. */
void srv_scheduler_collect(struct srv_scheduler *scheduler, void (*update)(struct srv_job *job, void *arg), void *arg);

#endif
