/* command_sets.c - the commands of trm-data for collections of Sudoku and mazes. One thread, but for the helpers of
 * data_generate(). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/cli.h"
#include "engine/data/commands.h"
#include "engine/data/exclude.h"
#include "engine/data/generate.h"
#include "engine/file.h"

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

/* Drops from `set` what the test sets of the command line have; without any *dropped is -1: not a result. */
static trm_status exclude_tests(const struct data_options *options, struct data_set *set, long *dropped,
                                trm_error *err) {
    struct data_set *tests[DATA_MAX_TESTS] = {NULL};
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
static int print_result(const struct data_options *options, long dropped, json_t *object, const char *text) {
    if (object && dropped >= 0)
        json_object_set_new(object, "dropped", json_integer(dropped));
    if (options->json)
        return data_print_json(object);
    json_decref(object);
    if (dropped >= 0)
        printf("%ld puzzles of test sets dropped, ", dropped);
    puts(text);
    return EXIT_SUCCESS;
}

int data_run_convert(int argc, char **argv) {
    static const struct option KNOWN[] = {{"csv", required_argument, NULL, DATA_CSV},
                                          {"out", required_argument, NULL, DATA_OUT},
                                          {"split", required_argument, NULL, DATA_SPLIT},
                                          {"limit", required_argument, NULL, DATA_LIMIT},
                                          {"augment", required_argument, NULL, DATA_AUGMENT},
                                          {"seed", required_argument, NULL, DATA_SEED},
                                          {"test", required_argument, NULL, DATA_TEST_SET},
                                          {"json", no_argument, NULL, DATA_JSON},
                                          {0}};
    struct data_options options;
    if (data_parse_options(argc, argv, KNOWN, &options) != 0)
        return EXIT_USAGE;
    if (!options.csv || !options.out)
        return data_usage_error("%s needs --csv and --out", argv[0]);

    const bool maze = strcmp(argv[0], "maze") == 0;
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
        result = data_failure(&err);
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

int data_run_generate(int argc, char **argv) {
    static const struct option KNOWN_SUDOKU[] = {{"out", required_argument, NULL, DATA_OUT},
                                                 {"size", required_argument, NULL, DATA_SIZE},
                                                 {"count", required_argument, NULL, DATA_COUNT},
                                                 {"class", required_argument, NULL, DATA_CLASS},
                                                 {"seed", required_argument, NULL, DATA_SEED},
                                                 {"threads", required_argument, NULL, DATA_THREADS},
                                                 {"test", required_argument, NULL, DATA_TEST_SET},
                                                 {"json", no_argument, NULL, DATA_JSON},
                                                 {0}};
    static const struct option KNOWN_MAZE[] = {
        {"out", required_argument, NULL, DATA_OUT},     {"size", required_argument, NULL, DATA_SIZE},
        {"count", required_argument, NULL, DATA_COUNT}, {"min-moves", required_argument, NULL, DATA_MIN_MOVES},
        {"seed", required_argument, NULL, DATA_SEED},   {"threads", required_argument, NULL, DATA_THREADS},
        {"json", no_argument, NULL, DATA_JSON},         {0}};
    struct data_options options;
    const bool maze = argc > 1 && strcmp(argv[1], "maze") == 0;
    if (!maze && (argc < 2 || strcmp(argv[1], "sudoku") != 0))
        return data_usage_error("what to generate is missing: trm-data generate sudoku|maze --count N");
    if (data_parse_options(argc - 1, argv + 1, maze ? KNOWN_MAZE : KNOWN_SUDOKU, &options) != 0)
        return EXIT_USAGE;
    if (!options.size)
        options.size = maze ? 30 : 9;
    if (maze ? options.size < MAZE_MIN_GENERATED : !data_sudoku_box_rows((int)options.size))
        return data_usage_error("bad value for --size");
    if (!options.count)
        return data_usage_error("generate needs --count");
    if (options.json && !options.out)
        return data_usage_error("--json needs --out: standard output has the puzzles");

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
        return data_failure(&err);

    int result = EXIT_SUCCESS;
    long dropped;
    status = exclude_tests(&options, set, &dropped, &err);
    if (status == TRM_OK)
        status = options.out ? data_set_save_csv(set, options.out, &err) : data_set_print_csv(set, stdout, &err);
    if (status == TRM_OK && !options.out && (ferror(stdout) || fflush(stdout) != 0))
        status = trm_fail(&err, TRM_IO, "standard output: %s", strerror(errno));
    if (status != TRM_OK)
        result = data_failure(&err);
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

int data_run_clean(int argc, char **argv) {
    static const struct option KNOWN[] = {
        {"csv", required_argument, NULL, DATA_CSV},     {"out", required_argument, NULL, DATA_OUT},
        {"limit", required_argument, NULL, DATA_LIMIT}, {"test", required_argument, NULL, DATA_TEST_SET},
        {"json", no_argument, NULL, DATA_JSON},         {0}};
    struct data_options options;
    if (data_parse_options(argc, argv, KNOWN, &options) != 0)
        return EXIT_USAGE;
    if (!options.csv || !options.out || options.test_count == 0)
        return data_usage_error("clean needs --csv, --test and --out");

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
        result = data_failure(&err);
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
    return data_print_json(object);
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

int data_run_verify(int argc, char **argv) {
    static const struct option KNOWN[] = {{"csv", required_argument, NULL, DATA_CSV},
                                          {"limit", required_argument, NULL, DATA_LIMIT},
                                          {"json", no_argument, NULL, DATA_JSON},
                                          {0}};
    struct data_options options;
    if (data_parse_options(argc, argv, KNOWN, &options) != 0)
        return EXIT_USAGE;
    if (!options.csv)
        return data_usage_error("verify needs --csv");

    struct data_set *set;
    trm_error err;
    if (data_set_load_csv(options.csv, (size_t)options.limit, &set, &err) != TRM_OK)
        return data_failure(&err);
    struct tally all = {0}, *sources = calloc((size_t)set->source_count, sizeof *sources);
    if (!sources) {
        trm_fail_memory(&err, (size_t)set->source_count * sizeof *sources);
        data_set_destroy(set);
        return data_failure(&err);
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
