/* test_optim.c - optimizers against the goldens and against plain double arithmetic. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "engine/model/safetensors.h"
#include "engine/train/optim.h"

#define GOLDEN "../shared/golden/"

enum { MAX = 512 };

static st_file *open_golden(const char *name) {
    char path[128];
    snprintf(path, sizeof path, GOLDEN "%s", name);
    if (access(path, R_OK) != 0) {
        print_message("no golden at %s\n", path);
        skip();
    }
    st_file *file;
    trm_error err = {""};
    if (st_open(path, &file, &err) != TRM_OK)
        fail_msg("%s", err.text);
    return file;
}

/* The tensor <name><step>, or <name> for step < 0. */
static const struct st_tensor *tensor(const st_file *file, const char *name, int step) {
    char full[64];
    if (step < 0)
        snprintf(full, sizeof full, "%s", name);
    else
        snprintf(full, sizeof full, "%s%d", name, step);
    const struct st_tensor *found = st_find(file, full);
    if (!found)
        fail_msg("no tensor %s", full);
    return found;
}

static json_t *golden_config(const st_file *file) {
    json_t *config = json_loads(st_metadata(file, "config"), 0, NULL);
    assert_non_null(config);
    return config;
}

static double setting(json_t *config, const char *key) {
    json_t *value = json_object_get(config, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static void assert_near(double got, double wanted, double absolute, double relative) {
    if (!(fabs(got - wanted) <= absolute + relative * fabs(wanted)))
        fail_msg("%.9g is not near %.9g", got, wanted);
}

static void assert_all_near(const float *got, const struct st_tensor *wanted, double absolute, double relative) {
    for (size_t i = 0; i < wanted->count; i++)
        assert_near(got[i], ((const float *)wanted->data)[i], absolute, relative);
}

static void adam_atan2_follows_the_golden_run(void **state) {
    (void)state;
    st_file *file = open_golden("optim_adam_atan2.safetensors");
    json_t *config = golden_config(file);
    struct train_optim optim = {
        .kind = TRAIN_ADAM_ATAN2,
        .lr = setting(config, "lr"),
        .weight_decay = setting(config, "weight_decay"),
        .beta1 = setting(config, "beta1"),
        .beta2 = setting(config, "beta2"),
        .scale = 1,
    };
    const struct st_tensor *start = tensor(file, "param", 0);
    size_t n = start->count;
    assert_in_range(n, 1, MAX);
    float params[MAX], m[MAX] = {0}, v[MAX] = {0};
    memcpy(params, start->data, n * sizeof *params);
    int steps = (int)setting(config, "num_steps");
    assert_true(steps > 0);
    for (int t = 1; t <= steps; t++) {
        train_optim_step(&optim, t, 1.0, params, tensor(file, "grad", t)->data, m, v, 0, n);
        assert_all_near(m, tensor(file, "exp_avg", t), 1e-12, 1e-6);
        assert_all_near(v, tensor(file, "exp_avg_sq", t), 1e-12, 1e-6);
        assert_all_near(params, tensor(file, "param", t), 1e-7, 5e-7);
    }
    json_decref(config);
    st_close(file);
}

static void sign_descent_follows_the_golden_step(void **state) {
    (void)state;
    st_file *file = open_golden("optim_signsgd.safetensors");
    json_t *config = golden_config(file);
    const struct st_tensor *start = tensor(file, "weights", 0), *grad = tensor(file, "local_grad", -1);
    assert_in_range(start->count, 1, MAX);
    assert_in_range(grad->count, 1, MAX);
    float table[MAX], grads[MAX];
    memcpy(table, start->data, start->count * sizeof *table);
    memcpy(grads, grad->data, grad->count * sizeof *grads);
    train_sign_step(setting(config, "lr"), setting(config, "weight_decay"), table, (int)start->shape[1], grads,
                    tensor(file, "local_ids", -1)->data, (int)grad->shape[0]);
    assert_all_near(table, tensor(file, "weights", 1), 0, 3e-7);
    json_decref(config);
    st_close(file);
}

static void rows_absent_from_the_batch_keep_every_bit(void **state) {
    (void)state;
    float table[4 * 2] = {1, 2, 3, 4, 5, 6, 7, 8}, grads[3 * 2] = {1, -1, -3, 0, 2, 1};
    const int32_t ids[3] = {3, 1, 3};
    train_sign_step(0.5, 0.5, table, 2, grads, ids, 3);
    /* id 3: sums 3 and 0; id 1: -3 and 0. Once each: w * 0.75 - 0.5 * sign(sum). */
    const float wanted[4 * 2] = {1, 2, 2.75f, 3, 5, 6, 4.75f, 6};
    assert_memory_equal(table, wanted, sizeof wanted);
}

static void the_arc_tangent_is_within_its_promise(void **state) {
    (void)state;
    srand48(11);
    double worst = 0.0;
    for (int i = 0; i < 2000000; i++) {
        float y = (float)((drand48() - 0.5) * pow(10.0, 40.0 * drand48() - 20.0));
        float x = (float)(fabs(y) * pow(10.0, 8.0 * drand48() - 4.0));
        double exact = atan2((double)y, (double)x);
        worst = fmax(worst, fabs(train_atan2(y, x) - exact) / fabs(exact));
    }
    assert_true(worst > 0.0);
    if (!(worst <= 4e-7))
        fail_msg("relative error %g", worst);
}

static void the_arc_tangent_knows_its_corners(void **state) {
    (void)state;
    assert_true(train_atan2(0.0f, 0.0f) == 0.0f);
    assert_true(train_atan2(0.0f, 5.0f) == 0.0f);
    assert_near(train_atan2(1e-30f, 0.0f), M_PI_2, 0, 1e-7);
    assert_near(train_atan2(-2.0f, 0.0f), -M_PI_2, 0, 1e-7);
    assert_near(train_atan2(-3.0f, 3.0f), -M_PI_4, 0, 4e-7);
    assert_near(train_atan2(FLT_MAX, FLT_MAX), M_PI_4, 0, 4e-7);
    assert_near(train_atan2(FLT_MIN, FLT_MAX), 0.0, 1e-30, 0);
    assert_true(isnan(train_atan2(NAN, 1.0f)) && isnan(train_atan2(1.0f, NAN)) && isnan(train_atan2(NAN, 0.0f)));
}

/* Random weights and gradients of very different sizes, some exactly zero. */
static void fill(float *params, float *grads, int n) {
    for (int i = 0; i < n; i++) {
        params[i] = (float)(2.0 * drand48() - 1.0);
        grads[i] = i % 7 == 3 ? 0.0f : (float)((drand48() - 0.5) * pow(10.0, 6.0 * drand48() - 5.0));
    }
}

/* The formulas of optim.h in double, one element at a time. */
static void reference_step(const struct train_optim *o, int t, double factor, double *p, double g, double *m,
                           double *v) {
    double lr = o->lr * factor;
    *p *= 1 - lr * o->weight_decay;
    *m = o->beta1 * *m + (1 - o->beta1) * g;
    *v = o->beta2 * *v + (1 - o->beta2) * g * g;
    double root = sqrt(*v) / sqrt(1 - pow(o->beta2, t)), correction = 1 - pow(o->beta1, t);
    if (o->kind == TRAIN_ADAM_ATAN2)
        *p -= lr * o->scale / correction * atan2(*m, root);
    else
        *p -= lr * (*m / correction) / (root + o->eps);
}

static void check_against_reference(struct train_optim optim) {
    enum { N = 203, STEPS = 30 };
    float params[N], grads[N], m[N] = {0}, v[N] = {0};
    double p_ref[N], m_ref[N] = {0}, v_ref[N] = {0};
    srand48(5);
    fill(params, grads, N);
    for (int i = 0; i < N; i++)
        p_ref[i] = params[i];
    float unused[N];
    for (int t = 1; t <= STEPS; t++) {
        fill(unused, grads, N);
        double factor = t / 40.0;
        for (int i = 0; i < N; i++)
            reference_step(&optim, t, factor, &p_ref[i], grads[i], &m_ref[i], &v_ref[i]);
        train_optim_step(&optim, t, factor, params, grads, m, v, 0, N);
    }
    for (int i = 0; i < N; i++) {
        assert_near(m[i], m_ref[i], 1e-7, 1e-5);
        assert_near(v[i], v_ref[i], 1e-7, 1e-5);
        assert_near(params[i], p_ref[i], 3e-6, 0);
    }
}

static void adam_atan2_agrees_with_its_formula(void **state) {
    (void)state;
    check_against_reference((struct train_optim){TRAIN_ADAM_ATAN2, 1e-3, 0.1, 0.9, 0.95, 4 / M_PI, 0, 0});
}

static void adamw_agrees_with_its_formula(void **state) {
    (void)state;
    check_against_reference((struct train_optim){TRAIN_ADAMW, 1e-3, 0.1, 0.9, 0.999, 1, 1e-8, 0});
}

static void the_scale_of_adam_atan2_makes_a_steady_gradient_move_by_lr(void **state) {
    (void)state;
    struct train_optim optim = {TRAIN_ADAM_ATAN2, 1e-3, 0, 0.9, 0.95, 4 / M_PI, 0, 0};
    float param = 0.0f, before = 0.0f, grad = 3e-4f, m = 0.0f, v = 0.0f;
    for (int t = 1; t <= 400; t++) {
        before = param;
        train_optim_step(&optim, t, 1.0, &param, &grad, &m, &v, 0, 1);
    }
    assert_near(before - param, 1e-3, 1e-6, 0);
}

static void entries_without_gradient_only_decay(void **state) {
    (void)state;
    for (int kind = TRAIN_ADAM_ATAN2; kind <= TRAIN_ADAMW; kind++) {
        struct train_optim optim = {kind, 0.5, 0.5, 0.9, 0.95, 1, 1e-8, 0};
        float params[3] = {4, -8, 0}, m[3] = {0}, v[3] = {0};
        const float grads[3] = {0};
        train_optim_step(&optim, 1, 1.0, params, grads, m, v, 0, 3);
        const float wanted[3] = {3, -6, 0};
        assert_memory_equal(params, wanted, sizeof wanted);
    }
}

static void only_the_range_is_touched(void **state) {
    (void)state;
    enum { N = 100, BEGIN = 13, END = 77 };
    float params[N], grads[N], m[N], v[N], average[N], kept[4][N];
    srand48(9);
    fill(params, grads, N);
    for (int i = 0; i < N; i++)
        m[i] = v[i] = average[i] = 0.25f;
    memcpy(kept[0], params, sizeof params);
    memcpy(kept[1], m, sizeof m);
    memcpy(kept[2], v, sizeof v);
    memcpy(kept[3], average, sizeof average);
    for (int kind = TRAIN_ADAM_ATAN2; kind <= TRAIN_ADAMW; kind++) {
        struct train_optim optim = {kind, 0.1, 0.1, 0.9, 0.95, 1, 1e-8, 0};
        train_optim_step(&optim, 1, 1.0, params, grads, m, v, BEGIN, END);
    }
    train_ema_step(average, params, 0.5, BEGIN, END);
    const float *now[4] = {params, m, v, average};
    for (int a = 0; a < 4; a++)
        for (int i = 0; i < N; i++) {
            bool inside = i >= BEGIN && i < END;
            if (inside == (now[a][i] == kept[a][i]))
                fail_msg("array %d, element %d", a, i);
        }
}

static void the_average_moves_by_its_rate(void **state) {
    (void)state;
    enum { N = 37 };
    float average[N], params[N];
    for (int i = 0; i < N; i++) {
        average[i] = (float)i;
        params[i] = (float)(2 * i + 4);
    }
    train_ema_step(average, params, 0.75, 0, N);
    for (int i = 0; i < N; i++)
        assert_near(average[i], 1.25 * i + 1, 0, 1e-6);
}

static void the_ramp_of_the_average_ends_at_its_rate(void **state) {
    (void)state;
    assert_true(train_ema_rate(0.999, false, 1) == 0.999);
    assert_near(train_ema_rate(0.999, true, 1), 2.0 / 11.0, 1e-15, 0);
    assert_near(train_ema_rate(0.999, true, 890), 0.99, 1e-15, 0);
    assert_true(train_ema_rate(0.999, true, 1000000) == 0.999);
}

static void the_norm_counts_every_element_of_the_range(void **state) {
    (void)state;
    enum { N = 131 };
    float grads[N];
    double sum = 0.0;
    for (int i = 0; i < N; i++) {
        grads[i] = (float)i - 40.0f;
        sum += (double)grads[i] * grads[i];
    }
    assert_true(train_sum_squares(grads, 0, N) == sum);
    for (size_t cut = 0; cut <= N; cut++)
        assert_true(train_sum_squares(grads, 0, cut) + train_sum_squares(grads, cut, N) == sum);
    grads[N - 1] = NAN;
    assert_true(isnan(train_sum_squares(grads, 0, N)));
    grads[N - 1] = 1e30f; /* its square is beyond f32 */
    assert_near(train_sum_squares(grads, 0, N), 1e60, 0, 1e-6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adam_atan2_follows_the_golden_run),
        cmocka_unit_test(sign_descent_follows_the_golden_step),
        cmocka_unit_test(rows_absent_from_the_batch_keep_every_bit),
        cmocka_unit_test(the_arc_tangent_is_within_its_promise),
        cmocka_unit_test(the_arc_tangent_knows_its_corners),
        cmocka_unit_test(adam_atan2_agrees_with_its_formula),
        cmocka_unit_test(adamw_agrees_with_its_formula),
        cmocka_unit_test(the_scale_of_adam_atan2_makes_a_steady_gradient_move_by_lr),
        cmocka_unit_test(entries_without_gradient_only_decay),
        cmocka_unit_test(only_the_range_is_touched),
        cmocka_unit_test(the_average_moves_by_its_rate),
        cmocka_unit_test(the_ramp_of_the_average_ends_at_its_rate),
        cmocka_unit_test(the_norm_counts_every_element_of_the_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
