/* generate.c - makes many puzzles on several threads. Every puzzle has its own random generator, derived
 * from the seed and its row, so the threads share nothing but the number of the next row. Each row is
 * written by the one thread that took it. */
#include "engine/data/generate.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct work {
    const struct data_generate_options *options;
    struct data_set *set;
    uint64_t base;                             /* row i has the generator seeded with base + i */
    enum sudoku_class classes[SUDOKU_CLASSES]; /* [class_count] taken in turn */
    uint16_t sources[SUDOKU_CLASSES];          /* [class_count] */
    int class_count;
    int min_moves; /* of mazes */
    atomic_size_t next, done;
    atomic_bool gave_up;
};

const char *data_class_name(enum sudoku_class wanted) {
    static const char *const NAMES[SUDOKU_CLASSES] = {"easy", "medium", "hard", "very-hard"};
    return NAMES[wanted];
}

/* Which of the work's classes a row has. */
static int choose_turn(const struct work *work, size_t row, struct data_rng *rng) {
    const double *shares = work->options->shares;
    double total = 0.0;
    if (!shares)
        return (int)(row % (size_t)work->class_count);
    for (int i = 0; i < work->class_count; i++)
        total += shares[work->classes[i]];
    double drawn = data_rng_uniform(rng) * total;
    int turn = 0;
    while (turn < work->class_count - 1 && drawn >= shares[work->classes[turn]])
        drawn -= shares[work->classes[turn++]];
    return turn;
}

static bool make_row(struct work *work, size_t row) {
    struct data_set *set = work->set;
    struct data_rng rng;
    uint8_t puzzle[SUDOKU_MAX_CELLS], solution[SUDOKU_MAX_CELLS];
    int rating;
    data_rng_seed(&rng, work->base + row);
    if (set->maze_side) {
        const size_t first = row * (size_t)set->seq_len;
        const bool made = data_maze_generate(set->maze_side, work->min_moves, &rng, set->inputs + first,
                                             set->labels + first, &set->ratings[row]);
        set->sources[row] = work->sources[0];
        return made;
    }
    const int turn = choose_turn(work, row, &rng);
    if (!data_sudoku_generate(set->sudoku_size, work->classes[turn], &rng, puzzle, solution, &rating))
        return false;
    data_sudoku_tokens(set->seq_len, puzzle, set->inputs + row * (size_t)set->seq_len);
    data_sudoku_tokens(set->seq_len, solution, set->labels + row * (size_t)set->seq_len);
    set->ratings[row] = rating;
    set->sources[row] = work->sources[turn];
    return true;
}

/* Takes rows until there are none left; only the calling thread reports progress. */
static void make_rows(struct work *work, bool report) {
    const struct data_generate_options *options = work->options;
    for (;;) {
        const size_t row = atomic_fetch_add(&work->next, 1);
        if (row >= options->count || atomic_load(&work->gave_up))
            return;
        if (!make_row(work, row))
            atomic_store(&work->gave_up, true);
        const size_t done = atomic_fetch_add(&work->done, 1) + 1;
        if (report && options->progress)
            options->progress(options->context, done);
    }
}

static void *helper_main(void *argument) {
    make_rows(argument, false);
    return NULL;
}

/* Chooses the classes to make: of a mixed set, those of which one puzzle can be made. */
static void choose_classes(struct work *work) {
    if (work->options->shares) {
        for (int i = SUDOKU_EASY; i < SUDOKU_CLASSES; i++)
            if (work->options->shares[i] > 0.0)
                work->classes[work->class_count++] = i;
        return;
    }
    if (!work->options->mixed) {
        work->classes[work->class_count++] = work->options->wanted;
        return;
    }
    for (int wanted = SUDOKU_EASY; wanted < SUDOKU_CLASSES; wanted++) {
        uint8_t puzzle[SUDOKU_MAX_CELLS], solution[SUDOKU_MAX_CELLS];
        int rating;
        struct data_rng rng;
        data_rng_seed(&rng, work->base);
        if (data_sudoku_generate(work->options->size, wanted, &rng, puzzle, solution, &rating))
            work->classes[work->class_count++] = wanted;
    }
}

static trm_status name_sources(struct work *work, trm_error *err) {
    static const char MAZE_SOURCE[] = "generated_maze";
    if (work->options->maze)
        return data_set_source(work->set, MAZE_SOURCE, strlen(MAZE_SOURCE), &work->sources[0], err);
    choose_classes(work);
    for (int i = 0; i < work->class_count; i++) {
        char name[32];
        snprintf(name, sizeof name, "generated_%s", data_class_name(work->classes[i]));
        const trm_status status = data_set_source(work->set, name, strlen(name), &work->sources[i], err);
        if (status != TRM_OK)
            return status;
    }
    return TRM_OK;
}

static trm_status create_set(struct work *work, trm_error *err) {
    const struct data_generate_options *options = work->options;
    if (!options->maze)
        return data_set_create_sudoku(options->size, options->count, &work->set, err);
    if (options->size < MAZE_MIN_GENERATED || options->min_moves < 0)
        return trm_fail(err, TRM_INVALID, "mazes of side %d and %d moves cannot be made", options->size,
                        options->min_moves);
    work->min_moves = options->min_moves > 0 ? options->min_moves : data_maze_hard_moves(options->size);
    return data_set_create_maze(options->size, options->count, &work->set, err);
}

static trm_status give_up(const struct work *work, trm_error *err) {
    const struct data_generate_options *options = work->options;
    if (options->maze)
        return trm_fail(err, TRM_UNSUPPORTED, "no maze of side %d with a path of %d moves was found", options->size,
                        work->min_moves);
    return trm_fail(err, TRM_UNSUPPORTED, "no %s Sudoku of size %d was found",
                    options->shares || options->mixed ? "mixed" : data_class_name(options->wanted), options->size);
}

trm_status data_generate(const struct data_generate_options *options, struct data_set **set, trm_error *err) {
    *set = NULL;
    if (options->threads < 1)
        return trm_fail(err, TRM_INVALID, "puzzles cannot be made by %d threads", options->threads);
    struct work work = {.options = options};
    trm_status status = create_set(&work, err);
    if (status != TRM_OK)
        return status;

    struct data_rng rng;
    data_rng_seed(&rng, options->seed);
    work.base = data_rng_next(&rng);
    status = name_sources(&work, err);
    pthread_t *helpers = calloc((size_t)options->threads, sizeof *helpers);
    if (status == TRM_OK && !helpers)
        status = trm_fail_memory(err, (size_t)options->threads * sizeof *helpers);
    if (status == TRM_OK) {
        int started = 0; /* fewer than asked for is only slower */
        while (started < options->threads - 1 && pthread_create(&helpers[started], NULL, helper_main, &work) == 0)
            started++;
        make_rows(&work, true);
        while (started > 0)
            pthread_join(helpers[--started], NULL);
        if (atomic_load(&work.gave_up))
            status = give_up(&work, err);
    }
    free(helpers);
    if (status != TRM_OK)
        data_set_destroy(work.set);
    else
        *set = work.set;
    return status;
}
