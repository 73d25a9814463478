/* rope.c - see rope.h. Owns no data. */
#include "engine/ops/rope.h"

#include <math.h>
#include <stddef.h>

void op_rope_fill(int tokens, int dim, double theta, float *cosine, float *sine) {
    const int half = dim / 2;
    for (int t = 0; t < tokens; t++)
        for (int i = 0; i < half; i++) {
            /* As the original: the inverse frequency and the angle are rounded to f32. */
            const float frequency = 1.0f / (float)pow(theta, 2.0 * i / dim);
            const float angle = (float)t * frequency;
            const size_t at = (size_t)t * (size_t)half + (size_t)i;
            cosine[at] = (float)cos((double)angle);
            sine[at] = (float)sin((double)angle);
        }
}
