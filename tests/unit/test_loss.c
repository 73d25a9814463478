/* test_loss.c - losses and gradients against the goldens, finite differences and plain formulas. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "engine/model/safetensors.h"
#include "engine/train/loss.h"

#define GOLDEN "../shared/golden/"

static void need_goldens(void) {
    if (access(GOLDEN, R_OK) != 0) {
        print_message("no goldens at " GOLDEN "\n");
        skip();
    }
}

static void assert_near(double got, double wanted, double absolute, double relative) {
    if (!(fabs(got - wanted) <= absolute + relative * fabs(wanted)))
        fail_msg("%.17g is not near %.17g", got, wanted);
}

/* Row by row: loss and gradient of one token. */
static void check_row(enum train_loss_kind kind, const float *logits, int vocab, int label, double loss,
                      const float *grad) {
    float dlogits[16];
    double got;
    int32_t labels[1] = {label};
    int labelled, correct;
    assert_true(vocab <= 16);
    train_loss_tokens(kind, logits, labels, 1, vocab, 1.0, dlogits, &got, &labelled, &correct);
    assert_int_equal(labelled, label != TRAIN_LABEL_IGNORED);
    assert_near(got, loss, 1e-6, 1e-6);
    for (int i = 0; i < vocab; i++)
        assert_near(dlogits[i], grad[i], 1e-12, 2e-6);
}

static void stablemax_agrees_with_the_golden_table(void **state) {
    (void)state;
    need_goldens();
    json_t *root = json_load_file(GOLDEN "stablemax.json", 0, NULL);
    assert_non_null(root);
    int vocab = (int)json_integer_value(json_object_get(root, "vocab"));
    assert_in_range(vocab, 1, 16);
    json_t *cases = json_object_get(root, "cases"), *item;
    size_t index;
    assert_true(json_array_size(cases) > 0);
    json_array_foreach(cases, index, item) {
        float logits[16], grad[16];
        for (int i = 0; i < vocab; i++) {
            logits[i] = (float)json_number_value(json_array_get(json_object_get(item, "logits"), (size_t)i));
            grad[i] = (float)json_number_value(json_array_get(json_object_get(item, "grad"), (size_t)i));
        }
        int label = (int)json_integer_value(json_object_get(item, "label"));
        double loss = json_number_value(json_object_get(item, "loss"));
        check_row(TRAIN_LOSS_STABLEMAX, logits, vocab, label, loss, grad);

        /* Losses in the table are doubles: hold the double, too. */
        float dlogits[16];
        double got;
        int labelled, correct;
        train_loss_tokens(TRAIN_LOSS_STABLEMAX, logits, (int32_t[]){label}, 1, vocab, 1.0, dlogits, &got, &labelled,
                          &correct);
        assert_near(got, loss, 1e-13, 1e-13);
    }
    json_decref(root);
}

static const struct st_tensor *tensor(const st_file *file, const char *name) {
    const struct st_tensor *found = st_find(file, name);
    if (!found)
        fail_msg("no tensor %s", name);
    return found;
}

static void both_kinds_agree_with_the_golden_tensors(void **state) {
    (void)state;
    need_goldens();
    st_file *file;
    trm_error err = {""};
    if (st_open(GOLDEN "stablemax.safetensors", &file, &err) != TRM_OK)
        fail_msg("%s", err.text);
    const struct st_tensor *shape = tensor(file, "logits");
    int rows = (int)shape->shape[0], vocab = (int)shape->shape[1];
    const float *logits = shape->data;
    const int32_t *labels = tensor(file, "labels")->data;
    const float *loss = tensor(file, "loss")->data, *grad = tensor(file, "grad")->data;
    const float *softmax_loss = tensor(file, "softmax_loss")->data, *softmax_grad = tensor(file, "softmax_grad")->data;
    for (int r = 0; r < rows; r++) {
        const float *row = logits + r * vocab;
        check_row(TRAIN_LOSS_STABLEMAX, row, vocab, labels[r], loss[r], grad + r * vocab);
        check_row(TRAIN_LOSS_SOFTMAX, row, vocab, labels[r], softmax_loss[r], softmax_grad + r * vocab);
    }

    /* The function s itself: the loss of two logits, x and 0, with label 1 is log(s(x) + 1). */
    const struct st_tensor *x = tensor(file, "s_x");
    const float *s_y = tensor(file, "s_y")->data;
    for (size_t i = 0; i < x->count; i++) {
        float pair[2] = {((const float *)x->data)[i], 0.0f}, dpair[2];
        double got;
        int labelled, correct;
        train_loss_tokens(TRAIN_LOSS_STABLEMAX, pair, (int32_t[]){1}, 1, 2, 1.0, dpair, &got, &labelled, &correct);
        assert_near(expm1(got), s_y[i], 1e-12, 2e-7);
    }
    st_close(file);
}

enum { SEQ = 7, VOCAB = 5 };

static const int32_t some_labels[SEQ] = {0, 4, TRAIN_LABEL_IGNORED, 2, 2, 1, 3};

static void fill_logits(float *logits) {
    srand48(7);
    for (int i = 0; i < SEQ * VOCAB; i++)
        logits[i] = (float)(6.0 * drand48() - 3.0);
}

static double loss_of(enum train_loss_kind kind, const float *logits) {
    float dlogits[SEQ * VOCAB];
    double sum;
    int labelled, correct;
    train_loss_tokens(kind, logits, some_labels, SEQ, VOCAB, 1.0, dlogits, &sum, &labelled, &correct);
    return sum;
}

static void check_differences(enum train_loss_kind kind) {
    enum { SCALE = 3 };
    float logits[SEQ * VOCAB], dlogits[SEQ * VOCAB];
    double sum;
    int labelled, correct;
    fill_logits(logits);
    train_loss_tokens(kind, logits, some_labels, SEQ, VOCAB, SCALE, dlogits, &sum, &labelled, &correct);
    assert_int_equal(labelled, SEQ - 1);
    for (int i = 0; i < SEQ * VOCAB; i++) {
        float kept = logits[i], up = kept + 1e-3f, down = kept - 1e-3f;
        logits[i] = up;
        double above = loss_of(kind, logits);
        logits[i] = down;
        double below = loss_of(kind, logits);
        logits[i] = kept;
        assert_near(dlogits[i], SCALE * (above - below) / ((double)up - (double)down), 3e-6, 1e-5);
    }
}

static void stablemax_gradient_agrees_with_finite_differences(void **state) {
    (void)state;
    check_differences(TRAIN_LOSS_STABLEMAX);
}

static void softmax_gradient_agrees_with_finite_differences(void **state) {
    (void)state;
    check_differences(TRAIN_LOSS_SOFTMAX);
}

static void the_loss_of_a_puzzle_is_the_sum_over_its_tokens(void **state) {
    (void)state;
    enum { MANY = 900 };
    static float logits[MANY * VOCAB], dlogits[MANY * VOCAB], dtoken[VOCAB];
    static int32_t labels[MANY];
    srand48(3);
    for (int i = 0; i < MANY * VOCAB; i++) /* wide, so that the product of ratios must be taken down often */
        logits[i] = (float)((drand48() - 0.5) * pow(10.0, 30.0 * drand48()));
    for (int i = 0; i < MANY; i++)
        labels[i] = i % 11 == 0 ? TRAIN_LABEL_IGNORED : i % VOCAB;
    for (int kind = TRAIN_LOSS_STABLEMAX; kind <= TRAIN_LOSS_SOFTMAX; kind++) {
        double whole, sum = 0.0;
        int labelled, correct, all_labelled, all_correct, labelled_sum = 0, correct_sum = 0;
        train_loss_tokens(kind, logits, labels, MANY, VOCAB, 0.5, dlogits, &whole, &all_labelled, &all_correct);
        for (int t = 0; t < MANY; t++) {
            double one;
            train_loss_tokens(kind, logits + t * VOCAB, labels + t, 1, VOCAB, 0.5, dtoken, &one, &labelled, &correct);
            assert_memory_equal(dtoken, dlogits + t * VOCAB, sizeof dtoken);
            sum += one;
            labelled_sum += labelled;
            correct_sum += correct;
        }
        assert_true(isfinite(whole));
        assert_near(whole, sum, 0, 1e-12);
        assert_int_equal(all_labelled, labelled_sum);
        assert_int_equal(all_labelled, train_count_labels(labels, MANY));
        assert_int_equal(all_correct, correct_sum);
        assert_true(all_correct > 0 && all_correct < all_labelled);
    }
}

static void ignored_tokens_cost_nothing_and_get_exactly_no_gradient(void **state) {
    (void)state;
    float logits[2 * 3] = {1, 2, 3, -1, 0, 5}, dlogits[2 * 3];
    int32_t labels[2] = {TRAIN_LABEL_IGNORED, TRAIN_LABEL_IGNORED};
    const float zeros[2 * 3] = {0};
    for (int kind = TRAIN_LOSS_STABLEMAX; kind <= TRAIN_LOSS_SOFTMAX; kind++) {
        double sum = -1;
        int labelled = -1, correct = -1;
        memset(dlogits, 0xff, sizeof dlogits);
        train_loss_tokens(kind, logits, labels, 2, 3, 1.0, dlogits, &sum, &labelled, &correct);
        assert_true(sum == 0.0);
        assert_int_equal(labelled, 0);
        assert_int_equal(correct, 0);
        assert_memory_equal(dlogits, zeros, sizeof zeros);
    }
    assert_int_equal(train_count_labels(labels, 2), 0);
}

static int correct_of(const float *logits, int vocab, int label) {
    float dlogits[8];
    double sum;
    int labelled, correct;
    train_loss_tokens(TRAIN_LOSS_STABLEMAX, logits, (int32_t[]){label}, 1, vocab, 1.0, dlogits, &sum, &labelled,
                      &correct);
    return correct;
}

static void among_equal_logits_the_first_is_the_prediction(void **state) {
    (void)state;
    const float logits[4] = {-1, 2, 2, 0};
    assert_int_equal(correct_of(logits, 4, 1), 1);
    assert_int_equal(correct_of(logits, 4, 2), 0);
    assert_int_equal(correct_of(logits, 4, 0), 0);
    assert_int_equal(correct_of((const float[]){-5, -4}, 2, 1), 1);
}

static void the_halting_loss_is_binary_cross_entropy(void **state) {
    (void)state;
    const double targets[] = {0.0, 0.3, 1.0};
    for (int step = -16; step <= 16; step++)
        for (int i = 0; i < 3; i++) {
            float q = 0.37f * (float)step;
            double p = 1.0 / (1.0 + exp(-(double)q)), t = targets[i];
            float dq;
            double loss = train_loss_binary(q, t, 0.25, &dq);
            assert_near(loss, -t * log(p) - (1 - t) * log(1 - p), 1e-12, 1e-10);

            float unused;
            float up = q + 1e-3f, down = q - 1e-3f;
            double slope = (train_loss_binary(up, t, 1, &unused) - train_loss_binary(down, t, 1, &unused)) /
                           ((double)up - (double)down);
            assert_near(dq, 0.25 * slope, 1e-7, 1e-6);
        }
}

static void the_halting_loss_is_finite_for_extreme_logits(void **state) {
    (void)state;
    float dq;
    assert_near(train_loss_binary(1e6f, 0.0, 1.0, &dq), 1e6, 0, 1e-12);
    assert_true(dq == 1.0f);
    assert_near(train_loss_binary(-1e6f, 1.0, 1.0, &dq), 1e6, 0, 1e-12);
    assert_true(dq == -1.0f);
    assert_true(train_loss_binary(1e30f, 1.0, 1.0, &dq) == 0.0);
    assert_true(dq == 0.0f);
    assert_near(train_sigmoid(-5.0), 0.0066928509242848554, 0, 1e-14); /* the original's initial q */
    assert_true(train_sigmoid(-1e9) == 0.0 && train_sigmoid(1e9) == 1.0);
}

static void wrong_tokens_are_counted_in_their_order(void **state) {
    (void)state;
    const float logits[5][2] = {{0, 1}, {1, 0}, {0, 1}, {1, 0}, {2, 2}};
    const int32_t labels[5] = {1, 1, TRAIN_LABEL_IGNORED, 1, 1}; /* of equal ones the first is the answer */
    assert_int_equal(train_wrong_token(*logits, labels, 5, 2, 0), 1);
    assert_int_equal(train_wrong_token(*logits, labels, 5, 2, 1), 3);
    assert_int_equal(train_wrong_token(*logits, labels, 5, 2, 2), 4);
    assert_int_equal(train_wrong_token(*logits, labels, 5, 2, 3), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_tokens_are_counted_in_their_order),
        cmocka_unit_test(stablemax_agrees_with_the_golden_table),
        cmocka_unit_test(both_kinds_agree_with_the_golden_tensors),
        cmocka_unit_test(stablemax_gradient_agrees_with_finite_differences),
        cmocka_unit_test(softmax_gradient_agrees_with_finite_differences),
        cmocka_unit_test(the_loss_of_a_puzzle_is_the_sum_over_its_tokens),
        cmocka_unit_test(ignored_tokens_cost_nothing_and_get_exactly_no_gradient),
        cmocka_unit_test(among_equal_logits_the_first_is_the_prediction),
        cmocka_unit_test(the_halting_loss_is_binary_cross_entropy),
        cmocka_unit_test(the_halting_loss_is_finite_for_extreme_logits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
