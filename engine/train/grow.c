/* grow.c - see grow.h. Tensor by tensor: each knows what its rows and its columns count, and that decides where an
 * element of the new one comes from. Works on the caller's arrays alone. */
#include "engine/train/grow.h"

#include <math.h>
#include <string.h>

/* How far the shares of a channel's copies lie from even ones. */
static const double UNEVENNESS = 0.25;

/* What an axis of a tensor counts. */
enum axis {
    FIXED,    /* tokens, symbols, outputs: as many as before */
    CHANNELS, /* of the hidden state: new channel c is a copy of c mod old */
    UNITS     /* inner units or dimensions of heads, in equal parts (gate and up; q, k and v), each longer at its end */
};

/* What a tensor does. */
enum role {
    CARRIES, /* takes its values along */
    READS,   /* adds up channels: copies share the weight */
    ENTERS   /* is multiplied by the root of the hidden size, which grows */
};

struct plan {
    enum axis rows, cols;
    int parts; /* of the axis of UNITS */
    enum role role;
};

/* Growing from one model to another. */
struct growth {
    const struct model_config *old_config, *config;
    const struct model_layout *layout;
    int copies; /* of each channel */
    struct data_rng *rng;
};

/* Whether there are weights for each cell. */
static bool has_places(const struct model_config *c) {
    return c->mlp_t || c->pos_encodings == MODEL_POS_LEARNED;
}

static trm_status check(const struct growth *g, trm_error *err) {
    const struct model_config *a = g->old_config, *b = g->config;
    const struct {
        const char *name;
        double old, new;
    } same[] = {{"arch", a->arch, b->arch},
                {"seq_len", has_places(a) ? a->seq_len : 0, has_places(b) ? b->seq_len : 0},
                {"vocab_size", a->vocab_size, b->vocab_size},
                {"puzzle_emb_len", a->puzzle_emb_len, b->puzzle_emb_len},
                {"num_puzzle_identifiers", a->num_puzzle_identifiers, b->num_puzzle_identifiers},
                {"H_layers", a->H_layers, b->H_layers},
                {"L_layers", a->L_layers, b->L_layers},
                {"pos_encodings", a->pos_encodings, b->pos_encodings},
                {"mlp_t", a->mlp_t, b->mlp_t},
                {"attention", a->attention, b->attention},
                {"attention_radius", a->attention_radius, b->attention_radius},
                {"rms_norm_eps", a->rms_norm_eps, b->rms_norm_eps},
                {"rope_theta", a->rope_theta, b->rope_theta},
                {"the size of a head", a->mlp_t ? 0 : a->head_dim, b->mlp_t ? 0 : b->head_dim}};
    if (b->hidden_size % a->hidden_size != 0)
        return trm_fail(err, TRM_INVALID, "hidden_size %d is not a multiple of %d", b->hidden_size, a->hidden_size);
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        if (same[i].old != same[i].new)
            return trm_fail(err, TRM_INVALID, "%s is %g there and %g here", same[i].name, same[i].old, same[i].new);
    if (b->inter < a->inter || b->inter_t < a->inter_t || (!b->mlp_t && b->num_heads < a->num_heads))
        return trm_fail(err, TRM_INVALID, "the inner sizes or the heads are fewer here than there");
    if ((a->puzzle_emb_ndim > 0) != (b->puzzle_emb_ndim > 0))
        return trm_fail(err, TRM_INVALID, "only one of the models has a puzzle embedding");
    const int last = a->puzzle_emb_ndim - 1; /* the last copy of the last value must fit */
    const int needed = last / a->hidden_size * b->hidden_size + b->hidden_size - a->hidden_size + last % a->hidden_size;
    if (b->puzzle_emb_ndim > 0 && b->puzzle_emb_ndim <= needed)
        return trm_fail(err, TRM_INVALID, "puzzle_emb_ndim %d is too small for copies of %d: %d or more",
                        b->puzzle_emb_ndim, a->puzzle_emb_ndim, needed + 1);
    return TRM_OK;
}

static struct plan plan_of(const struct model_layout *layout, int index) {
    if (index == layout->q_bias)
        return (struct plan){FIXED, FIXED, 1, CARRIES};
    if (index == layout->q_weight || index == layout->lm_head)
        return (struct plan){FIXED, CHANNELS, 1, READS};
    if (layout->tensors[index].kind == MODEL_BUFFER)
        return (struct plan){FIXED, CHANNELS, 1, CARRIES};
    for (int net = 0; net < MODEL_NETS; net++)
        for (int i = 0; i < layout->layers[net]; i++) {
            const struct model_layer_tensors *t = &layout->layer[net][i];
            if (index == t->qkv)
                return (struct plan){UNITS, CHANNELS, 3, READS};
            if (index == t->gate_up)
                return (struct plan){UNITS, CHANNELS, 2, READS};
            if (index == t->o || index == t->down)
                return (struct plan){CHANNELS, UNITS, 1, CARRIES};
            if (index == t->mix_gate_up)
                return (struct plan){UNITS, FIXED, 2, CARRIES};
            if (index == t->mix_down)
                return (struct plan){FIXED, UNITS, 1, CARRIES};
        }
    return (struct plan){FIXED, CHANNELS, 1, ENTERS}; /* embeddings of symbols and positions */
}

/* Where place `at` of an axis of `size` comes from in one of `old_size`; -1 for what is new. */
static int origin(enum axis axis, int parts, int size, int old_size, int at) {
    if (axis != UNITS)
        return at % old_size;
    const int part = size / parts, old_part = old_size / parts;
    return at % part < old_part ? at / part * old_part + at % part : -1;
}

/* Spreads `weight` over the copies of a channel: out[0], out[stride] ... */
static void spread(struct growth *g, float weight, size_t stride, float *out) {
    double rest = 1.0;
    for (int k = 0; k < g->copies; k++) {
        const bool last = k == g->copies - 1;
        const double even = rest / (g->copies - k);
        const double share = last ? rest : even * (1.0 + UNEVENNESS * (2.0 * data_rng_uniform(g->rng) - 1.0));
        out[(size_t)k * stride] = (float)(share * weight);
        rest -= share;
    }
}

/* One row of a tensor, [cols] from [old_cols]. */
static void grow_row(struct growth *g, const struct plan *plan, const float *old, int old_cols, int cols, float *row) {
    const float factor = plan->role == ENTERS ? (float)(1.0 / sqrt(g->copies)) : 1.0f;
    if (plan->role == READS) {
        for (int c = 0; c < old_cols; c++)
            spread(g, old[c], (size_t)old_cols, row + c);
        return;
    }
    for (int c = 0; c < cols; c++) {
        const int from = origin(plan->cols, plan->parts, cols, old_cols, c);
        row[c] = from < 0 ? 0.0f : factor * old[from];
    }
}

/* Rows that are new keep their initial values: nothing listens to them yet. */
static void grow_tensor(struct growth *g, int index, const struct model_tensor *from, const float *old, float *out) {
    const struct model_tensor *to = &g->layout->tensors[index];
    const struct plan plan = plan_of(g->layout, index);
    for (int r = 0; r < to->rows; r++) {
        const int row = origin(plan.rows, plan.parts, to->rows, from->rows, r);
        if (row >= 0)
            grow_row(g, &plan, old + (size_t)row * (size_t)from->cols, from->cols, to->cols,
                     out + (size_t)r * (size_t)to->cols);
    }
}

/* A puzzle's vector is whole tokens of channels, of which the last may be cut off. */
static void grow_puzzle_emb(const struct growth *g, const float *old, float *out) {
    const int hidden = g->config->hidden_size, old_hidden = g->old_config->hidden_size;
    const int ndim = g->config->puzzle_emb_ndim, old_ndim = g->old_config->puzzle_emb_ndim;
    const float factor = (float)(1.0 / sqrt(g->copies));
    for (int id = 0; id < g->config->num_puzzle_identifiers; id++)
        for (int i = 0; i < ndim; i++) {
            const int from = i / hidden * old_hidden + i % hidden % old_hidden;
            out[(size_t)id * (size_t)ndim + (size_t)i] =
                from < old_ndim ? factor * old[(size_t)id * (size_t)old_ndim + (size_t)from] : 0.0f;
        }
}

trm_status train_grow(const model_checkpoint *old, const struct model_config *config, const struct model_layout *layout,
                      struct data_rng *rng, float *params, float *buffers, float *puzzle_emb, trm_error *err) {
    const struct model_layout *from = model_checkpoint_layout(old);
    struct growth g = {.old_config = model_checkpoint_config(old), .config = config, .layout = layout, .rng = rng};
    trm_status status = check(&g, err);
    if (status != TRM_OK)
        return status;
    g.copies = config->hidden_size / g.old_config->hidden_size;
    for (int i = 0; i < layout->count; i++) {
        const struct model_tensor *a = &from->tensors[i], *b = &layout->tensors[i];
        if (b->kind == MODEL_PARAM)
            grow_tensor(&g, i, a, model_checkpoint_params(old) + a->offset, params + b->offset);
        else if (b->kind == MODEL_BUFFER)
            grow_tensor(&g, i, a, model_checkpoint_buffers(old) + a->offset, buffers + b->offset);
        else
            grow_puzzle_emb(&g, model_checkpoint_puzzle_emb(old), puzzle_emb);
    }
    return TRM_OK;
}
