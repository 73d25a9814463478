/* test_config.c - configurations: defaults, derived sizes, refusals, round trip. The derived sizes
 * of real configurations are checked against the goldens in test_checkpoint.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/model/config.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char base_text[] =
    "{\"arch\": \"trm\", \"seq_len\": 81, \"vocab_size\": 11, \"num_puzzle_identifiers\": 3, \"puzzle_emb_ndim\": 64,"
    " \"puzzle_emb_len\": 2, \"H_cycles\": 3, \"L_cycles\": 6, \"H_layers\": 1, \"L_layers\": 2, \"hidden_size\": 64,"
    " \"num_heads\": 4, \"expansion\": 4.0, \"pos_encodings\": \"rope\", \"rms_norm_eps\": 1e-6, \"rope_theta\": 500.0,"
    " \"halt_max_steps\": 16, \"halt_exploration_prob\": 0.1, \"mlp_t\": false, \"no_ACT_continue\": true}";

/* The base configuration with one member set to the JSON value `value`, or removed if that is NULL,
 * and another set likewise if `name2` is not NULL. */
static trm_status parse_changed(const char *name, const char *value, const char *name2, const char *value2,
                                struct model_config *config, trm_error *err) {
    const char *const names[] = {name, name2}, *const values[] = {value, value2};
    json_t *root = json_loads(base_text, 0, NULL);
    assert_non_null(root);
    for (int i = 0; i < 2; i++) {
        if (names[i] && !values[i])
            assert_int_equal(json_object_del(root, names[i]), 0);
        else if (names[i])
            assert_int_equal(json_object_set_new(root, names[i], json_loads(values[i], JSON_DECODE_ANY, NULL)), 0);
    }
    char *text = json_dumps(root, 0);
    json_decref(root);
    assert_non_null(text);
    trm_status status = model_config_parse(text, config, err);
    free(text);
    return status;
}

static struct model_config changed(const char *name, const char *value, const char *name2, const char *value2) {
    struct model_config config;
    trm_error err = {""};
    if (parse_changed(name, value, name2, value2, &config, &err))
        fail_msg("%s: %s", name ? name : "unchanged", err.text);
    return config;
}

static void every_field_is_read(void **state) {
    (void)state;
    struct model_config config = changed(NULL, NULL, NULL, NULL);
    assert_int_equal(config.arch, MODEL_TRM);
    assert_int_equal(config.seq_len, 81);
    assert_int_equal(config.vocab_size, 11);
    assert_int_equal(config.num_puzzle_identifiers, 3);
    assert_int_equal(config.puzzle_emb_ndim, 64);
    assert_int_equal(config.puzzle_emb_len, 2);
    assert_int_equal(config.H_cycles, 3);
    assert_int_equal(config.L_cycles, 6);
    assert_int_equal(config.L_layers, 2);
    assert_int_equal(config.hidden_size, 64);
    assert_int_equal(config.num_heads, 4);
    assert_true(config.expansion == 4.0);
    assert_int_equal(config.pos_encodings, MODEL_POS_ROPE);
    assert_true(config.rms_norm_eps == 1e-6);
    assert_true(config.rope_theta == 500.0);
    assert_int_equal(config.halt_max_steps, 16);
    assert_true(config.halt_exploration_prob == 0.1);
    assert_false(config.mlp_t);
    assert_true(config.no_ACT_continue);
    assert_int_equal(config.inter_multiple, 256);
    assert_int_equal(config.tokens, 83);
    assert_int_equal(config.head_dim, 16);
    assert_int_equal(config.inter, 256);
    assert_int_equal(config.inter_t, 0);
}

static void absent_fields_have_the_defaults_of_the_original(void **state) {
    (void)state;
    assert_true(changed("rms_norm_eps", NULL, NULL, NULL).rms_norm_eps == 1e-5);
    assert_true(changed("rope_theta", NULL, NULL, NULL).rope_theta == 10000.0);
    assert_false(changed("mlp_t", NULL, NULL, NULL).mlp_t);
    assert_true(changed("no_ACT_continue", NULL, NULL, NULL).no_ACT_continue);
    assert_int_equal(changed("H_layers", NULL, NULL, NULL).H_layers, 0);
    assert_int_equal(changed("puzzle_emb_len", NULL, NULL, NULL).puzzle_emb_len, 16);
    assert_int_equal(changed("puzzle_emb_len", NULL, "puzzle_emb_ndim", NULL).puzzle_emb_len, 0);
    assert_int_equal(changed("halt_exploration_prob", NULL, "other", "[1]").seq_len, 81);
    assert_int_equal(changed("pos_encodings", "\"sinusoid\"", NULL, NULL).pos_encodings, MODEL_POS_NONE);
    assert_int_equal(changed("pos_encodings", "\"learned\"", NULL, NULL).pos_encodings, MODEL_POS_LEARNED);
    assert_int_equal(changed("pos_encodings", "\"learned\"", NULL, NULL).side, 0);
    assert_int_equal(changed("pos_encodings", "\"rope_2d\"", "seq_len", "81").side, 9);
    assert_true(changed("expansion", "3", NULL, NULL).expansion == 3.0);
    assert_int_equal(changed(NULL, NULL, NULL, NULL).attention, MODEL_ATTENTION_ALL);
    assert_int_equal(changed("attention", "\"units\"", NULL, NULL).attention, MODEL_ATTENTION_UNITS);
    assert_int_equal(changed("attention", "\"units\"", NULL, NULL).side, 9);
    assert_int_equal(changed("attention", "\"near\"", "attention_radius", "2").attention_radius, 2);
}

static void inner_sizes_round_half_to_even_and_then_up(void **state) {
    (void)state;
    static const struct {
        const char *expansion, *multiple;
        int inter; /* for hidden_size 64 */
    } sizes[] = {
        {"6.01", "256", 256},   /* 256.4 rounds to 256 first */
        {"6.03", "256", 512},   /* 257.3 */
        {"4", "32", 192},       /* 170.7 */
        {"4", "1", 171},        /* 170.7 */
        {"0.10546875", "1", 4}, /* 4.5: half to even */
        {"0.08203125", "1", 4}, /* 3.5 */
        {"0.02", "256", 256},   /* 0.85 */
        {"64.0", "256", 2816},  /* 2730.7 */
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        assert_int_equal(changed("expansion", sizes[i].expansion, "inter_multiple", sizes[i].multiple).inter,
                         sizes[i].inter);
}

static void token_mixing_is_as_wide_as_all_tokens(void **state) {
    (void)state;
    assert_int_equal(changed("mlp_t", "true", NULL, NULL).inter_t, 256);             /* 83 tokens: 221.3 */
    assert_int_equal(changed("mlp_t", "true", "puzzle_emb_len", "16").inter_t, 512); /* 97 tokens: 258.7 */
    assert_int_equal(changed("mlp_t", "true", "inter_multiple", "1").inter_t, 221);
}

static void puzzle_tokens_hold_the_puzzle_embedding(void **state) {
    (void)state;
    assert_int_equal(changed("puzzle_emb_len", "0", NULL, NULL).puzzle_emb_len, 1);
    assert_int_equal(changed("puzzle_emb_len", "0", "puzzle_emb_ndim", "40").puzzle_emb_len, 1);
    assert_int_equal(changed("puzzle_emb_len", "0", "puzzle_emb_ndim", "65").puzzle_emb_len, 2);
    assert_int_equal(changed("puzzle_emb_len", "0", "puzzle_emb_ndim", "0").tokens, 81);
    assert_int_equal(changed("puzzle_emb_len", "2", "puzzle_emb_ndim", "128").tokens, 83);
    assert_int_equal(changed("arch", "\"hrm\"", NULL, NULL).puzzle_emb_len, 1);
    assert_int_equal(changed("arch", "\"hrm\"", "puzzle_emb_ndim", "129").puzzle_emb_len, 3);
    assert_int_equal(changed("arch", "\"transformers_baseline\"", NULL, NULL).tokens, 82);
}

static void fields_an_architecture_does_not_have_take_their_only_value(void **state) {
    (void)state;
    assert_int_equal(changed(NULL, NULL, NULL, NULL).H_layers, 0);
    struct model_config hrm = changed("arch", "\"hrm\"", "mlp_t", "true");
    assert_int_equal(hrm.H_layers, 1);
    assert_true(hrm.mlp_t);
    assert_false(hrm.no_ACT_continue);
    struct model_config baseline = changed("arch", "\"transformers_baseline\"", "mlp_t", "true");
    assert_int_equal(baseline.H_cycles, 1);
    assert_int_equal(baseline.L_cycles, 0);
    assert_int_equal(baseline.H_layers, 1);
    assert_int_equal(baseline.L_layers, 0);
    assert_false(baseline.mlp_t);
    assert_false(baseline.no_ACT_continue);
    baseline = changed("arch", "\"transformers_baseline\"", "L_cycles", NULL);
    assert_int_equal(baseline.L_cycles, 0);
    baseline = changed("arch", "\"transformers_baseline\"", "L_layers", NULL);
    assert_int_equal(baseline.L_layers, 0);
}

static void head_size_is_rounded_down(void **state) {
    (void)state;
    assert_int_equal(changed("num_heads", "6", NULL, NULL).head_dim, 10);
    assert_int_equal(changed("num_heads", "5", "pos_encodings", "\"none\"").head_dim, 12);
    assert_int_equal(changed("num_heads", "7", "pos_encodings", "\"none\"").head_dim, 9);
    assert_int_equal(changed("num_heads", "7", "mlp_t", "true").head_dim, 9); /* rope is ignored by mlp_t */
}

static void impossible_configurations_are_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *name, *value, *name2, *value2;
        trm_status status;
        const char *reason;
    } cases[] = {
        {"arch", NULL, NULL, NULL, TRM_FORMAT, "arch is missing"},
        {"arch", "3", NULL, NULL, TRM_FORMAT, "arch"},
        {"arch", "\"TRM\"", NULL, NULL, TRM_INVALID, "TRM"},
        {"pos_encodings", NULL, NULL, NULL, TRM_FORMAT, "pos_encodings is missing"},
        {"pos_encodings", "null", NULL, NULL, TRM_FORMAT, "pos_encodings"},
        {"seq_len", NULL, NULL, NULL, TRM_FORMAT, "seq_len is missing"},
        {"seq_len", "81.0", NULL, NULL, TRM_FORMAT, "seq_len"},
        {"seq_len", "\"81\"", NULL, NULL, TRM_FORMAT, "seq_len"},
        {"seq_len", "true", NULL, NULL, TRM_FORMAT, "seq_len"},
        {"seq_len", "0", NULL, NULL, TRM_INVALID, "seq_len"},
        {"seq_len", "-1", NULL, NULL, TRM_INVALID, "seq_len"},
        {"seq_len", "4294967377", NULL, NULL, TRM_INVALID, "seq_len"}, /* 81 in 32 bits */
        {"seq_len", "8192", NULL, NULL, TRM_INVALID, "tokens"},
        {"seq_len", "8193", NULL, NULL, TRM_INVALID, "seq_len"},
        {"vocab_size", "0", NULL, NULL, TRM_INVALID, "vocab_size"},
        {"vocab_size", "65537", NULL, NULL, TRM_INVALID, "vocab_size"},
        {"vocab_size", NULL, NULL, NULL, TRM_FORMAT, "vocab_size"},
        {"num_puzzle_identifiers", "0", NULL, NULL, TRM_INVALID, "num_puzzle_identifiers"},
        {"num_puzzle_identifiers", "2147483647", NULL, NULL, TRM_INVALID, "num_puzzle_identifiers"},
        {"puzzle_emb_ndim", "-1", NULL, NULL, TRM_INVALID, "puzzle_emb_ndim"},
        {"puzzle_emb_ndim", "0", NULL, NULL, TRM_INVALID, "puzzle_emb_len"},
        {"puzzle_emb_ndim", "129", NULL, NULL, TRM_INVALID, "puzzle_emb_ndim"},
        {"puzzle_emb_ndim", "2147483647", "puzzle_emb_len", "0", TRM_INVALID, "puzzle_emb_ndim"},
        {"puzzle_emb_ndim", "67108864", "puzzle_emb_len", "0", TRM_INVALID, "tokens"},
        {"puzzle_emb_len", "-1", NULL, NULL, TRM_INVALID, "puzzle_emb_len"},
        {"puzzle_emb_len", "8192", NULL, NULL, TRM_INVALID, "tokens"},
        {"H_cycles", "0", NULL, NULL, TRM_INVALID, "H_cycles"},
        {"H_cycles", "65", NULL, NULL, TRM_INVALID, "H_cycles"},
        {"H_cycles", NULL, NULL, NULL, TRM_FORMAT, "H_cycles"},
        {"L_cycles", "0", NULL, NULL, TRM_INVALID, "L_cycles"},
        {"L_cycles", "7", "arch", "\"trm_hier6\"", TRM_INVALID, "L_cycles"},
        {"L_layers", "0", NULL, NULL, TRM_INVALID, "L_layers"},
        {"L_layers", "65", NULL, NULL, TRM_INVALID, "L_layers"},
        {"H_layers", "0", "arch", "\"hrm\"", TRM_INVALID, "H_layers"},
        {"H_layers", NULL, "arch", "\"hrm\"", TRM_FORMAT, "H_layers"},
        {"H_layers", NULL, "arch", "\"transformers_baseline\"", TRM_FORMAT, "H_layers"},
        {"hidden_size", "0", NULL, NULL, TRM_INVALID, "hidden_size"},
        {"hidden_size", "8193", NULL, NULL, TRM_INVALID, "hidden_size"},
        {"num_heads", "0", NULL, NULL, TRM_INVALID, "num_heads"},
        {"num_heads", "65", NULL, NULL, TRM_INVALID, "num_heads"},
        {"num_heads", "7", NULL, NULL, TRM_INVALID, "even head size"},
        {"expansion", NULL, NULL, NULL, TRM_FORMAT, "expansion"},
        {"expansion", "\"4\"", NULL, NULL, TRM_FORMAT, "expansion"},
        {"expansion", "0", NULL, NULL, TRM_INVALID, "expansion"},
        {"expansion", "-4.0", NULL, NULL, TRM_INVALID, "expansion"},
        {"expansion", "1e300", NULL, NULL, TRM_INVALID, "expansion"},
        {"expansion", "0.005", NULL, NULL, TRM_INVALID, "expansion"}, /* inner size 0 */
        {"expansion", "64", "hidden_size", "8192", TRM_INVALID, "inner size"},
        {"rms_norm_eps", "0", NULL, NULL, TRM_INVALID, "rms_norm_eps"},
        {"rope_theta", "0.0", NULL, NULL, TRM_INVALID, "rope_theta"},
        {"pos_encodings", "\"rope_2d\"", "seq_len", "80", TRM_INVALID, "square"},
        {"pos_encodings", "\"rope_2d\"", "num_heads", "3", TRM_INVALID, "4 divides"},
        {"attention", "3", NULL, NULL, TRM_FORMAT, "attention"},
        {"attention", "\"far\"", NULL, NULL, TRM_INVALID, "far"},
        {"attention", "\"units\"", "seq_len", "80", TRM_INVALID, "square"},
        {"attention", "\"units\"", "seq_len", "25", TRM_INVALID, "boxes"},
        {"attention", "\"units\"", "num_heads", "2", TRM_INVALID, "boxes"},
        {"attention", "\"units\"", "mlp_t", "true", TRM_INVALID, "mlp_t"},
        {"attention", "\"units\"", "attention_radius", "1", TRM_INVALID, "attention_radius"},
        {"attention", "\"near\"", NULL, NULL, TRM_INVALID, "attention_radius"},
        {"attention", "\"near\"", "attention_radius", "-1", TRM_INVALID, "attention_radius"},
        {"halt_max_steps", "0", NULL, NULL, TRM_INVALID, "halt_max_steps"},
        {"halt_max_steps", NULL, NULL, NULL, TRM_FORMAT, "halt_max_steps"},
        {"halt_exploration_prob", "1.1", NULL, NULL, TRM_INVALID, "halt_exploration_prob"},
        {"mlp_t", "1", NULL, NULL, TRM_FORMAT, "mlp_t"},
        {"no_ACT_continue", "null", NULL, NULL, TRM_FORMAT, "no_ACT_continue"},
        {"inter_multiple", "0", NULL, NULL, TRM_INVALID, "inter_multiple"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct model_config config;
        trm_error err = {""};
        trm_status status =
            parse_changed(cases[i].name, cases[i].value, cases[i].name2, cases[i].value2, &config, &err);
        if (status != cases[i].status || !strstr(err.text, cases[i].reason))
            fail_msg("%s = %s: status %d, message \"%s\", expected \"%s\"", cases[i].name, cases[i].value, status,
                     err.text, cases[i].reason);
    }
}

static void text_that_is_no_configuration_is_refused(void **state) {
    (void)state;
    static const char *const texts[] = {"", "{", "[]", "3", "null", "{\"arch\":\"trm\",\"arch\":\"trm\"}", "{}"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct model_config config;
        assert_int_equal(model_config_parse(texts[i], &config, NULL), TRM_FORMAT);
    }
}

static void unknown_enum_values_are_refused(void **state) {
    (void)state;
    struct model_config config = changed(NULL, NULL, NULL, NULL);
    config.arch = (enum model_arch)5;
    assert_int_equal(model_config_resolve(&config, NULL), TRM_INVALID);
    config = changed(NULL, NULL, NULL, NULL);
    config.pos_encodings = (enum model_positions)4;
    assert_int_equal(model_config_resolve(&config, NULL), TRM_INVALID);
    config = changed(NULL, NULL, NULL, NULL);
    config.attention = (enum model_attention)3;
    assert_int_equal(model_config_resolve(&config, NULL), TRM_INVALID);
    config = changed(NULL, NULL, NULL, NULL);
    config.expansion = 0.0 / 0.0 * config.expansion;
    assert_int_equal(model_config_resolve(&config, NULL), TRM_INVALID);
}

/* Compares the original's fields through their exact text, and the derived ones. */
static void assert_same(const struct model_config *a, const struct model_config *b) {
    char *a_text = model_config_format(a), *b_text = model_config_format(b);
    assert_non_null(a_text);
    assert_non_null(b_text);
    assert_string_equal(a_text, b_text);
    free(a_text);
    free(b_text);
    assert_int_equal(a->tokens, b->tokens);
    assert_int_equal(a->head_dim, b->head_dim);
    assert_int_equal(a->inter, b->inter);
    assert_int_equal(a->inter_t, b->inter_t);
}

static void a_formatted_configuration_parses_to_itself(void **state) {
    (void)state;
    static const struct {
        const char *name, *value, *name2, *value2;
    } cases[] = {
        {NULL, NULL, NULL, NULL},
        {"expansion", "0.1234567890123456789", "rms_norm_eps", "1.0000000001e-7"},
        {"mlp_t", "true", "inter_multiple", "32"},
        {"attention", "\"near\"", "attention_radius", "3"},
        {"attention", "\"units\"", "pos_encodings", "\"none\""},
        {"puzzle_emb_len", "0", "puzzle_emb_ndim", "0"},
        {"puzzle_emb_len", "0", "puzzle_emb_ndim", "100"},
        {"pos_encodings", "\"learned\"", "no_ACT_continue", "false"},
        {"pos_encodings", "\"none\"", "arch", "\"trm_singlez\""},
        {"L_cycles", "4", "arch", "\"trm_hier6\""},
        {"H_layers", "3", "arch", "\"hrm\""},
        {"num_heads", "6", "arch", "\"transformers_baseline\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct model_config config = changed(cases[i].name, cases[i].value, cases[i].name2, cases[i].value2);
        struct model_config again;
        char *text = model_config_format(&config);
        assert_non_null(text);
        assert_null(strchr(text, '\n'));
        assert_int_equal(model_config_parse(text, &again, NULL), TRM_OK);
        free(text);
        assert_same(&again, &config);
        assert_true(again.expansion == config.expansion && again.rms_norm_eps == config.rms_norm_eps);
        assert_int_equal(model_config_resolve(&again, NULL), TRM_OK); /* resolving twice changes nothing */
        assert_same(&again, &config);
    }
}

static void architectures_have_the_names_used_in_files(void **state) {
    (void)state;
    static const char *const names[] = {"trm", "trm_singlez", "trm_hier6", "hrm", "transformers_baseline"};
    for (int i = 0; i < 5; i++)
        assert_string_equal(model_arch_name((enum model_arch)i), names[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_is_read),
        cmocka_unit_test(absent_fields_have_the_defaults_of_the_original),
        cmocka_unit_test(inner_sizes_round_half_to_even_and_then_up),
        cmocka_unit_test(token_mixing_is_as_wide_as_all_tokens),
        cmocka_unit_test(puzzle_tokens_hold_the_puzzle_embedding),
        cmocka_unit_test(fields_an_architecture_does_not_have_take_their_only_value),
        cmocka_unit_test(head_size_is_rounded_down),
        cmocka_unit_test(impossible_configurations_are_refused_by_name),
        cmocka_unit_test(text_that_is_no_configuration_is_refused),
        cmocka_unit_test(unknown_enum_values_are_refused),
        cmocka_unit_test(a_formatted_configuration_parses_to_itself),
        cmocka_unit_test(architectures_have_the_names_used_in_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
