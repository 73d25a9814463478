/* test_srv_line.c - queue, puzzles and counters agree, whatever happens to a puzzle's rollouts. */
#include <uv.h>

#include "server/line.h"
#include "tests/unit/engine_fixture.h"

static const struct srv_model model = {.form = {.side = 2}};
static const int32_t answer[4] = {1, 2, 3, 4};

static struct srv_group *add(struct srv_line *line, int puzzles, int rollouts) {
    struct srv_group_config config = {
        .model = &model, .options = {.max_steps = 4}, .puzzles = puzzles, .rollouts = rollouts, .share = 2};
    struct srv_group *group = srv_group_create(&config);
    assert_non_null(group);
    srv_line_add(line, group);
    return group;
}

static void make_step(struct srv_line *line, struct srv_job *job, float q_halt) {
    struct trm_report report = {.answer = answer, .q_halt = q_halt};
    srv_line_step(line, job, &report);
}

static uint64_t count_of(const struct srv_histogram *histogram) {
    uint64_t sum = 0;
    for (int i = 0; i <= histogram->bound_count; i++) {
        sum += histogram->counts[i];
    }
    return sum;
}

/* Every puzzle has ended, once, and nothing waits or runs. */
static void assert_settled(const struct srv_line *line) {
    uint64_t ended = 0;
    for (int i = 0; i < SRV_OUTCOMES; i++) {
        ended += line->stats.outcomes[i];
    }
    assert_int_equal(ended, line->stats.accepted);
    assert_int_equal(line->stats.running, 0);
    assert_int_equal(line->queue.waiting, 0);
    assert_null(srv_line_take((struct srv_line *)line));
}

static void test_a_puzzle_counts_once_and_as_its_best_rollout(void **state) {
    struct srv_line line;
    (void)state;
    srv_line_init(&line);
    struct srv_group *group = add(&line, 1, 4);
    struct srv_job *a = srv_line_take(&line), *b = srv_line_take(&line), *c = srv_line_take(&line);
    assert_int_equal(line.stats.running, 3);
    make_step(&line, a, 5);
    make_step(&line, a, 5);
    make_step(&line, b, -1);
    srv_line_end(&line, a, SRV_Q_HEAD);
    srv_line_end(&line, b, SRV_VERIFIED);
    assert_true(srv_line_is_needless(c));
    assert_int_equal(line.stats.outcomes[SRV_VERIFIED], 0); /* two are not over */
    srv_line_end(&line, c, SRV_CANCELLED);
    srv_line_end(&line, &group->jobs[3], SRV_CANCELLED); /* never had a slot */
    assert_int_equal(line.stats.outcomes[SRV_VERIFIED], 1);
    assert_int_equal(line.stats.rollouts, 3);
    assert_int_equal(line.stats.steps, 3);
    assert_int_equal(line.stats.unstarted, 0);
    assert_int_equal(count_of(&line.stats.wait), 1);
    assert_int_equal(count_of(&line.stats.first_step), 1);
    assert_int_equal(count_of(&line.stats.solving), 1);
    assert_true(line.stats.solving.sum == 1);
    assert_settled(&line);
    srv_group_destroy(group);
}

static void test_puzzles_of_a_group_are_independent(void **state) {
    struct srv_line line;
    (void)state;
    srv_line_init(&line);
    struct srv_group *group = add(&line, 2, 1);
    struct srv_job *a = srv_line_take(&line), *b = srv_line_take(&line);
    srv_line_end(&line, a, SRV_VERIFIED);
    assert_false(srv_line_is_needless(b));
    make_step(&line, b, 0);
    srv_line_end(&line, b, SRV_MAX_STEPS);
    assert_int_equal(line.stats.outcomes[SRV_VERIFIED], 1);
    assert_int_equal(line.stats.outcomes[SRV_MAX_STEPS], 1);
    assert_settled(&line);
    srv_group_destroy(group);
}

static void test_what_a_group_was_given_up_for_wins(void **state) {
    struct srv_line line;
    (void)state;
    srv_line_init(&line);
    struct srv_group *group = add(&line, 2, 1);
    struct srv_job *a = srv_line_take(&line);
    group->end = SRV_DEADLINE;
    assert_true(srv_line_is_needless(a));
    srv_line_end(&line, a, SRV_VERIFIED); /* in the step during which its time was over */
    srv_line_end(&line, &group->jobs[1], SRV_DEADLINE);
    assert_int_equal(line.stats.outcomes[SRV_DEADLINE], 2);
    assert_int_equal(line.stats.unstarted, 1);
    assert_settled(&line);
    srv_group_destroy(group);
}

static void test_a_round_counts_its_part_of_the_slots(void **state) {
    struct srv_line line;
    (void)state;
    srv_line_init(&line);
    srv_line_count_round(&line, 16, 16, 0.5);
    srv_line_count_round(&line, 4, 16, 0.25);
    assert_int_equal(line.stats.rounds, 2);
    assert_true(line.stats.busy_seconds == 0.75);
    assert_true(line.stats.occupancy.sum == 1.25);
    assert_int_equal(line.stats.occupancy.counts[line.stats.occupancy.bound_count - 1], 1);
    assert_int_equal(count_of(&line.stats.occupancy), 2);
}

static void test_a_histogram_counts_a_value_at_its_bound_below_it(void **state) {
    struct srv_model_stats stats;
    (void)state;
    srv_model_stats_init(&stats);
    struct srv_histogram *histogram = &stats.solving;
    for (int i = 0; i < histogram->bound_count; i++) {
        srv_histogram_add(histogram, histogram->bounds[i]);
        assert_int_equal(histogram->counts[i], 1);
    }
    srv_histogram_add(histogram, 1e9);
    assert_int_equal(histogram->counts[histogram->bound_count], 1);
}

/* Leaves a slot of `batch` after its share of steps. */
static void give_way(struct srv_line *line, struct srv_job *job, trm_batch *batch) {
    trm_parked *parked = NULL;
    assert_int_equal(trm_batch_park(batch, admit(batch, PUZZLE, 0, &DEFAULTS), &parked, NULL), TRM_OK);
    srv_line_yield(line, job, parked);
}

static void test_a_job_that_gives_way_waits_with_what_it_has_come_to(void **state) {
    struct srv_line line;
    trm_model *engine = knowing_model(MODEL_TRM, -1, 0, NULL);
    trm_batch *batch = batch_of(engine, 1);
    (void)state;
    srv_line_init(&line);
    struct srv_group *group = add(&line, 1, 1);
    struct srv_job *job = srv_line_take(&line);
    make_step(&line, job, 0);
    assert_false(srv_line_has_had_share(job));
    make_step(&line, job, 0);
    assert_true(srv_line_has_had_share(job));
    give_way(&line, job, batch);
    assert_int_equal(line.stats.running, 0);
    assert_int_equal(line.queue.waiting, 1);
    assert_int_equal(line.stats.parked, 1);
    assert_int_equal(line.parked_bytes, trm_slot_bytes(engine));
    uint64_t waited_ns = uv_hrtime() - job->parked_ns, started_ns = job->shared.started_ns;
    assert_ptr_equal(srv_line_take(&line), job);
    assert_true(job->shared.started_ns >= started_ns + waited_ns); /* no time of computing */
    assert_non_null(job->parked);
    assert_int_equal(line.stats.parked, 0);
    assert_int_equal(line.parked_bytes, 0);
    assert_false(srv_line_has_had_share(job)); /* a new one begins */
    assert_int_equal(line.stats.rollouts, 1);
    assert_int_equal(line.stats.yields, 1);
    srv_line_end(&line, job, SRV_FAILED); /* never got back into a slot */
    assert_null(job->parked);
    assert_settled(&line);
    srv_group_destroy(group);
    trm_batch_destroy(batch);
    trm_model_unref(engine);
}

static void test_a_parked_job_that_is_given_up_frees_its_memory(void **state) {
    struct srv_line line;
    trm_model *engine = knowing_model(MODEL_TRM, -1, 0, NULL);
    trm_batch *batch = batch_of(engine, 1);
    (void)state;
    srv_line_init(&line);
    struct srv_group *group = add(&line, 2, 1);
    struct srv_job *a = srv_line_take(&line), *b = srv_line_take(&line);
    give_way(&line, a, batch);
    give_way(&line, b, batch);
    group->end = SRV_CANCELLED;
    srv_line_end(&line, a, SRV_CANCELLED);
    assert_int_equal(line.parked_bytes, trm_slot_bytes(engine));
    srv_line_end(&line, b, SRV_CANCELLED);
    assert_int_equal(line.parked_bytes, 0);
    assert_int_equal(line.stats.parked, 0);
    assert_int_equal(line.stats.unstarted, 0);
    assert_settled(&line);
    srv_group_destroy(group);
    trm_batch_destroy(batch);
    trm_model_unref(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_puzzle_counts_once_and_as_its_best_rollout),
        cmocka_unit_test(test_puzzles_of_a_group_are_independent),
        cmocka_unit_test(test_what_a_group_was_given_up_for_wins),
        cmocka_unit_test(test_a_job_that_gives_way_waits_with_what_it_has_come_to),
        cmocka_unit_test(test_a_parked_job_that_is_given_up_frees_its_memory),
        cmocka_unit_test(test_a_round_counts_its_part_of_the_slots),
        cmocka_unit_test(test_a_histogram_counts_a_value_at_its_bound_below_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
