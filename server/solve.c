/* solve.c - the life of a solve request. All of it on the loop thread; workers see only its jobs. */
#include "server/solve.h"

#include <stdlib.h>

#include "server/admission.h"
#include "server/tasks.h"

/* --- its memory ------------------------------------------------------------------------------------- */

static void destroy(struct srv_solve *solve) {
    srv_stream_close(&solve->stream);
    srv_vote_destroy(solve->vote);
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

bool srv_solve_is_done(const struct srv_solve *solve, int puzzle) {
    const struct srv_puzzle *p = &solve->group->puzzles[puzzle];
    return solve->expired || p->seen_solved || p->unseen == 0;
}

bool srv_solve_is_over(const struct srv_solve *solve) {
    return solve->expired || solve->unsolved == 0 || (solve->vote && solve->vote->open == 0);
}

static int steps_of_all(const struct srv_group *group, int puzzle) {
    int sum = 0;
    for (int r = 0; r < group->config.rollouts; r++) {
        sum += group->jobs[r * group->config.puzzles + puzzle].seen.steps;
    }
    return sum;
}

struct proto_answer srv_solve_answer(const struct srv_solve *solve, int puzzle) {
    const struct srv_group *group = solve->group;
    const struct srv_job *leader = srv_group_leader(group, puzzle);
    const struct srv_track *track = &leader->seen;
    const int32_t *tokens = group->puzzles[puzzle].tokens;
    uint64_t now = uv_hrtime();
    uint64_t started = track->started_ns ? track->started_ns : now;
    uint64_t ended = track->ended_ns ? track->ended_ns : now;
    return (struct proto_answer){
        .form = &solve->model->form,
        .puzzle = tokens,
        .answer = track->steps ? srv_track_answer(group, track, track->steps) : tokens,
        .steps = track->steps,
        .halted_by = srv_outcome_name(track->outcome == SRV_RUNNING ? SRV_DEADLINE : track->outcome),
        .confidence = track->steps ? track->confidence[track->steps - 1] : 0,
        .q_halt = track->q_halt,
        .queue_ms = ms_between(group->submitted_ns, started),
        .compute_ms = ms_between(started, ended),
        .rollouts = group->config.rollouts,
        .rollout = leader->rollout,
        .total_steps = steps_of_all(group, puzzle),
        .asked_rollouts = group->config.asked_rollouts,
        .given_rollouts = group->config.rollouts,
        .asked_steps = group->config.asked_steps,
        .given_steps = group->config.options.max_steps,
    };
}

struct proto_task_answer srv_solve_task_answer(const struct srv_solve *solve) {
    const struct srv_group *group = solve->group;
    const struct srv_vote *vote = solve->vote;
    uint64_t now = uv_hrtime(), started = 0, ended = 0;
    struct proto_task_answer answer = {
        .task_id = vote->entry->name,
        .known_by = vote->known_by,
        .votes = vote->votes,
        .tests = vote->tests,
        .expired = solve->expired,
        .asked_rollouts = group->config.asked_rollouts,
        .given_rollouts = group->config.rollouts,
        .asked_steps = group->config.asked_steps,
        .given_steps = group->config.options.max_steps,
        .total_ms = srv_solve_total_ms(solve),
    };
    for (int i = 0; i < group->count; i++) {
        const struct srv_track *track = &group->jobs[i].seen;
        answer.steps += track->steps;
        if (track->started_ns) {
            started = started && started < track->started_ns ? started : track->started_ns;
            ended = track->ended_ns > ended ? track->ended_ns : ended;
        }
    }
    answer.queue_ms = ms_between(group->submitted_ns, started ? started : now);
    answer.compute_ms = started ? ms_between(started, ended ? ended : now) : 0;
    return answer;
}

void srv_solve_describe_failure(struct proto_problem *problem) {
    proto_problem_set(problem, PROTO_INTERNAL, "", "the engine could not compute this puzzle; the log has more");
}

bool srv_solve_has_failed(const struct srv_solve *solve) {
    if (solve->vote && solve->vote->failed) {
        return true;
    }
    for (int i = 0; i < solve->group->config.puzzles; i++) {
        if (srv_group_leader(solve->group, i)->seen.outcome == SRV_FAILED) {
            return true;
        }
    }
    return false;
}

/* Answers a request that is not a stream, when all of its puzzles are done. */
static void reply(struct srv_exchange *x) {
    struct srv_solve *solve = x->data;
    struct proto_text text = {0};
    int puzzles = solve->group->config.puzzles;
    if (srv_solve_has_failed(solve)) {
        struct proto_problem problem;
        srv_solve_describe_failure(&problem);
        srv_reply_problem(x, &problem);
        return;
    }
    if (solve->vote) {
        struct proto_task_answer answer = srv_solve_task_answer(solve);
        proto_write_task_answer(&text, solve->exchange->trace.id, solve->model->name, &answer);
    } else if (solve->many) {
        proto_write_answers_open(&text, solve->exchange->trace.id, solve->model->name);
        for (int i = 0; i < puzzles; i++) {
            struct proto_answer answer = srv_solve_answer(solve, i);
            proto_write_answers_item(&text, i, &answer);
        }
        proto_write_answers_close(&text, srv_solve_total_ms(solve));
    } else {
        struct proto_answer answer = srv_solve_answer(solve, 0);
        proto_write_answer(&text, solve->exchange->trace.id, solve->model->name, &answer, srv_solve_total_ms(solve));
    }
    srv_reply(x, 200, proto_framing_type(PROTO_JSON), &text);
}

/* --- its progress ----------------------------------------------------------------------------------- */

/* A puzzle of an ARC task is done: it votes, and what cannot change the outcome is given up. */
static void count_vote(struct srv_solve *solve, int puzzle) {
    const struct srv_vote *vote = solve->vote;
    if (srv_vote_count(solve->vote, solve->group, puzzle)) {
        for (int p = puzzle % vote->tests; p < solve->group->config.puzzles; p += vote->tests) {
            if (!srv_solve_is_done(solve, p)) {
                srv_scheduler_drop(solve->server->scheduler, solve->group, p);
            }
        }
    }
}

void srv_solve_update(struct srv_job *job, void *arg) {
    struct srv_solve *solve = job->group->owner;
    (void)arg;
    if (job->seen.outcome != SRV_RUNNING) {
        struct srv_puzzle *puzzle = srv_job_puzzle(job);
        bool done = puzzle->seen_solved;
        puzzle->unseen--;
        puzzle->seen_solved = done || job->seen.outcome == SRV_VERIFIED;
        done = !done && (puzzle->seen_solved || puzzle->unseen == 0);
        solve->unsolved -= done;
        solve->pending--;
        if (done && solve->vote && solve->exchange && !solve->expired) {
            count_vote(solve, job->puzzle);
        }
    }
    if (!solve->exchange) {
        if (solve->pending == 0) {
            destroy(solve);
        }
    } else if (solve->framing != PROTO_JSON || srv_solve_is_over(solve)) {
        srv_exchange_resume(solve->exchange);
    }
}

/* The deadline: what is there now is the answer. */
static void on_deadline(struct srv_exchange *x) {
    struct srv_solve *solve = x->data;
    solve->expired = true;
    srv_scheduler_cancel(solve->server->scheduler, solve->group, SRV_DEADLINE);
    srv_scheduler_collect(solve->server->scheduler, srv_solve_update, NULL);
    for (int p = 0; solve->vote && p < solve->group->config.puzzles; p++) {
        srv_vote_count(solve->vote, solve->group, p);
    }
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
        if (!model && request->is_task) {
            proto_problem_set(problem, PROTO_INVALID, "/task", "no model here is for ARC tasks; see /models");
        } else if (!model) {
            proto_problem_set(problem, PROTO_INVALID, request->many ? "/grids/0" : "/grid",
                              "no model here has puzzles of %zu cells; see /models", proto_request_cells(request));
        }
        return model;
    }
    return srv_models_named(models, request->model, problem);
}

static bool no_memory(struct proto_problem *problem) {
    return proto_problem_set(problem, PROTO_INTERNAL, "", "out of memory");
}

/* A model for ARC takes tasks, and no other does. */
static bool takes(const struct srv_model *model, const struct proto_request *request, struct proto_problem *problem) {
    if (model->form.takes_tasks && !request->is_task) {
        return proto_problem_set(problem, PROTO_INVALID,
                                 request->tensor ? "/inputs"
                                 : request->many ? "/grids"
                                                 : "/grid",
                                 "model '%.100s' wants ARC tasks: POST /solve with \"task\"", model->name);
    }
    return !request->is_task || srv_model_takes_task(model, &request->task, problem);
}

/* Fills in the tokens of all puzzles. */
static bool fill_group(struct srv_solve *solve, const struct proto_request *request, struct proto_problem *problem) {
    if (solve->vote) {
        srv_vote_fill(solve->vote, &request->task, solve->group);
        return true;
    }
    for (int i = 0; i < solve->group->config.puzzles; i++) {
        if (!proto_request_tokens(request, i, &solve->model->form, solve->group->puzzles[i].tokens, problem)) {
            return false;
        }
    }
    return true;
}

static bool make_group(struct srv_solve *solve, const struct proto_request *request, struct proto_problem *problem) {
    struct srv_server *server = solve->server;
    struct srv_group_config plan;
    solve->model = choose_model(server->models, request, problem);
    if (!solve->model || !takes(solve->model, request, problem)) {
        return false;
    }
    if (request->is_task &&
        !(solve->vote = srv_vote_create(solve->model, srv_tasks_shelf(server->tasks), request, problem))) {
        return false;
    }
    int puzzles = request->count * (solve->vote ? solve->vote->augment : 1);
    if (!srv_admission_plan(server->options, solve->model, &request->options, puzzles,
                            srv_scheduler_waiting(server->scheduler), &plan, problem)) {
        return false;
    }
    plan.engine = solve->vote && solve->vote->engine != solve->model->engine ? solve->vote->engine : NULL;
    plan.every_step = solve->framing != PROTO_JSON && !solve->vote;
    solve->group = srv_group_create(&plan);
    if (!solve->group) {
        return no_memory(problem);
    }
    solve->group->owner = solve;
    solve->pending = solve->group->count;
    solve->unsolved = plan.puzzles;
    if (!fill_group(solve, request, problem)) {
        return false;
    }
    if (plan.every_step && !srv_stream_open(&solve->stream, solve->group, request->options.every_rollout)) {
        return no_memory(problem);
    }
    solve->stream.unanswered = solve->vote ? 1 : solve->stream.unanswered;
    return true;
}

bool srv_solve_has_room(struct srv_server *server, struct proto_problem *problem) {
    if (server->draining) {
        return proto_problem_set(problem, PROTO_SHUTTING_DOWN, "", "no new work is accepted");
    }
    if (srv_scheduler_waiting(server->scheduler) < server->options->max_queue) {
        return true;
    }
    proto_problem_set(problem, PROTO_OVERLOADED, "", "%d may wait, and as many do", server->options->max_queue);
    problem->retry_after_s = srv_scheduler_wait_s(server->scheduler);
    return false;
}

/* Queues the puzzles of a request: NULL with *problem filled in if that cannot be. */
static struct srv_solve *queue(struct srv_exchange *x, const struct proto_request *request, enum proto_framing framing,
                               struct proto_problem *problem) {
    struct srv_server *server = x->server;
    if (!srv_solve_has_room(server, problem)) {
        return NULL; /* since its head came */
    }
    struct srv_solve *solve = calloc(1, sizeof *solve);
    if (!solve) {
        no_memory(problem);
        return NULL;
    }
    solve->server = server;
    solve->exchange = x;
    solve->many = request->many;
    solve->framing = framing;
    bool good = make_group(solve, request, problem);
    if (good && srv_scheduler_submit(server->scheduler, solve->group) != TRM_OK) {
        good = proto_problem_set(problem, PROTO_OVERLOADED, "", "%d may wait, and there is no room for %d more",
                                 server->options->max_queue, solve->group->count);
        problem->retry_after_s = srv_scheduler_wait_s(server->scheduler);
    }
    if (!good) {
        destroy(solve);
        return NULL;
    }
    enlist(solve);
    return solve;
}

struct proto_limits srv_solve_limits(const struct srv_server *server) {
    return (struct proto_limits){.max_steps = server->options->step_limit,
                                 .max_grids = server->options->max_queue,
                                 .max_rollouts = server->options->rollout_limit,
                                 .max_augment = server->options->max_queue};
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
        x->ping = srv_stream_ping;
        srv_reply_stream(x, proto_framing_type(framing));
    }
    return solve;
}

void srv_solve(struct srv_exchange *x) {
    struct proto_limits limits = srv_solve_limits(x->server);
    struct proto_problem problem;
    struct proto_request request;
    enum proto_framing framing;
    if (!proto_accept_framing(srv_exchange_header(x, "Accept"), &framing, &problem) ||
        !proto_request_read(x->body, x->body_length, &limits, &request, &problem)) {
        srv_reply_problem(x, &problem);
    } else {
        srv_solve_start(x, &request, framing, reply);
        proto_request_release(&request);
    }
}
