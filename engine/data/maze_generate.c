/* maze_generate.c - makes mazes with one shortest path: random walls, far ends, and a wall on every way round
 * that is as short. Works on the caller's rng alone; any thread. */
#include <string.h>

#include "engine/data/maze_flood.h"

enum { MAX_TRIES = 200000, LEAST_WALLS = 30, MOST_WALLS = 50 }; /* percent */

int data_maze_hard_moves(int side) {
    return 110 * side * side / 900 + 1;
}

/* Walls on 30% to 50% of the cells, floor elsewhere. */
static void scatter_walls(int side, struct data_rng *rng, uint8_t *maze) {
    const int cells = side * side;
    const double share = (LEAST_WALLS + (MOST_WALLS - LEAST_WALLS) * data_rng_uniform(rng)) / 100;
    for (int i = 0; i < cells; i++)
        maze[i] = data_rng_uniform(rng) < share ? MAZE_WALL : MAZE_FLOOR;
}

/* A random cell of those for which `distance` is at least `least`, or -1. */
static int draw_far(int cells, const int16_t *distance, int least, struct data_rng *rng) {
    int count = 0;
    for (int i = 0; i < cells; i++)
        count += distance[i] >= least;
    if (count == 0)
        return -1;
    int wanted = data_rng_below(rng, count), cell = 0;
    while (distance[cell] < least || wanted-- > 0)
        cell++;
    return cell;
}

/* A random start, and a goal far from it; false if there is none. */
static bool place_ends(int side, int min_moves, struct data_rng *rng, uint8_t *maze, int *start, int *goal) {
    int16_t distance[MAZE_MAX_CELLS];
    *start = data_rng_below(rng, side * side);
    if (maze[*start] == MAZE_WALL)
        return false;
    data_maze_flood(side, maze, MAZE_FLOOR, *start, distance);
    *goal = draw_far(side * side, distance, min_moves, rng);
    if (*goal < 0)
        return false;
    maze[*start] = MAZE_START;
    maze[*goal] = MAZE_GOAL;
    return true;
}

/* Walls off cells until one shortest path is left. Where several cells are equally far from the start on shortest
 * paths, each such path needs just one of them, so that another keeps its length when one is closed. */
static void close_detours(int side, struct data_rng *rng, uint8_t *maze, int start, int goal) {
    int16_t there[MAZE_MAX_CELLS], back[MAZE_MAX_CELLS];
    uint16_t spare[MAZE_MAX_CELLS]; /* cells of shortest paths that not all of them need */
    for (;;) {
        uint8_t at_distance[MAZE_MAX_CELLS] = {0}; /* cells of shortest paths, by distance; 2 for more */
        int spares = 0;
        data_maze_flood(side, maze, MAZE_FLOOR, start, there);
        data_maze_flood(side, maze, MAZE_FLOOR, goal, back);
        for (int cell = 0; cell < side * side; cell++)
            if (there[cell] >= 0 && there[cell] + back[cell] == there[goal] && at_distance[there[cell]] < 2)
                at_distance[there[cell]]++;
        for (int cell = 0; cell < side * side; cell++)
            if (there[cell] >= 0 && there[cell] + back[cell] == there[goal] && at_distance[there[cell]] == 2)
                spare[spares++] = (uint16_t)cell;
        if (spares == 0)
            return;
        maze[spare[data_rng_below(rng, spares)]] = MAZE_WALL;
    }
}

bool data_maze_generate(int side, int min_moves, struct data_rng *rng, uint8_t *maze, uint8_t *answer, int *moves) {
    for (int i = 0; i < MAX_TRIES; i++) {
        int start, goal;
        scatter_walls(side, rng, maze);
        if (!place_ends(side, min_moves, rng, maze, &start, &goal))
            continue;
        close_detours(side, rng, maze, start, goal);
        *moves = data_maze_solve(side, maze, answer, NULL);
        return true;
    }
    return false;
}
