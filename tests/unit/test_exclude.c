/* test_exclude.c - canonical forms, and that no test puzzle stays in training data in any disguise. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/data/exclude.h"
#include "engine/data/generate.h"
#include "engine/data/sudoku.h"

static const int SIZES[] = {4, 6, 9};

enum { MAX_FORMS = 64 };

/* Different canonical forms met so far. */
struct forms {
    uint8_t form[MAX_FORMS][SUDOKU_MAX_CELLS];
    int count;
};

static void add_form(struct forms *forms, int size, const uint8_t *grid) {
    uint8_t form[SUDOKU_MAX_CELLS];
    int at = 0;
    data_sudoku_canonical(size, grid, form);
    while (at < forms->count && memcmp(forms->form[at], form, (size_t)size * (size_t)size) != 0)
        at++;
    if (at < forms->count)
        return;
    assert_true(forms->count < MAX_FORMS);
    memcpy(forms->form[forms->count++], form, sizeof form);
}

/* Fills cells `at` .. 15 in every way that obeys the rules. */
static void visit_grids(uint8_t *grid, int at, struct forms *forms, int *grids) {
    int a, b;
    if (at == 16) {
        add_form(forms, 4, grid);
        ++*grids;
        return;
    }
    for (uint8_t digit = 1; digit <= 4; digit++) {
        grid[at] = digit;
        if (data_sudoku_consistent(4, grid, &a, &b))
            visit_grids(grid, at + 1, forms, grids);
    }
    grid[at] = 0;
}

static void the_288_grids_of_size_4_have_two_forms(void **state) {
    (void)state;
    struct forms forms = {.count = 0};
    uint8_t grid[16] = {0};
    int grids = 0;
    visit_grids(grid, 0, &forms, &grids);
    assert_int_equal(grids, 288);
    assert_int_equal(forms.count, 2);
}

/* There are 49 essentially different ones; some have too few grids to be met by chance. */
static void grids_of_size_6_have_at_most_49_forms(void **state) {
    (void)state;
    struct forms forms = {.count = 0};
    struct data_rng rng;
    data_rng_seed(&rng, 1);
    for (int i = 0; i < 4000; i++) {
        uint8_t grid[36];
        data_sudoku_fill(6, &rng, grid);
        add_form(&forms, 6, grid);
    }
    assert_in_range(forms.count, 40, 49);
}

static void all_images_of_a_puzzle_have_its_form(void **state) {
    (void)state;
    struct data_rng rng;
    data_rng_seed(&rng, 2);
    for (int s = 0; s < 3; s++) {
        const int size = SIZES[s];
        const size_t cells = (size_t)size * (size_t)size;
        for (int k = 0; k < 20; k++) {
            uint8_t puzzle[SUDOKU_MAX_CELLS], answer[SUDOKU_MAX_CELLS], form[SUDOKU_MAX_CELLS];
            int rating;
            assert_true(data_sudoku_generate(size, SUDOKU_MEDIUM, &rng, puzzle, answer, &rating));
            data_sudoku_canonical(size, puzzle, form);
            for (int i = 0; i < 20; i++) {
                uint8_t puzzle_image[SUDOKU_MAX_CELLS], answer_image[SUDOKU_MAX_CELLS], other[SUDOKU_MAX_CELLS];
                data_sudoku_shuffle(size, &rng, puzzle, answer, puzzle_image, answer_image);
                data_sudoku_canonical(size, puzzle_image, other);
                assert_memory_equal(other, form, cells);
            }
        }
    }
}

static void a_form_is_a_puzzle_with_as_many_clues_and_its_own_form(void **state) {
    (void)state;
    struct data_rng rng;
    data_rng_seed(&rng, 3);
    for (int s = 0; s < 3; s++) {
        const int size = SIZES[s];
        uint8_t puzzle[SUDOKU_MAX_CELLS], answer[SUDOKU_MAX_CELLS], form[SUDOKU_MAX_CELLS], again[SUDOKU_MAX_CELLS];
        int rating, clues = 0;
        assert_true(data_sudoku_generate(size, SUDOKU_EASY, &rng, puzzle, answer, &rating));
        data_sudoku_canonical(size, puzzle, form);
        assert_int_equal(data_sudoku_solve(size, form, 2, NULL, NULL), 1);
        for (int i = 0; i < size * size; i++)
            clues += (puzzle[i] > 0) - (form[i] > 0);
        assert_int_equal(clues, 0);
        data_sudoku_canonical(size, form, again);
        assert_memory_equal(again, form, (size_t)(size * size));
    }
}

/* With another digit in one place it is another puzzle. */
static void near_misses_have_other_forms(void **state) {
    (void)state;
    struct data_rng rng;
    uint8_t puzzle[81], answer[81], form[81], other[81];
    int rating;
    data_rng_seed(&rng, 4);
    assert_true(data_sudoku_generate(9, SUDOKU_MEDIUM, &rng, puzzle, answer, &rating));
    data_sudoku_canonical(9, puzzle, form);
    for (int i = 0; i < 81; i++) {
        const uint8_t kept = puzzle[i];
        if (kept == 0)
            continue;
        puzzle[i] = (uint8_t)(kept % 9 + 1);
        data_sudoku_canonical(9, puzzle, other);
        assert_memory_not_equal(other, form, 81);
        puzzle[i] = kept;
    }
}

static void blank_and_nearly_blank_grids_have_forms(void **state) {
    (void)state;
    for (int s = 0; s < 3; s++) {
        uint8_t grid[SUDOKU_MAX_CELLS] = {0}, form[SUDOKU_MAX_CELLS], wanted[SUDOKU_MAX_CELLS] = {0};
        const int cells = SIZES[s] * SIZES[s];
        data_sudoku_canonical(SIZES[s], grid, form);
        assert_memory_equal(form, wanted, (size_t)cells);
        grid[1] = 3;
        data_sudoku_canonical(SIZES[s], grid, form);
        wanted[cells - 1] = 1;
        assert_memory_equal(form, wanted, (size_t)cells);
    }
}

static struct data_set *generate(int size, size_t count, uint64_t seed) {
    const struct data_generate_options options = {
        .size = size, .count = count, .mixed = true, .seed = seed, .threads = 1};
    struct data_set *set;
    assert_int_equal(data_generate(&options, &set, NULL), TRM_OK);
    return set;
}

/* A training set with images of a test set's puzzles loses exactly those. */
static void images_of_test_puzzles_are_dropped_and_nothing_else(void **state) {
    (void)state;
    struct data_set *test = generate(9, 40, 1), *other_test = generate(9, 8, 2), *train = generate(9, 100, 3);
    const struct data_set *const tests[] = {test, other_test};
    struct data_rng rng;
    trm_error err = {""};
    uint8_t first[81];
    size_t dropped;
    data_rng_seed(&rng, 5);
    for (size_t row = 0; row < 48; row++) { /* into the rows 1, 3, 5 ... */
        const struct data_set *from = row < 40 ? test : other_test;
        const size_t at = (row < 40 ? row : row - 40) * 81, to = (2 * row + 1) * 81;
        uint8_t puzzle[81], answer[81], puzzle_image[81], answer_image[81];
        data_sudoku_grid(81, from->inputs + at, puzzle);
        data_sudoku_grid(81, from->labels + at, answer);
        data_sudoku_shuffle(9, &rng, puzzle, answer, puzzle_image, answer_image);
        data_sudoku_tokens(81, puzzle_image, train->inputs + to);
        data_sudoku_tokens(81, answer_image, train->labels + to);
    }
    memcpy(first, train->inputs + 2 * 81, 81);
    if (data_exclude(train, tests, 2, &dropped, &err) != TRM_OK)
        fail_msg("%s", err.text);
    assert_int_equal(dropped, 48);
    assert_int_equal(train->count, 52);
    assert_memory_equal(train->inputs + 81, first, 81);
    assert_int_equal(data_exclude(train, tests, 2, &dropped, &err), TRM_OK);
    assert_int_equal(dropped, 0);
    assert_int_equal(train->count, 52);
    data_set_destroy(train);
    data_set_destroy(other_test);
    data_set_destroy(test);
}

static void groups_lose_their_rows_and_vanish_when_empty(void **state) {
    (void)state;
    struct data_set *set = generate(9, 4, 1), *grouped;
    struct data_rng rng;
    bool keep[12];
    data_rng_seed(&rng, 1);
    assert_int_equal(data_set_augment(set, 2, &rng, &grouped, NULL), TRM_OK);
    for (int i = 0; i < 12; i++)
        keep[i] = i / 3 != 1 && i != 6;
    data_set_keep(grouped, keep);
    assert_int_equal(grouped->count, 8);
    assert_int_equal(grouped->group_count, 3);
    const int32_t wanted[] = {0, 3, 5, 8};
    assert_memory_equal(grouped->groups, wanted, sizeof wanted);
    assert_memory_equal(grouped->inputs + 5 * 81, set->inputs + 3 * 81, 81);
    assert_int_equal(grouped->ratings[5], set->ratings[3]);
    assert_int_equal(grouped->sources[5], set->sources[3]);
    data_set_destroy(grouped);
    data_set_destroy(set);
}

static void what_cannot_be_compared_or_leaves_nothing_is_refused(void **state) {
    (void)state;
    struct data_set *nine = generate(9, 3, 1), *six = generate(6, 3, 1), *other;
    trm_error err = {""};
    size_t dropped;
    assert_int_equal(data_set_create(16, 6, 2, &other, NULL), TRM_OK);
    assert_int_equal(data_exclude(nine, (const struct data_set *const[]){six}, 1, &dropped, &err), TRM_INVALID);
    assert_int_equal(data_exclude(other, (const struct data_set *const[]){six}, 1, &dropped, &err), TRM_INVALID);
    assert_int_equal(data_exclude(nine, (const struct data_set *const[]){nine}, 1, &dropped, &err), TRM_INVALID);
    assert_int_equal(nine->count, 3);
    data_set_destroy(other);
    data_set_destroy(six);
    data_set_destroy(nine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_288_grids_of_size_4_have_two_forms),
        cmocka_unit_test(grids_of_size_6_have_at_most_49_forms),
        cmocka_unit_test(all_images_of_a_puzzle_have_its_form),
        cmocka_unit_test(a_form_is_a_puzzle_with_as_many_clues_and_its_own_form),
        cmocka_unit_test(near_misses_have_other_forms),
        cmocka_unit_test(blank_and_nearly_blank_grids_have_forms),
        cmocka_unit_test(images_of_test_puzzles_are_dropped_and_nothing_else),
        cmocka_unit_test(groups_lose_their_rows_and_vanish_when_empty),
        cmocka_unit_test(what_cannot_be_compared_or_leaves_nothing_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
