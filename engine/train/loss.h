/* loss.h - what a puzzle's predictions cost, and the gradient of that cost.
 *
 * Pure functions of their arguments: any thread. A supervision step's loss of one puzzle is
 *
 *     (1 / max(1, labelled)) * sum_tokens ce(token) + weight * (bce(q_halt) [+ bce(q_continue)])
 *
 * summed over the batch and divided by the batch size before the gradient is taken
 * (Jolicoeur-Martineau 2025, "Less is More: Recursive Reasoning with Tiny Networks", and its code). */
#ifndef TRM_ENGINE_TRAIN_LOSS_H
#define TRM_ENGINE_TRAIN_LOSS_H

#include <stdint.h>

enum train_loss_kind {
    TRAIN_LOSS_STABLEMAX, /* -log(s(x_label) / sum s), s(x) = x + 1 for x >= 0, 1 / (1 - x) below
                             (Prieto et al. 2025, "Grokking at the Edge of Numerical Stability") */
    TRAIN_LOSS_SOFTMAX    /* the same with s(x) = exp(x) */
};

enum { TRAIN_LABEL_IGNORED = -100 };

/* How many of labels [seq] are not TRAIN_LABEL_IGNORED. */
int train_count_labels(const int32_t *labels, int seq);

/* Cross entropy of one puzzle. logits [seq, vocab]; labels [seq], each TRAIN_LABEL_IGNORED or in
 * 0 .. vocab - 1 (the caller's promise). Stores `scale` times the gradient of the loss in dlogits
 * [seq, vocab] (exactly zero for ignored tokens; may not overlap logits), the undivided sum over
 * labelled tokens in *loss_sum, how many there are in *labelled, and in *correct how many of
 * them the largest logit gets right (the first of equal ones). Computed in double. A trainer passes
 * scale = 1 / (max(1, labelled) * global batch). */
void train_loss_tokens(enum train_loss_kind kind, const float *logits, const int32_t *labels, int seq, int vocab,
                       double scale, float *dlogits, double *loss_sum, int *labelled, int *correct);

/* Which token is the n-th, from 0, of those that are labelled and whose largest logit gets them wrong; -1: there are no
 * more than n. Arguments as above. */
int train_wrong_token(const float *logits, const int32_t *labels, int seq, int vocab, int n);

/* Binary cross entropy of the logit q against target in [0, 1]: returns the loss, stores `scale` times
 * its derivative, scale * (sigmoid(q) - target), in *dq. Finite for every finite q. For q_halt the
 * target is 1 when every labelled token is right (also when there is none), else 0. */
double train_loss_binary(float q, double target, double scale, float *dq);

/* 1 / (1 + exp(-x)) without overflow: the target of q_continue, from the next step's q. */
double train_sigmoid(double x);

#endif
