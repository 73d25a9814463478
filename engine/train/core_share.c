/* core_share.c - what the shards of all processes make together: sums of metrics and gradients, and what one process
 * knows of its rows and all need. Called by the core's thread, between the shards' work. */
#include "engine/train/core_inside.h"

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

trm_status train_core_sum_metrics(train_core *core, struct train_metrics *total, trm_error *err) {
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

static int own_rows(const train_core *core) {
    return core->own_shards * core->per_shard;
}

trm_status train_core_share_fates(train_core *core, trm_error *err) {
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

trm_status train_core_share_grads(train_core *core, trm_error *err) {
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
