/* test_dataset.c - data sets from CSV and directories, friendly and hostile, and drawing from them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/data/dataset.h"
#include "engine/data/npy.h"
#include "engine/data/source.h"
#include "engine/data/sudoku.h"
#include "engine/file.h"

#define HEADER "source,question,answer,rating\n"
#define A1     "1234341221434321"
#define ROW1   "alpha,123.34..2.....2.," A1 ",3\n"
#define ROW2   "beta,0230000000000000," A1 ",\n"

static char directory[64];

static int make_directory(void **state) {
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/trm-test-XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

/* Removes what tests left; the directory is flat but for "set". */
static int remove_directory(void **state) {
    (void)state;
    const char *const folders[] = {"set", "."};
    for (int i = 0; i < 2; i++) {
        char *folder = trm_path_join(directory, folders[i]);
        DIR *list = opendir(folder);
        for (struct dirent *entry; list && (entry = readdir(list));) {
            char *path = trm_path_join(folder, entry->d_name);
            unlink(path);
            free(path);
        }
        if (list)
            closedir(list);
        rmdir(folder);
        free(folder);
    }
    return rmdir(directory);
}

/* Writes `size` bytes to `name` in the test's directory; its path is the caller's. */
static char *write_bytes(const char *name, const void *bytes, size_t size) {
    char *path = trm_path_join(directory, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    return path;
}

static trm_status load_text(const char *text, size_t limit, struct data_set **set, trm_error *err) {
    char *path = write_bytes("puzzles.csv", text, strlen(text));
    const trm_status status = data_set_load(path, limit, set, err);
    free(path);
    return status;
}

static struct data_set *load_good(const char *text) {
    struct data_set *set;
    trm_error err;
    if (load_text(text, 0, &set, &err) != TRM_OK)
        fail_msg("%s", err.text);
    return set;
}

static void csv_rows_become_tokens(void **state) {
    (void)state;
    static const uint8_t INPUTS[32] = {2, 3, 4, 1, 4, 5, 1, 1, 3, 1, 1, 1, 1, 1, 3, 1,
                                       1, 3, 4, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    static const uint8_t LABELS[16] = {2, 3, 4, 5, 4, 5, 2, 3, 3, 2, 5, 4, 5, 4, 3, 2};
    struct data_set *set = load_good(HEADER ROW1 ROW2);
    assert_int_equal(set->count, 2);
    assert_int_equal(set->seq_len, 16);
    assert_int_equal(set->vocab_size, 6);
    assert_int_equal(set->sudoku_size, 4);
    assert_int_equal(set->num_identifiers, 1);
    assert_memory_equal(set->inputs, INPUTS, 32);
    assert_memory_equal(set->labels, LABELS, 16);
    assert_memory_equal(set->labels + 16, LABELS, 16);
    assert_int_equal(set->ratings[0], 3);
    assert_int_equal(set->ratings[1], -1);
    assert_int_equal(set->source_count, 2);
    assert_string_equal(set->source_names[set->sources[0]], "alpha");
    assert_string_equal(set->source_names[set->sources[1]], "beta");
    data_set_destroy(set);
}

static void csv_takes_crlf_and_a_last_line_without_end(void **state) {
    (void)state;
    struct data_set *set = load_good("source,question,answer,rating\r\na,123.34..2.....2.," A1 ",1\r\n"
                                     "a,................," A1 ",2");
    assert_int_equal(set->count, 2);
    assert_int_equal(set->ratings[1], 2);
    data_set_destroy(set);
}

static void limit_takes_the_first_rows_and_reads_no_further(void **state) {
    (void)state;
    struct data_set *set;
    assert_int_equal(load_text(HEADER ROW1 ROW2 "nonsense\n", 2, &set, NULL), TRM_OK);
    assert_int_equal(set->count, 2);
    data_set_destroy(set);
    assert_int_equal(load_text(HEADER ROW1 ROW2, 100, &set, NULL), TRM_OK);
    assert_int_equal(set->count, 2);
    data_set_destroy(set);
}

static void hostile_csv_is_refused_with_file_and_line(void **state) {
    (void)state;
    static const struct {
        const char *text, *where, *why;
    } CASES[] = {
        {"", "puzzles.csv:1:", "header"},
        {"question,answer\n" ROW1, "puzzles.csv:1:", "header"},
        {ROW1, "puzzles.csv:1:", "header"},
        {HEADER, "puzzles.csv:2:", "no puzzle"},
        {HEADER "\n", "puzzles.csv:2:", "16, 36 or 81"},
        {HEADER "a,12," A1 ",0\n", "puzzles.csv:2:", "16, 36 or 81"},
        {HEADER ROW1 "\n" ROW2, "puzzles.csv:3:", "four fields"},
        {HEADER ROW1 "a,123.34..2.....2.," A1 "\n", "puzzles.csv:3:", "four fields"},
        {HEADER ROW1 "a,123.34..2.....2.," A1 ",0,1\n", "puzzles.csv:3:", "four fields"},
        {HEADER ROW1 "a,123.34..2.....2," A1 ",0\n", "puzzles.csv:3:", "15 cells"},
        {HEADER ROW1 "a,123.34..2.....2.," A1 "1,0\n", "puzzles.csv:3:", "17 cells"},
        {HEADER ROW1 ROW2 "a,123.3x..2.....2.," A1 ",0\n",
         "puzzles.csv:4:", "question has a bad symbol at row 2, column 2"},
        {HEADER ROW1 "a,123.35..2.....2.," A1 ",0\n", "puzzles.csv:3:", "bad symbol"},
        {HEADER ROW1 "a,123.34..2.....2.,1234341221434325,0\n", "puzzles.csv:3:", "answer has a bad symbol"},
        {HEADER ROW1 "a,123.34..2.....2.,123434122143432.,0\n", "puzzles.csv:3:", "breaks the rules"},
        {HEADER ROW1 "a,123.34..2.....2.,1234341221434312,0\n", "puzzles.csv:3:", "breaks the rules"},
        {HEADER ROW1 "a,2...............," A1 ",0\n", "puzzles.csv:3:", "breaks the rules or a clue"},
        {HEADER ROW1 "a,123.34..2.....2.," A1 ",-1\n", "puzzles.csv:3:", "rating"},
        {HEADER ROW1 "a,123.34..2.....2.," A1 ",1.5\n", "puzzles.csv:3:", "rating"},
        {HEADER ROW1 "a,123.34..2.....2.," A1 ",99999999999999999999999\n", "puzzles.csv:3:", "rating"},
        {HEADER ROW1 ",123.34..2.....2.," A1 ",0\n", "puzzles.csv:3:", "source"},
        {HEADER ROW1 "a\x01,123.34..2.....2.," A1 ",0\n", "puzzles.csv:3:", "source"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct data_set *set = (void *)&i;
        trm_error err = {""};
        assert_int_equal(load_text(CASES[i].text, 0, &set, &err), TRM_FORMAT);
        assert_null(set);
        if (!strstr(err.text, CASES[i].where) || !strstr(err.text, CASES[i].why))
            fail_msg("case %zu: \"%s\" lacks \"%s\" or \"%s\"", i, err.text, CASES[i].where, CASES[i].why);
    }
}

static void a_nul_byte_in_csv_is_a_bad_symbol(void **state) {
    (void)state;
    char text[] = HEADER ROW1;
    struct data_set *set;
    trm_error err;
    text[sizeof HEADER - 1 + 8] = '\0';
    char *path = write_bytes("puzzles.csv", text, sizeof text - 1);
    assert_int_equal(data_set_load(path, 0, &set, &err), TRM_FORMAT);
    assert_non_null(strstr(err.text, ":2: the question has a bad symbol at row 1, column 3"));
    free(path);
}

static void missing_files_are_named(void **state) {
    (void)state;
    struct data_set *set;
    trm_error err;
    assert_int_equal(data_set_load("/nowhere/puzzles.csv", 0, &set, &err), TRM_IO);
    assert_non_null(strstr(err.text, "/nowhere/puzzles.csv"));
    assert_int_equal(data_set_load("/dev/null", 0, &set, &err), TRM_IO);
    assert_int_equal(data_set_load(directory, 0, &set, &err), TRM_IO);
    assert_non_null(strstr(err.text, "dataset.json"));
}

static void csv_written_is_csv_read(void **state) {
    (void)state;
    struct data_set *set = load_good(HEADER ROW1 ROW2);
    char *path = trm_path_join(directory, "copy.csv");
    assert_int_equal(data_set_save_csv(set, path, NULL), TRM_OK);
    struct trm_file file;
    assert_int_equal(trm_file_map(path, &file, NULL), TRM_OK);
    static const char EXPECTED[] = HEADER ROW1 "beta,.23.............," A1 ",\n";
    assert_int_equal(file.size, sizeof EXPECTED - 1);
    assert_memory_equal(file.bytes, EXPECTED, file.size);
    trm_file_unmap(&file);
    free(path);
    data_set_destroy(set);
}

/* "set" in the test's directory; the caller's. */
static char *set_path(void) {
    return trm_path_join(directory, "set");
}

static struct data_set *save_and_load(const struct data_set *set, size_t limit) {
    struct data_set *loaded = NULL;
    trm_error err;
    char *path = set_path();
    if (data_set_save(set, path, &err) != TRM_OK || data_set_load(path, limit, &loaded, &err) != TRM_OK)
        fail_msg("%s", err.text);
    free(path);
    return loaded;
}

static void the_original_layout_written_is_read_back(void **state) {
    (void)state;
    struct data_set *set = load_good(HEADER ROW1 ROW2);
    struct data_set *loaded = save_and_load(set, 0);
    assert_int_equal(loaded->count, 2);
    assert_int_equal(loaded->vocab_size, 6);
    assert_int_equal(loaded->sudoku_size, 4);
    assert_memory_equal(loaded->inputs, set->inputs, 32);
    assert_memory_equal(loaded->labels, set->labels, 32);
    assert_int_equal(loaded->ratings[0], -1);
    assert_string_equal(loaded->source_names[0], "all");
    assert_int_equal(loaded->group_count, 2);
    data_set_destroy(loaded);
    loaded = save_and_load(set, 1);
    assert_int_equal(loaded->count, 1);
    data_set_destroy(loaded);
    data_set_destroy(set);
}

static void saving_leaves_only_the_named_files(void **state) {
    (void)state;
    struct data_set *set = load_good(HEADER ROW1);
    data_set_destroy(save_and_load(set, 0));
    data_set_destroy(save_and_load(set, 0));
    char *path = set_path();
    DIR *list = opendir(path);
    int files = 0;
    for (struct dirent *entry; (entry = readdir(list));) {
        assert_null(strstr(entry->d_name, "tmp"));
        files += entry->d_name[0] != '.';
    }
    assert_int_equal(files, 6);
    closedir(list);
    free(path);
    data_set_destroy(set);
}

static void augmentation_makes_groups_of_valid_images(void **state) {
    (void)state;
    struct data_set *set = load_good(HEADER ROW1 ROW2), *augmented;
    struct data_rng rng;
    data_rng_seed(&rng, 1);
    assert_int_equal(data_set_augment(set, 3, &rng, &augmented, NULL), TRM_OK);
    assert_int_equal(augmented->count, 8);
    assert_memory_equal(augmented->inputs + 64, set->inputs + 16, 16);
    assert_memory_not_equal(augmented->inputs + 80, set->inputs + 16, 16);

    struct data_set *loaded = save_and_load(augmented, 0);
    assert_int_equal(loaded->sudoku_size, 4); /* every row obeys the rules */
    assert_memory_equal(loaded->inputs, augmented->inputs, 8 * 16);
    assert_int_equal(loaded->group_count, 2);
    for (int i = 0; i < 3; i++)
        assert_int_equal(loaded->groups[i], 4 * i);
    data_set_destroy(loaded);
    data_set_destroy(augmented);
    data_set_destroy(set);
}

/* Saves a good set of two rows, then puts `size` bytes in the place of one of its files. */
static trm_status load_spoilt(const char *name, const void *bytes, size_t size, struct data_set **set, trm_error *err) {
    struct data_set *good = load_good(HEADER ROW1 ROW2);
    char inside[64];
    data_set_destroy(save_and_load(good, 0));
    data_set_destroy(good);
    snprintf(inside, sizeof inside, "set/%s", name);
    free(write_bytes(inside, bytes, size));
    char *path = set_path();
    const trm_status status = data_set_load(path, 0, set, err);
    free(path);
    return status;
}

/* Builds a .npy file of `version` in `file`; returns its size. */
static size_t build_npy(uint8_t *file, int version, const char *dictionary, const void *items, size_t size) {
    const size_t length = strlen(dictionary);
    const uint8_t start[12] = {
        0x93, 'N', 'U', 'M', 'P', 'Y', (uint8_t)version, 0, (uint8_t)length, (uint8_t)(length >> 8)};
    const size_t start_size = version == 1 ? 10 : 12;
    memcpy(file, start, start_size);
    for (size_t i = 0; i < length; i++)
        file[start_size + i] = (uint8_t)dictionary[i];
    memcpy(file + start_size + length, items, size);
    return start_size + length + size;
}

#define NPY(type, shape) "{'descr': '" type "', 'fortran_order': False, 'shape': " shape ", }\n"

static void every_integer_type_and_version_is_read(void **state) {
    (void)state;
    static const char *const HEADERS[] = {NPY("|u1", "(2, 16)"), NPY("|i1", "(2, 16)"), NPY("<u2", "(2, 16)"),
                                          NPY("<i2", "(2, 16)"), NPY("<u4", "(2, 16)"), NPY("<i4", "(2, 16)"),
                                          NPY("<u8", "(2, 16)"), NPY("<i8", "(2, 16)")};
    for (int type = 0; type < 8; type++) {
        const size_t item = (size_t)1 << (type / 2);
        uint8_t items[32 * 8] = {0}, file[1024];
        struct data_set *set;
        trm_error err;
        for (size_t i = 0; i < 32; i++)
            items[i * item] = (uint8_t)(1 + i % 5);
        const size_t size = build_npy(file, 1 + type % 3, HEADERS[type], items, 32 * item);
        if (load_spoilt("all__inputs.npy", file, size, &set, &err) != TRM_OK)
            fail_msg("%s: %s", HEADERS[type], err.text);
        for (size_t i = 0; i < 32; i++)
            assert_int_equal(set->inputs[i], 1 + i % 5);
        assert_int_equal(set->sudoku_size, 0); /* the labels do not keep such clues */
        data_set_destroy(set);
    }
}

static void negative_integers_keep_their_sign(void **state) {
    (void)state;
    uint8_t file[256];
    struct data_npy array;
    const int16_t items[3] = {-1, 300, INT16_MIN};
    const size_t size = build_npy(file, 1, NPY("<i2", "(3,)"), items, sizeof items);
    char *path = write_bytes("x.npy", file, size);
    assert_int_equal(data_npy_open(path, &array, NULL), TRM_OK);
    assert_int_equal(array.rank, 1);
    for (size_t i = 0; i < 3; i++)
        assert_true(data_npy_at(&array, i) == items[i]);
    data_npy_close(&array);
    free(path);
}

static void hostile_arrays_are_refused(void **state) {
    (void)state;
    static const uint8_t ZEROS[64] = {0}, NINES[32] = {9};
    static const int32_t FALLING[3] = {0, 2, 1}, LATE[3] = {1, 1, 2}, SHORT[3] = {0, 1, 1}, NEGATIVE[3] = {0, -1, 2};
    static const int32_t BIG_IDENTIFIER[2] = {0, 1}, MINUS_IDENTIFIER[2] = {-1, 0};
    static const struct {
        const char *name, *dictionary;
        const void *items;
        size_t size;
        trm_status status;
    } CASES[] = {
        {"all__inputs.npy", NPY("|u1", "(2, 16)"), ZEROS, 31, TRM_FORMAT},
        {"all__inputs.npy", NPY("|u1", "(2, 16)"), ZEROS, 33, TRM_FORMAT},
        {"all__inputs.npy", NPY("|u1", "(2, 16)"), NINES, 32, TRM_FORMAT},
        {"all__labels.npy", NPY("|i1", "(2, 16)"),
         "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
         "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
         32, TRM_FORMAT},
        {"all__inputs.npy", NPY("|u1", "(32,)"), ZEROS, 32, TRM_FORMAT},
        {"all__inputs.npy", NPY("|u1", "(4, 8)"), ZEROS, 32, TRM_FORMAT},
        {"all__inputs.npy", NPY("|u1", "(3, 16)"), ZEROS, 48, TRM_FORMAT},
        {"all__inputs.npy", NPY("|u1", "(2, 16"), ZEROS, 32, TRM_FORMAT},
        {"all__inputs.npy", NPY("|u1", "(-2, -16)"), ZEROS, 32, TRM_FORMAT},
        {"all__inputs.npy", NPY("|u1", "()"), ZEROS, 1, TRM_FORMAT},
        {"all__inputs.npy", NPY("|u1", "(4294967296, 4294967297)"), ZEROS, 32, TRM_FORMAT},
        {"all__inputs.npy", NPY("<i8", "(2305843009213693952, 1)"), ZEROS, 0, TRM_FORMAT},
        {"all__inputs.npy", NPY("|u1", "(99999999999999999999999, 16)"), ZEROS, 32, TRM_FORMAT},
        {"all__inputs.npy", NPY("|u1", "(2, 4, 4)"), ZEROS, 32, TRM_UNSUPPORTED},
        {"all__inputs.npy", NPY(">i2", "(2, 16)"), ZEROS, 64, TRM_UNSUPPORTED},
        {"all__inputs.npy", NPY("<f4", "(1, 16)"), ZEROS, 64, TRM_UNSUPPORTED},
        {"all__inputs.npy", NPY("|O", "(1, 16)"), ZEROS, 64, TRM_UNSUPPORTED},
        {"all__inputs.npy", "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 16), }", ZEROS, 32, TRM_UNSUPPORTED},
        {"all__inputs.npy", "{'descr': '|u1', 'fortran_order': False}", ZEROS, 32, TRM_FORMAT},
        {"all__inputs.npy", "{}", ZEROS, 32, TRM_FORMAT},
        {"all__puzzle_indices.npy", NPY("<i4", "(3,)"), FALLING, 12, TRM_FORMAT},
        {"all__puzzle_indices.npy", NPY("<i4", "(3,)"), LATE, 12, TRM_FORMAT},
        {"all__puzzle_indices.npy", NPY("<i4", "(3,)"), SHORT, 12, TRM_FORMAT},
        {"all__puzzle_indices.npy", NPY("<i4", "(3,)"), NEGATIVE, 12, TRM_FORMAT},
        {"all__puzzle_indices.npy", NPY("<i4", "(0,)"), ZEROS, 0, TRM_FORMAT},
        {"all__puzzle_indices.npy", NPY("<i4", "(2,)"), &LATE[1], 8, TRM_FORMAT},
        {"all__group_indices.npy", NPY("<i4", "(3,)"), FALLING, 12, TRM_FORMAT},
        {"all__group_indices.npy", NPY("<i4", "(3,)"), SHORT, 12, TRM_FORMAT},
        {"all__puzzle_identifiers.npy", NPY("<i4", "(2,)"), BIG_IDENTIFIER, 8, TRM_FORMAT},
        {"all__puzzle_identifiers.npy", NPY("<i4", "(2,)"), MINUS_IDENTIFIER, 8, TRM_FORMAT},
        {"all__puzzle_identifiers.npy", NPY("<i4", "(3,)"), ZEROS, 12, TRM_FORMAT},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        uint8_t file[1024];
        struct data_set *set = (void *)&i;
        trm_error err = {""};
        const size_t size = build_npy(file, 1, CASES[i].dictionary, CASES[i].items, CASES[i].size);
        const trm_status status = load_spoilt(CASES[i].name, file, size, &set, &err);
        if (status != CASES[i].status || set || !strstr(err.text, directory))
            fail_msg("case %zu: status %d, \"%s\"", i, status, err.text);
    }
}

static void cut_and_random_array_files_are_refused(void **state) {
    (void)state;
    static const uint8_t items[32] = {1};
    uint8_t file[1024];
    struct data_set *set;
    const size_t size = build_npy(file, 1, NPY("|u1", "(2, 16)"), items, sizeof items);
    for (size_t cut = 0; cut < size; cut++)
        assert_int_equal(load_spoilt("all__inputs.npy", file, cut, &set, NULL), TRM_FORMAT);
    file[6] = 4;
    assert_int_equal(load_spoilt("all__inputs.npy", file, size, &set, NULL), TRM_UNSUPPORTED);
    file[6] = 2; /* the length of the header now takes two bytes of its text */
    assert_int_equal(load_spoilt("all__inputs.npy", file, size, &set, NULL), TRM_FORMAT);
    file[0] = 'N';
    assert_int_equal(load_spoilt("all__inputs.npy", file, size, &set, NULL), TRM_FORMAT);
}

#define META(seq, vocab, identifiers, rest)                                                                            \
    "{\"seq_len\": " seq ", \"vocab_size\": " vocab ", \"num_puzzle_identifiers\": " identifiers ", " rest "}"

static void hostile_metadata_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *why;
        trm_status status;
    } CASES[] = {
        {"", "dataset.json", TRM_FORMAT},
        {"{", "dataset.json", TRM_FORMAT},
        {"[]", "not a JSON object", TRM_FORMAT},
        {"{}", "seq_len", TRM_FORMAT},
        {META("17", "6", "1", "\"sets\": [\"all\"]"), "all__inputs.npy", TRM_FORMAT},
        {META("0", "6", "1", "\"sets\": [\"all\"]"), "seq_len", TRM_FORMAT},
        {META("1e99", "6", "1", "\"sets\": [\"all\"]"), "seq_len", TRM_FORMAT},
        {META("16", "257", "1", "\"sets\": [\"all\"]"), "vocab_size", TRM_FORMAT},
        {META("16", "4", "1", "\"sets\": [\"all\"]"), "vocabulary of 4", TRM_FORMAT},
        {META("16", "6", "\"1\"", "\"sets\": [\"all\"]"), "num_puzzle_identifiers", TRM_FORMAT},
        {META("16", "6", "1", "\"sets\": []"), "sets", TRM_FORMAT},
        {META("16", "6", "1", "\"sets\": \"all\""), "sets", TRM_FORMAT},
        {META("16", "6", "1", "\"sets\": [\"all\", 3]"), "sets", TRM_FORMAT},
        {META("16", "6", "1", "\"sets\": [\"../set/all\"]"), "sets", TRM_FORMAT},
        {META("16", "6", "1", "\"sets\": [\"none\"]"), "none__inputs.npy", TRM_IO},
        {META("16", "6", "1", "\"sets\": [\"all\"], \"ignore_label_id\": 5"), "ignore_label_id", TRM_UNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct data_set *set = (void *)&i;
        trm_error err = {""};
        const trm_status status = load_spoilt("dataset.json", CASES[i].text, strlen(CASES[i].text), &set, &err);
        if (status != CASES[i].status || set || !strstr(err.text, CASES[i].why))
            fail_msg("case %zu: status %d, \"%s\"", i, status, err.text);
    }
}

static void several_sets_are_read_one_after_the_other(void **state) {
    (void)state;
    static const char TEXT[] = META("16", "6", "1", "\"sets\": [\"all\", \"all\"], \"ignore_label_id\": null");
    struct data_set *set;
    assert_int_equal(load_spoilt("dataset.json", TEXT, sizeof TEXT - 1, &set, NULL), TRM_OK);
    assert_int_equal(set->count, 4);
    assert_memory_equal(set->inputs, set->inputs + 32, 32);
    assert_int_equal(set->group_count, 4);
    assert_int_equal(set->groups[3], 3);
    assert_int_equal(set->groups[4], 4);
    data_set_destroy(set);
}

static void sources_draw_parts_by_weight_and_rows_evenly(void **state) {
    (void)state;
    struct data_set *set[2] = {load_good(HEADER ROW1), load_good(HEADER ROW1 ROW2)};
    const struct data_source_part parts[2] = {{set[0], NULL, 1, 3, 0}, {set[1], NULL, 3, 0, 0}};
    data_source *source;
    struct data_rng rng;
    int drawn[2] = {0}, second_row = 0;
    data_rng_seed(&rng, 1);
    assert_int_equal(data_source_create(parts, 2, false, &source, NULL), TRM_OK);
    assert_int_equal(data_source_seq_len(source), 16);
    assert_int_equal(data_source_vocab_size(source), 6);
    assert_int_equal(data_source_identifiers(source), 1);
    for (int i = 0; i < 8000; i++) {
        uint8_t inputs[16], labels[16];
        int32_t identifier;
        int part;
        size_t row;
        data_source_next(source, 0.0, &rng, inputs, labels, &identifier, &part, &row);
        assert_in_range(part, 0, 1);
        assert_true(row < set[part]->count);
        assert_memory_equal(inputs, set[part]->inputs + row * 16, 16);
        assert_memory_equal(labels, set[part]->labels + row * 16, 16);
        assert_int_equal(identifier, 0);
        drawn[part]++;
        second_row += row == 1;
    }
    assert_in_range(drawn[0], 2000 - 200, 2000 + 200);
    assert_in_range(second_row, 3000 - 220, 3000 + 220);
    static const struct {
        double progress;
        int first; /* draws of 8000 from the first part */
    } LATER[] = {{0.5, 8000 * 4 / 7}, {1.0, 8000}};
    for (int k = 0; k < 2; k++) {
        drawn[0] = 0;
        for (int i = 0; i < 8000; i++) {
            uint8_t inputs[16], labels[16];
            int32_t identifier;
            int part;
            size_t row;
            data_source_next(source, LATER[k].progress, &rng, inputs, labels, &identifier, &part, &row);
            drawn[0] += part == 0;
        }
        assert_in_range(drawn[0], LATER[k].first - 220, LATER[k].first + 220);
    }
    assert_int_equal(drawn[0], 8000); /* a part of weight 0 is never drawn */
    data_source_destroy(source);
    data_set_destroy(set[0]);
    data_set_destroy(set[1]);
}

static void augmented_draws_are_valid_images_and_repeat_with_the_rng(void **state) {
    (void)state;
    struct data_set *set = load_good(HEADER ROW1 ROW2);
    const struct data_source_part part = {set, NULL, 1, 1, 0};
    data_source *source;
    struct data_rng rng, saved;
    uint8_t draws[50][2][16];
    int changed = 0;
    data_rng_seed(&rng, 2);
    assert_int_equal(data_source_create(&part, 1, true, &source, NULL), TRM_OK);
    saved = rng;
    for (int i = 0; i < 100; i++) {
        uint8_t inputs[16], labels[16], puzzle[16], answer[16];
        int32_t identifier;
        int which;
        size_t row;
        if (i == 50)
            rng = saved;
        data_source_next(source, 0.5, &rng, inputs, labels, &identifier, &which, &row);
        data_sudoku_grid(16, inputs, puzzle);
        data_sudoku_grid(16, labels, answer);
        assert_true(data_sudoku_verify(4, puzzle, answer));
        changed += memcmp(labels, set->labels + row * 16, 16) != 0;
        if (i < 50) {
            memcpy(draws[i][0], inputs, 16);
            memcpy(draws[i][1], labels, 16);
        } else {
            assert_memory_equal(draws[i - 50][0], inputs, 16);
            assert_memory_equal(draws[i - 50][1], labels, 16);
        }
    }
    assert_true(changed > 80);
    data_source_destroy(source);
    data_set_destroy(set);
}

static void some_cells_of_the_answer_become_clues(void **state) {
    (void)state;
    enum { MOST = 3, DRAWS = 4000 };
    struct data_set *set = load_good(HEADER ROW1);
    const struct data_source_part part = {.set = set, .weight = 1, .final_weight = 1, .reveal = MOST};
    data_source *source;
    struct data_rng rng;
    int shown[MOST + 1] = {0}, cells[16] = {0}, empty = 0;
    data_rng_seed(&rng, 4);
    assert_int_equal(data_source_create(&part, 1, false, &source, NULL), TRM_OK);
    for (int draw = 0; draw < DRAWS; draw++) {
        uint8_t inputs[16], labels[16];
        int32_t identifier;
        int which, count = 0;
        size_t row;
        data_source_next(source, 0.0, &rng, inputs, labels, &identifier, &which, &row);
        assert_memory_equal(labels, set->labels, 16);
        for (int i = 0; i < 16; i++)
            if (inputs[i] != set->inputs[i]) {
                assert_int_equal(inputs[i], labels[i]);
                cells[i]++;
                count++;
            }
        assert_in_range(count, 0, MOST);
        shown[count]++;
    }
    for (int count = 0; count <= MOST; count++)
        assert_in_range(shown[count], DRAWS / (MOST + 1) - 150, DRAWS / (MOST + 1) + 150);
    for (int i = 0; i < 16; i++)
        empty += set->inputs[i] == 1;
    for (int i = 0; i < 16; i++) {
        const int even = set->inputs[i] == 1 ? DRAWS * MOST / 2 / empty : 0;
        assert_in_range(cells[i], even - even / 4, even + even / 4);
    }
    data_source_destroy(source);
    data_set_destroy(set);
}

/* Draws from a source of 9x9 Sudoku that has no end. */
static void draw_fresh(const data_source *source, struct data_rng *rng, uint8_t puzzle[81], uint8_t answer[81],
                       int *part) {
    uint8_t inputs[81], labels[81];
    int32_t identifier;
    size_t row;
    data_source_next(source, 0.5, rng, inputs, labels, &identifier, part, &row);
    assert_int_equal(identifier, 0);
    data_sudoku_grid(81, inputs, puzzle);
    data_sudoku_grid(81, labels, answer);
}

/* A source of two streams. */
static void open_streams(data_stream *streams[2], data_source **source) {
    const double shares[SUDOKU_CLASSES] = {[SUDOKU_EASY] = 1, [SUDOKU_HARD] = 3};
    const struct data_generate_options easy = {.size = 9, .wanted = SUDOKU_EASY, .threads = 2};
    const struct data_generate_options some = {.size = 9, .shares = shares, .seed = 1, .threads = 1};
    assert_int_equal(data_stream_create(&easy, 4, &streams[0], NULL), TRM_OK);
    assert_int_equal(data_stream_create(&some, 1, &streams[1], NULL), TRM_OK);
    const struct data_source_part parts[2] = {{NULL, streams[0], 1, 1, 0}, {NULL, streams[1], 1, 1, 0}};
    assert_int_equal(data_source_create(parts, 2, true, source, NULL), TRM_OK);
}

static void a_source_without_end_makes_a_new_puzzle_at_every_draw(void **state) {
    (void)state;
    data_stream *streams[2], *same_streams[2];
    data_source *source, *same_source;
    open_streams(streams, &source);
    open_streams(same_streams, &same_source);
    assert_int_equal(data_source_seq_len(source), 81);
    assert_int_equal(data_source_vocab_size(source), 11);
    assert_int_equal(data_source_identifiers(source), 1);
    struct data_rng rng, same;
    int guessed[2] = {0}, drawn[2] = {0};
    uint8_t before[81] = {0};
    data_rng_seed(&rng, 1);
    data_rng_seed(&same, 1);
    for (int i = 0; i < 200; i++) {
        uint8_t puzzle[81], answer[81], again[81], again_answer[81];
        int part, part_again, guesses;
        draw_fresh(source, &rng, puzzle, answer, &part);
        draw_fresh(same_source, &same, again, again_answer, &part_again);
        assert_memory_equal(puzzle, again, 81);
        assert_true(data_sudoku_verify(9, puzzle, answer));
        assert_int_equal(data_sudoku_solve(9, puzzle, 2, NULL, NULL), 1);
        data_sudoku_solve(9, puzzle, 1, NULL, &guesses);
        assert_memory_not_equal(puzzle, before, 81);
        memcpy(before, puzzle, 81);
        drawn[part]++;
        guessed[part] += guesses > 0;
    }
    assert_true(drawn[0] > 60 && drawn[1] > 60);
    assert_int_equal(guessed[0], 0);
    assert_true(guessed[1] > drawn[1] / 2 && guessed[1] < drawn[1]);
    data_source_destroy(same_source);
    data_source_destroy(source);
    for (int i = 0; i < 2; i++) {
        data_stream_destroy(same_streams[i]);
        data_stream_destroy(streams[i]);
    }
}

static void a_generator_of_what_there_is_not_is_refused(void **state) {
    (void)state;
    const struct data_generate_options none[] = {{.size = 4, .wanted = SUDOKU_VERY_HARD},
                                                 {.maze = true, .size = 5, .min_moves = 25}};
    const struct data_generate_options wrong = {.maze = true, .size = 4};
    data_generator *generator = (void *)&wrong;
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        assert_int_equal(data_generator_create(&none[i], &generator, NULL), TRM_UNSUPPORTED);
        assert_null(generator);
    }
    assert_int_equal(data_generator_create(&wrong, &generator, NULL), TRM_INVALID);
}

static void sources_refuse_what_does_not_fit_together(void **state) {
    (void)state;
    struct data_set *four = load_good(HEADER ROW1), *nine;
    assert_int_equal(data_set_create_sudoku(9, 1, &nine, NULL), TRM_OK);
    const struct {
        struct data_source_part parts[2];
        int count;
    } cases[] = {{{{four, NULL, 1, 1, 0}, {nine, NULL, 1, 1, 0}}, 2},
                 {{{four, NULL, 0, 1, 0}}, 1},
                 {{{four, NULL, 1, 0, 0}}, 1},
                 {{{four, NULL, -1, 1, 0}, {four, NULL, 2, 2, 0}}, 2},
                 {{{four, NULL, (double)NAN, 1, 0}}, 1},
                 {{{four, NULL, 1, (double)INFINITY, 0}}, 1},
                 {{{four, NULL, 1, 1, 0}}, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        data_source *source = (void *)four;
        assert_int_equal(data_source_create(cases[i].parts, cases[i].count, false, &source, NULL), TRM_INVALID);
        assert_null(source);
    }
    data_set_destroy(four);
    data_set_destroy(nine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(csv_rows_become_tokens),
        cmocka_unit_test(csv_takes_crlf_and_a_last_line_without_end),
        cmocka_unit_test(limit_takes_the_first_rows_and_reads_no_further),
        cmocka_unit_test(hostile_csv_is_refused_with_file_and_line),
        cmocka_unit_test(a_nul_byte_in_csv_is_a_bad_symbol),
        cmocka_unit_test(missing_files_are_named),
        cmocka_unit_test(csv_written_is_csv_read),
        cmocka_unit_test(the_original_layout_written_is_read_back),
        cmocka_unit_test(saving_leaves_only_the_named_files),
        cmocka_unit_test(augmentation_makes_groups_of_valid_images),
        cmocka_unit_test(every_integer_type_and_version_is_read),
        cmocka_unit_test(negative_integers_keep_their_sign),
        cmocka_unit_test(hostile_arrays_are_refused),
        cmocka_unit_test(cut_and_random_array_files_are_refused),
        cmocka_unit_test(hostile_metadata_is_refused),
        cmocka_unit_test(several_sets_are_read_one_after_the_other),
        cmocka_unit_test(sources_draw_parts_by_weight_and_rows_evenly),
        cmocka_unit_test(some_cells_of_the_answer_become_clues),
        cmocka_unit_test(augmented_draws_are_valid_images_and_repeat_with_the_rng),
        cmocka_unit_test(a_source_without_end_makes_a_new_puzzle_at_every_draw),
        cmocka_unit_test(a_generator_of_what_there_is_not_is_refused),
        cmocka_unit_test(sources_refuse_what_does_not_fit_together),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
