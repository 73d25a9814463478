/* arc_index.c - see arc_index.h. Tables of bytes, used where they are mapped. */
#include "engine/data/arc_index.h"

#include <stdlib.h>
#include <string.h>

static const char NAMES[] = "arc.names", HASHES[] = "arc.hashes", ROWS[] = "arc.rows", AUGMENTS[] = "arc.augments";

_Static_assert(sizeof(struct data_arc_augment) == 1 + DATA_ARC_COLOURS, "a row of arc.augments");

struct data_arc_index {
    size_t tasks, identifiers;
    const char *names;                       /* [tasks, DATA_ARC_NAME] */
    const uint8_t *hashes;                   /* [tasks, DATA_ARC_HASH] */
    const int32_t *rows;                     /* [tasks, 2] */
    const struct data_arc_augment *augments; /* [identifiers] */
    struct data_arc_entry entries[];         /* [tasks] */
};

/* ---- reading ---- */

static trm_status find_table(const st_file *file, const char *name, enum st_dtype dtype, size_t cols,
                             const struct st_tensor **table, trm_error *err) {
    *table = st_find(file, name);
    if (!*table)
        return trm_fail(err, TRM_FORMAT, "tensor \"%s\" is missing", name);
    if ((*table)->dtype != dtype || (*table)->rank != 2 || (*table)->shape[1] != cols)
        return trm_fail(err, TRM_FORMAT, "tensor \"%s\" is not [rows, %zu] of its type", name, cols);
    return TRM_OK;
}

static bool is_name(const char *name) {
    struct data_arc_augment augment;
    char plain[DATA_ARC_NAME];
    return memchr(name, '\0', DATA_ARC_NAME) && data_arc_name_parse(name, plain, &augment) && strcmp(name, plain) == 0;
}

static trm_status check(const struct data_arc_index *index, trm_error *err) {
    for (size_t i = 0; i < index->identifiers; i++)
        if (!data_arc_augment_is_valid(&index->augments[i]))
            return trm_fail(err, TRM_FORMAT, "%s: row %zu is no augmentation", AUGMENTS, i);
    for (size_t t = 0; t < index->tasks; t++) {
        const int32_t first = index->rows[2 * t], count = index->rows[2 * t + 1];
        if (!is_name(index->names + t * DATA_ARC_NAME))
            return trm_fail(err, TRM_FORMAT, "%s: row %zu is no name", NAMES, t);
        if (first < 0 || count < 1 || (size_t)first + (size_t)count > index->identifiers)
            return trm_fail(err, TRM_FORMAT, "%s: row %zu leaves the %zu identifiers", ROWS, t, index->identifiers);
    }
    return TRM_OK;
}

trm_status data_arc_index_open(const st_file *file, int identifiers, data_arc_index **out, trm_error *err) {
    const struct st_tensor *names = NULL, *hashes = NULL, *rows = NULL, *augments = NULL;
    *out = NULL;
    if (!st_find(file, NAMES) && !st_find(file, AUGMENTS))
        return TRM_OK;
    trm_status status = find_table(file, NAMES, ST_U8, DATA_ARC_NAME, &names, err);
    if (status == TRM_OK)
        status = find_table(file, HASHES, ST_U8, DATA_ARC_HASH, &hashes, err);
    if (status == TRM_OK)
        status = find_table(file, ROWS, ST_I32, 2, &rows, err);
    if (status == TRM_OK)
        status = find_table(file, AUGMENTS, ST_U8, sizeof(struct data_arc_augment), &augments, err);
    if (status != TRM_OK)
        return status;
    const size_t tasks = names->shape[0];
    if (hashes->shape[0] != tasks || rows->shape[0] != tasks || augments->shape[0] > (size_t)identifiers)
        return trm_fail(err, TRM_FORMAT, "the tables of ARC tasks do not fit each other and %d identifiers",
                        identifiers);

    data_arc_index *index = malloc(sizeof *index + tasks * sizeof index->entries[0]);
    if (!index)
        return trm_fail_memory(err, tasks * sizeof index->entries[0]);
    index->tasks = tasks;
    index->identifiers = augments->shape[0];
    index->names = names->data;
    index->hashes = hashes->data;
    index->rows = rows->data;
    index->augments = augments->data;
    for (size_t t = 0; t < tasks; t++)
        index->entries[t] = (struct data_arc_entry){.name = index->names + t * DATA_ARC_NAME,
                                                    .hash = index->hashes + t * DATA_ARC_HASH,
                                                    .first = index->rows[2 * t],
                                                    .count = index->rows[2 * t + 1]};
    status = check(index, err);
    if (status != TRM_OK) {
        free(index);
        return status;
    }
    *out = index;
    return TRM_OK;
}

void data_arc_index_close(data_arc_index *index) {
    free(index);
}

const struct data_arc_entry *data_arc_index_find(const data_arc_index *index, const char *name) {
    for (size_t t = 0; t < index->tasks; t++)
        if (strcmp(index->entries[t].name, name) == 0)
            return &index->entries[t];
    return NULL;
}

const struct data_arc_entry *data_arc_index_recognise(const data_arc_index *index, const struct data_arc_task *task) {
    uint8_t hash[DATA_ARC_HASH];
    data_arc_pairs_hash(task->pairs, task->train_count, hash);
    for (size_t t = 0; t < index->tasks; t++)
        if (memcmp(index->entries[t].hash, hash, sizeof hash) == 0)
            return &index->entries[t];
    return NULL;
}

bool data_arc_index_extends(const data_arc_index *index, const data_arc_index *old) {
    if (!old)
        return true;
    return index && index->tasks >= old->tasks && index->identifiers >= old->identifiers &&
           memcmp(index->names, old->names, old->tasks * DATA_ARC_NAME) == 0 &&
           memcmp(index->hashes, old->hashes, old->tasks * DATA_ARC_HASH) == 0 &&
           memcmp(index->rows, old->rows, old->tasks * 2 * sizeof *old->rows) == 0 &&
           memcmp(index->augments, old->augments, old->identifiers * sizeof *old->augments) == 0;
}

size_t data_arc_index_tasks(const data_arc_index *index) {
    return index->tasks;
}

const struct data_arc_entry *data_arc_index_at(const data_arc_index *index, size_t task) {
    return &index->entries[task];
}

const struct data_arc_augment *data_arc_index_augment(const data_arc_index *index, int identifier) {
    return &index->augments[identifier];
}

/* ---- writing ---- */

static trm_status add_tables(st_writer *writer, const struct data_arc_index *index, trm_error *err) {
    const size_t names[] = {index->tasks, DATA_ARC_NAME}, hashes[] = {index->tasks, DATA_ARC_HASH};
    const size_t rows[] = {index->tasks, 2}, augments[] = {index->identifiers, sizeof(struct data_arc_augment)};
    trm_status status = st_add(writer, ROWS, ST_I32, 2, rows, index->rows, err);
    if (status == TRM_OK)
        status = st_add(writer, NAMES, ST_U8, 2, names, index->names, err);
    if (status == TRM_OK)
        status = st_add(writer, HASHES, ST_U8, 2, hashes, index->hashes, err);
    if (status == TRM_OK)
        status = st_add(writer, AUGMENTS, ST_U8, 2, augments, index->augments, err);
    return status;
}

trm_status data_arc_index_add(const data_arc_index *index, st_writer *writer, trm_error *err) {
    return add_tables(writer, index, err);
}

/* The tables while they are made. */
struct tables {
    size_t tasks, capacity;
    char *names;     /* [capacity, DATA_ARC_NAME] */
    uint8_t *hashes; /* [capacity, DATA_ARC_HASH] */
    int32_t *rows;   /* [capacity, 2] */
    struct data_arc_augment *augments;
};

static trm_status reserve(struct tables *tables, trm_error *err) {
    if (tables->tasks < tables->capacity)
        return TRM_OK;
    const size_t capacity = 2 * tables->capacity + 64;
    char *names = realloc(tables->names, capacity * DATA_ARC_NAME);
    if (names)
        tables->names = names;
    uint8_t *hashes = realloc(tables->hashes, capacity * DATA_ARC_HASH);
    if (hashes)
        tables->hashes = hashes;
    int32_t *rows = realloc(tables->rows, capacity * 2 * sizeof *rows);
    if (rows)
        tables->rows = rows;
    if (!names || !hashes || !rows)
        return trm_fail_memory(err, capacity * DATA_ARC_NAME);
    tables->capacity = capacity;
    return TRM_OK;
}

/* The task called `name`: the one after `*hint` if it is, since both lists have the same order as a rule. */
static const struct data_arc_task *task_called(const struct data_arc_tasks *tasks, const char *name, size_t *hint) {
    for (size_t i = 0; i < tasks->count; i++) {
        const size_t at = (*hint + i) % tasks->count;
        if (strcmp(tasks->items[at].name, name) == 0) {
            *hint = at + 1;
            return &tasks->items[at];
        }
    }
    return NULL;
}

static trm_status begin_task(struct tables *tables, const struct data_arc_tasks *tasks, const char *name, int first,
                             size_t *hint, trm_error *err) {
    const struct data_arc_task *task = task_called(tasks, name, hint);
    if (!task)
        return trm_fail(err, TRM_FORMAT, "identifier %d is of task \"%s\", which is not there", first, name);
    const trm_status status = reserve(tables, err);
    if (status != TRM_OK)
        return status;
    char *row = tables->names + tables->tasks * DATA_ARC_NAME;
    memset(row, 0, DATA_ARC_NAME);
    snprintf(row, DATA_ARC_NAME, "%s", name);
    data_arc_pairs_hash(task->pairs, task->train_count, tables->hashes + tables->tasks * DATA_ARC_HASH);
    tables->rows[2 * tables->tasks] = first;
    tables->rows[2 * tables->tasks + 1] = 0;
    tables->tasks++;
    return TRM_OK;
}

static trm_status fill(struct tables *tables, const struct data_arc_tasks *tasks, int identifiers,
                       const char *(*names)(void *arg, int identifier), void *arg, trm_error *err) {
    char former[DATA_ARC_NAME] = "";
    size_t hint = 0;
    for (int i = 0; i < identifiers; i++) {
        const char *full = names(arg, i);
        char name[DATA_ARC_NAME];
        tables->augments[i] = DATA_ARC_IDENTITY;
        if (!full || strcmp(full, "<blank>") == 0) {
            former[0] = '\0';
            continue;
        }
        if (!data_arc_name_parse(full, name, &tables->augments[i]))
            return trm_fail(err, TRM_FORMAT, "identifier %d: \"%.80s\" is no name of a task", i, full);
        /* A task begins with another name, or again with itself as it is. */
        trm_status status = TRM_OK;
        if (tables->tasks == 0 || strcmp(name, former) != 0)
            status = begin_task(tables, tasks, name, i, &hint, err);
        if (status != TRM_OK)
            return status;
        memcpy(former, name, sizeof former);
        tables->rows[2 * tables->tasks - 1]++;
    }
    return TRM_OK;
}

trm_status data_arc_index_write(const char *path, const struct data_arc_tasks *tasks, int identifiers,
                                const char *(*names)(void *arg, int identifier), void *arg, trm_error *err) {
    struct tables tables = {0};
    st_writer *writer = NULL;
    trm_status status = TRM_OK;
    tables.augments = calloc((size_t)identifiers + 1, sizeof *tables.augments);
    if (!tables.augments)
        status = trm_fail_memory(err, (size_t)identifiers * sizeof *tables.augments);
    if (status == TRM_OK)
        status = fill(&tables, tasks, identifiers, names, arg, err);
    if (status == TRM_OK && tables.tasks == 0)
        status = trm_fail(err, TRM_FORMAT, "the identifiers name no task");
    if (status == TRM_OK)
        status = st_writer_create(&writer, err);
    if (status == TRM_OK) {
        const struct data_arc_index index = {.tasks = tables.tasks,
                                             .identifiers = (size_t)identifiers,
                                             .names = tables.names,
                                             .hashes = tables.hashes,
                                             .rows = tables.rows,
                                             .augments = tables.augments};
        status = add_tables(writer, &index, err);
    }
    if (status == TRM_OK)
        status = st_write(writer, path, err);
    st_writer_destroy(writer);
    free(tables.augments);
    free(tables.rows);
    free(tables.hashes);
    free(tables.names);
    return status;
}
