/* average.c - see average.h. Everything belongs to the calling thread. */
#include "engine/train/average.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/checkpoint.h"

/* What is written. */
struct mean {
    const model_checkpoint *first; /* whose configuration and metadata it has; borrowed */
    float *params, *buffers;       /* [layout->param_size], [layout->buffer_size] */
    float *puzzle_emb;             /* [identifiers, ndim], or NULL if the model has none */
    json_t *sources;               /* the checkpoints' provenance, in their order */
    json_t *settings;              /* the last that were seen in it */
};

static size_t puzzle_emb_size(const struct model_config *c) {
    return (size_t)c->num_puzzle_identifiers * (size_t)c->puzzle_emb_ndim;
}

/* sum += x / count */
static void add_share(const float *x, size_t size, int count, float *sum) {
    for (size_t i = 0; i < size; i++)
        sum[i] += x[i] / (float)count;
}

static trm_status allocate(struct mean *mean, trm_error *err) {
    const struct model_layout *layout = model_checkpoint_layout(mean->first);
    const size_t emb = puzzle_emb_size(model_checkpoint_config(mean->first));
    mean->params = calloc(layout->param_size + 1, sizeof(float));
    mean->buffers = calloc(layout->buffer_size + 1, sizeof(float));
    mean->puzzle_emb = emb > 0 ? calloc(emb, sizeof(float)) : NULL;
    mean->sources = json_array();
    if (!mean->params || !mean->buffers || (emb > 0 && !mean->puzzle_emb) || !mean->sources)
        return trm_fail_memory(err, (layout->param_size + layout->buffer_size + emb) * sizeof(float));
    return TRM_OK;
}

/* Keeps a checkpoint's provenance (may be NULL), but not settings that are those of the one before. */
static trm_status add_source(struct mean *mean, const char *provenance, trm_error *err) {
    json_t *source = provenance ? json_loads(provenance, 0, NULL) : NULL;
    if (!source)
        source = json_object();
    json_t *settings = json_object_get(source, "settings");
    if (settings && json_equal(settings, mean->settings)) {
        json_object_del(source, "settings");
    } else if (settings) {
        json_decref(mean->settings);
        mean->settings = json_incref(settings);
    }
    if (!source || json_array_append_new(mean->sources, source) != 0)
        return trm_fail_memory(err, provenance ? strlen(provenance) : 0);
    return TRM_OK;
}

static trm_status add(struct mean *mean, const model_checkpoint *checkpoint, const char *path, int count,
                      trm_error *err) {
    const st_file *file = model_checkpoint_file(checkpoint);
    const struct model_layout *layout = model_checkpoint_layout(checkpoint);
    const char *puzzle = st_metadata(file, "puzzle");
    if (puzzle && strcmp(puzzle, "arc") == 0)
        return trm_fail(err, TRM_UNSUPPORTED, "%s: ARC models know tasks by number, and each run has its own", path);
    if (strcmp(st_metadata(file, "config"), st_metadata(model_checkpoint_file(mean->first), "config")) != 0)
        return trm_fail(err, TRM_INVALID, "%s: not the configuration of the first checkpoint", path);
    add_share(model_checkpoint_params(checkpoint), layout->param_size, count, mean->params);
    add_share(model_checkpoint_buffers(checkpoint), layout->buffer_size, count, mean->buffers);
    if (mean->puzzle_emb)
        add_share(model_checkpoint_puzzle_emb(checkpoint), puzzle_emb_size(model_checkpoint_config(checkpoint)), count,
                  mean->puzzle_emb);
    return add_source(mean, st_metadata(file, "provenance"), err);
}

static trm_status write_mean(const struct mean *mean, const char *command, const char *out, trm_error *err) {
    const char *puzzle = st_metadata(model_checkpoint_file(mean->first), "puzzle");
    float threshold;
    st_writer *writer = NULL;
    trm_status status = model_checkpoint_halt_threshold(mean->first, &threshold, err);
    if (status == TRM_OK)
        status = st_writer_create(&writer, err);
    if (status == TRM_OK)
        status =
            model_checkpoint_add(writer, model_checkpoint_config(mean->first), model_checkpoint_layout(mean->first),
                                 mean->params, mean->buffers, mean->puzzle_emb, err);
    if (status == TRM_OK)
        status = model_checkpoint_add_metadata(writer, puzzle, threshold,
                                               json_pack("{s:s, s:s, s:O}", "program", "trm-train " TRM_VERSION,
                                                         "command", command, "average_of", mean->sources),
                                               err);
    if (status == TRM_OK)
        status = st_write(writer, out, err);
    st_writer_destroy(writer);
    return status;
}

trm_status train_average(const char *const *paths, int count, const char *command, const char *out, trm_error *err) {
    model_checkpoint *first = NULL;
    struct mean mean = {0};
    if (count < 2)
        return trm_fail(err, TRM_INVALID, "an average wants two checkpoints or more");
    trm_status status = model_checkpoint_open(paths[0], &first, err);
    mean.first = first;
    if (status == TRM_OK)
        status = allocate(&mean, err);
    if (status == TRM_OK)
        status = add(&mean, first, paths[0], count, err);
    for (int i = 1; i < count && status == TRM_OK; i++) {
        model_checkpoint *checkpoint = NULL;
        status = model_checkpoint_open(paths[i], &checkpoint, err);
        if (status == TRM_OK)
            status = add(&mean, checkpoint, paths[i], count, err);
        model_checkpoint_close(checkpoint);
    }
    if (status == TRM_OK)
        status = write_mean(&mean, command, out, err);
    json_decref(mean.settings);
    json_decref(mean.sources);
    free(mean.puzzle_emb);
    free(mean.buffers);
    free(mean.params);
    model_checkpoint_close(first);
    return status;
}
