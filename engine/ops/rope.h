/* rope.h - the tables of rotary positions (golden README section 3). Pure. */
#ifndef TRM_ENGINE_OPS_ROPE_H
#define TRM_ENGINE_OPS_ROPE_H

/* cosine, sine: [tokens, dim / 2], for op_kernels.rope. */
void op_rope_fill(int tokens, int dim, double theta, float *cosine, float *sine);

#endif
