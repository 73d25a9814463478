/* grid.c - the only place that knows how cells look on the wire. No state. */
#include "proto/grid.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/data/arc.h"
#include "engine/data/maze.h"
#include "engine/data/puzzle.h"
#include "engine/data/sudoku.h"
#include "engine/square.h"

enum { FIRST = 1 }; /* the token of a form's first symbol; 0 is padding */

/* A Sudoku's first symbol is blank: digit d is token FIRST + d. */
static const char *const sudoku_symbols[] = {[4] = ".1234", [6] = ".123456", [9] = ".123456789"};

trm_status proto_form_of(int seq_len, int vocab_size, enum trm_puzzle puzzle, struct proto_form *form, trm_error *err) {
    const bool sudoku = puzzle == TRM_PUZZLE_SUDOKU;
    const int side = trm_square_side(seq_len);
    if (side == 0) {
        return trm_fail(err, TRM_UNSUPPORTED, "puzzles of %d cells are not square", seq_len);
    }
    if (sudoku && data_sudoku_size_of(seq_len) != side) {
        return trm_fail(err, TRM_UNSUPPORTED, "there is no Sudoku of %d cells", seq_len);
    }
    if (puzzle == TRM_PUZZLE_ARC && (data_arc_side_of(seq_len) == 0 || vocab_size < DATA_ARC_VOCABULARY)) {
        return trm_fail(err, TRM_UNSUPPORTED, "ARC has at most %d cells of %d tokens or more, not %d of %d",
                        DATA_ARC_CELLS, DATA_ARC_VOCABULARY, seq_len, vocab_size);
    }
    const char *symbols = sudoku ? sudoku_symbols[side] : puzzle == TRM_PUZZLE_MAZE ? MAZE_SYMBOLS : NULL;
    if (symbols && (size_t)vocab_size < FIRST + strlen(symbols)) {
        return trm_fail(err, TRM_UNSUPPORTED, "a vocabulary of %d has no room for the symbols \"%s\"", vocab_size,
                        symbols);
    }
    *form = (struct proto_form){.side = side,
                                .sudoku_size = sudoku ? side : 0,
                                .takes_tasks = puzzle == TRM_PUZZLE_ARC,
                                .maze = puzzle == TRM_PUZZLE_MAZE && data_puzzle_has_verifier(puzzle, seq_len),
                                .vocab_size = vocab_size,
                                .symbols = symbols};
    return TRM_OK;
}

/* How much more than its integer a token is. */
static int offset(const struct proto_form *form) {
    return form->sudoku_size ? FIRST : 0;
}

int proto_form_last(const struct proto_form *form) {
    return form->sudoku_size ? form->sudoku_size : form->vocab_size - 1;
}

int32_t proto_form_integer(const struct proto_form *form, int32_t token) {
    int32_t integer = token - offset(form);
    return integer >= 0 && integer <= proto_form_last(form) ? integer : 0;
}

bool proto_form_token(const struct proto_form *form, json_int_t integer, int32_t *token) {
    if (integer < 0 || integer > proto_form_last(form)) {
        return false;
    }
    *token = (int32_t)integer + offset(form);
    return true;
}

void proto_form_write_symbols(const struct proto_form *form, struct proto_text *text) {
    if (!form->symbols) {
        proto_text_add_literal(text, "null");
        return;
    }
    proto_text_add_literal(text, offset(form) ? "[" : "[\"\",");
    for (const char *symbol = form->symbols; *symbol; symbol++) {
        proto_text_addf(text, "%s\"%c\"", symbol == form->symbols ? "" : ",", *symbol);
    }
    proto_text_add_literal(text, "]");
}

size_t proto_grid_cells(const json_t *grid) {
    if (json_is_string(grid)) {
        return json_string_length(grid);
    }
    const json_t *row = json_array_get(grid, 0);
    return json_array_size(grid) * (json_is_string(row) ? json_string_length(row) : json_array_size(row));
}

/* `count` characters at `text` into tokens. The pointer names the string, the detail the character. */
static bool read_characters(const char *text, size_t count, const struct proto_form *form, const char *pointer,
                            int32_t *tokens, struct proto_problem *problem) {
    for (size_t i = 0; i < count; i++) {
        unsigned char c = (unsigned char)text[i];
        const char *symbol = strchr(form->symbols, form->sudoku_size && c == '0' ? '.' : c);
        if (!symbol || !c) {
            char shown[8];
            bool printable = c > ' ' && c < 0x7f;
            snprintf(shown, sizeof shown, printable ? "'%c'" : "\\x%02x", c);
            return proto_problem_set(problem, PROTO_INVALID, pointer, "character %zu is %s; cells are of \"%s\"%s",
                                     i + 1, shown, form->symbols, form->sudoku_size ? ", and 0 is . too" : "");
        }
        tokens[i] = FIRST + (int32_t)(symbol - form->symbols);
    }
    return true;
}

/* The JSON pointer of a cell, or of a whole row when `column` is negative. */
static void pointer_to(char *pointer, size_t size, const char *grid, int row, int column) {
    int length = column < 0 ? snprintf(pointer, size, "%s/%d", grid, row)
                            : snprintf(pointer, size, "%s/%d/%d", grid, row, column);
    if (length < 0) {
        pointer[0] = '\0';
    }
}

static bool read_row(const json_t *row, const struct proto_form *form, const char *grid_pointer, int number,
                     int32_t *tokens, struct proto_problem *problem) {
    char pointer[sizeof problem->pointer];
    pointer_to(pointer, sizeof pointer, grid_pointer, number, -1);
    bool characters = form->symbols && json_is_string(row);
    if (!characters && !json_is_array(row)) {
        return proto_problem_set(problem, PROTO_INVALID, pointer, "a row is an array of %d integers%s", form->side,
                                 form->symbols ? " or a string" : "");
    }
    size_t cells = characters ? json_string_length(row) : json_array_size(row);
    if (cells != (size_t)form->side) {
        return proto_problem_set(problem, PROTO_INVALID, pointer, "the row has %zu cells, not %d", cells, form->side);
    }
    if (characters) {
        return read_characters(json_string_value(row), cells, form, pointer, tokens, problem);
    }
    for (int column = 0; column < form->side; column++) {
        const json_t *cell = json_array_get(row, (size_t)column);
        if (!json_is_integer(cell) || !proto_form_token(form, json_integer_value(cell), &tokens[column])) {
            pointer_to(pointer, sizeof pointer, grid_pointer, number, column);
            return proto_problem_set(problem, PROTO_INVALID, pointer, "a cell is an integer from 0 to %d",
                                     proto_form_last(form));
        }
    }
    return true;
}

static bool read_rows(const json_t *grid, const struct proto_form *form, const char *pointer, int32_t *tokens,
                      struct proto_problem *problem) {
    size_t rows = json_array_size(grid);
    if (rows != (size_t)form->side) {
        return proto_problem_set(problem, PROTO_INVALID, pointer, "the grid has %zu rows, not %d", rows, form->side);
    }
    for (int row = 0; row < form->side; row++) {
        if (!read_row(json_array_get(grid, (size_t)row), form, pointer, row, tokens + row * form->side, problem)) {
            return false;
        }
    }
    return true;
}

/* Digits of a Sudoku, 0 where a token is none. */
static void to_digits(const struct proto_form *form, const int32_t *tokens, uint8_t *digits /* [side * side] */) {
    for (int i = 0; i < form->side * form->side; i++) {
        digits[i] = (uint8_t)proto_form_integer(form, tokens[i]);
    }
}

/* Vocabularies may be larger than the symbols: what no uint8_t holds is no cell of a maze either. */
static bool check_maze(const struct proto_form *form, const char *pointer, const int32_t *tokens,
                       struct proto_problem *problem) {
    uint8_t cells[MAZE_MAX_CELLS];
    for (int i = 0; i < form->side * form->side; i++) {
        cells[i] = tokens[i] <= MAZE_PATH ? (uint8_t)tokens[i] : 0;
    }
    const char *fault = data_maze_fault(form->side, cells);
    return !fault || proto_problem_set(problem, PROTO_INVALID, pointer, "%s", fault);
}

/* `grid` is NULL where the cells are no JSON of their own. */
static bool check_clues(const json_t *grid, const struct proto_form *form, const char *pointer, const int32_t *tokens,
                        struct proto_problem *problem) {
    uint8_t digits[SUDOKU_MAX_CELLS];
    char cell[sizeof problem->pointer];
    int a = 0, b = 0, side = form->side;
    if (form->maze) {
        return check_maze(form, pointer, tokens, problem);
    }
    if (!form->sudoku_size) {
        return true;
    }
    to_digits(form, tokens, digits);
    if (data_sudoku_consistent(side, digits, &a, &b)) {
        return true;
    }
    const json_t *row = json_array_get(grid, (size_t)(b / side));
    if (row) {
        pointer_to(cell, sizeof cell, pointer, b / side, json_is_string(row) ? -1 : b % side);
    } else { /* all cells are at one place */
        snprintf(cell, sizeof cell, "%s", pointer);
    }
    return proto_problem_set(problem, PROTO_CONTRADICTION, cell,
                             "row %d, column %d and row %d, column %d (counted from 1) are both %d", a / side + 1,
                             a % side + 1, b / side + 1, b % side + 1, digits[b]);
}

/* The cells of `grid`, each by itself. */
static bool read_cells(const json_t *grid, const struct proto_form *form, const char *pointer, int32_t *tokens,
                       struct proto_problem *problem) {
    size_t cells = (size_t)form->side * (size_t)form->side;
    if (form->symbols && json_is_string(grid)) {
        if (json_string_length(grid) != cells) {
            return proto_problem_set(problem, PROTO_INVALID, pointer, "the grid has %zu characters, not %zu",
                                     json_string_length(grid), cells);
        }
        return read_characters(json_string_value(grid), cells, form, pointer, tokens, problem);
    }
    if (!json_is_array(grid)) {
        return proto_problem_set(problem, PROTO_INVALID, pointer, "a grid is an array of %d rows%s", form->side,
                                 form->symbols ? " or one string of all cells" : "");
    }
    return read_rows(grid, form, pointer, tokens, problem);
}

bool proto_grid_read(const json_t *grid, const struct proto_form *form, const char *pointer, int32_t *tokens,
                     struct proto_problem *problem) {
    return read_cells(grid, form, pointer, tokens, problem) && check_clues(grid, form, pointer, tokens, problem);
}

bool proto_grid_take(const int32_t *integers, const struct proto_form *form, const char *pointer, int32_t *tokens,
                     struct proto_problem *problem) {
    for (int i = 0; i < form->side * form->side; i++) {
        if (!proto_form_token(form, integers[i], &tokens[i])) {
            return proto_problem_set(problem, PROTO_INVALID, pointer,
                                     "row %d, column %d (counted from 1) is %d; a cell is an integer from 0 to %d",
                                     i / form->side + 1, i % form->side + 1, (int)integers[i], proto_form_last(form));
        }
    }
    return check_clues(NULL, form, pointer, tokens, problem);
}

bool proto_grid_fits(const json_t *grid, const struct proto_form *form) {
    struct proto_problem problem;
    int32_t *tokens = calloc((size_t)form->side * (size_t)form->side, sizeof *tokens);
    bool fits = tokens && read_cells(grid, form, "", tokens, &problem);
    free(tokens);
    return fits;
}

void proto_grid_write(const struct proto_form *form, const int32_t *tokens, struct proto_text *text) {
    for (int row = 0; row < form->side; row++) {
        proto_text_add_literal(text, row ? "],[" : "[[");
        for (int column = 0; column < form->side; column++) {
            if (column) {
                proto_text_add(text, ",", 1);
            }
            proto_text_add_int(text, proto_form_integer(form, tokens[row * form->side + column]));
        }
    }
    proto_text_add_literal(text, "]]");
}

void proto_grid_write_changes(const struct proto_form *form, const int32_t *before, const int32_t *after,
                              struct proto_text *text) {
    const char *separator = "";
    proto_text_add(text, "[", 1);
    for (int i = 0; i < form->side * form->side; i++) {
        if (before[i] != after[i]) {
            proto_text_addf(text, "%s[%d,%d]", separator, i / form->side, i % form->side);
            separator = ",";
        }
    }
    proto_text_add(text, "]", 1);
}

bool proto_form_has_verifier(const struct proto_form *form) {
    return form->sudoku_size > 0 || form->maze;
}

bool proto_grid_valid(const struct proto_form *form, const int32_t *puzzle, const int32_t *answer) {
    return data_puzzle_verify(form->maze ? TRM_PUZZLE_MAZE : TRM_PUZZLE_SUDOKU, form->side * form->side, puzzle,
                              answer);
}
