/* bf16.h - the upper half of an f32, rounded to nearest even. Pure functions. */
#ifndef TRM_ENGINE_OPS_BF16_H
#define TRM_ENGINE_OPS_BF16_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint16_t op_bf16;

static inline float op_bf16_to_f32(op_bf16 value) {
    uint32_t bits = (uint32_t)value << 16;
    float out;
    memcpy(&out, &bits, sizeof out);
    return out;
}

static inline op_bf16 op_bf16_round(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (op_bf16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

static inline void op_bf16_from_f32(const float *in, op_bf16 *out, size_t count) {
    for (size_t i = 0; i < count; i++)
        out[i] = op_bf16_round(in[i]);
}

static inline void op_bf16_widen(const op_bf16 *in, float *out, size_t count) {
    for (size_t i = 0; i < count; i++)
        out[i] = op_bf16_to_f32(in[i]);
}

#endif
