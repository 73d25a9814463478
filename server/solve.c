/* solve.c - the life of a solve request. All of it on the loop thread; workers see only its jobs. */
#include "server/solve.h"

#include <stdlib.h>

/* --- its memory ------------------------------------------------------------------------------------- */

static void destroy(struct srv_solve *solve) {
    srv_stream_close(&solve->stream);
    srv_group_destroy(solve->group);
    free(solve);
}

/* Into the list of the server, which knows by it whom to ping and whom to end. */
static void enlist(struct srv_solve *solve) {
    solve->next = solve->server->solves;
    if (solve->next) {
        solve->next->previous = solve;
    }
    solve->server->solves = solve;
}

static void delist(struct srv_solve *solve) {
    if (solve->previous) {
        solve->previous->next = solve->next;
    } else {
        solve->server->solves = solve->next;
    }
    if (solve->next) {
        solve->next->previous = solve->previous;
    }
}

/* --- the answer ------------------------------------------------------------------------------------- */

static double ms_between(uint64_t from_ns, uint64_t to_ns) {
    return to_ns > from_ns ? (double)(to_ns - from_ns) / 1e6 : 0;
}

double srv_solve_total_ms(const struct srv_solve *solve) {
    return ms_between(solve->exchange->began_ns, uv_hrtime());
}

bool srv_solve_is_done(const struct srv_solve *solve, const struct srv_job *job) {
    return solve->expired || job->seen.outcome != SRV_RUNNING;
}

struct proto_answer srv_solve_answer(const struct srv_solve *solve, const struct srv_job *job) {
    const struct srv_track *track = &job->seen;
    uint64_t now = uv_hrtime();
    uint64_t started = track->started_ns ? track->started_ns : now;
    uint64_t ended = track->ended_ns ? track->ended_ns : now;
    return (struct proto_answer){
        .form = &solve->model->form,
        .puzzle = job->tokens,
        .answer = track->steps ? srv_track_answer(solve->group, track, track->steps) : job->tokens,
        .steps = track->steps,
        .halted_by = srv_outcome_name(track->outcome == SRV_RUNNING ? SRV_DEADLINE : track->outcome),
        .confidence = track->steps ? track->confidence[track->steps - 1] : 0,
        .q_halt = track->q_halt,
        .queue_ms = ms_between(solve->submitted_ns, started),
        .compute_ms = ms_between(started, ended),
    };
}

void srv_solve_describe_failure(struct proto_problem *problem) {
    proto_problem_set(problem, PROTO_INTERNAL, "", "the engine could not compute this puzzle; the log has more");
}

bool srv_solve_has_failed(const struct srv_solve *solve) {
    for (int i = 0; i < solve->group->count; i++) {
        if (solve->group->jobs[i].seen.outcome == SRV_FAILED) {
            return true;
        }
    }
    return false;
}

/* Answers a request that is not a stream, when all of its puzzles are done. */
static void reply(struct srv_exchange *x) {
    struct srv_solve *solve = x->data;
    struct proto_text text = {0};
    struct srv_group *group = solve->group;
    if (srv_solve_has_failed(solve)) {
        struct proto_problem problem;
        srv_solve_describe_failure(&problem);
        srv_reply_problem(x, &problem);
        return;
    }
    if (solve->many) {
        proto_write_answers_open(&text, solve->exchange->trace.id, solve->model->name);
        for (int i = 0; i < group->count; i++) {
            struct proto_answer answer = srv_solve_answer(solve, &group->jobs[i]);
            proto_write_answers_item(&text, i, &answer);
        }
        proto_write_answers_close(&text, srv_solve_total_ms(solve));
    } else {
        struct proto_answer answer = srv_solve_answer(solve, &group->jobs[0]);
        proto_write_answer(&text, solve->exchange->trace.id, solve->model->name, &answer, srv_solve_total_ms(solve));
    }
    srv_reply(x, 200, proto_framing_type(PROTO_JSON), &text);
}

/* --- its progress ----------------------------------------------------------------------------------- */

void srv_solve_update(struct srv_job *job, void *arg) {
    struct srv_solve *solve = job->group->owner;
    (void)arg;
    if (job->seen.outcome != SRV_RUNNING) {
        solve->pending--;
    }
    if (!solve->exchange) {
        if (solve->pending == 0) {
            destroy(solve);
        }
    } else if (solve->framing != PROTO_JSON || solve->pending == 0 || solve->expired) {
        srv_exchange_resume(solve->exchange);
    }
}

/* The deadline: what is there now is the answer. */
static void on_deadline(struct srv_exchange *x) {
    struct srv_solve *solve = x->data;
    solve->expired = true;
    srv_scheduler_cancel(solve->server->scheduler, solve->group, SRV_DEADLINE);
    srv_scheduler_collect(solve->server->scheduler, srv_solve_update, NULL);
    srv_exchange_resume(x);
}

static void on_ended(struct srv_exchange *x) {
    struct srv_solve *solve = x->data;
    solve->exchange = NULL;
    delist(solve);
    if (solve->pending == 0) {
        destroy(solve);
    } else {
        srv_scheduler_cancel(solve->server->scheduler, solve->group, SRV_CANCELLED);
    }
}

/* --- its beginning ---------------------------------------------------------------------------------- */

static const struct srv_model *choose_model(const struct srv_models *models, const struct proto_request *request,
                                            struct proto_problem *problem) {
    if (!request->model) {
        const struct srv_model *model = srv_models_for(models, request);
        if (!model) {
            proto_problem_set(problem, PROTO_INVALID, request->many ? "/grids/0" : "/grid",
                              "no model here has puzzles of %zu cells; see /models", proto_request_cells(request));
        }
        return model;
    }
    const struct srv_model *model = srv_models_find(models, request->model);
    if (!model) {
        proto_problem_set(problem, PROTO_UNKNOWN_MODEL, "/model", "there is no model '%.100s'; see /models",
                          request->model);
    }
    return model;
}

/* The engine's options: what the request says, else what the server and the model say. */
static bool engine_options(const struct srv_options *settings, const struct srv_model *model,
                           const struct proto_options *wanted, struct trm_solve_options *options,
                           struct proto_problem *problem) {
    int trained = trm_model_info(model->engine)->halt_max_steps;
    int preset = trained < 1 ? 1 : trained > settings->step_limit ? settings->step_limit : trained;
    bool verifiable = model->form.sudoku_size > 0;
    *options = (struct trm_solve_options){
        .max_steps = wanted->max_steps ? wanted->max_steps : preset,
        .min_steps = wanted->min_steps,
        .no_halt = wanted->no_halt,
        .halt_threshold = wanted->halt_threshold,
        .verify = wanted->has_verify ? wanted->verify : settings->verify && verifiable,
    };
    if (options->verify && !verifiable) {
        return proto_problem_set(problem, PROTO_INVALID, "/options/verify", "there is no verifier for model '%.100s'",
                                 model->name);
    }
    if (options->min_steps > options->max_steps) {
        return proto_problem_set(problem, PROTO_INVALID, "/options/min_steps", "is above max_steps, %d",
                                 options->max_steps);
    }
    return true;
}

static bool no_memory(struct proto_problem *problem) {
    return proto_problem_set(problem, PROTO_INTERNAL, "", "out of memory");
}

static bool make_group(struct srv_solve *solve, const struct proto_request *request, struct proto_problem *problem) {
    struct trm_solve_options options;
    solve->model = choose_model(solve->server->models, request, problem);
    if (!solve->model || !engine_options(solve->server->options, solve->model, &request->options, &options, problem)) {
        return false;
    }
    solve->group = srv_group_create(solve->model, request->count, &options, solve->framing != PROTO_JSON);
    if (!solve->group) {
        return no_memory(problem);
    }
    solve->group->owner = solve;
    for (int i = 0; i < request->count; i++) {
        if (!proto_request_tokens(request, i, &solve->model->form, solve->group->jobs[i].tokens, problem)) {
            return false;
        }
    }
    if (solve->framing != PROTO_JSON && !srv_stream_open(&solve->stream, solve->group)) {
        return no_memory(problem);
    }
    return true;
}

/* Queues the puzzles of a request: NULL with *problem filled in if that cannot be. */
static struct srv_solve *queue(struct srv_exchange *x, const struct proto_request *request, enum proto_framing framing,
                               struct proto_problem *problem) {
    struct srv_server *server = x->server;
    if (server->draining) {
        proto_problem_set(problem, PROTO_SHUTTING_DOWN, "", "no new work is accepted");
        return NULL;
    }
    struct srv_solve *solve = calloc(1, sizeof *solve);
    if (!solve) {
        no_memory(problem);
        return NULL;
    }
    solve->server = server;
    solve->exchange = x;
    solve->many = request->many;
    solve->pending = request->count;
    solve->framing = framing;
    solve->submitted_ns = uv_hrtime();
    bool good = make_group(solve, request, problem);
    if (good && srv_scheduler_submit(server->scheduler, solve->group) != TRM_OK) {
        good = proto_problem_set(problem, PROTO_OVERLOADED, "", "%d puzzles may wait, and there is no room for %d more",
                                 server->options->max_queue, request->count);
    }
    if (!good) {
        destroy(solve);
        return NULL;
    }
    enlist(solve);
    return solve;
}

struct proto_limits srv_solve_limits(const struct srv_server *server) {
    return (struct proto_limits){
        .max_steps = server->options->step_limit, .max_grids = server->options->max_queue, .max_rollouts = 1};
}

struct srv_solve *srv_solve_start(struct srv_exchange *x, const struct proto_request *request,
                                  enum proto_framing framing, void (*answer)(struct srv_exchange *x)) {
    struct proto_problem problem;
    struct srv_solve *solve = queue(x, request, framing, &problem);
    if (!solve) {
        srv_reply_problem(x, &problem);
        return NULL;
    }
    x->data = solve;
    x->resumed = answer;
    x->read = srv_stream_read;
    x->ended = on_ended;
    x->alarm = on_deadline;
    if (request->options.deadline_ms) {
        srv_exchange_set_alarm(x, (uint64_t)request->options.deadline_ms);
    }
    if (framing == PROTO_JSON) {
        srv_exchange_suspend(x);
    } else {
        srv_reply_stream(x, proto_framing_type(framing));
    }
    return solve;
}

void srv_solve(struct srv_exchange *x) {
    struct proto_limits limits = srv_solve_limits(x->server);
    struct proto_problem problem;
    struct proto_request request;
    enum proto_framing framing;
    if (!proto_accept(srv_exchange_header(x, "Accept"), &framing)) {
        proto_problem_set(&problem, PROTO_NOT_ACCEPTABLE, "",
                          "answers are application/json, text/event-stream or application/x-ndjson");
        srv_reply_problem(x, &problem);
    } else if (!proto_request_read(x->body, x->body_length, &limits, &request, &problem)) {
        srv_reply_problem(x, &problem);
    } else {
        srv_solve_start(x, &request, framing, reply);
        proto_request_release(&request);
    }
}
