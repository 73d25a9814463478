/* test_srv_vote.c - the puzzles of a task are its augmentations, and their answers come back as votes on one grid. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "server/vote.h"

#define MODEL "tests/fuzz/corpus/checkpoint/arc" /* tasks "a", with one test, and "b"; 4 identifiers each */
#define TASK                                                                                                           \
    "\"task\":{\"train\":[{\"input\":[[1,2]],\"output\":[[2],[1]]},{\"input\":[[3]],\"output\":[[4]]}],"               \
    "\"test\":[{\"input\":[[5,1,0],[2,2,9]]},{\"input\":[[7]]}]}"

static struct srv_models models;
static const struct proto_limits limits = {.max_steps = 9, .max_grids = 99, .max_rollouts = 9, .max_augment = 99};

static int open_models(void **state) {
    static char *const specs[] = {(char *)"arc=" MODEL};
    const struct trm_model_options precision = {.backend = TRM_BACKEND_REFERENCE, .dtype = TRM_DTYPE_F32};
    (void)state;
    return srv_models_open(specs, 1, &precision, &models, NULL);
}

static int close_models(void **state) {
    (void)state;
    srv_models_close(&models);
    return 0;
}

struct fixture {
    struct proto_request request;
    struct srv_vote *vote;
    struct srv_group *group;
};

static struct fixture open_fixture(const char *body) {
    struct fixture f;
    struct proto_problem problem;
    assert_true(proto_request_read(body, strlen(body), &limits, &f.request, &problem));
    f.vote = srv_vote_create(&models.items[0], NULL, &f.request, &problem);
    assert_non_null(f.vote);
    const struct srv_group_config config = {.model = &models.items[0],
                                            .options = {.max_steps = 2},
                                            .puzzles = f.vote->tests * f.vote->augment,
                                            .rollouts = 1};
    f.group = srv_group_create(&config);
    assert_non_null(f.group);
    srv_vote_fill(f.vote, &f.request.task, f.group);
    return f;
}

static void close_fixture(struct fixture *f) {
    srv_group_destroy(f->group);
    srv_vote_destroy(f->vote);
    proto_request_release(&f->request);
}

static const struct data_arc_augment *augment_at(const struct fixture *f, int puzzle) {
    return data_arc_index_augment(trm_model_tasks(models.items[0].engine), f->group->puzzles[puzzle].identifier);
}

/* Ends a puzzle with the answer `grid` as its augmentation sees it. */
static bool answer(struct fixture *f, int puzzle, const struct data_arc_grid *grid, enum srv_outcome outcome) {
    struct srv_track *track = &f->group->jobs[puzzle].seen;
    struct data_arc_grid image;
    uint8_t bytes[DATA_ARC_CELLS];
    int32_t tokens[DATA_ARC_CELLS];
    data_arc_apply(augment_at(f, puzzle), grid, &image);
    data_arc_tokens(&image, DATA_ARC_SIDE, 0, 0, bytes);
    for (int i = 0; i < DATA_ARC_CELLS; i++) {
        tokens[i] = bytes[i];
    }
    srv_track_add(f->group, track, tokens, 0.5f, 1);
    track->outcome = outcome;
    return srv_vote_count(f->vote, f->group, puzzle);
}

static const struct data_arc_grid right = {.rows = 2, .cols = 3, .cells = {1, 2, 3, 4, 5, 9}};
static const struct data_arc_grid wrong = {.rows = 1, .cols = 2, .cells = {8, 0}};

static void test_each_puzzle_is_a_test_in_an_augmentation_of_its_own(void **state) {
    struct fixture f = open_fixture("{" TASK ",\"options\":{\"augment\":4}}");
    (void)state;
    assert_string_equal(f.vote->known_by, "content");
    assert_string_equal(f.vote->entry->name, "a");
    assert_int_equal(f.group->config.puzzles, 8);
    for (int p = 0; p < 8; p++) {
        struct data_arc_grid image, back;
        assert_int_equal(f.group->puzzles[p].identifier, f.vote->entry->first + p / 2);
        data_arc_crop(f.group->puzzles[p].tokens, DATA_ARC_SIDE, &image);
        data_arc_undo(augment_at(&f, p), &image, &back);
        assert_true(data_arc_equal(&back, &f.request.task.pairs[2 + p % 2].input));
    }
    close_fixture(&f);
}

static void test_answers_are_brought_back_and_counted_until_one_has_won(void **state) {
    struct fixture f = open_fixture("{" TASK ",\"options\":{\"augment\":4}}");
    int choices;
    (void)state;
    assert_false(answer(&f, 0, &right, SRV_Q_HEAD));
    assert_false(answer(&f, 2, &wrong, SRV_MAX_STEPS));
    assert_false(answer(&f, 1, &wrong, SRV_Q_HEAD)); /* of the other test */
    assert_false(answer(&f, 4, &right, SRV_Q_HEAD));
    assert_false(f.vote->votes[0].decided); /* the last one may make it even */
    assert_false(answer(&f, 6, &right, SRV_Q_HEAD));
    assert_int_equal(f.vote->open, 1);
    assert_int_equal(f.vote->votes[0].voted, 4);
    const struct data_arc_choice *const *ranked = data_arc_poll_rank(f.vote->votes[0].poll, &choices);
    assert_int_equal(choices, 2);
    assert_int_equal(ranked[0]->votes, 3);
    assert_true(data_arc_equal(&ranked[0]->grid, &right));
    assert_true(data_arc_equal(&ranked[1]->grid, &wrong));
    assert_false(answer(&f, 3, &wrong, SRV_Q_HEAD));
    assert_true(answer(&f, 5, &wrong, SRV_Q_HEAD)); /* three of four agree */
    assert_int_equal(f.vote->open, 0);
    assert_false(answer(&f, 7, &right, SRV_Q_HEAD)); /* too late */
    assert_int_equal(f.vote->votes[1].voted, 3);
    close_fixture(&f);
}

static void test_what_did_not_end_by_itself_has_no_vote(void **state) {
    struct fixture f = open_fixture("{" TASK ",\"options\":{\"augment\":4}}");
    (void)state;
    assert_false(answer(&f, 0, &right, SRV_CANCELLED));
    assert_false(answer(&f, 2, &right, SRV_FAILED));
    assert_int_equal(f.vote->votes[0].voted, 0);
    assert_false(srv_vote_count(f.vote, f.group, 4)); /* no step yet */
    assert_false(answer(&f, 4, &right, SRV_Q_HEAD));  /* was counted already */
    assert_int_equal(f.vote->votes[0].voted, 0);
    assert_false(answer(&f, 6, &right, SRV_DEADLINE));
    assert_int_equal(f.vote->votes[0].voted, 1);
    assert_int_equal(f.vote->open, 1);
    close_fixture(&f);
}

static void test_with_no_halt_all_votes_are_waited_for(void **state) {
    struct fixture f = open_fixture("{" TASK ",\"options\":{\"augment\":4,\"no_halt\":true}}");
    (void)state;
    for (int p = 0; p < 8; p += 2) {
        assert_int_equal(f.vote->open, 2);
        assert_false(answer(&f, p, &right, SRV_MAX_STEPS));
    }
    assert_int_equal(f.vote->open, 1);
    assert_false(f.vote->votes[0].decided);
    close_fixture(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_puzzle_is_a_test_in_an_augmentation_of_its_own),
        cmocka_unit_test(test_answers_are_brought_back_and_counted_until_one_has_won),
        cmocka_unit_test(test_what_did_not_end_by_itself_has_no_vote),
        cmocka_unit_test(test_with_no_halt_all_votes_are_waited_for),
    };
    return cmocka_run_group_tests(tests, open_models, close_models);
}
