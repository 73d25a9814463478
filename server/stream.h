/* stream.h - the answer to a solve request as a stream: a message for each step, then the answer.
 *
 * Nothing is rendered before the client can take it: between the scheduler and the socket there are
 * only the tracks of the jobs (the last 16 steps each, job.h) and one buffer. A client that reads more
 * slowly than that misses old steps, never new ones.
 *
 * Of several rollouts the stream shows the one that leads: the one whose newest q_halt is the highest,
 * a verified one before all. A step is sent when its number is higher than the last one sent, so the
 * numbers rise although the lead changes; each message names its rollout. A client may also ask for the
 * steps of all of them.
 *
 * Of an ARC task no steps are shown, but the vote on each test whenever it has changed. Loop thread. */
#ifndef TRM_SERVER_STREAM_H
#define TRM_SERVER_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/text.h"
#include "server/http.h"
#include "server/job.h"

/* How far the client is with one puzzle, or with one rollout of it. */
struct srv_stream_place {
    int32_t *sent; /* [cells] the last answer sent, before any the puzzle itself */
    int steps;     /* the last step sent */
    bool answered; /* the final message was sent; of rollout 0 only */
};

struct srv_stream {
    struct srv_stream_place *places; /* [lanes, puzzles] */
    int32_t *cells;                  /* [lanes, puzzles, cells], memory of the places */
    int lanes;                       /* rollouts that are shown: 1, the one that leads, or all */
    int unanswered;                  /* puzzles, or 1 task, whose final message was not sent */
    int next;                        /* the puzzle to look at next */
    bool ping;                       /* something is to be said, though there is nothing to say */
    struct proto_text text;          /* rendered messages */
    size_t offset;                   /* of it are sent */
};

/* Prepares a stream for a group whose tokens are filled in, which shows every rollout of a puzzle or the one
 * that leads; false when memory ran out. */
bool srv_stream_open(struct srv_stream *stream, const struct srv_group *group, bool every_rollout);
void srv_stream_close(struct srv_stream *stream); /* also of one that was never opened, all zero */

/* The `ping` of the exchange (exchange.h). */
void srv_stream_ping(struct srv_exchange *exchange);

/* The reader of the exchange (exchange.h), whose data is a struct srv_solve. */
ssize_t srv_stream_read(struct srv_exchange *exchange, char *buffer, size_t size);

#endif
