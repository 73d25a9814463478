/* program.c - the tables of the architectures. Nothing here is kept: the caller owns the program. */
#include "engine/model/program.h"

#include <stdlib.h>

#define BIT(latent) ((uint16_t)(1u << (latent)))
#define INPUT       BIT(MODEL_ADDEND_INPUT)

enum { HIER_LATENTS = 6 };

static void append(struct model_program *program, int net, int dst, uint16_t addends) {
    program->ops[program->count++] =
        (struct recursion_op){.net = (uint8_t)net, .dst = (uint8_t)dst, .addends = addends};
}

/* trm, hrm: z_L (0) and z_H (1). */
static void cycle_two_latents(struct model_program *program, const struct model_config *config) {
    for (int i = 0; i < config->L_cycles; i++)
        append(program, 0, 0, BIT(0) | BIT(1) | INPUT);
    append(program, config->arch == MODEL_HRM ? 1 : 0, 1, BIT(0) | BIT(1));
}

/* trm_singlez: z (0) only. */
static void cycle_one_latent(struct model_program *program, const struct model_config *config) {
    for (int i = 0; i < config->L_cycles; i++)
        append(program, 0, 0, BIT(0) | INPUT);
    append(program, 0, 0, BIT(0));
}

/* trm_hier6: z_L1 .. z_L6 (0 .. 5) and z_H (6); inner update j writes z_Lj. */
static void cycle_six_latents(struct model_program *program, const struct model_config *config) {
    const uint16_t all = (uint16_t)(BIT(HIER_LATENTS + 1) - 1);
    for (int i = 0; i < config->L_cycles; i++)
        append(program, 0, i, all | INPUT);
    append(program, 0, HIER_LATENTS, all);
}

trm_status model_program_create(const struct model_config *config, struct model_program *program, trm_error *err) {
    const bool direct = config->arch == MODEL_TRANSFORMER;
    const int per_cycle = direct ? 1 : config->L_cycles + 1, cycles = direct ? 1 : config->H_cycles;
    *program = (struct model_program){0};
    program->ops = calloc((size_t)per_cycle * (size_t)cycles, sizeof *program->ops);
    if (!program->ops)
        return trm_fail_memory(err, (size_t)per_cycle * (size_t)cycles * sizeof *program->ops);

    for (int cycle = 0; cycle < cycles; cycle++) {
        switch (config->arch) {
        case MODEL_TRM:
        case MODEL_HRM:
            cycle_two_latents(program, config);
            break;
        case MODEL_TRM_SINGLEZ:
            cycle_one_latent(program, config);
            break;
        case MODEL_TRM_HIER6:
            cycle_six_latents(program, config);
            break;
        case MODEL_TRANSFORMER:
            append(program, 0, 0, BIT(0) | INPUT);
            break;
        }
    }
    program->output = program->ops[program->count - 1].dst;
    program->grad_from = config->arch == MODEL_HRM ? program->count - 2 : program->count - per_cycle;
    return TRM_OK;
}

void model_program_destroy(struct model_program *program) {
    free(program->ops);
    program->ops = NULL;
    program->count = 0;
}

int model_program_addends(const struct recursion_op *op, const float *e, float *const latents[MODEL_MAX_LATENTS],
                          const float **addends) {
    int count = 0;
    if (op->addends & (1u << MODEL_ADDEND_INPUT))
        addends[count++] = e;
    for (int i = MODEL_MAX_LATENTS - 1; i >= 0; i--)
        if (op->addends & (1u << i))
            addends[count++] = latents[i];
    return count;
}

/* Of one layer, all tokens of one puzzle. */
static double layer_flops(const struct model_config *c) {
    const double tokens = c->tokens, hidden = c->hidden_size, width = (double)c->num_heads * c->head_dim;
    const double mlp = 2.0 * tokens * 3.0 * c->inter * hidden;
    const double mixer = c->mlp_t ? 2.0 * hidden * 3.0 * c->inter_t * tokens
                                  : 2.0 * tokens * 4.0 * width * hidden + 4.0 * tokens * tokens * width;
    return mlp + mixer;
}

static double heads_flops(const struct model_config *c) {
    return 2.0 * c->tokens * c->hidden_size * c->vocab_size;
}

/* Layers that a step runs through; those that gradient flows through. */
static double layers_of_step(const struct model_config *c) {
    switch (c->arch) {
    case MODEL_TRANSFORMER:
        return c->H_layers;
    case MODEL_HRM:
        return (double)c->H_cycles * ((double)c->L_cycles * c->L_layers + c->H_layers);
    default:
        return (double)c->H_cycles * (c->L_cycles + 1.0) * c->L_layers;
    }
}

static double layers_of_gradient(const struct model_config *c, bool last_updates) {
    switch (c->arch) {
    case MODEL_TRANSFORMER:
        return c->H_layers;
    case MODEL_HRM:
        return (double)c->L_layers + c->H_layers;
    default:
        return (last_updates ? 2.0 : c->L_cycles + 1.0) * c->L_layers;
    }
}

double model_flops_per_step(const struct model_config *config) {
    return layers_of_step(config) * layer_flops(config) + heads_flops(config);
}

double model_flops_per_training_step(const struct model_config *config, bool last_updates) {
    return (layers_of_step(config) + 2.0 * layers_of_gradient(config, last_updates)) * layer_flops(config) +
           3.0 * heads_flops(config);
}
