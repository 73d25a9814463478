/* sudoku_generate.c - makes puzzles with one solution: clues are taken off a random complete grid in
 * random order, each as long as the rest still has what the class promises. Works on the caller's rng
 * alone; any thread. */
#include <string.h>

#include "engine/data/sudoku.h"

enum { MAX_TRIES = 2000, HARD_GUESSES = 3 };

struct board {
    int size, clues;
    uint8_t solution[SUDOKU_MAX_CELLS]; /* [size * size] */
    uint8_t puzzle[SUDOKU_MAX_CELLS];
    int order[SUDOKU_MAX_CELLS]; /* all cells, in the random order of digging */
};

/* What has to stay true when a clue goes. */
enum promise { UNIQUE, SINGLES_ONLY };

static int rate(const struct board *board) {
    int guesses;
    data_sudoku_solve(board->size, board->puzzle, 1, NULL, &guesses);
    return guesses;
}

/* Digits that no row, column or box of `cell` has, the cell itself left out of account. */
static unsigned open_digits(const struct board *board, int cell) {
    const int size = board->size, box_rows = data_sudoku_box_rows(size), box_cols = data_sudoku_box_cols(size);
    const int row = cell / size, col = cell % size;
    const int corner = row / box_rows * box_rows * size + col / box_cols * box_cols;
    unsigned taken = 0;
    for (int i = 0; i < size; i++) {
        const int in_row = row * size + i, in_col = i * size + col;
        const int in_box = corner + i / box_cols * size + i % box_cols;
        taken |= in_row == cell ? 0 : 1u << board->puzzle[in_row];
        taken |= in_col == cell ? 0 : 1u << board->puzzle[in_col];
        taken |= in_box == cell ? 0 : 1u << board->puzzle[in_box];
    }
    return ~taken & ((1u << (size + 1)) - 2);
}

/* Whether the puzzle, which has one solution, keeps that when `cell` is blanked: it does unless some
 * other digit in its place can be completed too. */
static bool stays_unique(struct board *board, int cell) {
    const uint8_t clue = board->puzzle[cell];
    unsigned others = open_digits(board, cell) & ~(1u << clue);
    bool unique = true;
    for (; others && unique; others &= others - 1) {
        board->puzzle[cell] = (uint8_t)__builtin_ctz(others);
        unique = data_sudoku_solve(board->size, board->puzzle, 1, NULL, NULL) == 0;
    }
    board->puzzle[cell] = clue;
    return unique;
}

static bool stays_singles_only(struct board *board, int cell) {
    const uint8_t clue = board->puzzle[cell];
    board->puzzle[cell] = 0;
    const bool singles = rate(board) == 0;
    board->puzzle[cell] = clue;
    return singles;
}

/* Starts over from a new complete grid. */
static void refill(struct board *board, struct data_rng *rng) {
    const int cells = board->size * board->size;
    data_sudoku_fill(board->size, rng, board->solution);
    memcpy(board->puzzle, board->solution, (size_t)cells);
    board->clues = cells;
    data_rng_permute(rng, cells, board->order);
}

/* Takes clues off until `floor` are left or none can go. */
static void dig(struct board *board, enum promise promise, int floor) {
    for (int i = 0; i < board->size * board->size && board->clues > floor; i++) {
        const int cell = board->order[i];
        if (promise == UNIQUE ? stays_unique(board, cell) : stays_singles_only(board, cell)) {
            board->puzzle[cell] = 0;
            board->clues--;
        }
    }
}

/* Gives clues back, last taken first, until at most `most` guesses are needed; returns how many are. */
static int soften(struct board *board, int most) {
    int guesses = rate(board);
    for (int i = board->size * board->size - 1; i >= 0 && guesses > most; i--) {
        const int cell = board->order[i];
        if (board->puzzle[cell] == 0) {
            board->puzzle[cell] = board->solution[cell];
            board->clues++;
            guesses = rate(board);
        }
    }
    return guesses;
}

/* The fewest clues of an easy puzzle. */
static int easy_clues(int size) {
    return (32 * size * size + 80) / 81;
}

enum sudoku_class data_sudoku_class_of(int size, int clues, int guesses) {
    if (guesses > 0)
        return guesses <= HARD_GUESSES ? SUDOKU_HARD : SUDOKU_VERY_HARD;
    return clues >= easy_clues(size) ? SUDOKU_EASY : SUDOKU_MEDIUM;
}

/* One try; returns the guesses that the puzzle needs, or -1 if it is not of the class. */
static int try_class(struct board *board, enum sudoku_class wanted, struct data_rng *rng) {
    const int cells = board->size * board->size;
    const int enough = easy_clues(board->size);
    int guesses;

    refill(board, rng);
    switch (wanted) {
    case SUDOKU_EASY:
        dig(board, SINGLES_ONLY, enough + data_rng_below(rng, 1 + cells / 9));
        return board->clues < cells ? 0 : -1;
    case SUDOKU_MEDIUM:
        dig(board, SINGLES_ONLY, 0);
        return board->clues < enough ? 0 : -1;
    case SUDOKU_HARD:
        dig(board, UNIQUE, 0);
        guesses = soften(board, HARD_GUESSES);
        return guesses > 0 ? guesses : -1;
    case SUDOKU_VERY_HARD:
        dig(board, UNIQUE, 0);
        guesses = rate(board);
        return guesses > HARD_GUESSES ? guesses : -1;
    }
    return -1;
}

bool data_sudoku_generate(int size, enum sudoku_class wanted, struct data_rng *rng, uint8_t *puzzle, uint8_t *solution,
                          int *rating) {
    struct board board = {.size = size};
    for (int i = 0; i < MAX_TRIES; i++) {
        const int guesses = try_class(&board, wanted, rng);
        if (guesses >= 0) {
            memcpy(puzzle, board.puzzle, (size_t)size * size);
            memcpy(solution, board.solution, (size_t)size * size);
            *rating = guesses;
            return true;
        }
    }
    return false;
}
