/* request.c - hostile bytes become a checked request or a problem that names the member at fault.
 * No state. */
#include "proto/request.h"

#include <stdio.h>
#include <string.h>

enum { MAX_DEADLINE_MS = 24 * 60 * 60 * 1000 };

/* `base`/`name` as a JSON pointer: ~ and / inside a name are written ~0 and ~1. Cut if too long. */
static void pointer_to(char *pointer, size_t size, const char *base, const char *name) {
    size_t length = (size_t)snprintf(pointer, size, "%s/", base);
    for (; *name && length + 3 <= size; name++) {
        if (*name == '~' || *name == '/') {
            pointer[length++] = '~';
            pointer[length++] = *name == '~' ? '0' : '1';
        } else {
            pointer[length++] = *name;
        }
    }
    pointer[length] = '\0';
}

static bool unknown_member(const char *base, const char *name, const char *known, struct proto_problem *problem) {
    char pointer[sizeof problem->pointer];
    pointer_to(pointer, sizeof pointer, base, name);
    return proto_problem_set(problem, PROTO_INVALID, pointer, "this member is not known; known are %s", known);
}

static bool read_int(const json_t *value, const char *pointer, int low, int high, int *result,
                     struct proto_problem *problem) {
    if (!json_is_integer(value) || json_integer_value(value) < low || json_integer_value(value) > high) {
        return proto_problem_set(problem, PROTO_INVALID, pointer, "must be an integer from %d to %d", low, high);
    }
    *result = (int)json_integer_value(value);
    return true;
}

static bool read_bool(const json_t *value, const char *pointer, bool *result, struct proto_problem *problem) {
    if (!json_is_boolean(value)) {
        return proto_problem_set(problem, PROTO_INVALID, pointer, "must be true or false");
    }
    *result = json_is_true(value);
    return true;
}

static bool read_float(const json_t *value, const char *pointer, float *result, struct proto_problem *problem) {
    double number = json_number_value(value);
    if (!json_is_number(value) || number < -1e30 || number > 1e30) {
        return proto_problem_set(problem, PROTO_INVALID, pointer, "must be a number from -1e30 to 1e30");
    }
    *result = (float)number;
    return true;
}

static bool read_options(json_t *object, const struct proto_limits *limits, struct proto_options *options,
                         struct proto_problem *problem) {
    const char *name;
    json_t *value;
    if (!json_is_object(object)) {
        return proto_problem_set(problem, PROTO_INVALID, "/options", "must be an object");
    }
    json_object_foreach(object, name, value) {
        bool good;
        if (strcmp(name, "max_steps") == 0) {
            good = read_int(value, "/options/max_steps", 1, limits->max_steps, &options->max_steps, problem);
        } else if (strcmp(name, "min_steps") == 0) {
            good = read_int(value, "/options/min_steps", 0, limits->max_steps, &options->min_steps, problem);
        } else if (strcmp(name, "halt_threshold") == 0) {
            good = read_float(value, "/options/halt_threshold", &options->halt_threshold, problem);
        } else if (strcmp(name, "no_halt") == 0) {
            good = read_bool(value, "/options/no_halt", &options->no_halt, problem);
        } else if (strcmp(name, "deadline_ms") == 0) {
            good = read_int(value, "/options/deadline_ms", 1, MAX_DEADLINE_MS, &options->deadline_ms, problem);
        } else if (strcmp(name, "verify") == 0) {
            options->has_verify = true;
            good = read_bool(value, "/options/verify", &options->verify, problem);
        } else {
            good = unknown_member("/options", name,
                                  "max_steps, min_steps, halt_threshold, no_halt, deadline_ms, verify", problem);
        }
        if (!good) {
            return false;
        }
    }
    if (options->max_steps && options->min_steps > options->max_steps) {
        return proto_problem_set(problem, PROTO_INVALID, "/options/min_steps", "is above max_steps, %d",
                                 options->max_steps);
    }
    return true;
}

static bool read_members(struct proto_request *request, const struct proto_limits *limits,
                         struct proto_problem *problem) {
    const char *name;
    json_t *value;
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
            if (!read_options(value, limits, &request->options, problem)) {
                return false;
            }
        } else {
            return unknown_member("", name, "model, grid, grids, options", problem);
        }
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
