/* noise.h - the normal noise of rollouts: a pure function of seed and step, so that a rollout is the same
 * in any slot, beside any neighbours and on any day. Any thread. */
#ifndef TRM_ENGINE_NOISE_H
#define TRM_ENGINE_NOISE_H

#include <stddef.h>
#include <stdint.h>

/* Adds independent normal values of standard deviation `deviation` to `values` [count]. */
void trm_noise_add(float deviation, uint64_t seed, int step, size_t count, float *values);

#endif
