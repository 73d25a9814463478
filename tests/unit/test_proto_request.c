/* test_proto_request.c - requests are read as they are meant, or refused with the member at fault.
 * (The whole catalogue of bad requests is in tests/behaviour/test_server_http.py.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/request.h"

static const struct proto_limits limits = {.max_steps = 100, .max_grids = 3, .max_rollouts = 8};

static const struct proto_form nine = {.side = 9, .sudoku_size = 9, .vocab_size = 11, .symbols = ".123456789"};
static const struct proto_form six = {.side = 6, .sudoku_size = 6, .vocab_size = 8, .symbols = ".123456"};
static const struct proto_form four = {.side = 4, .sudoku_size = 4, .vocab_size = 6, .symbols = ".1234"};
static const struct proto_form maze = {.side = 2, .maze = true, .vocab_size = 6, .symbols = "# SGo"};
static const struct proto_form raw = {.side = 2, .sudoku_size = 0, .vocab_size = 12};

static bool read_text(const char *body, struct proto_request *request, struct proto_problem *problem) {
    return proto_request_read(body, strlen(body), &limits, request, problem);
}

/* Reads a body with one grid; the problem's pointer, "" for none, "ok" when there is no problem. */
static const char *outcome(const char *body, const struct proto_form *form, int32_t *tokens) {
    static struct proto_problem problem;
    struct proto_request request;
    if (!read_text(body, &request, &problem)) {
        return problem.pointer;
    }
    bool good = proto_request_tokens(&request, 0, form, tokens, &problem);
    proto_request_release(&request);
    return good ? "ok" : problem.pointer;
}

static void test_all_members_are_read(void **state) {
    struct proto_request request;
    struct proto_problem problem;
    (void)state;
    assert_true(read_text("{\"model\":\"m\",\"grids\":[\"....\",\"....\"],\"options\":{\"max_steps\":7,\"min_steps\":2,"
                          "\"halt_threshold\":-0.5,\"no_halt\":true,\"deadline_ms\":9,\"verify\":false,\"keep_given\":"
                          "false,\"rollouts\":8,\"noise\":0.25,"
                          "\"seed\":9007199254740991,\"augment\":8,\"restart_steps\":5,\"guesses\":6,\"priority\":-3}}",
                          &request, &problem));
    assert_string_equal(request.model, "m");
    assert_true(request.many);
    assert_int_equal(request.count, 2);
    assert_int_equal(request.options.max_steps, 7);
    assert_int_equal(request.options.min_steps, 2);
    assert_true(request.options.has_halt_threshold && request.options.halt_threshold == -0.5f);
    assert_true(request.options.no_halt);
    assert_int_equal(request.options.deadline_ms, 9);
    assert_true(request.options.has_verify);
    assert_false(request.options.verify);
    assert_true(request.options.has_keep_given);
    assert_false(request.options.keep_given);
    assert_int_equal(request.options.rollouts, 8);
    assert_true(request.options.noise == 0.25f);
    assert_true(request.options.seed == 9007199254740991);
    assert_int_equal(request.options.augment, 8);
    assert_int_equal(request.options.restart_steps, 5);
    assert_int_equal(request.options.guesses, 6);
    assert_int_equal(request.options.priority, -3);
    assert_int_equal(proto_request_cells(&request), 4);
    proto_request_release(&request);
}

static void test_a_grid_is_enough(void **state) {
    struct proto_request request;
    struct proto_problem problem;
    (void)state;
    assert_true(read_text("{\"grid\":[[1,2],[3,4]]}", &request, &problem));
    assert_null(request.model);
    assert_false(request.many);
    assert_false(request.options.has_verify);
    assert_false(request.options.has_keep_given);
    assert_false(request.options.has_halt_threshold);
    assert_int_equal(request.options.max_steps, 0);
    assert_int_equal(request.options.rollouts, 1);
    assert_int_equal(request.options.augment, 1);
    assert_int_equal(request.options.restart_steps, 0);
    assert_int_equal(request.options.guesses, 0);
    assert_true(request.options.noise == 0.0f && request.options.seed == 0);
    assert_int_equal(request.count, 1);
    assert_int_equal(proto_request_cells(&request), 4);
    proto_request_release(&request);
}

/* The sentence must tell the range, the pointer the option. */
static void test_an_option_out_of_its_range_is_told_it(void **state) {
    static const struct {
        const char *name, *value, *detail;
    } bad[] = {
        {"max_steps", "0", "must be an integer from 1 to 100"},
        {"max_steps", "101", "must be an integer from 1 to 100"},
        {"max_steps", "1.0", "must be an integer from 1 to 100"},
        {"min_steps", "-1", "must be an integer from 0 to 100"},
        {"halt_threshold", "1e31", "must be a number from -1e+30 to 1e+30"},
        {"no_halt", "1", "must be true or false"},
        {"verify", "null", "must be true or false"},
        {"deadline_ms", "0", "must be an integer from 1 to 86400000"},
        {"rollouts", "0", "must be an integer from 1 to 8"},
        {"rollouts", "9", "must be an integer from 1 to 8"},
        {"noise", "-0.1", "must be a number from 0 to 100"},
        {"noise", "\"0\"", "must be a number from 0 to 100"},
        {"seed", "-1", "must be an integer from 0 to 9007199254740991"},
        {"seed", "9007199254740992", "must be an integer from 0 to 9007199254740991"},
        {"seed", "9223372036854775807", "must be an integer from 0 to 9007199254740991"},
        {"augment", "9", "must be an integer from 1 to 8"},
        {"restart_steps", "0", "must be an integer from 1 to 100"},
        {"guesses", "-1", "must be an integer from 0 to 64"},
        {"priority", "11", "must be an integer from -10 to 10"},
        {"priority", "[]", "must be an integer from -10 to 10"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct proto_request request;
        struct proto_problem problem;
        char body[128], pointer[64];
        snprintf(body, sizeof body, "{\"grid\":\"....\",\"options\":{\"%s\":%s}}", bad[i].name, bad[i].value);
        snprintf(pointer, sizeof pointer, "/options/%s", bad[i].name);
        assert_false(read_text(body, &request, &problem));
        assert_string_equal(problem.pointer, pointer);
        assert_string_equal(problem.detail, bad[i].detail);
    }
}

static void test_an_unknown_option_is_told_all_that_are_known(void **state) {
    struct proto_request request;
    struct proto_problem problem;
    (void)state;
    assert_false(read_text("{\"grid\":\"....\",\"options\":{\"steps\":1}}", &request, &problem));
    assert_string_equal(problem.pointer, "/options/steps");
    assert_string_equal(
        problem.detail,
        "this option is not known; known are max_steps, min_steps, halt_threshold, no_halt, verify, "
        "keep_given, deadline_ms, rollouts, noise, seed, every_rollout, augment, restart_steps, guesses, priority");
}

static void test_tokens_are_those_of_training(void **state) {
    int32_t tokens[81] = {0};
    (void)state;
    assert_string_equal(outcome("{\"grid\":\"1.0......4......\"}", &four, tokens), "ok");
    assert_int_equal(tokens[0], 2);
    assert_int_equal(tokens[1], 1);
    assert_int_equal(tokens[2], 1);
    assert_int_equal(tokens[9], 5);
    assert_string_equal(outcome("{\"grid\":[[0,11],[5,1]]}", &raw, tokens), "ok");
    assert_int_equal(tokens[0], 0);
    assert_int_equal(tokens[1], 11);
}

static void test_smaller_sudokus_have_fewer_digits(void **state) {
    int32_t tokens[81] = {0};
    (void)state;
    assert_string_equal(
        outcome("{\"grid\":[\"....6.\",\"......\",\"......\",\"......\",\"......\",\"......\"]}", &six, tokens), "ok");
    assert_string_equal(
        outcome("{\"grid\":[\"....7.\",\"......\",\"......\",\"......\",\"......\",\"......\"]}", &six, tokens),
        "/grid/0");
    assert_string_equal(outcome("{\"grid\":[[0,0,0,0],[0,0,5,0],[0,0,0,0],[0,0,0,0]]}", &four, tokens), "/grid/1/2");
}

static void test_equal_clues_point_to_the_second(void **state) {
    int32_t tokens[81] = {0};
    (void)state;
    assert_string_equal(outcome("{\"grid\":[[1,0,0,0],[0,1,0,0],[0,0,0,0],[0,0,0,0]]}", &four, tokens), "/grid/1/1");
    assert_string_equal(outcome("{\"grid\":[\"....\",\".2..\",\"....\",\".2..\"]}", &four, tokens), "/grid/3");
    assert_string_equal(outcome("{\"grid\":\"3..3............\"}", &four, tokens), "/grid");
}

static void test_raw_tokens_come_as_integers_only(void **state) {
    int32_t tokens[81] = {0};
    (void)state;
    assert_string_equal(outcome("{\"grid\":\"0000\"}", &raw, tokens), "/grid");
    assert_string_equal(outcome("{\"grid\":[\"00\",\"00\"]}", &raw, tokens), "/grid/0");
    assert_string_equal(outcome("{\"grid\":[[0,12],[0,0]]}", &raw, tokens), "/grid/0/1");
}

static void test_mazes_have_characters(void **state) {
    int32_t tokens[4] = {0};
    (void)state;
    assert_string_equal(outcome("{\"grid\":\"# SG\"}", &maze, tokens), "ok");
    assert_int_equal(tokens[0], 1);
    assert_int_equal(tokens[1], 2);
    assert_int_equal(tokens[2], 3);
    assert_int_equal(tokens[3], 4);
    assert_string_equal(outcome("{\"grid\":[[4,1],\" S\"]}", &maze, tokens), "ok");
    assert_int_equal(tokens[0], 4);
    assert_int_equal(tokens[3], 3);
    assert_string_equal(outcome("{\"grid\":\"#0SG\"}", &maze, tokens), "/grid");
    assert_string_equal(outcome("{\"grid\":[\"##\",\"#.\"]}", &maze, tokens), "/grid/1");
    assert_string_equal(outcome("{\"grid\":[[6,1],[1,1]]}", &maze, tokens), "/grid/0/0");
    assert_string_equal(outcome("{\"grid\":\"#\\u0000SG\"}", &maze, tokens), "");
}

static void test_mazes_have_ends_and_a_way(void **state) {
    static const char *const wrong[] = {"  SS", "GG S", "# S ", "S##G", "SGo "};
    int32_t tokens[4] = {0};
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char body[32];
        snprintf(body, sizeof body, "{\"grid\":\"%s\"}", wrong[i]);
        assert_string_equal(outcome(body, &maze, tokens), "/grid");
    }
    assert_string_equal(outcome("{\"grids\":[\"S##G\"]}", &maze, tokens), "/grids/0");
    const struct proto_form unchecked = {.side = 2, .vocab_size = 6, .symbols = "# SGo"}; /* too large to be */
    assert_string_equal(outcome("{\"grid\":\"S##G\"}", &unchecked, tokens), "ok");
}

static bool fits(const char *body, const struct proto_form *form) {
    struct proto_request request;
    struct proto_problem problem;
    assert_true(read_text(body, &request, &problem));
    bool result = proto_request_fits(&request, form);
    proto_request_release(&request);
    return result;
}

static void test_a_grid_fits_the_forms_that_know_its_symbols(void **state) {
    static const struct proto_form sixteen = {.side = 4, .vocab_size = 6, .symbols = "# SGo"};
    (void)state;
    assert_true(fits("{\"grid\":\"1...1...........\"}", &four)); /* equal clues are another matter */
    assert_false(fits("{\"grid\":\"1...............\"}", &sixteen));
    assert_true(fits("{\"grid\":\"S#            #G\"}", &sixteen));
    assert_false(fits("{\"grid\":\"S#            #G\"}", &four));
    assert_true(fits("{\"grids\":[\"S#            #G\",5]}", &sixteen)); /* the first decides */
    assert_false(fits("{\"grid\":\"1...\"}", &four));
    assert_false(fits("{\"grid\":7}", &four));
}

static void test_names_are_escaped_in_pointers_and_cut(void **state) {
    char body[600], name[400];
    int32_t tokens[81] = {0};
    (void)state;
    assert_string_equal(outcome("{\"a/b~\":1}", &nine, tokens), "/a~1b~0");
    memset(name, '~', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    snprintf(body, sizeof body, "{\"options\":{\"%s\":1}}", name);
    const char *pointer = outcome(body, &nine, tokens);
    assert_memory_equal(pointer, "/options/~0~0", 13);
    assert_true(strlen(pointer) < sizeof(((struct proto_problem *)0)->pointer));
}

static void test_more_grids_than_allowed_are_refused(void **state) {
    int32_t tokens[81] = {0};
    (void)state;
    assert_string_equal(outcome("{\"grids\":[\"\",\"\",\"\",\"\"]}", &four, tokens), "/grids");
}

static void test_every_cut_of_a_request_is_refused(void **state) {
    const char *body = "{\"model\":\"m\",\"grid\":[[1,2],[3,4]],\"options\":{\"max_steps\":3}}";
    (void)state;
    for (size_t length = 0; length < strlen(body); length++) {
        struct proto_request request;
        struct proto_problem problem;
        char *exact = malloc(length ? length : 1); /* of that size, for the sanitizer to see a read too far */
        assert_non_null(exact);
        memcpy(exact, body, length);
        assert_false(proto_request_read(exact, length, &limits, &request, &problem));
        assert_int_equal(problem.kind, PROTO_BAD_JSON);
        free(exact);
    }
}

static void assert_symbols(const struct proto_form *form, const char *expected) {
    struct proto_text text = {0};
    proto_form_write_symbols(form, &text);
    proto_text_add(&text, "", 1);
    assert_string_equal(text.data, expected);
    proto_text_release(&text);
}

static void test_symbols_are_listed_by_their_integers(void **state) {
    (void)state;
    assert_symbols(&four, "[\".\",\"1\",\"2\",\"3\",\"4\"]");
    assert_symbols(&maze, "[\"\",\"#\",\" \",\"S\",\"G\",\"o\"]");
    assert_symbols(&raw, "null");
}

static void test_forms_of_models(void **state) {
    struct proto_form form;
    (void)state;
    assert_int_equal(proto_form_of(81, 11, TRM_PUZZLE_SUDOKU, &form, NULL), TRM_OK);
    assert_int_equal(form.side, 9);
    assert_int_equal(form.sudoku_size, 9);
    assert_int_equal(proto_form_of(900, 12, TRM_PUZZLE_ARC, &form, NULL), TRM_OK);
    assert_int_equal(form.side, 30);
    assert_int_equal(form.sudoku_size, 0);
    assert_null(form.symbols);
    assert_int_equal(proto_form_of(900, 6, TRM_PUZZLE_MAZE, &form, NULL), TRM_OK);
    assert_string_equal(form.symbols, "# SGo");
    assert_true(form.maze && proto_form_has_verifier(&form));
    assert_int_equal(proto_form_of(65 * 65, 6, TRM_PUZZLE_MAZE, &form, NULL), TRM_OK);
    assert_false(form.maze || proto_form_has_verifier(&form));
    assert_int_equal(proto_form_of(900, 5, TRM_PUZZLE_MAZE, &form, NULL), TRM_UNSUPPORTED);
    assert_int_equal(proto_form_of(80, 11, TRM_PUZZLE_OTHER, &form, NULL), TRM_UNSUPPORTED);
    assert_int_equal(proto_form_of(25, 11, TRM_PUZZLE_SUDOKU, &form, NULL), TRM_UNSUPPORTED);
    assert_int_equal(proto_form_of(81, 10, TRM_PUZZLE_SUDOKU, &form, NULL), TRM_UNSUPPORTED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_members_are_read),
        cmocka_unit_test(test_a_grid_is_enough),
        cmocka_unit_test(test_an_option_out_of_its_range_is_told_it),
        cmocka_unit_test(test_an_unknown_option_is_told_all_that_are_known),
        cmocka_unit_test(test_tokens_are_those_of_training),
        cmocka_unit_test(test_smaller_sudokus_have_fewer_digits),
        cmocka_unit_test(test_equal_clues_point_to_the_second),
        cmocka_unit_test(test_raw_tokens_come_as_integers_only),
        cmocka_unit_test(test_mazes_have_characters),
        cmocka_unit_test(test_mazes_have_ends_and_a_way),
        cmocka_unit_test(test_a_grid_fits_the_forms_that_know_its_symbols),
        cmocka_unit_test(test_names_are_escaped_in_pointers_and_cut),
        cmocka_unit_test(test_more_grids_than_allowed_are_refused),
        cmocka_unit_test(test_every_cut_of_a_request_is_refused),
        cmocka_unit_test(test_symbols_are_listed_by_their_integers),
        cmocka_unit_test(test_forms_of_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
