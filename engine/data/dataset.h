/* dataset.h - puzzles in memory: what the trainer draws from and what evaluation walks through.
 *
 * Reads the two forms of the field: CSV (source,question,answer,rating) as Sudoku-Extreme and Maze-Hard have it and the
 * directory layout of the original scripts (dataset.json, all__inputs.npy, all__labels.npy,
 * all__puzzle_identifiers.npy, all__puzzle_indices.npy, all__group_indices.npy, with an optional
 * train/ or test/ level chosen by the caller's path). Tokens are the original's: for Sudoku
 * 0 padding, 1 blank, digit d is d + 1; for mazes enum maze_cell. Immutable once loaded: any thread. */
#ifndef TRM_ENGINE_DATA_DATASET_H
#define TRM_ENGINE_DATA_DATASET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "engine/data/rng.h"
#include "engine/status.h"

struct data_set {
    int seq_len;          /* cells of a puzzle */
    int vocab_size;       /* tokens are 0 .. vocab_size - 1 */
    int num_identifiers;  /* puzzle identifiers are 0 .. num_identifiers - 1; 1 for Sudoku */
    int sudoku_size;      /* 4, 6 or 9 when every row is a Sudoku of that size, else 0 */
    int maze_side;        /* when every row is a maze with a shortest path for an answer, else 0 */
    size_t count;         /* puzzles */
    uint8_t *inputs;      /* [count, seq_len] tokens (vocab_size <= 256) */
    uint8_t *labels;      /* [count, seq_len] tokens; 0 = ignored (the original's ignore_label_id) */
    int32_t *identifiers; /* [count] */
    int32_t *ratings;     /* [count] difficulty, -1 unknown */
    uint16_t *sources;    /* [count] index into source_names */
    char **source_names;  /* [source_count], from the CSV's first column */
    int source_count;
    int32_t *groups;    /* [group_count + 1] first row of each group: a puzzle and its augmentations, */
    size_t group_count; /* in consecutive rows; NULL and 0 when every row is its own group */
};

/* Loads at most `limit` puzzles (0: all) of a CSV file or a dataset directory. Every line is checked:
 * lengths, symbols, the answer keeps the clues and obeys the rules; TRM_FORMAT names file and line. */
trm_status data_set_load(const char *path, size_t limit, struct data_set **set, trm_error *err);
void data_set_destroy(struct data_set *set);

/* A set of `count` zeroed rows (ratings -1, one identifier, no sources) for its maker to fill in. */
trm_status data_set_create(int seq_len, int vocab_size, size_t count, struct data_set **set, trm_error *err);

/* The same for Sudoku of `size`: seq_len size * size, vocab_size size + 2. */
trm_status data_set_create_sudoku(int size, size_t count, struct data_set **set, trm_error *err);

/* The same for mazes of `side` (2 to 64): seq_len side * side, vocab_size MAZE_VOCAB. */
trm_status data_set_create_maze(int side, size_t count, struct data_set **set, trm_error *err);

/* Whether the labels of `row`, of a set that is said to be of Sudoku or of mazes, are a right answer to its inputs. */
bool data_set_is_right(const struct data_set *set, size_t row);

/* The index of the source called `name` ([length] bytes, printable ASCII), added when it is new. TRM_FORMAT
 * for a name that is not printable or when there are too many. */
trm_status data_set_source(struct data_set *set, const char *name, size_t length, uint16_t *index, trm_error *err);

/* Removes the rows for which keep [set->count] is false, at least one being true; groups that lose all their rows go.
 */
void data_set_keep(struct data_set *set, const bool *keep);

/* A new set with each puzzle of `set` followed by `copies` symmetric images of it, one group each: of a Sudoku random
 * ones, of a maze (which has no more than 7) each another. TRM_INVALID when `set` is of neither. */
trm_status data_set_augment(const struct data_set *set, int copies, struct data_rng *rng, struct data_set **augmented,
                            trm_error *err);

/* Writes a symmetric image of `row` to inputs and labels ([seq_len] each), in a set of Sudoku or mazes: of a maze the
 * image of that number (data_maze_image_cell()), of a Sudoku a random one, whatever the number. */
void data_set_image(const struct data_set *set, size_t row, int image, struct data_rng *rng, uint8_t *inputs,
                    uint8_t *labels);

/* Writes the original layout under `dir` (created; files replaced atomically), every row a puzzle of its own. */
trm_status data_set_save(const struct data_set *set, const char *dir, trm_error *err);

/* What dataset.json says of a set of puzzles (augmentations counted, each with one or more rows) in groups. */
struct data_set_metadata {
    int seq_len, vocab_size, num_identifiers;
    size_t groups, puzzles, rows;
};

/* Writes dataset.json of a directory with the one set "all". */
trm_status data_set_save_metadata(const char *dir, const struct data_set_metadata *meta, trm_error *err);

/* "dir/all__name.npy", the array called `name` ("inputs") of that set, in memory of the caller's; NULL: there is none.
 */
char *data_set_array_path(const char *dir, const char *name);

/* Writes a set of Sudoku or mazes as CSV: to an open stream (whose errors are the caller's to check), or to a
 * file that is replaced atomically. TRM_INVALID when `set` is of neither. */
trm_status data_set_print_csv(const struct data_set *set, FILE *stream, trm_error *err);
trm_status data_set_save_csv(const struct data_set *set, const char *path, trm_error *err);

/* The two readers behind data_set_load(). */
trm_status data_set_load_csv(const char *path, size_t limit, struct data_set **set, trm_error *err);
trm_status data_set_load_dir(const char *path, size_t limit, struct data_set **set, trm_error *err);

/* Between a row of tokens and a Sudoku grid, [cells] each: token = value + 1. */
void data_sudoku_tokens(int cells, const uint8_t *grid, uint8_t *tokens);
void data_sudoku_grid(int cells, const uint8_t *tokens, uint8_t *grid);

#endif
