/* request.c - hostile bytes become a checked request or a problem that names the member at fault.
 * No state. */
#include "proto/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/body.h"

/* Reads the task, if there is one. */
static bool read_task(struct proto_request *request, struct proto_problem *problem) {
    const json_t *task = json_object_get(request->root, "task"), *id = json_object_get(request->root, "task_id");
    char where[64], pointer[sizeof problem->pointer];
    trm_error why;
    if (id && !json_is_string(id)) {
        return proto_problem_set(problem, PROTO_INVALID, "/task_id", "must be a string");
    }
    if (!task) {
        return !id || proto_problem_set(problem, PROTO_INVALID, "/task",
                                        "the task is missing: its tests, and its demonstrations if you like");
    }
    trm_status status = data_arc_task_read(task, &request->task, where, sizeof where, &why);
    if (status != TRM_OK) {
        snprintf(pointer, sizeof pointer, "/task%s", where);
        return proto_problem_set(problem, status == TRM_NO_MEMORY ? PROTO_INTERNAL : PROTO_INVALID, pointer, "%.200s",
                                 why.text);
    }
    if (!id && request->task.train_count == 0) {
        return proto_problem_set(problem, PROTO_INVALID, "/task/train",
                                 "a task is known by its demonstrations or by task_id, and both are missing");
    }
    request->is_task = true;
    request->task_id = json_string_value(id);
    request->count = request->task.test_count;
    return true;
}

static bool read_members(struct proto_request *request, const struct proto_limits *limits,
                         struct proto_problem *problem) {
    const json_t *model = json_object_get(request->root, "model");
    const json_t *grid = json_object_get(request->root, "grid"), *grids = json_object_get(request->root, "grids");
    if (!proto_body_knows_members(request->root, "", "model, grid, grids, task, task_id, options", problem)) {
        return false;
    }
    if (model && !json_is_string(model)) {
        return proto_problem_set(problem, PROTO_INVALID, "/model", "must be a string");
    }
    struct proto_limits allowed = *limits;
    allowed.max_augment = json_object_get(request->root, "task") ? limits->max_augment : limits->max_rollouts;
    if (!proto_options_read(json_object_get(request->root, "options"), "/options", &allowed, &request->options,
                            problem)) {
        return false;
    }
    request->model = json_string_value(model);
    if (!read_task(request, problem)) {
        return false;
    }
    if ((grid && grids) || (request->is_task && (grid || grids))) {
        return proto_problem_set(problem, PROTO_INVALID, grids ? "/grids" : "/grid",
                                 "give one of grid, grids and task, not several");
    }
    if (request->is_task) {
        return true;
    }
    if (!grid && !grids) {
        return proto_problem_set(problem, PROTO_INVALID, "/grid", "the request has no grid");
    }
    if (grids && (json_array_size(grids) < 1 || json_array_size(grids) > (size_t)limits->max_grids)) {
        return proto_problem_set(problem, PROTO_INVALID, "/grids", "must be an array of 1 to %d grids",
                                 limits->max_grids);
    }
    request->grid = grids ? grids : grid;
    request->many = grids != NULL;
    request->count = grids ? (int)json_array_size(grids) : 1;
    return true;
}

bool proto_request_read(const char *body, size_t length, const struct proto_limits *limits,
                        struct proto_request *request, struct proto_problem *problem) {
    *request = (struct proto_request){0};
    if (!proto_body_parse(body, length, &request->root, problem)) {
        return false;
    }
    if (!read_members(request, limits, problem)) {
        proto_request_release(request);
        return false;
    }
    return true;
}

static const json_t *grid_at(const struct proto_request *request, int index) {
    return request->many ? json_array_get(request->grid, (size_t)index) : request->grid;
}

size_t proto_request_cells(const struct proto_request *request) {
    if (request->is_task) {
        return 0;
    }
    return request->tensor ? (size_t)request->cells : proto_grid_cells(grid_at(request, 0));
}

bool proto_request_fits(const struct proto_request *request, const struct proto_form *form) {
    return proto_grid_fits(grid_at(request, 0), form);
}

static bool read_tensor(const struct proto_request *request, int index, const struct proto_form *form, int32_t *tokens,
                        struct proto_problem *problem) {
    const int32_t *integers = request->tensor + (size_t)index * (size_t)request->cells;
    if (request->cells != form->side * form->side || (request->columns && request->columns != form->side)) {
        return proto_problem_set(problem, PROTO_INVALID, "/inputs/0/shape",
                                 "the model wants puzzles of %d cells: [n, %d] or [n, %d, %d]", form->side * form->side,
                                 form->side * form->side, form->side, form->side);
    }
    return proto_grid_take(integers, form, "/inputs/0/data", tokens, problem);
}

/* Says in the detail of a problem which of several puzzles it is about. */
static void add_index(struct proto_problem *problem, int index) {
    size_t length = strlen(problem->detail);
    snprintf(problem->detail + length, sizeof problem->detail - length, " (puzzle %d, counted from 0)", index);
}

bool proto_request_tokens(const struct proto_request *request, int index, const struct proto_form *form,
                          int32_t *tokens, struct proto_problem *problem) {
    char pointer[32] = "/grid";
    if (request->tensor) {
        bool good = read_tensor(request, index, form, tokens, problem);
        if (!good && request->count > 1) {
            add_index(problem, index);
        }
        return good;
    }
    if (request->many) {
        snprintf(pointer, sizeof pointer, "/grids/%d", index);
    }
    return proto_grid_read(grid_at(request, index), form, pointer, tokens, problem);
}

void proto_request_release(struct proto_request *request) {
    data_arc_task_release(&request->task);
    free(request->tensor);
    json_decref(request->root);
    *request = (struct proto_request){0};
}
