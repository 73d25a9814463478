/* test_schedule.c - the learning rate against the golden table and its own definition. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "engine/train/schedule.h"

#define GOLDEN "../shared/golden/lr_schedule.json"

static void assert_near(double got, double wanted) {
    if (!(fabs(got - wanted) <= 1e-12))
        fail_msg("%.17g is not near %.17g", got, wanted);
}

static void without_a_constant_part_it_is_the_originals(void **state) {
    (void)state;
    if (access(GOLDEN, R_OK) != 0) {
        print_message("no goldens at " GOLDEN "\n");
        skip();
    }
    json_t *root = json_load_file(GOLDEN, 0, NULL), *item;
    size_t index;
    assert_true(json_array_size(root) > 0);
    json_array_foreach(root, index, item) {
        struct train_schedule schedule = {
            .warmup = (int)json_integer_value(json_object_get(item, "num_warmup_steps")),
            .total = (int)json_integer_value(json_object_get(item, "num_training_steps")),
            .min_ratio = json_number_value(json_object_get(item, "min_ratio")),
        };
        double base = json_number_value(json_object_get(item, "base_lr"));
        json_t *rates = json_object_get(item, "lr"), *rate;
        size_t i;
        assert_true(json_array_size(rates) > 0);
        json_array_foreach(rates, i, rate)
            assert_near(base * train_schedule_factor(&schedule, (int)i + 1), json_number_value(rate));
    }
    json_decref(root);
}

static void the_constant_part_ends_at_its_share_of_the_run(void **state) {
    (void)state;
    const struct train_schedule schedule = {.warmup = 10, .total = 1000, .constant_fraction = 0.6, .min_ratio = 0.02};
    assert_near(train_schedule_factor(&schedule, 1), 0.1);
    assert_near(train_schedule_factor(&schedule, 9), 0.9);
    for (int step = 10; step <= 600; step++)
        assert_near(train_schedule_factor(&schedule, step), 1.0);
    double before = 1.0;
    for (int step = 601; step <= 1000; step++) {
        double factor = train_schedule_factor(&schedule, step);
        assert_true(factor < before);
        before = factor;
    }
    assert_near(train_schedule_factor(&schedule, 800), 0.51);
    assert_near(train_schedule_factor(&schedule, 1000), 0.02);
}

static void beyond_the_run_it_stays_at_the_minimum(void **state) {
    (void)state;
    const struct train_schedule schedule = {.warmup = 2, .total = 10, .min_ratio = 0.1};
    assert_near(train_schedule_factor(&schedule, 11), 0.1);
    assert_near(train_schedule_factor(&schedule, 25), 0.1);
}

static void a_warm_up_longer_than_the_run_only_rises(void **state) {
    (void)state;
    const struct train_schedule schedule = {.warmup = 100, .total = 20, .constant_fraction = 0.6, .min_ratio = 0};
    for (int step = 1; step <= 20; step++)
        assert_near(train_schedule_factor(&schedule, step), step / 100.0);
    assert_near(train_schedule_factor(&schedule, 100), 1.0);
}

static void a_fully_constant_run_never_falls(void **state) {
    (void)state;
    const struct train_schedule schedule = {.total = 50, .constant_fraction = 1, .min_ratio = 0};
    for (int step = 1; step <= 50; step++)
        assert_near(train_schedule_factor(&schedule, step), 1.0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_constant_part_it_is_the_originals),
        cmocka_unit_test(the_constant_part_ends_at_its_share_of_the_run),
        cmocka_unit_test(beyond_the_run_it_stays_at_the_minimum),
        cmocka_unit_test(a_warm_up_longer_than_the_run_only_rises),
        cmocka_unit_test(a_fully_constant_run_never_falls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
