/* program.h - one supervision step of any architecture as a list of updates (DESIGN section 2).
 *
 * An update is `dst <- net(sum of addends)`. A new architecture is a new table, not new code.
 * Immutable after creation: any thread. */
#ifndef TRM_ENGINE_MODEL_PROGRAM_H
#define TRM_ENGINE_MODEL_PROGRAM_H

#include <stdint.h>

#include "engine/model/config.h"

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

#endif
