/* test_muon.c - steps of Muon: orthogonal, as large as promised, the same however they are shared out. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/data/rng.h"
#include "engine/train/muon.h"

/* Of a layer of hidden 24, inner size 32: gate, up and the transposed down are [32, 24]. */
enum { HIDDEN = 24 };

static const struct train_optim optim = {
    .kind = TRAIN_MUON, .lr = 0.01, .weight_decay = 0.1, .beta1 = 0.9, .beta2 = 0.95, .scale = 1, .momentum = 0.9};

struct fixture {
    struct model_config config;
    struct model_layout *layout;
    float *params, *grads, *moment; /* [param_size] */
};

static float *numbers(struct data_rng *rng, size_t count, double scale) {
    float *values = malloc(count * sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < count; i++)
        values[i] = (float)(scale * data_rng_normal(rng));
    return values;
}

static void set_up(struct fixture *f, bool mixing) {
    f->config = (struct model_config){.arch = MODEL_TRM,
                                      .seq_len = 16,
                                      .vocab_size = 6,
                                      .num_puzzle_identifiers = 1,
                                      .puzzle_emb_ndim = HIDDEN,
                                      .puzzle_emb_len = 1,
                                      .H_cycles = 1,
                                      .L_cycles = 1,
                                      .L_layers = 2,
                                      .hidden_size = HIDDEN,
                                      .num_heads = 2,
                                      .expansion = 2,
                                      .inter_multiple = 32,
                                      .pos_encodings = mixing ? MODEL_POS_NONE : MODEL_POS_ROPE,
                                      .rms_norm_eps = 1e-5,
                                      .rope_theta = 10000,
                                      .mlp_t = mixing,
                                      .halt_max_steps = 4,
                                      .no_ACT_continue = true};
    trm_error err = {""};
    if (model_config_resolve(&f->config, &err) != TRM_OK || model_layout_create(&f->config, &f->layout, &err) != TRM_OK)
        fail_msg("%s", err.text);
    struct data_rng rng;
    data_rng_seed(&rng, 5);
    f->params = numbers(&rng, f->layout->param_size, 0.1);
    f->grads = numbers(&rng, f->layout->param_size, 1e-3);
    f->moment = calloc(f->layout->param_size, sizeof *f->moment);
    assert_non_null(f->moment);
}

static void tear_down(struct fixture *f) {
    free(f->params);
    free(f->grads);
    free(f->moment);
    model_layout_destroy(f->layout);
}

/* One step of all shares; false where this machine lacks the dtype. */
static bool step(struct fixture *f, const struct train_optim *settings, enum trm_backend backend, enum op_dtype dtype,
                 int shares) {
    train_muon *muon = NULL;
    trm_error err = {""};
    const trm_status status = train_muon_create(f->layout, backend, dtype, shares, &muon, &err);
    if (status == TRM_UNSUPPORTED && dtype != OP_F32)
        return false;
    if (status != TRM_OK)
        fail_msg("%s", err.text);
    for (int i = 0; i < shares; i++)
        if (train_muon_step(muon, i, settings, 1.0, f->params, f->grads, f->moment, &err) != TRM_OK)
            fail_msg("%s", err.text);
    train_muon_destroy(muon);
    return true;
}

static float *copy(const float *values, size_t count) {
    float *out = malloc(count * sizeof *out);
    assert_non_null(out);
    return memcpy(out, values, count * sizeof *out);
}

/* How far the change of the matrix [rows, cols] at `offset` is from one with equal singular values, along random
 * directions: least and largest stretch of |rows of it times a unit vector|, over what the step should be. */
static void assert_even(const struct fixture *f, const float *before, size_t offset, int rows, int cols) {
    const bool tall = rows > cols;
    const int low = tall ? cols : rows, high = tall ? rows : cols;
    const double wanted = optim.lr * 0.2 * sqrt(high);
    struct data_rng rng;
    data_rng_seed(&rng, 6);
    for (int trial = 0; trial < 20; trial++) {
        double v[64], norm = 0, stretch = 0;
        for (int i = 0; i < low; i++) {
            v[i] = data_rng_normal(&rng);
            norm += v[i] * v[i];
        }
        for (int h = 0; h < high; h++) {
            double sum = 0;
            for (int l = 0; l < low; l++) {
                const size_t at =
                    offset + (tall ? (size_t)h * (size_t)cols + (size_t)l : (size_t)l * (size_t)cols + (size_t)h);
                sum += v[l] * ((double)before[at] * (1.0 - optim.lr * optim.weight_decay) - f->params[at]);
            }
            stretch += sum * sum;
        }
        const double factor = sqrt(stretch / norm) / wanted;
        if (!(factor > 0.65 && factor < 1.25))
            fail_msg("a direction is stretched %g times", factor);
    }
}

/* False where this machine lacks the dtype. */
static bool a_step_stretches_every_direction_alike(bool mixing, enum trm_backend backend, enum op_dtype dtype) {
    struct fixture f;
    set_up(&f, mixing);
    float *before = copy(f.params, f.layout->param_size);
    const bool done = step(&f, &optim, backend, dtype, 1);
    for (int i = 0; i < 2 && done; i++) {
        const struct model_layer_tensors *layer = &f.layout->layer[0][i];
        const struct {
            int tensor, parts;
        } all[] = {{layer->gate_up, 2},  {layer->down, 1}, {layer->mix_gate_up, 2},
                   {layer->mix_down, 1}, {layer->qkv, 3},  {layer->o, 1}};
        for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
            if (all[k].tensor < 0)
                continue;
            const struct model_tensor *t = &f.layout->tensors[all[k].tensor];
            const int rows = t->rows / all[k].parts;
            for (int part = 0; part < all[k].parts; part++)
                assert_even(&f, before, t->offset + (size_t)part * (size_t)rows * (size_t)t->cols, rows, t->cols);
        }
    }
    free(before);
    tear_down(&f);
    return done;
}

static void steps_of_attention_stretch_every_direction_alike(void **state) {
    (void)state;
    a_step_stretches_every_direction_alike(false, TRM_BACKEND_REFERENCE, OP_F32);
    a_step_stretches_every_direction_alike(false, TRM_BACKEND_ONEDNN, OP_F32);
}

static void steps_of_mixing_stretch_every_direction_alike(void **state) {
    (void)state;
    a_step_stretches_every_direction_alike(true, TRM_BACKEND_REFERENCE, OP_F32);
    a_step_stretches_every_direction_alike(true, TRM_BACKEND_ONEDNN, OP_F32);
}

static void steps_in_bf16_stretch_every_direction_alike(void **state) {
    (void)state;
    if (!a_step_stretches_every_direction_alike(true, TRM_BACKEND_ONEDNN, OP_BF16))
        skip();
}

static void backends_agree(void **state) {
    (void)state;
    struct fixture a, b;
    set_up(&a, true);
    set_up(&b, true);
    step(&a, &optim, TRM_BACKEND_REFERENCE, OP_F32, 1);
    step(&b, &optim, TRM_BACKEND_ONEDNN, OP_F32, 1);
    for (size_t i = 0; i < a.layout->param_size; i++)
        assert_float_equal(a.params[i], b.params[i], 1e-6);
    tear_down(&a);
    tear_down(&b);
}

static void shares_change_nothing(void **state) {
    (void)state;
    struct fixture a, b;
    set_up(&a, true);
    set_up(&b, true);
    step(&a, &optim, TRM_BACKEND_ONEDNN, OP_F32, 1);
    step(&b, &optim, TRM_BACKEND_ONEDNN, OP_F32, 5);
    assert_memory_equal(a.params, b.params, a.layout->param_size * sizeof(float));
    assert_memory_equal(a.moment, b.moment, a.layout->param_size * sizeof(float));
    tear_down(&a);
    tear_down(&b);
}

static void the_size_of_the_gradient_does_not_matter(void **state) {
    (void)state;
    struct fixture a, b;
    set_up(&a, true);
    set_up(&b, true);
    for (size_t i = 0; i < b.layout->param_size; i++)
        b.grads[i] *= 1024;
    step(&a, &optim, TRM_BACKEND_REFERENCE, OP_F32, 1);
    step(&b, &optim, TRM_BACKEND_REFERENCE, OP_F32, 1);
    for (size_t i = 0; i < a.layout->param_size; i++)
        assert_float_equal(a.params[i], b.params[i], 1e-7);
    tear_down(&a);
    tear_down(&b);
}

static void without_a_gradient_weights_only_decay(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f, true);
    memset(f.grads, 0, f.layout->param_size * sizeof(float));
    float *before = copy(f.params, f.layout->param_size);
    step(&f, &optim, TRM_BACKEND_ONEDNN, OP_F32, 2);
    for (size_t i = train_muon_begin(f.layout); i < f.layout->param_size; i++)
        assert_float_equal(f.params[i], before[i] * (float)(1.0 - optim.lr * optim.weight_decay), 0);
    free(before);
    tear_down(&f);
}

static void what_is_before_the_layers_is_left_alone(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f, false);
    float *before = copy(f.params, f.layout->param_size);
    const size_t begin = train_muon_begin(f.layout);
    assert_int_equal(begin, f.layout->tensors[f.layout->layer[0][0].qkv].offset);
    assert_true(begin > f.layout->tensors[f.layout->q_bias].offset);
    step(&f, &optim, TRM_BACKEND_ONEDNN, OP_F32, 2);
    assert_memory_equal(f.params, before, begin * sizeof(float));
    assert_memory_not_equal(f.params + begin, before + begin, HIDDEN * sizeof(float));
    free(before);
    tear_down(&f);
}

static void momentum_carries_on_without_a_gradient(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f, true);
    step(&f, &optim, TRM_BACKEND_REFERENCE, OP_F32, 1);
    const size_t at = f.layout->tensors[f.layout->layer[0][1].down].offset;
    assert_float_equal(f.moment[at], f.grads[at], 0);
    memset(f.grads, 0, f.layout->param_size * sizeof(float));
    float *before = copy(f.params, f.layout->param_size);
    step(&f, &optim, TRM_BACKEND_REFERENCE, OP_F32, 1);
    assert_even(&f, before, at, HIDDEN, 32);
    free(before);
    tear_down(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_of_attention_stretch_every_direction_alike),
        cmocka_unit_test(steps_of_mixing_stretch_every_direction_alike),
        cmocka_unit_test(steps_in_bf16_stretch_every_direction_alike),
        cmocka_unit_test(backends_agree),
        cmocka_unit_test(shares_change_nothing),
        cmocka_unit_test(the_size_of_the_gradient_does_not_matter),
        cmocka_unit_test(without_a_gradient_weights_only_decay),
        cmocka_unit_test(what_is_before_the_layers_is_left_alone),
        cmocka_unit_test(momentum_carries_on_without_a_gradient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
