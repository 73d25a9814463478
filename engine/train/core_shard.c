/* core_shard.c - a supervision step of a shard's rows, a few at a time: forward, losses, halting, backward. All that it
 * writes belongs to the shard (core_inside.h). */
#include <string.h>

#include "engine/train/core_inside.h"

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

/* The weight of the token loss of a row in the supervision step that it is about to take. */
static double step_weight(const train_core *core, const struct train_row *row) {
    const struct train_core_options *o = &core->options;
    const int last = core->config->halt_max_steps - 1;
    const double at = last > 0 ? (double)row->steps / last : 1.0;
    return row->probe ? 0.0 : o->first_weight + (o->last_weight - o->first_weight) * at;
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
                      share * step_weight(core, row) / core->token_rows, model_runner_dlogits(shard->runner, i), &loss,
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

void train_core_run_shard(void *arg, int index) {
    train_core *core = arg;
    struct shard *shard = &core->shards[index];
    memset(shard->grads, 0, core->layout->param_size * sizeof *shard->grads);
    shard->metrics = (struct train_metrics){0};
    shard->probes = (struct train_probes){0};
    shard->status = TRM_OK;
    for (int i = 0; i < core->per_shard && shard->status == TRM_OK; i += core->chunk)
        shard->status = run_chunk(core, shard, core->own_first + index * core->per_shard + i, &shard->err);
}
