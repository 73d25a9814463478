/* bench.h - one worker's batch of one model, and who sits in its slots.
 *
 * A bench belongs to its worker's thread, but for the list it is in (scheduler.c). */
#ifndef TRM_SERVER_BENCH_H
#define TRM_SERVER_BENCH_H

#include "server/job.h"

struct srv_bench {
    struct srv_bench *next; /* an older bench of the same model; in a set: that of the next worker */
    trm_batch *batch;
    trm_model *engine;         /* of the batch, which keeps it */
    struct srv_job **seats;    /* [slots] who sits where, NULL for free */
    struct srv_job **incoming; /* [slots] taken from the queue, not admitted yet */
    int incoming_count;
    int busy; /* jobs in seats and incoming */
};

trm_status srv_bench_create(trm_model *engine, int slots, struct srv_bench **bench, trm_error *err);
void srv_bench_destroy(struct srv_bench *bench); /* NULL is fine */

/* A bench and all that follow it. */
void srv_benches_destroy(struct srv_bench *benches); /* NULL is fine */
int srv_benches_busy(const struct srv_bench *benches);
bool srv_benches_have_idle(const struct srv_bench *benches);

/* Incoming jobs of the first bench that were parked by an older checkpoint, or want one of their own, go to the bench
 * of that, which is made if there is none (any more). A job for which that fails stays, and will be refused. */
void srv_benches_sort(struct srv_bench *benches, int slots);

/* Destroys those of a list that have nothing to do. */
void srv_benches_drop_idle(struct srv_bench **benches);

/* Seats the incoming jobs, then one supervision step for all that sit. Jobs that the engine refuses
 * stay in `incoming`; when the step fails no report is valid. */
trm_status srv_bench_step(struct srv_bench *bench, trm_error *err);

/* The job in `slot` gets up. */
void srv_bench_leave(struct srv_bench *bench, int slot);

/* The same, but for what it has come to; when memory is short it stays. */
trm_status srv_bench_park(struct srv_bench *bench, int slot, trm_parked **parked, trm_error *err);

#endif
