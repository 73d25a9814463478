/* answer.h - what /solve sends: answers, supervision steps, and their framing in a stream.
 *
 * Three framings: plain JSON (one object), server-sent events (`event: step`, data, empty line) and
 * NDJSON (one object a line, with a "type" member). Pure writers into a text: any thread. */
#ifndef TRM_PROTO_ANSWER_H
#define TRM_PROTO_ANSWER_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/accept.h"
#include "proto/grid.h"
#include "proto/problem.h"
#include "proto/text.h"

/* One solved puzzle. */
struct proto_answer {
    const struct proto_form *form;
    const int32_t *puzzle; /* [side * side] tokens, to check the answer against */
    const int32_t *answer; /* [side * side] tokens */
    int steps;
    const char *halted_by;
    float confidence;
    const float *q_halt;         /* [steps] */
    double queue_ms, compute_ms; /* waiting for a slot, from then to the last step */

    /* Of several rollouts: which one this is the answer of, and the steps of all of them. */
    int rollouts, rollout, total_steps;

    /* What was asked for, if the load of the server took some of it; else 0. */
    int asked_rollouts, given_rollouts, asked_steps, given_steps;
};

/* One supervision step of one puzzle. */
struct proto_step {
    const struct proto_form *form;
    int index;             /* of the puzzle in "grids", -1 for "grid" */
    int step;              /* from 1 */
    const int32_t *before; /* [side * side] what was sent last: the previous step or the puzzle */
    const int32_t *answer; /* [side * side] tokens */
    float q_halt, confidence;
    float ms;              /* from its slot to the end of this step */
    int rollouts, rollout; /* of several: whose step it is */
};

/* The answer to "grid": {"id","model","answer",...,"timing_ms":{"queue","compute","total"}}. */
void proto_write_answer(struct proto_text *text, const char *id, const char *model, const struct proto_answer *answer,
                        double total_ms);

/* The answer to "grids", in three parts: open, every answer in turn, close. */
void proto_write_answers_open(struct proto_text *text, const char *id, const char *model);
void proto_write_answers_item(struct proto_text *text, int index, const struct proto_answer *answer);
void proto_write_answers_close(struct proto_text *text, double total_ms);

/* Messages of a stream; `framing` is PROTO_SSE or PROTO_NDJSON. The event of a puzzle's answer has the
 * members of proto_write_answer(), and "index" when it is not negative. */
void proto_stream_step(struct proto_text *text, enum proto_framing framing, const struct proto_step *step);
void proto_stream_answer(struct proto_text *text, enum proto_framing framing, int index, const char *id,
                         const char *model, const struct proto_answer *answer, double total_ms);
void proto_stream_problem(struct proto_text *text, enum proto_framing framing, int index,
                          const struct proto_problem *problem);

/* What every message of a stream and every object of an answer begins with, for those that write others of them
 * (vote.h): `index` is left out when it is negative. proto_stream_end() closes the object and the message. */
void proto_stream_begin(struct proto_text *text, enum proto_framing framing, const char *type, int index);
void proto_stream_end(struct proto_text *text, enum proto_framing framing);
void proto_write_identity(struct proto_text *text, const char *id, const char *model);

/* "reduced": what the load took, with what was asked for and what was given; nothing if it took nothing. */
void proto_write_reduced(struct proto_text *text, int asked_rollouts, int given_rollouts, int asked_steps,
                         int given_steps);

/* Says nothing, to keep a connection open or to find out whether anybody listens: a comment of
 * server-sent events, {"type":"ping"} of NDJSON. */
void proto_stream_ping(struct proto_text *text, enum proto_framing framing);

#endif
