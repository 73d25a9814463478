/* rope.h - the tables of rotary positions (golden README section 3). Pure. */
#ifndef TRM_ENGINE_OPS_ROPE_H
#define TRM_ENGINE_OPS_ROPE_H

/* How heads are turned. Along the line of all tokens, as in the original; or, with `columns`, over a grid: the tokens
 * behind the first `prefix` are rows of so many cells, and the first half of a head's pairs turn by the row, the second
 * by the column, counted from 1; a prefix token p is at row 0, column p. */
struct op_rope {
    double theta; /* 0: not at all */
    int columns;  /* 0: a line; else pairs of a head are an even number */
    int prefix;
};

/* cosine, sine: [tokens, dim / 2], for op_kernels.rope. */
void op_rope_fill(const struct op_rope *rope, int tokens, int dim, float *cosine, float *sine);

#endif
