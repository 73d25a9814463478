/* http_internal.h - what the parts of HTTP share: http.c (the daemon), intake.c (requests), reply.c
 * (answers), exchange.c (their common life), hangup.c (their clients'
 * leaving). Loop thread. */
#ifndef TRM_SERVER_HTTP_INTERNAL_H
#define TRM_SERVER_HTTP_INTERNAL_H

#include <microhttpd.h>

#include "server/auth.h"
#include "server/connection.h"
#include "server/cors.h"
#include "server/http.h"
#include "server/linger.h"
#include "server/tls.h"

struct srv_http {
    struct srv_http_config config;
    struct MHD_Daemon *daemon;
    uv_poll_t poll;   /* of the daemon's epoll descriptor */
    uv_timer_t timer; /* of the daemon's next timeout */
    struct srv_linger linger;
    struct srv_exchange *suspended; /* list of all that are */
    struct srv_auth *auth;
    struct srv_cors *cors;
    struct srv_tls *tls;                        /* NULL: plain HTTP */
    size_t body_bytes;                          /* held for bodies that are on their way */
    char said[128];                             /* libmicrohttpd's last message */
    bool closed;                                /* a connection was, since the daemon began to run */
    uint64_t accepted;                          /* connections */
    int connections;                            /* that are open */
    int unanswered;                             /* exchanges with a complete body and an unfinished answer */
    void (*drained)(struct srv_server *server); /* NULL: not draining */
};

/* Runs the daemon with the next turn of the loop. */
void srv_http_pump_soon(struct srv_http *http);

/* A new exchange of `connection`, NULL when memory ran out; and its end, after `ended`. */
struct srv_exchange *srv_exchange_create(struct srv_http *http, struct MHD_Connection *connection);
void srv_exchange_destroy(struct srv_exchange *exchange);

/* Gives up a suspended exchange whose client goes away: from here on, until there. */
void srv_hangup_watch(struct srv_exchange *exchange);
void srv_hangup_unwatch(struct srv_exchange *exchange);

/* The socket of its connection. */
int srv_exchange_socket(const struct srv_exchange *exchange);

/* Answers past libmicrohttpd while the body is still arriving: nothing else is on its way to this
 * client then. The caller ends the connection. */
void srv_refuse_now(struct srv_exchange *exchange, const struct proto_problem *problem);

/* The answer to OPTIONS. */
void srv_reply_preflight(struct srv_exchange *exchange);

/* Callbacks of libmicrohttpd. `cls` is the struct srv_http. The first is called for the head of a
 * request, for each piece of the body, at its end, and after each resumption that finds no answer
 * queued; the second when the exchange is over, however it ended. */
enum MHD_Result srv_intake(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                           const char *version, const char *upload, size_t *upload_size, void **con_cls);
void srv_intake_completed(void *cls, struct MHD_Connection *connection, void **con_cls,
                          enum MHD_RequestTerminationCode code);

#endif
