/* maze_flood.h - what maze.c and maze_generate.c share. */
#ifndef TRM_ENGINE_DATA_MAZE_FLOOD_H
#define TRM_ENGINE_DATA_MAZE_FLOOD_H

#include "engine/data/maze.h"

/* Fills `distance` [side * side] with the moves from cell `from` to every cell, over cells that are `lowest` or above
 * it in enum maze_cell; -1 where nothing leads. */
void data_maze_flood(int side, const uint8_t *cells, enum maze_cell lowest, int from, int16_t *distance);

#endif
