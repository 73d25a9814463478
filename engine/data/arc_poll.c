/* arc_poll.c - see arc_poll.h. */
#include "engine/data/arc_poll.h"

#include <math.h>
#include <stdlib.h>

struct data_arc_poll {
    struct data_arc_choice *choices;       /* [count] in the order they were seen */
    const struct data_arc_choice **ranked; /* [count] */
    int count, capacity;
};

data_arc_poll *data_arc_poll_create(void) {
    return calloc(1, sizeof(data_arc_poll));
}

void data_arc_poll_destroy(data_arc_poll *poll) {
    if (!poll)
        return;
    free(poll->choices);
    free(poll->ranked);
    free(poll);
}

static trm_status grow(data_arc_poll *poll, trm_error *err) {
    const size_t capacity = (size_t)poll->capacity * 2 + 4;
    struct data_arc_choice *choices = realloc(poll->choices, capacity * sizeof *choices);
    if (choices)
        poll->choices = choices;
    const struct data_arc_choice **ranked = realloc(poll->ranked, capacity * sizeof *ranked);
    if (ranked)
        poll->ranked = ranked;
    if (!choices || !ranked)
        return trm_fail_memory(err, capacity * sizeof *choices);
    poll->capacity = (int)capacity;
    return TRM_OK;
}

trm_status data_arc_poll_vote(data_arc_poll *poll, const struct data_arc_grid *grid, float q_halt, trm_error *err) {
    int i = 0;
    while (i < poll->count && !data_arc_equal(&poll->choices[i].grid, grid))
        i++;
    if (i == poll->count) {
        const trm_status status = i == poll->capacity ? grow(poll, err) : TRM_OK;
        if (status != TRM_OK)
            return status;
        poll->choices[poll->count++] = (struct data_arc_choice){.grid = *grid};
    }
    struct data_arc_choice *choice = &poll->choices[i];
    choice->votes++;
    choice->sum_q += 1.0 / (1.0 + exp(-(double)q_halt));
    choice->mean_q = choice->sum_q / choice->votes;
    return TRM_OK;
}

/* For qsort(): of two equal choices the one with the lower address was seen first. */
static int compare(const void *a, const void *b) {
    const struct data_arc_choice *x = *(const struct data_arc_choice *const *)a;
    const struct data_arc_choice *y = *(const struct data_arc_choice *const *)b;
    if (x->votes != y->votes)
        return x->votes > y->votes ? -1 : 1;
    if (x->mean_q != y->mean_q)
        return x->mean_q > y->mean_q ? -1 : 1;
    return x < y ? -1 : x > y;
}

const struct data_arc_choice *const *data_arc_poll_rank(data_arc_poll *poll, int *count) {
    for (int i = 0; i < poll->count; i++)
        poll->ranked[i] = &poll->choices[i];
    if (poll->count > 0)
        qsort(poll->ranked, (size_t)poll->count, sizeof *poll->ranked, compare);
    *count = poll->count;
    return poll->ranked;
}

const struct data_arc_grid *data_arc_poll_attempt(data_arc_poll *poll, int number) {
    int count;
    const struct data_arc_choice *const *ranked = data_arc_poll_rank(poll, &count);
    return count == 0 ? NULL : &ranked[number < count ? number : 0]->grid;
}

bool data_arc_poll_is_decided(data_arc_poll *poll, int more) {
    int count;
    const struct data_arc_choice *const *ranked = data_arc_poll_rank(poll, &count);
    const int second = count > 1 ? ranked[1]->votes : 0;
    return count > 0 && ranked[0]->votes > second + more;
}
