/* run_state.c - checkpoints of a training run: the averaged weights for users, and the whole state
 * for going on exactly where the run was. Called by the run's thread only. */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/cli.h"
#include "engine/model/checkpoint.h"
#include "engine/model/runner.h"
#include "engine/train/run.h"

static const char state_name[] = "state.safetensors";

trm_status train_path(const struct train_run *run, const char *name, char *path, size_t size, trm_error *err) {
    int length = snprintf(path, size, "%s/%s", run->options->dir, name);
    if (length < 0 || (size_t)length >= size)
        return trm_fail(err, TRM_INVALID, "%s: path is too long", run->options->dir);
    return TRM_OK;
}

/* ---- the model ---- */

/* Where the weights come from; NULL if memory ran out. */
static json_t *provenance(const struct train_run *run) {
    const int64_t updates = *train_core_updates(run->core);
    json_t *settings = json_loads(run->settings, 0, NULL);
    json_t *object = json_pack("{s:s, s:s, s:I, s:I, s:f, s:o}", "program", "trm-train " TRM_VERSION, "command",
                               run->options->command, "updates", (json_int_t)updates, "puzzle_steps",
                               (json_int_t)updates * run->conf->batch_size, "hours",
                               (run->seconds_before + trm_clock() - run->started) / 3600.0, "settings", settings);
    if (object && run->last_exact >= 0.0)
        json_object_set_new(object, "eval_exact_accuracy", json_real(run->last_exact));
    return object;
}

trm_status train_save_model(struct train_run *run, const char *name, trm_error *err) {
    const struct train_weights *w = train_core_weights(run->core);
    char path[4096];
    st_writer *writer = NULL;
    trm_status status = train_path(run, name, path, sizeof path, err);
    if (status == TRM_OK)
        status = st_writer_create(&writer, err);
    if (status == TRM_OK)
        status = model_checkpoint_add(writer, &run->model, run->layout, w->ema, w->buffers, w->puzzle_emb, err);
    if (status == TRM_OK && run->tasks)
        status = data_arc_index_add(run->tasks, writer, err);
    if (status == TRM_OK)
        status =
            model_checkpoint_add_metadata(writer, run->conf->puzzle, run->conf->halt_threshold, provenance(run), err);
    if (status == TRM_OK)
        status = st_write(writer, path, err);
    st_writer_destroy(writer);
    return status;
}

/* ---- the state: a table of arrays, walked both to save and to restore ---- */

/* Everything that is neither weights nor a row. */
struct scalars {
    int64_t updates, window_updates;
    uint64_t rng[4];
    struct train_metrics window;
    double best, last_exact, seconds;
};

struct array {
    const char *name;
    enum st_dtype dtype;
    void *data;
    size_t count;
    bool optional; /* a state without it, or where it has another size, has zeros there */
};

enum { MAX_ARRAYS = 16 };

/* Rows and streams gathered into arrays, since the file knows only arrays. */
struct packed {
    int32_t *rows;      /* [pool, 4]: id, steps, halted, min_steps */
    uint64_t *supplies; /* [conf->data_count + 1] the next puzzle of those that are streams, 0 of the others */
};

static size_t pool_of(const struct train_run *run) {
    return (size_t)run->conf->pool_size;
}

/* Those of the probes are the last. */
static size_t supplies_of(const struct train_run *run) {
    return (size_t)run->conf->data_count + 1;
}

/* The examples and latents of all rows lie in one block each, of which row 0 has the first address. */
static int list_arrays(struct train_run *run, struct scalars *scalars, const struct packed *packed,
                       struct array *arrays) {
    const struct train_weights *w = train_core_weights(run->core);
    const struct train_row *first = train_core_row(run->core, 0);
    const struct model_config *c = &run->conf->model;
    const size_t params = run->layout->param_size, buffers = run->layout->buffer_size;
    const size_t table = (size_t)c->num_puzzle_identifiers * (size_t)c->puzzle_emb_ndim;
    const size_t tokens = pool_of(run) * 2 * (size_t)c->seq_len;
    const size_t states = pool_of(run) * model_state_size(c, run->layout);
    const struct array all[] = {
        {"params", ST_F32, w->params, params, false},
        {"ema", ST_F32, w->ema, params, false},
        {"moment1", ST_F32, w->moment1, params, false},
        {"moment2", ST_F32, w->moment2, params, false},
        {"buffers", ST_F32, w->buffers, buffers, false},
        {"puzzle_emb", ST_F32, w->puzzle_emb, w->puzzle_emb ? table : 0, false},
        {"row_tokens", ST_I32, first->inputs, tokens, false},
        {"row_states", first->state ? ST_F32 : ST_BF16, first->state ? (void *)first->state : first->state16, states,
         false},
        {"row_numbers", ST_I32, packed->rows, pool_of(run) * 4, false},
        {"scalars", ST_U8, scalars, sizeof *scalars, false},
        {"streams", ST_I64, packed->supplies, supplies_of(run), true},
        {"cpu_seconds", ST_F64, &run->cpu_spent, 1, true},
        {"probes", ST_U8, &run->window.probes, run->conf->probe.rows > 0 ? sizeof run->window.probes : 0, true},
    };
    int count = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].count > 0)
            arrays[count++] = all[i];
    return count;
}

static trm_status allocate_packed(const struct train_run *run, struct packed *packed, trm_error *err) {
    packed->rows = calloc(pool_of(run), 4 * sizeof *packed->rows);
    packed->supplies = calloc(supplies_of(run), sizeof *packed->supplies);
    return packed->rows && packed->supplies ? TRM_OK : trm_fail_memory(err, pool_of(run) * 4 * sizeof *packed->rows);
}

static void free_packed(struct packed *packed) {
    free(packed->rows);
    free(packed->supplies);
}

trm_status train_save_state(struct train_run *run, trm_error *err) {
    struct scalars scalars;
    memset(&scalars, 0, sizeof scalars);
    scalars.updates = *train_core_updates(run->core);
    scalars.window_updates = run->window.updates;
    memcpy(scalars.rng, run->rng.s, sizeof scalars.rng);
    scalars.window = run->window.sums;
    scalars.best = run->best;
    scalars.last_exact = run->last_exact;
    run->cpu_spent = run->cpu_before + trm_cpu_clock();
    scalars.seconds = run->seconds_before + trm_clock() - run->started;

    struct packed packed = {0};
    struct array arrays[MAX_ARRAYS];
    st_writer *writer = NULL;
    char path[4096];
    trm_status status = allocate_packed(run, &packed, err);
    for (size_t i = 0; i < pool_of(run) && status == TRM_OK; i++) {
        const struct train_row *row = train_core_row(run->core, (int)i);
        const int32_t numbers[4] = {row->id, row->steps, row->halted, row->min_steps};
        memcpy(packed.rows + 4 * i, numbers, sizeof numbers);
    }
    for (size_t i = 0; i < supplies_of(run) && status == TRM_OK; i++)
        if (run->supplies[i].stream)
            packed.supplies[i] = data_stream_position(run->supplies[i].stream);
    if (status == TRM_OK)
        status = train_path(run, state_name, path, sizeof path, err);
    if (status == TRM_OK)
        status = st_writer_create(&writer, err);
    const int count = status == TRM_OK ? list_arrays(run, &scalars, &packed, arrays) : 0;
    for (int i = 0; i < count && status == TRM_OK; i++)
        status = st_add(writer, arrays[i].name, arrays[i].dtype, 1, &arrays[i].count, arrays[i].data, err);
    if (status == TRM_OK)
        status = st_add_metadata(writer, "settings", run->settings, err);
    if (status == TRM_OK)
        status = st_write(writer, path, err);
    st_writer_destroy(writer);
    free_packed(&packed);
    return status;
}

/* Rows of a state file are as hostile as any: nothing out of range reaches the model. */
static trm_status unpack_rows(struct train_run *run, const struct packed *packed, trm_error *err) {
    const struct model_config *c = &run->conf->model;
    for (size_t i = 0; i < pool_of(run); i++) {
        struct train_row *row = train_core_row(run->core, (int)i);
        row->id = packed->rows[4 * i];
        row->steps = packed->rows[4 * i + 1];
        row->halted = packed->rows[4 * i + 2];
        row->min_steps = packed->rows[4 * i + 3];
        bool good = row->id >= 0 && (c->puzzle_emb_ndim == 0 || row->id < c->num_puzzle_identifiers);
        for (int t = 0; t < c->seq_len && good; t++)
            good = row->inputs[t] >= 0 && row->inputs[t] < c->vocab_size && row->labels[t] < c->vocab_size &&
                   (row->labels[t] >= 0 || row->labels[t] == TRAIN_LABEL_IGNORED);
        if (!good)
            return trm_fail(err, TRM_FORMAT, "%s/%s: carried puzzle %zu has values out of range", run->options->dir,
                            state_name, i);
    }
    return TRM_OK;
}

static trm_status read_arrays(const struct train_run *run, const st_file *file, const struct array *arrays, int count,
                              trm_error *err) {
    for (int i = 0; i < count; i++) {
        const struct st_tensor *tensor = st_find(file, arrays[i].name);
        const bool fits = tensor && tensor->dtype == arrays[i].dtype && tensor->count == arrays[i].count;
        if (!fits && arrays[i].optional)
            continue;
        if (!fits)
            return trm_fail(err, TRM_FORMAT, "%s/%s does not fit these settings: its %s has another size",
                            run->options->dir, state_name, arrays[i].name);
        memcpy(arrays[i].data, tensor->data, tensor->count * st_dtype_size(tensor->dtype));
    }
    return TRM_OK;
}

/* What the first process reads of the state, before the others have it. */
static trm_status read_state(struct train_run *run, const char *path, const struct array *arrays, int count,
                             trm_error *err) {
    st_file *file = NULL;
    trm_status status = st_open(path, &file, err);
    if (status == TRM_OK)
        status = read_arrays(run, file, arrays, count, err);
    if (status == TRM_OK) {
        const char *settings = st_metadata(file, "settings");
        if (!settings || strcmp(settings, run->settings) != 0)
            fprintf(stderr, "trm-train: the settings are not those that %s was made with; going on with the new ones\n",
                    path);
    }
    st_close(file);
    return status;
}

trm_status train_load_state(struct train_run *run, bool *found, trm_error *err) {
    train_comm *comm = run->options->comm;
    struct scalars scalars = {0};
    struct packed packed = {0};
    struct array arrays[MAX_ARRAYS];
    char path[4096];
    trm_status status = train_path(run, state_name, path, sizeof path, err);
    *found = status == TRM_OK && access(path, F_OK) == 0;
    if (status == TRM_OK)
        status = train_comm_spread(comm, found, sizeof *found, err);
    if (status != TRM_OK || !*found)
        return status;
    status = allocate_packed(run, &packed, err);
    const int count = status == TRM_OK ? list_arrays(run, &scalars, &packed, arrays) : 0;
    if (status == TRM_OK && train_leads(run))
        status = read_state(run, path, arrays, count, err);
    for (int i = 0; i < count && status == TRM_OK; i++)
        status = train_comm_spread(comm, arrays[i].data, arrays[i].count * st_dtype_size(arrays[i].dtype), err);
    if (status == TRM_OK)
        status = unpack_rows(run, &packed, err);
    for (size_t i = 0; i < supplies_of(run) && status == TRM_OK; i++)
        if (run->supplies[i].stream)
            data_stream_begin_at(run->supplies[i].stream, packed.supplies[i]);
    if (status == TRM_OK) {
        *train_core_updates(run->core) = scalars.updates;
        memcpy(run->rng.s, scalars.rng, sizeof scalars.rng);
        run->window.sums = scalars.window;
        run->window.updates = scalars.window_updates;
        run->best = scalars.best;
        run->last_exact = scalars.last_exact;
        run->seconds_before = scalars.seconds;
        run->cpu_before = run->cpu_spent;
        status = train_core_refresh(run->core, err);
    }
    free_packed(&packed);
    return status;
}
