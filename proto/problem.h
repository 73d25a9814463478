/* problem.h - what a client is told when its request cannot be served: RFC 9457 documents.
 *
 * Plain data, no allocation: a problem can be described when memory ran out. Any thread. */
#ifndef TRM_PROTO_PROBLEM_H
#define TRM_PROTO_PROBLEM_H

#include <stddef.h>

#include "proto/text.h"

enum proto_problem_kind {
    PROTO_BAD_HEAD,       /* 400 it is not clear where the request ends */
    PROTO_BAD_JSON,       /* 400 the body is not JSON */
    PROTO_UNAUTHORIZED,   /* 401 no key was shown, or a wrong one */
    PROTO_FORBIDDEN,      /* 403 not with this key, or not at all */
    PROTO_NOT_FOUND,      /* 404 no such path */
    PROTO_UNKNOWN_MODEL,  /* 404 no such model */
    PROTO_METHOD,         /* 405 the path has other methods */
    PROTO_NOT_ACCEPTABLE, /* 406 the Accept header allows none of the forms of an answer */
    PROTO_TIMEOUT,        /* 408 the body did not arrive in time */
    PROTO_CONFLICT,       /* 409 not while something else goes on */
    PROTO_TOO_LARGE,      /* 413 the body is over the limit */
    PROTO_URI_TOO_LONG,   /* 414 the path is over the limit */
    PROTO_MEDIA_TYPE,     /* 415 the body is clearly something else than JSON */
    PROTO_INVALID,        /* 422 JSON, but not a request: `pointer` names the member */
    PROTO_CONTRADICTION,  /* 422 two clues exclude each other */
    PROTO_UNKNOWN_TASK,   /* 422 no model here was trained on this ARC task */
    PROTO_BAD_CHECKPOINT, /* 422 the file of a model cannot be served */
    PROTO_INTERNAL,       /* 500 ours */
    PROTO_OVERLOADED,     /* 429 the queue is full: try again */
    PROTO_SHUTTING_DOWN   /* 503 the server is about to end */
};

struct proto_problem {
    enum proto_problem_kind kind;
    char detail[256];  /* one sentence for people */
    char pointer[192]; /* JSON pointer (RFC 6901) to the member at fault, "" for none */
    int retry_after_s; /* for the header of that name; 0: none. proto_problem_set() knows one for 503 only */
};

/* Fills in a problem. `pointer` may be "". Always returns false, for `return proto_problem_set(...)`. */
bool proto_problem_set(struct proto_problem *problem, enum proto_problem_kind kind, const char *pointer,
                       const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Writes the JSON pointer of member `name` of what `base` points to: ~ and / inside a name become ~0
 * and ~1. Cut if it is too long for `size` bytes. */
void proto_pointer(char *pointer, size_t size, const char *base, const char *name);

/* The HTTP status of a kind. */
int proto_problem_status(enum proto_problem_kind kind);

/* The document: {"type","title","status","detail"} and "pointer" where there is one. */
void proto_problem_write(const struct proto_problem *problem, struct proto_text *text);

#endif
