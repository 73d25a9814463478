/* kernels_reference.c - the elementwise work as one would write it on paper. What the vector
 * kernels are tested against. Pure functions, any thread. */
#include <math.h>

#include "engine/ops/kernels.h"

static void put(void *out, enum op_dtype type, size_t index, float value) {
    if (type == OP_BF16)
        ((op_bf16 *)out)[index] = op_bf16_round(value);
    else
        ((float *)out)[index] = value;
}

static float get(const void *in, enum op_dtype type, size_t index) {
    return type == OP_BF16 ? op_bf16_to_f32(((const op_bf16 *)in)[index]) : ((const float *)in)[index];
}

static void to_bf16(const float *x, size_t n, op_bf16 *out) {
    op_bf16_from_f32(x, out, n);
}

static void sum(const float *const *addends, int count, size_t n, float *out, op_bf16 *out16) {
    for (size_t i = 0; i < n; i++) {
        float total = 0.0f;
        for (int a = 0; a < count; a++)
            total += addends[a][i];
        out[i] = total;
    }
    if (out16)
        to_bf16(out, n, out16);
}

static void accumulate(const float *x, size_t n, float *y) {
    for (size_t i = 0; i < n; i++)
        y[i] += x[i];
}

/* The norm of `lines` lines of `length` elements: element j of line i is at i * line_step + j * step. */
static void rms(const float *x, const float *d, int lines, int length, size_t line_step, size_t step, size_t d_step,
                float eps, float *y, float *rinv, op_bf16 *y16) {
    for (int i = 0; i < lines; i++) {
        float squares = 0.0f;
        for (int j = 0; j < length; j++) {
            size_t at = (size_t)i * line_step + (size_t)j * step;
            float s = x[at] + d[(size_t)i * line_step + (size_t)j * d_step];
            squares += s * s;
        }
        rinv[i] = 1.0f / sqrtf(squares / (float)length + eps);
        for (int j = 0; j < length; j++) {
            size_t at = (size_t)i * line_step + (size_t)j * step;
            y[at] = (x[at] + d[(size_t)i * line_step + (size_t)j * d_step]) * rinv[i];
            if (y16)
                y16[at] = op_bf16_round(y[at]);
        }
    }
}

static void rms_backward(const float *y, const float *rinv, const float *dy, int lines, int length, size_t line_step,
                         size_t step, float *ds, op_bf16 *ds16) {
    for (int i = 0; i < lines; i++) {
        float dot = 0.0f;
        for (int j = 0; j < length; j++) {
            size_t at = (size_t)i * line_step + (size_t)j * step;
            dot += dy[at] * y[at];
        }
        dot /= (float)length;
        for (int j = 0; j < length; j++) {
            size_t at = (size_t)i * line_step + (size_t)j * step;
            ds[at] = rinv[i] * (dy[at] - y[at] * dot);
            if (ds16)
                ds16[at] = op_bf16_round(ds[at]);
        }
    }
}

static void rms_rows(const float *x, const float *d, int rows, int n, float eps, float *y, float *rinv, op_bf16 *y16) {
    rms(x, d, rows, n, (size_t)n, 1, 1, eps, y, rinv, y16);
}

static void rms_cols(const float *x, const float *d, int rows, int n, size_t stride, float eps, float *y, float *rinv,
                     op_bf16 *y16) {
    rms(x, d, n, rows, 1, stride, (size_t)n, eps, y, rinv, y16);
}

static void rms_rows_backward(const float *y, const float *rinv, const float *dy, int rows, int n, float *ds,
                              op_bf16 *ds16) {
    rms_backward(y, rinv, dy, rows, n, (size_t)n, 1, ds, ds16);
}

static void rms_cols_backward(const float *y, const float *rinv, const float *dy, int rows, int n, float *ds,
                              op_bf16 *ds16) {
    rms_backward(y, rinv, dy, n, rows, 1, (size_t)n, ds, ds16);
}

static void swiglu(const float *gate, const float *up, int rows, size_t n, size_t stride, enum op_dtype type, void *act,
                   size_t act_stride) {
    for (int r = 0; r < rows; r++)
        for (size_t i = 0; i < n; i++) {
            float g = gate[(size_t)r * stride + i];
            put(act, type, (size_t)r * act_stride + i, g / (1.0f + expf(-g)) * up[(size_t)r * stride + i]);
        }
}

static void swiglu_backward(const float *gate, const float *up, const float *dact, int rows, size_t n, size_t stride,
                            enum op_dtype type, void *dgate, void *dup, void *act) {
    for (int r = 0; r < rows; r++)
        for (size_t i = 0; i < n; i++) {
            size_t wide = (size_t)r * stride + i, narrow = (size_t)r * n + i;
            float g = gate[wide], u = up[wide], da = dact[narrow];
            float sigmoid = 1.0f / (1.0f + expf(-g));
            put(act, type, narrow, g * sigmoid * u);
            put(dup, type, wide, da * g * sigmoid);
            put(dgate, type, wide, da * u * sigmoid * (1.0f + g * (1.0f - sigmoid)));
        }
}

static void softmax(const float *scores, int rows, int n, float scale, enum op_dtype type, void *p) {
    for (int r = 0; r < rows; r++) {
        const float *row = scores + (size_t)r * (size_t)n;
        float largest = row[0], total = 0.0f;
        for (int i = 1; i < n; i++)
            largest = fmaxf(largest, row[i]);
        for (int i = 0; i < n; i++)
            total += expf(scale * (row[i] - largest));
        for (int i = 0; i < n; i++)
            put(p, type, (size_t)r * (size_t)n + (size_t)i, expf(scale * (row[i] - largest)) / total);
    }
}

static void exponentials(const float *scores, int rows, int n, float scale, enum op_dtype type, void *p,
                         float *inverse) {
    for (int r = 0; r < rows; r++) {
        const float *row = scores + (size_t)r * (size_t)n;
        float largest = row[0], total = 0.0f;
        for (int i = 1; i < n; i++)
            largest = fmaxf(largest, row[i]);
        for (int i = 0; i < n; i++) {
            float e = expf(scale * (row[i] - largest));
            put(p, type, (size_t)r * (size_t)n + (size_t)i, e);
            total += e;
        }
        inverse[r] = 1.0f / total;
    }
}

static void scale_rows(const float *x, const float *factor, int rows, int n, enum op_dtype type, void *out,
                       size_t stride) {
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < n; i++)
            put(out, type, (size_t)r * stride + (size_t)i, factor[r] * x[(size_t)r * (size_t)n + (size_t)i]);
}

static void softmax_backward(const void *p, const float *dp, int rows, int n, float scale, enum op_dtype type,
                             void *ds) {
    for (int r = 0; r < rows; r++) {
        size_t row = (size_t)r * (size_t)n;
        float dot = 0.0f;
        for (int i = 0; i < n; i++)
            dot += get(p, type, row + (size_t)i) * dp[row + (size_t)i];
        for (int i = 0; i < n; i++)
            put(ds, type, row + (size_t)i, scale * get(p, type, row + (size_t)i) * (dp[row + (size_t)i] - dot));
    }
}

static void rope(float *x, int tokens, int heads, int dim, size_t stride, const float *cosine, const float *sine,
                 float sign) {
    int half = dim / 2;
    for (int t = 0; t < tokens; t++)
        for (int h = 0; h < heads; h++) {
            float *v = x + (size_t)t * stride + (size_t)h * (size_t)dim;
            for (int i = 0; i < half; i++) {
                float c = cosine[(size_t)t * (size_t)half + (size_t)i];
                float s = sign * sine[(size_t)t * (size_t)half + (size_t)i];
                float a = v[i], b = v[half + i];
                v[i] = a * c - b * s;
                v[half + i] = b * c + a * s;
            }
        }
}

/* p [tokens] = softmax(q k^T / sqrt(dim)) of token t of head h, 0 for the keys that it does not see. */
static void weigh(const float *qkv, const struct op_reach_table *table, int heads, int dim, int h, int t, float *p) {
    const size_t width = (size_t)heads * (size_t)dim;
    const float *head = qkv + (size_t)h * (size_t)dim, *q = head + (size_t)t * 3 * width;
    float largest = -INFINITY, total = 0.0f;
    for (int key = 0; key < table->tokens; key++) {
        const float *k = head + (size_t)key * 3 * width + width;
        p[key] = op_reach_sees(&table->reach, h % table->sets, t, key) ? 0.0f : -INFINITY;
        for (int c = 0; c < dim; c++)
            p[key] += q[c] * k[c] / sqrtf((float)dim);
        largest = fmaxf(largest, p[key]);
    }
    for (int key = 0; key < table->tokens; key++)
        total += p[key] = expf(p[key] - largest);
    for (int key = 0; key < table->tokens; key++)
        p[key] /= total;
}

static void reach(const float *qkv, const struct op_reach_table *table, int heads, int dim, float *room, float *out) {
    const size_t width = (size_t)heads * (size_t)dim;
    for (int t = 0; t < table->tokens; t++)
        for (int h = 0; h < heads; h++) {
            const float *v = qkv + 2 * width + (size_t)h * (size_t)dim;
            float *o = out + (size_t)t * width + (size_t)h * (size_t)dim;
            weigh(qkv, table, heads, dim, h, t, room);
            for (int c = 0; c < dim; c++) {
                o[c] = 0.0f;
                for (int key = 0; key < table->tokens; key++)
                    o[c] += room[key] * v[(size_t)key * 3 * width + (size_t)c];
            }
        }
}

static void reach_backward(const float *qkv, const float *dout, const struct op_reach_table *table, int heads, int dim,
                           float *room, float *dqkv) {
    const size_t width = (size_t)heads * (size_t)dim;
    float *p = room, *dp = room + table->tokens;
    for (int t = 0; t < table->tokens; t++)
        for (int h = 0; h < heads; h++) {
            const size_t first = (size_t)h * (size_t)dim, q = (size_t)t * 3 * width + first;
            const float *d = dout + (size_t)t * width + first;
            float mean = 0.0f;
            weigh(qkv, table, heads, dim, h, t, p);
            for (int key = 0; key < table->tokens; key++) {
                dp[key] = 0.0f;
                for (int c = 0; c < dim; c++)
                    dp[key] += d[c] * qkv[(size_t)key * 3 * width + 2 * width + first + (size_t)c];
                mean += p[key] * dp[key];
            }
            for (int key = 0; key < table->tokens; key++) {
                const float ds = p[key] * (dp[key] - mean) / sqrtf((float)dim);
                const size_t k = (size_t)key * 3 * width + width + first, v = k + width;
                for (int c = 0; c < dim; c++) {
                    dqkv[q + (size_t)c] += ds * qkv[k + (size_t)c];
                    dqkv[k + (size_t)c] += ds * qkv[q + (size_t)c];
                    dqkv[v + (size_t)c] += p[key] * d[c];
                }
            }
        }
}

const struct op_kernels op_kernels_reference = {
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
    .reach = reach,
    .reach_backward = reach_backward,
};

const struct op_kernels *op_kernels(enum trm_backend backend) {
    return backend == TRM_BACKEND_REFERENCE ? &op_kernels_reference : &op_kernels_vector;
}
