/* stream.h - the puzzles of a generator one after the other, made by threads of the stream's own before they are asked
 * for.
 *
 * Puzzle i depends on the generator's options and on i alone, so a stream that begins at i goes on where another was
 * left. One thread at a time takes puzzles; where nobody has begun the one that it wants it makes it itself, so that
 * slow or missing helpers cost no more than none at all. */
#ifndef TRM_ENGINE_DATA_STREAM_H
#define TRM_ENGINE_DATA_STREAM_H

#include "engine/data/generate.h"

typedef struct data_stream data_stream;

/* A stream of puzzles for which `options` has the seed, what they are like, and how many threads make them, of which at
 * most `ahead` wait to be taken. Both at least 1, else TRM_INVALID; TRM_UNSUPPORTED when the size has no such puzzles.
 * The threads start with the first puzzle that is taken; fewer than asked for are only slower. */
trm_status data_stream_create(const struct data_generate_options *options, int ahead, data_stream **stream,
                              trm_error *err);

/* Waits for puzzles that are being made. NULL is fine. */
void data_stream_destroy(data_stream *stream);

int data_stream_seq_len(const data_stream *stream);
int data_stream_vocab_size(const data_stream *stream);

/* The number of the next puzzle: 0 at first. It can be set until the first is taken. */
uint64_t data_stream_position(const data_stream *stream);
void data_stream_begin_at(data_stream *stream, uint64_t position);

/* Takes the next puzzle: inputs and labels [seq_len]. */
void data_stream_next(data_stream *stream, uint8_t *inputs, uint8_t *labels);

#endif
