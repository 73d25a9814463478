/* layout.c - from a configuration to the list of its tensors, their names and places.
 *
 * What differs between the architectures is two tables: their latents and their networks.
 * A layout is read-only after model_layout_create(): any thread. */
#include "engine/model/layout.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ALIGN = 16, /* elements: a cache line of f32 */
    TENSORS_PER_LAYER = 4,
    OTHER_TENSORS = 6 /* embeddings and heads */
};

struct latent_names {
    const char *state, *init; /* the latent itself, and its initial vector */
};

static const struct latent_names latents[][MODEL_MAX_LATENTS] = {
    [MODEL_TRM] = {{"z_L", "L_init"}, {"z_H", "H_init"}},
    [MODEL_TRM_SINGLEZ] = {{"z_L", "L_init"}},
    [MODEL_TRM_HIER6] = {{"z_L1", "L1_init"},
                         {"z_L2", "L2_init"},
                         {"z_L3", "L3_init"},
                         {"z_L4", "L4_init"},
                         {"z_L5", "L5_init"},
                         {"z_L6", "L6_init"},
                         {"z_H", "H_init"}},
    [MODEL_HRM] = {{"z_L", "L_init"}, {"z_H", "H_init"}},
    [MODEL_TRANSFORMER] = {{"z_H", "H_init"}},
};

const char *model_latent_name(enum model_arch arch, int latent) {
    return latent >= 0 && latent < MODEL_MAX_LATENTS ? latents[arch][latent].state : NULL;
}

/* The name of a network in files, and how many layers it has; 0 layers if the model has no such network. */
static const char *net_of(const struct model_config *config, int net, int *layers) {
    bool is_h_level = net == 1 || config->arch == MODEL_TRANSFORMER;
    bool exists = net == 0 || config->arch == MODEL_HRM;
    *layers = !exists ? 0 : is_h_level ? config->H_layers : config->L_layers;
    return is_h_level ? "H_level" : "L_level";
}

/* Appends a tensor [rows, cols] (a vector if rank is 1) and returns its index. */
static int add(struct model_layout *layout, enum model_tensor_kind kind, int rank, int rows, int cols,
               const char *name) {
    struct model_tensor *tensor = &layout->tensors[layout->count];
    *tensor = (struct model_tensor){.kind = kind, .rank = rank, .rows = rows, .cols = cols};
    snprintf(tensor->name, sizeof tensor->name, "%s", name);
    if (kind != MODEL_PUZZLE_EMB) {
        size_t *used = kind == MODEL_PARAM ? &layout->param_size : &layout->buffer_size;
        size_t size = (size_t)rows * (size_t)cols;
        tensor->offset = *used;
        *used += (size + ALIGN - 1) / ALIGN * ALIGN;
    }
    return layout->count++;
}

/* A weight of layer `layer` of the network named `net`. */
static int add_weight(struct model_layout *layout, const char *net, int layer, const char *part, int rows, int cols) {
    char name[sizeof layout->tensors->name];
    snprintf(name, sizeof name, "%s.layers.%d.%s.weight", net, layer, part);
    return add(layout, MODEL_PARAM, 2, rows, cols, name);
}

static struct model_layer_tensors add_layer(struct model_layout *layout, const struct model_config *config,
                                            const char *net, int layer) {
    struct model_layer_tensors at = {-1, -1, -1, -1, -1, -1};
    int hidden = config->hidden_size;
    if (config->mlp_t) {
        at.mix_gate_up = add_weight(layout, net, layer, "mlp_t.gate_up_proj", 2 * config->inter_t, config->tokens);
        at.mix_down = add_weight(layout, net, layer, "mlp_t.down_proj", config->tokens, config->inter_t);
    } else {
        int width = config->num_heads * config->head_dim;
        at.qkv = add_weight(layout, net, layer, "self_attn.qkv_proj", 3 * width, hidden);
        at.o = add_weight(layout, net, layer, "self_attn.o_proj", hidden, width);
    }
    at.gate_up = add_weight(layout, net, layer, "mlp.gate_up_proj", 2 * config->inter, hidden);
    at.down = add_weight(layout, net, layer, "mlp.down_proj", hidden, config->inter);
    return at;
}

static void add_embeddings_and_heads(struct model_layout *layout, const struct model_config *config) {
    int hidden = config->hidden_size, vocab = config->vocab_size;
    layout->embed_tokens = add(layout, MODEL_PARAM, 2, vocab, hidden, "embed_tokens.embedding_weight");
    layout->lm_head = add(layout, MODEL_PARAM, 2, vocab, hidden, "lm_head.weight");
    layout->q_weight = add(layout, MODEL_PARAM, 2, 2, hidden, "q_head.weight");
    layout->q_bias = add(layout, MODEL_PARAM, 1, 1, 2, "q_head.bias");
    layout->embed_pos = -1;
    if (config->pos_encodings == MODEL_POS_LEARNED)
        layout->embed_pos = add(layout, MODEL_PARAM, 2, config->tokens, hidden, "embed_pos.embedding_weight");
    layout->puzzle_emb = -1;
    if (config->puzzle_emb_ndim > 0)
        layout->puzzle_emb = add(layout, MODEL_PUZZLE_EMB, 2, config->num_puzzle_identifiers, config->puzzle_emb_ndim,
                                 "puzzle_emb.weights");
}

trm_status model_layout_create(const struct model_config *config, struct model_layout **out, trm_error *err) {
    *out = NULL;
    struct model_layout *layout = calloc(1, sizeof *layout);
    if (!layout)
        return trm_fail_memory(err, sizeof *layout);

    const char *net_names[MODEL_NETS];
    size_t capacity = OTHER_TENSORS + MODEL_MAX_LATENTS;
    for (int net = 0; net < MODEL_NETS; net++) {
        net_names[net] = net_of(config, net, &layout->layers[net]);
        capacity += TENSORS_PER_LAYER * (size_t)layout->layers[net];
        layout->layer[net] = calloc((size_t)layout->layers[net] + 1, sizeof *layout->layer[net]);
    }
    layout->tensors = calloc(capacity, sizeof *layout->tensors);
    if (!layout->tensors || !layout->layer[0] || !layout->layer[1]) {
        model_layout_destroy(layout);
        return trm_fail_memory(err, capacity * sizeof *layout->tensors);
    }

    add_embeddings_and_heads(layout, config);
    for (int i = 0; i < MODEL_MAX_LATENTS; i++) {
        const char *init = latents[config->arch][i].init;
        layout->init[i] = init ? add(layout, MODEL_BUFFER, 1, 1, config->hidden_size, init) : -1;
        layout->latents += init != NULL;
    }
    for (int net = 0; net < MODEL_NETS; net++)
        for (int i = 0; i < layout->layers[net]; i++)
            layout->layer[net][i] = add_layer(layout, config, net_names[net], i);
    *out = layout;
    return TRM_OK;
}

void model_layout_destroy(struct model_layout *layout) {
    if (!layout)
        return;
    for (int net = 0; net < MODEL_NETS; net++)
        free(layout->layer[net]);
    free(layout->tensors);
    free(layout);
}
