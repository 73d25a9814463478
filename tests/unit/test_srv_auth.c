/* test_srv_auth.c - who is let in, by key and by origin. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/auth.h"
#include "server/cors.h"

static struct srv_auth *open_keys(const char *clients, const char *admins, bool public_metrics) {
    struct srv_auth_config config = {.list = clients, .admin_list = admins, .public_metrics = public_metrics};
    struct srv_auth *auth;
    trm_error err;
    assert_int_equal(srv_auth_open(&config, &auth, &err), TRM_OK);
    return auth;
}

static void test_without_keys_all_but_an_admins_work_is_allowed(void **state) {
    struct srv_auth *auth = open_keys(NULL, NULL, false);
    (void)state;
    assert_int_equal(srv_auth_judge(auth, SRV_PUBLIC, NULL, NULL), SRV_ALLOWED);
    assert_int_equal(srv_auth_judge(auth, SRV_KEYED, NULL, "whatever"), SRV_ALLOWED);
    assert_int_equal(srv_auth_judge(auth, SRV_METRICS, NULL, NULL), SRV_ALLOWED);
    assert_int_equal(srv_auth_judge(auth, SRV_ADMIN, NULL, "whatever"), SRV_NOT_POSSIBLE);
    srv_auth_close(auth);
}

static void test_each_key_opens_what_it_may(void **state) {
    struct srv_auth *auth = open_keys("client-one,client-two", "operator", false);
    (void)state;
    assert_int_equal(srv_auth_count(auth), 3);
    assert_int_equal(srv_auth_judge(auth, SRV_PUBLIC, NULL, NULL), SRV_ALLOWED);
    assert_int_equal(srv_auth_judge(auth, SRV_KEYED, NULL, NULL), SRV_NO_KEY);
    assert_int_equal(srv_auth_judge(auth, SRV_METRICS, NULL, NULL), SRV_NO_KEY);
    assert_int_equal(srv_auth_judge(auth, SRV_KEYED, NULL, "client-one"), SRV_ALLOWED);
    assert_int_equal(srv_auth_judge(auth, SRV_METRICS, "Bearer client-two", NULL), SRV_ALLOWED);
    assert_int_equal(srv_auth_judge(auth, SRV_ADMIN, NULL, "client-two"), SRV_NOT_ENOUGH);
    assert_int_equal(srv_auth_judge(auth, SRV_ADMIN, NULL, "client-three"), SRV_WRONG_KEY);
    assert_int_equal(srv_auth_judge(auth, SRV_ADMIN, NULL, NULL), SRV_NO_KEY);
    assert_int_equal(srv_auth_judge(auth, SRV_ADMIN, NULL, "operator"), SRV_ALLOWED);
    assert_int_equal(srv_auth_judge(auth, SRV_KEYED, NULL, "operator"), SRV_ALLOWED);
    srv_auth_close(auth);
}

static void test_a_key_must_be_whole_and_no_more(void **state) {
    struct srv_auth *auth = open_keys("0123456789", NULL, false);
    char text[200] = "0123456789";
    (void)state;
    for (size_t length = 0; length < 10; length++) {
        text[length] = '\0';
        assert_int_equal(srv_auth_judge(auth, SRV_KEYED, NULL, text), SRV_WRONG_KEY);
        text[length] = (char)('0' + length);
    }
    assert_int_equal(srv_auth_judge(auth, SRV_KEYED, NULL, text), SRV_ALLOWED);
    for (size_t i = 0; i < 10; i++) {
        text[i] ^= 1;
        assert_int_equal(srv_auth_judge(auth, SRV_KEYED, NULL, text), SRV_WRONG_KEY);
        text[i] ^= 1;
    }
    memset(text + 10, 'x', sizeof text - 11);
    for (size_t length = sizeof text - 1; length > 10; length--) {
        text[length] = '\0';
        assert_int_equal(srv_auth_judge(auth, SRV_KEYED, NULL, text), SRV_WRONG_KEY);
    }
    srv_auth_close(auth);
}

static void test_metrics_may_be_public(void **state) {
    struct srv_auth *auth = open_keys("client-one", NULL, true);
    (void)state;
    assert_int_equal(srv_auth_judge(auth, SRV_METRICS, NULL, NULL), SRV_ALLOWED);
    assert_int_equal(srv_auth_judge(auth, SRV_KEYED, NULL, NULL), SRV_NO_KEY);
    srv_auth_close(auth);
}

/* The error of a list or file of keys; the keys themselves never stand in it. */
static void test_what_is_no_key_is_refused_without_being_told(void **state) {
    static const char *const lists[] = {
        "", ",", "short", "long-enough,", "long-enough,has a space", "caf\xc3\xa9-caf\xc3\xa9"};
    struct srv_auth *auth;
    trm_error err;
    (void)state;
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        struct srv_auth_config config = {.list = lists[i]};
        assert_int_equal(srv_auth_open(&config, &auth, &err), TRM_INVALID);
        assert_null(auth);
        assert_null(strstr(err.text, "enough"));
    }
    struct srv_auth_config config = {.file = "/no/such/file"};
    assert_int_equal(srv_auth_open(&config, &auth, &err), TRM_IO);
}

static void test_a_file_that_went_bad_leaves_the_keys_as_they_are(void **state) {
    char path[] = "/tmp/test_srv_auth.XXXXXX";
    int fd = mkstemp(path);
    FILE *file = fdopen(fd, "w");
    struct srv_auth_config config = {.file = path};
    struct srv_auth *auth;
    trm_error err;
    (void)state;
    assert_non_null(file);
    fputs("# two keys, the last without a newline\r\n\r\n  the-first-key\t\r\nthe-last-key", file);
    fclose(file);
    assert_int_equal(srv_auth_open(&config, &auth, &err), TRM_OK);
    assert_int_equal(srv_auth_count(auth), 2);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(srv_auth_reload(auth, &err), TRM_INVALID);
    assert_int_equal(remove(path), 0);
    assert_int_equal(srv_auth_reload(auth, &err), TRM_IO);
    assert_int_equal(srv_auth_judge(auth, SRV_KEYED, NULL, "the-first-key"), SRV_ALLOWED);
    assert_int_equal(srv_auth_judge(auth, SRV_KEYED, NULL, "the-last-key"), SRV_ALLOWED);
    srv_auth_close(auth);
}

static void test_origins_are_compared_whole(void **state) {
    struct srv_cors *cors;
    trm_error err;
    (void)state;
    assert_int_equal(srv_cors_open("https://a.example,http://b.example:8080", &cors, &err), TRM_OK);
    assert_true(srv_cors_is_on(cors) && srv_cors_varies(cors));
    assert_string_equal(srv_cors_allow(cors, "https://a.example"), "https://a.example");
    assert_string_equal(srv_cors_allow(cors, "http://b.example:8080"), "http://b.example:8080");
    assert_null(srv_cors_allow(cors, "http://b.example:808"));
    assert_null(srv_cors_allow(cors, "http://b.example:80800"));
    assert_null(srv_cors_allow(cors, "http://a.example"));
    assert_null(srv_cors_allow(cors, ""));
    assert_null(srv_cors_allow(cors, NULL));
    srv_cors_close(cors);
}

static void test_a_star_allows_all_and_nothing_given_allows_none(void **state) {
    struct srv_cors *cors;
    (void)state;
    assert_int_equal(srv_cors_open("*", &cors, NULL), TRM_OK);
    assert_string_equal(srv_cors_allow(cors, "https://whoever.example"), "*");
    assert_null(srv_cors_allow(cors, NULL));
    assert_false(srv_cors_varies(cors));
    srv_cors_close(cors);
    assert_int_equal(srv_cors_open(NULL, &cors, NULL), TRM_OK);
    assert_null(srv_cors_allow(cors, "https://whoever.example"));
    assert_false(srv_cors_is_on(cors) || srv_cors_varies(cors));
    srv_cors_close(cors);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_keys_all_but_an_admins_work_is_allowed),
        cmocka_unit_test(test_each_key_opens_what_it_may),
        cmocka_unit_test(test_a_key_must_be_whole_and_no_more),
        cmocka_unit_test(test_metrics_may_be_public),
        cmocka_unit_test(test_what_is_no_key_is_refused_without_being_told),
        cmocka_unit_test(test_a_file_that_went_bad_leaves_the_keys_as_they_are),
        cmocka_unit_test(test_origins_are_compared_whole),
        cmocka_unit_test(test_a_star_allows_all_and_nothing_given_allows_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
