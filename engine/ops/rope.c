/* rope.c - see rope.h. Owns no data. */
#include "engine/ops/rope.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

/* Where token t is on the axis of a pair: of all pairs the same in a line, in a grid the row or the column. */
static int position(const struct op_rope *rope, int t, bool by_column) {
    const int cell = t - rope->prefix;
    if (rope->columns == 0)
        return t;
    if (cell < 0)
        return by_column ? t : 0;
    return 1 + (by_column ? cell % rope->columns : cell / rope->columns);
}

void op_rope_fill(const struct op_rope *rope, int tokens, int dim, float *cosine, float *sine) {
    const int half = dim / 2, pairs = rope->columns > 0 ? half / 2 : half; /* of an axis */
    for (int t = 0; t < tokens; t++)
        for (int i = 0; i < half; i++) {
            /* As the original: the inverse frequency and the angle are rounded to f32. */
            const float frequency = 1.0f / (float)pow(rope->theta, 1.0 * (i % pairs) / pairs);
            const float angle = (float)position(rope, t, i >= pairs) * frequency;
            const size_t at = (size_t)t * (size_t)half + (size_t)i;
            cosine[at] = (float)cos((double)angle);
            sine[at] = (float)sin((double)angle);
        }
}
