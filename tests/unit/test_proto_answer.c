/* test_proto_answer.c - answers and streamed messages, byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/answer.h"

static const struct proto_form four = {.side = 4, .sudoku_size = 4, .vocab_size = 6, .symbols = ".1234"};
static const struct proto_form raw = {.side = 2, .sudoku_size = 0, .vocab_size = 12};

static const int32_t puzzle[16] = {2, 3, 4, 5, 4, 5, 2, 3, 3, 2, 5, 4, 5, 4, 3, 1};   /* the last cell is blank */
static const int32_t solution[16] = {2, 3, 4, 5, 4, 5, 2, 3, 3, 2, 5, 4, 5, 4, 3, 2}; /* which is a 1 */

static void assert_written(struct proto_text *text, const char *expected) {
    proto_text_add(text, "", 1);
    assert_false(text->failed);
    assert_string_equal(text->data, expected);
    proto_text_release(text);
}

static struct proto_answer answer_of(const struct proto_form *form, const int32_t *tokens) {
    static const float q_halt[] = {-1.5f, 0.25f};
    return (struct proto_answer){.form = form,
                                 .puzzle = puzzle,
                                 .answer = tokens,
                                 .steps = 2,
                                 .halted_by = "verified",
                                 .confidence = 0.5f,
                                 .q_halt = q_halt,
                                 .queue_ms = 1,
                                 .compute_ms = 2.5};
}

static void test_an_answer(void **state) {
    struct proto_text text = {0};
    struct proto_answer answer = answer_of(&four, solution);
    (void)state;
    proto_write_answer(&text, "id", "m", &answer, 4);
    assert_written(&text, "{\"id\":\"id\",\"model\":\"m\",\"answer\":[[1,2,3,4],[3,4,1,2],[2,1,4,3],[4,3,2,1]],"
                          "\"valid\":true,\"steps\":2,\"halted_by\":\"verified\",\"confidence\":0.5,"
                          "\"q_halt\":[-1.5,0.25],"
                          "\"timing_ms\":{\"queue\":1.000,\"compute\":2.500,\"total\":4.000}}\n");
}

static void test_an_answer_tells_of_its_rollouts_and_of_what_the_load_took(void **state) {
    struct proto_text text = {0};
    struct proto_answer answer = answer_of(&four, solution);
    struct proto_step step = {.form = &raw, .index = -1, .step = 1, .before = puzzle, .answer = puzzle, .rollouts = 4};
    (void)state;
    answer.rollouts = 4;
    answer.rollout = 2;
    answer.total_steps = 7;
    answer.asked_rollouts = answer.given_rollouts = 4;
    answer.asked_steps = answer.given_steps = 16;
    proto_write_answer(&text, "id", "m", &answer, 4);
    proto_text_add(&text, "", 1);
    assert_non_null(strstr(text.data, "0.25],\"rollouts\":{\"count\":4,\"best\":2,\"steps\":7},\"timing_ms\""));
    proto_text_release(&text);
    answer.asked_steps = 64;
    proto_write_answer(&text, "id", "m", &answer, 4);
    proto_text_add(&text, "", 1);
    assert_non_null(strstr(text.data, ",\"reduced\":{\"max_steps\":{\"asked\":64,\"given\":16}},\"timing_ms\""));
    proto_text_release(&text);
    answer.asked_rollouts = 8;
    proto_write_answer(&text, "id", "m", &answer, 4);
    proto_text_add(&text, "", 1);
    assert_non_null(strstr(text.data, ",\"reduced\":{\"rollouts\":{\"asked\":8,\"given\":4},"
                                      "\"max_steps\":{\"asked\":64,\"given\":16}},\"timing_ms\""));
    proto_text_release(&text);
    proto_stream_step(&text, PROTO_NDJSON, &step);
    proto_text_add(&text, "", 1);
    assert_non_null(strstr(text.data, "\"step\":1,\"rollout\":0,\"answer\":"));
    proto_text_release(&text);
}

static void test_valid_is_false_for_a_wrong_answer_and_absent_without_rules(void **state) {
    struct proto_text text = {0};
    static const int32_t tokens[4] = {0, 11, 1, 2};
    struct proto_answer wrong = answer_of(&four, puzzle), other = answer_of(&raw, tokens);
    (void)state;
    proto_write_answer(&text, "i", "m", &wrong, 0);
    proto_text_add(&text, "", 1);
    assert_non_null(strstr(text.data, "[4,3,2,0]],\"valid\":false"));
    proto_text_release(&text);
    proto_write_answer(&text, "i", "m", &other, 0);
    proto_text_add(&text, "", 1);
    assert_non_null(strstr(text.data, "\"answer\":[[0,11],[1,2]],\"steps\""));
    proto_text_release(&text);
}

static void test_answers_of_several_grids(void **state) {
    struct proto_text text = {0};
    struct proto_answer answer = answer_of(&raw, solution);
    (void)state;
    proto_write_answers_open(&text, "i", "m");
    proto_write_answers_item(&text, 0, &answer);
    proto_write_answers_item(&text, 1, &answer);
    proto_write_answers_close(&text, 9);
#define ITEM                                                                                                           \
    "{\"answer\":[[2,3],[4,5]],\"steps\":2,\"halted_by\":\"verified\",\"confidence\":0.5,\"q_halt\":[-1.5,0.25],"      \
    "\"timing_ms\":{\"queue\":1.000,\"compute\":2.500}}"
    assert_written(&text,
                   "{\"id\":\"i\",\"model\":\"m\",\"answers\":[" ITEM "," ITEM "],\"timing_ms\":{\"total\":9.000}}\n");
}

static void test_a_step_tells_what_changed(void **state) {
    struct proto_text text = {0};
    struct proto_step step = {.form = &four,
                              .index = -1,
                              .step = 3,
                              .before = puzzle,
                              .answer = solution,
                              .q_halt = 1,
                              .confidence = 0.75f,
                              .ms = 1.5f};
    (void)state;
    proto_stream_step(&text, PROTO_SSE, &step);
    assert_written(&text, "event: step\ndata: {\"step\":3,\"answer\":[[1,2,3,4],[3,4,1,2],[2,1,4,3],[4,3,2,1]],"
                          "\"q_halt\":1,\"confidence\":0.75,\"changed\":[[3,3]],\"ms\":1.500}\n\n");
    step.index = 5;
    step.before = solution;
    proto_stream_step(&text, PROTO_NDJSON, &step);
    assert_written(&text, "{\"type\":\"step\",\"index\":5,\"step\":3,"
                          "\"answer\":[[1,2,3,4],[3,4,1,2],[2,1,4,3],[4,3,2,1]],"
                          "\"q_halt\":1,\"confidence\":0.75,\"changed\":[],\"ms\":1.500}\n");
}

static void test_a_streamed_problem_keeps_its_own_type(void **state) {
    struct proto_text text = {0};
    struct proto_problem problem;
    (void)state;
    proto_problem_set(&problem, PROTO_INTERNAL, "", "d");
    proto_stream_problem(&text, PROTO_NDJSON, 0, &problem);
    assert_written(&text, "{\"type\":\"error\",\"index\":0,\"problem\":{\"type\":\"urn:trm-server:internal\","
                          "\"title\":\"The server failed\",\"status\":500,\"detail\":\"d\"}}\n");
}

static void test_a_ping_says_nothing(void **state) {
    struct proto_text text = {0};
    (void)state;
    proto_stream_ping(&text, PROTO_SSE);
    assert_written(&text, ": ping\n\n");
    proto_stream_ping(&text, PROTO_NDJSON);
    assert_written(&text, "{\"type\":\"ping\"}\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_answer),
        cmocka_unit_test(test_an_answer_tells_of_its_rollouts_and_of_what_the_load_took),
        cmocka_unit_test(test_valid_is_false_for_a_wrong_answer_and_absent_without_rules),
        cmocka_unit_test(test_answers_of_several_grids),
        cmocka_unit_test(test_a_step_tells_what_changed),
        cmocka_unit_test(test_a_streamed_problem_keeps_its_own_type),
        cmocka_unit_test(test_a_ping_says_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
