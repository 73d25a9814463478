/* test_engine.c - the boundary: models opened from files, slots that puzzles enter and leave, when they
 * halt, that nobody's values depend on who else is there, and that running out of memory is survived.
 *
 * Two kinds of models are made here: one of random weights, and one of weights so simple that its answer
 * and its q values are known. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/data/rng.h"
#include "engine/engine.h"
#include "engine/model/checkpoint.h"

#define GOLDEN "../shared/golden/"

enum { CELLS = 16, VOCAB = 6, IDENTIFIERS = 4, MAX_STEPS = 5 };
static const struct trm_solve_options DEFAULTS = {0};

/* ---- allocations that fail when asked to ---- */

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
enum { CAN_FAIL_ALLOCATIONS = 1 };

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): the names glibc gave them */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *block);
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */

/* The program's own malloc has nowhere else to keep these. Used by the one thread of this program. */
static struct {
    bool armed;
    long countdown; /* allocations that still succeed */
    long live;      /* blocks taken since it was armed, less those given back */
} memory;

static bool refuses(void) {
    return memory.armed && memory.countdown-- <= 0;
}

static void *taken(void *block) {
    memory.live += memory.armed && block;
    return block;
}

void *malloc(size_t size) {
    return refuses() ? NULL : taken(__libc_malloc(size));
}

void *calloc(size_t count, size_t size) {
    return refuses() ? NULL : taken(__libc_calloc(count, size));
}

void *realloc(void *block, size_t size) {
    if (refuses())
        return NULL;
    return block ? __libc_realloc(block, size) : taken(__libc_malloc(size));
}

void *aligned_alloc(size_t alignment, size_t size) {
    return refuses() ? NULL : taken(__libc_memalign(alignment, size));
}

int posix_memalign(void **block, size_t alignment, size_t size) {
    *block = aligned_alloc(alignment, size);
    return *block ? 0 : ENOMEM;
}

void free(void *block) {
    memory.live -= memory.armed && block;
    __libc_free(block);
}

static void refuse_allocations_after(long count) {
    memory.countdown = count;
    memory.live = 0;
    memory.armed = true;
}

/* Blocks that were not given back. */
static long grant_allocations(void) {
    memory.armed = false;
    return memory.live;
}
#else
enum { CAN_FAIL_ALLOCATIONS = 0 }; /* a sanitizer owns them */

static void refuse_allocations_after(long count) {
    (void)count;
}

static long grant_allocations(void) {
    return 0;
}
#endif

/* ---- checkpoints ---- */

struct checkpoint {
    struct model_config config;
    struct model_layout *layout;
    float *params, *buffers, *table;
};

static float *zeros(size_t count) {
    float *out = calloc(count ? count : 1, sizeof *out);
    assert_non_null(out);
    return out;
}

static void create_checkpoint(struct checkpoint *c, const struct model_config *config) {
    trm_error err = {""};
    c->config = *config;
    if (model_config_resolve(&c->config, &err) != TRM_OK)
        fail_msg("%s", err.text);
    assert_int_equal(model_layout_create(&c->config, &c->layout, NULL), TRM_OK);
    c->params = zeros(c->layout->param_size);
    c->buffers = zeros(c->layout->buffer_size);
    c->table = zeros((size_t)c->config.num_puzzle_identifiers * (size_t)c->config.puzzle_emb_ndim);
}

static void destroy_checkpoint(struct checkpoint *c) {
    model_layout_destroy(c->layout);
    free(c->table);
    free(c->buffers);
    free(c->params);
}

/* Writes `path`, a template of mkstemp(), which becomes the name; the caller unlinks it. `puzzle` may be NULL. */
static void write_checkpoint(const struct checkpoint *c, const char *puzzle, char *path) {
    st_writer *writer = NULL;
    int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
    assert_int_equal(st_writer_create(&writer, NULL), TRM_OK);
    assert_int_equal(model_checkpoint_add(writer, &c->config, c->layout, c->params, c->buffers,
                                          c->config.puzzle_emb_ndim ? c->table : NULL, NULL),
                     TRM_OK);
    if (puzzle) {
        assert_int_equal(st_add_metadata(writer, "puzzle", puzzle, NULL), TRM_OK);
        assert_int_equal(st_add_metadata(writer, "provenance", "{\"by\":\"test_engine\"}", NULL), TRM_OK);
    }
    assert_int_equal(st_write(writer, path, NULL), TRM_OK);
    st_writer_destroy(writer);
}

static trm_model *open_checkpoint(const struct checkpoint *c, const char *puzzle, enum trm_backend backend) {
    char path[] = "/tmp/test_engine_XXXXXX";
    trm_model *model = NULL;
    trm_error err = {""};
    write_checkpoint(c, puzzle, path);
    trm_status status =
        trm_model_open(path, &(struct trm_model_options){.backend = backend, .dtype = TRM_DTYPE_F32}, &model, &err);
    unlink(path);
    if (status != TRM_OK)
        fail_msg("%s", err.text);
    return model;
}

/* Every tensor random; token mixing or attention. */
static void create_random(struct checkpoint *c, bool mlp_t) {
    const struct model_config config = {.arch = MODEL_TRM,
                                        .seq_len = CELLS,
                                        .vocab_size = VOCAB,
                                        .num_puzzle_identifiers = IDENTIFIERS,
                                        .puzzle_emb_ndim = 24,
                                        .puzzle_emb_len = 1,
                                        .H_cycles = 2,
                                        .L_cycles = 2,
                                        .L_layers = 2,
                                        .hidden_size = 24,
                                        .num_heads = 3,
                                        .expansion = 2,
                                        .pos_encodings = mlp_t ? MODEL_POS_NONE : MODEL_POS_ROPE,
                                        .rms_norm_eps = 1e-5,
                                        .rope_theta = 10000,
                                        .halt_max_steps = MAX_STEPS,
                                        .mlp_t = mlp_t,
                                        .no_ACT_continue = true,
                                        .inter_multiple = 8};
    struct data_rng rng;
    create_checkpoint(c, &config);
    data_rng_seed(&rng, mlp_t);
    for (int i = 0; i < c->layout->count; i++) {
        const struct model_tensor *t = &c->layout->tensors[i];
        float *array = t->kind == MODEL_PARAM ? c->params : t->kind == MODEL_BUFFER ? c->buffers : c->table;
        for (size_t k = 0; k < (size_t)t->rows * (size_t)t->cols; k++)
            array[t->offset + k] = (float)(data_rng_normal(&rng) / sqrt(t->rank == 2 ? t->cols : 1));
    }
}

static trm_model *random_model(bool mlp_t, enum trm_backend backend) {
    struct checkpoint c;
    create_random(&c, mlp_t);
    trm_model *model = open_checkpoint(&c, NULL, backend);
    destroy_checkpoint(&c);
    return model;
}

/* A 4x4 Sudoku as tokens: 0 padding, 1 blank, 2 to 5 the digits. */
static const int32_t SOLUTION[CELLS] = {2, 3, 4, 5, 4, 5, 2, 3, 3, 2, 5, 4, 5, 4, 3, 2};
static const int32_t PUZZLE[CELLS] = {2, 1, 4, 1, 1, 5, 1, 3, 1, 2, 1, 4, 5, 1, 3, 1};

/* Its networks add nothing, each position's vector is a direction of its own, and the head reads the solution
 * off them: it answers SOLUTION to everything, with the given q values. */
static trm_model *knowing_model(enum model_arch arch, float q_halt, float q_continue, const char *puzzle) {
    const struct model_config config = {.arch = arch,
                                        .seq_len = CELLS,
                                        .vocab_size = VOCAB,
                                        .num_puzzle_identifiers = 1,
                                        .H_cycles = 1,
                                        .L_cycles = 1,
                                        .H_layers = 1,
                                        .L_layers = 1,
                                        .hidden_size = CELLS,
                                        .num_heads = 1,
                                        .expansion = 1,
                                        .pos_encodings = MODEL_POS_LEARNED,
                                        .rms_norm_eps = 1e-5,
                                        .rope_theta = 10000,
                                        .halt_max_steps = MAX_STEPS,
                                        .no_ACT_continue = arch == MODEL_TRM,
                                        .inter_multiple = 8};
    struct checkpoint c;
    create_checkpoint(&c, &config);
    float *position = c.params + c.layout->tensors[c.layout->embed_pos].offset; /* [CELLS, CELLS] */
    float *head = c.params + c.layout->tensors[c.layout->lm_head].offset;       /* [VOCAB, CELLS] */
    float *bias = c.params + c.layout->tensors[c.layout->q_bias].offset;
    for (int i = 0; i < CELLS; i++) {
        position[i * CELLS + i] = 1.0f;
        head[SOLUTION[i] * CELLS + i] = 1.0f;
    }
    bias[0] = q_halt;
    bias[1] = q_continue;
    trm_model *model = open_checkpoint(&c, puzzle, TRM_BACKEND_ONEDNN);
    destroy_checkpoint(&c);
    return model;
}

/* ---- batches ---- */

static trm_batch *batch_of(trm_model *model, int slots) {
    trm_batch *batch = NULL;
    trm_error err = {""};
    if (trm_batch_create(model, slots, &batch, &err) != TRM_OK)
        fail_msg("%s", err.text);
    return batch;
}

static int admit(trm_batch *batch, const int32_t *tokens, int id, const struct trm_solve_options *options) {
    int slot = -1;
    trm_error err = {""};
    if (trm_batch_admit(batch, tokens, id, options, &slot, &err) != TRM_OK)
        fail_msg("%s", err.text);
    return slot;
}

static void step(trm_batch *batch) {
    trm_error err = {""};
    if (trm_batch_step(batch, &err) != TRM_OK)
        fail_msg("%s", err.text);
}

static void random_puzzle(struct data_rng *rng, int32_t tokens[CELLS]) {
    for (int i = 0; i < CELLS; i++)
        tokens[i] = data_rng_below(rng, VOCAB);
}

/* ---- models ---- */

static void a_model_says_what_it_is(void **state) {
    (void)state;
    trm_model *model = knowing_model(MODEL_HRM, 0, 0, "sudoku");
    const struct trm_model_info *info = trm_model_info(model);
    assert_string_equal(info->arch, "hrm");
    assert_int_equal(info->puzzle, TRM_PUZZLE_SUDOKU);
    assert_string_equal(info->puzzle_name, "sudoku");
    assert_string_equal(info->provenance, "{\"by\":\"test_engine\"}");
    assert_non_null(strstr(info->config, "\"seq_len\""));
    assert_int_equal(info->seq_len, CELLS);
    assert_int_equal(info->vocab_size, VOCAB);
    assert_int_equal(info->num_puzzle_identifiers, 1);
    assert_int_equal(info->halt_max_steps, MAX_STEPS);
    assert_int_equal(info->hidden_size, CELLS);
    /* tokens, head, q head and its bias, positions; two layers of qkv, o, gate_up, down of inner size 16 */
    assert_int_equal(info->parameters,
                     VOCAB * CELLS * 2 + 2 * CELLS + 2 + CELLS * CELLS + 2 * (3 + 1 + 2 + 1) * CELLS * CELLS);
    assert_true(info->flops_per_step > 0);
    trm_model_unref(model);

    model = random_model(true, TRM_BACKEND_REFERENCE);
    assert_int_equal(trm_model_info(model)->puzzle, TRM_PUZZLE_OTHER);
    assert_string_equal(trm_model_info(model)->puzzle_name, "");
    assert_string_equal(trm_model_info(model)->provenance, "{}");
    trm_model_unref(model);
}

static void what_is_no_model_is_refused(void **state) {
    (void)state;
    trm_model *model = NULL;
    trm_error err = {""};
    assert_int_equal(trm_model_open("/nonexistent/model", &(struct trm_model_options){0}, &model, &err), TRM_IO);
    assert_non_null(strstr(err.text, "/nonexistent/model"));
    assert_int_equal(trm_model_open("Makefile", &(struct trm_model_options){0}, &model, &err), TRM_FORMAT);
    assert_null(model);
    trm_model_unref(NULL);
    trm_batch_destroy(NULL);
}

static void a_batch_keeps_its_model_alive(void **state) {
    (void)state;
    trm_model *model = knowing_model(MODEL_TRM, 1, 0, "sudoku");
    trm_batch *batch = batch_of(model, 2);
    assert_ptr_equal(trm_model_ref(model), model);
    trm_model_unref(model);
    trm_model_unref(model);
    int slot = admit(batch, PUZZLE, 0, &DEFAULTS);
    step(batch);
    assert_memory_equal(trm_batch_report(batch, slot)->answer, SOLUTION, sizeof SOLUTION);
    trm_batch_destroy(batch);
}

/* ---- slots ---- */

static void slots_are_taken_and_given_back_one_by_one(void **state) {
    (void)state;
    enum { SLOTS = 3 };
    trm_model *model = knowing_model(MODEL_TRM, -1, 0, "sudoku");
    trm_batch *batch = batch_of(model, SLOTS);
    int slots[SLOTS], refused = -1;
    assert_int_equal(trm_batch_slots(batch), SLOTS);
    step(batch); /* nothing to do */
    for (int i = 0; i < SLOTS; i++) {
        assert_int_equal(trm_batch_busy(batch), i);
        slots[i] = admit(batch, PUZZLE, 0, &DEFAULTS);
        assert_in_range(slots[i], 0, SLOTS - 1);
        for (int k = 0; k < i; k++)
            assert_int_not_equal(slots[i], slots[k]);
        step(batch); /* the first has been here longest */
    }
    for (int i = 0; i < SLOTS; i++)
        assert_int_equal(trm_batch_report(batch, slots[i])->step, SLOTS - i);

    assert_int_equal(trm_batch_admit(batch, PUZZLE, 0, &DEFAULTS, &refused, NULL), TRM_FULL);
    assert_int_equal(refused, -1);
    trm_batch_release(batch, slots[1]);
    assert_int_equal(trm_batch_busy(batch), SLOTS - 1);
    assert_null(trm_batch_report(batch, slots[1]));
    trm_batch_release(batch, slots[1]); /* harmless */
    assert_int_equal(trm_batch_busy(batch), SLOTS - 1);
    assert_int_equal(admit(batch, PUZZLE, 0, &DEFAULTS), slots[1]);
    assert_int_equal(trm_batch_report(batch, slots[1])->step, 0); /* nothing of the one before */
    assert_int_equal(trm_batch_report(batch, slots[0])->step, SLOTS);

    assert_null(trm_batch_report(batch, -1));
    assert_null(trm_batch_report(batch, SLOTS));
    trm_batch_release(batch, -1);
    trm_batch_release(batch, SLOTS);
    assert_int_equal(trm_batch_busy(batch), SLOTS);
    trm_batch_destroy(batch);
    trm_model_unref(model);
}

static void a_new_slot_reports_its_puzzle_and_no_step(void **state) {
    (void)state;
    trm_model *model = knowing_model(MODEL_TRM, 1, 0, NULL);
    trm_batch *batch = batch_of(model, 1);
    const struct trm_report *report = trm_batch_report(batch, admit(batch, PUZZLE, 0, &DEFAULTS));
    assert_int_equal(report->step, 0);
    assert_int_equal(report->halt, TRM_RUNNING);
    assert_memory_equal(report->answer, PUZZLE, sizeof PUZZLE);
    trm_batch_destroy(batch);
    trm_model_unref(model);
}

static void a_report_tells_answer_q_and_confidence(void **state) {
    (void)state;
    trm_model *model = knowing_model(MODEL_TRM, 1.5f, -2.5f, NULL);
    trm_batch *batch = batch_of(model, 1);
    const struct trm_report *report = trm_batch_report(batch, admit(batch, PUZZLE, 0, &DEFAULTS));
    step(batch);
    assert_int_equal(report->step, 1);
    assert_memory_equal(report->answer, SOLUTION, sizeof SOLUTION);
    assert_true(report->q_halt == 1.5f && report->q_continue == -2.5f);
    /* After the norm a position's direction has length sqrt(CELLS) = 4; the other logits are 0. */
    assert_true(fabs((double)report->confidence - 1.0 / (1.0 + (VOCAB - 1) * exp(-4.0))) < 1e-4);
    trm_batch_destroy(batch);
    trm_model_unref(model);
}

static void bad_puzzles_and_options_are_refused(void **state) {
    (void)state;
    trm_model *model = random_model(true, TRM_BACKEND_ONEDNN);
    trm_batch *batch = batch_of(model, 1);
    const int bad_tokens[] = {-1, VOCAB, INT32_MAX, INT32_MIN}, bad_ids[] = {-1, IDENTIFIERS, INT32_MAX};
    const struct trm_solve_options bad_options[] = {
        {.max_steps = -1}, {.min_steps = -1}, {.noise = -1}, {.noise = INFINITY}, {.noise = NAN}};
    int32_t tokens[CELLS] = {0};
    trm_error err = {""};
    int slot = -1;
    for (size_t i = 0; i < sizeof bad_tokens / sizeof *bad_tokens; i++) {
        tokens[CELLS - 1] = bad_tokens[i];
        assert_int_equal(trm_batch_admit(batch, tokens, 0, &DEFAULTS, &slot, &err), TRM_INVALID);
        assert_non_null(strstr(err.text, "token 15"));
    }
    tokens[CELLS - 1] = VOCAB - 1;
    for (size_t i = 0; i < sizeof bad_ids / sizeof *bad_ids; i++)
        assert_int_equal(trm_batch_admit(batch, tokens, bad_ids[i], &DEFAULTS, &slot, NULL), TRM_INVALID);
    for (size_t i = 0; i < sizeof bad_options / sizeof *bad_options; i++)
        assert_int_equal(trm_batch_admit(batch, tokens, 0, &bad_options[i], &slot, NULL), TRM_INVALID);
    assert_int_equal(slot, -1);
    assert_int_equal(trm_batch_busy(batch), 0);
    assert_int_equal(admit(batch, tokens, IDENTIFIERS - 1, &DEFAULTS), 0);
    trm_batch_destroy(batch);
    batch = NULL;
    assert_int_equal(trm_batch_create(model, 0, &batch, NULL), TRM_INVALID);
    assert_int_equal(trm_batch_create(model, -1, &batch, NULL), TRM_INVALID);
    assert_null(batch);
    trm_model_unref(model);
}

static void identifiers_choose_rows_of_the_puzzle_embedding(void **state) {
    (void)state;
    trm_model *model = random_model(false, TRM_BACKEND_ONEDNN);
    trm_batch *batch = batch_of(model, IDENTIFIERS + 1);
    for (int id = 0; id < IDENTIFIERS; id++)
        admit(batch, PUZZLE, id, &DEFAULTS);
    admit(batch, PUZZLE, 0, &DEFAULTS);
    step(batch);
    const float first = trm_batch_report(batch, 0)->q_halt;
    for (int id = 1; id < IDENTIFIERS; id++)
        assert_true(trm_batch_report(batch, id)->q_halt != first);
    assert_true(trm_batch_report(batch, IDENTIFIERS)->q_halt == first);
    trm_batch_destroy(batch);
    trm_model_unref(model);
}

/* ---- halting ---- */

struct halting {
    const char *name;
    enum model_arch arch;
    float q_halt, q_continue;
    const char *puzzle_name;
    struct trm_solve_options options;
    enum trm_halt halt;
    int steps;
};

static const struct halting HALTINGS[] = {
    {"confident", MODEL_TRM, 0.5f, 9, NULL, {0}, TRM_HALT_Q_HEAD, 1},
    {"not confident", MODEL_TRM, -0.5f, -9, NULL, {0}, TRM_HALT_MAX_STEPS, MAX_STEPS},
    {"exactly at the threshold", MODEL_TRM, 0.5f, 0, NULL, {.halt_threshold = 0.5f}, TRM_HALT_MAX_STEPS, MAX_STEPS},
    {"above the threshold", MODEL_TRM, 0.5f, 0, NULL, {.halt_threshold = 0.25f}, TRM_HALT_Q_HEAD, 1},
    {"negative threshold", MODEL_TRM, -0.5f, 0, NULL, {.halt_threshold = -1}, TRM_HALT_Q_HEAD, 1},
    {"hrm compares with continue", MODEL_HRM, 5, 6, NULL, {0}, TRM_HALT_MAX_STEPS, MAX_STEPS},
    {"hrm, halt above continue", MODEL_HRM, -5, -6, NULL, {0}, TRM_HALT_Q_HEAD, 1},
    {"hrm, threshold", MODEL_HRM, 5, 6, NULL, {.halt_threshold = -1.5f}, TRM_HALT_Q_HEAD, 1},
    {"no earlier than min_steps", MODEL_TRM, 1, 0, NULL, {.min_steps = 3}, TRM_HALT_Q_HEAD, 3},
    {"min_steps 1 is the default", MODEL_TRM, 1, 0, NULL, {.min_steps = 1}, TRM_HALT_Q_HEAD, 1},
    {"min_steps beyond max_steps", MODEL_TRM, 1, 0, NULL, {.min_steps = 9}, TRM_HALT_MAX_STEPS, MAX_STEPS},
    {"max_steps below the model's", MODEL_TRM, -1, 0, NULL, {.max_steps = 2}, TRM_HALT_MAX_STEPS, 2},
    {"max_steps above the model's", MODEL_TRM, -1, 0, NULL, {.max_steps = 12}, TRM_HALT_MAX_STEPS, 12},
    {"no_halt", MODEL_TRM, 1, 0, "sudoku", {.no_halt = true, .verify = true}, TRM_HALT_MAX_STEPS, MAX_STEPS},
    {"verified", MODEL_TRM, -1, 0, "sudoku", {.verify = true}, TRM_HALT_VERIFIED, 1},
    {"verified after min_steps", MODEL_TRM, -1, 0, "sudoku", {.verify = true, .min_steps = 2}, TRM_HALT_VERIFIED, 2},
    {"no verifier: the head decides", MODEL_TRM, 1, 0, NULL, {.verify = true}, TRM_HALT_Q_HEAD, 1},
    {"no verifier of mazes", MODEL_TRM, -1, 0, "maze", {.verify = true}, TRM_HALT_MAX_STEPS, MAX_STEPS},
};

static void run_halting(const struct halting *h, const int32_t *puzzle, enum trm_halt halt, int steps) {
    trm_model *model = knowing_model(h->arch, h->q_halt, h->q_continue, h->puzzle_name);
    trm_batch *batch = batch_of(model, 1);
    const struct trm_report *report = trm_batch_report(batch, admit(batch, puzzle, 0, &h->options));
    for (int i = 0; i < 16; i++) /* a slot that is done is not stepped again */
        step(batch);
    if (report->halt != halt || report->step != steps)
        fail_msg("%s: halt %d at step %d, not %d at %d", h->name, (int)report->halt, report->step, (int)halt, steps);
    trm_batch_destroy(batch);
    trm_model_unref(model);
}

static void slots_halt_when_the_rules_say_so(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof HALTINGS / sizeof *HALTINGS; i++)
        run_halting(&HALTINGS[i], PUZZLE, HALTINGS[i].halt, HALTINGS[i].steps);
}

/* However confident the head is. */
static void a_wrong_answer_is_never_verified(void **state) {
    (void)state;
    const struct halting verify = {"verify", MODEL_TRM, 9, 0, "sudoku", {.verify = true}, TRM_RUNNING, 0};
    int32_t other[CELLS];
    memcpy(other, PUZZLE, sizeof other);
    other[0] = 3; /* a clue that SOLUTION does not keep */
    run_halting(&verify, other, TRM_HALT_MAX_STEPS, MAX_STEPS);
    memcpy(other, PUZZLE, sizeof other);
    other[1] = 0; /* padding is no digit */
    run_halting(&verify, other, TRM_HALT_MAX_STEPS, MAX_STEPS);
    run_halting(&verify, PUZZLE, TRM_HALT_VERIFIED, 1);
}

/* ---- nobody's values depend on who else is there ---- */

enum { CROWD = 64 };

struct values {
    float q_halt, q_continue, confidence;
    int32_t answer[CELLS];
};

static struct values values_of(const struct trm_report *report) {
    struct values v = {.q_halt = report->q_halt, .q_continue = report->q_continue, .confidence = report->confidence};
    memcpy(v.answer, report->answer, sizeof v.answer);
    return v;
}

/* Ours in slot `place` of a full batch whose other puzzles come and go between steps. */
static void check_crowd(trm_model *model, int place, const struct trm_solve_options *options,
                        const struct values alone[MAX_STEPS]) {
    trm_batch *batch = batch_of(model, CROWD);
    struct data_rng rng;
    data_rng_seed(&rng, (uint64_t)place);
    for (int i = 0; i < CROWD; i++) {
        int32_t other[CELLS];
        random_puzzle(&rng, other);
        assert_int_equal(admit(batch, i == place ? PUZZLE : other, i == place ? 2 : i % IDENTIFIERS, options), i);
    }
    for (int n = 0; n < MAX_STEPS; n++) {
        step(batch);
        const struct values here = values_of(trm_batch_report(batch, place));
        assert_memory_equal(&here, &alone[n], sizeof here);
        for (int i = 0; i < CROWD; i++)
            if (i != place && data_rng_below(&rng, 3) == 0) {
                int32_t other[CELLS];
                random_puzzle(&rng, other);
                trm_batch_release(batch, i);
                assert_int_equal(admit(batch, other, 0, options), i);
            }
    }
    trm_batch_destroy(batch);
}

static void a_puzzle_has_the_same_bits_alone_and_among_63_others_in_any_slot(void **state) {
    (void)state;
    const struct trm_solve_options calm = {.no_halt = true}, noisy = {.no_halt = true, .noise = 0.5f, .seed = 9};
    const enum trm_backend backends[] = {TRM_BACKEND_ONEDNN, TRM_BACKEND_REFERENCE};
    const int places[] = {17, 0, CROWD - 1};
    for (size_t b = 0; b < 2; b++)
        for (int kind = 0; kind < 4; kind++) {
            const struct trm_solve_options options = kind & 2 ? noisy : calm;
            const bool mlp_t = kind & 1;
            struct values alone[MAX_STEPS];
            trm_model *model = random_model(mlp_t, backends[b]);
            trm_batch *batch = batch_of(model, 1);
            admit(batch, PUZZLE, 2, &options);
            for (int n = 0; n < MAX_STEPS; n++) {
                step(batch);
                alone[n] = values_of(trm_batch_report(batch, 0));
                assert_true(isfinite(alone[n].q_halt) && alone[n].q_halt != 0.0f);
                assert_true(n == 0 || alone[n].q_halt != alone[n - 1].q_halt);
            }
            trm_batch_destroy(batch);
            const size_t count = backends[b] == TRM_BACKEND_ONEDNN ? sizeof places / sizeof *places : 1;
            for (size_t i = 0; i < count; i++)
                check_crowd(model, places[i], &options, alone);
            trm_model_unref(model);
        }
}

static float q_after_two_steps(trm_model *model, float noise, uint64_t seed) {
    const struct trm_solve_options options = {.no_halt = true, .noise = noise, .seed = seed};
    trm_batch *batch = batch_of(model, 1);
    const struct trm_report *report = trm_batch_report(batch, admit(batch, PUZZLE, 0, &options));
    step(batch);
    step(batch);
    const float q = report->q_halt;
    trm_batch_destroy(batch);
    return q;
}

static void noise_moves_the_latents_as_the_seed_says(void **state) {
    (void)state;
    trm_model *model = random_model(true, TRM_BACKEND_ONEDNN);
    const float calm = q_after_two_steps(model, 0, 1), noisy = q_after_two_steps(model, 0.3f, 1);
    assert_true(noisy != calm);
    assert_true(q_after_two_steps(model, 0, 2) == calm);
    assert_true(q_after_two_steps(model, 0.3f, 1) == noisy);
    assert_true(q_after_two_steps(model, 0.3f, 2) != noisy);
    assert_true(q_after_two_steps(model, 0.2f, 1) != noisy);
    trm_model_unref(model);
}

/* ---- the goldens through the boundary ---- */

/* Every puzzle of the file at once: q, answers and confidence of every step. */
static void check_golden(const char *path) {
    trm_model *model = NULL;
    st_file *file = NULL;
    trm_error err = {""};
    const struct trm_solve_options options = {.no_halt = true};
    if (trm_model_open(path, &(struct trm_model_options){.dtype = TRM_DTYPE_F32}, &model, &err) != TRM_OK ||
        st_open(path, &file, &err) != TRM_OK)
        fail_msg("%s: %s", path, err.text);
    const size_t seq_len = (size_t)trm_model_info(model)->seq_len, vocab = (size_t)trm_model_info(model)->vocab_size;
    const struct st_tensor *inputs = st_find(file, "io.inputs"), *ids = st_find(file, "io.puzzle_identifiers");
    assert_non_null(inputs);
    assert_non_null(ids);
    const int count = (int)ids->count, steps = trm_model_info(model)->halt_max_steps;
    trm_batch *batch = batch_of(model, count);
    for (int i = 0; i < count; i++)
        assert_int_equal(admit(batch, (const int32_t *)inputs->data + (size_t)i * seq_len,
                               ((const int32_t *)ids->data)[i], &options),
                         i);
    for (int n = 1; n <= steps; n++) {
        char name[64];
        snprintf(name, sizeof name, "io.step%d.q_logits", n);
        const float *q = st_find(file, name)->data;
        snprintf(name, sizeof name, "io.step%d.logits", n);
        const float *logits = st_find(file, name)->data;
        step(batch);
        for (int i = 0; i < count; i++) {
            const struct trm_report *report = trm_batch_report(batch, i);
            double confidence = 0.0;
            assert_true(fabsf(report->q_halt - q[2 * i]) <= 2e-4f && fabsf(report->q_continue - q[2 * i + 1]) <= 2e-4f);
            for (size_t t = 0; t < seq_len; t++) {
                const float *row = logits + ((size_t)i * seq_len + t) * vocab;
                float largest = row[0];
                double total = 0.0;
                for (size_t v = 1; v < vocab; v++)
                    largest = row[v] > largest ? row[v] : largest;
                for (size_t v = 0; v < vocab; v++)
                    total += exp((double)row[v] - (double)largest);
                confidence += 1.0 / total / (double)seq_len;
                assert_true(row[report->answer[t]] >= largest - 4e-4f);
            }
            assert_true(fabs((double)report->confidence - confidence) <= 4e-4);
            assert_int_equal(report->halt, n < steps ? TRM_RUNNING : TRM_HALT_MAX_STEPS);
        }
    }
    trm_batch_destroy(batch);
    st_close(file);
    trm_model_unref(model);
}

static void the_goldens_come_out_of_the_boundary(void **state) {
    (void)state;
    static const char *const names[] = {
        "infer_trm_mlp",     "infer_trm_attn_rope", "infer_trm_attn_learned",     "infer_hrm",
        "infer_trm_singlez", "infer_trm_hier6",     "infer_transformers_baseline"};
    if (access(GOLDEN, R_OK) != 0) {
        print_message("no goldens at " GOLDEN "\n");
        skip();
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[128];
        snprintf(path, sizeof path, GOLDEN "%s.safetensors", names[i]);
        check_golden(path);
    }
}

/* ---- running out of memory ---- */

/* Opens, steps and closes; leaves nothing behind, whatever happens. */
static trm_status whole_life(const char *path) {
    trm_model *model = NULL;
    trm_batch *batch = NULL;
    int slot;
    trm_status status =
        trm_model_open(path, &(struct trm_model_options){.backend = TRM_BACKEND_REFERENCE}, &model, NULL);
    if (status == TRM_OK)
        status = trm_batch_create(model, 2, &batch, NULL);
    if (status == TRM_OK)
        status = trm_batch_admit(batch, PUZZLE, 0, &DEFAULTS, &slot, NULL);
    if (status == TRM_OK)
        status = trm_batch_step(batch, NULL);
    trm_batch_destroy(batch);
    trm_model_unref(model);
    return status;
}

/* The reference backend, because what oneDNN does without memory is oneDNN's. */
static void every_failed_allocation_is_an_error_and_leaks_nothing(void **state) {
    (void)state;
    if (!CAN_FAIL_ALLOCATIONS) {
        print_message("allocations cannot be made to fail in this build\n");
        skip();
    }
    for (int mlp_t = 0; mlp_t < 2; mlp_t++) {
        char path[] = "/tmp/test_engine_XXXXXX";
        struct checkpoint c;
        create_random(&c, mlp_t);
        write_checkpoint(&c, "sudoku", path);
        destroy_checkpoint(&c);
        assert_int_equal(whole_life(path), TRM_OK); /* what a library allocates once */
        trm_status status = TRM_NO_MEMORY;
        long granted = 0;
        for (; status != TRM_OK && granted < 100000; granted++) {
            refuse_allocations_after(granted);
            status = whole_life(path);
            const long leaked = grant_allocations();
            if (leaked != 0)
                fail_msg("after %ld allocations: %ld blocks were not given back", granted, leaked);
        }
        unlink(path);
        assert_int_equal(status, TRM_OK); /* with all of them granted */
        assert_true(granted > 30);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model_says_what_it_is),
        cmocka_unit_test(what_is_no_model_is_refused),
        cmocka_unit_test(a_batch_keeps_its_model_alive),
        cmocka_unit_test(slots_are_taken_and_given_back_one_by_one),
        cmocka_unit_test(a_new_slot_reports_its_puzzle_and_no_step),
        cmocka_unit_test(a_report_tells_answer_q_and_confidence),
        cmocka_unit_test(bad_puzzles_and_options_are_refused),
        cmocka_unit_test(identifiers_choose_rows_of_the_puzzle_embedding),
        cmocka_unit_test(slots_halt_when_the_rules_say_so),
        cmocka_unit_test(a_wrong_answer_is_never_verified),
        cmocka_unit_test(a_puzzle_has_the_same_bits_alone_and_among_63_others_in_any_slot),
        cmocka_unit_test(noise_moves_the_latents_as_the_seed_says),
        cmocka_unit_test(the_goldens_come_out_of_the_boundary),
        cmocka_unit_test(every_failed_allocation_is_an_error_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
