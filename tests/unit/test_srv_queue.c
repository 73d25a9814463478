/* test_srv_queue.c - who gets the next slot: priorities without starvation, shares, first come first served. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/queue.h"

static const struct srv_model model = {.form = {.side = 2}};

/* A group in the queue; `name` is for who(). */
static struct srv_group *add(struct srv_queue *queue, int jobs, int priority, const char *name) {
    struct srv_group_config config = {
        .model = &model, .options = {.max_steps = 1}, .puzzles = jobs, .rollouts = 1, .priority = priority};
    struct srv_group *group = srv_group_create(&config);
    assert_non_null(group);
    group->owner = (void *)name;
    srv_queue_add(queue, group);
    return group;
}

/* Who is next, to run for ever. */
static const char *who(struct srv_queue *queue) {
    struct srv_job *job = srv_queue_take(queue);
    return job ? job->group->owner : NULL;
}

/* Who is next, and done at once. */
static const char *served(struct srv_queue *queue) {
    struct srv_job *job = srv_queue_take(queue);
    if (!job) {
        return NULL;
    }
    srv_queue_left(queue, job->group);
    return job->group->owner;
}

static void test_single_puzzles_are_served_first_come_first_served(void **state) {
    struct srv_queue queue = {0};
    struct srv_group *a = add(&queue, 1, 0, "a"), *b = add(&queue, 1, 0, "b"), *c = add(&queue, 1, 0, "c");
    (void)state;
    assert_int_equal(queue.waiting, 3);
    assert_string_equal(who(&queue), "a");
    assert_string_equal(who(&queue), "b");
    struct srv_group *d = add(&queue, 1, 0, "d");
    assert_string_equal(who(&queue), "c");
    assert_string_equal(who(&queue), "d");
    assert_null(who(&queue));
    assert_int_equal(queue.waiting, 0);
    srv_group_destroy(a);
    srv_group_destroy(b);
    srv_group_destroy(c);
    srv_group_destroy(d);
}

static void test_jobs_of_a_group_come_in_order(void **state) {
    struct srv_queue queue = {0};
    struct srv_group *group = add(&queue, 5, 0, "a");
    (void)state;
    for (int i = 0; i < 5; i++) {
        assert_ptr_equal(srv_queue_take(&queue), &group->jobs[i]);
    }
    srv_group_destroy(group);
}

static void test_large_requests_take_turns(void **state) {
    struct srv_queue queue = {0};
    struct srv_group *a = add(&queue, 9, 0, "a"), *b = add(&queue, 9, 0, "b");
    (void)state;
    for (int i = 0; i < 9; i++) {
        assert_string_equal(served(&queue), "a");
        assert_string_equal(served(&queue), "b");
    }
    srv_group_destroy(a);
    srv_group_destroy(b);
}

/* The first has eight slots already, with puzzles that take for ever. */
static void test_who_has_fewer_slots_is_next(void **state) {
    struct srv_queue queue = {0};
    struct srv_group *a = add(&queue, 100, 0, "a");
    (void)state;
    for (int i = 0; i < 8; i++) {
        assert_string_equal(who(&queue), "a");
    }
    struct srv_group *b = add(&queue, 100, 0, "b");
    for (int i = 0; i < 50; i++) { /* brief ones: it never has more than one slot */
        assert_string_equal(served(&queue), "b");
    }
    for (int i = 0; i < 8; i++) {
        assert_string_equal(who(&queue), "b");
    }
    assert_string_equal(who(&queue), "a"); /* as many as b now, and waits longer */
    assert_string_equal(who(&queue), "b");
    srv_group_destroy(a);
    srv_group_destroy(b);
}

static void test_a_higher_priority_is_served_first(void **state) {
    struct srv_queue queue = {0};
    struct srv_group *low = add(&queue, 1, -10, "low"), *middle = add(&queue, 2, 0, "middle"),
                     *high = add(&queue, 2, 10, "high");
    (void)state;
    assert_string_equal(who(&queue), "high");
    assert_string_equal(who(&queue), "high");
    assert_string_equal(who(&queue), "middle");
    assert_string_equal(who(&queue), "middle");
    assert_string_equal(who(&queue), "low");
    srv_group_destroy(low);
    srv_group_destroy(middle);
    srv_group_destroy(high);
}

static void test_lower_priorities_get_every_eighth_turn_the_oldest_first(void **state) {
    struct srv_queue queue = {0};
    struct srv_group *low = add(&queue, 40, -1, "low"), *lower = add(&queue, 40, -9, "lower"),
                     *high = add(&queue, 400, 3, "high");
    (void)state;
    for (int turn = 1; turn <= 64; turn++) {
        const char *expected = turn % 8 ? "high" : turn % 16 ? "low" : "lower";
        assert_string_equal(served(&queue), expected);
    }
    srv_group_destroy(low);
    srv_group_destroy(lower);
    srv_group_destroy(high);
}

static void test_patience_begins_when_somebody_waits(void **state) {
    struct srv_queue queue = {0};
    struct srv_group *high = add(&queue, 400, 3, "high");
    (void)state;
    for (int turn = 1; turn <= 20; turn++) {
        assert_string_equal(served(&queue), "high");
    }
    struct srv_group *low = add(&queue, 1, 2, "low");
    for (int turn = 1; turn <= 7; turn++) {
        assert_string_equal(served(&queue), "high");
    }
    assert_string_equal(served(&queue), "low");
    srv_group_destroy(low);
    srv_group_destroy(high);
}

/* Who is next, and gives way after its share. */
static const char *shared(struct srv_queue *queue) {
    struct srv_job *job = srv_queue_take(queue);
    assert_non_null(job);
    assert_false(srv_queue_holds(job));
    srv_queue_yield(queue, job);
    assert_true(srv_queue_holds(job));
    return job->group->owner;
}

static void test_who_has_had_a_share_comes_behind_those_who_have_not(void **state) {
    struct srv_queue queue = {0};
    struct srv_group *a = add(&queue, 1, 0, "a"), *b = add(&queue, 1, 0, "b");
    (void)state;
    assert_string_equal(shared(&queue), "a");
    struct srv_group *c = add(&queue, 1, 0, "c");
    assert_string_equal(shared(&queue), "b");
    assert_string_equal(shared(&queue), "c");
    assert_int_equal(queue.waiting, 3);
    for (int i = 0; i < 3; i++) { /* by turns */
        assert_string_equal(shared(&queue), "a");
        assert_string_equal(shared(&queue), "b");
        assert_string_equal(shared(&queue), "c");
    }
    struct srv_group *low = add(&queue, 1, -1, "low");
    assert_string_equal(who(&queue), "a"); /* a lower priority comes later still */
    assert_string_equal(who(&queue), "b");
    assert_string_equal(who(&queue), "c");
    assert_string_equal(who(&queue), "low");
    assert_null(who(&queue));
    srv_group_destroy(a);
    srv_group_destroy(b);
    srv_group_destroy(c);
    srv_group_destroy(low);
}

static void test_who_has_had_a_share_gets_every_eighth_turn(void **state) {
    struct srv_queue queue = {0};
    struct srv_group *lengthy = add(&queue, 1, 0, "long"), *brief = add(&queue, 100, 0, "brief");
    (void)state;
    assert_string_equal(shared(&queue), "long");
    for (int turn = 1; turn <= 64; turn++) {
        assert_string_equal(turn % 8 ? served(&queue) : shared(&queue), turn % 8 ? "brief" : "long");
    }
    srv_group_destroy(lengthy);
    srv_group_destroy(brief);
}

static void test_what_a_group_has_begun_comes_before_the_rest_of_it(void **state) {
    struct srv_queue queue = {0};
    struct srv_group *group = add(&queue, 4, 0, "a");
    struct srv_job *jobs = group->jobs;
    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_ptr_equal(srv_queue_take(&queue), &jobs[i]);
    }
    srv_queue_yield(&queue, &jobs[1]);
    srv_queue_yield(&queue, &jobs[0]);
    assert_int_equal(group->turn.running, 1);
    assert_ptr_equal(srv_queue_take(&queue), &jobs[1]);
    srv_queue_yield(&queue, &jobs[2]);
    assert_ptr_equal(srv_queue_take(&queue), &jobs[0]);
    assert_ptr_equal(srv_queue_take(&queue), &jobs[2]);
    assert_ptr_equal(srv_queue_take(&queue), &jobs[3]);
    assert_null(srv_queue_take(&queue));
    srv_group_destroy(group);
}

static void drop(struct srv_queue *queue, struct srv_job *job) {
    assert_true(srv_queue_holds(job));
    job->shared.outcome = SRV_CANCELLED;
    srv_queue_drop(queue, job);
    assert_false(srv_queue_holds(job));
}

static void test_dropped_jobs_are_passed_over(void **state) {
    struct srv_queue queue = {0};
    struct srv_group *a = add(&queue, 5, 0, "a"), *b = add(&queue, 2, 0, "b"), *c = add(&queue, 1, 0, "c");
    (void)state;
    assert_ptr_equal(srv_queue_take(&queue), &a->jobs[0]);
    assert_false(srv_queue_holds(&a->jobs[0]));
    drop(&queue, &a->jobs[1]);
    drop(&queue, &a->jobs[3]);
    drop(&queue, &b->jobs[0]);
    drop(&queue, &b->jobs[1]);
    assert_int_equal(queue.waiting, 3);
    assert_ptr_equal(srv_queue_take(&queue), &c->jobs[0]);
    assert_ptr_equal(srv_queue_take(&queue), &a->jobs[2]);
    assert_ptr_equal(srv_queue_take(&queue), &a->jobs[4]);
    assert_null(srv_queue_take(&queue));
    srv_group_destroy(a);
    srv_group_destroy(b);
    srv_group_destroy(c);
}

static void test_dropped_jobs_that_gave_way_are_passed_over(void **state) {
    struct srv_queue queue = {0};
    struct srv_group *group = add(&queue, 4, 0, "a");
    struct srv_job *jobs = group->jobs;
    (void)state;
    for (int i = 0; i < 4; i++) {
        assert_ptr_equal(srv_queue_take(&queue), &jobs[i]);
    }
    for (int i = 0; i < 4; i++) {
        srv_queue_yield(&queue, &jobs[i]);
    }
    drop(&queue, &jobs[0]);
    drop(&queue, &jobs[2]);
    drop(&queue, &jobs[3]);
    assert_int_equal(queue.waiting, 1);
    assert_ptr_equal(srv_queue_take(&queue), &jobs[1]);
    srv_queue_yield(&queue, &jobs[1]); /* behind those that were dropped */
    assert_ptr_equal(srv_queue_take(&queue), &jobs[1]);
    assert_null(srv_queue_take(&queue));
    srv_group_destroy(group);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_single_puzzles_are_served_first_come_first_served),
        cmocka_unit_test(test_jobs_of_a_group_come_in_order),
        cmocka_unit_test(test_large_requests_take_turns),
        cmocka_unit_test(test_who_has_fewer_slots_is_next),
        cmocka_unit_test(test_a_higher_priority_is_served_first),
        cmocka_unit_test(test_lower_priorities_get_every_eighth_turn_the_oldest_first),
        cmocka_unit_test(test_patience_begins_when_somebody_waits),
        cmocka_unit_test(test_who_has_had_a_share_comes_behind_those_who_have_not),
        cmocka_unit_test(test_who_has_had_a_share_gets_every_eighth_turn),
        cmocka_unit_test(test_what_a_group_has_begun_comes_before_the_rest_of_it),
        cmocka_unit_test(test_dropped_jobs_are_passed_over),
        cmocka_unit_test(test_dropped_jobs_that_gave_way_are_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
