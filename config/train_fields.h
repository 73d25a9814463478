/* train_fields.h - every key of a training configuration: its place in struct conf_train, its type and its range.
 * Reading (train_config.c) and writing (train_format.c) go by these tables, so that they cannot disagree.
 * Constants: any thread. */
#ifndef TRM_CONFIG_TRAIN_FIELDS_H
#define TRM_CONFIG_TRAIN_FIELDS_H

#include <stdbool.h>
#include <stddef.h>

#include "config/train_config.h"

enum conf_kind {
    CONF_FIELD_BOOL,    /* bool */
    CONF_FIELD_INT,     /* int in min .. max */
    CONF_FIELD_NUMBER,  /* double in min .. max */
    CONF_FIELD_NUMBERS, /* double [CONF_SUDOKU_CLASSES], each in min .. max */
    CONF_FIELD_CHOICE,  /* an enum: the index of one of `choices` */
    CONF_FIELD_TEXT,    /* char *, owned; one of `choices` if there are any; NULL is not written */
    CONF_FIELD_SECTION, /* an object of `fields`, whose offsets count from the same base */
    CONF_FIELD_SOURCE,  /* struct conf_source: its keys are among those of the object itself */
    CONF_FIELD_DATA,    /* conf_train.data */
    CONF_FIELD_MODEL,   /* conf_train.model */
    CONF_FIELD_STAGES,  /* conf_train.stages */
    CONF_FIELD_END
};

struct conf_field {
    const char *key; /* NULL for CONF_FIELD_SOURCE and CONF_FIELD_END */
    enum conf_kind kind;
    size_t offset;
    double min, max;
    const char *const *choices;      /* ends with NULL */
    const struct conf_field *fields; /* ends with CONF_FIELD_END */
    bool required;
};

extern const struct conf_field conf_train_fields[]; /* of the file; base: struct conf_train */
extern const struct conf_field conf_data_fields[];  /* of an element of "data"; base: struct conf_source */
extern const struct conf_field conf_stage_fields[]; /* of an element of "stages"; base: struct conf_stage */

/* Whether a source with this "generate" (NULL: none) makes mazes. */
bool conf_is_maze(const char *generate);

/* The keys of a source itself, by its "generate" as given, or NULL; base: struct conf_source. */
const struct conf_field *conf_source_fields(const char *generate);

#endif
