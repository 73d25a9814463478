/* tasks.c - see tasks.h. The list holds what waits, runs and has ended lately, newest first; what is done is on the
 * shelf too, and stays there. */
#include "server/tasks.h"

#include <stdlib.h>
#include <string.h>

#include "proto/answer.h"
#include "server/adapter.h"
#include "server/exposition.h"
#include "server/log.h"
#include "server/server.h"

enum { REMEMBERED = 64 }; /* of those that have ended */

/* A stream that shows one adaptation. */
struct watch {
    struct srv_tasks *tasks;
    struct srv_exchange *exchange;
    struct srv_adaptation *job;
    enum proto_framing framing;
    unsigned sent; /* the version that was told last */
    bool over;     /* its end was told */
    bool ping;
    struct proto_text text;
    size_t offset; /* of it are sent */
    struct watch *previous, *next;
};

struct srv_tasks {
    struct srv_server *server;
    struct srv_shelf *shelf;
    struct srv_adapter *adapter;
    uv_async_t news;
    bool has_news;
    struct srv_adaptation *first;
    struct watch *watches;
    uint64_t ended[PROTO_TASK_STATES];
    uint64_t refused, updates;
    double seconds;
};

/* --- what there is ---------------------------------------------------------------------------------- */

static enum proto_task_state state_of(const struct srv_adaptation *job) {
    return job->given_up ? PROTO_TASK_CANCELLED : job->seen.state;
}

static bool is_live(const struct srv_adaptation *job) {
    return state_of(job) == PROTO_TASK_WAITING || state_of(job) == PROTO_TASK_RUNNING;
}

static struct srv_adaptation *find(const struct srv_tasks *tasks, const char *id) {
    struct srv_adaptation *job = tasks->first;
    while (job && (job->forgotten || strcmp(job->id, id) != 0)) {
        job = job->next;
    }
    return job;
}

/* Of those that wait or run; newest first means that the ones behind `job` come before it. */
static int count_live(const struct srv_adaptation *job) {
    int count = 0;
    for (; job; job = job->next) {
        count += !job->ended;
    }
    return count;
}

static int count_waiting(const struct srv_tasks *tasks) {
    int count = 0;
    for (const struct srv_adaptation *job = tasks->first; job; job = job->next) {
        count += !job->ended && job->seen.state == PROTO_TASK_WAITING;
    }
    return count;
}

static struct proto_task_status status_of(const struct srv_adaptation *job) {
    return (struct proto_task_status){.id = job->id,
                                      .model = job->model->name,
                                      .state = state_of(job),
                                      .detail = state_of(job) == PROTO_TASK_FAILED ? job->seen.error.text : NULL,
                                      .budget = job->seconds,
                                      .ahead = state_of(job) == PROTO_TASK_WAITING ? count_live(job->next) : 0,
                                      .progress = job->seen.progress};
}

static void destroy(struct srv_adaptation *job) {
    data_arc_task_release(&job->task);
    free(job);
}

/* Frees what nobody needs: forgotten ones, and the oldest of those that have ended. */
static void sweep(struct srv_tasks *tasks) {
    int kept = 0;
    for (struct srv_adaptation **place = &tasks->first; *place;) {
        struct srv_adaptation *job = *place;
        kept += job->ended && !job->forgotten;
        if (job->ended && job->watchers == 0 && (job->forgotten || kept > REMEMBERED)) {
            *place = job->next;
            destroy(job);
        } else {
            place = &job->next;
        }
    }
}

static void announce(const struct srv_tasks *tasks, struct srv_adaptation *job) {
    job->version++;
    for (struct watch *watch = tasks->watches; watch; watch = watch->next) {
        if (watch->job == job) {
            srv_exchange_resume(watch->exchange);
        }
    }
}

/* --- ends ------------------------------------------------------------------------------------------- */

/* The adapter has done with it: what came of it goes to the shelf, if anyone still wants it. */
static void finish(struct srv_tasks *tasks, struct srv_adaptation *job) {
    struct srv_adaptation_view *seen = &job->seen;
    if (seen->state == PROTO_TASK_DONE && atomic_load(&job->cancelled)) {
        seen->state = PROTO_TASK_CANCELLED;
    }
    if (seen->state == PROTO_TASK_DONE &&
        srv_shelf_put(tasks->shelf, job->id, job->model, seen->draft, seen->engine, &seen->error) != TRM_OK) {
        seen->state = PROTO_TASK_FAILED;
    }
    if (seen->state != PROTO_TASK_DONE) {
        trm_model_unref(seen->engine);
        if (seen->draft) {
            srv_shelf_discard(seen->draft);
        }
    }
    free(seen->draft);
    seen->engine = NULL;
    seen->draft = NULL;
    job->ended = true;
    tasks->ended[seen->state]++;
    tasks->updates += (uint64_t)seen->progress.updates;
    tasks->seconds += seen->progress.seconds;
    srv_log(seen->state == PROTO_TASK_FAILED ? SRV_ERROR : SRV_INFO, "an adaptation has ended",
            "id=%s model=%s state=%s updates=%d seconds=%.1f reason=%s", job->id, job->model->name,
            proto_task_state_name(seen->state), seen->progress.updates, seen->progress.seconds, seen->error.text);
}

static void collect(struct srv_tasks *tasks) {
    for (struct srv_adaptation *job = tasks->first; job; job = job->next) {
        if (job->ended || !srv_adapter_look(tasks->adapter, job)) {
            continue;
        }
        if (job->seen.state != PROTO_TASK_WAITING && job->seen.state != PROTO_TASK_RUNNING) {
            finish(tasks, job);
        }
        if (!job->given_up) {
            announce(tasks, job);
        }
    }
    sweep(tasks);
}

static void on_news(uv_async_t *async) {
    collect(async->data);
}

/* Any thread. */
static void wake(void *arg) {
    uv_async_send(arg);
}

/* Whoever asks is told at once; the thread ends it soon. */
static void cancel(struct srv_tasks *tasks, struct srv_adaptation *job) {
    srv_adapter_cancel(tasks->adapter, job);
    job->given_up = true;
    announce(tasks, job);
    uv_async_send(&tasks->news); /* one that waited is over */
}

/* --- life ------------------------------------------------------------------------------------------- */

trm_status srv_tasks_open(struct srv_server *server, struct srv_tasks **result, trm_error *err) {
    const struct srv_options *options = server->options;
    if (!options->tasks_dir) {
        return TRM_OK;
    }
    struct srv_tasks *tasks = calloc(1, sizeof *tasks);
    if (!tasks) {
        return trm_fail_memory(err, sizeof *tasks);
    }
    *result = tasks; /* srv_tasks_stop() also ends what was not wholly begun */
    tasks->server = server;
    tasks->has_news = uv_async_init(&server->loop, &tasks->news, on_news) == 0;
    tasks->news.data = tasks;
    trm_status status = srv_shelf_open(options->tasks_dir, options->tasks_limit, server->models, &server->precision,
                                       &tasks->shelf, err);
    const struct srv_adapter_config config = {
        .shelf = tasks->shelf, .precision = server->precision, .notify = wake, .arg = &tasks->news};
    if (status == TRM_OK) {
        status = srv_adapter_create(&config, &tasks->adapter, err);
    }
    if (status == TRM_OK) {
        srv_log(SRV_INFO, "tasks can be adapted", "dir=%s kept=%d", options->tasks_dir, srv_shelf_count(tasks->shelf));
    }
    return status;
}

void srv_tasks_drain(struct srv_tasks *tasks) {
    for (struct srv_adaptation *job = tasks ? tasks->first : NULL; job; job = job->next) {
        if (!job->ended && is_live(job)) {
            cancel(tasks, job);
        }
    }
}

void srv_tasks_stop(struct srv_tasks *tasks) {
    if (!tasks) {
        return;
    }
    if (tasks->adapter) {
        srv_adapter_stop(tasks->adapter);
        collect(tasks);
    }
    if (tasks->has_news) {
        uv_close((uv_handle_t *)&tasks->news, NULL);
    }
}

void srv_tasks_free(struct srv_tasks *tasks) {
    while (tasks && tasks->first) {
        struct srv_adaptation *job = tasks->first;
        tasks->first = job->next;
        destroy(job);
    }
    if (tasks) {
        srv_adapter_destroy(tasks->adapter);
        srv_shelf_close(tasks->shelf);
    }
    free(tasks);
}

struct srv_shelf *srv_tasks_shelf(struct srv_tasks *tasks) {
    return tasks ? tasks->shelf : NULL;
}

void srv_tasks_ping(struct srv_tasks *tasks, bool streams) {
    for (struct watch *watch = tasks ? tasks->watches : NULL; watch; watch = watch->next) {
        if (watch->exchange->half_closed || (streams && watch->framing == PROTO_SSE)) {
            srv_exchange_ping(watch->exchange);
        }
    }
}

void srv_tasks_write_metrics(const struct srv_tasks *tasks, struct proto_text *text) {
    if (!tasks) {
        return;
    }
    const int waiting = count_waiting(tasks), running = count_live(tasks->first) - waiting;
    srv_family(text, "trm_tasks_total", "counter", "Adaptations to an ARC task that have ended, or were refused.");
    for (int s = PROTO_TASK_DONE; s < PROTO_TASK_STATES; s++) {
        const struct srv_label label = {"outcome", proto_task_state_name((enum proto_task_state)s)};
        srv_sample(text, "trm_tasks_total", &label, 1, (double)tasks->ended[s]);
    }
    const struct srv_label refused = {"outcome", "refused"};
    srv_sample(text, "trm_tasks_total", &refused, 1, (double)tasks->refused);
    srv_family(text, "trm_tasks_waiting", "gauge", "Adaptations that wait.");
    srv_sample(text, "trm_tasks_waiting", NULL, 0, waiting);
    srv_family(text, "trm_tasks_running", "gauge", "Adaptations that run: at most one.");
    srv_sample(text, "trm_tasks_running", NULL, 0, running);
    srv_family(text, "trm_tasks_kept", "gauge", "Adapted checkpoints that are kept.");
    srv_sample(text, "trm_tasks_kept", NULL, 0, srv_shelf_count(tasks->shelf));
    srv_family(text, "trm_task_updates_total", "counter", "Optimizer steps of adaptations that have ended.");
    srv_sample(text, "trm_task_updates_total", NULL, 0, (double)tasks->updates);
    srv_family(text, "trm_task_seconds_total", "counter", "Time that adaptations which have ended took.");
    srv_sample(text, "trm_task_seconds_total", NULL, 0, tasks->seconds);
}

/* --- beginning an adaptation ------------------------------------------------------------------------ */

static bool is_on(const struct srv_server *server, struct proto_problem *problem) {
    return server->tasks || proto_problem_set(problem, PROTO_NOT_FOUND, "",
                                              "this server was started without --tasks-dir, and adapts to no tasks");
}

bool srv_tasks_has_room(struct srv_server *server, struct proto_problem *problem) {
    if (!is_on(server, problem)) {
        return false;
    }
    return !server->draining || proto_problem_set(problem, PROTO_SHUTTING_DOWN, "", "no new work is accepted");
}

static const struct srv_model *choose_model(const struct srv_models *models, const struct proto_task_request *request,
                                            struct proto_problem *problem) {
    const struct srv_model *model = request->model ? srv_models_named(models, request->model, problem)
                                                   : srv_models_for_task(models, &request->task);
    if (!model && !request->model) {
        proto_problem_set(problem, PROTO_INVALID, "/task", "no model here is for ARC tasks; see /models");
    }
    return model && srv_model_takes_task(model, &request->task, problem) ? model : NULL;
}

/* Seconds until one of those that wait begins. */
static int wait_s(const struct srv_tasks *tasks) {
    for (const struct srv_adaptation *job = tasks->first; job; job = job->next) {
        if (!job->ended && job->seen.state == PROTO_TASK_RUNNING) {
            const double left = job->seconds - job->seen.progress.seconds;
            return left > 1 ? (int)left : 1;
        }
    }
    return 1;
}

/* A new adaptation that takes the request's task over; NULL with *problem filled in. */
static struct srv_adaptation *create(struct srv_tasks *tasks, const struct srv_model *model, const char *id,
                                     struct proto_task_request *request, struct proto_problem *problem) {
    const struct srv_options *options = tasks->server->options;
    if (count_waiting(tasks) >= options->tasks_queue) {
        tasks->refused++;
        proto_problem_set(problem, PROTO_OVERLOADED, "", "%d adaptations may wait, and as many do",
                          options->tasks_queue);
        problem->retry_after_s = wait_s(tasks);
        return NULL;
    }
    struct srv_adaptation *job = calloc(1, sizeof *job);
    if (!job) {
        proto_problem_set(problem, PROTO_INTERNAL, "", "out of memory");
        return NULL;
    }
    job->model = model;
    job->seconds = request->seconds;
    job->augment = request->augment;
    job->lr = request->lr;
    job->seed = request->seed;
    job->threads = options->tasks_threads;
    job->task = request->task;
    request->task = (struct data_arc_task){0};
    memcpy(job->id, id, sizeof job->id);
    memcpy(job->task.name, id, sizeof job->id);
    job->next = tasks->first;
    tasks->first = job;
    return job;
}

static void reply_status(struct srv_exchange *x, int status, const struct proto_task_status *told) {
    struct proto_text text = {0};
    if (strcmp(x->method, "POST") == 0) {
        snprintf(x->location, sizeof x->location, "/tasks/%s", told->id);
    }
    proto_write_task(&text, told);
    proto_text_add_literal(&text, "\n");
    srv_reply(x, status, "application/json", &text);
}

/* Answers with what there is of `id` already; false if that is nothing, or nothing that counts. */
static bool reply_known(struct srv_exchange *x, const char *id) {
    struct srv_tasks *tasks = x->server->tasks;
    struct srv_adaptation *job = find(tasks, id);
    const struct srv_model *model;
    if (job && is_live(job)) {
        const struct proto_task_status status = status_of(job);
        reply_status(x, 202, &status);
        return true;
    }
    if (srv_shelf_find(tasks->shelf, id, &model)) {
        const struct proto_task_status status = {.id = id, .model = model->name, .state = PROTO_TASK_DONE};
        reply_status(x, 200, &status);
        return true;
    }
    if (job) {
        job->forgotten = true; /* what it came to is no more */
    }
    return false;
}

static void begin(struct srv_exchange *x, struct proto_task_request *request) {
    struct srv_tasks *tasks = x->server->tasks;
    struct proto_problem problem;
    uint8_t hash[DATA_ARC_HASH];
    char id[SRV_TASK_ID];
    const struct srv_model *model = choose_model(x->server->models, request, &problem);
    if (!model) {
        srv_reply_problem(x, &problem);
        return;
    }
    const data_arc_index *index = trm_model_tasks(model->engine);
    const struct data_arc_entry *known = index ? data_arc_index_recognise(index, &request->task) : NULL;
    if (known) {
        proto_problem_set(&problem, PROTO_CONFLICT, "/task",
                          "model '%.60s' was trained on this task, as '%.63s': POST /solve answers it", model->name,
                          known->name);
        srv_reply_problem(x, &problem);
        return;
    }
    data_arc_pairs_hash(request->task.pairs, request->task.train_count, hash);
    srv_task_id(model->name, hash, id);
    if (reply_known(x, id)) {
        return;
    }
    struct srv_adaptation *job = create(tasks, model, id, request, &problem);
    if (!job) {
        srv_reply_problem(x, &problem);
        return;
    }
    srv_adapter_submit(tasks->adapter, job);
    const struct proto_task_status status = status_of(job);
    reply_status(x, 202, &status);
}

static void list(struct srv_exchange *x) {
    const struct srv_tasks *tasks = x->server->tasks;
    struct proto_text text = {0};
    bool any = false;
    proto_text_add_literal(&text, "{\"tasks\":[");
    for (const struct srv_adaptation *job = tasks->first; job; job = job->next) {
        if (!job->forgotten) {
            const struct proto_task_status status = status_of(job);
            proto_text_add_literal(&text, any ? "," : "");
            proto_write_task(&text, &status);
            any = true;
        }
    }
    proto_text_addf(&text, "],\"kept\":%d,\"seconds_limit\":%d}\n", srv_shelf_count(tasks->shelf),
                    x->server->options->tasks_seconds);
    srv_reply(x, 200, "application/json", &text);
}

void srv_tasks_all(struct srv_exchange *x) {
    struct proto_problem problem;
    struct proto_task_request request;
    const bool posts = strcmp(x->method, "POST") == 0;
    if (!is_on(x->server, &problem) ||
        (posts && !(srv_tasks_has_room(x->server, &problem) &&
                    proto_task_read(x->body, x->body_length, x->server->options->tasks_seconds, &request, &problem)))) {
        srv_reply_problem(x, &problem);
    } else if (!posts) {
        list(x);
    } else {
        begin(x, &request);
        proto_task_release(&request);
    }
}

/* --- one of them ------------------------------------------------------------------------------------ */

static void render(struct watch *watch) {
    struct srv_adaptation *job = watch->job;
    proto_text_reset(&watch->text);
    watch->offset = 0;
    if (watch->sent != job->version) {
        const struct proto_task_status status = status_of(job);
        proto_stream_task(&watch->text, watch->framing, &status);
        watch->sent = job->version;
        watch->over = !is_live(job);
    } else if (watch->ping) {
        proto_stream_ping(&watch->text, watch->framing);
    }
    watch->ping = false;
}

static ssize_t on_read(struct srv_exchange *x, char *buffer, size_t size) {
    struct watch *watch = x->data;
    if (watch->offset == watch->text.length && !watch->over) {
        render(watch);
    }
    if (watch->text.failed) {
        return SRV_STREAM_BROKEN;
    }
    size_t count = watch->text.length - watch->offset;
    if (count == 0) {
        return watch->over ? SRV_STREAM_END : 0;
    }
    count = count < size ? count : size;
    memcpy(buffer, watch->text.data + watch->offset, count);
    watch->offset += count;
    return (ssize_t)count;
}

static void on_watch_ping(struct srv_exchange *x) {
    struct watch *watch = x->data;
    watch->ping = true;
    srv_exchange_resume(x);
}

static void on_watch_ended(struct srv_exchange *x) {
    struct watch *watch = x->data;
    struct srv_tasks *tasks = watch->tasks;
    if (watch->previous) {
        watch->previous->next = watch->next;
    } else {
        tasks->watches = watch->next;
    }
    if (watch->next) {
        watch->next->previous = watch->previous;
    }
    watch->job->watchers--;
    proto_text_release(&watch->text);
    free(watch);
    sweep(tasks);
}

static void stream(struct srv_exchange *x, struct srv_adaptation *job, enum proto_framing framing) {
    struct srv_tasks *tasks = x->server->tasks;
    struct proto_problem problem;
    struct watch *watch = calloc(1, sizeof *watch);
    if (!watch) {
        proto_problem_set(&problem, PROTO_INTERNAL, "", "out of memory");
        srv_reply_problem(x, &problem);
        return;
    }
    *watch = (struct watch){.tasks = tasks,
                            .exchange = x,
                            .job = job,
                            .framing = framing,
                            .sent = job->version - 1,
                            .next = tasks->watches};
    if (watch->next) {
        watch->next->previous = watch;
    }
    tasks->watches = watch;
    job->watchers++;
    x->data = watch;
    x->read = on_read;
    x->ended = on_watch_ended;
    x->ping = on_watch_ping;
    srv_reply_stream(x, proto_framing_type(framing));
}

/* The adaptation of that id; one that is only on the shelf gets an entry in the list again. */
static struct srv_adaptation *recall(struct srv_tasks *tasks, const char *id, struct proto_problem *problem) {
    struct srv_adaptation *job = find(tasks, id);
    const struct srv_model *model = NULL;
    const bool kept = srv_shelf_find(tasks->shelf, id, &model) != NULL;
    if (job && state_of(job) == PROTO_TASK_DONE && !kept) {
        job->forgotten = true; /* it made room for another */
        job = NULL;
        sweep(tasks);
    }
    if (!job && kept) {
        job = calloc(1, sizeof *job);
        if (!job) {
            proto_problem_set(problem, PROTO_INTERNAL, "", "out of memory");
            return NULL;
        }
        snprintf(job->id, sizeof job->id, "%.*s", SRV_TASK_ID - 1, id);
        job->model = model;
        job->seen.state = PROTO_TASK_DONE;
        job->ended = true;
        job->next = tasks->first;
        tasks->first = job;
    }
    if (!job) {
        proto_problem_set(problem, PROTO_NOT_FOUND, "", "there is no task '%.40s' here", id);
    }
    return job;
}

/* What waits or runs is cancelled, what is done thrown away. */
static void forget(struct srv_exchange *x, struct srv_adaptation *job) {
    struct srv_tasks *tasks = x->server->tasks;
    struct proto_text none = {0};
    if (is_live(job)) {
        cancel(tasks, job);
    }
    srv_shelf_remove(tasks->shelf, job->id);
    job->forgotten = true;
    srv_reply(x, 204, NULL, &none);
}

void srv_tasks_one(struct srv_exchange *x) {
    struct proto_problem problem;
    enum proto_framing framing;
    char id[SRV_TASK_ID + 1];
    srv_exchange_segment(x, id, sizeof id);
    struct srv_adaptation *job = is_on(x->server, &problem) ? recall(x->server->tasks, id, &problem) : NULL;
    if (!job) {
        srv_reply_problem(x, &problem);
        return;
    }
    if (strcmp(x->method, "DELETE") == 0) {
        forget(x, job);
    } else if (!proto_accept_framing(srv_exchange_header(x, "Accept"), &framing, &problem)) {
        srv_reply_problem(x, &problem);
    } else if (framing == PROTO_JSON) {
        const struct proto_task_status status = status_of(job);
        reply_status(x, 200, &status);
    } else {
        stream(x, job, framing);
    }
    sweep(x->server->tasks);
}
