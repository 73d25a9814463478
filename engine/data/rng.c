/* rng.c - the one source of chance of training and of puzzle making: xoshiro256** (Blackman and
 * Vigna, 2018), seeded through splitmix64. All state is in the caller's struct. */
#include "engine/data/rng.h"

#include <math.h>

uint64_t data_rng_splitmix(uint64_t *counter) {
    uint64_t z = *counter += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t rotate_left(uint64_t x, int k) {
    return (x << k) | (x >> (64 - k));
}

void data_rng_seed(struct data_rng *rng, uint64_t seed) {
    for (int i = 0; i < 4; i++)
        rng->s[i] = data_rng_splitmix(&seed);
}

uint64_t data_rng_next(struct data_rng *rng) {
    uint64_t *s = rng->s;
    const uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    const uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

/* Lemire's multiplication, redrawing the few values that would favour small results. */
int data_rng_below(struct data_rng *rng, int limit) {
    const uint32_t n = (uint32_t)limit;
    uint64_t product = (data_rng_next(rng) >> 32) * n;
    if ((uint32_t)product < n) {
        const uint32_t biased = (0u - n) % n;
        while ((uint32_t)product < biased)
            product = (data_rng_next(rng) >> 32) * n;
    }
    return (int)(product >> 32);
}

double data_rng_uniform(struct data_rng *rng) {
    return (double)(data_rng_next(rng) >> 11) * 0x1p-53;
}

/* Box and Muller; the second value of the pair is dropped, so that the state is all in `s`. */
double data_rng_normal(struct data_rng *rng) {
    const double radius = sqrt(-2.0 * log(1.0 - data_rng_uniform(rng)));
    return radius * cos(6.283185307179586 * data_rng_uniform(rng));
}

void data_rng_permute(struct data_rng *rng, int count, int *order) {
    for (int i = 0; i < count; i++) {
        order[i] = i;
        const int j = data_rng_below(rng, i + 1);
        order[i] = order[j];
        order[j] = i;
    }
}
