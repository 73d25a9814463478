/* parity_infer.c - replays a recorded inference run: every supervision step's logits and q values,
 * then the latents it left. One thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/runner.h"
#include "tests/parity.h"

static const double TOLERANCE = 2e-4;

/* Buffers of a run of `batch` puzzles. */
struct run {
    int batch;
    size_t logits_size, state_size; /* of one puzzle */
    float *logits;                  /* [batch, seq_len, vocab] */
    float *q;                       /* [batch, 2] */
    float *states;                  /* [batch, latents, tokens, hidden] */
};

static trm_status compare_step(const st_file *file, const struct run *run, int step, struct parity *parity,
                               trm_error *err) {
    const struct st_tensor *want;
    char name[64];
    snprintf(name, sizeof name, "io.step%d.logits", step);
    trm_status status = parity_find(file, name, ST_F32, (size_t)run->batch * run->logits_size, &want, err);
    if (status != TRM_OK)
        return status;
    parity_compare(parity, name, run->logits, want->data, want->count, TOLERANCE, 0.0, 0);
    snprintf(name, sizeof name, "io.step%d.q_logits", step);
    status = parity_find(file, name, ST_F32, (size_t)run->batch * 2, &want, err);
    if (status == TRM_OK)
        parity_compare(parity, name, run->q, want->data, want->count, TOLERANCE, 0.0, 0);
    return status;
}

static trm_status compare_latents(const model_checkpoint *golden, const struct run *run, struct parity *parity,
                                  trm_error *err) {
    const struct model_layout *layout = model_checkpoint_layout(golden);
    const struct model_config *config = model_checkpoint_config(golden);
    const size_t puzzle = run->state_size / (size_t)layout->latents;
    for (int i = 0; i < layout->latents; i++) {
        const struct st_tensor *want;
        char name[64];
        snprintf(name, sizeof name, "io.final.%s", model_latent_name(config->arch, i));
        trm_status status =
            parity_find(model_checkpoint_file(golden), name, ST_F32, (size_t)run->batch * puzzle, &want, err);
        if (status != TRM_OK)
            return status;
        for (int b = 0; b < run->batch; b++)
            parity_compare(parity, name, run->states + (size_t)b * run->state_size + (size_t)i * puzzle,
                           (const float *)want->data + (size_t)b * puzzle, puzzle, TOLERANCE, 0.0, 0);
    }
    return TRM_OK;
}

static trm_status run_step(model_runner *runner, struct run *run, trm_error *err) {
    for (int b = 0; b < run->batch; b++)
        model_runner_load(runner, b, run->states + (size_t)b * run->state_size);
    trm_status status = model_runner_step(runner, false, err);
    for (int b = 0; b < run->batch && status == TRM_OK; b++) {
        model_runner_store(runner, b, run->states + (size_t)b * run->state_size);
        memcpy(run->logits + (size_t)b * run->logits_size, model_runner_logits(runner, b),
               run->logits_size * sizeof(float));
        memcpy(run->q + 2 * (size_t)b, model_runner_q(runner, b), 2 * sizeof(float));
    }
    return status;
}

static trm_status allocate(struct run *run, trm_error *err) {
    run->logits = calloc((size_t)run->batch, run->logits_size * sizeof(float));
    run->q = calloc((size_t)run->batch, 2 * sizeof(float));
    run->states = calloc((size_t)run->batch, run->state_size * sizeof(float));
    return run->logits && run->q && run->states ? TRM_OK : trm_fail(err, TRM_NO_MEMORY, "out of memory");
}

trm_status parity_infer(const model_checkpoint *golden, enum trm_backend backend, struct parity *parity,
                        trm_error *err) {
    const st_file *file = model_checkpoint_file(golden);
    const struct model_config *config = model_checkpoint_config(golden);
    const struct model_layout *layout = model_checkpoint_layout(golden);
    const struct st_tensor *inputs = st_find(file, "io.inputs"), *ids;
    const char *steps = st_metadata(file, "num_steps");
    struct model_weights *weights = NULL;
    model_runner *runner = NULL;
    struct run run = {0};
    if (!inputs || inputs->dtype != ST_I32 || inputs->rank != 2 || inputs->shape[1] != (size_t)config->seq_len)
        return trm_fail(err, TRM_FORMAT, "tensor io.inputs is absent or not [batch, seq_len]");
    run.batch = (int)inputs->shape[0];
    run.logits_size = (size_t)config->seq_len * (size_t)config->vocab_size;
    run.state_size = model_state_size(config, layout);
    trm_status status = parity_find(file, "io.puzzle_identifiers", ST_I32, (size_t)run.batch, &ids, err);
    if (status == TRM_OK)
        status = allocate(&run, err);

    const struct model_weights_options options = {.backend = backend, .dtype = OP_F32, .chunk = run.batch};
    if (status == TRM_OK)
        status = model_weights_create(config, layout, model_checkpoint_params(golden), model_checkpoint_buffers(golden),
                                      model_checkpoint_puzzle_emb(golden), &options, &weights, err);
    if (status == TRM_OK)
        status = model_runner_create(weights, &runner, err);
    if (status == TRM_OK) {
        for (int b = 0; b < run.batch; b++)
            model_state_reset(weights, run.states + (size_t)b * run.state_size);
        model_runner_set_input(runner, inputs->data, ids->data);
    }
    const int count = steps ? (int)strtol(steps, NULL, 10) : 0;
    if (status == TRM_OK && count < 1)
        status = trm_fail(err, TRM_FORMAT, "metadata \"num_steps\" is absent");
    for (int step = 1; step <= count && status == TRM_OK; step++) {
        status = run_step(runner, &run, err);
        if (status == TRM_OK)
            status = compare_step(file, &run, step, parity, err);
    }
    if (status == TRM_OK)
        status = compare_latents(golden, &run, parity, err);

    model_runner_destroy(runner);
    model_weights_destroy(weights);
    free(run.states);
    free(run.q);
    free(run.logits);
    return status;
}
