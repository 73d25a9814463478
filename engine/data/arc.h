/* arc.h - ARC grids: tokens, symmetries, colours, names and hashes, as the original has them (golden
 * README section 8). Pure functions on the caller's data: any thread. */
#ifndef TRM_ENGINE_DATA_ARC_H
#define TRM_ENGINE_DATA_ARC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/data/rng.h"

enum {
    DATA_ARC_SIDE = 30,                             /* rows and columns at most */
    DATA_ARC_CELLS = DATA_ARC_SIDE * DATA_ARC_SIDE, /* tokens of a puzzle at most */
    DATA_ARC_COLOURS = 10,
    DATA_ARC_VOCABULARY = 12, /* 0 padding, 1 end marker, 2 .. 11 colours */
    DATA_ARC_TRANSFORMS = 8,
    DATA_ARC_HASH = 32,     /* bytes of a SHA-256 */
    DATA_ARC_NAME = 64,     /* bytes of a task's name with its end */
    DATA_ARC_FULL_NAME = 96 /* of an augmented one */
};

/* Colours row by row, without gaps: cells [rows * cols]. 0 x 0 stands for a prediction that is no grid. */
struct data_arc_grid {
    uint8_t rows, cols;
    uint8_t cells[DATA_ARC_CELLS];
};

bool data_arc_equal(const struct data_arc_grid *a, const struct data_arc_grid *b);

/* The side of the square of tokens [side * side] that a puzzle of so many is: 30 in the original, less for a model that
 * takes smaller grids only, and costs less. 0 if there is no such square. */
int data_arc_side_of(int cells);

/* The grid as tokens [side * side], its first cell at row `top`, column `left`, end markers below and right of it
 * where there is room. It must fit there. */
void data_arc_tokens(const struct data_arc_grid *grid, int side, int top, int left, uint8_t *tokens);

/* A place on the square where both grids of a pair fit, at random. */
void data_arc_draw_place(const struct data_arc_grid *input, const struct data_arc_grid *output, int side,
                         struct data_rng *rng, int *top, int *left);

/* What a model's answer [side * side] says: the largest rectangle of colours from the first cell, the first found of
 * equal ones; 0 x 0 when that cell has no colour. */
void data_arc_crop(const int32_t *tokens, int side, struct data_arc_grid *grid);

/* A dihedral transform and a recolouring; colour c becomes colours[c]. */
struct data_arc_augment {
    uint8_t transform; /* 0 .. 7: none, three turns to the left, two flips, transposition, a turn and a flip */
    uint8_t colours[DATA_ARC_COLOURS]; /* a permutation that keeps 0 */
};

extern const struct data_arc_augment DATA_ARC_IDENTITY;

bool data_arc_augment_is_valid(const struct data_arc_augment *augment);
void data_arc_augment_draw(struct data_rng *rng, struct data_arc_augment *augment);

/* `out` is another grid than `in`. data_arc_undo() reverses data_arc_apply(). */
void data_arc_transform(int transform, const struct data_arc_grid *in, struct data_arc_grid *out);
void data_arc_apply(const struct data_arc_augment *augment, const struct data_arc_grid *in, struct data_arc_grid *out);
void data_arc_undo(const struct data_arc_augment *augment, const struct data_arc_grid *in, struct data_arc_grid *out);

/* "name", or "name|||t5|||0123456789" unless `augment` is the identity. */
void data_arc_name_format(const char *name, const struct data_arc_augment *augment, char full[DATA_ARC_FULL_NAME]);

/* The two parts of such a name. False if the name is empty, too long, not of printable ASCII without " \ and /, or
 * its augmentation is none. */
bool data_arc_name_parse(const char *full, char name[DATA_ARC_NAME], struct data_arc_augment *augment);

/* SHA-256 over rows, columns and cells. */
void data_arc_grid_hash(const struct data_arc_grid *grid, uint8_t hash[DATA_ARC_HASH]);

/* A hash as 64 lower-case digits and the end of the string. */
void data_arc_hex(const uint8_t hash[DATA_ARC_HASH], char text[2 * DATA_ARC_HASH + 1]);

#endif
