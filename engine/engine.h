/* engine.h - the boundary between the models and everyone who uses them.
 *
 * Above this line (server, trm-eval) nobody knows of tensors; below it nobody knows of HTTP,
 * JSON requests or libuv. The life of a puzzle:
 *
 *     trm_model *model;                      one per checkpoint, immutable, reference-counted
 *     trm_batch *batch;                      one per worker thread, a fixed number of slots
 *     slot = trm_batch_admit(batch, ...);    a puzzle takes a free slot
 *     trm_batch_step(batch);                 one supervision step for every occupied slot
 *     trm_batch_report(batch, slot);         its answer so far, q values, whether it is done
 *     trm_batch_release(batch, slot);        the slot is free again
 *
 * or trm_batch_park() and trm_batch_resume(), between which it does without a slot.
 *
 * Slots come and go between steps: nothing waits for a batch to fill or for its slowest puzzle
 * (continuous batching at the supervision step). A puzzle's values do not depend, to the last bit,
 * on which slot it has or who shares the batch.
 *
 * Threads: a trm_model may be used by any number of threads at once. A trm_batch belongs to the
 * thread that uses it; it owns the latents of its slots and never shares them. */
#ifndef TRM_ENGINE_ENGINE_H
#define TRM_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/status.h"

typedef struct trm_model trm_model;
typedef struct trm_batch trm_batch;
typedef struct trm_parked trm_parked;
struct data_arc_index;

enum trm_backend {
    TRM_BACKEND_ONEDNN,   /* matrix products by oneDNN, vector kernels */
    TRM_BACKEND_REFERENCE /* plain C loops: slow, readable, what tests compare against */
};

/* The operands of matrix products; sums, norms and latents are always f32. */
enum trm_dtype {
    TRM_DTYPE_AUTO, /* bf16 where the CPU multiplies it at twice the rate of f32, else f32 */
    TRM_DTYPE_F32,
    TRM_DTYPE_BF16,
    TRM_DTYPE_INT8 /* inference only: quantised as it runs (ops/int8.h) */
};

/* "auto", "f32", "bf16", "int8"; NULL beyond the last. */
const char *trm_dtype_name(enum trm_dtype dtype);

/* Zero-initialised members mean the default. */
struct trm_model_options {
    enum trm_backend backend;
    enum trm_dtype dtype; /* the reference backend takes f32 for AUTO */
};

enum trm_puzzle { TRM_PUZZLE_OTHER, TRM_PUZZLE_SUDOKU, TRM_PUZZLE_MAZE, TRM_PUZZLE_ARC };

struct trm_model_info {
    const char *arch;        /* "trm", "hrm" ... */
    enum trm_dtype dtype;    /* what AUTO came to */
    enum trm_puzzle puzzle;  /* from the checkpoint's metadata */
    const char *puzzle_name; /* "sudoku", "maze", "arc" or "" */
    const char *config;      /* JSON, the original's field names */
    const char *provenance;  /* JSON as the trainer wrote it, or "{}" */
    int seq_len;             /* tokens of a puzzle: cells, row by row */
    int vocab_size;          /* tokens are 0 .. vocab_size - 1 */
    int num_puzzle_identifiers;
    int halt_max_steps;   /* the number of supervision steps it was trained with */
    float halt_threshold; /* the one of trm_solve_options that the checkpoint recommends; 0 if it does not */
    int hidden_size;
    size_t parameters;     /* trained values, puzzle embedding not counted */
    double flops_per_step; /* multiplications and additions of matrix products, one puzzle, one step */
};

/* Opens a checkpoint and prepares its weights. The model starts with one reference, the caller's. */
trm_status trm_model_open(const char *path, const struct trm_model_options *options, trm_model **model, trm_error *err);
trm_model *trm_model_ref(trm_model *model);
void trm_model_unref(trm_model *model); /* the last one frees it; NULL is fine */
const struct trm_model_info *trm_model_info(const trm_model *model);

/* Which ARC task each puzzle identifier is (data/arc_index.h), as the checkpoint or a file beside it says: for
 * x.safetensors x.tasks.safetensors. NULL: neither does. It lives as long as the model. */
const struct data_arc_index *trm_model_tasks(const trm_model *model);

/* How one puzzle wants to be solved. Zero-initialised members mean the default. */
struct trm_solve_options {
    int max_steps;        /* 0: the model's halt_max_steps */
    int min_steps;        /* a halt before this step is not accepted; 0 and 1 are the same */
    bool no_halt;         /* run all max_steps, as published evaluations do */
    float halt_threshold; /* halts when q_halt > threshold (q_halt - q_continue for models trained that way) */
    bool verify;          /* with a verifier for this puzzle: halt exactly when the answer passes it */
    bool keep_given;      /* the answer has the cells that the puzzle gives, whatever the model says of them: clues of a
                             Sudoku, a maze's walls, start and goal; nothing where the rules are not known */

    /* Variations are other tries of the same puzzle. Variation 0 is the puzzle as it is; number v is image
     * v % images of the puzzle (of a maze turned or mirrored, of a Sudoku drawn at random from the symmetries
     * by seed + v), whose answers are mapped back, and from number `images` on it has noise. */
    int variation;
    int images;    /* 0 and 1 are the same: the puzzle itself; at most trm_model_images() */
    float noise;   /* standard deviation of normal noise added to every latent before each step */
    uint64_t seed; /* the noise depends on seed + v and on the step's number alone */

    /* Begins again, from the initial latents, when so many steps have not ended it; 0: never. max_steps counts all
     * steps, min_steps those since the last beginning. Each beginning is `stride` variations further (0 and 1 are
     * the same), in every respect as if it were another slot's. */
    int restart_steps;
    int stride;

    /* Guesses: when restart_steps have not ended it, it is tried with cells of which the model is unsure as clues, at
     * most so many, most probable first (search.h): for a quarter of restart_steps where latents go on from those
     * without the last guess, for half where they begin again. Variation 0 has an order of its own, others draw theirs
     * by seed + v; beginnings go no variation further. Whether the final answer is right is judged by the puzzle's own
     * clues. Wants `verify`, as a wrong guess has a wrong answer. 0: none. */
    int guesses;
};

/* How many images of a puzzle the model's kind of puzzle has, itself among them: 1 if no symmetry is known. */
int trm_model_images(const trm_model *model);

/* Whether puzzles of the model's kind can be begun again with guesses. */
bool trm_model_has_guesses(const trm_model *model);

/* Whether answers of the model's puzzles can be checked. */
bool trm_model_has_verifier(const trm_model *model);

enum trm_halt {
    TRM_RUNNING,       /* not done: step again */
    TRM_HALT_Q_HEAD,   /* the halting head is confident */
    TRM_HALT_VERIFIED, /* the verifier accepts the answer */
    TRM_HALT_MAX_STEPS /* the step limit */
};

/* What one supervision step left in a slot. Valid until the slot is stepped or released. */
struct trm_report {
    int step; /* supervision steps done; 0 before the first */
    enum trm_halt halt;
    const int32_t *answer;    /* [seq_len] most likely token of each cell */
    float q_halt, q_continue; /* logits of the halting head */
    float confidence;         /* mean over cells of the answer token's softmax probability */
};

/* A batch of `slots` places for puzzles of `model` (takes a reference). */
trm_status trm_batch_create(trm_model *model, int slots, trm_batch **batch, trm_error *err);
void trm_batch_destroy(trm_batch *batch); /* NULL is fine */

int trm_batch_slots(const trm_batch *batch);
int trm_batch_busy(const trm_batch *batch); /* occupied slots */

/* Puts a puzzle ([seq_len] tokens, copied) into a free slot, latents at their initial values, and
 * stores its number in *slot. TRM_FULL when none is free, TRM_INVALID for tokens outside the
 * vocabulary or an identifier outside the puzzle embedding. */
trm_status trm_batch_admit(trm_batch *batch, const int32_t *tokens, int puzzle_identifier,
                           const struct trm_solve_options *options, int *slot, trm_error *err);

/* One supervision step for every occupied slot that is still TRM_RUNNING. Neither this nor an admission allocates;
 * oneDNN makes and frees a few small tables of arguments in every product. */
trm_status trm_batch_step(trm_batch *batch, trm_error *err);

/* NULL for a free slot. */
const struct trm_report *trm_batch_report(const trm_batch *batch, int slot);

void trm_batch_release(trm_batch *batch, int slot);

/* Takes a puzzle with all it has come to out of its slot, to go on later: in any slot of any batch of the same model,
 * by any thread, with the same bits as if it had stayed. No values are copied. When memory is short it stays.
 * The parked puzzle is the caller's, has a reference to the model, and holds trm_slot_bytes(). */
trm_status trm_batch_park(trm_batch *batch, int slot, trm_parked **parked, trm_error *err);

/* Puts a parked puzzle into a free slot and frees `parked`. TRM_FULL when none is free, TRM_INVALID for a puzzle of
 * another model: it is still the caller's then. */
trm_status trm_batch_resume(trm_batch *batch, trm_parked *parked, int *slot, trm_error *err);

trm_model *trm_parked_model(const trm_parked *parked); /* borrowed */
void trm_parked_destroy(trm_parked *parked);           /* gives the puzzle up; NULL is fine */

/* Memory of a slot of this model, latents above all. */
size_t trm_slot_bytes(const trm_model *model);

#endif
