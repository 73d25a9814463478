/* core.h - one optimizer step of deep supervision, and everything that it carries to the next.
 *
 * The core owns the weights, moments and average, and a pool of carried puzzles ("rows"): each has
 * its example, its latents, its step count. One train_core_step() takes `batch_size` consecutive
 * rows through one supervision step, with gradient, and updates the weights (golden README section 4):
 * rows that halted get a new example first; the others go on with what they have.
 *
 * Probes are rows that the token loss never learns from (the last `probe_rows` of every batch): how they
 * come out is what a puzzle without a label would, and what the halting head can be trained on.
 *
 * The batch is split into `shards` fixed parts whose gradients are summed in order, so that the
 * result does not depend on the number of threads. Used by one thread (it starts its own helpers).
 *
 * Several processes (comm.h) have a core each with the same options, and call train_core_step() and
 * train_core_gather() together, with generators in the same state. Each steps an equal part of the shards, all keep
 * the same weights, examples and step counts; only latents and outputs are at home with the process of their row. */
#ifndef TRM_ENGINE_TRAIN_CORE_H
#define TRM_ENGINE_TRAIN_CORE_H

#include "engine/data/rng.h"
#include "engine/model/config.h"
#include "engine/model/layout.h"
#include "engine/ops/bf16.h"
#include "engine/ops/matmul.h"
#include "engine/train/comm.h"
#include "engine/train/loss.h"
#include "engine/train/optim.h"

struct train_core_options {
    enum trm_backend backend;
    enum op_dtype dtype; /* of the operands of matrix products */
    int batch_size, pool_size, shards, threads;
    bool carry_bf16;   /* carried latents are rounded to bf16: half the memory of a pool */
    bool last_updates; /* see model_runner_recur() */
    enum train_loss_kind loss;
    double halt_loss_weight;
    double first_weight, last_weight; /* of the token loss, by step: halt_max_steps of them on a straight line */
    int min_halt_steps;               /* a halt before this step is not accepted */
    double hint_prob;   /* after a step that leaves a row of no probe wrong: one of its wrong cells becomes an input */
    int probe_rows;     /* of a batch; fewer than batch_size */
    bool probe_halting; /* the halting loss is taken of the probes alone; else of all other rows */
    struct train_optim optimizer;
    double puzzle_emb_lr, puzzle_emb_weight_decay;
    double ema_rate; /* 0: no average, ema is the weights */
    bool ema_ramp;
    train_comm *comm; /* the processes that share each batch; NULL: this one alone */
    /* Asked before each few puzzles, by the thread that would step them: true ends the step with TRM_CANCELLED, after
     * which the core can only be destroyed. May be NULL. */
    bool (*cancelled)(void *arg);
    void *cancelled_arg;
};

enum { TRAIN_NO_HINT = -1 };

/* A carried puzzle. */
struct train_row {
    int32_t *inputs;   /* [seq_len] */
    int32_t *labels;   /* [seq_len], TRAIN_LABEL_IGNORED or a token */
    float *state;      /* [latents, tokens, hidden]; NULL with carry_bf16 */
    op_bf16 *state16;  /* the same; NULL without */
    int32_t id;        /* puzzle identifier */
    int32_t steps;     /* supervision steps on this example */
    int32_t halted;    /* 1: replaced at its next visit; all rows start so */
    int32_t min_steps; /* exploration: no halt before this step; drawn anew every step */
    int32_t hint; /* which of its wrong cells is to be a hint after this step, if not TRAIN_NO_HINT; drawn anew, too; */
    int32_t hinted; /* the cell that it was, or TRAIN_NO_HINT */
    bool probe;     /* as long as the core lives */
};

/* Sums over the batch of the last step, none divided: lm_loss over the rows that are no probes, the other losses over
 * those that train the halting head, `loss` as if both were of the whole batch; without the steps' weights. The metrics
 * cover rows that halted, have labels and are no probes. */
struct train_metrics {
    double loss, lm_loss, q_halt_loss, q_continue_loss;
    double count, accuracy, exact_accuracy, q_halt_accuracy, steps;
    double grad_squares; /* squared norm of the gradient */
};

/* The probes that halted and have labels, of the last step. */
struct train_probes {
    double count, exact, steps;
    double confident, confident_exact; /* halted by the head, not by the limit; exact among them */
};

/* total += m, member by member. */
void train_probes_add(struct train_probes *total, const struct train_probes *m);
void train_metrics_add(struct train_metrics *total, const struct train_metrics *m);

typedef struct train_core train_core;

/* What the trainer saves and restores, and tests look at. Arrays are owned by the core. */
struct train_weights {
    float *params, *ema, *moment1, *moment2; /* [layout->param_size] */
    float *grads;                            /* [layout->param_size] of the last step, as the optimizer saw it */
    float *buffers;                          /* [layout->buffer_size] */
    float *puzzle_emb;                       /* [num_puzzle_identifiers, puzzle_emb_ndim] or NULL */
    float *puzzle_grads;                     /* [batch_size, puzzle_emb_ndim] of the last step, a row per batch row */
};

/* Writes the next example into a row's inputs, labels and id; may look at its `probe`. Called on the creator's thread,
 * in row order. */
typedef void (*train_next)(void *arg, struct train_row *row);

/* Weights start at zero: fill them through train_core_weights(), then call train_core_refresh(). */
trm_status train_core_create(const struct model_config *config, const struct model_layout *layout,
                             const struct train_core_options *options, train_core **core, trm_error *err);
void train_core_destroy(train_core *core); /* NULL is fine */

struct train_weights *train_core_weights(train_core *core);
struct train_row *train_core_row(train_core *core, int index);
int64_t *train_core_updates(train_core *core); /* optimizer steps done: the t of Adam and of the EMA ramp */

/* Gives every row of the pool an example and a random step count, so that they do not all halt at once. */
void train_core_fill(train_core *core, struct data_rng *rng, train_next next, void *next_arg);

/* The next steps run so many cycles, at most the configuration's. Weights and rows stay as they are. */
trm_status train_core_set_cycles(train_core *core, int H_cycles, int L_cycles, trm_error *err);

/* After the weights were changed from outside. */
trm_status train_core_refresh(train_core *core, trm_error *err);

/* The learning rate of the weights, but not of the puzzle embedding, from the next step on; 0 leaves them as they are.
 */
void train_core_set_lr(train_core *core, double lr);

/* One optimizer step on rows first .. first + batch_size - 1 of the pool. `factor` scales both learning
 * rates; `rng` is used for exploration only; `next` gives new examples. */
trm_status train_core_step(train_core *core, int first, double factor, struct data_rng *rng, train_next next,
                           void *next_arg, struct train_metrics *metrics, trm_error *err);

const struct train_probes *train_core_probes(const train_core *core); /* of the last step */

/* Brings the latents of all rows and the outputs of the last step to every process. */
trm_status train_core_gather(train_core *core, trm_error *err);

/* Of row first + i of the last step: for tests and reports. Rows of other processes: after train_core_gather(). */
const float *train_core_logits(const train_core *core, int i);    /* [seq_len, vocab_size] */
const float *train_core_q(const train_core *core, int i);         /* halt, continue */
double train_core_target_continue(const train_core *core, int i); /* hrm: what q_continue was compared with */

#endif
