/* grid.c - the only place that knows how cells look on the wire. No state. */
#include "proto/grid.h"

#include <stdio.h>
#include <string.h>

#include "engine/data/sudoku.h"

enum { BLANK = 1 }; /* the token of a blank cell; digit d is BLANK + d */

trm_status proto_form_of(int seq_len, int vocab_size, bool sudoku, struct proto_form *form, trm_error *err) {
    int side = 0;
    while (side < 1024 && side * side < seq_len) {
        side++;
    }
    if (seq_len < 1 || side * side != seq_len) {
        return trm_fail(err, TRM_UNSUPPORTED, "puzzles of %d cells are not square", seq_len);
    }
    if (sudoku && data_sudoku_size_of(seq_len) != side) {
        return trm_fail(err, TRM_UNSUPPORTED, "there is no Sudoku of %d cells", seq_len);
    }
    if (sudoku && vocab_size < side + BLANK + 1) {
        return trm_fail(err, TRM_UNSUPPORTED, "a vocabulary of %d has no room for the digits 1 to %d", vocab_size,
                        side);
    }
    *form = (struct proto_form){.side = side, .sudoku_size = sudoku ? side : 0, .vocab_size = vocab_size};
    return TRM_OK;
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
        int digit = c == '.' ? 0 : c - '0';
        if (digit < 0 || digit > form->sudoku_size) {
            char shown[8];
            bool printable = c > ' ' && c < 0x7f;
            snprintf(shown, sizeof shown, printable ? "'%c'" : "\\x%02x", c);
            return proto_problem_set(problem, PROTO_INVALID, pointer,
                                     "character %zu is %s; cells are the digits 1 to %d, and 0 or . for blank", i + 1,
                                     shown, form->sudoku_size);
        }
        tokens[i] = BLANK + digit;
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

static bool read_cell(const json_t *cell, const struct proto_form *form, int32_t *token) {
    json_int_t last = form->sudoku_size ? form->sudoku_size : form->vocab_size - 1;
    json_int_t value = json_integer_value(cell);
    if (!json_is_integer(cell) || value < 0 || value > last) {
        return false;
    }
    *token = (form->sudoku_size ? BLANK : 0) + (int32_t)value;
    return true;
}

static bool read_row(const json_t *row, const struct proto_form *form, const char *grid_pointer, int number,
                     int32_t *tokens, struct proto_problem *problem) {
    char pointer[sizeof problem->pointer];
    pointer_to(pointer, sizeof pointer, grid_pointer, number, -1);
    bool characters = form->sudoku_size && json_is_string(row);
    if (!characters && !json_is_array(row)) {
        return proto_problem_set(problem, PROTO_INVALID, pointer, "a row is an array of %d integers%s", form->side,
                                 form->sudoku_size ? " or a string" : "");
    }
    size_t cells = characters ? json_string_length(row) : json_array_size(row);
    if (cells != (size_t)form->side) {
        return proto_problem_set(problem, PROTO_INVALID, pointer, "the row has %zu cells, not %d", cells, form->side);
    }
    if (characters) {
        return read_characters(json_string_value(row), cells, form, pointer, tokens, problem);
    }
    for (int column = 0; column < form->side; column++) {
        if (!read_cell(json_array_get(row, (size_t)column), form, &tokens[column])) {
            pointer_to(pointer, sizeof pointer, grid_pointer, number, column);
            return proto_problem_set(problem, PROTO_INVALID, pointer, "a cell is an integer from 0 to %d",
                                     form->sudoku_size ? form->sudoku_size : form->vocab_size - 1);
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
        int32_t digit = tokens[i] - BLANK;
        digits[i] = digit >= 1 && digit <= form->sudoku_size ? (uint8_t)digit : 0;
    }
}

static bool check_clues(const json_t *grid, const struct proto_form *form, const char *pointer, const int32_t *tokens,
                        struct proto_problem *problem) {
    uint8_t digits[SUDOKU_MAX_CELLS];
    char cell[sizeof problem->pointer];
    int a = 0, b = 0, side = form->side;
    to_digits(form, tokens, digits);
    if (data_sudoku_consistent(side, digits, &a, &b)) {
        return true;
    }
    const json_t *row = json_array_get(grid, (size_t)(b / side));
    if (row) {
        pointer_to(cell, sizeof cell, pointer, b / side, json_is_string(row) ? -1 : b % side);
    } else { /* the grid is one string */
        snprintf(cell, sizeof cell, "%s", pointer);
    }
    return proto_problem_set(problem, PROTO_CONTRADICTION, cell,
                             "row %d, column %d and row %d, column %d (counted from 1) are both %d", a / side + 1,
                             a % side + 1, b / side + 1, b % side + 1, digits[b]);
}

bool proto_grid_read(const json_t *grid, const struct proto_form *form, const char *pointer, int32_t *tokens,
                     struct proto_problem *problem) {
    size_t cells = (size_t)form->side * (size_t)form->side;
    if (form->sudoku_size && json_is_string(grid)) {
        if (json_string_length(grid) != cells) {
            return proto_problem_set(problem, PROTO_INVALID, pointer, "the grid has %zu characters, not %zu",
                                     json_string_length(grid), cells);
        }
        if (!read_characters(json_string_value(grid), cells, form, pointer, tokens, problem)) {
            return false;
        }
    } else if (!json_is_array(grid)) {
        return proto_problem_set(problem, PROTO_INVALID, pointer, "a grid is an array of %d rows%s", form->side,
                                 form->sudoku_size ? " or one string of all cells" : "");
    } else if (!read_rows(grid, form, pointer, tokens, problem)) {
        return false;
    }
    return !form->sudoku_size || check_clues(grid, form, pointer, tokens, problem);
}

void proto_grid_write(const struct proto_form *form, const int32_t *tokens, struct proto_text *text) {
    for (int row = 0; row < form->side; row++) {
        proto_text_add_literal(text, row ? "],[" : "[[");
        for (int column = 0; column < form->side; column++) {
            int32_t token = tokens[row * form->side + column];
            int32_t digit = token > BLANK ? token - BLANK : 0;
            if (column) {
                proto_text_add(text, ",", 1);
            }
            proto_text_add_int(text, form->sudoku_size ? digit : token);
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

bool proto_grid_valid(const struct proto_form *form, const int32_t *puzzle, const int32_t *answer) {
    uint8_t clues[SUDOKU_MAX_CELLS], digits[SUDOKU_MAX_CELLS];
    to_digits(form, puzzle, clues);
    to_digits(form, answer, digits);
    return data_sudoku_verify(form->sudoku_size, clues, digits);
}
