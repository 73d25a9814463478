/* test_grow.c - a wider model made of a narrow one computes the same, and what cannot is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <math.h>

#include "engine/model_memory.h"
#include "engine/train/grow.h"
#include "engine/train/init.h"

#define COMMON                                                                                                         \
    "\"seq_len\":16,\"vocab_size\":6,\"num_puzzle_identifiers\":3,\"puzzle_emb_len\":2,\"H_cycles\":2,\"L_cycles\":2," \
    "\"L_layers\":2,\"rms_norm_eps\":1e-5,\"rope_theta\":10000,\"halt_max_steps\":4,"

/* Models that differ in their widths alone. */
static const struct kind {
    const char *name, *narrow, *wide;
} KINDS[] = {
    {"token mixing, twice as wide",
     "{\"arch\":\"trm\"," COMMON "\"mlp_t\":true,\"pos_encodings\":\"none\",\"H_layers\":0,\"hidden_size\":32,"
     "\"puzzle_emb_ndim\":40,\"num_heads\":2,\"expansion\":2,\"inter_multiple\":16,\"no_ACT_continue\":true}",
     "{\"arch\":\"trm\"," COMMON "\"mlp_t\":true,\"pos_encodings\":\"none\",\"H_layers\":0,\"hidden_size\":64,"
     "\"puzzle_emb_ndim\":128,\"num_heads\":2,\"expansion\":4,\"inter_multiple\":16,\"no_ACT_continue\":true}"},
    {"attention, three times as wide",
     "{\"arch\":\"trm\"," COMMON "\"mlp_t\":false,\"pos_encodings\":\"rope\",\"H_layers\":0,\"hidden_size\":32,"
     "\"puzzle_emb_ndim\":32,\"num_heads\":2,\"expansion\":2,\"inter_multiple\":16,\"no_ACT_continue\":true}",
     "{\"arch\":\"trm\"," COMMON "\"mlp_t\":false,\"pos_encodings\":\"rope\",\"H_layers\":0,\"hidden_size\":96,"
     "\"puzzle_emb_ndim\":96,\"num_heads\":6,\"expansion\":2,\"inter_multiple\":16,\"no_ACT_continue\":true}"},
    {"hrm with learned positions",
     "{\"arch\":\"hrm\"," COMMON "\"mlp_t\":false,\"pos_encodings\":\"learned\",\"H_layers\":1,\"hidden_size\":16,"
     "\"puzzle_emb_ndim\":16,\"num_heads\":2,\"expansion\":4,\"inter_multiple\":16,\"no_ACT_continue\":false}",
     "{\"arch\":\"hrm\"," COMMON "\"mlp_t\":false,\"pos_encodings\":\"learned\",\"H_layers\":1,\"hidden_size\":32,"
     "\"puzzle_emb_ndim\":32,\"num_heads\":4,\"expansion\":4,\"inter_multiple\":16,\"no_ACT_continue\":false}"},
    {"the same shape",
     "{\"arch\":\"trm_singlez\"," COMMON "\"mlp_t\":true,\"pos_encodings\":\"none\",\"H_layers\":0,\"hidden_size\":32,"
     "\"puzzle_emb_ndim\":32,\"num_heads\":2,\"expansion\":2,\"inter_multiple\":16,\"no_ACT_continue\":true}",
     "{\"arch\":\"trm_singlez\"," COMMON "\"mlp_t\":true,\"pos_encodings\":\"none\",\"H_layers\":0,\"hidden_size\":32,"
     "\"puzzle_emb_ndim\":32,\"num_heads\":2,\"expansion\":2,\"inter_multiple\":16,\"no_ACT_continue\":true}"},
};
enum { KIND_COUNT = sizeof KINDS / sizeof *KINDS };

struct arrays {
    struct model_config config;
    struct model_layout *layout;
    float *params, *buffers, *puzzle_emb;
};

static void good(trm_status status, const trm_error *err) {
    if (status != TRM_OK)
        fail_msg("%s", err->text);
}

/* A model with initial weights and a puzzle embedding of noise. */
static void make(struct arrays *a, const char *json, struct data_rng *rng) {
    trm_error err = {""};
    good(model_config_parse(json, &a->config, &err), &err);
    good(model_layout_create(&a->config, &a->layout, &err), &err);
    const size_t table = (size_t)a->config.num_puzzle_identifiers * (size_t)a->config.puzzle_emb_ndim;
    a->params = calloc(a->layout->param_size, sizeof *a->params);
    a->buffers = calloc(a->layout->buffer_size, sizeof *a->buffers);
    a->puzzle_emb = calloc(table, sizeof *a->puzzle_emb);
    assert_true(a->params && a->buffers && a->puzzle_emb);
    train_init_weights(&a->config, a->layout, rng, a->params, a->buffers);
    for (size_t i = 0; i < table; i++)
        a->puzzle_emb[i] = (float)(0.1 * data_rng_normal(rng));
    const struct model_tensor *q = &a->layout->tensors[a->layout->q_weight];
    for (int i = 0; i < q->rows * q->cols; i++) /* the initial head is all zeros */
        a->params[q->offset + (size_t)i] = (float)data_rng_normal(rng);
}

static void destroy(struct arrays *a) {
    free(a->puzzle_emb);
    free(a->buffers);
    free(a->params);
    model_layout_destroy(a->layout);
}

/* The arrays as a checkpoint that is open; its file is gone already. */
static model_checkpoint *as_checkpoint(const struct arrays *a) {
    char path[] = "/tmp/trm-grow-XXXXXX";
    model_checkpoint *checkpoint = NULL;
    st_writer *writer;
    trm_error err = {""};
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    good(st_writer_create(&writer, &err), &err);
    good(model_checkpoint_add(writer, &a->config, a->layout, a->params, a->buffers, a->puzzle_emb, &err), &err);
    good(st_write(writer, path, &err), &err);
    st_writer_destroy(writer);
    good(model_checkpoint_open(path, &checkpoint, &err), &err);
    unlink(path);
    return checkpoint;
}

/* What a model says of a puzzle after one supervision step. */
static void solve(const struct arrays *a, int identifier, float *said) {
    const struct trm_model_options options = {.backend = TRM_BACKEND_REFERENCE, .dtype = TRM_DTYPE_F32};
    const struct trm_solve_options solving = {.no_halt = true};
    int32_t tokens[16];
    trm_model *model;
    trm_batch *batch;
    trm_error err = {""};
    int slot;
    for (int i = 0; i < 16; i++)
        tokens[i] = 1 + (7 * i + identifier) % 5;
    good(trm_model_from_memory(&a->config, a->layout, a->params, a->buffers, a->puzzle_emb, "sudoku", &options, &model,
                               &err),
         &err);
    good(trm_batch_create(model, 1, &batch, &err), &err);
    good(trm_batch_admit(batch, tokens, identifier, &solving, &slot, &err), &err);
    good(trm_batch_step(batch, &err), &err);
    const struct trm_report *report = trm_batch_report(batch, slot);
    said[0] = report->q_halt;
    said[1] = report->q_continue;
    said[2] = report->confidence;
    trm_batch_destroy(batch);
    trm_model_unref(model);
}

static void a_grown_model_computes_what_the_old_one_did(void **state) {
    (void)state;
    for (int k = 0; k < KIND_COUNT; k++) {
        struct arrays narrow, wide;
        struct data_rng rng;
        trm_error err = {""};
        data_rng_seed(&rng, 3);
        make(&narrow, KINDS[k].narrow, &rng);
        make(&wide, KINDS[k].wide, &rng);
        model_checkpoint *old = as_checkpoint(&narrow);
        good(train_grow(old, &wide.config, wide.layout, &rng, wide.params, wide.buffers, wide.puzzle_emb, &err), &err);
        for (int id = 0; id < 3; id++) {
            float before[3], after[3];
            solve(&narrow, id, before);
            solve(&wide, id, after);
            for (int i = 0; i < 3; i++)
                if (!(fabsf(after[i] - before[i]) <= 2e-3f * (1.0f + fabsf(before[i]))))
                    fail_msg("%s: puzzle %d, value %d: %g became %g", KINDS[k].name, id, i, (double)before[i],
                             (double)after[i]);
        }
        model_checkpoint_close(old);
        destroy(&wide);
        destroy(&narrow);
    }
}

static void attention_over_a_grid_goes_on_with_a_larger_one(void **state) {
    (void)state;
    static const char *const SEES[] = {"\"all\"", "\"near\",\"attention_radius\":1"};
    static const char *const CELLS[] = {"16", "25"};
    for (int k = 0; k < 2; k++) {
        struct arrays grids[2];
        struct data_rng rng;
        trm_error err = {""};
        data_rng_seed(&rng, 3);
        for (int i = 0; i < 2; i++) {
            char json[1024];
            snprintf(json, sizeof json,
                     "{\"arch\":\"trm\",\"seq_len\":%s,\"vocab_size\":6,\"num_puzzle_identifiers\":3,"
                     "\"puzzle_emb_ndim\":8,\"puzzle_emb_len\":1,\"H_cycles\":1,\"L_cycles\":1,\"L_layers\":1,"
                     "\"hidden_size\":8,\"num_heads\":2,\"expansion\":4,\"inter_multiple\":8,"
                     "\"pos_encodings\":\"rope_2d\",\"attention\":%s,\"rms_norm_eps\":1e-5,\"rope_theta\":100,"
                     "\"halt_max_steps\":4}",
                     CELLS[i], SEES[k]);
            make(&grids[i], json, &rng);
        }
        struct arrays *small = &grids[0], *large = &grids[1];
        model_checkpoint *old = as_checkpoint(small);
        good(train_grow(old, &large->config, large->layout, &rng, large->params, large->buffers, large->puzzle_emb,
                        &err),
             &err);
        assert_int_equal(large->layout->param_size, small->layout->param_size);
        assert_memory_equal(large->params, small->params, small->layout->param_size * sizeof *small->params);
        model_checkpoint_close(old);
        destroy(large);
        destroy(small);
    }
}

/* Else their gradients would be the same for ever. */
static void copies_of_a_channel_are_read_with_different_weights(void **state) {
    (void)state;
    struct arrays narrow, wide;
    struct data_rng rng;
    trm_error err = {""};
    data_rng_seed(&rng, 3);
    make(&narrow, KINDS[0].narrow, &rng);
    make(&wide, KINDS[0].wide, &rng);
    model_checkpoint *old = as_checkpoint(&narrow);
    good(train_grow(old, &wide.config, wide.layout, &rng, wide.params, wide.buffers, wide.puzzle_emb, &err), &err);
    const struct model_tensor *head = &wide.layout->tensors[wide.layout->lm_head];
    const float *row = wide.params + head->offset;
    int different = 0;
    for (int c = 0; c < 32; c++)
        different += fabsf(row[c] - row[c + 32]) > 1e-3f * fabsf(row[c]);
    assert_true(different > 24);
    model_checkpoint_close(old);
    destroy(&wide);
    destroy(&narrow);
}

static void what_would_compute_something_else_is_refused(void **state) {
    (void)state;
    struct arrays narrow, wide;
    struct data_rng rng;
    trm_error err = {""};
    data_rng_seed(&rng, 3);
    make(&narrow, KINDS[1].narrow, &rng);
    model_checkpoint *old = as_checkpoint(&narrow);
    const struct {
        const char *from, *to, *why;
    } cases[] = {{"\"hidden_size\":96", "\"hidden_size\":72", "not a multiple"},
                 {"\"num_heads\":6", "\"num_heads\":2", "the size of a head"},
                 {"\"L_layers\":2", "\"L_layers\":3", "L_layers"},
                 {"\"vocab_size\":6", "\"vocab_size\":7", "vocab_size"},
                 {"\"arch\":\"trm\"", "\"arch\":\"trm_hier6\"", "arch"},
                 {"\"pos_encodings\":\"rope\"", "\"pos_encodings\":\"none\"", "pos_encodings"},
                 {"\"pos_encodings\":\"rope\"",
                  "\"pos_encodings\":\"rope\",\"attention\":\"near\",\"attention_radius\":1", "attention"},
                 {"\"puzzle_emb_ndim\":96", "\"puzzle_emb_ndim\":95", "puzzle_emb_ndim"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char json[1024];
        const char *at = strstr(KINDS[1].wide, cases[i].from);
        assert_non_null(at);
        snprintf(json, sizeof json, "%.*s%s%s", (int)(at - KINDS[1].wide), KINDS[1].wide, cases[i].to,
                 at + strlen(cases[i].from));
        make(&wide, json, &rng);
        assert_int_equal(
            train_grow(old, &wide.config, wide.layout, &rng, wide.params, wide.buffers, wide.puzzle_emb, &err),
            TRM_INVALID);
        if (!strstr(err.text, cases[i].why))
            fail_msg("case %zu: \"%s\"", i, err.text);
        destroy(&wide);
    }
    make(&wide, KINDS[1].wide, &rng); /* and nothing shrinks */
    model_checkpoint *big = as_checkpoint(&wide);
    assert_int_equal(
        train_grow(big, &narrow.config, narrow.layout, &rng, narrow.params, narrow.buffers, narrow.puzzle_emb, &err),
        TRM_INVALID);
    model_checkpoint_close(big);
    model_checkpoint_close(old);
    destroy(&wide);
    destroy(&narrow);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_grown_model_computes_what_the_old_one_did),
        cmocka_unit_test(attention_over_a_grid_goes_on_with_a_larger_one),
        cmocka_unit_test(copies_of_a_channel_are_read_with_different_weights),
        cmocka_unit_test(what_would_compute_something_else_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
