/* arc_task.c - see arc_task.h. What is read may come from strangers: every grid is checked. No state. */
#include "engine/data/arc_task.h"

#include <errno.h>
#include <nettle/sha2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/file.h"

/* ---- one task ---- */

/* A place in a document that is being read, as a JSON pointer. */
struct place {
    char *text;
    size_t size, length;
};

__attribute__((format(printf, 2, 3))) static size_t enter(struct place *place, const char *format, ...) {
    const size_t before = place->length;
    va_list args;
    va_start(args, format);
    const int added = vsnprintf(place->text + before, place->size - before, format, args);
    va_end(args);
    place->length = added > 0 && before + (size_t)added < place->size ? before + (size_t)added : before;
    return before;
}

static void leave(struct place *place, size_t before) {
    place->length = before;
    place->text[before] = '\0';
}

static trm_status read_grid(const json_t *json, struct place *place, struct data_arc_grid *grid, trm_error *err) {
    const size_t rows = json_array_size(json), cols = json_array_size(json_array_get(json, 0));
    if (rows < 1 || rows > DATA_ARC_SIDE || cols < 1 || cols > DATA_ARC_SIDE)
        return trm_fail(err, TRM_FORMAT, "a grid is an array of 1 to %d rows of 1 to %d colours", DATA_ARC_SIDE,
                        DATA_ARC_SIDE);
    grid->rows = (uint8_t)rows;
    grid->cols = (uint8_t)cols;
    for (size_t r = 0; r < rows; r++) {
        const json_t *row = json_array_get(json, r);
        const size_t before = enter(place, "/%zu", r);
        if (json_array_size(row) != cols)
            return trm_fail(err, TRM_FORMAT, "the row has not the %zu colours of the first", cols);
        for (size_t c = 0; c < cols; c++) {
            const json_t *cell = json_array_get(row, c);
            const json_int_t colour = json_integer_value(cell);
            if (!json_is_integer(cell) || colour < 0 || colour >= DATA_ARC_COLOURS) {
                enter(place, "/%zu", c);
                return trm_fail(err, TRM_FORMAT, "a colour is an integer from 0 to %d", DATA_ARC_COLOURS - 1);
            }
            grid->cells[r * cols + c] = (uint8_t)colour;
        }
        leave(place, before);
    }
    return TRM_OK;
}

/* Reads json[name]; with `optional` it may be missing. */
static trm_status read_member_grid(const json_t *json, const char *name, bool optional, struct place *place,
                                   struct data_arc_grid *grid, trm_error *err) {
    const json_t *member = json_object_get(json, name);
    const size_t before = enter(place, "/%s", name);
    if (!member && !optional)
        return trm_fail(err, TRM_FORMAT, "the grid is missing");
    const trm_status status = member ? read_grid(member, place, grid, err) : TRM_OK;
    if (status == TRM_OK)
        leave(place, before);
    return status;
}

/* Appends the pairs of json[name] to the task: of "train", which may be missing, or of "test", which may lack outputs.
 */
static trm_status read_pairs(const json_t *json, const char *name, bool is_test, struct place *place,
                             struct data_arc_task *task, int *count, trm_error *err) {
    const json_t *list = json_object_get(json, name);
    const size_t pairs = json_array_size(list), before = enter(place, "/%s", name);
    if (list ? !json_is_array(list) || pairs < is_test || pairs > DATA_ARC_MAX_PAIRS : is_test)
        return trm_fail(err, TRM_FORMAT, "%s is an array of %d to %d pairs", name, is_test, DATA_ARC_MAX_PAIRS);
    const size_t first = (size_t)task->train_count + (size_t)task->test_count;
    struct data_arc_pair *grown = realloc(task->pairs, (first + pairs + 1) * sizeof *grown);
    if (!grown)
        return trm_fail_memory(err, (first + pairs + 1) * sizeof *grown);
    task->pairs = grown;
    memset(grown + first, 0, pairs * sizeof *grown);
    *count = (int)pairs;
    for (size_t i = 0; i < pairs; i++) {
        const json_t *pair = json_array_get(list, i);
        const size_t inner = enter(place, "/%zu", i);
        if (!json_is_object(pair))
            return trm_fail(err, TRM_FORMAT, "a pair is an object with input and output");
        trm_status status = read_member_grid(pair, "input", false, place, &grown[first + i].input, err);
        if (status == TRM_OK)
            status = read_member_grid(pair, "output", is_test, place, &grown[first + i].output, err);
        if (status != TRM_OK)
            return status;
        leave(place, inner);
    }
    leave(place, before);
    return TRM_OK;
}

trm_status data_arc_task_read(const json_t *json, struct data_arc_task *task, char *where, size_t where_size,
                              trm_error *err) {
    struct place place = {.text = where, .size = where_size};
    *task = (struct data_arc_task){0};
    leave(&place, 0);
    if (!json_is_object(json))
        return trm_fail(err, TRM_FORMAT, "a task is an object with train and test");
    trm_status status = read_pairs(json, "train", false, &place, task, &task->train_count, err);
    if (status == TRM_OK)
        status = read_pairs(json, "test", true, &place, task, &task->test_count, err);
    if (status != TRM_OK)
        data_arc_task_release(task);
    return status;
}

void data_arc_task_release(struct data_arc_task *task) {
    free(task->pairs);
    *task = (struct data_arc_task){0};
}

static bool fits(const struct data_arc_grid *grid, int side) {
    return grid->rows <= side && grid->cols <= side;
}

bool data_arc_task_fits(const struct data_arc_task *task, int side) {
    for (int i = 0; i < task->train_count + task->test_count; i++)
        if (!fits(&task->pairs[i].input, side) || !fits(&task->pairs[i].output, side))
            return false;
    return true;
}

/* ---- its hash ---- */

enum { PAIR_TEXT = 2 * 2 * DATA_ARC_HASH + 1 }; /* "hash of input|hash of output" without an end */

static int compare_texts(const void *a, const void *b) {
    return memcmp(a, b, PAIR_TEXT);
}

void data_arc_pairs_hash(const struct data_arc_pair *pairs, int count, uint8_t hash[DATA_ARC_HASH]) {
    char texts[2 * DATA_ARC_MAX_PAIRS][PAIR_TEXT];
    for (int i = 0; i < count; i++) {
        char hex[2 * DATA_ARC_HASH + 1];
        data_arc_grid_hash(&pairs[i].input, hash);
        data_arc_hex(hash, hex);
        memcpy(texts[i], hex, sizeof hex - 1);
        texts[i][sizeof hex - 1] = '|';
        data_arc_grid_hash(&pairs[i].output, hash);
        data_arc_hex(hash, hex);
        memcpy(texts[i] + sizeof hex, hex, sizeof hex - 1);
    }
    qsort(texts, (size_t)count, sizeof texts[0], compare_texts);

    struct sha256_ctx context;
    sha256_init(&context);
    for (int i = 0; i < count; i++) {
        if (i > 0)
            sha256_update(&context, 1, (const uint8_t *)"|");
        sha256_update(&context, PAIR_TEXT, (const uint8_t *)texts[i]);
    }
    sha256_digest(&context, DATA_ARC_HASH, hash);
}

/* ---- files ---- */

static trm_status load_object(const char *path, json_t **root, trm_error *err) {
    struct trm_file file;
    json_error_t json_err;
    *root = NULL;
    trm_status status = trm_file_map(path, &file, err);
    if (status != TRM_OK)
        return status;
    *root = json_loadb((const char *)file.bytes, file.size, 0, &json_err);
    trm_file_unmap(&file);
    if (!*root)
        return trm_fail(err, TRM_FORMAT, "%s:%d: %s", path, json_err.line, json_err.text);
    if (json_is_object(*root))
        return TRM_OK;
    json_decref(*root);
    *root = NULL;
    return trm_fail(err, TRM_FORMAT, "%s: not a JSON object", path);
}

/* Fills in the outputs of the tests: `json` is an array with one grid for each. */
static trm_status read_solutions(const json_t *json, struct data_arc_task *task, char *where, size_t where_size,
                                 trm_error *err) {
    struct place place = {.text = where, .size = where_size};
    leave(&place, 0);
    if (json_array_size(json) != (size_t)task->test_count)
        return trm_fail(err, TRM_FORMAT, "not an array of %d grids", task->test_count);
    for (int i = 0; i < task->test_count; i++) {
        const size_t before = enter(&place, "/%d", i);
        const trm_status status =
            read_grid(json_array_get(json, (size_t)i), &place, &task->pairs[task->train_count + i].output, err);
        if (status != TRM_OK)
            return status;
        leave(&place, before);
    }
    return TRM_OK;
}

static trm_status append(struct data_arc_tasks *tasks, const json_t *json, const char *path, int subset,
                         trm_error *err) {
    const size_t count = tasks->count + json_object_size(json);
    struct data_arc_task *items = realloc(tasks->items, (count + 1) * sizeof *items);
    if (items)
        tasks->items = items;
    int *subsets = realloc(tasks->subsets, (count + 1) * sizeof *subsets);
    if (subsets)
        tasks->subsets = subsets;
    if (!items || !subsets)
        return trm_fail_memory(err, (count + 1) * sizeof *items);

    const char *name;
    json_t *value;
    json_object_foreach((json_t *)json, name, value) {
        struct data_arc_augment augment;
        struct data_arc_task *task = &items[tasks->count];
        char plain[DATA_ARC_NAME], where[64];
        trm_error why;
        if (!data_arc_name_parse(name, plain, &augment) || strcmp(plain, name) != 0)
            return trm_fail(err, TRM_FORMAT, "%s: \"%.60s\" cannot be the name of a task", path, name);
        const trm_status status = data_arc_task_read(value, task, where, sizeof where, &why);
        if (status != TRM_OK)
            return trm_fail(err, status, "%s: /%s%s: %s", path, name, where, why.text);
        memcpy(task->name, plain, sizeof plain);
        subsets[tasks->count++] = subset;
    }
    return TRM_OK;
}

trm_status data_arc_tasks_load_file(const char *path, struct data_arc_tasks *tasks, trm_error *err) {
    json_t *root;
    *tasks = (struct data_arc_tasks){0};
    trm_status status = load_object(path, &root, err);
    if (status == TRM_OK)
        status = append(tasks, root, path, 0, err);
    if (status != TRM_OK)
        data_arc_tasks_release(tasks);
    json_decref(root);
    return status;
}

/* The solutions of the tasks from `first` on, if there is a file of them. */
static trm_status load_solutions(const char *path, struct data_arc_tasks *tasks, size_t first, trm_error *err) {
    json_t *root;
    if (access(path, F_OK) != 0)
        return TRM_OK;
    trm_status status = load_object(path, &root, err);
    for (size_t i = first; status == TRM_OK && i < tasks->count; i++) {
        struct data_arc_task *task = &tasks->items[i];
        char where[64];
        trm_error why;
        status = read_solutions(json_object_get(root, task->name), task, where, sizeof where, &why);
        if (status != TRM_OK)
            trm_fail(err, status, "%s: /%s%s: %s", path, task->name, where, why.text);
    }
    json_decref(root);
    return status;
}

static trm_status load_subset(const char *prefix, const char *subset, int index, struct data_arc_tasks *tasks,
                              trm_error *err) {
    const size_t size = strlen(prefix) + strlen(subset) + 32, first = tasks->count;
    char *path = malloc(size);
    json_t *root = NULL;
    if (!path)
        return trm_fail_memory(err, size);
    snprintf(path, size, "%s_%s_challenges.json", prefix, subset);
    trm_status status = load_object(path, &root, err);
    if (status == TRM_OK)
        status = append(tasks, root, path, index, err);
    snprintf(path, size, "%s_%s_solutions.json", prefix, subset);
    if (status == TRM_OK)
        status = load_solutions(path, tasks, first, err);
    json_decref(root);
    free(path);
    return status;
}

trm_status data_arc_tasks_load(const char *prefix, char *const *subsets, int subset_count, struct data_arc_tasks *tasks,
                               trm_error *err) {
    trm_status status = TRM_OK;
    *tasks = (struct data_arc_tasks){0};
    for (int i = 0; i < subset_count && status == TRM_OK; i++)
        status = load_subset(prefix, subsets[i], i, tasks, err);
    if (status == TRM_OK && tasks->count == 0)
        status = trm_fail(err, TRM_FORMAT, "%s: no task", prefix);
    if (status != TRM_OK)
        data_arc_tasks_release(tasks);
    return status;
}

/* Drops the tasks for which `unwanted` says so; returns how many those were. */
static size_t drop(struct data_arc_tasks *tasks, bool (*unwanted)(const struct data_arc_task *task, const void *arg),
                   const void *arg) {
    const size_t before = tasks->count;
    tasks->count = 0;
    for (size_t i = 0; i < before; i++) {
        if (unwanted(&tasks->items[i], arg)) {
            data_arc_task_release(&tasks->items[i]);
            continue;
        }
        tasks->items[tasks->count] = tasks->items[i];
        tasks->subsets[tasks->count++] = tasks->subsets[i];
    }
    return before - tasks->count;
}

static bool is_named(const struct data_arc_task *task, const void *name) {
    return strcmp(task->name, name) == 0;
}

static bool is_larger(const struct data_arc_task *task, const void *side) {
    return !data_arc_task_fits(task, *(const int *)side);
}

trm_status data_arc_tasks_drop(struct data_arc_tasks *tasks, const char *path, trm_error *err) {
    char line[256];
    FILE *file = fopen(path, "re");
    if (!file)
        return trm_fail(err, TRM_IO, "%s: %s", path, strerror(errno));
    trm_status status = TRM_OK;
    while (status == TRM_OK && fgets(line, sizeof line, file)) {
        line[strcspn(line, "# \t\r\n")] = '\0';
        if (line[0] && drop(tasks, is_named, line) == 0)
            status = trm_fail(err, TRM_FORMAT, "%s: there is no task \"%.64s\"", path, line);
    }
    if (status == TRM_OK && ferror(file))
        status = trm_fail(err, TRM_IO, "%s: cannot be read", path);
    fclose(file);
    return status;
}

size_t data_arc_tasks_drop_larger(struct data_arc_tasks *tasks, int side) {
    return drop(tasks, is_larger, &side);
}

void data_arc_tasks_release(struct data_arc_tasks *tasks) {
    for (size_t i = 0; i < tasks->count; i++)
        data_arc_task_release(&tasks->items[i]);
    free(tasks->items);
    free(tasks->subsets);
    *tasks = (struct data_arc_tasks){0};
}
