/* parity_infer.c - replays a recorded inference run. In f32 every supervision step's logits and q values
 * and the latents left at the end must agree; in bf16 the distance from f32 is judged. One thread. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/infer.h"
#include "tests/parity.h"

static const double TOLERANCE = 2e-4;

/* Buffers of a run of `batch` puzzles. */
struct run {
    int batch, vocab, seq_len;
    const int32_t *inputs;          /* [batch, seq_len] */
    const int32_t *ids;             /* [batch] */
    size_t logits_size, state_size; /* of one puzzle */
    float *logits;                  /* [batch, seq_len, vocab] */
    float *q;                       /* [batch, 2] */
    float *states;                  /* [batch, latents, tokens, hidden] */
};

typedef trm_status (*judge_step)(void *arg, const struct run *run, int step, trm_error *err);

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

static trm_status run_step(infer_machine *machine, struct run *run, trm_error *err) {
    trm_status status = TRM_OK;
    for (int b = 0; b < run->batch && status == TRM_OK; b++) {
        const size_t index = (size_t)b;
        const struct infer_puzzle puzzle = {run->inputs + index * (size_t)run->seq_len, run->ids[b],
                                            run->states + index * run->state_size};
        status = infer_step(machine, &puzzle, 1, err);
        memcpy(run->logits + index * run->logits_size, infer_logits(machine, 0), run->logits_size * sizeof(float));
        memcpy(run->q + 2 * index, infer_q(machine, 0), 2 * sizeof(float));
    }
    return status;
}

static trm_status allocate(struct run *run, trm_error *err) {
    run->logits = calloc((size_t)run->batch, run->logits_size * sizeof(float));
    run->q = calloc((size_t)run->batch, 2 * sizeof(float));
    run->states = calloc((size_t)run->batch, run->state_size * sizeof(float));
    return run->logits && run->q && run->states ? TRM_OK : trm_fail(err, TRM_NO_MEMORY, "out of memory");
}

/* The run that the file records, in any dtype; `judge` sees it after every step. */
static trm_status replay(const model_checkpoint *golden, enum trm_backend backend, enum op_dtype dtype,
                         judge_step judge, void *judge_arg, struct run *run, trm_error *err) {
    const st_file *file = model_checkpoint_file(golden);
    const struct model_config *config = model_checkpoint_config(golden);
    const struct model_layout *layout = model_checkpoint_layout(golden);
    const struct st_tensor *inputs = st_find(file, "io.inputs"), *ids;
    const char *steps = st_metadata(file, "num_steps");
    struct infer_weights *weights = NULL;
    infer_machine *machine = NULL;
    if (!inputs || inputs->dtype != ST_I32 || inputs->rank != 2 || inputs->shape[1] != (size_t)config->seq_len)
        return trm_fail(err, TRM_FORMAT, "tensor io.inputs is absent or not [batch, seq_len]");
    run->batch = (int)inputs->shape[0];
    run->seq_len = config->seq_len;
    run->vocab = config->vocab_size;
    run->logits_size = (size_t)config->seq_len * (size_t)config->vocab_size;
    run->state_size = model_state_size(config, layout);
    trm_status status = parity_find(file, "io.puzzle_identifiers", ST_I32, (size_t)run->batch, &ids, err);
    if (status == TRM_OK)
        status = allocate(run, err);

    const struct model_tensors plain = {config, layout, model_checkpoint_params(golden),
                                        model_checkpoint_buffers(golden), model_checkpoint_puzzle_emb(golden)};
    if (status == TRM_OK)
        status = infer_weights_create(&plain, backend, dtype, &weights, err);
    if (status == TRM_OK)
        status = infer_machine_create(weights, &machine, err);
    if (status == TRM_OK) {
        run->inputs = inputs->data;
        run->ids = ids->data;
        for (int b = 0; b < run->batch; b++)
            model_state_reset(&plain, run->states + (size_t)b * run->state_size);
    }
    const int count = steps ? (int)strtol(steps, NULL, 10) : 0;
    if (status == TRM_OK && count < 1)
        status = trm_fail(err, TRM_FORMAT, "metadata \"num_steps\" is absent");
    for (int step = 1; step <= count && status == TRM_OK; step++) {
        status = run_step(machine, run, err);
        if (status == TRM_OK)
            status = judge(judge_arg, run, step, err);
    }
    infer_machine_destroy(machine);
    infer_weights_destroy(weights);
    return status;
}

static void release(struct run *run) {
    free(run->states);
    free(run->q);
    free(run->logits);
}

/* ---- f32 ---- */

struct exact_judge {
    const st_file *file;
    struct parity *parity;
};

static trm_status judge_exactly(void *arg, const struct run *run, int step, trm_error *err) {
    const struct exact_judge *judge = arg;
    return compare_step(judge->file, run, step, judge->parity, err);
}

trm_status parity_infer(const model_checkpoint *golden, enum trm_backend backend, struct parity *parity,
                        trm_error *err) {
    struct exact_judge judge = {.file = model_checkpoint_file(golden), .parity = parity};
    struct run run = {0};
    trm_status status = replay(golden, backend, OP_F32, judge_exactly, &judge, &run, err);
    if (status == TRM_OK)
        status = compare_latents(golden, &run, parity, err);
    release(&run);
    return status;
}

/* ---- bf16: no further from f32 than the original's bf16 run; int8: within what was measured ---- */

/* How far logits are from others. */
struct distance {
    double max, relative, agreement; /* largest difference, relative L2, share of equal argmaxes */
};

static size_t argmax(const float *row, int vocab) {
    size_t best = 0;
    for (int v = 1; v < vocab; v++)
        if (row[v] > row[best])
            best = (size_t)v;
    return best;
}

static struct distance measure(const float *got, const float *want, size_t count, int vocab) {
    double largest = 0.0, squares = 0.0, norm = 0.0;
    size_t agreeing = 0;
    for (size_t i = 0; i < count; i++) {
        const double difference = fabs((double)got[i] - (double)want[i]);
        if (!(difference <= largest))
            largest = difference;
        squares += difference * difference;
        norm += (double)want[i] * (double)want[i];
    }
    for (size_t i = 0; i < count; i += (size_t)vocab)
        agreeing += argmax(got + i, vocab) == argmax(want + i, vocab);
    return (struct distance){
        .max = largest, .relative = sqrt(squares / norm), .agreement = (double)agreeing * vocab / (double)count};
}

/* Of argmaxes: random weights leave near ties, which any rounding may turn. */
static const double TIES = 0.01;

/* Where the original's bf16 run is not recorded only the first step is judged: random weights
 * amplify rounding from step to step, some without end (golden README section 6). */
static const struct distance usual[] = {[TRM_DTYPE_BF16] = {.max = 0.2, .relative = 0.05, .agreement = 0.94},
                                        [TRM_DTYPE_INT8] = {.max = 0.5, .relative = 0.15, .agreement = 0.85}};

struct near_judge {
    const st_file *exact;    /* the f32 run */
    const st_file *original; /* the original's bf16 run; NULL: `usual` */
    enum trm_dtype dtype;
    struct parity *parity;
};

static trm_status judge_distance(void *arg, const struct run *run, int step, trm_error *err) {
    const struct near_judge *judge = arg;
    const size_t count = (size_t)run->batch * run->logits_size;
    const struct st_tensor *exact, *original;
    struct distance bound = usual[judge->dtype];
    char name[64];
    snprintf(name, sizeof name, "io.step%d.logits", step);
    trm_status status = parity_find(judge->exact, name, ST_F32, count, &exact, err);
    if (status == TRM_OK && judge->original) {
        status = parity_find(judge->original, name, ST_F32, count, &original, err);
        if (status == TRM_OK)
            bound = measure(original->data, exact->data, count, run->vocab);
    }
    if (status != TRM_OK)
        return status;
    const struct distance ours = measure(run->logits, exact->data, count, run->vocab);
    printf("  %-20s %s from f32: max %.3f  relative %.4f  argmax %.3f", name, trm_dtype_name(judge->dtype), ours.max,
           ours.relative, ours.agreement);
    if (!judge->original && step > 1) {
        puts("  (not judged)");
        return TRM_OK;
    }
    const bool passed =
        ours.max <= bound.max && ours.relative <= bound.relative && ours.agreement >= bound.agreement - TIES;
    printf("  bounds %.3f %.4f %.3f  %s\n", bound.max, bound.relative, bound.agreement, passed ? "ok" : "FAILED");
    if (!passed)
        judge->parity->passed = false;
    return TRM_OK;
}

trm_status parity_infer_near(const model_checkpoint *golden, const st_file *original,
                             const struct trm_model_options *options, struct parity *parity, trm_error *err) {
    struct near_judge judge = {
        .exact = model_checkpoint_file(golden), .original = original, .dtype = options->dtype, .parity = parity};
    struct run run = {0};
    trm_status status =
        replay(golden, options->backend, op_operand_type(options->dtype), judge_distance, &judge, &run, err);
    release(&run);
    return status;
}
