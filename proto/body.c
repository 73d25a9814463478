/* body.c - see body.h. No state. */
#include "proto/body.h"

#include <string.h>

/* Requests need six; jansson's parser calls itself for each level and would go to 2048. */
enum { MAX_DEPTH = 32 };

/* Exact up to the first error of the JSON, where the parser stops too. */
static bool is_too_deep(const char *body, size_t length) {
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < length; i++) {
        if (body[i] == '"') {
            in_string = !in_string;
        } else if (in_string) {
            i += body[i] == '\\'; /* what is escaped ends no string */
        } else if (body[i] == '[' || body[i] == '{') {
            if (++depth > MAX_DEPTH) {
                return true;
            }
        } else if (body[i] == ']' || body[i] == '}') {
            depth--;
        }
    }
    return false;
}

bool proto_body_parse(const char *body, size_t length, json_t **root, struct proto_problem *problem) {
    json_error_t error;
    *root = NULL;
    if (is_too_deep(body, length)) {
        return proto_problem_set(problem, PROTO_BAD_JSON, "", "arrays and objects are nested deeper than %d",
                                 MAX_DEPTH);
    }
    *root = json_loadb(body ? body : "", length, JSON_REJECT_DUPLICATES, &error);
    if (!*root) {
        if (json_error_code(&error) == json_error_out_of_memory) {
            return proto_problem_set(problem, PROTO_INTERNAL, "", "out of memory");
        }
        return proto_problem_set(problem, PROTO_BAD_JSON, "", "line %d, column %d: %s", error.line, error.column,
                                 error.text);
    }
    if (!json_is_object(*root)) {
        json_decref(*root);
        *root = NULL;
        return proto_problem_set(problem, PROTO_INVALID, "", "the body must be a JSON object");
    }
    return true;
}

static bool is_in_list(const char *name, const char *list) {
    size_t length = strlen(name);
    for (const char *item = list; item; item = strchr(item, ' ') ? strchr(item, ' ') + 1 : NULL) {
        if (strncmp(item, name, length) == 0 && (item[length] == ',' || item[length] == '\0')) {
            return length > 0;
        }
    }
    return false;
}

bool proto_body_knows_members(const json_t *object, const char *pointer, const char *known,
                              struct proto_problem *problem) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)object, name, value) {
        if (!is_in_list(name, known)) {
            char at[sizeof problem->pointer];
            proto_pointer(at, sizeof at, pointer, name);
            return proto_problem_set(problem, PROTO_INVALID, at, "this member is not known; known are %s", known);
        }
    }
    return true;
}
