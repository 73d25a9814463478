/* body.c - see body.h. No state. */
#include "proto/body.h"

#include <string.h>

/* What a body may have of each, far beyond what requests need. jansson's parser calls itself for each
 * level, up to 2048 of them; and when its buffer for a token cannot grow it writes past it (2.14, its
 * issue 362), so tokens are kept so small that it always can. */
enum { MAX_DEPTH = 32, MAX_TOKEN = 8192 };

/* What there is too much of; NULL if nothing. Exact up to the first error of the JSON, where the parser
 * stops too. */
static const char *find_excess(const char *body, size_t length) {
    int depth = 0;
    size_t token = 0; /* its length so far, escapes counted once */
    bool in_string = false;
    for (size_t i = 0; i < length; i++) {
        char c = body[i];
        token++;
        if (c == '"') {
            in_string = !in_string;
            token = 0;
        } else if (in_string) {
            i += c == '\\'; /* what is escaped ends no string */
        } else if (c == '[' || c == '{') {
            depth++;
            token = 0;
        } else if (c == ']' || c == '}') {
            depth--;
            token = 0;
        } else if (c == ',' || c == ':' || c == ' ' || c == '\t' || c == '\r' || c == '\n') {
            token = 0;
        }
        if (depth > MAX_DEPTH) {
            return "arrays and objects are nested deeper than 32";
        }
        if (token > MAX_TOKEN) {
            return "a string or number is longer than 8192";
        }
    }
    return NULL;
}

bool proto_body_parse(const char *body, size_t length, json_t **root, struct proto_problem *problem) {
    json_error_t error = {.text = ""}; /* with the code of an unknown error: memory ran out somewhere */
    *root = NULL;
    const char *excess = find_excess(body, length);
    if (excess) {
        return proto_problem_set(problem, PROTO_BAD_JSON, "", "%s", excess);
    }
    *root = json_loadb(body ? body : "", length, JSON_REJECT_DUPLICATES, &error);
    if (!*root) {
        enum json_error_code code = json_error_code(&error);
        if (code == json_error_out_of_memory || code == json_error_unknown) {
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
