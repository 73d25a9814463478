/* test_srv_rate.c - the rate that Retry-After is computed from. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/rate.h"

static const uint64_t SECOND = 1000000000;

static void test_a_rate_is_what_ended_per_second_of_work(void **state) {
    struct srv_rate rate = {0};
    (void)state;
    srv_rate_add(&rate, 1000 * SECOND, 30, 0.5);
    srv_rate_add(&rate, 1001 * SECOND, 10, 1.5);
    assert_true(srv_rate_per_worker(&rate, 1001 * SECOND) == 20);
    assert_true(srv_rate_per_worker(&rate, 1007 * SECOND + SECOND / 2) == 20); /* idle time does not count */
}

static void test_what_is_eight_seconds_old_does_not_count(void **state) {
    struct srv_rate rate = {0};
    (void)state;
    srv_rate_add(&rate, 1000 * SECOND, 1000, 1);
    for (int i = 1; i < SRV_RATE_SPAN; i++) {
        srv_rate_add(&rate, (uint64_t)(1000 + i) * SECOND, 10, 1);
    }
    assert_true(srv_rate_per_worker(&rate, 1007 * SECOND) > 100);
    assert_true(srv_rate_per_worker(&rate, 1008 * SECOND) == 10);
    assert_true(srv_rate_per_worker(&rate, 1012 * SECOND) == 10);
    assert_true(srv_rate_per_worker(&rate, 1015 * SECOND) == 0);
    assert_true(srv_rate_per_worker(&rate, 900000 * SECOND) == 0);
}

static void test_the_wait_is_the_queue_over_the_rate_rounded_up_and_bounded(void **state) {
    struct srv_rate rate = {0};
    (void)state;
    assert_int_equal(srv_rate_wait_s(&rate, SECOND, 1000, 2), SRV_RATE_SPAN); /* nothing is known */
    srv_rate_add(&rate, 1000 * SECOND, 50, 1);
    assert_int_equal(srv_rate_wait_s(&rate, 1000 * SECOND, 1000, 2), 10);
    assert_int_equal(srv_rate_wait_s(&rate, 1000 * SECOND, 1001, 2), 11);
    assert_int_equal(srv_rate_wait_s(&rate, 1000 * SECOND, 1000, 1), 20);
    assert_int_equal(srv_rate_wait_s(&rate, 1000 * SECOND, 0, 2), 1);
    assert_int_equal(srv_rate_wait_s(&rate, 1000 * SECOND, 1000000, 2), 120);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_rate_is_what_ended_per_second_of_work),
        cmocka_unit_test(test_what_is_eight_seconds_old_does_not_count),
        cmocka_unit_test(test_the_wait_is_the_queue_over_the_rate_rounded_up_and_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
