/* test_srv_job.c - tracks keep the newest steps, whole, whatever the reader has missed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/job.h"

static const struct srv_model model = {.form = {.side = 3}};

static struct srv_group *group_of(int puzzles, int rollouts, int max_steps, bool every_step) {
    struct srv_group_config config = {.model = &model,
                                      .options = {.max_steps = max_steps, .noise = 0.5f, .seed = 40},
                                      .puzzles = puzzles,
                                      .rollouts = rollouts,
                                      .every_step = every_step};
    struct srv_group *group = srv_group_create(&config);
    assert_non_null(group);
    return group;
}

/* The step number in every cell, its half as q_halt. */
static void add_step(struct srv_group *group, struct srv_track *track, int step) {
    int32_t answer[9];
    for (int i = 0; i < 9; i++) {
        answer[i] = step;
    }
    srv_track_add(group, track, answer, (float)step / 2, (float)step);
}

static void assert_step(struct srv_group *group, struct srv_track *track, int step) {
    const int32_t *answer = srv_track_answer(group, track, step);
    for (int i = 0; i < 9; i++) {
        assert_int_equal(answer[i], step);
    }
    assert_true(track->q_halt[step - 1] == (float)step / 2);
    assert_true(track->confidence[step - 1] == (float)step);
}

static void test_a_copy_has_every_value_and_the_newest_answers(void **state) {
    (void)state;
    for (int stride = 1; stride <= 60; stride++) {
        struct srv_group *group = group_of(1, 1, 60, true);
        struct srv_job *job = &group->jobs[0];
        for (int step = 1; step <= 60; step++) {
            add_step(group, &job->shared, step);
            if (step % stride == 0) {
                srv_track_copy(group, &job->seen, &job->shared);
                assert_int_equal(job->seen.steps, step);
                for (int back = step > group->depth ? step - group->depth + 1 : 1; back <= step; back++) {
                    assert_step(group, &job->seen, back);
                }
            }
        }
        srv_group_destroy(group);
    }
}

static void test_a_stream_may_be_16_steps_late(void **state) {
    struct srv_group *stream = group_of(1, 1, 100, true), *plain = group_of(1, 1, 100, false),
                     *brief = group_of(1, 1, 3, true);
    (void)state;
    assert_int_equal(stream->depth, 16);
    assert_int_equal(plain->depth, 1);
    assert_int_equal(brief->depth, 3);
    srv_group_destroy(stream);
    srv_group_destroy(plain);
    srv_group_destroy(brief);
}

static void test_jobs_of_a_group_do_not_overlap(void **state) {
    struct srv_group *group = group_of(5, 3, 4, true);
    (void)state;
    assert_int_equal(group->count, 15);
    for (int i = 0; i < 5; i++) {
        group->puzzles[i].tokens[0] = group->puzzles[i].tokens[8] = 100 + i;
    }
    for (int i = 0; i < 15; i++) {
        for (int step = 1; step <= i % 4 + 1; step++) {
            add_step(group, &group->jobs[i].shared, step);
        }
    }
    for (int i = 0; i < 15; i++) {
        struct srv_job *job = &group->jobs[i];
        srv_track_copy(group, &job->seen, &job->shared);
        assert_int_equal(job->puzzle, i % 5);
        assert_int_equal(job->rollout, i / 5);
        assert_int_equal(srv_job_puzzle(job)->tokens[0], 100 + i % 5);
        assert_int_equal(srv_job_puzzle(job)->tokens[8], 100 + i % 5);
        assert_int_equal(job->seen.steps, i % 4 + 1);
        for (int step = 1; step <= job->seen.steps; step++) {
            assert_step(group, &job->seen, step);
            assert_step(group, &job->shared, step);
        }
    }
    srv_group_destroy(group);
}

static void test_each_rollout_is_a_variation_of_its_own(void **state) {
    struct srv_group *group = group_of(2, 3, 4, false);
    (void)state;
    for (int i = 0; i < 6; i++) {
        struct trm_solve_options options = srv_job_options(&group->jobs[i]);
        assert_int_equal(options.variation, i / 2);
        assert_int_equal(options.stride, 3);
        assert_true(options.noise == 0.5f);
        assert_int_equal(options.seed, 40);
        assert_int_equal(options.max_steps, 4);
    }
    srv_group_destroy(group);
}

/* Gives a rollout of puzzle 1 a step with this q_halt. */
static struct srv_track *step_of(struct srv_group *group, int rollout, float q_halt) {
    int32_t answer[9] = {0};
    struct srv_track *track = &group->jobs[2 * rollout + 1].seen;
    srv_track_add(group, track, answer, q_halt, 1);
    return track;
}

static void test_the_verified_rollout_leads_else_the_most_confident_one(void **state) {
    struct srv_group *group = group_of(2, 4, 8, false);
    (void)state;
    assert_int_equal(srv_group_leader(group, 1)->rollout, 0);
    group->jobs[1].seen.outcome = SRV_FAILED;
    assert_int_equal(srv_group_leader(group, 1)->rollout, 1);
    step_of(group, 2, -3);
    assert_int_equal(srv_group_leader(group, 1)->rollout, 2);
    step_of(group, 3, -3);
    assert_int_equal(srv_group_leader(group, 1)->rollout, 2);
    step_of(group, 3, -2);
    assert_int_equal(srv_group_leader(group, 1)->rollout, 3);
    step_of(group, 3, -4); /* what it thought before does not count */
    assert_int_equal(srv_group_leader(group, 1)->rollout, 2);
    struct srv_track *verified = step_of(group, 2, -9), *earlier = step_of(group, 3, -9);
    verified->outcome = SRV_VERIFIED;
    verified->ended_ns = 20;
    assert_int_equal(srv_group_leader(group, 1)->rollout, 2);
    earlier->outcome = SRV_VERIFIED;
    earlier->ended_ns = 10;
    assert_int_equal(srv_group_leader(group, 1)->rollout, 3);
    assert_int_equal(srv_group_leader(group, 0)->rollout, 0);
    srv_group_destroy(group);
}

static void test_steps_beyond_the_limit_are_not_kept(void **state) {
    struct srv_group *group = group_of(1, 1, 2, true);
    (void)state;
    for (int step = 1; step <= 4; step++) {
        add_step(group, &group->jobs[0].shared, step);
    }
    assert_int_equal(group->jobs[0].shared.steps, 2);
    assert_step(group, &group->jobs[0].shared, 2);
    srv_group_destroy(group);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_copy_has_every_value_and_the_newest_answers),
        cmocka_unit_test(test_a_stream_may_be_16_steps_late),
        cmocka_unit_test(test_jobs_of_a_group_do_not_overlap),
        cmocka_unit_test(test_each_rollout_is_a_variation_of_its_own),
        cmocka_unit_test(test_the_verified_rollout_leads_else_the_most_confident_one),
        cmocka_unit_test(test_steps_beyond_the_limit_are_not_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
