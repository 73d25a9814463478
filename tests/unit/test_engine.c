/* test_engine.c - models opened from files: what they say of themselves, how long they live, and that what was
 * recorded from the original comes out of them. */
#include <stdio.h>

#include "tests/unit/engine_fixture.h"

#define GOLDEN "../shared/golden/"

/* ---- models ---- */

static void a_model_says_what_it_is(void **state) {
    (void)state;
    trm_model *model = knowing_model(MODEL_HRM, 0, 0, "sudoku");
    const struct trm_model_info *info = trm_model_info(model);
    assert_string_equal(info->arch, "hrm");
    assert_int_equal(info->puzzle, TRM_PUZZLE_SUDOKU);
    assert_string_equal(info->puzzle_name, "sudoku");
    assert_string_equal(info->provenance, "{\"by\":\"test_engine\"}");
    assert_non_null(strstr(info->config, "\"seq_len\""));
    assert_int_equal(info->seq_len, CELLS);
    assert_int_equal(info->vocab_size, VOCAB);
    assert_int_equal(info->num_puzzle_identifiers, 1);
    assert_int_equal(info->halt_max_steps, MAX_STEPS);
    assert_int_equal(info->hidden_size, CELLS);
    /* tokens, head, q head and its bias, positions; two layers of qkv, o, gate_up, down of inner size 16 */
    assert_int_equal(info->parameters,
                     VOCAB * CELLS * 2 + 2 * CELLS + 2 + CELLS * CELLS + 2 * (3 + 1 + 2 + 1) * CELLS * CELLS);
    assert_true(info->flops_per_step > 0);
    trm_model_unref(model);

    model = random_model(true, &REFERENCE);
    assert_int_equal(trm_model_info(model)->puzzle, TRM_PUZZLE_OTHER);
    assert_string_equal(trm_model_info(model)->puzzle_name, "");
    assert_string_equal(trm_model_info(model)->provenance, "{}");
    trm_model_unref(model);
}

static void what_is_no_model_is_refused(void **state) {
    (void)state;
    trm_model *model = NULL;
    trm_error err = {""};
    assert_int_equal(trm_model_open("/nonexistent/model", &(struct trm_model_options){0}, &model, &err), TRM_IO);
    assert_non_null(strstr(err.text, "/nonexistent/model"));
    assert_int_equal(trm_model_open("Makefile", &(struct trm_model_options){0}, &model, &err), TRM_FORMAT);
    assert_null(model);
    trm_model_unref(NULL);
    trm_batch_destroy(NULL);
}

static void a_batch_keeps_its_model_alive(void **state) {
    (void)state;
    trm_model *model = knowing_model(MODEL_TRM, 1, 0, "sudoku");
    trm_batch *batch = batch_of(model, 2);
    assert_ptr_equal(trm_model_ref(model), model);
    trm_model_unref(model);
    trm_model_unref(model);
    int slot = admit(batch, PUZZLE, 0, &DEFAULTS);
    step(batch);
    assert_memory_equal(trm_batch_report(batch, slot)->answer, SOLUTION, sizeof SOLUTION);
    trm_batch_destroy(batch);
}

/* ---- the goldens ---- */

/* Every puzzle of the file at once: q, answers and confidence of every step. */
static void check_golden(const char *path) {
    trm_model *model = NULL;
    st_file *file = NULL;
    trm_error err = {""};
    const struct trm_solve_options options = {.no_halt = true};
    if (trm_model_open(path, &(struct trm_model_options){.dtype = TRM_DTYPE_F32}, &model, &err) != TRM_OK ||
        st_open(path, &file, &err) != TRM_OK)
        fail_msg("%s: %s", path, err.text);
    const size_t seq_len = (size_t)trm_model_info(model)->seq_len, vocab = (size_t)trm_model_info(model)->vocab_size;
    const struct st_tensor *inputs = st_find(file, "io.inputs"), *ids = st_find(file, "io.puzzle_identifiers");
    assert_non_null(inputs);
    assert_non_null(ids);
    const int count = (int)ids->count, steps = trm_model_info(model)->halt_max_steps;
    trm_batch *batch = batch_of(model, count);
    for (int i = 0; i < count; i++)
        assert_int_equal(admit(batch, (const int32_t *)inputs->data + (size_t)i * seq_len,
                               ((const int32_t *)ids->data)[i], &options),
                         i);
    for (int n = 1; n <= steps; n++) {
        char name[64];
        snprintf(name, sizeof name, "io.step%d.q_logits", n);
        const float *q = st_find(file, name)->data;
        snprintf(name, sizeof name, "io.step%d.logits", n);
        const float *logits = st_find(file, name)->data;
        step(batch);
        for (int i = 0; i < count; i++) {
            const struct trm_report *report = trm_batch_report(batch, i);
            double confidence = 0.0;
            assert_true(fabsf(report->q_halt - q[2 * i]) <= 2e-4f && fabsf(report->q_continue - q[2 * i + 1]) <= 2e-4f);
            for (size_t t = 0; t < seq_len; t++) {
                const float *row = logits + ((size_t)i * seq_len + t) * vocab;
                float largest = row[0];
                double total = 0.0;
                for (size_t v = 1; v < vocab; v++)
                    largest = row[v] > largest ? row[v] : largest;
                for (size_t v = 0; v < vocab; v++)
                    total += exp((double)row[v] - (double)largest);
                confidence += 1.0 / total / (double)seq_len;
                assert_true(row[report->answer[t]] >= largest - 4e-4f);
            }
            assert_true(fabs((double)report->confidence - confidence) <= 4e-4);
            assert_int_equal(report->halt, n < steps ? TRM_RUNNING : TRM_HALT_MAX_STEPS);
        }
    }
    trm_batch_destroy(batch);
    st_close(file);
    trm_model_unref(model);
}

static void the_goldens_come_out_of_the_boundary(void **state) {
    (void)state;
    static const char *const names[] = {
        "infer_trm_mlp",     "infer_trm_attn_rope", "infer_trm_attn_learned",     "infer_hrm",
        "infer_trm_singlez", "infer_trm_hier6",     "infer_transformers_baseline"};
    if (access(GOLDEN, R_OK) != 0) {
        print_message("no goldens at " GOLDEN "\n");
        skip();
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[128];
        snprintf(path, sizeof path, GOLDEN "%s.safetensors", names[i]);
        check_golden(path);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model_says_what_it_is),
        cmocka_unit_test(what_is_no_model_is_refused),
        cmocka_unit_test(a_batch_keeps_its_model_alive),
        cmocka_unit_test(the_goldens_come_out_of_the_boundary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
