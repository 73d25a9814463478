/* commands.c - see commands.h: what the commands of trm-data share: options and output. One thread. */
#include "engine/data/commands.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/cli.h"
#include "engine/data/generate.h"

enum { MAX_THREADS = 256, MAX_COPIES = 100000 };

int data_usage_error(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("trm-data: ", stderr);
    vfprintf(stderr, format, args);
    fputs("\nTry trm-data --help.\n", stderr);
    va_end(args);
    return EXIT_USAGE;
}

int data_failure(const trm_error *err) {
    fprintf(stderr, "trm-data: %s\n", err->text);
    return EXIT_FAILURE;
}

static bool parse_seed(const char *text, unsigned long long *seed) {
    char *end;
    errno = 0;
    *seed = strtoull(text, &end, 10);
    return errno == 0 && *text >= '0' && *text <= '9' && *end == '\0';
}

static bool parse_class(const char *text, struct data_options *options) {
    options->mixed = strcmp(text, "mixed") == 0;
    if (options->mixed)
        return true;
    for (int i = 0; i < SUDOKU_CLASSES; i++) {
        options->wanted = i;
        if (strcmp(text, data_class_name(i)) == 0)
            return true;
    }
    return false;
}

static bool take_option(int code, const char *value, struct data_options *options) {
    switch (code) {
    case DATA_CSV:
        options->csv = value;
        return true;
    case DATA_OUT:
        options->out = value;
        return true;
    case DATA_SPLIT:
        options->split = value;
        return strcmp(value, "train") == 0 || strcmp(value, "test") == 0;
    case DATA_FROM:
        options->from = value;
        return true;
    case DATA_SUBSETS:
        options->subsets = value;
        return true;
    case DATA_TEST:
        options->test = value;
        return true;
    case DATA_IDENTIFIERS:
        options->identifiers = value;
        return true;
    case DATA_WITHOUT:
        options->without = value;
        return true;
    case DATA_LIMIT:
        return trm_parse_number(value, 1, INT32_MAX, &options->limit);
    case DATA_AUGMENT:
        return trm_parse_number(value, 0, MAX_COPIES, &options->augment);
    case DATA_SIZE:
        return trm_parse_number(value, 1, MAZE_MAX_SIDE, &options->size);
    case DATA_COUNT:
        return trm_parse_number(value, 1, INT32_MAX, &options->count);
    case DATA_CLASS:
        return parse_class(value, options);
    case DATA_MIN_MOVES:
        return trm_parse_number(value, 1, MAZE_MAX_CELLS, &options->min_moves);
    case DATA_SEED:
        return parse_seed(value, &options->seed);
    case DATA_THREADS:
        return trm_parse_number(value, 1, MAX_THREADS, &options->threads);
    case DATA_TEST_SET:
        if (options->test_count == DATA_MAX_TESTS)
            return false;
        options->tests[options->test_count++] = value;
        return true;
    case DATA_JSON:
        options->json = true;
        return true;
    case DATA_CONFIG:
        options->config = value;
        return true;
    case DATA_PUZZLE:
        options->puzzle = value;
        return strcmp(value, "sudoku") == 0 || strcmp(value, "maze") == 0 || strcmp(value, "arc") == 0;
    default:
        return false;
    }
}

int data_parse_options(int argc, char **argv, const struct option *known, struct data_options *options) {
    *options = (struct data_options){.split = "train", .threads = 1, .mixed = true};
    opterr = 0;
    for (;;) {
        int index = 0;
        const int at = optind;
        const int code = getopt_long(argc, argv, "", known, &index);
        if (code == -1)
            break;
        if (code == '?')
            return data_usage_error("%s is not an option here, or lacks its value", argv[at]);
        if (!take_option(code, optarg, options))
            return data_usage_error("bad value for --%s", known[index].name);
    }
    if (optind < argc)
        return data_usage_error("%s is not understood", argv[optind]);
    return 0;
}

int data_print_json(json_t *object) {
    const bool printed = object && json_dumpf(object, stdout, JSON_REAL_PRECISION(6)) == 0;
    if (printed)
        putchar('\n');
    json_decref(object);
    if (printed && !ferror(stdout) && fflush(stdout) == 0)
        return EXIT_SUCCESS;
    fputs("trm-data: the result could not be printed\n", stderr);
    return EXIT_FAILURE;
}
