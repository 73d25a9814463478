/* queue.h - who is next: the order of the groups (requests) that wait for one model.
 *
 * The next free slot goes to the group of the highest priority; among equals to the one with the fewest
 * slots, and among those to the one whose last turn (or arrival) is the longest ago. Single puzzles are
 * therefore served first come, first served, and a request of a thousand puzzles gets no more slots
 * than any other while others wait.
 *
 * A job that has had its share of steps gives way (srv_queue_yield()). From then on its group comes behind
 * the others of its priority: a puzzle waits for what is before it in the queue, but not for long ones to end.
 *
 * Nobody starves: after seven turns in a row in which a lower rank (by priority, then by having had a share)
 * had to wait, one turn goes to the lower ranks, to that of their groups whose last turn is the longest ago.
 * Whoever keeps the server busy with urgent work takes at most seven turns in eight from the rest.
 *
 * A queue owns nothing; its owner's lock protects it and the `turn` of its groups. Each operation takes
 * O(log groups). */
#ifndef TRM_SERVER_QUEUE_H
#define TRM_SERVER_QUEUE_H

#include "server/job.h"

/* Each priority has two: of groups that have had their share, and above it of those that have not. */
enum { SRV_RANKS = 2 * (SRV_HIGHEST_PRIORITY - SRV_LOWEST_PRIORITY + 1) };

RB_HEAD(srv_rank, srv_group); /* groups of one rank that wait, in the order of their turns */

struct srv_queue {                    /* all zero: empty */
    struct srv_rank ranks[SRV_RANKS]; /* from the lowest */
    uint64_t turns;                   /* so far */
    int waiting;                      /* jobs */
    int passed;                       /* turns in a row in which a lower rank had to wait */
};

/* Puts a new group with all of its jobs into the queue. */
void srv_queue_add(struct srv_queue *queue, struct srv_group *group);

/* Takes the next job out, to run; NULL when none waits. */
struct srv_job *srv_queue_take(struct srv_queue *queue);

/* A job that was taken has left its slot. */
void srv_queue_left(struct srv_queue *queue, struct srv_group *group);

/* A job that was taken has left its slot to another, and waits again. Its group's jobs that did so come before
 * those that have not begun: what they have come to takes memory. */
void srv_queue_yield(struct srv_queue *queue, struct srv_job *job);

/* Takes a job out that waits and will not run. Its outcome must be set. */
void srv_queue_drop(struct srv_queue *queue, struct srv_job *job);

/* Whether a job waits. */
bool srv_queue_holds(const struct srv_job *job);

#endif
