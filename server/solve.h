/* solve.h - from a request to puzzles in the scheduler and back to an answer: POST /solve, and what
 * KServe's form of it (kserve.h) shares.
 *
 * A solve outlives its exchange when the client leaves: its puzzles are cancelled, and it is freed
 * when the last has come back. Loop thread. */
#ifndef TRM_SERVER_SOLVE_H
#define TRM_SERVER_SOLVE_H

#include "proto/answer.h"
#include "proto/kserve.h"
#include "proto/request.h"
#include "server/http.h"
#include "server/job.h"
#include "server/server.h"
#include "server/stream.h"
#include "server/vote.h"

struct srv_solve {
    struct srv_server *server;
    struct srv_exchange *exchange; /* NULL once it has ended */
    struct srv_group *group;
    const struct srv_model *model;
    struct srv_vote *vote; /* of an ARC task, else NULL */
    bool many;             /* "grids" was given */
    bool expired;          /* the deadline has passed: what is known now is the answer */
    int pending;           /* jobs that are not final */
    int unsolved;          /* puzzles that are not done */
    enum proto_framing framing;
    struct proto_kserve_wish wish;     /* of a KServe request */
    struct srv_stream stream;          /* when framing is not PROTO_JSON */
    struct srv_solve *previous, *next; /* in server->solves */
};

/* The handler of POST /solve. */
void srv_solve(struct srv_exchange *exchange);

/* Whether another puzzle may be queued now; false with a problem if not. */
bool srv_solve_has_room(struct srv_server *server, struct proto_problem *problem);

/* What one request may ask for. */
struct proto_limits srv_solve_limits(const struct srv_server *server);

/* Queues the puzzles of `request`, which remains the caller's, and sees to the answer: as a stream, or, with
 * the framing PROTO_JSON, by calling `answer` (a srv_exchange's `resumed`) when all puzzles are done. NULL if
 * they could not be queued, and a problem is the answer. In a handler. */
struct srv_solve *srv_solve_start(struct srv_exchange *exchange, const struct proto_request *request,
                                  enum proto_framing framing, void (*answer)(struct srv_exchange *exchange));

/* True if a puzzle could not be computed. */
bool srv_solve_has_failed(const struct srv_solve *solve);

/* For srv_scheduler_collect(): takes note of a job's progress. `arg` is not used. */
void srv_solve_update(struct srv_job *job, void *arg);

/* True when nothing better is to be expected for this puzzle. */
bool srv_solve_is_done(const struct srv_solve *solve, int puzzle);

/* True when nothing better is to be expected for the whole request. */
bool srv_solve_is_over(const struct srv_solve *solve);

/* What is known of an ARC task, as an answer that borrows from the vote. */
struct proto_task_answer srv_solve_task_answer(const struct srv_solve *solve);

/* What is known of a puzzle, as an answer that borrows from its leading rollout. At its deadline a
 * puzzle that has not had a slot has the puzzle itself for an answer, after 0 steps. */
struct proto_answer srv_solve_answer(const struct srv_solve *solve, int puzzle);

/* Milliseconds since the request came. */
double srv_solve_total_ms(const struct srv_solve *solve);

/* What a client is told of a puzzle whose leader has the outcome SRV_FAILED. */
void srv_solve_describe_failure(struct proto_problem *problem);

#endif
