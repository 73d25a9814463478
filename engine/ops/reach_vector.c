/* reach_vector.c - attention to few tokens, for a vector of queries at a time: see reach_vector.h.
 *
 * Lists of ten keys are too short for vectors along them, and a sum over a head of 16 channels is mostly the folding of
 * one register. So each head's q, k and v are turned round, channels first and cells at the places of reach.h: what
 * LANES queries do with their i-th keys is then the same few instructions on consecutive memory, and nothing is folded.
 * Tokens before the cells are few: as keys they are spread over all lanes, as queries they run along all places.
 * Pure functions on the caller's room: any thread. */
#include "engine/ops/reach_vector.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "engine/ops/vector.h"

enum { LANES = OP_REACH_LANES };

/* How functions hand such vectors to each other does not matter: all of them are inlined. */
#pragma GCC diagnostic ignored "-Wpsabi"

typedef float lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));

/* One head: its rows in qkv, and the room it works in. */
struct head {
    const struct op_reach_table *table;
    const int *place; /* of its set */
    int dim;
    float scale;
    const float *q, *k, *v; /* rows of tokens, `stride` apart */
    size_t stride;
    float *qt, *kt, *vt, *ot;     /* [dim, places]; ot: the output, or its gradient */
    float *dqt, *dkt, *dvt;       /* [dim, places] */
    float *p, *dp;                /* [span + prefix, LANES], or [places + prefix] for a query before the cells */
    float *dk_prefix, *dv_prefix; /* [prefix, dim, LANES] */
};

static size_t weights_size(const struct op_reach_table *table) {
    const int block = (table->span + table->reach.prefix) * LANES, line = table->places + table->reach.prefix;
    return (size_t)(block > line ? block : line);
}

/* The reference needs less: two lines of tokens. */
size_t op_reach_room(const struct op_reach_table *table, int dim) {
    return 7 * (size_t)dim * (size_t)table->places + 2 * weights_size(table) +
           2 * (size_t)table->reach.prefix * (size_t)dim * LANES;
}

INLINE struct head head_of(const float *qkv, const struct op_reach_table *table, int heads, int dim, int index,
                           float *room) {
    const size_t width = (size_t)heads * (size_t)dim, plane = (size_t)dim * (size_t)table->places;
    const size_t weights = weights_size(table), prefix = (size_t)table->reach.prefix * (size_t)dim * LANES;
    const float *q = qkv + (size_t)index * (size_t)dim;
    float *p = room + 7 * plane;
    return (struct head){.table = table,
                         .place = table->place +
                                  (size_t)(index % table->sets) * (size_t)(table->tokens - table->reach.prefix),
                         .dim = dim,
                         .scale = 1.0f / sqrtf((float)dim),
                         .q = q,
                         .k = q + width,
                         .v = q + 2 * width,
                         .stride = 3 * width,
                         .qt = room,
                         .kt = room + plane,
                         .vt = room + 2 * plane,
                         .ot = room + 3 * plane,
                         .dqt = room + 4 * plane,
                         .dkt = room + 5 * plane,
                         .dvt = room + 6 * plane,
                         .p = p,
                         .dp = p + weights,
                         .dk_prefix = p + 2 * weights,
                         .dv_prefix = p + 2 * weights + prefix};
}

/* ---- between rows of tokens and channels of places ---- */

INLINE void turn(const struct head *h, const float *rows, size_t stride, float *turned) {
    const size_t places = (size_t)h->table->places;
    const int prefix = h->table->reach.prefix, cells = h->table->tokens - prefix;
    memset(turned, 0, (size_t)h->dim * places * sizeof *turned);
    for (int cell = 0; cell < cells; cell++) {
        const float *row = rows + (size_t)(prefix + cell) * stride;
        float *to = turned + h->place[cell];
        for (int c = 0; c < h->dim; c++)
            to[(size_t)c * places] = row[c];
    }
}

/* rows += turned, where `adds`; else rows = turned. */
INLINE void turn_back(const struct head *h, const float *turned, size_t stride, bool adds, float *rows) {
    const size_t places = (size_t)h->table->places;
    const int prefix = h->table->reach.prefix, cells = h->table->tokens - prefix;
    for (int cell = 0; cell < cells; cell++) {
        float *row = rows + (size_t)(prefix + cell) * stride;
        const float *from = turned + h->place[cell];
        for (int c = 0; c < h->dim; c++)
            row[c] = (adds ? row[c] : 0.0f) + from[(size_t)c * places];
    }
}

/* ---- blocks of queries that are cells ---- */

INLINE lanes load(const float *x) {
    return *(const lanes *)x;
}

INLINE void store(float *x, lanes value) {
    *(lanes *)x = value;
}

/* Where the i-th keys of block b lie. */
INLINE size_t keys_at(const struct op_reach_table *table, int b, int i) {
    const int at = table->relative * (table->first + b * LANES) + table->shift[i];
    return (size_t)at;
}

INLINE size_t queries_at(const struct op_reach_table *table, int b) {
    const int at = table->first + b * LANES;
    return (size_t)at;
}

/* The sum over the channels of x[c][at] * y[c][to]. */
INLINE lanes products(const struct head *h, const float *x, size_t at, const float *y, size_t to) {
    const size_t places = (size_t)h->table->places;
    lanes sum = {0};
    for (int c = 0; c < h->dim; c++)
        sum += load(x + (size_t)c * places + at) * load(y + (size_t)c * places + to);
    return sum;
}

/* The same with one token's y[c] for all lanes. */
INLINE lanes products_with_one(const struct head *h, const float *x, size_t at, const float *y) {
    lanes sum = {0};
    for (int c = 0; c < h->dim; c++)
        sum += load(x + (size_t)c * (size_t)h->table->places + at) * y[c];
    return sum;
}

/* largest = the larger of both, lane by lane. */
INLINE void raise_to(const float *x, float *largest) {
#pragma omp simd
    for (int l = 0; l < LANES; l++)
        largest[l] = x[l] > largest[l] ? x[l] : largest[l];
}

/* x = e^(x - largest), total += x */
INLINE void exponentiate(float *x, const float *largest, float *total) {
#pragma omp simd
    for (int l = 0; l < LANES; l++) {
        x[l] = fast_exp(x[l] - largest[l]);
        total[l] += x[l];
    }
}

/* h->p = softmax of the queries of block b over their keys, cells first. */
INLINE void weigh(const struct head *h, int b) {
    const struct op_reach_table *table = h->table;
    const int keys = table->span + table->reach.prefix;
    const size_t at = queries_at(table, b);
    float largest[LANES], total[LANES] = {0};
    for (int i = 0; i < table->span; i++) {
        const size_t key = keys_at(table, b, i);
        store(h->p + i * LANES, products(h, h->qt, at, h->kt, key) * h->scale + load(table->closed + key));
    }
    for (int i = 0; i < table->reach.prefix; i++)
        store(h->p + (table->span + i) * LANES,
              products_with_one(h, h->qt, at, h->k + (size_t)i * h->stride) * h->scale);
    memcpy(largest, h->p, sizeof largest);
    for (int i = 1; i < keys; i++)
        raise_to(h->p + i * LANES, largest);
    for (int i = 0; i < keys; i++)
        exponentiate(h->p + i * LANES, largest, total);
#pragma omp simd
    for (int l = 0; l < LANES; l++)
        total[l] = 1.0f / total[l];
    const lanes factor = load(total);
    for (int i = 0; i < keys; i++)
        store(h->p + i * LANES, load(h->p + i * LANES) * factor);
}

/* out[c] = sum over the keys of weights * x, x turned and, for tokens before the cells, in rows. */
INLINE void mix(const struct head *h, int b, const float *weights, const float *xt, const float *x, float *out) {
    const struct op_reach_table *table = h->table;
    const size_t places = (size_t)table->places, at = queries_at(table, b);
    for (int c = 0; c < h->dim; c++) {
        lanes sum = {0};
        for (int i = 0; i < table->span; i++)
            sum += load(weights + i * LANES) * load(xt + (size_t)c * places + keys_at(table, b, i));
        for (int i = 0; i < table->reach.prefix; i++)
            sum += load(weights + (table->span + i) * LANES) * x[(size_t)i * h->stride + (size_t)c];
        store(out + (size_t)c * places + at, sum);
    }
}

/* dx += weights * y for every key: the turn of mix(). */
INLINE void scatter(const struct head *h, int b, const float *weights, const float *yt, float *dxt, float *dx_prefix) {
    const struct op_reach_table *table = h->table;
    const size_t places = (size_t)table->places, at = queries_at(table, b);
    for (int i = 0; i < table->span; i++) {
        const size_t key = keys_at(table, b, i);
        const lanes weight = load(weights + i * LANES);
        for (int c = 0; c < h->dim; c++) {
            float *to = dxt + (size_t)c * places + key;
            store(to, load(to) + weight * load(yt + (size_t)c * places + at));
        }
    }
    for (int i = 0; i < table->reach.prefix; i++) {
        const lanes weight = load(weights + (table->span + i) * LANES);
        for (int c = 0; c < h->dim; c++) {
            float *to = dx_prefix + ((size_t)i * (size_t)h->dim + (size_t)c) * LANES;
            store(to, load(to) + weight * load(yt + (size_t)c * places + at));
        }
    }
}

/* h->dp = the gradient of the scores, from that of the weights. */
INLINE void weigh_backward(const struct head *h, int b) {
    const struct op_reach_table *table = h->table;
    const int keys = table->span + table->reach.prefix;
    const size_t at = queries_at(table, b);
    lanes mean = {0};
    for (int i = 0; i < keys; i++) {
        const lanes dp = i < table->span
                             ? products(h, h->ot, at, h->vt, keys_at(table, b, i))
                             : products_with_one(h, h->ot, at, h->v + (size_t)(i - table->span) * h->stride);
        mean += load(h->p + i * LANES) * dp;
        store(h->dp + i * LANES, dp);
    }
    for (int i = 0; i < keys; i++)
        store(h->dp + i * LANES, h->scale * load(h->p + i * LANES) * (load(h->dp + i * LANES) - mean));
}

/* ---- queries before the cells: they see all places and each other ---- */

/* y[place] = sum over the channels of x[c] * turned[c][place], y[places + i] with row i. */
INLINE void along(const struct head *h, const float *x, const float *turned, const float *rows, float *y) {
    const int places = h->table->places;
    for (int at = 0; at < places; at += LANES)
        store(y + at, products_with_one(h, turned, (size_t)at, x));
    for (int i = 0; i < h->table->reach.prefix; i++) {
        y[places + i] = 0.0f;
        for (int c = 0; c < h->dim; c++)
            y[places + i] += x[c] * rows[(size_t)i * h->stride + (size_t)c];
    }
}

INLINE void weigh_prefix(const struct head *h, int token) {
    const int places = h->table->places, keys = places + h->table->reach.prefix;
    float largest = -INFINITY, total = 0.0f;
    along(h, h->q + (size_t)token * h->stride, h->kt, h->k, h->p);
    for (int i = 0; i < keys; i++) {
        h->p[i] = h->p[i] * h->scale + (i < places ? h->table->closed[i] : 0.0f);
        largest = h->p[i] > largest ? h->p[i] : largest;
    }
#pragma omp simd reduction(+ : total)
    for (int i = 0; i < keys; i++) {
        h->p[i] = fast_exp(h->p[i] - largest);
        total += h->p[i];
    }
    for (int i = 0; i < keys; i++)
        h->p[i] /= total;
}

/* out[c] (+)= sum over the places of weights * turned[c], and over the rows. */
INLINE void mix_prefix(const struct head *h, const float *weights, const float *turned, const float *rows, bool adds,
                       float *out) {
    const int places = h->table->places;
    for (int c = 0; c < h->dim; c++) {
        float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
        for (int i = 0; i < places; i++)
            sum += weights[i] * turned[(size_t)c * (size_t)places + (size_t)i];
        for (int i = 0; i < h->table->reach.prefix; i++)
            sum += weights[places + i] * rows[(size_t)i * h->stride + (size_t)c];
        out[c] = (adds ? out[c] : 0.0f) + sum;
    }
}

/* dx += weights * y for all places, and the rows of dx. */
INLINE void scatter_prefix(const struct head *h, const float *weights, const float *y, float *dxt, float *dx) {
    const int places = h->table->places;
    for (int c = 0; c < h->dim; c++) {
#pragma omp simd
        for (int i = 0; i < places; i++)
            dxt[(size_t)c * (size_t)places + (size_t)i] += weights[i] * y[c];
        for (int i = 0; i < h->table->reach.prefix; i++)
            dx[(size_t)i * h->stride + (size_t)c] += weights[places + i] * y[c];
    }
}

/* What one query before the cells adds: its dq, and dk and dv of all. d: its dout. */
INLINE void prefix_backward(const struct head *h, int token, const float *d, float *dq, float *dk, float *dv) {
    const int places = h->table->places, keys = places + h->table->reach.prefix;
    const size_t row = (size_t)token * h->stride;
    float mean = 0.0f;
    weigh_prefix(h, token);
    along(h, d, h->vt, h->v, h->dp);
#pragma omp simd reduction(+ : mean)
    for (int i = 0; i < keys; i++)
        mean += h->p[i] * h->dp[i];
    for (int i = 0; i < keys; i++)
        h->dp[i] = h->scale * h->p[i] * (h->dp[i] - mean);
    mix_prefix(h, h->dp, h->kt, h->k, true, dq + row);
    scatter_prefix(h, h->dp, h->q + row, h->dkt, dk);
    scatter_prefix(h, h->p, d, h->dvt, dv);
}

/* dx of tokens before the cells += what the lanes have collected. */
INLINE void fold_prefix(const struct head *h, const float *collected, float *dx) {
    for (int i = 0; i < h->table->reach.prefix; i++)
        for (int c = 0; c < h->dim; c++)
            for (int l = 0; l < LANES; l++)
                dx[(size_t)i * h->stride + (size_t)c] +=
                    collected[((size_t)i * (size_t)h->dim + (size_t)c) * LANES + (size_t)l];
}

/* ---- all heads; `dim` is a constant wherever these are inlined ---- */

INLINE void forward(const float *qkv, const struct op_reach_table *table, int heads, int dim, float *room, float *out) {
    const size_t width = (size_t)heads * (size_t)dim;
    for (int index = 0; index < heads; index++) {
        const struct head h = head_of(qkv, table, heads, dim, index, room);
        float *o = out + (size_t)index * (size_t)dim;
        turn(&h, h.q, h.stride, h.qt);
        turn(&h, h.k, h.stride, h.kt);
        turn(&h, h.v, h.stride, h.vt);
        for (int b = 0; b < table->blocks; b++) {
            weigh(&h, b);
            mix(&h, b, h.p, h.vt, h.v, h.ot);
        }
        turn_back(&h, h.ot, width, false, o);
        for (int token = 0; token < table->reach.prefix; token++) {
            weigh_prefix(&h, token);
            mix_prefix(&h, h.p, h.vt, h.v, false, o + (size_t)token * width);
        }
    }
}

INLINE void backward(const float *qkv, const float *dout, const struct op_reach_table *table, int heads, int dim,
                     float *room, float *dqkv) {
    const size_t width = (size_t)heads * (size_t)dim, plane = (size_t)dim * (size_t)table->places;
    for (int index = 0; index < heads; index++) {
        const struct head h = head_of(qkv, table, heads, dim, index, room);
        const float *d = dout + (size_t)index * (size_t)dim;
        float *dq = dqkv + (size_t)index * (size_t)dim, *dk = dq + width, *dv = dk + width;
        turn(&h, h.q, h.stride, h.qt);
        turn(&h, h.k, h.stride, h.kt);
        turn(&h, h.v, h.stride, h.vt);
        turn(&h, d, width, h.ot);
        memset(h.dkt, 0, 2 * plane * sizeof *h.dkt); /* dvt lies behind it */
        memset(h.dk_prefix, 0, 2 * (size_t)table->reach.prefix * (size_t)dim * LANES * sizeof *h.dk_prefix);
        for (int b = 0; b < table->blocks; b++) {
            weigh(&h, b);
            weigh_backward(&h, b);
            mix(&h, b, h.dp, h.kt, h.k, h.dqt);
            scatter(&h, b, h.dp, h.qt, h.dkt, h.dk_prefix);
            scatter(&h, b, h.p, h.ot, h.dvt, h.dv_prefix);
        }
        for (int token = 0; token < table->reach.prefix; token++)
            prefix_backward(&h, token, d + (size_t)token * width, dq, dk, dv);
        fold_prefix(&h, h.dk_prefix, dk);
        fold_prefix(&h, h.dv_prefix, dv);
        turn_back(&h, h.dqt, h.stride, true, dq);
        turn_back(&h, h.dkt, h.stride, true, dk);
        turn_back(&h, h.dvt, h.stride, true, dv);
    }
}

VECTOR_KERNEL void op_reach_vector(const float *qkv, const struct op_reach_table *table, int heads, int dim,
                                   float *room, float *out) {
    switch (dim) {
    case 16:
        forward(qkv, table, heads, 16, room, out);
        break;
    case 32:
        forward(qkv, table, heads, 32, room, out);
        break;
    default:
        forward(qkv, table, heads, dim, room, out);
    }
}

VECTOR_KERNEL void op_reach_vector_backward(const float *qkv, const float *dout, const struct op_reach_table *table,
                                            int heads, int dim, float *room, float *dqkv) {
    switch (dim) {
    case 16:
        backward(qkv, dout, table, heads, 16, room, dqkv);
        break;
    case 32:
        backward(qkv, dout, table, heads, 32, room, dqkv);
        break;
    default:
        backward(qkv, dout, table, heads, dim, room, dqkv);
    }
}
