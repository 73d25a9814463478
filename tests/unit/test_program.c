/* test_program.c - the recursion programs of all five architectures, operation by operation, as the table
 * of golden README section 3 says. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/model/layout.h"
#include "engine/model/program.h"

/* Bits of addends: the low-level latents come first, z_H last. */
enum { INPUT = 1 << MODEL_ADDEND_INPUT, Z = 1, L = 1, H = 2, SIX_AND_H = 0x7f };

struct expected {
    const struct recursion_op *ops;
    int count, grad_from, output;
};

static struct model_config config_of(enum model_arch arch, int H_cycles, int L_cycles) {
    return (struct model_config){.arch = arch,
                                 .seq_len = 6,
                                 .vocab_size = 5,
                                 .num_puzzle_identifiers = 1,
                                 .H_cycles = H_cycles,
                                 .L_cycles = L_cycles,
                                 .H_layers = 1,
                                 .L_layers = 1,
                                 .hidden_size = 8,
                                 .num_heads = 2,
                                 .expansion = 2,
                                 .rms_norm_eps = 1e-5,
                                 .rope_theta = 10000.0,
                                 .halt_max_steps = 4,
                                 .no_ACT_continue = true,
                                 .inter_multiple = 8};
}

static void check_program(const struct model_config *given, const struct expected *expected) {
    struct model_config config = *given;
    struct model_program program = {0};
    struct model_layout *layout;
    trm_error err = {""};
    if (model_config_resolve(&config, &err) != TRM_OK)
        fail_msg("%s", err.text);
    assert_int_equal(model_program_create(&config, &program, NULL), TRM_OK);
    assert_int_equal(model_layout_create(&config, &layout, NULL), TRM_OK);
    assert_int_equal(program.count, expected->count);
    assert_int_equal(program.grad_from, expected->grad_from);
    assert_int_equal(program.output, expected->output);
    for (int i = 0; i < expected->count; i++) {
        const struct recursion_op *got = &program.ops[i], *want = &expected->ops[i];
        if (got->net != want->net || got->dst != want->dst || got->addends != want->addends)
            fail_msg("operation %d is %d <- net %d (%#x), not %d <- net %d (%#x)", i, got->dst, got->net, got->addends,
                     want->dst, want->net, want->addends);
        /* Nothing names a latent or network that the model lacks. */
        assert_true(got->dst < layout->latents);
        assert_true(layout->layers[got->net] > 0);
        assert_int_equal((got->addends & ~INPUT) >> layout->latents, 0);
    }
    model_layout_destroy(layout);
    model_program_destroy(&program);
    assert_null(program.ops);
}

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

static void trm_has_one_network_and_gradient_in_its_last_cycle(void **state) {
    (void)state;
    const struct recursion_op ops[] = {{0, 0, L | H | INPUT}, {0, 0, L | H | INPUT}, {0, 1, L | H},
                                       {0, 0, L | H | INPUT}, {0, 0, L | H | INPUT}, {0, 1, L | H}};
    const struct model_config config = config_of(MODEL_TRM, 2, 2);
    check_program(&config, &(struct expected){ops, COUNT(ops), 3, 1});
    const struct model_config one_cycle = config_of(MODEL_TRM, 1, 2);
    check_program(&one_cycle, &(struct expected){ops, 3, 0, 1});
}

static void trm_singlez_has_one_latent(void **state) {
    (void)state;
    const struct recursion_op ops[] = {{0, 0, Z | INPUT}, {0, 0, Z | INPUT}, {0, 0, Z | INPUT}, {0, 0, Z},
                                       {0, 0, Z | INPUT}, {0, 0, Z | INPUT}, {0, 0, Z | INPUT}, {0, 0, Z}};
    const struct model_config config = config_of(MODEL_TRM_SINGLEZ, 2, 3);
    check_program(&config, &(struct expected){ops, COUNT(ops), 4, 0});
}

static void trm_hier6_writes_its_low_latents_in_turn(void **state) {
    (void)state;
    const struct recursion_op ops[] = {{0, 0, SIX_AND_H | INPUT}, {0, 1, SIX_AND_H | INPUT}, {0, 2, SIX_AND_H | INPUT},
                                       {0, 3, SIX_AND_H | INPUT}, {0, 4, SIX_AND_H | INPUT}, {0, 5, SIX_AND_H | INPUT},
                                       {0, 6, SIX_AND_H}};
    const struct model_config config = config_of(MODEL_TRM_HIER6, 1, 6);
    check_program(&config, &(struct expected){ops, COUNT(ops), 0, 6});
}

static void trm_hier6_with_fewer_cycles_leaves_latents_as_they_are(void **state) {
    (void)state;
    const struct recursion_op ops[] = {{0, 0, SIX_AND_H | INPUT}, {0, 1, SIX_AND_H | INPUT}, {0, 6, SIX_AND_H},
                                       {0, 0, SIX_AND_H | INPUT}, {0, 1, SIX_AND_H | INPUT}, {0, 6, SIX_AND_H}};
    const struct model_config config = config_of(MODEL_TRM_HIER6, 2, 2);
    check_program(&config, &(struct expected){ops, COUNT(ops), 3, 6});
}

static void hrm_has_a_network_for_z_H_and_gradient_in_two_updates(void **state) {
    (void)state;
    const struct recursion_op ops[] = {{0, 0, L | H | INPUT}, {0, 0, L | H | INPUT}, {1, 1, L | H},
                                       {0, 0, L | H | INPUT}, {0, 0, L | H | INPUT}, {1, 1, L | H}};
    struct model_config config = config_of(MODEL_HRM, 2, 2);
    config.no_ACT_continue = false;
    check_program(&config, &(struct expected){ops, COUNT(ops), 4, 1});
}

static void the_baseline_is_one_pass_whatever_its_cycles(void **state) {
    (void)state;
    const struct recursion_op ops[] = {{0, 0, Z | INPUT}};
    struct model_config config = config_of(MODEL_TRANSFORMER, 3, 5);
    config.no_ACT_continue = false;
    check_program(&config, &(struct expected){ops, 1, 0, 0});
}

/* A step of two cycles is one without gradient and one with, which costs three times as much. */
static void a_gradient_costs_twice_what_it_differentiates(void **state) {
    (void)state;
    struct model_config one = config_of(MODEL_TRM, 1, 2), two = config_of(MODEL_TRM, 2, 2);
    assert_int_equal(model_config_resolve(&one, NULL), TRM_OK);
    assert_int_equal(model_config_resolve(&two, NULL), TRM_OK);
    const double cycle = model_flops_per_step(&two) - model_flops_per_step(&one);
    assert_true(cycle > 0.0);
    const double whole = model_flops_per_training_step(&one, false);
    assert_true(fabs(whole - 3.0 * model_flops_per_step(&one)) < 1e-9 * cycle);
    assert_true(fabs(model_flops_per_training_step(&two, false) - whole - cycle) < 1e-9 * cycle);
    /* A cycle is three updates, of which two are differentiated then. */
    assert_true(fabs(whole - model_flops_per_training_step(&one, true) - 2.0 / 3.0 * cycle) < 1e-9 * cycle);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trm_has_one_network_and_gradient_in_its_last_cycle),
        cmocka_unit_test(trm_singlez_has_one_latent),
        cmocka_unit_test(trm_hier6_writes_its_low_latents_in_turn),
        cmocka_unit_test(trm_hier6_with_fewer_cycles_leaves_latents_as_they_are),
        cmocka_unit_test(hrm_has_a_network_for_z_H_and_gradient_in_two_updates),
        cmocka_unit_test(the_baseline_is_one_pass_whatever_its_cycles),
        cmocka_unit_test(a_gradient_costs_twice_what_it_differentiates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
