/* runner.c - the interpreter of the recursion program, forward and backward.
 *
 * All of a runner's arrays lie in one block owned by its thread. The operations from which gradient
 * flows keep a record each; all others share one. R = chunk * tokens. */
#include "engine/model/runner.h"

#include <stdlib.h>
#include <string.h>

#include "engine/model/embed.h"
#include "engine/model/net.h"
#include "engine/model/program.h"

enum { LAST_UPDATES = 2 };

struct model_runner {
    const struct model_weights *weights;
    op_context *context;
    struct model_products products;
    struct net_machine machine;
    struct model_program program;
    size_t puzzle; /* tokens * hidden: one latent of one puzzle */
    size_t plane;  /* R * hidden: one latent of the chunk */

    int32_t *input;                    /* [chunk, seq_len] */
    float *e;                          /* [R, hidden] input embeddings */
    float *z[MODEL_MAX_LATENTS];       /* [R, hidden] each */
    float *current[MODEL_MAX_LATENTS]; /* where each latent is now: z[i], or a record's output */
    float *logits;                     /* [R, vocab] */
    float *q;                          /* [chunk, 2] */
    op_bf16 *out16;                    /* [R, hidden] operand of the heads, bf16 only */
    struct net_record shared;          /* for operations without gradient; its out is set to their dst */
    struct net_layer_record *layers;   /* of all records */
    struct net_record *records;        /* [program.count - program.grad_from] */
    float *dz[MODEL_MAX_LATENTS];      /* [R, hidden] each */
    float *de;                         /* [R, hidden] */
    float *dx;                         /* [R, hidden] */
    float *dlogits;                    /* [R, vocab], rows of puzzle tokens stay zero */
    op_bf16 *dlogits16;                /* [R, vocab], bf16 only */
    float *dq;                         /* [chunk, 2] */
    void *block;
};

/* ---- memory: laid out twice, first to count, then to place ---- */

struct arena {
    char *base; /* NULL while counting */
    size_t used;
};

static void *take(struct arena *arena, size_t count, size_t size) {
    void *place = arena->base ? arena->base + arena->used : NULL;
    arena->used += (count * size + 63) / 64 * 64;
    return place;
}

static size_t max_size(size_t a, size_t b) {
    return a > b ? a : b;
}

struct dims {
    size_t chunk, rows, hidden, inter, mix, width, operand;
    bool bf16, mlp_t;
};

static struct dims dims_of(const struct model_weights *w) {
    const struct model_config *c = w->plain.config;
    return (struct dims){.chunk = (size_t)w->chunk,
                         .rows = (size_t)w->chunk * (size_t)c->tokens,
                         .hidden = (size_t)c->hidden_size,
                         .inter = (size_t)c->inter,
                         .mix = (size_t)c->inter_t * (size_t)c->hidden_size,
                         .width = (size_t)c->num_heads * (size_t)c->head_dim,
                         .operand = w->dtype == OP_BF16 ? sizeof(op_bf16) : sizeof(float),
                         .bf16 = w->dtype == OP_BF16,
                         .mlp_t = c->mlp_t};
}

static void lay_out_layer(struct arena *arena, const struct dims *d, struct net_layer_record *layer) {
    const size_t plane = d->rows * d->hidden;
    const size_t mixer = d->mlp_t ? d->chunk * 2 * d->mix : d->rows * 3 * d->width;
    layer->x = take(arena, plane, sizeof(float));
    layer->x16 = d->bf16 ? take(arena, plane, sizeof(op_bf16)) : NULL;
    layer->mixer = take(arena, mixer, sizeof(float));
    layer->attended = d->mlp_t ? NULL : take(arena, d->rows * d->width, d->operand);
    layer->y = take(arena, plane, sizeof(float));
    layer->y16 = d->bf16 ? take(arena, plane, sizeof(op_bf16)) : NULL;
    layer->mixer_rinv = take(arena, max_size(d->chunk * d->hidden, d->rows), sizeof(float));
    layer->gate_up = take(arena, d->rows * 2 * d->inter, sizeof(float));
    layer->rinv = take(arena, d->rows, sizeof(float));
}

static void lay_out_work(struct arena *arena, const struct dims *d, struct net_work *work) {
    const size_t plane = d->rows * d->hidden;
    const size_t act = max_size(max_size(d->rows * d->inter, d->chunk * d->mix), d->rows * d->width);
    const size_t wide = max_size(max_size(d->rows * 2 * d->inter, d->chunk * 2 * d->mix), d->rows * 3 * d->width);
    work->residual = take(arena, plane, sizeof(float));
    work->act = take(arena, act, d->operand);
    work->dact = take(arena, act, sizeof(float));
    work->dwide = take(arena, wide, d->operand);
    work->ds16 = d->bf16 ? take(arena, plane, sizeof(op_bf16)) : NULL;
}

static int max_layers(const struct model_layout *layout) {
    return layout->layers[0] > layout->layers[1] ? layout->layers[0] : layout->layers[1];
}

static int record_count(const model_runner *r) {
    return r->program.count - r->program.grad_from;
}

static void lay_out_gradients(model_runner *r, struct arena *arena, const struct dims *d) {
    const struct model_layout *layout = r->weights->plain.layout;
    const size_t vocab = (size_t)r->weights->plain.config->vocab_size;
    const int depth = max_layers(layout);
    r->records = take(arena, (size_t)record_count(r), sizeof *r->records);
    for (int i = 0; i < record_count(r); i++) {
        struct net_record record = {.layers = r->layers ? r->layers + (i + 1) * depth : NULL};
        for (int k = 0; k < depth; k++) {
            struct net_layer_record layer;
            lay_out_layer(arena, d, &layer);
            if (record.layers)
                record.layers[k] = layer;
        }
        record.out = take(arena, r->plane, sizeof(float));
        if (r->records)
            r->records[i] = record;
    }
    for (int i = 0; i < layout->latents; i++)
        r->dz[i] = take(arena, r->plane, sizeof(float));
    r->de = take(arena, r->plane, sizeof(float));
    r->dx = take(arena, r->plane, sizeof(float));
    r->dlogits = take(arena, d->rows * vocab, sizeof(float));
    r->dlogits16 = d->bf16 ? take(arena, d->rows * vocab, sizeof(op_bf16)) : NULL;
    r->dq = take(arena, d->chunk * 2, sizeof(float));
}

static void lay_out(model_runner *r, struct arena *arena) {
    const struct model_weights *w = r->weights;
    const struct dims d = dims_of(w);
    const int depth = max_layers(w->plain.layout);
    r->layers = take(arena, (size_t)(record_count(r) + 1) * (size_t)depth, sizeof *r->layers);
    r->input = take(arena, d.chunk * (size_t)w->plain.config->seq_len, sizeof(int32_t));
    r->e = take(arena, r->plane, sizeof(float));
    for (int i = 0; i < w->plain.layout->latents; i++) {
        r->z[i] = take(arena, r->plane, sizeof(float));
        r->current[i] = r->z[i];
    }
    r->logits = take(arena, d.rows * (size_t)w->plain.config->vocab_size, sizeof(float));
    r->q = take(arena, d.chunk * 2, sizeof(float));
    r->out16 = d.bf16 ? take(arena, r->plane, sizeof(op_bf16)) : NULL;
    lay_out_work(arena, &d, &r->machine.work);

    struct net_layer_record layer; /* shared by all layers: each consumes its input before the next is written */
    lay_out_layer(arena, &d, &layer);
    r->shared.layers = r->layers;
    for (int k = 0; r->layers && k < depth; k++)
        r->layers[k] = layer;
    lay_out_gradients(r, arena, &d);
}

static trm_status allocate(model_runner *r, trm_error *err) {
    struct arena arena = {0};
    lay_out(r, &arena);
    if (posix_memalign(&r->block, 64, arena.used) != 0)
        return trm_fail_memory(err, arena.used);
    memset(r->block, 0, arena.used);
    arena = (struct arena){.base = r->block};
    lay_out(r, &arena);
    return TRM_OK;
}

/* ---- life ---- */

static trm_status create_attention(model_runner *r, trm_error *err) {
    const struct model_config *c = r->weights->plain.config;
    const struct op_attention_shape shape = {.tokens = c->tokens,
                                             .heads = c->num_heads,
                                             .dim = c->head_dim,
                                             .rope = model_rope(c),
                                             .reach = model_reach(c),
                                             .dtype = r->weights->dtype};
    return op_attention_create(r->context, &shape, &r->machine.attention, err);
}

trm_status model_runner_create(const struct model_weights *weights, model_runner **out, trm_error *err) {
    model_runner *r = calloc(1, sizeof *r);
    if (!r)
        return trm_fail_memory(err, sizeof *r);
    r->weights = weights;
    r->puzzle = (size_t)weights->plain.config->tokens * (size_t)weights->plain.config->hidden_size;
    r->plane = r->puzzle * (size_t)weights->chunk;
    trm_status status = op_context_create(weights->backend, &r->context, err);
    if (status == TRM_OK)
        status =
            model_products_create(r->context, weights->plain.config, weights->chunk, weights->dtype, &r->products, err);
    if (status == TRM_OK && !weights->plain.config->mlp_t)
        status = create_attention(r, err);
    if (status == TRM_OK)
        status = model_program_create(weights->plain.config, &r->program, err);
    if (status == TRM_OK)
        status = allocate(r, err);
    if (status != TRM_OK) {
        model_runner_destroy(r);
        return status;
    }
    r->machine.weights = weights;
    r->machine.kernels = op_kernels(weights->backend);
    r->machine.products = &r->products;
    *out = r;
    return TRM_OK;
}

/* Latents left in a record by the previous step return to their own places. */
static void settle_latents(model_runner *r) {
    for (int i = 0; i < r->weights->plain.layout->latents; i++)
        if (r->current[i] != r->z[i]) {
            memcpy(r->z[i], r->current[i], r->plane * sizeof(float));
            r->current[i] = r->z[i];
        }
}

trm_status model_runner_recur(model_runner *r, int H_cycles, int L_cycles, bool last_updates, trm_error *err) {
    struct model_config config = *r->weights->plain.config;
    struct model_program program;
    const int least = config.L_cycles > 0; /* direct prediction has none */
    if (H_cycles < 1 || H_cycles > config.H_cycles || L_cycles < least || L_cycles > config.L_cycles)
        return trm_fail(err, TRM_INVALID, "%d x %d cycles are more than the model's %d x %d, or none", H_cycles,
                        L_cycles, config.H_cycles, config.L_cycles);
    config.H_cycles = H_cycles;
    config.L_cycles = L_cycles;
    trm_status status = model_program_create(&config, &program, err);
    if (status != TRM_OK)
        return status;
    if (last_updates && program.count - program.grad_from > LAST_UPDATES)
        program.grad_from = program.count - LAST_UPDATES;
    settle_latents(r);
    model_program_destroy(&r->program);
    r->program = program;
    return TRM_OK;
}

void model_runner_destroy(model_runner *r) {
    if (!r)
        return;
    free(r->block);
    model_program_destroy(&r->program);
    op_attention_destroy(r->machine.attention);
    model_products_destroy(&r->products);
    op_context_destroy(r->context);
    free(r);
}

/* ---- state and input ---- */

void model_runner_set_input(model_runner *r, const int32_t *tokens, const int32_t *ids) {
    const size_t seq_len = (size_t)r->weights->plain.config->seq_len;
    memcpy(r->input, tokens, (size_t)r->weights->chunk * seq_len * sizeof *tokens);
    for (int p = 0; p < r->weights->chunk; p++)
        embed_forward(&r->weights->plain, tokens + (size_t)p * seq_len, ids[p], r->e + (size_t)p * r->puzzle);
}

void model_runner_load(model_runner *r, int index, const float *state) {
    for (int i = 0; i < r->weights->plain.layout->latents; i++) {
        r->current[i] = r->z[i];
        memcpy(r->z[i] + (size_t)index * r->puzzle, state + (size_t)i * r->puzzle, r->puzzle * sizeof(float));
    }
}

void model_runner_store(const model_runner *r, int index, float *state) {
    for (int i = 0; i < r->weights->plain.layout->latents; i++)
        memcpy(state + (size_t)i * r->puzzle, r->current[i] + (size_t)index * r->puzzle, r->puzzle * sizeof(float));
}

/* ---- forward ---- */

/* x = sum of the operation's addends. */
static void sum_addends(model_runner *r, const struct recursion_op *op, const struct net_layer_record *first) {
    const float *addends[OP_MAX_ADDENDS];
    const int count = model_program_addends(op, r->e, r->current, addends);
    r->machine.kernels->sum(addends, count, r->plane, first->x, first->x16);
}

static trm_status run_heads(model_runner *r, trm_error *err) {
    const float *out = r->current[r->program.output];
    const void *operand = out;
    for (int p = 0; p < r->weights->chunk; p++)
        embed_q_forward(&r->weights->plain, out + (size_t)p * r->puzzle, r->q + 2 * p);
    if (r->weights->dtype == OP_BF16) {
        r->machine.kernels->to_bf16(out, r->plane, r->out16);
        operand = r->out16;
    }
    return op_matmul_run(r->products.lm_head, operand, r->weights->lm_head, r->logits, err);
}

trm_status model_runner_step(model_runner *r, bool record, trm_error *err) {
    trm_status status = TRM_OK;
    settle_latents(r);
    for (int i = 0; i < r->program.count && status == TRM_OK; i++) {
        const struct recursion_op *op = &r->program.ops[i];
        struct net_record *keep = &r->shared;
        if (record && i >= r->program.grad_from)
            keep = &r->records[i - r->program.grad_from];
        else
            keep->out = r->z[op->dst];
        sum_addends(r, op, &keep->layers[0]);
        status = net_forward(&r->machine, op->net, keep, err);
        r->current[op->dst] = keep->out;
    }
    return status == TRM_OK ? run_heads(r, err) : status;
}

const float *model_runner_logits(const model_runner *r, int index) {
    const struct model_config *c = r->weights->plain.config;
    return r->logits + ((size_t)index * (size_t)c->tokens + (size_t)c->puzzle_emb_len) * (size_t)c->vocab_size;
}

const float *model_runner_q(const model_runner *r, int index) {
    return r->q + 2 * (size_t)index;
}

/* ---- backward ---- */

float *model_runner_dlogits(model_runner *r, int index) {
    const struct model_config *c = r->weights->plain.config;
    return r->dlogits + ((size_t)index * (size_t)c->tokens + (size_t)c->puzzle_emb_len) * (size_t)c->vocab_size;
}

float *model_runner_dq(model_runner *r, int index) {
    return r->dq + 2 * (size_t)index;
}

/* dz of the output latent from the two heads. */
static trm_status heads_backward(model_runner *r, float *grads, trm_error *err) {
    const struct model_weights *w = r->weights;
    const float *out = r->records[record_count(r) - 1].out;
    float *dz = r->dz[r->program.output];
    const void *operand = out, *dlogits = r->dlogits;
    if (w->dtype == OP_BF16) {
        r->machine.kernels->to_bf16(out, r->plane, r->out16);
        r->machine.kernels->to_bf16(
            r->dlogits, (size_t)w->chunk * (size_t)w->plain.config->tokens * (size_t)w->plain.config->vocab_size,
            r->dlogits16);
        operand = r->out16;
        dlogits = r->dlogits16;
    }
    for (int p = 0; p < w->chunk; p++)
        embed_q_backward(&w->plain, out + (size_t)p * r->puzzle, r->dq + 2 * p, dz + (size_t)p * r->puzzle, grads);
    trm_status status = op_matmul_run(r->products.lm_head_dw, dlogits, operand,
                                      grads + w->plain.layout->tensors[w->plain.layout->lm_head].offset, err);
    if (status == TRM_OK)
        status = op_matmul_run(r->products.lm_head_dx, dlogits, w->lm_head_dx, dz, err);
    return status;
}

trm_status model_runner_backward(model_runner *r, float *grads, float *dpuzzle, trm_error *err) {
    const struct model_config *c = r->weights->plain.config;
    const size_t bytes = r->plane * sizeof(float);
    for (int i = 0; i < r->weights->plain.layout->latents; i++)
        memset(r->dz[i], 0, bytes);
    memset(r->de, 0, bytes);

    trm_status status = heads_backward(r, grads, err);
    for (int i = r->program.count - 1; i >= r->program.grad_from && status == TRM_OK; i--) {
        const struct recursion_op *op = &r->program.ops[i];
        memcpy(r->dx, r->dz[op->dst], bytes);
        memset(r->dz[op->dst], 0, bytes);
        status = net_backward(&r->machine, op->net, &r->records[i - r->program.grad_from], r->dx, grads, err);
        for (int k = 0; k < MODEL_MAX_LATENTS; k++)
            if (op->addends & (1u << k))
                r->machine.kernels->accumulate(r->dx, r->plane, r->dz[k]);
        if (op->addends & (1u << MODEL_ADDEND_INPUT))
            r->machine.kernels->accumulate(r->dx, r->plane, r->de);
    }
    for (int p = 0; p < r->weights->chunk && status == TRM_OK; p++)
        embed_backward(&r->weights->plain, r->input + (size_t)p * (size_t)c->seq_len, r->de + (size_t)p * r->puzzle,
                       grads, dpuzzle ? dpuzzle + (size_t)p * (size_t)c->puzzle_emb_ndim : NULL);
    return status;
}
