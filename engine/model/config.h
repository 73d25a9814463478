/* config.h - the shape of a model: the original's configuration fields and what follows from them.
 *
 * Plain data, immutable once resolved; share it freely between threads. */
#ifndef TRM_ENGINE_MODEL_CONFIG_H
#define TRM_ENGINE_MODEL_CONFIG_H

#include <stdbool.h>

#include "engine/status.h"

enum model_arch {
    MODEL_TRM,         /* "trm": z_L and z_H, one network */
    MODEL_TRM_SINGLEZ, /* "trm_singlez": one latent */
    MODEL_TRM_HIER6,   /* "trm_hier6": z_L1..z_L6 and z_H, one network */
    MODEL_HRM,         /* "hrm": z_L and z_H, a network each */
    MODEL_TRANSFORMER  /* "transformers_baseline": direct prediction */
};

/* "none", "rope", "learned", as in the original; ours: "rope_2d", for which the cells are a square. */
enum model_positions { MODEL_POS_NONE, MODEL_POS_ROPE, MODEL_POS_LEARNED, MODEL_POS_ROPE_2D };

/* Ours, "all" if absent: which tokens a head of attention sees (engine/ops/reach.h): "all", "units" of Sudoku, or
 * "near": the cells at most attention_radius away. The cells are a square for the latter two. */
enum model_attention { MODEL_ATTENTION_ALL, MODEL_ATTENTION_UNITS, MODEL_ATTENTION_NEAR };

struct model_config {
    /* The original's fields, under the original's names. */
    enum model_arch arch;
    int seq_len, vocab_size;
    int num_puzzle_identifiers, puzzle_emb_ndim;
    int puzzle_emb_len; /* resolved: the number of puzzle tokens, 0 for none */
    int H_cycles, L_cycles, H_layers, L_layers;
    int hidden_size, num_heads;
    double expansion;
    enum model_positions pos_encodings;
    double rms_norm_eps, rope_theta;
    int halt_max_steps;
    double halt_exploration_prob;
    bool mlp_t;           /* token mixing instead of attention */
    bool no_ACT_continue; /* halt on q_halt > 0 instead of q_halt > q_continue */
    enum model_attention attention;
    int attention_radius; /* ours, for "near"; 0 for the others */
    int inter_multiple;   /* ours: inner sizes are rounded up to this; the original's 256 if absent */

    /* Derived by model_config_resolve(). */
    int tokens;   /* puzzle_emb_len + seq_len */
    int head_dim; /* hidden_size / num_heads, rounded down */
    int side;     /* rows and columns of cells where they must be a square (rope_2d, units, near); else 0 */
    int inter;    /* inner size of the gated MLP */
    int inter_t;  /* inner size of the token-mixing MLP, 0 without mlp_t */
};

/* Parses the JSON object `text` (as in a checkpoint's metadata or config/models/), then resolves it.
 * Unknown members are ignored (the original has more than we need). TRM_FORMAT for bad JSON or a
 * member of the wrong type, TRM_INVALID for values no model can have; the message names the member. */
trm_status model_config_parse(const char *text, struct model_config *config, trm_error *err);

/* Checks every field and fills in the derived ones (golden README section 3: inner sizes, puzzle tokens). */
trm_status model_config_resolve(struct model_config *config, trm_error *err);

/* The configuration as one line of JSON under the original's names; parse(format(c)) == c.
 * Returns a string that the caller frees, or NULL when memory ran out. */
char *model_config_format(const struct model_config *config);

/* "trm", "hrm" ...: the name used in files. */
const char *model_arch_name(enum model_arch arch);

#endif
