/* maze.h - mazes on square grids: shortest paths, checking answers, symmetry, making new ones.
 *
 * A maze is [side * side] cells row by row, each an enum maze_cell; these are the tokens of the original's data sets
 * too (0 is padding), written "# SGo". One moves up, down, left and right. The answer of a maze is the maze with the
 * floor of one shortest path from start to goal replaced by path. All functions are pure or work on the caller's rng:
 * any thread; they take some 24 KiB of stack. */
#ifndef TRM_ENGINE_DATA_MAZE_H
#define TRM_ENGINE_DATA_MAZE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/data/rng.h"

enum {
    MAZE_MIN_SIDE = 2,
    MAZE_MIN_GENERATED = 5, /* side of data_maze_generate() */
    MAZE_MAX_SIDE = 64,
    MAZE_MAX_CELLS = MAZE_MAX_SIDE * MAZE_MAX_SIDE,
    MAZE_VOCAB = 6
};

enum maze_cell { MAZE_WALL = 1, MAZE_FLOOR, MAZE_START, MAZE_GOAL, MAZE_PATH };

#define MAZE_SYMBOLS "# SGo" /* of MAZE_WALL and so on */

/* The side of mazes of `cells` cells, or 0 if there are none: the side must be known, here and below. */
int data_maze_side_of(int cells);

/* NULL for a sound maze: walls, floor, one start, one goal and a way between them. Else what is wrong with it, as a
 * sentence without its end. */
const char *data_maze_fault(int side, const uint8_t *maze);

/* Moves from start to goal, or -1 for a maze that is not sound. *unique (may be NULL) says whether one shortest path
 * alone exists, `answer` (may be NULL) receives it or one of several. */
int data_maze_solve(int side, const uint8_t *maze, uint8_t *answer, bool *unique);

/* True if the maze is sound and `answer` is it with exactly one shortest path marked. */
bool data_maze_verify(int side, const uint8_t *maze, const uint8_t *answer);

/* A maze looks like a maze when it is turned or mirrored. Cell `cell` of image 0..7 is cell data_maze_image_cell() of
 * the maze; image 0 is the maze itself. */
enum { MAZE_IMAGES = 8 };
int data_maze_image_cell(int side, int image, int cell);

/* The least moves of a maze that counts as hard: a shortest path longer than 110 at 30x30, as in the Maze-Hard set of
 * the HRM and TRM papers, and for other sides as much longer or shorter as the grid has more or fewer cells. */
int data_maze_hard_moves(int side);

/* Makes a maze of at least `min_moves` (1 or more) moves that has one shortest path alone, so that it has one right
 * answer: walls fall on cells at random, 30% to 50% of all; start and goal are drawn among the pairs that are far
 * enough apart; while there are several shortest paths, a random cell that only some of them need becomes a wall. False
 * after a bounded number of tries. Sides from MAZE_MIN_GENERATED on. */
bool data_maze_generate(int side, int min_moves, struct data_rng *rng, uint8_t *maze, uint8_t *answer, int *moves);

#endif
