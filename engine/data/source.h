/* source.h - where training rows come from: several data sets, or streams of new puzzles, mixed by weight.
 *
 * A source keeps no state between draws: all chance comes from the caller's rng, so saving the rng, and the places in
 * its streams, saves the place in the whole. Immutable once made; without streams any number of threads, an rng each.
 */
#ifndef TRM_ENGINE_DATA_SOURCE_H
#define TRM_ENGINE_DATA_SOURCE_H

#include <stdbool.h>

#include "engine/data/dataset.h"
#include "engine/data/rng.h"
#include "engine/data/stream.h"

typedef struct data_source data_source;

struct data_source_part {
    const struct data_set *set;  /* borrowed: must outlive the source */
    data_stream *stream;         /* instead of a set, as borrowed: every row is its next puzzle */
    double weight, final_weight; /* relative to the other parts': at the beginning, at the end; not both 0 */
    int reveal;                  /* of a Sudoku: cells of the answer that become clues, 0 .. reveal of them */
};

/* A source of `count` parts. With `augment`, each Sudoku or maze drawn from a set is replaced by a
 * random symmetric image.
 * TRM_INVALID unless the sets agree in seq_len and vocab_size and the weights are numbers not below zero, with a
 * sum above it both at the beginning and at the end. */
trm_status data_source_create(const struct data_source_part *parts, int count, bool augment, data_source **source,
                              trm_error *err);
void data_source_destroy(data_source *source); /* NULL is fine */

int data_source_seq_len(const data_source *source);
int data_source_vocab_size(const data_source *source);
int data_source_identifiers(const data_source *source); /* the most of any part */

/* Draws a part by its weight at `progress` in 0 .. 1, weight + progress * (final_weight - weight), then one of its rows
 * uniformly, or a new puzzle. Fills inputs and labels ([seq_len] tokens each, labels 0 = ignored) and the row's puzzle
 * identifier; says which row (0 of a new puzzle) of which part it was. */
void data_source_next(const data_source *source, double progress, struct data_rng *rng, uint8_t *inputs,
                      uint8_t *labels, int32_t *identifier, int *set_index, size_t *row);

#endif
