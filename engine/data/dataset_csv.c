/* dataset_csv.c - the Sudoku-Extreme form: a header line, then `source,question,answer,rating`, blanks
 * as dots or zeros. Files come from strangers: every line is checked and an error names it. */
#include <stdlib.h>
#include <string.h>

#include "engine/data/dataset.h"
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

/* Reads a grid of `size` with values up to `size`; the first bad cell, or -1 when all are good. */
static int parse_grid(struct text field, int size, uint8_t *grid) {
    for (int i = 0; i < size * size; i++) {
        const char c = field.bytes[i];
        if (c != '.' && (c < '0' || c > '0' + size))
            return i;
        grid[i] = c == '.' ? 0 : (uint8_t)(c - '0');
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

    const int size = set->sudoku_size;
    const size_t cells = (size_t)set->seq_len;
    uint8_t grid[2][SUDOKU_MAX_CELLS]; /* question, answer */
    for (int i = 0; i < 2; i++) {
        const char *what = i == 0 ? "question" : "answer";
        if (field[1 + i].length != cells)
            return trm_fail(err, TRM_FORMAT, "the %s has %zu cells, not %zu", what, field[1 + i].length, cells);
        const int bad = parse_grid(field[1 + i], size, grid[i]);
        if (bad >= 0)
            return trm_fail(err, TRM_FORMAT, "the %s has a bad symbol at row %d, column %d", what, bad / size + 1,
                            bad % size + 1);
    }
    if (!data_sudoku_verify(size, grid[0], grid[1]))
        return trm_fail(err, TRM_FORMAT, "the answer breaks the rules or a clue");
    data_sudoku_tokens(set->seq_len, grid[0], set->inputs + row * cells);
    data_sudoku_tokens(set->seq_len, grid[1], set->labels + row * cells);

    trm_status status = parse_rating(field[3], &set->ratings[row], err);
    if (status == TRM_OK)
        status = data_set_source(set, field[0].bytes, field[0].length, &set->sources[row], err);
    return status;
}

/* The size of Sudoku of a file, from its first row; 0 if that has no question of a known size. */
static int size_of_row(struct text line) {
    struct text field[4];
    return split(line, field, 4) && field[1].length <= SUDOKU_MAX_CELLS ? data_sudoku_size_of((int)field[1].length) : 0;
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
    const int size = size_of_row(line);
    if (!size) {
        status = trm_fail(err, TRM_FORMAT, "%s:2: not a Sudoku of 16, 36 or 81 cells", path);
        goto out;
    }
    status = data_set_create_sudoku(size, count, &made, err);
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

/* A row of tokens as text, blanks as dots. */
static void format_cells(int cells, const uint8_t *tokens, char *text) {
    for (int i = 0; i < cells; i++)
        text[i] = tokens[i] == 1 ? '.' : (char)('0' + tokens[i] - 1);
    text[cells] = '\0';
}

trm_status data_set_print_csv(const struct data_set *set, FILE *stream, trm_error *err) {
    if (!set->sudoku_size)
        return trm_fail(err, TRM_INVALID, "only Sudoku can be written as CSV");
    fprintf(stream, "%s\n", HEADER);
    for (size_t row = 0; row < set->count; row++) {
        char question[SUDOKU_MAX_CELLS + 1], answer[SUDOKU_MAX_CELLS + 1], rating[16] = "";
        const size_t first = row * (size_t)set->seq_len;
        format_cells(set->seq_len, set->inputs + first, question);
        format_cells(set->seq_len, set->labels + first, answer);
        if (set->ratings[row] >= 0)
            snprintf(rating, sizeof rating, "%d", set->ratings[row]);
        const char *source = set->source_count ? set->source_names[set->sources[row]] : "unknown";
        fprintf(stream, "%s,%s,%s,%s\n", source, question, answer, rating);
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
