/* test_srv_admission.c - what a request gets, by its options, the server's and the length of the queue. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/admission.h"

/* The bundled model: its form and what it says of its training are all that counts here. */
static struct srv_model model = {.form = {.side = 9, .sudoku_size = 9}};

static struct srv_options settings_of(int max_queue, bool adapt) {
    return (struct srv_options){
        .max_queue = max_queue, .step_limit = 256, .rollout_limit = 64, .adapt = adapt, .verify = true};
}

static struct srv_group_config plan_of(const struct srv_options *settings, const struct proto_options *wanted,
                                       int puzzles, int waiting) {
    struct srv_group_config plan;
    struct proto_problem problem;
    assert_true(srv_admission_plan(settings, &model, wanted, puzzles, waiting, &plan, &problem));
    assert_int_equal(plan.puzzles, puzzles);
    assert_int_equal(plan.asked_rollouts, wanted->rollouts);
    assert_ptr_equal(plan.model, &model);
    return plan;
}

static void test_options_go_to_the_engine(void **state) {
    struct srv_options settings = settings_of(100, false);
    struct proto_options wanted = {.augment = 1,
                                   .max_steps = 7,
                                   .min_steps = 2,
                                   .rollouts = 3,
                                   .noise = 0.25f,
                                   .seed = 9,
                                   .priority = -4,
                                   .halt_threshold = 1,
                                   .has_halt_threshold = true};
    struct srv_group_config plan = plan_of(&settings, &wanted, 2, 99);
    (void)state;
    assert_int_equal(plan.rollouts, 3);
    assert_int_equal(plan.priority, -4);
    assert_int_equal(plan.options.max_steps, 7);
    assert_int_equal(plan.options.min_steps, 2);
    assert_true(plan.options.noise == 0.25f && plan.options.halt_threshold == 1);
    assert_int_equal(plan.options.seed, 9);
    assert_true(plan.options.verify);
}

static void test_rollouts_differ_though_no_noise_is_named(void **state) {
    struct srv_options settings = settings_of(100, false);
    struct proto_options wanted = {.augment = 1, .rollouts = 4};
    (void)state;
    assert_true(plan_of(&settings, &wanted, 1, 0).options.noise > 0);
}

static void refused(const struct srv_options *settings, const struct proto_options *wanted, int puzzles,
                    const char *pointer) {
    struct srv_group_config plan;
    struct proto_problem problem;
    assert_false(srv_admission_plan(settings, &model, wanted, puzzles, 0, &plan, &problem));
    assert_int_equal(problem.kind, PROTO_INVALID);
    assert_string_equal(problem.pointer, pointer);
}

static void test_what_can_never_be_is_refused(void **state) {
    struct srv_options settings = settings_of(100, true);
    struct proto_options verified = {.augment = 1, .rollouts = 1, .verify = true, .has_verify = true};
    (void)state;
    refused(&settings, &(struct proto_options){.augment = 1, .rollouts = 51}, 2, "/options/rollouts");
    plan_of(&settings, &(struct proto_options){.augment = 1, .rollouts = 50}, 2, 0);
    refused(&settings, &(struct proto_options){.augment = 1, .rollouts = 1, .min_steps = 200}, 1, "/options/min_steps");
    plan_of(&settings, &verified, 1, 0);
    model.form.sudoku_size = 0;
    refused(&settings, &verified, 1, "/options/verify");
    assert_false(plan_of(&settings, &(struct proto_options){.augment = 1, .rollouts = 1}, 1, 0).options.verify);
    model.form.sudoku_size = 9;
}

static void test_without_adapt_the_load_takes_nothing(void **state) {
    struct srv_options settings = settings_of(100, false);
    struct proto_options wanted = {.augment = 1, .rollouts = 8, .max_steps = 40};
    (void)state;
    for (int waiting = 0; waiting <= 100; waiting++) {
        struct srv_group_config plan = plan_of(&settings, &wanted, 1, waiting);
        assert_int_equal(plan.rollouts, 8);
        assert_int_equal(plan.options.max_steps, 40);
    }
}

static void test_the_load_takes_rollouts_then_steps(void **state) {
    struct srv_options settings = settings_of(1000, true);
    struct proto_options wanted = {.augment = 1, .rollouts = 8, .max_steps = 40, .min_steps = 3};
    int rollouts = 8, steps = 40;
    (void)state;
    for (int waiting = 0; waiting <= 1000; waiting++) {
        struct srv_group_config plan = plan_of(&settings, &wanted, 1, waiting);
        assert_true(plan.rollouts <= rollouts && plan.options.max_steps <= steps);
        rollouts = plan.rollouts;
        steps = plan.options.max_steps;
        assert_true(waiting > 250 || rollouts == 8);
        assert_true(waiting > 500 || steps == 40);
        assert_true(waiting < 500 || rollouts == 1);
        assert_int_equal(plan.asked_steps, 40);
    }
    assert_int_equal(steps, 10);
    wanted.min_steps = 30;
    assert_int_equal(plan_of(&settings, &wanted, 1, 1000).options.max_steps, 30);
}

static void test_rollouts_that_the_queue_has_no_room_for_are_taken(void **state) {
    struct srv_options settings = settings_of(100, true);
    (void)state;
    assert_int_equal(plan_of(&settings, &(struct proto_options){.augment = 1, .rollouts = 5}, 20, 10).rollouts, 4);
    assert_int_equal(plan_of(&settings, &(struct proto_options){.augment = 1, .rollouts = 5}, 20, 0).rollouts, 5);
    assert_int_equal(plan_of(&settings, &(struct proto_options){.augment = 1, .rollouts = 1}, 100, 90).rollouts, 1);
}

static int open_model(void **state) {
    trm_error error;
    (void)state;
    return trm_model_open("server/models/sudoku.safetensors", &(struct trm_model_options){0}, &model.engine, &error);
}

static int close_model(void **state) {
    (void)state;
    trm_model_unref(model.engine);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_go_to_the_engine),
        cmocka_unit_test(test_rollouts_differ_though_no_noise_is_named),
        cmocka_unit_test(test_what_can_never_be_is_refused),
        cmocka_unit_test(test_without_adapt_the_load_takes_nothing),
        cmocka_unit_test(test_the_load_takes_rollouts_then_steps),
        cmocka_unit_test(test_rollouts_that_the_queue_has_no_room_for_are_taken),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
