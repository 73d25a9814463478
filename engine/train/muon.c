/* muon.c - see muon.h. A share belongs to the thread that steps it. */
#include "engine/train/muon.h"

#include <math.h>
#include <stdlib.h>

#include "engine/ops/vector.h"

enum { ITERATIONS = 5, ALIGNMENT = 64 };

/* The quintic of the iteration: steep at 0, near 1 from 0.7 to 1.2 (Jordan et al. 2024). */
static const float quintic_a = 3.4445F, quintic_b = -4.7750F, quintic_c = 2.0315F;

static const double rms_of_adam = 0.2;

/* A matrix [rows, cols] among the parameters. It is worked on as [low, high], low <= high, transposed if need be. */
struct block {
    size_t offset;
    int rows, cols;
    struct products *products; /* of its share */
};

/* The products of one shape [low, high]. */
struct products {
    int low, high;
    op_matmul *gram;   /* X X': [low, high] x [high, low] */
    op_matmul *square; /* [low, low] x [low, low] */
    op_matmul *apply;  /* [low, low] x [low, high] */
};

/* A matrix as f32, and as products read it: the same memory where that is f32. */
struct operand {
    float *values;
    op_bf16 *values16; /* NULL for OP_F32 */
};

struct share {
    op_context *context;
    struct block *blocks; /* [block_count] */
    int block_count;
    struct products *products; /* [products_count], at most one for each block */
    int products_count;
    double work;         /* multiplications of an iteration */
    struct operand x;    /* [low, high] of the largest block */
    float *next;         /* [low, high]: the polynomial of the Gram matrix times x */
    struct operand gram; /* [low, low] */
    struct operand poly; /* [low, low] */
};

struct train_muon {
    struct share *shares; /* [share_count] */
    int share_count;
};

/* ---- life ---- */

static int smaller(int a, int b) {
    return a < b ? a : b;
}

/* The products for the shape of `block`, shared with earlier blocks of the same one. */
static trm_status plan(struct share *share, struct block *block, enum op_dtype dtype, trm_error *err) {
    const int low = smaller(block->rows, block->cols), high = block->rows + block->cols - low;
    for (int i = 0; i < share->products_count; i++)
        if (share->products[i].low == low && share->products[i].high == high) {
            block->products = &share->products[i];
            return TRM_OK;
        }
    struct products *p = &share->products[share->products_count++];
    *p = (struct products){.low = low, .high = high};
    block->products = p;
    const struct op_matmul_shape gram = {.m = low, .k = high, .n = low, .b_transposed = true, .dtype = dtype},
                                 square = {.m = low, .k = low, .n = low, .dtype = dtype},
                                 apply = {.m = low, .k = low, .n = high, .dtype = dtype};
    trm_status status = op_matmul_create(share->context, &gram, &p->gram, err);
    if (status == TRM_OK)
        status = op_matmul_create(share->context, &square, &p->square, err);
    return status == TRM_OK ? op_matmul_create(share->context, &apply, &p->apply, err) : status;
}

static trm_status allocate(void **buffer, size_t bytes, trm_error *err) {
    return posix_memalign(buffer, ALIGNMENT, bytes) == 0 ? TRM_OK : trm_fail_memory(err, bytes);
}

static trm_status allocate_operand(struct operand *operand, size_t count, enum op_dtype dtype, trm_error *err) {
    trm_status status = allocate((void **)&operand->values, count * sizeof(float), err);
    if (status == TRM_OK && dtype == OP_BF16)
        status = allocate((void **)&operand->values16, count * sizeof(op_bf16), err);
    return status;
}

/* Products and buffers for the blocks that the share was dealt. */
static trm_status equip(struct share *share, enum trm_backend backend, enum op_dtype dtype, trm_error *err) {
    size_t wide = 1, square = 1;
    share->products = calloc((size_t)share->block_count + 1, sizeof *share->products);
    if (!share->products)
        return trm_fail_memory(err, (size_t)share->block_count * sizeof *share->products);
    trm_status status = op_context_create(backend, &share->context, err);
    for (int i = 0; i < share->block_count && status == TRM_OK; i++) {
        struct block *block = &share->blocks[i];
        const size_t low = (size_t)smaller(block->rows, block->cols);
        const size_t size = (size_t)block->rows * (size_t)block->cols;
        wide = size > wide ? size : wide;
        square = low * low > square ? low * low : square;
        status = plan(share, block, dtype, err);
    }
    if (status == TRM_OK)
        status = allocate_operand(&share->x, wide, dtype, err);
    if (status == TRM_OK)
        status = allocate((void **)&share->next, wide * sizeof(float), err);
    if (status == TRM_OK)
        status = allocate_operand(&share->gram, square, dtype, err);
    if (status == TRM_OK)
        status = allocate_operand(&share->poly, square, dtype, err);
    return status;
}

/* The `parts` equal matrices of a tensor go to the shares that have the least to do. */
static void deal(train_muon *muon, const struct model_layout *layout, int tensor, int parts) {
    if (tensor < 0)
        return;
    const struct model_tensor *t = &layout->tensors[tensor];
    const int rows = t->rows / parts;
    for (int i = 0; i < parts; i++) {
        struct share *least = &muon->shares[0];
        for (int s = 1; s < muon->share_count; s++)
            if (muon->shares[s].work < least->work)
                least = &muon->shares[s];
        const double low = smaller(rows, t->cols);
        least->blocks[least->block_count++] = (struct block){
            .offset = t->offset + (size_t)i * (size_t)rows * (size_t)t->cols, .rows = rows, .cols = t->cols};
        least->work += low * low * (2.0 * (rows + t->cols - low) + low);
    }
}

static void deal_all(train_muon *muon, const struct model_layout *layout) {
    for (int net = 0; net < MODEL_NETS; net++)
        for (int i = 0; i < layout->layers[net]; i++) {
            const struct model_layer_tensors *layer = &layout->layer[net][i];
            deal(muon, layout, layer->gate_up, 2);
            deal(muon, layout, layer->down, 1);
            deal(muon, layout, layer->mix_gate_up, 2);
            deal(muon, layout, layer->mix_down, 1);
            deal(muon, layout, layer->qkv, 3);
            deal(muon, layout, layer->o, 1);
        }
}

static trm_status create_shares(train_muon *muon, const struct model_layout *layout, int count, trm_error *err) {
    enum { PARTS = 7 }; /* of a layer, at most */
    const size_t most = PARTS * (size_t)(layout->layers[0] + layout->layers[1]);
    muon->shares = calloc((size_t)count, sizeof *muon->shares);
    if (!muon->shares)
        return trm_fail_memory(err, (size_t)count * sizeof *muon->shares);
    muon->share_count = count;
    for (int i = 0; i < count; i++) {
        muon->shares[i].blocks = calloc(most, sizeof *muon->shares[i].blocks);
        if (!muon->shares[i].blocks)
            return trm_fail_memory(err, most * sizeof *muon->shares[i].blocks);
    }
    deal_all(muon, layout);
    return TRM_OK;
}

trm_status train_muon_create(const struct model_layout *layout, enum trm_backend backend, enum op_dtype dtype,
                             int shares, train_muon **out, trm_error *err) {
    if (shares < 1)
        return trm_fail(err, TRM_INVALID, "%d shares of the matrices", shares);
    train_muon *muon = calloc(1, sizeof *muon);
    if (!muon)
        return trm_fail_memory(err, sizeof *muon);
    trm_status status = create_shares(muon, layout, shares, err);
    for (int i = 0; i < muon->share_count && status == TRM_OK; i++)
        status = equip(&muon->shares[i], backend, dtype, err);
    if (status != TRM_OK) {
        train_muon_destroy(muon);
        return status;
    }
    *out = muon;
    return TRM_OK;
}

void train_muon_destroy(train_muon *muon) {
    if (!muon)
        return;
    for (int i = 0; i < muon->share_count; i++) {
        struct share *share = &muon->shares[i];
        for (int p = 0; p < share->products_count; p++) {
            op_matmul_destroy(share->products[p].gram);
            op_matmul_destroy(share->products[p].square);
            op_matmul_destroy(share->products[p].apply);
        }
        op_context_destroy(share->context);
        void *buffers[] = {share->blocks,        share->products,    share->x.values,
                           share->x.values16,    share->next,        share->gram.values,
                           share->gram.values16, share->poly.values, share->poly.values16};
        for (size_t b = 0; b < sizeof buffers / sizeof *buffers; b++)
            free(buffers[b]);
    }
    free(muon->shares);
    free(muon);
}

size_t train_muon_begin(const struct model_layout *layout) {
    size_t begin = layout->param_size;
    for (int net = 0; net < MODEL_NETS; net++)
        if (layout->layers[net] > 0) {
            const struct model_layer_tensors *layer = &layout->layer[net][0];
            const int first = layer->mix_gate_up >= 0 ? layer->mix_gate_up : layer->qkv;
            const size_t offset = layout->tensors[first].offset;
            begin = offset < begin ? offset : begin;
        }
    return begin;
}

/* ---- a step ---- */

/* m = momentum m + g, and u = g + momentum m. [count] each. */
VECTOR_KERNEL static void follow(float momentum, const float *restrict g, float *restrict m, float *restrict u,
                                 size_t count) {
    for (size_t i = 0; i < count; i++) {
        m[i] = momentum * m[i] + g[i];
        u[i] = g[i] + momentum * m[i];
    }
}

/* out [cols, rows] from in [rows, cols]. */
static void transpose(const float *restrict in, int rows, int cols, float *restrict out) {
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++)
            out[(size_t)c * (size_t)rows + (size_t)r] = in[(size_t)r * (size_t)cols + (size_t)c];
}

/* Lets products read values that have changed. */
INLINE void publish_inline(const struct operand *operand, size_t count) {
    if (operand->values16)
        op_bf16_from_f32(operand->values, operand->values16, count);
}

VECTOR_KERNEL static void publish(const struct operand *operand, size_t count) {
    publish_inline(operand, count);
}

/* out = a * x + b * y, published. */
VECTOR_KERNEL static void combine(float a, const float *x, float b, const float *y, const struct operand *out,
                                  size_t count) {
    for (size_t i = 0; i < count; i++)
        out->values[i] = a * x[i] + b * y[i];
    publish_inline(out, count);
}

VECTOR_KERNEL static void apply(float keep, float rate, const float *restrict o, float *restrict p, size_t count) {
    for (size_t i = 0; i < count; i++)
        p[i] = p[i] * keep - rate * o[i];
}

static const void *read(const struct operand *operand) {
    return operand->values16 ? (const void *)operand->values16 : (const void *)operand->values;
}

/* One step of the iteration on share->x. */
static trm_status iterate(struct share *share, const struct products *p, trm_error *err) {
    const size_t square = (size_t)p->low * (size_t)p->low, wide = (size_t)p->low * (size_t)p->high;
    struct operand *x = &share->x, *gram = &share->gram, *poly = &share->poly;
    trm_status status = op_matmul_run(p->gram, read(x), read(x), gram->values, err);
    if (status != TRM_OK)
        return status;
    publish(gram, square);
    status = op_matmul_run(p->square, read(gram), read(gram), poly->values, err);
    if (status != TRM_OK)
        return status;
    combine(quintic_b, gram->values, quintic_c, poly->values, poly, square);
    status = op_matmul_run(p->apply, read(poly), read(x), share->next, err);
    if (status == TRM_OK)
        combine(quintic_a, x->values, 1.0F, share->next, x, wide);
    return status;
}

/* share->next: the gradient with its momentum, as the block lies; then share->x: its orthogonal factor; then the
 * parameters. */
static trm_status step_block(struct share *share, const struct block *block, const struct train_optim *optim, double lr,
                             float *params, const float *grads, float *moment, trm_error *err) {
    const struct products *p = block->products;
    const size_t count = (size_t)block->rows * (size_t)block->cols;
    const bool turned = block->rows > block->cols;
    struct operand *x = &share->x;
    const float *direction = share->next;
    follow((float)optim->momentum, grads + block->offset, moment + block->offset, share->next, count);
    const double norm = sqrt(train_sum_squares(share->next, 0, count));
    if (turned) {
        transpose(share->next, block->rows, block->cols, x->values);
        direction = x->values;
    }
    combine((float)(1.0 / (norm + 1e-30)), direction, 0.0F, direction, x, count);
    trm_status status = TRM_OK;
    for (int i = 0; i < ITERATIONS && status == TRM_OK; i++)
        status = iterate(share, p, err);
    if (status != TRM_OK)
        return status;
    const float *result = x->values;
    if (turned) {
        transpose(x->values, p->low, p->high, share->next);
        result = share->next;
    }
    apply((float)(1.0 - lr * optim->weight_decay), (float)(lr * rms_of_adam * sqrt(p->high)), result,
          params + block->offset, count);
    return TRM_OK;
}

trm_status train_muon_step(train_muon *muon, int share, const struct train_optim *optim, double factor, float *params,
                           const float *grads, float *moment, trm_error *err) {
    struct share *s = &muon->shares[share];
    trm_status status = TRM_OK;
    for (int i = 0; i < s->block_count && status == TRM_OK; i++)
        status = step_block(s, &s->blocks[i], optim, optim->lr * factor, params, grads, moment, err);
    return status;
}
