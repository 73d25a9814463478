/* test_maze.c - shortest paths, the verifier, images and the generator of mazes, held against plain enumeration. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/data/generate.h"
#include "engine/data/maze.h"
#include "engine/data/puzzle.h"
#include "engine/data/source.h"
#include "engine/file.h"

static void parse(const char *text, uint8_t *maze) {
    for (int i = 0; text[i]; i++)
        maze[i] = (uint8_t)(1 + (strchr(MAZE_SYMBOLS, text[i]) - MAZE_SYMBOLS));
}

static bool verified(int side, const char *maze, const char *answer) {
    uint8_t cells[MAZE_MAX_CELLS], marked[MAZE_MAX_CELLS];
    parse(maze, cells);
    parse(answer, marked);
    return data_maze_verify(side, cells, marked);
}

/* ---- plain enumeration: every path without a repeated cell ---- */

struct search {
    int side, shortest, count; /* shortest paths and how many there are */
    const uint8_t *maze;
    bool visited[MAZE_MAX_CELLS];
};

static void walk(struct search *s, int cell, int moves) {
    if (s->maze[cell] == MAZE_GOAL) {
        s->count = moves == s->shortest ? s->count + 1 : moves < s->shortest ? 1 : s->count;
        s->shortest = moves < s->shortest ? moves : s->shortest;
        return;
    }
    s->visited[cell] = true;
    const int row = cell / s->side, col = cell % s->side;
    for (int i = 0; i < 4; i++) {
        const int r = row + (i == 0) - (i == 1), c = col + (i == 2) - (i == 3), next = r * s->side + c;
        if (r >= 0 && r < s->side && c >= 0 && c < s->side && s->maze[next] != MAZE_WALL && !s->visited[next])
            walk(s, next, moves + 1);
    }
    s->visited[cell] = false;
}

static struct search enumerate(int side, const uint8_t *maze) {
    struct search s = {.side = side, .maze = maze, .shortest = INT32_MAX};
    for (int cell = 0; cell < side * side; cell++)
        if (maze[cell] == MAZE_START)
            walk(&s, cell, 0);
    return s;
}

/* A random maze of `side`, start and goal anywhere. */
static void scatter(int side, struct data_rng *rng, uint8_t *maze) {
    const int cells = side * side, start = data_rng_below(rng, cells);
    for (int i = 0; i < cells; i++)
        maze[i] = data_rng_below(rng, 3) ? MAZE_FLOOR : MAZE_WALL;
    maze[start] = MAZE_START;
    maze[(start + 1 + data_rng_below(rng, cells - 1)) % cells] = MAZE_GOAL;
}

static void solving_agrees_with_enumeration(void **state) {
    (void)state;
    struct data_rng rng;
    data_rng_seed(&rng, 1);
    int closed = 0, single = 0, several = 0;
    for (int i = 0; i < 2000; i++) {
        uint8_t maze[16], answer[16];
        bool unique = false;
        scatter(4, &rng, maze);
        const struct search all = enumerate(4, maze);
        const int moves = data_maze_solve(4, maze, answer, &unique);
        assert_int_equal(moves, all.count ? all.shortest : -1);
        assert_true((data_maze_fault(4, maze) == NULL) == (all.count > 0));
        closed += all.count == 0;
        single += all.count == 1;
        several += all.count > 1;
        if (all.count == 0)
            continue;
        assert_int_equal(unique, all.count == 1);
        assert_true(data_maze_verify(4, maze, answer));
    }
    assert_true(closed > 100 && single > 100 && several > 100);
}

/* Of all ways to mark the floor, as many are accepted as there are shortest paths. */
static void the_verifier_accepts_shortest_paths_and_nothing_else(void **state) {
    (void)state;
    struct data_rng rng;
    data_rng_seed(&rng, 2);
    for (int i = 0; i < 150; i++) {
        uint8_t maze[16], answer[16];
        int floor[16], floors = 0, accepted = 0;
        scatter(4, &rng, maze);
        for (int cell = 0; cell < 16; cell++)
            if (maze[cell] == MAZE_FLOOR)
                floor[floors++] = cell;
        for (int marks = 0; marks < 1 << floors; marks++) {
            memcpy(answer, maze, sizeof answer);
            for (int k = 0; k < floors; k++)
                if (marks >> k & 1)
                    answer[floor[k]] = MAZE_PATH;
            accepted += data_maze_verify(4, maze, answer);
        }
        assert_int_equal(accepted, enumerate(4, maze).count);
    }
}

static void the_verifier_wants_the_maze_kept(void **state) {
    (void)state;
    const char *maze = "S  "
                       "## "
                       "G  ";
    assert_true(verified(3, maze, "Soo##oGoo"));
    assert_false(verified(3, maze, "Soo##oGo ")); /* a gap */
    assert_false(verified(3, maze, "Soo #oGoo")); /* a wall less */
    assert_false(verified(3, maze, "ooo##oGoo")); /* the start is gone */
    assert_false(verified(3, maze, "Soo##oooo"));
    assert_false(verified(3, maze, "Soo##oGSo"));
    assert_false(verified(3, maze, "SooooSGoo"));
    assert_true(verified(2, "SG##", "SG##"));
    assert_false(verified(2, "SG  ", "SGoo")); /* a way, but a longer one */
    assert_false(verified(3, "S G # ###", "SoG #o###"));
}

static void faults_are_told(void **state) {
    (void)state;
    static const struct {
        const char *maze, *fault;
    } CASES[] = {{"SG  ", NULL},
                 {" G  ", "exactly one start"},
                 {"SGS ", "exactly one start"},
                 {"S   ", "exactly one goal"},
                 {"SGG ", "exactly one goal"},
                 {"SGo ", "answer to mark"},
                 {"S##G", "no way"}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        uint8_t maze[4];
        parse(CASES[i].maze, maze);
        const char *fault = data_maze_fault(2, maze);
        if (!CASES[i].fault)
            assert_null(fault);
        else
            assert_non_null(strstr(fault, CASES[i].fault));
    }
    const uint8_t padding[4] = {MAZE_START, MAZE_GOAL, 0, 0}, beyond[4] = {MAZE_START, MAZE_GOAL, 6, 255};
    assert_non_null(data_maze_fault(2, padding));
    assert_non_null(data_maze_fault(2, beyond));
    assert_int_equal(data_maze_side_of(900), 30);
    assert_int_equal(data_maze_side_of(MAZE_MAX_CELLS), MAZE_MAX_SIDE);
    assert_int_equal(data_maze_side_of(MAZE_MAX_CELLS + 1), 0);
    assert_int_equal(data_maze_side_of(65 * 65), 0);
    assert_int_equal(data_maze_side_of(1), 0);
    assert_int_equal(data_maze_side_of(0), 0);
}

static void generated_mazes_have_one_shortest_path_of_the_length(void **state) {
    (void)state;
    static const struct {
        int side, min_moves, count;
    } CASES[] = {{5, 4, 50}, {10, 0, 50}, {15, 40, 20}, {30, 0, 5}, {64, 100, 2}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        const int side = CASES[i].side;
        const int least = CASES[i].min_moves ? CASES[i].min_moves : data_maze_hard_moves(side);
        for (int k = 0; k < CASES[i].count; k++) {
            uint8_t maze[MAZE_MAX_CELLS], answer[MAZE_MAX_CELLS];
            struct data_rng rng;
            int moves;
            bool unique;
            data_rng_seed(&rng, (uint64_t)k);
            assert_true(data_maze_generate(side, least, &rng, maze, answer, &moves));
            assert_true(moves >= least);
            assert_int_equal(data_maze_solve(side, maze, NULL, &unique), moves);
            assert_true(unique);
            assert_true(data_maze_verify(side, maze, answer));
        }
    }
    assert_int_equal(data_maze_hard_moves(30), 111);
    struct data_rng rng;
    uint8_t maze[25], answer[25];
    int moves;
    data_rng_seed(&rng, 1);
    assert_false(data_maze_generate(5, 25, &rng, maze, answer, &moves)); /* longer than the grid has cells */
}

static struct data_set *generate(const struct data_generate_options *options) {
    struct data_set *set = NULL;
    trm_error err;
    if (data_generate(options, &set, &err) != TRM_OK)
        fail_msg("%s", err.text);
    return set;
}

static void sets_depend_on_their_seed_alone(void **state) {
    (void)state;
    struct data_generate_options options = {.maze = true, .size = 8, .count = 60, .seed = 3, .threads = 1};
    struct data_set *one = generate(&options);
    options.threads = 3;
    struct data_set *three = generate(&options);
    options.seed = 4;
    struct data_set *other = generate(&options);
    assert_int_equal(one->maze_side, 8);
    assert_int_equal(one->sudoku_size, 0);
    assert_string_equal(one->source_names[0], "generated_maze");
    assert_memory_equal(one->inputs, three->inputs, 60 * 64);
    assert_memory_equal(one->labels, three->labels, 60 * 64);
    assert_memory_not_equal(one->inputs, other->inputs, 60 * 64);
    for (size_t row = 0; row < 60; row++) {
        assert_true(data_set_is_right(one, row));
        assert_int_equal(one->ratings[row], data_maze_solve(8, one->inputs + row * 64, NULL, NULL));
    }
    data_set_destroy(other);
    data_set_destroy(three);
    data_set_destroy(one);

    struct data_set *none = NULL;
    trm_error err;
    options.min_moves = 65;
    assert_int_equal(data_generate(&options, &none, &err), TRM_UNSUPPORTED);
    assert_non_null(strstr(err.text, "65 moves"));
    options.size = 4;
    assert_int_equal(data_generate(&options, &none, &err), TRM_INVALID);
    options.size = 65;
    assert_int_equal(data_generate(&options, &none, &err), TRM_INVALID);
    assert_null(none);
}

/* ---- images ---- */

static void images_are_eight_and_keep_the_answer_right(void **state) {
    (void)state;
    const struct data_generate_options options = {.maze = true, .size = 7, .count = 1, .seed = 1, .threads = 1};
    struct data_set *set = generate(&options), *all = NULL;
    assert_int_equal(data_set_augment(set, 7, NULL, &all, NULL), TRM_OK);
    assert_int_equal(all->count, 8);
    assert_memory_equal(all->inputs, set->inputs, 49);
    for (size_t i = 0; i < 8; i++) {
        assert_true(data_set_is_right(all, i));
        for (size_t k = 0; k < i; k++)
            assert_memory_not_equal(all->inputs + i * 49, all->inputs + k * 49, 49);
    }
    struct data_set *none = NULL;
    assert_int_equal(data_set_augment(set, 8, NULL, &none, NULL), TRM_INVALID);

    /* A source that augments draws all of them, each with its answer. */
    const struct data_source_part part = {.set = set, .weight = 1, .final_weight = 1};
    data_source *source = NULL;
    struct data_rng rng;
    bool seen[8] = {false};
    data_rng_seed(&rng, 5);
    assert_int_equal(data_source_create(&part, 1, true, &source, NULL), TRM_OK);
    for (int i = 0; i < 300; i++) {
        uint8_t inputs[49], labels[49];
        int32_t id;
        int part_index;
        size_t row;
        data_source_next(source, 0.0, &rng, inputs, labels, &id, &part_index, &row);
        int image = 0;
        while (image < 8 && memcmp(inputs, all->inputs + image * 49, 49) != 0)
            image++;
        assert_in_range(image, 0, 7);
        assert_memory_equal(labels, all->labels + image * 49, 49);
        seen[image] = true;
    }
    for (int i = 0; i < 8; i++)
        assert_true(seen[i]);
    data_source_destroy(source);
    data_set_destroy(all);
    data_set_destroy(set);
}

/* ---- symmetries of tokens, of every kind of puzzle ---- */

static void check_symmetry(enum trm_puzzle kind, int cells, const int32_t *puzzle, const int32_t *answer, int image,
                           uint64_t seed) {
    struct data_symmetry *symmetry = malloc(sizeof *symmetry);
    int32_t *grids = calloc(3 * (size_t)cells, sizeof *grids); /* image of the puzzle, of the answer, back again */
    assert_non_null(symmetry);
    assert_non_null(grids);
    data_symmetry_get(kind, cells, image, seed, symmetry);
    data_symmetry_apply(symmetry, cells, puzzle, grids);
    data_symmetry_apply(symmetry, cells, answer, grids + cells);
    data_symmetry_undo(symmetry, cells, grids + cells, grids + 2 * cells);
    assert_memory_equal(grids + 2 * cells, answer, (size_t)cells * sizeof *answer);
    assert_true(data_puzzle_verify(kind, cells, grids, grids + cells));
    assert_int_equal(memcmp(grids, puzzle, (size_t)cells * sizeof *puzzle) == 0, image == 0);
    free(grids);
    free(symmetry);
}

static void symmetries_keep_answers_right_and_can_be_undone(void **state) {
    (void)state;
    const struct data_generate_options sets[] = {{.maze = true, .size = 12, .count = 3, .threads = 1},
                                                 {.size = 9, .count = 3, .mixed = true, .threads = 1},
                                                 {.size = 6, .count = 3, .mixed = true, .threads = 1},
                                                 {.size = 4, .count = 3, .mixed = true, .threads = 1}};
    for (size_t s = 0; s < sizeof sets / sizeof *sets; s++) {
        struct data_set *set = generate(&sets[s]);
        const enum trm_puzzle kind = sets[s].maze ? TRM_PUZZLE_MAZE : TRM_PUZZLE_SUDOKU;
        for (size_t row = 0; row < set->count; row++) {
            int32_t puzzle[144], answer[144];
            for (int i = 0; i < set->seq_len; i++) {
                puzzle[i] = set->inputs[row * (size_t)set->seq_len + (size_t)i];
                answer[i] = set->labels[row * (size_t)set->seq_len + (size_t)i];
            }
            for (int image = 0; image < 8; image++)
                check_symmetry(kind, set->seq_len, puzzle, answer, image, (uint64_t)image);
        }
        data_set_destroy(set);
    }
    assert_int_equal(data_puzzle_images(TRM_PUZZLE_MAZE, 900), 8);
    assert_true(data_puzzle_images(TRM_PUZZLE_SUDOKU, 81) > 1000);
    assert_int_equal(data_puzzle_images(TRM_PUZZLE_SUDOKU, 80), 1);
    assert_int_equal(data_puzzle_images(TRM_PUZZLE_ARC, 900), 1);
}

static void tokens_that_are_no_symbols_are_neither_verified_nor_lost(void **state) {
    (void)state;
    struct data_symmetry symmetry;
    const int32_t puzzle[16] = {0, -1, 15, 16, 300, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    int32_t image[16], back[16];
    assert_false(data_puzzle_verify(TRM_PUZZLE_SUDOKU, 16, puzzle, puzzle));
    assert_false(data_puzzle_verify(TRM_PUZZLE_MAZE, 16, puzzle, puzzle));
    assert_false(data_puzzle_verify(TRM_PUZZLE_OTHER, 16, puzzle, puzzle));
    data_symmetry_get(TRM_PUZZLE_SUDOKU, 16, 1, 7, &symmetry);
    data_symmetry_apply(&symmetry, 16, puzzle, image);
    data_symmetry_undo(&symmetry, 16, image, back);
    assert_memory_equal(back, puzzle, sizeof puzzle);
}

/* ---- files ---- */

static struct data_set *load(const char *path, const char *text, trm_status expected, const char *message) {
    struct data_set *set = NULL;
    trm_error err = {""};
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("source,question,answer,rating\n", file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(data_set_load_csv(path, 0, &set, &err), expected);
    if (message && !strstr(err.text, message))
        fail_msg("\"%s\" does not say \"%s\"", err.text, message);
    return set;
}

static void mazes_are_read_from_csv_and_checked(void **state) {
    (void)state;
    char path[] = "/tmp/test_maze_XXXXXX";
    close(mkstemp(path));
    struct data_set *set = load(path, "a,S  ## G  ,Soo##oGoo,5\r\na,S  ## G  ,Soo##oGoo,\n", TRM_OK, NULL);
    assert_int_equal(set->maze_side, 3);
    assert_int_equal(set->vocab_size, 6);
    assert_int_equal(set->count, 2);
    data_set_destroy(set);
    load(path, "a,S  ## G  ,Soo##oGo ,5\n", TRM_FORMAT, ":2: the answer is not a shortest path");
    load(path, "a,S  ## G  ,Soo##oGoo,5\na,S  ##1G  ,Soo##oGoo,5\n", TRM_FORMAT,
         ":3: the question has a bad symbol at row 2");
    load(path, "a,S#####G  ,S#####G  ,5\n", TRM_FORMAT, "no way");
    load(path, "a,S  ## G  ,Soo##oGo,5\n", TRM_FORMAT, "the answer has 8 cells");
    load(path, "a,S  ## G,S  ## G,5\n", TRM_FORMAT, "square maze");
    unlink(path);
}

static void what_is_written_is_read_back(void **state) {
    (void)state;
    char directory[] = "/tmp/test_maze_XXXXXX";
    assert_non_null(mkdtemp(directory));
    char *csv = trm_path_join(directory, "mazes.csv"), *folder = trm_path_join(directory, "set");
    /* Of 16 cells, where the vocabulary is that of a Sudoku too. */
    for (int side = 4; side <= 9; side += 5) {
        const size_t cells = (size_t)side * (size_t)side, count = 5;
        struct data_set *set = NULL;
        struct data_rng rng;
        data_rng_seed(&rng, 1);
        assert_int_equal(data_set_create_maze(side, count, &set, NULL), TRM_OK);
        for (size_t row = 0; row < count; row++)
            do
                scatter(side, &rng, set->inputs + row * cells);
            while (data_maze_solve(side, set->inputs + row * cells, set->labels + row * cells, NULL) < 0);
        assert_int_equal(data_set_save_csv(set, csv, NULL), TRM_OK);
        assert_int_equal(data_set_save(set, folder, NULL), TRM_OK);
        for (int form = 0; form < 2; form++) {
            struct data_set *loaded = NULL;
            assert_int_equal(data_set_load(form ? folder : csv, 0, &loaded, NULL), TRM_OK);
            assert_int_equal(loaded->maze_side, side);
            assert_int_equal(loaded->sudoku_size, 0);
            assert_memory_equal(loaded->inputs, set->inputs, count * cells);
            assert_memory_equal(loaded->labels, set->labels, count * cells);
            data_set_destroy(loaded);
        }
        data_set_destroy(set);
    }
    static const char *const FILES[] = {"set/all__inputs.npy",
                                        "set/all__labels.npy",
                                        "set/all__group_indices.npy",
                                        "set/all__puzzle_indices.npy",
                                        "set/all__puzzle_identifiers.npy",
                                        "set/dataset.json",
                                        "mazes.csv"};
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        char *path = trm_path_join(directory, FILES[i]);
        unlink(path);
        free(path);
    }
    assert_int_equal(rmdir(folder), 0);
    assert_int_equal(rmdir(directory), 0);
    free(folder);
    free(csv);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(solving_agrees_with_enumeration),
        cmocka_unit_test(the_verifier_accepts_shortest_paths_and_nothing_else),
        cmocka_unit_test(the_verifier_wants_the_maze_kept),
        cmocka_unit_test(faults_are_told),
        cmocka_unit_test(generated_mazes_have_one_shortest_path_of_the_length),
        cmocka_unit_test(sets_depend_on_their_seed_alone),
        cmocka_unit_test(images_are_eight_and_keep_the_answer_right),
        cmocka_unit_test(symmetries_keep_answers_right_and_can_be_undone),
        cmocka_unit_test(tokens_that_are_no_symbols_are_neither_verified_nor_lost),
        cmocka_unit_test(mazes_are_read_from_csv_and_checked),
        cmocka_unit_test(what_is_written_is_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
