/* bench_report.h - what trm-bench measured, for people and as JSON. Pure but for standard output. */
#ifndef TRM_ENGINE_BENCH_REPORT_H
#define TRM_ENGINE_BENCH_REPORT_H

#include <jansson.h>

#include "engine/bench_measure.h"

struct trm_bench_result {
    const char *name; /* as on the command line */
    const struct trm_model_info *info;
    enum trm_backend backend;
    struct trm_bench_plan plan;
    struct trm_bench_core core;
    struct trm_bench_profile profile;
    struct trm_bench_team teams[TRM_BENCH_MAX_TEAMS];
    int team_count;
};

/* The caller releases the object. NULL when memory is short or the name is not UTF-8. */
json_t *trm_bench_json(const struct trm_bench_result *result);

/* Everything about one model. */
void trm_bench_print(const struct trm_bench_result *result);

/* A table with one line for each result. */
void trm_bench_print_heading(void);
void trm_bench_print_line(const struct trm_bench_result *result);

#endif
