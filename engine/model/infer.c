/* infer.c - see infer.h. A machine's buffers are its thread's. */
#include "engine/model/infer.h"

#include <stdlib.h>
#include <time.h>

#include "engine/model/embed.h"
#include "engine/model/program.h"
#include "engine/ops/kernels.h"

enum { ALIGNMENT = 64 };

/* P = chunk * tokens: the rows of all puzzles of a chunk. G = group * block: the rows of a group. */
struct infer_machine {
    const struct infer_weights *weights;
    const struct op_kernels *kernels;
    op_context *context;
    struct infer_operations ops;
    struct model_program program;
    size_t plane;    /* tokens * hidden: one latent of one puzzle */
    float *e;        /* [P, hidden] input embeddings */
    float *x;        /* [P, hidden] a layer's input */
    op_bf16 *x16;    /* the same as operands; attention with bf16 only */
    float *y;        /* [P, hidden] after the first half of a layer */
    op_bf16 *y16;    /* [P, hidden] bf16 only */
    float *residual; /* [max(G, tokens), hidden] what a half adds */
    void *attended;  /* operand [P, width]; attention only */
    void *act;       /* operand [G, inter] */
    float *rinv;     /* [max(block, hidden)] the norms' factors, not kept */
    float *logits;   /* [P, vocab] */
    float *q;        /* [chunk, 2] halt, continue */
    struct model_profile *profile;
    double mark; /* when the current stage began */
};

/* ---- life ---- */

static trm_status allocate(infer_machine *m, trm_error *err) {
    const struct infer_weights *w = m->weights;
    const struct model_config *c = w->plain.config;
    const size_t tokens = (size_t)c->tokens, hidden = (size_t)c->hidden_size,
                 element = op_operand_size(op_passed_type(w->dtype));
    const size_t chunk = (size_t)w->chunk, all = chunk * m->plane, block = (size_t)w->rows.block;
    const size_t group = (size_t)w->group * block, width = (size_t)c->num_heads * (size_t)c->head_dim;
    const bool bf16 = w->dtype == OP_BF16;
    const struct {
        void **buffer;
        size_t bytes;
    } buffers[] = {
        {(void **)&m->e, all * sizeof(float)},
        {(void **)&m->x, all * sizeof(float)},
        {(void **)&m->x16, bf16 && !c->mlp_t ? all * sizeof(op_bf16) : 0},
        {(void **)&m->y, all * sizeof(float)},
        {(void **)&m->y16, bf16 ? all * sizeof(op_bf16) : 0},
        {(void **)&m->residual, (group > tokens ? group : tokens) * hidden * sizeof(float)},
        {&m->attended, c->mlp_t ? 0 : chunk * tokens * width * element},
        {&m->act, group * (size_t)c->inter * element},
        {(void **)&m->rinv, (block > hidden ? block : hidden) * sizeof(float)},
        {(void **)&m->logits, chunk * tokens * (size_t)c->vocab_size * sizeof(float)},
        {(void **)&m->q, chunk * 2 * sizeof(float)},
    };
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        if (buffers[i].bytes && posix_memalign(buffers[i].buffer, ALIGNMENT, buffers[i].bytes) != 0)
            return trm_fail_memory(err, buffers[i].bytes);
    return TRM_OK;
}

trm_status infer_machine_create(const struct infer_weights *weights, infer_machine **out, trm_error *err) {
    infer_machine *m = calloc(1, sizeof *m);
    if (!m)
        return trm_fail_memory(err, sizeof *m);
    m->weights = weights;
    m->kernels = op_kernels(weights->backend);
    m->plane = (size_t)weights->plain.config->tokens * (size_t)weights->plain.config->hidden_size;
    trm_status status = op_context_create(weights->backend, &m->context, err);
    if (status == TRM_OK)
        status = infer_plan(m->context, weights, &m->ops, err);
    if (status == TRM_OK)
        status = model_program_create(weights->plain.config, &m->program, err);
    if (status == TRM_OK)
        status = allocate(m, err);
    if (status != TRM_OK) {
        infer_machine_destroy(m);
        return status;
    }
    *out = m;
    return TRM_OK;
}

void infer_machine_destroy(infer_machine *m) {
    if (!m)
        return;
    void *buffers[] = {m->e, m->x, m->x16, m->y, m->y16, m->residual, m->q, m->act, m->rinv, m->logits, m->attended};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        free(buffers[i]);
    model_program_destroy(&m->program);
    infer_plan_destroy(&m->ops);
    op_context_destroy(m->context);
    free(m);
}

/* ---- profile ---- */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void infer_profile(infer_machine *m, struct model_profile *profile) {
    m->profile = profile;
    op_context_meter(m->context)->on = profile != NULL;
}

static void begin_stages(infer_machine *m) {
    if (m->profile)
        m->mark = now();
}

/* What has run since the last call was `stage`. */
static void end_stage(infer_machine *m, enum model_stage stage) {
    if (!m->profile)
        return;
    struct op_meter *meter = op_context_meter(m->context);
    const double end = now();
    m->profile->stages[stage].seconds += end - m->mark;
    m->profile->stages[stage].product_seconds += meter->seconds;
    m->profile->stages[stage].product_flops += meter->flops;
    meter->seconds = meter->flops = 0.0;
    m->mark = end;
}

/* ---- a layer ---- */

/* Element `index` of an array that operations hand to each other. */
static void *operand_at(const infer_machine *m, const void *array, size_t index) {
    return (char *)(uintptr_t)array + index * op_operand_size(op_passed_type(m->weights->dtype));
}

/* The form in which operations take x, from element `index` on. */
static const void *operand(const infer_machine *m, const float *x, const op_bf16 *x16, size_t index) {
    return m->weights->dtype == OP_BF16 ? (const void *)(x16 + index) : (const void *)(x + index);
}

static op_bf16 *at16(op_bf16 *x16, size_t index) {
    return x16 ? x16 + index : NULL;
}

static float epsilon(const infer_machine *m) {
    return (float)m->weights->plain.config->rms_norm_eps;
}

/* y = rms(x + mixer(x)) along the tokens, of puzzle `index`. Channels do not meet, in the norm neither. */
static trm_status mix_tokens(infer_machine *m, const struct infer_layer *layer, int index, trm_error *err) {
    const struct model_config *c = m->weights->plain.config;
    const int slice = op_mixer_slice(m->ops.mixer);
    trm_status status = TRM_OK;
    for (int i = 0; i < op_mixer_slices(m->ops.mixer) && status == TRM_OK; i++) {
        const size_t at = (size_t)index * m->plane + (size_t)i * (size_t)slice;
        status = op_mixer_run(m->ops.mixer, m->x + at, layer->mixer, m->residual, err);
        end_stage(m, MODEL_STAGE_MIX);
        m->kernels->rms_cols(m->x + at, m->residual, c->tokens, slice, (size_t)c->hidden_size, epsilon(m), m->y + at,
                             m->rinv, at16(m->y16, at));
        end_stage(m, MODEL_STAGE_MIX_NORM);
    }
    return status;
}

static trm_status attend(infer_machine *m, const struct infer_layer *layer, int index, trm_error *err) {
    const struct model_config *c = m->weights->plain.config;
    const size_t width = (size_t)c->tokens * (size_t)c->num_heads * (size_t)c->head_dim;
    trm_status status = op_attend_run(m->ops.attend, operand(m, m->x, m->x16, (size_t)index * m->plane), layer->attend,
                                      operand_at(m, m->attended, (size_t)index * width), err);
    end_stage(m, MODEL_STAGE_ATTEND);
    return status;
}

/* y = rms(x + o(attended)), of `count` blocks from `first` on. */
static trm_status add_attended(infer_machine *m, const struct infer_layer *layer, int first, int count,
                               trm_error *err) {
    const struct model_config *c = m->weights->plain.config;
    const struct op_rows *rows = &m->weights->rows;
    const size_t hidden = (size_t)c->hidden_size, start = op_rows_at(rows, first);
    const size_t width = (size_t)c->num_heads * (size_t)c->head_dim;
    op_linear_load(m->ops.o, first, count, operand_at(m, m->attended, start * width));
    trm_status status = op_linear_run(m->ops.o, layer->o, m->residual, err);
    end_stage(m, MODEL_STAGE_ATTEND_O);
    for (int block = first; block < first + count && status == TRM_OK; block++) {
        const size_t row = op_rows_at(rows, block), at = row * hidden;
        m->kernels->rms_rows(m->x + at, m->residual + (row - start) * hidden, op_rows_in(rows, block), c->hidden_size,
                             epsilon(m), m->y + at, m->rinv, at16(m->y16, at));
    }
    end_stage(m, MODEL_STAGE_MIX_NORM);
    return status;
}

/* rms(y + mlp(y)), of `count` blocks from `first` on, into out[puzzle] or, where out is NULL, into x. */
static trm_status run_mlp(infer_machine *m, const struct infer_layer *layer, int first, int count, float *const *out,
                          trm_error *err) {
    const struct op_rows *rows = &m->weights->rows;
    const int channels = m->weights->plain.config->hidden_size;
    const size_t hidden = (size_t)channels, start = op_rows_at(rows, first);
    trm_status status =
        op_gated_run(m->ops.gated, first, count, operand(m, m->y, m->y16, start * hidden), layer->gated, m->act, err);
    end_stage(m, MODEL_STAGE_GATED);
    if (status == TRM_OK) {
        op_linear_load(m->ops.down, first, count, m->act);
        status = op_linear_run(m->ops.down, layer->down, m->residual, err);
    }
    end_stage(m, MODEL_STAGE_DOWN);
    for (int block = first; block < first + count && status == TRM_OK; block++) {
        const size_t row = op_rows_at(rows, block), at = row * hidden;
        const int puzzle = block / rows->count;
        float *to = out ? out[puzzle] + (at - (size_t)puzzle * m->plane) : m->x + at;
        m->kernels->rms_rows(m->y + at, m->residual + (row - start) * hidden, op_rows_in(rows, block), channels,
                             epsilon(m), to, m->rinv, out ? NULL : at16(m->x16, at));
    }
    end_stage(m, MODEL_STAGE_NORM);
    return status;
}

static trm_status run_layer(infer_machine *m, const struct infer_layer *layer, int count, float *const *out,
                            trm_error *err) {
    const bool mixing = m->weights->plain.config->mlp_t;
    const int blocks = count * m->weights->rows.count, group = m->weights->group;
    trm_status status = TRM_OK;
    for (int i = 0; i < count && status == TRM_OK; i++)
        status = mixing ? mix_tokens(m, layer, i, err) : attend(m, layer, i, err);
    for (int first = 0; first < blocks && status == TRM_OK; first += group) {
        const int length = blocks - first < group ? blocks - first : group;
        if (!mixing)
            status = add_attended(m, layer, first, length, err);
        if (status == TRM_OK)
            status = run_mlp(m, layer, first, length, out, err);
    }
    return status;
}

/* ---- the recursion ---- */

/* out[puzzle] = net(m->x), which is used up. */
static trm_status run_net(infer_machine *m, int net, int count, float *const *out, trm_error *err) {
    const int layers = m->weights->plain.layout->layers[net];
    trm_status status = TRM_OK;
    for (int i = 0; i < layers && status == TRM_OK; i++)
        status = run_layer(m, &m->weights->layers[net][i], count, i == layers - 1 ? out : NULL, err);
    return status;
}

static trm_status run_heads(infer_machine *m, int index, const float *z, trm_error *err) {
    const size_t vocab = (size_t)m->weights->plain.config->vocab_size, at = (size_t)index * m->plane;
    const size_t logits = (size_t)index * (size_t)m->weights->plain.config->tokens * vocab;
    embed_q_forward(&m->weights->plain, z, m->q + 2 * index);
    if (m->y16)
        m->kernels->to_bf16(z, m->plane, m->y16 + at);
    op_linear_load(m->ops.lm_head, 0, m->weights->rows.count, m->y16 ? (const void *)(m->y16 + at) : z);
    trm_status status = op_linear_run(m->ops.lm_head, m->weights->lm_head, m->logits + logits, err);
    end_stage(m, MODEL_STAGE_HEADS);
    return status;
}

trm_status infer_step(infer_machine *m, const struct infer_puzzle *puzzles, int count, trm_error *err) {
    const struct model_tensors *plain = &m->weights->plain;
    float *latents[INFER_MAX_CHUNK][MODEL_MAX_LATENTS] = {0};
    trm_status status = TRM_OK;
    begin_stages(m);
    for (int p = 0; p < count; p++) {
        for (int i = 0; i < plain->layout->latents; i++)
            latents[p][i] = puzzles[p].state + (size_t)i * m->plane;
        embed_forward(plain, puzzles[p].tokens, puzzles[p].id, m->e + (size_t)p * m->plane);
    }
    for (int i = 0; i < m->program.count && status == TRM_OK; i++) {
        const struct recursion_op *op = &m->program.ops[i];
        float *out[INFER_MAX_CHUNK] = {0};
        for (int p = 0; p < count; p++) {
            const float *addends[OP_MAX_ADDENDS];
            const size_t at = (size_t)p * m->plane;
            const int terms = model_program_addends(op, m->e + at, latents[p], addends);
            m->kernels->sum(addends, terms, m->plane, m->x + at, at16(m->x16, at));
            out[p] = latents[p][op->dst];
        }
        end_stage(m, MODEL_STAGE_SUM);
        status = run_net(m, op->net, count, out, err);
    }
    for (int p = 0; p < count && status == TRM_OK; p++)
        status = run_heads(m, p, latents[p][m->program.output], err);
    return status;
}

const float *infer_logits(const infer_machine *m, int index) {
    const struct model_config *c = m->weights->plain.config;
    return m->logits + ((size_t)index * (size_t)c->tokens + (size_t)c->puzzle_emb_len) * (size_t)c->vocab_size;
}

const float *infer_q(const infer_machine *m, int index) {
    return m->q + 2 * (size_t)index;
}

const char *model_stage_name(enum model_stage stage) {
    static const char *const names[MODEL_STAGE_COUNT] = {
        [MODEL_STAGE_SUM] = "input and sum of latents",
        [MODEL_STAGE_MIX] = "token mixing",
        [MODEL_STAGE_ATTEND] = "attention: q, k, v, softmax",
        [MODEL_STAGE_ATTEND_O] = "attention: output",
        [MODEL_STAGE_MIX_NORM] = "residual and norm after mixing",
        [MODEL_STAGE_GATED] = "features: gate, up, swiglu",
        [MODEL_STAGE_DOWN] = "features: down",
        [MODEL_STAGE_NORM] = "residual and norm after features",
        [MODEL_STAGE_HEADS] = "heads",
    };
    return names[stage];
}
