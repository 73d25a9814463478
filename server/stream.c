/* stream.c - see stream.h. Belongs to the loop thread. */
#include "server/stream.h"

#include <stdlib.h>
#include <string.h>

#include "proto/answer.h"
#include "server/solve.h"

enum { ENOUGH = 8 << 10 }; /* bytes to render at once; one message more may follow */

bool srv_stream_open(struct srv_stream *stream, const struct srv_group *group, bool every_rollout) {
    *stream =
        (struct srv_stream){.lanes = every_rollout ? group->config.rollouts : 1, .unanswered = group->config.puzzles};
    size_t puzzles = (size_t)group->config.puzzles, cells = (size_t)group->cells;
    size_t count = (size_t)stream->lanes * puzzles;
    stream->places = calloc(count, sizeof *stream->places);
    stream->cells = calloc(count, cells * sizeof *stream->cells);
    if (!stream->places || !stream->cells) {
        srv_stream_close(stream);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        stream->places[i].sent = stream->cells + i * cells;
        memcpy(stream->places[i].sent, group->puzzles[i % puzzles].tokens, cells * sizeof *stream->cells);
    }
    return true;
}

void srv_stream_close(struct srv_stream *stream) {
    proto_text_release(&stream->text);
    free(stream->places);
    free(stream->cells);
    *stream = (struct srv_stream){0};
}

static void render_step(struct srv_solve *solve, const struct srv_job *job, struct srv_stream_place *place) {
    const struct srv_group *group = solve->group;
    int oldest = job->seen.steps - group->depth + 1; /* older ones are lost to a slow reader */
    int step = place->steps + 1 > oldest ? place->steps + 1 : oldest;
    const int32_t *answer = srv_track_answer(group, &job->seen, step);
    struct proto_step message = {
        .form = &solve->model->form,
        .index = solve->many ? job->puzzle : -1,
        .rollouts = group->config.rollouts,
        .rollout = job->rollout,
        .step = step,
        .before = place->sent,
        .answer = answer,
        .q_halt = job->seen.q_halt[step - 1],
        .confidence = job->seen.confidence[step - 1],
        .ms = job->seen.ms[step - 1],
    };
    proto_stream_step(&solve->stream.text, solve->framing, &message);
    memcpy(place->sent, answer, (size_t)group->cells * sizeof *answer);
    place->steps = step;
}

static void render_final(struct srv_solve *solve, const struct srv_job *job, struct srv_stream_place *place) {
    int index = solve->many ? job->puzzle : -1;
    if (job->seen.outcome == SRV_FAILED) {
        struct proto_problem problem;
        srv_solve_describe_failure(&problem);
        proto_stream_problem(&solve->stream.text, solve->framing, index, &problem);
    } else {
        struct proto_answer answer = srv_solve_answer(solve, job->puzzle);
        proto_stream_answer(&solve->stream.text, solve->framing, index, solve->exchange->trace.id, solve->model->name,
                            &answer, srv_solve_total_ms(solve));
    }
    place->answered = true;
    solve->stream.unanswered--;
}

/* Of the rollouts of a puzzle that are shown and have a step to send, the one of which the fewest were sent,
 * with its place; NULL if there is none. */
static const struct srv_job *find_step(struct srv_solve *solve, int puzzle, struct srv_stream_place **place) {
    const struct srv_group *group = solve->group;
    const struct srv_job *found = NULL;
    for (int lane = 0; lane < solve->stream.lanes; lane++) {
        int index = lane * group->config.puzzles + puzzle;
        struct srv_stream_place *at = &solve->stream.places[index];
        const struct srv_job *job = solve->stream.lanes > 1 ? &group->jobs[index] : srv_group_leader(group, puzzle);
        if (at->steps < job->seen.steps && (!found || at->steps < (*place)->steps)) {
            found = job;
            *place = at;
        }
    }
    return found;
}

/* Renders what there is to say of one puzzle, until the text is long enough. */
static void render_puzzle(struct srv_solve *solve, int puzzle) {
    struct srv_stream_place *first = &solve->stream.places[puzzle], *place;
    while (!first->answered && solve->stream.text.length < ENOUGH) {
        const struct srv_job *job = find_step(solve, puzzle, &place);
        if (job) {
            render_step(solve, job, place);
        } else if (srv_solve_is_done(solve, puzzle)) {
            render_final(solve, srv_group_leader(solve->group, puzzle), first);
        } else {
            return;
        }
    }
}

/* Renders what there is to say of an ARC task: the votes that have changed, and at the end the answer. */
static void render_task(struct srv_solve *solve) {
    struct srv_stream *stream = &solve->stream;
    struct srv_vote *vote = solve->vote;
    for (int t = 0; t < vote->tests && stream->unanswered > 0; t++) {
        if (vote->votes[t].voted > vote->ballots[t].sent) {
            proto_stream_vote(&stream->text, solve->framing, t, &vote->votes[t]);
            vote->ballots[t].sent = vote->votes[t].voted;
        }
    }
    if (stream->unanswered == 0 || !srv_solve_is_over(solve)) {
        return;
    }
    stream->unanswered = 0;
    if (srv_solve_has_failed(solve)) {
        struct proto_problem problem;
        srv_solve_describe_failure(&problem);
        proto_stream_problem(&stream->text, solve->framing, -1, &problem);
    } else {
        struct proto_task_answer answer = srv_solve_task_answer(solve);
        proto_stream_task_answer(&stream->text, solve->framing, solve->exchange->trace.id, solve->model->name, &answer);
    }
}

static void render(struct srv_solve *solve) {
    struct srv_stream *stream = &solve->stream;
    proto_text_reset(&stream->text);
    stream->offset = 0;
    if (solve->vote) {
        render_task(solve);
    }
    for (int i = 0; !solve->vote && i < solve->group->config.puzzles && stream->text.length < ENOUGH; i++) {
        render_puzzle(solve, stream->next);
        stream->next = (stream->next + 1) % solve->group->config.puzzles;
    }
    if (stream->ping && stream->text.length == 0) {
        proto_stream_ping(&stream->text, solve->framing);
    }
    stream->ping = false;
}

void srv_stream_ping(struct srv_exchange *x) {
    struct srv_solve *solve = x->data;
    solve->stream.ping = true;
    srv_exchange_resume(x);
}

ssize_t srv_stream_read(struct srv_exchange *x, char *buffer, size_t size) {
    struct srv_solve *solve = x->data;
    struct srv_stream *stream = &solve->stream;
    if (stream->offset == stream->text.length) {
        render(solve);
    }
    if (stream->text.failed) {
        return SRV_STREAM_BROKEN;
    }
    size_t count = stream->text.length - stream->offset;
    if (count == 0) {
        return stream->unanswered ? 0 : SRV_STREAM_END;
    }
    count = count < size ? count : size;
    memcpy(buffer, stream->text.data + stream->offset, count);
    stream->offset += count;
    return (ssize_t)count;
}
