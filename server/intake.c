/* intake.c - requests on their way in: the head is judged, the body collected, the handler called.
 * Loop thread. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "server/framing.h"
#include "server/http_internal.h"
#include "server/server.h"

enum { FIRST_BODY = 4096, MAX_PATH = 4096 };

static void on_body_timeout(struct srv_exchange *x) {
    struct proto_problem problem;
    proto_problem_set(&problem, PROTO_TIMEOUT, "", "the body did not arrive within %d seconds",
                      x->http->config.body_timeout);
    srv_refuse_now(x, &problem);
    shutdown(srv_exchange_socket(x), SHUT_RDWR); /* libmicrohttpd sees the end of the stream and closes */
}

static bool too_large(const struct srv_exchange *x, struct proto_problem *problem) {
    return proto_problem_set(problem, PROTO_TOO_LARGE, "", "a body has at most %zu bytes here",
                             x->http->config.max_body);
}

/* True for the types that `curl -d` and JSON clients send, and for none at all. */
static bool is_json_type(const char *type) {
    static const char *const accepted[] = {"application/json", "application/x-www-form-urlencoded", "text/plain",
                                           "application/octet-stream"};
    size_t length = type ? strcspn(type, "; \t") : 0;
    for (size_t i = 0; i < sizeof accepted / sizeof accepted[0]; i++) {
        if (length == strlen(accepted[i]) && strncasecmp(type, accepted[i], length) == 0) {
            return true;
        }
    }
    return length == 0 || (length > 5 && strncasecmp(type + length - 5, "+json", 5) == 0);
}

/* Whether `method` is one of the route's. */
static bool allows(const struct srv_route *route, const char *method) {
    const char *found = strstr(route->methods, method);
    size_t length = strlen(method);
    return found && length > 0 && (found == route->methods || found[-1] == ' ') &&
           (found[length] == ',' || found[length] == '\0');
}

static bool no_access(struct srv_exchange *x, enum srv_verdict verdict) {
    struct proto_problem *problem = &x->problem;
    switch (verdict) {
    case SRV_ALLOWED:
        return false;
    case SRV_NO_KEY:
        x->challenge = "Bearer realm=\"trm-server\"";
        return !proto_problem_set(problem, PROTO_UNAUTHORIZED, "", "send Authorization: Bearer KEY, or X-Api-Key: KEY");
    case SRV_WRONG_KEY:
        x->challenge = "Bearer realm=\"trm-server\", error=\"invalid_token\"";
        return !proto_problem_set(problem, PROTO_UNAUTHORIZED, "", "this key is not known here");
    case SRV_NOT_ENOUGH:
        return !proto_problem_set(problem, PROTO_FORBIDDEN, "", "this needs an admin key");
    case SRV_NOT_POSSIBLE:
        return !proto_problem_set(problem, PROTO_FORBIDDEN, "", "this needs an admin key, and this server has none");
    }
    return true;
}

/* What can be said from the head alone; true if it is a refusal. The answer waits for the end of the
 * body, so that the connection can be used again. */
static bool judge_head(struct srv_exchange *x, const char *path, const char *method) {
    struct srv_http *http = x->http;
    const char *type = srv_exchange_header(x, "Content-Type");
    x->origin = srv_cors_allow(http->cors, srv_exchange_header(x, "Origin"));
    x->route = strlen(path) < sizeof x->path ? http->config.find(path) : NULL;
    x->preflight = x->route && srv_cors_is_on(http->cors) && strcmp(method, "OPTIONS") == 0;
    if (x->preflight) {
        x->allow = x->route->methods;
        return false;
    }
    if (no_access(x, srv_auth_judge(http->auth, x->route ? x->route->access : SRV_KEYED,
                                    srv_exchange_header(x, "Authorization"), srv_exchange_header(x, "X-Api-Key")))) {
        return true;
    }
    if (strlen(path) > MAX_PATH) {
        return !proto_problem_set(&x->problem, PROTO_URI_TOO_LONG, "", "a path has at most %d bytes here", MAX_PATH);
    }
    if (!x->route) {
        return !proto_problem_set(&x->problem, PROTO_NOT_FOUND, "", "%.200s is not a path of this server", path);
    }
    if (!allows(x->route, method)) {
        x->allow = x->route->methods;
        return !proto_problem_set(&x->problem, PROTO_METHOD, "", "%s has the methods %s", x->route->path,
                                  x->route->methods);
    }
    if (strcmp(method, "POST") == 0 && !is_json_type(type)) {
        return !proto_problem_set(&x->problem, PROTO_MEDIA_TYPE, "",
                                  "%.100s is not a type of JSON: use application/json", type);
    }
    return x->route->has_room && !x->route->has_room(x->server, &x->problem);
}

static void name_request(struct srv_exchange *x, const char *path, const char *method) {
    char made[32];
    snprintf(made, sizeof made, "%08" PRIx32 "-%" PRIu64, x->server->run_id, ++x->server->last_id);
    srv_trace_read(&x->trace, srv_exchange_header(x, "X-Request-Id"), srv_exchange_header(x, "traceparent"), made);
    snprintf(x->path, sizeof x->path, "%s", path);
    snprintf(x->method, sizeof x->method, "%s", method);
}

/* The first call of a request: its head is there, its body not yet. */
static enum MHD_Result begin(struct srv_exchange *x, const char *path, const char *method) {
    struct proto_problem problem;
    const char *length = srv_exchange_header(x, "Content-Length");
    srv_connection_busy(x->connection);
    name_request(x, path, method);
    x->refused = judge_head(x, path, method);
    bool clear = srv_framing_is_clear(x->connection, &problem);
    if (!clear || (length && strtoull(length, NULL, 10) > x->http->config.max_body)) {
        if (clear) {
            too_large(x, &problem);
        }
        x->linger = true;
        srv_reply_problem(x, &problem);
        return x->gone ? MHD_NO : MHD_YES;
    }
    x->alarm = on_body_timeout;
    srv_exchange_set_alarm(x, (uint64_t)x->http->config.body_timeout * 1000);
    return MHD_YES;
}

/* Room for `needed` bytes of body, at most config.max_body; false with a problem if there is none. */
static bool grow(struct srv_exchange *x, size_t needed, struct proto_problem *problem) {
    struct srv_http *http = x->http;
    size_t capacity = x->capacity ? x->capacity : FIRST_BODY;
    while (capacity < needed) {
        capacity *= 2;
    }
    capacity = capacity < http->config.max_body ? capacity : http->config.max_body;
    if (capacity <= x->capacity) {
        return true;
    }
    size_t others = http->body_bytes - x->capacity;
    if (capacity > http->config.body_memory || others > http->config.body_memory - capacity) {
        proto_problem_set(problem, PROTO_OVERLOADED, "", "too many requests are on their way");
        problem->retry_after_s = 1;
        return false;
    }
    char *buffer = realloc(x->buffer, capacity);
    if (!buffer) {
        return proto_problem_set(problem, PROTO_INTERNAL, "", "out of memory");
    }
    http->body_bytes = others + capacity;
    x->buffer = buffer;
    x->capacity = capacity;
    return true;
}

static void drop_body(struct srv_exchange *x) {
    x->http->body_bytes -= x->capacity;
    free(x->buffer);
    x->buffer = NULL;
    x->capacity = 0;
    x->body = NULL;
}

/* A piece of the body. That of a refused request is counted, but not kept. */
static enum MHD_Result take_body(struct srv_exchange *x, const char *data, size_t size) {
    struct proto_problem problem;
    bool kept = !x->refused && !x->preflight;
    x->received += size;
    if (size > x->http->config.max_body - x->body_length) {
        too_large(x, &problem);
        srv_refuse_now(x, &problem);
        return MHD_NO;
    }
    if (kept && !grow(x, x->body_length + size, &problem)) {
        srv_refuse_now(x, &problem);
        return MHD_NO;
    }
    if (kept) {
        memcpy(x->buffer + x->body_length, data, size);
        x->body = x->buffer;
    }
    x->body_length += size;
    return MHD_YES;
}

static void answer(struct srv_exchange *x) {
    x->complete = true;
    x->http->unanswered++;
    uv_timer_stop(&x->timer);
    if (x->refused) {
        srv_reply_problem(x, &x->problem);
    } else if (x->preflight) {
        srv_reply_preflight(x);
    } else {
        x->route->handle(x);
    }
    drop_body(x); /* the answer may take long and does not need it */
}

enum MHD_Result srv_intake(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                           const char *version, const char *upload, size_t *upload_size, void **con_cls) {
    struct srv_exchange *x = *con_cls;
    if (!x) {
        x = srv_exchange_create(cls, connection);
        *con_cls = x;
        if (!x) {
            return MHD_NO;
        }
        x->is_http_1_1 = strcmp(version, MHD_HTTP_VERSION_1_1) == 0;
        return begin(x, url, method);
    }
    if (*upload_size > 0) {
        size_t size = *upload_size;
        *upload_size = 0;
        return take_body(x, upload, size);
    }
    if (!x->complete) {
        answer(x);
    } else if (!x->gone) {
        x->resumed(x);
    }
    return x->gone ? MHD_NO : MHD_YES;
}

void srv_intake_completed(void *cls, struct MHD_Connection *connection, void **con_cls,
                          enum MHD_RequestTerminationCode code) {
    struct srv_http *http = cls;
    struct srv_exchange *x = *con_cls;
    if (!x) {
        return;
    }
    *con_cls = NULL;
    if (x->complete) {
        http->unanswered--;
    }
    if (x->ended) {
        x->ended(x);
    }
    http->config.finished(x, x->status && !x->gone && (code == MHD_REQUEST_TERMINATED_COMPLETED_OK || x->linger));
    if (x->linger) {
        srv_linger_on(&http->linger, srv_exchange_socket(x));
    }
    drop_body(x);
    srv_exchange_destroy(x);
    srv_connection_idle(connection);
}
