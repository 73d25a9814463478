/* reload.c - see reload.h. The loop thread's, but for what prepare() touches: that belongs to one
 * thread of the pool until done() is called. */
#include "server/reload.h"

#include <stdlib.h>

#include "server/log.h"
#include "server/notify.h"
#include "server/server.h"

struct reload {
    uv_work_t work;
    struct srv_server *server;
    struct srv_model *model;
    struct srv_exchange *exchange; /* NULL: nobody waits for an answer */
    uint64_t began_ns;
    bool done;

    /* What prepare() makes. */
    trm_model *engine;
    struct srv_bench *benches;
    trm_status status;
    trm_error error;
};

static double milliseconds(const struct reload *reload) {
    return (double)(uv_hrtime() - reload->began_ns) / 1e6;
}

/* A thread of the pool: everything that takes time. */
static void prepare(uv_work_t *work) {
    struct reload *r = work->data;
    r->status = srv_model_open_again(r->model, &r->server->precision, &r->engine, &r->error);
    if (r->status == TRM_OK) {
        r->status = srv_benches_create(r->server->scheduler, r->engine, &r->benches, &r->error);
    }
}

/* The exchange is over: what is left is its own if done() was here, else it goes on alone. */
static void on_ended(struct srv_exchange *x) {
    struct reload *r = x->data;
    r->exchange = NULL;
    if (r->done) {
        free(r);
    }
}

static void on_resumed(struct srv_exchange *x) {
    const struct reload *r = x->data;
    struct proto_problem problem;
    struct proto_text text = {0};
    if (r->status != TRM_OK) {
        proto_problem_set(&problem, r->status == TRM_NO_MEMORY ? PROTO_INTERNAL : PROTO_BAD_CHECKPOINT, "", "%.250s",
                          r->error.text);
        srv_reply_problem(x, &problem);
        return;
    }
    proto_text_add_literal(&text, "{\"model\":");
    proto_text_add_string(&text, r->model->name);
    proto_text_addf(&text, ",\"reloaded\":true,\"ms\":%.3f}\n", milliseconds(r));
    srv_reply(x, 200, "application/json", &text);
}

static void start(struct srv_server *server, struct srv_model *model, struct srv_exchange *x);

/* One reload less goes on. */
static void ended(struct srv_server *server) {
    if (--server->reloads == 0 && !server->draining) {
        srv_notify("READY=1"); /* again, if this was for SIGHUP */
    }
}

/* The loop thread again. After the end of the server this only cleans up. */
static void done(uv_work_t *work, int cancelled) {
    struct reload *r = work->data;
    struct srv_server *server = r->server;
    struct srv_model *model = r->model;
    bool again = model->reload_again && !server->draining;
    (void)cancelled; /* never is */
    r->done = true;
    model->reloading = model->reload_again = false;
    if (r->status == TRM_OK) {
        srv_scheduler_replace(server->scheduler, model->index, r->benches);
        srv_model_replace(model, r->engine);
        model->reloads++;
        srv_log(SRV_INFO, "model reloaded", "name=%s path=%s ms=%.3f", model->name, model->path, milliseconds(r));
    } else {
        trm_model_unref(r->engine);
        model->refused_reloads++;
        srv_log(SRV_ERROR, "reload refused", "name=%s reason=%s", model->name, r->error.text);
    }
    if (r->exchange) {
        srv_exchange_resume(r->exchange);
    } else {
        free(r);
    }
    if (again) {
        start(server, model, NULL);
    }
    ended(server);
}

/* Begins a reload of a model that is not being reloaded; `x`, if any, waits for its end. */
static void start(struct srv_server *server, struct srv_model *model, struct srv_exchange *x) {
    struct reload *r = calloc(1, sizeof *r);
    struct proto_problem problem;
    server->reloads++;
    if (!r) {
        ended(server);
        srv_log(SRV_ERROR, "reload refused", "name=%s reason=%s", model->name, "out of memory");
        if (x) {
            proto_problem_set(&problem, PROTO_INTERNAL, "", "out of memory");
            srv_reply_problem(x, &problem);
        }
        return;
    }
    *r = (struct reload){.server = server, .model = model, .exchange = x, .began_ns = uv_hrtime()};
    r->work.data = r;
    model->reloading = true;
    uv_queue_work(&server->loop, &r->work, prepare, done);
    if (x) {
        x->data = r;
        x->resumed = on_resumed;
        x->ended = on_ended;
        srv_exchange_suspend(x);
    }
}

/* False with *problem filled in if there is nothing to reload, or not now. */
static bool may_start(const struct srv_server *server, const struct srv_model *model, const char *name,
                      struct proto_problem *problem) {
    if (!model) {
        proto_problem_set(problem, PROTO_UNKNOWN_MODEL, "", "there is no model '%.100s'; see /models", name);
        return false;
    }
    if (server->draining) {
        return proto_problem_set(problem, PROTO_SHUTTING_DOWN, "", "nothing is loaded any more");
    }
    if (model->reloading) {
        return proto_problem_set(problem, PROTO_CONFLICT, "", "model '%.100s' is being reloaded already", name);
    }
    return true;
}

void srv_reload(struct srv_exchange *x) {
    struct srv_server *server = x->server;
    struct proto_problem problem;
    char name[sizeof x->path];
    srv_exchange_segment(x, name, sizeof name);
    struct srv_model *model = srv_models_find(server->models, name);
    if (may_start(server, model, name, &problem)) {
        start(server, model, x);
    } else {
        srv_reply_problem(x, &problem);
    }
}

void srv_reload_all(struct srv_server *server) {
    for (int i = 0; i < server->models->count; i++) {
        struct srv_model *model = &server->models->items[i];
        if (model->reloading) {
            model->reload_again = true;
        } else {
            start(server, model, NULL);
        }
    }
}
