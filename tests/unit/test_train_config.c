/* test_train_config.c - training configurations: what is read, what is refused, and by which name. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/train_config.h"

#define MODEL                                                                                                          \
    "{\"arch\":\"trm\",\"seq_len\":36,\"vocab_size\":8,\"num_puzzle_identifiers\":1,\"puzzle_emb_ndim\":64,"           \
    "\"puzzle_emb_len\":1,\"H_cycles\":2,\"L_cycles\":1,\"L_layers\":2,\"hidden_size\":64,\"num_heads\":8,"            \
    "\"expansion\":4,\"pos_encodings\":\"none\",\"mlp_t\":true,\"halt_max_steps\":8}"

#define MINIMAL "{\"model\":" MODEL ",\"data\":[{\"path\":\"a.csv\"}],\"steps\":10}"

/* Loads a file that holds `text`. */
static trm_status load_text(const char *text, const char *const *overrides, int count, struct conf_train *conf,
                            trm_error *err) {
    char path[] = "/tmp/trm-train-config-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    err->text[0] = '\0';
    trm_status status = conf_train_load(path, overrides, count, conf, err);
    unlink(path);
    return status;
}

static void load_or_fail(const char *text, const char *const *overrides, int count, struct conf_train *conf) {
    trm_error err;
    if (load_text(text, overrides, count, conf, &err) != TRM_OK)
        fail_msg("%s", err.text);
}

static void absent_keys_have_their_defaults(void **state) {
    (void)state;
    struct conf_train conf;
    load_or_fail(MINIMAL, NULL, 0, &conf);
    assert_string_equal(conf.name, "run");
    assert_string_equal(conf.puzzle, "sudoku");
    assert_int_equal(conf.model.hidden_size, 64);
    assert_int_equal(conf.model.tokens, 37); /* resolved */
    assert_int_equal(conf.model.halt_max_steps, 8);
    assert_int_equal(conf.data_count, 1);
    assert_string_equal(conf.data[0].path, "a.csv");
    assert_null(conf.data[0].generate);
    assert_true(conf.data[0].weight == 1.0);
    assert_true(conf.data[0].final_weight == 1.0);
    assert_int_equal(conf.data[0].limit, 0);
    assert_int_equal(conf.data[0].min_rating, 0);
    assert_int_equal(conf.data[0].max_rating, INT_MAX);
    assert_true(conf.curriculum.from == 0.0 && conf.curriculum.to == 1.0);
    assert_true(conf.augment && conf.random_initial_steps);
    assert_int_equal(conf.batch_size, 16);
    assert_int_equal(conf.pool_size, 256);
    assert_int_equal(conf.shards, 2);
    assert_int_equal(conf.threads, 0);
    assert_int_equal(conf.steps, 10);
    assert_int_equal(conf.schedule.total, 10);
    assert_int_equal(conf.loss, TRAIN_LOSS_STABLEMAX);
    assert_true(conf.halt_loss_weight == 0.5);
    assert_true(conf.supervision_weight.first == 1.0 && conf.supervision_weight.last == 1.0);
    assert_int_equal(conf.min_halt_steps, 1);
    assert_int_equal(conf.optimizer.kind, TRAIN_ADAM_ATAN2);
    assert_true(conf.optimizer.lr == 1e-3 && conf.optimizer.scale == 1.0);
    assert_int_equal(conf.probe.rows, 0);
    assert_false(conf.probe.halting);
    assert_null(conf.probe.source.path);
    assert_true(conf.schedule.min_ratio == 1.0 && conf.schedule.constant_fraction == 0.0);
    assert_true(conf.ema.rate == 0.999 && !conf.ema.ramp);
    assert_null(conf.eval.source.path);
    assert_null(conf.eval.source.generate);
    assert_int_equal(conf.compute, TRM_DTYPE_F32);
    conf_train_destroy(&conf);
}

static void overrides_reach_nested_members_in_order(void **state) {
    (void)state;
    const char *const overrides[] = {
        "optimizer.lr=0.5",      "optimizer.lr=2e-4",
        "optimizer.name=adamw",  "name=a run",
        "data.0.limit=7",        "data.0.path=b.csv",
        "model.hidden_size=128", "model.puzzle_emb_ndim=128",
        "halt_max_steps=5",      "halt_exploration_prob=0.25",
        "eval.path=\"t.csv\"",   "eval.limit=3",
        "ema.ramp=true",         "loss=softmax",
        "compute=bf16",          "augment=false",
        "probe.rows=2",          "probe.halting=true",
        "probe.path=p.csv",
    };
    struct conf_train conf;
    load_or_fail(MINIMAL, overrides, sizeof overrides / sizeof *overrides, &conf);
    assert_true(conf.optimizer.lr == 2e-4);
    assert_int_equal(conf.optimizer.kind, TRAIN_ADAMW);
    assert_string_equal(conf.name, "a run");
    assert_int_equal(conf.data[0].limit, 7);
    assert_string_equal(conf.data[0].path, "b.csv");
    assert_int_equal(conf.model.hidden_size, 128);
    assert_int_equal(conf.model.halt_max_steps, 5);
    assert_true(conf.model.halt_exploration_prob == 0.25);
    assert_string_equal(conf.eval.source.path, "t.csv");
    assert_int_equal(conf.eval.source.limit, 3);
    assert_true(conf.ema.ramp);
    assert_int_equal(conf.loss, TRAIN_LOSS_SOFTMAX);
    assert_int_equal(conf.compute, TRM_DTYPE_BF16);
    assert_false(conf.augment);
    assert_int_equal(conf.probe.rows, 2);
    assert_true(conf.probe.halting);
    assert_string_equal(conf.probe.source.path, "p.csv");
    conf_train_destroy(&conf);
}

static void a_whole_source_can_be_replaced(void **state) {
    (void)state;
    const char *const overrides[] = {
        "data=[{\"generate\":\"sudoku\",\"size\":6,\"classes\":[1,2,0,0.5],\"count\":30,\"seed\":4,\"weight\":2},"
        "{\"path\":\"x\"}]"};
    struct conf_train conf;
    load_or_fail(MINIMAL, overrides, 1, &conf);
    assert_int_equal(conf.data_count, 2);
    assert_null(conf.data[0].path);
    assert_string_equal(conf.data[0].generate, "sudoku");
    assert_int_equal(conf.data[0].size, 6);
    assert_true(conf.data[0].classes[1] == 2 && conf.data[0].classes[3] == 0.5);
    assert_int_equal(conf.data[0].count, 30);
    assert_int_equal(conf.data[0].seed, 4);
    assert_true(conf.data[0].weight == 2);
    assert_string_equal(conf.data[1].path, "x");
    conf_train_destroy(&conf);
}

/* What is wrong, set on top of MINIMAL, and the beginning of the message it must get. */
static const struct {
    const char *override, *message;
} wrong[] = {
    {"stepz=3", "stepz: unknown key"},
    {"optimizer.lrr=3", "optimizer.lrr: unknown key"},
    {"data.0.count=3", "data.0.count: unknown key"},
    {"data.0.wieght=3", "data.0.wieght: unknown key"},
    {"eval.size=6", "eval.size: unknown key"},
    {"eval.weight=1", "eval.weight: unknown key"},
    {"model.hiden_size=3", "model.hiden_size: unknown key"},
    {"model.hidden_size=-1", "model: config: hidden_size"},
    {"model.hidden_size=\"big\"", "model: config: hidden_size"},
    {"model=3", "model: must be"},
    {"steps=0", "steps: must be an integer from 1 to"},
    {"steps=1.5", "steps: must be an integer"},
    {"steps=99999999999999999999", "steps: must be"}, /* not even JSON for a 64-bit integer: a string */
    {"steps=4294967297", "steps: must be an integer"},
    {"batch_size=many", "batch_size: must be an integer"},
    {"pool_size=100", "pool_size: 100 is not a multiple of batch_size, 16"},
    {"shards=17", "shards: 17 is more than batch_size"},
    {"min_halt_steps=9", "min_halt_steps: 9 is more than halt_max_steps, 8"},
    {"supervision_weight.last=-1", "supervision_weight.last: must be a number from 0 to 100"},
    {"supervision_weight={\"first\":0,\"last\":0}", "supervision_weight: all steps have a weight of 0"},
    {"hint_prob=1.5", "hint_prob: must be a number from 0 to 1"},
    {"probe.rows=16", "probe.rows: 16 leave nothing of batch_size, 16"},
    {"probe.halting=true", "probe.halting: needs probe.rows above 0"},
    {"probe={\"generate\":\"sudoku\",\"count\":1}", "probe.size: Sudoku of size 9 needs"},
    {"stages={}", "stages: must be an array"},
    {"stages=[{\"until\":0.5,\"H_cycles\":1}]", "stages.0.L_cycles: must be given"},
    {"stages=[{\"until\":0.5,\"H_cycles\":3,\"L_cycles\":1}]",
     "stages.0: 3 x 1 cycles are more than the model's 2 x 1"},
    {"stages=[{\"until\":0.5,\"H_cycles\":1,\"L_cycles\":1},{\"until\":0.5,\"H_cycles\":2,\"L_cycles\":1}]",
     "stages.1.until: 0.5 is not later than 0.5"},
    {"gradient=all", "gradient: must be \"last_cycle\" or \"last_updates\""},
    {"carry_bf16=1", "carry_bf16: must be true or false"},
    {"halt_max_steps=0", "model: config: halt_max_steps"},
    {"augment=1", "augment: must be true or false"},
    {"loss=mse", "loss: must be \"stablemax\" or \"softmax\""},
    {"puzzle=chess", "puzzle: must be \"sudoku\" or \"maze\" or \"arc\""},
    {"name=3", "name: must be a string"},
    {"optimizer.name=sgd", "optimizer.name: must be \"adam_atan2\" or \"adamw\""},
    {"optimizer.name=1", "optimizer.name: must be"},
    {"optimizer.beta1=1", "optimizer.beta1: must be a number from 0 to 0.99999"},
    {"optimizer.lr=-1e-3", "optimizer.lr: must be a number from 0"},
    {"optimizer.lr=fast", "optimizer.lr: must be a number"},
    {"optimizer=3", "optimizer: must be an object"},
    {"schedule.constant_fraction=1.1", "schedule.constant_fraction: must be"},
    {"ema.rate=2", "ema.rate: must be"},
    {"data=[]", "data: must be an array of 1 to"},
    {"data={}", "data: must be an array"},
    {"data=[3]", "data.0: must be an object"},
    {"data=[{}]", "data.0: needs \"path\" or \"generate\""},
    {"data.0.weight=0", "data: some weight must be above zero"},
    {"data.0.final_weight=0", "data: some weight must be above zero"},
    {"data.0.min_rating=-1", "data.0.min_rating: must be"},
    {"data=[{\"path\":\"x\",\"min_rating\":4,\"max_rating\":3}]", "data.0.min_rating: 4 is more than max_rating, 3"},
    {"curriculum={\"from\":0.5,\"to\":0.4}", "curriculum.from: 0.5 is after curriculum.to, 0.4"},
    {"curriculum.to=1.5", "curriculum.to: must be"},
    {"data.0.weight=-1", "data.0.weight: must be"},
    {"data.0.reveal=82", "data.0.reveal: must be"},
    {"data=[{\"generate\":\"sudoku\",\"size\":6}]", "data.0.count: must be given"},
    {"eval={\"generate\":\"sudoku\",\"size\":6,\"count\":0}", "eval.count: an evaluation needs an end"},
    {"data=[{\"generate\":\"chess\",\"count\":1}]", "data.0.generate: must be \"sudoku\""},
    {"data=[{\"generate\":\"sudoku\",\"count\":1,\"size\":5}]", "data.0.size: must be 4, 6 or 9"},
    {"data=[{\"generate\":\"sudoku\",\"count\":1,\"size\":9}]", "data.0.size: Sudoku of size 9 needs model.seq_len 81"},
    {"data=[{\"generate\":\"sudoku\",\"count\":1,\"path\":\"x\"}]", "data.0.path: unknown key"},
    {"data=[{\"generate\":\"sudoku\",\"count\":1,\"size\":6,\"classes\":[0,0,0,0]}]",
     "data.0.classes: must not be all"},
    {"data=[{\"generate\":\"sudoku\",\"count\":1,\"size\":6,\"classes\":[1,1]}]",
     "data.0.classes: must be an array of 4"},
    {"data.1.path=x", "data.1.path: there is no such key"},
    {"data.x=1", "data.x: there is no such key"},
    {"data.0x.path=1", "data.0x.path: there is no such key"},
    {"steps.more=1", "steps.more: there is no such key"},
    {"steps", "\"steps\": must be key=value"},
    {"=3", "\"=3\": must be key=value"},
    {"name=\xff", "\"name=\xff\": the value is not UTF-8"},
};

static void mistakes_are_named(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct conf_train conf;
        trm_error err;
        trm_status status = load_text(MINIMAL, &wrong[i].override, 1, &conf, &err);
        if (status == TRM_OK || strncmp(err.text, wrong[i].message, strlen(wrong[i].message)) != 0)
            fail_msg("%s: status %d, \"%s\"", wrong[i].override, status, err.text);
    }
}

static void clues_are_added_to_sudoku_alone(void **state) {
    (void)state;
    const char *const overrides[] = {"puzzle=maze", "data.0.reveal=1"};
    struct conf_train conf;
    trm_error err;
    assert_int_equal(load_text(MINIMAL, overrides, 2, &conf, &err), TRM_INVALID);
    assert_string_equal(err.text, "data.0.reveal: is for Sudoku; \"puzzle\" is \"maze\"");
    const char *const hints[] = {"puzzle=maze", "hint_prob=0.5"};
    assert_int_equal(load_text(MINIMAL, hints, 2, &conf, &err), TRM_INVALID);
    assert_string_equal(err.text, "hint_prob: is for Sudoku; \"puzzle\" is \"maze\"");
}

static void missing_keys_are_named(void **state) {
    (void)state;
    struct conf_train conf;
    trm_error err;
    assert_int_equal(load_text("{\"data\":[{\"path\":\"a\"}],\"steps\":1}", NULL, 0, &conf, &err), TRM_INVALID);
    assert_string_equal(err.text, "model: must be given");
    assert_int_equal(load_text("{\"model\":" MODEL ",\"steps\":1}", NULL, 0, &conf, &err), TRM_INVALID);
    assert_string_equal(err.text, "data: must be given");
    assert_int_equal(load_text("{\"model\":" MODEL ",\"data\":[{\"path\":\"a\"}]}", NULL, 0, &conf, &err), TRM_INVALID);
    assert_string_equal(err.text, "steps: must be given");
}

static void broken_files_are_refused(void **state) {
    (void)state;
    struct conf_train conf;
    trm_error err;
    assert_int_equal(conf_train_load("/no/such/file", NULL, 0, &conf, &err), TRM_IO);
    assert_non_null(strstr(err.text, "/no/such/file"));
    assert_int_equal(load_text("{\n\"steps\": 1,,\n}", NULL, 0, &conf, &err), TRM_FORMAT);
    assert_non_null(strstr(err.text, ":2:"));
    assert_int_equal(load_text("[1]", NULL, 0, &conf, &err), TRM_FORMAT);
    assert_int_equal(load_text("", NULL, 0, &conf, &err), TRM_FORMAT);
    assert_int_equal(load_text("{\"steps\":1,\"steps\":2}", NULL, 0, &conf, &err), TRM_FORMAT);
    const char *const no_model[] = {"model=no/such/model.json"};
    assert_int_equal(load_text(MINIMAL, no_model, 1, &conf, &err), TRM_IO);
    assert_non_null(strstr(err.text, "no/such/model.json"));
}

static void a_formatted_configuration_reads_back_the_same(void **state) {
    (void)state;
    const char *const overrides[] = {"optimizer.scale=1.2732395447351628",
                                     "schedule.min_ratio=0.02",
                                     "data=[{\"generate\":\"sudoku\",\"size\":6,\"count\":30},{\"path\":\"x\"}]",
                                     "halt_max_steps=5",
                                     "optimizer.name=adamw",
                                     "stages=[{\"until\":0.25,\"H_cycles\":1,\"L_cycles\":1}]",
                                     "gradient=last_updates",
                                     "start_from=small.safetensors",
                                     "data.1.final_weight=0.5",
                                     "data.1.reveal=4",
                                     "puzzle=sudoku"};
    struct conf_train conf, again;
    load_or_fail(MINIMAL, overrides, sizeof overrides / sizeof *overrides, &conf);
    char *text = conf_train_format(&conf);
    assert_non_null(text);
    assert_non_null(strstr(text, "\"min_ratio\":0.02}"));
    load_or_fail(text, NULL, 0, &again);
    char *text_again = conf_train_format(&again);
    assert_string_equal(text, text_again);
    assert_int_equal(again.model.halt_max_steps, 5);
    assert_int_equal(again.optimizer.kind, TRAIN_ADAMW);
    assert_int_equal(again.data[0].count, 30);
    assert_true(again.data[0].final_weight == 1.0 && again.data[1].final_weight == 0.5);
    assert_int_equal(again.data[0].reveal, 0);
    assert_int_equal(again.data[1].reveal, 4);
    assert_int_equal(again.stage_count, 1);
    assert_true(again.stages[0].until == 0.25 && again.stages[0].H_cycles == 1);
    assert_int_equal(again.gradient, CONF_LAST_UPDATES);
    assert_string_equal(again.start_from, "small.safetensors");
    free(text);
    free(text_again);
    conf_train_destroy(&conf);
    conf_train_destroy(&again);
}

/* What a preset says of its model. */
static void check_preset(const char *path, int tokens, int hidden_size, enum model_attention attention) {
    struct conf_train conf;
    trm_error err = {""};
    if (conf_train_load(path, NULL, 0, &conf, &err) != TRM_OK)
        fail_msg("%s", err.text);
    assert_int_equal(conf.model.tokens, tokens);
    assert_int_equal(conf.model.hidden_size, hidden_size);
    assert_int_equal(conf.model.attention, attention);
    conf_train_destroy(&conf);
}

static void the_presets_are_valid(void **state) {
    (void)state;
    struct conf_train conf;
    trm_error err = {""};
    check_preset("config/train/sudoku.json", 82, 96, MODEL_ATTENTION_UNITS);
    check_preset("config/train/sudoku-wide.json", 82, 192, MODEL_ATTENTION_UNITS);
    check_preset("config/train/sudoku-long.json", 82, 192, MODEL_ATTENTION_UNITS);
    check_preset("config/train/sudoku-hints.json", 82, 192, MODEL_ATTENTION_UNITS);
    check_preset("config/train/sudoku-hard.json", 82, 192, MODEL_ATTENTION_UNITS);
    check_preset("config/train/sudoku-mixing.json", 82, 96, MODEL_ATTENTION_ALL);
    check_preset("config/train/sudoku-mixing-wide.json", 82, 192, MODEL_ATTENTION_ALL);
    check_preset("config/train/maze.json", 101, 128, MODEL_ATTENTION_ALL);
    check_preset("config/train/maze-hard-10.json", 101, 64, MODEL_ATTENTION_NEAR);
    check_preset("config/train/maze-hard-18.json", 325, 64, MODEL_ATTENTION_NEAR);
    check_preset("config/train/maze-hard-30.json", 901, 64, MODEL_ATTENTION_NEAR);
    check_preset("config/train/maze-hard-30-low.json", 901, 64, MODEL_ATTENTION_NEAR);
    check_preset("config/train/maze-hard-30-lower.json", 901, 64, MODEL_ATTENTION_NEAR);
    check_preset("config/train/maze-hard-30-longer.json", 901, 64, MODEL_ATTENTION_NEAR);
    check_preset("config/train/maze-hard-30-explore.json", 901, 64, MODEL_ATTENTION_NEAR);
    check_preset("config/train/maze-hard.json", 901, 64, MODEL_ATTENTION_NEAR);

    if (conf_train_load("config/train/sudoku-wide.json", NULL, 0, &conf, &err) != TRM_OK)
        fail_msg("%s", err.text);
    assert_int_equal(conf.optimizer.kind, TRAIN_MUON);
    conf_train_destroy(&conf);

    if (conf_train_load("config/train/demo.json", NULL, 0, &conf, &err) != TRM_OK)
        fail_msg("%s", err.text);
    assert_int_equal(conf.model.tokens, 37);
    assert_int_equal(conf.eval.source.size, 6);
    conf_train_destroy(&conf);

    if (conf_train_load("config/train/compare/base.json", NULL, 0, &conf, &err) != TRM_OK)
        fail_msg("%s", err.text);
    assert_int_equal(conf.threads, 1);
    conf_train_destroy(&conf);

    const char *const paper[] = {"model=config/models/sudoku-mlp.json", "model.num_heads=4"};
    if (conf_train_load("config/train/sudoku-mixing.json", paper, 2, &conf, &err) != TRM_OK)
        fail_msg("%s", err.text);
    assert_int_equal(conf.model.tokens, 97);
    assert_int_equal(conf.model.inter, 1536);
    assert_int_equal(conf.model.inter_t, 512);
    assert_int_equal(conf.model.num_heads, 4);
    conf_train_destroy(&conf);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(absent_keys_have_their_defaults),
        cmocka_unit_test(overrides_reach_nested_members_in_order),
        cmocka_unit_test(a_whole_source_can_be_replaced),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(clues_are_added_to_sudoku_alone),
        cmocka_unit_test(missing_keys_are_named),
        cmocka_unit_test(broken_files_are_refused),
        cmocka_unit_test(a_formatted_configuration_reads_back_the_same),
        cmocka_unit_test(the_presets_are_valid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
