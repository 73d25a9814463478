/* puzzle.c - the one place that asks which kind a puzzle is before it applies rules or symmetries. No state. */
#include "engine/data/puzzle.h"

#include <string.h>

#include "engine/data/sudoku.h"

/* The side of the grids, or 0 if nothing is known of such puzzles. */
static int side_of(enum trm_puzzle kind, int cells) {
    return kind == TRM_PUZZLE_SUDOKU ? data_sudoku_size_of(cells)
           : kind == TRM_PUZZLE_MAZE ? data_maze_side_of(cells)
                                     : 0;
}

bool data_puzzle_has_verifier(enum trm_puzzle kind, int cells) {
    return side_of(kind, cells) > 0;
}

bool data_puzzle_verify(enum trm_puzzle kind, int cells, const int32_t *puzzle, const int32_t *answer) {
    uint8_t grid[2][PUZZLE_MAX_CELLS]; /* puzzle, answer */
    const int side = side_of(kind, cells), lowest = kind == TRM_PUZZLE_SUDOKU ? 1 : 0;
    if (side == 0)
        return false;
    for (int i = 0; i < cells; i++) {
        if (puzzle[i] < 1 || answer[i] < 1 || puzzle[i] > UINT8_MAX || answer[i] > UINT8_MAX)
            return false; /* padding is no symbol */
        grid[0][i] = (uint8_t)(puzzle[i] - lowest);
        grid[1][i] = (uint8_t)(answer[i] - lowest);
    }
    return kind == TRM_PUZZLE_SUDOKU ? data_sudoku_verify(side, grid[0], grid[1])
                                     : data_maze_verify(side, grid[0], grid[1]);
}

void data_puzzle_keep_given(enum trm_puzzle kind, int cells, const int32_t *puzzle, int32_t *answer) {
    const int32_t open = kind == TRM_PUZZLE_SUDOKU ? 1 : MAZE_FLOOR; /* the token of a cell that wants an answer */
    if (side_of(kind, cells) == 0)
        return;
    for (int i = 0; i < cells; i++)
        if (puzzle[i] != open)
            answer[i] = puzzle[i];
}

bool data_puzzle_has_guesses(enum trm_puzzle kind, int cells) {
    return kind == TRM_PUZZLE_SUDOKU && side_of(kind, cells) > 0;
}

void data_puzzle_candidates(enum trm_puzzle kind, int cells, const int32_t *puzzle, uint16_t *candidates) {
    uint8_t grid[SUDOKU_MAX_CELLS]; /* 0 is blank, and whatever is no digit */
    memset(candidates, 0, (size_t)cells * sizeof *candidates);
    if (!data_puzzle_has_guesses(kind, cells))
        return;
    const int size = side_of(kind, cells);
    for (int i = 0; i < cells; i++)
        grid[i] = puzzle[i] >= 1 && puzzle[i] <= size + 1 ? (uint8_t)(puzzle[i] - 1) : 0;
    data_sudoku_candidates(size, grid, candidates);
    for (int i = 0; i < cells; i++)
        candidates[i] = (uint16_t)(candidates[i] << 1); /* digit d is token d + 1 */
}

int data_puzzle_images(enum trm_puzzle kind, int cells) {
    if (side_of(kind, cells) == 0)
        return 1;
    return kind == TRM_PUZZLE_SUDOKU ? INT32_MAX : MAZE_IMAGES;
}

static void get_sudoku(int size, uint64_t seed, struct data_symmetry *symmetry) {
    struct data_rng rng;
    struct sudoku_symmetry drawn;
    data_rng_seed(&rng, seed);
    data_sudoku_draw_symmetry(size, &rng, &drawn);
    for (int i = 0; i < size * size; i++)
        symmetry->from[i] = drawn.from[i];
    for (int digit = 0; digit <= size; digit++)
        symmetry->to[digit + 1] = (uint8_t)(drawn.digit[digit] + 1);
}

void data_symmetry_get(enum trm_puzzle kind, int cells, int image, uint64_t seed, struct data_symmetry *symmetry) {
    const int side = side_of(kind, cells);
    for (int i = 0; i < cells && i < PUZZLE_MAX_CELLS; i++)
        symmetry->from[i] = (uint16_t)i;
    for (int i = 0; i < PUZZLE_TOKENS; i++)
        symmetry->to[i] = (uint8_t)i;
    if (image == 0 || side == 0)
        return;
    if (kind == TRM_PUZZLE_SUDOKU) {
        get_sudoku(side, seed, symmetry);
    } else {
        for (int i = 0; i < cells; i++)
            symmetry->from[i] = (uint16_t)data_maze_image_cell(side, image, i);
    }
}

void data_symmetry_apply(const struct data_symmetry *symmetry, int cells, const int32_t *tokens, int32_t *out) {
    for (int i = 0; i < cells; i++) {
        const int32_t token = tokens[symmetry->from[i]];
        out[i] = token >= 0 && token < PUZZLE_TOKENS ? symmetry->to[token] : token;
    }
}

void data_symmetry_undo(const struct data_symmetry *symmetry, int cells, const int32_t *tokens, int32_t *out) {
    uint8_t back[PUZZLE_TOKENS];
    for (int i = 0; i < PUZZLE_TOKENS; i++)
        back[symmetry->to[i]] = (uint8_t)i;
    for (int i = 0; i < cells; i++)
        out[symmetry->from[i]] = tokens[i] >= 0 && tokens[i] < PUZZLE_TOKENS ? back[tokens[i]] : tokens[i];
}
