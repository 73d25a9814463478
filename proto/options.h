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
    int max_augment;  /* images of a puzzle, or augmentations of an ARC task */
};

struct proto_options {
    int max_steps;                   /* supervision steps of a puzzle at most; 0: absent, as the model was trained */
    int min_steps;                   /* a halt before this step is not accepted */
    float halt_threshold;            /* halt when q_halt is above it, */
    bool has_halt_threshold;         /* if that was said; else as the model's checkpoint says */
    bool no_halt;                    /* run all steps */
    bool verify, has_verify;         /* halt when the verifier accepts the answer; whether that was said */
    bool keep_given, has_keep_given; /* the answer has the cells that the puzzle gives; whether that was said */
    int deadline_ms;                 /* from the arrival of the body; 0: none */
    int rollouts;                    /* tries of each image of a puzzle, >= 1; the best of all is the answer */
    float noise;                     /* standard deviation of the noise on the latents of every rollout but the first */
    uint64_t seed;                   /* try t has the noise and the image of seed + t */
    bool every_rollout;              /* a stream shows all rollouts, not only the one that leads */
    int augment; /* images of each puzzle that are tried, or augmentations of an ARC task that vote, >= 1; 1: itself */
    int restart_steps; /* a try begins again after so many steps that did not end it; 0: never */
    int guesses;       /* cells at most that a try takes for clues; 0: none */
    int priority;      /* -10 .. 10; higher ones are served first */
};

/* Reads the members of `object`, which stands at `pointer` in the request; NULL: all defaults. False
 * with *problem filled in when one is unknown, of another type or out of its range. */
bool proto_options_read(const json_t *object, const char *pointer, const struct proto_limits *limits,
                        struct proto_options *options, struct proto_problem *problem);

#endif
