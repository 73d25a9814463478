/* test_proto_kserve.c - tensors become the same puzzles as grids, or are refused with the member at fault;
 * answers come back as the tensors that were wished for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/kserve.h"

static const struct proto_limits limits = {.max_steps = 100, .max_grids = 3, .max_rollouts = 8};
static const struct proto_form four = {.side = 4, .sudoku_size = 4, .vocab_size = 6, .symbols = ".1234"};
static const struct proto_form raw = {.side = 2, .vocab_size = 12};

#define DATA16   "1,0,0,0,0,2,0,0,0,0,3,0,0,0,0,4"
#define NESTED16 "[1,0,0,0],[0,2,0,0],[0,0,3,0],[0,0,0,4]"
#define INPUT(shape, data)                                                                                             \
    "\"inputs\":[{\"name\":\"grid\",\"shape\":" shape ",\"datatype\":\"INT32\",\"data\":[" data "]}]"

/* The outcome of reading `body` and its last puzzle: the problem's pointer, or "ok". */
static const char *outcome(const char *body, int32_t *tokens, struct proto_problem *problem) {
    struct proto_request request;
    struct proto_kserve_wish wish;
    if (!proto_kserve_read(body, strlen(body), &limits, &request, &wish, problem)) {
        return problem->pointer;
    }
    bool good = proto_request_tokens(&request, request.count - 1, &four, tokens, problem);
    proto_request_release(&request);
    return good ? "ok" : problem->pointer;
}

static void test_every_form_of_a_tensor_is_the_same_puzzle(void **state) {
    static const char *const bodies[] = {
        "{" INPUT("[1,16]", DATA16) "}",
        "{" INPUT("[1,4,4]", DATA16) "}",
        "{" INPUT("[1,16]", "[" DATA16 "]") "}",
        "{" INPUT("[1,4,4]", "[" NESTED16 "]") "}",
        "{" INPUT("[2,4,4]", DATA16 "," DATA16) "}",
        "{" INPUT("[2,4,4]", "[" NESTED16 "],[" NESTED16 "]") "}",
    };
    static const int32_t expected[16] = {2, 1, 1, 1, 1, 3, 1, 1, 1, 1, 4, 1, 1, 1, 1, 5};
    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct proto_problem problem;
        int32_t tokens[16] = {0};
        assert_string_equal(outcome(bodies[i], tokens, &problem), "ok");
        assert_memory_equal(tokens, expected, sizeof expected);
    }
}

static void test_what_is_wrong_is_pointed_at(void **state) {
    static const struct {
        const char *body, *pointer;
        enum proto_problem_kind kind;
    } bad[] = {
        {"", "", PROTO_BAD_JSON},
        {"[]", "", PROTO_INVALID},
        {"{}", "/inputs", PROTO_INVALID},
        {"{\"inputs\":[]}", "/inputs", PROTO_INVALID},
        {"{\"inputs\":[1]}", "/inputs", PROTO_INVALID},
        {"{\"inputs\":[{\"name\":\"grid\"},{}]}", "/inputs", PROTO_INVALID},
        {"{\"inputs\":[{\"name\":\"cells\"}]}", "/inputs/0/name", PROTO_INVALID},
        {"{\"inputs\":[{\"name\":\"grid\",\"datatype\":\"INT64\"}]}", "/inputs/0/datatype", PROTO_INVALID},
        {"{\"inputs\":[{\"name\":\"grid\",\"typo\":1}]}", "/inputs/0/typo", PROTO_INVALID},
        {"{\"inputs\":[{\"name\":\"grid\",\"parameters\":{\"binary_data_size\":64}}]}",
         "/inputs/0/parameters/binary_data_size", PROTO_MEDIA_TYPE},
        {"{" INPUT("[16]", DATA16) "}", "/inputs/0/shape", PROTO_INVALID},
        {"{" INPUT("[1,2,2,4]", DATA16) "}", "/inputs/0/shape", PROTO_INVALID},
        {"{" INPUT("[0,16]", "") "}", "/inputs/0/shape", PROTO_INVALID},
        {"{" INPUT("[-1,16]", DATA16) "}", "/inputs/0/shape", PROTO_INVALID},
        {"{" INPUT("[1.0,16]", DATA16) "}", "/inputs/0/shape", PROTO_INVALID},
        {"{" INPUT("[4,4]", DATA16) "}", "/inputs/0/shape", PROTO_INVALID}, /* more puzzles than allowed */
        {"{" INPUT("[2,8]", DATA16) "}", "/inputs/0/shape", PROTO_INVALID},
        {"{" INPUT("[1,2,8]", DATA16) "}", "/inputs/0/shape", PROTO_INVALID},
        {"{" INPUT("[1048577,1]", DATA16) "}", "/inputs/0/shape", PROTO_INVALID},
        {"{" INPUT("[3,1048576,1048576]", DATA16) "}", "/inputs/0/data", PROTO_INVALID},
        {"{" INPUT("[1,16]", "1,2") "}", "/inputs/0/data", PROTO_INVALID},
        {"{" INPUT("[1,16]", DATA16 ",0") "}", "/inputs/0/data", PROTO_INVALID},
        {"{" INPUT("[1,16]", "[" NESTED16 "]") "}", "/inputs/0/data", PROTO_INVALID},
        {"{" INPUT("[1,4,4]", "[[1,0,0,0],[0,2,0,0],[0,0,3,0],5]") "}", "/inputs/0/data", PROTO_INVALID},
        {"{" INPUT("[1,16]", "0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0.5") "}", "/inputs/0/data", PROTO_INVALID},
        {"{" INPUT("[1,16]", "0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,4294967297") "}", "/inputs/0/data", PROTO_INVALID},
        {"{" INPUT("[1,16]", "0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,5") "}", "/inputs/0/data", PROTO_INVALID},
        {"{" INPUT("[1,16]", "0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,-1") "}", "/inputs/0/data", PROTO_INVALID},
        {"{" INPUT("[1,16]", "0,0,0,0,0,0,0,0,0,0,0,0,4,0,0,4") "}", "/inputs/0/data", PROTO_CONTRADICTION},
        {"{\"typo\":1," INPUT("[1,16]", DATA16) "}", "/typo", PROTO_INVALID},
        {"{\"id\":5," INPUT("[1,16]", DATA16) "}", "/id", PROTO_INVALID},
        {"{\"parameters\":{\"max_steps\":101}," INPUT("[1,16]", DATA16) "}", "/parameters/max_steps", PROTO_INVALID},
        {"{\"parameters\":{\"typo\":1}," INPUT("[1,16]", DATA16) "}", "/parameters/typo", PROTO_INVALID},
        {"{\"parameters\":5," INPUT("[1,16]", DATA16) "}", "/parameters", PROTO_INVALID},
        {"{\"outputs\":{}," INPUT("[1,16]", DATA16) "}", "/outputs", PROTO_INVALID},
        {"{\"outputs\":[{\"name\":\"answer\"},{\"name\":\"logits\"}]," INPUT("[1,16]", DATA16) "}", "/outputs/1/name",
         PROTO_INVALID},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct proto_problem problem = {0};
        int32_t tokens[16];
        const char *pointer = outcome(bad[i].body, tokens, &problem);
        if (strcmp(pointer, bad[i].pointer) != 0 || problem.kind != bad[i].kind) {
            fail_msg("%s: %s, kind %d", bad[i].body, pointer, (int)problem.kind);
        }
    }
}

static void test_the_puzzle_at_fault_is_counted(void **state) {
    struct proto_problem problem;
    int32_t tokens[16];
    (void)state;
    outcome("{" INPUT("[2,16]", DATA16 ",0,0,0,0,0,0,0,0,0,0,0,0,0,0,7,0") "}", tokens, &problem);
    assert_string_equal(problem.detail, "row 4, column 3 (counted from 1) is 7; a cell is an integer from 0 to 4 "
                                        "(puzzle 1, counted from 0)");
}

static void test_wishes_are_read(void **state) {
    static const char body[] = "{\"id\":\"mine\",\"parameters\":{\"max_steps\":7,\"binary_data_output\":true},"
                               "\"outputs\":[{\"name\":\"steps\",\"parameters\":{\"binary_data\":true}},"
                               "{\"name\":\"answer\"}]," INPUT("[1,16]", DATA16) "}";
    struct proto_request request;
    struct proto_problem problem;
    struct proto_kserve_wish wish;
    (void)state;
    assert_true(proto_kserve_read(body, strlen(body), &limits, &request, &wish, &problem));
    assert_string_equal(wish.id, "mine");
    assert_int_equal(wish.outputs, 1 | 4);
    assert_int_equal(request.options.max_steps, 7);
    assert_int_equal(request.options.rollouts, 1);
    assert_int_equal(request.count, 1);
    proto_request_release(&request);
}

static void assert_written(struct proto_text *text, const char *expected) {
    proto_text_add(text, "", 1);
    assert_false(text->failed);
    assert_string_equal(text->data, expected);
    proto_text_release(text);
}

static void test_answers_are_tensors(void **state) {
    static const int32_t tokens[2][4] = {{0, 11, 1, 2}, {3, 4, 5, 6}};
    static const float q_halt[] = {-1.5f, 0.25f};
    struct proto_answer answers[2] = {
        {.form = &raw, .answer = tokens[0], .steps = 2, .halted_by = "q_head", .confidence = 0.5f, .q_halt = q_halt},
        {.form = &raw, .answer = tokens[1], .steps = 0, .halted_by = "deadline"}};
    struct proto_text text = {0};
    struct proto_kserve_wish all = {.outputs = ~0u}, one = {.id = "mine", .outputs = 4};
    (void)state;
    proto_kserve_write_answers(&text, &all, "ours", "m", answers, 2);
    assert_written(&text, "{\"model_name\":\"m\",\"model_version\":\"1\",\"id\":\"ours\",\"outputs\":["
                          "{\"name\":\"answer\",\"datatype\":\"INT32\",\"shape\":[2,4],\"data\":[0,11,1,2,3,4,5,6]},"
                          "{\"name\":\"steps\",\"datatype\":\"INT32\",\"shape\":[2],\"data\":[2,0]},"
                          "{\"name\":\"q_halt\",\"datatype\":\"FP32\",\"shape\":[2],\"data\":[0.25,null]},"
                          "{\"name\":\"confidence\",\"datatype\":\"FP32\",\"shape\":[2],\"data\":[0.5,0]},"
                          "{\"name\":\"halted_by\",\"datatype\":\"BYTES\",\"shape\":[2],"
                          "\"data\":[\"q_head\",\"deadline\"]}]}\n");
    proto_kserve_write_answers(&text, &one, "ours", "m", answers, 1);
    assert_written(&text, "{\"model_name\":\"m\",\"model_version\":\"1\",\"id\":\"mine\",\"outputs\":["
                          "{\"name\":\"steps\",\"datatype\":\"INT32\",\"shape\":[1],\"data\":[2]}]}\n");
}

static void test_valid_is_an_output_where_there_is_a_verifier(void **state) {
    static const int32_t puzzle[16] = {2, 3, 4, 5, 4, 5, 2, 3, 3, 2, 5, 4, 5, 4, 3, 1};
    static const int32_t solution[16] = {2, 3, 4, 5, 4, 5, 2, 3, 3, 2, 5, 4, 5, 4, 3, 2};
    struct proto_answer answers[2] = {{.form = &four, .puzzle = puzzle, .answer = solution, .halted_by = ""},
                                      {.form = &four, .puzzle = puzzle, .answer = puzzle, .halted_by = ""}};
    struct proto_text text = {0};
    struct proto_kserve_wish wish = {.outputs = 2};
    (void)state;
    proto_kserve_write_answers(&text, &wish, "i", "m", answers, 2);
    assert_written(&text, "{\"model_name\":\"m\",\"model_version\":\"1\",\"id\":\"i\",\"outputs\":["
                          "{\"name\":\"valid\",\"datatype\":\"BOOL\",\"shape\":[2],\"data\":[true,false]}]}\n");
}

static void test_metadata_describe_the_tensors(void **state) {
    struct proto_text text = {0};
    (void)state;
    proto_kserve_write_model(&text, "a \"b\"", &raw);
    assert_written(&text, "{\"name\":\"a \\\"b\\\"\",\"versions\":[\"1\"],\"platform\":\"trm_safetensors\","
                          "\"inputs\":[{\"name\":\"grid\",\"datatype\":\"INT32\",\"shape\":[-1,4]}],"
                          "\"outputs\":[{\"name\":\"answer\",\"datatype\":\"INT32\",\"shape\":[-1,4]},"
                          "{\"name\":\"steps\",\"datatype\":\"INT32\",\"shape\":[-1]},"
                          "{\"name\":\"q_halt\",\"datatype\":\"FP32\",\"shape\":[-1]},"
                          "{\"name\":\"confidence\",\"datatype\":\"FP32\",\"shape\":[-1]},"
                          "{\"name\":\"halted_by\",\"datatype\":\"BYTES\",\"shape\":[-1]}]}\n");
}

static void test_a_problem_is_one_sentence(void **state) {
    struct proto_text text = {0};
    struct proto_problem problem;
    (void)state;
    proto_problem_set(&problem, PROTO_INVALID, "/id", "must be \"short\"");
    proto_kserve_write_problem(&problem, &text);
    assert_written(&text, "{\"error\":\"/id: must be \\\"short\\\"\"}");
    proto_problem_set(&problem, PROTO_INVALID, "/options/verify", "cannot be");
    proto_kserve_write_problem(&problem, &text);
    assert_written(&text, "{\"error\":\"/parameters/verify: cannot be\"}");
    proto_problem_set(&problem, PROTO_OVERLOADED, "", "come again");
    proto_kserve_write_problem(&problem, &text);
    assert_written(&text, "{\"error\":\"come again\"}");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_form_of_a_tensor_is_the_same_puzzle),
        cmocka_unit_test(test_what_is_wrong_is_pointed_at),
        cmocka_unit_test(test_the_puzzle_at_fault_is_counted),
        cmocka_unit_test(test_wishes_are_read),
        cmocka_unit_test(test_answers_are_tensors),
        cmocka_unit_test(test_valid_is_an_output_where_there_is_a_verifier),
        cmocka_unit_test(test_metadata_describe_the_tensors),
        cmocka_unit_test(test_a_problem_is_one_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
