/* eval_main.c - trm-eval: how good a checkpoint is on a collection of puzzles, for people or as JSON.
 *
 * Reads the command line, runs train_evaluate() and prints what it counted. One thread but for the
 * workers inside the evaluation. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/cli.h"
#include "engine/data/generate.h"
#include "engine/train/arc_eval.h"
#include "engine/train/eval.h"
#include "engine/train/eval_csv.h"

enum { EXIT_USAGE = 2 };

struct settings {
    const char *model, *data, *csv;
    struct trm_run_options run;
    size_t limit;
    bool json;
    struct train_eval_options options;
    bool has_threshold;
};

static const char usage_text[] =
    "usage: trm-eval --model FILE --data FILE_OR_DIR [options]\n"
    "\n"
    "Solves every puzzle of a collection and compares the answers with the labels.\n"
    "\n"
    "  --model FILE          checkpoint (safetensors)\n"
    "  --data FILE_OR_DIR    Sudoku or maze CSV, or a directory in the original layout; of\n"
    "                        one that trm-data arc made DIR/test is solved and pass@K told\n"
    "  --limit N             only the first N puzzles\n"
    "  --halt                stop a puzzle when the halting head is confident (default)\n"
    "  --no-halt             run all steps, as published evaluations do\n"
    "  --verify              stop a puzzle exactly when its answer obeys the rules\n"
    "  --keep-given          the cells that a puzzle gives stay as they are in its answer: clues, walls,\n"
    "                        start and goal (Sudoku, mazes); published evaluations do not do this\n"
    "  --max-steps N         supervision steps per puzzle (default: as trained)\n"
    "  --min-steps N         do not stop before this step\n"
    "  --halt-threshold X    the halting head is confident when its logit is above X (default: as\n"
    "                        the checkpoint says, else 0)\n"
    "  --rollouts K          try each puzzle K times, with noise but for the first try, and\n"
    "                        take the try that obeys the rules (with --verify) or of which\n"
    "                        the halting head thinks most; steps are summed over all tries\n"
    "  --augment K           try K images of each puzzle: symmetries of a Sudoku, or of the 8\n"
    "                        turned and mirrored images of a maze; with --rollouts, each of\n"
    "                        them so often\n"
    "  --restart-steps N     begin again after N steps that did not end a try, with an image\n"
    "                        or noise of its own, until --max-steps are used up\n"
    "  --guesses N           begin again with up to N cells as if they were clues, the most\n"
    "                        probable first (Sudoku; with --verify)\n"
    "  --noise S             standard deviation of the noise\n"
    "  --seed N              of noise and images (default 0)\n"
    "  --backend NAME        onednn (default) or reference\n"
    "  --dtype NAME          auto (default: bf16 where the CPU is faster with it), f32, bf16 or int8\n"
    "  --threads N           worker threads (default: one per core)\n"
    "  --csv FILE            also write accuracy by step and group: group,step,puzzles,exact,ended\n"
    "  --json                print one JSON object\n"
    "  --help, --version\n";

static const char *const class_keys[TRAIN_EVAL_CLASSES] = {"0", "1-3", "4+"};
static const char *const class_names[TRAIN_EVAL_CLASSES] = {"no guess", "1-3 guesses", "4+ guesses"};

/* Says what is wrong with the command line; the caller returns the value as the exit code. */
static int usage_error(const char *problem, const char *what) {
    fprintf(stderr, "trm-eval: %s%s\nTry 'trm-eval --help'.\n", problem, what);
    return EXIT_USAGE;
}

/* A number from `least` to 100. */
static bool parse_real(const char *text, double least, double *value) {
    char *end;
    *value = strtod(text, &end);
    return end != text && *end == '\0' && *value >= least && *value <= 100;
}

/* Fills in `settings`. Returns -1 to go on, or the exit code of a program that ends here. */
static int parse_arguments(int argc, char **argv, struct settings *settings) {
    static const struct option options[] = {
        {"model", required_argument, NULL, 'm'},
        {"data", required_argument, NULL, 'd'},
        {"limit", required_argument, NULL, 'l'},
        {"halt", no_argument, NULL, 'H'},
        {"no-halt", no_argument, NULL, 'N'},
        {"verify", no_argument, NULL, 'V'},
        {"keep-given", no_argument, NULL, 'K'},
        {"max-steps", required_argument, NULL, 'M'},
        {"min-steps", required_argument, NULL, 'n'},
        {"halt-threshold", required_argument, NULL, 'T'},
        {"rollouts", required_argument, NULL, 'R'},
        {"augment", required_argument, NULL, 'A'},
        {"restart-steps", required_argument, NULL, 'r'},
        {"guesses", required_argument, NULL, 'g'},
        {"noise", required_argument, NULL, 'S'},
        {"seed", required_argument, NULL, 's'},
        {"backend", required_argument, NULL, 'k'},
        {"dtype", required_argument, NULL, 'y'},
        {"threads", required_argument, NULL, 't'},
        {"csv", required_argument, NULL, 'c'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},
        {0},
    };
    const char *problem;
    long number;
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'm':
            settings->model = optarg;
            break;
        case 'd':
            settings->data = optarg;
            break;
        case 'l':
            if (!trm_parse_number(optarg, 1, LONG_MAX, &number))
                return usage_error("--limit wants a number from 1, not ", optarg);
            settings->limit = (size_t)number;
            break;
        case 'H':
            settings->options.halt = true;
            break;
        case 'K':
            settings->options.keep_given = true;
            break;
        case 'N':
            settings->options.halt = false;
            break;
        case 'V':
            settings->options.verify = true;
            break;
        case 'M':
            if (!trm_parse_number(optarg, 1, 10000, &number))
                return usage_error("--max-steps wants a number from 1 to 10000, not ", optarg);
            settings->options.max_steps = (int)number;
            break;
        case 'n':
            if (!trm_parse_number(optarg, 1, 10000, &number))
                return usage_error("--min-steps wants a number from 1 to 10000, not ", optarg);
            settings->options.min_steps = (int)number;
            break;
        case 'T':
            if (!parse_real(optarg, -100, &settings->options.halt_threshold))
                return usage_error("--halt-threshold wants a number from -100 to 100, not ", optarg);
            settings->has_threshold = true;
            break;
        case 'R':
            if (!trm_parse_number(optarg, 1, 1024, &number))
                return usage_error("--rollouts wants a number from 1 to 1024, not ", optarg);
            settings->options.rollouts = (int)number;
            break;
        case 'A':
            if (!trm_parse_number(optarg, 1, 1024, &number))
                return usage_error("--augment wants a number from 1 to 1024, not ", optarg);
            settings->options.augment = (int)number;
            break;
        case 'r':
            if (!trm_parse_number(optarg, 1, 10000, &number))
                return usage_error("--restart-steps wants a number from 1 to 10000, not ", optarg);
            settings->options.restart_steps = (int)number;
            break;
        case 'g':
            if (!trm_parse_number(optarg, 0, SUDOKU_MAX_CELLS, &number))
                return usage_error("--guesses wants a number from 0 to 81, not ", optarg);
            settings->options.guesses = (int)number;
            break;
        case 'S':
            if (!parse_real(optarg, 0, &settings->options.noise))
                return usage_error("--noise wants a number from 0 to 100, not ", optarg);
            break;
        case 's':
            if (!trm_parse_number(optarg, 0, LONG_MAX, &number))
                return usage_error("--seed wants a number from 0, not ", optarg);
            settings->options.seed = (uint64_t)number;
            break;
        case 'k':
        case 'y':
        case 't':
            problem = trm_run_option(option, optarg, &settings->run);
            if (problem)
                return usage_error(problem, optarg);
            break;
        case 'c':
            settings->csv = optarg;
            break;
        case 'j':
            settings->json = true;
            break;
        case 'h':
            fputs(usage_text, stdout);
            return EXIT_SUCCESS;
        case 'v':
            puts("trm-eval " TRM_VERSION);
            return EXIT_SUCCESS;
        default: /* getopt_long has said what is wrong */
            fputs("Try 'trm-eval --help'.\n", stderr);
            return EXIT_USAGE;
        }
    }
    if (optind < argc)
        return usage_error("unexpected argument ", argv[optind]);
    if (!settings->model)
        return usage_error("--model is missing", "");
    if (!settings->data)
        return usage_error("--data is missing", "");
    if (settings->options.verify && !settings->options.halt)
        return usage_error("--verify and --no-halt contradict each other", "");
    const struct train_eval_options *o = &settings->options;
    if (o->rollouts > 1 && o->noise <= 0)
        return usage_error("--rollouts above 1 needs --noise", "");
    if (o->noise > 0 && o->rollouts == 1 && !o->restart_steps)
        return usage_error("--noise is for --rollouts above 1 or --restart-steps", "");
    if (o->restart_steps && o->noise <= 0 && o->augment == 1 && !o->guesses)
        return usage_error("--restart-steps needs --noise, --augment or --guesses: every beginning would be the same",
                           "");
    if (o->guesses && !(o->restart_steps && o->verify))
        return usage_error("--guesses is for --restart-steps with --verify", "");
    return -1;
}

/* The progress line, rewritten in place at most ten times a second. */
struct progress {
    double started, shown;
};

static void show_progress(void *arg, size_t done, size_t total) {
    struct progress *progress = arg;
    double now = trm_clock();
    if (now - progress->shown < 0.1)
        return;
    progress->shown = now;
    fprintf(stderr, "\r%zu of %zu puzzles, %.0f per second \033[K", done, total,
            (double)done / (now - progress->started));
}

/* The share as a JSON number, or null when there is nothing to share. */
static json_t *json_share(double part, double whole) {
    return whole > 0 ? json_real(part / whole) : json_null();
}

static json_t *json_group(const struct train_eval_group *group) {
    return json_pack("{s:I, s:o, s:o}", "puzzles", (json_int_t)group->puzzles, "exact_accuracy",
                     json_share((double)group->exact, (double)group->puzzles), "mean_steps",
                     json_share((double)group->steps, (double)group->puzzles));
}

static json_t *json_tries(int tries, const struct train_eval_tries *prefix, double puzzles) {
    return json_pack("{s:i, s:o, s:o, s:o}", "tries", tries, "exact_accuracy",
                     json_share((double)prefix->exact, puzzles), "mean_steps",
                     json_share((double)prefix->steps, puzzles), "mean_steps_until_verified",
                     json_share((double)prefix->needed_steps, puzzles));
}

/* One object for each bin of the reliability table. */
static json_t *json_calibration(const struct train_eval_result *result) {
    json_t *bins = json_array();
    for (int i = 0; i < TRAIN_EVAL_BINS; i++) {
        const struct train_eval_bin *bin = &result->calibration[i];
        json_array_append_new(bins, json_pack("{s:f, s:f, s:I, s:o, s:o}", "from", (double)i / TRAIN_EVAL_BINS, "to",
                                              (double)(i + 1) / TRAIN_EVAL_BINS, "steps", (json_int_t)bin->steps,
                                              "said", json_share(1e-6 * (double)bin->millionths, (double)bin->steps),
                                              "exact", json_share((double)bin->exact, (double)bin->steps)));
    }
    return bins;
}

static bool has_difficulties(const struct train_eval_result *result) {
    size_t rated = 0;
    for (int i = 0; i < TRAIN_EVAL_CLASSES; i++)
        rated += result->by_difficulty[i].puzzles;
    return rated > 0;
}

/* {"tasks", "tests", "voted", "pass": {"1": share, ...}} */
static json_t *json_arc(const struct train_arc_result *arc) {
    json_t *pass = json_object();
    for (int k = 0; k < TRAIN_ARC_KS; k++) {
        char name[16];
        snprintf(name, sizeof name, "%d", train_arc_ks[k]);
        if (json_object_set_new(pass, name, json_real(arc->pass[k])) != 0) {
            json_decref(pass);
            return NULL;
        }
    }
    return json_pack("{s:I, s:I, s:I, s:o}", "tasks", (json_int_t)arc->tasks, "tests", (json_int_t)arc->tests, "voted",
                     (json_int_t)arc->voted, "pass", pass);
}

/* `arc` is NULL for other puzzles. */
static trm_status print_json(const struct settings *settings, const struct data_set *set,
                             const struct train_eval_result *result, const struct train_arc_result *arc, double seconds,
                             trm_error *err) {
    const double puzzles = (double)result->all.puzzles;
    json_t *by_step = json_array(), *steps_by_step = json_array(), *by_tries = json_array(), *by_source = json_object(),
           *by_difficulty = json_object(), *by_class = json_object(), *root = NULL;
    trm_status status = TRM_OK;
    int bad = 0;

    for (int step = 0; step < result->max_steps; step++) {
        bad |= json_array_append_new(by_step, json_share((double)result->all.exact_by_step[step], puzzles));
        bad |= json_array_append_new(steps_by_step, json_share((double)result->steps_by_step[step], puzzles));
    }
    for (int i = 0; i < result->tries; i++)
        bad |= json_array_append_new(by_tries, json_tries(i + 1, &result->by_tries[i], puzzles));
    for (int i = 0; i < result->source_count; i++)
        bad |= json_object_set_new(by_source, set->source_names[i], json_group(&result->by_source[i]));
    for (int i = 0; i < TRAIN_EVAL_CLASSES; i++)
        bad |= json_object_set_new(by_difficulty, class_keys[i], json_group(&result->by_difficulty[i]));
    for (int i = 0; i < SUDOKU_CLASSES; i++)
        if (result->by_class[i].puzzles > 0)
            bad |= json_object_set_new(by_class, data_class_name(i), json_group(&result->by_class[i]));
    root = json_pack(
        "{s:s, s:s, s:i, s:i, s:i, s:i, s:f, s:I, s:b, s:I, s:o, s:o, s:o, s:o, s:o, s:f, s:O, s:O, s:O, s:O}", "model",
        settings->model, "data", settings->data, "rollouts", settings->options.rollouts, "augment",
        settings->options.augment, "restart_steps", settings->options.restart_steps, "guesses",
        settings->options.guesses, "noise", settings->options.noise, "seed", (json_int_t)settings->options.seed,
        "keep_given", settings->options.keep_given, "puzzles", (json_int_t)result->all.puzzles, "exact_accuracy",
        json_share((double)result->all.exact, puzzles), "cell_accuracy",
        json_share((double)result->cells_right, (double)result->cells), "mean_steps",
        json_share((double)result->all.steps, puzzles), "halted_fraction", json_share((double)result->halted, puzzles),
        "halt_precision", json_share((double)result->halted_exact, (double)result->halted), "seconds", seconds,
        "accuracy_by_step", by_step, "mean_steps_by_step", steps_by_step, "by_tries", by_tries, "by_source", by_source);
    if (root && has_difficulties(result))
        bad |= json_object_set(root, "by_difficulty", by_difficulty);
    if (root && arc)
        bad |= json_object_set_new(root, "arc", json_arc(arc));
    if (root && json_object_size(by_class) > 0)
        bad |= json_object_set(root, "by_class", by_class);
    if (root) {
        bad |= json_object_set_new(root, "calibration", json_calibration(result));
        bad |= json_object_set_new(root, "calibration_error", json_real(train_eval_calibration_error(result)));
    }
    if (!root || bad || json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) != 0)
        status = trm_fail(err, TRM_FORMAT, "cannot print JSON: memory is short, or a name is not UTF-8");
    else
        putchar('\n');

    json_decref(root);
    json_decref(by_class);
    json_decref(by_difficulty);
    json_decref(by_source);
    json_decref(by_tries);
    json_decref(steps_by_step);
    json_decref(by_step);
    return status;
}

static double percent(size_t part, size_t whole) {
    return whole ? 100.0 * (double)part / (double)whole : 0.0;
}

static double mean(uint64_t sum, size_t count) {
    return count ? (double)sum / (double)count : 0.0;
}

static void print_group(const char *name, const struct train_eval_group *group) {
    printf("%-28.28s %9zu %8.2f %% %11.2f\n", name, group->puzzles, percent(group->exact, group->puzzles),
           mean(group->steps, group->puzzles));
}

/* What the halting head said against what was so. */
static void print_calibration(const struct train_eval_result *result) {
    printf("\nthe halting head said   on average      exact     steps\n");
    for (int i = 0; i < TRAIN_EVAL_BINS; i++) {
        const struct train_eval_bin *bin = &result->calibration[i];
        if (bin->steps > 0)
            printf("%8d to %3d %%        %8.2f %% %8.2f %% %9" PRIu64 "\n", 100 * i / TRAIN_EVAL_BINS,
                   100 * (i + 1) / TRAIN_EVAL_BINS, 1e-4 * (double)bin->millionths / (double)bin->steps,
                   percent((size_t)bin->exact, (size_t)bin->steps), bin->steps);
    }
    printf("calibration error %.2f %%\n", 100.0 * train_eval_calibration_error(result));
}

static void print_table(const struct settings *settings, const struct data_set *set,
                        const struct train_eval_result *result, double seconds) {
    const size_t puzzles = result->all.puzzles;
    printf("%s on %s\n\n", settings->model, settings->data);
    printf("%-28s %9s %10s %11s\n", "", "puzzles", "exact", "mean steps");
    print_group("all", &result->all);
    for (int i = 0; i < result->source_count && result->source_count > 1; i++)
        print_group(set->source_names[i], &result->by_source[i]);
    for (int i = 0; i < TRAIN_EVAL_CLASSES && has_difficulties(result); i++)
        print_group(class_names[i], &result->by_difficulty[i]);
    for (int i = SUDOKU_EASY; i < SUDOKU_HARD && result->by_class[SUDOKU_EASY].puzzles > 0; i++)
        print_group(data_class_name(i), &result->by_class[i]); /* harder ones are those with guesses */

    printf("\ncells right  %6.2f %%\n", percent(result->cells_right, result->cells));
    printf("halted       %6.2f %%", percent(result->halted, puzzles));
    if (result->halted)
        printf(", of these exact %.2f %%", percent(result->halted_exact, result->halted));
    printf("\ntime         %6.2f s, %.1f puzzles per second\n", seconds, (double)puzzles / seconds);
    printf("\nexact after step, mean steps by then\n");
    for (int step = 0; step < result->max_steps; step++)
        printf("%6d %8.2f %% %8.2f\n", step + 1, percent(result->all.exact_by_step[step], puzzles),
               mean(result->steps_by_step[step], puzzles));
    if (result->tries > 1)
        printf("\nexact with the first tries, mean steps of them, mean steps until one is verified\n");
    for (int i = 0; i < result->tries && result->tries > 1; i++)
        printf("%6d %8.2f %% %8.2f %8.2f\n", i + 1, percent(result->by_tries[i].exact, puzzles),
               mean(result->by_tries[i].steps, puzzles), mean(result->by_tries[i].needed_steps, puzzles));
    print_calibration(result);
}

static void print_arc(const struct train_arc_result *arc) {
    printf("\nvotes on %zu of %zu tests of %zu tasks\n", arc->voted, arc->tests, arc->tasks);
    for (int k = 0; k < TRAIN_ARC_KS; k++)
        printf("pass@%-5d %8.2f %%\n", train_arc_ks[k], 100.0 * arc->pass[k]);
}

static trm_status run(const struct settings *settings, trm_error *err) {
    trm_model *model = NULL;
    struct data_set *set = NULL;
    struct train_eval_result result = {0};
    train_arc_eval *arc = NULL;
    struct train_arc_result arc_result;
    char *rows = NULL;
    trm_status status = trm_model_open(settings->model, &settings->run.model, &model, err);
    if (status != TRM_OK)
        goto cleanup;
    status = train_arc_eval_open(settings->data, &arc, &rows, err);
    if (status == TRM_OK)
        status = data_set_load(rows ? rows : settings->data, settings->limit, &set, err);
    if (status == TRM_OK && arc)
        status = train_arc_eval_begin(arc, set, settings->options.rollouts, err);
    if (status != TRM_OK)
        goto cleanup;

    struct train_eval_options options = settings->options;
    if (!settings->has_threshold)
        options.halt_threshold = trm_model_info(model)->halt_threshold;
    if (arc) {
        options.answered = train_arc_eval_answered;
        options.answered_arg = arc;
    }
    options.threads = settings->run.threads;
    struct progress progress = {.started = trm_clock()};
    const bool terminal = isatty(STDERR_FILENO);
    if (terminal) {
        options.progress = show_progress;
        options.progress_arg = &progress;
    }
    status = train_evaluate(model, set, &options, &result, err);
    double seconds = trm_clock() - progress.started;
    if (terminal)
        fputs("\r\033[K", stderr);
    if (status == TRM_OK && arc)
        status = train_arc_eval_count(arc, &arc_result, err);
    if (status != TRM_OK)
        goto cleanup;

    if (settings->json)
        status = print_json(settings, set, &result, arc ? &arc_result : NULL, seconds, err);
    else
        print_table(settings, set, &result, seconds);
    if (!settings->json && arc)
        print_arc(&arc_result);
    if (status == TRM_OK && settings->csv)
        status = train_eval_save_csv(&result, set, settings->csv, err);
    if (status == TRM_OK && (fflush(stdout) != 0 || ferror(stdout)))
        status = trm_fail(err, TRM_IO, "cannot write the result: %s", strerror(errno));

cleanup:
    train_eval_result_destroy(&result);
    train_arc_eval_destroy(arc);
    free(rows);
    data_set_destroy(set);
    trm_model_unref(model);
    return status;
}

int main(int argc, char **argv) {
    struct settings settings = {
        .run = {.threads = trm_core_count()},
        .options = {.halt = true, .rollouts = 1, .augment = 1},
    };
    int code = parse_arguments(argc, argv, &settings);
    if (code >= 0)
        return code;

    trm_error err = {0};
    if (run(&settings, &err) != TRM_OK) {
        fprintf(stderr, "trm-eval: %s\n", err.text);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
