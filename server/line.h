/* line.h - all that happens to the jobs of one model: queue, puzzles and counters change together here.
 *
 * A line belongs to the scheduler, whose lock protects it and the shared half of its jobs. */
#ifndef TRM_SERVER_LINE_H
#define TRM_SERVER_LINE_H

#include "server/queue.h"
#include "server/stats.h"

struct srv_line {
    struct srv_queue queue;
    struct srv_model_stats stats;
    size_t parked_bytes; /* that jobs hold which wait and have had a slot */
};

void srv_line_init(struct srv_line *line);

/* A group arrives. */
void srv_line_add(struct srv_line *line, struct srv_group *group);

/* The next job gets a slot, its `parked` puzzle or a new one; NULL when none waits. */
struct srv_job *srv_line_take(struct srv_line *line);

/* A job has made a step. */
void srv_line_step(struct srv_line *line, struct srv_job *job, const struct trm_report *report);

/* Whether a job in a slot has had its share of steps since it got it. */
bool srv_line_has_had_share(const struct srv_job *job);

/* A job has left its slot to others and waits again. Takes `parked` over: what it has come to. */
void srv_line_yield(struct srv_line *line, struct srv_job *job, trm_parked *parked);

/* A job ends, in its slot or in the queue. What its group was given up for wins over `outcome`. */
void srv_line_end(struct srv_line *line, struct srv_job *job, enum srv_outcome outcome);

/* A worker has stepped a batch in which `busy` of `slots` are taken. */
void srv_line_count_round(struct srv_line *line, int busy, int slots, double seconds);

/* Whether nobody needs a job any more that is in a slot. */
bool srv_line_is_needless(const struct srv_job *job);

#endif
