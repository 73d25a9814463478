/* command_arc.c - the commands of trm-data for ARC's tasks, and for checkpoints that come from elsewhere. One thread.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/data/arc_build.h"
#include "engine/data/commands.h"
#include "engine/data/import.h"
#include "engine/file.h"

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
        return data_failure(&err);
    if (json)
        return data_print_json(json_pack("{s:I, s:I, s:i, s:I, s:I, s:I, s:I, s:s}", "tasks", (json_int_t)made.tasks,
                                         "test_tasks", (json_int_t)made.test_tasks, "identifiers", made.identifiers,
                                         "train_rows", (json_int_t)made.train_rows, "test_rows",
                                         (json_int_t)made.test_rows, "larger", (json_int_t)made.larger, "incomplete",
                                         (json_int_t)made.incomplete, "directory", wanted->dir));
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
        return data_failure(&err);
    if (json)
        return data_print_json(json_pack("{s:i, s:s}", "identifiers", count, "directory", wanted->dir));
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

int data_run_arc(int argc, char **argv) {
    static const struct option KNOWN[] = {{"from", required_argument, NULL, DATA_FROM},
                                          {"subsets", required_argument, NULL, DATA_SUBSETS},
                                          {"test", required_argument, NULL, DATA_TEST},
                                          {"out", required_argument, NULL, DATA_OUT},
                                          {"augment", required_argument, NULL, DATA_AUGMENT},
                                          {"seed", required_argument, NULL, DATA_SEED},
                                          {"size", required_argument, NULL, DATA_SIZE},
                                          {"identifiers", required_argument, NULL, DATA_IDENTIFIERS},
                                          {"without", required_argument, NULL, DATA_WITHOUT},
                                          {"json", no_argument, NULL, DATA_JSON},
                                          {0}};
    struct data_options options;
    if (data_parse_options(argc, argv, KNOWN, &options) != 0)
        return EXIT_USAGE;
    if (!options.from || !options.subsets || !options.out)
        return data_usage_error("arc needs --from, --subsets and --out");
    if (options.size == 0)
        options.size = DATA_ARC_SIDE;
    if (options.size > DATA_ARC_SIDE)
        return data_usage_error("--size: ARC has at most %d rows and columns", DATA_ARC_SIDE);

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
        result = data_failure(&(trm_error){"out of memory"});
    else if (count == 0)
        result = data_usage_error("--subsets is a list A,B of at most %d names", MAX_SUBSETS);
    else if (test && !mark_testing(test, names, count, testing))
        result = data_usage_error("--test names a subset that --subsets has not");
    else if (options.identifiers)
        result = index_arc(&wanted, options.identifiers, options.json);
    else
        result = build_arc(&wanted, options.json);
    free(test);
    free(subsets);
    return result;
}

int data_run_import(int argc, char **argv) {
    static const struct option KNOWN[] = {{"config", required_argument, NULL, DATA_CONFIG},
                                          {"out", required_argument, NULL, DATA_OUT},
                                          {"puzzle", required_argument, NULL, DATA_PUZZLE},
                                          {"json", no_argument, NULL, DATA_JSON},
                                          {0}};
    struct data_options options;
    if (argc < 2 || argv[1][0] == '-')
        return data_usage_error("what to import is missing: trm-data import CHECKPOINT --config FILE --out FILE");
    if (data_parse_options(argc - 1, argv + 1, KNOWN, &options) != 0)
        return EXIT_USAGE;
    if (!options.config || !options.out)
        return data_usage_error("import needs --config and --out");

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
        return data_failure(&err);
    if (options.json)
        return data_print_json(json_pack("{s:s, s:s, s:i, s:i, s:i}", "file", options.out, "arch",
                                         model_arch_name(config.arch), "hidden_size", config.hidden_size, "vocab_size",
                                         config.vocab_size, "num_puzzle_identifiers", config.num_puzzle_identifiers));
    printf("%s of hidden size %d, %d tokens, %d puzzle identifiers in %s\n", model_arch_name(config.arch),
           config.hidden_size, config.vocab_size, config.num_puzzle_identifiers, options.out);
    return EXIT_SUCCESS;
}
