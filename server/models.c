/* models.c - names for checkpoints and what is told about them. Owned by main(), read by all. */
#include "server/models.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "engine/data/arc_index.h"

/* Splits "NAME=PATH"; a name alone is that of the file without directories and last extension. A
 * path with a slash before its first '=' has no name. Returns NULL when memory ran out. */
static char *name_of(const char *spec, const char **path) {
    const char *equals = strchr(spec, '=');
    const char *slash = strchr(spec, '/');
    if (equals && equals > spec && (!slash || equals < slash)) {
        *path = equals + 1;
        return strndup(spec, (size_t)(equals - spec));
    }
    *path = spec;
    const char *file = strrchr(spec, '/') ? strrchr(spec, '/') + 1 : spec;
    const char *dot = strrchr(file, '.');
    return strndup(file, dot && dot > file ? (size_t)(dot - file) : strlen(file));
}

static trm_status form_of(const trm_model *engine, struct proto_form *form, trm_error *err) {
    const struct trm_model_info *info = trm_model_info(engine);
    return proto_form_of(info->seq_len, info->vocab_size, info->puzzle, form, err);
}

static trm_status open_one(const char *spec, const struct trm_model_options *precision, const struct srv_models *others,
                           struct srv_model *model, trm_error *err) {
    const char *path;
    model->name = name_of(spec, &path);
    model->path = strdup(path);
    if (!model->name || !model->path) {
        return trm_fail_memory(err, strlen(spec));
    }
    if (srv_models_find(others, model->name)) {
        return trm_fail(err, TRM_INVALID, "two models are named '%s': use NAME=PATH", model->name);
    }
    trm_status status = trm_model_open(path, precision, &model->engine, err);
    if (status != TRM_OK) {
        return status;
    }
    return form_of(model->engine, &model->form, err);
}

trm_status srv_models_open(char *const *specs, int count, const struct trm_model_options *precision,
                           struct srv_models *models, trm_error *err) {
    *models = (struct srv_models){.items = calloc((size_t)count, sizeof *models->items)};
    trm_status status = models->items ? TRM_OK : trm_fail_memory(err, (size_t)count * sizeof *models->items);
    for (int i = 0; i < count && status == TRM_OK; i++) {
        struct srv_model model = {.index = i};
        status = open_one(specs[i], precision, models, &model, err);
        models->items[models->count++] = model;
    }
    if (status != TRM_OK) {
        srv_models_close(models);
    }
    return status;
}

trm_status srv_model_check(const struct srv_model *model, const trm_model *engine, const char *path, trm_error *err) {
    struct proto_form form;
    trm_status status = form_of(engine, &form, err);
    if (status == TRM_OK && (form.side != model->form.side || form.sudoku_size != model->form.sudoku_size ||
                             form.takes_tasks != model->form.takes_tasks || form.maze != model->form.maze ||
                             form.vocab_size != model->form.vocab_size || form.symbols != model->form.symbols)) {
        status = trm_fail(err, TRM_INVALID, "%.120s: its puzzles have another shape than those of model '%.60s'", path,
                          model->name);
    }
    return status;
}

trm_status srv_model_open_again(const struct srv_model *model, const struct trm_model_options *precision,
                                trm_model **engine, trm_error *err) {
    trm_model *opened;
    trm_status status = trm_model_open(model->path, precision, &opened, err);
    if (status != TRM_OK) {
        return status;
    }
    status = srv_model_check(model, opened, model->path, err);
    if (status == TRM_OK && !data_arc_index_extends(trm_model_tasks(opened), trm_model_tasks(model->engine))) {
        status = trm_fail(err, TRM_INVALID,
                          "%.120s: its puzzle identifiers are not the ARC tasks that those of model "
                          "'%.60s' are",
                          model->path, model->name);
    }
    if (status != TRM_OK) {
        trm_model_unref(opened);
        return status;
    }
    *engine = opened;
    return TRM_OK;
}

void srv_model_replace(struct srv_model *model, trm_model *engine) {
    trm_model_unref(model->engine);
    model->engine = engine;
}

void srv_models_close(struct srv_models *models) {
    for (int i = 0; i < models->count; i++) {
        trm_model_unref(models->items[i].engine);
        free(models->items[i].name);
        free(models->items[i].path);
    }
    free(models->items);
    *models = (struct srv_models){0};
}

struct srv_model *srv_models_find(const struct srv_models *models, const char *name) {
    for (int i = 0; i < models->count; i++) {
        if (strcmp(models->items[i].name, name) == 0) {
            return &models->items[i];
        }
    }
    return NULL;
}

const struct srv_model *srv_models_named(const struct srv_models *models, const char *name,
                                         struct proto_problem *problem) {
    const struct srv_model *model = srv_models_find(models, name);
    if (!model) {
        proto_problem_set(problem, PROTO_UNKNOWN_MODEL, "/model", "there is no model '%.100s'; see /models", name);
    }
    return model;
}

const struct srv_model *srv_models_for_task(const struct srv_models *models, const struct data_arc_task *task) {
    const struct srv_model *first = NULL;
    for (int i = 0; i < models->count; i++) {
        const struct srv_model *model = &models->items[i];
        if (model->form.takes_tasks && data_arc_task_fits(task, model->form.side)) {
            return model;
        }
        if (model->form.takes_tasks && !first) {
            first = model;
        }
    }
    return first;
}

bool srv_model_takes_task(const struct srv_model *model, const struct data_arc_task *task,
                          struct proto_problem *problem) {
    if (!model->form.takes_tasks) {
        return proto_problem_set(problem, PROTO_INVALID, "/task", "model '%.100s' is not for ARC tasks", model->name);
    }
    return data_arc_task_fits(task, model->form.side) ||
           proto_problem_set(problem, PROTO_INVALID, "/task",
                             "model '%.100s' takes grids of at most %d rows and columns", model->name,
                             model->form.side);
}

const struct srv_model *srv_models_for(const struct srv_models *models, const struct proto_request *request) {
    const struct srv_model *found = request->is_task ? srv_models_for_task(models, &request->task) : NULL;
    if (found) {
        return found;
    }
    for (int i = 0; i < models->count; i++) {
        const struct srv_model *model = &models->items[i];
        if ((size_t)model->form.side * (size_t)model->form.side == proto_request_cells(request)) {
            if (proto_request_fits(request, &model->form)) {
                return model;
            }
            found = found ? found : model;
        }
    }
    return found || models->count > 1 ? found : &models->items[0];
}

/* `json` as it stands in a checkpoint, on one line; null if it is no JSON. */
static void write_foreign(struct proto_text *text, const char *json) {
    json_t *value = json_loads(json, JSON_DECODE_ANY, NULL);
    char *line = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    proto_text_add_literal(text, line ? line : "null");
    free(line);
    json_decref(value);
}

void srv_models_write(const struct srv_models *models, struct proto_text *text) {
    proto_text_add_literal(text, "{\"models\":[");
    for (int i = 0; i < models->count; i++) {
        const struct srv_model *model = &models->items[i];
        const struct trm_model_info *info = trm_model_info(model->engine);
        proto_text_add_literal(text, i ? ",{\"name\":" : "{\"name\":");
        proto_text_add_string(text, model->name);
        proto_text_add_literal(text, ",\"arch\":");
        proto_text_add_string(text, info->arch);
        proto_text_add_literal(text, ",\"dtype\":");
        proto_text_add_string(text, trm_dtype_name(info->dtype));
        proto_text_add_literal(text, ",\"puzzle\":");
        proto_text_add_string(text, info->puzzle_name);
        proto_text_addf(text, ",\"rows\":%d,\"columns\":%d,\"vocab_size\":%d,\"max_steps\":%d,\"hidden_size\":%d",
                        model->form.side, model->form.side, info->vocab_size, info->halt_max_steps, info->hidden_size);
        proto_text_add_literal(text, ",\"halt_threshold\":");
        proto_text_add_float(text, info->halt_threshold);
        proto_text_add_literal(text, ",\"symbols\":");
        proto_form_write_symbols(&model->form, text);
        proto_text_addf(text, ",\"verifier\":%s", proto_form_has_verifier(&model->form) ? "true" : "false");
        if (model->form.takes_tasks) {
            const data_arc_index *tasks = trm_model_tasks(model->engine);
            proto_text_addf(text, ",\"tasks\":%zu", tasks ? data_arc_index_tasks(tasks) : 0);
        }
        proto_text_addf(text, ",\"parameters\":%zu,\"flops_per_step\":%.0f,\"config\":", info->parameters,
                        info->flops_per_step);
        write_foreign(text, info->config);
        proto_text_add_literal(text, ",\"provenance\":");
        write_foreign(text, info->provenance);
        proto_text_add_literal(text, "}");
    }
    proto_text_add_literal(text, "]}\n");
}
