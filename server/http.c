/* http.c - the marriage of libmicrohttpd and libuv. Everything here belongs to the loop thread.
 *
 * libmicrohttpd has no thread of its own: its epoll descriptor is polled by the loop, its timeouts
 * are a timer of the loop. At a limit of connections or files version 0.9.75 stops listening, and
 * listens again only when it is run once more after a connection was closed. */
#include "server/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/http_internal.h"
#include "server/log.h"

enum { CONNECTION_MEMORY = 64 << 10 };

static void on_connection(void *cls, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code) {
    struct srv_http *http = cls;
    (void)connection;
    (void)context;
    http->closed = http->closed || code == MHD_CONNECTION_NOTIFY_CLOSED;
}

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

static void on_daemon_timeout(uv_timer_t *timer) {
    srv_http_pump(timer->data);
}

void srv_http_pump_soon(struct srv_http *http) {
    uv_timer_start(&http->timer, on_daemon_timeout, 0, 0);
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
    return MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL, srv_intake,
                            http, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET, config->listen_fd,
                            MHD_OPTION_CONNECTION_LIMIT, (unsigned int)config->max_connections,
                            MHD_OPTION_CONNECTION_TIMEOUT, (unsigned int)config->idle_timeout,
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_NOTIFY_COMPLETED,
                            srv_intake_completed, http, MHD_OPTION_NOTIFY_CONNECTION, on_connection, http,
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
    while (http->suspended) {
        srv_exchange_resume(http->suspended); /* libmicrohttpd cannot stop suspended connections */
    }
    uv_close((uv_handle_t *)&http->poll, NULL);
    uv_close((uv_handle_t *)&http->timer, NULL);
    MHD_stop_daemon(http->daemon);
    srv_linger_close(&http->linger);
}

void srv_http_free(struct srv_http *http) {
    free(http);
}
