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

enum {
    LANES = OP_REACH_LANES,
    GROUP = 9, /* keys that are worked on at once, in registers */
    QUAD = 4   /* rows and channels that are turned at once */
};

/* How functions hand such vectors to each other does not matter: all of them are inlined. */
#pragma GCC diagnostic ignored "-Wpsabi"

typedef float quad __attribute__((vector_size(QUAD * sizeof(float)), aligned(sizeof(float)), may_alias));
typedef float lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));

/* One head: its rows in qkv, and the room it works in. */
struct head {
    const struct op_reach_table *table;
    const int *token; /* [places] of its set */
    int dim, span;    /* constants where loops over them matter; span is the table's */
    float scale;
    const float *q, *k, *v; /* rows of tokens, `stride` apart */
    size_t stride;
    float *qt, *kt, *vt, *ot; /* [dim, places]; ot: the output, or its gradient */
    float *dqt, *dkt, *dvt;   /* [dim, places] */
    float *p, *dp;            /* [span + prefix, places]: what the query in a place makes of its i-th key */
    float *line, *dline;      /* [places + prefix]: what a query before the cells makes of all keys */
};

static size_t weights_size(const struct op_reach_table *table) {
    return (size_t)(table->span + table->reach.prefix) * (size_t)table->places;
}

static size_t line_size(const struct op_reach_table *table) {
    return (size_t)table->places + (size_t)table->reach.prefix;
}

/* The reference needs less: two lines of tokens. */
size_t op_reach_room(const struct op_reach_table *table, int dim) {
    return 7 * (size_t)dim * (size_t)table->places + 2 * weights_size(table) + 2 * line_size(table);
}

INLINE struct head head_of(const float *qkv, const struct op_reach_table *table, int heads, int dim, int span,
                           int index, float *room) {
    const size_t width = (size_t)heads * (size_t)dim, plane = (size_t)dim * (size_t)table->places;
    const size_t weights = weights_size(table);
    const float *q = qkv + (size_t)index * (size_t)dim;
    float *p = room + 7 * plane;
    return (struct head){.table = table,
                         .token = table->token + (size_t)(index % table->sets) * (size_t)table->places,
                         .dim = dim,
                         .span = span,
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
                         .line = p + 2 * weights,
                         .dline = p + 2 * weights + line_size(table)};
}

/* ---- between rows of tokens and channels of places ---- */

/* x[i][j] = x[j][i] */
INLINE void turn_square(quad x[QUAD]) {
    const quad a = __builtin_shufflevector(x[0], x[1], 0, 4, 1, 5), b = __builtin_shufflevector(x[2], x[3], 0, 4, 1, 5);
    const quad c = __builtin_shufflevector(x[0], x[1], 2, 6, 3, 7), d = __builtin_shufflevector(x[2], x[3], 2, 6, 3, 7);
    x[0] = __builtin_shufflevector(a, b, 0, 1, 4, 5);
    x[1] = __builtin_shufflevector(a, b, 2, 3, 6, 7);
    x[2] = __builtin_shufflevector(c, d, 0, 1, 4, 5);
    x[3] = __builtin_shufflevector(c, d, 2, 3, 6, 7);
}

/* turned = the cells' rows; 0 in places without a cell. */
INLINE void turn(const struct head *h, const float *rows, size_t stride, float *turned) {
    const size_t places = (size_t)h->table->places;
    for (size_t at = 0; at < places; at += QUAD) {
        const int *token = h->token + at;
        int c = 0;
        for (; c + QUAD <= h->dim; c += QUAD) {
            quad x[QUAD] = {{0}};
            for (int i = 0; i < QUAD; i++)
                if (token[i] != OP_REACH_NO_TOKEN)
                    x[i] = *(const quad *)(rows + (size_t)token[i] * stride + c);
            turn_square(x);
            for (int i = 0; i < QUAD; i++)
                *(quad *)(turned + (size_t)(c + i) * places + at) = x[i];
        }
        for (; c < h->dim; c++)
            for (int i = 0; i < QUAD; i++)
                turned[(size_t)c * places + at + (size_t)i] =
                    token[i] != OP_REACH_NO_TOKEN ? rows[(size_t)token[i] * stride + (size_t)c] : 0.0f;
    }
}

/* The cells' rows += turned, where `adds`; else they are it. */
INLINE void turn_back(const struct head *h, const float *turned, size_t stride, bool adds, float *rows) {
    const size_t places = (size_t)h->table->places;
    for (size_t at = 0; at < places; at += QUAD) {
        const int *token = h->token + at;
        int c = 0;
        for (; c + QUAD <= h->dim; c += QUAD) {
            quad x[QUAD];
            for (int i = 0; i < QUAD; i++)
                x[i] = *(const quad *)(turned + (size_t)(c + i) * places + at);
            turn_square(x);
            for (int i = 0; i < QUAD; i++)
                if (token[i] != OP_REACH_NO_TOKEN) {
                    quad *row = (quad *)(rows + (size_t)token[i] * stride + c);
                    if (adds)
                        x[i] += *row;
                    *row = x[i];
                }
        }
        for (; c < h->dim; c++)
            for (int i = 0; i < QUAD; i++)
                if (token[i] != OP_REACH_NO_TOKEN) {
                    float *value = rows + (size_t)token[i] * stride + c;
                    *value = (adds ? *value : 0.0f) + turned[(size_t)c * places + at + (size_t)i];
                }
    }
}

/* ---- blocks of queries that are cells ---- */

INLINE lanes load(const float *x) {
    return *(const lanes *)x;
}

INLINE void store(float *x, lanes value) {
    *(lanes *)x = value;
}

INLINE size_t queries_at(const struct op_reach_table *table, int b) {
    const int at = table->first + b * LANES;
    return (size_t)at;
}

/* Where the i-th keys of block b lie. */
INLINE size_t keys_at(const struct op_reach_table *table, int b, int i) {
    const int at = table->relative * (table->first + b * LANES) + table->shift[i];
    return (size_t)at;
}

/* Where the j-th queries lie that see the cells of block b: relations are mutual. */
INLINE size_t viewers_at(const struct op_reach_table *table, int b, int j) {
    const int at = table->relative ? table->first + b * LANES - table->shift[j] : table->shift[j];
    return (size_t)at;
}

/* As which of their keys those queries see them. */
INLINE int seen_as(const struct op_reach_table *table, int b, int j) {
    return table->relative ? j : b;
}

INLINE float *weights_at(const struct head *h, float *weights, int i, size_t at) {
    return weights + (size_t)i * (size_t)h->table->places + at;
}

/* The sum over the channels of x[c][at] * y[c], one token's y for all lanes. */
INLINE lanes products_with_one(const struct head *h, const float *xt, size_t at, const float *y) {
    lanes sum = {0};
    for (int c = 0; c < h->dim; c++)
        sum += load(xt + (size_t)c * (size_t)h->table->places + at) * y[c];
    return sum;
}

/* weights[i] = the sum over the channels of x[c] of the queries of block b and y[c] of their i-th keys; y in rows for
 * the tokens before the cells, which come last. */
INLINE void products(const struct head *h, int b, const float *xt, const float *yt, const float *y, float *weights) {
    const struct op_reach_table *table = h->table;
    const size_t places = (size_t)table->places, at = queries_at(table, b);
    for (int first = 0; first < h->span; first += GROUP) {
        const int count = h->span - first < GROUP ? h->span - first : GROUP;
        lanes sum[GROUP] = {{0}};
        for (int c = 0; c < h->dim; c++) {
            const lanes x = load(xt + (size_t)c * places + at);
            for (int i = 0; i < count; i++)
                sum[i] += x * load(yt + (size_t)c * places + keys_at(table, b, first + i));
        }
        for (int i = 0; i < count; i++)
            store(weights_at(h, weights, first + i, at), sum[i]);
    }
    for (int i = 0; i < table->reach.prefix; i++)
        store(weights_at(h, weights, h->span + i, at), products_with_one(h, xt, at, y + (size_t)i * h->stride));
}

/* largest = the larger of both, lane by lane. */
INLINE void raise_to(const float *x, float *largest) {
#pragma omp simd
    for (int l = 0; l < LANES; l++)
        largest[l] = x[l] > largest[l] ? x[l] : largest[l];
}

/* e^x for x <= 0. What cannot be told from 0 in a sum with 1 is 0: not what exponentiation or the product after it
 * would leave of it, numbers so small that a processor takes a hundred times as long for each. Closed places have them
 * all. */
INLINE float weight_of(float x) {
    const float least = -60.0f, weight = fast_exp(x);
    return x < least ? 0.0f : weight;
}

/* x = e^(x - largest), total += x */
INLINE void exponentiate(float *x, const float *largest, float *total) {
#pragma omp simd
    for (int l = 0; l < LANES; l++) {
        x[l] = weight_of(x[l] - largest[l]);
        total[l] += x[l];
    }
}

/* h->p = softmax of the scores of block b over its keys. */
INLINE void weigh(const struct head *h, int b) {
    const struct op_reach_table *table = h->table;
    const int keys = h->span + table->reach.prefix;
    const size_t at = queries_at(table, b);
    float largest[LANES], total[LANES] = {0};
    products(h, b, h->qt, h->kt, h->k, h->p);
    for (int i = 0; i < h->span; i++) {
        float *p = weights_at(h, h->p, i, at);
        store(p, load(p) * h->scale + load(table->closed + keys_at(table, b, i)));
    }
    for (int i = h->span; i < keys; i++) {
        float *p = weights_at(h, h->p, i, at);
        store(p, load(p) * h->scale);
    }
    memcpy(largest, weights_at(h, h->p, 0, at), sizeof largest);
    for (int i = 1; i < keys; i++)
        raise_to(weights_at(h, h->p, i, at), largest);
    for (int i = 0; i < keys; i++)
        exponentiate(weights_at(h, h->p, i, at), largest, total);
#pragma omp simd
    for (int l = 0; l < LANES; l++)
        total[l] = 1.0f / total[l];
    const lanes factor = load(total);
    for (int i = 0; i < keys; i++) {
        float *p = weights_at(h, h->p, i, at);
        store(p, load(p) * factor);
    }
}

/* A part of the places that a sum runs over: where they lie, and what each of them counts. */
struct share {
    int count;
    size_t from[GROUP];
    lanes weight[GROUP];
};

/* out[c][at] (+)= sum of the share's weights * xt[c], for every channel. */
INLINE void sum_share(const struct head *h, const struct share *share, const float *xt, bool adds, size_t at,
                      float *out) {
    const size_t places = (size_t)h->table->places;
    for (int c = 0; c < h->dim; c++) {
        lanes sum = {0};
        if (adds)
            sum = load(out + (size_t)c * places + at);
        for (int i = 0; i < share->count; i++)
            sum += share->weight[i] * load(xt + (size_t)c * places + share->from[i]);
        store(out + (size_t)c * places + at, sum);
    }
}

/* out[c] of block b = sum over its keys of weights * x, x turned and, for tokens before the cells, in rows. */
INLINE void mix(const struct head *h, int b, float *weights, const float *xt, const float *x, float *out) {
    const struct op_reach_table *table = h->table;
    const size_t places = (size_t)table->places, at = queries_at(table, b);
    for (int first = 0; first < h->span; first += GROUP) {
        struct share share = {.count = h->span - first < GROUP ? h->span - first : GROUP};
        for (int i = 0; i < share.count; i++) {
            share.from[i] = keys_at(table, b, first + i);
            share.weight[i] = load(weights_at(h, weights, first + i, at));
        }
        sum_share(h, &share, xt, first > 0, at, out);
    }
    for (int i = 0; i < table->reach.prefix; i++) {
        const lanes weight = load(weights_at(h, weights, h->span + i, at));
        for (int c = 0; c < h->dim; c++) {
            float *to = out + (size_t)c * places + at;
            store(to, load(to) + weight * x[(size_t)i * h->stride + (size_t)c]);
        }
    }
}

/* dx[c] of the cells of block b = sum over the queries that see them of their weights * y: the turn of mix(). */
INLINE void collect(const struct head *h, int b, float *weights, const float *yt, float *dxt) {
    const struct op_reach_table *table = h->table;
    for (int first = 0; first < h->span; first += GROUP) {
        struct share share = {.count = h->span - first < GROUP ? h->span - first : GROUP};
        for (int j = 0; j < share.count; j++) {
            share.from[j] = viewers_at(table, b, first + j);
            share.weight[j] = load(weights_at(h, weights, seen_as(table, b, first + j), share.from[j]));
        }
        sum_share(h, &share, yt, first > 0, queries_at(table, b), dxt);
    }
}

/* The same for the tokens before the cells: dx += sum over all cells of their weights * y. */
INLINE void collect_prefix(const struct head *h, float *weights, const float *yt, float *dx) {
    const struct op_reach_table *table = h->table;
    for (int i = 0; i < table->reach.prefix; i++)
        for (int c = 0; c < h->dim; c++) {
            const float *y = yt + (size_t)c * (size_t)table->places;
            float sums[LANES];
            lanes sum = {0};
            for (int b = 0; b < table->blocks; b++) {
                const size_t at = queries_at(table, b);
                sum += load(weights_at(h, weights, h->span + i, at)) * load(y + at);
            }
            store(sums, sum);
            for (int l = 0; l < LANES; l++)
                dx[(size_t)i * h->stride + (size_t)c] += sums[l];
        }
}

/* h->dp = the gradient of the scores of block b, from that of its output. */
INLINE void weigh_backward(const struct head *h, int b) {
    const int keys = h->span + h->table->reach.prefix;
    const size_t at = queries_at(h->table, b);
    lanes mean = {0};
    products(h, b, h->ot, h->vt, h->v, h->dp);
    for (int i = 0; i < keys; i++)
        mean += load(weights_at(h, h->p, i, at)) * load(weights_at(h, h->dp, i, at));
    for (int i = 0; i < keys; i++) {
        float *dp = weights_at(h, h->dp, i, at);
        store(dp, h->scale * load(weights_at(h, h->p, i, at)) * (load(dp) - mean));
    }
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
    along(h, h->q + (size_t)token * h->stride, h->kt, h->k, h->line);
    for (int i = 0; i < keys; i++) {
        h->line[i] = h->line[i] * h->scale + (i < places ? h->table->closed[i] : 0.0f);
        largest = h->line[i] > largest ? h->line[i] : largest;
    }
#pragma omp simd reduction(+ : total)
    for (int i = 0; i < keys; i++) {
        h->line[i] = weight_of(h->line[i] - largest);
        total += h->line[i];
    }
    for (int i = 0; i < keys; i++)
        h->line[i] /= total;
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

/* dx += weights * y for all cells, and the rows of dx. */
INLINE void scatter_prefix(const struct head *h, const float *weights, const float *y, float *dxt, float *dx) {
    const struct op_reach_table *table = h->table;
    for (int c = 0; c < h->dim; c++) {
        for (int b = 0; b < table->blocks; b++) {
            const size_t at = queries_at(table, b);
            float *to = dxt + (size_t)c * (size_t)table->places + at;
            store(to, load(to) + load(weights + at) * y[c]);
        }
        for (int i = 0; i < table->reach.prefix; i++)
            dx[(size_t)i * h->stride + (size_t)c] += weights[table->places + i] * y[c];
    }
}

/* What one query before the cells adds: its dq, and dk and dv of all. d: its dout. */
INLINE void prefix_backward(const struct head *h, int token, const float *d, float *dq, float *dk, float *dv) {
    const int places = h->table->places, keys = places + h->table->reach.prefix;
    const size_t row = (size_t)token * h->stride;
    float mean = 0.0f;
    weigh_prefix(h, token);
    along(h, d, h->vt, h->v, h->dline);
#pragma omp simd reduction(+ : mean)
    for (int i = 0; i < keys; i++)
        mean += h->line[i] * h->dline[i];
    for (int i = 0; i < keys; i++)
        h->dline[i] = h->scale * h->line[i] * (h->dline[i] - mean);
    mix_prefix(h, h->dline, h->kt, h->k, true, dq + row);
    scatter_prefix(h, h->dline, h->q + row, h->dkt, dk);
    scatter_prefix(h, h->line, d, h->dvt, dv);
}

/* ---- all heads; `dim` and `span` are constants where it pays ---- */

INLINE void forward(const float *qkv, const struct op_reach_table *table, int heads, int dim, int span, float *room,
                    float *out) {
    const size_t width = (size_t)heads * (size_t)dim;
    for (int index = 0; index < heads; index++) {
        const struct head h = head_of(qkv, table, heads, dim, span, index, room);
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
            mix_prefix(&h, h.line, h.vt, h.v, false, o + (size_t)token * width);
        }
    }
}

INLINE void backward(const float *qkv, const float *dout, const struct op_reach_table *table, int heads, int dim,
                     int span, float *room, float *dqkv) {
    const size_t width = (size_t)heads * (size_t)dim;
    for (int index = 0; index < heads; index++) {
        const struct head h = head_of(qkv, table, heads, dim, span, index, room);
        const float *d = dout + (size_t)index * (size_t)dim;
        float *dq = dqkv + (size_t)index * (size_t)dim, *dk = dq + width, *dv = dk + width;
        turn(&h, h.q, h.stride, h.qt);
        turn(&h, h.k, h.stride, h.kt);
        turn(&h, h.v, h.stride, h.vt);
        turn(&h, d, width, h.ot);
        if (table->relative) /* places around the queries' are looked at too */
            memset(h.p, 0, 2 * weights_size(table) * sizeof *h.p);
        for (int b = 0; b < table->blocks; b++) {
            weigh(&h, b);
            weigh_backward(&h, b);
            mix(&h, b, h.dp, h.kt, h.k, h.dqt);
        }
        for (int b = 0; b < table->blocks; b++) {
            collect(&h, b, h.dp, h.qt, h.dkt);
            collect(&h, b, h.p, h.ot, h.dvt);
        }
        collect_prefix(&h, h.dp, h.qt, dk);
        collect_prefix(&h, h.p, h.ot, dv);
        for (int token = 0; token < table->reach.prefix; token++)
            prefix_backward(&h, token, d + (size_t)token * width, dq, dk, dv);
        turn_back(&h, h.dqt, h.stride, true, dq);
        turn_back(&h, h.dkt, h.stride, true, dk);
        turn_back(&h, h.dvt, h.stride, true, dv);
    }
}

/* What the models have: heads of 16 or 32 channels, and nine keys, which are a unit of 9x9 Sudoku or the cells around
 * one. Others get the same loops with their counts unknown to the compiler. */
VECTOR_KERNEL void op_reach_vector(const float *qkv, const struct op_reach_table *table, int heads, int dim,
                                   float *room, float *out) {
    if (table->span == GROUP && dim == 16)
        forward(qkv, table, heads, 16, GROUP, room, out);
    else if (table->span == GROUP && dim == 32)
        forward(qkv, table, heads, 32, GROUP, room, out);
    else
        forward(qkv, table, heads, dim, table->span, room, out);
}

VECTOR_KERNEL void op_reach_vector_backward(const float *qkv, const float *dout, const struct op_reach_table *table,
                                            int heads, int dim, float *room, float *dqkv) {
    if (table->span == GROUP && dim == 16)
        backward(qkv, dout, table, heads, 16, GROUP, room, dqkv);
    else if (table->span == GROUP && dim == 32)
        backward(qkv, dout, table, heads, 32, GROUP, room, dqkv);
    else
        backward(qkv, dout, table, heads, dim, table->span, room, dqkv);
}
