/* train_config.c - reads and checks training configurations, by the tables of train_fields.h. Keeps no state: a struct
 * conf_train belongs to its caller. */
#include "config/train_config.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/json_file.h"
#include "config/train_fields.h"
#include "engine/data/maze.h"

enum { NAME_SIZE = 128, MAX_SOURCES = 64 };

enum { AS_WEIGHT = -1 }; /* of a final weight that is not given */

static const struct conf_source source_defaults = {
    .max_rating = INT_MAX, .size = 9, .classes = {1, 1, 1, 0}, .weight = 1, .final_weight = AS_WEIGHT};

static const struct conf_train train_defaults = {
    .curriculum = {.to = 1},
    .augment = true,
    .batch_size = 16,
    .pool_size = 256,
    .random_initial_steps = true,
    .shards = 2,
    .loss = TRAIN_LOSS_STABLEMAX,
    .halt_loss_weight = 0.5,
    .supervision_weight = {.first = 1, .last = 1},
    .min_halt_steps = 1,
    .optimizer = {.kind = TRAIN_ADAM_ATAN2,
                  .lr = 1e-3,
                  .weight_decay = 0.1,
                  .beta1 = 0.9,
                  .beta2 = 0.95,
                  .scale = 1,
                  .eps = 1e-8,
                  .momentum = 0.95},
    .puzzle_emb = {.lr = 0.01, .weight_decay = 0.1},
    .schedule = {.min_ratio = 1},
    .ema = {.rate = 0.999},
    .log_every = 100,
    .compute = TRM_DTYPE_F32,
};

/* ---- values ---- */

static trm_status out_of_memory(trm_error *err) {
    return trm_fail(err, TRM_NO_MEMORY, "out of memory in the training configuration");
}

/* Stores the index of `value` in `choices` in *index (0 where anything is allowed); the value must be a string. */
static trm_status read_choice(const char *const *choices, json_t *value, const char *name, int *index, trm_error *err) {
    *index = 0;
    const char *given = json_string_value(value);
    if (!choices)
        return given ? TRM_OK : trm_fail(err, TRM_INVALID, "%s: must be a string", name);
    for (; given && choices[*index]; ++*index)
        if (strcmp(given, choices[*index]) == 0)
            return TRM_OK;

    char list[NAME_SIZE] = "";
    for (int i = 0; choices[i]; i++) {
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s\"%s\"", i > 0 ? " or " : "", choices[i]);
    }
    return trm_fail(err, TRM_INVALID, "%s: must be %s", name, list);
}

static trm_status read_text(const char *const *choices, json_t *value, const char *name, char **text, trm_error *err) {
    int index;
    trm_status status = read_choice(choices, value, name, &index, err);
    if (status != TRM_OK)
        return status;
    char *copy = strdup(json_string_value(value));
    if (!copy)
        return out_of_memory(err);
    free(*text);
    *text = copy;
    return TRM_OK;
}

static trm_status read_int(const struct conf_field *field, json_t *value, const char *name, int *out, trm_error *err) {
    json_int_t given = json_integer_value(value);
    if (!json_is_integer(value) || given < (json_int_t)field->min || given > (json_int_t)field->max)
        return trm_fail(err, TRM_INVALID, "%s: must be an integer from %.0f to %.0f", name, field->min, field->max);
    *out = (int)given;
    return TRM_OK;
}

static trm_status read_number(const struct conf_field *field, json_t *value, const char *name, double *out,
                              trm_error *err) {
    double given = json_number_value(value);
    if (!json_is_number(value) || given < field->min || given > field->max)
        return trm_fail(err, TRM_INVALID, "%s: must be a number from %g to %g", name, field->min, field->max);
    *out = given;
    return TRM_OK;
}

static trm_status read_numbers(const struct conf_field *field, json_t *value, const char *name, double *out,
                               trm_error *err) {
    if (json_array_size(value) != CONF_SUDOKU_CLASSES)
        return trm_fail(err, TRM_INVALID, "%s: must be an array of %d numbers", name, CONF_SUDOKU_CLASSES);
    trm_status status = TRM_OK;
    double sum = 0;
    for (size_t i = 0; i < CONF_SUDOKU_CLASSES && status == TRM_OK; i++) {
        status = read_number(field, json_array_get(value, i), name, &out[i], err);
        sum += out[i];
    }
    if (status == TRM_OK && sum <= 0)
        return trm_fail(err, TRM_INVALID, "%s: must not be all zero", name);
    return status;
}

/* The original ignores members it does not know; in a file that people write they are mistakes. */
static trm_status check_model_keys(json_t *model, const struct model_config *parsed, trm_error *err) {
    char *text = model_config_format(parsed);
    json_t *known = text ? json_loads(text, 0, NULL) : NULL;
    free(text);
    if (!known)
        return out_of_memory(err);
    trm_status status = TRM_OK;
    const char *key;
    json_t *value;
    json_object_foreach(model, key, value) if (status == TRM_OK && !json_object_get(known, key)) status =
        trm_fail(err, TRM_INVALID, "model.%s: unknown key", key);
    json_decref(known);
    return status;
}

static trm_status read_model(json_t *value, struct model_config *model, trm_error *err) {
    if (!json_is_object(value))
        return trm_fail(err, TRM_INVALID, "model: must be an object or the path of a file");
    char *text = json_dumps(value, JSON_COMPACT);
    if (!text)
        return out_of_memory(err);
    trm_error reason = {""};
    trm_status status = model_config_parse(text, model, &reason);
    free(text);
    if (status != TRM_OK)
        return trm_fail(err, status, "model: %s", reason.text);
    return check_model_keys(value, model, err);
}

static trm_status read_object(json_t *object, const char *name, const struct conf_field *fields, void *base,
                              trm_error *err);

static trm_status read_data(json_t *value, struct conf_train *conf, trm_error *err) {
    size_t count = json_array_size(value);
    if (count < 1 || count > MAX_SOURCES)
        return trm_fail(err, TRM_INVALID, "data: must be an array of 1 to %d sources", MAX_SOURCES);
    conf->data = calloc(count, sizeof *conf->data);
    if (!conf->data)
        return out_of_memory(err);
    conf->data_count = (int)count;

    double weights = 0, final_weights = 0;
    for (int i = 0; i < conf->data_count; i++) {
        struct conf_source *source = &conf->data[i];
        *source = source_defaults;
        char name[NAME_SIZE];
        snprintf(name, sizeof name, "data.%d", i);
        trm_status status = read_object(json_array_get(value, (size_t)i), name, conf_data_fields, source, err);
        if (status != TRM_OK)
            return status;
        if (!source->path && !source->generate)
            return trm_fail(err, TRM_INVALID, "%s: needs \"path\" or \"generate\"", name);
        if (source->final_weight == AS_WEIGHT)
            source->final_weight = source->weight;
        weights += source->weight;
        final_weights += source->final_weight;
    }
    if (weights <= 0 || final_weights <= 0)
        return trm_fail(err, TRM_INVALID, "data: some weight must be above zero, and some final_weight");
    return TRM_OK;
}

static trm_status read_stages(json_t *value, struct conf_train *conf, trm_error *err) {
    const size_t count = json_array_size(value);
    if (!json_is_array(value) || count > CONF_MAX_STAGES)
        return trm_fail(err, TRM_INVALID, "stages: must be an array of at most %d objects", CONF_MAX_STAGES);
    trm_status status = TRM_OK;
    for (conf->stage_count = 0; conf->stage_count < (int)count && status == TRM_OK; conf->stage_count++) {
        char name[NAME_SIZE];
        snprintf(name, sizeof name, "stages.%d", conf->stage_count);
        status = read_object(json_array_get(value, (size_t)conf->stage_count), name, conf_stage_fields,
                             &conf->stages[conf->stage_count], err);
    }
    return status;
}

static trm_status read_value(const struct conf_field *field, json_t *value, const char *name, void *base,
                             trm_error *err) {
    void *member = (char *)base + field->offset;
    switch (field->kind) {
    case CONF_FIELD_BOOL:
        if (!json_is_boolean(value))
            return trm_fail(err, TRM_INVALID, "%s: must be true or false", name);
        *(bool *)member = json_is_true(value);
        return TRM_OK;
    case CONF_FIELD_INT:
        return read_int(field, value, name, member, err);
    case CONF_FIELD_NUMBER:
        return read_number(field, value, name, member, err);
    case CONF_FIELD_NUMBERS:
        return read_numbers(field, value, name, member, err);
    case CONF_FIELD_CHOICE:
        return read_choice(field->choices, value, name, member, err);
    case CONF_FIELD_TEXT:
        return read_text(field->choices, value, name, member, err);
    case CONF_FIELD_SECTION:
        return read_object(value, name, field->fields, base, err);
    case CONF_FIELD_DATA:
        return read_data(value, base, err);
    case CONF_FIELD_MODEL:
        return read_model(value, &((struct conf_train *)base)->model, err);
    case CONF_FIELD_STAGES:
        return read_stages(value, base, err);
    case CONF_FIELD_SOURCE:
    case CONF_FIELD_END:
        break;
    }
    return trm_fail(err, TRM_INVALID, "%s: cannot be set", name);
}

/* Reads the members of `object` that are among `fields`, and takes them out of it. */
static trm_status take_fields(json_t *object, const char *name, const struct conf_field *fields, void *base,
                              trm_error *err) {
    trm_status status = TRM_OK;
    for (const struct conf_field *field = fields; field->kind != CONF_FIELD_END && status == TRM_OK; field++) {
        if (field->kind == CONF_FIELD_SOURCE) {
            const json_t *generate = json_object_get(object, "generate");
            const char *what = generate && !json_is_string(generate) ? "" : json_string_value(generate);
            status = take_fields(object, name, conf_source_fields(what), (char *)base + field->offset, err);
            continue;
        }
        char inner[NAME_SIZE];
        snprintf(inner, sizeof inner, "%s%s%s", name, *name ? "." : "", field->key);
        json_t *value = json_object_get(object, field->key);
        if (value)
            status = read_value(field, value, inner, base, err);
        else if (field->required)
            status = trm_fail(err, TRM_INVALID, "%s: must be given", inner);
        json_object_del(object, field->key);
    }
    return status;
}

/* Reads `object`, called `name` in messages ("" is the whole file), into the struct at `base`. */
static trm_status read_object(json_t *object, const char *name, const struct conf_field *fields, void *base,
                              trm_error *err) {
    if (!json_is_object(object))
        return trm_fail(err, TRM_INVALID, "%s: must be an object", name);
    json_t *rest = json_copy(object);
    if (!rest)
        return out_of_memory(err);
    trm_status status = take_fields(rest, name, fields, base, err);
    const char *unknown = json_object_iter_key(json_object_iter(rest));
    if (status == TRM_OK && unknown)
        status = trm_fail(err, TRM_INVALID, "%s%s%s: unknown key", name, *name ? "." : "", unknown);
    json_decref(rest);
    return status;
}

/* ---- files and overrides ---- */

/* Replaces "model": "path" with the object in that file. */
static trm_status load_model(json_t *root, trm_error *err) {
    const char *path = json_string_value(json_object_get(root, "model"));
    if (!path)
        return TRM_OK;
    json_t *model;
    trm_status status = conf_json_load(path, &model, err);
    if (status == TRM_OK && json_object_set_new(root, "model", model) != 0)
        status = out_of_memory(err);
    return status;
}

static trm_status override_key(json_t *root, const char *override, trm_error *err) {
    trm_status status = conf_json_override(root, override, err);
    return status == TRM_OK ? load_model(root, err) : status;
}

/* Moves the keys beside "model" that replace the model's own into it. */
static trm_status move_into_model(json_t *root, trm_error *err) {
    static const char *const keys[] = {"halt_max_steps", "halt_exploration_prob"};
    json_t *model = json_object_get(root, "model");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        json_t *value = json_object_get(root, keys[i]);
        if (!value || !json_is_object(model))
            continue;
        if (json_object_set(model, keys[i], value) != 0)
            return out_of_memory(err);
        json_object_del(root, keys[i]);
    }
    return TRM_OK;
}

/* ---- what one key cannot say ---- */

static trm_status check_source(const struct conf_train *conf, const struct conf_source *source, const char *name,
                               trm_error *err) {
    if (!source->generate && source->min_rating > source->max_rating)
        return trm_fail(err, TRM_INVALID, "%s.min_rating: %d is more than max_rating, %d", name, source->min_rating,
                        source->max_rating);
    if (source->reveal > 0 && strcmp(conf->puzzle, "sudoku") != 0)
        return trm_fail(err, TRM_INVALID, "%s.reveal: is for Sudoku; \"puzzle\" is \"%s\"", name, conf->puzzle);
    if (!source->generate)
        return TRM_OK;
    const bool maze = conf_is_maze(source->generate);
    const int size = source->size, vocab_size = maze ? MAZE_VOCAB : size + 2;
    if (!maze && size != 4 && size != 6 && size != 9)
        return trm_fail(err, TRM_INVALID, "%s.size: must be 4, 6 or 9", name);
    if (strcmp(conf->puzzle, source->generate) != 0)
        return trm_fail(err, TRM_INVALID, "%s.generate: \"puzzle\" is \"%s\"", name, conf->puzzle);
    if (conf->model.seq_len != size * size || conf->model.vocab_size != vocab_size)
        return trm_fail(err, TRM_INVALID, "%s.size: %s of size %d needs model.seq_len %d and model.vocab_size %d", name,
                        maze ? "a maze" : "Sudoku", size, size * size, vocab_size);
    return TRM_OK;
}

static trm_status check_stages(const struct conf_train *conf, trm_error *err) {
    double before = 0.0;
    for (int i = 0; i < conf->stage_count; i++) {
        const struct conf_stage *stage = &conf->stages[i];
        if (stage->until <= before)
            return trm_fail(err, TRM_INVALID, "stages.%d.until: %g is not later than %g", i, stage->until, before);
        if (stage->H_cycles > conf->model.H_cycles || stage->L_cycles > conf->model.L_cycles)
            return trm_fail(err, TRM_INVALID, "stages.%d: %d x %d cycles are more than the model's %d x %d", i,
                            stage->H_cycles, stage->L_cycles, conf->model.H_cycles, conf->model.L_cycles);
        before = stage->until;
    }
    return TRM_OK;
}

static trm_status check_whole(const struct conf_train *conf, trm_error *err) {
    if (conf->pool_size % conf->batch_size != 0)
        return trm_fail(err, TRM_INVALID, "pool_size: %d is not a multiple of batch_size, %d", conf->pool_size,
                        conf->batch_size);
    if (conf->shards > conf->batch_size)
        return trm_fail(err, TRM_INVALID, "shards: %d is more than batch_size, %d", conf->shards, conf->batch_size);
    if (conf->min_halt_steps > conf->model.halt_max_steps)
        return trm_fail(err, TRM_INVALID, "min_halt_steps: %d is more than halt_max_steps, %d", conf->min_halt_steps,
                        conf->model.halt_max_steps);
    if (conf->supervision_weight.first + conf->supervision_weight.last <= 0)
        return trm_fail(err, TRM_INVALID, "supervision_weight: all steps have a weight of 0");
    if (conf->hint_prob > 0 && strcmp(conf->puzzle, "sudoku") != 0)
        return trm_fail(err, TRM_INVALID, "hint_prob: is for Sudoku; \"puzzle\" is \"%s\"", conf->puzzle);
    if (conf->curriculum.from > conf->curriculum.to)
        return trm_fail(err, TRM_INVALID, "curriculum.from: %g is after curriculum.to, %g", conf->curriculum.from,
                        conf->curriculum.to);
    if (conf->probe.rows >= conf->batch_size)
        return trm_fail(err, TRM_INVALID, "probe.rows: %d leave nothing of batch_size, %d, to learn from",
                        conf->probe.rows, conf->batch_size);
    if (conf->probe.halting && conf->probe.rows == 0)
        return trm_fail(err, TRM_INVALID, "probe.halting: needs probe.rows above 0");
    for (int i = 0; i < conf->data_count; i++) {
        char name[NAME_SIZE];
        snprintf(name, sizeof name, "data.%d", i);
        trm_status status = check_source(conf, &conf->data[i], name, err);
        if (status != TRM_OK)
            return status;
    }
    trm_status status = check_stages(conf, err);
    if (status == TRM_OK)
        status = check_source(conf, &conf->probe.source, "probe", err);
    if (status == TRM_OK)
        status = check_source(conf, &conf->eval.source, "eval", err);
    if (status == TRM_OK && conf->eval.source.generate && conf->eval.source.count == 0)
        status = trm_fail(err, TRM_INVALID, "eval.count: an evaluation needs an end");
    return status;
}

static trm_status set_defaults(struct conf_train *conf, trm_error *err) {
    *conf = train_defaults;
    conf->eval.source = conf->probe.source = source_defaults;
    conf->name = strdup("run");
    conf->puzzle = strdup("sudoku");
    return conf->name && conf->puzzle ? TRM_OK : out_of_memory(err);
}

trm_status conf_train_load(const char *path, const char *const *overrides, int override_count, struct conf_train *conf,
                           trm_error *err) {
    json_t *root = NULL;
    trm_status status = set_defaults(conf, err);
    if (status == TRM_OK)
        status = conf_json_load(path, &root, err);
    if (status == TRM_OK)
        status = load_model(root, err);
    for (int i = 0; i < override_count && status == TRM_OK; i++)
        status = override_key(root, overrides[i], err);
    if (status == TRM_OK)
        status = move_into_model(root, err);
    if (status == TRM_OK)
        status = read_object(root, "", conf_train_fields, conf, err);
    conf->schedule.total = conf->steps;
    if (status == TRM_OK)
        status = check_whole(conf, err);
    json_decref(root);
    if (status != TRM_OK)
        conf_train_destroy(conf);
    return status;
}

static void destroy_source(struct conf_source *source) {
    free(source->path);
    free(source->generate);
}

void conf_train_destroy(struct conf_train *conf) {
    for (int i = 0; i < conf->data_count; i++)
        destroy_source(&conf->data[i]);
    free(conf->data);
    destroy_source(&conf->probe.source);
    destroy_source(&conf->eval.source);
    free(conf->start_from);
    free(conf->name);
    free(conf->puzzle);
    memset(conf, 0, sizeof *conf);
}
