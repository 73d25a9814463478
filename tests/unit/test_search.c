/* test_search.c - guesses: which cell, which digits, in which order. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "engine/search.h"

enum { CELLS = 16, VOCAB = 6, MOST = 8, STATE = 2 };

/* A Sudoku of 4x4; tokens are the digits plus one. */
static const int32_t PUZZLE[CELLS] = {3, 2, 1, 1, /**/ 1, 1, 1, 1, /**/ 1, 1, 1, 1, /**/ 1, 1, 1, 1};

static const int32_t SOLUTION[CELLS] = {3, 2, 4, 5, /**/ 4, 5, 2, 3, /**/ 2, 3, 5, 4, /**/ 5, 4, 3, 2};

struct fixture {
    struct search search;
    struct search_node nodes[SEARCH_NODES];
    op_bf16 kept[SEARCH_KEPT * STATE];
    float state[STATE];
    int32_t tokens[CELLS];
    float logits[CELLS * VOCAB];
    struct search_view view;
};

/* A model that is sure of each cell. */
static void setup(struct fixture *f) {
    memset(f, 0, sizeof *f);
    f->search = (struct search){.nodes = f->nodes, .kept = f->kept, .state_size = STATE};
    f->view = (struct search_view){TRM_PUZZLE_SUDOKU, CELLS, VOCAB, f->tokens, f->logits};
    memcpy(f->tokens, PUZZLE, sizeof PUZZLE);
    for (int i = 0; i < CELLS * VOCAB; i++)
        f->logits[i] = -999.0f; /* a weight of 0.001 */
    for (int cell = 0; cell < CELLS; cell++)
        f->logits[cell * VOCAB + SOLUTION[cell]] = 999.0f;
    trm_search_begin(&f->search);
}

/* From now on the model gives `token` of a cell this weight; 1000 is what it is sure of. */
static void say(struct fixture *f, int cell, int token, float weight) {
    f->logits[cell * VOCAB + token] = weight - 1.0f;
}

/* Goes to the next node and makes f->tokens the puzzle with its guesses. */
static enum search_step next(struct fixture *f) {
    const enum search_step way = trm_search_next(&f->search, f->state);
    memcpy(f->tokens, PUZZLE, sizeof PUZZLE);
    trm_search_apply(&f->search, f->tokens);
    return way;
}

static void the_cell_whose_second_digit_is_likeliest_is_guessed(void **state) {
    (void)state;
    struct fixture f;
    setup(&f);
    say(&f, 6, 5, 200);
    say(&f, 9, 5, 300);
    say(&f, 12, 4, 100);
    trm_search_branch(&f.search, &f.view, MOST);
    assert_int_equal(next(&f), SEARCH_ONWARD);
    assert_int_equal(f.tokens[9], 3); /* of 3 and 5 the likelier first */
    assert_int_equal(next(&f), SEARCH_ANEW);
    assert_int_equal(f.tokens[9], 5);
    assert_int_equal(f.tokens[6], 1);
    assert_int_equal(next(&f), SEARCH_OVER);
}

static void digits_that_break_a_rule_are_not_guessed(void **state) {
    (void)state;
    struct fixture f;
    setup(&f);
    for (int token = 0; token < VOCAB; token++) /* 0 and 1 are no digits, 2 and 3 stand in its row */
        say(&f, 2, token, 500);
    trm_search_branch(&f.search, &f.view, MOST);
    int seen[VOCAB] = {0};
    while (next(&f) != SEARCH_OVER)
        seen[f.tokens[2]]++;
    const int wanted[VOCAB] = {0, 0, 0, 0, 1, 1};
    assert_memory_equal(seen, wanted, sizeof seen);
}

static void the_most_probable_guesses_come_first_wherever_they_stand_in_the_tree(void **state) {
    (void)state;
    struct fixture f;
    setup(&f);
    say(&f, 9, 5, 900); /* 3: 10 / 19, 5: 9 / 19 */
    trm_search_branch(&f.search, &f.view, MOST);
    assert_true(next(&f) != SEARCH_OVER);
    assert_int_equal(f.tokens[9], 3);
    say(&f, 9, 5, 0.001f); /* it is given now */
    say(&f, 14, 5, 600);   /* both are less probable than 9 / 19, together with the first guess */
    trm_search_branch(&f.search, &f.view, MOST);
    assert_int_equal(next(&f), SEARCH_ANEW);
    assert_int_equal(f.tokens[9], 5);
    assert_int_equal(f.tokens[14], 1);
    assert_true(next(&f) != SEARCH_OVER);
    assert_int_equal(f.tokens[9], 3); /* both guesses of the path */
    assert_int_equal(f.tokens[14], 3);
    assert_float_equal(f.nodes[f.search.current].logp, log(10.0 / 19.0 * 10.0 / 16.0), 1e-4);
}

static void a_node_branches_once_and_no_deeper_than_asked_for(void **state) {
    (void)state;
    struct fixture f;
    setup(&f);
    say(&f, 9, 5, 900);
    trm_search_branch(&f.search, &f.view, 1);
    const int count = f.search.count;
    trm_search_branch(&f.search, &f.view, 1);
    assert_int_equal(f.search.count, count);
    assert_true(next(&f) != SEARCH_OVER);
    trm_search_branch(&f.search, &f.view, 1);
    assert_int_equal(f.search.count, count);
    assert_int_equal(f.nodes[f.search.current].depth, 1);
}

/* An empty Sudoku of 6x6, every digit of every cell alike: more nodes than there is room for. */
static void a_full_memory_ends_the_branching_not_the_search(void **state) {
    (void)state;
    struct fixture f;
    int32_t tokens[36];
    float logits[36 * 8] = {0};
    const struct search_view view = {TRM_PUZZLE_SUDOKU, 36, 8, tokens, logits};
    setup(&f);
    int tried = 0, deepest = 0;
    do {
        for (int cell = 0; cell < 36; cell++)
            tokens[cell] = 1;
        trm_search_apply(&f.search, tokens);
        trm_search_branch(&f.search, &view, 36);
        assert_in_range(f.search.count, 1, SEARCH_NODES);
        deepest = f.nodes[f.search.current].depth > deepest ? f.nodes[f.search.current].depth : deepest;
        tried++;
    } while (trm_search_next(&f.search, f.state) != SEARCH_OVER);
    assert_int_equal(tried, SEARCH_NODES); /* each once */
    assert_true(deepest > 3);
}

/* Each node leaves latents of its own number. */
static void latents_go_on_from_the_parent_while_they_are_kept(void **state) {
    (void)state;
    struct fixture f;
    int onward = 0, anew = 0;
    setup(&f);
    for (int i = 0; i < CELLS * VOCAB; i++)
        f.logits[i] = 1.0f;
    for (int i = 0; i < 100; i++) {
        const int before = f.search.current;
        f.state[0] = f.state[1] = (float)before;
        trm_search_branch(&f.search, &f.view, MOST);
        trm_search_keep(&f.search, f.state);
        const enum search_step way = next(&f);
        const int parent = f.nodes[f.search.current].parent;
        onward += way == SEARCH_ONWARD && parent != before;
        anew += way == SEARCH_ANEW;
        assert_true(way != SEARCH_OVER);
        if (way == SEARCH_ONWARD)
            assert_true(f.state[0] == (float)parent && f.state[1] == (float)parent);
    }
    assert_true(onward > SEARCH_KEPT && anew > 0);
}

static void the_least_promising_latents_make_room(void **state) {
    (void)state;
    struct fixture f;
    setup(&f);
    say(&f, 9, 5, 100);
    trm_search_branch(&f.search, &f.view, MOST);
    trm_search_keep(&f.search, f.state);
    for (int place = 1; place < SEARCH_KEPT; place++)
        f.search.kept_of[place] = 0; /* full of the root's */
    assert_int_equal(next(&f), SEARCH_ONWARD);
    trm_search_keep(&f.search, f.state);
    assert_int_equal(f.search.kept_of[0], 0); /* it has no children: nothing to keep */
    say(&f, 14, 5, 10);                       /* two children, the likelier worth more than the root's */
    trm_search_branch(&f.search, &f.view, MOST);
    trm_search_keep(&f.search, f.state);
    assert_int_equal(f.search.kept_of[0], f.search.current);
}

static void puzzles_without_rules_are_not_guessed(void **state) {
    (void)state;
    struct fixture f;
    setup(&f);
    f.view.puzzle = TRM_PUZZLE_OTHER;
    trm_search_branch(&f.search, &f.view, MOST);
    assert_int_equal(next(&f), SEARCH_OVER);
}

/* Which of two digits, one twice as likely as the other, comes first. */
static int first_of_draw(uint64_t seed) {
    struct fixture f;
    setup(&f);
    say(&f, 9, 5, 500);
    trm_search_branch_at_random(&f.search, &f.view, MOST, seed);
    assert_true(next(&f) != SEARCH_OVER);
    return f.tokens[9];
}

static void random_orders_repeat_with_the_seed_and_prefer_what_is_likely(void **state) {
    (void)state;
    int likely = 0;
    for (uint64_t seed = 0; seed < 300; seed++) {
        const int first = first_of_draw(seed);
        assert_int_equal(first_of_draw(seed), first);
        assert_true(first == 5 || first == 3);
        likely += first == 3;
    }
    assert_in_range(likely, 165, 235); /* 200 expected; a standard deviation is 8 */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cell_whose_second_digit_is_likeliest_is_guessed),
        cmocka_unit_test(digits_that_break_a_rule_are_not_guessed),
        cmocka_unit_test(the_most_probable_guesses_come_first_wherever_they_stand_in_the_tree),
        cmocka_unit_test(a_node_branches_once_and_no_deeper_than_asked_for),
        cmocka_unit_test(a_full_memory_ends_the_branching_not_the_search),
        cmocka_unit_test(latents_go_on_from_the_parent_while_they_are_kept),
        cmocka_unit_test(the_least_promising_latents_make_room),
        cmocka_unit_test(puzzles_without_rules_are_not_guessed),
        cmocka_unit_test(random_orders_repeat_with_the_seed_and_prefer_what_is_likely),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
