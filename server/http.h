/* http.h - HTTP by libmicrohttpd, driven by the libuv loop: the daemon, whose requests are exchanges.
 * Loop thread. */
#ifndef TRM_SERVER_HTTP_H
#define TRM_SERVER_HTTP_H

#include "engine/status.h"
#include "server/exchange.h"

struct srv_http_config {
    uv_loop_t *loop;
    struct srv_server *server;
    int listen_fd;                                     /* taken over, also on failure */
    const struct srv_route *(*find)(const char *path); /* NULL: there is no such path */
    /* An exchange is over; `whole`: so is its answer, as far as this side can tell. */
    void (*finished)(const struct srv_exchange *exchange, bool whole);
    size_t max_body, body_memory;                 /* bytes of one body, of all that are on their way */
    int max_connections, max_per_address;         /* the second may be 0: no limit */
    int idle_timeout, head_timeout, body_timeout; /* seconds */

    struct srv_auth_config keys;
    const char *cors_origin;        /* see cors.h; NULL: off */
    const char *tls_cert, *tls_key; /* files; both or none */
};

trm_status srv_http_start(const struct srv_http_config *config, struct srv_http **http, trm_error *err);

/* Reads keys and certificates again. What cannot be read stays as it is, with the first error. */
trm_status srv_http_reload(struct srv_http *http, trm_error *err);

/* From now on answers close their connections; `drained` is called, outside of any handler, as soon
 * as no exchange with a complete body is unanswered. */
void srv_http_drain(struct srv_http *http, void (*drained)(struct srv_server *server));

struct srv_http_stats {
    uint64_t accepted; /* connections since the start */
    int connections;   /* open now */
    int unanswered;    /* exchanges with a complete body and an unfinished answer */
};

struct srv_http_stats srv_http_stats(const struct srv_http *http);

/* Lets libmicrohttpd do what there is to do: after resuming exchanges, to save a turn of the loop. */
void srv_http_pump(struct srv_http *http);

/* Ends every exchange and closes every socket. Run the loop until it is empty, then free. */
void srv_http_stop(struct srv_http *http);
void srv_http_free(struct srv_http *http); /* NULL is fine */

#endif
