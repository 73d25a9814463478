/* cli.h - the few things that every program's main needs. Pure functions: any thread. */
#ifndef TRM_ENGINE_CLI_H
#define TRM_ENGINE_CLI_H

#include <stdbool.h>

#include "engine/engine.h"

/* A whole decimal number in low .. high, and nothing else. */
bool trm_parse_number(const char *text, long low, long high, long *value);

/* "onednn", "reference"; the names of trm_dtype_name(). False for anything else. */
bool trm_parse_backend(const char *text, enum trm_backend *backend);
bool trm_parse_dtype(const char *text, enum trm_dtype *dtype);

/* How a program runs a model. */
struct trm_run_options {
    struct trm_model_options model;
    int threads;
};

/* The options 'k' (--backend), 'y' (--dtype) and 't' (--threads). Returns NULL, or what `value` should
 * have been: the beginning of a sentence that `value` ends. */
const char *trm_run_option(int option, const char *value, struct trm_run_options *options);

/* Cores that threads may run on; at least 1. */
int trm_core_count(void);

/* Monotonic clock in seconds; only differences mean anything. */
double trm_clock(void);

/* Seconds of CPU time that all threads of this process took together. */
double trm_cpu_clock(void);

#endif
