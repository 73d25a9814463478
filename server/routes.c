/* routes.c - the table of paths, and the handlers too small for a file. Loop thread. */
#include "server/routes.h"

#include <string.h>

#include "proto/accept.h"
#include "proto/openapi.h"
#include "server/kserve.h"
#include "server/metrics.h"
#include "server/reload.h"
#include "server/server.h"
#include "server/solve.h"
#include "server/tasks.h"
#include "server/web.h"

static void reply_literal(struct srv_exchange *x, int status, const char *json) {
    struct proto_text text = {0};
    proto_text_add_literal(&text, json);
    srv_reply(x, status, "application/json", &text);
}

static void live(struct srv_exchange *x) {
    reply_literal(x, 200, "{\"status\":\"live\"}\n");
}

static void ready(struct srv_exchange *x) {
    if (x->server->draining) {
        struct proto_problem problem;
        proto_problem_set(&problem, PROTO_SHUTTING_DOWN, "", "accepted work is being finished");
        srv_reply_problem(x, &problem);
    } else {
        reply_literal(x, 200, "{\"status\":\"ready\"}\n");
    }
}

static void models(struct srv_exchange *x) {
    struct proto_text text = {0};
    srv_models_write(x->server->models, &text);
    srv_reply(x, 200, "application/json", &text);
}

static void openapi(struct srv_exchange *x) {
    struct proto_text text = {0};
    proto_text_add(&text, proto_openapi, proto_openapi_length);
    srv_reply(x, 200, "application/json", &text);
}

static void root(struct srv_exchange *x);

static const struct srv_route table[] = {
    {"/", "GET, HEAD", root, SRV_PUBLIC, NULL},
    {"/web/{file}", "GET, HEAD", srv_web_file, SRV_PUBLIC, NULL},
    {"/solve", "POST", srv_solve, SRV_KEYED, srv_solve_has_room},
    {"/tasks", "GET, HEAD, POST", srv_tasks_all, SRV_KEYED, NULL},
    {"/tasks/{id}", "GET, HEAD, DELETE", srv_tasks_one, SRV_KEYED, NULL},
    {"/models", "GET, HEAD", models, SRV_KEYED, NULL},
    {"/models/{model}/reload", "POST", srv_reload, SRV_ADMIN, NULL},
    {"/health/live", "GET, HEAD", live, SRV_PUBLIC, NULL},
    {"/health/ready", "GET, HEAD", ready, SRV_PUBLIC, NULL},
    {"/metrics", "GET, HEAD", srv_metrics, SRV_METRICS, NULL},
    {"/openapi.json", "GET, HEAD", openapi, SRV_PUBLIC, NULL},
    {"/v2", "GET, HEAD", srv_kserve_server, SRV_KEYED, NULL},
    {"/v2/health/live", "GET, HEAD", srv_kserve_live, SRV_PUBLIC, NULL},
    {"/v2/health/ready", "GET, HEAD", srv_kserve_ready, SRV_PUBLIC, NULL},
    {"/v2/models/{model}", "GET, HEAD", srv_kserve_model, SRV_KEYED, NULL},
    {"/v2/models/{model}/ready", "GET, HEAD", srv_kserve_model_ready, SRV_KEYED, NULL},
    {"/v2/models/{model}/infer", "POST", srv_kserve_infer, SRV_KEYED, srv_solve_has_room},
    {"/v2/models/{model}/versions/1", "GET, HEAD", srv_kserve_model, SRV_KEYED, NULL},
    {"/v2/models/{model}/versions/1/ready", "GET, HEAD", srv_kserve_model_ready, SRV_KEYED, NULL},
    {"/v2/models/{model}/versions/1/infer", "POST", srv_kserve_infer, SRV_KEYED, srv_solve_has_room},
};

enum { ROUTES = sizeof table / sizeof table[0] };

static void index_of_paths(struct srv_exchange *x) {
    struct proto_text text = {0};
    proto_text_add_literal(&text, "{\"server\":\"trm-server\",\"version\":\"" TRM_VERSION "\",\"paths\":[");
    for (int i = 0; i < ROUTES; i++) {
        proto_text_add_literal(&text, i ? "," : "");
        proto_text_add_string(&text, table[i].path);
    }
    proto_text_add_literal(&text, "]}\n");
    srv_reply(x, 200, "application/json", &text);
}

/* Programs get the paths, people the playground. */
static void root(struct srv_exchange *x) {
    static const char *const forms[] = {"application/json", "text/html"};
    if (proto_accept_best(srv_exchange_header(x, "Accept"), forms, 2) == 1) {
        srv_web_page(x);
    } else {
        index_of_paths(x);
    }
}

const struct srv_route *srv_routes(int *count) {
    *count = ROUTES;
    return table;
}

/* Whether `path` is `pattern`, in which "{...}" stands for any segment that is not empty. */
static bool matches(const char *pattern, const char *path) {
    while (*pattern) {
        if (*pattern == '{') {
            size_t length = strcspn(path, "/");
            if (length == 0) {
                return false;
            }
            path += length;
            pattern = strchr(pattern, '}') + 1;
        } else if (*pattern++ != *path++) {
            return false;
        }
    }
    return *path == '\0';
}

const struct srv_route *srv_route_find(const char *path) {
    for (int i = 0; i < ROUTES; i++) {
        if (matches(table[i].path, path)) {
            return &table[i];
        }
    }
    return NULL;
}
