/* bench_peak.c - loops of multiply-adds that touch no memory, one per instruction set.
 *
 * Each kernel keeps enough independent chains of x = x + a * b (or x * a + b) in registers to hide
 * the latency of the instruction (4 to 6 cycles, two a cycle at most: 12 chains; a tile product
 * takes 16 of its 52 cycles: 4 chains). The inputs are chosen so that no float overflows or becomes
 * denormal; integers wrap. No state; any thread. */
#include "engine/bench_peak.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/cli.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

enum { ROUNDS = 1 << 14 }; /* multiply-adds of each chain in one call: well below a millisecond */

static const float factor = 0.5F, term = 1.0F;

struct kernel {
    const char *instructions;
    double operations;  /* multiplications and additions of one call */
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
enum { CHAINS = 12 };

/* Operations of a call whose chains have `lanes` multiply-adds an instruction. */
static double operations(int chains, int lanes) {
    return 2.0 * ROUNDS * chains * lanes;
}

/* ---- f32 ---- */

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

/* ---- bf16: x += the dot products of 16 pairs, each a constant ---- */

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

/* ---- int8: x += the dot products of quadruples of bytes ---- */

/* Without such an instruction: products added in pairs, pairs added in pairs, the sum added to x.
 * Here x itself is the left operand, or the products would be constants and leave the loop. */
__attribute__((target("avx2"))) static float run_avx2_int8(void) {
    const __m256i b = _mm256_set1_epi8(3), ones = _mm256_set1_epi16(1);
    __m256i x[CHAINS], sum = _mm256_setzero_si256();
    for (int i = 0; i < CHAINS; i++)
        x[i] = _mm256_set1_epi32(i);
    for (int round = 0; round < ROUNDS; round++)
#pragma GCC unroll 16 /* or the chains live in memory */
        for (int i = 0; i < CHAINS; i++)
            x[i] = _mm256_add_epi32(x[i], _mm256_madd_epi16(_mm256_maddubs_epi16(x[i], b), ones));
    for (int i = 0; i < CHAINS; i++)
        sum = _mm256_add_epi32(sum, x[i]);
    return (float)_mm256_extract_epi32(sum, 0);
}

__attribute__((target("avx512f,avx512bw"))) static float run_avx512_int8(void) {
    const __m512i b = _mm512_set1_epi8(3), ones = _mm512_set1_epi16(1);
    __m512i x[CHAINS], sum = _mm512_setzero_si512();
    for (int i = 0; i < CHAINS; i++)
        x[i] = _mm512_set1_epi32(i);
    for (int round = 0; round < ROUNDS; round++)
#pragma GCC unroll 16 /* or the chains live in memory */
        for (int i = 0; i < CHAINS; i++)
            x[i] = _mm512_add_epi32(x[i], _mm512_madd_epi16(_mm512_maddubs_epi16(x[i], b), ones));
    for (int i = 0; i < CHAINS; i++)
        sum = _mm512_add_epi32(sum, x[i]);
    return (float)_mm512_reduce_add_epi32(sum);
}

__attribute__((target("avx2,avxvnni"))) static float run_avx_vnni(void) {
    const __m256i a = _mm256_set1_epi8(2), b = _mm256_set1_epi8(3);
    __m256i x[CHAINS], sum = _mm256_setzero_si256();
    for (int i = 0; i < CHAINS; i++)
        x[i] = _mm256_set1_epi32(i);
    for (int round = 0; round < ROUNDS; round++)
#pragma GCC unroll 16 /* or the chains live in memory */
        for (int i = 0; i < CHAINS; i++)
            x[i] = _mm256_dpbusd_avx_epi32(x[i], a, b);
    for (int i = 0; i < CHAINS; i++)
        sum = _mm256_add_epi32(sum, x[i]);
    return (float)_mm256_extract_epi32(sum, 0);
}

__attribute__((target("avx512f,avx512vnni"))) static float run_avx512_vnni(void) {
    const __m512i a = _mm512_set1_epi8(2), b = _mm512_set1_epi8(3);
    __m512i x[CHAINS], sum = _mm512_setzero_si512();
    for (int i = 0; i < CHAINS; i++)
        x[i] = _mm512_set1_epi32(i);
    for (int round = 0; round < ROUNDS; round++)
#pragma GCC unroll 16 /* or the chains live in memory */
        for (int i = 0; i < CHAINS; i++)
            x[i] = _mm512_dpbusd_epi32(x[i], a, b);
    for (int i = 0; i < CHAINS; i++)
        sum = _mm512_add_epi32(sum, x[i]);
    return (float)_mm512_reduce_add_epi32(sum);
}

/* ---- AMX: products of tiles of 16 rows of 64 bytes; tiles 0 to 3 += tiles 4, 5 x tiles 6, 7 ---- */

enum { TILE_CHAINS = 4 };

/* The operand of ldtilecfg: eight tiles of 16 rows of 64 bytes. In memory of its own, because GCC believes that
 * _tile_loadconfig() reads 8 bytes of it, and leaves stores to the others out. */
static const struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} full_tiles = {.palette = 1, .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 16}};

/* Linux wants a process to ask before it uses tiles. */
static bool may_use_tiles(void) {
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

/* All tiles of full size, all zero. */
__attribute__((target("amx-tile"))) static void open_tiles(void) {
    _tile_loadconfig(&full_tiles);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    _tile_zero(6);
    _tile_zero(7);
}

__attribute__((target("amx-tile,amx-bf16"))) static float run_amx_bf16(void) {
    open_tiles();
    for (int round = 0; round < ROUNDS; round++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_release();
    return 0.0F;
}

__attribute__((target("amx-tile,amx-int8"))) static float run_amx_int8(void) {
    open_tiles();
    for (int round = 0; round < ROUNDS; round++) {
        _tile_dpbusd(0, 4, 6);
        _tile_dpbusd(1, 4, 7);
        _tile_dpbusd(2, 5, 6);
        _tile_dpbusd(3, 5, 7);
    }
    _tile_release();
    return 0.0F;
}

/* ---- the widest that this machine has ---- */

/* What not every compiler's __builtin_cpu_supports() knows by name: bits of leaf 7 of cpuid. */
static bool has_avx_vnni(void) {
    unsigned eax = 0, ebx, ecx, edx;
    return __builtin_cpu_supports("avx2") && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && eax >> 4 & 1;
}

static bool has_tiles(unsigned bit) {
    unsigned eax, ebx, ecx, edx = 0;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && edx >> bit & 1 && may_use_tiles();
}

static struct kernel choose_f32(void) {
    if (__builtin_cpu_supports("avx512f"))
        return (struct kernel){"avx512", operations(CHAINS, 16), run_avx512};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return (struct kernel){"avx2", operations(CHAINS, 8), run_avx2};
    return (struct kernel){"portable", operations(PORTABLE_LANES, 1), run_portable};
}

static struct kernel choose_bf16(void) {
    if (has_tiles(22))
        return (struct kernel){"amx_bf16", operations(TILE_CHAINS, 16 * 16 * 32), run_amx_bf16};
    if (__builtin_cpu_supports("avx512bf16"))
        return (struct kernel){"avx512_bf16", operations(CHAINS, 32), run_avx512_bf16};
    return choose_f32();
}

static struct kernel choose_int8(void) {
    if (has_tiles(25))
        return (struct kernel){"amx_int8", operations(TILE_CHAINS, 16 * 16 * 64), run_amx_int8};
    if (__builtin_cpu_supports("avx512vnni"))
        return (struct kernel){"avx512_vnni", operations(CHAINS, 64), run_avx512_vnni};
    if (__builtin_cpu_supports("avx512bw"))
        return (struct kernel){"avx512bw", operations(CHAINS, 64), run_avx512_int8};
    if (has_avx_vnni())
        return (struct kernel){"avx_vnni", operations(CHAINS, 32), run_avx_vnni};
    if (__builtin_cpu_supports("avx2"))
        return (struct kernel){"avx2", operations(CHAINS, 32), run_avx2_int8};
    return choose_f32();
}

static struct kernel choose_kernel(enum trm_peak peak) {
    switch (peak) {
    case TRM_PEAK_INT8:
        return choose_int8();
    case TRM_PEAK_BF16:
        return choose_bf16();
    default:
        return choose_f32();
    }
}
#else
static struct kernel choose_kernel(enum trm_peak peak) {
    (void)peak;
    return (struct kernel){"portable", 2.0 * ROUNDS * PORTABLE_LANES, run_portable};
}
#endif

static const char *const peak_names[TRM_PEAKS] = {
    [TRM_PEAK_F32] = "f32", [TRM_PEAK_BF16] = "bf16", [TRM_PEAK_INT8] = "int8"};

const char *trm_peak_name(enum trm_peak peak) {
    return peak_names[peak];
}

enum trm_peak trm_peak_of(const char *dtype) {
    for (int i = 0; i < TRM_PEAKS; i++)
        if (strcmp(dtype, peak_names[i]) == 0)
            return (enum trm_peak)i;
    return TRM_PEAK_F32;
}

double trm_peak_gflops(enum trm_peak peak, double seconds) {
    const struct kernel kernel = choose_kernel(peak);
    const double start = trm_cpu_clock();
    volatile float sink = 0; /* keeps the compiler from dropping the work */
    double elapsed;
    long calls = 0;
    do {
        sink = sink + kernel.run();
        calls++;
        elapsed = trm_cpu_clock() - start;
    } while (elapsed < seconds);
    return 1e-9 * kernel.operations * (double)calls / elapsed;
}

const char *trm_peak_instructions(enum trm_peak peak) {
    return choose_kernel(peak).instructions;
}
