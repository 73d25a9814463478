/* sudoku.c - the rules of Sudoku and its symmetries. Pure functions; any thread. */
#include "engine/data/sudoku.h"

#include <assert.h>

int data_sudoku_box_rows(int size) {
    return size == 9 ? 3 : size == 4 || size == 6 ? 2 : 0;
}

int data_sudoku_box_cols(int size) {
    return size == 9 || size == 6 ? 3 : size == 4 ? 2 : 0;
}

int data_sudoku_size_of(int cells) {
    return cells == 81 ? 9 : cells == 36 ? 6 : cells == 16 ? 4 : 0;
}

void data_sudoku_units(int size, int cell, uint8_t unit[SUDOKU_UNITS]) {
    const int box_rows = data_sudoku_box_rows(size), box_cols = data_sudoku_box_cols(size);
    assert(box_rows > 0 && box_cols > 0);
    const int row = cell / size, col = cell % size;
    unit[SUDOKU_ROW] = (uint8_t)row;
    unit[SUDOKU_COL] = (uint8_t)col;
    unit[SUDOKU_BOX] = (uint8_t)(row / box_rows * box_rows + col / box_cols);
}

bool data_sudoku_consistent(int size, const uint8_t *puzzle, int *a, int *b) {
    /* The cell that has the digit, plus one. */
    uint8_t seen[SUDOKU_UNITS][SUDOKU_MAX_SIZE][SUDOKU_MAX_SIZE + 1] = {0};
    for (int cell = 0; cell < size * size; cell++) {
        const int digit = puzzle[cell];
        if (digit == 0)
            continue;
        uint8_t unit[SUDOKU_UNITS];
        data_sudoku_units(size, cell, unit);
        for (int kind = 0; kind < SUDOKU_UNITS; kind++) {
            uint8_t *place = &seen[kind][unit[kind]][digit];
            if (*place) {
                *a = *place - 1;
                *b = cell;
                return false;
            }
            *place = (uint8_t)(cell + 1);
        }
    }
    return true;
}

bool data_sudoku_verify(int size, const uint8_t *puzzle, const uint8_t *answer) {
    for (int cell = 0; cell < size * size; cell++) {
        if (answer[cell] < 1 || answer[cell] > size || (puzzle[cell] && puzzle[cell] != answer[cell]))
            return false;
    }
    int a, b;
    return data_sudoku_consistent(size, answer, &a, &b);
}

void data_sudoku_candidates(int size, const uint8_t *puzzle, uint16_t *candidates) {
    uint16_t taken[SUDOKU_UNITS][SUDOKU_MAX_SIZE] = {0}; /* bit d if digit d stands there */
    uint8_t unit[SUDOKU_UNITS];
    for (int cell = 0; cell < size * size; cell++) {
        data_sudoku_units(size, cell, unit);
        for (int kind = 0; kind < SUDOKU_UNITS; kind++)
            taken[kind][unit[kind]] |= (uint16_t)(1u << puzzle[cell]);
    }
    const unsigned digits = (2u << size) - 2;
    for (int cell = 0; cell < size * size; cell++) {
        data_sudoku_units(size, cell, unit);
        const unsigned seen = taken[SUDOKU_ROW][unit[SUDOKU_ROW]] | taken[SUDOKU_COL][unit[SUDOKU_COL]] |
                              taken[SUDOKU_BOX][unit[SUDOKU_BOX]];
        candidates[cell] = puzzle[cell] ? 0 : (uint16_t)(digits & ~seen);
    }
}

/* A random order of `size` lines that keeps lines of one group of `group` lines together. */
static void permute_lines(struct data_rng *rng, int size, int group, int *lines) {
    int groups[SUDOKU_MAX_SIZE], members[SUDOKU_MAX_SIZE];
    assert(group > 0);
    data_rng_permute(rng, size / group, groups);
    for (int g = 0; g < size / group; g++) {
        data_rng_permute(rng, group, members);
        for (int i = 0; i < group; i++)
            lines[g * group + i] = groups[g] * group + members[i];
    }
}

void data_sudoku_draw_symmetry(int size, struct data_rng *rng, struct sudoku_symmetry *symmetry) {
    const int box_rows = data_sudoku_box_rows(size), box_cols = data_sudoku_box_cols(size);
    int rows[SUDOKU_MAX_SIZE], cols[SUDOKU_MAX_SIZE], order[SUDOKU_MAX_SIZE];

    permute_lines(rng, size, box_rows, rows);
    permute_lines(rng, size, box_cols, cols);
    data_rng_permute(rng, size, order);
    symmetry->digit[0] = 0;
    for (int d = 0; d < size; d++)
        symmetry->digit[d + 1] = (uint8_t)(order[d] + 1);
    const bool transpose = box_rows == box_cols && data_rng_below(rng, 2);

    for (int r = 0; r < size; r++)
        for (int c = 0; c < size; c++)
            symmetry->from[r * size + c] = (uint8_t)(transpose ? cols[c] * size + rows[r] : rows[r] * size + cols[c]);
}

void data_sudoku_shuffle(int size, struct data_rng *rng, const uint8_t *puzzle, const uint8_t *solution,
                         uint8_t *puzzle_out, uint8_t *solution_out) {
    struct sudoku_symmetry symmetry;
    data_sudoku_draw_symmetry(size, rng, &symmetry);
    for (int i = 0; i < size * size; i++) {
        puzzle_out[i] = symmetry.digit[puzzle[symmetry.from[i]]];
        solution_out[i] = symmetry.digit[solution[symmetry.from[i]]];
    }
}
