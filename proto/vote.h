/* vote.h - what /solve sends about an ARC task: the votes on each of its tests. Pure writers: any thread. */
#ifndef TRM_PROTO_VOTE_H
#define TRM_PROTO_VOTE_H

#include "engine/data/arc_poll.h"
#include "proto/answer.h"

enum { PROTO_ATTEMPTS = 2, PROTO_VOTES = 10 }; /* answers to a test; choices that are shown at most */

/* The vote on one test. */
struct proto_vote {
    int voted, augment; /* augmentations that have voted, of how many */
    bool decided;       /* the others were not waited for: the first choice could not be overtaken */
    data_arc_poll *poll;
};

struct proto_task_answer {
    const char *task_id;
    const char *known_by;           /* "task_id" or "content" */
    const struct proto_vote *votes; /* [tests] */
    int tests;
    long steps;                                                   /* supervision steps of all augmentations together */
    bool expired;                                                 /* the deadline came first */
    int asked_rollouts, given_rollouts, asked_steps, given_steps; /* as in struct proto_answer */
    double queue_ms, compute_ms, total_ms;
};

/* {"id","model","task_id",...,"answers":[{"attempts":[grid,grid],"votes":[...]}, ...]}. A test on which nobody has
 * voted has no attempts; a prediction that is no grid is []. */
void proto_write_task_answer(struct proto_text *text, const char *id, const char *model,
                             const struct proto_task_answer *answer);

/* Messages of a stream: the vote on test `test` as it stands, and the answer. */
void proto_stream_vote(struct proto_text *text, enum proto_framing framing, int test, const struct proto_vote *vote);
void proto_stream_task_answer(struct proto_text *text, enum proto_framing framing, const char *id, const char *model,
                              const struct proto_task_answer *answer);

#endif
