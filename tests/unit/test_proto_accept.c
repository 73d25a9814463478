/* test_proto_accept.c - a client gets the form of an answer that its Accept headers like best. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/accept.h"

enum { NONE = -1 };

static int chosen(const char *header) {
    enum proto_framing framing;
    return proto_accept(header, &framing) ? (int)framing : NONE;
}

struct row {
    const char *header;
    int expected;
};

static void check(const struct row *rows, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (chosen(rows[i].header) != rows[i].expected) {
            fail_msg("%s: %d, not %d", rows[i].header, chosen(rows[i].header), rows[i].expected);
        }
    }
}

static void test_what_is_named_is_sent(void **state) {
    static const struct row rows[] = {
        {"application/json", PROTO_JSON},
        {"text/event-stream", PROTO_SSE},
        {"Text/Event-Stream", PROTO_SSE},
        {"application/x-ndjson", PROTO_NDJSON},
        {"application/x-ndjson;q=0.1", PROTO_NDJSON},
        {"text/event-stream; charset=utf-8", PROTO_SSE},
    };
    (void)state;
    check(rows, sizeof rows / sizeof *rows);
}

static void test_json_is_what_a_client_without_wishes_gets(void **state) {
    static const struct row rows[] = {
        {NULL, PROTO_JSON},
        {"", PROTO_JSON},
        {"*/*", PROTO_JSON},
        {"application/*", PROTO_JSON},
        {"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", PROTO_JSON},
        {"application/json, text/event-stream", PROTO_JSON},
        {"gibberish", PROTO_JSON},
        {";;,,;q=0", PROTO_JSON},
    };
    (void)state;
    check(rows, sizeof rows / sizeof *rows);
}

static void test_the_higher_quality_wins_and_then_the_more_exact_name(void **state) {
    static const struct row rows[] = {
        {"application/json;q=0.5, text/event-stream", PROTO_SSE},
        {"application/json;q=0.5,text/event-stream;q=0.501", PROTO_SSE},
        {"application/json;q=0.51,text/event-stream;q=0.5", PROTO_JSON},
        {"text/event-stream, */*", PROTO_SSE},
        {"text/event-stream;q=0.9, */*", PROTO_JSON},
        {"text/*", PROTO_SSE},
        {"*/*, application/json;q=0", PROTO_SSE},
        {"application/*;q=0.9, application/json;q=0.1", PROTO_NDJSON},
        {"application/x-ndjson ; q=0.7 , application/json ; Q=0.6", PROTO_NDJSON},
        {"application/x-ndjson;version=1;q=0.2, application/json;q=0.3", PROTO_JSON},
        {"application/json;q=0.0009, text/event-stream;q=0", NONE},
        {"application/json;q=high, text/event-stream;q=0.9", PROTO_JSON},
    };
    (void)state;
    check(rows, sizeof rows / sizeof *rows);
}

static void test_nothing_fits(void **state) {
    static const struct row rows[] = {
        {"text/html", NONE},       {"image/png, text/html;q=0.5", NONE}, {"application/json;q=0", NONE},
        {"*/*;q=0", NONE},         {"*/*;q=0.0, text/html", NONE},       {"application/jsonp", NONE},
        {"application/jso", NONE},
    };
    (void)state;
    check(rows, sizeof rows / sizeof *rows);
}

static void test_other_types_are_chosen_by_the_same_rules(void **state) {
    static const char *const types[] = {"application/json", "text/html"};
    (void)state;
    assert_int_equal(proto_accept_best(NULL, types, 2), 0);
    assert_int_equal(proto_accept_best("*/*", types, 2), 0);
    assert_int_equal(proto_accept_best("text/html,application/xml;q=0.9,*/*;q=0.8", types, 2), 1);
    assert_int_equal(proto_accept_best("application/json, text/html", types, 2), 0);
    assert_int_equal(proto_accept_best("image/png", types, 2), NONE);
}

static void test_a_coding_is_taken_only_by_those_who_name_it(void **state) {
    (void)state;
    assert_true(proto_accept_coding("gzip", "gzip"));
    assert_true(proto_accept_coding("br, deflate ,GZip;q=0.1", "gzip"));
    assert_false(proto_accept_coding(NULL, "gzip"));
    assert_false(proto_accept_coding("", "gzip"));
    assert_false(proto_accept_coding("identity", "gzip"));
    assert_false(proto_accept_coding("gzipped, x-gzip", "gzip"));
    assert_false(proto_accept_coding("br, gzip;q=0", "gzip"));
    assert_false(proto_accept_coding(",;,gzi", "gzip"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_named_is_sent),
        cmocka_unit_test(test_json_is_what_a_client_without_wishes_gets),
        cmocka_unit_test(test_the_higher_quality_wins_and_then_the_more_exact_name),
        cmocka_unit_test(test_nothing_fits),
        cmocka_unit_test(test_other_types_are_chosen_by_the_same_rules),
        cmocka_unit_test(test_a_coding_is_taken_only_by_those_who_name_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
