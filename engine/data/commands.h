/* commands.h - the commands of trm-data, each with the options that it knows, and what they share.
 *
 * A command gets argv from its own name on, and returns the exit status of the program, having printed
 * what it did or, on stderr, why not. The program's one thread calls them. */
#ifndef TRM_ENGINE_DATA_COMMANDS_H
#define TRM_ENGINE_DATA_COMMANDS_H

#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>

#include "engine/data/sudoku.h"
#include "engine/status.h"

enum { EXIT_USAGE = 2, DATA_MAX_TESTS = 16 };

/* What the command line asked for; every command uses some of it. */
struct data_options {
    const char *csv, *out, *split, *config, *puzzle;
    const char *from, *subsets, *test, *identifiers, *without;
    const char *tests[DATA_MAX_TESTS]; /* [test_count] */
    int test_count;
    long limit, augment, size, count, threads, min_moves;
    unsigned long long seed;
    bool mixed, json;
    enum sudoku_class wanted;
};

/* Of an option, as getopt_long() returns it. */
enum data_option_code {
    DATA_CSV = 256,
    DATA_OUT,
    DATA_SPLIT,
    DATA_LIMIT,
    DATA_AUGMENT,
    DATA_SIZE,
    DATA_COUNT,
    DATA_CLASS,
    DATA_MIN_MOVES,
    DATA_SEED,
    DATA_THREADS,
    DATA_JSON,
    DATA_CONFIG,
    DATA_PUZZLE,
    DATA_FROM,
    DATA_SUBSETS,
    DATA_TEST,
    DATA_TEST_SET,
    DATA_IDENTIFIERS,
    DATA_WITHOUT
};

/* Reads the options that `known` names from argv[1] on; 0 or EXIT_USAGE. */
int data_parse_options(int argc, char **argv, const struct option *known, struct data_options *options);

/* Says on stderr what is wrong with the command line, or what failed; the exit status for that. */
__attribute__((format(printf, 1, 2))) int data_usage_error(const char *format, ...);
int data_failure(const trm_error *err);

/* Prints and frees `object` (NULL: memory ran out). The exit status. */
int data_print_json(json_t *object);

int data_run_convert(int argc, char **argv); /* sudoku, maze */
int data_run_generate(int argc, char **argv);
int data_run_clean(int argc, char **argv);
int data_run_verify(int argc, char **argv);
int data_run_import(int argc, char **argv);
int data_run_arc(int argc, char **argv);

#endif
