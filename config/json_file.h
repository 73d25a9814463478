/* json_file.h - a JSON file of settings, and single settings laid over it. Works on the caller's objects: any thread.
 */
#ifndef TRM_CONFIG_JSON_FILE_H
#define TRM_CONFIG_JSON_FILE_H

#include <jansson.h>

#include "engine/status.h"

/* Reads the JSON object in the file `path`; the caller releases it with json_decref(). A key given twice
 * is an error. TRM_IO when the file cannot be opened, TRM_FORMAT with its line for anything else. */
trm_status conf_json_load(const char *path, json_t **object, trm_error *err);

/* Applies "key=value" to `root`. Dots in the key reach members of nested objects, which are made if
 * absent, and elements of arrays by their number, which must exist. The value is JSON, or else the text itself. */
trm_status conf_json_override(json_t *root, const char *override, trm_error *err);

#endif
