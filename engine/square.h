/* square.h - grids come as lines of cells; this is how long a row of a square one is. Pure: any thread. */
#ifndef TRM_ENGINE_SQUARE_H
#define TRM_ENGINE_SQUARE_H

enum { TRM_MAX_SIDE = 1024 }; /* more than any puzzle has */

/* The side of a square of so many cells; 0 if there is none, or none up to TRM_MAX_SIDE. */
static inline int trm_square_side(int cells) {
    int side = 0;
    while (side < TRM_MAX_SIDE && side * side < cells)
        side++;
    return side * side == cells ? side : 0;
}

#endif
