/* dataset.c - the table of puzzles itself: making, filling, augmenting and freeing it. A set belongs
 * to the thread that makes it until it is complete; from then on nobody changes it. */
#include "engine/data/dataset.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/data/sudoku.h"

enum { MAX_SOURCES = 1000, MAX_SOURCE_NAME = 100 };

trm_status data_set_load(const char *path, size_t limit, struct data_set **set, trm_error *err) {
    *set = NULL;
    struct stat info;
    if (stat(path, &info) != 0)
        return trm_fail(err, TRM_IO, "%s: %s", path, strerror(errno));
    return S_ISDIR(info.st_mode) ? data_set_load_dir(path, limit, set, err) : data_set_load_csv(path, limit, set, err);
}

trm_status data_set_create(int seq_len, int vocab_size, size_t count, struct data_set **set, trm_error *err) {
    *set = NULL;
    if (seq_len < 1 || vocab_size < 2 || vocab_size > 256)
        return trm_fail(err, TRM_INVALID, "a data set cannot have %d cells of %d tokens", seq_len, vocab_size);
    if (count < 1 || count > INT32_MAX || count > SIZE_MAX / 4 / (size_t)seq_len)
        return trm_fail(err, TRM_INVALID, "a data set cannot have %zu puzzles", count);

    struct data_set *made = calloc(1, sizeof *made);
    if (!made)
        return trm_fail_memory(err, sizeof *made);
    made->seq_len = seq_len;
    made->vocab_size = vocab_size;
    made->num_identifiers = 1;
    made->count = count;
    made->inputs = calloc(count, (size_t)seq_len);
    made->labels = calloc(count, (size_t)seq_len);
    made->identifiers = calloc(count, sizeof *made->identifiers);
    made->ratings = malloc(count * sizeof *made->ratings);
    made->sources = calloc(count, sizeof *made->sources);
    if (!made->inputs || !made->labels || !made->identifiers || !made->ratings || !made->sources) {
        data_set_destroy(made);
        return trm_fail_memory(err, count * (size_t)seq_len * 2);
    }
    for (size_t i = 0; i < count; i++)
        made->ratings[i] = -1;
    *set = made;
    return TRM_OK;
}

trm_status data_set_create_sudoku(int size, size_t count, struct data_set **set, trm_error *err) {
    *set = NULL;
    if (!data_sudoku_box_rows(size))
        return trm_fail(err, TRM_INVALID, "Sudoku of size %d is not known: 4, 6 or 9", size);
    const trm_status status = data_set_create(size * size, size + 2, count, set, err);
    if (status == TRM_OK)
        (*set)->sudoku_size = size;
    return status;
}

void data_set_destroy(struct data_set *set) {
    if (!set)
        return;
    for (int i = 0; i < set->source_count; i++)
        free(set->source_names[i]);
    free(set->source_names);
    free(set->groups);
    free(set->sources);
    free(set->ratings);
    free(set->identifiers);
    free(set->labels);
    free(set->inputs);
    free(set);
}

trm_status data_set_source(struct data_set *set, const char *name, size_t length, uint16_t *index, trm_error *err) {
    for (int i = set->source_count - 1; i >= 0; i--) {
        if (strlen(set->source_names[i]) == length && memcmp(set->source_names[i], name, length) == 0) {
            *index = (uint16_t)i;
            return TRM_OK;
        }
    }
    if (length < 1 || length > MAX_SOURCE_NAME)
        return trm_fail(err, TRM_FORMAT, "the name of a source has 1 to %d bytes", MAX_SOURCE_NAME);
    for (size_t i = 0; i < length; i++) {
        if (name[i] < ' ' || name[i] > '~' || name[i] == ',' || name[i] == '"')
            return trm_fail(err, TRM_FORMAT, "the name of a source is not plain printable ASCII");
    }
    if (set->source_count == MAX_SOURCES)
        return trm_fail(err, TRM_FORMAT, "more than %d different sources", MAX_SOURCES);

    char *copy = strndup(name, length);
    char **names = realloc(set->source_names, (size_t)(set->source_count + 1) * sizeof *names);
    if (names)
        set->source_names = names;
    if (!copy || !names) {
        free(copy);
        return trm_fail_memory(err, length);
    }
    names[set->source_count] = copy;
    *index = (uint16_t)set->source_count++;
    return TRM_OK;
}

void data_sudoku_tokens(int cells, const uint8_t *grid, uint8_t *tokens) {
    for (int i = 0; i < cells; i++)
        tokens[i] = (uint8_t)(grid[i] + 1);
}

void data_sudoku_grid(int cells, const uint8_t *tokens, uint8_t *grid) {
    for (int i = 0; i < cells; i++)
        grid[i] = (uint8_t)(tokens[i] - 1);
}

trm_status data_set_augment(const struct data_set *set, int copies, struct data_rng *rng, struct data_set **augmented,
                            trm_error *err) {
    *augmented = NULL;
    if (!set->sudoku_size)
        return trm_fail(err, TRM_INVALID, "only Sudoku can be augmented");
    if (copies < 0 || set->count > INT32_MAX / ((size_t)copies + 1))
        return trm_fail(err, TRM_INVALID, "%zu puzzles with %d images each are too many", set->count, copies);

    const size_t group = (size_t)copies + 1, cells = (size_t)set->seq_len;
    struct data_set *made;
    trm_status status = data_set_create_sudoku(set->sudoku_size, set->count * group, &made, err);
    if (status != TRM_OK)
        return status;
    for (int i = 0; i < set->source_count; i++) {
        uint16_t index;
        status = data_set_source(made, set->source_names[i], strlen(set->source_names[i]), &index, err);
        if (status != TRM_OK)
            goto fail;
    }
    made->groups = malloc((set->count + 1) * sizeof *made->groups);
    if (!made->groups) {
        status = trm_fail_memory(err, (set->count + 1) * sizeof *made->groups);
        goto fail;
    }
    made->group_count = set->count;

    for (size_t i = 0; i < set->count; i++) {
        uint8_t puzzle[SUDOKU_MAX_CELLS], answer[SUDOKU_MAX_CELLS];
        const size_t first = i * group;
        made->groups[i] = (int32_t)first;
        data_sudoku_grid(set->seq_len, set->inputs + i * cells, puzzle);
        data_sudoku_grid(set->seq_len, set->labels + i * cells, answer);
        for (size_t row = first; row < first + group; row++) {
            uint8_t puzzle_image[SUDOKU_MAX_CELLS], answer_image[SUDOKU_MAX_CELLS];
            const bool original = row == first;
            if (!original)
                data_sudoku_shuffle(set->sudoku_size, rng, puzzle, answer, puzzle_image, answer_image);
            data_sudoku_tokens(set->seq_len, original ? puzzle : puzzle_image, made->inputs + row * cells);
            data_sudoku_tokens(set->seq_len, original ? answer : answer_image, made->labels + row * cells);
            made->ratings[row] = set->ratings[i];
            made->sources[row] = set->sources[i];
        }
    }
    made->groups[set->count] = (int32_t)made->count;
    *augmented = made;
    return TRM_OK;

fail:
    data_set_destroy(made);
    return status;
}
