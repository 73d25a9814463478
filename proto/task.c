/* task.c - see task.h. Constant data only. */
#include "proto/task.h"

#include <stdio.h>

#include "proto/answer.h"
#include "proto/body.h"

static const double MAX_SEED = 9007199254740991; /* 2^53 - 1: what every JSON library keeps exactly */
static const double MIN_LR = 1e-6, MAX_LR = 0.1;

/* --- reading ---------------------------------------------------------------------------------------- */

/* The integer `name` of `options`, from `low` to `high`; `absent` if it is not there. */
static bool read_integer(const json_t *options, const char *name, double low, double high, json_int_t absent,
                         json_int_t *value, struct proto_problem *problem) {
    const json_t *member = json_object_get(options, name);
    char at[sizeof problem->pointer];
    *value = member ? json_integer_value(member) : absent;
    if (member && (!json_is_integer(member) || (double)*value < low || (double)*value > high)) {
        proto_pointer(at, sizeof at, "/options", name);
        return proto_problem_set(problem, PROTO_INVALID, at, "must be an integer from %.16g to %.16g", low, high);
    }
    return true;
}

/* The same for the learning rate. */
static bool read_lr(const json_t *options, double *lr, struct proto_problem *problem) {
    const json_t *member = json_object_get(options, "lr");
    *lr = member ? json_number_value(member) : TRAIN_ADAPT_LR;
    return !member || (json_is_number(member) && *lr >= MIN_LR && *lr <= MAX_LR) ||
           proto_problem_set(problem, PROTO_INVALID, "/options/lr", "must be a number from %g to %g", MIN_LR, MAX_LR);
}

static bool read_options(const json_t *options, int max_seconds, struct proto_task_request *request,
                         struct proto_problem *problem) {
    const int preset = max_seconds < PROTO_TASK_SECONDS ? max_seconds : PROTO_TASK_SECONDS;
    json_int_t seconds, augment, seed;
    if (options && !json_is_object(options)) {
        return proto_problem_set(problem, PROTO_INVALID, "/options", "must be an object");
    }
    if ((options && !proto_body_knows_members(options, "/options", "seconds, augment, lr, seed", problem)) ||
        !read_integer(options, "seconds", 1, max_seconds, preset, &seconds, problem) ||
        !read_integer(options, "augment", 0, PROTO_TASK_AUGMENT, TRAIN_ADAPT_AUGMENT, &augment, problem) ||
        !read_lr(options, &request->lr, problem) || !read_integer(options, "seed", 0, MAX_SEED, 0, &seed, problem)) {
        return false;
    }
    request->seconds = (int)seconds;
    request->augment = (int)augment;
    request->seed = (uint64_t)seed;
    return true;
}

static bool read_task(const json_t *json, struct data_arc_task *task, struct proto_problem *problem) {
    char where[64], pointer[sizeof problem->pointer];
    trm_error why;
    if (!json) {
        return proto_problem_set(problem, PROTO_INVALID, "/task", "the task is missing");
    }
    trm_status status = data_arc_task_read(json, task, where, sizeof where, &why);
    if (status != TRM_OK) {
        snprintf(pointer, sizeof pointer, "/task%s", where);
        return proto_problem_set(problem, status == TRM_NO_MEMORY ? PROTO_INTERNAL : PROTO_INVALID, pointer, "%.200s",
                                 why.text);
    }
    return task->train_count > 0 ||
           proto_problem_set(problem, PROTO_INVALID, "/task/train", "there are no demonstrations to learn from");
}

bool proto_task_read(const char *body, size_t length, int max_seconds, struct proto_task_request *request,
                     struct proto_problem *problem) {
    *request = (struct proto_task_request){0};
    if (!proto_body_parse(body, length, &request->root, problem)) {
        return false;
    }
    const json_t *model = json_object_get(request->root, "model");
    bool good = proto_body_knows_members(request->root, "", "model, task, options", problem);
    if (good && model && !json_is_string(model)) {
        good = proto_problem_set(problem, PROTO_INVALID, "/model", "must be a string");
    }
    good = good && read_options(json_object_get(request->root, "options"), max_seconds, request, problem) &&
           read_task(json_object_get(request->root, "task"), &request->task, problem);
    request->model = json_string_value(model);
    if (!good) {
        proto_task_release(request);
    }
    return good;
}

void proto_task_release(struct proto_task_request *request) {
    data_arc_task_release(&request->task);
    json_decref(request->root);
    *request = (struct proto_task_request){0};
}

/* --- writing ---------------------------------------------------------------------------------------- */

const char *proto_task_state_name(enum proto_task_state state) {
    static const char *const names[PROTO_TASK_STATES] = {"waiting", "running", "done", "failed", "cancelled"};
    return names[state];
}

/* What an update has come to; one that went wrong has no number. */
static void write_measure(struct proto_text *text, const char *name, double value) {
    proto_text_addf(text, ",\"%s\":", name);
    proto_text_add_float(text, (float)value);
}

static void write_members(struct proto_text *text, const struct proto_task_status *status) {
    const struct train_adapt_progress *p = &status->progress;
    proto_text_add_literal(text, "\"id\":");
    proto_text_add_string(text, status->id);
    proto_text_add_literal(text, ",\"model\":");
    proto_text_add_string(text, status->model);
    proto_text_addf(text, ",\"state\":\"%s\"", proto_task_state_name(status->state));
    if (status->detail) {
        proto_text_add_literal(text, ",\"detail\":");
        proto_text_add_string(text, status->detail);
    }
    if (status->budget > 0) {
        proto_text_addf(text, ",\"budget_s\":%d", status->budget);
    }
    proto_text_addf(text, ",\"ahead\":%d", status->ahead);
    if (p->updates > 0) {
        proto_text_addf(text, ",\"progress\":{\"share\":%.4f,\"updates\":%d,\"seconds\":%.3f", p->share, p->updates,
                        p->seconds);
        write_measure(text, "loss", p->loss);
        write_measure(text, "accuracy", p->accuracy);
        write_measure(text, "exact", p->exact);
        proto_text_add_literal(text, "}");
    }
}

void proto_write_task(struct proto_text *text, const struct proto_task_status *status) {
    proto_text_add_literal(text, "{");
    write_members(text, status);
    proto_text_add_literal(text, "}");
}

void proto_stream_task(struct proto_text *text, enum proto_framing framing, const struct proto_task_status *status) {
    const bool goes_on = status->state == PROTO_TASK_WAITING || status->state == PROTO_TASK_RUNNING;
    proto_stream_begin(text, framing, goes_on ? "progress" : proto_task_state_name(status->state), -1);
    write_members(text, status);
    proto_stream_end(text, framing);
}
