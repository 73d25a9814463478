/* model.c - trm_model: an opened checkpoint, ready to run. Immutable but for its reference count. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/data/puzzle.h"
#include "engine/model/program.h"
#include "engine/model_internal.h"
#include "engine/model_memory.h"

static enum trm_puzzle puzzle_kind(const char *name) {
    static const struct {
        const char *name;
        enum trm_puzzle kind;
    } kinds[] = {{"sudoku", TRM_PUZZLE_SUDOKU}, {"maze", TRM_PUZZLE_MAZE}, {"arc", TRM_PUZZLE_ARC}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(name, kinds[i].name) == 0)
            return kinds[i].kind;
    return TRM_PUZZLE_OTHER;
}

const char *trm_dtype_name(enum trm_dtype dtype) {
    static const char *const names[] = {
        [TRM_DTYPE_AUTO] = "auto", [TRM_DTYPE_F32] = "f32", [TRM_DTYPE_BF16] = "bf16", [TRM_DTYPE_INT8] = "int8"};
    return (size_t)dtype < sizeof names / sizeof *names ? names[dtype] : NULL;
}

static size_t count_parameters(const struct model_layout *layout) {
    size_t count = 0;
    for (int i = 0; i < layout->count; i++)
        if (layout->tensors[i].kind == MODEL_PARAM)
            count += (size_t)layout->tensors[i].rows * (size_t)layout->tensors[i].cols;
    return count;
}

trm_status trm_model_from_memory(const struct model_config *config, const struct model_layout *layout,
                                 const float *params, const float *buffers, const float *puzzle_emb,
                                 const char *puzzle_name, const struct trm_model_options *options, trm_model **out,
                                 trm_error *err) {
    const enum trm_dtype dtype = op_settle_dtype(options->backend, options->dtype);
    const struct model_tensors plain = {config, layout, params, buffers, puzzle_emb};
    trm_model *model = calloc(1, sizeof *model);
    if (!model)
        return trm_fail_memory(err, sizeof *model);
    atomic_init(&model->references, 1);
    model->config_text = model_config_format(config);
    model->puzzle_name = strdup(puzzle_name);
    trm_status status =
        model->config_text && model->puzzle_name ? TRM_OK : trm_fail(err, TRM_NO_MEMORY, "out of memory");
    if (status == TRM_OK)
        status = infer_weights_create(&plain, options->backend, op_operand_type(dtype), &model->weights, err);
    if (status != TRM_OK) {
        trm_model_unref(model);
        return status;
    }
    model->info = (struct trm_model_info){.arch = model_arch_name(config->arch),
                                          .dtype = dtype,
                                          .puzzle = puzzle_kind(puzzle_name),
                                          .puzzle_name = model->puzzle_name,
                                          .config = model->config_text,
                                          .provenance = "{}",
                                          .seq_len = config->seq_len,
                                          .vocab_size = config->vocab_size,
                                          .num_puzzle_identifiers = config->num_puzzle_identifiers,
                                          .halt_max_steps = config->halt_max_steps,
                                          .hidden_size = config->hidden_size,
                                          .parameters = count_parameters(layout),
                                          .flops_per_step = model_flops_per_step(config)};
    *out = model;
    return TRM_OK;
}

/* "x.tasks.safetensors" for "x.safetensors", in fresh memory; NULL when there is none. */
static char *tasks_path(const char *path) {
    static const char ending[] = ".safetensors";
    const size_t length = strlen(path), stem = length - (sizeof ending - 1), size = length + sizeof ".tasks";
    if (length < sizeof ending || strcmp(path + stem, ending) != 0)
        return NULL;
    char *made = malloc(size);
    if (made)
        snprintf(made, size, "%.*s.tasks%s", (int)stem, path, ending);
    return made;
}

/* The index of ARC tasks: in the checkpoint, or else in a file beside it, or nowhere. */
static trm_status open_tasks(const char *path, trm_model *model, trm_error *err) {
    const int identifiers = model->info.num_puzzle_identifiers;
    trm_error why;
    trm_status status = data_arc_index_open(model_checkpoint_file(model->checkpoint), identifiers, &model->tasks, &why);
    if (status != TRM_OK)
        return trm_fail(err, status, "%.120s: %.120s", path, why.text);
    if (model->tasks || model->info.puzzle != TRM_PUZZLE_ARC)
        return TRM_OK;
    char *beside = tasks_path(path);
    if (beside && access(beside, F_OK) == 0) {
        status = st_open(beside, &model->tasks_file, err);
        if (status == TRM_OK)
            status = data_arc_index_open(model->tasks_file, identifiers, &model->tasks, &why);
        if (model->tasks_file && status != TRM_OK)
            trm_fail(err, status, "%.120s: %.120s", beside, why.text);
    }
    free(beside);
    return status;
}

trm_status trm_model_open(const char *path, const struct trm_model_options *options, trm_model **out, trm_error *err) {
    model_checkpoint *checkpoint = NULL;
    trm_model *model = NULL;
    trm_status status = model_checkpoint_open(path, &checkpoint, err);
    if (status != TRM_OK)
        return status;
    const char *puzzle = st_metadata(model_checkpoint_file(checkpoint), "puzzle");
    const char *provenance = st_metadata(model_checkpoint_file(checkpoint), "provenance");
    status = trm_model_from_memory(model_checkpoint_config(checkpoint), model_checkpoint_layout(checkpoint),
                                   model_checkpoint_params(checkpoint), model_checkpoint_buffers(checkpoint),
                                   model_checkpoint_puzzle_emb(checkpoint), puzzle ? puzzle : "", options, &model, err);
    if (status != TRM_OK) {
        model_checkpoint_close(checkpoint);
        return status;
    }
    model->checkpoint = checkpoint;
    if (provenance)
        model->info.provenance = provenance;
    status = model_checkpoint_halt_threshold(checkpoint, &model->info.halt_threshold, err);
    if (status == TRM_OK)
        status = open_tasks(path, model, err);
    if (status != TRM_OK) {
        trm_model_unref(model);
        return status;
    }
    *out = model;
    return TRM_OK;
}

trm_model *trm_model_ref(trm_model *model) {
    atomic_fetch_add_explicit(&model->references, 1, memory_order_relaxed);
    return model;
}

void trm_model_unref(trm_model *model) {
    if (!model || atomic_fetch_sub_explicit(&model->references, 1, memory_order_acq_rel) != 1)
        return;
    infer_weights_destroy(model->weights);
    data_arc_index_close(model->tasks);
    st_close(model->tasks_file);
    model_checkpoint_close(model->checkpoint);
    free(model->config_text);
    free(model->puzzle_name);
    free(model);
}

const struct trm_model_info *trm_model_info(const trm_model *model) {
    return &model->info;
}

const struct data_arc_index *trm_model_tasks(const trm_model *model) {
    return model->tasks;
}

int trm_model_images(const trm_model *model) {
    return data_puzzle_images(model->info.puzzle, model->info.seq_len);
}

bool trm_model_has_guesses(const trm_model *model) {
    return data_puzzle_has_guesses(model->info.puzzle, model->info.seq_len);
}

bool trm_model_has_verifier(const trm_model *model) {
    return data_puzzle_has_verifier(model->info.puzzle, model->info.seq_len);
}
