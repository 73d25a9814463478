/* queue.c - a red-black tree of groups for each priority. Lives under the scheduler's lock. */
#include "server/queue.h"

enum { PATIENCE = 7 }; /* turns in a row that a lower priority may be passed over */

static int compare(const struct srv_group *a, const struct srv_group *b) {
    if (a->turn.running != b->turn.running) {
        return a->turn.running < b->turn.running ? -1 : 1;
    }
    return a->turn.number < b->turn.number ? -1 : a->turn.number > b->turn.number;
}

RB_GENERATE_STATIC(srv_rank, srv_group, turn.node, compare)

static struct srv_rank *rank_of(struct srv_queue *queue, const struct srv_group *group) {
    return &queue->ranks[group->config.priority - SRV_LOWEST_PRIORITY];
}

/* Every change of a group's place: it leaves the tree, changes, and comes back if it still waits. */
static void lift(struct srv_queue *queue, struct srv_group *group) {
    if (group->turn.waiting > 0) {
        srv_rank_RB_REMOVE(rank_of(queue, group), group);
    }
}

static void lower(struct srv_queue *queue, struct srv_group *group) {
    if (group->turn.waiting > 0) {
        srv_rank_RB_INSERT(rank_of(queue, group), group);
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
    struct srv_group *group = best_below(queue, SRV_PRIORITIES, false);
    int level = group ? group->config.priority - SRV_LOWEST_PRIORITY : 0;
    struct srv_group *lesser = best_below(queue, level, true);
    if (!lesser) {
        queue->passed = 0;
    } else if (++queue->passed > PATIENCE) {
        queue->passed = 0;
        return lesser;
    }
    return group;
}

bool srv_queue_holds(const struct srv_job *job) {
    return job - job->group->jobs >= job->group->turn.next && job->shared.outcome == SRV_RUNNING;
}

struct srv_job *srv_queue_take(struct srv_queue *queue) {
    struct srv_group *group = choose(queue);
    if (!group) {
        return NULL;
    }
    lift(queue, group);
    while (!srv_queue_holds(&group->jobs[group->turn.next])) {
        group->turn.next++; /* it was dropped */
    }
    struct srv_job *job = &group->jobs[group->turn.next++];
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

void srv_queue_drop(struct srv_queue *queue, struct srv_job *job) {
    lift(queue, job->group);
    add_waiting(queue, job->group, -1);
    lower(queue, job->group);
}
