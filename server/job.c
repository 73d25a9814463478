/* job.c - the memory of a request's puzzles: three slabs, whatever their number. Groups are made and
 * freed by the loop thread; tracks belong to whom job.h says. */
#include "server/job.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* Steps that a slow stream may lag behind without losing any; what it may be when the steps of several
 * rollouts are kept, of which it shows one. */
enum { STREAM_DEPTH = 16, ROLLOUT_DEPTH = 4 };

enum { FLOATS = 6 }; /* of a job for each step: three of each of its two tracks */

const char *srv_outcome_name(enum srv_outcome outcome) {
    static const char *const names[SRV_OUTCOMES] = {
        [SRV_RUNNING] = "running",     [SRV_Q_HEAD] = "q_head",     [SRV_VERIFIED] = "verified",
        [SRV_MAX_STEPS] = "max_steps", [SRV_DEADLINE] = "deadline", [SRV_CANCELLED] = "cancelled",
        [SRV_FAILED] = "failed",
    };
    return names[outcome];
}

static int depth_of(const struct srv_group_config *config) {
    int depth = !config->every_step ? 1 : config->rollouts > 1 ? ROLLOUT_DEPTH : STREAM_DEPTH;
    return depth < config->options.max_steps ? depth : config->options.max_steps;
}

static bool allocate(struct srv_group *group) {
    size_t count = (size_t)group->count, puzzles = (size_t)group->config.puzzles, cells = (size_t)group->cells;
    group->jobs = calloc(count, sizeof *group->jobs);
    group->puzzles = calloc(puzzles, sizeof *group->puzzles);
    group->slabs[0] = calloc(puzzles, cells * sizeof(int32_t));
    group->slabs[1] = calloc(count, FLOATS * (size_t)group->config.options.max_steps * sizeof(float));
    group->slabs[2] = calloc(count, 2 * (size_t)group->depth * cells * sizeof(int32_t));
    return group->jobs && group->puzzles && group->slabs[0] && group->slabs[1] && group->slabs[2];
}

/* An empty track in memory of [3, steps] and [depth, cells]. */
static struct srv_track track_at(float *floats, size_t steps, int32_t *answers) {
    return (struct srv_track){
        .q_halt = floats, .confidence = floats + steps, .ms = floats + 2 * steps, .answers = answers};
}

static void place_job(struct srv_group *group, int index) {
    struct srv_job *job = &group->jobs[index];
    size_t i = (size_t)index, steps = (size_t)group->config.options.max_steps;
    size_t answers = (size_t)group->depth * (size_t)group->cells;
    float *floats = (float *)group->slabs[1] + i * FLOATS * steps; /* [2, 3, max_steps] */
    int32_t *ring = (int32_t *)group->slabs[2] + i * 2 * answers;  /* [2, depth, cells] */
    job->group = group;
    job->puzzle = index % group->config.puzzles;
    job->rollout = index / group->config.puzzles;
    job->shared = track_at(floats, steps, ring);
    job->seen = track_at(floats + 3 * steps, steps, ring + answers);
}

struct srv_group *srv_group_create(const struct srv_group_config *config) {
    struct srv_group *group = calloc(1, sizeof *group);
    if (!group) {
        return NULL;
    }
    group->config = *config;
    group->cells = config->model->form.side * config->model->form.side;
    group->depth = depth_of(config);
    group->count = config->puzzles * config->rollouts;
    if (!allocate(group)) {
        srv_group_destroy(group);
        return NULL;
    }
    for (int i = 0; i < config->puzzles; i++) {
        group->puzzles[i].tokens = (int32_t *)group->slabs[0] + (size_t)i * (size_t)group->cells;
        group->puzzles[i].pending = group->puzzles[i].unseen = config->rollouts;
    }
    for (int i = 0; i < group->count; i++) {
        place_job(group, i);
    }
    return group;
}

void srv_group_destroy(struct srv_group *group) {
    if (group) {
        for (int i = 0; i < 3; i++) {
            free(group->slabs[i]);
        }
        free(group->puzzles);
        free(group->jobs);
        free(group);
    }
}

struct trm_solve_options srv_job_options(const struct srv_job *job) {
    struct trm_solve_options options = job->group->config.options;
    options.variation = job->rollout;
    options.stride = job->group->config.rollouts;
    return options;
}

enum rank { FAILED, UNKNOWN, ANSWERED, VERIFIED };

static enum rank rank(const struct srv_track *track) {
    return track->outcome == SRV_VERIFIED ? VERIFIED
           : track->outcome == SRV_FAILED ? FAILED
           : track->steps > 0             ? ANSWERED
                                          : UNKNOWN;
}

bool srv_track_leads(const struct srv_track *track, const struct srv_track *other) {
    enum rank mine = rank(track), theirs = rank(other);
    if (mine != theirs || mine < ANSWERED) {
        return mine > theirs;
    }
    if (mine == VERIFIED) {
        return track->ended_ns < other->ended_ns;
    }
    return track->q_halt[track->steps - 1] > other->q_halt[other->steps - 1];
}

const struct srv_job *srv_group_leader(const struct srv_group *group, int puzzle) {
    const struct srv_job *leader = &group->jobs[puzzle];
    for (int r = 1; r < group->config.rollouts; r++) {
        const struct srv_job *job = &group->jobs[r * group->config.puzzles + puzzle];
        leader = srv_track_leads(&job->seen, &leader->seen) ? job : leader;
    }
    return leader;
}

int32_t *srv_track_answer(const struct srv_group *group, const struct srv_track *track, int step) {
    return track->answers + (size_t)((step - 1) % group->depth) * (size_t)group->cells;
}

void srv_track_add(const struct srv_group *group, struct srv_track *track, const int32_t *answer, float q_halt,
                   float confidence) {
    if (track->steps >= group->config.options.max_steps) {
        return;
    }
    track->q_halt[track->steps] = q_halt;
    track->confidence[track->steps] = confidence;
    track->ms[track->steps] = (float)(uv_hrtime() - track->started_ns) / 1e6f;
    track->steps++;
    memcpy(srv_track_answer(group, track, track->steps), answer, (size_t)group->cells * sizeof *answer);
}

void srv_track_copy(const struct srv_group *group, struct srv_track *to, const struct srv_track *from) {
    size_t added = (size_t)(from->steps - to->steps);
    memcpy(to->q_halt + to->steps, from->q_halt + to->steps, added * sizeof *to->q_halt);
    memcpy(to->confidence + to->steps, from->confidence + to->steps, added * sizeof *to->confidence);
    memcpy(to->ms + to->steps, from->ms + to->steps, added * sizeof *to->ms);
    int first = from->steps - group->depth > to->steps ? from->steps - group->depth : to->steps;
    for (int step = first + 1; step <= from->steps; step++) {
        memcpy(srv_track_answer(group, to, step), srv_track_answer(group, from, step),
               (size_t)group->cells * sizeof *to->answers);
    }
    to->steps = from->steps;
    to->started_ns = from->started_ns;
    to->ended_ns = from->ended_ns;
    to->outcome = from->outcome;
}
