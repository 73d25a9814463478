/* loss.c - losses and their gradients, written for the trainer's hot path: no exp for stablemax, one for each
 * element of softmax, and one logarithm a puzzle instead of one a token. Owns no data. */
#include "engine/train/loss.h"

#include <math.h>
#include <stdbool.h>

/* The sum of the logarithms of many factors, with few calls of log(): factors are multiplied
 * until the product is large. A factor here is below 1e100, so the product stays in range. */
struct log_sum {
    double sum, product;
};

static void log_sum_add(struct log_sum *logs, double factor) {
    logs->product *= factor;
    if (logs->product > 1e200) {
        logs->sum += log(logs->product);
        logs->product = 1.0;
    }
}

static double log_sum_total(const struct log_sum *logs) {
    return logs->sum + log(logs->product);
}

int train_count_labels(const int32_t *labels, int seq) {
    int count = 0;
    for (int t = 0; t < seq; t++)
        count += labels[t] != TRAIN_LABEL_IGNORED;
    return count;
}

/* Is x[label] the largest of x [vocab], and the first of its equals? */
static bool is_argmax(const float *x, int vocab, int label) {
    int rivals = 0;
    for (int i = 0; i < label; i++)
        rivals += x[i] >= x[label];
    for (int i = label + 1; i < vocab; i++)
        rivals += x[i] > x[label];
    return rivals == 0;
}

/* d loss / d x_i = s'(x_i) / sum s, less s'(x_label) / s(x_label) at the label. */
static void stablemax_token(const float *x, int vocab, int label, double scale, float *dx, struct log_sum *logs) {
    double sum = 0.0;
    for (int i = 0; i < vocab; i++) {
        double inverse = 1.0 / (1.0 + fabs((double)x[i]));
        sum += x[i] >= 0 ? x[i] + 1.0 : inverse;
    }
    double over_sum = scale / sum;
    for (int i = 0; i < vocab; i++) {
        double inverse = 1.0 / (1.0 + fabs((double)x[i]));
        dx[i] = (float)(over_sum * (x[i] >= 0 ? 1.0 : inverse * inverse));
    }
    /* s'/s at the label is 1 / (1 + |x|) on both branches; s is that, or its inverse. */
    double one_plus = 1.0 + fabs((double)x[label]);
    bool rising = x[label] >= 0;
    double slope = rising ? 1.0 : 1.0 / (one_plus * one_plus);
    dx[label] = (float)(over_sum * slope - scale / one_plus);
    log_sum_add(logs, rising ? sum / one_plus : sum * one_plus);
}

/* Returns the token's loss less what it adds to `logs`. */
static double softmax_token(const float *x, int vocab, int label, double scale, float *dx, struct log_sum *logs) {
    double largest = x[0];
    for (int i = 1; i < vocab; i++)
        largest = x[i] > largest ? x[i] : largest;
    double sum = 0.0;
    for (int i = 0; i < vocab; i++) {
        double e = exp(x[i] - largest);
        dx[i] = (float)e;
        sum += e;
    }
    double over_sum = scale / sum;
    for (int i = 0; i < vocab; i++)
        dx[i] = (float)(over_sum * dx[i]);
    dx[label] = (float)(over_sum * exp(x[label] - largest) - scale);
    log_sum_add(logs, sum);
    return largest - x[label];
}

void train_loss_tokens(enum train_loss_kind kind, const float *logits, const int32_t *labels, int seq, int vocab,
                       double scale, float *dlogits, double *loss_sum, int *labelled, int *correct) {
    struct log_sum logs = {.sum = 0.0, .product = 1.0};
    double sum = 0.0;
    *labelled = 0;
    *correct = 0;
    for (int t = 0; t < seq; t++) {
        const float *x = logits + (long)t * vocab; /* [vocab] */
        float *dx = dlogits + (long)t * vocab;     /* [vocab] */
        int label = labels[t];
        if (label == TRAIN_LABEL_IGNORED) {
            for (int i = 0; i < vocab; i++)
                dx[i] = 0.0f;
            continue;
        }
        if (kind == TRAIN_LOSS_STABLEMAX)
            stablemax_token(x, vocab, label, scale, dx, &logs);
        else
            sum += softmax_token(x, vocab, label, scale, dx, &logs);
        *labelled += 1;
        *correct += is_argmax(x, vocab, label);
    }
    *loss_sum = sum + log_sum_total(&logs);
}

int train_wrong_token(const float *logits, const int32_t *labels, int seq, int vocab, int n) {
    for (int t = 0; t < seq; t++)
        if (labels[t] != TRAIN_LABEL_IGNORED && !is_argmax(logits + (long)t * vocab, vocab, labels[t]) && n-- == 0)
            return t;
    return -1;
}

double train_sigmoid(double x) {
    double e = exp(-fabs(x));
    return x >= 0 ? 1.0 / (1.0 + e) : e / (1.0 + e);
}

double train_loss_binary(float q, double target, double scale, float *dq) {
    double x = q;
    *dq = (float)(scale * (train_sigmoid(x) - target));
    return fmax(x, 0.0) - x * target + log1p(exp(-fabs(x)));
}
