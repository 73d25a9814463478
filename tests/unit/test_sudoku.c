/* test_sudoku.c - rules, solver, symmetry and generator of Sudoku. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <unistd.h>

#include "engine/data/dataset.h"
#include "engine/data/generate.h"
#include "engine/data/sudoku.h"

static const int SIZES[] = {4, 6, 9};
enum { SIZE_COUNT = 3, REAL_LINES = 500 };

static const char PUZZLE[] = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79";
static const char ANSWER[] = "534678912672195348198342567859761423426853791713924856961537284287419635345286179";

static void read_grid(const char *text, uint8_t *grid) {
    for (int i = 0; text[i]; i++)
        grid[i] = text[i] == '.' ? 0 : (uint8_t)(text[i] - '0');
}

static int count_clues(int size, const uint8_t *puzzle) {
    int clues = 0;
    for (int i = 0; i < size * size; i++)
        clues += puzzle[i] != 0;
    return clues;
}

static bool has_only_solution(int size, const uint8_t *puzzle, const uint8_t *solution) {
    uint8_t found[SUDOKU_MAX_CELLS];
    return data_sudoku_solve(size, puzzle, 2, found, NULL) == 1 && memcmp(found, solution, (size_t)size * size) == 0;
}

static void only_sizes_4_6_and_9_exist(void **state) {
    (void)state;
    for (int size = -1; size < 20; size++) {
        const bool known = size == 4 || size == 6 || size == 9;
        assert_int_equal(data_sudoku_box_rows(size) * data_sudoku_box_cols(size), known ? size : 0);
    }
    assert_int_equal(data_sudoku_size_of(16), 4);
    assert_int_equal(data_sudoku_size_of(36), 6);
    assert_int_equal(data_sudoku_size_of(81), 9);
    assert_int_equal(data_sudoku_size_of(72), 0);
}

static void verify_accepts_the_answer_and_nothing_near_it(void **state) {
    (void)state;
    uint8_t puzzle[81], answer[81], wrong[81];
    read_grid(PUZZLE, puzzle);
    read_grid(ANSWER, answer);
    assert_true(data_sudoku_verify(9, puzzle, answer));
    for (int cell = 0; cell < 81; cell++) {
        for (uint8_t digit = 0; digit <= 10; digit++) {
            memcpy(wrong, answer, sizeof wrong);
            wrong[cell] = digit;
            assert_int_equal(data_sudoku_verify(9, puzzle, wrong), digit == answer[cell]);
        }
    }
}

static void verify_rejects_a_right_grid_that_changes_a_clue(void **state) {
    (void)state;
    uint8_t puzzle[81], answer[81];
    read_grid(PUZZLE, puzzle);
    read_grid(ANSWER, answer);
    for (int i = 0; i < 81; i++) /* still a valid grid: 1 and 2 change names */
        answer[i] = answer[i] == 1 ? 2 : answer[i] == 2 ? 1 : answer[i];
    assert_false(data_sudoku_verify(9, puzzle, answer));
    memset(puzzle, 0, sizeof puzzle);
    assert_true(data_sudoku_verify(9, puzzle, answer));
}

/* Grids that are right in rows and columns, and wrong in boxes alone. */
static void verify_checks_boxes(void **state) {
    (void)state;
    for (int s = 0; s < SIZE_COUNT; s++) {
        const int size = SIZES[s];
        uint8_t blank[SUDOKU_MAX_CELLS] = {0}, latin[SUDOKU_MAX_CELLS];
        for (int i = 0; i < size * size; i++)
            latin[i] = (uint8_t)(1 + (i / size + i % size) % size);
        assert_false(data_sudoku_verify(size, blank, latin));
    }
}

static void consistent_names_the_equal_clues(void **state) {
    (void)state;
    static const struct {
        int size, a, b;
    } CASES[] = {{9, 0, 8},  {9, 0, 72},  {9, 60, 80}, {6, 0, 5},  {6, 4, 34},
                 {6, 3, 11}, {6, 12, 20}, {4, 0, 3},   {4, 1, 13}, {4, 10, 15}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        uint8_t puzzle[SUDOKU_MAX_CELLS] = {0};
        int a = -1, b = -1;
        puzzle[CASES[i].a] = 3;
        assert_true(data_sudoku_consistent(CASES[i].size, puzzle, &a, &b));
        puzzle[CASES[i].b] = 3;
        assert_false(data_sudoku_consistent(CASES[i].size, puzzle, &a, &b));
        assert_int_equal(a, CASES[i].a);
        assert_int_equal(b, CASES[i].b);
        puzzle[CASES[i].b] = 2;
        assert_true(data_sudoku_consistent(CASES[i].size, puzzle, &a, &b));
    }
    uint8_t apart[36] = {0}; /* no unit in common: boxes of size 6 are 2 rows high */
    int a, b;
    apart[0] = apart[13] = 3;
    assert_true(data_sudoku_consistent(6, apart, &a, &b));
}

static void solver_finds_the_answer(void **state) {
    (void)state;
    uint8_t puzzle[81], answer[81];
    read_grid(PUZZLE, puzzle);
    read_grid(ANSWER, answer);
    assert_true(has_only_solution(9, puzzle, answer));
    assert_true(has_only_solution(9, answer, answer));
}

static void solver_counts_all_288_grids_of_size_4(void **state) {
    (void)state;
    const uint8_t blank[16] = {0};
    assert_int_equal(data_sudoku_solve(4, blank, 1000, NULL, NULL), 288);
    assert_int_equal(data_sudoku_solve(4, blank, 288, NULL, NULL), 288);
    assert_int_equal(data_sudoku_solve(4, blank, 100, NULL, NULL), 100);
}

static void solver_finds_nothing_where_nothing_is(void **state) {
    (void)state;
    uint8_t puzzle[81] = {5, 5};
    assert_int_equal(data_sudoku_solve(9, puzzle, 2, NULL, NULL), 0);
    memset(puzzle, 0, sizeof puzzle);
    for (uint8_t i = 0; i < 8; i++) /* the last cell of row 0 can only be 9, which its column has */
        puzzle[i] = (uint8_t)(i + 1);
    puzzle[80] = 9;
    assert_int_equal(data_sudoku_solve(9, puzzle, 2, NULL, NULL), 0);
}

static void solver_agrees_with_a_real_collection(const char *path) {
    struct data_set *set;
    trm_error err;
    if (access(path, R_OK) != 0) {
        print_message("%s is not here\n", path);
        skip();
    }
    assert_int_equal(data_set_load(path, REAL_LINES, &set, &err), TRM_OK);
    assert_int_equal(set->count, REAL_LINES);
    for (size_t row = 0; row < set->count; row++) {
        uint8_t puzzle[81], answer[81];
        int guesses;
        data_sudoku_grid(81, set->inputs + row * 81, puzzle);
        data_sudoku_grid(81, set->labels + row * 81, answer);
        assert_true(data_sudoku_verify(9, puzzle, answer));
        assert_true(has_only_solution(9, puzzle, answer));
        data_sudoku_solve(9, puzzle, 1, NULL, &guesses);
        assert_int_equal(guesses, set->ratings[row]);
    }
    data_set_destroy(set);
}

static void solver_agrees_with_published_test_puzzles_and_their_ratings(void **state) {
    (void)state;
    solver_agrees_with_a_real_collection("../shared/data/sudoku/test.csv");
}

static void solver_agrees_with_published_training_puzzles_and_their_ratings(void **state) {
    (void)state;
    solver_agrees_with_a_real_collection("../shared/data/sudoku/train.csv");
}

static void filled_grids_are_right_and_differ(void **state) {
    (void)state;
    const uint8_t blank[SUDOKU_MAX_CELLS] = {0};
    struct data_rng rng;
    data_rng_seed(&rng, 1);
    for (int s = 0; s < SIZE_COUNT; s++) {
        uint8_t grid[SUDOKU_MAX_CELLS], last[SUDOKU_MAX_CELLS] = {0};
        int changes = 0;
        for (int i = 0; i < 100; i++) {
            data_sudoku_fill(SIZES[s], &rng, grid);
            assert_true(data_sudoku_verify(SIZES[s], blank, grid));
            changes += memcmp(grid, last, sizeof grid) != 0;
            memcpy(last, grid, sizeof last);
        }
        assert_true(changes > 90);
    }
}

static void shuffles_keep_validity_clues_and_uniqueness(void **state) {
    (void)state;
    struct data_rng rng;
    data_rng_seed(&rng, 2);
    for (int s = 0; s < SIZE_COUNT; s++) {
        const int size = SIZES[s];
        uint8_t puzzle[SUDOKU_MAX_CELLS], answer[SUDOKU_MAX_CELLS];
        int rating;
        assert_true(data_sudoku_generate(size, SUDOKU_MEDIUM, &rng, puzzle, answer, &rating));
        for (int i = 0; i < 200; i++) {
            uint8_t puzzle_image[SUDOKU_MAX_CELLS], answer_image[SUDOKU_MAX_CELLS];
            data_sudoku_shuffle(size, &rng, puzzle, answer, puzzle_image, answer_image);
            assert_true(data_sudoku_verify(size, puzzle_image, answer_image));
            assert_int_equal(count_clues(size, puzzle_image), count_clues(size, puzzle));
            assert_true(has_only_solution(size, puzzle_image, answer_image));
        }
    }
}

/* The 288 grids of size 4 fall into two classes under the full group, of 96 and 192 grids. */
static void shuffles_reach_the_whole_symmetry_class(void **state) {
    (void)state;
    static const struct {
        uint8_t grid[16];
        int images;
    } CASES[] = {{{1, 2, 3, 4, 3, 4, 1, 2, 2, 1, 4, 3, 4, 3, 2, 1}, 96},
                 {{1, 2, 3, 4, 3, 4, 1, 2, 2, 3, 4, 1, 4, 1, 2, 3}, 192}};
    struct data_rng rng;
    data_rng_seed(&rng, 3);
    for (int k = 0; k < 2; k++) {
        uint8_t seen[300][16], puzzle_image[16], image[16];
        int count = 0;
        for (int i = 0; i < 5000; i++) {
            int at = 0;
            data_sudoku_shuffle(4, &rng, CASES[k].grid, CASES[k].grid, puzzle_image, image);
            assert_memory_equal(puzzle_image, image, 16);
            while (at < count && memcmp(seen[at], image, 16) != 0)
                at++;
            if (at == count)
                memcpy(seen[count++], image, 16);
            assert_true(count <= CASES[k].images);
        }
        assert_int_equal(count, CASES[k].images);
    }
}

static void generated_puzzles_are_of_their_class(void **state) {
    (void)state;
    struct data_rng rng;
    data_rng_seed(&rng, 4);
    for (int s = 0; s < SIZE_COUNT; s++) {
        const int size = SIZES[s];
        for (int wanted = SUDOKU_EASY; wanted < SUDOKU_CLASSES; wanted++) {
            for (int i = 0; i < (wanted == SUDOKU_VERY_HARD ? 5 : 40); i++) {
                uint8_t puzzle[SUDOKU_MAX_CELLS], answer[SUDOKU_MAX_CELLS];
                int rating, guesses;
                const bool made = data_sudoku_generate(size, wanted, &rng, puzzle, answer, &rating);
                assert_int_equal(made, size != 4 || wanted < SUDOKU_HARD);
                if (!made)
                    break;
                assert_true(data_sudoku_verify(size, puzzle, answer));
                assert_true(has_only_solution(size, puzzle, answer));
                data_sudoku_solve(size, puzzle, 1, NULL, &guesses);
                assert_int_equal(guesses, rating);
                const bool many_clues = 81 * count_clues(size, puzzle) >= 32 * size * size;
                switch ((enum sudoku_class)wanted) {
                case SUDOKU_EASY:
                    assert_true(rating == 0 && many_clues);
                    break;
                case SUDOKU_MEDIUM:
                    assert_true(rating == 0 && !many_clues);
                    break;
                case SUDOKU_HARD:
                    assert_in_range(rating, 1, 3);
                    break;
                case SUDOKU_VERY_HARD:
                    assert_true(rating > 3);
                    break;
                }
            }
        }
    }
}

static void candidates_are_the_digits_that_break_no_rule(void **state) {
    (void)state;
    struct data_rng rng;
    const int sizes[] = {4, 6, 9};
    data_rng_seed(&rng, 11);
    for (int i = 0; i < 60; i++) {
        const int size = sizes[i % 3];
        uint8_t grid[81];
        uint16_t candidates[81];
        int a, b;
        data_sudoku_fill(size, &rng, grid);
        for (int cell = 0; cell < size * size; cell++)
            if (data_rng_below(&rng, 2))
                grid[cell] = 0;
        data_sudoku_candidates(size, grid, candidates);
        for (int cell = 0; cell < size * size; cell++) {
            unsigned wanted = 0;
            const bool is_blank = grid[cell] == 0;
            for (int digit = 1; digit <= size && is_blank; digit++) {
                grid[cell] = (uint8_t)digit;
                if (data_sudoku_consistent(size, grid, &a, &b))
                    wanted |= 1u << digit;
            }
            if (is_blank)
                grid[cell] = 0;
            assert_int_equal(candidates[cell], wanted);
        }
    }
}

static void sets_repeat_with_the_seed_on_any_number_of_threads(void **state) {
    (void)state;
    struct data_generate_options options = {.size = 6, .count = 200, .mixed = true, .seed = 7, .threads = 1};
    struct data_set *one, *three, *other;
    assert_int_equal(data_generate(&options, &one, NULL), TRM_OK);
    options.threads = 3;
    assert_int_equal(data_generate(&options, &three, NULL), TRM_OK);
    options.seed = 8;
    assert_int_equal(data_generate(&options, &other, NULL), TRM_OK);
    assert_memory_equal(one->inputs, three->inputs, one->count * 36);
    assert_memory_equal(one->labels, three->labels, one->count * 36);
    assert_memory_equal(one->ratings, three->ratings, one->count * sizeof *one->ratings);
    assert_memory_not_equal(one->inputs, other->inputs, one->count * 36);
    data_set_destroy(one);
    data_set_destroy(three);
    data_set_destroy(other);
}

static void mixed_sets_leave_out_classes_that_do_not_exist(void **state) {
    (void)state;
    struct data_generate_options options = {.size = 4, .count = 10, .mixed = true, .seed = 1, .threads = 1};
    struct data_set *set;
    trm_error err;
    assert_int_equal(data_generate(&options, &set, &err), TRM_OK);
    assert_int_equal(set->source_count, 2);
    assert_string_equal(set->source_names[0], "generated_easy");
    assert_string_equal(set->source_names[1], "generated_medium");
    data_set_destroy(set);

    options.mixed = false;
    options.wanted = SUDOKU_HARD;
    assert_int_equal(data_generate(&options, &set, &err), TRM_UNSUPPORTED);
    assert_null(set);
    options.size = 5;
    assert_int_equal(data_generate(&options, &set, &err), TRM_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_sizes_4_6_and_9_exist),
        cmocka_unit_test(verify_accepts_the_answer_and_nothing_near_it),
        cmocka_unit_test(verify_rejects_a_right_grid_that_changes_a_clue),
        cmocka_unit_test(verify_checks_boxes),
        cmocka_unit_test(consistent_names_the_equal_clues),
        cmocka_unit_test(solver_finds_the_answer),
        cmocka_unit_test(solver_counts_all_288_grids_of_size_4),
        cmocka_unit_test(solver_finds_nothing_where_nothing_is),
        cmocka_unit_test(solver_agrees_with_published_test_puzzles_and_their_ratings),
        cmocka_unit_test(solver_agrees_with_published_training_puzzles_and_their_ratings),
        cmocka_unit_test(filled_grids_are_right_and_differ),
        cmocka_unit_test(shuffles_keep_validity_clues_and_uniqueness),
        cmocka_unit_test(shuffles_reach_the_whole_symmetry_class),
        cmocka_unit_test(generated_puzzles_are_of_their_class),
        cmocka_unit_test(candidates_are_the_digits_that_break_no_rule),
        cmocka_unit_test(sets_repeat_with_the_seed_on_any_number_of_threads),
        cmocka_unit_test(mixed_sets_leave_out_classes_that_do_not_exist),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
