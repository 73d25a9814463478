/* mixer.c - see mixer.h. Everything here belongs to the thread of the context. */
#include "engine/ops/mixer.h"

#include <stdlib.h>
#include <string.h>

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
    void *x;            /* packed [tokens, slice] */
    float *both;        /* [2 panel, slice] */
    void *act;          /* operand [inter, slice] */
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
    const size_t element = op_operand_size(s->dtype);
    mixer->slice = divisor(s->hidden, (size_t)s->inter * element, SLICE_BYTES);
    mixer->slices = s->hidden / mixer->slice;
    mixer->panel = divisor(s->inter, 2 * (size_t)mixer->slice * sizeof(float), RESULT_BYTES);
    mixer->panels = s->inter / mixer->panel;
    const struct op_matmul_shape gate_up = {.m = 2 * mixer->panel,
                                            .k = s->tokens,
                                            .n = mixer->slice,
                                            .ldb = s->hidden,
                                            .b_packed = true,
                                            .dtype = s->dtype};
    const struct op_matmul_shape down = {.m = s->tokens, .k = s->inter, .n = mixer->slice, .dtype = s->dtype};
    trm_status status = op_matmul_create(context, &gate_up, &mixer->gate_up, err);
    return status == TRM_OK ? op_matmul_create(context, &down, &mixer->down, err) : status;
}

static trm_status allocate(op_mixer *mixer, trm_error *err) {
    const size_t slice = (size_t)mixer->slice;
    const struct {
        void **buffer;
        size_t bytes;
    } buffers[] = {
        {&mixer->x, op_matmul_packed_size(mixer->gate_up)},
        {(void **)&mixer->both, 2 * (size_t)mixer->panel * slice * sizeof(float)},
        {&mixer->act, (size_t)mixer->shape.inter * slice * op_operand_size(mixer->shape.dtype)},
    };
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        if (posix_memalign(buffers[i].buffer, ALIGNMENT, buffers[i].bytes) != 0)
            return trm_fail_memory(err, buffers[i].bytes);
    return TRM_OK;
}

trm_status op_mixer_create(op_context *context, const struct op_mixer_shape *shape, op_mixer **out, trm_error *err) {
    op_mixer *mixer = calloc(1, sizeof *mixer);
    if (!mixer)
        return trm_fail_memory(err, sizeof *mixer);
    mixer->shape = *shape;
    mixer->kernels = op_kernels(op_context_backend(context));
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
    free(mixer->x);
    free(mixer->both);
    free(mixer->act);
    free(mixer);
}

int op_mixer_slices(const op_mixer *mixer) {
    return mixer->slices;
}

int op_mixer_slice(const op_mixer *mixer) {
    return mixer->slice;
}

/* Packed: the panels of gate and up, then down, all plain operands. */

size_t op_mixer_packed_size(const op_mixer *mixer) {
    const struct op_mixer_shape *s = &mixer->shape;
    return 3 * (size_t)s->inter * (size_t)s->tokens * op_operand_size(s->dtype);
}

/* Writes `count` values as operands and returns the place behind them. */
static void *put(enum op_dtype dtype, const float *values, size_t count, void *place) {
    if (dtype == OP_BF16)
        op_bf16_from_f32(values, place, count);
    else
        memcpy(place, values, count * sizeof(float));
    return (char *)place + count * op_operand_size(dtype);
}

void op_mixer_pack(const op_mixer *mixer, const float *gate_up, const float *down, void *packed) {
    const size_t all = (size_t)mixer->shape.inter * (size_t)mixer->shape.tokens;
    const size_t step = (size_t)mixer->panel * (size_t)mixer->shape.tokens;
    for (size_t at = 0; at < all; at += step) {
        packed = put(mixer->shape.dtype, gate_up + at, step, packed);
        packed = put(mixer->shape.dtype, gate_up + all + at, step, packed);
    }
    put(mixer->shape.dtype, down, all, packed);
}

trm_status op_mixer_run(op_mixer *mixer, const float *x, const void *weights, float *mixed, trm_error *err) {
    const struct op_mixer_shape *s = &mixer->shape;
    const size_t element = op_operand_size(s->dtype), size = (size_t)mixer->panel * (size_t)mixer->slice;
    const size_t step = 2 * (size_t)mixer->panel * (size_t)s->tokens * element;
    const char *packed = weights;
    trm_status status = op_matmul_pack(mixer->gate_up, x, mixer->x, err);
    for (int i = 0; i < mixer->panels && status == TRM_OK; i++, packed += step) {
        status = op_matmul_run(mixer->gate_up, packed, mixer->x, mixer->both, err);
        if (status == TRM_OK)
            mixer->kernels->swiglu(mixer->both, mixer->both + size, 1, size, 0, s->dtype,
                                   (char *)mixer->act + (size_t)i * size * element, 0);
    }
    return status == TRM_OK ? op_matmul_run(mixer->down, packed, mixer->act, mixed, err) : status;
}
