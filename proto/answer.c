/* answer.c - the one writer of answers and steps, so that a streamed answer and a plain one cannot
 * differ. No state. */
#include "proto/answer.h"

void proto_write_reduced(struct proto_text *text, int asked_rollouts, int given_rollouts, int asked_steps,
                         int given_steps) {
    bool rollouts = given_rollouts < asked_rollouts, steps = given_steps < asked_steps;
    if (!rollouts && !steps) {
        return;
    }
    proto_text_add_literal(text, ",\"reduced\":{");
    if (rollouts) {
        proto_text_addf(text, "\"rollouts\":{\"asked\":%d,\"given\":%d}", asked_rollouts, given_rollouts);
    }
    if (steps) {
        proto_text_addf(text, "%s\"max_steps\":{\"asked\":%d,\"given\":%d}", rollouts ? "," : "", asked_steps,
                        given_steps);
    }
    proto_text_add_literal(text, "}");
}

/* "answer" to "q_halt": the members that every form of an answer has, and timing_ms still open. */
static void write_members(struct proto_text *text, const struct proto_answer *answer) {
    proto_text_add_literal(text, "\"answer\":");
    proto_grid_write(answer->form, answer->answer, text);
    if (proto_form_has_verifier(answer->form)) {
        bool valid = proto_grid_valid(answer->form, answer->puzzle, answer->answer);
        proto_text_addf(text, ",\"valid\":%s", valid ? "true" : "false");
    }
    proto_text_addf(text, ",\"steps\":%d,\"halted_by\":\"%s\",\"confidence\":", answer->steps, answer->halted_by);
    proto_text_add_float(text, answer->confidence);
    proto_text_add_literal(text, ",\"q_halt\":[");
    for (int i = 0; i < answer->steps; i++) {
        if (i) {
            proto_text_add(text, ",", 1);
        }
        proto_text_add_float(text, answer->q_halt[i]);
    }
    proto_text_add(text, "]", 1);
    if (answer->rollouts > 1) {
        proto_text_addf(text, ",\"rollouts\":{\"count\":%d,\"best\":%d,\"steps\":%d}", answer->rollouts,
                        answer->rollout, answer->total_steps);
    }
    proto_write_reduced(text, answer->asked_rollouts, answer->given_rollouts, answer->asked_steps, answer->given_steps);
    proto_text_addf(text, ",\"timing_ms\":{\"queue\":%.3f,\"compute\":%.3f", answer->queue_ms, answer->compute_ms);
}

void proto_write_identity(struct proto_text *text, const char *id, const char *model) {
    proto_text_add_literal(text, "\"id\":");
    proto_text_add_string(text, id);
    proto_text_add_literal(text, ",\"model\":");
    proto_text_add_string(text, model);
    proto_text_add(text, ",", 1);
}

static void write_whole(struct proto_text *text, const char *id, const char *model, const struct proto_answer *answer,
                        double total_ms) {
    proto_write_identity(text, id, model);
    write_members(text, answer);
    proto_text_addf(text, ",\"total\":%.3f}", total_ms);
}

void proto_write_answer(struct proto_text *text, const char *id, const char *model, const struct proto_answer *answer,
                        double total_ms) {
    proto_text_add(text, "{", 1);
    write_whole(text, id, model, answer, total_ms);
    proto_text_add(text, "}\n", 2);
}

void proto_write_answers_open(struct proto_text *text, const char *id, const char *model) {
    proto_text_add(text, "{", 1);
    proto_write_identity(text, id, model);
    proto_text_add_literal(text, "\"answers\":[");
}

void proto_write_answers_item(struct proto_text *text, int index, const struct proto_answer *answer) {
    proto_text_add_literal(text, index ? ",{" : "{");
    write_members(text, answer);
    proto_text_add(text, "}}", 2);
}

void proto_write_answers_close(struct proto_text *text, double total_ms) {
    proto_text_addf(text, "],\"timing_ms\":{\"total\":%.3f}}\n", total_ms);
}

void proto_stream_begin(struct proto_text *text, enum proto_framing framing, const char *type, int index) {
    if (framing == PROTO_SSE) {
        proto_text_addf(text, "event: %s\ndata: {", type);
    } else {
        proto_text_addf(text, "{\"type\":\"%s\",", type);
    }
    if (index >= 0) {
        proto_text_addf(text, "\"index\":%d,", index);
    }
}

void proto_stream_end(struct proto_text *text, enum proto_framing framing) {
    proto_text_add_literal(text, framing == PROTO_SSE ? "}\n\n" : "}\n");
}

void proto_stream_step(struct proto_text *text, enum proto_framing framing, const struct proto_step *step) {
    proto_stream_begin(text, framing, "step", step->index);
    proto_text_addf(text, "\"step\":%d,", step->step);
    if (step->rollouts > 1) {
        proto_text_addf(text, "\"rollout\":%d,", step->rollout);
    }
    proto_text_add_literal(text, "\"answer\":");
    proto_grid_write(step->form, step->answer, text);
    proto_text_add_literal(text, ",\"q_halt\":");
    proto_text_add_float(text, step->q_halt);
    proto_text_add_literal(text, ",\"confidence\":");
    proto_text_add_float(text, step->confidence);
    proto_text_add_literal(text, ",\"changed\":");
    proto_grid_write_changes(step->form, step->before, step->answer, text);
    proto_text_addf(text, ",\"ms\":%.3f", step->ms);
    proto_stream_end(text, framing);
}

void proto_stream_answer(struct proto_text *text, enum proto_framing framing, int index, const char *id,
                         const char *model, const struct proto_answer *answer, double total_ms) {
    proto_stream_begin(text, framing, "answer", index);
    write_whole(text, id, model, answer, total_ms);
    proto_stream_end(text, framing);
}

void proto_stream_problem(struct proto_text *text, enum proto_framing framing, int index,
                          const struct proto_problem *problem) {
    proto_stream_begin(text, framing, "error", index);
    proto_text_add_literal(text, "\"problem\":");
    proto_problem_write(problem, text);
    proto_stream_end(text, framing);
}

void proto_stream_ping(struct proto_text *text, enum proto_framing framing) {
    proto_text_add_literal(text, framing == PROTO_SSE ? ": ping\n\n" : "{\"type\":\"ping\"}\n");
}
