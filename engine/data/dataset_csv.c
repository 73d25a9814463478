/* dataset_csv.c - the form of Sudoku-Extreme and Maze-Hard: a header line, then `source,question,answer,rating`, the
 * blanks of Sudoku as dots or zeros, the cells of mazes as "# SGo". Files come from strangers: every line is checked
 * and an error names it. */
#include <stdlib.h>
#include <string.h>

#include "engine/data/dataset.h"
#include "engine/data/maze.h"
#include "engine/data/sudoku.h"
#include "engine/file.h"

static const char HEADER[] = "source,question,answer,rating";

struct text {
    const char *bytes;
    size_t length;
};

/* Takes the next line off `rest`, without its end; false at the end of the file. */
static bool next_line(struct text *rest, struct text *line) {
    if (rest->length == 0)
        return false;
    const char *end = memchr(rest->bytes, '\n', rest->length);
    line->bytes = rest->bytes;
    line->length = end ? (size_t)(end - rest->bytes) : rest->length;
    const size_t taken = line->length + (end != NULL);
    rest->bytes += taken;
    rest->length -= taken;
    if (line->length && line->bytes[line->length - 1] == '\r')
        line->length--;
    return true;
}

static size_t count_lines(struct text rest) {
    struct text line;
    size_t lines = 0;
    while (next_line(&rest, &line))
        lines++;
    return lines;
}

/* Splits a line at its commas; false unless there are exactly `count` fields. */
static bool split(struct text line, struct text *fields, int count) {
    for (int i = 0; i < count; i++) {
        const char *comma = memchr(line.bytes, ',', line.length);
        if ((comma != NULL) != (i < count - 1))
            return false;
        fields[i] = (struct text){line.bytes, comma ? (size_t)(comma - line.bytes) : line.length};
        if (comma) {
            line.length -= fields[i].length + 1;
            line.bytes = comma + 1;
        }
    }
    return true;
}

/* Reads the cells of `set`'s kind of puzzle as tokens; the first bad cell, or -1 when all are good. */
static int parse_cells(struct text field, const struct data_set *set, uint8_t *tokens) {
    for (int i = 0; i < set->seq_len; i++) {
        const char c = field.bytes[i];
        const char *symbol = set->maze_side && c ? strchr(MAZE_SYMBOLS, c) : NULL;
        const bool digit = !set->maze_side && (c == '.' || (c >= '0' && c <= '0' + set->sudoku_size));
        if (!symbol && !digit)
            return i;
        tokens[i] = (uint8_t)(1 + (symbol ? symbol - MAZE_SYMBOLS : c == '.' ? 0 : c - '0'));
    }
    return -1;
}

static trm_status parse_rating(struct text field, int32_t *rating, trm_error *err) {
    int64_t value = 0;
    if (field.length == 0) {
        *rating = -1;
        return TRM_OK;
    }
    for (size_t i = 0; i < field.length; i++) {
        const char c = field.bytes[i];
        if (c >= '0' && c <= '9')
            value = value * 10 + (c - '0');
        if (c < '0' || c > '9' || value > INT32_MAX)
            return trm_fail(err, TRM_FORMAT, "the rating is not a whole number from 0 to %d", INT32_MAX);
    }
    *rating = (int32_t)value;
    return TRM_OK;
}

/* Fills row `row` of `set` from one line; the message does not yet say which line. */
static trm_status parse_row(struct text line, struct data_set *set, size_t row, trm_error *err) {
    struct text field[4]; /* source, question, answer, rating */
    if (!split(line, field, 4))
        return trm_fail(err, TRM_FORMAT, "not four fields source,question,answer,rating");

    const int side = set->maze_side ? set->maze_side : set->sudoku_size;
    const size_t cells = (size_t)set->seq_len;
    uint8_t *const tokens[2] = {set->inputs + row * cells, set->labels + row * cells};
    for (int i = 0; i < 2; i++) {
        const char *what = i == 0 ? "question" : "answer";
        if (field[1 + i].length != cells)
            return trm_fail(err, TRM_FORMAT, "the %s has %zu cells, not %zu", what, field[1 + i].length, cells);
        const int bad = parse_cells(field[1 + i], set, tokens[i]);
        if (bad >= 0)
            return trm_fail(err, TRM_FORMAT, "the %s has a bad symbol at row %d, column %d", what, bad / side + 1,
                            bad % side + 1);
    }
    if (!data_set_is_right(set, row)) {
        const char *fault = set->maze_side ? data_maze_fault(side, tokens[0]) : NULL;
        return trm_fail(err, TRM_FORMAT, "%s",
                        fault            ? fault
                        : set->maze_side ? "the answer is not a shortest path"
                                         : "the answer breaks the rules or a clue");
    }

    trm_status status = parse_rating(field[3], &set->ratings[row], err);
    if (status == TRM_OK)
        status = data_set_source(set, field[0].bytes, field[0].length, &set->sources[row], err);
    return status;
}

/* A set for `count` puzzles of the kind that the first row has: mazes have a start. */
static trm_status create_for(struct text line, const char *path, size_t count, struct data_set **set, trm_error *err) {
    struct text field[4];
    const bool whole = split(line, field, 4) && field[1].length <= MAZE_MAX_CELLS;
    const bool maze = whole && memchr(field[1].bytes, MAZE_SYMBOLS[MAZE_START - 1], field[1].length);
    const int cells = whole ? (int)field[1].length : 0;
    if (maze && data_maze_side_of(cells))
        return data_set_create_maze(data_maze_side_of(cells), count, set, err);
    if (!maze && data_sudoku_size_of(cells))
        return data_set_create_sudoku(data_sudoku_size_of(cells), count, set, err);
    return trm_fail(err, TRM_FORMAT, "%s:2: neither a Sudoku of 16, 36 or 81 cells nor a square maze", path);
}

trm_status data_set_load_csv(const char *path, size_t limit, struct data_set **set, trm_error *err) {
    *set = NULL;
    struct trm_file file;
    struct data_set *made = NULL;
    trm_status status = trm_file_map(path, &file, err);
    if (status != TRM_OK)
        return status;

    struct text rest = {(const char *)file.bytes, file.size}, line;
    if (!next_line(&rest, &line) || line.length != strlen(HEADER) || memcmp(line.bytes, HEADER, line.length) != 0) {
        status = trm_fail(err, TRM_FORMAT, "%s:1: the header is not %s", path, HEADER);
        goto out;
    }
    size_t count = count_lines(rest);
    if (limit && count > limit)
        count = limit;
    struct text after_first = rest;
    if (!next_line(&after_first, &line)) {
        status = trm_fail(err, TRM_FORMAT, "%s:2: no puzzle", path);
        goto out;
    }
    status = create_for(line, path, count, &made, err);
    for (size_t row = 0; status == TRM_OK && row < count; row++) {
        trm_error reason;
        next_line(&rest, &line);
        status = parse_row(line, made, row, &reason);
        if (status != TRM_OK)
            trm_fail(err, status, "%s:%zu: %.100s", path, row + 2, reason.text);
    }
    if (status == TRM_OK) {
        *set = made;
        made = NULL;
    }

out:
    data_set_destroy(made);
    trm_file_unmap(&file);
    return status;
}

/* A row of tokens as text, the blanks of Sudoku as dots. */
static void print_cells(const struct data_set *set, const uint8_t *tokens, FILE *stream) {
    static const char DIGITS[] = ".123456789";
    const char *symbols = set->maze_side ? MAZE_SYMBOLS : DIGITS;
    for (int i = 0; i < set->seq_len; i++)
        putc(symbols[tokens[i] - 1], stream);
}

trm_status data_set_print_csv(const struct data_set *set, FILE *stream, trm_error *err) {
    if (!set->sudoku_size && !set->maze_side)
        return trm_fail(err, TRM_INVALID, "only Sudoku and mazes can be written as CSV");
    fprintf(stream, "%s\n", HEADER);
    for (size_t row = 0; row < set->count; row++) {
        const size_t first = row * (size_t)set->seq_len;
        fprintf(stream, "%s,", set->source_count ? set->source_names[set->sources[row]] : "unknown");
        print_cells(set, set->inputs + first, stream);
        putc(',', stream);
        print_cells(set, set->labels + first, stream);
        putc(',', stream);
        if (set->ratings[row] >= 0)
            fprintf(stream, "%d", set->ratings[row]);
        putc('\n', stream);
    }
    return TRM_OK;
}

trm_status data_set_save_csv(const struct data_set *set, const char *path, trm_error *err) {
    struct trm_output out;
    trm_status status = trm_output_open(&out, path, err);
    if (status != TRM_OK)
        return status;
    status = data_set_print_csv(set, out.stream, err);
    if (status == TRM_OK)
        status = trm_output_commit(&out, err);
    trm_output_close(&out);
    return status;
}
