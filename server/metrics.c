/* metrics.c - see metrics.h. All of it belongs to the loop thread. */
#include "server/metrics.h"

#include <microhttpd.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/ops/matmul.h"
#include "server/exposition.h"
#include "server/log.h"
#include "server/process.h"
#include "server/routes.h"
#include "server/server.h"
#include "server/tasks.h"

enum outcome { OK, REFUSED, SHED, FAILED, GONE, OUTCOMES };
enum { METHODS = 6, CLASSES = 6 };

static const char *const outcome_names[OUTCOMES] = {"ok", "refused", "shed", "failed", "gone"};
static const char *const method_names[METHODS] = {"GET", "HEAD", "POST", "DELETE", "OPTIONS", "other"};
static const char *const class_names[CLASSES] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};

/* What is counted of one route. */
struct row {
    uint64_t requests[METHODS][OUTCOMES][CLASSES];
    struct srv_histogram duration;
};

struct srv_metrics {
    struct row *rows; /* [routes + 1]; the last is for paths that are no route */
    int routes;
    uint64_t received, sent;
    double started; /* seconds since 1970 */
};

trm_status srv_metrics_create(struct srv_metrics **result, trm_error *err) {
    struct srv_metrics *m = calloc(1, sizeof *m);
    if (!m) {
        return trm_fail_memory(err, sizeof *m);
    }
    srv_routes(&m->routes);
    m->rows = calloc((size_t)m->routes + 1, sizeof *m->rows);
    if (!m->rows) {
        trm_status status = trm_fail_memory(err, ((size_t)m->routes + 1) * sizeof *m->rows);
        free(m);
        return status;
    }
    for (int i = 0; i <= m->routes; i++) {
        m->rows[i].duration = srv_histogram_of_seconds();
    }
    m->started = (double)time(NULL);
    *result = m;
    return TRM_OK;
}

void srv_metrics_destroy(struct srv_metrics *m) {
    if (m) {
        free(m->rows);
        free(m);
    }
}

/* --- counting --------------------------------------------------------------------------------------- */

static enum outcome outcome_of(const struct srv_exchange *x, bool whole) {
    return !whole                                 ? GONE
           : x->status == 429 || x->status == 503 ? SHED
           : x->status >= 500                     ? FAILED
           : x->status >= 400                     ? REFUSED
                                                  : OK;
}

const char *srv_metrics_outcome(const struct srv_exchange *x, bool whole) {
    return outcome_names[outcome_of(x, whole)];
}

static int method_of(const char *name) {
    int i = 0;
    while (i < METHODS - 1 && strcmp(name, method_names[i]) != 0) {
        i++;
    }
    return i;
}

void srv_metrics_count(struct srv_metrics *m, const struct srv_exchange *x, bool whole) {
    int count;
    const struct srv_route *routes = srv_routes(&count);
    struct row *row = &m->rows[x->route ? x->route - routes : count];
    row->requests[method_of(x->method)][outcome_of(x, whole)][x->status / 100]++;
    srv_histogram_add(&row->duration, (double)(uv_hrtime() - x->began_ns) / 1e9);
    m->received += x->received;
    m->sent += x->sent;
}

/* --- HTTP ------------------------------------------------------------------------------------------- */

static const char *route_name(int index) {
    int count;
    const struct srv_route *routes = srv_routes(&count);
    return index < count ? routes[index].path : "other";
}

static void write_row(struct proto_text *text, const char *name, const char *route, const struct row *row) {
    for (int m = 0; m < METHODS; m++) {
        for (int o = 0; o < OUTCOMES; o++) {
            for (int c = 0; c < CLASSES; c++) {
                const struct srv_label labels[] = {{"route", route},
                                                   {"method", method_names[m]},
                                                   {"outcome", outcome_names[o]},
                                                   {"status", class_names[c]}};
                if (row->requests[m][o][c]) {
                    srv_sample(text, name, labels, 4, (double)row->requests[m][o][c]);
                }
            }
        }
    }
}

static void write_single(struct proto_text *text, const char *name, const char *type, const char *help, double value) {
    srv_family(text, name, type, help);
    srv_sample(text, name, NULL, 0, value);
}

static void write_http(struct proto_text *text, const struct srv_server *server) {
    const struct srv_metrics *m = server->metrics;
    struct srv_http_stats http = srv_http_stats(server->http);
    srv_family(text, "trm_requests_total", "counter", "HTTP requests that are over.");
    for (int i = 0; i <= m->routes; i++) {
        write_row(text, "trm_requests_total", route_name(i), &m->rows[i]);
    }
    srv_family(text, "trm_request_duration_seconds", "histogram",
               "From the head of a request to the end of its answer.");
    for (int i = 0; i <= m->routes; i++) {
        const struct srv_label label = {"route", route_name(i)};
        if (m->rows[i].duration.sum > 0) { /* most routes of a server are never asked for */
            srv_sample_histogram(text, "trm_request_duration_seconds", &label, 1, &m->rows[i].duration);
        }
    }
    write_single(text, "trm_received_bytes_total", "counter", "Bytes of request bodies.", (double)m->received);
    write_single(text, "trm_sent_bytes_total", "counter", "Bytes of answer bodies.", (double)m->sent);
    write_single(text, "trm_requests_unanswered", "gauge", "Requests that have no or not the whole answer yet.",
                 http.unanswered);
    write_single(text, "trm_connections_open", "gauge", "Open connections.", http.connections);
    write_single(text, "trm_connections_accepted_total", "counter", "Connections that were accepted.",
                 (double)http.accepted);
}

/* --- models ----------------------------------------------------------------------------------------- */

enum kind { GAUGE, COUNTER, SECONDS, HISTOGRAM };

struct model_family {
    const char *name, *help;
    enum kind kind;
    size_t offset; /* of an int, a uint64_t, a double or a struct srv_histogram in struct srv_model_stats */
};

#define AT(member) offsetof(struct srv_model_stats, member)

static const struct model_family model_families[] = {
    {"trm_queue_length", "Rollouts that wait for a slot.", GAUGE, AT(waiting)},
    {"trm_parked", "Of these, rollouts that had one and gave way.", GAUGE, AT(parked)},
    {"trm_slots_busy", "Slots with a rollout.", GAUGE, AT(running)},
    {"trm_slots", "Slots of all workers.", GAUGE, AT(slots)},
    {"trm_puzzles_accepted_total", "Puzzles that were queued.", COUNTER, AT(accepted)},
    {"trm_puzzles_unstarted_total", "Puzzles that have ended without ever getting a slot.", COUNTER, AT(unstarted)},
    {"trm_rollouts_total", "Rollouts that got a slot; without the option there is one for each puzzle.", COUNTER,
     AT(rollouts)},
    {"trm_yields_total", "Times that a rollout gave its slot to one that waited.", COUNTER, AT(yields)},
    {"trm_steps_total", "Supervision steps, each of one rollout.", COUNTER, AT(steps)},
    {"trm_rounds_total", "Steps of a worker's batch; trm_steps_total over it is the mean batch.", COUNTER, AT(rounds)},
    {"trm_busy_seconds_total", "Time that workers have spent in steps.", SECONDS, AT(busy_seconds)},
    {"trm_queue_wait_seconds", "From a puzzle's submission to its first slot.", HISTOGRAM, AT(wait)},
    {"trm_first_step_seconds", "From a puzzle's submission to the end of its first step.", HISTOGRAM, AT(first_step)},
    {"trm_solve_steps", "Steps of puzzles that the verifier or the halting head has ended.", HISTOGRAM, AT(solving)},
    {"trm_batch_occupancy", "Part of a worker's slots that are busy in a step.", HISTOGRAM, AT(occupancy)},
};

static void write_model_sample(struct proto_text *text, const struct model_family *family,
                               const struct srv_label *label, const struct srv_model_stats *stats) {
    const void *member = (const char *)stats + family->offset;
    switch (family->kind) {
    case GAUGE:
        srv_sample(text, family->name, label, 1, *(const int *)member);
        break;
    case COUNTER:
        srv_sample(text, family->name, label, 1, (double)*(const uint64_t *)member);
        break;
    case SECONDS:
        srv_sample(text, family->name, label, 1, *(const double *)member);
        break;
    case HISTOGRAM:
        srv_sample_histogram(text, family->name, label, 1, member);
        break;
    }
}

static void write_models(struct proto_text *text, const struct srv_models *models,
                         const struct srv_model_stats *stats) {
    static const char *const types[] = {"gauge", "counter", "counter", "histogram"};
    for (size_t f = 0; f < sizeof model_families / sizeof *model_families; f++) {
        const struct model_family *family = &model_families[f];
        srv_family(text, family->name, types[family->kind], family->help);
        for (int i = 0; i < models->count; i++) {
            const struct srv_label label = {"model", models->items[i].name};
            write_model_sample(text, family, &label, &stats[i]);
        }
    }
    srv_family(text, "trm_puzzles_total", "counter", "Puzzles that have ended, by what ended them.");
    for (int i = 0; i < models->count; i++) {
        for (int o = SRV_RUNNING + 1; o < SRV_OUTCOMES; o++) {
            const struct srv_label labels[] = {{"model", models->items[i].name},
                                               {"halted_by", srv_outcome_name((enum srv_outcome)o)}};
            srv_sample(text, "trm_puzzles_total", labels, 2, (double)stats[i].outcomes[o]);
        }
    }
}

static void write_model_infos(struct proto_text *text, const struct srv_models *models) {
    srv_family(text, "trm_model_info", "gauge", "A model that is served; always 1.");
    for (int i = 0; i < models->count; i++) {
        const struct trm_model_info *info = trm_model_info(models->items[i].engine);
        const struct srv_label labels[] = {{"model", models->items[i].name},
                                           {"arch", info->arch},
                                           {"dtype", trm_dtype_name(info->dtype)},
                                           {"puzzle", info->puzzle_name}};
        srv_sample(text, "trm_model_info", labels, 4, 1);
    }
    srv_family(text, "trm_model_parameters", "gauge", "Trained values of a model.");
    for (int i = 0; i < models->count; i++) {
        const struct srv_label label = {"model", models->items[i].name};
        srv_sample(text, "trm_model_parameters", &label, 1,
                   (double)trm_model_info(models->items[i].engine)->parameters);
    }
    srv_family(text, "trm_reloads_total", "counter", "Reloads of a model's checkpoint.");
    for (int i = 0; i < models->count; i++) {
        const struct srv_model *model = &models->items[i];
        const struct srv_label good[] = {{"model", model->name}, {"result", "ok"}};
        const struct srv_label bad[] = {{"model", model->name}, {"result", "refused"}};
        srv_sample(text, "trm_reloads_total", good, 2, (double)model->reloads);
        srv_sample(text, "trm_reloads_total", bad, 2, (double)model->refused_reloads);
    }
}

/* --- the rest --------------------------------------------------------------------------------------- */

static void write_server(struct proto_text *text, const struct srv_server *server, const struct srv_stats *stats) {
    char onednn[64];
    const struct srv_label build[] = {{"version", TRM_VERSION},
                                      {"onednn", op_library_version(onednn, sizeof onednn)},
                                      {"libmicrohttpd", MHD_get_version()},
                                      {"libuv", uv_version_string()}};
    const struct srv_label reduced[] = {{"what", "rollouts"}, {"what", "steps"}};
    srv_family(text, "trm_build_info", "gauge", "This program; always 1.");
    srv_sample(text, "trm_build_info", build, sizeof build / sizeof *build, 1);
    write_single(text, "trm_draining", "gauge", "1 when no new work is accepted.", server->draining);
    write_single(text, "trm_workers", "gauge", "Threads that compute.", stats->workers);
    write_single(text, "trm_queue_limit", "gauge", "Rollouts that may wait, of all models.", stats->max_queue);
    write_single(text, "trm_rollouts_per_second", "gauge",
                 "Rollouts that the workers can do in a second, by the last seconds of work.",
                 stats->rollouts_per_second);
    srv_family(text, "trm_reduced_total", "counter", "Puzzles that got less than asked for because of the load.");
    srv_sample(text, "trm_reduced_total", &reduced[0], 1, (double)stats->reduced_rollouts);
    srv_sample(text, "trm_reduced_total", &reduced[1], 1, (double)stats->reduced_steps);
    write_single(text, "trm_log_lines_dropped_total", "counter", "Lines of the log that could not be written.",
                 (double)srv_log_dropped());
}

static void write_process(struct proto_text *text, double started) {
    struct srv_process process;
    srv_process_read(&process);
    write_single(text, "process_resident_memory_bytes", "gauge", "Resident memory.", process.resident_bytes);
    write_single(text, "process_virtual_memory_bytes", "gauge", "Virtual memory.", process.virtual_bytes);
    write_single(text, "process_cpu_seconds_total", "counter", "Processor time, user and system.", process.cpu_seconds);
    write_single(text, "process_open_fds", "gauge", "Open files.", process.open_files);
    write_single(text, "process_max_fds", "gauge", "Files that may be open.", process.most_files);
    write_single(text, "process_start_time_seconds", "gauge", "Start, in seconds since 1970.", started);
}

void srv_metrics(struct srv_exchange *x) {
    struct srv_server *server = x->server;
    struct srv_stats stats;
    struct proto_problem problem;
    struct proto_text text = {0};
    if (!server->options->metrics) {
        proto_problem_set(&problem, PROTO_NOT_FOUND, "", "this server was started without metrics");
        srv_reply_problem(x, &problem);
        return;
    }
    struct srv_model_stats *models = calloc((size_t)server->models->count, sizeof *models);
    if (!models) {
        proto_problem_set(&problem, PROTO_INTERNAL, "", "out of memory");
        srv_reply_problem(x, &problem);
        return;
    }
    srv_scheduler_stats(server->scheduler, &stats, models);
    write_server(&text, server, &stats);
    write_model_infos(&text, server->models);
    write_models(&text, server->models, models);
    srv_tasks_write_metrics(server->tasks, &text);
    write_http(&text, server);
    write_process(&text, server->metrics->started);
    free(models);
    srv_reply(x, 200, "text/plain; version=0.0.4; charset=utf-8", &text);
}
