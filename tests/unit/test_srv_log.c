/* test_srv_log.c - lines of the log as they come out of stderr: whole, escaped, bounded. */
#define _GNU_SOURCE /* pipe2 */
#include <fcntl.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/log.h"

enum { LINE = 2048 };

/* stderr goes into `pipe_ends` while a test logs. */
static int pipe_ends[2], real_stderr;

static void capture(void) {
    assert_int_equal(pipe2(pipe_ends, O_NONBLOCK), 0);
    real_stderr = dup(STDERR_FILENO);
    assert_true(dup2(pipe_ends[1], STDERR_FILENO) >= 0);
}

/* Puts stderr back and what was written, terminated, into `text` ([size]). */
static void captured(char *text, size_t size) {
    ssize_t length = read(pipe_ends[0], text, size - 1);
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    text[length > 0 ? length : 0] = '\0';
}

/* The line without its time. */
static const char *after_time(const char *line) {
    assert_int_equal(strncmp(line, "time=20", 7), 0);
    return strchr(line, ' ') + 1;
}

static void test_text_quotes_what_needs_it(void **state) {
    char text[LINE];
    (void)state;
    srv_log_setup(SRV_INFO, SRV_LOG_TEXT);
    capture();
    srv_log(SRV_WARN, "a message", "plain=%s spaced=%s quoted=%s n=%d big=%lu ms=%.3f none=%s empty=%s", "x/y", "a b",
            "a\"\\\n\x7f", -3, 18446744073709551615UL, 1.5, getenv("TRM_NO_SUCH_VARIABLE"), "");
    captured(text, sizeof text);
    assert_string_equal(after_time(text),
                        "level=warn msg=\"a message\" plain=x/y spaced=\"a b\" "
                        "quoted=\"a\\\"\\\\\\u000a\\u007f\" n=-3 big=18446744073709551615 ms=1.500\n");
}

static void test_json_is_an_object(void **state) {
    char text[LINE];
    (void)state;
    srv_log_setup(SRV_INFO, SRV_LOG_JSON);
    capture();
    srv_log(SRV_ERROR, "a message", "s=%s n=%d z=%zu", "caf\xc3\xa9 \xff\"\n", 7, (size_t)8);
    captured(text, sizeof text);
    json_t *line = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(line);
    assert_string_equal(json_string_value(json_object_get(line, "level")), "error");
    assert_string_equal(json_string_value(json_object_get(line, "msg")), "a message");
    assert_string_equal(json_string_value(json_object_get(line, "s")), "caf\xc3\xa9 \xef\xbf\xbd\"\n");
    assert_int_equal(json_integer_value(json_object_get(line, "n")), 7);
    assert_int_equal(json_integer_value(json_object_get(line, "z")), 8);
    json_decref(line);
}

static void test_a_long_line_stays_whole(void **state) {
    char text[2 * LINE], value[1000];
    (void)state;
    memset(value, '"', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    srv_log_setup(SRV_INFO, SRV_LOG_JSON);
    capture();
    srv_log(SRV_INFO, "long", "a=%s b=%s c=%s d=%s last=%d", value, value, value, value, 1);
    captured(text, sizeof text);
    assert_true(strlen(text) <= LINE);
    assert_int_equal(text[strlen(text) - 1], '\n');
    json_t *line = json_loads(text, 0, NULL);
    assert_non_null(line);
    const char *a = json_string_value(json_object_get(line, "a"));
    assert_true(strlen(a) > 200 && strlen(a) < 300);
    assert_string_equal(a + strlen(a) - 4, "\"...");
    assert_non_null(json_object_get(line, "c"));
    assert_null(json_object_get(line, "d"));
    assert_null(json_object_get(line, "last"));
    json_decref(line);
}

static void test_lines_below_the_level_are_left_out(void **state) {
    char text[LINE];
    (void)state;
    srv_log_setup(SRV_WARN, SRV_LOG_TEXT);
    capture();
    srv_log(SRV_INFO, "no", "n=%d", 1);
    srv_log(SRV_DEBUG, "no", "n=%d", 2);
    captured(text, sizeof text);
    assert_string_equal(text, "");
}

static void test_what_cannot_be_written_is_counted_and_told(void **state) {
    char text[4 * LINE];
    uint64_t before = srv_log_dropped();
    (void)state;
    srv_log_setup(SRV_INFO, SRV_LOG_TEXT);
    capture();
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(full >= 0 && dup2(full, STDERR_FILENO) >= 0);
    srv_log(SRV_INFO, "lost", "n=%d", 1);
    srv_log(SRV_INFO, "lost", "n=%d", 2);
    assert_true(dup2(pipe_ends[1], STDERR_FILENO) >= 0);
    srv_log(SRV_INFO, "heard", "n=%d", 3);
    srv_log(SRV_INFO, "heard", "n=%d", 4);
    close(full);
    captured(text, sizeof text);
    assert_int_equal(srv_log_dropped() - before, 2);
    assert_null(strstr(text, "msg=\"lost\""));
    const char *told = strstr(text, "lines=2\n");
    assert_non_null(told);
    assert_non_null(strstr(told, "n=4"));
    assert_null(strstr(told + 1, "lines="));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_quotes_what_needs_it),
        cmocka_unit_test(test_json_is_an_object),
        cmocka_unit_test(test_a_long_line_stays_whole),
        cmocka_unit_test(test_lines_below_the_level_are_left_out),
        cmocka_unit_test(test_what_cannot_be_written_is_counted_and_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
