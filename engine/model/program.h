/* program.h - one supervision step of any architecture as a list of updates (DESIGN section 2).
 *
 * An update is `dst <- net(sum of addends)`. A new architecture is a new table, not new code.
 * Immutable after creation: any thread. */
#ifndef TRM_ENGINE_MODEL_PROGRAM_H
#define TRM_ENGINE_MODEL_PROGRAM_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/model/config.h"
#include "engine/model/layout.h"

enum { MODEL_ADDEND_INPUT = 15 }; /* bit of `addends` that stands for the input embedding */

struct recursion_op {
    uint8_t net;      /* 0 or 1 (hrm's H network) */
    uint8_t dst;      /* latent that is replaced */
    uint16_t addends; /* bit i: latent i; bit MODEL_ADDEND_INPUT: the input embedding */
};

struct model_program {
    struct recursion_op *ops; /* [count] */
    int count;
    int grad_from; /* gradient flows through ops[grad_from ..]; earlier ones are constants */
    int output;    /* the latent that the heads read */
};

trm_status model_program_create(const struct model_config *config, struct model_program *program, trm_error *err);
void model_program_destroy(struct model_program *program);

/* The arrays whose sum is op's input, in the order in which the original adds them: the input embedding `e`
 * joins before the latents other than the destination, as in z_L + (z_H + e). addends has room for
 * MODEL_MAX_LATENTS + 1; returns how many there are. */
int model_program_addends(const struct recursion_op *op, const float *e, float *const latents[MODEL_MAX_LATENTS],
                          const float **addends);

/* Multiplications and additions of the matrix products of one supervision step of one puzzle. */
double model_flops_per_step(const struct model_config *config);

/* The same with the gradient of that step: twice the forward pass of what is differentiated (`last_updates`:
 * see model_runner_recur()). What attention computes again for it is not counted. */
double model_flops_per_training_step(const struct model_config *config, bool last_updates);

#endif
