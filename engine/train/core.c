/* core.c - see core.h. Everything belongs to the calling thread; what shards do on theirs is in core_shard.c. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/train/core_inside.h"

enum { MAX_CHUNK = 4, RANGE_ALIGNMENT = 64 };

/* ---- life ---- */

static float *zeros(size_t count) {
    void *block = NULL;
    size_t bytes = (count ? count : 1) * sizeof(float);
    if (posix_memalign(&block, 64, bytes) != 0)
        return NULL;
    return memset(block, 0, bytes);
}

static trm_status allocate_weights(train_core *core, trm_error *err) {
    const struct model_config *c = core->config;
    const size_t params = core->layout->param_size;
    struct train_weights *w = &core->weights;
    w->params = zeros(params);
    w->ema = zeros(params);
    w->moment1 = zeros(params);
    w->moment2 = zeros(params);
    w->buffers = zeros(core->layout->buffer_size);
    if (c->puzzle_emb_ndim > 0) {
        w->puzzle_emb = zeros((size_t)c->num_puzzle_identifiers * (size_t)c->puzzle_emb_ndim);
        w->puzzle_grads = zeros((size_t)core->options.batch_size * (size_t)c->puzzle_emb_ndim);
        core->puzzle_sums = zeros((size_t)core->options.batch_size * (size_t)c->puzzle_emb_ndim);
    }
    if (!w->params || !w->ema || !w->moment1 || !w->moment2 || !w->buffers ||
        (c->puzzle_emb_ndim > 0 && (!w->puzzle_emb || !w->puzzle_grads || !core->puzzle_sums)))
        return trm_fail_memory(err, 4 * params * sizeof(float));
    return TRM_OK;
}

static double physical_memory(void) {
    return (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
}

static trm_status allocate_rows(train_core *core, trm_error *err) {
    const struct model_config *c = core->config;
    const size_t pool = (size_t)core->options.pool_size, batch = (size_t)core->options.batch_size;
    const size_t seq_len = (size_t)c->seq_len, state = model_state_size(c, core->layout);
    const bool narrow = core->options.carry_bf16;
    const size_t width = narrow ? sizeof(op_bf16) : sizeof(float);
    const double bytes = (double)pool * (double)state * (double)width;
    if (bytes > physical_memory())
        return trm_fail(err, TRM_NO_MEMORY, "a pool of %zu carried puzzles needs %.0f MB, more than this machine has",
                        pool, 1e-6 * bytes);
    core->rows = calloc(pool, sizeof *core->rows);
    core->token_block = calloc(pool, 2 * seq_len * sizeof *core->token_block);
    core->state_block = calloc(pool, state * width);
    core->logits = zeros(batch * seq_len * (size_t)c->vocab_size);
    core->q = zeros(batch * 2);
    core->target = calloc(batch, sizeof *core->target);
    core->batch_ids = calloc(batch, sizeof *core->batch_ids);
    core->fates = calloc(batch, sizeof *core->fates);
    core->parts = calloc((size_t)core->options.shards, sizeof *core->parts);
    if (!core->rows || !core->token_block || !core->state_block || !core->logits || !core->q || !core->target ||
        !core->batch_ids || !core->fates || !core->parts)
        return trm_fail_memory(err, pool * state * width);
    for (size_t i = 0; i < pool; i++)
        core->rows[i] = (struct train_row){.inputs = core->token_block + 2 * i * seq_len,
                                           .labels = core->token_block + (2 * i + 1) * seq_len,
                                           .state = narrow ? NULL : (float *)core->state_block + i * state,
                                           .state16 = narrow ? (op_bf16 *)core->state_block + i * state : NULL,
                                           .halted = 1,
                                           .probe = i % batch >= (size_t)core->token_rows};
    return TRM_OK;
}

static trm_status create_shards(train_core *core, trm_error *err) {
    const size_t seq_len = (size_t)core->config->seq_len;
    trm_status status = TRM_OK;
    core->shards = calloc((size_t)core->own_shards, sizeof *core->shards);
    if (!core->shards)
        return trm_fail_memory(err, (size_t)core->own_shards * sizeof *core->shards);
    for (int i = 0; i < core->own_shards && status == TRM_OK; i++) {
        struct shard *shard = &core->shards[i];
        shard->grads = zeros(core->layout->param_size);
        shard->chunk_inputs = calloc((size_t)core->chunk, seq_len * sizeof *shard->chunk_inputs);
        shard->chunk_ids = calloc((size_t)core->chunk, sizeof *shard->chunk_ids);
        if (core->options.carry_bf16)
            shard->state = zeros(model_state_size(core->config, core->layout));
        if (!shard->grads || !shard->chunk_inputs || !shard->chunk_ids || (core->options.carry_bf16 && !shard->state))
            return trm_fail_memory(err, core->layout->param_size * sizeof(float));
        status = model_runner_create(core->packed, &shard->runner, err);
    }
    core->weights.grads = core->shards[0].grads;
    return status;
}

static trm_status check_options(const struct train_core_options *o, trm_error *err) {
    if (o->batch_size < 1 || o->shards < 1 || o->threads < 1 || o->batch_size % o->shards != 0)
        return trm_fail(err, TRM_INVALID, "a batch of %d cannot be split into %d equal shards", o->batch_size,
                        o->shards);
    if (o->shards % train_comm_size(o->comm) != 0)
        return trm_fail(err, TRM_INVALID, "%d shards cannot be split among %d processes", o->shards,
                        train_comm_size(o->comm));
    if (o->pool_size < o->batch_size || o->pool_size % o->batch_size != 0)
        return trm_fail(err, TRM_INVALID, "a pool of %d is not a multiple of the batch of %d", o->pool_size,
                        o->batch_size);
    if (o->probe_rows < 0 || o->probe_rows >= o->batch_size || (o->probe_halting && o->probe_rows == 0))
        return trm_fail(err, TRM_INVALID, "%d probes in a batch of %d leave nothing to learn from", o->probe_rows,
                        o->batch_size);
    return TRM_OK;
}

trm_status train_core_create(const struct model_config *config, const struct model_layout *layout,
                             const struct train_core_options *options, train_core **out, trm_error *err) {
    trm_status status = check_options(options, err);
    if (status != TRM_OK)
        return status;
    train_core *core = calloc(1, sizeof *core);
    if (!core)
        return trm_fail_memory(err, sizeof *core);
    core->config = config;
    core->layout = layout;
    core->options = *options;
    core->token_rows = options->batch_size - options->probe_rows;
    core->halt_rows = options->probe_halting ? options->probe_rows : core->token_rows;
    core->per_shard = options->batch_size / options->shards;
    core->own_shards = options->shards / train_comm_size(options->comm);
    core->own_first = train_comm_rank(options->comm) * core->own_shards * core->per_shard;
    core->chunk = core->per_shard < MAX_CHUNK ? core->per_shard : MAX_CHUNK;
    while (core->per_shard % core->chunk != 0)
        core->chunk--;
    status = allocate_weights(core, err);
    if (status == TRM_OK)
        status = allocate_rows(core, err);
    const struct model_tensors plain = {config, layout, core->weights.params, core->weights.buffers,
                                        core->weights.puzzle_emb};
    const struct model_weights_options packing = {
        .backend = options->backend, .dtype = options->dtype, .chunk = core->chunk};
    if (status == TRM_OK)
        status = model_weights_create(&plain, &packing, &core->packed, err);
    if (status == TRM_OK)
        status = create_shards(core, err);
    if (status == TRM_OK && options->optimizer.kind == TRAIN_MUON)
        status = train_muon_create(layout, options->backend, options->dtype, options->shards, &core->muon, err);
    if (status == TRM_OK)
        status = train_core_set_cycles(core, config->H_cycles, config->L_cycles, err);
    if (status == TRM_OK)
        status = train_team_create(options->threads < core->own_shards ? options->threads : core->own_shards,
                                   &core->team, err);
    if (status != TRM_OK) {
        train_core_destroy(core);
        return status;
    }
    *out = core;
    return TRM_OK;
}

void train_core_destroy(train_core *core) {
    if (!core)
        return;
    train_team_destroy(core->team);
    for (int i = 0; core->shards && i < core->own_shards; i++) {
        model_runner_destroy(core->shards[i].runner);
        free(core->shards[i].grads);
        free(core->shards[i].chunk_inputs);
        free(core->shards[i].chunk_ids);
        free(core->shards[i].state);
    }
    free(core->shards);
    model_weights_destroy(core->packed);
    train_muon_destroy(core->muon);
    free(core->puzzle_sums);
    free(core->parts);
    free(core->fates);
    free(core->batch_ids);
    free(core->target);
    free(core->q);
    free(core->logits);
    free(core->state_block);
    free(core->token_block);
    free(core->rows);
    free(core->weights.puzzle_grads);
    free(core->weights.puzzle_emb);
    free(core->weights.buffers);
    free(core->weights.moment2);
    free(core->weights.moment1);
    free(core->weights.ema);
    free(core->weights.params);
    free(core);
}

struct train_weights *train_core_weights(train_core *core) {
    return &core->weights;
}

struct train_row *train_core_row(train_core *core, int index) {
    return &core->rows[index];
}

int64_t *train_core_updates(train_core *core) {
    return &core->updates;
}

trm_status train_core_set_cycles(train_core *core, int H_cycles, int L_cycles, trm_error *err) {
    trm_status status = TRM_OK;
    for (int i = 0; i < core->own_shards && status == TRM_OK; i++)
        status = model_runner_recur(core->shards[i].runner, H_cycles, L_cycles, core->options.last_updates, err);
    return status;
}

void train_core_set_lr(train_core *core, double lr) {
    core->options.optimizer.lr = lr;
}

trm_status train_core_refresh(train_core *core, trm_error *err) {
    return model_weights_update(core->packed, err);
}

const struct train_probes *train_core_probes(const train_core *core) {
    return &core->probes;
}

const float *train_core_logits(const train_core *core, int i) {
    return core->logits + (size_t)i * (size_t)core->config->seq_len * (size_t)core->config->vocab_size;
}

const float *train_core_q(const train_core *core, int i) {
    return core->q + 2 * (size_t)i;
}

double train_core_target_continue(const train_core *core, int i) {
    return core->target[i];
}

/* ---- before the forward pass: new examples and exploration ---- */

/* The initial latents. */
static void reset_row(const train_core *core, struct train_row *row) {
    float *scratch = core->shards[0].state;
    model_state_reset(&core->packed->plain, row->state ? row->state : scratch);
    if (row->state16)
        op_bf16_from_f32(scratch, row->state16, model_state_size(core->config, core->layout));
}

void train_core_fill(train_core *core, struct data_rng *rng, train_next next, void *next_arg) {
    for (int i = 0; i < core->options.pool_size; i++) {
        struct train_row *row = &core->rows[i];
        next(next_arg, row);
        reset_row(core, row);
        row->steps = data_rng_below(rng, core->config->halt_max_steps);
        row->halted = 0;
    }
}

static void admit_rows(train_core *core, struct data_rng *rng, train_next next, void *next_arg) {
    const struct model_config *c = core->config;
    for (int i = 0; i < core->options.batch_size; i++) {
        struct train_row *row = &core->rows[core->first + i];
        if (row->halted) {
            next(next_arg, row);
            reset_row(core, row);
            row->steps = 0;
            row->halted = 0;
        }
        row->min_steps = core->options.min_halt_steps;
        if (c->halt_exploration_prob > 0.0 && c->halt_max_steps > 1 &&
            data_rng_uniform(rng) < c->halt_exploration_prob) {
            int drawn = 2 + data_rng_below(rng, c->halt_max_steps - 1);
            row->min_steps = drawn > row->min_steps ? drawn : row->min_steps;
        }
        row->hint = TRAIN_NO_HINT;
        if (core->options.hint_prob > 0.0 && !row->probe && data_rng_uniform(rng) < core->options.hint_prob)
            row->hint = data_rng_below(rng, INT32_MAX);
        core->batch_ids[i] = row->id;
    }
}

/* ---- after the backward pass: sum, update, average; each task a fixed range of the parameters ---- */

struct range {
    size_t begin, end;
};

static struct range range_of(const train_core *core, int index) {
    const size_t size = core->layout->param_size, parts = (size_t)core->options.shards;
    const size_t step = (size / parts + RANGE_ALIGNMENT) / RANGE_ALIGNMENT * RANGE_ALIGNMENT;
    const size_t begin = (size_t)index * step < size ? (size_t)index * step : size;
    return (struct range){begin, begin + step < size ? begin + step : size};
}

static void sum_range(void *arg, int index) {
    train_core *core = arg;
    const struct range r = range_of(core, index);
    for (int s = 1; s < core->own_shards; s++)
        for (size_t i = r.begin; i < r.end; i++)
            core->weights.grads[i] += core->shards[s].grads[i];
}

static void update_range(void *arg, int index) {
    train_core *core = arg;
    struct train_weights *w = &core->weights;
    struct part *part = &core->parts[index];
    const struct range r = range_of(core, index);
    const size_t end = core->muon ? train_muon_begin(core->layout) : core->layout->param_size;
    part->grad_squares = train_sum_squares(w->grads, r.begin, r.end);
    part->status = TRM_OK;
    if (r.begin < end)
        train_optim_step(&core->options.optimizer, core->updates, core->factor, w->params, w->grads, w->moment1,
                         w->moment2, r.begin, r.end < end ? r.end : end);
    if (core->muon)
        part->status = train_muon_step(core->muon, index, &core->options.optimizer, core->factor, w->params, w->grads,
                                       w->moment1, &part->err);
}

static void average_range(void *arg, int index) {
    train_core *core = arg;
    const struct range r = range_of(core, index);
    train_ema_step(core->weights.ema, core->weights.params,
                   train_ema_rate(core->options.ema_rate, core->options.ema_ramp, core->updates), r.begin, r.end);
}

static trm_status step_shards(train_core *core, trm_error *err) {
    train_team_run(core->team, train_core_run_shard, core, core->own_shards);
    for (int i = 0; i < core->own_shards; i++)
        if (core->shards[i].status != TRM_OK)
            return trm_fail(err, core->shards[i].status, "%s", core->shards[i].err.text);
    return TRM_OK;
}

trm_status train_core_step(train_core *core, int first, double factor, struct data_rng *rng, train_next next,
                           void *next_arg, struct train_metrics *metrics, trm_error *err) {
    const struct train_core_options *o = &core->options;
    core->first = first;
    core->factor = factor;
    core->updates++;
    admit_rows(core, rng, next, next_arg);
    trm_status status = step_shards(core, err);
    if (status == TRM_OK)
        status = train_core_share_fates(core, err);
    if (status == TRM_OK)
        status = train_core_sum_metrics(core, metrics, err);
    train_team_run(core->team, sum_range, core, o->shards);
    if (status == TRM_OK)
        status = train_core_share_grads(core, err);
    if (status != TRM_OK)
        return status;

    if (core->weights.puzzle_emb) {
        const int ndim = core->config->puzzle_emb_ndim;
        memcpy(core->puzzle_sums, core->weights.puzzle_grads, (size_t)o->batch_size * (size_t)ndim * sizeof(float));
        train_sign_step(o->puzzle_emb_lr * factor, o->puzzle_emb_weight_decay, core->weights.puzzle_emb, ndim,
                        core->puzzle_sums, core->batch_ids, o->batch_size);
    }
    train_team_run(core->team, update_range, core, o->shards);
    for (int i = 0; i < o->shards; i++) {
        metrics->grad_squares += core->parts[i].grad_squares;
        if (core->parts[i].status != TRM_OK)
            return trm_fail(err, core->parts[i].status, "%s", core->parts[i].err.text);
    }
    train_team_run(core->team, average_range, core, o->shards);
    return model_weights_update(core->packed, err);
}
