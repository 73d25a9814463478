/* eval.c - solves a set of puzzles by continuous batching and counts what came out right.
 *
 * Each thread owns a batch and draws rows from one atomic counter, so that no thread waits for
 * another. What happened to a row is written to that row's own record, by the one thread that drew
 * it; the calling thread adds the records up, in row order, after all threads have ended. */
#include "engine/train/eval.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_SLOTS = 16, MAX_THREADS = 1024 };

#define NO_ROW SIZE_MAX

/* What became of one puzzle. */
struct outcome {
    int cells, right; /* labelled cells; those answered right at the end */
    int steps;        /* supervision steps it ran */
    bool halted;      /* by the halting head or the verifier */
};

/* Shared by the threads of one evaluation. */
struct evaluation {
    trm_model *model;
    const struct data_set *set;
    const struct train_eval_options *options;
    int threads, slots, max_steps;
    struct outcome *outcomes; /* [set->count] */
    uint8_t *exact_at;        /* [set->count, max_steps] 1 where the answer after that step was exact */
    atomic_size_t next_row, done;
    atomic_bool failed;
};

/* Owned by one thread. */
struct worker {
    struct evaluation *evaluation;
    pthread_t thread;
    bool reports_progress;
    trm_batch *batch;
    size_t *row_of;  /* [slots] the row in each slot, NO_ROW for a free one */
    int32_t *tokens; /* [seq_len] the puzzle being admitted */
    trm_status status;
    trm_error error;
};

static trm_status admit_row(struct worker *worker, size_t row) {
    const struct evaluation *evaluation = worker->evaluation;
    const struct data_set *set = evaluation->set;
    const struct trm_solve_options solve = {
        .max_steps = evaluation->max_steps,
        .min_steps = evaluation->options->min_steps,
        .no_halt = !evaluation->options->halt,
        .verify = evaluation->options->halt && evaluation->options->verify,
    };
    const uint8_t *input = set->inputs + row * (size_t)set->seq_len;
    for (int i = 0; i < set->seq_len; i++)
        worker->tokens[i] = input[i];

    int slot;
    trm_status status =
        trm_batch_admit(worker->batch, worker->tokens, set->identifiers[row], &solve, &slot, &worker->error);
    if (status == TRM_OK)
        worker->row_of[slot] = row;
    return status;
}

/* Records the newest answer to `row`. */
static void judge(struct evaluation *evaluation, size_t row, const struct trm_report *report) {
    const struct data_set *set = evaluation->set;
    const uint8_t *label = set->labels + row * (size_t)set->seq_len;
    int cells = 0, right = 0;
    for (int i = 0; i < set->seq_len; i++) {
        cells += label[i] != 0;
        right += label[i] != 0 && report->answer[i] == label[i];
    }
    evaluation->outcomes[row] = (struct outcome){
        .cells = cells,
        .right = right,
        .steps = report->step,
        .halted = report->halt == TRM_HALT_Q_HEAD || report->halt == TRM_HALT_VERIFIED,
    };
    evaluation->exact_at[row * (size_t)evaluation->max_steps + (size_t)(report->step - 1)] = right == cells;
}

/* Steps this worker's batch until no rows are left, refilling slots as they come free. */
static trm_status run_rows(struct worker *worker) {
    struct evaluation *evaluation = worker->evaluation;
    const struct train_eval_options *options = evaluation->options;
    const size_t count = evaluation->set->count;

    while (!atomic_load(&evaluation->failed)) {
        while (trm_batch_busy(worker->batch) < evaluation->slots) {
            size_t row = atomic_fetch_add(&evaluation->next_row, 1);
            if (row >= count)
                break;
            trm_status status = admit_row(worker, row);
            if (status != TRM_OK)
                return status;
        }
        if (trm_batch_busy(worker->batch) == 0)
            return TRM_OK;

        trm_status status = trm_batch_step(worker->batch, &worker->error);
        if (status != TRM_OK)
            return status;
        for (int slot = 0; slot < evaluation->slots; slot++) {
            if (worker->row_of[slot] == NO_ROW)
                continue;
            const struct trm_report *report = trm_batch_report(worker->batch, slot);
            judge(evaluation, worker->row_of[slot], report);
            if (report->halt != TRM_RUNNING) {
                trm_batch_release(worker->batch, slot);
                worker->row_of[slot] = NO_ROW;
                atomic_fetch_add(&evaluation->done, 1);
            }
        }
        if (worker->reports_progress)
            options->progress(options->progress_arg, atomic_load(&evaluation->done), count);
    }
    return TRM_OK;
}

/* The life of a worker, whose batch is created by the thread that uses it. */
static void *worker_main(void *arg) {
    struct worker *worker = arg;
    struct evaluation *evaluation = worker->evaluation;
    const size_t slots = (size_t)evaluation->slots, seq_len = (size_t)evaluation->set->seq_len;

    worker->row_of = calloc(slots, sizeof *worker->row_of);
    worker->tokens = calloc(seq_len, sizeof *worker->tokens);
    if (!worker->row_of || !worker->tokens) {
        worker->status =
            trm_fail_memory(&worker->error, slots * sizeof *worker->row_of + seq_len * sizeof *worker->tokens);
        goto cleanup;
    }
    for (size_t slot = 0; slot < slots; slot++)
        worker->row_of[slot] = NO_ROW;
    worker->status = trm_batch_create(evaluation->model, evaluation->slots, &worker->batch, &worker->error);
    if (worker->status == TRM_OK)
        worker->status = run_rows(worker);

cleanup:
    if (worker->status != TRM_OK)
        atomic_store(&evaluation->failed, true);
    trm_batch_destroy(worker->batch);
    free(worker->tokens);
    free(worker->row_of);
    return NULL;
}

/* Runs all workers to their end; the calling thread is the first of them. */
static trm_status run_workers(struct evaluation *evaluation, trm_error *err) {
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
    free(workers);
    return status;
}

static void add_to_group(struct train_eval_group *group, const struct outcome *outcome) {
    group->puzzles++;
    group->exact += outcome->right == outcome->cells;
    group->steps += (uint64_t)outcome->steps;
}

static enum train_eval_difficulty difficulty_of(int32_t rating) {
    if (rating == 0)
        return TRAIN_EVAL_NO_GUESS;
    return rating <= 3 ? TRAIN_EVAL_FEW_GUESSES : TRAIN_EVAL_MANY_GUESSES;
}

static void reduce(const struct evaluation *evaluation, struct train_eval_result *result) {
    const struct data_set *set = evaluation->set;
    for (size_t row = 0; row < set->count; row++) {
        const struct outcome *outcome = &evaluation->outcomes[row];
        if (outcome->cells == 0)
            continue;
        const bool exact = outcome->right == outcome->cells;
        add_to_group(&result->all, outcome);
        if (set->sources[row] < result->source_count)
            add_to_group(&result->by_source[set->sources[row]], outcome);
        if (set->ratings[row] >= 0)
            add_to_group(&result->by_difficulty[difficulty_of(set->ratings[row])], outcome);
        result->cells += (uint64_t)outcome->cells;
        result->cells_right += (uint64_t)outcome->right;
        result->halted += outcome->halted;
        result->halted_exact += outcome->halted && exact;
        const uint8_t *exact_at = evaluation->exact_at + row * (size_t)evaluation->max_steps;
        for (int step = 0; step < evaluation->max_steps; step++)
            result->exact_by_step[step] += step < outcome->steps ? exact_at[step] : exact;
    }
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
    if (options->max_steps < 0 || options->min_steps < 0 || options->threads < 0 || options->slots < 0)
        return trm_fail(err, TRM_INVALID, "an option of the evaluation is negative");
    if (options->threads > MAX_THREADS)
        return trm_fail(err, TRM_INVALID, "%d threads: at most %d are possible", options->threads, MAX_THREADS);
    if (options->verify && info->puzzle != TRM_PUZZLE_SUDOKU)
        return trm_fail(err, TRM_UNSUPPORTED,
                        "the model does not say that its puzzles are Sudokus: nothing verifies them");
    evaluation->max_steps = options->max_steps > 0 ? options->max_steps : info->halt_max_steps;
    evaluation->threads = options->threads > 0 ? options->threads : 1;
    evaluation->slots = options->slots > 0 ? options->slots : DEFAULT_SLOTS;

    /* A small set is shared evenly: no thread takes it all at once. */
    size_t share = set->count / (size_t)evaluation->threads + 1;
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
    result->exact_by_step = calloc(max_steps, sizeof *result->exact_by_step);
    result->by_source = calloc((size_t)set->source_count + 1, sizeof *result->by_source);
    evaluation.outcomes = calloc(set->count + 1, sizeof *evaluation.outcomes);
    evaluation.exact_at = calloc(set->count + 1, max_steps);
    if (!result->exact_by_step || !result->by_source || !evaluation.outcomes || !evaluation.exact_at) {
        status = trm_fail(err, TRM_NO_MEMORY, "out of memory for %zu puzzles of %zu steps", set->count, max_steps);
        goto cleanup;
    }
    status = run_workers(&evaluation, err);
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
    free(result->by_source);
    free(result->exact_by_step);
    *result = (struct train_eval_result){0};
}
