/* test_srv_trace.c - request ids and W3C trace contexts: taken when good, else ignored. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "server/trace.h"

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define SPAN  "b7ad6b7169203331"

static void test_a_good_id_is_taken(void **state) {
    static const char *const good[] = {"a", "5e237fe-1", "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
                                       "0123456789012345678901234567890123456789012345678901234567890123"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct srv_trace trace;
        srv_trace_read(&trace, good[i], NULL, "made");
        assert_string_equal(trace.id, good[i]);
        assert_string_equal(trace.trace_id, "");
    }
}

static void test_a_bad_id_is_replaced(void **state) {
    static const char *const bad[] = {
        NULL,   "",          "a b",      "a\"b",
        "a\\b", "a\r\nb: c", "\xc3\xa4", "01234567890123456789012345678901234567890123456789012345678901234"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct srv_trace trace;
        srv_trace_read(&trace, bad[i], NULL, "made");
        assert_string_equal(trace.id, "made");
    }
}

static void test_a_traceparent_is_split(void **state) {
    static const char *const good[] = {"00-" TRACE "-" SPAN "-01", "00-" TRACE "-" SPAN "-00",
                                       "cc-" TRACE "-" SPAN "-01-what-comes-later"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct srv_trace trace;
        srv_trace_read(&trace, NULL, good[i], "made");
        assert_string_equal(trace.trace_id, TRACE);
        assert_string_equal(trace.parent_id, SPAN);
    }
}

static void test_a_wrong_traceparent_is_ignored(void **state) {
    static const char *const bad[] = {"",
                                      "00",
                                      "00-" TRACE,
                                      "00-" TRACE "-" SPAN,
                                      "00-" TRACE "-" SPAN "-1",
                                      "00-" TRACE "-" SPAN "-01-more",
                                      "00-" TRACE "-" SPAN "-011",
                                      "ff-" TRACE "-" SPAN "-01",
                                      "00-00000000000000000000000000000000-" SPAN "-01",
                                      "00-" TRACE "-0000000000000000-01",
                                      "00-0AF7651916CD43DD8448EB211C80319C-" SPAN "-01"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct srv_trace trace;
        srv_trace_read(&trace, NULL, bad[i], "made");
        assert_string_equal(trace.trace_id, "");
        assert_string_equal(trace.parent_id, "");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_good_id_is_taken),
        cmocka_unit_test(test_a_bad_id_is_replaced),
        cmocka_unit_test(test_a_traceparent_is_split),
        cmocka_unit_test(test_a_wrong_traceparent_is_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
