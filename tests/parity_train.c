/* parity_train.c - replays a recorded training run: every step's losses, metrics, halting pattern and
 * predictions, the gradients of the first steps, then the weights, averages and latents it left. One
 * thread besides the core's own. Under mpirun (`make MPI=1`) every process compares all of it. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/train/core.h"
#include "engine/train/schedule.h"
#include "tests/parity.h"

/* Golden README section 6. What decides between two steps of different sign may flip a few weights. */
static const double LOGITS = 2e-4, STATES = 2e-4, WEIGHTS = 2e-5;
static const double LOSS_ABSOLUTE = 1e-6, LOSS_RELATIVE = 1e-5;
static const double GRADIENT_ABSOLUTE = 1e-6, GRADIENT_RELATIVE = 1e-4;
enum { FLIPPED_WEIGHTS = 5, STEPS_WITH_GRADIENTS = 2 };

struct replay {
    const st_file *file;
    struct model_config config;
    const struct model_layout *layout;
    struct parity *parity;
    train_core *core;
    struct train_core_options options;
    struct train_schedule schedule;
    int steps;                            /* optimizer steps recorded */
    const int32_t *inputs, *labels, *ids; /* what the loader offers now: [batch, seq_len] twice, [batch] */
};

/* ---- settings ---- */

static trm_status read_number(const json_t *object, const char *key, double *out, trm_error *err) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_number(value))
        return trm_fail(err, TRM_FORMAT, "metadata \"train_config\": %s is not a number", key);
    *out = json_number_value(value);
    return TRM_OK;
}

static trm_status read_loss(const st_file *file, enum train_loss_kind *loss, trm_error *err) {
    const char *text = st_metadata(file, "config");
    json_t *config = text ? json_loads(text, 0, NULL) : NULL;
    const char *type = json_string_value(json_object_get(config, "loss_type"));
    trm_status status = TRM_OK;
    if (type && strcmp(type, "stablemax_cross_entropy") == 0)
        *loss = TRAIN_LOSS_STABLEMAX;
    else if (type && strcmp(type, "softmax_cross_entropy") == 0)
        *loss = TRAIN_LOSS_SOFTMAX;
    else
        status = trm_fail(err, TRM_FORMAT, "metadata \"config\": loss_type is neither stablemax nor softmax");
    json_decref(config);
    return status;
}

static trm_status read_settings(struct replay *r, trm_error *err) {
    const char *text = st_metadata(r->file, "train_config");
    json_t *settings = text ? json_loads(text, 0, NULL) : NULL;
    double batch = 0, warmup = 0, total = 0, steps = 0;
    struct train_core_options *o = &r->options;
    const bool puzzles = r->config.puzzle_emb_ndim > 0;
    const struct {
        const char *key;
        double *out;
        bool needed;
    } fields[] = {{"global_batch_size", &batch, true},
                  {"lr", &o->optimizer.lr, true},
                  {"lr_min_ratio", &r->schedule.min_ratio, true},
                  {"lr_warmup_steps", &warmup, true},
                  {"weight_decay", &o->optimizer.weight_decay, true},
                  {"beta1", &o->optimizer.beta1, true},
                  {"beta2", &o->optimizer.beta2, true},
                  {"puzzle_emb_lr", &o->puzzle_emb_lr, puzzles},
                  {"puzzle_emb_weight_decay", &o->puzzle_emb_weight_decay, puzzles},
                  {"ema_rate", &o->ema_rate, true},
                  {"total_steps", &total, true},
                  {"num_steps", &steps, true}};
    trm_status status = TRM_OK;
    for (size_t i = 0; i < sizeof fields / sizeof *fields && status == TRM_OK; i++)
        if (fields[i].needed)
            status = read_number(settings, fields[i].key, fields[i].out, err);
    json_decref(settings);
    if (status == TRM_OK)
        status = read_loss(r->file, &o->loss, err);
    if (status == TRM_OK && !(batch >= 1 && batch <= 1e6 && steps >= 1 && steps <= 1e6 && warmup >= 0 &&
                              warmup <= 1e9 && total >= 0 && total <= 1e9))
        status = trm_fail(err, TRM_FORMAT, "metadata \"train_config\": sizes out of range");
    if (status != TRM_OK)
        return status;
    r->steps = (int)steps;
    r->schedule.warmup = (int)warmup;
    r->schedule.total = (int)total;
    r->config.halt_exploration_prob = 0.0;
    o->batch_size = o->pool_size = (int)batch;
    o->shards = o->threads = o->batch_size % 2 == 0 ? 2 : 1;
    o->halt_loss_weight = 0.5;
    o->first_weight = o->last_weight = 1;
    o->optimizer.kind = TRAIN_ADAM_ATAN2;
    o->optimizer.scale = 1.0;
    return TRM_OK;
}

/* ---- the run ---- */

static trm_status load_weights(const model_checkpoint *golden, struct replay *r, trm_error *err) {
    struct train_weights *w = train_core_weights(r->core);
    const size_t params = r->layout->param_size * sizeof(float);
    memcpy(w->params, model_checkpoint_params(golden), params);
    memcpy(w->ema, model_checkpoint_params(golden), params);
    memcpy(w->buffers, model_checkpoint_buffers(golden), r->layout->buffer_size * sizeof(float));
    if (w->puzzle_emb)
        memcpy(w->puzzle_emb, model_checkpoint_puzzle_emb(golden),
               (size_t)r->config.num_puzzle_identifiers * (size_t)r->config.puzzle_emb_ndim * sizeof(float));
    return train_core_refresh(r->core, err);
}

/* The core trusts its examples; a file is not trusted. */
static trm_status check_examples(const struct replay *r, trm_error *err) {
    const size_t batch = (size_t)r->options.batch_size, cells = batch * (size_t)r->config.seq_len;
    const int vocab = r->config.vocab_size;
    bool valid = true;
    for (size_t i = 0; i < cells; i++) {
        const int32_t label = r->labels[i];
        valid &= r->inputs[i] >= 0 && r->inputs[i] < vocab;
        valid &= label == TRAIN_LABEL_IGNORED || (label >= 0 && label < vocab);
    }
    for (size_t i = 0; i < batch && r->config.puzzle_emb_ndim > 0; i++)
        valid &= r->ids[i] >= 0 && r->ids[i] < r->config.num_puzzle_identifiers;
    return valid ? TRM_OK : trm_fail(err, TRM_FORMAT, "a batch holds tokens or identifiers out of range");
}

static trm_status offer_batch(struct replay *r, int step, trm_error *err) {
    const size_t batch = (size_t)r->options.batch_size, cells = batch * (size_t)r->config.seq_len;
    const struct {
        const char *name;
        const int32_t **where;
        size_t count;
    } parts[] = {{"inputs", &r->inputs, cells}, {"labels", &r->labels, cells}, {"puzzle_identifiers", &r->ids, batch}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const struct st_tensor *tensor;
        char name[64];
        snprintf(name, sizeof name, "batch%d.%s", step, parts[i].name);
        trm_status status = parity_find(r->file, name, ST_I32, parts[i].count, &tensor, err);
        if (status != TRM_OK)
            return status;
        *parts[i].where = tensor->data;
    }
    return check_examples(r, err);
}

/* train_next: row i of the pool takes example i of the batch. */
static void next_example(void *arg, struct train_row *row) {
    const struct replay *r = arg;
    const size_t i = (size_t)(row - train_core_row(r->core, 0)), seq_len = (size_t)r->config.seq_len;
    memcpy(row->inputs, r->inputs + i * seq_len, seq_len * sizeof *row->inputs);
    memcpy(row->labels, r->labels + i * seq_len, seq_len * sizeof *row->labels);
    row->id = r->ids[i];
}

/* ---- comparisons ---- */

static trm_status compare(struct replay *r, const char *name, const float *got, size_t count, double absolute,
                          double relative, size_t outliers, trm_error *err) {
    const struct st_tensor *want;
    trm_status status = parity_find(r->file, name, ST_F32, count, &want, err);
    if (status == TRM_OK)
        parity_compare(r->parity, name, got, want->data, count, absolute, relative, outliers);
    return status;
}

/* One of "step<k>."'s scalars. */
static trm_status compare_number(struct replay *r, int step, const char *what, double got, double absolute,
                                 double relative, trm_error *err) {
    const float value = (float)got;
    char name[64];
    snprintf(name, sizeof name, "step%d.%s", step, what);
    return compare(r, name, &value, 1, absolute, relative, 0, err);
}

static trm_status compare_numbers(struct replay *r, int step, const struct train_metrics *m, double factor,
                                  trm_error *err) {
    const bool hrm = r->config.arch == MODEL_HRM, puzzles = r->config.puzzle_emb_ndim > 0;
    const struct {
        const char *name;
        bool recorded;
        double got, absolute, relative;
    } numbers[] = {{"loss", true, m->loss, LOSS_ABSOLUTE, LOSS_RELATIVE},
                   {"lm_loss", true, m->lm_loss, LOSS_ABSOLUTE, LOSS_RELATIVE},
                   {"q_halt_loss", true, m->q_halt_loss, LOSS_ABSOLUTE, LOSS_RELATIVE},
                   {"q_continue_loss", hrm, m->q_continue_loss, LOSS_ABSOLUTE, LOSS_RELATIVE},
                   {"metric.count", true, m->count, 0.0, 0.0},
                   {"metric.accuracy", true, m->accuracy, 0.0, 1e-6},
                   {"metric.exact_accuracy", true, m->exact_accuracy, 0.0, 0.0},
                   {"metric.q_halt_accuracy", true, m->q_halt_accuracy, 0.0, 0.0},
                   {"metric.steps", true, m->steps, 0.0, 0.0},
                   {"lr", true, r->options.optimizer.lr * factor, 0.0, 1e-6},
                   {"puzzle_emb_lr", puzzles, r->options.puzzle_emb_lr * factor, 0.0, 1e-6}};
    trm_status status = TRM_OK;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && status == TRM_OK; i++)
        if (numbers[i].recorded)
            status =
                compare_number(r, step, numbers[i].name, numbers[i].got, numbers[i].absolute, numbers[i].relative, err);
    return status;
}

/* Which rows go on, how far they are, which puzzle they hold: exact. */
static trm_status compare_rows(struct replay *r, int step, trm_error *err) {
    static const char *const names[] = {"halted", "steps", "effective_puzzle_identifiers"};
    const size_t count = r->config.puzzle_emb_ndim > 0 ? 3 : 2; /* without an embedding ids mean nothing */
    for (size_t k = 0; k < count; k++) {
        const struct st_tensor *want;
        char name[64];
        int wrong = 0;
        snprintf(name, sizeof name, "step%d.%s", step, names[k]);
        trm_status status = parity_find(r->file, name, ST_I32, (size_t)r->options.batch_size, &want, err);
        if (status != TRM_OK)
            return status;
        for (int i = 0; i < r->options.batch_size; i++) {
            const struct train_row *row = train_core_row(r->core, i);
            const int32_t got[] = {row->halted, row->steps, row->id};
            wrong += got[k] != ((const int32_t *)want->data)[i];
        }
        printf("  %-44s %d of %d rows differ  %s\n", name, wrong, r->options.batch_size, wrong ? "FAILED" : "ok");
        if (wrong)
            r->parity->passed = false;
    }
    return TRM_OK;
}

static trm_status compare_outputs(struct replay *r, int step, trm_error *err) {
    const size_t batch = (size_t)r->options.batch_size;
    const size_t logits = batch * (size_t)r->config.seq_len * (size_t)r->config.vocab_size;
    char name[64];
    snprintf(name, sizeof name, "step%d.logits", step);
    trm_status status = compare(r, name, train_core_logits(r->core, 0), logits, LOGITS, 0.0, 0, err);
    snprintf(name, sizeof name, "step%d.q_logits", step);
    if (status == TRM_OK)
        status = compare(r, name, train_core_q(r->core, 0), 2 * batch, LOGITS, 0.0, 0, err);
    if (status != TRM_OK || r->config.arch != MODEL_HRM)
        return status;
    float *target = calloc(batch, sizeof *target);
    if (!target)
        return trm_fail_memory(err, batch * sizeof *target);
    for (size_t i = 0; i < batch; i++)
        target[i] = (float)train_core_target_continue(r->core, (int)i);
    snprintf(name, sizeof name, "step%d.target_q_continue", step);
    status = compare(r, name, target, batch, LOGITS, 0.0, 0, err);
    free(target);
    return status;
}

static trm_status compare_gradients(struct replay *r, int step, trm_error *err) {
    const struct train_weights *w = train_core_weights(r->core);
    trm_status status = TRM_OK;
    char name[128];
    for (int i = 0; i < r->layout->count && status == TRM_OK; i++) {
        const struct model_tensor *t = &r->layout->tensors[i];
        if (t->kind != MODEL_PARAM)
            continue;
        snprintf(name, sizeof name, "grad%d.%s", step, t->name);
        status = compare(r, name, w->grads + t->offset, (size_t)t->rows * (size_t)t->cols, GRADIENT_ABSOLUTE,
                         GRADIENT_RELATIVE, 0, err);
    }
    snprintf(name, sizeof name, "grad%d.puzzle_emb.local_weights", step);
    if (status == TRM_OK && w->puzzle_grads)
        status = compare(r, name, w->puzzle_grads, (size_t)r->options.batch_size * (size_t)r->config.puzzle_emb_ndim,
                         GRADIENT_ABSOLUTE, GRADIENT_RELATIVE, 0, err);
    return status;
}

static trm_status run_step(struct replay *r, int step, struct data_rng *rng, trm_error *err) {
    const double factor = train_schedule_factor(&r->schedule, step);
    struct train_metrics metrics;
    trm_status status = offer_batch(r, step, err);
    if (status == TRM_OK)
        status = train_core_step(r->core, 0, factor, rng, next_example, r, &metrics, err);
    if (status == TRM_OK)
        status = train_core_gather(r->core, err);
    if (status == TRM_OK)
        status = compare_numbers(r, step, &metrics, factor, err);
    if (status == TRM_OK)
        status = compare_rows(r, step, err);
    if (status == TRM_OK)
        status = compare_outputs(r, step, err);
    if (status == TRM_OK && step <= STEPS_WITH_GRADIENTS)
        status = compare_gradients(r, step, err);
    return status;
}

/* Every tensor of one of the two models left: "final", or "ema", which shares what is not trained by Adam. */
static trm_status compare_model(struct replay *r, const char *model, const float *params, trm_error *err) {
    const struct train_weights *w = train_core_weights(r->core);
    trm_status status = TRM_OK;
    for (int i = 0; i < r->layout->count && status == TRM_OK; i++) {
        const struct model_tensor *t = &r->layout->tensors[i];
        const float *array = t->kind == MODEL_PARAM ? params : t->kind == MODEL_BUFFER ? w->buffers : w->puzzle_emb;
        char name[128];
        snprintf(name, sizeof name, "%s.%s", model, t->name);
        status =
            compare(r, name, array + t->offset, (size_t)t->rows * (size_t)t->cols, WEIGHTS, 0.0, FLIPPED_WEIGHTS, err);
    }
    return status;
}

static trm_status compare_carry(struct replay *r, trm_error *err) {
    const size_t puzzle = (size_t)r->config.tokens * (size_t)r->config.hidden_size;
    const size_t batch = (size_t)r->options.batch_size;
    trm_status status = TRM_OK;
    float *latent = calloc(batch, puzzle * sizeof *latent); /* [batch, tokens, hidden] */
    if (!latent)
        return trm_fail_memory(err, batch * puzzle * sizeof *latent);
    for (int k = 0; k < r->layout->latents && status == TRM_OK; k++) {
        char name[64];
        for (size_t i = 0; i < batch; i++)
            memcpy(latent + i * puzzle, train_core_row(r->core, (int)i)->state + (size_t)k * puzzle,
                   puzzle * sizeof *latent);
        snprintf(name, sizeof name, "final_carry.%s", model_latent_name(r->config.arch, k));
        status = compare(r, name, latent, batch * puzzle, STATES, 0.0, 0, err);
    }
    free(latent);
    return status;
}

trm_status parity_train(const model_checkpoint *golden, enum trm_backend backend, struct parity *parity,
                        trm_error *err) {
    struct replay r = {.file = model_checkpoint_file(golden),
                       .config = *model_checkpoint_config(golden),
                       .layout = model_checkpoint_layout(golden),
                       .parity = parity,
                       .options = {.backend = backend, .dtype = OP_F32, .comm = parity->comm}};
    struct data_rng rng;
    data_rng_seed(&rng, 0);
    trm_status status = read_settings(&r, err);
    if (status == TRM_OK)
        status = train_core_create(&r.config, r.layout, &r.options, &r.core, err);
    if (status == TRM_OK)
        status = load_weights(golden, &r, err);
    for (int step = 1; step <= r.steps && status == TRM_OK; step++)
        status = run_step(&r, step, &rng, err);
    if (status == TRM_OK)
        status = compare_model(&r, "final", train_core_weights(r.core)->params, err);
    if (status == TRM_OK)
        status = compare_model(&r, "ema", train_core_weights(r.core)->ema, err);
    if (status == TRM_OK)
        status = compare_carry(&r, err);
    train_core_destroy(r.core);
    return status;
}
