/* reply.c - answers: whole, as a stream, or past libmicrohttpd, which queues none while a body is
 * arriving. Loop thread. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/kserve.h"
#include "server/http_internal.h"
#include "server/log.h"

/* The second: bytes of an answer that a client may take as long to read as a whole body may take to come. */
enum { STREAM_BLOCK = 16 << 10, PER_TIMEOUT = 1 << 20 };

/* Whether the client has closed its side and all it said was read. An end that came along with the request is
 * news to libmicrohttpd 0.9.75 only at the idle timeout. */
static bool has_ended(const struct srv_exchange *x) {
    char byte;
    return recv(srv_exchange_socket(x), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* Whether connections are so few that those with an answer make room for others, who may wait for theirs. */
static bool are_scarce(const struct srv_http *http) {
    int most = http->config.max_connections;
    return http->connections >= most - most / 8;
}

/* The headers of any answer: add(to, name, value) for each. */
static void each_header(const struct srv_exchange *x, void (*add)(void *to, const char *name, const char *value),
                        void *to) {
    add(to, "X-Request-Id", x->trace.id);
    add(to, "Cache-Control", x->constant ? "no-cache" : "no-store");
    add(to, "X-Content-Type-Options", "nosniff");
    if (x->allow) {
        add(to, "Allow", x->allow);
    }
    if (x->challenge) {
        add(to, "WWW-Authenticate", x->challenge);
    }
    if (x->retry_after_s) {
        char seconds[16];
        snprintf(seconds, sizeof seconds, "%d", x->retry_after_s);
        add(to, "Retry-After", seconds);
    }
    if (x->location[0]) {
        add(to, "Location", x->location);
    }
    if (srv_cors_varies(x->http->cors)) {
        add(to, "Vary", "Origin");
    }
    if (x->origin) {
        add(to, "Access-Control-Allow-Origin", x->origin);
        add(to, "Access-Control-Expose-Headers", "Location, Retry-After, X-Request-Id");
    }
    if (x->http->drained || x->linger || are_scarce(x->http) || has_ended(x)) {
        add(to, "Connection", "close");
    }
}

static void add_to_response(void *to, const char *name, const char *value) {
    MHD_add_response_header(to, name, value);
}

static void add_to_text(void *to, const char *name, const char *value) {
    proto_text_addf(to, "%s: %s\r\n", name, value);
}

/* Queues and lets go of `response`; NULL is an answer that there was no memory for. */
static void queue(struct srv_exchange *x, int status, const char *type, struct MHD_Response *response) {
    if (!response) {
        x->gone = true;
        return;
    }
    x->status = status;
    if (type) {
        MHD_add_response_header(response, "Content-Type", type);
    }
    each_header(x, add_to_response, response);
    if (MHD_queue_response(x->connection, (unsigned int)status, response) != MHD_YES) {
        x->gone = true;
    }
    MHD_destroy_response(response);
}

/* The client takes too long to take its answer, whose memory others need. */
static void on_unread(struct srv_exchange *x) {
    srv_log(SRV_DEBUG, "an answer was not read in time", "bytes=%" PRIu64, x->sent);
    shutdown(srv_exchange_socket(x), SHUT_RDWR);
}

/* The answer, of `length` bytes, has its time to be read. */
static void limit_reading(struct srv_exchange *x, size_t length) {
    x->sent = strcmp(x->method, "HEAD") == 0 ? 0 : length;
    x->alarm = on_unread;
    srv_exchange_set_alarm(x, (x->sent / PER_TIMEOUT + 1) * (uint64_t)x->http->config.body_timeout * 1000);
}

void srv_reply(struct srv_exchange *x, int status, const char *type, struct proto_text *text) {
    struct MHD_Response *response = NULL;
    if (text->failed) {
        srv_log(SRV_ERROR, "no memory for an answer", "status=%d", status);
        proto_text_release(text);
    } else {
        limit_reading(x, text->length);
        response = MHD_create_response_from_buffer(text->length, text->data, MHD_RESPMEM_MUST_FREE);
        if (!response) {
            proto_text_release(text);
        }
    }
    queue(x, status, type, response);
}

void srv_reply_constant(struct srv_exchange *x, int status, const void *data, size_t length,
                        const struct srv_header *headers, int header_count) {
    /* libmicrohttpd only reads memory that is said to be persistent. */
    struct MHD_Response *response = MHD_create_response_from_buffer(length, (void *)data, MHD_RESPMEM_PERSISTENT);
    x->constant = true;
    limit_reading(x, length);
    for (int i = 0; response && i < header_count; i++) {
        MHD_add_response_header(response, headers[i].name, headers[i].value);
    }
    queue(x, status, NULL, response);
}

/* Writes a problem in the form of the protocol that the path belongs to, and returns its type. */
static const char *write_problem(const struct srv_exchange *x, const struct proto_problem *problem,
                                 struct proto_text *text) {
    if (strncmp(x->path, "/v2", 3) == 0 && (x->path[3] == '/' || x->path[3] == '\0')) {
        proto_kserve_write_problem(problem, text);
        return "application/json";
    }
    proto_problem_write(problem, text);
    return "application/problem+json";
}

void srv_reply_problem(struct srv_exchange *x, const struct proto_problem *problem) {
    struct proto_text text = {0};
    const char *type = write_problem(x, problem, &text);
    proto_text_add(&text, "\n", 1);
    x->retry_after_s = problem->retry_after_s;
    srv_reply(x, proto_problem_status(problem->kind), type, &text);
}

/* A stream whose client has gone ends as if it were whole: the write of its end fails, and the connection
 * is closed at once. After an error of the reader libmicrohttpd 0.9.75 keeps it until no other connection
 * has been idle for longer. */
static ssize_t on_read(void *cls, uint64_t position, char *buffer, size_t size) {
    struct srv_exchange *x = cls;
    (void)position;
    ssize_t got = x->gone ? SRV_STREAM_END : x->read(x, buffer, size);
    if (got == SRV_STREAM_END) {
        return MHD_CONTENT_READER_END_OF_STREAM;
    }
    if (got < 0) {
        return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    if (got == 0) {
        srv_exchange_suspend(x);
    }
    x->sent += (uint64_t)got;
    return got;
}

void srv_reply_stream(struct srv_exchange *x, const char *type) {
    struct MHD_Response *response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, on_read, x, NULL);
    if (response) {
        MHD_add_response_header(response, "X-Accel-Buffering", "no");
    }
    queue(x, 200, type, response);
}

void srv_reply_preflight(struct srv_exchange *x) {
    struct MHD_Response *response = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    if (response && x->origin) {
        MHD_add_response_header(response, "Access-Control-Allow-Methods", x->allow);
        MHD_add_response_header(response, "Access-Control-Allow-Headers",
                                "Accept, Authorization, Content-Type, X-Api-Key, X-Request-Id, traceparent");
        MHD_add_response_header(response, "Access-Control-Max-Age", "600");
    }
    queue(x, 204, NULL, response);
}

static bool send_past(struct srv_exchange *x, const char *data, size_t size) {
    if (x->http->tls) {
        return srv_tls_send(x->connection, data, size);
    }
    return send(srv_exchange_socket(x), data, size, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
}

void srv_refuse_now(struct srv_exchange *x, const struct proto_problem *problem) {
    struct proto_text body = {0}, text = {0};
    int status = proto_problem_status(problem->kind);
    const char *type = write_problem(x, problem, &body);
    x->linger = true;
    x->retry_after_s = problem->retry_after_s;
    proto_text_addf(&text, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n", status,
                    MHD_get_reason_phrase_for((unsigned int)status), type, body.length);
    each_header(x, add_to_text, &text);
    proto_text_add_literal(&text, "\r\n");
    proto_text_add(&text, body.data, body.length);
    if (!body.failed && !text.failed && !send_past(x, text.data, text.length)) {
        srv_log(SRV_DEBUG, "a refusal was not heard", "status=%d", status);
    }
    x->status = status;
    x->sent = body.length;
    proto_text_release(&body);
    proto_text_release(&text);
}
