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

/* The size whose grid has `cells` cells, or 0. */
int data_sudoku_size_of(int cells);

/* True if `answer` is complete, obeys the rules and keeps every clue of `puzzle`. */
bool data_sudoku_verify(int size, const uint8_t *puzzle, const uint8_t *answer);

/* Finds two equal clues in one row, column or box: false and their cells in *a < *b, true if none. */
bool data_sudoku_consistent(int size, const uint8_t *puzzle, int *a, int *b);

/* Counts solutions up to `limit` (1 or 2 is usual) and stores the first in `solution` (may be NULL).
 * *guesses (may be NULL) counts branching decisions of a solver with naked and hidden singles that
 * branches on the most constrained cell: the difficulty rating of the public collections. */
int data_sudoku_solve(int size, const uint8_t *puzzle, int limit, uint8_t *solution, int *guesses);

/* One random element of the symmetry group, applied to both grids: digits permuted, rows within
 * bands, bands, columns within stacks, stacks, and (boxes being square) transposition.
 * `puzzle_out`/`solution_out` may not overlap the inputs. */
void data_sudoku_shuffle(int size, struct data_rng *rng, const uint8_t *puzzle, const uint8_t *solution,
                         uint8_t *puzzle_out, uint8_t *solution_out);

/* Difficulty classes of generated puzzles (DESIGN section 8). */
enum sudoku_class {
    SUDOKU_EASY,     /* singles only, many clues (>= 32 of 81; in proportion for smaller sizes) */
    SUDOKU_MEDIUM,   /* singles only */
    SUDOKU_HARD,     /* 1 to 3 guesses */
    SUDOKU_VERY_HARD /* more */
};

/* Makes a puzzle with exactly one solution of the wanted class; gives up and returns false after
 * a bounded number of tries (small sizes have no very hard puzzles). *rating: guesses. */
bool data_sudoku_generate(int size, enum sudoku_class wanted, struct data_rng *rng, uint8_t *puzzle, uint8_t *solution,
                          int *rating);

#endif
