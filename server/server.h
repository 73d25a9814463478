/* server.h - one running server: what the parts of the loop thread share. */
#ifndef TRM_SERVER_SERVER_H
#define TRM_SERVER_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "engine/status.h"
#include "server/http.h"
#include "server/models.h"
#include "server/options.h"
#include "server/scheduler.h"

struct srv_metrics;
struct srv_solve;
struct srv_tasks;

struct srv_server {
    const struct srv_options *options;
    struct srv_models *models;
    struct trm_model_options precision; /* that models are opened with */
    struct srv_scheduler *scheduler;
    struct srv_http *http;
    struct srv_metrics *metrics;
    struct srv_tasks *tasks;  /* NULL: models are not adapted to tasks here */
    struct srv_solve *solves; /* list of all requests that are being solved */
    uint64_t last_id;         /* of a request */
    uint32_t run_id;          /* differs from one start to the next */
    int reloads;              /* of models, that are going on */
    bool draining;            /* no new work is accepted */
    bool failed;              /* accepted work was given up */

    uv_loop_t loop;
    uv_async_t collect;             /* the scheduler has something */
    unsigned pings;                 /* turns of the pinger */
    uv_timer_t drain_limit, pinger; /* the end of patience, comments for idle streams */
    uv_timer_t watchdog;            /* signs of life for the service manager */
    uv_signal_t sigterm, sigint, sighup;
};

/* Serves until a signal ends it. TRM_OK when all accepted work was finished. Main thread. */
trm_status srv_server_run(const struct srv_options *options, const struct trm_model_options *precision,
                          struct srv_models *models, trm_error *err);

#endif
