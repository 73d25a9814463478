/* adapt.c - see adapt.h. One struct holds what lives as long as the adaptation; it belongs to the calling thread. */
#include "engine/train/adapt.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/cli.h"
#include "engine/data/arc_index.h"
#include "engine/model/checkpoint.h"
#include "engine/train/core.h"
#include "engine/train/schedule.h"

enum {
    BATCH = 8,
    POOL = 32,
    SHARDS = BATCH,      /* a thread each, if there are as many */
    FIRST_IDENTIFIER = 1 /* 0 is the blank one, as in every data set */
};

/* Of the budget, for embeddings alone. */
static const double EMBEDDINGS_FIRST = 0.2;
static const double EMBEDDING_LR = 0.01, WEIGHT_DECAY = 0.1;
static const double AVERAGE_RATE = 0.99; /* over the last hundred updates: a run has hundreds, not tens of thousands */

struct adaptation {
    const struct data_arc_task *task;
    const struct train_adapt_options *options;
    model_checkpoint *base;
    struct model_config config; /* the base's, with our identifiers */
    struct model_layout *layout;
    train_core *core;
    struct data_arc_augment *augments; /* [1 + options->augment], the first leaves the task as it is */
    struct data_rng rng;
    int side; /* of the square of tokens */
    float halt_threshold;
    struct train_adapt_progress progress;
    bool spent; /* whoever follows the progress says so */
    double started;
    char *index_path;              /* beside the checkpoint */
    char name[DATA_ARC_FULL_NAME]; /* of the identifier that was asked for last */
};

/* ---- examples ---- */

/* train_next: a demonstration in one of the augmentations, anywhere on the tokens. */
static void next_example(void *arg, struct train_row *row) {
    struct adaptation *a = arg;
    const int chosen = data_rng_below(&a->rng, 1 + a->options->augment);
    const struct data_arc_pair *pair = &a->task->pairs[data_rng_below(&a->rng, a->task->train_count)];
    struct data_arc_grid input, output;
    uint8_t inputs[DATA_ARC_CELLS], labels[DATA_ARC_CELLS];
    int top, left;
    data_arc_apply(&a->augments[chosen], &pair->input, &input);
    data_arc_apply(&a->augments[chosen], &pair->output, &output);
    data_arc_draw_place(&input, &output, a->side, &a->rng, &top, &left);
    data_arc_tokens(&input, a->side, top, left, inputs);
    data_arc_tokens(&output, a->side, top, left, labels);
    row->id = FIRST_IDENTIFIER + chosen;
    for (int i = 0; i < a->side * a->side; i++) {
        row->inputs[i] = inputs[i];
        row->labels[i] = labels[i] ? labels[i] : TRAIN_LABEL_IGNORED;
    }
}

/* ---- starting ---- */

/* Where a server looks for the index of X.safetensors. */
static trm_status name_index(struct adaptation *a, trm_error *err) {
    static const char ending[] = ".safetensors";
    const size_t length = strlen(a->options->out), size = length + sizeof ".tasks";
    if (length < sizeof ending || strcmp(a->options->out + length - strlen(ending), ending) != 0)
        return trm_fail(err, TRM_INVALID, "%s: the name of a checkpoint ends with %s", a->options->out, ending);
    a->index_path = malloc(size);
    if (!a->index_path)
        return trm_fail_memory(err, size);
    snprintf(a->index_path, size, "%.*s.tasks%s", (int)(length - strlen(ending)), a->options->out, ending);
    return TRM_OK;
}

static trm_status open_base(struct adaptation *a, trm_error *err) {
    trm_status status = model_checkpoint_open(a->options->model, &a->base, err);
    if (status != TRM_OK)
        return status;
    const char *puzzle = st_metadata(model_checkpoint_file(a->base), "puzzle");
    a->config = *model_checkpoint_config(a->base);
    a->side = data_arc_side_of(a->config.seq_len);
    if (!puzzle || strcmp(puzzle, "arc") != 0 || a->side == 0 || a->config.vocab_size != DATA_ARC_VOCABULARY)
        return trm_fail(err, TRM_INVALID, "%s: not a model for ARC", a->options->model);
    if (a->config.puzzle_emb_ndim == 0)
        return trm_fail(err, TRM_INVALID, "%s: a model without puzzle embeddings knows no tasks", a->options->model);
    if (!data_arc_task_fits(a->task, a->side))
        return trm_fail(err, TRM_INVALID, "%s: its grids have at most %d rows and columns, the task's have more",
                        a->options->model, a->side);
    status = model_checkpoint_halt_threshold(a->base, &a->halt_threshold, err);
    if (status != TRM_OK)
        return status;
    a->config.num_puzzle_identifiers = FIRST_IDENTIFIER + 1 + a->options->augment;
    return model_config_resolve(&a->config, err);
}

/* Every new embedding is the mean of the known ones, of which there may be a million. */
static trm_status fill_embeddings(const struct adaptation *a, float *table, trm_error *err) {
    const size_t ndim = (size_t)a->config.puzzle_emb_ndim;
    const size_t known = (size_t)model_checkpoint_config(a->base)->num_puzzle_identifiers;
    const float *embeddings = model_checkpoint_puzzle_emb(a->base);
    double *sum = calloc(ndim, sizeof *sum);
    if (!sum)
        return trm_fail_memory(err, ndim * sizeof *sum);
    for (size_t row = 0; row < known; row++)
        for (size_t i = 0; i < ndim; i++)
            sum[i] += (double)embeddings[row * ndim + i];
    trm_status status = TRM_OK;
    for (size_t i = 0; i < ndim; i++) {
        const float mean = (float)(sum[i] / (double)known);
        if (!isfinite(mean))
            status = trm_fail(err, TRM_FORMAT, "%s: puzzle embeddings that are not finite", a->options->model);
        for (size_t row = 0; row < (size_t)a->config.num_puzzle_identifiers; row++)
            table[row * ndim + i] = mean;
    }
    free(sum);
    return status;
}

static trm_status create_core(struct adaptation *a, trm_error *err) {
    const struct train_core_options options = {
        .backend = TRM_BACKEND_ONEDNN,
        .dtype = op_operand_type(op_settle_dtype(TRM_BACKEND_ONEDNN, TRM_DTYPE_AUTO)),
        .batch_size = BATCH,
        .pool_size = POOL,
        .shards = SHARDS,
        .threads = a->options->threads,
        .loss = TRAIN_LOSS_STABLEMAX,
        .halt_loss_weight = 0.5,
        .first_weight = 1,
        .last_weight = 1,
        .min_halt_steps = 1,
        .optimizer = {.kind = TRAIN_ADAM_ATAN2, .weight_decay = WEIGHT_DECAY, .beta1 = 0.9, .beta2 = 0.95, .scale = 1},
        .puzzle_emb_lr = EMBEDDING_LR,
        .puzzle_emb_weight_decay = WEIGHT_DECAY,
        .ema_rate = AVERAGE_RATE,
        .ema_ramp = true,
        .cancelled = a->options->cancelled,
        .cancelled_arg = a->options->arg};
    trm_status status = model_layout_create(&a->config, &a->layout, err);
    return status == TRM_OK ? train_core_create(&a->config, a->layout, &options, &a->core, err) : status;
}

static trm_status start(struct adaptation *a, trm_error *err) {
    const int count = 1 + a->options->augment;
    trm_status status = open_base(a, err);
    if (status == TRM_OK)
        status = create_core(a, err);
    if (status != TRM_OK)
        return status;
    a->augments = calloc((size_t)count, sizeof *a->augments);
    if (!a->augments)
        return trm_fail_memory(err, (size_t)count * sizeof *a->augments);
    data_rng_seed(&a->rng, a->options->seed);
    a->augments[0] = DATA_ARC_IDENTITY;
    for (int i = 1; i < count; i++)
        data_arc_augment_draw(&a->rng, &a->augments[i]);

    /* The layout's parameters and buffers do not depend on how many identifiers there are. */
    struct train_weights *w = train_core_weights(a->core);
    memcpy(w->params, model_checkpoint_params(a->base), a->layout->param_size * sizeof *w->params);
    memcpy(w->ema, w->params, a->layout->param_size * sizeof *w->ema);
    memcpy(w->buffers, model_checkpoint_buffers(a->base), a->layout->buffer_size * sizeof *w->buffers);
    status = fill_embeddings(a, w->puzzle_emb, err);
    if (status == TRM_OK)
        train_core_fill(a->core, &a->rng, next_example, a);
    return status == TRM_OK ? train_core_refresh(a->core, err) : status;
}

/* ---- training ---- */

static bool is_spent(const struct adaptation *a) {
    return a->progress.share >= 1.0 || a->spent;
}

static void follow(struct adaptation *a, const struct train_metrics *metrics) {
    const struct train_adapt_options *o = a->options;
    struct train_adapt_progress *p = &a->progress;
    const double weight = p->updates < 20 ? 1.0 / (p->updates + 1) : 0.05;
    p->loss += weight * (metrics->loss / BATCH - p->loss);
    if (metrics->count > 0) {
        p->accuracy += weight * (metrics->accuracy / metrics->count - p->accuracy);
        p->exact += weight * (metrics->exact_accuracy / metrics->count - p->exact);
    }
    p->updates++;
    p->seconds = trm_clock() - a->started;
    const double by_updates = o->updates > 0 ? (double)p->updates / o->updates : 0.0;
    const double by_seconds = o->seconds > 0 ? p->seconds / o->seconds : 0.0;
    p->share = by_updates > by_seconds ? by_updates : by_seconds;
    if (p->share > 1.0)
        p->share = 1.0;
    if (o->progress)
        a->spent = !o->progress(o->arg, p);
}

static trm_status advance(struct adaptation *a, trm_error *err) {
    /* The budget in thousandths, as a clock may measure it. */
    const struct train_schedule schedule = {.total = 1000, .constant_fraction = 0.5, .min_ratio = 0.02};
    const double factor = train_schedule_factor(&schedule, 1 + (int)(999 * a->progress.share));
    const int first = a->progress.updates % (POOL / BATCH) * BATCH;
    struct train_metrics metrics;
    train_core_set_lr(a->core, a->progress.share < EMBEDDINGS_FIRST ? 0.0 : a->options->lr);
    trm_status status = train_core_step(a->core, first, factor, &a->rng, next_example, a, &metrics, err);
    if (status == TRM_OK)
        follow(a, &metrics);
    return status;
}

/* ---- what comes out ---- */

static const char *identifier_name(void *arg, int identifier) {
    struct adaptation *a = arg;
    if (identifier < FIRST_IDENTIFIER)
        return "<blank>";
    data_arc_name_format(a->task->name, &a->augments[identifier - FIRST_IDENTIFIER], a->name);
    return a->name;
}

/* NULL if a path is not UTF-8 or memory ran out. */
static json_t *provenance(const struct adaptation *a) {
    const struct train_adapt_options *o = a->options;
    return json_pack("{s:s, s:s, s:s, s:s, s:i, s:f}", "program", "trm-train " TRM_VERSION, "command", o->command,
                     "adapted_from", o->model, "task", a->task->name, "updates", a->progress.updates, "seconds",
                     a->progress.seconds);
}

static trm_status save(struct adaptation *a, trm_error *err) {
    const struct train_weights *w = train_core_weights(a->core);
    st_writer *writer = NULL;
    struct data_arc_task task = *a->task;
    const struct data_arc_tasks tasks = {.items = &task, .count = 1};
    trm_status status =
        data_arc_index_write(a->index_path, &tasks, a->config.num_puzzle_identifiers, identifier_name, a, err);
    if (status == TRM_OK)
        status = st_writer_create(&writer, err);
    if (status == TRM_OK)
        status = model_checkpoint_add(writer, &a->config, a->layout, w->ema, w->buffers, w->puzzle_emb, err);
    if (status == TRM_OK)
        status = model_checkpoint_add_metadata(writer, "arc", a->halt_threshold, provenance(a), err);
    if (status == TRM_OK)
        status = st_write(writer, a->options->out, err);
    st_writer_destroy(writer);
    return status;
}

trm_status train_adapt(const struct data_arc_task *task, const struct train_adapt_options *options,
                       struct train_adapt_progress *result, trm_error *err) {
    struct adaptation a = {.task = task, .options = options, .started = trm_clock()};
    if (task->train_count < 1 || task->name[0] == '\0')
        return trm_fail(err, TRM_INVALID, "a task without %s", task->name[0] ? "demonstrations" : "a name");
    if (options->updates <= 0 && !(options->seconds > 0))
        return trm_fail(err, TRM_INVALID, "an adaptation without a budget");
    trm_status status = name_index(&a, err);
    if (status == TRM_OK)
        status = start(&a, err);
    while (status == TRM_OK && !is_spent(&a))
        status = advance(&a, err);
    if (status == TRM_OK)
        status = save(&a, err);
    *result = a.progress;
    free(a.index_path);
    free(a.augments);
    train_core_destroy(a.core);
    model_layout_destroy(a.layout);
    model_checkpoint_close(a.base);
    return status;
}
