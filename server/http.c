/* http.c - the marriage of libmicrohttpd and libuv. Everything here belongs to the loop thread.
 *
 * libmicrohttpd has no thread of its own: its epoll descriptor is polled by the loop, its timeouts
 * are a timer of the loop. Things to know about version 0.9.75:
 * - A connection is suspended only from its access handler or content reader, and a reader that has
 *   nothing to say must suspend, or it is called again at once.
 * - A suspended connection neither times out nor notices that its client has gone. We watch the
 *   socket ourselves, and stop watching before libmicrohttpd has it back.
 * - Without a thread of its own it has nothing that wakes it for a resumed connection: it must be run.
 * - At a limit of connections or files it stops listening, and listens again only when it is run once
 *   more after a connection was closed.
 * - While a body is arriving no answer can be queued: refuse_now() sends it past the library. */
#include "server/http.h"

#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/linger.h"
#include "server/log.h"

enum { CONNECTION_MEMORY = 64 << 10, STREAM_BLOCK = 16 << 10, FIRST_BODY = 4096 };

struct srv_http {
    struct srv_http_config config;
    struct MHD_Daemon *daemon;
    uv_poll_t poll;   /* of the daemon's epoll descriptor */
    uv_timer_t timer; /* of the daemon's next timeout */
    struct srv_linger linger;
    bool closed;                                /* a connection was, since the daemon began to run */
    int unanswered;                             /* exchanges with a complete body and an unfinished answer */
    void (*drained)(struct srv_server *server); /* NULL: not draining */
};

static void on_daemon_timeout(uv_timer_t *timer) {
    srv_http_pump(timer->data);
}

/* --- exchanges -------------------------------------------------------------------------------------- */

static int socket_of(const struct srv_exchange *x) {
    return MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
}

static void on_closed(uv_handle_t *handle) {
    struct srv_exchange *x = handle->data;
    if (--x->open_handles == 0) {
        free(x->buffer);
        free(x);
    }
}

static void on_timer(uv_timer_t *timer) {
    struct srv_exchange *x = timer->data;
    x->alarm(x);
}

/* The client has closed its side. A request whose client has gone is given up. */
static void on_disconnect(uv_poll_t *watch, int status, int events) {
    struct srv_exchange *x = watch->data;
    (void)status;
    (void)events;
    x->gone = true;
    srv_exchange_resume(x);
}

static struct srv_exchange *exchange_create(struct srv_http *http, struct MHD_Connection *connection) {
    struct srv_exchange *x = calloc(1, sizeof *x);
    if (!x) {
        return NULL;
    }
    x->http = http;
    x->server = http->config.server;
    x->connection = connection;
    x->began_ns = uv_hrtime();
    uv_timer_init(http->config.loop, &x->timer);
    x->timer.data = x;
    x->open_handles = 1;
    return x;
}

void srv_exchange_set_alarm(struct srv_exchange *x, uint64_t ms) {
    uv_update_time(x->http->config.loop);
    uv_timer_start(&x->timer, on_timer, ms, 0);
}

void srv_exchange_suspend(struct srv_exchange *x) {
    if (!x->has_watch && uv_poll_init(x->http->config.loop, &x->watch, socket_of(x)) == 0) {
        x->watch.data = x;
        x->has_watch = true;
        x->open_handles++;
    }
    if (x->has_watch) {
        uv_poll_start(&x->watch, UV_DISCONNECT, on_disconnect);
    }
    x->suspended = true;
    MHD_suspend_connection(x->connection);
}

void srv_exchange_resume(struct srv_exchange *x) {
    if (!x->suspended) {
        return;
    }
    if (x->has_watch) {
        uv_poll_stop(&x->watch);
    }
    x->suspended = false;
    MHD_resume_connection(x->connection);
    uv_timer_start(&x->http->timer, on_daemon_timeout, 0, 0); /* it would not wake by itself */
}

const char *srv_exchange_header(const struct srv_exchange *x, const char *name) {
    return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}

/* --- answers ---------------------------------------------------------------------------------------- */

/* Queues and lets go of `response`; NULL is an answer that there was no memory for. */
static void queue(struct srv_exchange *x, int status, const char *type, struct MHD_Response *response) {
    if (!response) {
        x->gone = true;
        return;
    }
    MHD_add_response_header(response, "Content-Type", type);
    MHD_add_response_header(response, "Cache-Control", "no-store");
    if (x->allow) {
        MHD_add_response_header(response, "Allow", x->allow);
    }
    if (status == 503) {
        MHD_add_response_header(response, "Retry-After", "1");
    }
    if (x->http->drained || x->linger) {
        MHD_add_response_header(response, "Connection", "close");
    }
    if (MHD_queue_response(x->connection, (unsigned int)status, response) != MHD_YES) {
        x->gone = true;
    }
    MHD_destroy_response(response);
    srv_log(SRV_DEBUG, "answer", "status=%d path=\"%s\" ms=%.3f", status, x->route ? x->route->path : "",
            (double)(uv_hrtime() - x->began_ns) / 1e6);
}

void srv_reply(struct srv_exchange *x, int status, const char *type, struct proto_text *text) {
    struct MHD_Response *response = NULL;
    if (text->failed) {
        srv_log(SRV_ERROR, "no memory for an answer", "status=%d", status);
        proto_text_release(text);
    } else {
        response = MHD_create_response_from_buffer(text->length, text->data, MHD_RESPMEM_MUST_FREE);
        if (!response) {
            proto_text_release(text);
        }
    }
    queue(x, status, type, response);
}

void srv_reply_problem(struct srv_exchange *x, const struct proto_problem *problem) {
    struct proto_text text = {0};
    proto_problem_write(problem, &text);
    proto_text_add(&text, "\n", 1);
    srv_reply(x, proto_problem_status(problem->kind), "application/problem+json", &text);
}

static ssize_t on_read(void *cls, uint64_t position, char *buffer, size_t size) {
    struct srv_exchange *x = cls;
    (void)position;
    ssize_t got = x->gone ? SRV_STREAM_BROKEN : x->read(x, buffer, size);
    if (got == SRV_STREAM_END) {
        return MHD_CONTENT_READER_END_OF_STREAM;
    }
    if (got < 0) {
        return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    if (got == 0) {
        srv_exchange_suspend(x);
    }
    return got;
}

void srv_reply_stream(struct srv_exchange *x, const char *type) {
    struct MHD_Response *response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, on_read, x, NULL);
    if (response) {
        MHD_add_response_header(response, "X-Accel-Buffering", "no");
    }
    queue(x, 200, type, response);
}

/* Answers past libmicrohttpd while the body is still arriving: nothing else is on its way to this
 * client then. The caller ends the connection. */
static void refuse_now(struct srv_exchange *x, const struct proto_problem *problem) {
    struct proto_text body = {0}, text = {0};
    int status = proto_problem_status(problem->kind);
    proto_problem_write(problem, &body);
    proto_text_addf(&text,
                    "HTTP/1.1 %d %s\r\nContent-Type: application/problem+json\r\nContent-Length: %zu\r\n"
                    "Connection: close\r\n\r\n",
                    status, MHD_get_reason_phrase_for((unsigned int)status), body.length);
    proto_text_add(&text, body.data, body.length);
    if (!body.failed && !text.failed && send(socket_of(x), text.data, text.length, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        srv_log(SRV_DEBUG, "a refusal was not heard", "status=%d", status);
    }
    x->linger = true;
    proto_text_release(&body);
    proto_text_release(&text);
}

/* --- requests --------------------------------------------------------------------------------------- */

static void on_body_timeout(struct srv_exchange *x) {
    struct proto_problem problem;
    proto_problem_set(&problem, PROTO_TIMEOUT, "", "the body did not arrive within %d seconds",
                      x->http->config.body_timeout);
    refuse_now(x, &problem);
    shutdown(socket_of(x), SHUT_RDWR); /* libmicrohttpd sees the end of the stream and closes */
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

/* What can be said from the head alone. The answer waits for the end of the body, so that the
 * connection can be used again. */
static void judge_head(struct srv_exchange *x, const char *path, const char *method) {
    const char *type = srv_exchange_header(x, "Content-Type");
    x->route = x->http->config.find(path);
    if (!x->route) {
        x->refused = !proto_problem_set(&x->problem, PROTO_NOT_FOUND, "", "%.200s is not a path of this server", path);
    } else if (!allows(x->route, method)) {
        x->allow = x->route->methods;
        x->refused = !proto_problem_set(&x->problem, PROTO_METHOD, "", "%s has the methods %s", x->route->path,
                                        x->route->methods);
    } else if (strcmp(method, "POST") == 0 && !is_json_type(type)) {
        x->refused = !proto_problem_set(&x->problem, PROTO_MEDIA_TYPE, "",
                                        "%.100s is not a type of JSON: use application/json", type);
    }
}

/* The first call of a request: its head is there, its body not yet. */
static enum MHD_Result begin(struct srv_exchange *x, const char *path, const char *method) {
    struct proto_problem problem;
    const char *length = srv_exchange_header(x, "Content-Length");
    judge_head(x, path, method);
    if (length && strtoull(length, NULL, 10) > x->http->config.max_body) {
        too_large(x, &problem);
        x->linger = true;
        srv_reply_problem(x, &problem);
        return x->gone ? MHD_NO : MHD_YES;
    }
    x->alarm = on_body_timeout;
    srv_exchange_set_alarm(x, (uint64_t)x->http->config.body_timeout * 1000);
    return MHD_YES;
}

static bool grow(struct srv_exchange *x, size_t needed) {
    size_t capacity = x->capacity ? x->capacity : FIRST_BODY;
    while (capacity < needed) {
        capacity *= 2;
    }
    char *buffer = capacity > x->capacity ? realloc(x->buffer, capacity) : x->buffer;
    if (!buffer) {
        return false;
    }
    x->buffer = buffer;
    x->capacity = capacity;
    return true;
}

/* A piece of the body. That of a refused request is counted, but not kept. */
static enum MHD_Result take_body(struct srv_exchange *x, const char *data, size_t size) {
    struct proto_problem problem;
    if (size > x->http->config.max_body - x->body_length) {
        too_large(x, &problem);
        refuse_now(x, &problem);
        return MHD_NO;
    }
    if (!x->refused) {
        if (!grow(x, x->body_length + size)) {
            return MHD_NO;
        }
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
    } else {
        x->route->handle(x);
    }
    free(x->buffer); /* the answer may take long and does not need it */
    x->buffer = NULL;
    x->body = NULL;
}

/* libmicrohttpd calls this for the head, for each piece of the body, at its end, and after each
 * resumption that finds no answer queued. */
static enum MHD_Result on_access(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                                 const char *version, const char *upload, size_t *upload_size, void **con_cls) {
    struct srv_exchange *x = *con_cls;
    (void)version;
    if (!x) {
        x = exchange_create(cls, connection);
        *con_cls = x;
        return x ? begin(x, url, method) : MHD_NO;
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

static void on_completed(void *cls, struct MHD_Connection *connection, void **con_cls,
                         enum MHD_RequestTerminationCode code) {
    struct srv_http *http = cls;
    struct srv_exchange *x = *con_cls;
    (void)connection;
    (void)code;
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
    if (x->linger) {
        srv_linger_on(&http->linger, socket_of(x));
    }
    uv_close((uv_handle_t *)&x->timer, on_closed);
    if (x->has_watch) {
        uv_close((uv_handle_t *)&x->watch, on_closed);
    }
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code) {
    struct srv_http *http = cls;
    (void)connection;
    (void)context;
    http->closed = http->closed || code == MHD_CONNECTION_NOTIFY_CLOSED;
}

/* --- the daemon ------------------------------------------------------------------------------------- */

static void on_log(void *cls, const char *format, va_list args) {
    char line[256];
    (void)cls;
    vsnprintf(line, sizeof line, format, args);
    srv_log(SRV_DEBUG, "libmicrohttpd", "text=\"%s\"", line);
}

static void on_daemon_event(uv_poll_t *poll, int status, int events) {
    (void)status;
    (void)events;
    srv_http_pump(poll->data);
}

void srv_http_pump(struct srv_http *http) {
    MHD_UNSIGNED_LONG_LONG ms;
    do {
        http->closed = false;
        MHD_run(http->daemon);
    } while (http->closed);
    if (MHD_get_timeout(http->daemon, &ms) == MHD_YES) {
        uv_timer_start(&http->timer, on_daemon_timeout, ms, 0);
    } else {
        uv_timer_stop(&http->timer);
    }
    if (http->drained && http->unanswered == 0) {
        http->drained(http->config.server);
    }
}

static struct MHD_Daemon *start_daemon(struct srv_http *http) {
    const struct srv_http_config *config = &http->config;
    return MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_access,
                            http, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET, config->listen_fd,
                            MHD_OPTION_CONNECTION_LIMIT, (unsigned int)config->max_connections,
                            MHD_OPTION_CONNECTION_TIMEOUT, (unsigned int)config->idle_timeout,
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_NOTIFY_COMPLETED,
                            on_completed, http, MHD_OPTION_NOTIFY_CONNECTION, on_connection, http,
                            MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
}

trm_status srv_http_start(const struct srv_http_config *config, struct srv_http **result, trm_error *err) {
    struct srv_http *http = calloc(1, sizeof *http);
    if (!http) {
        close(config->listen_fd);
        return trm_fail_memory(err, sizeof *http);
    }
    http->config = *config;
    http->daemon = start_daemon(http);
    if (!http->daemon) {
        close(config->listen_fd);
        free(http);
        return trm_fail(err, TRM_IO, "libmicrohttpd does not start");
    }
    int fd = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    int rc = uv_poll_init(config->loop, &http->poll, fd);
    if (rc != 0) {
        MHD_stop_daemon(http->daemon);
        free(http);
        return trm_fail(err, TRM_IO, "cannot poll: %s", uv_strerror(rc));
    }
    uv_timer_init(config->loop, &http->timer);
    srv_linger_init(&http->linger, config->loop);
    http->poll.data = http->timer.data = http;
    uv_poll_start(&http->poll, UV_READABLE, on_daemon_event);
    *result = http;
    return TRM_OK;
}

void srv_http_drain(struct srv_http *http, void (*drained)(struct srv_server *server)) {
    http->drained = drained;
}

void srv_http_stop(struct srv_http *http) {
    uv_close((uv_handle_t *)&http->poll, NULL);
    uv_close((uv_handle_t *)&http->timer, NULL);
    MHD_stop_daemon(http->daemon);
    srv_linger_close(&http->linger);
}

void srv_http_free(struct srv_http *http) {
    free(http);
}
