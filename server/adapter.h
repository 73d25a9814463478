/* adapter.h - adaptations of models to ARC tasks, one at a time, by a thread of its own that gives way to all others.
 *
 * The thread, and what helps it, are as nice as can be: on a busy machine the workers of the scheduler get their cores
 * and it gets what they leave. It has a training context of its own (engine/train/adapt.h), made anew for each task,
 * and shares nothing with those who solve but the machine.
 *
 * An adaptation is made and freed by the loop thread; from srv_adapter_submit() until its end the thread works with it.
 * All functions are for the loop thread; `notify` is called on any. */
#ifndef TRM_SERVER_ADAPTER_H
#define TRM_SERVER_ADAPTER_H

#include <stdatomic.h>

#include "proto/task.h"
#include "server/models.h"
#include "server/shelf.h"

/* How far an adaptation is. */
struct srv_adaptation_view {
    enum proto_task_state state;
    struct train_adapt_progress progress;
    trm_error error;   /* when it failed */
    trm_model *engine; /* when it is done: what came of it, */
    char *draft;       /* and its files (shelf.h); both for the loop thread to take over */
};

struct srv_adaptation {
    /* Constant. */
    char id[SRV_TASK_ID];
    const struct srv_model *model;
    struct data_arc_task task; /* owned; its name is the id */
    int seconds, augment, threads;
    double lr;
    uint64_t seed;

    atomic_bool cancelled;

    /* The adapter's, under its lock. */
    struct srv_adaptation_view shared;
    struct srv_adaptation *next_waiting;

    /* The loop thread's (tasks.c). */
    struct srv_adaptation_view seen;
    struct srv_adaptation *next;
    unsigned version; /* of what is told of it */
    int watchers;     /* streams that show it */
    bool given_up;    /* whoever asks is told that it was cancelled, */
    bool ended;       /* and by now the adapter has done with it */
    bool forgotten;   /* nobody finds it any more */
};

struct srv_adapter;

struct srv_adapter_config {
    const struct srv_shelf *shelf;      /* must outlive the adapter: where drafts go */
    struct trm_model_options precision; /* that results are opened with */
    void (*notify)(void *arg);          /* something has changed; must not block */
    void *arg;
};

trm_status srv_adapter_create(const struct srv_adapter_config *config, struct srv_adapter **adapter, trm_error *err);

/* Ends the thread within about a second, whatever it does. NULL is fine. Adaptations that were submitted are cancelled
 * then, and there to be looked at once more. */
void srv_adapter_stop(struct srv_adapter *adapter);
void srv_adapter_destroy(struct srv_adapter *adapter); /* stops it if need be; NULL is fine */

void srv_adapter_submit(struct srv_adapter *adapter, struct srv_adaptation *job);

/* One that waits is over at once; one that runs, between two of its puzzles. */
void srv_adapter_cancel(struct srv_adapter *adapter, struct srv_adaptation *job);

/* Brings job->seen up to date; true if it differs from before. */
bool srv_adapter_look(struct srv_adapter *adapter, struct srv_adaptation *job);

#endif
