/* eval.h - how good a model is: every puzzle of a set solved and judged against its labels.
 *
 * Used by the trainer while it trains (a few puzzles) and by trm-eval (whole collections). The
 * numbers do not depend on how many threads or slots computed them. A cell counts if its label is
 * not 0 (ignored); a puzzle is exact when all its counting cells are right; a puzzle without any
 * label cannot be judged and is left out.
 *
 * With several tries a puzzle's answer is that of the first one that the verifier accepted, or else
 * of the one whose last q_halt is highest; everything is counted of that rollout, but for the steps,
 * which are summed over all of them. */
#ifndef TRM_ENGINE_TRAIN_EVAL_H
#define TRM_ENGINE_TRAIN_EVAL_H

#include "engine/data/dataset.h"
#include "engine/data/sudoku.h"
#include "engine/engine.h"

/* Zero-initialised members mean the default. */
struct train_eval_options {
    int max_steps;         /* 0: the model's halt_max_steps */
    int min_steps;         /* a halt before this step is not accepted */
    double halt_threshold; /* of trm_solve_options */
    bool halt;             /* stop a puzzle when its halting head (or the verifier) says so; else run max_steps */
    bool verify;           /* with halt: stop exactly when the verifier accepts the answer */
    bool keep_given;       /* of trm_solve_options */
    int rollouts;          /* tries of each image of a puzzle; 0: 1. All run to their end; the first never has noise */
    int augment;           /* images of each puzzle; 0: 1, the puzzle itself. Try t is variation t (engine.h) */
    double noise;          /* standard deviation of the noise on the latents of the others */
    uint64_t seed;         /* try t has the noise and the image of seed + t */
    int guesses;           /* of trm_solve_options */
    int restart_steps;     /* a try begins again, as a variation that no other try is, after so many steps; 0: never */
    int threads;           /* 0: 1; the calling thread is one of them */
    int slots;             /* puzzles in flight per thread; 0: 16 */

    /* Called now and then from the calling thread; NULL for none. */
    void (*progress)(void *progress_arg, size_t done, size_t total);
    void *progress_arg;

    /* Called when a try has ended, on a worker's thread, for different tries at once; NULL for none. */
    void (*answered)(void *answered_arg, size_t row, int rollout, const struct trm_report *report);
    void *answered_arg;
};

/* Counts over some of the puzzles. */
struct train_eval_group {
    size_t puzzles;
    size_t exact;          /* puzzles whose final answer is exact */
    uint64_t steps;        /* supervision steps, summed over the puzzles */
    size_t *exact_by_step; /* [max_steps] puzzles exact after step 1, 2 ...; a halted one keeps its answer */
    size_t *ended_by_step; /* [max_steps] puzzles that had run their last step by then */
};

/* Classes of puzzles whose rating (guesses) is known. */
enum train_eval_difficulty { TRAIN_EVAL_NO_GUESS, TRAIN_EVAL_FEW_GUESSES, TRAIN_EVAL_MANY_GUESSES, TRAIN_EVAL_CLASSES };

/* What would have been with fewer tries of each puzzle. */
struct train_eval_tries {
    size_t exact;
    uint64_t steps;        /* if all tries run to their end */
    uint64_t needed_steps; /* if they run one after the other until one is verified */
};

/* What the halting head said, and what was so: after every supervision step of every try. */
struct train_eval_bin {
    uint64_t steps;      /* with a probability, sigmoid(q_halt), in this bin */
    uint64_t exact;      /* of them with an exact answer */
    uint64_t millionths; /* the probabilities, summed */
};
enum { TRAIN_EVAL_BINS = 10 }; /* of equal width; a probability of 1 is in the last */

struct train_eval_result {
    struct train_eval_group all;
    struct train_eval_group by_difficulty[TRAIN_EVAL_CLASSES]; /* none, 1 to 3, more guesses */
    struct train_eval_group by_class[SUDOKU_CLASSES];          /* of rated Sudoku: easy, medium, hard, very hard */
    struct train_eval_group *by_source;                        /* [source_count], in the set's order */
    int source_count;
    uint64_t cells, cells_right;
    size_t halted, halted_exact; /* stopped by the halting head or the verifier; exact among them */
    struct train_eval_bin calibration[TRAIN_EVAL_BINS];
    int max_steps;
    uint64_t *steps_by_step;           /* [max_steps] steps that the puzzles have made by then, in all tries */
    int tries;                         /* of each puzzle */
    struct train_eval_tries *by_tries; /* [tries] with the first try alone, the first two ... */
    size_t *curves;                    /* what the groups' curves are parts of */
};

/* The expected calibration error: how far what the head said lies from what was so, averaged over all steps; 0 for
 * none. */
double train_eval_calibration_error(const struct train_eval_result *result);

/* Solves every puzzle of `set`, on options->threads threads with a batch each. TRM_INVALID when the
 * set's seq_len or vocab_size is not the model's, or an option is out of range; TRM_UNSUPPORTED when
 * verification is wanted and the model's puzzles have no verifier; otherwise the first failure of the
 * engine. On success the caller releases *result with train_eval_result_destroy(). */
trm_status train_evaluate(trm_model *model, const struct data_set *set, const struct train_eval_options *options,
                          struct train_eval_result *result, trm_error *err);

/* Frees the arrays, not the struct; harmless on a zeroed one. */
void train_eval_result_destroy(struct train_eval_result *result);

#endif
