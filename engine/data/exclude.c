/* exclude.c - see exclude.h. The canonical forms of all test puzzles, sorted, are what a training
 * puzzle's is looked up in. Works on the caller's sets alone. */
#include "engine/data/exclude.h"

#include <stdlib.h>
#include <string.h>

#include "engine/data/sudoku.h"

/* Zeros beyond the cells of smaller sizes. */
struct form {
    uint8_t cells[SUDOKU_MAX_CELLS];
};

static int compare(const void *a, const void *b) {
    return memcmp(a, b, sizeof(struct form));
}

static struct form form_of(const struct data_set *set, size_t row) {
    uint8_t grid[SUDOKU_MAX_CELLS];
    struct form form = {{0}};
    data_sudoku_grid(set->seq_len, set->inputs + row * (size_t)set->seq_len, grid);
    data_sudoku_canonical(set->sudoku_size, grid, form.cells);
    return form;
}

static trm_status check(const struct data_set *set, const struct data_set *const *tests, int count, size_t *rows,
                        trm_error *err) {
    *rows = 0;
    if (!set->sudoku_size)
        return trm_fail(err, TRM_INVALID, "only of Sudokus is it known which are the same in disguise");
    for (int i = 0; i < count; i++) {
        if (tests[i]->sudoku_size != set->sudoku_size)
            return trm_fail(err, TRM_INVALID, "the test puzzles are not Sudokus of size %d", set->sudoku_size);
        *rows += tests[i]->count;
    }
    return TRM_OK;
}

trm_status data_exclude(struct data_set *set, const struct data_set *const *tests, int count, size_t *dropped,
                        trm_error *err) {
    size_t rows, kept = 0, known = 0;
    *dropped = 0;
    trm_status status = check(set, tests, count, &rows, err);
    if (status != TRM_OK)
        return status;
    struct form *forms = calloc(rows + 1, sizeof *forms); /* [rows] */
    bool *keep = calloc(set->count, sizeof *keep);
    if (!forms || !keep) {
        status = trm_fail_memory(err, rows * sizeof *forms + set->count);
        goto out;
    }
    for (int i = 0; i < count; i++)
        for (size_t row = 0; row < tests[i]->count; row++)
            forms[known++] = form_of(tests[i], row);
    qsort(forms, known, sizeof *forms, compare);

    for (size_t row = 0; row < set->count; row++) {
        const struct form form = form_of(set, row);
        keep[row] = bsearch(&form, forms, known, sizeof form, compare) == NULL;
        kept += keep[row];
    }
    if (kept == 0) {
        status = trm_fail(err, TRM_INVALID, "every puzzle is a test puzzle: none is left");
        goto out;
    }
    *dropped = set->count - kept;
    data_set_keep(set, keep);

out:
    free(keep);
    free(forms);
    return status;
}
