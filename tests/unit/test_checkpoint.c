/* test_checkpoint.c - layouts and checkpoints: the goldens open with the sizes they claim, every
 * architecture survives a round trip, and files that do not hold their model are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/model/checkpoint.h"

#include <glob.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A small model in memory: what trm-train holds when it saves. */
struct model {
    struct model_config config;
    struct model_layout *layout;
    float *params, *buffers, *puzzle_emb; /* no two values alike */
};

static char path[32];

static int make_file(void **state) {
    (void)state;
    snprintf(path, sizeof path, "/tmp/test_checkpoint.XXXXXX");
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state) {
    (void)state;
    return unlink(path);
}

static float *new_values(size_t count, float first) {
    float *values = malloc((count + 1) * sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < count; i++)
        values[i] = first + (float)i / 1024;
    return values;
}

static struct model new_model(const char *config) {
    struct model model;
    trm_error err;
    if (model_config_parse(config, &model.config, &err))
        fail_msg("%s", err.text);
    assert_int_equal(model_layout_create(&model.config, &model.layout, &err), TRM_OK);
    size_t puzzle = (size_t)model.config.num_puzzle_identifiers * (size_t)model.config.puzzle_emb_ndim;
    model.params = new_values(model.layout->param_size, 1);
    model.buffers = new_values(model.layout->buffer_size, -100);
    model.puzzle_emb = model.layout->puzzle_emb < 0 ? NULL : new_values(puzzle, -500);
    return model;
}

static void free_model(struct model *model) {
    free(model->params);
    free(model->buffers);
    free(model->puzzle_emb);
    model_layout_destroy(model->layout);
}

static const float *model_data(const struct model *model, const struct model_tensor *tensor) {
    return tensor->kind == MODEL_PARAM    ? model->params + tensor->offset
           : tensor->kind == MODEL_BUFFER ? model->buffers + tensor->offset
                                          : model->puzzle_emb;
}

static const float *open_data(const model_checkpoint *checkpoint, const struct model_tensor *tensor) {
    return tensor->kind == MODEL_PARAM    ? model_checkpoint_params(checkpoint) + tensor->offset
           : tensor->kind == MODEL_BUFFER ? model_checkpoint_buffers(checkpoint) + tensor->offset
                                          : model_checkpoint_puzzle_emb(checkpoint);
}

static size_t element_count(const struct model_tensor *tensor) {
    return (size_t)tensor->rows * (size_t)tensor->cols;
}

static model_checkpoint *open_checkpoint(const char *name) {
    model_checkpoint *checkpoint;
    trm_error err;
    if (model_checkpoint_open(name, &checkpoint, &err))
        fail_msg("%s", err.text);
    return checkpoint;
}

static void assert_refused(const char *reason) {
    model_checkpoint *checkpoint;
    trm_error err = {""};
    trm_status status = model_checkpoint_open(path, &checkpoint, &err);
    assert_null(checkpoint);
    if (status != TRM_FORMAT || !strstr(err.text, reason) || !strstr(err.text, path))
        fail_msg("status %d, message \"%s\", expected \"%s\"", status, err.text, reason);
}

#define SIZES                                                                                                          \
    "\"seq_len\": 9, \"vocab_size\": 5, \"num_puzzle_identifiers\": 3, \"H_cycles\": 2, \"L_cycles\": 2,"              \
    "\"H_layers\": 1, \"L_layers\": 2, \"hidden_size\": 12, \"num_heads\": 2, \"expansion\": 2, \"halt_max_steps\": "  \
    "4,"                                                                                                               \
    "\"inter_multiple\": 8,"

static const char small_config[] = "{\"arch\": \"trm\"," SIZES "\"pos_encodings\": \"rope\", \"puzzle_emb_ndim\": 20,"
                                   "\"puzzle_emb_len\": 2}";

static const char *const all_configs[] = {
    small_config,
    "{\"arch\": \"trm\"," SIZES "\"pos_encodings\": \"none\", \"mlp_t\": true}",
    "{\"arch\": \"trm\"," SIZES "\"pos_encodings\": \"learned\", \"puzzle_emb_ndim\": 7}",
    "{\"arch\": \"trm_singlez\"," SIZES "\"pos_encodings\": \"rope\"}",
    "{\"arch\": \"trm_hier6\"," SIZES "\"pos_encodings\": \"rope\", \"puzzle_emb_ndim\": 12, \"puzzle_emb_len\": 0}",
    "{\"arch\": \"hrm\"," SIZES "\"pos_encodings\": \"rope\", \"puzzle_emb_ndim\": 13}",
    "{\"arch\": \"transformers_baseline\"," SIZES "\"pos_encodings\": \"learned\", \"puzzle_emb_ndim\": 12}",
};
enum { CONFIGS = sizeof all_configs / sizeof all_configs[0] };

static void tensors_do_not_share_memory(void **state) {
    (void)state;
    for (int c = 0; c < CONFIGS; c++) {
        struct model model = new_model(all_configs[c]);
        size_t next[] = {[MODEL_PARAM] = 0, [MODEL_BUFFER] = 0};
        for (int i = 0; i < model.layout->count; i++) {
            const struct model_tensor *tensor = &model.layout->tensors[i];
            if (tensor->kind == MODEL_PUZZLE_EMB) {
                assert_int_equal(tensor->offset, 0);
                continue;
            }
            assert_int_equal(tensor->offset % 16, 0);
            assert_true(tensor->offset >= next[tensor->kind]);
            next[tensor->kind] = tensor->offset + element_count(tensor);
        }
        assert_true(model.layout->param_size >= next[MODEL_PARAM]);
        assert_true(model.layout->buffer_size >= next[MODEL_BUFFER]);
        free_model(&model);
    }
}

static void assert_tensor(const struct model_layout *layout, int index, const char *name, int rank, int rows,
                          int cols) {
    assert_in_range(index, 0, layout->count - 1);
    const struct model_tensor *tensor = &layout->tensors[index];
    assert_string_equal(tensor->name, name);
    assert_int_equal(tensor->rank, rank);
    assert_int_equal(tensor->rows, rows);
    assert_int_equal(tensor->cols, cols);
}

static void indices_lead_to_the_tensors_they_name(void **state) {
    (void)state;
    struct model trm = new_model(small_config);
    const struct model_layout *l = trm.layout;
    assert_tensor(l, l->embed_tokens, "embed_tokens.embedding_weight", 2, 5, 12);
    assert_tensor(l, l->lm_head, "lm_head.weight", 2, 5, 12);
    assert_tensor(l, l->q_weight, "q_head.weight", 2, 2, 12);
    assert_tensor(l, l->q_bias, "q_head.bias", 1, 1, 2);
    assert_tensor(l, l->puzzle_emb, "puzzle_emb.weights", 2, 3, 20);
    assert_int_equal(l->embed_pos, -1);
    assert_int_equal(l->latents, 2);
    assert_tensor(l, l->init[0], "L_init", 1, 1, 12);
    assert_tensor(l, l->init[1], "H_init", 1, 1, 12);
    assert_int_equal(l->init[2], -1);
    assert_int_equal(l->layers[0], 2);
    assert_int_equal(l->layers[1], 0);
    assert_tensor(l, l->layer[0][1].qkv, "L_level.layers.1.self_attn.qkv_proj.weight", 2, 36, 12);
    assert_tensor(l, l->layer[0][1].o, "L_level.layers.1.self_attn.o_proj.weight", 2, 12, 12);
    assert_tensor(l, l->layer[0][1].gate_up, "L_level.layers.1.mlp.gate_up_proj.weight", 2, 32, 12);
    assert_tensor(l, l->layer[0][1].down, "L_level.layers.1.mlp.down_proj.weight", 2, 12, 16);
    assert_int_equal(l->layer[0][1].mix_gate_up, -1);
    free_model(&trm);

    struct model mixer = new_model(all_configs[1]);
    l = mixer.layout;
    assert_int_equal(l->puzzle_emb, -1);
    assert_int_equal(l->layer[0][0].qkv, -1);
    assert_tensor(l, l->layer[0][0].mix_gate_up, "L_level.layers.0.mlp_t.gate_up_proj.weight", 2, 32, 9);
    assert_tensor(l, l->layer[0][0].mix_down, "L_level.layers.0.mlp_t.down_proj.weight", 2, 9, 16);
    free_model(&mixer);

    struct model learned = new_model(all_configs[2]);
    l = learned.layout;
    assert_tensor(l, l->embed_pos, "embed_pos.embedding_weight", 2, 9 + 16, 12);
    free_model(&learned);

    struct model single = new_model(all_configs[3]);
    assert_int_equal(single.layout->latents, 1);
    assert_tensor(single.layout, single.layout->init[0], "L_init", 1, 1, 12);
    free_model(&single);

    struct model hier6 = new_model(all_configs[4]);
    assert_int_equal(hier6.layout->latents, 7);
    assert_tensor(hier6.layout, hier6.layout->init[5], "L6_init", 1, 1, 12);
    assert_tensor(hier6.layout, hier6.layout->init[6], "H_init", 1, 1, 12);
    free_model(&hier6);

    struct model hrm = new_model(all_configs[5]);
    l = hrm.layout;
    assert_int_equal(l->layers[0], 2);
    assert_int_equal(l->layers[1], 1);
    assert_tensor(l, l->layer[0][0].qkv, "L_level.layers.0.self_attn.qkv_proj.weight", 2, 36, 12);
    assert_tensor(l, l->layer[1][0].down, "H_level.layers.0.mlp.down_proj.weight", 2, 12, 16);
    free_model(&hrm);

    struct model baseline = new_model(all_configs[6]);
    l = baseline.layout;
    assert_int_equal(l->layers[0], 1);
    assert_int_equal(l->layers[1], 0);
    assert_int_equal(l->latents, 1);
    assert_tensor(l, l->init[0], "H_init", 1, 1, 12);
    assert_tensor(l, l->layer[0][0].o, "H_level.layers.0.self_attn.o_proj.weight", 2, 12, 12);
    free_model(&baseline);
}

static void latents_have_the_names_used_in_files(void **state) {
    (void)state;
    assert_string_equal(model_latent_name(MODEL_TRM, 0), "z_L");
    assert_string_equal(model_latent_name(MODEL_TRM, 1), "z_H");
    assert_null(model_latent_name(MODEL_TRM, 2));
    assert_null(model_latent_name(MODEL_TRM, -1));
    assert_string_equal(model_latent_name(MODEL_TRM_SINGLEZ, 0), "z_L");
    assert_string_equal(model_latent_name(MODEL_TRM_HIER6, 2), "z_L3");
    assert_string_equal(model_latent_name(MODEL_TRM_HIER6, 6), "z_H");
    assert_null(model_latent_name(MODEL_TRM_HIER6, 7));
    assert_string_equal(model_latent_name(MODEL_HRM, 1), "z_H");
    assert_string_equal(model_latent_name(MODEL_TRANSFORMER, 0), "z_H");
    assert_null(model_latent_name(MODEL_TRANSFORMER, 1));
}

static void every_architecture_survives_a_round_trip(void **state) {
    (void)state;
    for (int c = 0; c < CONFIGS; c++) {
        struct model model = new_model(all_configs[c]);
        const float extra = 4;
        st_writer *writer;
        assert_int_equal(st_writer_create(&writer, NULL), TRM_OK);
        assert_int_equal(st_add_metadata(writer, "puzzle", "sudoku", NULL), TRM_OK);
        assert_int_equal(model_checkpoint_add(writer, &model.config, model.layout, model.params, model.buffers,
                                              model.puzzle_emb, NULL),
                         TRM_OK);
        assert_int_equal(st_add(writer, "optimizer.step", ST_F32, 0, NULL, &extra, NULL), TRM_OK);
        assert_int_equal(st_write(writer, path, NULL), TRM_OK);
        st_writer_destroy(writer);

        model_checkpoint *checkpoint = open_checkpoint(path);
        const struct model_layout *layout = model_checkpoint_layout(checkpoint);
        assert_int_equal(model_checkpoint_config(checkpoint)->arch, model.config.arch);
        assert_int_equal(model_checkpoint_config(checkpoint)->tokens, model.config.tokens);
        assert_string_equal(st_metadata(model_checkpoint_file(checkpoint), "puzzle"), "sudoku");
        assert_int_equal(st_count(model_checkpoint_file(checkpoint)), layout->count + 1);
        assert_int_equal(layout->count, model.layout->count);
        assert_int_equal(layout->param_size, model.layout->param_size);
        for (int i = 0; i < layout->count; i++) {
            const struct model_tensor *tensor = &layout->tensors[i];
            assert_memory_equal(open_data(checkpoint, tensor), model_data(&model, tensor),
                                element_count(tensor) * sizeof(float));
        }
        if (!model.puzzle_emb)
            assert_null(model_checkpoint_puzzle_emb(checkpoint));
        model_checkpoint_close(checkpoint);
        free_model(&model);
    }
}

static void padding_is_zero_and_arrays_are_aligned(void **state) {
    (void)state;
    struct model model = new_model(small_config);
    st_writer *writer;
    assert_int_equal(st_writer_create(&writer, NULL), TRM_OK);
    assert_int_equal(
        model_checkpoint_add(writer, &model.config, model.layout, model.params, model.buffers, model.puzzle_emb, NULL),
        TRM_OK);
    assert_int_equal(st_write(writer, path, NULL), TRM_OK);
    st_writer_destroy(writer);

    model_checkpoint *checkpoint = open_checkpoint(path);
    const struct model_layout *layout = model_checkpoint_layout(checkpoint);
    const float *params = model_checkpoint_params(checkpoint);
    assert_int_equal((uintptr_t)params % 64, 0);
    assert_int_equal((uintptr_t)model_checkpoint_buffers(checkpoint) % 64, 0);
    bool *used = calloc(layout->param_size, sizeof *used);
    assert_non_null(used);
    for (int i = 0; i < layout->count; i++)
        for (size_t j = 0; layout->tensors[i].kind == MODEL_PARAM && j < element_count(&layout->tensors[i]); j++)
            used[layout->tensors[i].offset + j] = true;
    size_t unused = 0;
    for (size_t i = 0; i < layout->param_size; i++)
        if (!used[i]) {
            assert_true(params[i] == 0);
            unused++;
        }
    assert_true(unused > 0);
    free(used);
    model_checkpoint_close(checkpoint);
    free_model(&model);
}

static void a_halt_threshold_is_a_number_or_absent(void **state) {
    static const struct {
        const char *text; /* NULL: absent */
        trm_status status;
        float threshold;
    } CASES[] = {{NULL, TRM_OK, 0},         {"2.5", TRM_OK, 2.5F},  {"-100", TRM_OK, -100}, {"1e1", TRM_OK, 10},
                 {"", TRM_FORMAT, 0},       {"two", TRM_FORMAT, 0}, {"2 ", TRM_FORMAT, 0},  {"nan", TRM_FORMAT, 0},
                 {"100.01", TRM_FORMAT, 0}, {"-inf", TRM_FORMAT, 0}};
    struct model model = new_model(all_configs[0]);
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        st_writer *writer;
        float threshold = -1;
        assert_int_equal(st_writer_create(&writer, NULL), TRM_OK);
        assert_int_equal(model_checkpoint_add(writer, &model.config, model.layout, model.params, model.buffers,
                                              model.puzzle_emb, NULL),
                         TRM_OK);
        if (CASES[i].text)
            assert_int_equal(st_add_metadata(writer, "halt_threshold", CASES[i].text, NULL), TRM_OK);
        assert_int_equal(st_write(writer, path, NULL), TRM_OK);
        st_writer_destroy(writer);
        model_checkpoint *checkpoint = open_checkpoint(path);
        assert_int_equal(model_checkpoint_halt_threshold(checkpoint, &threshold, NULL), CASES[i].status);
        assert_true(CASES[i].status != TRM_OK || threshold == CASES[i].threshold);
        model_checkpoint_close(checkpoint);
    }
    free_model(&model);
}

/* What write_changed() does to tensor `index`. */
enum change { CHANGE_NONE, CHANGE_LEAVE_OUT, CHANGE_SHAPE, CHANGE_RANK, CHANGE_INTEGER, CHANGE_BF16 };

static void write_changed(const struct model *model, const char *config, int index, enum change change) {
    uint16_t bf16[1024];
    for (size_t i = 0; i < sizeof bf16 / sizeof bf16[0]; i++)
        bf16[i] = 0x3fc0; /* 1.5 */
    st_writer *writer;
    assert_int_equal(st_writer_create(&writer, NULL), TRM_OK);
    if (config)
        assert_int_equal(st_add_metadata(writer, "config", config, NULL), TRM_OK);
    for (int i = 0; i < model->layout->count; i++) {
        const struct model_tensor *tensor = &model->layout->tensors[i];
        enum change what = i == index ? change : CHANGE_NONE;
        size_t shape[] = {(size_t)tensor->rows, (size_t)tensor->cols};
        const size_t *dims = tensor->rank == 2 ? shape : shape + 1;
        const void *data = model_data(model, tensor);
        enum st_dtype dtype = ST_F32;
        int rank = tensor->rank;
        if (what == CHANGE_LEAVE_OUT)
            continue;
        if (what == CHANGE_SHAPE)
            shape[1]--;
        if (what == CHANGE_RANK) {
            shape[0] *= tensor->rank == 2 ? shape[1] : 1;
            rank = tensor->rank == 2 ? 1 : 2;
            dims = shape;
        }
        if (what == CHANGE_INTEGER)
            dtype = ST_I32;
        if (what == CHANGE_BF16) {
            assert_true(element_count(tensor) <= sizeof bf16 / sizeof bf16[0]);
            dtype = ST_BF16;
            data = bf16;
        }
        assert_int_equal(st_add(writer, tensor->name, dtype, rank, dims, data, NULL), TRM_OK);
    }
    assert_int_equal(st_write(writer, path, NULL), TRM_OK);
    st_writer_destroy(writer);
}

static void a_tensor_that_is_missing_or_wrong_is_named(void **state) {
    (void)state;
    static const enum change changes[] = {CHANGE_LEAVE_OUT, CHANGE_SHAPE, CHANGE_RANK};
    for (int c = 0; c < CONFIGS; c++) {
        struct model model = new_model(all_configs[c]);
        for (int i = 0; i < model.layout->count; i++)
            for (size_t k = 0; k < sizeof changes / sizeof changes[0]; k++) {
                write_changed(&model, all_configs[c], i, changes[k]);
                assert_refused(model.layout->tensors[i].name);
            }
        free_model(&model);
    }
}

static void integers_are_refused_as_weights(void **state) {
    (void)state;
    struct model model = new_model(small_config);
    for (int i = 0; i < model.layout->count; i++) {
        write_changed(&model, small_config, i, CHANGE_INTEGER);
        assert_refused(model.layout->tensors[i].name);
    }
    free_model(&model);
}

static void values_that_are_not_finite_are_refused(void **state) {
    (void)state;
    struct model model = new_model(small_config);
    const struct model_tensor *head = &model.layout->tensors[model.layout->lm_head];
    float *last = model.params + head->offset + element_count(head) - 1, kept = *last;
    *last = NAN;
    write_changed(&model, small_config, -1, CHANGE_NONE);
    assert_refused("lm_head.weight");
    *last = kept;
    model.buffers[0] = -INFINITY;
    write_changed(&model, small_config, -1, CHANGE_NONE);
    assert_refused("L_init");
    free_model(&model);
}

static void bf16_tensors_are_converted(void **state) {
    (void)state;
    struct model model = new_model(small_config);
    for (int i = 0; i < model.layout->count; i++) {
        const struct model_tensor *tensor = &model.layout->tensors[i];
        write_changed(&model, small_config, i, CHANGE_BF16);
        model_checkpoint *checkpoint = open_checkpoint(path);
        const float *data = open_data(checkpoint, tensor);
        for (size_t j = 0; j < element_count(tensor); j++)
            assert_true(data[j] == 1.5f);
        model_checkpoint_close(checkpoint);
    }
    free_model(&model);
}

static void an_f32_puzzle_embedding_is_not_copied(void **state) {
    (void)state;
    struct model model = new_model(small_config);
    write_changed(&model, small_config, -1, CHANGE_NONE);
    model_checkpoint *checkpoint = open_checkpoint(path);
    const struct st_tensor *stored = st_find(model_checkpoint_file(checkpoint), "puzzle_emb.weights");
    assert_non_null(stored);
    assert_ptr_equal(model_checkpoint_puzzle_emb(checkpoint), stored->data);
    model_checkpoint_close(checkpoint);
    free_model(&model);
}

static void a_file_without_a_usable_configuration_is_refused(void **state) {
    (void)state;
    struct model model = new_model(small_config);
    write_changed(&model, NULL, -1, CHANGE_NONE);
    assert_refused("no \"config\"");
    write_changed(&model, "{", -1, CHANGE_NONE);
    assert_refused("not JSON");
    write_changed(&model, "{\"arch\": \"gpt\"}", -1, CHANGE_NONE);
    trm_error err;
    model_checkpoint *checkpoint;
    assert_int_equal(model_checkpoint_open(path, &checkpoint, &err), TRM_INVALID);
    assert_non_null(strstr(err.text, "gpt"));
    assert_null(checkpoint);
    free_model(&model);
}

/* The sizes come from the configuration: a huge one must fail on the file before it takes memory. */
static void a_huge_configuration_in_a_small_file_is_refused(void **state) {
    (void)state;
    struct model model = new_model(small_config);
    write_changed(&model,
                  "{\"arch\": \"hrm\", \"seq_len\": 8000, \"vocab_size\": 65536, \"num_puzzle_identifiers\": 16777216,"
                  "\"puzzle_emb_ndim\": 8192, \"H_cycles\": 64, \"L_cycles\": 64, \"H_layers\": 64, \"L_layers\": 64,"
                  "\"hidden_size\": 8192, \"num_heads\": 64, \"expansion\": 11.9, \"halt_max_steps\": 4096,"
                  "\"pos_encodings\": \"rope\"}",
                  -1, CHANGE_NONE);
    assert_refused("embed_tokens");
    free_model(&model);
}

static void a_model_with_a_puzzle_embedding_is_not_saved_without(void **state) {
    (void)state;
    struct model model = new_model(small_config);
    st_writer *writer;
    assert_int_equal(st_writer_create(&writer, NULL), TRM_OK);
    trm_error err;
    assert_int_equal(model_checkpoint_add(writer, &model.config, model.layout, model.params, model.buffers, NULL, &err),
                     TRM_INVALID);
    assert_non_null(strstr(err.text, "puzzle embedding"));
    st_writer_destroy(writer);
    free_model(&model);
}

static int resolved_size(const json_t *resolved, const char *name) {
    return (int)json_integer_value(json_object_get(resolved, name)); /* 0 if absent */
}

static void assert_golden_opens(const char *name) {
    model_checkpoint *checkpoint = open_checkpoint(name);
    const struct model_config *config = model_checkpoint_config(checkpoint);
    const struct model_layout *layout = model_checkpoint_layout(checkpoint);
    const st_file *file = model_checkpoint_file(checkpoint);

    const char *text = st_metadata(file, "resolved");
    assert_non_null(text);
    json_t *resolved = json_loads(text, 0, NULL);
    assert_non_null(resolved);
    assert_int_equal(config->puzzle_emb_len, resolved_size(resolved, "puzzle_emb_len"));
    assert_int_equal(config->tokens, resolved_size(resolved, "total_len"));
    assert_int_equal(config->head_dim, resolved_size(resolved, "head_dim"));
    assert_int_equal(config->inter, resolved_size(resolved, "mlp_inter"));
    assert_int_equal(config->inter_t, resolved_size(resolved, "mlp_t_inter"));
    json_decref(resolved);

    for (int i = 0; i < layout->count; i++) {
        const struct model_tensor *tensor = &layout->tensors[i];
        const struct st_tensor *stored = st_find(file, tensor->name);
        assert_non_null(stored);
        assert_memory_equal(open_data(checkpoint, tensor), stored->data, stored->count * sizeof(float));
    }
    /* And nothing of the model is left over: other names belong to the expected results. */
    for (size_t i = 0; i < st_count(file); i++) {
        const char *stored = st_at(file, i)->name;
        bool is_weight = strstr(stored, "_level.layers.") == stored + 1 || strstr(stored, "_init") ||
                         strstr(stored, "embed_") == stored || strstr(stored, "puzzle_emb.") == stored ||
                         strstr(stored, "_head.");
        bool is_result = strchr(stored, '.') &&
                         (!strncmp(stored, "grad", 4) || !strncmp(stored, "final", 5) || !strncmp(stored, "ema.", 4) ||
                          !strncmp(stored, "step", 4) || !strncmp(stored, "batch", 5) || !strncmp(stored, "io.", 3));
        bool known = false;
        for (int j = 0; j < layout->count; j++)
            known = known || !strcmp(stored, layout->tensors[j].name);
        assert_true(known == (is_weight && !is_result));
    }
    model_checkpoint_close(checkpoint);
}

static void every_golden_opens_with_the_sizes_it_claims(void **state) {
    (void)state;
    glob_t names;
    int opened = 0;
    if (glob("../shared/golden/infer_*.safetensors", 0, NULL, &names) ||
        glob("../shared/golden/train_*.safetensors", GLOB_APPEND, NULL, &names)) {
        print_message("../shared/golden is absent\n");
        globfree(&names);
        skip();
    }
    for (size_t i = 0; i < names.gl_pathc; i++) {
        st_file *file;
        assert_int_equal(st_open(names.gl_pathv[i], &file, NULL), TRM_OK);
        bool has_weights = !st_metadata(file, "weights_file");
        st_close(file);
        if (has_weights) {
            assert_golden_opens(names.gl_pathv[i]);
            opened++;
        } else {
            model_checkpoint *checkpoint;
            assert_int_equal(model_checkpoint_open(names.gl_pathv[i], &checkpoint, NULL), TRM_FORMAT);
        }
    }
    globfree(&names);
    assert_true(opened > 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_file, remove_file)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_do_not_share_memory),
        cmocka_unit_test(indices_lead_to_the_tensors_they_name),
        cmocka_unit_test(latents_have_the_names_used_in_files),
        TEST(every_architecture_survives_a_round_trip),
        TEST(a_halt_threshold_is_a_number_or_absent),
        TEST(padding_is_zero_and_arrays_are_aligned),
        TEST(a_tensor_that_is_missing_or_wrong_is_named),
        TEST(integers_are_refused_as_weights),
        TEST(values_that_are_not_finite_are_refused),
        TEST(bf16_tensors_are_converted),
        TEST(an_f32_puzzle_embedding_is_not_copied),
        TEST(a_file_without_a_usable_configuration_is_refused),
        TEST(a_huge_configuration_in_a_small_file_is_refused),
        TEST(a_model_with_a_puzzle_embedding_is_not_saved_without),
        cmocka_unit_test(every_golden_opens_with_the_sizes_it_claims),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
