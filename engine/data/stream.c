/* stream.c - see stream.h. Puzzles wait in a ring, puzzle first + i in slot i % ahead. A helper claims the next number,
 * makes that puzzle outside the lock, in a slot that is its own until it says `ready`, and goes on while there is room.
 * The mutex guards every number and `ready`; `taken`, `started` and `helper_count` are written by the taking thread
 * alone. */
#include "engine/data/stream.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct data_stream {
    data_generator *generator;
    size_t seq_len;
    uint64_t ahead;   /* slots */
    uint8_t *puzzles; /* [ahead, 2, seq_len] inputs and labels */
    bool *ready;      /* [ahead] */

    pthread_mutex_t mutex;
    pthread_cond_t room, made; /* for helpers, for the taker */
    uint64_t first;            /* where the stream began */
    uint64_t taken, claimed;   /* next numbers to be taken, and to be begun: taken <= claimed <= taken + ahead */
    bool stop, started;
    pthread_t *helpers; /* [helper_count] of threads */
    int threads, helper_count;
};

static size_t slot_of(const data_stream *stream, uint64_t number) {
    return (size_t)((number - stream->first) % stream->ahead);
}

static uint8_t *puzzle_in(const data_stream *stream, size_t slot) {
    return stream->puzzles + slot * 2 * stream->seq_len;
}

static void *helper_main(void *arg) {
    data_stream *stream = arg;
    pthread_mutex_lock(&stream->mutex);
    while (!stream->stop) {
        if (stream->claimed - stream->taken >= stream->ahead) {
            pthread_cond_wait(&stream->room, &stream->mutex);
            continue;
        }
        const uint64_t number = stream->claimed++;
        const size_t slot = slot_of(stream, number);
        uint8_t *puzzle = puzzle_in(stream, slot);
        pthread_mutex_unlock(&stream->mutex);
        data_generator_make(stream->generator, number, puzzle, puzzle + stream->seq_len);
        pthread_mutex_lock(&stream->mutex);
        stream->ready[slot] = true;
        pthread_cond_signal(&stream->made);
    }
    pthread_mutex_unlock(&stream->mutex);
    return NULL;
}

trm_status data_stream_create(const struct data_generate_options *options, int ahead, data_stream **out,
                              trm_error *err) {
    *out = NULL;
    if (ahead < 1 || options->threads < 1)
        return trm_fail(err, TRM_INVALID, "%d threads cannot keep %d puzzles ready", options->threads, ahead);
    data_stream *stream = calloc(1, sizeof *stream);
    if (!stream)
        return trm_fail_memory(err, sizeof *stream);
    pthread_mutex_init(&stream->mutex, NULL);
    pthread_cond_init(&stream->room, NULL);
    pthread_cond_init(&stream->made, NULL);
    trm_status status = data_generator_create(options, &stream->generator, err);
    if (status == TRM_OK) {
        stream->seq_len = (size_t)data_generator_seq_len(stream->generator);
        stream->ahead = (uint64_t)ahead;
        stream->threads = options->threads;
        stream->puzzles = calloc((size_t)ahead, 2 * stream->seq_len);
        stream->ready = calloc((size_t)ahead, sizeof *stream->ready);
        stream->helpers = calloc((size_t)options->threads, sizeof *stream->helpers);
        if (!stream->puzzles || !stream->ready || !stream->helpers)
            status = trm_fail_memory(err, (size_t)ahead * 2 * stream->seq_len);
    }
    if (status != TRM_OK) {
        data_stream_destroy(stream);
        return status;
    }
    *out = stream;
    return TRM_OK;
}

void data_stream_destroy(data_stream *stream) {
    if (!stream)
        return;
    pthread_mutex_lock(&stream->mutex);
    stream->stop = true;
    pthread_cond_broadcast(&stream->room);
    pthread_mutex_unlock(&stream->mutex);
    while (stream->helper_count > 0)
        pthread_join(stream->helpers[--stream->helper_count], NULL);
    pthread_cond_destroy(&stream->made);
    pthread_cond_destroy(&stream->room);
    pthread_mutex_destroy(&stream->mutex);
    data_generator_destroy(stream->generator);
    free(stream->helpers);
    free(stream->ready);
    free(stream->puzzles);
    free(stream);
}

int data_stream_seq_len(const data_stream *stream) {
    return data_generator_seq_len(stream->generator);
}

int data_stream_vocab_size(const data_stream *stream) {
    return data_generator_vocab_size(stream->generator);
}

uint64_t data_stream_position(const data_stream *stream) {
    return stream->taken;
}

void data_stream_begin_at(data_stream *stream, uint64_t position) {
    if (!stream->started)
        stream->first = stream->taken = stream->claimed = position;
}

static void start_helpers(data_stream *stream) {
    stream->started = true;
    while (stream->helper_count < stream->threads &&
           pthread_create(&stream->helpers[stream->helper_count], NULL, helper_main, stream) == 0)
        stream->helper_count++;
}

void data_stream_next(data_stream *stream, uint8_t *inputs, uint8_t *labels) {
    if (!stream->started)
        start_helpers(stream);
    pthread_mutex_lock(&stream->mutex);
    const uint64_t number = stream->taken;
    const size_t slot = slot_of(stream, number);
    const bool own = stream->claimed == number;
    if (own)
        stream->claimed++;
    while (!own && !stream->ready[slot])
        pthread_cond_wait(&stream->made, &stream->mutex);
    if (!own) {
        const uint8_t *puzzle = puzzle_in(stream, slot);
        memcpy(inputs, puzzle, stream->seq_len);
        memcpy(labels, puzzle + stream->seq_len, stream->seq_len);
        stream->ready[slot] = false;
    }
    stream->taken++;
    pthread_cond_signal(&stream->room);
    pthread_mutex_unlock(&stream->mutex);
    if (own)
        data_generator_make(stream->generator, number, inputs, labels);
}
