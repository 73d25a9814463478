/* options.c - the table of options: names, types and ranges in one place. Constant data only. */
#include "proto/options.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { MAX_DEADLINE_MS = 24 * 60 * 60 * 1000, MAX_NOISE = 100, MAX_PRIORITY = 10, MAX_GUESSES = 64 };

static const double MAX_SEED = 9007199254740991; /* 2^53 - 1: what every JSON library keeps exactly */
static const double MAX_THRESHOLD = 1e30;

enum kind { INTEGER, SEED, NUMBER, SWITCH };

struct option {
    const char *name;
    enum kind kind;
    size_t offset;    /* of the member in struct proto_options */
    double low, high; /* not for SWITCH */
};

enum { OPTIONS = 15 };

static void fill_table(const struct proto_limits *limits, struct option table[OPTIONS]) {
#define AT(member) offsetof(struct proto_options, member)
    const struct option filled[OPTIONS] = {
        {"max_steps", INTEGER, AT(max_steps), 1, limits->max_steps},
        {"min_steps", INTEGER, AT(min_steps), 0, limits->max_steps},
        {"halt_threshold", NUMBER, AT(halt_threshold), -MAX_THRESHOLD, MAX_THRESHOLD},
        {"no_halt", SWITCH, AT(no_halt), 0, 0},
        {"verify", SWITCH, AT(verify), 0, 0},
        {"keep_given", SWITCH, AT(keep_given), 0, 0},
        {"deadline_ms", INTEGER, AT(deadline_ms), 1, MAX_DEADLINE_MS},
        {"rollouts", INTEGER, AT(rollouts), 1, limits->max_rollouts},
        {"noise", NUMBER, AT(noise), 0, MAX_NOISE},
        {"seed", SEED, AT(seed), 0, MAX_SEED},
        {"every_rollout", SWITCH, AT(every_rollout), 0, 0},
        {"augment", INTEGER, AT(augment), 1, limits->max_augment},
        {"restart_steps", INTEGER, AT(restart_steps), 1, limits->max_steps},
        {"guesses", INTEGER, AT(guesses), 0, MAX_GUESSES},
        {"priority", INTEGER, AT(priority), -MAX_PRIORITY, MAX_PRIORITY},
    };
#undef AT
    memcpy(table, filled, sizeof filled);
}

static bool unknown(const char *pointer, const char *name, const struct option table[OPTIONS],
                    struct proto_problem *problem) {
    char at[sizeof problem->pointer], known[sizeof problem->detail] = "";
    size_t length = 0;
    for (int i = 0; i < OPTIONS && length < sizeof known; i++) {
        length += (size_t)snprintf(known + length, sizeof known - length, "%s%s", i ? ", " : "", table[i].name);
    }
    proto_pointer(at, sizeof at, pointer, name);
    return proto_problem_set(problem, PROTO_INVALID, at, "this option is not known; known are %s", known);
}

static bool read_option(const json_t *value, const char *pointer, const struct option *option,
                        struct proto_options *options, struct proto_problem *problem) {
    char at[sizeof problem->pointer];
    void *place = (char *)options + option->offset;
    proto_pointer(at, sizeof at, pointer, option->name);
    if (option->kind == SWITCH) {
        *(bool *)place = json_is_true(value);
        return json_is_boolean(value) || proto_problem_set(problem, PROTO_INVALID, at, "must be true or false");
    }
    bool typed = option->kind == NUMBER ? json_is_number(value) : json_is_integer(value);
    double number = json_number_value(value);
    if (!typed || number < option->low || number > option->high) {
        return proto_problem_set(problem, PROTO_INVALID, at, "must be %s from %.16g to %.16g",
                                 option->kind == NUMBER ? "a number" : "an integer", option->low, option->high);
    }
    if (option->kind == NUMBER) {
        *(float *)place = (float)number;
    } else if (option->kind == SEED) {
        *(uint64_t *)place = (uint64_t)json_integer_value(value);
    } else {
        *(int *)place = (int)json_integer_value(value);
    }
    return true;
}

bool proto_options_read(const json_t *object, const char *pointer, const struct proto_limits *limits,
                        struct proto_options *options, struct proto_problem *problem) {
    struct option table[OPTIONS];
    const char *name;
    json_t *value;
    *options = (struct proto_options){.rollouts = 1, .augment = 1};
    if (!object) {
        return true;
    }
    if (!json_is_object(object)) {
        return proto_problem_set(problem, PROTO_INVALID, pointer, "must be an object");
    }
    fill_table(limits, table);
    json_object_foreach((json_t *)object, name, value) {
        int i = 0;
        while (i < OPTIONS && strcmp(table[i].name, name) != 0) {
            i++;
        }
        if (i == OPTIONS) {
            return unknown(pointer, name, table, problem);
        }
        if (!read_option(value, pointer, &table[i], options, problem)) {
            return false;
        }
    }
    options->has_halt_threshold = json_object_get(object, "halt_threshold") != NULL;
    options->has_keep_given = json_object_get(object, "keep_given") != NULL;
    options->has_verify = json_object_get(object, "verify") != NULL;
    if (options->max_steps && options->min_steps > options->max_steps) {
        char at[sizeof problem->pointer];
        proto_pointer(at, sizeof at, pointer, "min_steps");
        return proto_problem_set(problem, PROTO_INVALID, at, "is above max_steps, %d", options->max_steps);
    }
    return true;
}
