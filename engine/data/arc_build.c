/* arc_build.c - see arc_build.h. First the augmentations of all tasks are drawn, so that every size is
 * known, then the rows are written as they are made: data sets may be larger than memory. One thread. */
#include "engine/data/arc_build.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "engine/data/arc_index.h"
#include "engine/data/dataset.h"
#include "engine/data/npy.h"

enum { TRIES = 5 }; /* for every augmentation that is wanted, as in the original */

/* A task and its augmentations: puzzles first .. first + count - 1, the first being the task itself. */
struct group {
    const struct data_arc_task *task;
    bool testing;
    size_t first;
    int count;
    const struct group *namesake; /* an earlier group of a task with the same name, from another subset; or NULL */
};

struct build {
    const struct data_arc_build_options *options;
    struct data_arc_tasks tasks;
    struct data_rng rng;
    struct group *groups;              /* [tasks.count] in the order of the data set */
    struct data_arc_augment *augments; /* [puzzles] */
    int32_t *identifiers;              /* [puzzles] */
    int32_t *groups_of;                /* [puzzles] */
    int32_t *owners;                   /* [identifier_count] the puzzle that an identifier was made for */
    size_t puzzle_count;
    int identifier_count;
    uint8_t *seen; /* [1 + options->augment, DATA_ARC_HASH] what the augmentations of a task look like */
    size_t larger, incomplete;
    char name[DATA_ARC_FULL_NAME]; /* of the last identifier that was asked for */
};

/* ---- the plan ---- */

/* Tasks in the order of the subsets, shuffled within each. */
static trm_status order_tasks(struct build *build, trm_error *err) {
    const struct data_arc_tasks *tasks = &build->tasks;
    int *order = calloc(tasks->count, sizeof *order);
    if (!order)
        return trm_fail_memory(err, tasks->count * sizeof *order);
    for (size_t first = 0, end; first < tasks->count; first = end) {
        for (end = first; end < tasks->count && tasks->subsets[end] == tasks->subsets[first];)
            end++;
        data_rng_permute(&build->rng, (int)(end - first), order);
        for (size_t i = first; i < end; i++)
            build->groups[i] = (struct group){.task = &tasks->items[first + (size_t)order[i - first]],
                                              .testing = build->options->testing[tasks->subsets[first]]};
    }
    free(order);
    return TRM_OK;
}

/* Adds the puzzle unless it looks like another one of the group. */
static void offer_puzzle(struct build *build, struct group *group, const struct data_arc_augment *augment) {
    const struct data_arc_task *task = group->task;
    struct data_arc_pair images[2 * DATA_ARC_MAX_PAIRS];
    const int pairs = task->train_count + task->test_count;
    uint8_t *hash = build->seen + (size_t)group->count * DATA_ARC_HASH;
    for (int i = 0; i < pairs; i++) {
        data_arc_apply(augment, &task->pairs[i].input, &images[i].input);
        data_arc_apply(augment, &task->pairs[i].output, &images[i].output);
    }
    data_arc_pairs_hash(images, pairs, hash);
    for (int i = 0; i < group->count; i++)
        if (memcmp(build->seen + (size_t)i * DATA_ARC_HASH, hash, DATA_ARC_HASH) == 0)
            return;
    build->augments[build->puzzle_count] = *augment;
    build->groups_of[build->puzzle_count] = (int32_t)(group - build->groups);
    build->puzzle_count++;
    group->count++;
}

static void plan_group(struct build *build, struct group *group) {
    const int wanted = build->options->augment;
    group->first = build->puzzle_count;
    offer_puzzle(build, group, &DATA_ARC_IDENTITY);
    for (int i = 0; i < TRIES * wanted && group->count <= wanted; i++) {
        struct data_arc_augment augment;
        data_arc_augment_draw(&build->rng, &augment);
        offer_puzzle(build, group, &augment);
    }
    build->incomplete += group->count <= wanted;
}

static void find_namesakes(struct build *build) {
    for (size_t g = 0; g < build->tasks.count; g++)
        for (size_t earlier = 0; earlier < g; earlier++)
            if (strcmp(build->groups[earlier].task->name, build->groups[g].task->name) == 0)
                build->groups[g].namesake = &build->groups[earlier];
}

/* The identifier of a puzzle of the same name and augmentation in an earlier group, or -1. */
static int32_t find_identifier(const struct build *build, size_t puzzle) {
    const struct group *group = build->groups[build->groups_of[puzzle]].namesake;
    for (; group; group = group->namesake)
        for (size_t p = group->first; p < group->first + (size_t)group->count; p++)
            if (memcmp(&build->augments[p], &build->augments[puzzle], sizeof build->augments[p]) == 0)
                return build->identifiers[p];
    return -1;
}

static void number_puzzles(struct build *build) {
    build->identifier_count = 1; /* 0 is the blank one */
    for (size_t p = 0; p < build->puzzle_count; p++) {
        build->identifiers[p] = find_identifier(build, p);
        if (build->identifiers[p] < 0) {
            build->owners[build->identifier_count] = (int32_t)p;
            build->identifiers[p] = build->identifier_count++;
        }
    }
}

static trm_status plan(struct build *build, trm_error *err) {
    const struct data_arc_build_options *o = build->options;
    trm_status status = data_arc_tasks_load(o->prefix, o->subsets, o->subset_count, &build->tasks, err);
    if (status == TRM_OK && o->without)
        status = data_arc_tasks_drop(&build->tasks, o->without, err);
    if (status != TRM_OK)
        return status;
    build->larger = data_arc_tasks_drop_larger(&build->tasks, o->side);
    for (size_t i = 0; i < build->tasks.count; i++)
        if (build->tasks.items[i].train_count == 0)
            return trm_fail(err, TRM_FORMAT, "task \"%s\" has no demonstrations", build->tasks.items[i].name);
    const size_t each = (size_t)o->augment + 1, tasks = build->tasks.count, most = tasks * each;
    if (tasks == 0)
        return trm_fail(err, TRM_FORMAT, "no tasks of %d rows and columns at most", o->side);
    if (most >= INT32_MAX / (2 * DATA_ARC_MAX_PAIRS))
        return trm_fail(err, TRM_INVALID, "%zu tasks with %d augmentations each are too many", tasks, o->augment);
    build->groups = calloc(tasks, sizeof *build->groups);
    build->augments = calloc(most, sizeof *build->augments);
    build->identifiers = calloc(most, sizeof *build->identifiers);
    build->groups_of = calloc(most, sizeof *build->groups_of);
    build->owners = calloc(most + 1, sizeof *build->owners);
    build->seen = calloc(each, DATA_ARC_HASH);
    if (!build->groups || !build->augments || !build->identifiers || !build->groups_of || !build->owners ||
        !build->seen)
        return trm_fail_memory(err, most * sizeof *build->augments);
    status = order_tasks(build, err);
    for (size_t g = 0; g < tasks && status == TRM_OK; g++)
        plan_group(build, &build->groups[g]);
    if (status == TRM_OK) {
        find_namesakes(build);
        number_puzzles(build);
    }
    return status;
}

/* ---- rows ---- */

/* The part of the data set that goes to one directory. */
struct split {
    const char *dir;
    bool testing;
    size_t rows, puzzles, groups;
    struct trm_output inputs, labels;
    int32_t *puzzle_identifiers, *puzzle_indices, *group_indices;
};

static bool is_in(const struct split *split, const struct group *group) {
    return group->testing || !split->testing;
}

/* Lists the pairs of a group that the split has; returns their number. */
static int list_pairs(const struct split *split, const struct group *group,
                      const struct data_arc_pair *pairs[2 * DATA_ARC_MAX_PAIRS]) {
    const struct data_arc_task *task = group->task;
    int count = 0;
    for (int i = 0; i < task->train_count && !split->testing; i++)
        pairs[count++] = &task->pairs[i];
    for (int i = task->train_count; i < task->train_count + task->test_count; i++)
        if (split->testing || (!group->testing && task->pairs[i].output.rows > 0))
            pairs[count++] = &task->pairs[i];
    return count;
}

/* Writes one pair in an augmentation; with `move` it goes to a random place. */
static void write_pair(struct build *build, struct split *split, const struct data_arc_pair *pair,
                       const struct data_arc_augment *augment, bool move) {
    struct data_arc_grid input, output;
    uint8_t tokens[DATA_ARC_CELLS];
    const int side = build->options->side;
    const size_t cells = (size_t)side * (size_t)side;
    int top = 0, left = 0;
    data_arc_apply(augment, &pair->input, &input);
    data_arc_apply(augment, &pair->output, &output);
    if (output.rows == 0) /* not known: the original's stand-in */
        output = (struct data_arc_grid){.rows = 1, .cols = 1};
    if (move)
        data_arc_draw_place(&input, &output, side, &build->rng, &top, &left);
    data_arc_tokens(&input, side, top, left, tokens);
    fwrite(tokens, 1, cells, split->inputs.stream);
    data_arc_tokens(&output, side, top, left, tokens);
    fwrite(tokens, 1, cells, split->labels.stream);
}

static void write_group(struct build *build, struct split *split, const struct group *group) {
    const struct data_arc_pair *pairs[2 * DATA_ARC_MAX_PAIRS];
    const int count = list_pairs(split, group, pairs);
    for (size_t p = group->first; p < group->first + (size_t)group->count; p++) {
        const int kept = data_rng_below(&build->rng, count);
        for (int i = 0; i < count; i++)
            write_pair(build, split, pairs[i], &build->augments[p], !split->testing && i != kept);
        split->rows += (size_t)count;
        split->puzzle_identifiers[split->puzzles++] = build->identifiers[p];
        split->puzzle_indices[split->puzzles] = (int32_t)split->rows;
    }
    split->group_indices[++split->groups] = (int32_t)split->puzzles;
}

static trm_status begin_array(const char *dir, const char *name, size_t rows, int cells, struct trm_output *out,
                              trm_error *err) {
    const size_t shape[] = {rows, (size_t)cells};
    char *path = data_set_array_path(dir, name);
    if (!path)
        return trm_fail_memory(err, strlen(dir));
    const trm_status status = data_npy_begin(out, path, DATA_NPY_U8, 2, shape, err);
    free(path);
    return status;
}

static trm_status save_array(const char *dir, const char *name, size_t count, const int32_t *items, trm_error *err) {
    char *path = data_set_array_path(dir, name);
    if (!path)
        return trm_fail_memory(err, strlen(dir));
    const trm_status status = data_npy_save(path, DATA_NPY_I32, 1, &count, items, err);
    free(path);
    return status;
}

static trm_status write_arrays(struct build *build, struct split *split, size_t rows, trm_error *err) {
    const int cells = build->options->side * build->options->side;
    trm_status status = trm_make_directory(split->dir, err);
    if (status == TRM_OK)
        status = begin_array(split->dir, "inputs", rows, cells, &split->inputs, err);
    if (status == TRM_OK)
        status = begin_array(split->dir, "labels", rows, cells, &split->labels, err);
    for (size_t g = 0; g < build->tasks.count && status == TRM_OK; g++)
        if (is_in(split, &build->groups[g]))
            write_group(build, split, &build->groups[g]);
    if (status == TRM_OK)
        status = trm_output_commit(&split->inputs, err);
    if (status == TRM_OK)
        status = trm_output_commit(&split->labels, err);
    if (status == TRM_OK)
        status = save_array(split->dir, "puzzle_identifiers", split->puzzles, split->puzzle_identifiers, err);
    if (status == TRM_OK)
        status = save_array(split->dir, "puzzle_indices", split->puzzles + 1, split->puzzle_indices, err);
    if (status == TRM_OK)
        status = save_array(split->dir, "group_indices", split->groups + 1, split->group_indices, err);
    const struct data_set_metadata meta = {.seq_len = cells,
                                           .vocab_size = DATA_ARC_VOCABULARY,
                                           .num_identifiers = build->identifier_count,
                                           .groups = split->groups,
                                           .puzzles = split->puzzles,
                                           .rows = split->rows};
    return status == TRM_OK ? data_set_save_metadata(split->dir, &meta, err) : status;
}

/* Writes DIR/name and says how many rows that has: none, and no directory, when there is nothing to write. */
static trm_status write_split(struct build *build, const char *name, bool testing, size_t *rows, trm_error *err) {
    struct split split = {.testing = testing};
    size_t puzzles = 0, groups = 0;
    *rows = 0;
    for (size_t g = 0; g < build->tasks.count; g++) {
        const struct data_arc_pair *pairs[2 * DATA_ARC_MAX_PAIRS];
        const struct group *group = &build->groups[g];
        if (!is_in(&split, group))
            continue;
        *rows += (size_t)list_pairs(&split, group, pairs) * (size_t)group->count;
        puzzles += (size_t)group->count;
        groups++;
    }
    if (groups == 0)
        return TRM_OK;
    char *dir = trm_path_join(build->options->dir, name);
    split.dir = dir;
    split.puzzle_identifiers = calloc(puzzles, sizeof(int32_t));
    split.puzzle_indices = calloc(puzzles + 1, sizeof(int32_t));
    split.group_indices = calloc(groups + 1, sizeof(int32_t));
    trm_status status = TRM_OK;
    if (!dir || !split.puzzle_identifiers || !split.puzzle_indices || !split.group_indices)
        status = trm_fail_memory(err, puzzles * 2 * sizeof(int32_t));
    if (status == TRM_OK)
        status = write_arrays(build, &split, *rows, err);
    trm_output_close(&split.labels);
    trm_output_close(&split.inputs);
    free(split.group_indices);
    free(split.puzzle_indices);
    free(split.puzzle_identifiers);
    free(dir);
    return status;
}

/* ---- what lies beside the rows ---- */

static const char *name_of(void *arg, int identifier) {
    struct build *build = arg;
    if (identifier == 0)
        return "<blank>";
    const int32_t puzzle = build->owners[identifier];
    data_arc_name_format(build->groups[build->groups_of[puzzle]].task->name, &build->augments[puzzle], build->name);
    return build->name;
}

static void print_identifiers(struct build *build, FILE *stream) {
    for (int i = 0; i < build->identifier_count; i++)
        fprintf(stream, "%s\"%s\"", i == 0 ? "[" : ",\n", name_of(build, i)); /* names need no escapes */
    fputs("]\n", stream);
}

static void print_grid(const struct data_arc_grid *grid, FILE *stream) {
    for (int r = 0; r < grid->rows; r++)
        for (int c = 0; c < grid->cols; c++)
            fprintf(stream, "%s%d", c > 0 ? "," : r > 0 ? "],[" : "[[", grid->cells[r * grid->cols + c]);
    fputs("]]", stream);
}

static void print_pairs(const struct data_arc_pair *pairs, int count, FILE *stream) {
    static const struct data_arc_grid unknown = {.rows = 1, .cols = 1};
    for (int i = 0; i < count; i++) {
        fputs(i == 0 ? "{\"input\": " : ",\n  {\"input\": ", stream);
        print_grid(&pairs[i].input, stream);
        fputs(", \"output\": ", stream);
        print_grid(pairs[i].output.rows ? &pairs[i].output : &unknown, stream);
        fputc('}', stream);
    }
}

/* The later of two tasks of one name is the one to test, as in the original. */
static bool is_replaced(const struct build *build, size_t group) {
    for (size_t later = group + 1; later < build->tasks.count; later++)
        if (build->groups[later].testing &&
            strcmp(build->groups[later].task->name, build->groups[group].task->name) == 0)
            return true;
    return false;
}

static size_t print_test_puzzles(struct build *build, FILE *stream) {
    size_t count = 0;
    for (size_t g = 0; g < build->tasks.count; g++) {
        const struct data_arc_task *task = build->groups[g].task;
        if (!build->groups[g].testing || is_replaced(build, g))
            continue;
        fprintf(stream, "%s\"%s\": {\"train\": [", count++ ? ",\n" : "{", task->name);
        print_pairs(task->pairs, task->train_count, stream);
        fputs("],\n \"test\": [", stream);
        print_pairs(task->pairs + task->train_count, task->test_count, stream);
        fputs("]}", stream);
    }
    fputs(count ? "}\n" : "{}\n", stream);
    return count;
}

/* Opens DIR/name to be written. */
static trm_status open_beside(const struct build *build, const char *name, struct trm_output *out, trm_error *err) {
    char *path = trm_path_join(build->options->dir, name);
    const trm_status status = path ? trm_output_open(out, path, err) : trm_fail_memory(err, strlen(name));
    free(path);
    return status;
}

static trm_status write_index(const char *dir, const struct data_arc_tasks *tasks, int identifiers,
                              const char *(*names)(void *arg, int identifier), void *arg, trm_error *err) {
    char *path = trm_path_join(dir, "tasks.safetensors");
    if (!path)
        return trm_fail_memory(err, strlen(dir));
    const trm_status status = data_arc_index_write(path, tasks, identifiers, names, arg, err);
    free(path);
    return status;
}

static trm_status write_beside(struct build *build, size_t *test_tasks, trm_error *err) {
    struct trm_output out = {0};
    trm_status status = open_beside(build, "identifiers.json", &out, err);
    if (status == TRM_OK) {
        print_identifiers(build, out.stream);
        status = trm_output_commit(&out, err);
    }
    trm_output_close(&out);
    if (status == TRM_OK)
        status = open_beside(build, "test_puzzles.json", &out, err);
    if (status == TRM_OK) {
        *test_tasks = print_test_puzzles(build, out.stream);
        status = trm_output_commit(&out, err);
    }
    trm_output_close(&out);
    if (status == TRM_OK)
        status = write_index(build->options->dir, &build->tasks, build->identifier_count, name_of, build, err);
    return status;
}

trm_status data_arc_build(const struct data_arc_build_options *options, struct data_arc_build_result *result,
                          trm_error *err) {
    struct build build = {.options = options};
    *result = (struct data_arc_build_result){0};
    data_rng_seed(&build.rng, options->seed);
    trm_status status = plan(&build, err);
    if (status == TRM_OK)
        status = write_split(&build, "train", false, &result->train_rows, err);
    if (status == TRM_OK)
        status = write_split(&build, "test", true, &result->test_rows, err);
    if (status == TRM_OK)
        status = write_beside(&build, &result->test_tasks, err);
    result->tasks = build.tasks.count;
    result->identifiers = build.identifier_count;
    result->larger = build.larger;
    result->incomplete = build.incomplete;
    free(build.seen);
    free(build.owners);
    free(build.groups_of);
    free(build.identifiers);
    free(build.augments);
    free(build.groups);
    data_arc_tasks_release(&build.tasks);
    return status;
}

/* ---- an index for a data set of the original's ---- */

static const char *name_in(void *arg, int identifier) {
    return json_string_value(json_array_get(arg, (size_t)identifier));
}

trm_status data_arc_index_build(const struct data_arc_build_options *options, const char *identifiers, int *count,
                                trm_error *err) {
    struct data_arc_tasks tasks = {0};
    json_error_t json_err;
    json_t *names = json_load_file(identifiers, 0, &json_err);
    trm_status status = TRM_OK;
    *count = (int)json_array_size(names);
    if (!names)
        status = trm_fail(err, TRM_FORMAT, "%s: %.150s", identifiers, json_err.text);
    else if (*count < 1)
        status = trm_fail(err, TRM_FORMAT, "%s: not a list of names", identifiers);
    if (status == TRM_OK)
        status = data_arc_tasks_load(options->prefix, options->subsets, options->subset_count, &tasks, err);
    if (status == TRM_OK)
        status = trm_make_directory(options->dir, err);
    if (status == TRM_OK)
        status = write_index(options->dir, &tasks, *count, name_in, names, err);
    data_arc_tasks_release(&tasks);
    json_decref(names);
    return status;
}
