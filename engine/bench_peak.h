/* bench_peak.h - what one core can do at most: the measure against which trm-bench holds the engine.
 *
 * Stateless; call it from the thread whose core is to be measured. */
#ifndef TRM_ENGINE_BENCH_PEAK_H
#define TRM_ENGINE_BENCH_PEAK_H

/* The kinds of multiply-add that matrix products are made of. */
enum trm_peak {
    TRM_PEAK_F32,
    TRM_PEAK_BF16, /* pairs of bf16, added to f32; where no instruction does it: f32 */
    TRM_PEAK_INT8, /* quadruples of u8 x s8, added to i32; where no instruction does it: the three that do */
    TRM_PEAKS
};

/* "f32", "bf16", "int8": the name of the dtype whose products are held against this peak. */
const char *trm_peak_name(enum trm_peak peak);

/* The peak for a dtype's name; f32 for one that is not known. */
enum trm_peak trm_peak_of(const char *dtype);

/* Multiplications and additions per second of CPU time, in units of 1e9, of a loop that stays in
 * registers, run for about `seconds` with the widest instructions that this machine has. */
double trm_peak_gflops(enum trm_peak peak, double seconds);

/* Which instructions those are: "avx512_bf16", "avx512", "avx2", "portable" ... */
const char *trm_peak_instructions(enum trm_peak peak);

#endif
