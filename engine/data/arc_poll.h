/* arc_poll.h - the vote on one test input: predictions made under several augmentations, brought back
 * and counted (golden README section 8). One owner at a time. */
#ifndef TRM_ENGINE_DATA_ARC_POLL_H
#define TRM_ENGINE_DATA_ARC_POLL_H

#include "engine/data/arc.h"
#include "engine/status.h"

typedef struct data_arc_poll data_arc_poll;

struct data_arc_choice {
    struct data_arc_grid grid;
    int votes;
    double sum_q, mean_q; /* over its votes: the probability that the halting head gives */
};

/* NULL when memory ran out. */
data_arc_poll *data_arc_poll_create(void);
void data_arc_poll_destroy(data_arc_poll *poll); /* NULL is fine */

/* Counts a vote for `grid`, of which the halting head says `q_halt` (a logit). TRM_NO_MEMORY. */
trm_status data_arc_poll_vote(data_arc_poll *poll, const struct data_arc_grid *grid, float q_halt, trm_error *err);

/* The choices, the most voted first, among equals the one with the higher mean q, then the one seen first; *count of
 * them, valid until the next vote. */
const struct data_arc_choice *const *data_arc_poll_rank(data_arc_poll *poll, int *count);

/* Attempt `number`, from 0, of a submission: the choice of that rank, or the first when there are not as many. NULL
 * when nobody has voted. */
const struct data_arc_grid *data_arc_poll_attempt(data_arc_poll *poll, int number);

/* Whether the first choice stays the first whatever `more` votes say. */
bool data_arc_poll_is_decided(data_arc_poll *poll, int more);

#endif
