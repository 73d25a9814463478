/* kernels_vector.c - the elementwise work in loops that compilers turn into SIMD, compiled once
 * per instruction set and chosen when the program starts (DESIGN section 3: plain loops cost two
 * thirds of an evaluation, these 5-10%). Pure functions, any thread.
 *
 * Reductions are declared with `omp simd`, so their order is fixed by the instruction set and the
 * length alone: the same input gives the same bits wherever it lies. */
#include <math.h>

#include "engine/ops/kernels.h"
#include "engine/ops/reach_vector.h"
#include "engine/ops/vector.h"

VECTOR_KERNEL static void to_bf16(const float *restrict x, size_t n, op_bf16 *restrict out) {
    for (size_t i = 0; i < n; i++)
        out[i] = op_bf16_round(x[i]);
}

VECTOR_KERNEL static void accumulate(const float *restrict x, size_t n, float *restrict y) {
    for (size_t i = 0; i < n; i++)
        y[i] += x[i];
}

VECTOR_KERNEL static void sum(const float *const *addends, int count, size_t n, float *out, op_bf16 *out16) {
    enum { BLOCK = 256 };
    float total[BLOCK];
    for (size_t start = 0; start < n; start += BLOCK) {
        size_t length = n - start < BLOCK ? n - start : BLOCK;
        for (size_t i = 0; i < length; i++)
            total[i] = addends[0][start + i];
        for (int a = 1; a < count; a++) {
            const float *addend = addends[a] + start;
            for (size_t i = 0; i < length; i++)
                total[i] += addend[i];
        }
        for (size_t i = 0; i < length; i++)
            out[start + i] = total[i];
        if (out16)
            for (size_t i = 0; i < length; i++)
                out16[start + i] = op_bf16_round(total[i]);
    }
}

VECTOR_KERNEL static void rms_rows(const float *restrict x, const float *restrict d, int rows, int n, float eps,
                                   float *restrict y, float *restrict rinv, op_bf16 *restrict y16) {
    for (int r = 0; r < rows; r++) {
        size_t row = (size_t)r * (size_t)n;
        float squares = 0.0f;
#pragma omp simd reduction(+ : squares)
        for (int i = 0; i < n; i++) {
            float s = x[row + (size_t)i] + d[row + (size_t)i];
            y[row + (size_t)i] = s;
            squares += s * s;
        }
        float scale = 1.0f / sqrtf(squares / (float)n + eps);
        rinv[r] = scale;
        for (int i = 0; i < n; i++)
            y[row + (size_t)i] *= scale;
        if (y16)
            for (int i = 0; i < n; i++)
                y16[row + (size_t)i] = op_bf16_round(y[row + (size_t)i]);
    }
}

VECTOR_KERNEL static void rms_cols(const float *restrict x, const float *restrict d, int rows, int n, size_t stride,
                                   float eps, float *restrict y, float *restrict rinv, op_bf16 *restrict y16) {
    for (int i = 0; i < n; i++)
        rinv[i] = 0.0f;
    for (int r = 0; r < rows; r++) {
        const size_t row = (size_t)r * stride, line = (size_t)r * (size_t)n;
        for (int i = 0; i < n; i++) {
            float s = x[row + (size_t)i] + d[line + (size_t)i];
            y[row + (size_t)i] = s;
            rinv[i] += s * s;
        }
    }
    for (int i = 0; i < n; i++)
        rinv[i] = 1.0f / sqrtf(rinv[i] / (float)rows + eps);
    for (int r = 0; r < rows; r++) {
        const size_t row = (size_t)r * stride;
        for (int i = 0; i < n; i++)
            y[row + (size_t)i] *= rinv[i];
        if (y16)
            for (int i = 0; i < n; i++)
                y16[row + (size_t)i] = op_bf16_round(y[row + (size_t)i]);
    }
}

VECTOR_KERNEL static void rms_rows_backward(const float *restrict y, const float *restrict rinv, const float *dy,
                                            int rows, int n, float *ds, op_bf16 *restrict ds16) {
    for (int r = 0; r < rows; r++) {
        size_t row = (size_t)r * (size_t)n;
        float dot = 0.0f;
#pragma omp simd reduction(+ : dot)
        for (int i = 0; i < n; i++)
            dot += dy[row + (size_t)i] * y[row + (size_t)i];
        dot /= (float)n;
        float scale = rinv[r];
#pragma omp simd
        for (int i = 0; i < n; i++)
            ds[row + (size_t)i] = scale * (dy[row + (size_t)i] - y[row + (size_t)i] * dot);
        if (ds16)
            for (int i = 0; i < n; i++)
                ds16[row + (size_t)i] = op_bf16_round(ds[row + (size_t)i]);
    }
}

VECTOR_KERNEL static void rms_cols_backward(const float *restrict y, const float *restrict rinv, const float *dy,
                                            int rows, int n, float *ds, op_bf16 *restrict ds16) {
    enum { BLOCK = 64 };
    float dot[BLOCK];
    for (int start = 0; start < n; start += BLOCK) {
        int length = n - start < BLOCK ? n - start : BLOCK;
        for (int i = 0; i < length; i++)
            dot[i] = 0.0f;
        for (int r = 0; r < rows; r++) {
            size_t row = (size_t)r * (size_t)n + (size_t)start;
            for (int i = 0; i < length; i++)
                dot[i] += dy[row + (size_t)i] * y[row + (size_t)i];
        }
        for (int i = 0; i < length; i++)
            dot[i] /= (float)rows;
        for (int r = 0; r < rows; r++) {
            size_t row = (size_t)r * (size_t)n + (size_t)start;
#pragma omp simd
            for (int i = 0; i < length; i++)
                ds[row + (size_t)i] = rinv[start + i] * (dy[row + (size_t)i] - y[row + (size_t)i] * dot[i]);
            if (ds16)
                for (int i = 0; i < length; i++)
                    ds16[row + (size_t)i] = op_bf16_round(ds[row + (size_t)i]);
        }
    }
}

INLINE void swiglu_row(const float *restrict gate, const float *restrict up, size_t n, enum op_dtype type,
                       void *restrict act) {
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        put(act, type, i, (type == OP_BF16 ? coarse_silu(gate[i]) : gate[i] * sigmoid(gate[i])) * up[i]);
}

VECTOR_KERNEL static void swiglu(const float *gate, const float *up, int rows, size_t n, size_t stride,
                                 enum op_dtype type, void *act, size_t act_stride) {
    for (int r = 0; r < rows; r++) {
        const float *g = gate + (size_t)r * stride, *u = up + (size_t)r * stride;
        if (type == OP_BF16)
            swiglu_row(g, u, n, OP_BF16, (op_bf16 *)act + (size_t)r * act_stride);
        else
            swiglu_row(g, u, n, OP_F32, (float *)act + (size_t)r * act_stride);
    }
}

INLINE void swiglu_backward_row(const float *restrict gate, const float *restrict up, const float *restrict dact,
                                size_t n, enum op_dtype type, void *restrict dgate, void *restrict dup,
                                void *restrict act) {
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        float g = gate[i], u = up[i], da = dact[i];
        float s = sigmoid(g), silu = g * s;
        put(act, type, i, silu * u);
        put(dup, type, i, da * silu);
        put(dgate, type, i, da * u * (s + silu * (1.0f - s)));
    }
}

VECTOR_KERNEL static void swiglu_backward(const float *gate, const float *up, const float *dact, int rows, size_t n,
                                          size_t stride, enum op_dtype type, void *dgate, void *dup, void *act) {
    for (int r = 0; r < rows; r++) {
        size_t wide = (size_t)r * stride, narrow = (size_t)r * n;
        if (type == OP_BF16)
            swiglu_backward_row(gate + wide, up + wide, dact + narrow, n, OP_BF16, (op_bf16 *)dgate + wide,
                                (op_bf16 *)dup + wide, (op_bf16 *)act + narrow);
        else
            swiglu_backward_row(gate + wide, up + wide, dact + narrow, n, OP_F32, (float *)dgate + wide,
                                (float *)dup + wide, (float *)act + narrow);
    }
}

INLINE void scale_row(const float *row, int n, float factor, enum op_dtype type, void *p) {
#pragma omp simd
    for (int i = 0; i < n; i++)
        put(p, type, (size_t)i, row[i] * factor);
}

/* The exponentials are kept in `p` when it is f32 and computed twice when it is not: `scores` stays
 * the caller's. */
/* Maxima and sums run in lanes of several vectors: a single one would wait for its own last operation. */
enum { LANES = 64 };

INLINE float largest_of(const float *row, int n) {
    float lanes[LANES], largest = row[0];
    const int whole = n - n % LANES;
    for (int k = 0; k < LANES; k++)
        lanes[k] = row[0];
    for (int i = 0; i < whole; i += LANES)
#pragma omp simd
        for (int k = 0; k < LANES; k++)
            lanes[k] = row[i + k] > lanes[k] ? row[i + k] : lanes[k];
    for (int i = whole; i < n; i++)
        largest = row[i] > largest ? row[i] : largest;
#pragma omp simd reduction(max : largest)
    for (int k = 0; k < LANES; k++)
        largest = lanes[k] > largest ? lanes[k] : largest;
    return largest;
}

/* The sum of e^(scale * (row[i] - largest)). */
INLINE float sum_of_exponentials(const float *row, int n, float scale, float largest) {
    const int whole = n - n % LANES;
    float lanes[LANES] = {0}, total = 0.0f;
    for (int i = 0; i < whole; i += LANES) {
#pragma omp simd
        for (int k = 0; k < LANES; k++)
            lanes[k] += fast_exp(scale * (row[i + k] - largest));
    }
    for (int i = whole; i < n; i++)
        total += fast_exp(scale * (row[i] - largest));
#pragma omp simd reduction(+ : total)
    for (int k = 0; k < LANES; k++)
        total += lanes[k];
    return total;
}

INLINE void softmax_row(const float *row, int n, float scale, enum op_dtype type, void *p) {
    const float largest = largest_of(row, n), factor = 1.0f / sum_of_exponentials(row, n, scale, largest);
#pragma omp simd
    for (int i = 0; i < n; i++)
        put(p, type, (size_t)i, fast_exp(scale * (row[i] - largest)) * factor);
}

VECTOR_KERNEL static void softmax(const float *scores, int rows, int n, float scale, enum op_dtype type, void *p) {
    for (int r = 0; r < rows; r++) {
        size_t row = (size_t)r * (size_t)n;
        if (type == OP_BF16)
            softmax_row(scores + row, n, scale, OP_BF16, (op_bf16 *)p + row);
        else
            softmax_row(scores + row, n, scale, OP_F32, (float *)p + row);
    }
}

/* Stores e^(scale * (row[i] - largest)) and returns it. */
INLINE float put_exponential(const float *row, int i, float scale, float largest, enum op_dtype type, void *p) {
    const float x = row[i] - largest;
    const float e = type == OP_F32 ? fast_exp(scale * x) : coarse_exp2(scale * 1.44269504f * x);
    put(p, type, (size_t)i, e);
    return e;
}

INLINE float exponentials_row(const float *row, int n, float scale, enum op_dtype type, void *p) {
    const float largest = largest_of(row, n);
    const int whole = n - n % LANES;
    float lanes[LANES] = {0}, total = 0.0f;
    for (int i = 0; i < whole; i += LANES) {
#pragma omp simd
        for (int k = 0; k < LANES; k++)
            lanes[k] += put_exponential(row, i + k, scale, largest, type, p);
    }
#pragma omp simd reduction(+ : total)
    for (int i = whole; i < n; i++)
        total += put_exponential(row, i, scale, largest, type, p);
#pragma omp simd reduction(+ : total)
    for (int k = 0; k < LANES; k++)
        total += lanes[k];
    return 1.0f / total;
}

VECTOR_KERNEL static void exponentials(const float *scores, int rows, int n, float scale, enum op_dtype type, void *p,
                                       float *inverse) {
    for (int r = 0; r < rows; r++) {
        size_t row = (size_t)r * (size_t)n;
        if (type == OP_BF16)
            inverse[r] = exponentials_row(scores + row, n, scale, OP_BF16, (op_bf16 *)p + row);
        else
            inverse[r] = exponentials_row(scores + row, n, scale, OP_F32, (float *)p + row);
    }
}

VECTOR_KERNEL static void scale_rows(const float *x, const float *factor, int rows, int n, enum op_dtype type,
                                     void *out, size_t stride) {
    for (int r = 0; r < rows; r++) {
        const float *row = x + (size_t)r * (size_t)n;
        if (type == OP_BF16)
            scale_row(row, n, factor[r], OP_BF16, (op_bf16 *)out + (size_t)r * stride);
        else
            scale_row(row, n, factor[r], OP_F32, (float *)out + (size_t)r * stride);
    }
}

INLINE void softmax_backward_row(const void *p, const float *dp, int n, float scale, enum op_dtype type, void *ds) {
    const int whole = n - n % LANES;
    float lanes[LANES] = {0}, dot = 0.0f;
    for (int i = 0; i < whole; i += LANES) {
#pragma omp simd
        for (int k = 0; k < LANES; k++)
            lanes[k] += get(p, type, (size_t)i + (size_t)k) * dp[i + k];
    }
    for (int i = whole; i < n; i++)
        dot += get(p, type, (size_t)i) * dp[i];
#pragma omp simd reduction(+ : dot)
    for (int k = 0; k < LANES; k++)
        dot += lanes[k];
#pragma omp simd
    for (int i = 0; i < n; i++)
        put(ds, type, (size_t)i, scale * get(p, type, (size_t)i) * (dp[i] - dot));
}

VECTOR_KERNEL static void softmax_backward(const void *p, const float *dp, int rows, int n, float scale,
                                           enum op_dtype type, void *ds) {
    for (int r = 0; r < rows; r++) {
        size_t row = (size_t)r * (size_t)n;
        if (type == OP_BF16)
            softmax_backward_row((const op_bf16 *)p + row, dp + row, n, scale, OP_BF16, (op_bf16 *)ds + row);
        else
            softmax_backward_row((const float *)p + row, dp + row, n, scale, OP_F32, (float *)ds + row);
    }
}

VECTOR_KERNEL static void rope(float *x, int tokens, int heads, int dim, size_t stride, const float *restrict cosine,
                               const float *restrict sine, float sign) {
    int half = dim / 2;
    for (int t = 0; t < tokens; t++)
        for (int h = 0; h < heads; h++) {
            float *restrict first = x + (size_t)t * stride + (size_t)h * (size_t)dim;
            float *restrict second = first + half;
            const float *c = cosine + (size_t)t * (size_t)half, *s = sine + (size_t)t * (size_t)half;
            for (int i = 0; i < half; i++) {
                float a = first[i], b = second[i], turn = sign * s[i];
                first[i] = a * c[i] - b * turn;
                second[i] = b * c[i] + a * turn;
            }
        }
}

const struct op_kernels op_kernels_vector = {
    .sum = sum,
    .accumulate = accumulate,
    .to_bf16 = to_bf16,
    .rms_rows = rms_rows,
    .rms_cols = rms_cols,
    .rms_rows_backward = rms_rows_backward,
    .rms_cols_backward = rms_cols_backward,
    .swiglu = swiglu,
    .swiglu_backward = swiglu_backward,
    .softmax = softmax,
    .exponentials = exponentials,
    .scale_rows = scale_rows,
    .softmax_backward = softmax_backward,
    .rope = rope,
    .reach = op_reach_vector,
    .reach_backward = op_reach_vector_backward,
};
