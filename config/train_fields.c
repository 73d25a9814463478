/* train_fields.c - see train_fields.h. Constants alone. */
#include "config/train_fields.h"

#include <limits.h>
#include <string.h>

#include "engine/data/maze.h"

static const char *const puzzle_names[] = {"sudoku", "maze", "arc", "", NULL};
static const char *const generator_names[] = {"sudoku", "maze", NULL};
static const char *const loss_names[] = {"stablemax", "softmax", NULL};             /* enum train_loss_kind */
static const char *const optimizer_names[] = {"adam_atan2", "adamw", "muon", NULL}; /* enum train_optim_kind */
static const char *const gradient_names[] = {"last_cycle", "last_updates", NULL};   /* enum conf_gradient */
/* enum trm_dtype, as far as training knows it. */
static const char *const compute_names[] = {"auto", "f32", "bf16", NULL};

static const struct conf_field file_fields[] = {
    {.key = "path", .kind = CONF_FIELD_TEXT, .offset = offsetof(struct conf_source, path)},
    {.key = "limit", .kind = CONF_FIELD_INT, .offset = offsetof(struct conf_source, limit), .max = INT_MAX},
    {.key = "min_rating", .kind = CONF_FIELD_INT, .offset = offsetof(struct conf_source, min_rating), .max = INT_MAX},
    {.key = "max_rating", .kind = CONF_FIELD_INT, .offset = offsetof(struct conf_source, max_rating), .max = INT_MAX},
    {.kind = CONF_FIELD_END},
};

#define GENERATE_KEY                                                                                                   \
    {                                                                                                                  \
        .key = "generate", .kind = CONF_FIELD_TEXT, .offset = offsetof(struct conf_source, generate),                  \
        .choices = generator_names                                                                                     \
    }
#define COUNT_KEY                                                                                                      \
    {                                                                                                                  \
        .key = "count", .kind = CONF_FIELD_INT, .offset = offsetof(struct conf_source, count), .max = 100e6,           \
        .required = true                                                                                               \
    }
#define SEED_KEY                                                                                                       \
    { .key = "seed", .kind = CONF_FIELD_INT, .offset = offsetof(struct conf_source, seed), .max = INT_MAX }

static const struct conf_field sudoku_fields[] = {
    GENERATE_KEY,
    {.key = "size", .kind = CONF_FIELD_INT, .offset = offsetof(struct conf_source, size), .min = 4, .max = 9},
    {.key = "classes", .kind = CONF_FIELD_NUMBERS, .offset = offsetof(struct conf_source, classes), .max = 1e6},
    COUNT_KEY,
    SEED_KEY,
    {.kind = CONF_FIELD_END},
};

static const struct conf_field maze_fields[] = {
    GENERATE_KEY,
    {.key = "size",
     .kind = CONF_FIELD_INT,
     .offset = offsetof(struct conf_source, size),
     .min = MAZE_MIN_GENERATED,
     .max = MAZE_MAX_SIDE,
     .required = true},
    {.key = "min_moves",
     .kind = CONF_FIELD_INT,
     .offset = offsetof(struct conf_source, min_moves),
     .max = MAZE_MAX_CELLS},
    COUNT_KEY,
    SEED_KEY,
    {.kind = CONF_FIELD_END},
};

/* Base: struct conf_source. */
const struct conf_field conf_data_fields[] = {
    {.kind = CONF_FIELD_SOURCE},
    {.key = "weight", .kind = CONF_FIELD_NUMBER, .offset = offsetof(struct conf_source, weight), .max = 1e6},
    {.key = "final_weight",
     .kind = CONF_FIELD_NUMBER,
     .offset = offsetof(struct conf_source, final_weight),
     .max = 1e6},
    {.key = "reveal", .kind = CONF_FIELD_INT, .offset = offsetof(struct conf_source, reveal), .max = CONF_MAX_REVEAL},
    {.kind = CONF_FIELD_END},
};

/* The base of all that follows: struct conf_train. */
static const struct conf_field optimizer_fields[] = {
    {.key = "name",
     .kind = CONF_FIELD_CHOICE,
     .offset = offsetof(struct conf_train, optimizer.kind),
     .choices = optimizer_names},
    {.key = "lr", .kind = CONF_FIELD_NUMBER, .offset = offsetof(struct conf_train, optimizer.lr), .max = 10},
    {.key = "weight_decay",
     .kind = CONF_FIELD_NUMBER,
     .offset = offsetof(struct conf_train, optimizer.weight_decay),
     .max = 100},
    {.key = "beta1", .kind = CONF_FIELD_NUMBER, .offset = offsetof(struct conf_train, optimizer.beta1), .max = 0.99999},
    {.key = "beta2", .kind = CONF_FIELD_NUMBER, .offset = offsetof(struct conf_train, optimizer.beta2), .max = 0.99999},
    {.key = "scale",
     .kind = CONF_FIELD_NUMBER,
     .offset = offsetof(struct conf_train, optimizer.scale),
     .min = 0.001,
     .max = 1000},
    {.key = "eps",
     .kind = CONF_FIELD_NUMBER,
     .offset = offsetof(struct conf_train, optimizer.eps),
     .min = 1e-30,
     .max = 1},
    {.key = "momentum",
     .kind = CONF_FIELD_NUMBER,
     .offset = offsetof(struct conf_train, optimizer.momentum),
     .max = 0.99999},
    {.kind = CONF_FIELD_END},
};

static const struct conf_field puzzle_emb_fields[] = {
    {.key = "lr", .kind = CONF_FIELD_NUMBER, .offset = offsetof(struct conf_train, puzzle_emb.lr), .max = 10},
    {.key = "weight_decay",
     .kind = CONF_FIELD_NUMBER,
     .offset = offsetof(struct conf_train, puzzle_emb.weight_decay),
     .max = 100},
    {.kind = CONF_FIELD_END},
};

static const struct conf_field schedule_fields[] = {
    {.key = "warmup", .kind = CONF_FIELD_INT, .offset = offsetof(struct conf_train, schedule.warmup), .max = INT_MAX},
    {.key = "constant_fraction",
     .kind = CONF_FIELD_NUMBER,
     .offset = offsetof(struct conf_train, schedule.constant_fraction),
     .max = 1},
    {.key = "min_ratio",
     .kind = CONF_FIELD_NUMBER,
     .offset = offsetof(struct conf_train, schedule.min_ratio),
     .max = 1},
    {.kind = CONF_FIELD_END},
};

static const struct conf_field ema_fields[] = {
    {.key = "rate", .kind = CONF_FIELD_NUMBER, .offset = offsetof(struct conf_train, ema.rate), .max = 1},
    {.key = "ramp", .kind = CONF_FIELD_BOOL, .offset = offsetof(struct conf_train, ema.ramp)},
    {.kind = CONF_FIELD_END},
};

static const struct conf_field eval_fields[] = {
    {.kind = CONF_FIELD_SOURCE, .offset = offsetof(struct conf_train, eval.source)},
    {.key = "every", .kind = CONF_FIELD_INT, .offset = offsetof(struct conf_train, eval.every), .max = INT_MAX},
    {.key = "max_steps", .kind = CONF_FIELD_INT, .offset = offsetof(struct conf_train, eval.max_steps), .max = 10000},
    {.kind = CONF_FIELD_END},
};

/* Base: struct conf_stage. */
const struct conf_field conf_stage_fields[] = {
    {.key = "until",
     .kind = CONF_FIELD_NUMBER,
     .offset = offsetof(struct conf_stage, until),
     .max = 1,
     .required = true},
    {.key = "H_cycles",
     .kind = CONF_FIELD_INT,
     .offset = offsetof(struct conf_stage, H_cycles),
     .min = 1,
     .max = 1000,
     .required = true},
    {.key = "L_cycles",
     .kind = CONF_FIELD_INT,
     .offset = offsetof(struct conf_stage, L_cycles),
     .min = 1,
     .max = 1000,
     .required = true},
    {.kind = CONF_FIELD_END},
};

static const struct conf_field curriculum_fields[] = {
    {.key = "from", .kind = CONF_FIELD_NUMBER, .offset = offsetof(struct conf_train, curriculum.from), .max = 1},
    {.key = "to", .kind = CONF_FIELD_NUMBER, .offset = offsetof(struct conf_train, curriculum.to), .max = 1},
    {.kind = CONF_FIELD_END},
};

static const struct conf_field supervision_fields[] = {
    {.key = "first",
     .kind = CONF_FIELD_NUMBER,
     .offset = offsetof(struct conf_train, supervision_weight.first),
     .max = 100},
    {.key = "last",
     .kind = CONF_FIELD_NUMBER,
     .offset = offsetof(struct conf_train, supervision_weight.last),
     .max = 100},
    {.kind = CONF_FIELD_END},
};

static const struct conf_field probe_fields[] = {
    {.key = "rows", .kind = CONF_FIELD_INT, .offset = offsetof(struct conf_train, probe.rows), .max = 65535},
    {.key = "halting", .kind = CONF_FIELD_BOOL, .offset = offsetof(struct conf_train, probe.halting)},
    {.kind = CONF_FIELD_SOURCE, .offset = offsetof(struct conf_train, probe.source)},
    {.kind = CONF_FIELD_END},
};

const struct conf_field conf_train_fields[] = {
    {.key = "name", .kind = CONF_FIELD_TEXT, .offset = offsetof(struct conf_train, name)},
    {.key = "puzzle", .kind = CONF_FIELD_TEXT, .offset = offsetof(struct conf_train, puzzle), .choices = puzzle_names},
    {.key = "model", .kind = CONF_FIELD_MODEL, .required = true},
    {.key = "start_from", .kind = CONF_FIELD_TEXT, .offset = offsetof(struct conf_train, start_from)},
    {.key = "data", .kind = CONF_FIELD_DATA, .required = true},
    {.key = "curriculum", .kind = CONF_FIELD_SECTION, .fields = curriculum_fields},
    {.key = "augment", .kind = CONF_FIELD_BOOL, .offset = offsetof(struct conf_train, augment)},
    {.key = "batch_size",
     .kind = CONF_FIELD_INT,
     .offset = offsetof(struct conf_train, batch_size),
     .min = 1,
     .max = 65536},
    {.key = "pool_size",
     .kind = CONF_FIELD_INT,
     .offset = offsetof(struct conf_train, pool_size),
     .min = 1,
     .max = 1 << 20},
    {.key = "carry_bf16", .kind = CONF_FIELD_BOOL, .offset = offsetof(struct conf_train, carry_bf16)},
    {.key = "random_initial_steps",
     .kind = CONF_FIELD_BOOL,
     .offset = offsetof(struct conf_train, random_initial_steps)},
    {.key = "shards", .kind = CONF_FIELD_INT, .offset = offsetof(struct conf_train, shards), .min = 1, .max = 1024},
    {.key = "threads", .kind = CONF_FIELD_INT, .offset = offsetof(struct conf_train, threads), .max = 1024},
    {.key = "steps",
     .kind = CONF_FIELD_INT,
     .offset = offsetof(struct conf_train, steps),
     .min = 1,
     .max = INT_MAX,
     .required = true},
    {.key = "seed", .kind = CONF_FIELD_INT, .offset = offsetof(struct conf_train, seed), .max = INT_MAX},
    {.key = "stages", .kind = CONF_FIELD_STAGES},
    {.key = "gradient",
     .kind = CONF_FIELD_CHOICE,
     .offset = offsetof(struct conf_train, gradient),
     .choices = gradient_names},
    {.key = "loss", .kind = CONF_FIELD_CHOICE, .offset = offsetof(struct conf_train, loss), .choices = loss_names},
    {.key = "halt_loss_weight",
     .kind = CONF_FIELD_NUMBER,
     .offset = offsetof(struct conf_train, halt_loss_weight),
     .max = 100},
    {.key = "supervision_weight", .kind = CONF_FIELD_SECTION, .fields = supervision_fields},
    {.key = "min_halt_steps",
     .kind = CONF_FIELD_INT,
     .offset = offsetof(struct conf_train, min_halt_steps),
     .min = 1,
     .max = 10000},
    {.key = "hint_prob", .kind = CONF_FIELD_NUMBER, .offset = offsetof(struct conf_train, hint_prob), .max = 1},
    {.key = "halt_threshold",
     .kind = CONF_FIELD_NUMBER,
     .offset = offsetof(struct conf_train, halt_threshold),
     .min = -100,
     .max = 100},
    {.key = "probe", .kind = CONF_FIELD_SECTION, .fields = probe_fields},
    {.key = "optimizer", .kind = CONF_FIELD_SECTION, .fields = optimizer_fields},
    {.key = "puzzle_emb", .kind = CONF_FIELD_SECTION, .fields = puzzle_emb_fields},
    {.key = "schedule", .kind = CONF_FIELD_SECTION, .fields = schedule_fields},
    {.key = "ema", .kind = CONF_FIELD_SECTION, .fields = ema_fields},
    {.key = "checkpoint_every",
     .kind = CONF_FIELD_INT,
     .offset = offsetof(struct conf_train, checkpoint_every),
     .max = INT_MAX},
    {.key = "log_every",
     .kind = CONF_FIELD_INT,
     .offset = offsetof(struct conf_train, log_every),
     .min = 1,
     .max = INT_MAX},
    {.key = "eval", .kind = CONF_FIELD_SECTION, .fields = eval_fields},
    {.key = "compute",
     .kind = CONF_FIELD_CHOICE,
     .offset = offsetof(struct conf_train, compute),
     .choices = compute_names},
    {.kind = CONF_FIELD_END},
};

bool conf_is_maze(const char *generate) {
    return generate && strcmp(generate, "maze") == 0;
}

const struct conf_field *conf_source_fields(const char *generate) {
    return !generate ? file_fields : conf_is_maze(generate) ? maze_fields : sudoku_fields;
}
