/* test_engine_promises.c - nobody's values depend, to the last bit, on who else is there. */
#include "tests/unit/engine_fixture.h"

enum { CROWD = 64 };

struct values {
    float q_halt, q_continue, confidence;
    int32_t answer[CELLS];
};

static struct values values_of(const struct trm_report *report) {
    struct values v = {.q_halt = report->q_halt, .q_continue = report->q_continue, .confidence = report->confidence};
    memcpy(v.answer, report->answer, sizeof v.answer);
    return v;
}

/* Ours in slot `place` of a full batch whose other puzzles come and go between steps. */
static void check_crowd(trm_model *model, int place, const struct trm_solve_options *options,
                        const struct values alone[MAX_STEPS]) {
    trm_batch *batch = batch_of(model, CROWD);
    struct data_rng rng;
    data_rng_seed(&rng, (uint64_t)place);
    for (int i = 0; i < CROWD; i++) {
        int32_t other[CELLS];
        random_puzzle(&rng, other);
        assert_int_equal(admit(batch, i == place ? PUZZLE : other, i == place ? 2 : i % IDENTIFIERS, options), i);
    }
    for (int n = 0; n < MAX_STEPS; n++) {
        step(batch);
        const struct values here = values_of(trm_batch_report(batch, place));
        assert_memory_equal(&here, &alone[n], sizeof here);
        for (int i = 0; i < CROWD; i++)
            if (i != place && data_rng_below(&rng, 3) == 0) {
                int32_t other[CELLS];
                random_puzzle(&rng, other);
                trm_batch_release(batch, i);
                assert_int_equal(admit(batch, other, 0, options), i);
            }
    }
    trm_batch_destroy(batch);
}

static void a_puzzle_has_the_same_bits_alone_and_among_63_others_in_any_slot(void **state) {
    (void)state;
    const struct trm_solve_options calm = {.no_halt = true}, noisy = {.no_halt = true, .noise = 0.5f, .seed = 9};
    const enum trm_backend backends[] = {TRM_BACKEND_ONEDNN, TRM_BACKEND_REFERENCE};
    const int places[] = {17, 0, CROWD - 1};
    for (size_t b = 0; b < 2; b++)
        for (int kind = 0; kind < 4; kind++) {
            const struct trm_solve_options options = kind & 2 ? noisy : calm;
            const bool mlp_t = kind & 1;
            struct values alone[MAX_STEPS];
            trm_model *model = random_model(mlp_t, backends[b]);
            trm_batch *batch = batch_of(model, 1);
            admit(batch, PUZZLE, 2, &options);
            for (int n = 0; n < MAX_STEPS; n++) {
                step(batch);
                alone[n] = values_of(trm_batch_report(batch, 0));
                assert_true(isfinite(alone[n].q_halt) && alone[n].q_halt != 0.0f);
                assert_true(n == 0 || alone[n].q_halt != alone[n - 1].q_halt);
            }
            trm_batch_destroy(batch);
            const size_t count = backends[b] == TRM_BACKEND_ONEDNN ? sizeof places / sizeof *places : 1;
            for (size_t i = 0; i < count; i++)
                check_crowd(model, places[i], &options, alone);
            trm_model_unref(model);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_puzzle_has_the_same_bits_alone_and_among_63_others_in_any_slot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
