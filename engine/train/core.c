/* core.c - see core.h. During a step each shard's runner, gradient and rows belong to the thread
 * that works on the shard; everything else to the caller. */
#include "engine/train/core.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/model/runner.h"
#include "engine/train/muon.h"
#include "engine/train/team.h"

enum { MAX_CHUNK = 4, RANGE_ALIGNMENT = 64 };

/* A fixed part of the batch. */
struct shard {
    model_runner *runner;
    float *grads;          /* [param_size]; the first shard's is where all are summed */
    int32_t *chunk_inputs; /* [chunk, seq_len] */
    int32_t *chunk_ids;    /* [chunk] */
    float *state;          /* [latents, tokens, hidden] of a row on its way to or from 16 bits; else NULL */
    struct train_metrics metrics;
    struct train_probes probes;
    trm_status status;
    trm_error err;
};

/* A fixed part of the parameters: what its update left. */
struct part {
    double grad_squares;
    trm_status status;
    trm_error err;
};

/* What every process must know of a row that one of them has stepped. */
struct fate {
    int32_t steps, halted, hinted;
};

struct train_core {
    const struct model_config *config;
    const struct model_layout *layout;
    struct train_core_options options;
    int chunk, per_shard; /* puzzles */
    int own_shards;       /* those of this process, */
    int own_first;        /* whose first one begins at this row of the batch */
    int token_rows;       /* of a batch: rows that train the tokens, */
    int halt_rows;        /* the halting head */
    struct train_weights weights;
    struct model_weights *packed;
    struct shard *shards;   /* [own_shards] */
    struct train_row *rows; /* [pool_size] */
    int32_t *token_block;   /* [pool_size, 2, seq_len] */
    void *state_block;      /* [pool_size, state size] f32 or bf16 */
    float *logits;          /* [batch_size, seq_len, vocab] */
    float *q;               /* [batch_size, 2] */
    double *target;         /* [batch_size] */
    int32_t *batch_ids;     /* [batch_size] */
    struct fate *fates;     /* [batch_size] */
    struct part *parts;     /* [options.shards] of the parameters */
    train_muon *muon;       /* NULL but for TRAIN_MUON */
    float *puzzle_sums;     /* [batch_size, puzzle_emb_ndim] scratch of the sign step */
    train_team *team;
    struct train_probes probes;
    int64_t updates;
    /* The step under way. */
    int first;
    double factor;
};

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

/* ---- one chunk: forward, losses, halting, backward ---- */

static void load_row(const train_core *core, struct shard *shard, int i, const struct train_row *row) {
    if (row->state16)
        op_bf16_widen(row->state16, shard->state, model_state_size(core->config, core->layout));
    model_runner_load(shard->runner, i, row->state ? row->state : shard->state);
}

static void store_row(const train_core *core, struct shard *shard, int i, struct train_row *row) {
    model_runner_store(shard->runner, i, row->state ? row->state : shard->state);
    if (row->state16)
        op_bf16_from_f32(shard->state, row->state16, model_state_size(core->config, core->layout));
}

static void load_chunk(train_core *core, struct shard *shard, const struct train_row *rows) {
    const size_t seq_len = (size_t)core->config->seq_len;
    for (int i = 0; i < core->chunk; i++) {
        memcpy(shard->chunk_inputs + (size_t)i * seq_len, rows[i].inputs, seq_len * sizeof *rows[i].inputs);
        shard->chunk_ids[i] = rows[i].id;
        load_row(core, shard, i, &rows[i]);
    }
    model_runner_set_input(shard->runner, shard->chunk_inputs, shard->chunk_ids);
}

static void add_probe(struct train_probes *m, const struct train_row *row, bool exact, bool confident) {
    m->count += 1.0;
    m->exact += exact;
    m->steps += row->steps;
    m->confident += confident;
    m->confident_exact += confident && exact;
}

static void add_metrics(struct train_metrics *m, const struct train_row *row, int labelled, int correct, float q_halt) {
    const bool exact = correct == labelled;
    m->count += 1.0;
    m->accuracy += (double)correct / labelled;
    m->exact_accuracy += exact;
    m->q_halt_accuracy += (q_halt >= 0.0f) == exact;
    m->steps += row->steps;
}

/* What the gradient of a row's halting losses is multiplied by. */
static double halt_scale(const train_core *core, const struct train_row *row) {
    const struct train_core_options *o = &core->options;
    return row->probe == o->probe_halting ? o->halt_loss_weight / core->halt_rows : 0.0;
}

/* Losses and their gradients of puzzle i of the chunk; counts the step and decides whether the row halts. */
static void judge_row(train_core *core, struct shard *shard, struct train_row *row, int i, const float *logits,
                      const float *q) {
    const struct model_config *c = core->config;
    const struct train_core_options *o = &core->options;
    const int candidates = train_count_labels(row->labels, c->seq_len);
    const double share = 1.0 / (candidates > 0 ? candidates : 1);
    float *dq = model_runner_dq(shard->runner, i);
    double loss;
    int labelled, correct;
    train_loss_tokens(o->loss, logits, row->labels, c->seq_len, c->vocab_size,
                      row->probe ? 0.0 : share / core->token_rows, model_runner_dlogits(shard->runner, i), &loss,
                      &labelled, &correct);
    const bool exact = correct == labelled;
    const double halt_loss = train_loss_binary(q[0], exact, halt_scale(core, row), &dq[0]);
    dq[1] = 0.0f;
    if (!row->probe)
        shard->metrics.lm_loss += loss * share;
    if (row->probe == o->probe_halting)
        shard->metrics.q_halt_loss += halt_loss;

    row->steps++;
    const bool confident = c->no_ACT_continue ? q[0] > 0.0f : q[0] > q[1];
    const bool stops = c->halt_max_steps > 1 && confident && row->steps >= row->min_steps;
    row->halted = row->steps >= c->halt_max_steps || stops;
    row->hinted =
        row->hint == TRAIN_NO_HINT || row->halted || exact
            ? TRAIN_NO_HINT
            : train_wrong_token(logits, row->labels, c->seq_len, c->vocab_size, row->hint % (labelled - correct));
    if (row->halted && labelled > 0 && row->probe)
        add_probe(&shard->probes, row, exact, stops);
    else if (row->halted && labelled > 0)
        add_metrics(&shard->metrics, row, labelled, correct, q[0]);
}

/* hrm: the continue value is compared with what the next step's head says, computed without gradient. */
static trm_status judge_continue(train_core *core, struct shard *shard, const struct train_row *rows, const float *q,
                                 double *target, trm_error *err) {
    trm_status status = model_runner_step(shard->runner, false, err);
    for (int i = 0; i < core->chunk && status == TRM_OK; i++) {
        const float *next = model_runner_q(shard->runner, i);
        const bool last = rows[i].steps >= core->config->halt_max_steps;
        target[i] = train_sigmoid(last || next[0] > next[1] ? next[0] : next[1]);
        const double loss = train_loss_binary(q[2 * i + 1], target[i], halt_scale(core, &rows[i]),
                                              &model_runner_dq(shard->runner, i)[1]);
        if (rows[i].probe == core->options.probe_halting)
            shard->metrics.q_continue_loss += loss;
    }
    return status;
}

static trm_status run_chunk(train_core *core, struct shard *shard, int at, trm_error *err) {
    const struct model_config *c = core->config;
    const size_t logits_size = (size_t)c->seq_len * (size_t)c->vocab_size;
    struct train_row *rows = &core->rows[core->first + at];
    float *q = core->q + 2 * (size_t)at;
    if (core->options.cancelled && core->options.cancelled(core->options.cancelled_arg))
        return trm_fail(err, TRM_CANCELLED, "cancelled");
    load_chunk(core, shard, rows);
    trm_status status = model_runner_step(shard->runner, true, err);
    if (status != TRM_OK)
        return status;
    for (int i = 0; i < core->chunk; i++) {
        float *logits = core->logits + (size_t)(at + i) * logits_size;
        memcpy(logits, model_runner_logits(shard->runner, i), logits_size * sizeof *logits);
        memcpy(q + 2 * i, model_runner_q(shard->runner, i), 2 * sizeof *q);
        judge_row(core, shard, &rows[i], i, logits, q + 2 * i);
        store_row(core, shard, i, &rows[i]);
    }
    if (c->arch == MODEL_HRM)
        status = judge_continue(core, shard, rows, q, core->target + at, err);
    if (status == TRM_OK)
        status = model_runner_backward(
            shard->runner, shard->grads,
            core->weights.puzzle_grads ? core->weights.puzzle_grads + (size_t)at * (size_t)c->puzzle_emb_ndim : NULL,
            err);
    return status;
}

static void run_shard(void *arg, int index) {
    train_core *core = arg;
    struct shard *shard = &core->shards[index];
    memset(shard->grads, 0, core->layout->param_size * sizeof *shard->grads);
    shard->metrics = (struct train_metrics){0};
    shard->probes = (struct train_probes){0};
    shard->status = TRM_OK;
    for (int i = 0; i < core->per_shard && shard->status == TRM_OK; i += core->chunk)
        shard->status = run_chunk(core, shard, core->own_first + index * core->per_shard + i, &shard->err);
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

void train_metrics_add(struct train_metrics *total, const struct train_metrics *m) {
    total->loss += m->loss;
    total->lm_loss += m->lm_loss;
    total->q_halt_loss += m->q_halt_loss;
    total->q_continue_loss += m->q_continue_loss;
    total->count += m->count;
    total->accuracy += m->accuracy;
    total->exact_accuracy += m->exact_accuracy;
    total->q_halt_accuracy += m->q_halt_accuracy;
    total->steps += m->steps;
    total->grad_squares += m->grad_squares;
}

void train_probes_add(struct train_probes *total, const struct train_probes *m) {
    total->count += m->count;
    total->exact += m->exact;
    total->steps += m->steps;
    total->confident += m->confident;
    total->confident_exact += m->confident_exact;
}

/* Of all shards of all processes; not the gradient's. */
static trm_status sum_metrics(train_core *core, struct train_metrics *total, trm_error *err) {
    _Static_assert(sizeof *total % sizeof(double) == 0, "train_metrics are doubles");
    _Static_assert(sizeof core->probes % sizeof(double) == 0, "train_probes are doubles");
    const double batch = core->options.batch_size;
    train_comm *comm = core->options.comm;
    *total = (struct train_metrics){0};
    core->probes = (struct train_probes){0};
    for (int i = 0; i < core->own_shards; i++) {
        train_metrics_add(total, &core->shards[i].metrics);
        train_probes_add(&core->probes, &core->shards[i].probes);
    }
    trm_status status = train_comm_sum_doubles(comm, &total->loss, sizeof *total / sizeof(double), err);
    if (status == TRM_OK)
        status = train_comm_sum_doubles(comm, &core->probes.count, sizeof core->probes / sizeof(double), err);
    const double halting = core->options.halt_loss_weight * (total->q_halt_loss + total->q_continue_loss);
    total->loss = total->lm_loss * (batch / core->token_rows) + halting * (batch / core->halt_rows);
    return status;
}

/* ---- what one process knows and all need ---- */

static int own_rows(const train_core *core) {
    return core->own_shards * core->per_shard;
}

/* Which rows have halted, and after how many steps, and the hints for those that go on. */
static trm_status share_fates(train_core *core, trm_error *err) {
    struct train_row *rows = &core->rows[core->first];
    for (int i = core->own_first; i < core->own_first + own_rows(core); i++)
        core->fates[i] = (struct fate){rows[i].steps, rows[i].halted, rows[i].hinted};
    trm_status status =
        train_comm_share(core->options.comm, core->fates, (size_t)own_rows(core) * sizeof *core->fates, err);
    for (int i = 0; i < core->options.batch_size; i++) {
        rows[i].steps = core->fates[i].steps;
        rows[i].halted = core->fates[i].halted;
        rows[i].hinted = core->fates[i].hinted;
        if (rows[i].hinted != TRAIN_NO_HINT)
            rows[i].inputs[rows[i].hinted] = rows[i].labels[rows[i].hinted];
    }
    return status;
}

/* Sums gradients; those of the puzzle embedding stay a row for each row of the batch, as its step wants them. */
static trm_status share_grads(train_core *core, trm_error *err) {
    train_comm *comm = core->options.comm;
    const size_t row = (size_t)core->config->puzzle_emb_ndim * sizeof(float);
    trm_status status = train_comm_sum_floats(comm, core->weights.grads, core->layout->param_size, err);
    if (status == TRM_OK && core->weights.puzzle_emb)
        status = train_comm_share(comm, core->weights.puzzle_grads, (size_t)own_rows(core) * row, err);
    return status;
}

trm_status train_core_gather(train_core *core, trm_error *err) {
    train_comm *comm = core->options.comm;
    const struct model_config *c = core->config;
    const size_t rows = (size_t)own_rows(core), state = model_state_size(c, core->layout);
    trm_status status = TRM_OK;
    for (int first = 0; first < core->options.pool_size && status == TRM_OK; first += core->options.batch_size) {
        const struct train_row *row = &core->rows[first];
        status = row->state ? train_comm_share(comm, row->state, rows * state * sizeof *row->state, err)
                            : train_comm_share(comm, row->state16, rows * state * sizeof *row->state16, err);
    }
    if (status == TRM_OK)
        status = train_comm_share(comm, core->logits, rows * (size_t)(c->seq_len * c->vocab_size) * sizeof(float), err);
    if (status == TRM_OK)
        status = train_comm_share(comm, core->q, rows * 2 * sizeof *core->q, err);
    if (status == TRM_OK)
        status = train_comm_share(comm, core->target, rows * sizeof *core->target, err);
    return status;
}

static trm_status step_shards(train_core *core, trm_error *err) {
    train_team_run(core->team, run_shard, core, core->own_shards);
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
        status = share_fates(core, err);
    if (status == TRM_OK)
        status = sum_metrics(core, metrics, err);
    train_team_run(core->team, sum_range, core, o->shards);
    if (status == TRM_OK)
        status = share_grads(core, err);
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
