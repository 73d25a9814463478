/* config.c - reads, checks and writes a model's configuration.
 *
 * One table says for every number of the configuration what it is called, who needs it, what it is
 * when absent and what it may be; parsing, checking and formatting walk through it. The limits are
 * wide enough for any model of this family, and tight enough that the elements of one weight matrix
 * and of one puzzle's activations [tokens, width] fit an int. Pure functions on the caller's data:
 * any thread. */
#include "engine/model/config.h"

#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "engine/ops/reach.h"
#include "engine/square.h"

enum {
    MAX_SIZE = 8192,   /* hidden size, tokens */
    MAX_INTER = 65536, /* inner sizes of the gated MLPs */
    MAX_PUZZLE_EMB = MAX_SIZE * MAX_SIZE,
    HIER6_L_CYCLES = 6 /* one low-level latent each */
};

enum {
    FOR_NONE = 0,
    FOR_TRM = 1 << MODEL_TRM | 1 << MODEL_TRM_SINGLEZ | 1 << MODEL_TRM_HIER6,
    FOR_HRM = 1 << MODEL_HRM,
    FOR_TRANSFORMER = 1 << MODEL_TRANSFORMER,
    FOR_ALL = FOR_TRM | FOR_HRM | FOR_TRANSFORMER
};

static const char *const arch_names[] = {
    [MODEL_TRM] = "trm", [MODEL_TRM_SINGLEZ] = "trm_singlez",           [MODEL_TRM_HIER6] = "trm_hier6",
    [MODEL_HRM] = "hrm", [MODEL_TRANSFORMER] = "transformers_baseline",
};

static const char *const position_names[] = {[MODEL_POS_NONE] = "none",
                                             [MODEL_POS_ROPE] = "rope",
                                             [MODEL_POS_LEARNED] = "learned",
                                             [MODEL_POS_ROPE_2D] = "rope_2d"};

static const char *const attention_names[] = {
    [MODEL_ATTENTION_ALL] = "all", [MODEL_ATTENTION_UNITS] = "units", [MODEL_ATTENTION_NEAR] = "near"};

#define COUNT(array) ((int)(sizeof(array) / sizeof(array)[0]))

struct int_field {
    const char *name;
    size_t offset;
    int needed_by; /* architectures that must have it, and for which `min` holds; the others may have 0 */
    int absent;    /* value for the others when a file lacks it */
    int min, max;
};

#define AT(member) #member, offsetof(struct model_config, member)

static const struct int_field int_fields[] = {
    {AT(seq_len), FOR_ALL, 0, 1, MAX_SIZE},
    {AT(vocab_size), FOR_ALL, 0, 1, 65536},
    {AT(num_puzzle_identifiers), FOR_ALL, 0, 1, 1 << 24},
    {AT(puzzle_emb_ndim), FOR_NONE, 0, 0, MAX_PUZZLE_EMB},
    {AT(puzzle_emb_len), FOR_NONE, 16, 0, MAX_SIZE},
    {AT(H_cycles), FOR_TRM | FOR_HRM, 1, 1, 64},
    {AT(L_cycles), FOR_TRM | FOR_HRM, 0, 1, 64},
    {AT(H_layers), FOR_HRM | FOR_TRANSFORMER, 0, 1, 64},
    {AT(L_layers), FOR_TRM | FOR_HRM, 0, 1, 64},
    {AT(hidden_size), FOR_ALL, 0, 1, MAX_SIZE},
    {AT(num_heads), FOR_ALL, 0, 1, MAX_SIZE},
    {AT(halt_max_steps), FOR_ALL, 0, 1, 4096},
    {AT(attention_radius), FOR_NONE, 0, 0, 16},
    {AT(inter_multiple), FOR_NONE, 256, 1, MAX_SIZE},
};

struct real_field {
    const char *name;
    size_t offset;
    double absent; /* NAN: must be there */
    double min, max;
};

static const struct real_field real_fields[] = {
    {AT(expansion), NAN, 1e-3, 64.0},
    {AT(rms_norm_eps), 1e-5, 1e-12, 1.0},
    {AT(rope_theta), 10000.0, 1.0, 1e12},
    {AT(halt_exploration_prob), 0.0, 0.0, 1.0},
};

struct bool_field {
    const char *name;
    size_t offset;
    bool absent;
};

static const struct bool_field bool_fields[] = {{AT(mlp_t), false}, {AT(no_ACT_continue), true}};

static void *member(const struct model_config *config, size_t offset) {
    return (char *)config + offset;
}

static bool needs(const struct model_config *config, const struct int_field *field) {
    return field->needed_by >> config->arch & 1;
}

static trm_status fail_missing(trm_error *err, const char *name) {
    return trm_fail(err, TRM_FORMAT, "config: %s is missing", name);
}

static trm_status fail_type(trm_error *err, const char *name, const char *type) {
    return trm_fail(err, TRM_FORMAT, "config: %s is not %s", name, type);
}

static trm_status parse_int(const json_t *root, const struct int_field *field, struct model_config *config,
                            trm_error *err) {
    const json_t *value = json_object_get(root, field->name);
    int *out = member(config, field->offset);
    if (!value && needs(config, field))
        return fail_missing(err, field->name);
    if (value && !json_is_integer(value))
        return fail_type(err, field->name, "an integer");
    json_int_t number = value ? json_integer_value(value) : field->absent;
    if (number < INT_MIN || number > INT_MAX)
        return trm_fail(err, TRM_INVALID, "config: %s is out of range", field->name);
    *out = (int)number;
    return TRM_OK;
}

static trm_status parse_real(const json_t *root, const struct real_field *field, struct model_config *config,
                             trm_error *err) {
    const json_t *value = json_object_get(root, field->name);
    double *out = member(config, field->offset);
    if (!value && isnan(field->absent))
        return fail_missing(err, field->name);
    if (value && !json_is_number(value))
        return fail_type(err, field->name, "a number");
    *out = value ? json_number_value(value) : field->absent;
    return TRM_OK;
}

static trm_status parse_bool(const json_t *root, const struct bool_field *field, struct model_config *config,
                             trm_error *err) {
    const json_t *value = json_object_get(root, field->name);
    bool *out = member(config, field->offset);
    if (value && !json_is_boolean(value))
        return fail_type(err, field->name, "true or false");
    *out = value ? json_is_true(value) : field->absent;
    return TRM_OK;
}

/* The number of the name that `value` is, a string; -1 if it is none of them. */
static int find_name(const json_t *value, const char *const *names, int count) {
    int i = count - 1;
    while (i >= 0 && strcmp(json_string_value(value), names[i]) != 0)
        i--;
    return i;
}

/* The same, but an error if it is not known or no string. */
static trm_status parse_name(const json_t *value, const char *name, const char *const *names, int count, int *found,
                             trm_error *err) {
    if (!json_is_string(value))
        return fail_type(err, name, "a string");
    *found = find_name(value, names, count);
    if (*found < 0)
        return trm_fail(err, TRM_INVALID, "config: %s \"%.40s\" is not known", name, json_string_value(value));
    return TRM_OK;
}

static trm_status parse_arch(const json_t *root, struct model_config *config, trm_error *err) {
    const json_t *value = json_object_get(root, "arch");
    if (!value)
        return fail_missing(err, "arch");
    int arch = 0;
    trm_status status = parse_name(value, "arch", arch_names, COUNT(arch_names), &arch, err);
    config->arch = (enum model_arch)arch;
    return status;
}

/* As in the original, a name that it does not know means no positions. */
static trm_status parse_positions(const json_t *root, struct model_config *config, trm_error *err) {
    const json_t *value = json_object_get(root, "pos_encodings");
    if (!value)
        return fail_missing(err, "pos_encodings");
    if (!json_is_string(value))
        return fail_type(err, "pos_encodings", "a string");
    const int known = find_name(value, position_names, COUNT(position_names));
    config->pos_encodings = known < 0 ? MODEL_POS_NONE : (enum model_positions)known;
    return TRM_OK;
}

static trm_status parse_attention(const json_t *root, struct model_config *config, trm_error *err) {
    const json_t *value = json_object_get(root, "attention");
    int attention = MODEL_ATTENTION_ALL;
    trm_status status =
        value ? parse_name(value, "attention", attention_names, COUNT(attention_names), &attention, err) : TRM_OK;
    config->attention = (enum model_attention)attention;
    return status;
}

static trm_status parse_object(const json_t *root, struct model_config *config, trm_error *err) {
    if (!json_is_object(root))
        return trm_fail(err, TRM_FORMAT, "config is not a JSON object");
    trm_status status = parse_arch(root, config, err);
    if (!status)
        status = parse_positions(root, config, err);
    if (!status)
        status = parse_attention(root, config, err);
    for (int i = 0; !status && i < COUNT(int_fields); i++)
        status = parse_int(root, &int_fields[i], config, err);
    for (int i = 0; !status && i < COUNT(real_fields); i++)
        status = parse_real(root, &real_fields[i], config, err);
    for (int i = 0; !status && i < COUNT(bool_fields); i++)
        status = parse_bool(root, &bool_fields[i], config, err);
    if (!status && config->puzzle_emb_ndim == 0 && !json_object_get(root, "puzzle_emb_len"))
        config->puzzle_emb_len = 0; /* 16 is the default of a model that has a puzzle embedding */
    return status;
}

trm_status model_config_parse(const char *text, struct model_config *config, trm_error *err) {
    json_error_t json_error;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &json_error);
    if (!root)
        return trm_fail(err, TRM_FORMAT, "config is not JSON: %s", json_error.text);
    memset(config, 0, sizeof *config);
    trm_status status = parse_object(root, config, err);
    json_decref(root);
    return status ? status : model_config_resolve(config, err);
}

static trm_status check_ranges(const struct model_config *config, trm_error *err) {
    for (int i = 0; i < COUNT(int_fields); i++) {
        const struct int_field *field = &int_fields[i];
        int value = *(int *)member(config, field->offset);
        int min = field->needed_by == FOR_NONE || needs(config, field) ? field->min : 0;
        if (value < min || value > field->max)
            return trm_fail(err, TRM_INVALID, "config: %s is %d, not in %d..%d", field->name, value, min, field->max);
    }
    for (int i = 0; i < COUNT(real_fields); i++) {
        const struct real_field *field = &real_fields[i];
        double value = *(double *)member(config, field->offset);
        if (!(value >= field->min && value <= field->max)) /* NaN fails too */
            return trm_fail(err, TRM_INVALID, "config: %s is %g, not in %g..%g", field->name, value, field->min,
                            field->max);
    }
    return TRM_OK;
}

/* Inner size of a gated MLP (golden README section 3): half to even, then up to a multiple. */
static trm_status inner_size(const struct model_config *config, int width, int *inter, trm_error *err) {
    double exact = rint(config->expansion * width * 2 / 3);
    double multiple = config->inter_multiple;
    double size = ceil(exact / multiple) * multiple;
    if (!(size >= 1 && size <= MAX_INTER))
        return trm_fail(err, TRM_INVALID, "config: expansion %g gives an inner size of %.0f, not in 1..%d",
                        config->expansion, size, MAX_INTER);
    *inter = (int)size;
    return TRM_OK;
}

/* Fields that an architecture does not have get the only value they can have. */
static void drop_foreign_fields(struct model_config *config) {
    if (config->arch == MODEL_HRM || config->arch == MODEL_TRANSFORMER) {
        config->puzzle_emb_len = 0;
        config->no_ACT_continue = false;
    } else {
        config->H_layers = 0;
    }
    if (config->arch == MODEL_TRANSFORMER) {
        config->H_cycles = 1;
        config->L_cycles = 0;
        config->L_layers = 0;
        config->mlp_t = false;
    }
}

static trm_status resolve_tokens(struct model_config *config, trm_error *err) {
    int hidden = config->hidden_size;
    if (config->puzzle_emb_len > 0 && config->puzzle_emb_ndim == 0)
        return trm_fail(err, TRM_INVALID, "config: puzzle_emb_len is %d, but puzzle_emb_ndim is 0",
                        config->puzzle_emb_len);
    if (config->puzzle_emb_len == 0)
        config->puzzle_emb_len = config->puzzle_emb_ndim / hidden + (config->puzzle_emb_ndim % hidden > 0);
    config->tokens = config->puzzle_emb_len + config->seq_len;
    if (config->tokens > MAX_SIZE)
        return trm_fail(err, TRM_INVALID, "config: seq_len and %d puzzle tokens make %d tokens, more than %d",
                        config->puzzle_emb_len, config->tokens, MAX_SIZE);
    if (config->puzzle_emb_len * hidden < config->puzzle_emb_ndim)
        return trm_fail(err, TRM_INVALID,
                        "config: puzzle_emb_ndim %d does not fit puzzle_emb_len %d times hidden_size %d",
                        config->puzzle_emb_ndim, config->puzzle_emb_len, hidden);
    return TRM_OK;
}

/* What wants the cells to be a square, and what attention wants of it. */
static trm_status resolve_square(struct model_config *config, trm_error *err) {
    const bool turned = config->pos_encodings == MODEL_POS_ROPE_2D, limited = config->attention != MODEL_ATTENTION_ALL;
    config->side = turned || limited ? trm_square_side(config->seq_len) : 0;
    if (turned && config->side == 0)
        return trm_fail(err, TRM_INVALID, "config: pos_encodings rope_2d needs a square of cells, not seq_len %d",
                        config->seq_len);
    if (limited && config->mlp_t)
        return trm_fail(err, TRM_INVALID, "config: attention %s and mlp_t exclude each other",
                        attention_names[config->attention]);
    if (limited && config->side == 0)
        return trm_fail(err, TRM_INVALID, "config: attention %s needs a square of cells, not seq_len %d",
                        attention_names[config->attention], config->seq_len);
    if (config->attention == MODEL_ATTENTION_UNITS && op_reach_box_rows(config->side) == 0)
        return trm_fail(err, TRM_INVALID, "config: attention units needs boxes, which a side of %d has not",
                        config->side);
    if (config->attention == MODEL_ATTENTION_UNITS && config->num_heads < OP_REACH_UNIT_SETS)
        return trm_fail(err, TRM_INVALID,
                        "config: attention units needs a head each for rows, columns and boxes, not %d",
                        config->num_heads);
    if ((config->attention == MODEL_ATTENTION_NEAR) != (config->attention_radius > 0))
        return trm_fail(err, TRM_INVALID, "config: attention_radius is %d, but attention is %s",
                        config->attention_radius, attention_names[config->attention]);
    return TRM_OK;
}

trm_status model_config_resolve(struct model_config *config, trm_error *err) {
    if ((unsigned)config->arch >= COUNT(arch_names))
        return trm_fail(err, TRM_INVALID, "config: arch %d is not known", (int)config->arch);
    if ((unsigned)config->pos_encodings >= COUNT(position_names))
        return trm_fail(err, TRM_INVALID, "config: pos_encodings %d is not known", (int)config->pos_encodings);
    if ((unsigned)config->attention >= COUNT(attention_names))
        return trm_fail(err, TRM_INVALID, "config: attention %d is not known", (int)config->attention);

    drop_foreign_fields(config);
    trm_status status = check_ranges(config, err);
    if (status)
        return status;
    if (config->arch == MODEL_TRM_HIER6 && config->L_cycles > HIER6_L_CYCLES)
        return trm_fail(err, TRM_INVALID, "config: L_cycles is %d, but trm_hier6 has %d low-level latents",
                        config->L_cycles, HIER6_L_CYCLES);
    if (config->num_heads > config->hidden_size)
        return trm_fail(err, TRM_INVALID, "config: num_heads %d is more than hidden_size %d", config->num_heads,
                        config->hidden_size);
    config->head_dim = config->hidden_size / config->num_heads;
    if (config->pos_encodings == MODEL_POS_ROPE && !config->mlp_t && config->head_dim % 2)
        return trm_fail(err, TRM_INVALID, "config: pos_encodings rope needs an even head size, not %d",
                        config->head_dim);
    if (config->pos_encodings == MODEL_POS_ROPE_2D && !config->mlp_t && config->head_dim % 4)
        return trm_fail(err, TRM_INVALID, "config: pos_encodings rope_2d needs a head size that 4 divides, not %d",
                        config->head_dim);
    status = resolve_square(config, err);
    if (!status)
        status = resolve_tokens(config, err);
    if (!status)
        status = inner_size(config, config->hidden_size, &config->inter, err);
    config->inter_t = 0;
    if (!status && config->mlp_t)
        status = inner_size(config, config->tokens, &config->inter_t, err);
    return status;
}

static bool set_member(json_t *root, const char *name, json_t *value) {
    return !json_object_set_new(root, name, value);
}

char *model_config_format(const struct model_config *config) {
    json_t *root = json_object();
    bool complete = root && set_member(root, "arch", json_string(arch_names[config->arch])) &&
                    set_member(root, "pos_encodings", json_string(position_names[config->pos_encodings])) &&
                    set_member(root, "attention", json_string(attention_names[config->attention]));
    for (int i = 0; complete && i < COUNT(int_fields); i++)
        complete = set_member(root, int_fields[i].name, json_integer(*(int *)member(config, int_fields[i].offset)));
    for (int i = 0; complete && i < COUNT(real_fields); i++)
        complete = set_member(root, real_fields[i].name, json_real(*(double *)member(config, real_fields[i].offset)));
    for (int i = 0; complete && i < COUNT(bool_fields); i++)
        complete = set_member(root, bool_fields[i].name, json_boolean(*(bool *)member(config, bool_fields[i].offset)));
    char *text = complete ? json_dumps(root, 0) : NULL;
    json_decref(root);
    return text;
}

const char *model_arch_name(enum model_arch arch) {
    return arch_names[arch];
}
