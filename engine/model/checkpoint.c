/* checkpoint.c - a safetensors file that holds a model, checked against its own configuration.
 *
 * Parameters and buffers are copied to f32 in the model's layout; the puzzle embedding, which can be
 * 1.8 GB, is used in the mapping. Immutable once open: any thread. */
#include "engine/model/checkpoint.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 }; /* bytes: a cache line and a vector register */

static const char HALT_THRESHOLD[] = "halt_threshold";

struct model_checkpoint {
    st_file *file;
    struct model_config config;
    struct model_layout *layout;
    float *params;           /* [layout->param_size] */
    float *buffers;          /* [layout->buffer_size] */
    const float *puzzle_emb; /* [identifiers, ndim]: in the mapping, or puzzle_emb_copy, or NULL */
    float *puzzle_emb_copy;  /* NULL when the mapping serves */
};

/* Zeroed, aligned; `count` is a layout's size, far from overflow. */
static trm_status allocate(size_t count, float **out, trm_error *err) {
    size_t bytes = (count * sizeof(float) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    *out = aligned_alloc(ALIGNMENT, bytes);
    if (!*out)
        return trm_fail_memory(err, bytes);
    memset(*out, 0, bytes);
    return TRM_OK;
}

static bool has_shape(const struct st_tensor *stored, const struct model_tensor *tensor) {
    if (stored->rank != tensor->rank)
        return false;
    if (tensor->rank == 1)
        return stored->shape[0] == (size_t)tensor->cols;
    return stored->shape[0] == (size_t)tensor->rows && stored->shape[1] == (size_t)tensor->cols;
}

static trm_status find_tensor(const st_file *file, const struct model_tensor *tensor, const struct st_tensor **out,
                              trm_error *err) {
    const struct st_tensor *stored = st_find(file, tensor->name);
    if (!stored)
        return trm_fail(err, TRM_FORMAT, "tensor \"%s\" is missing", tensor->name);
    if (!has_shape(stored, tensor))
        return trm_fail(err, TRM_FORMAT, "tensor \"%s\" has another shape than the configuration's [%d, %d]",
                        tensor->name, tensor->rows, tensor->cols);
    *out = stored;
    return TRM_OK;
}

static trm_status copy_tensor(const struct st_tensor *stored, float *out, trm_error *err) {
    trm_status status = st_copy_f32(stored, out, err);
    for (size_t i = 0; !status && i < stored->count; i++)
        if (!isfinite(out[i]))
            status = trm_fail(err, TRM_FORMAT, "tensor \"%s\" has a value that is not finite", stored->name);
    return status;
}

static trm_status load_puzzle_emb(struct model_checkpoint *checkpoint, const struct st_tensor *stored, trm_error *err) {
    if (stored->dtype == ST_F32) {
        checkpoint->puzzle_emb = stored->data;
        return TRM_OK;
    }
    trm_status status = allocate(stored->count, &checkpoint->puzzle_emb_copy, err);
    checkpoint->puzzle_emb = checkpoint->puzzle_emb_copy;
    return status ? status : copy_tensor(stored, checkpoint->puzzle_emb_copy, err);
}

static trm_status load_tensors(struct model_checkpoint *checkpoint, trm_error *err) {
    const struct model_layout *layout = checkpoint->layout;
    const struct st_tensor *stored;
    for (int i = 0; i < layout->count; i++) { /* before any memory is taken: sizes come from the configuration */
        trm_status status = find_tensor(checkpoint->file, &layout->tensors[i], &stored, err);
        if (status)
            return status;
    }
    trm_status status = allocate(layout->param_size, &checkpoint->params, err);
    if (!status)
        status = allocate(layout->buffer_size, &checkpoint->buffers, err);
    for (int i = 0; !status && i < layout->count; i++) {
        const struct model_tensor *tensor = &layout->tensors[i];
        stored = st_find(checkpoint->file, tensor->name);
        switch (tensor->kind) {
        case MODEL_PARAM:
            status = copy_tensor(stored, checkpoint->params + tensor->offset, err);
            break;
        case MODEL_BUFFER:
            status = copy_tensor(stored, checkpoint->buffers + tensor->offset, err);
            break;
        case MODEL_PUZZLE_EMB:
            status = load_puzzle_emb(checkpoint, stored, err);
            break;
        }
    }
    return status;
}

static trm_status load(struct model_checkpoint *checkpoint, trm_error *err) {
    const char *text = st_metadata(checkpoint->file, "config");
    if (!text)
        return trm_fail(err, TRM_FORMAT, "not a model: no \"config\" in the metadata");
    trm_status status = model_config_parse(text, &checkpoint->config, err);
    if (!status)
        status = model_layout_create(&checkpoint->config, &checkpoint->layout, err);
    return status ? status : load_tensors(checkpoint, err);
}

trm_status model_checkpoint_open(const char *path, model_checkpoint **out, trm_error *err) {
    *out = NULL;
    struct model_checkpoint *checkpoint = calloc(1, sizeof *checkpoint);
    if (!checkpoint)
        return trm_fail_memory(err, sizeof *checkpoint);

    trm_status status = st_open(path, &checkpoint->file, err);
    if (!status) {
        trm_error why;
        status = load(checkpoint, &why);
        if (status)
            trm_fail(err, status, "%s: %s", path, why.text);
    }
    if (status) {
        model_checkpoint_close(checkpoint);
        return status;
    }
    *out = checkpoint;
    return TRM_OK;
}

void model_checkpoint_close(model_checkpoint *checkpoint) {
    if (!checkpoint)
        return;
    free(checkpoint->puzzle_emb_copy);
    free(checkpoint->buffers);
    free(checkpoint->params);
    model_layout_destroy(checkpoint->layout);
    st_close(checkpoint->file);
    free(checkpoint);
}

const struct model_config *model_checkpoint_config(const model_checkpoint *checkpoint) {
    return &checkpoint->config;
}

const struct model_layout *model_checkpoint_layout(const model_checkpoint *checkpoint) {
    return checkpoint->layout;
}

const float *model_checkpoint_params(const model_checkpoint *checkpoint) {
    return checkpoint->params;
}

const float *model_checkpoint_buffers(const model_checkpoint *checkpoint) {
    return checkpoint->buffers;
}

const float *model_checkpoint_puzzle_emb(const model_checkpoint *checkpoint) {
    return checkpoint->puzzle_emb;
}

const st_file *model_checkpoint_file(const model_checkpoint *checkpoint) {
    return checkpoint->file;
}

trm_status model_checkpoint_add(st_writer *writer, const struct model_config *config, const struct model_layout *layout,
                                const float *params, const float *buffers, const float *puzzle_emb, trm_error *err) {
    char *text = model_config_format(config);
    if (!text)
        return trm_fail_memory(err, sizeof *config);
    trm_status status = st_add_metadata(writer, "config", text, err);
    free(text);
    for (int i = 0; !status && i < layout->count; i++) {
        const struct model_tensor *tensor = &layout->tensors[i];
        const float *data = puzzle_emb;
        if (tensor->kind != MODEL_PUZZLE_EMB)
            data = (tensor->kind == MODEL_PARAM ? params : buffers) + tensor->offset;
        size_t matrix[] = {(size_t)tensor->rows, (size_t)tensor->cols};
        const size_t *shape = tensor->rank == 2 ? matrix : matrix + 1;
        if (!data)
            return trm_fail(err, TRM_INVALID, "the model has a puzzle embedding, but none was given");
        status = st_add(writer, tensor->name, ST_F32, tensor->rank, shape, data, err);
    }
    return status;
}

trm_status model_checkpoint_halt_threshold(const model_checkpoint *checkpoint, float *threshold, trm_error *err) {
    const char *text = st_metadata(checkpoint->file, HALT_THRESHOLD);
    char *end;
    *threshold = 0.0F;
    if (!text)
        return TRM_OK;
    *threshold = strtof(text, &end);
    if (end == text || *end != '\0' || !(fabsf(*threshold) <= 100.0F))
        return trm_fail(err, TRM_FORMAT, "metadata %s: \"%.40s\" is not a number from -100 to 100", HALT_THRESHOLD,
                        text);
    return TRM_OK;
}

trm_status model_checkpoint_add_metadata(st_writer *writer, const char *puzzle, double halt_threshold,
                                         json_t *provenance, trm_error *err) {
    char *text = provenance ? json_dumps(provenance, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL, threshold[32];
    trm_status status =
        text ? TRM_OK : trm_fail(err, TRM_INVALID, "provenance with a path that is not UTF-8, or memory ran out");
    snprintf(threshold, sizeof threshold, "%.7g", halt_threshold);
    if (status == TRM_OK && puzzle)
        status = st_add_metadata(writer, "puzzle", puzzle, err);
    if (status == TRM_OK)
        status = st_add_metadata(writer, HALT_THRESHOLD, threshold, err);
    if (status == TRM_OK)
        status = st_add_metadata(writer, "provenance", text, err);
    free(text);
    json_decref(provenance);
    return status;
}
