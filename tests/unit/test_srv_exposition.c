/* test_srv_exposition.c - the text format of Prometheus, to the letter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "server/exposition.h"

static void check(struct proto_text *text, const char *expected) {
    assert_false(text->failed);
    assert_int_equal(text->length, strlen(expected));
    assert_memory_equal(text->data, expected, text->length);
    proto_text_release(text);
}

static void test_a_family_and_its_samples(void **state) {
    struct proto_text text = {0};
    const struct srv_label labels[] = {{"a", "x"}, {"b", "y"}};
    (void)state;
    srv_family(&text, "trm_things_total", "counter", "Things.");
    srv_sample(&text, "trm_things_total", NULL, 0, 3);
    srv_sample(&text, "trm_things_total", labels, 2, 0.25);
    srv_sample(&text, "trm_things_total", labels, 1, 9007199254740991.0);
    check(&text, "# HELP trm_things_total Things.\n"
                 "# TYPE trm_things_total counter\n"
                 "trm_things_total 3\n"
                 "trm_things_total{a=\"x\",b=\"y\"} 0.25\n"
                 "trm_things_total{a=\"x\"} 9007199254740991\n");
}

static void test_values_of_labels_are_escaped(void **state) {
    struct proto_text text = {0};
    const struct srv_label labels[] = {{"a", "\\\"\n"}, {"b", ""}, {"c", "caf\xc3\xa9\\n"}};
    (void)state;
    srv_sample(&text, "m", labels, 3, 1);
    check(&text, "m{a=\"\\\\\\\"\\n\",b=\"\",c=\"caf\xc3\xa9\\\\n\"} 1\n");
}

static void test_buckets_are_cumulative(void **state) {
    static const double bounds[] = {0.5, 2};
    struct srv_histogram histogram = {.bounds = bounds, .bound_count = 2};
    struct proto_text text = {0};
    const struct srv_label label = {"m", "x"};
    (void)state;
    srv_histogram_add(&histogram, 0.5);
    srv_histogram_add(&histogram, 1);
    srv_histogram_add(&histogram, 1.5);
    srv_histogram_add(&histogram, 7);
    srv_sample_histogram(&text, "h", &label, 1, &histogram);
    check(&text, "h_bucket{m=\"x\",le=\"0.5\"} 1\n"
                 "h_bucket{m=\"x\",le=\"2\"} 3\n"
                 "h_bucket{m=\"x\",le=\"+Inf\"} 4\n"
                 "h_sum{m=\"x\"} 10\n"
                 "h_count{m=\"x\"} 4\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_family_and_its_samples),
        cmocka_unit_test(test_values_of_labels_are_escaped),
        cmocka_unit_test(test_buckets_are_cumulative),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
