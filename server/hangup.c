/* hangup.c - has the client of a suspended exchange gone away, or has it only finished speaking? Loop
 * thread.
 *
 * The kernel tells both in one way: the client's side of the connection is closed. The difference shows
 * when we send something: a client that has gone answers with a reset, one that has half-closed its
 * connection (shutdown(SHUT_WR), as `nc -N` does) reads it. So something is sent that means nothing: the
 * ping of a stream, else "100 Continue", which a client of HTTP/1.1 must read over however often it
 * comes (RFC 9110, 15.2). Where that cannot be sent, to HTTP/1.0 and through TLS, a closed side means
 * that the client has gone. */
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "server/http_internal.h"

static void give_up(struct srv_exchange *x) {
    x->gone = true;
    srv_exchange_resume(x);
}

static bool was_reset(const struct srv_exchange *x) {
    struct pollfd poll_fd = {.fd = srv_exchange_socket(x)};
    return poll(&poll_fd, 1, 0) != 0; /* without events only errors and hang-ups are told */
}

/* Sends the interim answer; false if it cannot be. */
static bool send_continue(const struct srv_exchange *x) {
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    const ssize_t length = sizeof text - 1;
    return x->is_http_1_1 && !MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_PROTOCOL) &&
           send(srv_exchange_socket(x), text, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT) == length;
}

void srv_exchange_ping(struct srv_exchange *x) {
    if (x->ping) {
        x->ping(x);
    } else if (x->half_closed && !send_continue(x)) {
        give_up(x);
    }
}

/* Anything that is told of a socket whose other side is closed already: nobody listens any more. */
static void on_reset(uv_poll_t *watch, int status, int events) {
    (void)status;
    (void)events;
    give_up(watch->data);
}

static void on_closed_side(uv_poll_t *watch, int status, int events) {
    struct srv_exchange *x = watch->data;
    (void)events;
    if (status < 0 || was_reset(x)) {
        give_up(x);
        return;
    }
    x->half_closed = true;
    srv_hangup_watch(x);
    srv_exchange_ping(x);
}

void srv_hangup_watch(struct srv_exchange *x) {
    if (!x->has_watch && uv_poll_init(x->http->config.loop, &x->watch, srv_exchange_socket(x)) == 0) {
        x->watch.data = x;
        x->has_watch = true;
        x->open_handles++;
    }
    if (x->has_watch && x->half_closed) {
        uv_poll_start(&x->watch, UV_PRIORITIZED, on_reset); /* errors and hang-ups are always told */
    } else if (x->has_watch) {
        uv_poll_start(&x->watch, UV_DISCONNECT, on_closed_side);
    }
}

void srv_hangup_unwatch(struct srv_exchange *x) {
    if (x->has_watch) {
        uv_poll_stop(&x->watch);
    }
}
