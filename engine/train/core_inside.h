/* core_inside.h - the inside of a train_core, shared by core.c (its life, and a step as a whole), core_shard.c (a
 * shard's part of it) and core_share.c (what shards and processes make together).
 *
 * During a step each shard's runner, gradient and rows belong to the thread that works on the shard; everything else
 * to the caller. */
#ifndef TRM_ENGINE_TRAIN_CORE_INSIDE_H
#define TRM_ENGINE_TRAIN_CORE_INSIDE_H

#include "engine/model/runner.h"
#include "engine/train/core.h"
#include "engine/train/muon.h"
#include "engine/train/team.h"

/* A fixed part of the batch. */
struct shard {
    model_runner *runner;
    float *grads;          /* [param_size]; the first shard's is where all are summed */
    int32_t *chunk_inputs; /* [chunk, seq_len] */
    int32_t *chunk_ids;    /* [chunk] */
    float *state;          /* [latents, tokens, hidden] of a row on its way to or from 16 bits; else NULL */
    struct train_metrics metrics;
    struct train_probes probes;
    trm_status status;
    trm_error err;
};

/* A fixed part of the parameters: what its update left. */
struct part {
    double grad_squares;
    trm_status status;
    trm_error err;
};

/* What every process must know of a row that one of them has stepped. */
struct fate {
    int32_t steps, halted, hinted;
};

struct train_core {
    const struct model_config *config;
    const struct model_layout *layout;
    struct train_core_options options;
    int chunk, per_shard; /* puzzles */
    int own_shards;       /* those of this process, */
    int own_first;        /* whose first one begins at this row of the batch */
    int token_rows;       /* of a batch: rows that train the tokens, */
    int halt_rows;        /* the halting head */
    struct train_weights weights;
    struct model_weights *packed;
    struct shard *shards;   /* [own_shards] */
    struct train_row *rows; /* [pool_size] */
    int32_t *token_block;   /* [pool_size, 2, seq_len] */
    void *state_block;      /* [pool_size, state size] f32 or bf16 */
    float *logits;          /* [batch_size, seq_len, vocab] */
    float *q;               /* [batch_size, 2] */
    double *target;         /* [batch_size] */
    int32_t *batch_ids;     /* [batch_size] */
    struct fate *fates;     /* [batch_size] */
    struct part *parts;     /* [options.shards] of the parameters */
    train_muon *muon;       /* NULL but for TRAIN_MUON */
    float *puzzle_sums;     /* [batch_size, puzzle_emb_ndim] scratch of the sign step */
    train_team *team;
    struct train_probes probes;
    int64_t updates;
    /* The step under way. */
    int first;
    double factor;
};

/* A task of train_team_run(): one supervision step of all rows of shard `index`, which gets their gradient, metrics
 * and status. */
void train_core_run_shard(void *core, int index);

/* Which rows of the batch have halted, and after how many steps, and the hints for those that go on: known to every
 * process then, and the hints are inputs. */
trm_status train_core_share_fates(train_core *core, trm_error *err);

/* Metrics and probes of all shards of all processes; not the gradient's. */
trm_status train_core_sum_metrics(train_core *core, struct train_metrics *total, trm_error *err);

/* Sums the processes' gradients; those of the puzzle embedding stay a row for each row of the batch, as its step wants
 * them. */
trm_status train_core_share_grads(train_core *core, trm_error *err);

#endif
