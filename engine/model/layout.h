/* layout.h - which tensors a model has, under which names, and where each lives in memory.
 *
 * All trained parameters of a model live in one flat f32 array, all buffers (initial latents) in
 * another, and the puzzle embedding table by itself (it can be 1.8 GB and is used in place).
 * Gradients, averages and moments are arrays of the same layout, so an optimizer is one loop.
 * Immutable after model_layout_create(). */
#ifndef TRM_ENGINE_MODEL_LAYOUT_H
#define TRM_ENGINE_MODEL_LAYOUT_H

#include <stddef.h>

#include "engine/model/config.h"

enum { MODEL_MAX_LATENTS = 7, MODEL_NETS = 2 };

enum model_tensor_kind { MODEL_PARAM, MODEL_BUFFER, MODEL_PUZZLE_EMB };

struct model_tensor {
    char name[80];               /* the original's parameter name */
    enum model_tensor_kind kind; /* which array `offset` counts in */
    int rank;                    /* 1 or 2: as stored in files */
    int rows, cols;              /* [rows, cols]; a vector has rows 1; linear weights are [out, in] */
    size_t offset;               /* first element in its array; a multiple of 16 for parameters */
};

/* Indices into `tensors`; -1 where the model has no such tensor. */
struct model_layer_tensors {
    int qkv, o;                /* attention */
    int mix_gate_up, mix_down; /* token mixing */
    int gate_up, down;         /* gated MLP */
};

struct model_layout {
    struct model_tensor *tensors; /* [count], embeddings and heads first, then layers in order */
    int count;
    size_t param_size, buffer_size; /* elements of the two flat arrays (padding included) */

    int embed_tokens, lm_head, q_weight, q_bias, embed_pos, puzzle_emb;
    int latents;                                   /* how many latents the architecture has */
    int init[MODEL_MAX_LATENTS];                   /* initial vector of each latent: L latents first, z_H last */
    int layers[MODEL_NETS];                        /* layers of net 0 (L, or the only one) and net 1 (H of hrm); */
    struct model_layer_tensors *layer[MODEL_NETS]; /* [layers[n]]; transformers_baseline: net 0 is "H_level" */
};

/* Builds the layout of `config` (resolved). The caller frees it with model_layout_destroy(). */
trm_status model_layout_create(const struct model_config *config, struct model_layout **layout, trm_error *err);
void model_layout_destroy(struct model_layout *layout);

/* The name of latent i's state in files and reports: "z_L", "z_L3", "z_H". */
const char *model_latent_name(enum model_arch arch, int latent);

#endif
