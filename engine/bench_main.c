/* bench_main.c - trm-bench: how fast a checkpoint runs here, and how far that is from what the core can do.
 *
 * The peak and the supervision steps are measured by turns in short rounds of the same run, and
 * medians are reported, so that a busy neighbour or a changing clock hits both alike. The inputs are
 * random tokens and nothing halts: only the speed means anything. */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/bench_peak.h"
#include "engine/bench_random.h"
#include "engine/cli.h"
#include "engine/data/rng.h"
#include "engine/engine.h"

enum { EXIT_USAGE = 2, ROUNDS = 9, DEFAULT_BATCH = 16, DEFAULT_SECONDS = 3, WARM_UP_STEPS = 3 };

struct settings {
    const char *model;
    struct trm_model_options precision;
    int batch, threads, seconds;
    bool json;
    bool random; /* `model` describes a shape */
};

struct measurement {
    double alone_ms, batch_ms; /* one supervision step of one puzzle on one core: alone; among `batch` */
    double peak_gflops;        /* of the model's dtype, one core */
    double steps_per_second;   /* puzzles x steps, all threads */
};

static const char usage_text[] = "usage: trm-bench --model FILE | --arch FILE [options]\n"
                                 "\n"
                                 "Measures supervision steps on random tokens against the peak of one core.\n"
                                 "\n"
                                 "  --model FILE      checkpoint (safetensors)\n"
                                 "  --arch FILE       instead: a shape (config/models/), with random weights\n"
                                 "  --backend NAME    onednn (default) or reference\n"
                                 "  --dtype NAME      f32 (default), bf16 or auto: bf16 where it is faster\n"
                                 "  --batch N         puzzles in a batch (default 16)\n"
                                 "  --threads N       threads of the throughput run (default: one per core)\n"
                                 "  --seconds N       how long to measure (default 3)\n"
                                 "  --json            print one JSON object\n"
                                 "  --help, --version\n";

/* A batch of `puzzles` slots full of random puzzles that never end, stepped a few times to warm up.
 * For the calling thread; `seed` makes the tokens repeatable. */
static trm_status start_batch(trm_model *model, int puzzles, uint64_t seed, trm_batch **batch, trm_error *err) {
    const struct trm_model_info *info = trm_model_info(model);
    const struct trm_solve_options forever = {.max_steps = INT_MAX, .no_halt = true};
    struct data_rng rng;
    data_rng_seed(&rng, seed);

    *batch = NULL;
    int32_t *tokens = calloc((size_t)info->seq_len, sizeof *tokens); /* [seq_len] */
    if (!tokens)
        return trm_fail_memory(err, (size_t)info->seq_len * sizeof *tokens);
    trm_status status = trm_batch_create(model, puzzles, batch, err);
    for (int i = 0; i < puzzles && status == TRM_OK; i++) {
        for (int cell = 0; cell < info->seq_len; cell++)
            tokens[cell] = data_rng_below(&rng, info->vocab_size);
        int slot;
        status = trm_batch_admit(*batch, tokens, 0, &forever, &slot, err);
    }
    for (int i = 0; i < WARM_UP_STEPS && status == TRM_OK; i++)
        status = trm_batch_step(*batch, err);
    if (status != TRM_OK) {
        trm_batch_destroy(*batch);
        *batch = NULL;
    }
    free(tokens);
    return status;
}

/* Steps for about `seconds`, at least once; *rate: puzzles x steps per second. */
static trm_status measure_rate(trm_batch *batch, double seconds, double *rate, trm_error *err) {
    const double start = trm_clock();
    double elapsed;
    double steps = 0;
    do {
        trm_status status = trm_batch_step(batch, err);
        if (status != TRM_OK)
            return status;
        steps += trm_batch_busy(batch);
        elapsed = trm_clock() - start;
    } while (elapsed < seconds);
    *rate = steps / elapsed;
    return TRM_OK;
}

static int compare_doubles(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts `values` [ROUNDS]. */
static double median(double *values) {
    qsort(values, ROUNDS, sizeof *values, compare_doubles);
    return values[ROUNDS / 2];
}

/* Peak, one puzzle alone and a full batch, by turns on the calling thread. */
static trm_status measure_one_core(trm_model *model, int puzzles, double seconds, struct measurement *measured,
                                   trm_error *err) {
    const double window = seconds / (3 * ROUNDS);
    const enum trm_dtype dtype = trm_model_info(model)->dtype;
    double peak[ROUNDS], alone[ROUNDS], together[ROUNDS];
    trm_batch *single = NULL, *batch = NULL;
    trm_status status = start_batch(model, 1, 1, &single, err);
    if (status == TRM_OK)
        status = start_batch(model, puzzles, 2, &batch, err);
    for (int round = 0; round < ROUNDS && status == TRM_OK; round++) {
        peak[round] = trm_peak_gflops(dtype, window);
        status = measure_rate(single, window, &alone[round], err);
        if (status == TRM_OK)
            status = measure_rate(batch, window, &together[round], err);
    }
    if (status == TRM_OK) {
        measured->peak_gflops = median(peak);
        measured->alone_ms = 1e3 / median(alone);
        measured->batch_ms = 1e3 / median(together);
    }
    trm_batch_destroy(batch);
    trm_batch_destroy(single);
    return status;
}

/* The throughput run: threads with a batch each, started together. */
struct throughput {
    trm_model *model;
    int puzzles;
    double seconds;
    pthread_mutex_t gate; /* held until all threads are started, or `cancelled` is set */
    pthread_barrier_t warm;
    bool cancelled;
};

struct runner {
    struct throughput *shared;
    pthread_t thread;
    uint64_t seed;
    double rate;
    trm_status status;
    trm_error error;
};

static void *runner_main(void *arg) {
    struct runner *runner = arg;
    struct throughput *shared = runner->shared;
    pthread_mutex_lock(&shared->gate);
    const bool cancelled = shared->cancelled;
    pthread_mutex_unlock(&shared->gate);
    if (cancelled)
        return NULL;

    trm_batch *batch = NULL;
    runner->status = start_batch(shared->model, shared->puzzles, runner->seed, &batch, &runner->error);
    pthread_barrier_wait(&shared->warm);
    if (runner->status == TRM_OK)
        runner->status = measure_rate(batch, shared->seconds, &runner->rate, &runner->error);
    trm_batch_destroy(batch);
    return NULL;
}

static trm_status measure_throughput(trm_model *model, int puzzles, int threads, double seconds, double *rate,
                                     trm_error *err) {
    struct throughput shared = {.model = model, .puzzles = puzzles, .seconds = seconds};
    trm_status status = TRM_OK;
    int started = 0;
    struct runner *runners = calloc((size_t)threads, sizeof *runners);
    if (!runners)
        return trm_fail_memory(err, (size_t)threads * sizeof *runners);
    int code = pthread_barrier_init(&shared.warm, NULL, (unsigned)threads);
    if (code != 0) {
        free(runners);
        return trm_fail(err, TRM_IO, "cannot make a barrier: %s", strerror(code));
    }
    pthread_mutex_init(&shared.gate, NULL);

    pthread_mutex_lock(&shared.gate);
    for (; started < threads; started++) {
        runners[started].shared = &shared;
        runners[started].seed = 3 + (uint64_t)started;
        code = pthread_create(&runners[started].thread, NULL, runner_main, &runners[started]);
        if (code != 0) {
            status = trm_fail(err, TRM_IO, "cannot start thread %d: %s", started + 1, strerror(code));
            shared.cancelled = true;
            break;
        }
    }
    pthread_mutex_unlock(&shared.gate);

    *rate = 0;
    for (int i = 0; i < started; i++) {
        pthread_join(runners[i].thread, NULL);
        if (status == TRM_OK && runners[i].status != TRM_OK)
            status = trm_fail(err, runners[i].status, "%s", runners[i].error.text);
        *rate += runners[i].rate;
    }
    pthread_mutex_destroy(&shared.gate);
    pthread_barrier_destroy(&shared.warm);
    free(runners);
    return status;
}

static trm_status print_json(const struct settings *settings, const struct trm_model_info *info,
                             const struct measurement *measured, trm_error *err) {
    const double gflop = 1e-9 * info->flops_per_step;
    const double gflops = gflop / (1e-3 * measured->batch_ms), alone_gflops = gflop / (1e-3 * measured->alone_ms);
    json_t *root = json_pack(
        "{s:s, s:s, s:s, s:i, s:i, s:f, s:f, s:f, s:f, s:s, s:f, s:f, s:f, s:f, s:f}", "model", settings->model,
        "backend", settings->precision.backend == TRM_BACKEND_ONEDNN ? "onednn" : "reference", "dtype",
        trm_dtype_name(info->dtype), "batch", settings->batch, "threads", settings->threads, "step_ms",
        measured->batch_ms, "gflops", gflops, "peak_gflops", measured->peak_gflops, "fraction_of_peak",
        gflops / measured->peak_gflops, "peak_instructions", trm_peak_instructions(info->dtype), "alone_step_ms",
        measured->alone_ms, "alone_gflops", alone_gflops, "alone_fraction_of_peak",
        alone_gflops / measured->peak_gflops, "steps_per_second_one_thread", 1e3 / measured->batch_ms,
        "steps_per_second", measured->steps_per_second);
    trm_status status = TRM_OK;
    if (!root || json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) != 0)
        status = trm_fail(err, TRM_FORMAT, "cannot print JSON: memory is short, or the model's name is not UTF-8");
    else
        putchar('\n');
    json_decref(root);
    return status;
}

static void print_line(const char *name, double step_ms, double gflop, double peak) {
    const double gflops = gflop / (1e-3 * step_ms);
    printf("%-12s %10.4f %10.1f %9.1f %% %12.1f\n", name, step_ms, gflops, 100 * gflops / peak, 1e3 / step_ms);
}

static void print_table(const struct settings *settings, const struct trm_model_info *info,
                        const struct measurement *measured) {
    const double gflop = 1e-9 * info->flops_per_step;
    char name[32];
    snprintf(name, sizeof name, "batch of %d", settings->batch);
    printf("%s: %s, %zu parameters, %.3f GFLOP a step\n", settings->model, info->arch, info->parameters, gflop);
    printf("%s peak of one core (%s): %.1f GFLOP/s\n\n", trm_dtype_name(info->dtype),
           trm_peak_instructions(info->dtype), measured->peak_gflops);
    printf("%-12s %10s %10s %11s %12s\n", "one core", "ms a step", "GFLOP/s", "of peak", "steps/s");
    print_line("alone", measured->alone_ms, gflop, measured->peak_gflops);
    print_line(name, measured->batch_ms, gflop, measured->peak_gflops);
    printf("\n%d threads, a batch of %d each: %.1f puzzle steps per second, %.2f times one core\n", settings->threads,
           settings->batch, measured->steps_per_second, measured->steps_per_second * 1e-3 * measured->batch_ms);
}

static trm_status run(const struct settings *settings, trm_error *err) {
    struct measurement measured = {0};
    trm_random_weights *weights = NULL;
    trm_model *model = NULL;
    trm_status status = settings->random
                            ? trm_random_model(settings->model, &settings->precision, &weights, &model, err)
                            : trm_model_open(settings->model, &settings->precision, &model, err);
    if (status != TRM_OK)
        return status;
    const struct trm_model_info *info = trm_model_info(model);

    status = measure_one_core(model, settings->batch, 0.7 * settings->seconds, &measured, err);
    if (status == TRM_OK)
        status = measure_throughput(model, settings->batch, settings->threads, 0.3 * settings->seconds,
                                    &measured.steps_per_second, err);
    if (status != TRM_OK)
        goto cleanup;
    if (settings->json)
        status = print_json(settings, info, &measured, err);
    else
        print_table(settings, info, &measured);
    if (status == TRM_OK && (fflush(stdout) != 0 || ferror(stdout)))
        status = trm_fail(err, TRM_IO, "cannot write the result: %s", strerror(errno));

cleanup:
    trm_model_unref(model);
    trm_random_weights_destroy(weights);
    return status;
}

/* Says what is wrong with the command line; the caller returns the value as the exit code. */
static int usage_error(const char *problem, const char *what) {
    fprintf(stderr, "trm-bench: %s%s\nTry 'trm-bench --help'.\n", problem, what);
    return EXIT_USAGE;
}

/* A whole decimal number in 1 .. high. */
static bool parse_number(const char *text, int high, int *value) {
    long number;
    if (!trm_parse_number(text, 1, high, &number))
        return false;
    *value = (int)number;
    return true;
}

/* Fills in `settings`. Returns -1 to go on, or the exit code of a program that ends here. */
static int parse_arguments(int argc, char **argv, struct settings *settings) {
    static const struct option options[] = {
        {"model", required_argument, NULL, 'm'},
        {"arch", required_argument, NULL, 'a'},
        {"backend", required_argument, NULL, 'k'},
        {"dtype", required_argument, NULL, 'y'},
        {"batch", required_argument, NULL, 'b'},
        {"threads", required_argument, NULL, 't'},
        {"seconds", required_argument, NULL, 's'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},
        {0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'm':
        case 'a':
            settings->model = optarg;
            settings->random = option == 'a';
            break;
        case 'k':
            if (!trm_parse_backend(optarg, &settings->precision.backend))
                return usage_error("--backend is onednn or reference, not ", optarg);
            break;
        case 'y':
            if (!trm_parse_dtype(optarg, &settings->precision.dtype))
                return usage_error("--dtype is auto, f32 or bf16, not ", optarg);
            break;
        case 'b':
            if (!parse_number(optarg, 4096, &settings->batch))
                return usage_error("--batch wants a number from 1 to 4096, not ", optarg);
            break;
        case 't':
            if (!parse_number(optarg, 1024, &settings->threads))
                return usage_error("--threads wants a number from 1 to 1024, not ", optarg);
            break;
        case 's':
            if (!parse_number(optarg, 3600, &settings->seconds))
                return usage_error("--seconds wants a number from 1 to 3600, not ", optarg);
            break;
        case 'j':
            settings->json = true;
            break;
        case 'h':
            fputs(usage_text, stdout);
            return EXIT_SUCCESS;
        case 'v':
            puts("trm-bench " TRM_VERSION);
            return EXIT_SUCCESS;
        default: /* getopt_long has said what is wrong */
            fputs("Try 'trm-bench --help'.\n", stderr);
            return EXIT_USAGE;
        }
    }
    if (optind < argc)
        return usage_error("unexpected argument ", argv[optind]);
    if (!settings->model)
        return usage_error("--model or --arch is missing", "");
    return -1;
}

int main(int argc, char **argv) {
    struct settings settings = {
        .precision = {.dtype = TRM_DTYPE_F32},
        .batch = DEFAULT_BATCH,
        .threads = trm_core_count(),
        .seconds = DEFAULT_SECONDS,
    };
    int code = parse_arguments(argc, argv, &settings);
    if (code >= 0)
        return code;

    trm_error err = {0};
    if (run(&settings, &err) != TRM_OK) {
        fprintf(stderr, "trm-bench: %s\n", err.text);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
