/* reach_vector.h - the vector forms of op_kernels.reach and its gradient (kernels.h). Pure: any thread. */
#ifndef TRM_ENGINE_OPS_REACH_VECTOR_H
#define TRM_ENGINE_OPS_REACH_VECTOR_H

#include "engine/ops/reach.h"

void op_reach_vector(const float *qkv, const struct op_reach_table *table, int heads, int dim, float *room, float *out);
void op_reach_vector_backward(const float *qkv, const float *dout, const struct op_reach_table *table, int heads,
                              int dim, float *room, float *dqkv);

#endif
