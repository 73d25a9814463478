/* generate.h - new Sudoku or mazes: whole data sets, or one by one without end. */
#ifndef TRM_ENGINE_DATA_GENERATE_H
#define TRM_ENGINE_DATA_GENERATE_H

#include <stdbool.h>

#include "engine/data/dataset.h"
#include "engine/data/maze.h"
#include "engine/data/sudoku.h"

struct data_generate_options {
    bool maze;    /* mazes; else Sudoku */
    int size;     /* of Sudoku 4, 6 or 9; of mazes the side, 5 to 64 */
    size_t count; /* puzzles to make */
    bool mixed;   /* every class that the size has, in turn; else all are `wanted` */
    enum sudoku_class wanted;
    const double *shares; /* [SUDOKU_CLASSES] instead of the two above: relative frequencies; or NULL */
    int min_moves;        /* of mazes: the length of the path at least; 0: data_maze_hard_moves() */
    uint64_t seed;
    int threads;                                  /* at least 1; the calling thread is one of them */
    void (*progress)(void *context, size_t done); /* called on the calling thread, often; may be NULL */
    void *context;
};

/* Makes the puzzles; the same options give the same set, whatever the number of threads. Sources are
 * "generated_easy" and so on, ratings are guesses; of mazes "generated_maze" and moves. TRM_UNSUPPORTED when the size
 * has no such puzzles. */
trm_status data_generate(const struct data_generate_options *options, struct data_set **set, trm_error *err);

/* Puzzles by number, without end. Immutable once made: any number of threads. */
typedef struct data_generator data_generator;

/* Of the options the seed and those that say what the puzzles are like; `shares` may go afterwards. TRM_UNSUPPORTED
 * when the size has no such puzzles. */
trm_status data_generator_create(const struct data_generate_options *options, data_generator **generator,
                                 trm_error *err);
void data_generator_destroy(data_generator *generator); /* NULL is fine */

int data_generator_seq_len(const data_generator *generator);
int data_generator_vocab_size(const data_generator *generator);

/* Makes puzzle `number`: inputs and labels [seq_len]; what it is depends on the options and the number alone. */
void data_generator_make(const data_generator *generator, uint64_t number, uint8_t *inputs, uint8_t *labels);

/* "easy", "medium", "hard", "very-hard". */
const char *data_class_name(enum sudoku_class wanted);

#endif
