/* puzzle.h - what is known of a kind of puzzle, for those who have tokens in hand and do not care which kind it is:
 * whether an answer can be checked, and which images of a puzzle are as good as the puzzle. Pure functions: any
 * thread. */
#ifndef TRM_ENGINE_DATA_PUZZLE_H
#define TRM_ENGINE_DATA_PUZZLE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/data/maze.h"
#include "engine/engine.h"

enum { PUZZLE_MAX_CELLS = MAZE_MAX_CELLS, PUZZLE_TOKENS = 16 };

/* Whether answers of such puzzles of `cells` cells can be checked. */
bool data_puzzle_has_verifier(enum trm_puzzle kind, int cells);

/* True if there is a verifier and it accepts `answer` for `puzzle`; both [cells] tokens, of any value. */
bool data_puzzle_verify(enum trm_puzzle kind, int cells, const int32_t *puzzle, const int32_t *answer);

/* Puts the cells that the puzzle gives (clues of a Sudoku; a maze's walls, start and goal) into the answer; none where
 * the rules are not known. Both are [cells] tokens, of any value. */
void data_puzzle_keep_given(enum trm_puzzle kind, int cells, const int32_t *puzzle, int32_t *answer);

/* Whether cells of such puzzles can be guessed: whether data_puzzle_candidates() knows them. */
bool data_puzzle_has_guesses(enum trm_puzzle kind, int cells);

/* Which tokens a cell may have by the rules and the cells that are given: bit t for token t. 0 for a cell that is
 * given, and everywhere where the rules are not known. puzzle [cells] tokens, of any value; candidates [cells]. */
void data_puzzle_candidates(enum trm_puzzle kind, int cells, const int32_t *puzzle, uint16_t *candidates);

/* How many images a puzzle has, itself among them: 1 where no symmetry is known, 8 of a maze, more than anyone wants of
 * a Sudoku. */
int data_puzzle_images(enum trm_puzzle kind, int cells);

/* A symmetry: it moves cells and, in Sudoku, renames digits. */
struct data_symmetry {
    uint16_t from[PUZZLE_MAX_CELLS]; /* [cells] cell i of the image is cell from[i] of the puzzle */
    uint8_t to[PUZZLE_TOKENS];       /* a token's token in the image; larger ones stay */
};

/* Symmetry number `image`, which must be below data_puzzle_images(): 0 changes nothing; those of a maze are
 * data_maze_image_cell()'s; each other one of a Sudoku is drawn at random from `seed`. */
void data_symmetry_get(enum trm_puzzle kind, int cells, int image, uint64_t seed, struct data_symmetry *symmetry);

/* The image of `tokens`, and what has that image: each writes [cells] tokens to `out`, another array. */
void data_symmetry_apply(const struct data_symmetry *symmetry, int cells, const int32_t *tokens, int32_t *out);
void data_symmetry_undo(const struct data_symmetry *symmetry, int cells, const int32_t *tokens, int32_t *out);

#endif
