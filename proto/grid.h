/* grid.h - puzzles on the wire: grids of JSON <-> tokens of a model.
 *
 * A Sudoku grid comes as rows of integers [[5,3,0,...],...], as rows of characters ["53..7....",...]
 * or as one string of all cells; 0 and . are blank. Its tokens are those of the training data:
 * 0 padding, 1 blank, digit d is d + 1. A grid of any other model is rows of integers, its tokens.
 * Pure functions: any thread. */
#ifndef TRM_PROTO_GRID_H
#define TRM_PROTO_GRID_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/status.h"
#include "proto/problem.h"
#include "proto/text.h"

/* What the puzzles of a model look like. */
struct proto_form {
    int side;        /* rows, and columns */
    int sudoku_size; /* 4, 6, 9: Sudoku of that size; 0: cells are tokens */
    int vocab_size;  /* tokens are 0 .. vocab_size - 1 */
};

/* The form of a model with `seq_len` cells. TRM_UNSUPPORTED if the cells are no square, or no Sudoku
 * of a known size although `sudoku` says so, or the vocabulary has no room for its digits. */
trm_status proto_form_of(int seq_len, int vocab_size, bool sudoku, struct proto_form *form, trm_error *err);

/* How many cells `grid` seems to have, to choose a model by; 0 if it is no grid at all. */
size_t proto_grid_cells(const json_t *grid);

/* Reads `grid` into tokens ([side * side]). `pointer` is where it stands in the request. False with
 * *problem filled in when a row, a cell or a symbol is wrong or two Sudoku clues are equal. */
bool proto_grid_read(const json_t *grid, const struct proto_form *form, const char *pointer, int32_t *tokens,
                     struct proto_problem *problem);

/* Writes tokens as rows of integers: digits of a Sudoku (0 where there is none), else the tokens. */
void proto_grid_write(const struct proto_form *form, const int32_t *tokens, struct proto_text *text);

/* Writes the cells where two grids differ as [[row,col],...], counted from 0. */
void proto_grid_write_changes(const struct proto_form *form, const int32_t *before, const int32_t *after,
                              struct proto_text *text);

/* True if `answer` is a complete, correct Sudoku that keeps the clues of `puzzle`; tokens of a form
 * whose sudoku_size is not 0. */
bool proto_grid_valid(const struct proto_form *form, const int32_t *puzzle, const int32_t *answer);

#endif
