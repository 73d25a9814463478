/* dataset_dir.c - the original scripts' layout: dataset.json beside one group of .npy files for each
 * named set. Rows (examples) belong to puzzles, puzzles to groups; the index arrays hold the first
 * member of each and the end. What is read is checked, as it may come from strangers. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "engine/data/dataset.h"
#include "engine/data/maze.h"
#include "engine/data/npy.h"
#include "engine/data/sudoku.h"

enum { INPUTS, LABELS, IDENTIFIERS, PUZZLES, GROUPS, FIELDS };
static const char *const FIELD_NAMES[FIELDS] = {"inputs", "labels", "puzzle_identifiers", "puzzle_indices",
                                                "group_indices"};

/* One named set of a directory, as mapped. */
struct part {
    const char *name;
    struct data_npy field[FIELDS];
    size_t rows; /* of it that are wanted */
};

struct metadata {
    int seq_len, vocab_size, num_identifiers;
};

/* "dir/set__field.npy" in fresh memory, or NULL. */
static char *field_path(const char *dir, const char *set, const char *field) {
    const size_t size = strlen(set) + strlen(field) + 8;
    char *name = malloc(size);
    if (!name)
        return NULL;
    snprintf(name, size, "%s__%s.npy", set, field);
    char *path = trm_path_join(dir, name);
    free(name);
    return path;
}

char *data_set_array_path(const char *dir, const char *name) {
    return field_path(dir, "all", name);
}

static trm_status get_integer(const char *path, const json_t *root, const char *key, json_int_t min, json_int_t max,
                              int *value, trm_error *err) {
    const json_t *member = json_object_get(root, key);
    if (!json_is_integer(member) || json_integer_value(member) < min || json_integer_value(member) > max)
        return trm_fail(err, TRM_FORMAT, "%s: %s is not a whole number from %lld to %lld", path, key, min, max);
    *value = (int)json_integer_value(member);
    return TRM_OK;
}

static trm_status read_metadata(const char *path, const json_t *root, struct metadata *meta, trm_error *err) {
    trm_status status = get_integer(path, root, "seq_len", 1, 1 << 20, &meta->seq_len, err);
    if (status == TRM_OK)
        status = get_integer(path, root, "vocab_size", 2, 256, &meta->vocab_size, err);
    if (status == TRM_OK)
        status = get_integer(path, root, "num_puzzle_identifiers", 1, INT32_MAX, &meta->num_identifiers, err);
    if (status != TRM_OK)
        return status;
    /* null: no label is ignored, and none may be 0 as far as a reader of ours is concerned */
    const json_t *ignored = json_object_get(root, "ignore_label_id");
    if (ignored && !json_is_null(ignored) && !(json_is_integer(ignored) && json_integer_value(ignored) == 0))
        return trm_fail(err, TRM_UNSUPPORTED, "%s: ignore_label_id is neither 0 nor null", path);
    return TRM_OK;
}

/* Checks that an index array rises from 0 to `end`. */
static trm_status check_index(const char *dir, const struct part *part, int field, size_t end, trm_error *err) {
    const struct data_npy *array = &part->field[field];
    bool good = array->rank == 1 && array->count >= 1 && data_npy_at(array, 0) == 0 &&
                data_npy_at(array, array->count - 1) == (int64_t)end;
    for (size_t i = 1; good && i < array->count; i++)
        good = data_npy_at(array, i - 1) <= data_npy_at(array, i);
    if (!good)
        return trm_fail(err, TRM_FORMAT, "%s/%s__%s.npy: does not rise from 0 to %zu", dir, part->name,
                        FIELD_NAMES[field], end);
    return TRM_OK;
}

static trm_status open_part(const char *dir, const struct metadata *meta, struct part *part, trm_error *err) {
    for (int i = 0; i < FIELDS; i++) {
        char *path = field_path(dir, part->name, FIELD_NAMES[i]);
        if (!path)
            return trm_fail_memory(err, strlen(dir));
        const trm_status status = data_npy_open(path, &part->field[i], err);
        free(path);
        if (status != TRM_OK)
            return status;
    }
    const struct data_npy *inputs = &part->field[INPUTS], *labels = &part->field[LABELS];
    for (int i = INPUTS; i <= LABELS; i++) {
        if (part->field[i].rank != 2 || part->field[i].shape[1] != (size_t)meta->seq_len)
            return trm_fail(err, TRM_FORMAT, "%s/%s__%s.npy: not [rows, %d]", dir, part->name, FIELD_NAMES[i],
                            meta->seq_len);
    }
    if (inputs->shape[0] != labels->shape[0])
        return trm_fail(err, TRM_FORMAT, "%s: %s has %zu inputs and %zu labels", dir, part->name, inputs->shape[0],
                        labels->shape[0]);
    if (part->field[IDENTIFIERS].rank != 1)
        return trm_fail(err, TRM_FORMAT, "%s/%s__puzzle_identifiers.npy: not [puzzles]", dir, part->name);
    const trm_status status = check_index(dir, part, PUZZLES, inputs->shape[0], err);
    if (status != TRM_OK)
        return status;
    if (part->field[PUZZLES].count != part->field[IDENTIFIERS].count + 1)
        return trm_fail(err, TRM_FORMAT, "%s: %s has %zu puzzle identifiers and %zu puzzle indices", dir, part->name,
                        part->field[IDENTIFIERS].count, part->field[PUZZLES].count);
    part->rows = inputs->shape[0];
    return check_index(dir, part, GROUPS, part->field[IDENTIFIERS].count, err);
}

/* Copies the wanted rows of one token array, checking every token. */
static trm_status copy_tokens(const char *dir, const struct part *part, int field, int vocab_size, uint8_t *tokens,
                              trm_error *err) {
    const struct data_npy *array = &part->field[field];
    for (size_t i = 0; i < part->rows * array->shape[1]; i++) {
        const int64_t token = data_npy_at(array, i);
        if (token < 0 || token >= vocab_size)
            return trm_fail(err, TRM_FORMAT, "%s/%s__%s.npy: row %zu has token %lld of a vocabulary of %d", dir,
                            part->name, FIELD_NAMES[field], i / array->shape[1], (long long)token, vocab_size);
        tokens[i] = (uint8_t)token;
    }
    return TRM_OK;
}

/* Appends the wanted rows of `part` to `set` from row `first` on. */
static trm_status copy_part(const char *dir, const struct part *part, struct data_set *set, size_t first,
                            trm_error *err) {
    const size_t cells = (size_t)set->seq_len;
    uint16_t source;
    trm_status status = copy_tokens(dir, part, INPUTS, set->vocab_size, set->inputs + first * cells, err);
    if (status == TRM_OK)
        status = copy_tokens(dir, part, LABELS, set->vocab_size, set->labels + first * cells, err);
    if (status == TRM_OK)
        status = data_set_source(set, part->name, strlen(part->name), &source, err);
    if (status != TRM_OK)
        return status;

    const struct data_npy *identifiers = &part->field[IDENTIFIERS], *puzzles = &part->field[PUZZLES];
    for (size_t p = 0; p < identifiers->count; p++) {
        const int64_t identifier = data_npy_at(identifiers, p);
        if (identifier < 0 || identifier >= set->num_identifiers)
            return trm_fail(err, TRM_FORMAT, "%s/%s__puzzle_identifiers.npy: puzzle %zu has identifier %lld of %d", dir,
                            part->name, p, (long long)identifier, set->num_identifiers);
        const size_t end = (size_t)data_npy_at(puzzles, p + 1);
        for (size_t row = (size_t)data_npy_at(puzzles, p); row < end && row < part->rows; row++) {
            set->identifiers[first + row] = (int32_t)identifier;
            set->sources[first + row] = source;
        }
    }

    const struct data_npy *groups = &part->field[GROUPS];
    for (size_t g = 0; g + 1 < groups->count; g++) {
        const size_t row = (size_t)data_npy_at(puzzles, (size_t)data_npy_at(groups, g));
        const size_t end = (size_t)data_npy_at(puzzles, (size_t)data_npy_at(groups, g + 1));
        if (row < part->rows && row < end)
            set->groups[set->group_count++] = (int32_t)(first + row);
    }
    return TRM_OK;
}

static bool all_right(const struct data_set *set) {
    size_t row = 0;
    while (row < set->count && data_set_is_right(set, row))
        row++;
    return row == set->count;
}

/* Marks a set as one of Sudoku, or of mazes, if all its rows are that. */
static void find_kind(struct data_set *set) {
    const int size = data_sudoku_size_of(set->seq_len);
    set->sudoku_size = set->vocab_size == size + 2 ? size : 0;
    if (set->sudoku_size && all_right(set))
        return;
    set->sudoku_size = 0;
    set->maze_side = set->vocab_size == MAZE_VOCAB ? data_maze_side_of(set->seq_len) : 0;
    if (!all_right(set))
        set->maze_side = 0;
}

/* Opens the parts that "sets" names; *count of them need closing, whatever the status. */
static trm_status open_parts(const char *dir, const char *path, const json_t *root, const struct metadata *meta,
                             struct part **parts, size_t *count, trm_error *err) {
    const json_t *names = json_object_get(root, "sets");
    *count = 0;
    if (!json_is_array(names) || json_array_size(names) == 0)
        return trm_fail(err, TRM_FORMAT, "%s: sets is not a list of names", path);
    *parts = calloc(json_array_size(names), sizeof **parts);
    if (!*parts)
        return trm_fail_memory(err, json_array_size(names) * sizeof **parts);
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        if (!name || strchr(name, '/'))
            return trm_fail(err, TRM_FORMAT, "%s: sets is not a list of names", path);
        (*parts)[i].name = name;
        *count = i + 1;
        const trm_status status = open_part(dir, meta, &(*parts)[i], err);
        if (status != TRM_OK)
            return status;
    }
    return TRM_OK;
}

trm_status data_set_load_dir(const char *dir, size_t limit, struct data_set **set, trm_error *err) {
    trm_status status = TRM_OK;
    struct trm_file file = {0};
    struct data_set *made = NULL;
    struct part *parts = NULL;
    size_t part_count = 0, rows = 0, groups = 0;
    json_t *root = NULL;
    json_error_t json_err;
    struct metadata meta = {0};
    *set = NULL;

    char *path = trm_path_join(dir, "dataset.json");
    if (!path)
        return trm_fail_memory(err, strlen(dir));
    status = trm_file_map(path, &file, err);
    if (status != TRM_OK)
        goto out;
    root = json_loadb((const char *)file.bytes, file.size, 0, &json_err);
    if (!json_is_object(root)) {
        status = root ? trm_fail(err, TRM_FORMAT, "%s: not a JSON object", path)
                      : trm_fail(err, TRM_FORMAT, "%s:%d: %s", path, json_err.line, json_err.text);
        goto out;
    }
    status = read_metadata(path, root, &meta, err);
    if (status == TRM_OK)
        status = open_parts(dir, path, root, &meta, &parts, &part_count, err);
    if (status != TRM_OK)
        goto out;

    for (size_t i = 0; i < part_count; i++) {
        if (limit && parts[i].rows > limit - rows)
            parts[i].rows = limit - rows;
        rows += parts[i].rows;
        groups += parts[i].field[GROUPS].count - 1;
    }
    if (rows == 0) {
        status = trm_fail(err, TRM_FORMAT, "%s: no puzzle", dir);
        goto out;
    }
    status = data_set_create(meta.seq_len, meta.vocab_size, rows, &made, err);
    if (status != TRM_OK)
        goto out;
    made->num_identifiers = meta.num_identifiers;
    made->groups = malloc((groups + 1) * sizeof *made->groups);
    if (!made->groups) {
        status = trm_fail_memory(err, (groups + 1) * sizeof *made->groups);
        goto out;
    }
    rows = 0;
    for (size_t i = 0; status == TRM_OK && i < part_count; i++) {
        status = copy_part(dir, &parts[i], made, rows, err);
        rows += parts[i].rows;
    }
    if (status != TRM_OK)
        goto out;
    made->groups[made->group_count] = (int32_t)rows;
    find_kind(made);
    *set = made;
    made = NULL;

out:
    data_set_destroy(made);
    for (size_t i = 0; i < part_count; i++) {
        for (int field = 0; field < FIELDS; field++)
            data_npy_close(&parts[i].field[field]);
    }
    free(parts);
    json_decref(root);
    trm_file_unmap(&file);
    free(path);
    return status;
}

trm_status data_set_save_metadata(const char *dir, const struct data_set_metadata *meta, trm_error *err) {
    struct trm_output out = {0};
    char *path = trm_path_join(dir, "dataset.json");
    if (!path)
        return trm_fail_memory(err, strlen(dir));
    trm_status status = trm_output_open(&out, path, err);
    if (status == TRM_OK) {
        fprintf(out.stream,
                "{\"pad_id\": 0, \"ignore_label_id\": 0, \"blank_identifier_id\": 0, \"vocab_size\": %d, "
                "\"seq_len\": %d, \"num_puzzle_identifiers\": %d, \"total_groups\": %zu, "
                "\"mean_puzzle_examples\": %.17g, \"total_puzzles\": %zu, \"sets\": [\"all\"]}\n",
                meta->vocab_size, meta->seq_len, meta->num_identifiers, meta->groups,
                (double)meta->rows / (double)meta->puzzles, meta->puzzles);
        status = trm_output_commit(&out, err);
    }
    trm_output_close(&out);
    free(path);
    return status;
}

static trm_status save_field(const char *dir, int field, enum data_npy_type type, int rank, const size_t *shape,
                             const void *items, trm_error *err) {
    char *path = data_set_array_path(dir, FIELD_NAMES[field]);
    if (!path)
        return trm_fail_memory(err, strlen(dir));
    const trm_status status = data_npy_save(path, type, rank, shape, items, err);
    free(path);
    return status;
}

trm_status data_set_save(const struct data_set *set, const char *dir, trm_error *err) {
    const size_t groups = set->groups ? set->group_count : set->count;
    const size_t shape[2] = {set->count, (size_t)set->seq_len}, row_ends = set->count + 1, group_ends = groups + 1;
    int32_t *rows = malloc((set->count + 1) * sizeof *rows); /* [count + 1] each row is a puzzle: 0, 1, 2 ... */
    if (!rows)
        return trm_fail_memory(err, (set->count + 1) * sizeof *rows);
    for (size_t i = 0; i <= set->count; i++)
        rows[i] = (int32_t)i;

    const struct data_set_metadata meta = {.seq_len = set->seq_len,
                                           .vocab_size = set->vocab_size,
                                           .num_identifiers = set->num_identifiers,
                                           .groups = groups,
                                           .puzzles = set->count,
                                           .rows = set->count};
    trm_status status = trm_make_directory(dir, err);
    if (status == TRM_OK)
        status = save_field(dir, INPUTS, DATA_NPY_U8, 2, shape, set->inputs, err);
    if (status == TRM_OK)
        status = save_field(dir, LABELS, DATA_NPY_U8, 2, shape, set->labels, err);
    if (status == TRM_OK)
        status = save_field(dir, IDENTIFIERS, DATA_NPY_I32, 1, shape, set->identifiers, err);
    if (status == TRM_OK)
        status = save_field(dir, PUZZLES, DATA_NPY_I32, 1, &row_ends, rows, err);
    if (status == TRM_OK)
        status = save_field(dir, GROUPS, DATA_NPY_I32, 1, &group_ends, set->groups ? set->groups : rows, err);
    if (status == TRM_OK)
        status = data_set_save_metadata(dir, &meta, err);
    free(rows);
    return status;
}
