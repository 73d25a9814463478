/* reply.c - answers: whole, as a stream, or past libmicrohttpd, which queues none while a body is
 * arriving. Loop thread. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/kserve.h"
#include "server/http_internal.h"
#include "server/log.h"

enum { STREAM_BLOCK = 16 << 10 };

/* Queues and lets go of `response`; NULL is an answer that there was no memory for. */
static void queue(struct srv_exchange *x, int status, const char *type, struct MHD_Response *response) {
    if (!response) {
        x->gone = true;
        return;
    }
    x->status = status;
    MHD_add_response_header(response, "X-Request-Id", x->trace.id);
    MHD_add_response_header(response, "Content-Type", type);
    MHD_add_response_header(response, "Cache-Control", "no-store");
    if (x->allow) {
        MHD_add_response_header(response, "Allow", x->allow);
    }
    if (status == 401) {
        MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
    }
    if (x->retry_after_s) {
        char seconds[16];
        snprintf(seconds, sizeof seconds, "%d", x->retry_after_s);
        MHD_add_response_header(response, "Retry-After", seconds);
    }
    if (x->http->drained || x->linger) {
        MHD_add_response_header(response, "Connection", "close");
    }
    if (MHD_queue_response(x->connection, (unsigned int)status, response) != MHD_YES) {
        x->gone = true;
    }
    MHD_destroy_response(response);
}

void srv_reply(struct srv_exchange *x, int status, const char *type, struct proto_text *text) {
    struct MHD_Response *response = NULL;
    if (text->failed) {
        srv_log(SRV_ERROR, "no memory for an answer", "status=%d", status);
        proto_text_release(text);
    } else {
        x->sent = strcmp(x->method, "HEAD") == 0 ? 0 : text->length;
        response = MHD_create_response_from_buffer(text->length, text->data, MHD_RESPMEM_MUST_FREE);
        if (!response) {
            proto_text_release(text);
        }
    }
    queue(x, status, type, response);
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

void srv_refuse_now(struct srv_exchange *x, const struct proto_problem *problem) {
    struct proto_text body = {0}, text = {0};
    int status = proto_problem_status(problem->kind);
    const char *type = write_problem(x, problem, &body);
    proto_text_addf(&text,
                    "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                    "X-Request-Id: %s\r\nConnection: close\r\n\r\n",
                    status, MHD_get_reason_phrase_for((unsigned int)status), type, body.length, x->trace.id);
    proto_text_add(&text, body.data, body.length);
    if (!body.failed && !text.failed &&
        send(srv_exchange_socket(x), text.data, text.length, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        srv_log(SRV_DEBUG, "a refusal was not heard", "status=%d", status);
    }
    x->status = status;
    x->sent = body.length;
    x->linger = true;
    proto_text_release(&body);
    proto_text_release(&text);
}
