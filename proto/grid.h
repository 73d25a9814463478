/* grid.h - puzzles on the wire: grids of JSON <-> tokens of a model.
 *
 * A grid is rows of integers [[5,3,0,...],...], and where cells have characters rows of those
 * ["53..7....",...] or one string of all cells. Tokens are those of the training data:
 *
 *     Sudoku   integers 0 (blank) to 9, characters . (or 0) and 1 to 9; token = integer + 1
 *     maze     integers 1 to 5, characters "# SGo": wall, floor, start, goal, path; token = integer
 *     others   integers, the tokens themselves; those of ARC's models only inside of tasks (request.h)
 *
 * Pure functions: any thread. */
#ifndef TRM_PROTO_GRID_H
#define TRM_PROTO_GRID_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"
#include "proto/problem.h"
#include "proto/text.h"

/* What the puzzles of a model look like. */
struct proto_form {
    int side;            /* rows, and columns */
    int sudoku_size;     /* 4, 6, 9: Sudoku of that size; 0: something else */
    bool maze;           /* mazes whose answers can be checked */
    bool takes_tasks;    /* ARC: puzzles come as tasks (request.h), not as grids */
    int vocab_size;      /* tokens are 0 .. vocab_size - 1 */
    const char *symbols; /* the characters of tokens 1, 2 ...; NULL: cells are integers only */
};

/* The form of a model with `seq_len` cells. TRM_UNSUPPORTED if the cells are no square, or no Sudoku
 * of a known size although `puzzle` says so, or the vocabulary has no room for the symbols. */
trm_status proto_form_of(int seq_len, int vocab_size, enum trm_puzzle puzzle, struct proto_form *form, trm_error *err);

/* The symbols as a JSON array: element i is the character of integer i, "" if it has none. Or null. */
void proto_form_write_symbols(const struct proto_form *form, struct proto_text *text);

/* How many cells `grid` seems to have, to choose a model by; 0 if it is no grid at all. */
size_t proto_grid_cells(const json_t *grid);

/* Whether `grid` has the shape and only symbols of `form`; false also if memory ran out. */
bool proto_grid_fits(const json_t *grid, const struct proto_form *form);

/* Reads `grid` into tokens ([side * side]). `pointer` is where it stands in the request. False with
 * *problem filled in when a row, a cell or a symbol is wrong, two Sudoku clues are equal, or a maze is not
 * walls and floor with a way from one start to one goal. */
bool proto_grid_read(const json_t *grid, const struct proto_form *form, const char *pointer, int32_t *tokens,
                     struct proto_problem *problem);

/* Reads integers ([side * side], as on the wire) into tokens, with the same checks; `pointer` is where they
 * stand in the request. */
bool proto_grid_take(const int32_t *integers, const struct proto_form *form, const char *pointer, int32_t *tokens,
                     struct proto_problem *problem);

/* The integer that stands for a token on the wire, 0 for a token that is no symbol of a Sudoku; and the
 * other way: false if `integer` is out of range. */
int32_t proto_form_integer(const struct proto_form *form, int32_t token);
bool proto_form_token(const struct proto_form *form, json_int_t integer, int32_t *token);

/* The largest integer of a cell on the wire. */
int proto_form_last(const struct proto_form *form);

/* Writes tokens as rows of integers. */
void proto_grid_write(const struct proto_form *form, const int32_t *tokens, struct proto_text *text);

/* Writes the cells where two grids differ as [[row,col],...], counted from 0. */
void proto_grid_write_changes(const struct proto_form *form, const int32_t *before, const int32_t *after,
                              struct proto_text *text);

/* Whether answers of this form can be checked. */
bool proto_form_has_verifier(const struct proto_form *form);

/* True if `answer` is a complete, correct Sudoku that keeps the clues of `puzzle`, or the maze `puzzle` with
 * exactly one shortest path marked; tokens of a form that has a verifier. */
bool proto_grid_valid(const struct proto_form *form, const int32_t *puzzle, const int32_t *answer);

#endif
