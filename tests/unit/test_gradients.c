/* test_gradients.c - the backward passes against finite differences: each elementwise operation against its
 * definition in double, then a whole supervision step, for every architecture and every tensor.
 *
 * A step is computed in f32, so single elements drown in rounding. Instead each tensor is moved along two
 * directions: one that follows its gradient with random lengths (any element too large or too small
 * shows), and one that does not (any element wrongly zero shows). Gradient flows through the last part
 * of a step only: steps that are all gradient are checked by differences, longer ones against them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/data/rng.h"
#include "engine/model/runner.h"
#include "engine/ops/kernels.h"
#include "engine/train/loss.h"

static const enum trm_backend BACKENDS[] = {TRM_BACKEND_REFERENCE, TRM_BACKEND_ONEDNN};

static void *block(size_t bytes) {
    void *memory = NULL;
    assert_int_equal(posix_memalign(&memory, 64, bytes ? bytes : 64), 0);
    return memset(memory, 0, bytes);
}

static float *zeros(size_t count) {
    return block(count * sizeof(float));
}

static float *normal(struct data_rng *rng, size_t count, double scale) {
    float *out = zeros(count);
    for (size_t i = 0; i < count; i++)
        out[i] = (float)(scale * data_rng_normal(rng));
    return out;
}

/* ---- elementwise operations: gradient of sum(weight * f(x)) ---- */

enum { ELEMENT_ROWS = 5, ELEMENT_COLS = 7, ELEMENTS = ELEMENT_ROWS * ELEMENT_COLS };
static const double EPS = 1e-3;
static const float SOFTMAX_SCALE = 0.5f;

typedef void (*definition)(const double *x, double *y);

static void define_norm(const double *x, size_t count, size_t step, double *y) {
    double squares = 0.0;
    for (size_t i = 0; i < count; i++)
        squares += x[i * step] * x[i * step];
    for (size_t i = 0; i < count; i++)
        y[i * step] = x[i * step] / sqrt(squares / (double)count + EPS);
}

static void define_rms_rows(const double *x, double *y) {
    for (size_t r = 0; r < ELEMENT_ROWS; r++)
        define_norm(x + r * ELEMENT_COLS, ELEMENT_COLS, 1, y + r * ELEMENT_COLS);
}

static void define_rms_cols(const double *x, double *y) {
    for (size_t c = 0; c < ELEMENT_COLS; c++)
        define_norm(x + c, ELEMENT_ROWS, ELEMENT_COLS, y + c);
}

static void define_softmax(const double *x, double *y) {
    for (size_t r = 0; r < ELEMENT_ROWS; r++) {
        double total = 0.0;
        for (size_t c = 0; c < ELEMENT_COLS; c++)
            total += exp((double)SOFTMAX_SCALE * x[r * ELEMENT_COLS + c]);
        for (size_t c = 0; c < ELEMENT_COLS; c++)
            y[r * ELEMENT_COLS + c] = exp((double)SOFTMAX_SCALE * x[r * ELEMENT_COLS + c]) / total;
    }
}

/* The first half of x gates the second: only as many y as gates. */
static void define_swiglu(const double *x, double *y) {
    for (size_t i = 0; i < ELEMENTS; i++)
        y[i] = i < ELEMENTS / 2 ? x[i] / (1.0 + exp(-x[i])) * x[ELEMENTS / 2 + i] : 0.0;
}

static void check_gradient(const char *what, definition f, const float *x, const float *weight, const float *got) {
    const double h = 1e-5;
    double moved[ELEMENTS], above[ELEMENTS], below[ELEMENTS];
    for (size_t i = 0; i < ELEMENTS; i++)
        moved[i] = (double)x[i];
    for (size_t i = 0; i < ELEMENTS; i++) {
        double want = 0.0;
        moved[i] = (double)x[i] + h;
        f(moved, above);
        moved[i] = (double)x[i] - h;
        f(moved, below);
        moved[i] = (double)x[i];
        for (size_t k = 0; k < ELEMENTS; k++)
            want += (double)weight[k] * (above[k] - below[k]) / (2.0 * h);
        if (!(fabs((double)got[i] - want) <= 2e-6 + 2e-5 * fabs(want)))
            fail_msg("%s: element %zu is %.9g, not %.9g", what, i, (double)got[i], want);
    }
}

static void elementwise_gradients_agree_with_finite_differences(void **state) {
    (void)state;
    for (size_t b = 0; b < 2; b++) {
        const struct op_kernels *k = op_kernels(BACKENDS[b]);
        struct data_rng rng;
        data_rng_seed(&rng, 1);
        float *x = normal(&rng, ELEMENTS, 2.0), *weight = normal(&rng, ELEMENTS, 1.0), *zero = zeros(ELEMENTS);
        float *y = zeros(ELEMENTS), *rinv = zeros(ELEMENTS), *dx = zeros(ELEMENTS), *act = zeros(ELEMENTS);
        k->rms_rows(x, zero, ELEMENT_ROWS, ELEMENT_COLS, (float)EPS, y, rinv, NULL);
        k->rms_rows_backward(y, rinv, weight, ELEMENT_ROWS, ELEMENT_COLS, dx, NULL);
        check_gradient("rms_rows", define_rms_rows, x, weight, dx);
        k->rms_cols(x, zero, ELEMENT_ROWS, ELEMENT_COLS, ELEMENT_COLS, (float)EPS, y, rinv, NULL);
        k->rms_cols_backward(y, rinv, weight, ELEMENT_ROWS, ELEMENT_COLS, dx, NULL);
        check_gradient("rms_cols", define_rms_cols, x, weight, dx);
        k->softmax(x, ELEMENT_ROWS, ELEMENT_COLS, SOFTMAX_SCALE, OP_F32, y);
        k->softmax_backward(y, weight, ELEMENT_ROWS, ELEMENT_COLS, SOFTMAX_SCALE, OP_F32, dx);
        check_gradient("softmax", define_softmax, x, weight, dx);
        memset(dx, 0, ELEMENTS * sizeof *dx);
        k->swiglu_backward(x, x + ELEMENTS / 2, weight, 1, ELEMENTS / 2, ELEMENTS, OP_F32, dx, dx + ELEMENTS / 2, act);
        check_gradient("swiglu", define_swiglu, x, weight, dx);
        free(act);
        free(dx);
        free(rinv);
        free(y);
        free(zero);
        free(weight);
        free(x);
    }
}

/* A rotation is linear: <R x, y> = <x, R' y>. */
static void the_gradient_of_a_rotation_is_the_rotation_back(void **state) {
    (void)state;
    enum { TOKENS = 4, HEADS = 3, DIM = 6, SIZE = TOKENS * HEADS * DIM };
    for (size_t b = 0; b < 2; b++) {
        const struct op_kernels *k = op_kernels(BACKENDS[b]);
        struct data_rng rng;
        float cosine[TOKENS * DIM / 2], sine[TOKENS * DIM / 2];
        double forward = 0.0, backward = 0.0;
        data_rng_seed(&rng, 2);
        for (int i = 0; i < TOKENS * DIM / 2; i++) {
            cosine[i] = cosf((float)i);
            sine[i] = sinf((float)i);
        }
        float *x = normal(&rng, SIZE, 1.0), *y = normal(&rng, SIZE, 1.0);
        float *rx = memcpy(zeros(SIZE), x, SIZE * sizeof *x), *ry = memcpy(zeros(SIZE), y, SIZE * sizeof *y);
        k->rope(rx, TOKENS, HEADS, DIM, HEADS * DIM, cosine, sine, 1.0f);
        k->rope(ry, TOKENS, HEADS, DIM, HEADS * DIM, cosine, sine, -1.0f);
        for (int i = 0; i < SIZE; i++) {
            forward += (double)rx[i] * (double)y[i];
            backward += (double)x[i] * (double)ry[i];
        }
        assert_true(fabs(forward - backward) < 1e-5);
        free(ry);
        free(rx);
        free(y);
        free(x);
    }
}

/* ---- a supervision step ---- */

enum { CHUNK = 3, SEQ_LEN = 6, VOCAB = 5, IDENTIFIERS = 3 };

struct variant {
    const char *name;
    struct model_config config; /* resolved by create_step(); cycles: all of the step has gradient */
    int H_cycles, L_cycles;     /* a longer step of the same gradient */
};

#define COMMON                                                                                                         \
    .seq_len = SEQ_LEN, .vocab_size = VOCAB, .num_puzzle_identifiers = IDENTIFIERS, .expansion = 1.5,                  \
    .rms_norm_eps = 1e-5, .rope_theta = 100.0, .halt_max_steps = 4, .inter_multiple = 4

static const struct variant VARIANTS[] = {
    {"trm, token mixing, puzzle vector padded",
     {.arch = MODEL_TRM,
      .H_cycles = 1,
      .L_cycles = 2,
      .L_layers = 2,
      .hidden_size = 12,
      .num_heads = 2,
      .puzzle_emb_ndim = 18,
      .puzzle_emb_len = 2,
      .mlp_t = true,
      .no_ACT_continue = true,
      COMMON},
     3,
     2},
    {"trm, rotary positions, heads narrower than hidden, no puzzle vector",
     {.arch = MODEL_TRM,
      .H_cycles = 1,
      .L_cycles = 1,
      .L_layers = 1,
      .hidden_size = 14,
      .num_heads = 3,
      .pos_encodings = MODEL_POS_ROPE,
      .no_ACT_continue = true,
      COMMON},
     2,
     1},
    {"trm, learned positions",
     {.arch = MODEL_TRM,
      .H_cycles = 1,
      .L_cycles = 2,
      .L_layers = 1,
      .hidden_size = 8,
      .num_heads = 2,
      .puzzle_emb_ndim = 8,
      .pos_encodings = MODEL_POS_LEARNED,
      .no_ACT_continue = true,
      COMMON},
     2,
     2},
    {"trm_singlez",
     {.arch = MODEL_TRM_SINGLEZ,
      .H_cycles = 1,
      .L_cycles = 3,
      .L_layers = 1,
      .hidden_size = 12,
      .num_heads = 2,
      .puzzle_emb_ndim = 12,
      .mlp_t = true,
      .no_ACT_continue = true,
      COMMON},
     2,
     3},
    {"trm_hier6",
     {.arch = MODEL_TRM_HIER6,
      .H_cycles = 1,
      .L_cycles = 6,
      .L_layers = 1,
      .hidden_size = 8,
      .num_heads = 1,
      .puzzle_emb_ndim = 10,
      .pos_encodings = MODEL_POS_ROPE,
      .no_ACT_continue = true,
      COMMON},
     2,
     6},
    {"hrm",
     {.arch = MODEL_HRM,
      .H_cycles = 1,
      .L_cycles = 1,
      .H_layers = 2,
      .L_layers = 1,
      .hidden_size = 12,
      .num_heads = 3,
      .puzzle_emb_ndim = 20,
      .pos_encodings = MODEL_POS_ROPE,
      COMMON},
     2,
     2},
    {"transformers_baseline",
     {.arch = MODEL_TRANSFORMER,
      .H_layers = 2,
      .hidden_size = 12,
      .num_heads = 5,
      .puzzle_emb_ndim = 12,
      .pos_encodings = MODEL_POS_LEARNED,
      COMMON},
     1,
     0},
};
enum { VARIANT_COUNT = sizeof VARIANTS / sizeof *VARIANTS };

/* A model, three puzzles and what a step makes of them. */
struct step {
    struct model_config config;
    struct model_layout *layout;
    struct model_weights *weights;
    model_runner *runner;
    size_t table_size;
    float *params, *buffers, *table; /* table [identifiers, ndim]: the puzzle embedding */
    float *state, *start;            /* [CHUNK, latents, tokens, hidden] */
    size_t state_size;               /* of one puzzle */
    enum train_loss_kind loss;
    float *grads, *dtable; /* as params, as table */
};

/* Puzzles 0 and 2 share an identifier; some labels are ignored, all of the second puzzle's. */
static const int32_t INPUTS[CHUNK * SEQ_LEN] = {0, 1, 2, 3, 4, 1, 4, 4, 0, 2, 1, 3, 2, 0, 1, 3, 3, 2};
static const int32_t LABELS[CHUNK * SEQ_LEN] = {1,    2,    -100, 4, 0, 1, -100, -100, -100,
                                                -100, -100, -100, 3, 3, 0, 1,    -100, 2};
static const int32_t IDS[CHUNK] = {1, 0, 1};
static const double SHARE = 1.0 / CHUNK, Q_WEIGHT = 0.5, HALT_TARGET = 1.0, CONTINUE_TARGET = 0.3;

static void fill_params(struct step *s, struct data_rng *rng) {
    for (int i = 0; i < s->layout->count; i++) {
        const struct model_tensor *t = &s->layout->tensors[i];
        float *array = t->kind == MODEL_PARAM ? s->params : t->kind == MODEL_BUFFER ? s->buffers : s->table;
        const double scale = t->kind == MODEL_PARAM && t->rank == 2 ? 1.0 / sqrt(t->cols) : 0.5;
        for (size_t k = 0; k < (size_t)t->rows * (size_t)t->cols; k++)
            array[t->offset + k] = (float)(scale * data_rng_normal(rng));
    }
}

/* Weights and puzzles depend on the variant only. */
static void create_step(struct step *s, const struct variant *v, bool whole, enum trm_backend backend,
                        enum op_dtype dtype) {
    struct data_rng rng;
    trm_error err = {""};
    *s = (struct step){.config = v->config, .loss = v->config.mlp_t ? TRAIN_LOSS_STABLEMAX : TRAIN_LOSS_SOFTMAX};
    if (whole) {
        s->config.H_cycles = v->H_cycles;
        s->config.L_cycles = v->L_cycles;
    }
    if (model_config_resolve(&s->config, &err) != TRM_OK)
        fail_msg("%s: %s", v->name, err.text);
    assert_int_equal(model_layout_create(&s->config, &s->layout, NULL), TRM_OK);
    s->table_size = (size_t)s->config.num_puzzle_identifiers * (size_t)s->config.puzzle_emb_ndim;
    s->params = zeros(s->layout->param_size);
    s->grads = zeros(s->layout->param_size);
    s->buffers = zeros(s->layout->buffer_size);
    s->table = zeros(s->table_size);
    s->dtable = zeros(s->table_size);
    data_rng_seed(&rng, 3);
    fill_params(s, &rng);
    const struct model_weights_options options = {.backend = backend, .dtype = dtype, .chunk = CHUNK};
    const struct model_tensors plain = {&s->config, s->layout, s->params, s->buffers, s->table_size ? s->table : NULL};
    trm_status status = model_weights_create(&plain, &options, &s->weights, &err);
    if (status == TRM_OK)
        status = model_runner_create(s->weights, &s->runner, &err);
    if (status == TRM_UNSUPPORTED && dtype == OP_BF16)
        return; /* s->runner stays NULL */
    if (status != TRM_OK)
        fail_msg("%s: %s", v->name, err.text);
    s->state_size = model_state_size(&s->config, s->layout);
    s->start = normal(&rng, CHUNK * s->state_size, 1.0);
    s->state = zeros(CHUNK * s->state_size);
}

static void destroy_step(struct step *s) {
    model_runner_destroy(s->runner);
    model_weights_destroy(s->weights);
    model_layout_destroy(s->layout);
    free(s->state);
    free(s->start);
    free(s->dtable);
    free(s->table);
    free(s->buffers);
    free(s->grads);
    free(s->params);
}

/* Runs the step from s->start into s->state. */
static void run_forward(struct step *s, bool record) {
    trm_error err = {""};
    assert_int_equal(model_weights_update(s->weights, &err), TRM_OK);
    model_runner_set_input(s->runner, INPUTS, IDS);
    for (int i = 0; i < CHUNK; i++)
        model_runner_load(s->runner, i, s->start + (size_t)i * s->state_size);
    assert_int_equal(model_runner_step(s->runner, record, &err), TRM_OK);
    for (int i = 0; i < CHUNK; i++)
        model_runner_store(s->runner, i, s->state + (size_t)i * s->state_size);
}

/* The loss of the last step; leaves its gradients with the runner. */
static double judge(struct step *s) {
    double total = 0.0;
    for (int i = 0; i < CHUNK; i++) {
        const int32_t *labels = LABELS + i * SEQ_LEN;
        const int candidates = train_count_labels(labels, SEQ_LEN);
        const double share = SHARE / (candidates > 0 ? candidates : 1);
        const float *q = model_runner_q(s->runner, i);
        float *dq = model_runner_dq(s->runner, i);
        double loss;
        int labelled, correct;
        train_loss_tokens(s->loss, model_runner_logits(s->runner, i), labels, SEQ_LEN, VOCAB, share,
                          model_runner_dlogits(s->runner, i), &loss, &labelled, &correct);
        total += loss * share;
        total += Q_WEIGHT * SHARE * train_loss_binary(q[0], HALT_TARGET, Q_WEIGHT * SHARE, &dq[0]);
        total += Q_WEIGHT * SHARE * train_loss_binary(q[1], CONTINUE_TARGET, Q_WEIGHT * SHARE, &dq[1]);
    }
    return total;
}

static double loss_of(struct step *s) {
    run_forward(s, false);
    return judge(s);
}

/* Fills s->grads and s->dtable. */
static void run_backward(struct step *s) {
    const size_t ndim = (size_t)s->config.puzzle_emb_ndim;
    float *dpuzzle = zeros(CHUNK * ndim);
    trm_error err = {""};
    run_forward(s, true);
    judge(s);
    memset(s->grads, 0, s->layout->param_size * sizeof *s->grads);
    memset(s->dtable, 0, s->table_size * sizeof *s->dtable);
    if (model_runner_backward(s->runner, s->grads, ndim ? dpuzzle : NULL, &err) != TRM_OK)
        fail_msg("%s", err.text);
    for (size_t i = 0; i < CHUNK; i++)
        for (size_t k = 0; k < ndim; k++)
            s->dtable[(size_t)IDS[i] * ndim + k] += dpuzzle[i * ndim + k];
    free(dpuzzle);
}

/* A trained tensor and its gradient: parameter i of the layout, or the puzzle embedding. */
struct trained {
    const char *name;
    float *values;
    const float *grads;
    size_t count;
};

static bool trained_tensor(const struct step *s, int index, struct trained *out) {
    const struct model_tensor *t = &s->layout->tensors[index];
    const bool table = t->kind == MODEL_PUZZLE_EMB;
    *out = (struct trained){t->name, (table ? s->table : s->params) + t->offset,
                            (table ? s->dtable : s->grads) + t->offset, (size_t)t->rows * (size_t)t->cols};
    return t->kind != MODEL_BUFFER;
}

static double norm(const float *x, size_t count) {
    double squares = 0.0;
    for (size_t i = 0; i < count; i++)
        squares += (double)x[i] * (double)x[i];
    return sqrt(squares);
}

/* (loss(+h) - loss(-h)) along `direction`, and in *predicted what the gradient says. */
static double difference(struct step *s, const struct trained *t, const float *direction, double h, double *predicted) {
    float *saved = memcpy(zeros(t->count), t->values, t->count * sizeof *saved);
    double side[2];
    *predicted = 0.0;
    for (int k = 0; k < 2; k++) {
        const double sign = k == 0 ? 1.0 : -1.0;
        for (size_t i = 0; i < t->count; i++) {
            t->values[i] = (float)((double)saved[i] + sign * h * (double)direction[i]);
            *predicted += sign * (double)t->grads[i] * (double)t->values[i];
        }
        side[k] = loss_of(s);
    }
    memcpy(t->values, saved, t->count * sizeof *saved);
    free(saved);
    return side[0] - side[1];
}

/* Central differences at h and 2h, combined so that the third derivative drops out. */
static void check_direction(struct step *s, const char *variant, const struct trained *t, const float *direction) {
    const double length = norm(direction, t->count), h = 1e-3 / length, gradient = norm(t->grads, t->count);
    double near_wanted, far_wanted;
    const double near = difference(s, t, direction, h, &near_wanted);
    const double far = difference(s, t, direction, 2.0 * h, &far_wanted);
    const double got = (8.0 * near - far) / 6.0, wanted = (8.0 * near_wanted - far_wanted) / 6.0;
    if (!(fabs(got - wanted) <= 2e-3 * gradient * 2.0 * h * length + 1e-6))
        fail_msg("%s: %s: the loss changes by %.6g, its gradient says %.6g", variant, t->name, got, wanted);
}

static void check_tensor(struct step *s, const char *variant, const struct trained *t, struct data_rng *rng) {
    float *direction = zeros(t->count);
    assert_true(norm(t->grads, t->count) > 1e-4); /* every tensor of these models matters */
    for (size_t i = 0; i < t->count; i++)
        direction[i] = t->grads[i] * (float)data_rng_below(rng, 3);
    check_direction(s, variant, t, direction);
    for (size_t i = 0; i < t->count; i++)
        direction[i] = (float)data_rng_normal(rng);
    check_direction(s, variant, t, direction);
    free(direction);
}

static void the_gradient_of_a_step_agrees_with_finite_differences(void **state) {
    (void)state;
    for (size_t b = 0; b < 2; b++)
        for (size_t i = 0; i < VARIANT_COUNT; i++) {
            struct step s;
            struct data_rng rng;
            data_rng_seed(&rng, 4);
            create_step(&s, &VARIANTS[i], false, BACKENDS[b], OP_F32);
            run_backward(&s);
            for (int k = 0; k < s.layout->count; k++) {
                struct trained t;
                if (trained_tensor(&s, k, &t))
                    check_tensor(&s, VARIANTS[i].name, &t, &rng);
            }
            destroy_step(&s);
        }
}

/* ---- where gradient begins ---- */

/* Takes `part`, a step that is all gradient, from the start to where the gradient of `whole` begins. */
static void advance(struct step *part, const struct step *whole) {
    const struct model_config *c = &whole->config;
    const bool hrm = c->arch == MODEL_HRM;
    const size_t latent = part->state_size / (size_t)part->layout->latents;
    const int low = hrm ? c->L_cycles : 1; /* hrm's part has one update of z_L: it takes several */
    const int total = c->H_cycles * low;
    for (int n = 1; n < total; n++) {
        run_forward(part, false);
        for (size_t i = 0; i < CHUNK; i++) {
            const size_t kept = hrm && n % low != 0 ? latent : part->state_size; /* z_H is replaced once a cycle */
            memcpy(part->start + i * part->state_size, part->state + i * part->state_size, kept * sizeof(float));
        }
    }
}

static void earlier_updates_are_constants(void **state) {
    (void)state;
    for (size_t b = 0; b < 2; b++)
        for (size_t i = 0; i < VARIANT_COUNT; i++) {
            struct step whole, part;
            create_step(&whole, &VARIANTS[i], true, BACKENDS[b], OP_F32);
            create_step(&part, &VARIANTS[i], false, BACKENDS[b], OP_F32);
            advance(&part, &whole);
            run_backward(&whole);
            run_backward(&part);
            for (size_t k = 0; k < CHUNK * whole.state_size; k++)
                assert_true(fabsf(whole.state[k] - part.state[k]) < 1e-5f);
            for (int k = 0; k < whole.layout->count; k++) {
                struct trained a, c;
                if (!trained_tensor(&whole, k, &a) || !trained_tensor(&part, k, &c))
                    continue;
                for (size_t n = 0; n < a.count; n++)
                    if (!(fabsf(a.grads[n] - c.grads[n]) <= 1e-5f))
                        fail_msg("%s: %s: %.9g, not %.9g", VARIANTS[i].name, a.name, (double)a.grads[n],
                                 (double)c.grads[n]);
            }
            destroy_step(&part);
            destroy_step(&whole);
        }
}

/* ---- accumulation and 16 bits ---- */

static void gradients_are_added_to_what_is_there(void **state) {
    (void)state;
    struct step s;
    create_step(&s, &VARIANTS[0], false, TRM_BACKEND_ONEDNN, OP_F32);
    run_backward(&s);
    float *once = memcpy(zeros(s.layout->param_size), s.grads, s.layout->param_size * sizeof *once);
    float *dpuzzle = zeros(CHUNK * (size_t)s.config.puzzle_emb_ndim);
    assert_int_equal(model_runner_backward(s.runner, s.grads, dpuzzle, NULL), TRM_OK);
    for (size_t i = 0; i < s.layout->param_size; i++)
        assert_true(fabsf(s.grads[i] - 2.0f * once[i]) <= 1e-6f + 1e-5f * fabsf(once[i]));
    free(dpuzzle);
    free(once);
    destroy_step(&s);
}

static void bf16_gradients_point_where_those_of_f32_do(void **state) {
    (void)state;
    for (size_t b = 0; b < 2; b++)
        for (size_t i = 0; i < VARIANT_COUNT; i++) {
            struct step wide, narrow;
            create_step(&wide, &VARIANTS[i], false, BACKENDS[b], OP_F32);
            create_step(&narrow, &VARIANTS[i], false, BACKENDS[b], OP_BF16);
            for (int k = 0; narrow.runner && k < wide.layout->count; k++) {
                struct trained f, h;
                double dot = 0.0;
                if (k == 0) {
                    run_backward(&wide);
                    run_backward(&narrow);
                }
                if (!trained_tensor(&wide, k, &f) || !trained_tensor(&narrow, k, &h))
                    continue;
                for (size_t n = 0; n < f.count; n++)
                    dot += (double)f.grads[n] * (double)h.grads[n];
                const double cosine = dot / (norm(f.grads, f.count) * norm(h.grads, h.count));
                if (!(cosine > 0.95))
                    fail_msg("%s: %s: cosine %.4f", VARIANTS[i].name, f.name, cosine);
            }
            destroy_step(&narrow);
            destroy_step(&wide);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elementwise_gradients_agree_with_finite_differences),
        cmocka_unit_test(the_gradient_of_a_rotation_is_the_rotation_back),
        cmocka_unit_test(the_gradient_of_a_step_agrees_with_finite_differences),
        cmocka_unit_test(earlier_updates_are_constants),
        cmocka_unit_test(gradients_are_added_to_what_is_there),
        cmocka_unit_test(bf16_gradients_point_where_those_of_f32_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
