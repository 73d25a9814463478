/* main.c - trm-train: reads settings, runs the trainer. Its one global is the flag that a signal sets. */
#include <getopt.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/train_config.h"
#include "engine/cli.h"
#include "engine/train/adapt.h"
#include "engine/train/average.h"
#include "engine/train/trainer.h"

enum { EXIT_USAGE = 2 };

static volatile sig_atomic_t stop_requested;

static void request_stop(int signal_number) {
    (void)signal_number;
    stop_requested = 1;
}

static const char usage_text[] =
    "usage: trm-train --config FILE --out DIR [--set KEY=VALUE ...] [--resume]\n"
    "       trm-train --adapt TASK.json --model FILE --out FILE [--seconds N] [--updates N] [--augment N] [--lr X]\n"
    "                 [--seed N]\n"
    "       trm-train --average --out FILE CHECKPOINT CHECKPOINT ...\n"
    "\n"
    "Trains a tiny recursive model and writes checkpoints that trm-server serves.\n"
    "\n"
    "  --config FILE     settings as JSON: see config/train/ for examples\n"
    "  --out DIR         where log.jsonl, step_N.safetensors, best.safetensors and the state go\n"
    "  --set KEY=VALUE   replaces one setting, dots reach nested ones: --set optimizer.lr=5e-4\n"
    "  --resume          goes on where the run in DIR stopped, exactly; starts it if there is none\n"
    "\n"
    "  --adapt TASK.json teaches the ARC model --model a task that it does not know, from the demonstrations in\n"
    "                    the file, and writes a checkpoint for this task alone and, beside it, the index by which\n"
    "                    a server knows the task: X.safetensors and X.tasks.safetensors\n"
    "  --seconds N       stop after so long (default 300, or no limit with --updates)\n"
    "  --updates N       stop after so many optimizer steps\n"
    "  --augment N       augmentations that are learnt beside the task itself (default 31)\n"
    "  --lr X            learning rate of the weights (default 1e-3)\n"
    "  --seed N          of all chance (default 0)\n"
    "\n"
    "  --average         writes the mean of the weights of several runs of one model, where one started from another;\n"
    "                    often better than each of them\n"
    "\n"
    "  --help, --version\n"
    "\n"
    "SIGINT and SIGTERM save the state and end the run. Built with MPI=1 it runs under mpirun: the processes share\n"
    "the shards of each batch, and the first one alone uses DIR.\n";

static int usage_error(const char *problem) {
    fprintf(stderr, "trm-train: %s\nTry 'trm-train --help'.\n", problem);
    return EXIT_USAGE;
}

/* The command line as one string, for provenance; the caller frees it. */
static char *join(int argc, char **argv) {
    size_t size = 1;
    for (int i = 0; i < argc; i++)
        size += strlen(argv[i]) + 1;
    char *text = calloc(1, size);
    size_t length = 0;
    for (int i = 0; text && i < argc; i++)
        length += (size_t)snprintf(text + length, size - length, "%s%s", i > 0 ? " " : "", argv[i]);
    return text;
}

static int run(const char *config, const char *const *sets, int set_count, struct train_run_options *options) {
    struct conf_train conf = {0};
    trm_error err = {""};
    trm_status status = train_comm_open(&options->comm, &err);
    if (status == TRM_OK)
        status = conf_train_load(config, sets, set_count, &conf, &err);
    if (status == TRM_OK)
        status = train_run(&conf, options, &err);
    conf_train_destroy(&conf);
    if (status != TRM_OK)
        fprintf(stderr, "trm-train: %s\n", err.text);
    train_comm_close(options->comm, status != TRM_OK);
    return status == TRM_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

static bool parse_rate(const char *text, double *rate) {
    char *end;
    *rate = strtod(text, &end);
    return end != text && *end == '\0' && *rate > 0 && *rate <= 1;
}

/* Redraws one line on the terminal, five times a second; `arg` is when it last did, NULL where there is none. */
static bool show_progress(void *arg, const struct train_adapt_progress *p) {
    double *shown = arg;
    if (!shown || (p->seconds - *shown < 0.2 && p->share < 1.0))
        return !stop_requested;
    *shown = p->seconds;
    fprintf(stderr, "\r%3.0f%%  update %d  loss %.4f  cells %.1f%%  demonstrations %.1f%% \033[K", 100 * p->share,
            p->updates, p->loss, 100 * p->accuracy, 100 * p->exact);
    return !stop_requested;
}

/* Reads the task at `path`; its name is that of the file. */
static trm_status read_task(const char *path, struct data_arc_task *task, trm_error *err) {
    char where[64], full[DATA_ARC_FULL_NAME];
    struct data_arc_augment augment;
    json_error_t json_error;
    trm_error why;
    json_t *json = json_load_file(path, JSON_REJECT_DUPLICATES, &json_error);
    if (!json)
        return trm_fail(err, TRM_FORMAT, "%s: %s", path, json_error.text);
    trm_status status = data_arc_task_read(json, task, where, sizeof where, &why);
    json_decref(json);
    if (status != TRM_OK)
        return trm_fail(err, status, "%s: %s%s%s", path, where, where[0] ? ": " : "", why.text);
    char *copy = strdup(path);
    if (!copy)
        return trm_fail_memory(err, strlen(path));
    const char *base = basename(copy);
    snprintf(full, sizeof full, "%.*s", (int)strcspn(base, "."), base);
    if (!data_arc_name_parse(full, task->name, &augment))
        status = trm_fail(err, TRM_INVALID, "%s: \"%s\" is no name of a task", path, full);
    free(copy);
    return status;
}

static int adapt(const char *path, struct train_adapt_options options) {
    struct data_arc_task task = {0};
    struct train_adapt_progress result;
    double shown = 0;
    trm_error err = {""};
    options.progress = show_progress;
    options.arg = isatty(STDERR_FILENO) ? &shown : NULL;
    options.threads = trm_core_count();
    if (options.updates == 0 && options.seconds <= 0)
        options.seconds = 300;
    trm_status status = read_task(path, &task, &err);
    if (status == TRM_OK)
        status = train_adapt(&task, &options, &result, &err);
    if (options.arg)
        fputs("\r\033[K", stderr);
    if (status == TRM_OK)
        printf("%s: %d updates in %.1f s; of the demonstrations %.1f%% right, cells %.1f%%; in %s\n", task.name,
               result.updates, result.seconds, 100 * result.exact, 100 * result.accuracy, options.out);
    else
        fprintf(stderr, "trm-train: %s\n", err.text);
    data_arc_task_release(&task);
    return status == TRM_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int average(const char *const *paths, int count, const char *command, const char *out) {
    trm_error err = {""};
    if (train_average(paths, count, command, out, &err) != TRM_OK) {
        fprintf(stderr, "trm-train: %s\n", err.text);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

int main(int argc, char **argv) {
    static const struct option long_options[] = {{"config", required_argument, NULL, 'c'},
                                                 {"out", required_argument, NULL, 'o'},
                                                 {"set", required_argument, NULL, 's'},
                                                 {"resume", no_argument, NULL, 'r'},
                                                 {"adapt", required_argument, NULL, 'a'},
                                                 {"model", required_argument, NULL, 'm'},
                                                 {"seconds", required_argument, NULL, 't'},
                                                 {"updates", required_argument, NULL, 'u'},
                                                 {"augment", required_argument, NULL, 'g'},
                                                 {"lr", required_argument, NULL, 'l'},
                                                 {"seed", required_argument, NULL, 'S'},
                                                 {"average", no_argument, NULL, 'A'},
                                                 {"help", no_argument, NULL, 'h'},
                                                 {"version", no_argument, NULL, 'v'},
                                                 {NULL, 0, NULL, 0}};
    struct train_run_options options = {.stop = &stop_requested};
    struct train_adapt_options adapting = {.augment = TRAIN_ADAPT_AUGMENT, .lr = TRAIN_ADAPT_LR};
    const char *config = NULL, *task = NULL, *only_adapt = NULL;
    bool averages = false;
    long number = 0;
    const char **sets = calloc((size_t)argc, sizeof *sets);
    char *command = join(argc, argv);
    int set_count = 0, option, code = -1;
    if (!sets || !command) {
        fputs("trm-train: out of memory\n", stderr);
        code = EXIT_FAILURE;
    }
    while (code < 0 && (option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (option) {
        case 'c':
            config = optarg;
            break;
        case 'o':
            options.dir = optarg;
            break;
        case 's':
            sets[set_count++] = optarg;
            break;
        case 'r':
            options.resume = true;
            break;
        case 'a':
            task = optarg;
            break;
        case 'm':
            adapting.model = only_adapt = optarg;
            break;
        case 't':
            only_adapt = optarg;
            if (!trm_parse_number(optarg, 1, 1000000, &number))
                code = usage_error("--seconds wants a number from 1 to 1000000");
            adapting.seconds = (double)number;
            break;
        case 'u':
            only_adapt = optarg;
            if (!trm_parse_number(optarg, 1, 1000000, &number))
                code = usage_error("--updates wants a number from 1 to 1000000");
            adapting.updates = (int)number;
            break;
        case 'g':
            only_adapt = optarg;
            if (!trm_parse_number(optarg, 0, 10000, &number))
                code = usage_error("--augment wants a number from 0 to 10000");
            adapting.augment = (int)number;
            break;
        case 'l':
            only_adapt = optarg;
            if (!parse_rate(optarg, &adapting.lr))
                code = usage_error("--lr wants a number above 0, at most 1");
            break;
        case 'S':
            only_adapt = optarg;
            if (!trm_parse_number(optarg, 0, INT32_MAX, &number))
                code = usage_error("--seed wants a number from 0 to 2147483647");
            adapting.seed = (uint64_t)number;
            break;
        case 'A':
            averages = true;
            break;
        case 'h':
            fputs(usage_text, stdout);
            code = EXIT_SUCCESS;
            break;
        case 'v':
            puts("trm-train " TRM_VERSION);
            code = EXIT_SUCCESS;
            break;
        default:
            code = EXIT_USAGE;
        }
    }
    if (code < 0 && averages && (task || only_adapt || config || set_count > 0 || options.resume || !options.dir))
        code = usage_error("--average wants --out, checkpoints and nothing else");
    if (code < 0 && !averages && optind < argc)
        code = usage_error("arguments without an option are not understood");
    if (code < 0 && task && (config || set_count > 0 || options.resume))
        code = usage_error("--adapt goes without --config, --set and --resume");
    if (code < 0 && task && (!adapting.model || !options.dir))
        code = usage_error("--adapt needs --model and --out");
    if (code < 0 && !task && only_adapt)
        code = usage_error("an option that is for --adapt, without it");
    if (code < 0 && !task && !averages && (!config || !options.dir))
        code = usage_error("--config and --out are needed");
    if (code < 0) {
        const struct sigaction action = {.sa_handler = request_stop};
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
        adapting.command = options.command = command;
        adapting.out = options.dir;
        code = averages ? average((const char *const *)argv + optind, argc - optind, command, options.dir)
               : task   ? adapt(task, adapting)
                        : run(config, sets, set_count, &options);
    }
    free(command);
    free(sets);
    return code;
}
