/* bench_report.c - see bench_report.h. No state. */
#include "engine/bench_report.h"

#include <stdio.h>
#include <string.h>

static double gflop_per_step(const struct trm_bench_result *r) {
    return 1e-9 * r->info->flops_per_step;
}

static double gflops(const struct trm_bench_result *r, double step_ms) {
    return gflop_per_step(r) / (1e-3 * step_ms);
}

/* The peak that the model's products are held against. */
static struct trm_bench_figure peak_of(const struct trm_bench_result *r) {
    return r->core.peak_gflops[trm_peak_of(trm_dtype_name(r->info->dtype))];
}

static double of_peak(const struct trm_bench_result *r, double step_ms) {
    return gflops(r, step_ms) / peak_of(r).best;
}

static const struct trm_bench_team *largest_team(const struct trm_bench_result *r) {
    return &r->teams[r->team_count - 1];
}

static double speedup(const struct trm_bench_result *r, const struct trm_bench_team *team) {
    return team->steps_per_second / r->teams[0].steps_per_second;
}

/* One line of the breakdown: a stage, or what the stages leave. */
struct operation {
    const char *name;
    double ms;      /* of a step */
    double share;   /* of a step's time */
    double product; /* of the operation's time, in matrix products */
    double of_peak; /* that these products reach; 0: there are none */
};

enum { OPERATIONS = MODEL_STAGE_COUNT + 1 };

static struct operation operation_at(const struct trm_bench_result *r, int index) {
    const struct trm_bench_profile *profile = &r->profile;
    if (index < MODEL_STAGE_COUNT) {
        const double seconds = profile->stages.stages[index].seconds;
        const double product_seconds = profile->stages.stages[index].product_seconds;
        const double gflop = 1e-9 * profile->stages.stages[index].product_flops;
        return (struct operation){.name = model_stage_name((enum model_stage)index),
                                  .ms = 1e3 * seconds / profile->steps,
                                  .share = seconds / profile->seconds,
                                  .product = seconds > 0 ? product_seconds / seconds : 0,
                                  .of_peak = product_seconds > 0 ? gflop / product_seconds / peak_of(r).best : 0};
    }
    double left = profile->seconds;
    for (int i = 0; i < MODEL_STAGE_COUNT; i++)
        left -= profile->stages.stages[i].seconds;
    return (struct operation){.name = "the rest", .ms = 1e3 * left / profile->steps, .share = left / profile->seconds};
}

/* ---- JSON ---- */

static json_t *json_peaks(const struct trm_bench_result *r) {
    json_t *peaks = json_object();
    bool complete = peaks;
    for (int i = 0; complete && i < TRM_PEAKS; i++) {
        const enum trm_peak peak = (enum trm_peak)i;
        complete = !json_object_set_new(peaks, trm_peak_name(peak),
                                        json_pack("{s:s, s:f, s:f}", "instructions", trm_peak_instructions(peak),
                                                  "gflops", r->core.peak_gflops[i].best, "median_gflops",
                                                  r->core.peak_gflops[i].median));
    }
    if (complete)
        return peaks;
    json_decref(peaks);
    return NULL;
}

static json_t *json_scaling(const struct trm_bench_result *r) {
    json_t *scaling = json_array();
    bool complete = scaling;
    for (int i = 0; complete && i < r->team_count; i++) {
        const struct trm_bench_team *team = &r->teams[i];
        complete = !json_array_append_new(scaling, json_pack("{s:i, s:f, s:f, s:f}", "threads", team->threads,
                                                             "steps_per_second", team->steps_per_second, "speedup",
                                                             speedup(r, team), "cpu_share", team->cpu_share));
    }
    if (complete)
        return scaling;
    json_decref(scaling);
    return NULL;
}

static json_t *json_operations(const struct trm_bench_result *r) {
    json_t *operations = json_array();
    bool complete = operations;
    for (int i = 0; complete && i < OPERATIONS; i++) {
        const struct operation o = operation_at(r, i);
        complete = !json_array_append_new(operations,
                                          json_pack("{s:s, s:f, s:f, s:f, s:o}", "name", o.name, "ms", o.ms, "share",
                                                    o.share, "product_share", o.product, "product_fraction_of_peak",
                                                    o.of_peak > 0 ? json_real(o.of_peak) : json_null()));
    }
    if (complete)
        return operations;
    json_decref(operations);
    return NULL;
}

static bool set_numbers(const struct trm_bench_result *r, json_t *root) {
    const double step_ms = r->core.batch_ms.best, alone_ms = r->core.alone_ms.best;
    const struct {
        const char *name;
        double value;
    } numbers[] = {
        {"step_ms", step_ms},
        {"median_step_ms", r->core.batch_ms.median},
        {"gflops", gflops(r, step_ms)},
        {"peak_gflops", peak_of(r).best},
        {"fraction_of_peak", of_peak(r, step_ms)},
        {"alone_step_ms", alone_ms},
        {"alone_gflops", gflops(r, alone_ms)},
        {"alone_fraction_of_peak", of_peak(r, alone_ms)},
        {"latency_ms", r->core.wall_ms.median},
        {"best_latency_ms", r->core.wall_ms.best},
        {"steps_per_second_one_thread", 1e3 / step_ms},
        {"steps_per_second", largest_team(r)->steps_per_second},
        {"speedup", speedup(r, largest_team(r))},
    };
    bool complete = true;
    for (size_t i = 0; complete && i < sizeof numbers / sizeof *numbers; i++)
        complete = !json_object_set_new(root, numbers[i].name, json_real(numbers[i].value));
    return complete;
}

json_t *trm_bench_json(const struct trm_bench_result *r) {
    json_t *root =
        json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:s}", "model", r->name, "backend",
                  r->backend == TRM_BACKEND_ONEDNN ? "onednn" : "reference", "dtype", trm_dtype_name(r->info->dtype),
                  "batch", r->plan.batch, "threads", r->plan.threads, "rounds", r->core.rounds, "peak_instructions",
                  trm_peak_instructions(trm_peak_of(trm_dtype_name(r->info->dtype))));
    if (root && set_numbers(r, root) && !json_object_set_new(root, "scaling", json_scaling(r)) &&
        !json_object_set_new(root, "peaks", json_peaks(r)) &&
        !json_object_set_new(root, "operations", json_operations(r)))
        return root;
    json_decref(root);
    return NULL;
}

/* ---- text ---- */

static void print_core_line(const struct trm_bench_result *r, const char *name, struct trm_bench_figure step_ms) {
    printf("%-14s %10.4f %10.4f %10.1f %9.1f %% %10.1f\n", name, step_ms.best, step_ms.median, gflops(r, step_ms.best),
           100 * of_peak(r, step_ms.best), 1e3 / step_ms.best);
}

static void print_operations(const struct trm_bench_result *r) {
    printf("\n%-34s %10s %9s %13s %15s\n", "operation", "ms a step", "share", "in products", "these of peak");
    for (int i = 0; i < OPERATIONS; i++) {
        const struct operation o = operation_at(r, i);
        if (o.ms <= 0)
            continue; /* not in this model */
        printf("%-34s %10.4f %7.1f %%", o.name, o.ms, 100 * o.share);
        if (o.of_peak > 0)
            printf(" %11.1f %% %13.1f %%", 100 * o.product, 100 * o.of_peak);
        putchar('\n');
    }
}

void trm_bench_print(const struct trm_bench_result *r) {
    char name[32];
    snprintf(name, sizeof name, "batch of %d", r->plan.batch);
    printf("%s: %s, %zu parameters, %.3f GFLOP a step, %s\n", r->name, r->info->arch, r->info->parameters,
           gflop_per_step(r), trm_dtype_name(r->info->dtype));
    printf("peak of one core, GFLOP/s:");
    for (int i = 0; i < TRM_PEAKS; i++)
        printf("%s %s %.1f (%s)", i ? "," : "", trm_peak_name((enum trm_peak)i), r->core.peak_gflops[i].best,
               trm_peak_instructions((enum trm_peak)i));

    printf("\n\n%-14s %10s %10s %10s %11s %10s\n", "one core", "ms a step", "median", "GFLOP/s", "of peak", "steps/s");
    print_core_line(r, "alone", r->core.alone_ms);
    print_core_line(r, name, r->core.batch_ms);
    printf("\na lone puzzle waits %.3f ms for a step, %.2f ms for the %d it was made for (%d rounds)\n",
           r->core.wall_ms.median, r->info->halt_max_steps * r->core.wall_ms.median, r->info->halt_max_steps,
           r->core.rounds);
    print_operations(r);

    printf("\n%-14s %10s %10s %11s\n", "threads", "steps/s", "times one", "CPU share");
    for (int i = 0; i < r->team_count; i++)
        printf("%-14d %10.1f %10.2f %9.1f %%\n", r->teams[i].threads, r->teams[i].steps_per_second,
               speedup(r, &r->teams[i]), 100 * r->teams[i].cpu_share);
}

void trm_bench_print_heading(void) {
    printf("%-18s %-6s %10s %9s %9s %8s %12s %10s %10s\n", "", "", "ms a step", "GFLOP/s", "of peak", "ms alone",
           "all threads", "times one", "CPU share");
}

void trm_bench_print_line(const struct trm_bench_result *r) {
    const char *slash = strrchr(r->name, '/');
    printf("%-18.18s %-6s %10.3f %9.1f %7.1f %% %8.3f %6.1f /s %10.2f %8.1f %%\n", slash ? slash + 1 : r->name,
           trm_dtype_name(r->info->dtype), r->core.batch_ms.best, gflops(r, r->core.batch_ms.best),
           100 * of_peak(r, r->core.batch_ms.best), r->core.alone_ms.best, largest_team(r)->steps_per_second,
           speedup(r, largest_team(r)), 100 * largest_team(r)->cpu_share);
}
