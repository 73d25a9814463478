/* noise.c - pairs of normal values (Box and Muller), each pair from one number of a sequence that seed
 * and step choose. No state. */
#include "engine/noise.h"

#include <math.h>

#include "engine/data/rng.h"

void trm_noise_add(float deviation, uint64_t seed, int step, size_t count, float *values) {
    uint64_t counter = data_rng_splitmix(&seed) + (uint64_t)step;
    counter = data_rng_splitmix(&counter); /* sequences of neighbouring seeds and steps do not overlap */
    for (size_t i = 0; i < count; i += 2) {
        const uint64_t bits = data_rng_splitmix(&counter);
        const float uniform = ((float)(bits >> 40) + 1.0f) * 0x1p-24f; /* in (0, 1] */
        const float angle = (float)(bits & 0xffffff) * (0x1p-24f * 6.2831853f);
        const float radius = deviation * sqrtf(-2.0f * logf(uniform));
        values[i] += radius * cosf(angle);
        if (i + 1 < count)
            values[i + 1] += radius * sinf(angle);
    }
}
