/* test_engine_promises.c - same puzzle, same bits: nobody's values depend on which slot it has, who else is there, who
 * was there before or which thread steps the batch. At every type that a model can compute in. */
#include <pthread.h>

#include "tests/unit/engine_fixture.h"

enum { CROWD = 64, MAX_CELLS = 81 };

struct values {
    uint32_t floats[3]; /* the bits of q_halt, q_continue, confidence */
    int32_t answer[MAX_CELLS];
};

/* A puzzle, how it is to be solved, and what it does alone in a batch of one slot. */
struct subject {
    trm_model *model;
    int32_t puzzle[MAX_CELLS];
    int identifier, steps;
    struct trm_solve_options options;
    struct values alone[MAX_STEPS]; /* [steps] */
};

static struct values values_of(const struct subject *s, const struct trm_report *report) {
    const float floats[3] = {report->q_halt, report->q_continue, report->confidence};
    struct values v = {0};
    memcpy(v.floats, floats, sizeof v.floats);
    memcpy(v.answer, report->answer, (size_t)trm_model_info(s->model)->seq_len * sizeof *v.answer);
    return v;
}

static void random_puzzle(const struct subject *s, struct data_rng *rng, int32_t *tokens) {
    const struct trm_model_info *info = trm_model_info(s->model);
    for (int i = 0; i < info->seq_len; i++)
        tokens[i] = data_rng_below(rng, info->vocab_size);
}

static int admit_other(const struct subject *s, struct data_rng *rng, trm_batch *batch) {
    int32_t other[MAX_CELLS];
    random_puzzle(s, rng, other);
    return admit(batch, other, data_rng_below(rng, trm_model_info(s->model)->num_puzzle_identifiers), &s->options);
}

static int admit_ours(const struct subject *s, trm_batch *batch) {
    return admit(batch, s->puzzle, s->identifier, &s->options);
}

static void check_step(const struct subject *s, int step, const struct values *here, const char *where) {
    if (memcmp(here, &s->alone[step], sizeof *here) != 0)
        fail_msg("%s, step %d %s: q_halt has the bits %08x, alone %08x",
                 trm_dtype_name(trm_model_info(s->model)->dtype), step + 1, where, here->floats[0],
                 s->alone[step].floats[0]);
}

static void watch_alone(struct subject *s) {
    trm_batch *batch = batch_of(s->model, 1);
    const int slot = admit_ours(s, batch);
    for (int n = 0; n < s->steps; n++) {
        step(batch);
        s->alone[n] = values_of(s, trm_batch_report(batch, slot));
        assert_true(isfinite(trm_batch_report(batch, slot)->q_halt));
        assert_true(s->alone[n].floats[0] != (n > 0 ? s->alone[n - 1].floats[0] : 0));
    }
    trm_batch_destroy(batch);
}

/* ---- what is promised ---- */

/* Ours in slot `place` of a full batch whose other puzzles come and go between steps. */
static void check_crowd(const struct subject *s, int crowd, int place) {
    trm_batch *batch = batch_of(s->model, crowd);
    struct data_rng rng;
    data_rng_seed(&rng, (uint64_t)place);
    for (int i = 0; i < crowd; i++)
        assert_int_equal(i == place ? admit_ours(s, batch) : admit_other(s, &rng, batch), i);
    for (int n = 0; n < s->steps; n++) {
        step(batch);
        const struct values here = values_of(s, trm_batch_report(batch, place));
        check_step(s, n, &here, "in a crowd");
        for (int i = 0; i < crowd; i++)
            if (i != place && data_rng_below(&rng, 3) == 0) {
                trm_batch_release(batch, i);
                assert_int_equal(admit_other(s, &rng, batch), i);
            }
    }
    trm_batch_destroy(batch);
}

/* `others` puzzles are admitted, each stepped once, before ours comes. */
static void check_late(const struct subject *s, int others) {
    enum { SLOTS = 4, PLACE = 2 };
    trm_batch *batch = batch_of(s->model, SLOTS);
    struct data_rng rng;
    data_rng_seed(&rng, 1);
    for (int i = 0; i < others; i++) {
        if (trm_batch_busy(batch) == SLOTS) {
            step(batch);
            for (int slot = 0; slot < SLOTS; slot++)
                trm_batch_release(batch, slot);
        }
        admit_other(s, &rng, batch);
    }
    while (trm_batch_busy(batch) < SLOTS)
        admit_other(s, &rng, batch);
    trm_batch_release(batch, PLACE);
    assert_int_equal(admit_ours(s, batch), PLACE);
    for (int n = 0; n < s->steps; n++) {
        step(batch);
        const struct values here = values_of(s, trm_batch_report(batch, PLACE));
        check_step(s, n, &here, "after many others");
    }
    trm_batch_destroy(batch);
}

/* Ours leaves its slot after every step and comes back after a while, by turns to another batch, into a slot in which
 * somebody else was. */
static void check_parked(const struct subject *s) {
    enum { SLOTS = 3 };
    trm_batch *batches[2] = {batch_of(s->model, SLOTS), batch_of(s->model, SLOTS)};
    struct data_rng rng;
    data_rng_seed(&rng, 2);
    for (int i = 0; i < SLOTS; i++)
        admit_other(s, &rng, batches[1]);
    int slot = admit_ours(s, batches[0]);
    for (int n = 0; n < s->steps; n++) {
        trm_batch *here = batches[n % 2], *there = batches[1 - n % 2];
        trm_parked *parked = NULL;
        step(here);
        const struct values values = values_of(s, trm_batch_report(here, slot));
        check_step(s, n, &values, "after parking");
        assert_int_equal(trm_batch_park(here, slot, &parked, NULL), TRM_OK);
        admit_other(s, &rng, here); /* takes its place */
        step(here);
        trm_batch_release(there, n % SLOTS);
        assert_int_equal(trm_batch_resume(there, parked, &slot, NULL), TRM_OK);
        const struct values back = values_of(s, trm_batch_report(there, slot));
        check_step(s, n, &back, "back in a slot");
    }
    trm_batch_destroy(batches[0]);
    trm_batch_destroy(batches[1]);
}

/* What a thread does with a batch of its own; it cannot fail the test itself. */
struct errand {
    const struct subject *subject;
    int slots;
    trm_status status;
    trm_error err;
    struct values seen[MAX_STEPS];
};

static void *run_errand(void *arg) {
    struct errand *errand = arg;
    const struct subject *s = errand->subject;
    trm_batch *batch = NULL;
    int slot = -1;
    errand->status = trm_batch_create(s->model, errand->slots, &batch, &errand->err);
    for (int i = 0; i < errand->slots && errand->status == TRM_OK; i++) /* the last one is watched */
        errand->status = trm_batch_admit(batch, s->puzzle, i == errand->slots - 1 ? s->identifier : 0, &s->options,
                                         &slot, &errand->err);
    for (int n = 0; n < s->steps && errand->status == TRM_OK; n++) {
        errand->status = trm_batch_step(batch, &errand->err);
        if (errand->status == TRM_OK)
            errand->seen[n] = values_of(s, trm_batch_report(batch, slot));
    }
    trm_batch_destroy(batch);
    return NULL;
}

/* Threads at work at the same time, each on its own batch of the one model. */
static void check_threads(const struct subject *s) {
    enum { THREADS = 3 };
    struct errand errands[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        errands[i] = (struct errand){.subject = s, .slots = 1 + 2 * i};
        assert_int_equal(pthread_create(&threads[i], NULL, run_errand, &errands[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < THREADS; i++) {
        if (errands[i].status != TRM_OK)
            fail_msg("%s", errands[i].err.text);
        for (int n = 0; n < s->steps; n++)
            check_step(s, n, &errands[i].seen[n], "in another thread");
    }
}

/* ---- of which models ---- */

/* Small models of random weights: both mixers, with noise and without. */
static void with_small_models(const struct trm_model_options *options, void (*check)(const struct subject *s)) {
    for (int kind = 0; kind < 4; kind++) {
        struct subject s = {.model = random_model(kind & 1, options),
                            .identifier = 2,
                            .steps = MAX_STEPS,
                            .options = {.no_halt = true, .variation = 1, .noise = kind & 2 ? 0.5f : 0.0f, .seed = 9}};
        if (!s.model)
            return;
        assert_int_equal(trm_model_info(s.model)->dtype, options->dtype);
        memcpy(s.puzzle, PUZZLE, sizeof PUZZLE);
        watch_alone(&s);
        check(&s);
        trm_model_unref(s.model);
    }
}

static void at_every_dtype(void (*check)(const struct subject *s)) {
    for (enum trm_dtype dtype = TRM_DTYPE_F32; trm_dtype_name(dtype); dtype++)
        with_small_models(&(struct trm_model_options){.dtype = dtype}, check);
}

static void in_any_slot(const struct subject *s) {
    check_crowd(s, CROWD, 17);
    check_crowd(s, CROWD, 0);
    check_crowd(s, CROWD, CROWD - 1);
}

static void in_one_slot(const struct subject *s) {
    check_crowd(s, CROWD, 17);
}

static void after_10000(const struct subject *s) {
    if (s->options.noise == 0)
        check_late(s, 10000);
}

static void a_puzzle_has_the_same_bits_alone_and_among_63_others_in_any_slot(void **state) {
    (void)state;
    at_every_dtype(in_any_slot);
    with_small_models(&REFERENCE, in_one_slot);
}

static void a_puzzle_has_the_same_bits_in_whichever_thread(void **state) {
    (void)state;
    at_every_dtype(check_threads);
    with_small_models(&REFERENCE, check_threads);
}

static void a_puzzle_has_the_same_bits_when_it_is_parked_between_steps(void **state) {
    (void)state;
    at_every_dtype(check_parked);
    with_small_models(&REFERENCE, check_parked);
}

static void a_puzzle_has_the_same_bits_after_10000_others(void **state) {
    (void)state;
    at_every_dtype(after_10000);
}

static void the_bundled_model_keeps_all_of_this(void **state) {
    (void)state;
    for (enum trm_dtype dtype = TRM_DTYPE_F32; trm_dtype_name(dtype); dtype++) {
        struct data_rng rng;
        struct subject s = {.model = open_model(BUNDLED, &(struct trm_model_options){.dtype = dtype}),
                            .steps = 3,
                            .options = {.no_halt = true}};
        if (!s.model)
            continue;
        assert_in_range(trm_model_info(s.model)->seq_len, 1, MAX_CELLS);
        data_rng_seed(&rng, 7);
        random_puzzle(&s, &rng, s.puzzle);
        watch_alone(&s);
        check_crowd(&s, 8, 5);
        check_parked(&s);
        check_threads(&s);
        check_late(&s, 50);
        trm_model_unref(s.model);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_puzzle_has_the_same_bits_alone_and_among_63_others_in_any_slot),
        cmocka_unit_test(a_puzzle_has_the_same_bits_in_whichever_thread),
        cmocka_unit_test(a_puzzle_has_the_same_bits_when_it_is_parked_between_steps),
        cmocka_unit_test(a_puzzle_has_the_same_bits_after_10000_others),
        cmocka_unit_test(the_bundled_model_keeps_all_of_this),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
