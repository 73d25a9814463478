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

/* Cores that threads may run on; at least 1. */
int trm_core_count(void);

/* Monotonic clock in seconds; only differences mean anything. */
double trm_clock(void);

#endif
