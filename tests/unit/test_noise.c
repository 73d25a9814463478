/* test_noise.c - the noise of rollouts is normal, independent, and a function of seed and step alone. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/noise.h"

enum { COUNT = 100001 };

static float *noise_of(float deviation, uint64_t seed, int step) {
    float *values = calloc(COUNT, sizeof *values);
    assert_non_null(values);
    trm_noise_add(deviation, seed, step, COUNT, values);
    return values;
}

static double mean_product(const float *a, const float *b, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (double)a[i] * (double)b[i];
    return sum / (double)count;
}

/* Moments and tail of the normal distribution, each within five standard errors of 100,001 values. */
static void noise_is_normal_with_the_given_deviation(void **state) {
    (void)state;
    float *values = noise_of(0.5f, 7, 3);
    double sum[5] = {0};
    int beyond = 0;
    for (int i = 0; i < COUNT; i++) {
        const double z = (double)values[i] / 0.5;
        assert_true(isfinite(z));
        for (int k = 1; k <= 4; k++)
            sum[k] += pow(z, k) / COUNT;
        beyond += fabs(z) > 2;
    }
    const double error = 5 / sqrt(COUNT);
    assert_true(fabs(sum[1]) < error);
    assert_true(fabs(sum[2] - 1) < error * sqrt(2));
    assert_true(fabs(sum[3]) < error * sqrt(15));
    assert_true(fabs(sum[4] - 3) < error * sqrt(96));
    assert_true(fabs(beyond / (double)COUNT - 0.0455) < error * sqrt(0.0455));
    free(values);
}

static void neighbouring_values_steps_and_seeds_are_independent(void **state) {
    (void)state;
    float *values = noise_of(1, 7, 3), *next_step = noise_of(1, 7, 4), *next_seed = noise_of(1, 8, 3),
          *both = noise_of(1, 8, 2);
    const double error = 5 / sqrt(COUNT - 2);
    assert_true(fabs(mean_product(values, values + 1, COUNT - 1)) < error);
    assert_true(fabs(mean_product(values, values + 2, COUNT - 2)) < error);
    assert_true(fabs(mean_product(values, next_step, COUNT)) < error);
    assert_true(fabs(mean_product(values, next_seed, COUNT)) < error);
    assert_true(fabs(mean_product(values, both, COUNT)) < error);
    free(values);
    free(next_step);
    free(next_seed);
    free(both);
}

static void the_same_seed_and_step_give_the_same_bits(void **state) {
    (void)state;
    float *one = noise_of(1, 0, 0), *two = noise_of(1, 0, 0);
    assert_memory_equal(one, two, COUNT * sizeof *one);
    free(one);
    free(two);
}

static void noise_is_added(void **state) {
    (void)state;
    float zero[3] = {0}, ten[3] = {10, 10, 10};
    trm_noise_add(1, 1, 1, 3, zero);
    trm_noise_add(1, 1, 1, 3, ten);
    for (int i = 0; i < 3; i++)
        assert_true(zero[i] != 0 && ten[i] == 10 + zero[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(noise_is_normal_with_the_given_deviation),
        cmocka_unit_test(neighbouring_values_steps_and_seeds_are_independent),
        cmocka_unit_test(the_same_seed_and_step_give_the_same_bits),
        cmocka_unit_test(noise_is_added),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
