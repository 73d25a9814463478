/* problem.c - one table of everything that can be wrong with a request. Constant data only. */
#include "proto/problem.h"

#include <stdarg.h>
#include <stdio.h>

struct kind {
    int status;
    const char *name; /* last part of the type, for programs */
    const char *title;
};

static const struct kind kinds[] = {
    [PROTO_BAD_HEAD] = {400, "bad-head", "The head of the request is not clear"},
    [PROTO_BAD_JSON] = {400, "bad-json", "The body is not valid JSON"},
    [PROTO_UNAUTHORIZED] = {401, "unauthorized", "A key is missing or wrong"},
    [PROTO_FORBIDDEN] = {403, "forbidden", "This is not allowed here"},
    [PROTO_NOT_FOUND] = {404, "not-found", "There is nothing at this path"},
    [PROTO_UNKNOWN_MODEL] = {404, "unknown-model", "No such model"},
    [PROTO_METHOD] = {405, "method-not-allowed", "This path has other methods"},
    [PROTO_NOT_ACCEPTABLE] = {406, "not-acceptable", "No form of the answer is acceptable"},
    [PROTO_TIMEOUT] = {408, "timeout", "The body did not arrive in time"},
    [PROTO_CONFLICT] = {409, "conflict", "Not at the same time"},
    [PROTO_TOO_LARGE] = {413, "too-large", "The body is too large"},
    [PROTO_URI_TOO_LONG] = {414, "uri-too-long", "The path is too long"},
    [PROTO_MEDIA_TYPE] = {415, "media-type", "The body must be JSON"},
    [PROTO_INVALID] = {422, "invalid", "The request is not valid"},
    [PROTO_CONTRADICTION] = {422, "contradiction", "The clues contradict each other"},
    [PROTO_UNKNOWN_TASK] = {422, "unknown-task", "The model was not trained on this task"},
    [PROTO_BAD_CHECKPOINT] = {422, "bad-checkpoint", "The checkpoint cannot be served"},
    [PROTO_INTERNAL] = {500, "internal", "The server failed"},
    [PROTO_OVERLOADED] = {429, "overloaded", "The queue is full"},
    [PROTO_SHUTTING_DOWN] = {503, "shutting-down", "The server is shutting down"},
};

bool proto_problem_set(struct proto_problem *problem, enum proto_problem_kind kind, const char *pointer,
                       const char *format, ...) {
    va_list args;
    problem->kind = kind;
    problem->retry_after_s = kind == PROTO_SHUTTING_DOWN ? 1 : 0; /* another server may take its place */
    snprintf(problem->pointer, sizeof problem->pointer, "%s", pointer);
    va_start(args, format);
    vsnprintf(problem->detail, sizeof problem->detail, format, args);
    va_end(args);
    return false;
}

void proto_pointer(char *pointer, size_t size, const char *base, const char *name) {
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

int proto_problem_status(enum proto_problem_kind kind) {
    return kinds[kind].status;
}

void proto_problem_write(const struct proto_problem *problem, struct proto_text *text) {
    const struct kind *kind = &kinds[problem->kind];
    proto_text_addf(text, "{\"type\":\"urn:trm-server:%s\",\"title\":\"%s\",\"status\":%d,\"detail\":", kind->name,
                    kind->title, kind->status);
    proto_text_add_string(text, problem->detail);
    if (problem->pointer[0]) {
        proto_text_add_literal(text, ",\"pointer\":");
        proto_text_add_string(text, problem->pointer);
    }
    proto_text_add_literal(text, "}");
}
