/* sudoku.h - Sudoku of size 4, 6 and 9: rules, solving, symmetry, making new puzzles.
 *
 * A grid is [size * size] values row by row, 0 for blank, 1..size for digits. Boxes: 2x2 for 4,
 * 2 rows x 3 columns for 6, 3x3 for 9. All functions are pure or work on the caller's rng: any thread. */
#ifndef TRM_ENGINE_DATA_SUDOKU_H
#define TRM_ENGINE_DATA_SUDOKU_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/data/rng.h"
#include "engine/status.h"

enum { SUDOKU_MAX_SIZE = 9, SUDOKU_MAX_CELLS = 81 };

int data_sudoku_box_rows(int size); /* 2, 2, 3 for 4, 6, 9; 0 for any other size */
int data_sudoku_box_cols(int size); /* 2, 3, 3 */

enum sudoku_unit { SUDOKU_ROW, SUDOKU_COL, SUDOKU_BOX, SUDOKU_UNITS };

/* The row, column and box of a cell, boxes counted row by row. The size must be known, here and below. */
void data_sudoku_units(int size, int cell, uint8_t unit[SUDOKU_UNITS]);

/* The size whose grid has `cells` cells, or 0. */
int data_sudoku_size_of(int cells);

/* True if `answer` is complete, obeys the rules and keeps every clue of `puzzle`. */
bool data_sudoku_verify(int size, const uint8_t *puzzle, const uint8_t *answer);

/* Finds two equal clues in one row, column or box: false and their cells in *a < *b, true if none. */
bool data_sudoku_consistent(int size, const uint8_t *puzzle, int *a, int *b);

/* Which digits a blank cell may have by the clues in its row, column and box: bit d for digit d; 0 for a clue.
 * candidates [size * size]. */
void data_sudoku_candidates(int size, const uint8_t *puzzle, uint16_t *candidates);

/* Counts solutions up to `limit` (1 or 2 is usual) and stores the first in `solution` (may be NULL).
 * The solver knows naked and hidden singles and else tries the digits of the most constrained cell, in
 * order; *guesses (may be NULL) counts the digits tried. With limit 1 that is, number for number, the
 * difficulty rating of the public collections. */
int data_sudoku_solve(int size, const uint8_t *puzzle, int limit, uint8_t *solution, int *guesses);

/* A random complete grid. */
void data_sudoku_fill(int size, struct data_rng *rng, uint8_t *grid);

/* One random element of the symmetry group: digits permuted, rows within bands, bands, columns within stacks,
 * stacks, and (boxes being square) transposition. */
struct sudoku_symmetry {
    uint8_t from[SUDOKU_MAX_CELLS];     /* cell i of the image shows cell from[i] */
    uint8_t digit[SUDOKU_MAX_SIZE + 1]; /* the new digit of an old one; blank stays blank */
};
void data_sudoku_draw_symmetry(int size, struct data_rng *rng, struct sudoku_symmetry *symmetry);

/* The same applied to both grids. `puzzle_out`/`solution_out` may not overlap the inputs. */
void data_sudoku_shuffle(int size, struct data_rng *rng, const uint8_t *puzzle, const uint8_t *solution,
                         uint8_t *puzzle_out, uint8_t *solution_out);

/* The smallest of all symmetric images of a puzzle (all elements of that group, digits numbered in order of
 * appearance), so that two puzzles are images of each other exactly if their canonical forms are equal.
 * canonical [size * size] may not overlap the puzzle. Takes a tenth of a millisecond or so. */
void data_sudoku_canonical(int size, const uint8_t *puzzle, uint8_t *canonical);

/* Difficulty classes of generated puzzles (DESIGN section 8), by the guesses of data_sudoku_solve() with
 * limit 1. They do not overlap. */
enum sudoku_class {
    SUDOKU_EASY,     /* singles only, many clues (>= 32 of 81; in proportion for smaller sizes) */
    SUDOKU_MEDIUM,   /* singles only, fewer clues, none of which can go without a guess */
    SUDOKU_HARD,     /* 1 to 3 guesses */
    SUDOKU_VERY_HARD /* more */
};
enum { SUDOKU_CLASSES = 4 };

/* The class of a puzzle with so many clues that needs so many guesses, whoever made it. */
enum sudoku_class data_sudoku_class_of(int size, int clues, int guesses);

/* Makes a puzzle with exactly one solution of the wanted class, every clue of a very hard one needed;
 * gives up and returns false after a bounded number of tries (size 4 has no hard puzzles, and very hard
 * ones of size 6 are rare). *rating: guesses. */
bool data_sudoku_generate(int size, enum sudoku_class wanted, struct data_rng *rng, uint8_t *puzzle, uint8_t *solution,
                          int *rating);

#endif
