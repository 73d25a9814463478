/* reach.h - which tokens a head of attention sees, where it does not see them all.
 *
 * A puzzle's rules are about cells that lie together: those of a row, a column or a box of Sudoku, those around a cell
 * of a maze. A head that sees them alone need not learn which they are, has no weights that belong to a cell, and its
 * work grows with the cells of such a group, not with all of the grid. Tokens before the cells see all tokens and are
 * seen by all. Every relation is mutual. Pure; a table is immutable once made: any thread. */
#ifndef TRM_ENGINE_OPS_REACH_H
#define TRM_ENGINE_OPS_REACH_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/status.h"

enum op_reach_kind {
    OP_REACH_ALL,   /* every token */
    OP_REACH_UNITS, /* heads in turn: the row, the column, the box (3x3 for 9x9, 2 rows x 3 columns for 6x6) of a cell
                     */
    OP_REACH_NEAR   /* the cells at most `radius` rows and columns away */
};

enum { OP_REACH_UNIT_SETS = 3 };

struct op_reach {
    enum op_reach_kind kind;
    int side;   /* rows and columns of cells */
    int prefix; /* tokens before them */
    int radius; /* OP_REACH_NEAR only */
};

enum { OP_REACH_LANES = 16, OP_REACH_NO_TOKEN = -1 };

/* How cells lie for vectors of queries (reach_vector.c): the i-th keys of LANES queries in consecutive places lie in
 * consecutive places too. The queries of block b are the places from first + b * LANES on; their i-th keys those from
 * shift[i] on, counted from the queries' own first place if `relative`. Some places have no cell: they are closed. */
struct op_reach_table {
    struct op_reach reach;
    int tokens;
    int sets;   /* head h sees what set h % sets does */
    int places; /* a multiple of LANES */
    int *token; /* [sets, places]: whose cell lies there, or OP_REACH_NO_TOKEN */
    int first, blocks;
    int span;      /* keys of a query that are cells, closed ones too */
    int *shift;    /* [span] */
    int relative;  /* 0 or 1 */
    float *closed; /* [places]: 0 for a cell, else so low that its weight is 0 */
};

/* The definition: whether a query of a head of this set sees a key. Both are tokens. */
bool op_reach_sees(const struct op_reach *reach, int set, int query, int key);

/* Rows of a box of Sudoku; 0 if such a side has no boxes (a prime number, less than 4, more than OP_REACH_LANES). */
int op_reach_box_rows(int side);

/* kind is not OP_REACH_ALL; UNITS wants a side that has boxes. */
trm_status op_reach_table_create(const struct op_reach *reach, struct op_reach_table **table, trm_error *err);
void op_reach_table_destroy(struct op_reach_table *table); /* NULL is fine */

/* Elements that the kernels want as room, for heads of `dim`. */
size_t op_reach_room(const struct op_reach_table *table, int dim);

#endif
