/* options.h - how a client wants its puzzles solved: one table of options for /solve ("options") and
 * for KServe ("parameters"). Pure functions: any thread. */
#ifndef TRM_PROTO_OPTIONS_H
#define TRM_PROTO_OPTIONS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/problem.h"

/* What a server allows one request to ask for. */
struct proto_limits {
    int max_steps;    /* supervision steps of one puzzle */
    int max_grids;    /* puzzles */
    int max_rollouts; /* of one puzzle */
    int max_augment;  /* augmentations of an ARC task; all else has only itself */
};

struct proto_options {
    int max_steps;           /* supervision steps of a puzzle at most; 0: absent, as the model was trained */
    int min_steps;           /* a halt before this step is not accepted */
    float halt_threshold;    /* halt when q_halt is above it */
    bool no_halt;            /* run all steps */
    bool verify, has_verify; /* halt when the verifier accepts the answer; whether that was said */
    int deadline_ms;         /* from the arrival of the body; 0: none */
    int rollouts;            /* tries of each puzzle, >= 1, of which the best is the answer */
    float noise;             /* standard deviation of the noise on the latents of every rollout but the first */
    uint64_t seed;           /* rollout r has the noise of seed + r */
    bool every_rollout;      /* a stream shows all rollouts, not only the one that leads */
    int augment;             /* of an ARC task: augmentations that vote, >= 1; 1: the task itself, as for all else */
    int priority;            /* -10 .. 10; higher ones are served first */
};

/* Reads the members of `object`, which stands at `pointer` in the request; NULL: all defaults. False
 * with *problem filled in when one is unknown, of another type or out of its range. */
bool proto_options_read(const json_t *object, const char *pointer, const struct proto_limits *limits,
                        struct proto_options *options, struct proto_problem *problem);

#endif
