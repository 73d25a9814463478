/* test_srv_options.c - flag > environment > file > default, for every kind of option. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/options.h"

static const char *const variables[] = {"TRM_MODEL", "TRM_PORT", "TRM_VERIFY", "TRM_HOST", "TRM_CONFIG", "TRM_BACKEND"};

static int clear_environment(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
        unsetenv(variables[i]);
    }
    return 0;
}

/* Reads a command line of at most 10 words, NULL-terminated. */
static trm_status read_words(struct srv_options *options, enum srv_wish *wish, trm_error *err, char *const *words) {
    char *argv[12] = {"trm-server"};
    int argc = 1;
    while (words[argc - 1]) {
        argv[argc] = words[argc - 1];
        argc++;
    }
    return srv_options_read(argc, argv, options, wish, err);
}

#define READ(options, wish, err, ...) read_words(options, wish, err, (char *const[]){__VA_ARGS__, NULL})

/* Writes `text` into a new file whose name goes to `path`. */
static void write_config(char *path, size_t size, const char *text) {
    snprintf(path, size, "/tmp/trm-options-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void test_defaults(void **state) {
    struct srv_options options;
    enum srv_wish wish;
    (void)state;
    assert_int_equal(READ(&options, &wish, NULL, "--model", "m"), TRM_OK);
    assert_int_equal(wish, SRV_RUN);
    assert_int_equal(options.port, 8080);
    assert_string_equal(options.host, "127.0.0.1");
    assert_int_equal(options.max_body, 1 << 20);
    assert_true(options.verify);
    assert_int_equal(options.model_count, 1);
    assert_string_equal(options.models[0], "m");
    srv_options_release(&options);
}

static void test_each_source_wins_over_the_next(void **state) {
    struct srv_options options;
    enum srv_wish wish;
    char path[64];
    (void)state;
    write_config(path, sizeof path,
                 "{\"model\":[\"a\",\"b\"],\"port\":1,\"host\":\"file\",\"verify\":false,\"max_queue\":77}");
    assert_int_equal(READ(&options, &wish, NULL, "--config", path), TRM_OK);
    assert_int_equal(options.model_count, 2);
    assert_int_equal(options.port, 1);
    assert_string_equal(options.host, "file");
    assert_false(options.verify);
    assert_int_equal(options.max_queue, 77);
    srv_options_release(&options);

    setenv("TRM_CONFIG", path, 1);
    setenv("TRM_PORT", "2", 1);
    setenv("TRM_VERIFY", "true", 1);
    setenv("TRM_HOST", "environment", 1);
    setenv("TRM_MODEL", "c,n=d,e", 1);
    assert_int_equal(READ(&options, &wish, NULL, "--port=3"), TRM_OK);
    assert_int_equal(options.port, 3);
    assert_true(options.verify);
    assert_string_equal(options.host, "environment");
    assert_int_equal(options.max_queue, 77);
    assert_int_equal(options.model_count, 3);
    assert_string_equal(options.models[1], "n=d");
    srv_options_release(&options);

    assert_int_equal(READ(&options, &wish, NULL, "--model", "f", "--host", "flag", "--model", "g"), TRM_OK);
    assert_string_equal(options.host, "flag");
    assert_int_equal(options.model_count, 2);
    assert_string_equal(options.models[0], "f");
    assert_string_equal(options.models[1], "g");
    srv_options_release(&options);
    unlink(path);
}

static void test_errors_name_where_they_come_from(void **state) {
    struct srv_options options;
    enum srv_wish wish;
    trm_error error;
    (void)state;
    assert_int_equal(READ(&options, &wish, &error, "--port", "12x", "--model", "m"), TRM_INVALID);
    assert_non_null(strstr(error.text, "--port"));
    assert_int_equal(READ(&options, &wish, &error, "--model", "m", "--backend", "one"), TRM_INVALID);
    assert_non_null(strstr(error.text, "--backend"));
    assert_int_equal(READ(&options, &wish, &error, "--model", "m", "--backend", ""), TRM_INVALID);
    assert_int_equal(READ(&options, &wish, &error, "--model", ""), TRM_INVALID);
    setenv("TRM_PORT", "99999", 1);
    assert_int_equal(READ(&options, &wish, &error, "--model", "m"), TRM_INVALID);
    assert_non_null(strstr(error.text, "TRM_PORT"));
    unsetenv("TRM_PORT");
    setenv("TRM_MODEL", "a,,b", 1);
    assert_int_equal(READ(&options, &wish, &error, "--port", "1"), TRM_INVALID);
    assert_non_null(strstr(error.text, "TRM_MODEL"));
}

static void test_files_that_are_wrong_are_refused(void **state) {
    static const char *const texts[] = {"",
                                        "[]",
                                        "{\"port\":1,\"port\":2}",
                                        "{\"prot\":1}",
                                        "{\"port\":1.5}",
                                        "{\"port\":null}",
                                        "{\"model\":[1]}x",
                                        "{\"model\":[[\"a\"]]}",
                                        "{\"port\":99999999999999}",
                                        "{\"max-queue\":5}"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct srv_options options;
        enum srv_wish wish;
        trm_error error;
        char path[64];
        write_config(path, sizeof path, texts[i]);
        trm_status status = READ(&options, &wish, &error, "--model", "m", "--config", path);
        assert_true(status == TRM_INVALID || status == TRM_FORMAT);
        assert_non_null(strstr(error.text, path));
        unlink(path);
    }
}

static void test_help_and_version_are_wishes(void **state) {
    struct srv_options options;
    enum srv_wish wish;
    (void)state;
    assert_int_equal(READ(&options, &wish, NULL, "--help"), TRM_OK);
    assert_int_equal(wish, SRV_HELP);
    srv_options_release(&options);
    assert_int_equal(READ(&options, &wish, NULL, "--version"), TRM_OK);
    assert_int_equal(wish, SRV_VERSION);
    srv_options_release(&options);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_defaults, clear_environment),
        cmocka_unit_test_setup(test_each_source_wins_over_the_next, clear_environment),
        cmocka_unit_test_setup(test_errors_name_where_they_come_from, clear_environment),
        cmocka_unit_test_setup(test_files_that_are_wrong_are_refused, clear_environment),
        cmocka_unit_test_setup(test_help_and_version_are_wishes, clear_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
