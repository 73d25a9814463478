/* test_infer.c - the machine for solving against the one for training, which computes the same without
 * blocks, panels and slices; on shapes that have several of each, with shorter last blocks. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/data/rng.h"
#include "engine/model/infer.h"
#include "engine/model/runner.h"

enum { SEQ_LEN = 131, VOCAB = 5, STEPS = 2 };

/* 131 or 133 tokens are two blocks of rows with a shorter second, and three blocks of queries; 160 channels are two
 * slices, and inner sizes of several panels. */
static const struct model_config CONFIGS[] = {
    {.arch = MODEL_TRM, .mlp_t = true, .hidden_size = 160},
    {.arch = MODEL_TRM, .mlp_t = true, .hidden_size = 96, .puzzle_emb_ndim = 100},
    {.arch = MODEL_TRM, .hidden_size = 160, .pos_encodings = MODEL_POS_ROPE, .puzzle_emb_ndim = 200},
    {.arch = MODEL_HRM, .hidden_size = 48, .pos_encodings = MODEL_POS_LEARNED},
    {.arch = MODEL_TRM_HIER6, .hidden_size = 32, .pos_encodings = MODEL_POS_ROPE},
};
enum { CONFIG_COUNT = sizeof CONFIGS / sizeof *CONFIGS };

struct model {
    struct model_config config;
    struct model_layout *layout;
    float *params, *buffers, *table;
    struct model_tensors plain;
    int32_t tokens[INFER_MAX_CHUNK][SEQ_LEN];
    size_t state_size, logits_size;
};

static float *zeros(size_t count) {
    float *out = calloc(count ? count : 1, sizeof *out);
    assert_non_null(out);
    return out;
}

static void create_model(struct model *m, const struct model_config *config) {
    struct data_rng rng;
    trm_error err = {""};
    *m = (struct model){.config = *config};
    struct model_config *c = &m->config;
    c->seq_len = SEQ_LEN;
    c->vocab_size = VOCAB;
    c->num_puzzle_identifiers = INFER_MAX_CHUNK;
    c->H_cycles = c->L_cycles = c->L_layers = 2;
    c->H_layers = c->arch == MODEL_HRM ? 1 : 0;
    c->num_heads = 2;
    c->expansion = 4;
    c->inter_multiple = 8;
    c->rms_norm_eps = 1e-5;
    c->rope_theta = 10000;
    c->halt_max_steps = STEPS;
    if (model_config_resolve(c, &err) != TRM_OK)
        fail_msg("%s", err.text);
    assert_int_equal(model_layout_create(c, &m->layout, NULL), TRM_OK);
    m->params = zeros(m->layout->param_size);
    m->buffers = zeros(m->layout->buffer_size);
    m->table = zeros((size_t)c->num_puzzle_identifiers * (size_t)c->puzzle_emb_ndim);
    data_rng_seed(&rng, 1);
    for (int i = 0; i < m->layout->count; i++) {
        const struct model_tensor *t = &m->layout->tensors[i];
        float *array = t->kind == MODEL_PARAM ? m->params : t->kind == MODEL_BUFFER ? m->buffers : m->table;
        for (size_t k = 0; k < (size_t)t->rows * (size_t)t->cols; k++)
            array[t->offset + k] = (float)(data_rng_normal(&rng) / sqrt(t->cols));
    }
    for (int p = 0; p < INFER_MAX_CHUNK; p++)
        for (int i = 0; i < SEQ_LEN; i++)
            m->tokens[p][i] = (int32_t)(data_rng_next(&rng) % VOCAB);
    m->plain = (struct model_tensors){c, m->layout, m->params, m->buffers, c->puzzle_emb_ndim ? m->table : NULL};
    m->state_size = model_state_size(c, m->layout);
    m->logits_size = (size_t)SEQ_LEN * VOCAB;
}

static void destroy_model(struct model *m) {
    model_layout_destroy(m->layout);
    free(m->params);
    free(m->buffers);
    free(m->table);
}

/* What the steps of a puzzle leave. */
struct outcome {
    float *state, *logits, q[2];
};

static struct outcome create_outcome(const struct model *m) {
    struct outcome o = {.state = zeros(m->state_size), .logits = zeros(m->logits_size)};
    model_state_reset(&m->plain, o.state);
    return o;
}

static void destroy_outcome(struct outcome *o) {
    free(o->state);
    free(o->logits);
}

/* Puzzles first .. first + count - 1 together; false where this machine lacks the dtype. */
static bool solve(const struct model *m, enum op_dtype dtype, int first, int count, struct outcome *outcomes) {
    struct infer_weights *weights = NULL;
    infer_machine *machine = NULL;
    struct infer_puzzle puzzles[INFER_MAX_CHUNK];
    trm_error err = {""};
    trm_status status = infer_weights_create(&m->plain, TRM_BACKEND_ONEDNN, dtype, &weights, &err);
    if (status == TRM_UNSUPPORTED && dtype != OP_F32)
        return false;
    if (status != TRM_OK || infer_machine_create(weights, &machine, &err) != TRM_OK)
        fail_msg("%s", err.text);
    assert_true(weights->chunk >= count);
    for (int i = 0; i < count; i++)
        puzzles[i] = (struct infer_puzzle){m->tokens[first + i], first + i, outcomes[i].state};
    for (int step = 0; step < STEPS; step++)
        assert_int_equal(infer_step(machine, puzzles, count, &err), TRM_OK);
    for (int i = 0; i < count; i++) {
        memcpy(outcomes[i].logits, infer_logits(machine, i), m->logits_size * sizeof(float));
        memcpy(outcomes[i].q, infer_q(machine, i), sizeof outcomes[i].q);
    }
    infer_machine_destroy(machine);
    infer_weights_destroy(weights);
    return true;
}

static void train(const struct model *m, enum op_dtype dtype, int index, struct outcome *outcome) {
    const struct model_weights_options options = {.backend = TRM_BACKEND_ONEDNN, .dtype = dtype, .chunk = 1};
    const int32_t id = index;
    struct model_weights *weights = NULL;
    model_runner *runner = NULL;
    trm_error err = {""};
    if (model_weights_create(&m->plain, &options, &weights, &err) != TRM_OK ||
        model_runner_create(weights, &runner, &err) != TRM_OK)
        fail_msg("%s", err.text);
    model_runner_set_input(runner, m->tokens[index], &id);
    for (int step = 0; step < STEPS; step++) {
        model_runner_load(runner, 0, outcome->state);
        assert_int_equal(model_runner_step(runner, false, &err), TRM_OK);
        model_runner_store(runner, 0, outcome->state);
    }
    memcpy(outcome->logits, model_runner_logits(runner, 0), m->logits_size * sizeof(float));
    memcpy(outcome->q, model_runner_q(runner, 0), sizeof outcome->q);
    model_runner_destroy(runner);
    model_weights_destroy(weights);
}

/* The difference of a and b relative to the size of b. */
static double distance(const float *a, const float *b, size_t count) {
    double difference = 0.0, size = 0.0;
    for (size_t i = 0; i < count; i++) {
        difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        size += (double)b[i] * (double)b[i];
    }
    return sqrt(difference / size);
}

static void check_distance(enum op_dtype dtype, double limit) {
    for (int i = 0; i < CONFIG_COUNT; i++) {
        struct model m;
        create_model(&m, &CONFIGS[i]);
        struct outcome solved = create_outcome(&m), trained = create_outcome(&m);
        if (solve(&m, dtype, 3, 1, &solved)) {
            train(&m, dtype, 3, &trained);
            const double state = distance(solved.state, trained.state, m.state_size);
            const double logits = distance(solved.logits, trained.logits, m.logits_size);
            const double q = distance(solved.q, trained.q, 2);
            if (!(state <= limit && logits <= limit && q <= limit))
                fail_msg("config %d: latents %g, logits %g, q %g", i, state, logits, q);
        }
        destroy_outcome(&solved);
        destroy_outcome(&trained);
        destroy_model(&m);
    }
}

static void solving_and_training_compute_the_same(void **state) {
    (void)state;
    check_distance(OP_F32, 1e-4);
}

static void in_bf16_too_within_its_rounding(void **state) {
    (void)state;
    check_distance(OP_BF16, 0.05);
}

static void check_company(enum op_dtype dtype) {
    for (int i = 0; i < CONFIG_COUNT; i++) {
        enum { COUNT = 5 };
        struct model m;
        struct outcome together[COUNT];
        create_model(&m, &CONFIGS[i]);
        for (int p = 0; p < COUNT; p++)
            together[p] = create_outcome(&m);
        const bool able = solve(&m, dtype, 0, COUNT, together);
        for (int p = 0; p < COUNT; p++) {
            struct outcome alone = create_outcome(&m);
            if (able) {
                solve(&m, dtype, p, 1, &alone);
                assert_memory_equal(alone.state, together[p].state, m.state_size * sizeof(float));
                assert_memory_equal(alone.logits, together[p].logits, m.logits_size * sizeof(float));
                assert_memory_equal(alone.q, together[p].q, sizeof alone.q);
            }
            destroy_outcome(&alone);
            destroy_outcome(&together[p]);
        }
        destroy_model(&m);
    }
}

static void a_puzzle_has_the_same_bits_alone_and_in_a_chunk(void **state) {
    (void)state;
    check_company(OP_F32);
    check_company(OP_BF16);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(solving_and_training_compute_the_same),
        cmocka_unit_test(in_bf16_too_within_its_rounding),
        cmocka_unit_test(a_puzzle_has_the_same_bits_alone_and_in_a_chunk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
