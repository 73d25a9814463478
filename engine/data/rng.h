/* rng.h - a small random generator whose whole state can be saved, so that a resumed run repeats
 * an uninterrupted one (xoshiro256**, Blackman and Vigna). One owner at a time. */
#ifndef TRM_ENGINE_DATA_RNG_H
#define TRM_ENGINE_DATA_RNG_H

#include <stdint.h>

struct data_rng {
    uint64_t s[4];
};

/* The generator that seeds the other: advances *counter by a constant and scrambles it (splitmix64). */
uint64_t data_rng_splitmix(uint64_t *counter);

void data_rng_seed(struct data_rng *rng, uint64_t seed);
uint64_t data_rng_next(struct data_rng *rng);
int data_rng_below(struct data_rng *rng, int limit); /* uniform in 0 .. limit - 1, unbiased; limit >= 1 */
double data_rng_uniform(struct data_rng *rng);       /* uniform in [0, 1) */
double data_rng_normal(struct data_rng *rng);        /* standard normal; keeps no hidden state between calls */

/* Fills `order` [count] with a random permutation of 0 .. count - 1. */
void data_rng_permute(struct data_rng *rng, int count, int *order);

#endif
