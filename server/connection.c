/* connection.c - see connection.h. Loop thread. */
#include "server/connection.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "server/http_internal.h"
#include "server/log.h"

struct connection {
    struct srv_http *http;
    int fd;
    uv_timer_t deadline;
};

static void on_deadline(uv_timer_t *timer) {
    struct connection *one = timer->data;
    srv_log(SRV_DEBUG, "no request came in time", "fd=%d", one->fd);
    shutdown(one->fd, SHUT_RDWR);
}

static void on_closed(uv_handle_t *handle) {
    free(handle->data);
}

static struct connection *find(struct MHD_Connection *connection) {
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

void srv_connection_opened(struct srv_http *http, struct MHD_Connection *connection, void **context) {
    struct connection *one = calloc(1, sizeof *one);
    *context = one;
    if (!one) {
        return; /* it does without a deadline */
    }
    one->http = http;
    one->fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    uv_timer_init(http->config.loop, &one->deadline);
    one->deadline.data = one;
    uv_timer_start(&one->deadline, on_deadline, (uint64_t)http->config.head_timeout * 1000, 0);
}

void srv_connection_closed(void **context) {
    struct connection *one = *context;
    *context = NULL;
    if (one) {
        uv_close((uv_handle_t *)&one->deadline, on_closed);
    }
}

void srv_connection_busy(struct MHD_Connection *connection) {
    struct connection *one = find(connection);
    if (one) {
        uv_timer_stop(&one->deadline);
    }
}

void srv_connection_idle(struct MHD_Connection *connection) {
    struct connection *one = find(connection);
    if (one) {
        /* It may first be silent for as long as libmicrohttpd lets it. */
        int seconds = one->http->config.idle_timeout + one->http->config.head_timeout;
        uv_timer_start(&one->deadline, on_deadline, (uint64_t)seconds * 1000, 0);
    }
}

struct srv_tls *srv_connection_tls(struct MHD_Connection *connection) {
    struct connection *one = find(connection);
    return one ? one->http->tls : NULL;
}
