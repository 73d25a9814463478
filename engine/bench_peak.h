/* bench_peak.h - what one core can do at most: the measure against which trm-bench holds the engine.
 *
 * Stateless; call it from the thread whose core is to be measured, alone on it. */
#ifndef TRM_ENGINE_BENCH_PEAK_H
#define TRM_ENGINE_BENCH_PEAK_H

#include "engine/engine.h"

/* Multiplications and additions per second, in units of 1e9, of a loop that stays in registers, run
 * for about `seconds` with the widest instructions that this machine has for `dtype` (AUTO is f32;
 * bf16 where there are no bf16 instructions is computed as f32, and so measured). */
double trm_peak_gflops(enum trm_dtype dtype, double seconds);

/* Which instructions those are: "avx512_bf16", "avx512", "avx2" or "portable". */
const char *trm_peak_instructions(enum trm_dtype dtype);

#endif
