/* rows.h - the rows (tokens) of a puzzle in blocks of nearly equal size, small enough for a core's cache. */
#ifndef TRM_ENGINE_OPS_ROWS_H
#define TRM_ENGINE_OPS_ROWS_H

#include <stddef.h>

struct op_rows {
    int total, count; /* rows, blocks */
    int block;        /* rows of each block but perhaps the last */
    int tail;         /* rows of the last block where it is shorter, or 0 */
};

/* Blocks of at most `largest` rows. */
static inline struct op_rows op_rows(int total, int largest) {
    const int wanted = (total + largest - 1) / largest, block = (total + wanted - 1) / wanted;
    const int count = (total + block - 1) / block, last = total - (count - 1) * block;
    return (struct op_rows){.total = total, .count = count, .block = block, .tail = last == block ? 0 : last};
}

/* Blocks are numbered through consecutive puzzles: block `index` belongs to puzzle index / count. */

/* Rows of block `index`. */
static inline int op_rows_in(const struct op_rows *rows, int index) {
    return index % rows->count == rows->count - 1 && rows->tail > 0 ? rows->tail : rows->block;
}

/* Its first row, counted from the first puzzle's. */
static inline size_t op_rows_at(const struct op_rows *rows, int index) {
    return (size_t)(index / rows->count) * (size_t)rows->total + (size_t)(index % rows->count) * (size_t)rows->block;
}

/* Rows of `count` blocks from block `first` on, which lie one behind the other. */
static inline int op_rows_of(const struct op_rows *rows, int first, int count) {
    return (int)(op_rows_at(rows, first + count) - op_rows_at(rows, first));
}

#endif
