/* engine_fixture.h - the models, puzzles and batches of the tests of the engine's boundary.
 *
 * Two kinds of models are made here: one of random weights, and one of weights so simple that its answer
 * and its q values are known. Whatever fails here ends the running test. */
#ifndef TRM_TESTS_UNIT_ENGINE_FIXTURE_H
#define TRM_TESTS_UNIT_ENGINE_FIXTURE_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/data/rng.h"
#include "engine/engine.h"
#include "engine/model/checkpoint.h"

#define BUNDLED "server/models/sudoku.safetensors"

enum { CELLS = 16, VOCAB = 6, IDENTIFIERS = 4, MAX_STEPS = 5 };
static const struct trm_solve_options DEFAULTS = {0};
static const struct trm_model_options F32 = {.dtype = TRM_DTYPE_F32};
static const struct trm_model_options REFERENCE = {.backend = TRM_BACKEND_REFERENCE, .dtype = TRM_DTYPE_F32};

/* ---- checkpoints ---- */

struct checkpoint {
    struct model_config config;
    struct model_layout *layout;
    float *params, *buffers, *table;
};

static inline float *zeros(size_t count) {
    float *out = calloc(count ? count : 1, sizeof *out);
    assert_non_null(out);
    return out;
}

static inline void create_checkpoint(struct checkpoint *c, const struct model_config *config) {
    trm_error err = {""};
    c->config = *config;
    if (model_config_resolve(&c->config, &err) != TRM_OK)
        fail_msg("%s", err.text);
    assert_int_equal(model_layout_create(&c->config, &c->layout, NULL), TRM_OK);
    c->params = zeros(c->layout->param_size);
    c->buffers = zeros(c->layout->buffer_size);
    c->table = zeros((size_t)c->config.num_puzzle_identifiers * (size_t)c->config.puzzle_emb_ndim);
}

static inline void destroy_checkpoint(struct checkpoint *c) {
    model_layout_destroy(c->layout);
    free(c->table);
    free(c->buffers);
    free(c->params);
}

/* Writes `path`, a template of mkstemp(), which becomes the name; the caller unlinks it. `puzzle` may be NULL. */
static inline void write_checkpoint(const struct checkpoint *c, const char *puzzle, char *path) {
    st_writer *writer = NULL;
    int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
    assert_int_equal(st_writer_create(&writer, NULL), TRM_OK);
    assert_int_equal(model_checkpoint_add(writer, &c->config, c->layout, c->params, c->buffers,
                                          c->config.puzzle_emb_ndim ? c->table : NULL, NULL),
                     TRM_OK);
    if (puzzle) {
        assert_int_equal(st_add_metadata(writer, "puzzle", puzzle, NULL), TRM_OK);
        assert_int_equal(st_add_metadata(writer, "provenance", "{\"by\":\"test_engine\"}", NULL), TRM_OK);
    }
    assert_int_equal(st_write(writer, path, NULL), TRM_OK);
    st_writer_destroy(writer);
}

/* NULL where this machine cannot compute in the type that the options ask for. */
static inline trm_model *open_model(const char *path, const struct trm_model_options *options) {
    trm_model *model = NULL;
    trm_error err = {""};
    const trm_status status = trm_model_open(path, options, &model, &err);
    if (status == TRM_UNSUPPORTED)
        print_message("%s skipped: %s\n", trm_dtype_name(options->dtype), err.text);
    else if (status != TRM_OK)
        fail_msg("%s", err.text);
    return model;
}

static inline trm_model *open_checkpoint(const struct checkpoint *c, const char *puzzle,
                                         const struct trm_model_options *options) {
    char path[] = "/tmp/test_engine_XXXXXX";
    write_checkpoint(c, puzzle, path);
    trm_model *model = open_model(path, options);
    unlink(path);
    return model;
}

/* Every tensor random; token mixing or attention. */
static inline void create_random(struct checkpoint *c, bool mlp_t) {
    const struct model_config config = {.arch = MODEL_TRM,
                                        .seq_len = CELLS,
                                        .vocab_size = VOCAB,
                                        .num_puzzle_identifiers = IDENTIFIERS,
                                        .puzzle_emb_ndim = 24,
                                        .puzzle_emb_len = 1,
                                        .H_cycles = 2,
                                        .L_cycles = 1,
                                        .L_layers = 1,
                                        .hidden_size = 24,
                                        .num_heads = 3,
                                        .expansion = 2,
                                        .pos_encodings = mlp_t ? MODEL_POS_NONE : MODEL_POS_ROPE,
                                        .rms_norm_eps = 1e-5,
                                        .rope_theta = 10000,
                                        .halt_max_steps = MAX_STEPS,
                                        .mlp_t = mlp_t,
                                        .no_ACT_continue = true,
                                        .inter_multiple = 8};
    struct data_rng rng;
    create_checkpoint(c, &config);
    data_rng_seed(&rng, mlp_t);
    for (int i = 0; i < c->layout->count; i++) {
        const struct model_tensor *t = &c->layout->tensors[i];
        float *array = t->kind == MODEL_PARAM ? c->params : t->kind == MODEL_BUFFER ? c->buffers : c->table;
        for (size_t k = 0; k < (size_t)t->rows * (size_t)t->cols; k++)
            array[t->offset + k] = (float)(data_rng_normal(&rng) / sqrt(t->rank == 2 ? t->cols : 1));
    }
}

static inline trm_model *random_model(bool mlp_t, const struct trm_model_options *options) {
    struct checkpoint c;
    create_random(&c, mlp_t);
    trm_model *model = open_checkpoint(&c, NULL, options);
    destroy_checkpoint(&c);
    return model;
}

/* A 4x4 Sudoku as tokens: 0 padding, 1 blank, 2 to 5 the digits. */
static const int32_t SOLUTION[CELLS] = {2, 3, 4, 5, 4, 5, 2, 3, 3, 2, 5, 4, 5, 4, 3, 2};
static const int32_t PUZZLE[CELLS] = {2, 1, 4, 1, 1, 5, 1, 3, 1, 2, 1, 4, 5, 1, 3, 1};

/* Its networks add nothing, each position's vector is a direction of its own, and the head reads the solution
 * off them: it answers SOLUTION to everything, with the given q values. */
static inline trm_model *knowing_model(enum model_arch arch, float q_halt, float q_continue, const char *puzzle) {
    const struct model_config config = {.arch = arch,
                                        .seq_len = CELLS,
                                        .vocab_size = VOCAB,
                                        .num_puzzle_identifiers = 1,
                                        .H_cycles = 1,
                                        .L_cycles = 1,
                                        .H_layers = 1,
                                        .L_layers = 1,
                                        .hidden_size = CELLS,
                                        .num_heads = 1,
                                        .expansion = 1,
                                        .pos_encodings = MODEL_POS_LEARNED,
                                        .rms_norm_eps = 1e-5,
                                        .rope_theta = 10000,
                                        .halt_max_steps = MAX_STEPS,
                                        .no_ACT_continue = arch == MODEL_TRM,
                                        .inter_multiple = 8};
    struct checkpoint c;
    create_checkpoint(&c, &config);
    float *position = c.params + c.layout->tensors[c.layout->embed_pos].offset; /* [CELLS, CELLS] */
    float *head = c.params + c.layout->tensors[c.layout->lm_head].offset;       /* [VOCAB, CELLS] */
    float *bias = c.params + c.layout->tensors[c.layout->q_bias].offset;
    for (int i = 0; i < CELLS; i++) {
        position[i * CELLS + i] = 1.0f;
        head[SOLUTION[i] * CELLS + i] = 1.0f;
    }
    bias[0] = q_halt;
    bias[1] = q_continue;
    trm_model *model = open_checkpoint(&c, puzzle, &F32);
    destroy_checkpoint(&c);
    return model;
}

/* ---- batches ---- */

static inline trm_batch *batch_of(trm_model *model, int slots) {
    trm_batch *batch = NULL;
    trm_error err = {""};
    if (trm_batch_create(model, slots, &batch, &err) != TRM_OK)
        fail_msg("%s", err.text);
    return batch;
}

static inline int admit(trm_batch *batch, const int32_t *tokens, int id, const struct trm_solve_options *options) {
    int slot = -1;
    trm_error err = {""};
    if (trm_batch_admit(batch, tokens, id, options, &slot, &err) != TRM_OK)
        fail_msg("%s", err.text);
    return slot;
}

static inline void step(trm_batch *batch) {
    trm_error err = {""};
    if (trm_batch_step(batch, &err) != TRM_OK)
        fail_msg("%s", err.text);
}

#endif
