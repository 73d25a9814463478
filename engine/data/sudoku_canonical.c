/* sudoku_canonical.c - the one form that all symmetric images of a puzzle share: of all images, with digits
 * named in order of appearance, the smallest as a string. Blanks count as zero. Every order of the columns is
 * tried; rows are put one below the other, each the smallest that can follow. Pure; any thread. */
#include <string.h>

#include "engine/data/sudoku.h"

enum { MAX_ORDERS = 1296 }; /* of the columns of size 9: 3! stacks, 3! columns in each of three */

struct search {
    int size, box_rows;
    const uint8_t *grid; /* [size, size] the puzzle, or its transposition */
    const uint8_t *cols; /* [size] the column of `grid` that comes at each place */
    uint8_t *best;       /* [size, size] the smallest image so far; 0xff beyond what is known */
};

/* New names of digits, 0 for those not met yet. */
struct names {
    uint8_t of[SUDOKU_MAX_SIZE + 1];
    uint8_t given;
};

/* Compares row `row` of the grid, as it reads under `names`, which it extends, with `best`; a smaller row
 * replaces what is there. */
static int match_row(const struct search *s, int row, struct names *names, uint8_t *best) {
    const uint8_t *from = s->grid + row * s->size;
    int order = 0;
    for (int i = 0; i < s->size; i++) {
        const uint8_t digit = from[s->cols[i]];
        if (digit && !names->of[digit])
            names->of[digit] = ++names->given;
        const uint8_t name = names->of[digit];
        if (order == 0 && name > best[i])
            return 1;
        if (order == 0 && name < best[i])
            order = -1;
        if (order < 0)
            best[i] = name;
    }
    return order;
}

static bool is_blank(const struct search *s, int row) {
    for (int i = 0; i < s->size; i++)
        if (s->grid[row * s->size + i])
            return false;
    return true;
}

/* Rows 0 .. at - 1 of `best` have been matched by the rows in the set `used`, the last of them `last`. */
static void place_rows(const struct search *s, int at, unsigned used, int last, const struct names *names) {
    uint8_t *best = s->best + at * s->size;
    const int band = at % s->box_rows ? last / s->box_rows : -1; /* one that is not finished */
    unsigned blanks = 0;                                         /* bands whose first blank row was tried */
    for (int row = 0; at < s->size && row < s->size; row++) {
        if (used & 1u << row || (band >= 0 && row / s->box_rows != band))
            continue;
        if (is_blank(s, row)) {
            if (blanks & 1u << row / s->box_rows)
                continue;
            blanks |= 1u << row / s->box_rows;
        }
        struct names extended = *names;
        const int order = match_row(s, row, &extended, best);
        if (order < 0)
            memset(best + s->size, 0xff, (size_t)(s->size - at - 1) * (size_t)s->size);
        if (order <= 0)
            place_rows(s, at + 1, used | 1u << row, row, &extended);
    }
}

/* Adds every order of the columns that continues cols [at] to orders [*count, size]. */
static void list_orders(int size, int box_cols, uint8_t *cols, int at, unsigned used, uint8_t orders[][SUDOKU_MAX_SIZE],
                        int *count) {
    if (at == size) {
        memcpy(orders[(*count)++], cols, (size_t)size);
        return;
    }
    const int stack = at % box_cols ? cols[at - 1] / box_cols : -1;
    for (int col = 0; col < size; col++) {
        if (used & 1u << col || (stack >= 0 && col / box_cols != stack))
            continue;
        cols[at] = (uint8_t)col;
        list_orders(size, box_cols, cols, at + 1, used | 1u << col, orders, count);
    }
}

void data_sudoku_canonical(int size, const uint8_t *puzzle, uint8_t *canonical) {
    const int cells = size * size, box_rows = data_sudoku_box_rows(size), box_cols = data_sudoku_box_cols(size);
    uint8_t orders[MAX_ORDERS][SUDOKU_MAX_SIZE], cols[SUDOKU_MAX_SIZE], transposed[SUDOKU_MAX_CELLS];
    const struct names none = {0};
    int count = 0;
    list_orders(size, box_cols, cols, 0, 0, orders, &count);
    for (int i = 0; i < cells; i++)
        transposed[i] = puzzle[i % size * size + i / size];

    struct search search = {.size = size, .box_rows = box_rows, .best = canonical};
    memset(canonical, 0xff, (size_t)cells);
    for (int turn = 0; turn < (box_rows == box_cols ? 2 : 1); turn++) {
        search.grid = turn ? transposed : puzzle;
        for (int i = 0; i < count; i++) {
            search.cols = orders[i];
            place_rows(&search, 0, 0, 0, &none);
        }
    }
}
