/* generate.c - makes puzzles. Those of a set are made on several threads: every puzzle has its own random generator,
 * derived from the seed and its row, so the threads share nothing but the number of the next row. Each row is
 * written by the one thread that took it. */
#include "engine/data/generate.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct data_generator {
    bool maze;
    int size;
    enum sudoku_class classes[SUDOKU_CLASSES]; /* [class_count] that are made */
    double shares[SUDOKU_CLASSES];             /* [class_count] how often each is, when it is left to chance */
    int class_count;
    int min_moves; /* of mazes */
    uint64_t base; /* puzzle i has the random generator seeded with base + i */
};

struct work {
    const struct data_generate_options *options;
    struct data_generator generator;
    struct data_set *set;
    uint16_t sources[SUDOKU_CLASSES]; /* [generator.class_count] */
    atomic_size_t next, done;
    atomic_bool gave_up;
};

const char *data_class_name(enum sudoku_class wanted) {
    static const char *const NAMES[SUDOKU_CLASSES] = {"easy", "medium", "hard", "very-hard"};
    return NAMES[wanted];
}

/* ---- one puzzle ---- */

/* Seeds for everything that one seed of the options makes. */
static uint64_t base_seed(const struct data_generate_options *options) {
    struct data_rng rng;
    data_rng_seed(&rng, options->seed);
    return data_rng_next(&rng);
}

static void add_class(struct data_generator *generator, enum sudoku_class wanted, double share) {
    generator->shares[generator->class_count] = share;
    generator->classes[generator->class_count++] = wanted;
}

/* Chooses the classes to make: of a mixed set, those of which one puzzle can be made. */
static void choose_classes(const struct data_generate_options *options, struct data_generator *generator) {
    if (!options->shares && !options->mixed) {
        add_class(generator, options->wanted, 1.0);
        return;
    }
    for (int wanted = SUDOKU_EASY; wanted < SUDOKU_CLASSES; wanted++) {
        uint8_t puzzle[SUDOKU_MAX_CELLS], solution[SUDOKU_MAX_CELLS];
        int rating;
        struct data_rng rng;
        data_rng_seed(&rng, generator->base);
        if (options->shares ? options->shares[wanted] > 0.0
                            : data_sudoku_generate(options->size, wanted, &rng, puzzle, solution, &rating))
            add_class(generator, wanted, options->shares ? options->shares[wanted] : 1.0);
    }
}

static trm_status set_up(const struct data_generate_options *options, struct data_generator *generator,
                         trm_error *err) {
    *generator = (struct data_generator){.maze = options->maze, .size = options->size, .base = base_seed(options)};
    if (!options->maze) {
        choose_classes(options, generator);
        return TRM_OK;
    }
    if (options->size < MAZE_MIN_GENERATED || options->min_moves < 0)
        return trm_fail(err, TRM_INVALID, "mazes of side %d and %d moves cannot be made", options->size,
                        options->min_moves);
    generator->min_moves = options->min_moves > 0 ? options->min_moves : data_maze_hard_moves(options->size);
    return TRM_OK;
}

/* A class by the shares. */
static int draw_class(const struct data_generator *generator, struct data_rng *rng) {
    double total = 0.0;
    for (int i = 0; i < generator->class_count; i++)
        total += generator->shares[i];
    double drawn = data_rng_uniform(rng) * total;
    int chosen = 0;
    while (chosen < generator->class_count - 1 && drawn >= generator->shares[chosen])
        drawn -= generator->shares[chosen++];
    return chosen;
}

/* Makes a puzzle, if it is a Sudoku of class number `chosen`; false if after many tries there was none. */
static bool make_puzzle(const struct data_generator *generator, int chosen, struct data_rng *rng, uint8_t *inputs,
                        uint8_t *labels, int32_t *rating) {
    uint8_t puzzle[SUDOKU_MAX_CELLS], solution[SUDOKU_MAX_CELLS];
    int guesses;
    if (generator->maze)
        return data_maze_generate(generator->size, generator->min_moves, rng, inputs, labels, rating);
    if (!data_sudoku_generate(generator->size, generator->classes[chosen], rng, puzzle, solution, &guesses))
        return false;
    data_sudoku_tokens(generator->size * generator->size, puzzle, inputs);
    data_sudoku_tokens(generator->size * generator->size, solution, labels);
    *rating = guesses;
    return true;
}

static trm_status give_up(const struct data_generate_options *options, const struct data_generator *generator,
                          trm_error *err) {
    if (options->maze)
        return trm_fail(err, TRM_UNSUPPORTED, "no maze of side %d with a path of %d moves was found", options->size,
                        generator->min_moves);
    return trm_fail(err, TRM_UNSUPPORTED, "no %s Sudoku of size %d was found",
                    options->shares || options->mixed ? "mixed" : data_class_name(options->wanted), options->size);
}

/* ---- without end ---- */

trm_status data_generator_create(const struct data_generate_options *options, data_generator **out, trm_error *err) {
    uint8_t inputs[MAZE_MAX_CELLS], labels[MAZE_MAX_CELLS];
    int32_t rating;
    *out = NULL;
    data_generator *generator = malloc(sizeof *generator);
    if (!generator)
        return trm_fail_memory(err, sizeof *generator);
    trm_status status = set_up(options, generator, err);
    const int kinds = generator->maze ? 1 : generator->class_count;
    for (int i = 0; i < kinds && status == TRM_OK; i++) {
        struct data_rng rng;
        data_rng_seed(&rng, generator->base);
        if (!make_puzzle(generator, i, &rng, inputs, labels, &rating))
            status = give_up(options, generator, err);
    }
    if (status != TRM_OK) {
        free(generator);
        return status;
    }
    *out = generator;
    return TRM_OK;
}

void data_generator_destroy(data_generator *generator) {
    free(generator);
}

int data_generator_seq_len(const data_generator *generator) {
    return generator->size * generator->size;
}

int data_generator_vocab_size(const data_generator *generator) {
    return generator->maze ? MAZE_VOCAB : generator->size + 2;
}

void data_generator_make(const data_generator *generator, uint64_t number, uint8_t *inputs, uint8_t *labels) {
    int32_t rating;
    struct data_rng rng;
    data_rng_seed(&rng, generator->base + number);
    const int chosen = generator->maze ? 0 : draw_class(generator, &rng);
    /* One could be made when the generator was: so can another, if not at the first try. */
    while (!make_puzzle(generator, chosen, &rng, inputs, labels, &rating))
        continue;
}

/* ---- a set ---- */

static bool make_row(struct work *work, size_t row) {
    const struct data_generator *generator = &work->generator;
    struct data_set *set = work->set;
    const size_t first = row * (size_t)set->seq_len;
    struct data_rng rng;
    data_rng_seed(&rng, generator->base + row);
    const int chosen = generator->maze         ? 0
                       : work->options->shares ? draw_class(generator, &rng)
                                               : (int)(row % (size_t)generator->class_count);
    set->sources[row] = work->sources[chosen];
    return make_puzzle(generator, chosen, &rng, set->inputs + first, set->labels + first, &set->ratings[row]);
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

static trm_status name_sources(struct work *work, trm_error *err) {
    static const char MAZE_SOURCE[] = "generated_maze";
    if (work->options->maze)
        return data_set_source(work->set, MAZE_SOURCE, strlen(MAZE_SOURCE), &work->sources[0], err);
    for (int i = 0; i < work->generator.class_count; i++) {
        char name[32];
        snprintf(name, sizeof name, "generated_%s", data_class_name(work->generator.classes[i]));
        const trm_status status = data_set_source(work->set, name, strlen(name), &work->sources[i], err);
        if (status != TRM_OK)
            return status;
    }
    return TRM_OK;
}

static trm_status create_set(struct work *work, trm_error *err) {
    const struct data_generate_options *options = work->options;
    return options->maze ? data_set_create_maze(options->size, options->count, &work->set, err)
                         : data_set_create_sudoku(options->size, options->count, &work->set, err);
}

trm_status data_generate(const struct data_generate_options *options, struct data_set **set, trm_error *err) {
    *set = NULL;
    if (options->threads < 1)
        return trm_fail(err, TRM_INVALID, "puzzles cannot be made by %d threads", options->threads);
    struct work work = {.options = options};
    trm_status status = set_up(options, &work.generator, err);
    if (status == TRM_OK)
        status = create_set(&work, err);
    if (status != TRM_OK)
        return status;

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
            status = give_up(options, &work.generator, err);
    }
    free(helpers);
    if (status != TRM_OK)
        data_set_destroy(work.set);
    else
        *set = work.set;
    return status;
}
