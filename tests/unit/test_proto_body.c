/* test_proto_body.c - what is refused before any JSON is read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/body.h"

enum { DEEPEST = 32 };

/* {"a":[[[...]]]} of `depth` levels, as far as its opening brackets go; `text` has room for 2 * depth + 8. */
static size_t nest(char *text, size_t depth, bool whole) {
    size_t length = 5;
    memcpy(text, "{\"a\":", length);
    memset(text + length, '[', depth - 1);
    length += depth - 1;
    if (whole) {
        memset(text + length, ']', depth - 1);
        length += depth - 1;
        text[length++] = '}';
    }
    return length;
}

static void test_depth_has_an_end(void **state) {
    char text[256];
    struct proto_problem problem;
    json_t *root;
    (void)state;
    assert_true(proto_body_parse(text, nest(text, DEEPEST, true), &root, &problem));
    json_decref(root);
    assert_false(proto_body_parse(text, nest(text, DEEPEST + 1, true), &root, &problem));
    assert_null(root);
    assert_int_equal(problem.kind, PROTO_BAD_JSON);
    assert_non_null(strstr(problem.detail, "32"));
}

static void test_a_megabyte_of_brackets_is_refused_for_its_depth(void **state) {
    const size_t size = 1 << 20;
    char *text = malloc(size + 8);
    struct proto_problem problem;
    json_t *root;
    (void)state;
    assert_non_null(text);
    size_t length = nest(text, size, false);
    assert_false(proto_body_parse(text, length, &root, &problem));
    assert_non_null(strstr(problem.detail, "nested"));
    free(text);
}

static void test_strings_and_numbers_have_a_longest(void **state) {
    enum { LONGEST = 8192 };
    static char text[LONGEST + 64];
    struct proto_problem problem;
    json_t *root;
    (void)state;
    for (int number = 0; number <= 1; number++) {
        for (size_t length = LONGEST; length <= LONGEST + 1; length++) {
            size_t at = (size_t)snprintf(text, sizeof text, number ? "{\"a\":0." : "{\"a\":\"");
            memset(text + at, '1', length);
            at += length - (number ? 2 : 0);
            at += (size_t)snprintf(text + at, sizeof text - at, number ? "}" : "\"}");
            assert_int_equal(proto_body_parse(text, at, &root, &problem), length == LONGEST);
            json_decref(root);
        }
    }
    assert_non_null(strstr(problem.detail, "8192"));
}

/* Neither brackets in strings, whatever is escaped there, nor those side by side count. */
static void test_only_nesting_counts(void **state) {
    static const char strings[] = "{\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"{{{{{{{{\\\\\":0}";
    char wide[512];
    struct proto_problem problem;
    json_t *root;
    (void)state;
    assert_true(proto_body_parse(strings, strlen(strings), &root, &problem));
    json_decref(root);
    size_t length = (size_t)snprintf(wide, sizeof wide, "{\"a\":[");
    for (int i = 0; i < 100; i++) {
        length += (size_t)snprintf(wide + length, sizeof wide - length, "[],");
    }
    length += (size_t)snprintf(wide + length, sizeof wide - length, "[]]}");
    assert_true(proto_body_parse(wide, length, &root, &problem));
    json_decref(root);
}

static void test_an_unfinished_string_or_escape_is_no_json(void **state) {
    static const char *const texts[] = {"{\"a", "{\"a\\", "\"", "\\", "{\"\\\"", "]]]]", "}{"};
    struct proto_problem problem;
    json_t *root;
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_false(proto_body_parse(texts[i], strlen(texts[i]), &root, &problem));
        assert_int_equal(problem.kind, PROTO_BAD_JSON);
    }
    assert_false(proto_body_parse(NULL, 0, &root, &problem));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_depth_has_an_end),
        cmocka_unit_test(test_a_megabyte_of_brackets_is_refused_for_its_depth),
        cmocka_unit_test(test_strings_and_numbers_have_a_longest),
        cmocka_unit_test(test_only_nesting_counts),
        cmocka_unit_test(test_an_unfinished_string_or_escape_is_no_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
