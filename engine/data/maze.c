/* maze.c - shortest paths by breadth-first search, and what follows from them. Pure functions; any thread. */
#include "engine/data/maze.h"

#include <stddef.h>
#include <string.h>

#include "engine/data/maze_flood.h"
#include "engine/square.h"

int data_maze_side_of(int cells) {
    const int side = trm_square_side(cells);
    return side >= MAZE_MIN_SIDE && side <= MAZE_MAX_SIDE ? side : 0;
}

void data_maze_flood(int side, const uint8_t *cells, enum maze_cell lowest, int from, int16_t *distance) {
    uint16_t queue[MAZE_MAX_CELLS];
    int head = 0, tail = 0;
    memset(distance, 0xff, (size_t)side * (size_t)side * sizeof *distance);
    distance[from] = 0;
    queue[tail++] = (uint16_t)from;
    while (head < tail) {
        const int cell = queue[head++], col = cell % side;
        const int next[4] = {cell - side, cell + side, col > 0 ? cell - 1 : -1, col < side - 1 ? cell + 1 : -1};
        for (int i = 0; i < 4; i++) {
            if (next[i] < 0 || next[i] >= side * side || cells[next[i]] < lowest || distance[next[i]] >= 0)
                continue;
            distance[next[i]] = (int16_t)(distance[cell] + 1);
            queue[tail++] = (uint16_t)next[i];
        }
    }
}

/* The cells of start and goal; false unless there is one of each and everything else is wall or floor. */
static const char *find_ends(int side, const uint8_t *maze, int *start, int *goal) {
    int starts = 0, goals = 0;
    *start = *goal = 0;
    for (int cell = 0; cell < side * side; cell++) {
        if (maze[cell] == MAZE_PATH)
            return "the path is for the answer to mark";
        if (maze[cell] < MAZE_WALL || maze[cell] > MAZE_PATH)
            return "a cell is neither wall nor floor nor start nor goal";
        if (maze[cell] == MAZE_START) {
            starts++;
            *start = cell;
        } else if (maze[cell] == MAZE_GOAL) {
            goals++;
            *goal = cell;
        }
    }
    return starts != 1 ? "a maze has exactly one start" : goals != 1 ? "a maze has exactly one goal" : NULL;
}

const char *data_maze_fault(int side, const uint8_t *maze) {
    int16_t distance[MAZE_MAX_CELLS];
    int start, goal;
    const char *fault = find_ends(side, maze, &start, &goal);
    if (fault)
        return fault;
    data_maze_flood(side, maze, MAZE_FLOOR, start, distance);
    return distance[goal] < 0 ? "no way leads from the start to the goal" : NULL;
}

int data_maze_solve(int side, const uint8_t *maze, uint8_t *answer, bool *unique) {
    int16_t distance[MAZE_MAX_CELLS]; /* to the goal */
    int start, goal;
    if (find_ends(side, maze, &start, &goal))
        return -1;
    data_maze_flood(side, maze, MAZE_FLOOR, goal, distance);
    const int moves = distance[start];
    if (moves < 0)
        return -1;

    bool only = true;
    if (answer)
        memcpy(answer, maze, (size_t)side * (size_t)side);
    /* All shortest paths are this one as long as each of its cells has one neighbour that is nearer to the goal. */
    for (int cell = start, left = moves; left > 0; left--) {
        const int col = cell % side;
        const int next[4] = {cell - side, cell + side, col > 0 ? cell - 1 : -1, col < side - 1 ? cell + 1 : -1};
        int nearer = -1;
        for (int i = 0; i < 4; i++) {
            if (next[i] < 0 || next[i] >= side * side || distance[next[i]] != left - 1)
                continue;
            only = only && nearer < 0;
            nearer = nearer < 0 ? next[i] : nearer;
        }
        cell = nearer;
        if (answer && cell != goal)
            answer[cell] = MAZE_PATH;
    }
    if (unique)
        *unique = only;
    return moves;
}

bool data_maze_verify(int side, const uint8_t *maze, const uint8_t *answer) {
    int16_t distance[MAZE_MAX_CELLS];
    int start, goal, marks = 0;
    if (find_ends(side, maze, &start, &goal))
        return false;
    for (int cell = 0; cell < side * side; cell++) {
        const bool marked = maze[cell] == MAZE_FLOOR && answer[cell] == MAZE_PATH;
        if (answer[cell] != maze[cell] && !marked)
            return false;
        marks += marked;
    }
    /* Who walks on marked cells alone needs all of them, and who may walk anywhere is not faster. */
    data_maze_flood(side, answer, MAZE_START, start, distance);
    if (distance[goal] != marks + 1)
        return false;
    data_maze_flood(side, maze, MAZE_FLOOR, start, distance);
    return distance[goal] == marks + 1;
}

int data_maze_image_cell(int side, int image, int cell) {
    int row = cell / side, col = cell % side;
    row = image & 1 ? side - 1 - row : row;
    col = image & 2 ? side - 1 - col : col;
    return image & 4 ? col * side + row : row * side + col;
}
