/* main.c - trm-train: reads settings, runs the trainer. Its one global is the flag that a signal sets. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/train_config.h"
#include "engine/train/trainer.h"

enum { EXIT_USAGE = 2 };

static volatile sig_atomic_t stop_requested;

static void request_stop(int signal_number) {
    (void)signal_number;
    stop_requested = 1;
}

static const char usage_text[] =
    "usage: trm-train --config FILE --out DIR [--set KEY=VALUE ...] [--resume]\n"
    "\n"
    "Trains a tiny recursive model and writes checkpoints that trm-server serves.\n"
    "\n"
    "  --config FILE     settings as JSON: see config/train/ for examples\n"
    "  --out DIR         where log.jsonl, step_N.safetensors, best.safetensors and the state go\n"
    "  --set KEY=VALUE   replaces one setting, dots reach nested ones: --set optimizer.lr=5e-4\n"
    "  --resume          goes on where the run in DIR stopped, exactly; starts it if there is none\n"
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

int main(int argc, char **argv) {
    static const struct option long_options[] = {{"config", required_argument, NULL, 'c'},
                                                 {"out", required_argument, NULL, 'o'},
                                                 {"set", required_argument, NULL, 's'},
                                                 {"resume", no_argument, NULL, 'r'},
                                                 {"help", no_argument, NULL, 'h'},
                                                 {"version", no_argument, NULL, 'v'},
                                                 {NULL, 0, NULL, 0}};
    struct train_run_options options = {.stop = &stop_requested};
    const char *config = NULL;
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
    if (code < 0 && optind < argc)
        code = usage_error("arguments without an option are not understood");
    if (code < 0 && (!config || !options.dir))
        code = usage_error("--config and --out are needed");
    if (code < 0) {
        const struct sigaction action = {.sa_handler = request_stop};
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
        options.command = command;
        code = run(config, sets, set_count, &options);
    }
    free(command);
    free(sets);
    return code;
}
