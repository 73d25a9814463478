/* train_format.c - writes training configurations, by the tables of train_fields.h. No state. */
#include <jansson.h>
#include <stdlib.h>

#include "config/train_fields.h"

static json_t *write_object(const struct conf_field *fields, const void *base);

static json_t *write_numbers(const double *numbers) {
    json_t *array = json_array();
    for (int i = 0; i < CONF_SUDOKU_CLASSES; i++)
        if (json_array_append_new(array, json_real(numbers[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    return array;
}

/* An array of the `count` structs of `size` bytes at `items`, which `fields` describe. */
static json_t *write_objects(const struct conf_field *fields, const void *items, int count, size_t size) {
    json_t *array = json_array();
    for (int i = 0; i < count; i++)
        if (json_array_append_new(array, write_object(fields, (const char *)items + (size_t)i * size)) != 0) {
            json_decref(array);
            return NULL;
        }
    return array;
}

static json_t *write_model(const struct model_config *model) {
    char *text = model_config_format(model);
    json_t *object = text ? json_loads(text, 0, NULL) : NULL;
    free(text);
    return object;
}

/* A new value, or NULL when memory ran out. */
static json_t *write_value(const struct conf_field *field, const void *base) {
    const struct conf_train *conf = base; /* for the kinds that are its own members */
    const void *member = (const char *)base + field->offset;
    switch (field->kind) {
    case CONF_FIELD_BOOL:
        return json_boolean(*(const bool *)member);
    case CONF_FIELD_INT:
        return json_integer(*(const int *)member);
    case CONF_FIELD_NUMBER:
        return json_real(*(const double *)member);
    case CONF_FIELD_NUMBERS:
        return write_numbers(member);
    case CONF_FIELD_CHOICE:
        return json_string(field->choices[*(const int *)member]);
    case CONF_FIELD_TEXT:
        return json_string(*(char *const *)member);
    case CONF_FIELD_SECTION:
        return write_object(field->fields, base);
    case CONF_FIELD_DATA:
        return write_objects(conf_data_fields, conf->data, conf->data_count, sizeof *conf->data);
    case CONF_FIELD_MODEL:
        return write_model(&conf->model);
    case CONF_FIELD_STAGES:
        return write_objects(conf_stage_fields, conf->stages, conf->stage_count, sizeof *conf->stages);
    case CONF_FIELD_SOURCE:
    case CONF_FIELD_END:
        break;
    }
    return NULL;
}

/* Adds the members that `fields` describe to `object`; false when memory ran out. */
static bool write_fields(json_t *object, const struct conf_field *fields, const void *base) {
    for (const struct conf_field *field = fields; field->kind != CONF_FIELD_END; field++) {
        const void *member = (const char *)base + field->offset;
        if (field->kind == CONF_FIELD_SOURCE) {
            const struct conf_source *source = member;
            if (!write_fields(object, conf_source_fields(source->generate), source))
                return false;
        } else if (field->kind == CONF_FIELD_TEXT && !*(char *const *)member) {
            continue;
        } else if (json_object_set_new(object, field->key, write_value(field, base)) != 0) {
            return false;
        }
    }
    return true;
}

static json_t *write_object(const struct conf_field *fields, const void *base) {
    json_t *object = json_object();
    if (object && !write_fields(object, fields, base)) {
        json_decref(object);
        return NULL;
    }
    return object;
}

char *conf_train_format(const struct conf_train *conf) {
    json_t *root = write_object(conf_train_fields, conf);
    char *text = root ? json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    json_decref(root);
    return text;
}
