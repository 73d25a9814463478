/* test_core.c - what one optimizer step learns from, and what it leaves alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "engine/train/core.h"
#include "engine/train/init.h"

enum { CELLS = 16, BATCH = 8, PROBES = 2, FIRST_PROBE = BATCH - PROBES };

static const char MODEL[] =
    "{\"arch\":\"trm\",\"seq_len\":16,\"vocab_size\":6,\"num_puzzle_identifiers\":1,\"puzzle_emb_ndim\":32,"
    "\"puzzle_emb_len\":1,\"H_cycles\":2,\"L_cycles\":2,\"H_layers\":0,\"L_layers\":1,\"hidden_size\":32,"
    "\"num_heads\":2,\"expansion\":4,\"inter_multiple\":32,\"pos_encodings\":\"none\",\"mlp_t\":true,"
    "\"halt_max_steps\":4,\"halt_exploration_prob\":0,\"no_ACT_continue\":true}";

/* How the cores of a test differ. */
struct variant {
    bool probe_halting, carry_bf16, last_updates;
    double hint_prob;
    double first_weight, last_weight; /* both 0: 1 */
};

/* A core, its model, and the batch that its rows take in turn. */
struct fixture {
    struct model_config config;
    struct model_layout *layout;
    train_core *core;
    struct data_rng rng;
    int32_t inputs[BATCH][CELLS], labels[BATCH][CELLS];
    int next;
    struct train_metrics metrics;
};

static void good(trm_status status, const trm_error *err) {
    if (status != TRM_OK)
        fail_msg("%s", err->text);
}

/* A core of f->config with initial weights. */
static void create_core(struct fixture *f, const struct variant *variant) {
    const bool weighted = variant->first_weight + variant->last_weight > 0;
    const struct train_core_options options = {
        .backend = TRM_BACKEND_ONEDNN,
        .dtype = OP_F32,
        .batch_size = BATCH,
        .pool_size = BATCH,
        .shards = 2,
        .threads = 1,
        .carry_bf16 = variant->carry_bf16,
        .last_updates = variant->last_updates,
        .loss = TRAIN_LOSS_STABLEMAX,
        .halt_loss_weight = 0.5,
        .first_weight = weighted ? variant->first_weight : 1,
        .last_weight = weighted ? variant->last_weight : 1,
        .min_halt_steps = 1,
        .hint_prob = variant->hint_prob,
        .probe_rows = PROBES,
        .probe_halting = variant->probe_halting,
        .optimizer = {.kind = TRAIN_ADAM_ATAN2, .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.95, .scale = 1},
    };
    trm_error err = {""};
    good(train_core_create(&f->config, f->layout, &options, &f->core, &err), &err);
    struct train_weights *w = train_core_weights(f->core);
    data_rng_seed(&f->rng, 5);
    train_init_weights(&f->config, f->layout, &f->rng, w->params, w->buffers);
    good(train_core_refresh(f->core, &err), &err);
}

static void setup_variant(struct fixture *f, const struct variant *variant) {
    trm_error err = {""};
    memset(f, 0, sizeof *f);
    good(model_config_parse(MODEL, &f->config, &err), &err);
    good(model_layout_create(&f->config, &f->layout, &err), &err);
    create_core(f, variant);
    for (int i = 0; i < BATCH; i++)
        for (int c = 0; c < CELLS; c++) {
            f->inputs[i][c] = 1 + data_rng_below(&f->rng, 5);
            f->labels[i][c] = 2 + data_rng_below(&f->rng, 4);
        }
}

static void setup(struct fixture *f, bool probe_halting) {
    setup_variant(f, &(struct variant){.probe_halting = probe_halting});
}

static void teardown(struct fixture *f) {
    train_core_destroy(f->core);
    model_layout_destroy(f->layout);
}

static void next_example(void *arg, struct train_row *row) {
    struct fixture *f = arg;
    assert_int_equal(row->probe, f->next >= FIRST_PROBE);
    memcpy(row->inputs, f->inputs[f->next], sizeof f->inputs[0]);
    memcpy(row->labels, f->labels[f->next++], sizeof f->labels[0]);
}

/* `factor`: of the learning rate. */
static void step_by(struct fixture *f, double factor) {
    trm_error err = {""};
    f->next = 0;
    good(train_core_step(f->core, 0, factor, &f->rng, next_example, f, &f->metrics, &err), &err);
}

static void step(struct fixture *f) {
    step_by(f, 1.0);
}

/* A puzzle without a label counts as solved. */
static void solve(struct fixture *f, int row) {
    for (int c = 0; c < CELLS; c++)
        f->labels[row][c] = TRAIN_LABEL_IGNORED;
}

/* Whether the last gradients of two cores differ in tensor `index`. */
static bool differ_in(const struct fixture *a, const struct fixture *b, int index) {
    const struct model_tensor *t = &a->layout->tensors[index];
    return memcmp(train_core_weights(a->core)->grads + t->offset, train_core_weights(b->core)->grads + t->offset,
                  (size_t)t->rows * (size_t)t->cols * sizeof(float)) != 0;
}

static bool differ(const struct fixture *a, const struct fixture *b) {
    for (int i = 0; i < a->layout->count; i++)
        if (a->layout->tensors[i].kind == MODEL_PARAM && differ_in(a, b, i))
            return true;
    return false;
}

static void nothing_is_learnt_from_probes(void **state) {
    (void)state;
    struct fixture a, b;
    setup(&a, false);
    setup(&b, false);
    for (int c = 0; c < CELLS; c++) {
        b.inputs[FIRST_PROBE][c] = 1 + c % 5;
        b.labels[FIRST_PROBE + 1][c] = 2;
    }
    solve(&b, FIRST_PROBE);
    step(&a);
    step(&b);
    assert_false(differ(&a, &b));
    assert_true(a.metrics.loss == b.metrics.loss && a.metrics.lm_loss == b.metrics.lm_loss);
    assert_true(a.metrics.grad_squares > 0);
    teardown(&b);
    teardown(&a);
}

static void rows_that_are_no_probes_matter(void **state) {
    (void)state;
    struct fixture a, b;
    setup(&a, false);
    setup(&b, false);
    b.labels[FIRST_PROBE - 1][0] = b.labels[FIRST_PROBE - 1][0] == 2 ? 3 : 2;
    step(&a);
    step(&b);
    assert_true(differ(&a, &b));
    teardown(&b);
    teardown(&a);
}

static void the_halting_head_can_be_trained_by_probes_alone(void **state) {
    (void)state;
    struct fixture a, ordinary, probed;
    setup(&a, true);
    setup(&ordinary, true);
    setup(&probed, true);
    solve(&ordinary, 0);
    solve(&probed, FIRST_PROBE);
    step(&a);
    step(&ordinary);
    step(&probed);
    assert_false(differ_in(&a, &ordinary, a.layout->q_weight));
    assert_true(differ_in(&a, &ordinary, a.layout->lm_head));
    assert_true(differ_in(&a, &probed, a.layout->q_weight));
    assert_false(differ_in(&a, &probed, a.layout->lm_head)); /* the heads' own: nothing else is between them */
    assert_true(a.metrics.q_halt_loss == ordinary.metrics.q_halt_loss);
    assert_true(a.metrics.q_halt_loss != probed.metrics.q_halt_loss);
    teardown(&probed);
    teardown(&ordinary);
    teardown(&a);
}

static void the_loss_is_a_mean_over_those_that_it_is_taken_of(void **state) {
    (void)state;
    struct fixture f;
    setup(&f, true);
    step(&f);
    const double tokens = f.metrics.lm_loss / FIRST_PROBE, halting = f.metrics.q_halt_loss / PROBES;
    const double wanted = BATCH * (tokens + 0.5 * halting);
    assert_true(f.metrics.loss > 0.999999 * wanted && f.metrics.loss < 1.000001 * wanted);
    teardown(&f);
}

static void probes_that_halt_are_counted_apart(void **state) {
    (void)state;
    struct fixture f;
    setup(&f, false);
    struct train_weights *w = train_core_weights(f.core);
    trm_error err = {""};
    for (int i = 0; i < f.config.halt_max_steps; i++) {
        step(&f);
        const bool last = i == f.config.halt_max_steps - 1;
        assert_true(train_core_probes(f.core)->count == (last ? PROBES : 0));
        assert_true(f.metrics.count == (last ? FIRST_PROBE : 0));
    }
    assert_true(train_core_probes(f.core)->confident == 0);
    assert_true(train_core_probes(f.core)->steps == PROBES * f.config.halt_max_steps);

    w->params[f.layout->tensors[f.layout->q_bias].offset] = 100.0f; /* from now on it halts at once */
    good(train_core_refresh(f.core, &err), &err);
    step(&f);
    assert_true(train_core_probes(f.core)->count == PROBES);
    assert_true(train_core_probes(f.core)->confident == PROBES);
    assert_true(train_core_probes(f.core)->confident_exact == 0);
    assert_true(train_core_probes(f.core)->steps == PROBES);
    teardown(&f);
}

/* The whole gradient of the last step. */
static double distance(const struct fixture *a, const struct fixture *b) {
    const float *x = train_core_weights(a->core)->grads, *y = train_core_weights(b->core)->grads;
    double squares = 0.0;
    for (size_t i = 0; i < a->layout->param_size; i++)
        squares += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
    return sqrt(squares / a->metrics.grad_squares);
}

/* Initial latents are rounded too: the first step shows it already. */
static void latents_carried_in_16_bits_change_little(void **state) {
    (void)state;
    struct fixture wide, narrow;
    setup(&wide, false);
    setup_variant(&narrow, &(struct variant){.carry_bf16 = true});
    step(&wide);
    step(&narrow);
    assert_true(differ(&wide, &narrow));
    assert_true(distance(&wide, &narrow) < 0.05);
    const struct train_row *a = train_core_row(wide.core, 3), *b = train_core_row(narrow.core, 3);
    assert_null(a->state16);
    assert_null(b->state);
    double worst = 0.0;
    for (int i = 0; i < 2 * wide.config.tokens * wide.config.hidden_size; i++) {
        const double gap = fabs((double)a->state[i] - (double)op_bf16_to_f32(b->state16[i]));
        worst = gap > worst ? gap : worst; /* fmax() makes gcc 12 fail for arm64 */
    }
    assert_true(worst > 0.0 && worst < 0.2);
    teardown(&narrow);
    teardown(&wide);
}

/* The updates before those that are differentiated stay as they are: so does all but the gradient. */
static void a_shorter_gradient_changes_no_answer(void **state) {
    (void)state;
    struct fixture whole, last;
    setup(&whole, false);
    setup_variant(&last, &(struct variant){.last_updates = true});
    step(&whole);
    step(&last);
    assert_true(whole.metrics.loss == last.metrics.loss);
    assert_false(differ_in(&whole, &last, whole.layout->lm_head));
    assert_true(differ_in(&whole, &last, whole.layout->embed_tokens));
    teardown(&last);
    teardown(&whole);
}

static void a_core_with_fewer_cycles_computes_what_a_model_with_fewer_does(void **state) {
    (void)state;
    struct fixture model, core;
    trm_error err = {""};
    setup(&core, false);
    good(train_core_set_cycles(core.core, 1, 1, &err), &err);
    step(&core);
    setup(&model, false);
    train_core_destroy(model.core);
    model.config.H_cycles = model.config.L_cycles = 1;
    create_core(&model, &(struct variant){.probe_halting = false});
    step(&model);
    assert_true(model.metrics.loss == core.metrics.loss);
    assert_false(differ(&model, &core));
    teardown(&model);
    assert_int_equal(train_core_set_cycles(core.core, 3, 1, &err), TRM_INVALID);
    assert_int_equal(train_core_set_cycles(core.core, 1, 0, &err), TRM_INVALID);
    good(train_core_set_cycles(core.core, 2, 2, &err), &err);
    step(&core);
    teardown(&core);
}

/* The halting head has no part in the gradient of the output head. */
static void the_answers_loss_is_weighted_by_supervision_step(void **state) {
    (void)state;
    struct fixture plain, weighted;
    setup(&plain, false);
    setup_variant(&weighted, &(struct variant){.last_weight = 3});
    const struct model_tensor *head = &plain.layout->tensors[plain.layout->lm_head];
    const float *a = train_core_weights(plain.core)->grads + head->offset;
    const float *b = train_core_weights(weighted.core)->grads + head->offset;
    for (int k = 0; k < plain.config.halt_max_steps; k++) {
        step_by(&plain, 0.0);
        step_by(&weighted, 0.0);
        assert_true(plain.metrics.loss == weighted.metrics.loss);
        double squares = 0.0, off = 0.0;
        for (int i = 0; i < head->rows * head->cols; i++) {
            squares += (double)a[i] * (double)a[i];
            off += ((double)b[i] - k * (double)a[i]) * ((double)b[i] - k * (double)a[i]);
        }
        assert_true(squares > 0.0 && off <= 1e-10 * squares);
    }
    teardown(&weighted);
    teardown(&plain);
}

/* How many inputs of a row are what its labels say. */
static int known_cells(const struct fixture *f, int row) {
    const struct train_row *r = train_core_row(f->core, row);
    int known = 0;
    for (int c = 0; c < CELLS; c++)
        known += r->inputs[c] == r->labels[c];
    return known;
}

static void a_hint_tells_one_cell_to_a_row_that_is_wrong_and_goes_on(void **state) {
    (void)state;
    struct fixture f;
    int before[BATCH];
    setup_variant(&f, &(struct variant){.hint_prob = 1});
    for (int i = 0; i < BATCH; i++)
        for (int c = 0; c < CELLS; c++)
            f.inputs[i][c] = 1; /* blank: no label */
    solve(&f, 0);
    for (int i = 0; i < f.config.halt_max_steps; i++) {
        for (int row = 0; row < BATCH; row++)
            before[row] = i == 0 ? 0 : known_cells(&f, row);
        step(&f);
        const bool goes_on = i < f.config.halt_max_steps - 1;
        for (int row = 0; row < BATCH; row++)
            assert_int_equal(known_cells(&f, row) - before[row], goes_on && row > 0 && row < FIRST_PROBE);
    }
    teardown(&f);
}

static void hints_are_given_as_often_as_asked_for(void **state) {
    (void)state;
    struct fixture f;
    int told = 0, chances = 0;
    setup_variant(&f, &(struct variant){.hint_prob = 0.25});
    for (int i = 0; i < 400; i++) {
        for (int c = 0; c < BATCH * CELLS; c++) /* never twice the same: nothing to learn by heart */
            f.labels[c / CELLS][c % CELLS] = 2 + data_rng_below(&f.rng, 4);
        step(&f);
        for (int row = 0; row < FIRST_PROBE; row++) {
            chances += !train_core_row(f.core, row)->halted;
            told += train_core_row(f.core, row)->hinted != TRAIN_NO_HINT;
        }
    }
    assert_in_range(chances, 1000, 2400);
    assert_in_range(100 * told / chances, 20, 30); /* a standard deviation is about 1 */
    teardown(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_learnt_from_probes),
        cmocka_unit_test(rows_that_are_no_probes_matter),
        cmocka_unit_test(the_halting_head_can_be_trained_by_probes_alone),
        cmocka_unit_test(the_loss_is_a_mean_over_those_that_it_is_taken_of),
        cmocka_unit_test(probes_that_halt_are_counted_apart),
        cmocka_unit_test(latents_carried_in_16_bits_change_little),
        cmocka_unit_test(a_shorter_gradient_changes_no_answer),
        cmocka_unit_test(a_core_with_fewer_cycles_computes_what_a_model_with_fewer_does),
        cmocka_unit_test(the_answers_loss_is_weighted_by_supervision_step),
        cmocka_unit_test(a_hint_tells_one_cell_to_a_row_that_is_wrong_and_goes_on),
        cmocka_unit_test(hints_are_given_as_often_as_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
