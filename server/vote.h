/* vote.h - how the puzzles of one request become the answers to an ARC task: a slot for each augmentation
 * of each test, brought back and counted as they end. Loop thread. */
#ifndef TRM_SERVER_VOTE_H
#define TRM_SERVER_VOTE_H

#include "engine/data/arc_index.h"
#include "proto/request.h"
#include "proto/vote.h"
#include "server/job.h"
#include "server/shelf.h"

struct srv_vote {
    trm_model *engine; /* a reference: whose index it is, and what computes it */
    const struct data_arc_entry *entry;
    const char *known_by;     /* "task_id" or "content" */
    int side;                 /* of the square of tokens */
    int tests, augment;       /* puzzle a * tests + t of the group is augmentation a of test t */
    int open;                 /* tests that are not settled */
    bool to_the_end;          /* no test is settled before all have voted */
    bool failed;              /* memory ran out: the count is wrong */
    struct proto_vote *votes; /* [tests] */
    struct srv_ballot {
        int ended; /* augmentations that have voted or never will */
        int sent;  /* votes that a stream has told of */
    } * ballots;   /* [tests] */
};

/* For a request with a task: finds it among those of `model`, or among those that it was adapted to, if there is a
 * shelf of these. NULL with *problem filled in if it is not known. */
struct srv_vote *srv_vote_create(const struct srv_model *model, struct srv_shelf *shelf,
                                 const struct proto_request *request, struct proto_problem *problem);
void srv_vote_destroy(struct srv_vote *vote); /* NULL is fine */

/* Fills in the puzzles of `group`, tests * augment of them. */
void srv_vote_fill(const struct srv_vote *vote, const struct data_arc_task *task, struct srv_group *group);

/* A puzzle has ended, or will not be waited for: what is seen of it is counted, once. True if its test is settled by
 * that: the other puzzles of it are not needed. */
bool srv_vote_count(struct srv_vote *vote, struct srv_group *group, int puzzle);

#endif
