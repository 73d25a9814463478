/* bench_peak.h - what one core can do at most: the measure against which trm-bench holds the engine.
 *
 * Stateless; call it from the thread whose core is to be measured, alone on it. */
#ifndef TRM_ENGINE_BENCH_PEAK_H
#define TRM_ENGINE_BENCH_PEAK_H

/* f32 multiplications and additions per second, in units of 1e9, of a loop that stays in registers,
 * run for about `seconds` with the widest instructions of this machine. */
double trm_peak_gflops(double seconds);

/* Which instructions those are: "avx512", "avx2" or "portable". */
const char *trm_peak_instructions(void);

#endif
