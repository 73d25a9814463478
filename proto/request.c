/* request.c - hostile bytes become a checked request or a problem that names the member at fault.
 * No state. */
#include "proto/request.h"

#include <stdio.h>
#include <string.h>

static bool unknown_member(const char *name, struct proto_problem *problem) {
    char pointer[sizeof problem->pointer];
    proto_pointer(pointer, sizeof pointer, "", name);
    return proto_problem_set(problem, PROTO_INVALID, pointer,
                             "this member is not known; known are model, grid, grids, options");
}

static bool read_members(struct proto_request *request, const struct proto_limits *limits,
                         struct proto_problem *problem) {
    const char *name;
    json_t *value, *options = NULL;
    if (!json_is_object(request->root)) {
        return proto_problem_set(problem, PROTO_INVALID, "", "the body must be a JSON object with a grid");
    }
    json_object_foreach(request->root, name, value) {
        if (strcmp(name, "model") == 0) {
            if (!json_is_string(value)) {
                return proto_problem_set(problem, PROTO_INVALID, "/model", "must be a string");
            }
            request->model = json_string_value(value);
        } else if (strcmp(name, "grid") == 0 || strcmp(name, "grids") == 0) {
            if (request->grid) {
                return proto_problem_set(problem, PROTO_INVALID, "/grids", "give either grid or grids, not both");
            }
            request->grid = value;
            request->many = strcmp(name, "grids") == 0;
        } else if (strcmp(name, "options") == 0) {
            options = value;
        } else {
            return unknown_member(name, problem);
        }
    }
    if (!proto_options_read(options, "/options", limits, &request->options, problem)) {
        return false;
    }
    if (!request->grid) {
        return proto_problem_set(problem, PROTO_INVALID, "/grid", "the request has no grid");
    }
    request->count = 1;
    if (request->many) {
        size_t count = json_array_size(request->grid);
        if (count < 1 || count > (size_t)limits->max_grids) {
            return proto_problem_set(problem, PROTO_INVALID, "/grids", "must be an array of 1 to %d grids",
                                     limits->max_grids);
        }
        request->count = (int)count;
    }
    return true;
}

bool proto_request_read(const char *body, size_t length, const struct proto_limits *limits,
                        struct proto_request *request, struct proto_problem *problem) {
    json_error_t error;
    *request = (struct proto_request){0};
    request->root = json_loadb(body ? body : "", length, JSON_REJECT_DUPLICATES, &error);
    if (!request->root) {
        if (json_error_code(&error) == json_error_out_of_memory) {
            return proto_problem_set(problem, PROTO_INTERNAL, "", "out of memory");
        }
        return proto_problem_set(problem, PROTO_BAD_JSON, "", "line %d, column %d: %s", error.line, error.column,
                                 error.text);
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
    return proto_grid_cells(grid_at(request, 0));
}

bool proto_request_fits(const struct proto_request *request, const struct proto_form *form) {
    return proto_grid_fits(grid_at(request, 0), form);
}

bool proto_request_tokens(const struct proto_request *request, int index, const struct proto_form *form,
                          int32_t *tokens, struct proto_problem *problem) {
    char pointer[32] = "/grid";
    if (request->many) {
        snprintf(pointer, sizeof pointer, "/grids/%d", index);
    }
    return proto_grid_read(grid_at(request, index), form, pointer, tokens, problem);
}

void proto_request_release(struct proto_request *request) {
    json_decref(request->root);
    *request = (struct proto_request){0};
}
