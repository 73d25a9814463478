/* int8.c - see int8.h. The reference kernels first, then the vector ones. */
#include "engine/ops/int8.h"

#include <float.h>
#include <math.h>

#include "engine/ops/vector.h"

static const float LARGEST = 127.0f;

/* Below this a row is zero: its reciprocal would be infinite. */
static const float TINY = 1e-30f;

/* ---- reference ---- */

static float value(const struct op_int8_product *p, int r, int i) {
    return (float)(p->sums[(size_t)r * p->stride + (size_t)i] - p->offset[i]) * p->row_scale[r] * p->col_scale[i];
}

/* Of a line whose largest value this is; finite whatever happens. */
INLINE float scale_for(float largest) {
    return (largest < FLT_MAX ? largest : FLT_MAX) / LARGEST;
}

/* The scale of a line of `length` elements, `step` apart. */
static float scale_of(const float *x, int length, size_t step) {
    float largest = 0.0f;
    for (int i = 0; i < length; i++) {
        const float size = fabsf(x[(size_t)i * step]);
        largest = size > largest ? size : largest;
    }
    return scale_for(largest);
}

/* 1 / scale for multiplication; 0 for a line of zeros. */
INLINE float inverse_of(float scale) {
    return scale > TINY ? 1.0f / scale : 0.0f;
}

/* x / scale to the nearest integer, ties to even. Fused, so that both tables round alike. */
INLINE int8_t quantised(float x, float inverse) {
    union {
        float value;
        int32_t bits;
    } shift = {.value = 12582912.0f}, sum; /* 1.5 * 2^23: adding it rounds to an integer, in the low bits */
    sum.value = fmaf(x, inverse, shift.value);
    return (int8_t)(sum.bits - shift.bits);
}

static void quantise_rows_reference(const float *x, int rows, int n, uint8_t *q, float *scale) {
    for (int r = 0; r < rows; r++, x += n, q += n) {
        scale[r] = scale_of(x, n, 1);
        for (int i = 0; i < n; i++)
            q[i] = (uint8_t)(quantised(x[i], inverse_of(scale[r])) + OP_INT8_ZERO);
    }
}

static void quantise_cols_reference(const float *x, size_t stride, int rows, int n, int8_t *q, float *scale,
                                    int32_t *offset) {
    for (int i = 0; i < n; i++) {
        scale[i] = scale_of(x + i, rows, stride);
        offset[i] = 0;
        for (int r = 0; r < rows; r++) {
            const int8_t rounded = quantised(x[(size_t)r * stride + (size_t)i], inverse_of(scale[i]));
            q[(size_t)r * (size_t)n + (size_t)i] = rounded;
            offset[i] += OP_INT8_ZERO * rounded;
        }
    }
}

static void quantise_transposed_reference(const float *x, size_t stride, int n, int length, int8_t *q, float *scale,
                                          int32_t *offset) {
    for (int i = 0; i < n; i++, x += stride, q += length) {
        scale[i] = scale_of(x, length, 1);
        offset[i] = 0;
        for (int k = 0; k < length; k++) {
            q[k] = quantised(x[k], inverse_of(scale[i]));
            offset[i] += OP_INT8_ZERO * q[k];
        }
    }
}

static void swiglu_reference(const struct op_int8_product *gate, const struct op_int8_product *up, int rows, int n,
                             float *act, size_t act_stride) {
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < n; i++) {
            const float g = value(gate, r, i);
            act[(size_t)r * act_stride + (size_t)i] = g / (1.0f + expf(-g)) * value(up, r, i);
        }
}

/* What the largest exponential of a row is stored as. */
static const float WHOLE = 255.0f;

static void exponentials_reference(const struct op_int8_product *product, int rows, int n, float scale, uint8_t *p,
                                   float *inverse, float *room) {
    for (int r = 0; r < rows; r++, p += n) {
        float largest = -FLT_MAX;
        int total = 0;
        for (int i = 0; i < n; i++) {
            room[i] = value(product, r, i);
            largest = fmaxf(largest, room[i]);
        }
        for (int i = 0; i < n; i++) {
            p[i] = (uint8_t)lrintf(WHOLE * expf(scale * (room[i] - largest)));
            total += p[i];
        }
        inverse[r] = 1.0f / (float)total;
    }
}

static void to_f32_reference(const struct op_int8_product *product, int rows, int n, float *out, size_t out_stride) {
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < n; i++)
            out[(size_t)r * out_stride + (size_t)i] = value(product, r, i);
}

const struct op_int8_kernels op_int8_kernels_reference = {
    .quantise_rows = quantise_rows_reference,
    .quantise_cols = quantise_cols_reference,
    .quantise_transposed = quantise_transposed_reference,
    .swiglu = swiglu_reference,
    .exponentials = exponentials_reference,
    .to_f32 = to_f32_reference,
};

/* ---- vector ---- */

VECTOR_KERNEL static void quantise_rows(const float *x, int rows, int n, uint8_t *q, float *scale) {
    for (int r = 0; r < rows; r++) {
        const float *row = x + (size_t)r * (size_t)n;
        uint8_t *restrict to = q + (size_t)r * (size_t)n;
        float largest = 0.0f;
#pragma omp simd reduction(max : largest)
        for (int i = 0; i < n; i++) {
            const float size = fabsf(row[i]);
            largest = size > largest ? size : largest;
        }
        scale[r] = scale_for(largest);
        const float inverse = inverse_of(scale[r]);
#pragma omp simd
        for (int i = 0; i < n; i++)
            to[i] = (uint8_t)(quantised(row[i], inverse) + OP_INT8_ZERO);
    }
}

/* `length` columns from column `first` on, in step: their state stays in the first-level cache. */
enum { COLUMNS = 64 };

INLINE void quantise_columns(const float *x, size_t stride, int rows, size_t length, int8_t *restrict q, size_t n,
                             float *restrict scale, int32_t *restrict offset) {
    float largest[COLUMNS] = {0.0f}, inverse[COLUMNS];
    int32_t total[COLUMNS] = {0};
    for (int r = 0; r < rows; r++) {
        const float *row = x + (size_t)r * stride;
#pragma omp simd
        for (size_t i = 0; i < length; i++) {
            const float size = fabsf(row[i]);
            largest[i] = size > largest[i] ? size : largest[i];
        }
    }
    for (size_t i = 0; i < length; i++) {
        scale[i] = scale_for(largest[i]);
        inverse[i] = inverse_of(scale[i]);
    }
    for (int r = 0; r < rows; r++) {
        const float *row = x + (size_t)r * stride;
        int8_t *restrict to = q + (size_t)r * n;
#pragma omp simd
        for (size_t i = 0; i < length; i++) {
            const int8_t rounded = quantised(row[i], inverse[i]);
            total[i] += rounded;
            to[i] = rounded;
        }
    }
    for (size_t i = 0; i < length; i++)
        offset[i] = OP_INT8_ZERO * total[i];
}

VECTOR_KERNEL static void quantise_cols(const float *x, size_t stride, int rows, int n, int8_t *q, float *scale,
                                        int32_t *offset) {
    const size_t columns = (size_t)n;
    for (size_t first = 0; first < columns; first += COLUMNS) {
        const size_t length = columns - first < COLUMNS ? columns - first : COLUMNS;
        quantise_columns(x + first, stride, rows, length, q + first, columns, scale + first, offset + first);
    }
}

VECTOR_KERNEL static void quantise_transposed(const float *x, size_t stride, int n, int length, int8_t *q, float *scale,
                                              int32_t *offset) {
    for (int i = 0; i < n; i++) {
        const float *row = x + (size_t)i * stride;
        int8_t *restrict to = q + (size_t)i * (size_t)length;
        float largest = 0.0f;
        int32_t total = 0;
#pragma omp simd reduction(max : largest)
        for (int k = 0; k < length; k++) {
            const float size = fabsf(row[k]);
            largest = size > largest ? size : largest;
        }
        scale[i] = scale_for(largest);
        const float inverse = inverse_of(scale[i]);
#pragma omp simd reduction(+ : total)
        for (int k = 0; k < length; k++) {
            const int8_t rounded = quantised(row[k], inverse);
            total += rounded;
            to[k] = rounded;
        }
        offset[i] = OP_INT8_ZERO * total;
    }
}

/* Row r of a product, its scale folded into the columns' as each element is read. */
struct row {
    const int32_t *sums, *offset;
    const float *col_scale;
    float scale;
};

INLINE struct row row_of(const struct op_int8_product *p, int r) {
    return (struct row){p->sums + (size_t)r * p->stride, p->offset, p->col_scale, p->row_scale[r]};
}

INLINE float at(struct row row, size_t i) {
    return (float)(row.sums[i] - row.offset[i]) * row.scale * row.col_scale[i];
}

VECTOR_KERNEL static void swiglu(const struct op_int8_product *gate, const struct op_int8_product *up, int rows, int n,
                                 float *act, size_t act_stride) {
    for (int r = 0; r < rows; r++) {
        const struct row g = row_of(gate, r), u = row_of(up, r);
        float *restrict to = act + (size_t)r * act_stride;
#pragma omp simd
        for (size_t i = 0; i < (size_t)n; i++)
            to[i] = coarse_silu(at(g, i)) * at(u, i);
    }
}

/* Rows in lanes of four vectors, so that maxima and sums do not wait for each other. The last lanes of a row
 * overlap those before them. */
enum { LANES = 64 };

/* `count` values from column `first` on without the row's scale, which does not change which is the largest. */
INLINE void read_lanes(struct row row, int first, int count, float *restrict values, float *restrict largest) {
    row.scale = 1.0f;
#pragma omp simd
    for (int k = 0; k < count; k++) {
        const float value = at(row, (size_t)first + (size_t)k);
        values[first + k] = value;
        largest[k] = value > largest[k] ? value : largest[k];
    }
}

/* The values of a row, as above; returns the largest. */
INLINE float read_row(struct row row, int n, float *restrict values) {
    float lanes[LANES], largest = -FLT_MAX;
    for (int k = 0; k < LANES; k++)
        lanes[k] = -FLT_MAX;
    for (int i = 0; i + LANES <= n; i += LANES)
        read_lanes(row, i, LANES, values, lanes);
    if (n < LANES)
        read_lanes(row, 0, n, values, lanes);
    else if (n % LANES > 0)
        read_lanes(row, n - LANES, LANES, values, lanes);
#pragma omp simd reduction(max : largest)
    for (int k = 0; k < LANES; k++)
        largest = lanes[k] > largest ? lanes[k] : largest;
    return largest;
}

/* 2^(factor * (value - largest)) of `count` values, in units of 1 / WHOLE; added to sums. */
INLINE void weigh_lanes(const float *restrict values, int count, float factor, float largest, uint8_t *restrict p,
                        uint32_t *restrict sums) {
    const union bits shift = {.value = 12582912.0f}; /* 1.5 * 2^23, as in quantised() */
#pragma omp simd
    for (int k = 0; k < count; k++) {
        const union bits e = {.value = fmaf(coarse_exp2(factor * (values[k] - largest)), WHOLE, shift.value)};
        p[k] = (uint8_t)e.magnitude;
        sums[k] += e.magnitude - shift.magnitude;
    }
}

/* Returns the sum of p. */
INLINE uint32_t weigh_row(const float *restrict values, int n, float factor, float largest, uint8_t *restrict p) {
    uint32_t lanes[LANES] = {0}, sum = 0;
    const int whole = n - n % LANES;
    for (int i = 0; i < whole; i += LANES)
        weigh_lanes(values + i, LANES, factor, largest, p + i, lanes);
    if (n < LANES) {
        weigh_lanes(values, n, factor, largest, p, lanes);
    } else if (whole < n) {
        weigh_lanes(values + n - LANES, LANES, factor, largest, p + n - LANES, lanes);
        for (int i = n - LANES; i < whole; i++) /* counted twice */
            sum -= p[i];
    }
#pragma omp simd reduction(+ : sum)
    for (int k = 0; k < LANES; k++)
        sum += lanes[k];
    return sum;
}

VECTOR_KERNEL static void exponentials(const struct op_int8_product *product, int rows, int n, float scale, uint8_t *p,
                                       float *inverse, float *room) {
    for (int r = 0; r < rows; r++) {
        const struct row row = row_of(product, r);
        const float in_base_2 = row.scale * scale * 1.44269504f, largest = read_row(row, n, room);
        inverse[r] = 1.0f / (float)weigh_row(room, n, in_base_2, largest, p + (size_t)r * (size_t)n);
    }
}

VECTOR_KERNEL static void to_f32(const struct op_int8_product *product, int rows, int n, float *out,
                                 size_t out_stride) {
    for (int r = 0; r < rows; r++) {
        const struct row row = row_of(product, r);
        float *restrict to = out + (size_t)r * out_stride;
#pragma omp simd
        for (size_t i = 0; i < (size_t)n; i++)
            to[i] = at(row, i);
    }
}

const struct op_int8_kernels op_int8_kernels_vector = {
    .quantise_rows = quantise_rows,
    .quantise_cols = quantise_cols,
    .quantise_transposed = quantise_transposed,
    .swiglu = swiglu,
    .exponentials = exponentials,
    .to_f32 = to_f32,
};

const struct op_int8_kernels *op_int8_kernels(enum trm_backend backend) {
    return backend == TRM_BACKEND_REFERENCE ? &op_int8_kernels_reference : &op_int8_kernels_vector;
}
