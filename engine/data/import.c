/* import.c - see import.h. Names and shapes are compared before a byte is written; the values are read while they
 * are written. Belongs to the thread that calls it. */
#include "engine/data/import.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "engine/data/torch_file.h"
#include "engine/model/layout.h"

/* A tensor of the model and where it comes from: the context of st_read. */
struct source {
    data_torch_file *file;
    size_t index;
};

/* The name within the model: training wraps it into a loss head, and that may have been compiled. */
static const char *inner_name(const struct data_pickled_tensor *tensor) {
    static const char *const prefixes[] = {"_orig_mod.", "model.inner."};
    const char *name = tensor->name;
    for (int i = 0; i < 2; i++)
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
            name += strlen(prefixes[i]);
    return name;
}

/* The rows of a matrix; -1 if there is no such matrix. */
static json_int_t rows_of(const data_torch_file *file, const char *name) {
    for (size_t i = 0; i < data_torch_count(file); i++) {
        const struct data_pickled_tensor *tensor = data_torch_at(file, i);
        if (strcmp(inner_name(tensor), name) == 0 && tensor->rank == 2)
            return (json_int_t)tensor->shape[0];
    }
    return -1;
}

/* Reads the configuration, with the sizes that follow from the data trained on and not from the model's design. */
static trm_status read_config(const char *text, const data_torch_file *file, struct model_config *config,
                              trm_error *err) {
    static const char *const members[][2] = {{"vocab_size", "embed_tokens.embedding_weight"},
                                             {"num_puzzle_identifiers", "puzzle_emb.weights"}};
    json_error_t json_error;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &json_error);
    if (!root)
        return trm_fail(err, TRM_FORMAT, "config is not JSON: %s", json_error.text);
    bool complete = true;
    for (int i = 0; i < 2; i++) {
        const json_int_t rows = rows_of(file, members[i][1]);
        if (rows >= 0 && json_is_object(root))
            complete = json_object_set_new(root, members[i][0], json_integer(rows)) == 0 && complete;
    }
    char *completed = complete ? json_dumps(root, 0) : NULL;
    json_decref(root);
    trm_status status =
        completed ? model_config_parse(completed, config, err) : trm_fail(err, TRM_NO_MEMORY, "out of memory");
    free(completed);
    return status;
}

static bool has_shape(const struct data_pickled_tensor *stored, const struct model_tensor *tensor) {
    if (stored->rank != tensor->rank || stored->shape[stored->rank - 1] != (size_t)tensor->cols)
        return false;
    return stored->rank == 1 || stored->shape[0] == (size_t)tensor->rows;
}

/* Which tensor of the model `name` is; -1 if none. */
static int find_tensor(const struct model_layout *layout, const char *name) {
    for (int i = 0; i < layout->count; i++)
        if (strcmp(layout->tensors[i].name, name) == 0)
            return i;
    return -1;
}

/* Every tensor of the model must be in the file once, and the file must have no others. sources: [layout->count],
 * zeroed. */
static trm_status match_tensors(data_torch_file *file, const struct model_layout *layout, struct source *sources,
                                trm_error *err) {
    for (size_t i = 0; i < data_torch_count(file); i++) {
        const struct data_pickled_tensor *stored = data_torch_at(file, i);
        const int at = find_tensor(layout, inner_name(stored));
        if (at < 0)
            return trm_fail(err, TRM_FORMAT, "tensor \"%s\" does not belong to the configured model", stored->name);
        const struct model_tensor *tensor = &layout->tensors[at];
        if (sources[at].file)
            return trm_fail(err, TRM_FORMAT, "tensor \"%s\" is there twice", tensor->name);
        if (!has_shape(stored, tensor))
            return trm_fail(err, TRM_FORMAT, "tensor \"%s\" has another shape than the configuration's [%d, %d]",
                            tensor->name, tensor->rows, tensor->cols);
        sources[at] = (struct source){file, i};
    }
    for (int i = 0; i < layout->count; i++)
        if (!sources[i].file)
            return trm_fail(err, TRM_FORMAT, "tensor \"%s\" of the configured model is missing",
                            layout->tensors[i].name);
    return TRM_OK;
}

/* ---- writing ---- */

static trm_status read_source(void *context, size_t offset, void *bytes, size_t size, trm_error *err) {
    const struct source *source = context;
    return data_torch_read(source->file, source->index, offset / sizeof(float), bytes, size / sizeof(float), err);
}

/* Adds `value`, which is freed, as JSON. */
static trm_status add_json(st_writer *writer, const char *key, json_t *value, trm_error *err) {
    char *text = value ? json_dumps(value, 0) : NULL;
    trm_status status =
        text ? st_add_metadata(writer, key, text, err) : trm_fail(err, TRM_INVALID, "\"%s\" is not UTF-8", key);
    free(text);
    json_decref(value);
    return status;
}

static trm_status add_metadata(st_writer *writer, const struct data_import_options *options,
                               const struct model_config *config, trm_error *err) {
    const char *slash = strrchr(options->checkpoint, '/');
    char *text = model_config_format(config);
    if (!text)
        return trm_fail_memory(err, sizeof *config);
    trm_status status = st_add_metadata(writer, "config", text, err);
    free(text);
    if (status == TRM_OK && options->puzzle)
        status = st_add_metadata(writer, "puzzle", options->puzzle, err);
    if (status == TRM_OK)
        status = add_json(writer, "provenance",
                          json_pack("{s:s}", "imported_from", slash ? slash + 1 : options->checkpoint), err);
    return status;
}

static trm_status write_model(const struct data_import_options *options, const struct model_config *config,
                              const struct model_layout *layout, struct source *sources, trm_error *err) {
    st_writer *writer;
    trm_status status = st_writer_create(&writer, err);
    if (status != TRM_OK)
        return status;
    status = add_metadata(writer, options, config, err);
    for (int i = 0; status == TRM_OK && i < layout->count; i++) {
        const struct model_tensor *tensor = &layout->tensors[i];
        const size_t matrix[] = {(size_t)tensor->rows, (size_t)tensor->cols};
        status = st_add_stream(writer, tensor->name, ST_F32, tensor->rank, tensor->rank == 2 ? matrix : matrix + 1,
                               read_source, &sources[i], err);
    }
    if (status == TRM_OK)
        status = st_write(writer, options->out, err);
    st_writer_destroy(writer);
    return status;
}

trm_status data_import(const struct data_import_options *options, struct model_config *config, trm_error *err) {
    data_torch_file *file = NULL;
    struct model_layout *layout = NULL;
    struct source *sources = NULL;
    trm_status status = data_torch_open(options->checkpoint, &file, err);
    if (status == TRM_OK)
        status = read_config(options->config, file, config, err);
    if (status == TRM_OK)
        status = model_layout_create(config, &layout, err);
    if (status == TRM_OK) {
        sources = calloc((size_t)layout->count, sizeof *sources);
        status = sources ? match_tensors(file, layout, sources, err)
                         : trm_fail_memory(err, (size_t)layout->count * sizeof *sources);
    }
    if (status == TRM_OK)
        status = write_model(options, config, layout, sources, err);
    free(sources);
    model_layout_destroy(layout);
    data_torch_close(file);
    return status;
}
