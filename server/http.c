/* http.c - the marriage of libmicrohttpd and libuv. Everything here belongs to the loop thread.
 *
 * libmicrohttpd has no thread of its own: its epoll descriptor is polled by the loop, its timeouts
 * are a timer of the loop. At a limit of connections or files version 0.9.75 stops listening, and
 * listens again only when it is run once more after a connection was closed. */
#include "server/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/http_internal.h"
#include "server/log.h"

enum { CONNECTION_MEMORY = 32 << 10 }; /* of libmicrohttpd for each connection; a head must fit */

static void on_connection(void *cls, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code) {
    struct srv_http *http = cls;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        http->accepted++;
        http->connections++;
        srv_connection_opened(http, connection, context);
    } else {
        srv_connection_closed(context);
        http->connections--;
        http->closed = true;
    }
}

static void on_log(void *cls, const char *format, va_list args) {
    struct srv_http *http = cls;
    vsnprintf(http->said, sizeof http->said, format, args);
    http->said[strcspn(http->said, "\n")] = '\0';
    srv_log(SRV_DEBUG, "libmicrohttpd", "text=%s", http->said);
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
    struct MHD_OptionItem none[] = {{MHD_OPTION_END, 0, NULL}};
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    return MHD_start_daemon(http->tls ? flags | MHD_USE_TLS : flags, 0, NULL, NULL, srv_intake, http,
                            MHD_OPTION_EXTERNAL_LOGGER, on_log, http, MHD_OPTION_LISTEN_SOCKET, config->listen_fd,
                            MHD_OPTION_CONNECTION_LIMIT, (unsigned int)config->max_connections,
                            MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned int)config->max_per_address,
                            MHD_OPTION_CONNECTION_TIMEOUT, (unsigned int)config->idle_timeout,
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_NOTIFY_COMPLETED,
                            srv_intake_completed, http, MHD_OPTION_NOTIFY_CONNECTION, on_connection, http,
                            MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_ARRAY,
                            http->tls ? srv_tls_options(http->tls) : none, MHD_OPTION_END);
}

/* Keys, origins and certificates: what may go wrong before there is a daemon. */
static trm_status open_guards(struct srv_http *http, trm_error *err) {
    const struct srv_http_config *config = &http->config;
    if (!config->tls_cert != !config->tls_key) {
        return trm_fail(err, TRM_INVALID, "--tls-cert and --tls-key need each other");
    }
    trm_status status = srv_auth_open(&config->keys, &http->auth, err);
    if (status == TRM_OK) {
        status = srv_cors_open(config->cors_origin, &http->cors, err);
    }
    if (status == TRM_OK && config->tls_cert) {
        status = srv_tls_open(config->tls_cert, config->tls_key, &http->tls, err);
    }
    return status;
}

/* Has the loop look after the daemon. */
static trm_status watch_daemon(struct srv_http *http, trm_error *err) {
    int fd = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    int rc = uv_poll_init(http->config.loop, &http->poll, fd);
    if (rc != 0) {
        return trm_fail(err, TRM_IO, "cannot poll: %s", uv_strerror(rc));
    }
    uv_timer_init(http->config.loop, &http->timer);
    srv_linger_init(&http->linger, http->config.loop);
    http->poll.data = http->timer.data = http;
    uv_poll_start(&http->poll, UV_READABLE, on_daemon_event);
    return TRM_OK;
}

trm_status srv_http_start(const struct srv_http_config *config, struct srv_http **result, trm_error *err) {
    *result = NULL;
    struct srv_http *http = calloc(1, sizeof *http);
    if (!http) {
        close(config->listen_fd);
        return trm_fail_memory(err, sizeof *http);
    }
    http->config = *config;
    trm_status status = open_guards(http, err);
    if (status == TRM_OK) {
        http->daemon = start_daemon(http);
        status = http->daemon ? TRM_OK : trm_fail(err, TRM_IO, "libmicrohttpd does not start: %s", http->said);
    }
    if (!http->daemon) {
        close(config->listen_fd);
    } else {
        status = watch_daemon(http, err);
    }
    if (status != TRM_OK) {
        if (http->daemon) {
            MHD_stop_daemon(http->daemon);
        }
        srv_http_free(http);
        return status;
    }
    *result = http;
    return TRM_OK;
}

trm_status srv_http_reload(struct srv_http *http, trm_error *err) {
    trm_status status = srv_auth_reload(http->auth, err);
    trm_status other = http->tls ? srv_tls_reload(http->tls, status == TRM_OK ? err : NULL) : TRM_OK;
    return status == TRM_OK ? other : status;
}

struct srv_http_stats srv_http_stats(const struct srv_http *http) {
    return (struct srv_http_stats){http->accepted, http->connections, http->unanswered};
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
    if (http) {
        srv_tls_close(http->tls);
        srv_cors_close(http->cors);
        srv_auth_close(http->auth);
        free(http);
    }
}
