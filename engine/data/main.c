/* main.c - trm-data: turns puzzle collections into data sets, makes new puzzles and checks them.
 * One thread, but for the helpers of data_generate(). */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/cli.h"
#include "engine/data/arc_build.h"
#include "engine/data/exclude.h"
#include "engine/data/generate.h"
#include "engine/data/import.h"
#include "engine/file.h"

enum { EXIT_USAGE = 2, MAX_THREADS = 256, MAX_COPIES = 100000, MAX_TESTS = 16 };

static const char HELP[] =
    "usage: trm-data sudoku --csv FILE --out DIR [--split train|test] [--limit N] [--augment N] [--seed S]\n"
    "                [--test FILE_OR_DIR ...] [--json]\n"
    "       trm-data maze --csv FILE --out DIR [--split train|test] [--limit N] [--augment N] [--seed S] [--json]\n"
    "       trm-data generate sudoku --count N [--size 4|6|9] [--class CLASS] [--seed S] [--threads N]\n"
    "                [--test FILE_OR_DIR ...] [--out FILE] [--json]\n"
    "       trm-data generate maze --count N [--size 5..64] [--min-moves N] [--seed S] [--threads N]\n"
    "                [--out FILE] [--json]\n"
    "       trm-data clean --csv FILE --test FILE_OR_DIR ... --out FILE [--limit N] [--json]\n"
    "       trm-data verify --csv FILE [--limit N] [--json]\n"
    "       trm-data import CHECKPOINT --config FILE --out FILE [--puzzle sudoku|maze|arc] [--json]\n"
    "       trm-data arc --from PREFIX --subsets A,B --out DIR [--test A] [--augment N] [--seed S]\n"
    "                [--size 1..30] [--without FILE] [--json]\n"
    "       trm-data arc --from PREFIX --subsets A,B --out DIR --identifiers FILE [--json]\n"
    "       trm-data --help | --version\n"
    "\n"
    "sudoku     writes the puzzles of a CSV file in the layout of the original scripts: DIR/identifiers.json and\n"
    "maze       DIR/train (or DIR/test) with dataset.json and all__*.npy. --augment N adds N random symmetric\n"
    "           images of every Sudoku, or N of the 7 other images of every maze.\n"
    "generate   makes puzzles with one solution as CSV, to standard output unless --out is given. CLASS is easy,\n"
    "           medium (singles only), hard (1 to 3 guesses), very-hard (more) or mixed (the default: all that\n"
    "           the size has, in equal parts). Mazes (side 30 unless said otherwise) have one shortest path, of\n"
    "           at least --min-moves moves: by default 111 at side 30, as many in proportion to the cells at\n"
    "           others. The same seed gives the same puzzles.\n"
    "clean      copies a CSV file without the puzzles that are in a test set.\n"
    "verify     checks that every line has a right answer and no other, and counts sources and ratings.\n"
    "import     converts a checkpoint that PyTorch wrote to safetensors. --config describes the model as\n"
    "           config/models/ does; nothing that the checkpoint may contain is run.\n"
    "arc        writes the ARC tasks of PREFIX_A_challenges.json and PREFIX_A_solutions.json, B and so on, each with\n"
    "           up to N augmentations, in the layout of the original scripts: DIR/train with all demonstrations,\n"
    "           DIR/test with the tests of the subsets named by --test, on which nothing trains. "
    "DIR/tasks.safetensors\n"
    "           tells servers which task each identifier is; with --identifiers it alone is written, for a data set\n"
    "           that the original's script made. --without FILE leaves out the tasks that it names, one a line,\n"
    "           --size N those with a grid of more rows or columns: puzzles then have N x N cells, not 30 x 30.\n"
    "\n"
    "CSV files have the lines source,question,answer,rating, that one first; blanks are dots or zeros;\n"
    "mazes are written with # (wall), space, S (start), G (goal) and o (path).\n"
    "--test names a set that Sudokus will be judged by: every puzzle that is one of it in disguise (digits renamed,\n"
    "rows, columns, bands or stacks exchanged, transposed) is dropped, and their number printed.\n"
    "--limit N takes the first N puzzles. --json prints results for programs.\n"
    "Exit status: 0 done, 1 failed, 2 wrong usage.\n";

/* What the command line asked for; every command uses some of it. */
struct options {
    const char *csv, *out, *split, *config, *puzzle;
    const char *from, *subsets, *test, *identifiers, *without;
    const char *tests[MAX_TESTS]; /* [test_count] */
    int test_count;
    long limit, augment, size, count, threads, min_moves;
    unsigned long long seed;
    bool mixed, json;
    enum sudoku_class wanted;
};

__attribute__((format(printf, 1, 2))) static int usage_error(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("trm-data: ", stderr);
    vfprintf(stderr, format, args);
    fputs("\nTry trm-data --help.\n", stderr);
    va_end(args);
    return EXIT_USAGE;
}

static int failure(const trm_error *err) {
    fprintf(stderr, "trm-data: %s\n", err->text);
    return EXIT_FAILURE;
}

static bool parse_seed(const char *text, unsigned long long *seed) {
    char *end;
    errno = 0;
    *seed = strtoull(text, &end, 10);
    return errno == 0 && *text >= '0' && *text <= '9' && *end == '\0';
}

static bool parse_class(const char *text, struct options *options) {
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

enum option_code {
    CSV = 256,
    OUT,
    SPLIT,
    LIMIT,
    AUGMENT,
    SIZE,
    COUNT,
    CLASS,
    MIN_MOVES,
    SEED,
    THREADS,
    JSON,
    CONFIG,
    PUZZLE,
    FROM,
    SUBSETS,
    TEST,
    TEST_SET,
    IDENTIFIERS,
    WITHOUT
};

static bool take_option(int code, const char *value, struct options *options) {
    switch (code) {
    case CSV:
        options->csv = value;
        return true;
    case OUT:
        options->out = value;
        return true;
    case SPLIT:
        options->split = value;
        return strcmp(value, "train") == 0 || strcmp(value, "test") == 0;
    case FROM:
        options->from = value;
        return true;
    case SUBSETS:
        options->subsets = value;
        return true;
    case TEST:
        options->test = value;
        return true;
    case IDENTIFIERS:
        options->identifiers = value;
        return true;
    case WITHOUT:
        options->without = value;
        return true;
    case LIMIT:
        return trm_parse_number(value, 1, INT32_MAX, &options->limit);
    case AUGMENT:
        return trm_parse_number(value, 0, MAX_COPIES, &options->augment);
    case SIZE:
        return trm_parse_number(value, 4, MAZE_MAX_SIDE, &options->size);
    case COUNT:
        return trm_parse_number(value, 1, INT32_MAX, &options->count);
    case CLASS:
        return parse_class(value, options);
    case MIN_MOVES:
        return trm_parse_number(value, 1, MAZE_MAX_CELLS, &options->min_moves);
    case SEED:
        return parse_seed(value, &options->seed);
    case THREADS:
        return trm_parse_number(value, 1, MAX_THREADS, &options->threads);
    case TEST_SET:
        if (options->test_count == MAX_TESTS)
            return false;
        options->tests[options->test_count++] = value;
        return true;
    case JSON:
        options->json = true;
        return true;
    case CONFIG:
        options->config = value;
        return true;
    case PUZZLE:
        options->puzzle = value;
        return strcmp(value, "sudoku") == 0 || strcmp(value, "maze") == 0 || strcmp(value, "arc") == 0;
    default:
        return false;
    }
}

/* Reads the options that `known` names from argv[1] on; 0 or EXIT_USAGE. */
static int parse_options(int argc, char **argv, const struct option *known, struct options *options) {
    *options = (struct options){.split = "train", .threads = 1, .mixed = true};
    opterr = 0;
    for (;;) {
        int index = 0;
        const int at = optind;
        const int code = getopt_long(argc, argv, "", known, &index);
        if (code == -1)
            break;
        if (code == '?')
            return usage_error("%s is not an option here, or lacks its value", argv[at]);
        if (!take_option(code, optarg, options))
            return usage_error("bad value for --%s", known[index].name);
    }
    if (optind < argc)
        return usage_error("%s is not understood", argv[optind]);
    return 0;
}

static trm_status save_identifiers(const char *dir, trm_error *err) {
    struct trm_output out = {0};
    char *path = trm_path_join(dir, "identifiers.json");
    if (!path)
        return trm_fail_memory(err, strlen(dir));
    trm_status status = trm_output_open(&out, path, err);
    if (status == TRM_OK) {
        fputs("[\"<blank>\"]\n", out.stream);
        status = trm_output_commit(&out, err);
    }
    trm_output_close(&out);
    free(path);
    return status;
}

/* Prints and frees `object`. */
static int print_json(json_t *object) {
    const bool printed = object && json_dumpf(object, stdout, JSON_REAL_PRECISION(6)) == 0;
    if (printed)
        putchar('\n');
    json_decref(object);
    if (printed && !ferror(stdout) && fflush(stdout) == 0)
        return EXIT_SUCCESS;
    fputs("trm-data: the result could not be printed\n", stderr);
    return EXIT_FAILURE;
}

/* Drops from `set` what the test sets of the command line have; without any *dropped is -1: not a result. */
static trm_status exclude_tests(const struct options *options, struct data_set *set, long *dropped, trm_error *err) {
    struct data_set *tests[MAX_TESTS] = {NULL};
    trm_status status = TRM_OK;
    size_t count = 0;
    *dropped = -1;
    for (int i = 0; i < options->test_count && status == TRM_OK; i++)
        status = data_set_load(options->tests[i], 0, &tests[i], err);
    if (status == TRM_OK && options->test_count > 0) {
        status = data_exclude(set, (const struct data_set *const *)tests, options->test_count, &count, err);
        *dropped = (long)count;
    }
    for (int i = 0; i < options->test_count; i++)
        data_set_destroy(tests[i]);
    return status;
}

/* Prints `object` (freed), or for people `text` with what was dropped in front. */
static int print_result(const struct options *options, long dropped, json_t *object, const char *text) {
    if (object && dropped >= 0)
        json_object_set_new(object, "dropped", json_integer(dropped));
    if (options->json)
        return print_json(object);
    json_decref(object);
    if (dropped >= 0)
        printf("%ld puzzles of test sets dropped, ", dropped);
    puts(text);
    return EXIT_SUCCESS;
}

/* The commands sudoku and maze. */
static int run_convert(bool maze, int argc, char **argv) {
    static const struct option KNOWN[] = {{"csv", required_argument, NULL, CSV},
                                          {"out", required_argument, NULL, OUT},
                                          {"split", required_argument, NULL, SPLIT},
                                          {"limit", required_argument, NULL, LIMIT},
                                          {"augment", required_argument, NULL, AUGMENT},
                                          {"seed", required_argument, NULL, SEED},
                                          {"test", required_argument, NULL, TEST_SET},
                                          {"json", no_argument, NULL, JSON},
                                          {0}};
    struct options options;
    if (parse_options(argc, argv, KNOWN, &options) != 0)
        return EXIT_USAGE;
    if (!options.csv || !options.out)
        return usage_error("%s needs --csv and --out", argv[0]);

    struct data_set *set = NULL, *augmented = NULL;
    struct data_rng rng;
    trm_error err;
    int result;
    long dropped = -1;
    data_rng_seed(&rng, options.seed);
    char *dir = trm_path_join(options.out, options.split);
    trm_status status = dir ? TRM_OK : trm_fail_memory(&err, strlen(options.out));
    if (status == TRM_OK)
        status = data_set_load_csv(options.csv, (size_t)options.limit, &set, &err);
    if (status == TRM_OK && maze != (set->maze_side > 0))
        status = trm_fail(&err, TRM_FORMAT, "%.200s: its puzzles are not of this kind", options.csv);
    if (status == TRM_OK)
        status = exclude_tests(&options, set, &dropped, &err);
    if (status == TRM_OK)
        status = data_set_augment(set, (int)options.augment, &rng, &augmented, &err);
    if (status == TRM_OK)
        status = data_set_save(augmented, dir, &err);
    if (status == TRM_OK)
        status = save_identifiers(options.out, &err);

    if (status != TRM_OK) {
        result = failure(&err);
    } else {
        char text[4096];
        snprintf(text, sizeof text, "%zu puzzles, %zu rows in %s", set->count, augmented->count, dir);
        result = print_result(&options, dropped,
                              json_pack("{s:I, s:I, s:s}", "puzzles", (json_int_t)set->count, "rows",
                                        (json_int_t)augmented->count, "directory", dir),
                              text);
    }
    data_set_destroy(augmented);
    data_set_destroy(set);
    free(dir);
    return result;
}

struct progress {
    size_t total;
    double start, shown; /* seconds on the monotonic clock */
};

/* Redraws one line on the terminal, five times a second. */
static void show_progress(void *context, size_t done) {
    struct progress *progress = context;
    const double time = trm_clock();
    if (time - progress->shown < 0.2 && done < progress->total)
        return;
    progress->shown = time;
    const double rate = (double)done / (time - progress->start);
    fprintf(stderr, "\r%zu of %zu puzzles, %.0f a second, %.0f s to go   ", done, progress->total, rate,
            (double)(progress->total - done) / rate);
}

static int run_generate(int argc, char **argv) {
    static const struct option KNOWN_SUDOKU[] = {{"out", required_argument, NULL, OUT},
                                                 {"size", required_argument, NULL, SIZE},
                                                 {"count", required_argument, NULL, COUNT},
                                                 {"class", required_argument, NULL, CLASS},
                                                 {"seed", required_argument, NULL, SEED},
                                                 {"threads", required_argument, NULL, THREADS},
                                                 {"test", required_argument, NULL, TEST_SET},
                                                 {"json", no_argument, NULL, JSON},
                                                 {0}};
    static const struct option KNOWN_MAZE[] = {
        {"out", required_argument, NULL, OUT},     {"size", required_argument, NULL, SIZE},
        {"count", required_argument, NULL, COUNT}, {"min-moves", required_argument, NULL, MIN_MOVES},
        {"seed", required_argument, NULL, SEED},   {"threads", required_argument, NULL, THREADS},
        {"json", no_argument, NULL, JSON},         {0}};
    struct options options;
    const bool maze = argc > 1 && strcmp(argv[1], "maze") == 0;
    if (!maze && (argc < 2 || strcmp(argv[1], "sudoku") != 0))
        return usage_error("what to generate is missing: trm-data generate sudoku|maze --count N");
    if (parse_options(argc - 1, argv + 1, maze ? KNOWN_MAZE : KNOWN_SUDOKU, &options) != 0)
        return EXIT_USAGE;
    if (!options.size)
        options.size = maze ? 30 : 9;
    if (maze ? options.size < MAZE_MIN_GENERATED : !data_sudoku_box_rows((int)options.size))
        return usage_error("bad value for --size");
    if (!options.count)
        return usage_error("generate needs --count");
    if (options.json && !options.out)
        return usage_error("--json needs --out: standard output has the puzzles");

    const bool terminal = isatty(STDERR_FILENO);
    struct progress progress = {.total = (size_t)options.count, .start = trm_clock()};
    const struct data_generate_options wanted = {.maze = maze,
                                                 .size = (int)options.size,
                                                 .min_moves = (int)options.min_moves,
                                                 .count = (size_t)options.count,
                                                 .mixed = options.mixed,
                                                 .wanted = options.wanted,
                                                 .seed = options.seed,
                                                 .threads = (int)options.threads,
                                                 .progress = terminal ? show_progress : NULL,
                                                 .context = &progress};
    struct data_set *set;
    trm_error err;
    trm_status status = data_generate(&wanted, &set, &err);
    const double seconds = trm_clock() - progress.start;
    if (terminal)
        fputc('\n', stderr);
    if (status != TRM_OK)
        return failure(&err);

    int result = EXIT_SUCCESS;
    long dropped;
    status = exclude_tests(&options, set, &dropped, &err);
    if (status == TRM_OK)
        status = options.out ? data_set_save_csv(set, options.out, &err) : data_set_print_csv(set, stdout, &err);
    if (status == TRM_OK && !options.out && (ferror(stdout) || fflush(stdout) != 0))
        status = trm_fail(&err, TRM_IO, "standard output: %s", strerror(errno));
    if (status != TRM_OK)
        result = failure(&err);
    else if (options.out) {
        char text[4096];
        snprintf(text, sizeof text, "%zu puzzles in %.1f s to %s", set->count, seconds, options.out);
        result = print_result(
            &options, dropped,
            json_pack("{s:I, s:f, s:s}", "puzzles", (json_int_t)set->count, "seconds", seconds, "file", options.out),
            text);
    } else if (dropped >= 0) {
        fprintf(stderr, "%ld puzzles of test sets dropped\n", dropped);
    }
    data_set_destroy(set);
    return result;
}

static int run_clean(int argc, char **argv) {
    static const struct option KNOWN[] = {
        {"csv", required_argument, NULL, CSV},     {"out", required_argument, NULL, OUT},
        {"limit", required_argument, NULL, LIMIT}, {"test", required_argument, NULL, TEST_SET},
        {"json", no_argument, NULL, JSON},         {0}};
    struct options options;
    if (parse_options(argc, argv, KNOWN, &options) != 0)
        return EXIT_USAGE;
    if (!options.csv || !options.out || options.test_count == 0)
        return usage_error("clean needs --csv, --test and --out");

    struct data_set *set = NULL;
    trm_error err;
    long dropped = -1;
    int result;
    trm_status status = data_set_load_csv(options.csv, (size_t)options.limit, &set, &err);
    if (status == TRM_OK)
        status = exclude_tests(&options, set, &dropped, &err);
    if (status == TRM_OK)
        status = data_set_save_csv(set, options.out, &err);
    if (status != TRM_OK) {
        result = failure(&err);
    } else {
        char text[4096];
        snprintf(text, sizeof text, "%zu puzzles to %s", set->count, options.out);
        result = print_result(&options, dropped,
                              json_pack("{s:I, s:s}", "puzzles", (json_int_t)set->count, "file", options.out), text);
    }
    data_set_destroy(set);
    return result;
}

/* What verify finds, of one source or of all. */
struct tally {
    long puzzles, unique, none, few, many, unrated; /* by rating: 0, 1 to 3, more, unknown */
    long moves, shortest, longest;                  /* of mazes: of all, the least, the most */
};

static void count_sudoku(struct tally *tally, bool unique, int32_t rating) {
    tally->puzzles++;
    tally->unique += unique;
    tally->none += rating == 0;
    tally->few += rating >= 1 && rating <= 3;
    tally->many += rating > 3;
    tally->unrated += rating < 0;
}

static void count_maze(struct tally *tally, bool unique, int moves) {
    tally->shortest = tally->puzzles == 0 || moves < tally->shortest ? moves : tally->shortest;
    tally->longest = moves > tally->longest ? moves : tally->longest;
    tally->puzzles++;
    tally->unique += unique;
    tally->moves += moves;
}

static double mean_moves(const struct tally *tally) {
    return (double)tally->moves / (double)tally->puzzles;
}

static json_t *tally_json(const struct tally *tally, bool maze) {
    if (maze)
        return json_pack("{s:I, s:I, s:{s:I, s:f, s:I}}", "puzzles", (json_int_t)tally->puzzles, "unique",
                         (json_int_t)tally->unique, "moves", "least", (json_int_t)tally->shortest, "mean",
                         mean_moves(tally), "most", (json_int_t)tally->longest);
    return json_pack("{s:I, s:I, s:{s:I, s:I, s:I, s:I}}", "puzzles", (json_int_t)tally->puzzles, "unique",
                     (json_int_t)tally->unique, "rating", "0", (json_int_t)tally->none, "1-3", (json_int_t)tally->few,
                     "more", (json_int_t)tally->many, "unknown", (json_int_t)tally->unrated);
}

static void print_tally(const char *name, const struct tally *tally, bool maze) {
    printf("%-28s %9ld %9ld", name, tally->puzzles, tally->unique);
    if (maze)
        printf(" %9ld %9.1f %9ld\n", tally->shortest, mean_moves(tally), tally->longest);
    else
        printf(" %9ld %9ld %9ld %9ld\n", tally->none, tally->few, tally->many, tally->unrated);
}

static int print_tallies(const struct data_set *set, const struct tally *all, const struct tally *sources, bool json) {
    const bool maze = set->maze_side > 0;
    if (!json) {
        printf("%-28s %9s %9s %s\n", "source", "puzzles", "unique",
               maze ? "least moves    mean      most" : " rating 0       1-3      more   unknown");
        for (int i = 0; i < set->source_count; i++)
            print_tally(set->source_names[i], &sources[i], maze);
        print_tally("all", all, maze);
        return EXIT_SUCCESS;
    }
    json_t *object = tally_json(all, maze), *by_source = json_object();
    bool complete = object && by_source;
    for (int i = 0; complete && i < set->source_count; i++)
        complete = json_object_set_new(by_source, set->source_names[i], tally_json(&sources[i], maze)) == 0;
    if (!complete || json_object_set(object, "by_source", by_source) != 0) {
        json_decref(object);
        object = NULL;
    }
    json_decref(by_source);
    return print_json(object);
}

/* Counts one row; false if it has another answer too. */
static bool count_row(const struct data_set *set, size_t row, struct tally *all, struct tally *source) {
    const uint8_t *inputs = set->inputs + row * (size_t)set->seq_len;
    bool unique;
    if (set->maze_side) {
        const int moves = data_maze_solve(set->maze_side, inputs, NULL, &unique);
        count_maze(all, unique, moves);
        count_maze(source, unique, moves);
    } else {
        uint8_t puzzle[SUDOKU_MAX_CELLS];
        data_sudoku_grid(set->seq_len, inputs, puzzle);
        unique = data_sudoku_solve(set->sudoku_size, puzzle, 2, NULL, NULL) == 1;
        count_sudoku(all, unique, set->ratings[row]);
        count_sudoku(source, unique, set->ratings[row]);
    }
    return unique;
}

static int run_verify(int argc, char **argv) {
    static const struct option KNOWN[] = {{"csv", required_argument, NULL, CSV},
                                          {"limit", required_argument, NULL, LIMIT},
                                          {"json", no_argument, NULL, JSON},
                                          {0}};
    struct options options;
    if (parse_options(argc, argv, KNOWN, &options) != 0)
        return EXIT_USAGE;
    if (!options.csv)
        return usage_error("verify needs --csv");

    struct data_set *set;
    trm_error err;
    if (data_set_load_csv(options.csv, (size_t)options.limit, &set, &err) != TRM_OK)
        return failure(&err);
    struct tally all = {0}, *sources = calloc((size_t)set->source_count, sizeof *sources);
    if (!sources) {
        trm_fail_memory(&err, (size_t)set->source_count * sizeof *sources);
        data_set_destroy(set);
        return failure(&err);
    }
    for (size_t row = 0; row < set->count; row++) {
        if (!count_row(set, row, &all, &sources[set->sources[row]]))
            fprintf(stderr, "%s:%zu: more than one solution\n", options.csv, row + 2);
    }
    int result = print_tallies(set, &all, sources, options.json);
    if (all.unique < all.puzzles)
        result = EXIT_FAILURE;
    free(sources);
    data_set_destroy(set);
    return result;
}

static int run_import(int argc, char **argv) {
    static const struct option KNOWN[] = {{"config", required_argument, NULL, CONFIG},
                                          {"out", required_argument, NULL, OUT},
                                          {"puzzle", required_argument, NULL, PUZZLE},
                                          {"json", no_argument, NULL, JSON},
                                          {0}};
    struct options options;
    if (argc < 2 || argv[1][0] == '-')
        return usage_error("what to import is missing: trm-data import CHECKPOINT --config FILE --out FILE");
    if (parse_options(argc - 1, argv + 1, KNOWN, &options) != 0)
        return EXIT_USAGE;
    if (!options.config || !options.out)
        return usage_error("import needs --config and --out");

    struct data_import_options wanted = {.checkpoint = argv[1], .puzzle = options.puzzle, .out = options.out};
    struct model_config config;
    struct trm_file file = {0};
    char *text = NULL;
    trm_error err;
    trm_status status = trm_file_map(options.config, &file, &err);
    if (status == TRM_OK) {
        text = file.size > 0 ? strndup((const char *)file.bytes, file.size) : strdup("");
        status = text ? TRM_OK : trm_fail_memory(&err, file.size);
    }
    trm_file_unmap(&file);
    wanted.config = text;
    if (status == TRM_OK)
        status = data_import(&wanted, &config, &err);
    free(text);
    if (status != TRM_OK)
        return failure(&err);
    if (options.json)
        return print_json(json_pack("{s:s, s:s, s:i, s:i, s:i}", "file", options.out, "arch",
                                    model_arch_name(config.arch), "hidden_size", config.hidden_size, "vocab_size",
                                    config.vocab_size, "num_puzzle_identifiers", config.num_puzzle_identifiers));
    printf("%s of hidden size %d, %d tokens, %d puzzle identifiers in %s\n", model_arch_name(config.arch),
           config.hidden_size, config.vocab_size, config.num_puzzle_identifiers, options.out);
    return EXIT_SUCCESS;
}

enum { MAX_SUBSETS = 16 };

/* Splits "a,b" at its commas, in place; the number of names, or 0 if one is empty or there are too many. */
static int split_names(char *text, char *names[MAX_SUBSETS]) {
    int count = 0;
    for (char *name = text; name; count++) {
        char *comma = strchr(name, ',');
        if (comma)
            *comma = '\0';
        if (!*name || count == MAX_SUBSETS)
            return 0;
        names[count] = name;
        name = comma ? comma + 1 : NULL;
    }
    return count;
}

static int build_arc(const struct data_arc_build_options *wanted, bool json) {
    struct data_arc_build_result made;
    trm_error err;
    if (data_arc_build(wanted, &made, &err) != TRM_OK)
        return failure(&err);
    if (json)
        return print_json(json_pack("{s:I, s:I, s:i, s:I, s:I, s:I, s:I, s:s}", "tasks", (json_int_t)made.tasks,
                                    "test_tasks", (json_int_t)made.test_tasks, "identifiers", made.identifiers,
                                    "train_rows", (json_int_t)made.train_rows, "test_rows", (json_int_t)made.test_rows,
                                    "larger", (json_int_t)made.larger, "incomplete", (json_int_t)made.incomplete,
                                    "directory", wanted->dir));
    printf("%zu tasks (%zu to test), %d identifiers, %zu rows to train on and %zu to test in %s\n", made.tasks,
           made.test_tasks, made.identifiers, made.train_rows, made.test_rows, wanted->dir);
    if (made.larger)
        printf("%zu tasks left out, which have grids of more than %d rows or columns\n", made.larger, wanted->side);
    if (made.incomplete)
        printf("%zu tasks have not %d different augmentations\n", made.incomplete, wanted->augment);
    return EXIT_SUCCESS;
}

static int index_arc(const struct data_arc_build_options *wanted, const char *identifiers, bool json) {
    trm_error err;
    int count;
    if (data_arc_index_build(wanted, identifiers, &count, &err) != TRM_OK)
        return failure(&err);
    if (json)
        return print_json(json_pack("{s:i, s:s}", "identifiers", count, "directory", wanted->dir));
    printf("%d identifiers in %s/tasks.safetensors\n", count, wanted->dir);
    return EXIT_SUCCESS;
}

/* Marks which of `names` are in the list `test`; false if that has another. */
static bool mark_testing(char *test, char *const *names, int count, bool testing[MAX_SUBSETS]) {
    char *wanted[MAX_SUBSETS];
    const int tests = split_names(test, wanted);
    for (int i = 0; i < tests; i++) {
        int n = 0;
        while (n < count && strcmp(names[n], wanted[i]) != 0)
            n++;
        if (n == count)
            return false;
        testing[n] = true;
    }
    return tests > 0;
}

static int run_arc(int argc, char **argv) {
    static const struct option KNOWN[] = {{"from", required_argument, NULL, FROM},
                                          {"subsets", required_argument, NULL, SUBSETS},
                                          {"test", required_argument, NULL, TEST},
                                          {"out", required_argument, NULL, OUT},
                                          {"augment", required_argument, NULL, AUGMENT},
                                          {"seed", required_argument, NULL, SEED},
                                          {"size", required_argument, NULL, SIZE},
                                          {"identifiers", required_argument, NULL, IDENTIFIERS},
                                          {"without", required_argument, NULL, WITHOUT},
                                          {"json", no_argument, NULL, JSON},
                                          {0}};
    struct options options;
    if (parse_options(argc, argv, KNOWN, &options) != 0)
        return EXIT_USAGE;
    if (!options.from || !options.subsets || !options.out)
        return usage_error("arc needs --from, --subsets and --out");
    if (options.size == 0)
        options.size = DATA_ARC_SIDE;
    if (options.size > DATA_ARC_SIDE)
        return usage_error("--size: ARC has at most %d rows and columns", DATA_ARC_SIDE);

    char *names[MAX_SUBSETS];
    bool testing[MAX_SUBSETS] = {false};
    char *subsets = strdup(options.subsets), *test = options.test ? strdup(options.test) : NULL;
    const int count = subsets ? split_names(subsets, names) : 0;
    const struct data_arc_build_options wanted = {.prefix = options.from,
                                                  .subsets = names,
                                                  .testing = testing,
                                                  .subset_count = count,
                                                  .augment = (int)options.augment,
                                                  .seed = options.seed,
                                                  .side = (int)options.size,
                                                  .without = options.without,
                                                  .dir = options.out};
    int result;
    if (!subsets || (options.test && !test))
        result = failure(&(trm_error){"out of memory"});
    else if (count == 0)
        result = usage_error("--subsets is a list A,B of at most %d names", MAX_SUBSETS);
    else if (test && !mark_testing(test, names, count, testing))
        result = usage_error("--test names a subset that --subsets has not");
    else if (options.identifiers)
        result = index_arc(&wanted, options.identifiers, options.json);
    else
        result = build_arc(&wanted, options.json);
    free(test);
    free(subsets);
    return result;
}

int main(int argc, char **argv) {
    const char *command = argc > 1 ? argv[1] : "";
    if (strcmp(command, "--help") == 0) {
        fputs(HELP, stdout);
        return EXIT_SUCCESS;
    }
    if (strcmp(command, "--version") == 0) {
        puts("trm-data " TRM_VERSION);
        return EXIT_SUCCESS;
    }
    if (strcmp(command, "sudoku") == 0 || strcmp(command, "maze") == 0)
        return run_convert(strcmp(command, "maze") == 0, argc - 1, argv + 1);
    if (strcmp(command, "generate") == 0)
        return run_generate(argc - 1, argv + 1);
    if (strcmp(command, "clean") == 0)
        return run_clean(argc - 1, argv + 1);
    if (strcmp(command, "verify") == 0)
        return run_verify(argc - 1, argv + 1);
    if (strcmp(command, "import") == 0)
        return run_import(argc - 1, argv + 1);
    if (strcmp(command, "arc") == 0)
        return run_arc(argc - 1, argv + 1);
    return argc > 1 ? usage_error("%s is not a command", command) : usage_error("a command is missing");
}
