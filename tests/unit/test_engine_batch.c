/* test_engine_batch.c - slots that puzzles enter and leave, what they report, and when they halt. */
#include "tests/unit/engine_fixture.h"

#include "engine/data/puzzle.h"

/* ---- slots ---- */

static void slots_are_taken_and_given_back_one_by_one(void **state) {
    (void)state;
    enum { SLOTS = 3 };
    trm_model *model = knowing_model(MODEL_TRM, -1, 0, "sudoku");
    trm_batch *batch = batch_of(model, SLOTS);
    int slots[SLOTS], refused = -1;
    assert_int_equal(trm_batch_slots(batch), SLOTS);
    step(batch); /* nothing to do */
    for (int i = 0; i < SLOTS; i++) {
        assert_int_equal(trm_batch_busy(batch), i);
        slots[i] = admit(batch, PUZZLE, 0, &DEFAULTS);
        assert_in_range(slots[i], 0, SLOTS - 1);
        for (int k = 0; k < i; k++)
            assert_int_not_equal(slots[i], slots[k]);
        step(batch); /* the first has been here longest */
    }
    for (int i = 0; i < SLOTS; i++)
        assert_int_equal(trm_batch_report(batch, slots[i])->step, SLOTS - i);

    assert_int_equal(trm_batch_admit(batch, PUZZLE, 0, &DEFAULTS, &refused, NULL), TRM_FULL);
    assert_int_equal(refused, -1);
    trm_batch_release(batch, slots[1]);
    assert_int_equal(trm_batch_busy(batch), SLOTS - 1);
    assert_null(trm_batch_report(batch, slots[1]));
    trm_batch_release(batch, slots[1]); /* harmless */
    assert_int_equal(trm_batch_busy(batch), SLOTS - 1);
    assert_int_equal(admit(batch, PUZZLE, 0, &DEFAULTS), slots[1]);
    assert_int_equal(trm_batch_report(batch, slots[1])->step, 0); /* nothing of the one before */
    assert_int_equal(trm_batch_report(batch, slots[0])->step, SLOTS);

    assert_null(trm_batch_report(batch, -1));
    assert_null(trm_batch_report(batch, SLOTS));
    trm_batch_release(batch, -1);
    trm_batch_release(batch, SLOTS);
    assert_int_equal(trm_batch_busy(batch), SLOTS);
    trm_batch_destroy(batch);
    trm_model_unref(model);
}

static void a_parked_puzzle_needs_no_slot_and_no_batch(void **state) {
    (void)state;
    trm_model *model = knowing_model(MODEL_TRM, -1, 0, NULL);
    trm_batch *batch = batch_of(model, 1);
    trm_parked *parked = NULL, *other = NULL;
    int slot = -1;
    assert_int_equal(trm_batch_park(batch, 0, &parked, NULL), TRM_INVALID); /* nobody is there */
    admit(batch, PUZZLE, 0, &DEFAULTS);
    step(batch);
    assert_int_equal(trm_batch_park(batch, 0, &parked, NULL), TRM_OK);
    assert_int_equal(trm_batch_busy(batch), 0);
    assert_null(trm_batch_report(batch, 0));
    assert_ptr_equal(trm_parked_model(parked), model);
    assert_true(trm_slot_bytes(model) > sizeof PUZZLE);
    admit(batch, PUZZLE, 0, &DEFAULTS);
    assert_int_equal(trm_batch_resume(batch, parked, &slot, NULL), TRM_FULL);
    assert_int_equal(trm_batch_park(batch, 0, &other, NULL), TRM_OK);
    trm_batch_destroy(batch);
    trm_model_unref(model); /* parked puzzles keep it */
    batch = batch_of(trm_parked_model(parked), 1);
    assert_int_equal(trm_batch_resume(batch, parked, &slot, NULL), TRM_OK);
    assert_int_equal(trm_batch_report(batch, slot)->step, 1);
    assert_int_equal(trm_batch_report(batch, slot)->halt, TRM_RUNNING);
    assert_memory_equal(trm_batch_report(batch, slot)->answer, SOLUTION, sizeof SOLUTION);
    while (trm_batch_report(batch, slot)->halt == TRM_RUNNING)
        step(batch);
    assert_int_equal(trm_batch_report(batch, slot)->step, MAX_STEPS);
    trm_batch_destroy(batch);
    trm_parked_destroy(other);
    trm_parked_destroy(NULL);
}

static void a_parked_puzzle_does_not_go_on_with_another_model(void **state) {
    (void)state;
    trm_model *model = knowing_model(MODEL_TRM, -1, 0, NULL), *same = knowing_model(MODEL_TRM, -1, 0, NULL);
    trm_batch *batch = batch_of(model, 1), *stranger = batch_of(same, 1);
    trm_parked *parked = NULL;
    int slot = -1;
    admit(batch, PUZZLE, 0, &DEFAULTS);
    assert_int_equal(trm_batch_park(batch, 0, &parked, NULL), TRM_OK);
    assert_int_equal(trm_batch_resume(stranger, parked, &slot, NULL), TRM_INVALID);
    assert_int_equal(trm_batch_resume(batch, parked, &slot, NULL), TRM_OK);
    trm_batch_destroy(batch);
    trm_batch_destroy(stranger);
    trm_model_unref(model);
    trm_model_unref(same);
}

static void a_new_slot_reports_its_puzzle_and_no_step(void **state) {
    (void)state;
    trm_model *model = knowing_model(MODEL_TRM, 1, 0, NULL);
    trm_batch *batch = batch_of(model, 1);
    const struct trm_report *report = trm_batch_report(batch, admit(batch, PUZZLE, 0, &DEFAULTS));
    assert_int_equal(report->step, 0);
    assert_int_equal(report->halt, TRM_RUNNING);
    assert_memory_equal(report->answer, PUZZLE, sizeof PUZZLE);
    trm_batch_destroy(batch);
    trm_model_unref(model);
}

static void a_report_tells_answer_q_and_confidence(void **state) {
    (void)state;
    trm_model *model = knowing_model(MODEL_TRM, 1.5f, -2.5f, NULL);
    trm_batch *batch = batch_of(model, 1);
    const struct trm_report *report = trm_batch_report(batch, admit(batch, PUZZLE, 0, &DEFAULTS));
    step(batch);
    assert_int_equal(report->step, 1);
    assert_memory_equal(report->answer, SOLUTION, sizeof SOLUTION);
    assert_true(report->q_halt == 1.5f && report->q_continue == -2.5f);
    /* After the norm a position's direction has length sqrt(CELLS) = 4; the other logits are 0. */
    assert_true(fabs((double)report->confidence - 1.0 / (1.0 + (VOCAB - 1) * exp(-4.0))) < 1e-4);
    trm_batch_destroy(batch);
    trm_model_unref(model);
}

static void bad_puzzles_and_options_are_refused(void **state) {
    (void)state;
    trm_model *model = random_model(true, &F32);
    trm_batch *batch = batch_of(model, 1);
    const int bad_tokens[] = {-1, VOCAB, INT32_MAX, INT32_MIN}, bad_ids[] = {-1, IDENTIFIERS, INT32_MAX};
    const struct trm_solve_options bad_options[] = {
        {.max_steps = -1}, {.min_steps = -1},     {.noise = -1},  {.noise = INFINITY}, {.noise = NAN},
        {.variation = -1}, {.restart_steps = -1}, {.stride = -1}, {.guesses = -1},     {.guesses = 3}};
    int32_t tokens[CELLS] = {0};
    trm_error err = {""};
    int slot = -1;
    for (size_t i = 0; i < sizeof bad_tokens / sizeof *bad_tokens; i++) {
        tokens[CELLS - 1] = bad_tokens[i];
        assert_int_equal(trm_batch_admit(batch, tokens, 0, &DEFAULTS, &slot, &err), TRM_INVALID);
        assert_non_null(strstr(err.text, "token 15"));
    }
    tokens[CELLS - 1] = VOCAB - 1;
    for (size_t i = 0; i < sizeof bad_ids / sizeof *bad_ids; i++)
        assert_int_equal(trm_batch_admit(batch, tokens, bad_ids[i], &DEFAULTS, &slot, NULL), TRM_INVALID);
    for (size_t i = 0; i < sizeof bad_options / sizeof *bad_options; i++)
        assert_int_equal(trm_batch_admit(batch, tokens, 0, &bad_options[i], &slot, NULL), TRM_INVALID);
    assert_int_equal(slot, -1);
    assert_int_equal(trm_batch_busy(batch), 0);
    assert_int_equal(admit(batch, tokens, IDENTIFIERS - 1, &DEFAULTS), 0);
    trm_batch_destroy(batch);
    batch = NULL;
    assert_int_equal(trm_batch_create(model, 0, &batch, NULL), TRM_INVALID);
    assert_int_equal(trm_batch_create(model, -1, &batch, NULL), TRM_INVALID);
    assert_null(batch);
    trm_model_unref(model);
}

static void identifiers_choose_rows_of_the_puzzle_embedding(void **state) {
    (void)state;
    trm_model *model = random_model(false, &F32);
    trm_batch *batch = batch_of(model, IDENTIFIERS + 1);
    for (int id = 0; id < IDENTIFIERS; id++)
        admit(batch, PUZZLE, id, &DEFAULTS);
    admit(batch, PUZZLE, 0, &DEFAULTS);
    step(batch);
    const float first = trm_batch_report(batch, 0)->q_halt;
    for (int id = 1; id < IDENTIFIERS; id++)
        assert_true(trm_batch_report(batch, id)->q_halt != first);
    assert_true(trm_batch_report(batch, IDENTIFIERS)->q_halt == first);
    trm_batch_destroy(batch);
    trm_model_unref(model);
}

/* ---- noise ---- */

static float q_after_two_steps(trm_model *model, float noise, uint64_t seed) {
    const struct trm_solve_options options = {.no_halt = true, .variation = 1, .noise = noise, .seed = seed};
    trm_batch *batch = batch_of(model, 1);
    const struct trm_report *report = trm_batch_report(batch, admit(batch, PUZZLE, 0, &options));
    step(batch);
    step(batch);
    const float q = report->q_halt;
    trm_batch_destroy(batch);
    return q;
}

static void noise_moves_the_latents_as_the_seed_says(void **state) {
    (void)state;
    trm_model *model = random_model(true, &F32);
    const float calm = q_after_two_steps(model, 0, 1), noisy = q_after_two_steps(model, 0.3f, 1);
    assert_true(noisy != calm);
    assert_true(q_after_two_steps(model, 0, 2) == calm);
    assert_true(q_after_two_steps(model, 0.3f, 1) == noisy);
    assert_true(q_after_two_steps(model, 0.3f, 2) != noisy);
    assert_true(q_after_two_steps(model, 0.2f, 1) != noisy);
    trm_model_unref(model);
}

/* ---- variations: images and restarts ---- */

/* The q values of `steps` steps of a slot of its own. */
static void watch(trm_model *model, const struct trm_solve_options *options, int steps, float *q) {
    trm_batch *batch = batch_of(model, 1);
    const struct trm_report *report = trm_batch_report(batch, admit(batch, PUZZLE, 0, options));
    for (int i = 0; i < steps; i++) {
        step(batch);
        q[i] = report->q_halt;
    }
    assert_int_equal(report->step, steps);
    trm_batch_destroy(batch);
}

static void a_restart_is_in_every_respect_another_slots_variation(void **state) {
    (void)state;
    trm_model *model = random_model(true, &F32);
    struct trm_solve_options options = {
        .no_halt = true, .max_steps = 6, .noise = 0.3f, .seed = 5, .variation = 1, .restart_steps = 2, .stride = 3};
    float all[6], part[2];
    watch(model, &options, 6, all);
    options.restart_steps = 0;
    for (int i = 0; i < 3; i++, options.variation += 3) {
        watch(model, &options, 2, part);
        assert_memory_equal(part, all + 2 * i, sizeof part);
        assert_true(i == 2 || all[2 * i] != all[2 * i + 2]);
    }
    trm_model_unref(model);
}

static void the_first_variations_have_no_noise(void **state) {
    (void)state;
    trm_model *model = random_model(true, &F32);
    struct trm_solve_options options = {.no_halt = true};
    float calm[2], noisy[2];
    watch(model, &options, 2, calm);
    options.noise = 0.3f;
    watch(model, &options, 2, noisy);
    assert_memory_equal(calm, noisy, sizeof calm);
    options.variation = 1;
    watch(model, &options, 2, noisy);
    assert_true(calm[0] != noisy[0]);
    trm_model_unref(model);
}

/* The model answers SOLUTION, whatever is guessed. */
static void guesses_are_seen_by_the_model_and_not_by_the_verifier(void **state) {
    (void)state;
    trm_model *model = knowing_model(MODEL_TRM, -1, 0, "sudoku");
    assert_true(trm_model_has_guesses(model));
    int32_t other[CELLS];
    memcpy(other, PUZZLE, sizeof other);
    other[0] = 3; /* a clue that SOLUTION does not keep: never verified, however often it begins again */
    const struct trm_solve_options options = {.verify = true, .max_steps = 9, .restart_steps = 1, .guesses = 8};
    trm_batch *batch = batch_of(model, 1);
    const struct trm_report *report = trm_batch_report(batch, admit(batch, other, 0, &options));
    for (int i = 0; i < 9; i++)
        step(batch);
    assert_int_equal(report->halt, TRM_HALT_MAX_STEPS);
    trm_batch_destroy(batch);
    trm_model_unref(model);
}

static void guesses_change_what_comes_after_the_first_try(void **state) {
    (void)state;
    if (access(BUNDLED, R_OK) != 0)
        skip();
    trm_model *model;
    trm_error err = {""};
    if (trm_model_open(BUNDLED, &F32, &model, &err) != TRM_OK)
        fail_msg("%s", err.text);
    /* One of the hardest (the "Golden Nugget"): what the model solves leaves it with nothing to guess. */
    static const char CLUES[] = "000000039000010005003050800008090006070002000100400000009080050020000600400700000";
    int32_t puzzle[81];
    for (int i = 0; i < 81; i++)
        puzzle[i] = CLUES[i] - '0' + 1;
    struct trm_solve_options options = {.verify = true, .min_steps = 99, .max_steps = 20, .restart_steps = 4};
    float q[4][20] = {{0}}; /* without a restart, with guesses, again, and as another variation */
    for (int run = 0; run < 4; run++) {
        trm_batch *batch = batch_of(model, 1);
        options.restart_steps = run == 0 ? 0 : 4;
        options.guesses = run == 0 ? 0 : 9;
        options.variation = run == 3;
        const struct trm_report *report = trm_batch_report(batch, admit(batch, puzzle, 0, &options));
        for (int i = 0; i < 20; i++) {
            step(batch);
            q[run][i] = report->q_halt;
        }
        trm_batch_destroy(batch);
    }
    assert_memory_equal(q[0], q[1], 4 * sizeof **q); /* the puzzle itself */
    assert_true(q[1][4] != q[0][4] && q[1][5] != q[0][5]);
    assert_memory_equal(q[1], q[2], sizeof *q);
    assert_memory_equal(q[1], q[3], 4 * sizeof **q);
    assert_memory_not_equal(q[1] + 4, q[3] + 4, 16 * sizeof **q); /* which draws an order of its own */
    trm_model_unref(model);
}

/* The model answers SOLUTION to whatever it sees, which is right when it sees PUZZLE. */
static void images_are_solved_and_their_answers_mapped_back(void **state) {
    (void)state;
    struct data_symmetry symmetry;
    struct trm_solve_options options = {.verify = true, .images = 4, .variation = 3, .seed = 40};
    int32_t puzzle[CELLS], solution[CELLS];
    data_symmetry_get(TRM_PUZZLE_SUDOKU, CELLS, 3, 43, &symmetry);
    data_symmetry_undo(&symmetry, CELLS, PUZZLE, puzzle);
    data_symmetry_undo(&symmetry, CELLS, SOLUTION, solution);
    assert_memory_not_equal(puzzle, PUZZLE, sizeof puzzle);

    trm_model *model = knowing_model(MODEL_TRM, -1, 0, "sudoku");
    trm_batch *batch = batch_of(model, 2);
    const struct trm_report *image = trm_batch_report(batch, admit(batch, puzzle, 0, &options));
    options.variation = 0;
    const struct trm_report *plain = trm_batch_report(batch, admit(batch, puzzle, 0, &options));
    assert_memory_equal(image->answer, puzzle, sizeof puzzle);
    step(batch);
    assert_memory_equal(image->answer, solution, sizeof solution);
    assert_int_equal(image->halt, TRM_HALT_VERIFIED);
    assert_memory_equal(plain->answer, SOLUTION, sizeof solution);
    assert_int_equal(plain->halt, TRM_RUNNING);
    trm_batch_destroy(batch);
    trm_model_unref(model);
}

static void images_that_a_puzzle_does_not_have_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *puzzle;
        int images;
        trm_status status;
    } CASES[] = {{"maze", 8, TRM_OK}, {"maze", 9, TRM_INVALID},   {"sudoku", 1000, TRM_OK},
                 {NULL, 1, TRM_OK},   {NULL, 2, TRM_INVALID},     {"arc", 2, TRM_INVALID},
                 {"maze", 0, TRM_OK}, {"sudoku", -1, TRM_INVALID}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        trm_model *model = knowing_model(MODEL_TRM, 0, 0, CASES[i].puzzle);
        trm_batch *batch = batch_of(model, 1);
        const struct trm_solve_options options = {.images = CASES[i].images};
        int slot;
        assert_int_equal(trm_batch_admit(batch, PUZZLE, 0, &options, &slot, NULL), CASES[i].status);
        trm_batch_destroy(batch);
        trm_model_unref(model);
    }
}

/* ---- halting ---- */

struct halting {
    const char *name;
    enum model_arch arch;
    float q_halt, q_continue;
    const char *puzzle_name;
    struct trm_solve_options options;
    enum trm_halt halt;
    int steps;
};

static const struct halting HALTINGS[] = {
    {"confident", MODEL_TRM, 0.5f, 9, NULL, {0}, TRM_HALT_Q_HEAD, 1},
    {"not confident", MODEL_TRM, -0.5f, -9, NULL, {0}, TRM_HALT_MAX_STEPS, MAX_STEPS},
    {"exactly at the threshold", MODEL_TRM, 0.5f, 0, NULL, {.halt_threshold = 0.5f}, TRM_HALT_MAX_STEPS, MAX_STEPS},
    {"above the threshold", MODEL_TRM, 0.5f, 0, NULL, {.halt_threshold = 0.25f}, TRM_HALT_Q_HEAD, 1},
    {"negative threshold", MODEL_TRM, -0.5f, 0, NULL, {.halt_threshold = -1}, TRM_HALT_Q_HEAD, 1},
    {"hrm compares with continue", MODEL_HRM, 5, 6, NULL, {0}, TRM_HALT_MAX_STEPS, MAX_STEPS},
    {"hrm, halt above continue", MODEL_HRM, -5, -6, NULL, {0}, TRM_HALT_Q_HEAD, 1},
    {"hrm, threshold", MODEL_HRM, 5, 6, NULL, {.halt_threshold = -1.5f}, TRM_HALT_Q_HEAD, 1},
    {"no earlier than min_steps", MODEL_TRM, 1, 0, NULL, {.min_steps = 3}, TRM_HALT_Q_HEAD, 3},
    {"min_steps 1 is the default", MODEL_TRM, 1, 0, NULL, {.min_steps = 1}, TRM_HALT_Q_HEAD, 1},
    {"min_steps beyond max_steps", MODEL_TRM, 1, 0, NULL, {.min_steps = 9}, TRM_HALT_MAX_STEPS, MAX_STEPS},
    {"max_steps below the model's", MODEL_TRM, -1, 0, NULL, {.max_steps = 2}, TRM_HALT_MAX_STEPS, 2},
    {"max_steps above the model's", MODEL_TRM, -1, 0, NULL, {.max_steps = 12}, TRM_HALT_MAX_STEPS, 12},
    {"no_halt", MODEL_TRM, 1, 0, "sudoku", {.no_halt = true, .verify = true}, TRM_HALT_MAX_STEPS, MAX_STEPS},
    {"verified", MODEL_TRM, -1, 0, "sudoku", {.verify = true}, TRM_HALT_VERIFIED, 1},
    {"verified after min_steps", MODEL_TRM, -1, 0, "sudoku", {.verify = true, .min_steps = 2}, TRM_HALT_VERIFIED, 2},
    {"no verifier: the head decides", MODEL_TRM, 1, 0, NULL, {.verify = true}, TRM_HALT_Q_HEAD, 1},
    {"a maze is not solved by digits", MODEL_TRM, -1, 0, "maze", {.verify = true}, TRM_HALT_MAX_STEPS, MAX_STEPS},
    {"restarts: max_steps counts all", MODEL_TRM, -1, 0, NULL, {.restart_steps = 2}, TRM_HALT_MAX_STEPS, MAX_STEPS},
    {"restarts: min_steps counts anew",
     MODEL_TRM,
     1,
     0,
     NULL,
     {.min_steps = 3, .restart_steps = 2},
     TRM_HALT_MAX_STEPS,
     MAX_STEPS},
};

static void run_halting(const struct halting *h, const int32_t *puzzle, enum trm_halt halt, int steps) {
    trm_model *model = knowing_model(h->arch, h->q_halt, h->q_continue, h->puzzle_name);
    trm_batch *batch = batch_of(model, 1);
    const struct trm_report *report = trm_batch_report(batch, admit(batch, puzzle, 0, &h->options));
    for (int i = 0; i < 16; i++) /* a slot that is done is not stepped again */
        step(batch);
    if (report->halt != halt || report->step != steps)
        fail_msg("%s: halt %d at step %d, not %d at %d", h->name, (int)report->halt, report->step, (int)halt, steps);
    trm_batch_destroy(batch);
    trm_model_unref(model);
}

static void slots_halt_when_the_rules_say_so(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof HALTINGS / sizeof *HALTINGS; i++)
        run_halting(&HALTINGS[i], PUZZLE, HALTINGS[i].halt, HALTINGS[i].steps);
}

/* However confident the head is. */
static void a_wrong_answer_is_never_verified(void **state) {
    (void)state;
    const struct halting verify = {"verify", MODEL_TRM, 9, 0, "sudoku", {.verify = true}, TRM_RUNNING, 0};
    int32_t other[CELLS];
    memcpy(other, PUZZLE, sizeof other);
    other[0] = 3; /* a clue that SOLUTION does not keep */
    run_halting(&verify, other, TRM_HALT_MAX_STEPS, MAX_STEPS);
    memcpy(other, PUZZLE, sizeof other);
    other[1] = 0; /* padding is no digit */
    run_halting(&verify, other, TRM_HALT_MAX_STEPS, MAX_STEPS);
    run_halting(&verify, PUZZLE, TRM_HALT_VERIFIED, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_are_taken_and_given_back_one_by_one),
        cmocka_unit_test(a_parked_puzzle_needs_no_slot_and_no_batch),
        cmocka_unit_test(a_parked_puzzle_does_not_go_on_with_another_model),
        cmocka_unit_test(a_new_slot_reports_its_puzzle_and_no_step),
        cmocka_unit_test(a_report_tells_answer_q_and_confidence),
        cmocka_unit_test(bad_puzzles_and_options_are_refused),
        cmocka_unit_test(identifiers_choose_rows_of_the_puzzle_embedding),
        cmocka_unit_test(noise_moves_the_latents_as_the_seed_says),
        cmocka_unit_test(a_restart_is_in_every_respect_another_slots_variation),
        cmocka_unit_test(the_first_variations_have_no_noise),
        cmocka_unit_test(guesses_are_seen_by_the_model_and_not_by_the_verifier),
        cmocka_unit_test(guesses_change_what_comes_after_the_first_try),
        cmocka_unit_test(images_are_solved_and_their_answers_mapped_back),
        cmocka_unit_test(images_that_a_puzzle_does_not_have_are_refused),
        cmocka_unit_test(slots_halt_when_the_rules_say_so),
        cmocka_unit_test(a_wrong_answer_is_never_verified),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
