/* eval.c - solves a set of puzzles by continuous batching and counts what came out right.
 *
 * Each thread owns a batch and draws tries (row by row, rollout by rollout) from one atomic counter, so
 * that no thread waits for another. What happened to a try is written to its own record, by the one
 * thread that drew it; the calling thread adds the records up, in order, after all threads have ended. */
#include "engine/train/eval.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "engine/train/loss.h"

enum { DEFAULT_SLOTS = 16, MAX_THREADS = 1024, MAX_ROLLOUTS = 1024 };

#define NO_TRY SIZE_MAX

/* What became of one try. */
struct outcome {
    int cells, right; /* labelled cells; those answered right at the end */
    int steps;        /* supervision steps it ran */
    enum trm_halt halt;
    float q_halt; /* the last */
};

/* Shared by the threads of one evaluation. */
struct evaluation {
    trm_model *model;
    const struct data_set *set;
    const struct train_eval_options *options;
    int threads, slots, max_steps;
    size_t rollouts,
        tries; /* of a row (of each image), of all rows: try t is number t % rollouts of row t / rollouts */
    struct outcome *outcomes; /* [tries] */
    uint8_t *exact_at;        /* [tries, max_steps] 1 where the answer after that step was exact */
    atomic_size_t next_try, done;
    atomic_bool failed;
};

/* Owned by one thread. */
struct worker {
    struct evaluation *evaluation;
    pthread_t thread;
    bool reports_progress;
    trm_batch *batch;
    size_t *try_of;  /* [slots] the try in each slot, NO_TRY for a free one */
    int32_t *tokens; /* [seq_len] the puzzle being admitted */
    struct train_eval_bin calibration[TRAIN_EVAL_BINS];
    trm_status status;
    trm_error error;
};

static trm_status admit_try(struct worker *worker, size_t number) {
    const struct evaluation *evaluation = worker->evaluation;
    const size_t row = number / evaluation->rollouts, rollout = number % evaluation->rollouts;
    const struct data_set *set = evaluation->set;
    const struct trm_solve_options solve = {
        .max_steps = evaluation->max_steps,
        .min_steps = evaluation->options->min_steps,
        .halt_threshold = (float)evaluation->options->halt_threshold,
        .no_halt = !evaluation->options->halt,
        .verify = evaluation->options->halt && evaluation->options->verify,
        .keep_given = evaluation->options->keep_given,
        .variation = (int)rollout,
        .images = evaluation->options->augment,
        .noise = (float)evaluation->options->noise,
        .seed = evaluation->options->seed,
        .restart_steps = evaluation->options->restart_steps,
        .stride = (int)evaluation->rollouts,
        .guesses = evaluation->options->guesses,
    };
    const uint8_t *input = set->inputs + row * (size_t)set->seq_len;
    for (int i = 0; i < set->seq_len; i++)
        worker->tokens[i] = input[i];

    int slot;
    trm_status status =
        trm_batch_admit(worker->batch, worker->tokens, set->identifiers[row], &solve, &slot, &worker->error);
    if (status == TRM_OK)
        worker->try_of[slot] = number;
    return status;
}

/* Sums of integers, so that it does not matter which thread adds what. */
static void calibrate(struct train_eval_bin *bins, float q_halt, bool exact) {
    if (isnan(q_halt)) /* says nothing */
        return;
    const double said = train_sigmoid(q_halt);
    const int at = (int)(said * TRAIN_EVAL_BINS);
    struct train_eval_bin *bin = &bins[at < TRAIN_EVAL_BINS ? at : TRAIN_EVAL_BINS - 1];
    bin->steps++;
    bin->exact += exact;
    bin->millionths += (uint64_t)(said * 1e6 + 0.5);
}

/* Records the newest answer of a try. */
static void judge(struct worker *worker, size_t number, const struct trm_report *report) {
    struct evaluation *evaluation = worker->evaluation;
    const struct data_set *set = evaluation->set;
    const uint8_t *label = set->labels + number / evaluation->rollouts * (size_t)set->seq_len;
    int cells = 0, right = 0;
    for (int i = 0; i < set->seq_len; i++) {
        cells += label[i] != 0;
        right += label[i] != 0 && report->answer[i] == label[i];
    }
    evaluation->outcomes[number] = (struct outcome){
        .cells = cells, .right = right, .steps = report->step, .halt = report->halt, .q_halt = report->q_halt};
    evaluation->exact_at[number * (size_t)evaluation->max_steps + (size_t)(report->step - 1)] = right == cells;
    if (cells > 0)
        calibrate(worker->calibration, report->q_halt, right == cells);
}

/* Steps this worker's batch until no tries are left, refilling slots as they come free. */
static trm_status run_tries(struct worker *worker) {
    struct evaluation *evaluation = worker->evaluation;
    const struct train_eval_options *options = evaluation->options;
    const size_t rollouts = evaluation->rollouts;

    while (!atomic_load(&evaluation->failed)) {
        while (trm_batch_busy(worker->batch) < evaluation->slots) {
            size_t number = atomic_fetch_add(&evaluation->next_try, 1);
            if (number >= evaluation->tries)
                break;
            trm_status status = admit_try(worker, number);
            if (status != TRM_OK)
                return status;
        }
        if (trm_batch_busy(worker->batch) == 0)
            return TRM_OK;

        trm_status status = trm_batch_step(worker->batch, &worker->error);
        if (status != TRM_OK)
            return status;
        for (int slot = 0; slot < evaluation->slots; slot++) {
            if (worker->try_of[slot] == NO_TRY)
                continue;
            const struct trm_report *report = trm_batch_report(worker->batch, slot);
            judge(worker, worker->try_of[slot], report);
            if (report->halt != TRM_RUNNING) {
                const size_t number = worker->try_of[slot];
                if (options->answered)
                    options->answered(options->answered_arg, number / rollouts, (int)(number % rollouts), report);
                trm_batch_release(worker->batch, slot);
                worker->try_of[slot] = NO_TRY;
                atomic_fetch_add(&evaluation->done, 1);
            }
        }
        if (worker->reports_progress)
            options->progress(options->progress_arg, atomic_load(&evaluation->done) / rollouts, evaluation->set->count);
    }
    return TRM_OK;
}

/* The life of a worker, whose batch is created by the thread that uses it. */
static void *worker_main(void *arg) {
    struct worker *worker = arg;
    struct evaluation *evaluation = worker->evaluation;
    const size_t slots = (size_t)evaluation->slots, seq_len = (size_t)evaluation->set->seq_len;

    worker->try_of = calloc(slots, sizeof *worker->try_of);
    worker->tokens = calloc(seq_len, sizeof *worker->tokens);
    if (!worker->try_of || !worker->tokens) {
        worker->status =
            trm_fail_memory(&worker->error, slots * sizeof *worker->try_of + seq_len * sizeof *worker->tokens);
        goto cleanup;
    }
    for (size_t slot = 0; slot < slots; slot++)
        worker->try_of[slot] = NO_TRY;
    worker->status = trm_batch_create(evaluation->model, evaluation->slots, &worker->batch, &worker->error);
    if (worker->status == TRM_OK)
        worker->status = run_tries(worker);

cleanup:
    if (worker->status != TRM_OK)
        atomic_store(&evaluation->failed, true);
    trm_batch_destroy(worker->batch);
    free(worker->tokens);
    free(worker->try_of);
    return NULL;
}

static void add_calibration(struct train_eval_bin *total, const struct train_eval_bin *bins) {
    for (int i = 0; i < TRAIN_EVAL_BINS; i++) {
        total[i].steps += bins[i].steps;
        total[i].exact += bins[i].exact;
        total[i].millionths += bins[i].millionths;
    }
}

/* Runs all workers to their end; the calling thread is the first of them. */
static trm_status run_workers(struct evaluation *evaluation, struct train_eval_bin *calibration, trm_error *err) {
    const int threads = evaluation->threads;
    struct worker *workers = calloc((size_t)threads, sizeof *workers);
    if (!workers)
        return trm_fail_memory(err, (size_t)threads * sizeof *workers);

    trm_status status = TRM_OK;
    int started = 1;
    for (; started < threads; started++) {
        workers[started].evaluation = evaluation;
        int code = pthread_create(&workers[started].thread, NULL, worker_main, &workers[started]);
        if (code != 0) {
            status = trm_fail(err, TRM_IO, "cannot start thread %d: %s", started + 1, strerror(code));
            atomic_store(&evaluation->failed, true);
            break;
        }
    }
    workers[0].evaluation = evaluation;
    workers[0].reports_progress = evaluation->options->progress != NULL;
    worker_main(&workers[0]);
    for (int i = 1; i < started; i++)
        pthread_join(workers[i].thread, NULL);

    for (int i = 0; i < started && status == TRM_OK; i++)
        if (workers[i].status != TRM_OK)
            status = trm_fail(err, workers[i].status, "%s", workers[i].error.text);
    for (int i = 0; i < started; i++)
        add_calibration(calibration, workers[i].calibration);
    free(workers);
    return status;
}

/* The first of a puzzle's tries ([rollouts]) that the verifier accepted, or else the one of which the
 * halting head thinks most. */
static size_t choose(const struct outcome *tries, size_t rollouts) {
    size_t best = 0;
    for (size_t r = 0; r < rollouts; r++) {
        if (tries[r].halt == TRM_HALT_VERIFIED)
            return r;
        if (tries[r].q_halt > tries[best].q_halt)
            best = r;
    }
    return best;
}

/* How a puzzle was solved, in all. */
struct verdict {
    bool exact;
    uint64_t steps;          /* of all its tries */
    int last;                /* step of the chosen try */
    const uint8_t *exact_at; /* [last] */
};

static void add_to_group(struct train_eval_group *group, const struct verdict *verdict, int max_steps) {
    group->puzzles++;
    group->exact += verdict->exact;
    group->steps += verdict->steps;
    for (int step = 0; step < max_steps; step++) {
        group->exact_by_step[step] += step < verdict->last ? verdict->exact_at[step] : verdict->exact;
        group->ended_by_step[step] += step + 1 >= verdict->last;
    }
}

static enum sudoku_class class_of(const struct data_set *set, size_t row) {
    const uint8_t *input = set->inputs + row * (size_t)set->seq_len;
    int clues = 0;
    for (int i = 0; i < set->seq_len; i++)
        clues += input[i] > 1;
    return data_sudoku_class_of(set->sudoku_size, clues, set->ratings[row]);
}

static enum train_eval_difficulty difficulty_of(int32_t rating) {
    if (rating == 0)
        return TRAIN_EVAL_NO_GUESS;
    return rating <= 3 ? TRAIN_EVAL_FEW_GUESSES : TRAIN_EVAL_MANY_GUESSES;
}

/* What one puzzle's answer would have been, and what it would have cost, with its first 1, 2 ... `rollouts` tries.
 * Returns the steps of all of them. */
static uint64_t reduce_prefixes(const struct outcome *tries, size_t rollouts, struct train_eval_tries *prefixes) {
    uint64_t steps = 0, needed = 0;
    bool verified = false;
    for (size_t r = 0; r < rollouts; r++) {
        const struct outcome *chosen = &tries[choose(tries, r + 1)];
        steps += (uint64_t)tries[r].steps;
        needed = verified ? needed : steps;
        verified = verified || tries[r].halt == TRM_HALT_VERIFIED;
        prefixes[r].exact += chosen->right == chosen->cells;
        prefixes[r].steps += steps;
        prefixes[r].needed_steps += needed;
    }
    return steps;
}

static void reduce(const struct evaluation *evaluation, struct train_eval_result *result) {
    const struct data_set *set = evaluation->set;
    for (size_t row = 0; row < set->count; row++) {
        const struct outcome *tries = &evaluation->outcomes[row * evaluation->rollouts];
        const size_t chosen = choose(tries, evaluation->rollouts);
        const struct outcome *outcome = &tries[chosen];
        if (outcome->cells == 0)
            continue;
        const uint64_t steps = reduce_prefixes(tries, evaluation->rollouts, result->by_tries);
        const struct verdict verdict = {
            .exact = outcome->right == outcome->cells,
            .steps = steps,
            .last = outcome->steps,
            .exact_at = evaluation->exact_at + (row * evaluation->rollouts + chosen) * (size_t)evaluation->max_steps,
        };
        const bool halted = outcome->halt != TRM_HALT_MAX_STEPS;
        add_to_group(&result->all, &verdict, evaluation->max_steps);
        if (set->sources[row] < result->source_count)
            add_to_group(&result->by_source[set->sources[row]], &verdict, evaluation->max_steps);
        if (set->sudoku_size && set->ratings[row] >= 0)
            add_to_group(&result->by_difficulty[difficulty_of(set->ratings[row])], &verdict, evaluation->max_steps);
        if (set->sudoku_size && set->ratings[row] >= 0)
            add_to_group(&result->by_class[class_of(set, row)], &verdict, evaluation->max_steps);
        result->cells += (uint64_t)outcome->cells;
        result->cells_right += (uint64_t)outcome->right;
        result->halted += halted;
        result->halted_exact += halted && verdict.exact;
        for (int step = 0; step < evaluation->max_steps; step++)
            for (size_t r = 0; r < evaluation->rollouts; r++)
                result->steps_by_step[step] += (uint64_t)(step < tries[r].steps ? step + 1 : tries[r].steps);
    }
}

/* Makes room for the groups and their curves. */
static trm_status prepare_groups(struct train_eval_result *result, trm_error *err) {
    const size_t sources = (size_t)result->source_count, steps = (size_t)result->max_steps;
    const size_t groups = 1 + TRAIN_EVAL_CLASSES + SUDOKU_CLASSES + sources;
    result->by_source = calloc(sources + 1, sizeof *result->by_source);
    result->curves = calloc(groups * 2, steps * sizeof *result->curves);
    if (!result->by_source || !result->curves)
        return trm_fail_memory(err, groups * 2 * steps * sizeof *result->curves);
    size_t *next = result->curves;
    for (size_t i = 0; i < groups; i++) {
        struct train_eval_group *group = i == 0                    ? &result->all
                                         : i <= TRAIN_EVAL_CLASSES ? &result->by_difficulty[i - 1]
                                         : i <= TRAIN_EVAL_CLASSES + SUDOKU_CLASSES
                                             ? &result->by_class[i - 1 - TRAIN_EVAL_CLASSES]
                                             : &result->by_source[i - 1 - TRAIN_EVAL_CLASSES - SUDOKU_CLASSES];
        group->exact_by_step = next;
        group->ended_by_step = next + steps;
        next += 2 * steps;
    }
    return TRM_OK;
}

double train_eval_calibration_error(const struct train_eval_result *result) {
    double error = 0.0, steps = 0.0;
    for (int i = 0; i < TRAIN_EVAL_BINS; i++) {
        const struct train_eval_bin *bin = &result->calibration[i];
        error += fabs(1e-6 * (double)bin->millionths - (double)bin->exact);
        steps += (double)bin->steps;
    }
    return steps > 0.0 ? error / steps : 0.0;
}

/* Fills in the defaults of `evaluation` and refuses what cannot be run. */
static trm_status check(struct evaluation *evaluation, const struct train_eval_options *options, trm_error *err) {
    const struct trm_model_info *info = trm_model_info(evaluation->model);
    const struct data_set *set = evaluation->set;
    if (set->seq_len != info->seq_len)
        return trm_fail(err, TRM_INVALID, "the puzzles have %d cells, the model wants %d", set->seq_len, info->seq_len);
    if (set->vocab_size != info->vocab_size)
        return trm_fail(err, TRM_INVALID, "the puzzles have a vocabulary of %d tokens, the model one of %d",
                        set->vocab_size, info->vocab_size);
    if (options->max_steps < 0 || options->min_steps < 0 || options->threads < 0 || options->slots < 0 ||
        options->rollouts < 0 || options->augment < 0 || options->restart_steps < 0)
        return trm_fail(err, TRM_INVALID, "an option of the evaluation is negative");
    if (options->threads > MAX_THREADS)
        return trm_fail(err, TRM_INVALID, "%d threads: at most %d are possible", options->threads, MAX_THREADS);
    const int rollouts = options->rollouts > 0 ? options->rollouts : 1;
    const int images = options->augment > 0 ? options->augment : 1;
    if (rollouts > MAX_ROLLOUTS / images)
        return trm_fail(err, TRM_INVALID, "%d rollouts of %d images: at most %d tries are possible", rollouts, images,
                        MAX_ROLLOUTS);
    if (images > trm_model_images(evaluation->model))
        return trm_fail(err, TRM_UNSUPPORTED, "the model's puzzles have %d images, not %d",
                        trm_model_images(evaluation->model), images);
    if (options->verify && !trm_model_has_verifier(evaluation->model))
        return trm_fail(err, TRM_UNSUPPORTED,
                        "the model does not say that its puzzles are Sudokus or mazes: nothing verifies them");
    evaluation->max_steps = options->max_steps > 0 ? options->max_steps : info->halt_max_steps;
    evaluation->threads = options->threads > 0 ? options->threads : 1;
    evaluation->slots = options->slots > 0 ? options->slots : DEFAULT_SLOTS;

    evaluation->rollouts = (size_t)rollouts * (size_t)images;
    evaluation->tries = set->count * evaluation->rollouts;

    /* A small set is shared evenly: no thread takes it all at once. */
    size_t share = evaluation->tries / (size_t)evaluation->threads + 1;
    if ((size_t)evaluation->slots > share)
        evaluation->slots = (int)share;
    if (evaluation->max_steps < 1)
        return trm_fail(err, TRM_INVALID, "neither the options nor the model say how many steps to run");
    if (options->min_steps > evaluation->max_steps)
        return trm_fail(err, TRM_INVALID, "at least %d steps wanted, but at most %d", options->min_steps,
                        evaluation->max_steps);
    return TRM_OK;
}

trm_status train_evaluate(trm_model *model, const struct data_set *set, const struct train_eval_options *options,
                          struct train_eval_result *result, trm_error *err) {
    struct evaluation evaluation = {.model = model, .set = set, .options = options};
    *result = (struct train_eval_result){0};
    trm_status status = check(&evaluation, options, err);
    if (status != TRM_OK)
        return status;

    const size_t max_steps = (size_t)evaluation.max_steps;
    result->max_steps = evaluation.max_steps;
    result->source_count = set->source_count;
    result->by_tries = calloc(evaluation.rollouts, sizeof *result->by_tries);
    result->tries = (int)evaluation.rollouts;
    result->steps_by_step = calloc(max_steps, sizeof *result->steps_by_step);
    evaluation.outcomes = calloc(set->count + 1, evaluation.rollouts * sizeof *evaluation.outcomes);
    evaluation.exact_at = calloc(set->count + 1, evaluation.rollouts * max_steps);
    if (!result->steps_by_step || !result->by_tries || !evaluation.outcomes || !evaluation.exact_at) {
        status = trm_fail(err, TRM_NO_MEMORY, "out of memory for %zu puzzles of %zu x %zu steps", set->count,
                          evaluation.rollouts, max_steps);
        goto cleanup;
    }
    status = prepare_groups(result, err);
    if (status == TRM_OK)
        status = run_workers(&evaluation, result->calibration, err);
    if (status == TRM_OK)
        reduce(&evaluation, result);

cleanup:
    free(evaluation.exact_at);
    free(evaluation.outcomes);
    if (status != TRM_OK)
        train_eval_result_destroy(result);
    return status;
}

void train_eval_result_destroy(struct train_eval_result *result) {
    free(result->by_tries);
    free(result->by_source);
    free(result->steps_by_step);
    free(result->curves);
    *result = (struct train_eval_result){0};
}
