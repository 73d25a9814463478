/* server.c - the loop thread's main part: it ties HTTP, the scheduler and signals to one libuv loop,
 * and ends them in the right order. */
#include "server/server.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "server/listen.h"
#include "server/log.h"
#include "server/metrics.h"
#include "server/notify.h"
#include "server/reload.h"
#include "server/routes.h"
#include "server/solve.h"
#include "server/tasks.h"

enum { PING_MS = 1000, PINGS_A_STREAM = 15, SPARE_FILES = 128 };

/* Any thread: the scheduler has news. */
static void wake(void *arg) {
    uv_async_send(arg);
}

static void on_collect(uv_async_t *async) {
    struct srv_server *server = async->data;
    srv_scheduler_collect(server->scheduler, srv_solve_update, NULL);
    srv_http_pump(server->http);
}

/* A word every now and then keeps proxies from closing a stream that waits; one every second finds out
 * who has gone after closing the own side. NDJSON has no comments: without need it gets none. */
static void on_ping(uv_timer_t *timer) {
    struct srv_server *server = timer->data;
    bool streams = ++server->pings % PINGS_A_STREAM == 0;
    for (struct srv_solve *solve = server->solves; solve; solve = solve->next) {
        if (solve->exchange->half_closed || (streams && solve->framing == PROTO_SSE)) {
            srv_exchange_ping(solve->exchange);
        }
    }
    srv_tasks_ping(server->tasks, streams);
}

static void on_watchdog(uv_timer_t *timer) {
    (void)timer;
    srv_notify("WATCHDOG=1");
}

static void on_drained(struct srv_server *server) {
    uv_stop(&server->loop);
}

static void on_drain_limit(uv_timer_t *timer) {
    struct srv_server *server = timer->data;
    server->failed = true;
    srv_log(SRV_WARN, "work is given up", "seconds=%d", server->options->drain_timeout);
    uv_stop(&server->loop);
}

static void on_signal(uv_signal_t *handle, int number) {
    struct srv_server *server = handle->data;
    if (server->draining) {
        srv_log(SRV_WARN, "ended by a second signal", "signal=%d", number);
        _exit(128 + number);
    }
    srv_log(SRV_INFO, "finishing accepted work", "signal=%d limit_s=%d", number, server->options->drain_timeout);
    server->draining = true;
    srv_notify("STOPPING=1");
    uv_timer_start(&server->drain_limit, on_drain_limit, (uint64_t)server->options->drain_timeout * 1000, 0);
    srv_tasks_drain(server->tasks);
    srv_http_drain(server->http, on_drained);
    srv_http_pump(server->http);
}

static void on_hangup(uv_signal_t *handle, int number) {
    struct srv_server *server = handle->data;
    (void)number;
    if (!server->draining) {
        trm_error error;
        char state[64];
        snprintf(state, sizeof state, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, uv_hrtime() / 1000);
        srv_notify(state);
        if (srv_http_reload(server->http, &error) != TRM_OK) {
            srv_log(SRV_ERROR, "keys and certificates stay as they are", "reason=%s", error.text);
        }
        srv_reload_all(server);
    }
}

/* An exchange is over. */
static void on_finished(const struct srv_exchange *x, bool whole) {
    char client[64];
    srv_metrics_count(x->server->metrics, x, whole);
    if (!x->server->options->access_log) {
        return;
    }
    srv_exchange_client(x, client, sizeof client);
    srv_log(
        SRV_INFO, "request",
        "method=%s path=%s status=%d outcome=%s ms=%.3f received=%lu sent=%lu client=%s id=%s trace_id=%s parent_id=%s",
        x->method, x->path, x->status, srv_metrics_outcome(x, whole), (double)(uv_hrtime() - x->began_ns) / 1e6,
        x->received, x->sent, client, x->trace.id, x->trace.trace_id, x->trace.parent_id);
}

/* Every connection is a file; the soft limit is often too low for them. */
static void raise_file_limit(int connections) {
    struct rlimit limit;
    rlim_t wanted = (rlim_t)connections + SPARE_FILES;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) {
        return;
    }
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted) {
        srv_log(SRV_WARN, "fewer files than connections", "files=%lu connections=%d", (unsigned long)limit.rlim_cur,
                connections);
    }
}

static void open_handles(struct srv_server *server) {
    uv_async_init(&server->loop, &server->collect, on_collect);
    uv_timer_init(&server->loop, &server->drain_limit);
    uv_timer_init(&server->loop, &server->pinger);
    uv_timer_init(&server->loop, &server->watchdog);
    uv_signal_init(&server->loop, &server->sigterm);
    uv_signal_init(&server->loop, &server->sigint);
    server->collect.data = server->drain_limit.data = server->pinger.data = server;
    uv_signal_init(&server->loop, &server->sighup);
    server->sigterm.data = server->sigint.data = server->sighup.data = server;
}

static void close_handles(struct srv_server *server) {
    uv_close((uv_handle_t *)&server->collect, NULL);
    uv_close((uv_handle_t *)&server->drain_limit, NULL);
    uv_close((uv_handle_t *)&server->pinger, NULL);
    uv_close((uv_handle_t *)&server->watchdog, NULL);
    uv_close((uv_handle_t *)&server->sigterm, NULL);
    uv_close((uv_handle_t *)&server->sigint, NULL);
    uv_close((uv_handle_t *)&server->sighup, NULL);
}

static trm_status start_scheduler(struct srv_server *server, trm_error *err) {
    struct srv_scheduler_config config = {
        .models = server->models,
        .workers = server->options->workers ? server->options->workers : (int)uv_available_parallelism(),
        .slots = server->options->slots,
        .max_queue = server->options->max_queue,
        .parked_memory = (size_t)server->options->parked_memory,
        .notify = wake,
        .arg = &server->collect,
    };
    trm_status status = srv_scheduler_create(&config, &server->scheduler, err);
    if (status == TRM_OK) {
        srv_log(SRV_INFO, "workers are ready", "workers=%d slots=%d", config.workers, config.slots);
    }
    return status;
}

static trm_status start_http(struct srv_server *server, trm_error *err) {
    const struct srv_options *options = server->options;
    int fd, port;
    trm_status status = srv_listen_inherited(&fd, &port, err);
    bool inherited = status == TRM_OK && fd >= 0;
    if (status == TRM_OK && !inherited) {
        status = srv_listen(options->host, options->port, &fd, &port, err);
    }
    if (status != TRM_OK) {
        return status;
    }
    struct srv_http_config config = {
        .loop = &server->loop,
        .server = server,
        .listen_fd = fd,
        .find = srv_route_find,
        .finished = on_finished,
        .max_body = (size_t)options->max_body,
        .max_connections = options->max_connections,
        .body_memory = (size_t)options->body_memory,
        .max_per_address = options->max_per_address,
        .idle_timeout = options->idle_timeout,
        .head_timeout = options->head_timeout,
        .keys = {.file = options->api_keys_file,
                 .list = options->api_keys,
                 .admin_file = options->admin_key_file,
                 .admin_list = options->admin_key,
                 .public_metrics = options->public_metrics},
        .cors_origin = options->cors_origin,
        .tls_cert = options->tls_cert,
        .tls_key = options->tls_key,
        .body_timeout = options->body_timeout,
    };
    status = srv_http_start(&config, &server->http, err);
    if (status == TRM_OK) {
        srv_log(SRV_INFO, "listening", "host=%s port=%d", inherited ? "" : options->host, port);
        srv_notify("READY=1");
    }
    return status;
}

/* Ends what was started, in reverse order: no more exchanges, no more steps, the last solves freed. */
static void stop(struct srv_server *server) {
    if (server->http) {
        srv_http_stop(server->http);
    }
    if (server->scheduler) {
        srv_scheduler_stop(server->scheduler);
        srv_scheduler_collect(server->scheduler, srv_solve_update, NULL);
    }
    srv_tasks_stop(server->tasks);
    close_handles(server);
    uv_run(&server->loop, UV_RUN_DEFAULT);
    uv_loop_close(&server->loop);
    srv_scheduler_destroy(server->scheduler);
    srv_http_free(server->http);
    srv_tasks_free(server->tasks);
    srv_metrics_destroy(server->metrics);
}

trm_status srv_server_run(const struct srv_options *options, const struct trm_model_options *precision,
                          struct srv_models *models, trm_error *err) {
    struct srv_server server = {.options = options, .models = models, .precision = *precision};
    int rc = uv_loop_init(&server.loop);
    if (rc != 0) {
        return trm_fail(err, TRM_NO_MEMORY, "event loop: %s", uv_strerror(rc));
    }
    raise_file_limit(options->max_connections);
    uv_random(NULL, NULL, &server.run_id, sizeof server.run_id, 0, NULL);
    open_handles(&server);
    /* Before the log says that we listen: whoever waits for that may send one at once. */
    uv_signal_start(&server.sigterm, on_signal, SIGTERM);
    uv_signal_start(&server.sigint, on_signal, SIGINT);
    uv_signal_start(&server.sighup, on_hangup, SIGHUP);
    trm_status status = srv_metrics_create(&server.metrics, err);
    if (status == TRM_OK) {
        status = start_scheduler(&server, err);
    }
    if (status == TRM_OK) {
        status = srv_tasks_open(&server, &server.tasks, err);
    }
    if (status == TRM_OK) {
        status = start_http(&server, err);
    }
    if (status == TRM_OK) {
        uint64_t watchdog_ms = srv_notify_watchdog_ms();
        if (watchdog_ms) {
            uv_timer_start(&server.watchdog, on_watchdog, watchdog_ms / 2, watchdog_ms / 2);
        }
        uv_timer_start(&server.pinger, on_ping, PING_MS, PING_MS);
        uv_run(&server.loop, UV_RUN_DEFAULT);
    }
    stop(&server);
    if (status == TRM_OK && server.failed) {
        status = trm_fail(err, TRM_FULL, "accepted work was given up after %d s", options->drain_timeout);
    }
    if (status == TRM_OK) {
        srv_log(SRV_INFO, "stopped", "requests=%lu", (unsigned long)server.last_id);
    }
    return status;
}
