/* job.c - the memory of a request's puzzles: three slabs, whatever their number. Groups are made and
 * freed by the loop thread; tracks belong to whom job.h says. */
#include "server/job.h"

#include <stdlib.h>
#include <string.h>

enum { STREAM_DEPTH = 16 }; /* steps that a slow stream may lag behind without losing any */

const char *srv_outcome_name(enum srv_outcome outcome) {
    static const char *const names[SRV_OUTCOMES] = {
        [SRV_RUNNING] = "running",     [SRV_Q_HEAD] = "q_head",     [SRV_VERIFIED] = "verified",
        [SRV_MAX_STEPS] = "max_steps", [SRV_DEADLINE] = "deadline", [SRV_CANCELLED] = "cancelled",
        [SRV_FAILED] = "failed",
    };
    return names[outcome];
}

static bool allocate_slabs(struct srv_group *group) {
    size_t count = (size_t)group->count, cells = (size_t)group->cells;
    group->slabs[0] = calloc(count, cells * sizeof(int32_t));
    group->slabs[1] = calloc(count, 4 * (size_t)group->max_steps * sizeof(float));
    group->slabs[2] = calloc(count, 2 * (size_t)group->depth * cells * sizeof(int32_t));
    return group->slabs[0] && group->slabs[1] && group->slabs[2];
}

static void place_job(struct srv_group *group, int index) {
    struct srv_job *job = &group->jobs[index];
    size_t i = (size_t)index, cells = (size_t)group->cells, steps = (size_t)group->max_steps;
    size_t answers = (size_t)group->depth * cells;
    float *floats = (float *)group->slabs[1] + i * 4 * steps;     /* [4, max_steps] */
    int32_t *ring = (int32_t *)group->slabs[2] + i * 2 * answers; /* [2, depth, cells] */
    job->group = group;
    job->index = index;
    job->tokens = (int32_t *)group->slabs[0] + i * cells;
    job->shared = (struct srv_track){.q_halt = floats, .confidence = floats + steps, .answers = ring};
    job->seen =
        (struct srv_track){.q_halt = floats + 2 * steps, .confidence = floats + 3 * steps, .answers = ring + answers};
}

struct srv_group *srv_group_create(const struct srv_model *model, int count, const struct trm_solve_options *options,
                                   bool every_step) {
    struct srv_group *group = calloc(1, sizeof *group);
    if (!group) {
        return NULL;
    }
    group->model = model;
    group->cells = model->form.side * model->form.side;
    group->max_steps = options->max_steps;
    group->depth = !every_step ? 1 : options->max_steps < STREAM_DEPTH ? options->max_steps : STREAM_DEPTH;
    group->count = count;
    group->options = *options;
    group->every_step = every_step;
    group->jobs = calloc((size_t)count, sizeof *group->jobs);
    if (!group->jobs || !allocate_slabs(group)) {
        srv_group_destroy(group);
        return NULL;
    }
    for (int i = 0; i < count; i++) {
        place_job(group, i);
    }
    return group;
}

void srv_group_destroy(struct srv_group *group) {
    if (group) {
        for (int i = 0; i < 3; i++) {
            free(group->slabs[i]);
        }
        free(group->jobs);
        free(group);
    }
}

int32_t *srv_track_answer(const struct srv_group *group, const struct srv_track *track, int step) {
    return track->answers + (size_t)((step - 1) % group->depth) * (size_t)group->cells;
}

void srv_track_add(const struct srv_group *group, struct srv_track *track, const int32_t *answer, float q_halt,
                   float confidence) {
    if (track->steps >= group->max_steps) {
        return;
    }
    track->q_halt[track->steps] = q_halt;
    track->confidence[track->steps] = confidence;
    track->steps++;
    memcpy(srv_track_answer(group, track, track->steps), answer, (size_t)group->cells * sizeof *answer);
}

void srv_track_copy(const struct srv_group *group, struct srv_track *to, const struct srv_track *from) {
    size_t added = (size_t)(from->steps - to->steps);
    memcpy(to->q_halt + to->steps, from->q_halt + to->steps, added * sizeof *to->q_halt);
    memcpy(to->confidence + to->steps, from->confidence + to->steps, added * sizeof *to->confidence);
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
