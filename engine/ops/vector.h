/* vector.h - what the files of vector kernels share: functions for use inside loops that compilers turn
 * into SIMD, compiled once per instruction set and chosen when the program starts. Pure functions. */
#ifndef TRM_ENGINE_OPS_VECTOR_H
#define TRM_ENGINE_OPS_VECTOR_H

#include <stdint.h>

#include "engine/ops/bf16.h"
#include "engine/ops/matmul.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define VECTOR_KERNEL __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define VECTOR_KERNEL
#endif
#define INLINE static inline __attribute__((always_inline))

/* A float and its bits. */
union bits {
    float value;
    int32_t bits;
    uint32_t magnitude;
};

/* x within -limit .. limit, by comparing bits: those of positive floats are ordered as signed integers, those of
 * negative ones, by their size, as unsigned integers. GCC turns comparisons of floats with constants into
 * branches and masks; these are two instructions. */
INLINE float clamp(float x, float limit) {
    union bits v = {.value = x}, most = {.value = limit}, least = {.value = -limit};
    v.bits = v.bits < most.bits ? v.bits : most.bits;
    v.magnitude = v.magnitude < least.magnitude ? v.magnitude : least.magnitude;
    return v.value;
}

/* e^x by 2^n * polynomial(r), |r| <= ln2 / 2; relative error below 3e-7. Arguments are clamped so
 * that neither the result nor its reciprocal leaves the normal range. */
INLINE float fast_exp(float x) {
    const float shift = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    x = clamp(x, 87.0f);
    float n = (x * 1.44269504f + shift) - shift;
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    union bits power = {.bits = ((int32_t)n + 127) << 23};
    return p * power.value;
}

INLINE float sigmoid(float x) {
    return 1.0f / (1.0f + fast_exp(-x));
}

/* 2^x, relative error below 1e-4: for results that are kept in 16 or 8 bits. */
INLINE float coarse_exp2(float x) {
    const float shift = 12582912.0f, t = clamp(x, 126.0f);
    const union bits n = {.value = t + shift};
    const float r = t - (n.value - shift);
    union bits power = {.value = ((0.0551716691f * r + 0.242611122f) * r + 0.693260985f) * r + 0.999928074f};
    power.bits += (int32_t)((uint32_t)n.bits << 23);
    return power.value;
}

/* x * sigmoid(x), as coarse. */
INLINE float coarse_silu(float x) {
    return x / (1.0f + coarse_exp2(x * -1.44269504f));
}

/* `type` is a constant wherever these are inlined. */
INLINE void put(void *out, enum op_dtype type, size_t index, float value) {
    if (type == OP_BF16)
        ((op_bf16 *)out)[index] = op_bf16_round(value);
    else
        ((float *)out)[index] = value;
}

INLINE float get(const void *in, enum op_dtype type, size_t index) {
    return type == OP_BF16 ? op_bf16_to_f32(((const op_bf16 *)in)[index]) : ((const float *)in)[index];
}

#endif
