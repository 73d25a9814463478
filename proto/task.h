/* task.h - POST /tasks, which adapts a model to an ARC task, and what is told of an adaptation.
 *
 *     {"model": "arc", "task": {"train": [...], "test": [...]}, "options": {"seconds", "augment", "lr", "seed"}}
 *
 * The writers are pure: any thread. A request belongs to one thread. */
#ifndef TRM_PROTO_TASK_H
#define TRM_PROTO_TASK_H

#include <jansson.h>

#include "engine/data/arc_task.h"
#include "engine/train/adapt.h"
#include "proto/accept.h"
#include "proto/problem.h"
#include "proto/text.h"

enum { PROTO_TASK_AUGMENT = 255, PROTO_TASK_SECONDS = 300 }; /* the largest; what a request that says nothing gets */

struct proto_task_request {
    json_t *root;              /* owned; `model` borrows from it */
    const char *model;         /* NULL if absent */
    struct data_arc_task task; /* owned, without a name */
    int seconds;               /* the budget: 1 .. the server's limit */
    int augment;               /* augmentations that are learnt beside the task */
    double lr;                 /* learning rate of the weights */
    uint64_t seed;
};

/* Parses `body` ([length] bytes). False with *problem filled in, and nothing to release. */
bool proto_task_read(const char *body, size_t length, int max_seconds, struct proto_task_request *request,
                     struct proto_problem *problem);
void proto_task_release(struct proto_task_request *request);

enum proto_task_state {
    PROTO_TASK_WAITING,
    PROTO_TASK_RUNNING,
    PROTO_TASK_DONE,
    PROTO_TASK_FAILED,
    PROTO_TASK_CANCELLED,
    PROTO_TASK_STATES
};

/* "waiting", "running", "done", "failed", "cancelled". */
const char *proto_task_state_name(enum proto_task_state state);

struct proto_task_status {
    const char *id, *model;
    enum proto_task_state state;
    const char *detail;                   /* why it failed, else NULL */
    int budget;                           /* seconds; 0: not known any more */
    int ahead;                            /* others that are waiting or running before it */
    struct train_adapt_progress progress; /* all zero while it waits, and when it is not known any more */
};

/* {"id","model","state","budget_s","ahead","progress":{"share","updates","seconds","loss","accuracy","exact"}}. */
void proto_write_task(struct proto_text *text, const struct proto_task_status *status);

/* The same as a message of a stream: "progress", or at the end the name of the state. */
void proto_stream_task(struct proto_text *text, enum proto_framing framing, const struct proto_task_status *status);

#endif
