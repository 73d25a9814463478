/* bench_main.c - trm-bench: how fast a model runs here, and how far that is from what the core can do.
 *
 * Reads the command line, opens one model after the other, has it measured and printed. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/bench_random.h"
#include "engine/bench_report.h"
#include "engine/cli.h"

enum { EXIT_USAGE = 2, MAX_SUBJECTS = 16, MAX_BATCH = 4096, DEFAULT_BATCH = 16, DEFAULT_SECONDS = 3 };

/* A step of all puzzles of a batch that nobody chose the size of stays below this. */
static const double default_batch_gflop = 100;

struct subject {
    const char *name;
    bool random; /* a shape, not a checkpoint */
};

struct settings {
    struct subject subjects[MAX_SUBJECTS];
    int subject_count;
    struct trm_run_options run;
    int batch; /* 0: by the model's size */
    int seconds;
    bool json, compare;
};

static const char usage_text[] =
    "usage: trm-bench --model FILE | --arch NAME [options]\n"
    "       trm-bench --compare (--model FILE | --arch NAME)... [options]\n"
    "\n"
    "Measures supervision steps on random tokens against the peak of one core.\n"
    "\n"
    "  --model FILE      checkpoint (safetensors)\n"
    "  --arch NAME       instead: a shape with random weights, config/models/NAME.json or a path\n"
    "  --compare         several models, each at every dtype: a table with a line for each\n"
    "  --backend NAME    onednn (default) or reference\n"
    "  --dtype NAME      auto (default: bf16 where the CPU is faster with it), f32, bf16 or int8\n"
    "  --batch N         puzzles in a batch (default 16, fewer for a large model)\n"
    "  --threads N       threads of the throughput run (default: one per core)\n"
    "  --seconds N       how long to measure, about (default 3)\n"
    "  --json            print one JSON object, or with --compare an array of them\n"
    "  --help, --version\n"
    "\n"
    "A step is one supervision step of one puzzle; GFLOP are those of its matrix products. The peak\n"
    "is that of a loop of multiply-adds in registers, for each dtype with the widest instructions\n"
    "that the machine has. Peak, lone puzzle and batch are measured by turns in short rounds, and\n"
    "the best round of each counts: other work on the machine can only slow a round down, so the\n"
    "best is the nearest to what the core does undisturbed, for peak and model alike. One core is\n"
    "measured in CPU time, so that programs which take turns on it do not count. The median round is\n"
    "printed beside the best: where the two are far apart the machine was busy. The operations are\n"
    "those of one more batch, with a clock read around each of them. What a lone puzzle waits (median)\n"
    "and the throughput of several threads (best of 3 rounds) are by the clock on the wall; 'CPU share'\n"
    "is the part of their cores that the threads got: well below 100 % the throughput says more about\n"
    "the machine's other work than about the model.\n";

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
        {"model", required_argument, NULL, 'm'},   {"arch", required_argument, NULL, 'a'},
        {"compare", no_argument, NULL, 'c'},       {"backend", required_argument, NULL, 'k'},
        {"dtype", required_argument, NULL, 'y'},   {"batch", required_argument, NULL, 'b'},
        {"threads", required_argument, NULL, 't'}, {"seconds", required_argument, NULL, 's'},
        {"json", no_argument, NULL, 'j'},          {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},       {0},
    };
    const char *problem;
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'm':
        case 'a':
            if (settings->subject_count == MAX_SUBJECTS)
                return usage_error("too many models, from ", optarg);
            settings->subjects[settings->subject_count++] = (struct subject){.name = optarg, .random = option == 'a'};
            break;
        case 'c':
            settings->compare = true;
            break;
        case 'k':
        case 'y':
        case 't':
            problem = trm_run_option(option, optarg, &settings->run);
            if (problem)
                return usage_error(problem, optarg);
            break;
        case 'b':
            if (!parse_number(optarg, MAX_BATCH, &settings->batch))
                return usage_error("--batch wants a number from 1 to 4096, not ", optarg);
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
    if (settings->subject_count == 0)
        return usage_error("--model or --arch is missing", "");
    if (settings->subject_count > 1 && !settings->compare)
        return usage_error("several models need --compare", "");
    return -1;
}

static int default_batch(const struct trm_model_info *info) {
    const double fitting = default_batch_gflop / (1e-9 * info->flops_per_step);
    if (fitting < 1)
        return 1;
    return fitting < DEFAULT_BATCH ? (int)fitting : DEFAULT_BATCH;
}

/* Prints a result, or appends it to `list` for later. */
static trm_status report(const struct settings *settings, const struct trm_bench_result *result, json_t *list,
                         trm_error *err) {
    if (settings->json)
        return json_array_append_new(list, trm_bench_json(result)) == 0
                   ? TRM_OK
                   : trm_fail(err, TRM_FORMAT, "cannot make JSON: memory is short, or the model's name is not UTF-8");
    if (settings->compare)
        trm_bench_print_line(result);
    else
        trm_bench_print(result);
    fflush(stdout); /* the next one takes a while */
    return TRM_OK;
}

/* Measures one model at one dtype. */
static trm_status run_subject(const struct settings *settings, const struct subject *subject, enum trm_dtype dtype,
                              json_t *list, trm_error *err) {
    struct trm_bench_result result = {.name = subject->name, .backend = settings->run.model.backend};
    struct trm_model_options options = settings->run.model;
    trm_random_weights *weights = NULL;
    trm_model *model = NULL;
    options.dtype = dtype;
    trm_status status = subject->random ? trm_random_model(subject->name, &options, &weights, &model, err)
                                        : trm_model_open(subject->name, &options, &model, err);
    if (status != TRM_OK)
        return status;
    result.info = trm_model_info(model);
    result.plan = (struct trm_bench_plan){.batch = settings->batch ? settings->batch : default_batch(result.info),
                                          .threads = settings->run.threads};

    result.plan.seconds = 0.6 * settings->seconds;
    status = trm_bench_core(model, &result.plan, &result.core, err);
    result.plan.seconds = 0.1 * settings->seconds;
    if (status == TRM_OK)
        status = trm_bench_profile(model, &result.plan, &result.profile, err);
    result.plan.seconds = 0.3 * settings->seconds;
    if (status == TRM_OK)
        status = trm_bench_teams(model, &result.plan, result.teams, &result.team_count, err);
    if (status == TRM_OK)
        status = report(settings, &result, list, err);
    trm_model_unref(model);
    trm_random_weights_destroy(weights);
    return status;
}

/* Every model at every dtype; what this machine cannot do is said and passed over. */
static trm_status compare(const struct settings *settings, json_t *list, trm_error *err) {
    if (!settings->json)
        trm_bench_print_heading();
    for (int i = 0; i < settings->subject_count; i++)
        for (enum trm_dtype dtype = TRM_DTYPE_F32; trm_dtype_name(dtype); dtype++) {
            const trm_status status = run_subject(settings, &settings->subjects[i], dtype, list, err);
            if (status == TRM_UNSUPPORTED)
                fprintf(stderr, "trm-bench: %s: %s\n", settings->subjects[i].name, err->text);
            else if (status != TRM_OK)
                return status;
        }
    return TRM_OK;
}

static trm_status run(const struct settings *settings, trm_error *err) {
    json_t *list = json_array(); /* of results, for --json */
    if (!list)
        return trm_fail(err, TRM_NO_MEMORY, "out of memory");
    trm_status status = settings->compare
                            ? compare(settings, list, err)
                            : run_subject(settings, &settings->subjects[0], settings->run.model.dtype, list, err);
    if (status == TRM_OK && settings->json) {
        json_dumpf(settings->compare ? list : json_array_get(list, 0), stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
        putchar('\n');
    }
    json_decref(list);
    if (status == TRM_OK && (fflush(stdout) != 0 || ferror(stdout)))
        status = trm_fail(err, TRM_IO, "cannot write the result: %s", strerror(errno));
    return status;
}

int main(int argc, char **argv) {
    struct settings settings = {
        .run = {.threads = trm_core_count()},
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
