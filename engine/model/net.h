/* net.h - one application of a network (a stack of post-norm blocks) to a chunk, and its gradient.
 *
 * Block (golden README section 3): y = rms(x + mixer(x)); x' = rms(y + mlp(y)), where the mixer is
 * attention, or a gated MLP along the tokens whose norm also runs along the tokens.
 *
 * A record keeps what the backward pass needs. This is training's form of the network; infer.h has the
 * one that keeps nothing. Everything here belongs to one thread, the runner's. */
#ifndef TRM_ENGINE_MODEL_NET_H
#define TRM_ENGINE_MODEL_NET_H

#include "engine/model/weights.h"
#include "engine/ops/attention.h"
#include "engine/ops/kernels.h"

/* What one layer leaves behind; R = chunk * tokens. 16-bit copies exist only with bf16 operands. */
struct net_layer_record {
    float *x;          /* [R, hidden] its input */
    op_bf16 *x16;      /* [R, hidden] */
    float *mixer;      /* [chunk, 2 inter_t, hidden] gate and up, or [R, 3 width] rotated q, k, v */
    void *attended;    /* operand [R, width]: attention only */
    float *y;          /* [R, hidden] after the mixer's norm */
    op_bf16 *y16;      /* [R, hidden] */
    float *mixer_rinv; /* [chunk, hidden] (token mixing) or [R] */
    float *gate_up;    /* [R, 2 inter] */
    float *rinv;       /* [R] of the second norm */
};

struct net_record {
    struct net_layer_record *layers; /* [layers of the net] */
    float *out;                      /* [R, hidden] the last layer's output */
};

/* Buffers that no pass keeps. */
struct net_work {
    float *residual; /* [R, hidden] what a block adds to its input */
    void *act;       /* operand [R, inter] or [chunk, inter_t, hidden] */
    float *dact;     /* as act, f32; also [R, width] */
    void *dwide;     /* operand [R, 2 inter], [chunk, 2 inter_t, hidden] or [R, 3 width] */
    op_bf16 *ds16;   /* [R, hidden]; bf16 only */
};

/* A thread's means to run networks. */
struct net_machine {
    const struct model_weights *weights;
    const struct op_kernels *kernels;
    struct model_products *products;
    op_attention *attention; /* NULL with token mixing */
    struct net_work work;
};

/* record->layers[0].x (and x16) hold the input; fills the rest of the record and record->out. */
trm_status net_forward(struct net_machine *m, int net, struct net_record *record, trm_error *err);

/* `dx` [R, hidden] holds the gradient of record->out and is replaced by that of the input; the
 * weights' gradients are added to `grads` [layout->param_size]. */
trm_status net_backward(struct net_machine *m, int net, const struct net_record *record, float *dx, float *grads,
                        trm_error *err);

#endif
