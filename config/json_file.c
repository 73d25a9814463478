/* json_file.c - settings that come from a file and from the command line, as one JSON object. Owns no data. */
#include "config/json_file.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

trm_status conf_json_load(const char *path, json_t **object, trm_error *err) {
    json_error_t reason;
    *object = json_load_file(path, JSON_REJECT_DUPLICATES, &reason);
    if (json_is_object(*object))
        return TRM_OK;
    if (*object) {
        json_decref(*object);
        *object = NULL;
        return trm_fail(err, TRM_FORMAT, "%s: must hold a JSON object", path);
    }
    if (json_error_code(&reason) == json_error_cannot_open_file)
        return trm_fail(err, TRM_IO, "%s", reason.text);
    return trm_fail(err, TRM_FORMAT, "%s:%d: %s", path, reason.line, reason.text);
}

/* The index that `text` says, or the size of `array` (no element) if it is not one. */
static size_t array_index(json_t *array, const char *text) {
    char *end;
    unsigned long index = strtoul(text, &end, 10);
    bool valid = *text >= '0' && *text <= '9' && *end == '\0' && index < json_array_size(array);
    return valid ? index : json_array_size(array);
}

/* The member `key` of an object (made if there is none) or array; NULL if there can be none. Borrowed. */
static json_t *descend(json_t *at, const char *key) {
    if (json_is_array(at))
        return json_array_get(at, array_index(at, key));
    json_t *inner = json_object_get(at, key);
    if (!inner && json_object_set_new(at, key, json_object()) == 0)
        inner = json_object_get(at, key);
    return inner;
}

/* Steals `value`. False if there is no such place. */
static bool set_value(json_t *root, char *key, json_t *value) {
    json_t *at = root;
    for (char *dot; (dot = strchr(key, '.')); key = dot + 1) {
        *dot = '\0';
        at = descend(at, key);
    }
    if (json_is_array(at))
        return json_array_set_new(at, array_index(at, key), value) == 0;
    return json_object_set_new(at, key, value) == 0; /* fails, and drops value, if `at` is no object */
}

trm_status conf_json_override(json_t *root, const char *override, trm_error *err) {
    const char *equals = strchr(override, '=');
    if (!equals || equals == override)
        return trm_fail(err, TRM_INVALID, "\"%s\": must be key=value", override);
    json_t *value = json_loads(equals + 1, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
    if (!value)
        value = json_string(equals + 1);
    char *key = strndup(override, (size_t)(equals - override));
    if (!key || !value) {
        free(key);
        json_decref(value);
        return trm_fail(err, TRM_INVALID, "\"%s\": the value is not UTF-8 text, or memory ran out", override);
    }
    bool done = set_value(root, key, value);
    free(key);
    if (!done)
        return trm_fail(err, TRM_INVALID, "%.*s: there is no such key", (int)(equals - override), override);
    return TRM_OK;
}
