/* bench_random.c - see bench_random.h. Runs on the main thread of trm-bench. */
#include "engine/bench_random.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/json_file.h"
#include "engine/data/rng.h"
#include "engine/model_memory.h"
#include "engine/train/init.h"

struct trm_random_weights {
    struct model_config config;
    struct model_layout *layout;
    float *params;     /* [layout->param_size] */
    float *buffers;    /* [layout->buffer_size] */
    float *puzzle_emb; /* [num_puzzle_identifiers, puzzle_emb_ndim] zeros */
};

/* The file of a preset, or of a path: something with a slash or an extension. */
static trm_status find_config(const char *name, char *path, size_t size, trm_error *err) {
    const bool is_preset = !strchr(name, '/') && !strchr(name, '.');
    const int length = snprintf(path, size, is_preset ? "config/models/%s.json" : "%s", name);
    if (length < 0 || (size_t)length >= size)
        return trm_fail(err, TRM_INVALID, "the name of the shape is too long");
    return TRM_OK;
}

static trm_status read_config(const char *name, struct model_config *config, trm_error *err) {
    char path[PATH_MAX];
    json_t *object = NULL;
    trm_status status = find_config(name, path, sizeof path, err);
    if (status == TRM_OK)
        status = conf_json_load(path, &object, err);
    if (status != TRM_OK)
        return status;
    char *text = json_dumps(object, JSON_COMPACT);
    status = text ? model_config_parse(text, config, err) : trm_fail(err, TRM_NO_MEMORY, "out of memory");
    free(text);
    json_decref(object);
    return status;
}

static trm_status make_weights(trm_random_weights *w, trm_error *err) {
    struct data_rng rng;
    trm_status status = model_layout_create(&w->config, &w->layout, err);
    if (status != TRM_OK)
        return status;
    const size_t rows = (size_t)w->config.num_puzzle_identifiers, columns = (size_t)w->config.puzzle_emb_ndim;
    w->params = calloc(w->layout->param_size, sizeof *w->params);
    w->buffers = calloc(w->layout->buffer_size, sizeof *w->buffers);
    w->puzzle_emb = calloc(rows ? rows : 1, (columns ? columns : 1) * sizeof *w->puzzle_emb);
    if (!w->params || !w->buffers || !w->puzzle_emb)
        return trm_fail_memory(err, w->layout->param_size * sizeof *w->params);
    data_rng_seed(&rng, 1);
    train_init_weights(&w->config, w->layout, &rng, w->params, w->buffers);
    return TRM_OK;
}

trm_status trm_random_model(const char *name, const struct trm_model_options *options, trm_random_weights **weights,
                            trm_model **model, trm_error *err) {
    trm_random_weights *w = calloc(1, sizeof *w);
    if (!w)
        return trm_fail_memory(err, sizeof *w);
    trm_status status = read_config(name, &w->config, err);
    if (status == TRM_OK)
        status = make_weights(w, err);
    if (status == TRM_OK)
        status =
            trm_model_from_memory(&w->config, w->layout, w->params, w->buffers, w->puzzle_emb, "", options, model, err);
    if (status != TRM_OK) {
        trm_random_weights_destroy(w);
        return status;
    }
    *weights = w;
    return TRM_OK;
}

void trm_random_weights_destroy(trm_random_weights *w) {
    if (!w)
        return;
    free(w->puzzle_emb);
    free(w->buffers);
    free(w->params);
    model_layout_destroy(w->layout);
    free(w);
}
