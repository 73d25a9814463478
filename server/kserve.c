/* kserve.c - the handlers of /v2. Loop thread. */
#include "server/kserve.h"

#include <stdlib.h>

#include "server/solve.h"

enum { NAME_SIZE = sizeof((struct srv_exchange *)0)->path };

static void reply_json(struct srv_exchange *x, int status, struct proto_text *text) {
    srv_reply(x, status, "application/json", text);
}

/* The model of the path, or NULL with the answer given. `name` is [NAME_SIZE]. */
static const struct srv_model *model_of(struct srv_exchange *x, char *name) {
    srv_exchange_segment(x, name, NAME_SIZE);
    const struct srv_model *model = srv_models_find(x->server->models, name);
    if (!model) {
        struct proto_problem problem;
        proto_problem_set(&problem, PROTO_UNKNOWN_MODEL, "", "there is no model '%.100s'", name);
        srv_reply_problem(x, &problem);
    }
    return model;
}

void srv_kserve_server(struct srv_exchange *x) {
    struct proto_text text = {0};
    proto_kserve_write_server(&text);
    reply_json(x, 200, &text);
}

void srv_kserve_live(struct srv_exchange *x) {
    struct proto_text text = {0};
    proto_text_add_literal(&text, "{\"live\":true}\n");
    reply_json(x, 200, &text);
}

void srv_kserve_ready(struct srv_exchange *x) {
    struct proto_text text = {0};
    bool ready = !x->server->draining;
    proto_text_addf(&text, "{\"ready\":%s}\n", ready ? "true" : "false");
    reply_json(x, ready ? 200 : 503, &text);
}

void srv_kserve_model(struct srv_exchange *x) {
    char name[NAME_SIZE];
    const struct srv_model *model = model_of(x, name);
    if (model) {
        struct proto_text text = {0};
        proto_kserve_write_model(&text, model->name, &model->form);
        reply_json(x, 200, &text);
    }
}

void srv_kserve_model_ready(struct srv_exchange *x) {
    char name[NAME_SIZE];
    const struct srv_model *model = model_of(x, name);
    if (model) {
        struct proto_text text = {0};
        bool ready = !x->server->draining;
        proto_text_add_literal(&text, "{\"name\":");
        proto_text_add_string(&text, model->name);
        proto_text_addf(&text, ",\"ready\":%s}\n", ready ? "true" : "false");
        reply_json(x, ready ? 200 : 503, &text);
    }
}

/* Answers when all puzzles are done. */
static void reply(struct srv_exchange *x) {
    const struct srv_solve *solve = x->data;
    const int count = solve->group->config.puzzles;
    struct proto_text text = {0};
    struct proto_answer *answers = calloc((size_t)count, sizeof *answers);
    if (!answers || srv_solve_has_failed(solve)) {
        struct proto_problem problem;
        srv_solve_describe_failure(&problem);
        srv_reply_problem(x, &problem);
    } else {
        for (int i = 0; i < count; i++) {
            answers[i] = srv_solve_answer(solve, i);
        }
        proto_kserve_write_answers(&text, &solve->wish, x->trace.id, solve->model->name, answers, count);
        reply_json(x, 200, &text);
    }
    free(answers);
}

void srv_kserve_infer(struct srv_exchange *x) {
    char name[NAME_SIZE];
    struct proto_limits limits = srv_solve_limits(x->server);
    struct proto_kserve_wish wish;
    struct proto_request request;
    struct proto_problem problem;
    const struct srv_model *model = model_of(x, name);
    if (!model) {
        return;
    }
    if (srv_exchange_header(x, "Inference-Header-Content-Length")) {
        proto_problem_set(&problem, PROTO_MEDIA_TYPE, "",
                          "the binary tensor extension is not supported: send data as JSON");
        srv_reply_problem(x, &problem);
        return;
    }
    if (!proto_kserve_read(x->body, x->body_length, &limits, &request, &wish, &problem)) {
        srv_reply_problem(x, &problem);
        return;
    }
    request.model = model->name;
    struct srv_solve *solve = srv_solve_start(x, &request, PROTO_JSON, reply);
    if (solve) {
        solve->wish = wish;
    }
    proto_request_release(&request);
}
