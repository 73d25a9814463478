/* test_arc.c - ARC grids, names, hashes and votes against the original's, and against themselves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/data/arc.h"
#include "engine/data/arc_poll.h"
#include "engine/data/arc_task.h"
#include "engine/train/arc_score.h"

#define GOLDEN "../shared/golden/arc.json"

static json_t *golden; /* NULL when the file is absent */

static int load_golden(void **state) {
    (void)state;
    golden = json_load_file(GOLDEN, 0, NULL);
    return 0;
}

static int release_golden(void **state) {
    (void)state;
    json_decref(golden);
    return 0;
}

/* A table of the golden file; skips the test when there is none. */
static json_t *table(const char *name) {
    if (!golden) {
        print_message(GOLDEN " is absent\n");
        skip();
    }
    json_t *found = json_object_get(golden, name);
    assert_non_null(found);
    return found;
}

static struct data_arc_grid grid_of(const json_t *rows) {
    struct data_arc_grid grid = {.rows = (uint8_t)json_array_size(rows)};
    grid.cols = (uint8_t)json_array_size(json_array_get(rows, 0));
    for (size_t r = 0; r < grid.rows; r++)
        for (size_t c = 0; c < grid.cols; c++)
            grid.cells[r * grid.cols + c] = (uint8_t)json_integer_value(json_array_get(json_array_get(rows, r), c));
    return grid;
}

static void assert_grid(const struct data_arc_grid *grid, const json_t *rows) {
    const struct data_arc_grid wanted = grid_of(rows);
    assert_int_equal(grid->rows, wanted.rows);
    assert_int_equal(grid->cols, wanted.cols);
    assert_memory_equal(grid->cells, wanted.cells, (size_t)wanted.rows * wanted.cols);
}

static int integer(const json_t *object, const char *name) {
    assert_true(json_is_integer(json_object_get(object, name)));
    return (int)json_integer_value(json_object_get(object, name));
}

static const char *text(const json_t *object, const char *name) {
    assert_true(json_is_string(json_object_get(object, name)));
    return json_string_value(json_object_get(object, name));
}

static void assert_tokens(const struct data_arc_grid *grid, int top, int left, const json_t *sequence) {
    uint8_t tokens[DATA_ARC_CELLS];
    data_arc_tokens(grid, DATA_ARC_SIDE, top, left, tokens);
    assert_int_equal(json_array_size(sequence), DATA_ARC_CELLS);
    for (size_t i = 0; i < DATA_ARC_CELLS; i++)
        assert_int_equal(tokens[i], json_integer_value(json_array_get(sequence, i)));
}

static void read_tokens(const json_t *sequence, int32_t tokens[DATA_ARC_CELLS]) {
    assert_int_equal(json_array_size(sequence), DATA_ARC_CELLS);
    for (size_t i = 0; i < DATA_ARC_CELLS; i++)
        tokens[i] = (int32_t)json_integer_value(json_array_get(sequence, i));
}

static void assert_hash(const struct data_arc_grid *grid, const char *wanted) {
    uint8_t hash[DATA_ARC_HASH];
    char hex[2 * DATA_ARC_HASH + 1];
    data_arc_grid_hash(grid, hash);
    data_arc_hex(hash, hex);
    assert_string_equal(hex, wanted);
}

/* ---- tables of the original ---- */

static void test_sequences_are_the_originals(void **state) {
    (void)state;
    size_t i;
    json_t *entry;
    json_array_foreach(table("sequences"), i, entry) {
        const struct data_arc_grid input = grid_of(json_object_get(entry, "input"));
        const struct data_arc_grid output = grid_of(json_object_get(entry, "output"));
        assert_tokens(&input, 0, 0, json_object_get(entry, "input_seq"));
        assert_tokens(&output, 0, 0, json_object_get(entry, "output_seq"));
    }
    json_array_foreach(table("sequences_with_translation"), i, entry) {
        const struct data_arc_grid input = grid_of(json_object_get(entry, "input"));
        const struct data_arc_grid output = grid_of(json_object_get(entry, "output"));
        const int top = integer(entry, "pad_r"), left = integer(entry, "pad_c");
        assert_tokens(&input, top, left, json_object_get(entry, "input_seq"));
        assert_tokens(&output, top, left, json_object_get(entry, "output_seq"));
    }
}

static void test_dihedral_transforms_are_the_originals(void **state) {
    (void)state;
    size_t i;
    json_t *entry;
    json_array_foreach(table("dihedral"), i, entry) {
        const struct data_arc_grid grid = grid_of(json_object_get(entry, "grid"));
        struct data_arc_augment augment = DATA_ARC_IDENTITY;
        struct data_arc_grid image;
        augment.transform = (uint8_t)integer(entry, "id");
        data_arc_transform(augment.transform, &grid, &image);
        assert_grid(&image, json_object_get(entry, "result"));
        data_arc_transform(integer(entry, "inverse_id"), &grid, &image);
        assert_grid(&image, json_object_get(entry, "inverse_of_grid"));
        data_arc_undo(&augment, &grid, &image);
        assert_grid(&image, json_object_get(entry, "inverse_of_grid"));
    }
}

static void test_augmentations_and_hashes_are_the_originals(void **state) {
    (void)state;
    size_t i;
    json_t *entry;
    json_array_foreach(table("augment"), i, entry) {
        const struct data_arc_grid grid = grid_of(json_object_get(entry, "grid"));
        struct data_arc_augment augment;
        struct data_arc_grid image;
        char name[DATA_ARC_NAME], full[DATA_ARC_FULL_NAME];
        assert_true(data_arc_name_parse(text(entry, "aug_name"), name, &augment));
        assert_string_equal(name, text(entry, "inverse_name"));
        data_arc_name_format(name, &augment, full);
        assert_string_equal(full, text(entry, "aug_name"));
        data_arc_undo(&augment, &grid, &image);
        assert_grid(&image, json_object_get(entry, "inverse_of_grid"));
        assert_hash(&grid, text(entry, "grid_hash"));
        if (!json_is_array(json_object_get(entry, "mapping")))
            continue; /* the entry of a name that is not augmented */
        data_arc_apply(&augment, &grid, &image);
        assert_grid(&image, json_object_get(entry, "augmented"));
        assert_hash(&image, text(entry, "augmented_hash"));
        for (size_t c = 0; c < DATA_ARC_COLOURS; c++)
            assert_int_equal(augment.colours[c],
                             json_integer_value(json_array_get(json_object_get(entry, "mapping"), c)));
    }
}

static void test_crops_are_the_originals(void **state) {
    (void)state;
    size_t i;
    json_t *entry;
    json_array_foreach(table("crop"), i, entry) {
        int32_t tokens[DATA_ARC_CELLS];
        struct data_arc_grid grid;
        read_tokens(json_object_get(entry, "seq"), tokens);
        data_arc_crop(tokens, DATA_ARC_SIDE, &grid);
        const json_t *shape = json_object_get(entry, "shape");
        assert_int_equal(grid.rows, json_integer_value(json_array_get(shape, 0)));
        assert_int_equal(grid.cols, json_integer_value(json_array_get(shape, 1)));
        if (grid.rows)
            assert_grid(&grid, json_object_get(entry, "result"));
    }
}

/* ---- the vote ---- */

/* The tasks of the table "voting", by way of a file as trm-data writes it. */
static struct data_arc_tasks voting_tasks(const json_t *voting) {
    char path[] = "/tmp/trm-test-XXXXXX";
    struct data_arc_tasks tasks;
    trm_error err = {""};
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(json_dumpfd(json_object_get(voting, "test_puzzles"), fd, 0), 0);
    close(fd);
    if (data_arc_tasks_load_file(path, &tasks, &err) != TRM_OK)
        fail_msg("%s", err.text);
    unlink(path);
    return tasks;
}

static void cast_votes(const json_t *voting, train_arc_score *score) {
    size_t i;
    json_t *prediction;
    json_array_foreach(json_object_get(voting, "predictions"), i, prediction) {
        int32_t input[DATA_ARC_CELLS], answer[DATA_ARC_CELLS];
        read_tokens(json_object_get(prediction, "input_seq"), input);
        read_tokens(json_object_get(prediction, "pred_seq"), answer);
        const float q = (float)json_number_value(json_object_get(prediction, "q_halt_logit"));
        assert_int_equal(
            train_arc_vote(score, integer(prediction, "puzzle_identifier"), DATA_ARC_SIDE, input, answer, q, NULL),
            TRM_OK);
    }
}

static void assert_ranking(data_arc_poll *poll, const json_t *wanted) {
    int count;
    const struct data_arc_choice *const *ranked = data_arc_poll_rank(poll, &count);
    assert_int_equal(count, json_array_size(wanted));
    for (int c = 0; c < count; c++) {
        const json_t *entry = json_array_get(wanted, (size_t)c);
        assert_hash(&ranked[c]->grid, text(entry, "hash"));
        assert_int_equal(ranked[c]->votes, integer(entry, "votes"));
        assert_true(ranked[c]->mean_q == json_number_value(json_object_get(entry, "mean_q")));
    }
}

static void assert_attempts(data_arc_poll *poll, const json_t *wanted) {
    static const char *const names[] = {"attempt_1", "attempt_2"};
    for (int i = 0; i < 2; i++) {
        const struct data_arc_grid *attempt = data_arc_poll_attempt(poll, i);
        if (attempt)
            assert_grid(attempt, json_object_get(wanted, names[i]));
        else
            assert_null(wanted);
    }
}

static void test_votes_ranks_and_scores_are_the_originals(void **state) {
    (void)state;
    const json_t *voting = table("voting");
    struct data_arc_tasks tasks = voting_tasks(voting);
    train_arc_score *score;
    assert_int_equal(train_arc_create(&tasks, json_object_get(voting, "identifiers"), &score, NULL), TRM_OK);
    cast_votes(voting, score);

    size_t voted = 0, tests = 0;
    for (size_t t = 0; t < tasks.count; t++) {
        const json_t *ranking = json_object_get(json_object_get(voting, "ranking"), tasks.items[t].name);
        const json_t *submission = json_object_get(json_object_get(voting, "submission"), tasks.items[t].name);
        for (int i = 0; i < tasks.items[t].test_count; i++) {
            const json_t *ranks = json_array_get(ranking, (size_t)i);
            assert_ranking(train_arc_poll(score, t, i), ranks);
            assert_attempts(train_arc_poll(score, t, i), json_array_get(submission, (size_t)i));
            voted += json_array_size(ranks) > 0;
            tests++;
        }
    }
    struct train_arc_result result;
    train_arc_count(score, &result);
    assert_int_equal(result.tasks, tasks.count);
    assert_int_equal(result.tests, tests);
    assert_int_equal(result.voted, voted);
    int compared = 0;
    for (int k = 0; k < TRAIN_ARC_KS; k++) {
        char name[32];
        snprintf(name, sizeof name, "ARC/pass@%d", train_arc_ks[k]);
        const json_t *wanted = json_object_get(json_object_get(voting, "result"), name);
        if (wanted) {
            assert_true(result.pass[k] == json_number_value(wanted));
            compared++;
        }
    }
    assert_true(compared >= 3);
    assert_int_equal(train_arc_vote(score, 1 << 20, DATA_ARC_SIDE, (int32_t[DATA_ARC_CELLS]){0},
                                    (int32_t[DATA_ARC_CELLS]){0}, 0, NULL),
                     TRM_FORMAT);
    train_arc_destroy(score);
    data_arc_tasks_release(&tasks);
}

/* ---- promises of our own ---- */

static struct data_arc_grid random_grid(struct data_rng *rng, int largest) {
    struct data_arc_grid grid = {.rows = (uint8_t)(1 + data_rng_below(rng, largest)),
                                 .cols = (uint8_t)(1 + data_rng_below(rng, largest))};
    for (int i = 0; i < grid.rows * grid.cols; i++)
        grid.cells[i] = (uint8_t)data_rng_below(rng, DATA_ARC_COLOURS);
    return grid;
}

static void test_undoing_an_augmentation_gives_the_grid_back(void **state) {
    (void)state;
    struct data_rng rng;
    data_rng_seed(&rng, 5);
    unsigned transforms = 0;
    for (int i = 0; i < 500; i++) {
        const struct data_arc_grid grid = random_grid(&rng, DATA_ARC_SIDE);
        struct data_arc_augment augment, parsed;
        struct data_arc_grid image, back;
        char full[DATA_ARC_FULL_NAME], name[DATA_ARC_NAME];
        data_arc_augment_draw(&rng, &augment);
        assert_true(data_arc_augment_is_valid(&augment));
        data_arc_apply(&augment, &grid, &image);
        data_arc_undo(&augment, &image, &back);
        assert_true(data_arc_equal(&grid, &back));
        data_arc_name_format("a task", &augment, full);
        assert_true(data_arc_name_parse(full, name, &parsed));
        assert_string_equal(name, "a task");
        assert_memory_equal(&parsed, &augment, sizeof augment);
        transforms |= 1u << augment.transform;
    }
    assert_int_equal(transforms, 255);
}

static void test_a_grid_comes_back_from_its_tokens(void **state) {
    (void)state;
    struct data_rng rng;
    data_rng_seed(&rng, 6);
    for (int i = 0; i < 300; i++) {
        const int side = 1 + i % DATA_ARC_SIDE;
        const struct data_arc_grid grid = random_grid(&rng, side);
        uint8_t bytes[DATA_ARC_CELLS];
        int32_t tokens[DATA_ARC_CELLS];
        struct data_arc_grid back;
        assert_int_equal(data_arc_side_of(side * side), side);
        data_arc_tokens(&grid, side, 0, 0, bytes);
        for (int t = 0; t < side * side; t++)
            tokens[t] = bytes[t];
        data_arc_crop(tokens, side, &back);
        assert_true(data_arc_equal(&grid, &back));
    }
    assert_int_equal(data_arc_side_of(899), 0);
    assert_int_equal(data_arc_side_of(31 * 31), 0);
    assert_int_equal(data_arc_side_of(0), 0);
}

static void test_names_that_are_none_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      "|||t1|||0123456789",
                                      "p|||t8|||0123456789",
                                      "p|||t1|||1023456789",
                                      "p|||t1|||0113456789",
                                      "p|||t1|||012345678",
                                      "p|||t1|||01234567899",
                                      "p|||x1|||0123456789",
                                      "p|||t1",
                                      "p|||t1|||01234567:9",
                                      "a\"b",
                                      "a/b",
                                      "a\nb",
                                      "0123456789012345678901234567890123456789012345678901234567890123"};
    struct data_arc_augment augment;
    char name[DATA_ARC_NAME];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(data_arc_name_parse(bad[i], name, &augment));
}

static struct data_arc_task read_task(const char *json) {
    json_t *root = json_loads(json, 0, NULL);
    struct data_arc_task task;
    char where[64];
    assert_non_null(root);
    assert_int_equal(data_arc_task_read(root, &task, where, sizeof where, NULL), TRM_OK);
    json_decref(root);
    return task;
}

static void test_a_task_is_known_again_however_its_pairs_are_ordered(void **state) {
    (void)state;
    struct data_arc_task a = read_task("{\"train\":[{\"input\":[[1,2]],\"output\":[[2],[1]]},"
                                       "{\"input\":[[3]],\"output\":[[4]]}],\"test\":[{\"input\":[[5]]}]}");
    struct data_arc_task b = read_task("{\"train\":[{\"output\":[[4]],\"input\":[[3]]},"
                                       "{\"input\":[[1,2]],\"output\":[[2],[1]]}],\"test\":[{\"input\":[[6]]}]}");
    struct data_arc_task c = read_task("{\"train\":[{\"output\":[[4]],\"input\":[[3]]},"
                                       "{\"input\":[[1,2]],\"output\":[[2,1]]}],\"test\":[{\"input\":[[6]]}]}");
    uint8_t hash[3][DATA_ARC_HASH];
    data_arc_pairs_hash(a.pairs, a.train_count, hash[0]);
    data_arc_pairs_hash(b.pairs, b.train_count, hash[1]);
    data_arc_pairs_hash(c.pairs, c.train_count, hash[2]);
    assert_memory_equal(hash[0], hash[1], DATA_ARC_HASH);
    assert_memory_not_equal(hash[0], hash[2], DATA_ARC_HASH);
    data_arc_task_release(&a);
    data_arc_task_release(&b);
    data_arc_task_release(&c);
}

static void test_what_is_wrong_with_a_task_is_located(void **state) {
    (void)state;
#define GOOD  "{\"input\":[[1]],\"output\":[[1]]}"
#define TESTS ",\"test\":[{\"input\":[[1]]}]}"
    static const struct {
        const char *json, *where;
    } cases[] = {
        {"[]", ""},
        {"{}", "/test"},
        {"{\"train\":{}" TESTS, "/train"},
        {"{\"train\":[" GOOD "]}", "/test"},
        {"{\"train\":[" GOOD ",7]" TESTS, "/train/1"},
        {"{\"train\":[{\"input\":[[1]]}]" TESTS, "/train/0/output"},
        {"{\"train\":[{\"input\":[],\"output\":[[1]]}]" TESTS, "/train/0/input"},
        {"{\"train\":[{\"input\":[[]],\"output\":[[1]]}]" TESTS, "/train/0/input"},
        {"{\"train\":[{\"input\":[[1,2],[3]],\"output\":[[1]]}]" TESTS, "/train/0/input/1"},
        {"{\"train\":[{\"input\":[[1,10]],\"output\":[[1]]}]" TESTS, "/train/0/input/0/1"},
        {"{\"train\":[{\"input\":[[1,-1]],\"output\":[[1]]}]" TESTS, "/train/0/input/0/1"},
        {"{\"train\":[{\"input\":[[1,1.5]],\"output\":[[1]]}]" TESTS, "/train/0/input/0/1"},
        {"{\"train\":[{\"input\":[[1,\"2\"]],\"output\":[[1]]}]" TESTS, "/train/0/input/0/1"},
        {"{\"train\":[" GOOD "],\"test\":[{\"input\":[[1]],\"output\":[7]}]}", "/test/0/output"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *root = json_loads(cases[i].json, 0, NULL);
        struct data_arc_task task;
        char where[64];
        assert_non_null(root);
        assert_int_equal(data_arc_task_read(root, &task, where, sizeof where, NULL), TRM_FORMAT);
        assert_string_equal(where, cases[i].where);
        assert_null(task.pairs);
        json_decref(root);
    }
}

static void test_a_vote_is_decided_when_nobody_can_catch_up(void **state) {
    (void)state;
    const struct data_arc_grid a = {.rows = 1, .cols = 1, .cells = {1}}, b = {.rows = 1, .cols = 1, .cells = {2}};
    data_arc_poll *poll = data_arc_poll_create();
    assert_non_null(poll);
    assert_false(data_arc_poll_is_decided(poll, 0));
    assert_int_equal(data_arc_poll_vote(poll, &a, 0.0f, NULL), TRM_OK);
    assert_true(data_arc_poll_is_decided(poll, 0));
    assert_false(data_arc_poll_is_decided(poll, 1)); /* the other may come out equal, and be surer */
    assert_int_equal(data_arc_poll_vote(poll, &a, 0.0f, NULL), TRM_OK);
    assert_int_equal(data_arc_poll_vote(poll, &b, 9.0f, NULL), TRM_OK);
    assert_true(data_arc_poll_is_decided(poll, 0));
    assert_false(data_arc_poll_is_decided(poll, 1));
    data_arc_poll_destroy(poll);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sequences_are_the_originals),
        cmocka_unit_test(test_dihedral_transforms_are_the_originals),
        cmocka_unit_test(test_augmentations_and_hashes_are_the_originals),
        cmocka_unit_test(test_crops_are_the_originals),
        cmocka_unit_test(test_votes_ranks_and_scores_are_the_originals),
        cmocka_unit_test(test_undoing_an_augmentation_gives_the_grid_back),
        cmocka_unit_test(test_a_grid_comes_back_from_its_tokens),
        cmocka_unit_test(test_names_that_are_none_are_refused),
        cmocka_unit_test(test_a_task_is_known_again_however_its_pairs_are_ordered),
        cmocka_unit_test(test_what_is_wrong_with_a_task_is_located),
        cmocka_unit_test(test_a_vote_is_decided_when_nobody_can_catch_up),
    };
    return cmocka_run_group_tests(tests, load_golden, release_golden);
}
