/* source.c - draws training rows from a weighted mixture of data sets and streams. Nothing here changes after
 * data_source_create(); the caller's thread owns the rng and the row it fills. */
#include "engine/data/source.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/data/maze.h"

enum { EMPTY_CELL = 1 }; /* of a Sudoku */

struct data_source {
    bool augment;
    int count;
    struct data_source_part parts[]; /* [count] */
};

static int part_seq_len(const struct data_source_part *part) {
    return part->stream ? data_stream_seq_len(part->stream) : part->set->seq_len;
}

static int part_vocab_size(const struct data_source_part *part) {
    return part->stream ? data_stream_vocab_size(part->stream) : part->set->vocab_size;
}

/* Generated puzzles have the blank identifier alone. */
static int part_identifiers(const struct data_source_part *part) {
    return part->stream ? 1 : part->set->num_identifiers;
}

trm_status data_source_create(const struct data_source_part *parts, int count, bool augment, data_source **source,
                              trm_error *err) {
    *source = NULL;
    if (count < 1)
        return trm_fail(err, TRM_INVALID, "a source needs at least one data set");
    const int seq_len = part_seq_len(&parts[0]), vocab_size = part_vocab_size(&parts[0]);
    double total = 0, final_total = 0;
    for (int i = 0; i < count; i++) {
        const struct data_source_part *part = &parts[i];
        if (part_seq_len(part) != seq_len || part_vocab_size(part) != vocab_size)
            return trm_fail(err, TRM_INVALID, "data set %d has %d cells of %d tokens, the first has %d of %d", i + 1,
                            part_seq_len(part), part_vocab_size(part), seq_len, vocab_size);
        if (!part->stream && (part->set->count < 1 || part->set->count > INT32_MAX))
            return trm_fail(err, TRM_INVALID, "data set %d has %zu puzzles", i + 1, part->set->count);
        if (!(parts[i].weight >= 0) || !(parts[i].final_weight >= 0))
            return trm_fail(err, TRM_INVALID, "a weight of data set %d is not a number from 0", i + 1);
        total += parts[i].weight;
        final_total += parts[i].final_weight;
    }
    if (!(total > 0) || !isfinite(total) || !(final_total > 0) || !isfinite(final_total))
        return trm_fail(err, TRM_INVALID, "the weights are all zero, or too large");

    const size_t size = sizeof(data_source) + (size_t)count * sizeof *parts;
    data_source *made = malloc(size);
    if (!made)
        return trm_fail_memory(err, size);
    made->augment = augment;
    made->count = count;
    memcpy(made->parts, parts, (size_t)count * sizeof *parts);
    *source = made;
    return TRM_OK;
}

void data_source_destroy(data_source *source) {
    free(source);
}

int data_source_seq_len(const data_source *source) {
    return part_seq_len(&source->parts[0]);
}

int data_source_vocab_size(const data_source *source) {
    return part_vocab_size(&source->parts[0]);
}

int data_source_identifiers(const data_source *source) {
    int most = 0;
    for (int i = 0; i < source->count; i++) {
        if (part_identifiers(&source->parts[i]) > most)
            most = part_identifiers(&source->parts[i]);
    }
    return most;
}

static double weight_at(const struct data_source_part *part, double progress) {
    return part->weight + progress * (part->final_weight - part->weight);
}

static int draw_part(const data_source *source, double progress, struct data_rng *rng) {
    double total = 0.0;
    int last = 0; /* the last part that can be drawn now */
    for (int i = 0; i < source->count; i++) {
        const double weight = weight_at(&source->parts[i], progress);
        total += weight;
        last = weight > 0.0 ? i : last;
    }
    double left = data_rng_uniform(rng) * total;
    int part = 0;
    while (part < last && left >= weight_at(&source->parts[part], progress))
        left -= weight_at(&source->parts[part++], progress);
    return part;
}

/* Makes at most `most` empty cells clues: how many is drawn evenly, and then which. */
static void reveal(int most, int cells, struct data_rng *rng, uint8_t *inputs, const uint8_t *labels) {
    int empty = 0;
    for (int i = 0; i < cells; i++)
        empty += inputs[i] == EMPTY_CELL;
    int wanted = data_rng_below(rng, most + 1);
    for (int i = 0; i < cells && wanted > 0; i++)
        if (inputs[i] == EMPTY_CELL && data_rng_below(rng, empty--) < wanted) {
            inputs[i] = labels[i];
            wanted--;
        }
}

/* A row of a set, or with `augment` a symmetric image of it. */
static void draw_row(const struct data_set *set, size_t row, bool augment, struct data_rng *rng, uint8_t *inputs,
                     uint8_t *labels) {
    if (augment && (set->sudoku_size || set->maze_side)) {
        const int image = set->maze_side ? data_rng_below(rng, MAZE_IMAGES) : 0;
        data_set_image(set, row, image, rng, inputs, labels);
        return;
    }
    const size_t cells = (size_t)set->seq_len;
    memcpy(inputs, set->inputs + row * cells, cells);
    memcpy(labels, set->labels + row * cells, cells);
}

void data_source_next(const data_source *source, double progress, struct data_rng *rng, uint8_t *inputs,
                      uint8_t *labels, int32_t *identifier, int *set_index, size_t *row) {
    *set_index = draw_part(source, progress, rng);
    const struct data_source_part *part = &source->parts[*set_index];
    if (part->stream) {
        data_stream_next(part->stream, inputs, labels);
        *identifier = 0;
        *row = 0;
    } else {
        *row = (size_t)data_rng_below(rng, (int)part->set->count);
        *identifier = part->set->identifiers[*row];
        draw_row(part->set, *row, source->augment, rng, inputs, labels);
    }
    if (part->reveal > 0)
        reveal(part->reveal, part_seq_len(part), rng, inputs, labels);
}
