/* queue.c - a red-black tree of groups for each rank. Lives under the scheduler's lock. */
#include "server/queue.h"

enum { PATIENCE = 7 }; /* turns in a row that a lower rank may be passed over */

static int compare(const struct srv_group *a, const struct srv_group *b) {
    if (a->turn.running != b->turn.running) {
        return a->turn.running < b->turn.running ? -1 : 1;
    }
    return a->turn.number < b->turn.number ? -1 : a->turn.number > b->turn.number;
}

RB_GENERATE_STATIC(srv_rank, srv_group, turn.node, compare)

static int rank_of(const struct srv_group *group) {
    return 2 * (group->config.priority - SRV_LOWEST_PRIORITY) + !group->turn.had_share;
}

/* Every change of a group's place: it leaves the tree, changes, and comes back if it still waits. */
static void lift(struct srv_queue *queue, struct srv_group *group) {
    if (group->turn.waiting > 0) {
        srv_rank_RB_REMOVE(&queue->ranks[rank_of(group)], group);
    }
}

static void lower(struct srv_queue *queue, struct srv_group *group) {
    if (group->turn.waiting > 0) {
        srv_rank_RB_INSERT(&queue->ranks[rank_of(group)], group);
    }
}

static void add_waiting(struct srv_queue *queue, struct srv_group *group, int jobs) {
    group->turn.waiting += jobs;
    queue->waiting += jobs;
}

void srv_queue_add(struct srv_queue *queue, struct srv_group *group) {
    group->turn = (struct srv_turn){.number = ++queue->turns};
    add_waiting(queue, group, group->count);
    lower(queue, group);
}

/* The best group of the ranks below `limit`: of the highest, or of the longest wait. */
static struct srv_group *best_below(struct srv_queue *queue, int limit, bool longest) {
    struct srv_group *best = NULL;
    for (int i = limit - 1; i >= 0 && (longest || !best); i--) {
        struct srv_group *group = RB_MIN(srv_rank, &queue->ranks[i]);
        if (group && (!best || group->turn.number < best->turn.number)) {
            best = group;
        }
    }
    return best;
}

static struct srv_group *choose(struct srv_queue *queue) {
    struct srv_group *group = best_below(queue, SRV_RANKS, false);
    struct srv_group *lesser = best_below(queue, group ? rank_of(group) : 0, true);
    if (!lesser) {
        queue->passed = 0;
    } else if (++queue->passed > PATIENCE) {
        queue->passed = 0;
        return lesser;
    }
    return group;
}

bool srv_queue_holds(const struct srv_job *job) {
    return (job->is_back || job - job->group->jobs >= job->group->turn.next) && job->shared.outcome == SRV_RUNNING;
}

/* The next job of a group that has one, past those that were dropped. */
static struct srv_job *next_of(struct srv_turn *turn, struct srv_job *jobs) {
    for (struct srv_job *job; (job = turn->first_back);) {
        turn->first_back = job->next_back;
        bool held = srv_queue_holds(job);
        job->is_back = false;
        if (held) {
            return job;
        }
    }
    while (!srv_queue_holds(&jobs[turn->next])) {
        turn->next++;
    }
    return &jobs[turn->next++];
}

struct srv_job *srv_queue_take(struct srv_queue *queue) {
    struct srv_group *group = choose(queue);
    if (!group) {
        return NULL;
    }
    lift(queue, group);
    struct srv_job *job = next_of(&group->turn, group->jobs);
    group->turn.number = ++queue->turns;
    group->turn.running++;
    add_waiting(queue, group, -1);
    lower(queue, group);
    return job;
}

void srv_queue_left(struct srv_queue *queue, struct srv_group *group) {
    lift(queue, group);
    group->turn.running--;
    lower(queue, group);
}

void srv_queue_yield(struct srv_queue *queue, struct srv_job *job) {
    struct srv_turn *turn = &job->group->turn;
    lift(queue, job->group);
    job->is_back = true;
    job->next_back = NULL;
    if (turn->first_back) {
        turn->last_back->next_back = job;
    } else {
        turn->first_back = job;
    }
    turn->last_back = job;
    turn->number = ++queue->turns;
    turn->running--;
    turn->had_share = true;
    add_waiting(queue, job->group, 1);
    lower(queue, job->group);
}

void srv_queue_drop(struct srv_queue *queue, struct srv_job *job) {
    lift(queue, job->group);
    add_waiting(queue, job->group, -1);
    lower(queue, job->group);
}
