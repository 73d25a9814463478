/* test_status.c - failures carry their status and one readable sentence, whatever the caller passes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <limits.h>
#include <string.h>

#include "engine/status.h"

static void fail_returns_the_status_it_was_given(void **state) {
    (void)state;
    static const trm_status all[] = {TRM_NO_MEMORY,   TRM_IO,   TRM_FORMAT,   TRM_INVALID,
                                     TRM_UNSUPPORTED, TRM_FULL, TRM_CANCELLED};
    trm_error err;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        assert_int_equal(trm_fail(&err, all[i], "x"), all[i]);
        assert_int_not_equal(all[i], TRM_OK);
    }
}

static void fail_formats_the_sentence(void **state) {
    (void)state;
    trm_error err;
    trm_fail(&err, TRM_FORMAT, "%s: row %d of %zu", "grid.csv", 7, (size_t)81);
    assert_string_equal(err.text, "grid.csv: row 7 of 81");
}

static void a_later_failure_replaces_the_sentence(void **state) {
    (void)state;
    trm_error err;
    trm_fail(&err, TRM_IO, "a long first sentence");
    trm_fail(&err, TRM_IO, "short");
    assert_string_equal(err.text, "short");
}

static void a_caller_may_not_care_about_the_sentence(void **state) {
    (void)state;
    assert_int_equal(trm_fail(NULL, TRM_IO, "%s", "nobody reads this"), TRM_IO);
    assert_int_equal(trm_fail_memory(NULL, 1), TRM_NO_MEMORY);
}

static void a_sentence_too_long_is_cut_and_stays_a_string(void **state) {
    (void)state;
    struct {
        trm_error err;
        char guard;
    } box = {.guard = 'g'};
    char name[2 * sizeof box.err.text];
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = '\0';

    assert_int_equal(trm_fail(&box.err, TRM_IO, "%s", name), TRM_IO);
    assert_int_equal(strlen(box.err.text), sizeof box.err.text - 1);
    assert_int_equal(box.guard, 'g');
}

static void a_percent_sign_in_a_file_name_is_only_text(void **state) {
    (void)state;
    trm_error err;
    trm_fail(&err, TRM_IO, "%s", "100%s%n.json");
    assert_string_equal(err.text, "100%s%n.json");
}

static void out_of_memory_says_how_much_was_asked_for(void **state) {
    (void)state;
    trm_error err;
    assert_int_equal(trm_fail_memory(&err, 4096), TRM_NO_MEMORY);
    assert_string_equal(err.text, "out of memory (4096 bytes)");
    assert_int_equal(trm_fail_memory(&err, ULONG_MAX), TRM_NO_MEMORY);
    assert_non_null(strstr(err.text, "18446744073709551615"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fail_returns_the_status_it_was_given),
        cmocka_unit_test(fail_formats_the_sentence),
        cmocka_unit_test(a_later_failure_replaces_the_sentence),
        cmocka_unit_test(a_caller_may_not_care_about_the_sentence),
        cmocka_unit_test(a_sentence_too_long_is_cut_and_stays_a_string),
        cmocka_unit_test(a_percent_sign_in_a_file_name_is_only_text),
        cmocka_unit_test(out_of_memory_says_how_much_was_asked_for),
    };
    return cmocka_run_group_tests_name("status", tests, NULL, NULL);
}
