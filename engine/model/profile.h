/* profile.h - where a supervision step's time goes, for trm-bench. Plain data. */
#ifndef TRM_ENGINE_MODEL_PROFILE_H
#define TRM_ENGINE_MODEL_PROFILE_H

/* The parts of a step, in the order in which they run. */
enum model_stage {
    MODEL_STAGE_SUM,      /* the operation's addends */
    MODEL_STAGE_MIX,      /* the gated MLP along the tokens */
    MODEL_STAGE_ATTEND,   /* attention: q, k, v, scores, softmax, values */
    MODEL_STAGE_ATTEND_O, /* attention: output projection */
    MODEL_STAGE_MIX_NORM, /* residual and norm of the first half of a block */
    MODEL_STAGE_GATED,    /* gated MLP: gate, up and their join */
    MODEL_STAGE_DOWN,     /* gated MLP: down */
    MODEL_STAGE_NORM,     /* residual and norm of the second half */
    MODEL_STAGE_HEADS,    /* logits and halting */
    MODEL_STAGE_COUNT
};

/* Sums over all steps since the profile was set. */
struct model_profile {
    struct {
        double seconds;         /* of the thread's processor time */
        double product_seconds; /* of that, in matrix products */
        double product_flops;   /* multiplications and additions of those products */
    } stages[MODEL_STAGE_COUNT];
};

/* "gate, up, swiglu", for tables. */
const char *model_stage_name(enum model_stage stage);

#endif
