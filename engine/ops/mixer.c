/* mixer.c - see mixer.h. Everything here belongs to the thread of the context. */
#include "engine/ops/mixer.h"

#include <stdlib.h>
#include <string.h>

#include "engine/ops/int8.h"
#include "engine/ops/kernels.h"
#include "engine/ops/linear.h"

enum { ALIGNMENT = 64 };

/* A slice's activations and a panel's results, both small against the 1 MB of L2 that the weights share. */
enum { SLICE_BYTES = 192 << 10, RESULT_BYTES = 128 << 10 };

struct op_mixer {
    struct op_mixer_shape shape;
    const struct op_kernels *kernels;
    int slice, slices;  /* channels of x */
    int panel, panels;  /* rows of inter; a panel of weights holds as many of gate and of up */
    op_matmul *gate_up; /* [2 panel, tokens] x [tokens, slice] */
    op_matmul *down;    /* [tokens, inter] x [inter, slice] */
    void *x;            /* packed [tokens, slice]; not for OP_INT8 */
    void *both;         /* [2 panel, slice] f32, or int32 for OP_INT8 */
    void *act;          /* [inter, slice] of op_passed_type(dtype) */
    /* OP_INT8 only. */
    const struct op_int8_kernels *int8;
    struct op_int8_columns x8;   /* [tokens, slice] */
    struct op_int8_columns act8; /* [inter, slice] */
    int32_t *sums;               /* [tokens, slice] */
};

/* The largest divisor of `count` with `bytes` each that fits into `limit`; at least 1. */
static int divisor(int count, size_t bytes, size_t limit) {
    int best = 1;
    for (int i = 1; i <= count; i++)
        if (count % i == 0 && (size_t)i * bytes <= limit)
            best = i;
    return best;
}

static trm_status plan(op_mixer *mixer, op_context *context, trm_error *err) {
    const struct op_mixer_shape *s = &mixer->shape;
    const size_t element = op_operand_size(op_passed_type(s->dtype));
    mixer->slice = divisor(s->hidden, (size_t)s->inter * element, SLICE_BYTES);
    mixer->slices = s->hidden / mixer->slice;
    mixer->panel = divisor(s->inter, 2 * (size_t)mixer->slice * sizeof(float), RESULT_BYTES);
    mixer->panels = s->inter / mixer->panel;
    /* For OP_INT8 x is copied anyway, so it is dense; packing it costs more than it gains. */
    const bool int8 = s->dtype == OP_INT8;
    const struct op_matmul_shape gate_up = {.m = 2 * mixer->panel,
                                            .k = s->tokens,
                                            .n = mixer->slice,
                                            .ldb = int8 ? 0 : s->hidden,
                                            .b_packed = !int8,
                                            .dtype = s->dtype};
    const struct op_matmul_shape down = {.m = s->tokens, .k = s->inter, .n = mixer->slice, .dtype = s->dtype};
    trm_status status = op_matmul_create(context, &gate_up, &mixer->gate_up, err);
    return status == TRM_OK ? op_matmul_create(context, &down, &mixer->down, err) : status;
}

static trm_status allocate(op_mixer *mixer, trm_error *err) {
    const struct op_mixer_shape *s = &mixer->shape;
    const size_t slice = (size_t)mixer->slice, tokens = (size_t)s->tokens, inter = (size_t)s->inter;
    const size_t int8 = s->dtype == OP_INT8;
    const struct {
        void *buffer; /* a pointer to a pointer */
        size_t bytes;
    } buffers[] = {
        {&mixer->x, int8 ? 0 : op_matmul_packed_size(mixer->gate_up)},
        {&mixer->both, 2 * (size_t)mixer->panel * slice * sizeof(float)},
        {&mixer->act, inter * slice * op_operand_size(op_passed_type(s->dtype))},
        {&mixer->sums, int8 * tokens * slice * sizeof(int32_t)},
        {&mixer->x8.q, int8 * tokens * slice},
        {&mixer->x8.scale, int8 * slice * sizeof(float)},
        {&mixer->x8.offset, int8 * slice * sizeof(int32_t)},
        {&mixer->act8.q, int8 * inter * slice},
        {&mixer->act8.scale, int8 * slice * sizeof(float)},
        {&mixer->act8.offset, int8 * slice * sizeof(int32_t)},
    };
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        if (buffers[i].bytes && posix_memalign(buffers[i].buffer, ALIGNMENT, buffers[i].bytes) != 0)
            return trm_fail_memory(err, buffers[i].bytes);
    return TRM_OK;
}

trm_status op_mixer_create(op_context *context, const struct op_mixer_shape *shape, op_mixer **out, trm_error *err) {
    op_mixer *mixer = calloc(1, sizeof *mixer);
    if (!mixer)
        return trm_fail_memory(err, sizeof *mixer);
    mixer->shape = *shape;
    mixer->kernels = op_kernels(op_context_backend(context));
    mixer->int8 = op_int8_kernels(op_context_backend(context));
    trm_status status = plan(mixer, context, err);
    if (status == TRM_OK)
        status = allocate(mixer, err);
    if (status != TRM_OK) {
        op_mixer_destroy(mixer);
        return status;
    }
    *out = mixer;
    return TRM_OK;
}

void op_mixer_destroy(op_mixer *mixer) {
    if (!mixer)
        return;
    op_matmul_destroy(mixer->gate_up);
    op_matmul_destroy(mixer->down);
    void *buffers[] = {mixer->x,        mixer->both,      mixer->act,    mixer->sums,       mixer->x8.q,
                       mixer->x8.scale, mixer->x8.offset, mixer->act8.q, mixer->act8.scale, mixer->act8.offset};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        free(buffers[i]);
    free(mixer);
}

int op_mixer_slices(const op_mixer *mixer) {
    return mixer->slices;
}

int op_mixer_slice(const op_mixer *mixer) {
    return mixer->slice;
}

/* ---- weights ---- */

/* Packed: the panels of gate and up, then down, all plain operands; for OP_INT8 the scales of those rows in the
 * same order follow. */

static size_t scales_at(const op_mixer *mixer) {
    const size_t bytes =
        3 * (size_t)mixer->shape.inter * (size_t)mixer->shape.tokens * op_operand_size(mixer->shape.dtype);
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

size_t op_mixer_packed_size(const op_mixer *mixer) {
    const size_t rows = 2 * (size_t)mixer->shape.inter + (size_t)mixer->shape.tokens;
    return scales_at(mixer) + (mixer->shape.dtype == OP_INT8 ? rows * sizeof(float) : 0);
}

/* Where the next rows go. */
struct place {
    char *values;
    float *scales;
};

static void put(enum op_dtype dtype, const float *weight, int rows, int length, struct place *place) {
    const size_t count = (size_t)rows * (size_t)length;
    if (dtype == OP_INT8)
        op_int8_kernels_reference.quantise_rows(weight, rows, length, (uint8_t *)place->values, place->scales);
    else if (dtype == OP_BF16)
        op_bf16_from_f32(weight, (op_bf16 *)place->values, count);
    else
        memcpy(place->values, weight, count * sizeof(float));
    place->values += count * op_operand_size(dtype);
    place->scales += rows;
}

void op_mixer_pack(const op_mixer *mixer, const float *gate_up, const float *down, void *packed) {
    const struct op_mixer_shape *s = &mixer->shape;
    const size_t all = (size_t)s->inter * (size_t)s->tokens, step = (size_t)mixer->panel * (size_t)s->tokens;
    struct place place = {packed, (void *)((char *)packed + scales_at(mixer))};
    for (size_t at = 0; at < all; at += step) {
        put(s->dtype, gate_up + at, mixer->panel, s->tokens, &place);
        put(s->dtype, gate_up + all + at, mixer->panel, s->tokens, &place);
    }
    put(s->dtype, down, s->tokens, s->inter, &place);
}

/* ---- running ---- */

/* The slice that begins at x as the products of gate and up want it. */
static const void *load_slice(op_mixer *mixer, const float *x, trm_status *status, trm_error *err) {
    const struct op_mixer_shape *s = &mixer->shape;
    const struct op_int8_columns *x8 = &mixer->x8;
    if (s->dtype != OP_INT8) {
        *status = op_matmul_pack(mixer->gate_up, x, mixer->x, err);
        return mixer->x;
    }
    mixer->int8->quantise_cols(x, (size_t)s->hidden, s->tokens, mixer->slice, x8->q, x8->scale, x8->offset);
    return x8->q;
}

/* Panel `index` of act from gate and up in mixer->both; scale: of the panel's rows. */
static void join(op_mixer *mixer, int index, const float *scale) {
    const struct op_mixer_shape *s = &mixer->shape;
    const size_t panel = (size_t)mixer->panel, slice = (size_t)mixer->slice, size = panel * slice;
    void *act = (char *)mixer->act + (size_t)index * size * op_operand_size(op_passed_type(s->dtype));
    if (s->dtype == OP_INT8) {
        const struct op_int8_product gate = {mixer->both, slice, scale, mixer->x8.scale, mixer->x8.offset};
        const struct op_int8_product up = op_int8_from_row(&gate, panel);
        mixer->int8->swiglu(&gate, &up, mixer->panel, mixer->slice, act, slice);
    } else {
        const float *gate = mixer->both;
        mixer->kernels->swiglu(gate, gate + size, 1, size, 0, s->dtype, act, 0);
    }
}

/* The slice of mixed from act; weight [tokens, inter], scale: of its rows. */
static trm_status run_down(op_mixer *mixer, const void *weight, const float *scale, float *mixed, trm_error *err) {
    const struct op_mixer_shape *s = &mixer->shape;
    const struct op_int8_columns *act8 = &mixer->act8;
    if (s->dtype != OP_INT8)
        return op_matmul_run(mixer->down, weight, mixer->act, mixed, err);
    mixer->int8->quantise_cols(mixer->act, (size_t)mixer->slice, s->inter, mixer->slice, act8->q, act8->scale,
                               act8->offset);
    trm_status status = op_matmul_run(mixer->down, weight, act8->q, mixer->sums, err);
    const struct op_int8_product sums = {mixer->sums, (size_t)mixer->slice, scale, act8->scale, act8->offset};
    if (status == TRM_OK)
        mixer->int8->to_f32(&sums, s->tokens, mixer->slice, mixed, (size_t)mixer->slice);
    return status;
}

trm_status op_mixer_run(op_mixer *mixer, const float *x, const void *packed, float *mixed, trm_error *err) {
    const struct op_mixer_shape *s = &mixer->shape;
    const size_t step = 2 * (size_t)mixer->panel * (size_t)s->tokens * op_operand_size(s->dtype);
    const char *weight = packed;
    const float *scale = (const void *)(weight + scales_at(mixer));
    trm_status status = TRM_OK;
    const void *slice = load_slice(mixer, x, &status, err);
    for (int i = 0; i < mixer->panels && status == TRM_OK; i++, weight += step, scale += 2 * mixer->panel) {
        status = op_matmul_run(mixer->gate_up, weight, slice, mixer->both, err);
        if (status == TRM_OK)
            join(mixer, i, scale);
    }
    return status == TRM_OK ? run_down(mixer, weight, scale, mixed, err) : status;
}
