/* vote.c - see vote.h. No state. */
#include "proto/vote.h"

static void write_grid(struct proto_text *text, const struct data_arc_grid *grid) {
    for (int r = 0; r < grid->rows; r++) {
        for (int c = 0; c < grid->cols; c++) {
            proto_text_add_literal(text, c ? "," : r ? "],[" : "[[");
            proto_text_add_int(text, grid->cells[r * grid->cols + c]);
        }
    }
    proto_text_add_literal(text, grid->rows ? "]]" : "[]");
}

/* The members of a vote, with the `shown` choices that lead. */
static void write_vote(struct proto_text *text, const struct proto_vote *vote, int shown) {
    int count;
    const struct data_arc_choice *const *ranked = data_arc_poll_rank(vote->poll, &count);
    proto_text_addf(text, "\"voted\":%d,\"augment\":%d,\"decided\":%s,\"choices\":%d,\"votes\":[", vote->voted,
                    vote->augment, vote->decided ? "true" : "false", count);
    for (int i = 0; i < count && i < shown; i++) {
        proto_text_add_literal(text, i ? ",{\"answer\":" : "{\"answer\":");
        write_grid(text, &ranked[i]->grid);
        proto_text_addf(text, ",\"votes\":%d,\"q\":", ranked[i]->votes);
        proto_text_add_float(text, (float)ranked[i]->mean_q);
        proto_text_add_literal(text, "}");
    }
    proto_text_add_literal(text, "]");
}

static void write_attempts(struct proto_text *text, data_arc_poll *poll) {
    proto_text_add_literal(text, "\"attempts\":[");
    for (int i = 0; i < PROTO_ATTEMPTS; i++) {
        const struct data_arc_grid *attempt = data_arc_poll_attempt(poll, i);
        if (attempt) {
            proto_text_add_literal(text, i ? "," : "");
            write_grid(text, attempt);
        }
    }
    proto_text_add_literal(text, "],");
}

static void write_whole(struct proto_text *text, const char *id, const char *model,
                        const struct proto_task_answer *answer) {
    proto_write_identity(text, id, model);
    proto_text_add_literal(text, "\"task_id\":");
    proto_text_add_string(text, answer->task_id);
    proto_text_addf(text, ",\"known_by\":\"%s\",\"answers\":[", answer->known_by);
    for (int i = 0; i < answer->tests; i++) {
        proto_text_add_literal(text, i ? ",{" : "{");
        write_attempts(text, answer->votes[i].poll);
        write_vote(text, &answer->votes[i], PROTO_VOTES);
        proto_text_add_literal(text, "}");
    }
    proto_text_addf(text, "],\"steps\":%ld,\"expired\":%s", answer->steps, answer->expired ? "true" : "false");
    proto_write_reduced(text, answer->asked_rollouts, answer->given_rollouts, answer->asked_steps, answer->given_steps);
    proto_text_addf(text, ",\"timing_ms\":{\"queue\":%.3f,\"compute\":%.3f,\"total\":%.3f}", answer->queue_ms,
                    answer->compute_ms, answer->total_ms);
}

void proto_write_task_answer(struct proto_text *text, const char *id, const char *model,
                             const struct proto_task_answer *answer) {
    proto_text_add_literal(text, "{");
    write_whole(text, id, model, answer);
    proto_text_add_literal(text, "}\n");
}

void proto_stream_vote(struct proto_text *text, enum proto_framing framing, int test, const struct proto_vote *vote) {
    proto_stream_begin(text, framing, "vote", -1);
    proto_text_addf(text, "\"test\":%d,", test);
    write_vote(text, vote, PROTO_ATTEMPTS);
    proto_stream_end(text, framing);
}

void proto_stream_task_answer(struct proto_text *text, enum proto_framing framing, const char *id, const char *model,
                              const struct proto_task_answer *answer) {
    proto_stream_begin(text, framing, "answer", -1);
    write_whole(text, id, model, answer);
    proto_stream_end(text, framing);
}
