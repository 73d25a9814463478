/* test_rng.c - the random generator: its published sequence, its ranges, its saved state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "engine/data/rng.h"

/* From the authors' C code, state 1, 2, 3, 4. */
static void sequence_is_xoshiro256_star_star(void **state) {
    (void)state;
    static const uint64_t EXPECTED[] = {11520, 0, 1509978240, 1215971899390074240u};
    struct data_rng rng = {{1, 2, 3, 4}};
    for (size_t i = 0; i < sizeof EXPECTED / sizeof *EXPECTED; i++)
        assert_int_equal(data_rng_next(&rng), EXPECTED[i]);
}

static void seed_expands_by_splitmix64(void **state) {
    (void)state;
    static const uint64_t EXPECTED[4] = {0xe220a8397b1dcdafu, 0x6e789e6aa1b965f4u, 0x06c45d188009454fu,
                                         0xf88bb8a8724c81ecu};
    struct data_rng rng;
    data_rng_seed(&rng, 0);
    assert_memory_equal(rng.s, EXPECTED, sizeof EXPECTED);
}

static void below_gives_every_value_equally_often(void **state) {
    (void)state;
    enum { LIMIT = 7, DRAWS = 70000 };
    struct data_rng rng;
    int seen[LIMIT] = {0};
    data_rng_seed(&rng, 1);
    for (int i = 0; i < DRAWS; i++) {
        const int value = data_rng_below(&rng, LIMIT);
        assert_in_range(value, 0, LIMIT - 1);
        seen[value]++;
    }
    for (int i = 0; i < LIMIT; i++)
        assert_in_range(seen[i], DRAWS / LIMIT - 500, DRAWS / LIMIT + 500); /* 5 standard deviations */
}

static void below_is_unbiased_for_the_largest_limits(void **state) {
    (void)state;
    struct data_rng rng;
    int seen[3] = {0}; /* by value modulo 3: a plain product would give one of them 2 draws of 8 */
    data_rng_seed(&rng, 2);
    for (int i = 0; i < 10000; i++) {
        const int value = data_rng_below(&rng, 3 << 29);
        assert_in_range(value, 0, (3 << 29) - 1);
        seen[value % 3]++;
    }
    for (int i = 0; i < 3; i++)
        assert_in_range(seen[i], 3333 - 240, 3333 + 240);
    for (int i = 0; i < 100; i++)
        assert_int_equal(data_rng_below(&rng, 1), 0);
}

static void uniform_fills_zero_to_one(void **state) {
    (void)state;
    struct data_rng rng;
    double sum = 0, low = 1, high = 0;
    data_rng_seed(&rng, 3);
    for (int i = 0; i < 100000; i++) {
        const double value = data_rng_uniform(&rng);
        assert_true(value >= 0 && value < 1);
        sum += value;
        low = fmin(low, value);
        high = fmax(high, value);
    }
    assert_true(fabs(sum / 100000 - 0.5) < 0.005);
    assert_true(low < 0.001 && high > 0.999);
}

static void normal_has_the_moments_of_a_standard_normal(void **state) {
    (void)state;
    enum { DRAWS = 200000 };
    struct data_rng rng;
    double moment[5] = {0};
    data_rng_seed(&rng, 4);
    for (int i = 0; i < DRAWS; i++) {
        const double value = data_rng_normal(&rng);
        assert_true(isfinite(value));
        for (int k = 1; k <= 4; k++)
            moment[k] += pow(value, k) / DRAWS;
    }
    assert_true(fabs(moment[1]) < 0.012);
    assert_true(fabs(moment[2] - 1) < 0.02);
    assert_true(fabs(moment[3]) < 0.05);
    assert_true(fabs(moment[4] - 3) < 0.15);
}

static void a_saved_state_repeats_the_rest(void **state) {
    (void)state;
    struct data_rng rng, saved;
    double first[20];
    data_rng_seed(&rng, 5);
    for (int i = 0; i < 7; i++)
        data_rng_normal(&rng);
    saved = rng;
    for (int i = 0; i < 20; i++)
        first[i] = data_rng_normal(&rng);
    for (int i = 0; i < 20; i++)
        assert_true(first[i] == data_rng_normal(&saved));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequence_is_xoshiro256_star_star),
        cmocka_unit_test(seed_expands_by_splitmix64),
        cmocka_unit_test(below_gives_every_value_equally_often),
        cmocka_unit_test(below_is_unbiased_for_the_largest_limits),
        cmocka_unit_test(uniform_fills_zero_to_one),
        cmocka_unit_test(normal_has_the_moments_of_a_standard_normal),
        cmocka_unit_test(a_saved_state_repeats_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
