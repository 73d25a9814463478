/* bench_peak.c - a loop of fused multiply-adds that touches no memory, per instruction set.
 *
 * Each kernel keeps enough independent chains of x = x * a + b in registers to hide the latency of
 * the instruction (4 cycles, two per cycle: at least 8 chains). The chains converge to b / (1 - a),
 * so that no value overflows or becomes denormal. No state; any thread. */
#include "engine/bench_peak.h"

#include <stddef.h>

#include "engine/cli.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { ROUNDS = 1 << 16 }; /* multiply-adds of each chain in one call: a millisecond at most */

static const float factor = 0.5F, term = 1.0F;

struct kernel {
    const char *instructions;
    double flops;       /* of one call */
    float (*run)(void); /* returns a value that depends on every chain */
};

enum { PORTABLE_LANES = 32 };

/* Whatever vectors the compiler may use for every machine of this architecture. */
static float run_portable(void) {
    float x[PORTABLE_LANES], sum = 0;
    for (int i = 0; i < PORTABLE_LANES; i++)
        x[i] = (float)i;
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < PORTABLE_LANES; i++)
            x[i] = x[i] * factor + term;
    for (int i = 0; i < PORTABLE_LANES; i++)
        sum += x[i];
    return sum;
}

#if defined(__x86_64__)
enum { CHAINS = 12, AVX2_LANES = 8, AVX512_LANES = 16 };

__attribute__((target("avx2,fma"))) static float run_avx2(void) {
    const __m256 a = _mm256_set1_ps(factor), b = _mm256_set1_ps(term);
    __m256 x[CHAINS], sum = _mm256_setzero_ps();
    for (int i = 0; i < CHAINS; i++)
        x[i] = _mm256_set1_ps((float)i);
    for (int round = 0; round < ROUNDS; round++)
#pragma GCC unroll 16 /* or the chains live in memory */
        for (int i = 0; i < CHAINS; i++)
            x[i] = _mm256_fmadd_ps(x[i], a, b);
    for (int i = 0; i < CHAINS; i++)
        sum = _mm256_add_ps(sum, x[i]);
    return _mm256_cvtss_f32(sum);
}

__attribute__((target("avx512f"))) static float run_avx512(void) {
    const __m512 a = _mm512_set1_ps(factor), b = _mm512_set1_ps(term);
    __m512 x[CHAINS], sum = _mm512_setzero_ps();
    for (int i = 0; i < CHAINS; i++)
        x[i] = _mm512_set1_ps((float)i);
    for (int round = 0; round < ROUNDS; round++)
#pragma GCC unroll 16 /* or the chains live in memory */
        for (int i = 0; i < CHAINS; i++)
            x[i] = _mm512_fmadd_ps(x[i], a, b);
    for (int i = 0; i < CHAINS; i++)
        sum = _mm512_add_ps(sum, x[i]);
    return _mm512_cvtss_f32(sum);
}

/* x += the dot products of 16 pairs: each a constant, so that the sums stay small. */
__attribute__((target("avx512f,avx512bf16"))) static float run_avx512_bf16(void) {
    const __m512bh a = (__m512bh)_mm512_set1_epi32(0x38003800), b = a; /* 2^-15 */
    __m512 x[CHAINS], sum = _mm512_setzero_ps();
    for (int i = 0; i < CHAINS; i++)
        x[i] = _mm512_set1_ps((float)i);
    for (int round = 0; round < ROUNDS; round++)
#pragma GCC unroll 16 /* or the chains live in memory */
        for (int i = 0; i < CHAINS; i++)
            x[i] = _mm512_dpbf16_ps(x[i], a, b);
    for (int i = 0; i < CHAINS; i++)
        sum = _mm512_add_ps(sum, x[i]);
    return _mm512_cvtss_f32(sum);
}
#endif

static struct kernel choose_kernel(enum trm_dtype dtype) {
#if defined(__x86_64__)
    if (dtype == TRM_DTYPE_BF16 && __builtin_cpu_supports("avx512bf16"))
        return (struct kernel){"avx512_bf16", 2.0 * ROUNDS * CHAINS * 2 * AVX512_LANES, run_avx512_bf16};
    if (__builtin_cpu_supports("avx512f"))
        return (struct kernel){"avx512", 2.0 * ROUNDS * CHAINS * AVX512_LANES, run_avx512};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return (struct kernel){"avx2", 2.0 * ROUNDS * CHAINS * AVX2_LANES, run_avx2};
#endif
    (void)dtype;
    return (struct kernel){"portable", 2.0 * ROUNDS * PORTABLE_LANES, run_portable};
}

double trm_peak_gflops(enum trm_dtype dtype, double seconds) {
    const struct kernel kernel = choose_kernel(dtype);
    const double start = trm_clock();
    volatile float sink = 0; /* keeps the compiler from dropping the work */
    double elapsed;
    long calls = 0;
    do {
        sink = sink + kernel.run();
        calls++;
        elapsed = trm_clock() - start;
    } while (elapsed < seconds);
    return 1e-9 * kernel.flops * (double)calls / elapsed;
}

const char *trm_peak_instructions(enum trm_dtype dtype) {
    return choose_kernel(dtype).instructions;
}
