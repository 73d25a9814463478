/* test_proto_text.c - what is written is JSON, whatever is put in. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "proto/problem.h"
#include "proto/text.h"

static void assert_text(const struct proto_text *text, const char *expected) {
    assert_false(text->failed);
    assert_int_equal(text->length, strlen(expected));
    assert_memory_equal(text->data, expected, text->length);
}

static void test_text_grows_and_starts_again(void **state) {
    struct proto_text text = {0};
    (void)state;
    for (int i = 0; i < 5000; i++) {
        proto_text_add(&text, "abc", 3);
    }
    assert_int_equal(text.length, 15000);
    assert_memory_equal(text.data + 14997, "abc", 3);
    proto_text_reset(&text);
    proto_text_addf(&text, "%d-%s", 7, "x");
    assert_text(&text, "7-x");
    proto_text_release(&text);
    assert_null(text.data);
}

static void test_strings_are_escaped(void **state) {
    struct proto_text text = {0};
    (void)state;
    proto_text_add_string(&text, "a\"b\\c\n\x01 \xc3\xa9");
    assert_text(&text, "\"a\\\"b\\\\c\\u000a\\u0001 \xc3\xa9\"");
    proto_text_release(&text);
}

static void test_bytes_that_are_not_utf8_are_replaced(void **state) {
    static const char *const bad[] = {
        "\xff",     "\x80", "\xc0\xaf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
        "\xe2\x82", "\xc3"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct proto_text text = {0};
        proto_text_add_string(&text, bad[i]);
        json_t *value = json_loadb(text.data, text.length, JSON_DECODE_ANY, NULL);
        assert_true(json_is_string(value));
        assert_memory_equal(json_string_value(value), "\xef\xbf\xbd", 3);
        json_decref(value);
        proto_text_release(&text);
    }
}

static void test_every_byte_string_gives_json(void **state) {
    uint32_t random = 1;
    (void)state;
    for (int i = 0; i < 20000; i++) {
        char bytes[8] = {0};
        for (int k = 0; k < 7; k++) {
            random = random * 1664525u + 1013904223u;
            bytes[k] = (char)(random >> 24);
        }
        struct proto_text text = {0};
        proto_text_add_string(&text, bytes);
        json_t *value = json_loadb(text.data, text.length, JSON_DECODE_ANY, NULL);
        assert_true(json_is_string(value));
        json_decref(value);
        proto_text_release(&text);
    }
}

static void test_floats_read_back_as_the_same_bits(void **state) {
    static const float values[] = {0.0f,    -0.0f,           1.0f,       0.1f, -3.3333333f, FLT_MAX,
                                   FLT_MIN, 1.17549421e-38f, 16777217.0f};
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        struct proto_text text = {0};
        proto_text_add_float(&text, values[i]);
        proto_text_add(&text, "", 1);
        float back = strtof(text.data, NULL);
        assert_memory_equal(&back, &values[i], sizeof back);
        proto_text_release(&text);
    }
}

static void test_numbers_that_json_has_not_are_null(void **state) {
    struct proto_text text = {0};
    (void)state;
    proto_text_add_float(&text, NAN);
    proto_text_add(&text, " ", 1);
    proto_text_add_float(&text, -INFINITY);
    assert_text(&text, "null null");
    proto_text_release(&text);
}

static void test_a_problem_has_the_members_of_rfc_9457(void **state) {
    struct proto_problem problem;
    struct proto_text text = {0};
    (void)state;
    assert_false(proto_problem_set(&problem, PROTO_INVALID, "/grid/3", "a \"%s\" b", "quote"));
    proto_problem_write(&problem, &text);
    json_t *document = json_loadb(text.data, text.length, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(document, "type")), "urn:trm-server:invalid");
    assert_non_null(json_string_value(json_object_get(document, "title")));
    assert_int_equal(json_integer_value(json_object_get(document, "status")), 422);
    assert_string_equal(json_string_value(json_object_get(document, "detail")), "a \"quote\" b");
    assert_string_equal(json_string_value(json_object_get(document, "pointer")), "/grid/3");
    json_decref(document);
    proto_text_release(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_grows_and_starts_again),
        cmocka_unit_test(test_strings_are_escaped),
        cmocka_unit_test(test_bytes_that_are_not_utf8_are_replaced),
        cmocka_unit_test(test_every_byte_string_gives_json),
        cmocka_unit_test(test_floats_read_back_as_the_same_bits),
        cmocka_unit_test(test_numbers_that_json_has_not_are_null),
        cmocka_unit_test(test_a_problem_has_the_members_of_rfc_9457),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
