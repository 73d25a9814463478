/* dataset.c - the table of puzzles itself: making, filling, augmenting and freeing it. A set belongs
 * to the thread that makes it until it is complete; from then on nobody changes it. */
#include "engine/data/dataset.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/data/maze.h"
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

trm_status data_set_create_maze(int side, size_t count, struct data_set **set, trm_error *err) {
    *set = NULL;
    if (side < MAZE_MIN_SIDE || side > MAZE_MAX_SIDE)
        return trm_fail(err, TRM_INVALID, "mazes have sides of %d to %d, not %d", MAZE_MIN_SIDE, MAZE_MAX_SIDE, side);
    const trm_status status = data_set_create(side * side, MAZE_VOCAB, count, set, err);
    if (status == TRM_OK)
        (*set)->maze_side = side;
    return status;
}

bool data_set_is_right(const struct data_set *set, size_t row) {
    const uint8_t *inputs = set->inputs + row * (size_t)set->seq_len;
    const uint8_t *labels = set->labels + row * (size_t)set->seq_len;
    uint8_t puzzle[SUDOKU_MAX_CELLS], answer[SUDOKU_MAX_CELLS];
    if (set->maze_side)
        return data_maze_verify(set->maze_side, inputs, labels);
    if (!set->sudoku_size || memchr(inputs, 0, (size_t)set->seq_len) || memchr(labels, 0, (size_t)set->seq_len))
        return false;
    data_sudoku_grid(set->seq_len, inputs, puzzle);
    data_sudoku_grid(set->seq_len, labels, answer);
    return data_sudoku_verify(set->sudoku_size, puzzle, answer);
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

/* Moves the starts of groups to where `keep` leaves their rows. */
static void keep_groups(struct data_set *set, const bool *keep) {
    size_t groups = 0, row = 0;
    int32_t kept = 0;
    for (size_t g = 0; g < set->group_count; g++) {
        const int32_t first = kept;
        for (; row < (size_t)set->groups[g + 1]; row++)
            kept += keep[row];
        if (kept > first)
            set->groups[groups++] = first;
    }
    set->groups[groups] = kept;
    set->group_count = groups;
}

void data_set_keep(struct data_set *set, const bool *keep) {
    const size_t cells = (size_t)set->seq_len;
    size_t kept = 0;
    if (set->groups)
        keep_groups(set, keep);
    for (size_t row = 0; row < set->count; row++) {
        if (!keep[row])
            continue;
        memmove(set->inputs + kept * cells, set->inputs + row * cells, cells);
        memmove(set->labels + kept * cells, set->labels + row * cells, cells);
        set->identifiers[kept] = set->identifiers[row];
        set->ratings[kept] = set->ratings[row];
        set->sources[kept++] = set->sources[row];
    }
    set->count = kept;
}

void data_sudoku_tokens(int cells, const uint8_t *grid, uint8_t *tokens) {
    for (int i = 0; i < cells; i++)
        tokens[i] = (uint8_t)(grid[i] + 1);
}

void data_sudoku_grid(int cells, const uint8_t *tokens, uint8_t *grid) {
    for (int i = 0; i < cells; i++)
        grid[i] = (uint8_t)(tokens[i] - 1);
}

/* A set for `rows` puzzles of the kind and with the sources of `set`. */
static trm_status create_alike(const struct data_set *set, size_t rows, struct data_set **out, trm_error *err) {
    struct data_set *made;
    trm_status status = set->maze_side ? data_set_create_maze(set->maze_side, rows, &made, err)
                                       : data_set_create_sudoku(set->sudoku_size, rows, &made, err);
    for (int i = 0; i < set->source_count && status == TRM_OK; i++) {
        uint16_t index;
        status = data_set_source(made, set->source_names[i], strlen(set->source_names[i]), &index, err);
        if (status != TRM_OK)
            data_set_destroy(made);
    }
    if (status == TRM_OK)
        *out = made;
    return status;
}

void data_set_image(const struct data_set *set, size_t row, int image, struct data_rng *rng, uint8_t *inputs,
                    uint8_t *labels) {
    const uint8_t *puzzle = set->inputs + row * (size_t)set->seq_len;
    const uint8_t *answer = set->labels + row * (size_t)set->seq_len;
    if (set->maze_side) {
        for (int i = 0; i < set->seq_len; i++) {
            const int from = data_maze_image_cell(set->maze_side, image, i);
            inputs[i] = puzzle[from];
            labels[i] = answer[from];
        }
        return;
    }
    uint8_t grid[2][SUDOKU_MAX_CELLS], shuffled[2][SUDOKU_MAX_CELLS]; /* puzzle, answer */
    data_sudoku_grid(set->seq_len, puzzle, grid[0]);
    data_sudoku_grid(set->seq_len, answer, grid[1]);
    data_sudoku_shuffle(set->sudoku_size, rng, grid[0], grid[1], shuffled[0], shuffled[1]);
    data_sudoku_tokens(set->seq_len, shuffled[0], inputs);
    data_sudoku_tokens(set->seq_len, shuffled[1], labels);
}

trm_status data_set_augment(const struct data_set *set, int copies, struct data_rng *rng, struct data_set **augmented,
                            trm_error *err) {
    *augmented = NULL;
    if (!set->sudoku_size && !set->maze_side)
        return trm_fail(err, TRM_INVALID, "only Sudoku and mazes can be augmented");
    if (set->maze_side && copies >= MAZE_IMAGES)
        return trm_fail(err, TRM_INVALID, "a maze has %d other images, not %d", MAZE_IMAGES - 1, copies);
    if (copies < 0 || set->count > INT32_MAX / ((size_t)copies + 1))
        return trm_fail(err, TRM_INVALID, "%zu puzzles with %d images each are too many", set->count, copies);

    const size_t group = (size_t)copies + 1, cells = (size_t)set->seq_len;
    struct data_set *made;
    trm_status status = create_alike(set, set->count * group, &made, err);
    if (status != TRM_OK)
        return status;
    made->groups = malloc((set->count + 1) * sizeof *made->groups);
    if (!made->groups) {
        data_set_destroy(made);
        return trm_fail_memory(err, (set->count + 1) * sizeof *made->groups);
    }
    made->group_count = set->count;

    for (size_t i = 0; i < set->count; i++) {
        const size_t first = i * group;
        made->groups[i] = (int32_t)first;
        memcpy(made->inputs + first * cells, set->inputs + i * cells, cells);
        memcpy(made->labels + first * cells, set->labels + i * cells, cells);
        for (int copy = 1; copy <= copies; copy++) {
            const size_t row = first + (size_t)copy;
            data_set_image(set, i, copy, rng, made->inputs + row * cells, made->labels + row * cells);
        }
        for (size_t row = first; row < first + group; row++) {
            made->ratings[row] = set->ratings[i];
            made->sources[row] = set->sources[i];
        }
    }
    made->groups[set->count] = (int32_t)made->count;
    *augmented = made;
    return TRM_OK;
}
