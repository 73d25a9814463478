/* exchange.c - the life of an exchange: its memory, its alarm, its sleep. Loop thread.
 *
 * Things to know about libmicrohttpd 0.9.75:
 * - A connection is suspended only from its access handler or content reader, and a reader that has
 *   nothing to say must suspend, or it is called again at once.
 * - A suspended connection neither times out nor notices that its client has gone. We watch the
 *   socket ourselves (hangup.c), and stop watching before libmicrohttpd has it back.
 * - Without a thread of its own it has nothing that wakes it for a resumed connection: it must be run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/http_internal.h"

int srv_exchange_socket(const struct srv_exchange *x) {
    return MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
}

static void on_closed(uv_handle_t *handle) {
    struct srv_exchange *x = handle->data;
    if (--x->open_handles == 0) {
        free(x);
    }
}

static void on_timer(uv_timer_t *timer) {
    struct srv_exchange *x = timer->data;
    x->alarm(x);
}

struct srv_exchange *srv_exchange_create(struct srv_http *http, struct MHD_Connection *connection) {
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

void srv_exchange_destroy(struct srv_exchange *x) {
    uv_close((uv_handle_t *)&x->timer, on_closed);
    if (x->has_watch) {
        uv_close((uv_handle_t *)&x->watch, on_closed);
    }
}

void srv_exchange_set_alarm(struct srv_exchange *x, uint64_t ms) {
    uv_update_time(x->http->config.loop);
    uv_timer_start(&x->timer, on_timer, ms, 0);
}

void srv_exchange_suspend(struct srv_exchange *x) {
    srv_hangup_watch(x);
    x->suspended = true;
    x->previous = NULL;
    x->next = x->http->suspended;
    if (x->next) {
        x->next->previous = x;
    }
    x->http->suspended = x;
    MHD_suspend_connection(x->connection);
}

void srv_exchange_resume(struct srv_exchange *x) {
    if (!x->suspended) {
        return;
    }
    srv_hangup_unwatch(x);
    x->suspended = false;
    if (x->previous) {
        x->previous->next = x->next;
    } else {
        x->http->suspended = x->next;
    }
    if (x->next) {
        x->next->previous = x->previous;
    }
    MHD_resume_connection(x->connection);
    srv_http_pump_soon(x->http); /* it would not wake by itself */
}

void srv_exchange_segment(const struct srv_exchange *x, char *text, size_t size) {
    const char *segment = x->path + strcspn(x->route->path, "{"); /* what is before it is literal */
    snprintf(text, size, "%.*s", (int)strcspn(segment, "/"), segment);
}

void srv_exchange_client(const struct srv_exchange *x, char *text, size_t size) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    if (!info || uv_ip_name(info->client_addr, text, size) != 0) {
        text[0] = '\0';
    }
}

const char *srv_exchange_header(const struct srv_exchange *x, const char *name) {
    return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}
